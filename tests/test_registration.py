"""The plugin registers every class, shadows nobody's package, and stays light."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import basicsr
import pytest

from tests.helpers.checkout import ROOT, run_python
from tgjar_arch.version import VERSION

SOURCES = ('tgjar_arch', 'datasets', 'losses')
SUFFIXES = ('_arch', '_dataset', '_loss', '_model')
HEAVY = ('mmengine', 'transformers', 'matplotlib', 'gradio', 'tensorboard', 'pyiqa', 'torchmetrics', 'torch_fidelity')

REPORT = """
import json, sys
import basicsr.utils.registry as registry
KINDS = ('arch', 'dataset', 'model', 'loss', 'metric')
def names():
    registries = {kind: getattr(registry, kind.upper() + '_REGISTRY') for kind in KINDS}
    return {kind: {name: entry.__module__ for name, entry in items} for kind, items in registries.items()}
before = names()
import tgjar_arch
tgjar_arch.register()
print('REPORT' + json.dumps({'modules': sorted(sys.modules), 'before': before, 'after': names()}))
"""
SHIM = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location('compat', {str(ROOT / 'tgjar_arch' / 'compat.py')!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
compat.prepare()
"""


def report(root: Path, cwd: Path) -> dict:
    """What a process of its own has imported, and registered before and after `import tgjar_arch` from `root`."""
    output = run_python(SHIM + REPORT, cwd, root).stdout
    return json.loads(output[output.index('REPORT') + len('REPORT'):])


def registering_modules(root: Path) -> set[str]:
    """Module names of the files under `root` that register something, by their suffix; metrics by their functions."""
    found = set()
    for source in SOURCES:
        for file in (root / source).rglob('*.py'):
            parts = file.relative_to(root).with_suffix('').parts
            name = '.'.join(parts if source == 'tgjar_arch' else ('tgjar_arch', *parts))
            if parts[:2] == ('tgjar_arch', 'metrics'):
                nodes = ast.parse(file.read_text('utf-8')).body
                if any(isinstance(node, ast.FunctionDef) and node.name.startswith('calculate_') for node in nodes):
                    found.add(name)
            elif file.stem.endswith(SUFFIXES):
                found.add(name)
    return found


@pytest.fixture(scope='module')
def checkout_report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return report(ROOT, tmp_path_factory.mktemp('elsewhere'))


@pytest.fixture
def checkout_copy(tmp_path: Path) -> Path:
    """A copy of the sources, to add mistakes to."""
    root = tmp_path / 'copy'
    for source in SOURCES:
        shutil.copytree(ROOT / source, root / source, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT / 'setup.py', root)
    return root


def test_every_registering_file_is_imported(checkout_report: dict) -> None:
    expected = registering_modules(ROOT)
    assert {'tgjar_arch.archs.generator_arch', 'tgjar_arch.datasets.paired_image_text_dataset',
            'tgjar_arch.losses.contrastive_loss', 'tgjar_arch.metrics.lpips',
            'tgjar_arch.models.tgjar_model'} <= expected
    missing = expected - set(checkout_report['modules'])
    assert not missing, f'add a line to tgjar_arch/registration.py for {sorted(missing)}'


def test_every_registering_file_registers(checkout_report: dict) -> None:
    ours = {module for names in checkout_report['after'].values() for module in names.values()}
    assert registering_modules(ROOT) == {module for module in ours if module.startswith('tgjar_arch.')}


def test_names_of_the_design(checkout_report: dict) -> None:
    after = checkout_report['after']
    assert {'TGJARGenerator', 'TGJARDiscriminator', 'LSTMTextEncoder'} <= set(after['arch'])
    assert 'PairedImageTextDataset' in after['dataset']
    assert 'TGJARModel' in after['model']
    assert {'PerceptualContrastiveLoss', 'DAMSMLoss', 'ChromaBlockLoss', 'GridPatternLoss'} <= set(after['loss'])
    assert {'calculate_lpips', 'calculate_pi', 'calculate_ma'} <= set(after['metric'])


def test_names_do_not_clash_with_basicsr(checkout_report: dict) -> None:
    for kind, before in checkout_report['before'].items():
        after = checkout_report['after'][kind]
        assert {name: after[name] for name in before} == before
        # BasicSR looks for NAME_basicsr where NAME is missing, so these may not be taken either
        added = set(after) - set(before)
        assert not added & {name.removesuffix('_basicsr') for name in before}


def test_forgotten_and_clashing_files_are_found(checkout_report: dict, checkout_copy: Path, tmp_path: Path) -> None:
    """The tests above would fail: a file without a line in the table, and a class of a name that BasicSR has."""
    (checkout_copy / 'losses' / 'forgotten_loss.py').write_text('')
    (checkout_copy / 'tgjar_arch' / 'metrics' / 'forgotten.py').write_text('def calculate_nothing(): ...\n')
    missing = registering_modules(checkout_copy) - set(checkout_report['modules'])
    assert missing == {'tgjar_arch.losses.forgotten_loss', 'tgjar_arch.metrics.forgotten'}

    (checkout_copy / 'tgjar_arch' / 'archs' / 'clash_arch.py').write_text('class RRDBNet:\n    pass\n')
    code = ('from tgjar_arch import registration\n'
            'registration.NAMES["arch"]["RRDBNet"] = "tgjar_arch.archs.clash_arch"\n'
            'import basicsr.archs\n'
            'registration.register()')
    done = run_python(code, tmp_path, checkout_copy, check=False)
    assert "'RRDBNet' was already registered in 'arch'" in done.stderr


def test_registration_again_changes_nothing(tmp_path: Path) -> None:
    code = ('import tgjar_arch\n'
            'tgjar_arch.register()\n'
            'from basicsr.utils.registry import ARCH_REGISTRY\n'
            'before = dict([*ARCH_REGISTRY])\n'
            'tgjar_arch.register()\n'
            'assert dict([*ARCH_REGISTRY]) == before and "TGJARGenerator" in before')
    run_python(code, tmp_path, ROOT)


def test_line_of_an_option_file_registers(tmp_path: Path) -> None:
    """As BasicSR's own scripts read it, which import nothing of ours."""
    file = tmp_path / 'options.yml'
    file.write_text('plugin: !!python/name:tgjar_arch.__version__  # a comment\nname: x\n')
    code = SHIM + (f'import sys; sys.path.insert(0, {str(ROOT)!r})\n'
                   'import yaml\n'
                   'from basicsr.utils.options import ordered_yaml\n'
                   'from basicsr.utils.registry import ARCH_REGISTRY\n'
                   'assert "TGJARGenerator" not in ARCH_REGISTRY\n'
                   f'options = yaml.load(open({str(file)!r}), Loader=ordered_yaml()[0])\n'
                   'print(options["plugin"], "TGJARGenerator" in ARCH_REGISTRY)')
    assert run_python(code, tmp_path).stdout == f'{VERSION} True\n'


def test_import_is_light(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, '-c', 'import sys, tgjar_arch; print(*sys.modules)'], cwd=tmp_path,
                          env=os.environ | {'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert 'tgjar_arch' in imported
    assert not imported & {'torch', 'torchvision', 'basicsr', 'numpy', 'cv2', 'PIL'}


def test_registration_is_light(checkout_report: dict) -> None:
    imported = {name.partition('.')[0] for name in checkout_report['modules']}
    assert not imported & set(HEAVY)


@pytest.fixture
def without_basicsr(tmp_path: Path) -> str:
    """Code that hides BasicSR from all that comes after it."""
    return ('import sys, importlib.abc\n'
            'class Hidden(importlib.abc.MetaPathFinder):\n'
            '    def find_spec(self, name, path=None, target=None):\n'
            '        if name.partition(".")[0] == "basicsr":\n'
            '            raise ModuleNotFoundError(f"No module named {name!r}", name=name)\n'
            'sys.meta_path.insert(0, Hidden())\n')


def test_losses_and_restorer_without_basicsr(without_basicsr: str, tmp_path: Path) -> None:
    """Three lines in a training loop of one's own, where BasicSR is not installed."""
    code = without_basicsr + """
import torch
from tgjar_arch import Restorer, TextFeatures, __version__
from tgjar_arch.losses.chroma_loss import ChromaBlockLoss
from tgjar_arch.losses.contrastive_loss import PerceptualContrastiveLoss
from tgjar_arch.losses.damsm_loss import DAMSMLoss
from tgjar_arch.losses.grid_loss import GridPatternLoss
from tgjar_arch.metrics.lpips import build_lpips
images = torch.rand(3, 2, 3, 32, 32).unbind()
assert PerceptualContrastiveLoss(pretrained=False)(*images).item() > 0
text = TextFeatures(torch.rand(2, 8, 3), torch.rand(2, 8), torch.ones(2, 3, dtype=torch.bool))
assert DAMSMLoss()(torch.rand(2, 8, 2, 2), torch.rand(2, 8), text).item() > 0
restored = Restorer.from_pretrained('tgjar_cub_qf1')(images[0][0], 'a red bird')
assert restored.shape == (3, 32, 32)
assert not any(name.partition('.')[0] == 'basicsr' for name in sys.modules)
import tgjar_arch
try:
    tgjar_arch.register()
except ImportError as error:
    print(error)
"""
    printed = run_python(code, tmp_path, ROOT).stdout
    assert printed.startswith('this needs BasicSR, which is not installed in') and 'pip install' in printed


def test_losses_beside_an_old_fork(tmp_path: Path) -> None:
    """NAFNet and others carry a BasicSR without `basicsr.utils.registry`: the losses work, `register` says why not."""
    fork = tmp_path / 'fork' / 'basicsr'
    (fork / 'utils').mkdir(parents=True)
    (fork / '__init__.py').write_text('')
    (fork / 'utils' / '__init__.py').write_text('def get_root_logger(): ...\n')
    code = ('from tgjar_arch.losses.contrastive_loss import PerceptualContrastiveLoss\n'
            'from tgjar_arch.losses.damsm_loss import DAMSMLoss\n'
            'import basicsr, tgjar_arch\n'
            'PerceptualContrastiveLoss(pretrained=False)\n'
            'try:\n'
            '    tgjar_arch.register()\n'
            'except ImportError as error:\n'
            '    print(basicsr.__file__, error, sep="\\n")')
    where, why = run_python(code, tmp_path, fork.parent, ROOT).stdout.splitlines()
    assert where == str(fork / '__init__.py')
    assert why.startswith('the installed BasicSR has no registries (basicsr.utils.registry)')


def test_data_and_loss_folders_are_no_packages() -> None:
    for folder in ('datasets', 'losses'):
        assert (ROOT / folder).is_dir()
        assert not list((ROOT / folder).rglob('__init__.py')), f'{folder}/__init__.py would shadow the package {folder}'


@pytest.mark.parametrize('inside', [True, False], ids=['in the checkout', 'elsewhere'])
def test_package_datasets_is_not_shadowed(inside: bool, tmp_path: Path) -> None:
    """A package named as Hugging Face's is imported after the plugin, although it comes later on the path."""
    library = tmp_path / 'library'
    (library / 'datasets').mkdir(parents=True)
    (library / 'datasets' / '__init__.py').write_text('NAME = "hugging face"\n')
    code = ('import tgjar_arch, datasets, tgjar_arch.datasets.paired_image_text_dataset as ours\n'
            'print(datasets.NAME, ours.__file__)')
    done = run_python(code, ROOT if inside else tmp_path, ROOT, library)
    assert done.stdout == f'hugging face {ROOT / "datasets" / "paired_image_text_dataset.py"}\n'


def test_basicsr_folder_on_the_path_is_not_taken_for_ours(tmp_path: Path) -> None:
    """As under `python basicsr/train.py`, where the top-level name losses is BasicSR's own folder."""
    folder = Path(basicsr.__file__).parent
    code = (SHIM + f'sys.path.insert(0, {str(folder)!r})\n'
            'import tgjar_arch.losses.contrastive_loss as ours, importlib.util\n'
            'print(ours.__file__, importlib.util.find_spec("losses").origin, sep="\\n")')
    done = run_python(code, tmp_path, ROOT)
    ours, theirs = done.stdout.splitlines()
    assert ours == str(ROOT / 'losses' / 'contrastive_loss.py')
    assert theirs == str(folder / 'losses' / '__init__.py')
