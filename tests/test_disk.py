"""Faults of the disk in words, and how saving meets them."""

import errno
import os
from pathlib import Path

import pytest
import torch

from tgjar_arch.disk import disk_fault
from tgjar_arch.weights.checkpoint import last_good, save_atomically


@pytest.mark.parametrize('code, words', [
    (errno.ENOSPC, 'the disk is full'), (errno.EROFS, 'the disk is read-only'),
    (errno.EFBIG, 'the disk, or a limit, allows no file of this size'), (errno.EIO, 'the disk fails')])
def test_words(code, words):
    words += f' ({os.strerror(code)})'
    assert disk_fault(OSError(code, os.strerror(code))) == words
    assert disk_fault(ValueError('x')) is None and disk_fault(None) is None
    assert disk_fault(OSError(errno.ENOENT, 'No such file')) is None
    assert disk_fault(RuntimeError(f'I/O error: {os.strerror(code)} (os error {code})')) == words


def test_what_an_error_arose_from_counts():
    try:
        try:
            raise OSError(errno.ENOSPC, 'No space left on device')
        except OSError:
            raise RuntimeError('unexpected pos 64 vs 0')  # noqa: B904  as torch's zip writer
    except RuntimeError as error:
        assert disk_fault(error).startswith('the disk is full')
        error.__cause__ = error  # a circle must end
        assert disk_fault(error) is None


def test_permissions_count_for_who_writes():
    error = PermissionError(errno.EACCES, 'Permission denied')
    assert disk_fault(error) is None
    assert disk_fault(error, is_writing=True) == 'the folder on the disk may not be written (Permission denied)'


@pytest.mark.parametrize('code, words', [(errno.ENOSPC, 'the disk is full'), (errno.EROFS, 'the disk is read-only'),
                                         (errno.EACCES, 'the folder on the disk may not be written')])
def test_a_checkpoint_is_one_line_and_the_old_one_stays(tmp_path, monkeypatch, code, words):
    path = tmp_path / 'net_g_5.pth'
    save_atomically({'params': {}}, path)
    before = path.read_bytes()

    def fail(self, *args, **how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(OSError) as caught:
        save_atomically({'params': {'x': torch.zeros(9)}}, path)
    assert str(caught.value) == f'could not write {path}: {words} ({os.strerror(code)})'
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


def test_a_limit_of_the_system(tmp_path):
    """Half of a file is written, and torch's zip writer raises an error of its own about it."""
    resource = pytest.importorskip('resource', reason='Windows has no such limit')
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            save_atomically({'params': {'x': torch.zeros(200_000)}}, tmp_path / 'a.pth')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == (f'could not write {tmp_path / "a.pth"}: the disk, or a limit, allows no file of this '
                                 'size (File too large)')
    assert list(tmp_path.iterdir()) == []


def test_the_last_good_checkpoint(tmp_path: Path):
    assert last_good(tmp_path / 'missing') == last_good(tmp_path) == 'no checkpoint has been saved before'
    for name in ('5.state', '10.state', '.20.state.tgjar-0123456789abcdef.tmp', 'x.state'):
        (tmp_path / name).touch()
    assert last_good(tmp_path) == f'the last good checkpoint is that of iteration 10 ({tmp_path / "10.state"})'
