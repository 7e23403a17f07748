"""How option files are read: BasicSR's YAML loader, with two traps of YAML 1.1 taken out."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import yaml
from basicsr.utils.options import ordered_yaml

_BASICSR_LOADER, _DUMPER = ordered_yaml()
# In YAML 1.1 a number with an exponent needs a point and a sign (1.0e-4), and 1e-4 is text. YAML 1.2 has mended that.
_WITH_EXPONENT = re.compile(r'[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$')


class OptionLoader(_BASICSR_LOADER):  # type: ignore[misc, valid-type]  # the fast one, where PyYAML has it
    """BasicSR's loader, which executes the `plugin:` line; reads `1e-4` as a number and refuses a key given twice."""


def option_yaml() -> tuple[type[OptionLoader], Any]:
    """Loader and dumper, in the place of BasicSR's `ordered_yaml`."""
    return OptionLoader, _DUMPER


def _section(loader: Any, node: yaml.MappingNode) -> OrderedDict:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in lines:
            raise yaml.constructor.ConstructorError(
                None, None, f'the key {key.value} stands in line {lines[key.value]} already, and of two only the last '
                'would count; delete one', key.start_mark)
        lines[key.value] = key.start_mark.line + 1
    return OrderedDict(loader.construct_pairs(node))


OptionLoader.add_implicit_resolver('tag:yaml.org,2002:float', _WITH_EXPONENT, list('-+.0123456789'))
OptionLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _section)
