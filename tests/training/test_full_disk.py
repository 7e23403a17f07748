"""A disk that is full or read-only while a training runs: one line, the last good checkpoint, exit code 1."""

import copy
import errno
import logging
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.training.test_pipeline import OPTIONS, workspace, write  # noqa: F401  a fixture
from tgjar_arch.cli.main import main
from tgjar_arch.models import checkpoints
from tgjar_arch.training import pipeline


def one_line(errors: str) -> str:
    """The last line, which is the command's; there is no traceback."""
    assert 'Traceback' not in errors
    lines = errors.strip().splitlines()
    assert [line for line in lines if line.startswith('tgjar train: ')] == lines[-1:]
    return lines[-1]


def test_a_checkpoint_on_a_full_disk(workspace: Path, monkeypatch: pytest.MonkeyPatch,  # noqa: F811
                                     capsys: pytest.CaptureFixture[str]) -> None:
    """The checkpoint of iteration 2 is whole; that of iteration 4 and the last one find no room."""
    options = copy.deepcopy(OPTIONS) | {'model_type': 'TGJARModel', 'num_gpu': 0}
    options['train']['pixel_opt'] = {'type': 'L1Loss', 'loss_weight': 1.}
    options['val'] = {'val_freq': 100, 'save_img': False}
    original, count = torch.save, []

    def full(content: object, file: object, *args: object, **how: object) -> None:
        count.append(content)
        if len(count) <= 2:  # network and state
            original(content, file, *args, **how)
            return
        file.write(b'half')  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, 'No space left on device')

    logged: list[str] = []
    log = SimpleNamespace(error=logged.append, info=logged.append, warning=logged.append)
    monkeypatch.setattr(checkpoints, 'get_root_logger', lambda: log)  # whatever stream the real one has got hold of
    monkeypatch.setattr(torch, 'save', full)
    assert main(['train', '-opt', write(options)]) == 1
    errors = capsys.readouterr().err
    line = one_line(errors[errors.rindex('tgjar train: '):])
    assert 'net_g_latest.pth: the disk is full (No space left on device)' in line
    state = Path('experiments', 'tiny', 'training_states', '2.state')
    assert f'the last good checkpoint is that of iteration 2 ({state})' in line and '--auto_resume' in line
    assert [text for text in logged if text.startswith('The checkpoint of iteration 4 was not saved')]
    assert sorted(file.name for file in workspace.glob('experiments/tiny/*/*') if file.suffix in ('.pth', '.tmp')) == [
        'net_g_2.pth']


@pytest.mark.parametrize('error, said', [
    (OSError(errno.EROFS, 'Read-only file system', os.path.abspath('experiments/tiny')), 'the disk is read-only'),
    (PermissionError(errno.EACCES, 'Permission denied', 'experiments'), 'the folder on the disk may not be written'),
    (PermissionError(errno.EACCES, 'Permission denied', 'tb_logger/tiny'), 'the folder on the disk may not be written'),
    (OSError(errno.ENOSPC, 'No space left on device'), 'the disk is full (No space left on device); no checkpoint'),
])
def test_other_files_that_cannot_be_written(workspace: Path, monkeypatch: pytest.MonkeyPatch,  # noqa: F811
                                            capsys: pytest.CaptureFixture[str], error: OSError, said: str) -> None:
    def fail(settings: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, '_pipeline', fail)
    assert main(['train', '-opt', 'tiny.yml']) == 1
    line = one_line(capsys.readouterr().err)
    assert said in line and 'no checkpoint has been saved before' in line
    monkeypatch.setenv('TGJAR_TRACEBACK', '1')
    with pytest.raises(OSError, match=error.strerror):
        main(['train', '-opt', 'tiny.yml'])


def test_a_picture_that_may_not_be_read_is_no_fault_of_the_disk(workspace: Path,  # noqa: F811
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(settings: object) -> None:
        raise PermissionError(errno.EACCES, 'Permission denied', 'gt/chelsea.png')

    monkeypatch.setattr(pipeline, '_pipeline', fail)
    with pytest.raises(PermissionError):
        main(['train', '-opt', 'tiny.yml'])


def test_the_log_and_threads_are_quiet_about_it_alone(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[object] = []
    handle = pipeline._quiet_on_disk_faults(lambda handler, record: told.append(record))
    hook = pipeline._quiet_in_threads(told.append)
    for error in (OSError(errno.ENOSPC, 'No space left on device'), ValueError('a bug')):
        try:
            raise error
        except Exception:
            handle(logging.NullHandler(), 'a record')
        hook(threading.ExceptHookArgs((type(error), error, None, None)))
        assert len(told) == (0 if isinstance(error, OSError) else 2)
