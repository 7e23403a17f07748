"""Importing tgjar_arch registers every class, shadows nobody's package, and stays light."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import basicsr
import pytest

ROOT = Path(__file__).resolve().parents[1]
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
print('REPORT' + json.dumps({'modules': sorted(sys.modules), 'before': before, 'after': names()}))
"""
SHIM = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location('compat', {str(ROOT / 'tgjar_arch' / 'compat.py')!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
compat.prepare()
"""


def run_python(code: str, cwd: Path, *path: Path, check: bool = True) -> subprocess.CompletedProcess:
    """Run code in a fresh process, whose path starts with the folders given."""
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(map(str, path)), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, '-c', code], cwd=cwd, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


def report(root: Path, cwd: Path) -> dict:
    """What a fresh process has imported, and registered before and after `import tgjar_arch` from `root`."""
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
    assert not missing, f'add an import line to tgjar_arch/__init__.py for {sorted(missing)}'


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
    """The tests above would fail: a file without an import line, and a class of a name that BasicSR has."""
    (checkout_copy / 'losses' / 'forgotten_loss.py').write_text('')
    (checkout_copy / 'tgjar_arch' / 'metrics' / 'forgotten.py').write_text('def calculate_nothing(): ...\n')
    missing = registering_modules(checkout_copy) - set(checkout_report['modules'])
    assert missing == {'tgjar_arch.losses.forgotten_loss', 'tgjar_arch.metrics.forgotten'}

    with open(checkout_copy / 'tgjar_arch' / 'generator_arch.py', 'a', encoding='utf-8') as file:
        file.write('\n\n@ARCH_REGISTRY.register()\nclass RRDBNet(nn.Module):\n    pass\n')
    done = run_python('import tgjar_arch', tmp_path, checkout_copy, check=False)
    assert "'RRDBNet' was already registered in 'arch'" in done.stderr


def test_import_is_light(checkout_report: dict) -> None:
    imported = {name.partition('.')[0] for name in checkout_report['modules']}
    assert not imported & set(HEAVY)


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
