"""Sections of an option file that are text or a list, where BasicSR looks for keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tgjar_arch.training.errors import OptionError

_PLAIN = ('datasets', 'path', 'train', 'val', 'logger', 'dist_params')
_NEEDED = ('train:optim_g', 'train:scheduler')  # ~ is no choice here


def check_sections(options: Mapping[str, Any], path: str, is_train: bool) -> None:
    """Check that every section holds keys, and that every `type` is text.

    Args:
        options: content of the option file.
        path: the file, for messages.
        is_train: train, or test, which does not read the section `train`.

    Raises:
        OptionError: the first that is something else.
    """
    for key in _PLAIN:
        if key != 'train' or is_train:
            _section(options.get(key), key, path, 'keys')
    kind = options.get('model_type')
    if kind is not None and not isinstance(kind, str):
        raise OptionError(f'{path}: model_type: {kind!r} must be text.')
    for key, block in options.items():
        if str(key).startswith('network_') and isinstance(block, Mapping):
            _check_type(block, key, path)
    for key, block in (options.get('datasets') or {}).items():
        where = f'datasets:{key}'
        _section(block, where, path)
        _section((block or {}).get('io_backend'), f'{where}:io_backend', path, 'type: disk')
    metrics = (options.get('val') or {}).get('metrics')
    _section(metrics, 'val:metrics', path, 'a section for every metric')
    for key, block in (metrics or {}).items():
        # Ours leaves out a metric that is ~.
        _section(block, f'val:metrics:{key}', path, is_needed=kind != 'TGJARModel')
    for key, block in _of_train(options) if is_train else ():
        _section(block, key, path, is_needed=key in _NEEDED)


def _of_train(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, block in (options.get('train') or {}).items():
        if str(key).startswith('optim_') or str(key).endswith('_opt') or key == 'scheduler':
            yield f'train:{key}', block


def _section(block: Any, key: str, path: str, content: str = 'type: ...', is_needed: bool = False) -> None:
    """Check one section; ~ leaves it out, unless it `is_needed`."""
    if isinstance(block, Mapping):
        _check_type(block, key, path)
    elif block is not None or is_needed:
        came = '~' if block is None else repr(block)
        raise OptionError(f'{path}: {key} must be a section with {content}, not {came}.')


def _check_type(block: Mapping[str, Any], key: str, path: str) -> None:
    kind = block.get('type')
    if kind is not None and not isinstance(kind, str):
        raise OptionError(f'{path}: {key}:type: {kind!r} must be text, the name of one class or function.')
