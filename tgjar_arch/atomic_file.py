"""Files that appear whole or not at all, also after a kill or on a full disk."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_NAME = 255  # bytes of a file name, on all common file systems


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



@contextmanager
def atomic(path: str | os.PathLike, durable: bool = False) -> Iterator[Path]:
    """Give a path to write to, and move the file to `path` in the end, in the place of an older one.

    Args:
        path: the file; its folder is made.
        durable: wait until the content is on the disk, so that neither does a power cut leave half a file.

    Yields:
        A path beside it that ends in .tmp; what is there when an error is raised is removed, and `path` untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(fitting_name(f'.{path.name}', f'.{os.getpid()}.tmp'))
    try:
        yield temporary
        if durable:
            with open(temporary, 'rb+') as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
