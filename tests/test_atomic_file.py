"""Files that appear whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.checkout import ROOT
from tgjar_arch import atomic_file
from tgjar_arch.atomic_file import MAX_NAME, atomic, sweep, temporary_path

TWO_DAYS_AGO = time.time() - 2 * 24 * 3600


@pytest.mark.parametrize('durable', [False, True])
def test_the_file_is_the_old_one_until_the_new_one_is_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / 'deep' / 'a.txt'
    with atomic(path, durable) as temporary:
        temporary.write_text('first')
        assert not path.exists() and temporary.parent == path.parent and temporary.suffix == '.tmp'
    assert path.read_text() == 'first'
    with pytest.raises(OSError, match='disk'), atomic(path, durable) as temporary:
        temporary.write_text('hal')
        raise OSError('the disk is full')
    assert path.read_text() == 'first' and list(path.parent.iterdir()) == [path]
    with atomic(str(path), durable) as temporary:
        temporary.write_text('second')
    assert path.read_text() == 'second'


def test_a_path_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / 'a' / 'b').mkdir(parents=True)
    with pytest.raises(OSError), atomic(tmp_path / 'a') as temporary:
        temporary.touch()
    assert list(tmp_path.iterdir()) == [tmp_path / 'a']


def test_an_error_of_the_disk_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / 'a.png'
    with pytest.raises(OSError) as caught, atomic(path):
        raise OSError(errno.ENOSPC, 'No space left on device')
    assert str(caught.value) == f"[Errno {errno.ENOSPC}] No space left on device: '{path}'"
    with pytest.raises(OSError) as caught, atomic(path) as temporary:  # as shutil.copyfile
        raise OSError(errno.ENOSPC, 'No space left on device', str(tmp_path / 'source'), None, str(temporary))
    assert str(caught.value) == f"[Errno {errno.ENOSPC}] No space left on device: '{path}'"
    with pytest.raises(FileNotFoundError) as caught, atomic(path):
        pass  # nothing was written
    assert caught.value.filename == str(path) and '.tmp' not in str(caught.value)
    with pytest.raises(FileNotFoundError) as caught, atomic(path):
        Path(tmp_path / 'other').read_bytes()
    assert caught.value.filename == str(tmp_path / 'other')


def test_processes_of_one_number_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, 'getpid', lambda: 1)  # as in every container
    path = tmp_path / 'a.txt'
    with atomic(path) as first:
        first.write_text('first')
        with atomic(path) as second:
            second.write_text('second')
            assert first != second and first.read_text() == 'first'
        assert path.read_text() == 'second' and first.is_file()
    assert path.read_text() == 'first' and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('name', ['a.png', 'x' * MAX_NAME, 'ä' * (MAX_NAME // 2), 'two\nlines'])
def test_what_a_kill_left_is_swept_after_a_day(tmp_path: Path, name: str) -> None:
    old, young = temporary_path(tmp_path / name), temporary_path(tmp_path / name)
    tree = temporary_path(tmp_path / 'train', '.lmdb')
    at_work = temporary_path(tmp_path / 'train', '.lmdb')
    others = [tmp_path / other for other in ('.a.png.123.tmp', 'b.tmp', '.tgjar', f'{name[:9]}.tgjar-{"0" * 16}.tmp',
                                             '.a.tgjar-12.tmp')]
    for folder in (tree, at_work):
        folder.mkdir()
        (folder / 'data.mdb').touch()
    for file in (old, young, *others):
        file.touch()
    for file in (old, tree / 'data.mdb', tree, at_work, *others):
        os.utime(file, (TWO_DAYS_AGO, TWO_DAYS_AGO))
    with atomic(tmp_path / 'b.txt') as temporary:
        temporary.touch()
    assert sorted(tmp_path.iterdir()) == sorted([young, at_work, tmp_path / 'b.txt', *others])


def test_a_folder_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path)
    monkeypatch.setattr(atomic_file.os, 'scandir', lambda folder: pytest.fail('it was looked through again'))
    sweep(tmp_path)
    sweep(tmp_path / 'missing')


def test_orphans_that_cannot_be_removed_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = temporary_path(tmp_path / 'a')
    orphan.touch()
    os.utime(orphan, (TWO_DAYS_AGO, TWO_DAYS_AGO))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, 'Permission denied')

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'unlink', refuse)
        sweep(tmp_path)
    assert orphan.is_file()


@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='Windows has no such signal')
def test_a_kill_while_saving_leaves_the_old_file_and_an_orphan_of_our_naming(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    path.write_text('old')
    script = ('import sys, time\nfrom tgjar_arch.atomic_file import atomic\n'
              'with atomic(sys.argv[1]) as temporary:\n'
              '    temporary.write_text("half")\n    print("ready", flush=True)\n    time.sleep(60)\n')
    with subprocess.Popen([sys.executable, '-c', script, path], stdout=subprocess.PIPE, text=True,
                          env=os.environ | {'PYTHONPATH': str(ROOT)}) as process:
        assert process.stdout is not None and process.stdout.readline() == 'ready\n'
        process.kill()
    (orphan,) = set(tmp_path.iterdir()) - {path}
    assert path.read_text() == 'old' and orphan.name.startswith('.a.txt.tgjar-')
    os.utime(orphan, (TWO_DAYS_AGO, TWO_DAYS_AGO))
    with atomic(path) as temporary:
        temporary.write_text('new')
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == 'new'
