"""What stands between BasicSR 1.4.2 and a current Python environment.

BasicSR 1.4.2 imports `torchvision.transforms.functional_tensor`, which torchvision 0.17 removed, for one function that
lives on in `torchvision.transforms.functional` (https://github.com/XPixelGroup/BasicSR/issues/649). `prepare` gives the
name back inside this process, with no file changed; `tgjar doctor --fix` mends the installed BasicSR itself.

Its option parser expands `~` in `dataroot_gt` and `dataroot_lq`, and raises where they are lists; see
`take_lists_of_folders`.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

# On Python 3.13 and later BasicSR's setup.py fails, and `tgjar_arch.basicsr_install` corrects it.
INSTALL_BASICSR = 'tgjar doctor --fix' if sys.version_info >= (3, 13) else (
    "pip install 'setuptools<82' wheel && pip install --no-deps --no-build-isolation basicsr==1.4.2")
FUNCTIONAL_TENSOR = 'torchvision.transforms.functional_tensor'


def basicsr_is_installed() -> bool:
    """Whether there is a BasicSR, or a fork under its name, to import."""
    try:
        return find_spec('basicsr') is not None
    except ImportError:  # of a finder that refuses it
        return False
    except ValueError:  # a module under that name without a specification, such as a stand-in
        return True


def require_basicsr() -> None:
    """Make sure that BasicSR is there.

    Raises:
        ImportError: it is not installed; the message holds the command that installs it.
    """
    if not basicsr_is_installed():
        raise ImportError(f'this needs BasicSR, which is not installed in {sys.prefix}. Install it: {INSTALL_BASICSR}')


def prepare() -> None:
    """Make `import basicsr` possible, where there is one; calling it again changes nothing."""
    if FUNCTIONAL_TENSOR not in sys.modules and not _torchvision_has_functional_tensor():
        sys.modules[FUNCTIONAL_TENSOR] = _functional_tensor()


class _ListsOfPaths(ModuleType):
    """`os.path`, whose `expanduser` also takes a list of paths."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os.path, name)

    @staticmethod
    def expanduser(path: Any) -> Any:
        if isinstance(path, list | tuple):
            return [os.path.expanduser(item) for item in path]
        return os.path.expanduser(path)


def take_lists_of_folders(options: ModuleType) -> None:
    """Let BasicSR's option parser take lists of data roots, which `PairedImageTextDataset` reads.

    Args:
        options: `basicsr.utils.options`, which calls `osp.expanduser`. Of a fork that has no such name nothing changes.
    """
    if getattr(options, 'osp', None) is os.path:
        vars(options)['osp'] = _ListsOfPaths('os.path')


def _torchvision_has_functional_tensor() -> bool:
    # Asking find_spec for the submodule would import torchvision; its folder tells as much.
    spec = find_spec('torchvision')
    if spec is None or not spec.submodule_search_locations:
        return True  # nothing to stand in for: BasicSR's own import will say that torchvision is missing
    folders = map(Path, spec.submodule_search_locations)
    return any((folder / 'transforms' / 'functional_tensor.py').is_file() for folder in folders)


def _functional_tensor() -> ModuleType:
    """A stand-in whose one name is looked up when it is first asked for, so that torchvision is not imported here."""

    def lookup(name: str) -> Any:
        if name == 'rgb_to_grayscale':
            from torchvision.transforms.functional import rgb_to_grayscale

            return rgb_to_grayscale
        raise AttributeError(f'torchvision has removed {FUNCTIONAL_TENSOR}; tgjar_arch.compat gives back '
                             f'rgb_to_grayscale only, not {name}')

    module = ModuleType(FUNCTIONAL_TENSOR, 'Stand-in of tgjar_arch.compat for what torchvision 0.17 removed.')
    module.__spec__ = ModuleSpec(FUNCTIONAL_TENSOR, loader=None)
    vars(module)['__getattr__'] = lookup
    return module
