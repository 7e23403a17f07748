"""The wheel holds everything, and works without the checkout."""

import ast
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import tgjar_arch
from tests.helpers.checkout import ROOT, run_python

CODE = ('tgjar_arch', 'datasets', 'losses')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources: a build leaves files behind that the next one would take along."""
    source, target = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheel')
    for name in (*CODE, 'options'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    done = subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--quiet',
                           '--wheel-dir', str(target), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = target.iterdir()
    return path


@pytest.fixture(scope='module')
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as pip would lay it out."""
    folder = tmp_path_factory.mktemp('site-packages')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_wheel_holds_every_source_and_option_file(wheel: Path) -> None:
    expected = set()
    patterns = {**dict.fromkeys(CODE, ['*.py', '*.json', '*.safetensors', '*.md', 'py.typed']),
                'options': ['*.yml', '*.json', '*.md']}
    for folder in patterns:
        for pattern in patterns[folder]:
            for file in (ROOT / folder).rglob(pattern):
                path = file.relative_to(ROOT).as_posix()
                expected.add(path if folder == 'tgjar_arch' else f'tgjar_arch/{path}')
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if '.dist-info/' not in name}
    assert 'tgjar_arch/py.typed' in expected  # type checkers read our hints only where it is
    assert names == expected, 'a folder is missing under packages in setup.py'


def test_shipped_weights_are_found_in_an_installed_copy(installed: Path) -> None:
    found = runpy.run_path(str(installed / 'tgjar_arch' / 'weights' / 'shipped.py'))['shipped']()
    assert found == {file.stem: installed / 'tgjar_arch' / 'weights' / file.name
                     for file in (ROOT / 'tgjar_arch' / 'weights').glob('*.safetensors')}


def test_wheel_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f'tgjar-{tgjar_arch.__version__}.dist-info'
        metadata = archive.read(f'{info}/METADATA').decode()
        assert archive.read(f'{info}/entry_points.txt').decode().split() == [
            '[console_scripts]', 'tgjar', '=', 'tgjar_arch.cli.main:main']
    required = [line.split(': ')[1] for line in metadata.splitlines() if line.startswith('Requires-Dist: ')]
    always = {re.match(r'[\w-]+', line)[0].lower() for line in required if 'extra ==' not in line}
    assert {'torch', 'torchvision', 'mmengine', 'lpips', 'opencv-python', 'pyyaml', 'numpy', 'transformers'} <= always
    assert 'basicsr' not in always  # it would pull tb-nightly, see setup.py


def test_pythons_are_the_same_everywhere() -> None:
    """The bound of setup.py, its classifiers, `make setup` and CI speak of the same versions."""
    setup = (ROOT / 'setup.py').read_text('utf-8')
    least, above = (int(number) for number in re.search(r"python_requires='>=3\.(\d+),<3\.(\d+)'", setup).groups())
    versions = [f'3.{minor}' for minor in range(least, above)]
    assert re.findall(r'Python :: (3\.\d+)', setup) == versions
    assert f'(3, {least}) <= sys.version_info[:2] <= (3, {above - 1})' in (ROOT / 'Makefile').read_text('utf-8')
    ci = yaml.safe_load((ROOT / '.github' / 'workflows' / 'ci.yml').read_text('utf-8'))
    assert ci['jobs']['test']['strategy']['matrix']['python'] == versions
    for page in ('README.md', 'docs/install.md'):
        assert f'Python {", ".join(versions[:-1])} or {versions[-1]}' in (ROOT / page).read_text('utf-8')


def test_the_citation_is_that_of_the_readme_and_the_version_that_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text('utf-8'))
    assert citation['version'] == tgjar_arch.__version__ and citation['cff-version'] == '1.2.0'
    paper = citation['preferred-citation']
    bibtex = (ROOT / 'README.md').read_text('utf-8').partition('```bibtex')[2].replace('{', '').replace('}', '')
    assert paper['title'] in bibtex and f'year      = {paper["year"]}' in bibtex
    assert ' and '.join(f'{one["family-names"]}, {one["given-names"]}' for one in paper['authors']) in bibtex


def test_every_import_is_required() -> None:
    """What is imported at the top of a file of ours is the standard library's, or among the requirements.

    The page of `tgjar app` is imported by that command alone, which says how to install Gradio.
    """
    whole_extra = {ROOT / 'tgjar_arch' / 'app.py': {'gradio'}}
    import_names = {'opencv-python': 'cv2', 'pillow': 'PIL', 'pyyaml': 'yaml', 'scikit-image': 'skimage'}
    setup = ast.parse((ROOT / 'setup.py').read_text('utf-8'))
    (required,) = [keyword.value for node in ast.walk(setup) if isinstance(node, ast.Call)
                   for keyword in node.keywords if keyword.arg == 'install_requires']
    names = {item.value.split('>')[0] for item in required.elts}
    allowed = {import_names.get(name, name) for name in names} | {*sys.stdlib_module_names, 'basicsr', 'tgjar_arch'}
    for folder in CODE:
        for file in (ROOT / folder).rglob('*.py'):
            for node in ast.parse(file.read_text('utf-8')).body:
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
                    [node.module] if isinstance(node, ast.ImportFrom) else [])
                unknown = {module.partition('.')[0] for module in modules} - allowed - whole_extra.get(file, set())
                assert not unknown, f'{file} imports {unknown}: add it to setup.py, or import it where it is used'


def test_installed_copy_works_by_itself(installed: Path, tmp_path: Path) -> None:
    """From another folder: it finds its own parts, is not found as `datasets`, and `tgjar` runs."""
    code = ('import importlib.util, tgjar_arch\n'
            'import tgjar_arch.datasets.paired_image_text_dataset as a, tgjar_arch.losses.contrastive_loss as b\n'
            'print(*tgjar_arch.__path__, *tgjar_arch.datasets.__path__, a.__file__, b.__file__, sep="\\n")\n'
            'print(importlib.util.find_spec("datasets"))\n'
            'from tgjar_arch.cli.main import main\n'
            'raise SystemExit(main(["--version"]))')
    *paths, outsider, version = run_python(code, tmp_path, installed).stdout.splitlines()
    files = ['', 'datasets', 'datasets/paired_image_text_dataset.py', 'losses/contrastive_loss.py']
    assert paths == [str(installed / 'tgjar_arch' / file) for file in files]
    assert str(installed) not in outsider
    assert version == f'tgjar {tgjar_arch.__version__}'
