"""The temporary folder of the page: the user's alone, bounded, and gone when the page is."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A path for the folder, which is not made here: nobody can guess it, and no two processes have the same.
PAGE_FOLDER = Path(tempfile.gettempdir()).resolve() / f'tgjar_app_{os.getpid()}_{secrets.token_hex(8)}'


@contextmanager
def private_folder(path: Path) -> Iterator[Path]:
    """Make a folder that only this user can enter, and remove it with all that is in it.

    Raises:
        OSError: when it cannot be made, or is there already.
    """
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(path, ignore_errors=True)  # a file that was written meanwhile


class Store:
    """A folder that holds so many files and bytes at most: the oldest go when there are more.

    Args:
        folder: files in it, however deep, count; those that lie there now are kept and do not.
        max_files, max_bytes: what it may hold.
    """

    def __init__(self, folder: Path, max_files: int, max_bytes: int) -> None:
        self._folder = folder
        self._max_files, self._max_bytes = max_files, max_bytes
        self._kept = {path for path, _ in self._files()}
        self._lock = threading.Lock()

    def tidy(self) -> None:
        """Remove the oldest files until what is left is within the bounds."""
        with self._lock:
            files = [found for found in self._files() if found[0] not in self._kept]
            files.sort(key=lambda found: found[1].st_mtime_ns, reverse=True)
            size = 0
            for count, (path, status) in enumerate(files, 1):
                size += status.st_size
                if count > self._max_files or size > self._max_bytes:
                    path.unlink(missing_ok=True)
                    if path.parent != self._folder:
                        _remove_if_empty(path.parent)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder, name)
                try:
                    status = path.lstat()
                except OSError:  # it is gone
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield path, status


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass
