"""Files that appear whole or not at all, also after a kill or on a full disk."""

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_NAME = 255  # bytes of a file name, on all common file systems
_OURS = re.compile(r'\..*\.tgjar-[0-9a-f]{16}\.\w+', re.DOTALL)
_DAY = 24 * 60 * 60  # seconds
_swept: set[tuple[int, int]] = set()  # folders, by device and inode


def fitting_name(name: str, ending: str = '', limit: int = MAX_NAME) -> str:
    """Return `name + ending`, its name cut if it has more than `limit` bytes; a digest then keeps it apart from others.

    Args:
        name: of a file, without a folder.
        ending: is kept whole, such as a suffix.
        limit: in bytes, as the file system counts them.
    """
    if len(os.fsencode(name + ending)) <= limit:
        return name + ending
    digest = '~' + hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
    room = max(limit - len(os.fsencode(digest + ending)), 0)
    # A character that the cut would halve goes as a whole; bytes that are no UTF-8 stay what they are.
    kept = name[:room]
    while len(os.fsencode(kept)) > room:
        kept = kept[:-1]
    return kept + digest + ending



def temporary_path(path: Path, suffix: str = '.tmp') -> Path:
    """Return a path beside `path` that nobody else uses, also on other machines that share the folder.

    A process number would not do: every container has a process 1.
    """
    return path.with_name(fitting_name(f'.{path.name}', f'.tgjar-{secrets.token_hex(8)}{suffix}'))


def sweep(folder: Path) -> None:
    """Remove what kills and power cuts have left in a folder: temporary files of ours that are older than a day.

    Only the first call for a folder looks. Younger ones may be at work, on whatever machine, and what has another kind
    of name is somebody else's.
    """
    with suppress(OSError):
        status = os.stat(folder)
        if (place := (status.st_dev, status.st_ino)) in _swept:
            return
        _swept.add(place)
        with os.scandir(folder) as entries:
            orphans = [Path(entry.path) for entry in entries if _OURS.fullmatch(entry.name)]
        for orphan in orphans:
            with suppress(OSError):  # another process was faster, or it is not ours to remove
                is_folder = orphan.is_dir() and not orphan.is_symlink()
                parts = [orphan, *orphan.iterdir()] if is_folder else [orphan]
                if time.time() - max(part.lstat().st_mtime for part in parts) > _DAY:
                    shutil.rmtree(orphan) if is_folder else orphan.unlink()


@contextmanager
def atomic(path: str | os.PathLike, durable: bool = False) -> Iterator[Path]:
    """Give a path to write to, and move the file to `path` in the end, in the place of an older one.

    Args:
        path: the file; its folder is made, and swept (`sweep`).
        durable: wait until the content is on the disk, so that neither does a power cut leave half a file.

    Yields:
        A path beside it that ends in .tmp; what is there when an error is raised is removed, and `path` untouched.

    Raises:
        OSError: when it cannot be written; it names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    temporary = temporary_path(path)
    try:
        yield temporary
        if durable:
            with open(temporary, 'rb+') as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # A full disk names no file, and the temporary one says nothing to whoever reads the message.
        if error.strerror and (error.filename is None or str(temporary) in (error.filename, error.filename2)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
