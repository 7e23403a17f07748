"""Which files of a folder are pictures, and their names."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

JPEG_SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif', '.jif', '.jfi', '.pjpeg', '.pjp', '.mpo')
IMAGE_SUFFIXES = (*JPEG_SUFFIXES, '.png', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.jp2')
# Pictures too, but not for training: some have no reader everywhere, and a GIF has 256 colours.
OTHER_SUFFIXES = ('.avif', '.heic', '.heif', '.hif', '.gif', '.apng', '.jxl', '.j2k', '.jpx')
ALL_SUFFIXES = IMAGE_SUFFIXES + OTHER_SUFFIXES
_SIGNATURES = re.compile(
    rb'\xff\xd8\xff|\x89PNG|RIFF....WEBP|BM|II\*\0|MM\0\*|\0\0\0\x0cjP|GIF8|....ftyp(avi|hei|hev|mif|msf)|'
    rb'\0\0\0\x0cJXL|\xff\x0a|P[1-6]\s', re.DOTALL)


def image_name(path: str) -> str:
    """Return `path` without an image suffix; other dots (`004.Groove_billed_Ani`, `photo.v2`) belong to the name."""
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in ALL_SUFFIXES else path


def is_picture_head(head: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a picture, of a kind that may or may not be readable here."""
    return _SIGNATURES.match(head) is not None


def is_jpeg_file(path: Path) -> bool:
    """Whether a file is JPEG by its content; where that is no picture at all or cannot be read, by its suffix."""
    try:
        with open(path, 'rb') as file:
            head = file.read(16)
    except OSError:
        head = b''
    return head.startswith(b'\xff\xd8\xff') if is_picture_head(head) else path.suffix.lower() in JPEG_SUFFIXES


def walk(root: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder under `root` with the names of its files, in a fixed order.

    Hidden folders are left out. Links to folders are followed, but no folder is visited twice, as in a loop of links:
    after the folder itself its links count no more, and of several links the first.

    Args:
        root: where to begin; folders are given as paths that begin with it.
        on_error: called when a folder cannot be read (`error.filename`); by default it is left out.
    """
    visited, starts = set(), [Path(root)]
    while starts:
        for folder, folders, files in os.walk(starts.pop(0), onerror=on_error):
            status = os.stat(folder)
            if (place := (status.st_dev, status.st_ino)) in visited:
                folders.clear()
                continue
            visited.add(place)
            folders[:] = sorted(name for name in folders if not name.startswith('.'))
            starts += [path for name in folders if (path := Path(folder, name)).is_symlink()]
            yield Path(folder), sorted(files)


def list_images(root: Path, on_error: Callable[[OSError], None] | None = None,
                suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[str]:
    """Return the paths from `root` of all image files under it, in any depth, with '/'; hidden ones are left out.

    Args:
        root: the folder.
        on_error: as of `walk`.
        suffixes: in lower case, with the dot.
    """
    found = []
    for folder, files in walk(root, on_error):
        prefix = folder.relative_to(root)
        found += [(prefix / name).as_posix() for name in files
                  if not name.startswith('.') and name.lower().endswith(suffixes)]
    return found
