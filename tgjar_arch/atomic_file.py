"""Files that appear whole or not at all, also after a kill or on a full disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        yield temporary
        if durable:
            with open(temporary, 'rb+') as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
