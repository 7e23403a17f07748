"""`tgjar doctor [--fix]`: is everything in place?

--fix installs BasicSR where it is missing, and repairs it, so that its own scripts run.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import tgjar_arch
from tgjar_arch.atomic_file import atomic
from tgjar_arch.basicsr_install import InstallError, install_basicsr
from tgjar_arch.compat import INSTALL_BASICSR
from tgjar_arch.version import VERSION
from tgjar_arch.weights.shipped import FOLDER, shipped

LIBRARIES = ('torch', 'torchvision', 'basicsr', 'mmengine', 'numpy', 'opencv-python', 'lpips', 'tokenizers',
             'transformers', 'safetensors')
METRIC_WEIGHTS = {  # variable that names a file, metric, and the name under which it is downloaded
    'TGJAR_LPIPS_ALEX': ('LPIPS alex', 'alexnet-owt-7be5be79.pth'),
    'TGJAR_LPIPS_VGG': ('LPIPS vgg', 'vgg16-397923af.pth'),
    'TGJAR_LPIPS_SQUEEZE': ('LPIPS squeeze', 'squeezenet1_1-b8a52dc0.pth'),
    'TGJAR_FID_INCEPTION': ('FID', 'weights-inception-2015-12-05-6726825d.pth'),
    'TGJAR_NRQM': ('Ma (for PI)', 'NRQM_model.mat'),
}
REGISTRIES = ('arch', 'dataset', 'model', 'loss', 'metric')

_BROKEN_IMPORT = re.compile(rb'^from torchvision\.transforms\.functional_tensor import rgb_to_grayscale(?=\s*$)', re.M)
_WORKING_IMPORT = b'from torchvision.transforms.functional import rgb_to_grayscale'


def main(argv: Sequence[str] | None = None) -> int:
    """Print the state of the installation. Returns 0 when all is in order, else 1, after saying what to do."""
    parser = argparse.ArgumentParser(prog='tgjar doctor', description='Check whether everything is in place.')
    parser.add_argument('--fix', action='store_true',
                        help='install BasicSR 1.4.2 where it is missing, and repair an import of it, as its master '
                        'branch does, so that its own scripts run')
    arguments = parser.parse_args(argv)
    to_do = []
    if arguments.fix:
        try:
            if find_spec('basicsr') is None:
                print(install_basicsr(), flush=True)
            print(fix_import(degradations_file()))
        except InstallError as error:
            to_do.append(f'BasicSR was not installed: {error}')
        except OSError as error:
            to_do.append(f'The import of BasicSR was not repaired: {error}. Run this as the owner of that file; '
                         '`tgjar train` and `tgjar test` work without.')

    _say('tgjar', f'{VERSION}  {Path(tgjar_arch.__file__).parent}')
    _say('python', f'{platform.python_version()}  {sys.executable}')
    for name in LIBRARIES:
        version = basicsr_version() if name == 'basicsr' else _version(name)
        _say(name, version or 'missing')
        if version is None:
            command = INSTALL_BASICSR if name == 'basicsr' else f'pip install {name}'
            to_do.append(f'{name} is missing: {command}')
    _say('device', device())

    has_basicsr = find_spec('basicsr') is not None  # else its line above says what to do
    fault = stock_import_error() if has_basicsr else None
    if has_basicsr:
        _say('stock basicsr', 'imports' if fault is None else f'does not import: {fault}')
    if fault is not None:
        remedy = 'tgjar doctor --fix' if 'functional_tensor' in fault else INSTALL_BASICSR
        to_do.append(f'BasicSR\'s own train.py and test.py do not run ("{fault}"): {remedy}')

    for kind, names in (registered() if has_basicsr else {}).items():
        _say(kind, ' '.join(names) or 'nothing registered')
        if not names:
            to_do.append(f'No {kind} is registered by tgjar_arch, so files of it are missing: install it again.')
    _say('weights', f'{" ".join(shipped())}  {FOLDER}' if shipped() else 'none shipped; make some with `tgjar export`')
    for variable, (metric, name) in METRIC_WEIGHTS.items():
        path = os.environ.get(variable)
        _say(metric, f'weights from {variable}={path}' if path else downloaded(name) or
             f'no weights yet: downloaded when they are needed, or from {variable}')
        if path and not Path(path).expanduser().is_file():
            to_do.append(f'{variable} names {path}, which does not exist: correct it, or unset it.')

    sys.stdout.flush()
    for line in to_do:
        print(f'TO DO: {line}', file=sys.stderr)
    if not to_do:
        print('All in order.')
    return 1 if to_do else 0


def basicsr_version() -> str | None:
    """Version of what imports as `basicsr`, with its name where that is another: `basicsr-fixed` and others."""
    names = dict.fromkeys(metadata.packages_distributions().get('basicsr', []))
    if not names:  # a clone on the path, which no package manager knows
        spec = find_spec('basicsr')
        return None if spec is None or spec.origin is None else f'from {Path(spec.origin).parent}'
    return ', '.join(f'{_version(name)}' if name == 'basicsr' else f'{_version(name)} ({name})' for name in names)


def degradations_file() -> Path:
    """Path of the file of the installed BasicSR that holds the broken import; found without importing BasicSR."""
    spec = find_spec('basicsr')
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f'BasicSR is not installed ({INSTALL_BASICSR})')
    return Path(next(iter(spec.submodule_search_locations))) / 'data' / 'degradations.py'


def fix_import(path: Path) -> str:
    """Replace the import of a module that torchvision 0.17 removed by the one of BasicSR's master branch.

    Only that line changes; the file is exchanged in one step, and not touched when there is nothing to change.

    Args:
        path: BasicSR's `data/degradations.py`.

    Returns:
        What was done, in one line.

    Raises:
        OSError: the file cannot be read or exchanged; it is then as it was.
    """
    content = path.read_bytes()
    fixed, count = _BROKEN_IMPORT.subn(_WORKING_IMPORT, content)
    if not count:
        return f'The import of BasicSR needs no fix ({path}).'
    with atomic(path) as temporary:
        temporary.write_bytes(fixed)
        shutil.copymode(path, temporary)
    return f'Repaired the import of BasicSR in {path}.'


def stock_import_error() -> str | None:
    """Import BasicSR in a fresh process, without this plugin. Returns the last line of the error, or None."""
    # -P: a folder named basicsr in the working directory is not the installed one
    done = subprocess.run([sys.executable, '-P', '-c', 'import basicsr'], capture_output=True, text=True)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f'exit code {done.returncode}'


def registered() -> dict[str, list[str]]:
    """Names in BasicSR's registries whose objects are defined in this package, for each kind of REGISTRIES."""
    from basicsr.utils import registry

    tgjar_arch.register()
    return {kind: sorted(name for name, entry in getattr(registry, f'{kind.upper()}_REGISTRY')
                         if entry.__module__.startswith('tgjar_arch.')) for kind in REGISTRIES}


def device() -> str:
    """Describe what networks run on here."""
    import torch

    if not torch.cuda.is_available():
        return f'CPU, {torch.get_num_threads()} threads (torch finds no CUDA device)'
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f'{", ".join(names)} (CUDA {torch.version.cuda})'


def downloaded(name: str) -> str | None:
    """Where a download of weights lies: below torch's hub folder, in `checkpoints` or a package's own folder."""
    try:
        from torch.hub import get_dir
    except ImportError:
        return None
    return next((f'weights {path}' for path in sorted(Path(get_dir()).glob(f'*/{name}'))), None)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _say(label: str, text: str) -> None:
    print(f'{label:<14} {text}')
