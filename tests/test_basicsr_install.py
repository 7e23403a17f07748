"""BasicSR is installed also where its setup.py fails, as on Python 3.13: a small package with the same fault."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.helpers.checkout import ROOT
from tgjar_arch import basicsr_install
from tgjar_arch.basicsr_install import InstallError, install_basicsr

# BasicSR's own lines. Before them, what Python 3.13 does: names that `exec` makes in a function are in no locals().
SETUP = """
import builtins
from setuptools import setup


def exec(code, *names):
    builtins.exec(code, *(names or ({},)))


version_file = 'basicsr/version.py'


def get_version():
    with open(version_file, 'r') as f:
        exec(compile(f.read(), version_file, 'exec'))
    return locals()['__version__']


setup(name='basicsr', version=get_version(), packages=['basicsr'], install_requires=['no-such-package-tgjar'])
"""


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder with the source distribution, and nothing else that pip may take."""
    source = tmp_path / 'basicsr-1.4.2'
    (source / 'basicsr').mkdir(parents=True)
    (source / 'setup.py').write_text(SETUP)
    (source / 'basicsr' / '__init__.py').write_text('')
    (source / 'basicsr' / 'version.py').write_text("__version__ = '1.4.2'\n")
    (source / 'PKG-INFO').write_text('Metadata-Version: 2.1\nName: basicsr\nVersion: 1.4.2\n')
    with tarfile.open(tmp_path / 'basicsr-1.4.2.tar.gz', 'w:gz') as archive:
        archive.add(source, source.name)
    return tmp_path


def pip(target: Path, index: Path) -> list[str]:
    """Arguments that let pip take from the folder alone, and install there rather than in the tests' environment."""
    return ['--no-index', '--find-links', str(index), '--no-cache-dir', '--target', str(target), '--no-deps']


def test_pip_alone_fails_and_the_correction_helps(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = pip(tmp_path / 'site', index)
    alone = subprocess.run([sys.executable, '-m', 'pip', 'install', '--no-build-isolation', *arguments,
                            'basicsr==1.4.2'], capture_output=True, text=True)
    assert alone.returncode and "KeyError: '__version__'" in alone.stderr + alone.stdout
    # setuptools and wheel are here, and this index has neither.
    pip_install = basicsr_install._pip
    monkeypatch.setattr(basicsr_install, '_pip', lambda *what, **how: pip_install(*what, **how) if how else None)
    monkeypatch.delenv('PYTHONPATH', raising=False)
    assert install_basicsr(*arguments) == f'Installed basicsr==1.4.2 in {sys.prefix}.'
    found = sorted(path.name for path in (tmp_path / 'site').iterdir())
    assert found == ['basicsr', 'basicsr-1.4.2.dist-info']
    assert (tmp_path / 'site' / 'basicsr' / 'version.py').read_text() == "__version__ = '1.4.2'\n"


def test_a_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'empty').mkdir()
    monkeypatch.setattr(basicsr_install, '_TOOLS', ('no-such-package-tgjar',))
    with pytest.raises(InstallError, match='^pip could not install no-such-package-tgjar .*: ERROR: .*') as caught:
        install_basicsr(*pip(tmp_path / 'site', tmp_path / 'empty'))
    assert '\n' not in str(caught.value)


def test_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'pip.py').write_text('raise SystemExit("/python: No module named pip")\n')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    with pytest.raises(InstallError, match='/python: No module named pip$'):
        install_basicsr()


def test_other_files_are_read_as_they_are_and_nothing_warns(tmp_path: Path) -> None:
    """The correction itself, with every warning an error."""
    (tmp_path / 'sitecustomize.py').write_text(basicsr_install._SITECUSTOMIZE)
    files = {'a/setup.py': SETUP, 'b/setup.py': "print('é', locals()['__version__'])\n", 'c.py': SETUP}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding='utf-8')
    code = 'import tokenize, sys\nfor name in sys.argv[1:]:\n    print(ascii(tokenize.open(name).read()))'
    done = subprocess.run([sys.executable, '-W', 'error', '-c', code, *files], cwd=tmp_path, capture_output=True,
                          text=True, env={**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{ROOT}'})
    assert done.returncode == 0, done.stderr
    corrected, other, plain = (eval(line) for line in done.stdout.splitlines())
    assert other == files['b/setup.py'] and plain == SETUP
    assert corrected == SETUP.replace("exec(compile(f.read(), version_file, 'exec'))",
                                      "found = {}; exec(compile(f.read(), version_file, 'exec'), found)").replace(
        "locals()['__version__']", "found['__version__']")
