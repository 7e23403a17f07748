"""tgjar doctor: what it finds, and the one line it may change in BasicSR."""

import os
import re
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from tests.helpers.checkout import ROOT
from tests.helpers.forked import python
from tgjar_arch.basicsr_install import InstallError
from tgjar_arch.cli import doctor
from tgjar_arch.compat import INSTALL_BASICSR
from tgjar_arch.metrics.fid import INCEPTION_FILE

BROKEN = b"""import torch
# from torchvision.transforms.functional_tensor import rgb_to_grayscale, as a comment
from torchvision.transforms.functional_tensor import rgb_to_grayscale

NAME = 'torchvision.transforms.functional_tensor'
"""
MENDED = BROKEN.replace(b'\nfrom torchvision.transforms.functional_tensor', b'\nfrom torchvision.transforms.functional')


@pytest.fixture
def degradations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a BasicSR that cannot be imported, found in place of the installed one."""
    folder = tmp_path / 'basicsr'
    (folder / 'data').mkdir(parents=True)
    (folder / '__init__.py').write_text('raise RuntimeError("must not be imported")\n')
    path = folder / 'data' / 'degradations.py'
    path.write_bytes(BROKEN)
    path.chmod(0o640)
    spec = ModuleSpec('basicsr', None, is_package=True)
    spec.submodule_search_locations.append(str(folder))
    monkeypatch.setattr(doctor, 'find_spec', {'basicsr': spec}.get)
    return path


def test_fix_changes_that_line_only(degradations: Path) -> None:
    message = doctor.fix_import(doctor.degradations_file())
    assert degradations.read_bytes() == MENDED
    assert 'Repaired' in message and str(degradations) in message
    assert degradations.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in degradations.parent.iterdir()] == ['degradations.py']


def test_fix_keeps_windows_line_ends(degradations: Path) -> None:
    degradations.write_bytes(BROKEN.replace(b'\n', b'\r\n'))
    doctor.fix_import(degradations)
    assert degradations.read_bytes() == MENDED.replace(b'\n', b'\r\n')


def test_fix_twice_leaves_the_file_alone(degradations: Path) -> None:
    doctor.fix_import(degradations)
    before = degradations.stat()
    assert 'needs no fix' in doctor.fix_import(degradations)
    after = degradations.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_fix_that_cannot_be_written_says_so(degradations: Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, 'Permission denied', str(target))

    monkeypatch.setattr(os, 'replace', refuse)
    monkeypatch.setattr(doctor, 'stock_import_error', lambda: None)
    assert doctor.main(['--fix']) == 1
    error = capsys.readouterr().err
    assert 'Permission denied' in error and str(degradations) in error and 'as the owner' in error
    assert degradations.read_bytes() == BROKEN
    assert [path.name for path in degradations.parent.iterdir()] == ['degradations.py']


def test_without_basicsr_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, 'find_spec', lambda name: None)
    with pytest.raises(FileNotFoundError, match=re.escape(INSTALL_BASICSR)):
        doctor.degradations_file()


def test_what_is_missing_of_basicsr_is_one_thing_to_do(monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, 'find_spec', lambda name: None)
    monkeypatch.setattr(doctor.metadata, 'packages_distributions', dict)
    assert doctor.main([]) == 1
    out, err = capsys.readouterr()
    assert err.splitlines() == [f'TO DO: basicsr is missing: {INSTALL_BASICSR}'] and 'basicsr        missing' in out


def test_fix_installs_basicsr_where_it_is_missing(degradations: Path, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    spec, installed = doctor.find_spec('basicsr'), []
    monkeypatch.setattr(doctor, 'find_spec', lambda name: spec if installed else None)
    monkeypatch.setattr(doctor, 'install_basicsr', lambda: installed.append(1) or 'Installed basicsr==1.4.2 in here.')
    monkeypatch.setattr(doctor, 'stock_import_error', lambda: None)
    doctor.main(['--fix'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'Installed basicsr==1.4.2 in here.' and lines[1].startswith('Repaired the import of BasicSR in ')
    doctor.main(['--fix'])
    assert installed == [1] and 'needs no fix' in capsys.readouterr().out


def test_fix_that_cannot_install_basicsr_says_why(monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> str:
        raise InstallError('pip could not install basicsr==1.4.2: ERROR: no network')

    monkeypatch.setattr(doctor, 'find_spec', lambda name: None)
    monkeypatch.setattr(doctor.metadata, 'packages_distributions', dict)
    monkeypatch.setattr(doctor, 'install_basicsr', fail)
    assert doctor.main(['--fix']) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == 'TO DO: BasicSR was not installed: pip could not install basicsr==1.4.2: ERROR: no network'
    assert second.startswith('TO DO: basicsr is missing: ')


def test_stock_import_is_tried_in_a_fresh_process(degradations: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    assert doctor.stock_import_error() == 'RuntimeError: must not be imported'


def test_fix_makes_the_installed_basicsr_import(tmp_path: Path) -> None:
    """On a copy of the installed file, with its line as the package index has it, in a process without this plugin."""
    source = doctor.degradations_file().read_bytes()
    copy = tmp_path / 'degradations.py'
    copy.write_bytes(source.replace(doctor._WORKING_IMPORT, BROKEN.splitlines()[2]))
    assert 'Repaired' in doctor.fix_import(copy)
    assert copy.read_bytes() == source.replace(BROKEN.splitlines()[2], doctor._WORKING_IMPORT)
    done = python(copy)
    assert done.returncode == 0, done.stderr


def test_all_in_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, 'stock_import_error', lambda: None)
    assert doctor.main([]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert 'TGJARGenerator' in lines['arch'] and 'RRDBNet' not in lines['arch']
    assert 'TGJARModel' in lines['model']
    assert lines['torch'][0].isdigit()
    assert lines['All'] == 'in order.'


def test_downloads_have_the_names_torchvision_gives_them() -> None:
    from torchvision.models import get_model_weights

    for trunk, model in {'ALEX': 'alexnet', 'VGG': 'vgg16', 'SQUEEZE': 'squeezenet1_1'}.items():
        url = get_model_weights(model).IMAGENET1K_V1.url
        assert doctor.METRIC_WEIGHTS[f'TGJAR_LPIPS_{trunk}'][1] == url.rpartition('/')[2]
    assert doctor.METRIC_WEIGHTS['TGJAR_FID_INCEPTION'][1] == INCEPTION_FILE


def test_what_to_do_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, 'stock_import_error',
                        lambda: "ModuleNotFoundError: No module named 'torchvision.transforms.functional_tensor'")
    monkeypatch.setattr(doctor, 'LIBRARIES', ('torch', 'no-such-library-tgjar'))
    assert doctor.main([]) == 1
    captured = capsys.readouterr()
    assert 'tgjar doctor --fix' in captured.err
    assert 'no-such-library-tgjar is missing: pip install no-such-library-tgjar' in captured.err
    assert 'All in order' not in captured.out


def test_weights_of_metrics_that_are_not_where_they_are_said_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / 'alex.npz'
    there.touch()
    monkeypatch.setattr(doctor, 'stock_import_error', lambda: None)
    monkeypatch.setenv('TGJAR_LPIPS_ALEX', str(there))
    monkeypatch.setenv('TGJAR_NRQM', str(tmp_path / 'gone.mat'))
    hub = tmp_path / 'torch' / 'hub'
    (hub / 'checkpoints').mkdir(parents=True)
    (hub / 'checkpoints' / 'vgg16-397923af.pth').touch()
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(hub))
    for variable in ('TGJAR_FID_INCEPTION', 'TGJAR_LPIPS_VGG'):
        monkeypatch.delenv(variable, raising=False)
    assert doctor.main([]) == 1
    out, err = capsys.readouterr()
    assert f'LPIPS alex     weights from TGJAR_LPIPS_ALEX={there}' in out
    assert 'FID            no weights yet: downloaded when they are needed, or from TGJAR_FID_INCEPTION' in out
    assert f'LPIPS vgg      weights {hub / "checkpoints" / "vgg16-397923af.pth"}' in out
    assert f'TGJAR_NRQM names {tmp_path / "gone.mat"}, which does not exist' in err and 'ALEX' not in err


@pytest.mark.parametrize(('installed', 'said'), [
    (['basicsr'], '1.4.2'), (['basicsr-fixed'], '1.4.2 (basicsr-fixed)'), (['basicsr', 'basicsr'], '1.4.2')])
def test_any_distribution_that_imports_as_basicsr(installed: list[str], said: str,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, 'packages_distributions', lambda: {'basicsr': installed})
    monkeypatch.setattr(doctor.metadata, 'version', lambda name: '1.4.2')
    assert doctor.basicsr_version() == said


def test_a_clone_on_the_path_is_a_basicsr_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, 'packages_distributions', dict)
    monkeypatch.setattr(doctor, 'find_spec', lambda name: ModuleSpec(name, None, origin='/clone/basicsr/__init__.py'))
    assert doctor.basicsr_version() == f'from {Path("/clone/basicsr")}'
    monkeypatch.setattr(doctor, 'find_spec', lambda name: None)
    assert doctor.basicsr_version() is None


def test_nothing_of_basicsr_needs_future() -> None:
    """Its metadata require it, setup.py does not."""
    code = ('import sys; sys.modules["future"] = sys.modules["past"] = None\n'
            'import tgjar_arch, basicsr.train, basicsr.test; print("imports")')
    done = python('-c', code, path=(ROOT,))
    assert done.stdout == 'imports\n', done.stderr
