"""Which files of a folder are pictures, and their names."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tgjar_arch.file_kind import oddity

JPEG_SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif', '.jif', '.jfi', '.pjpeg', '.pjp', '.mpo')
IMAGE_SUFFIXES = (*JPEG_SUFFIXES, '.png', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.jp2')
# Pictures too, but not for training: some have no reader everywhere, and a GIF has 256 colours.
OTHER_SUFFIXES = ('.avif', '.heic', '.heif', '.hif', '.gif', '.apng', '.jxl', '.j2k', '.jpx', '.j2c', '.jpc', '.jpf',
                  '.pgm', '.pbm', '.pnm')
ALL_SUFFIXES = IMAGE_SUFFIXES + OTHER_SUFFIXES
# Never read, but pictures to whoever has them: the raw files of cameras, whose content is TIFF with a thumbnail, and
# formats of drawing programs, games and rendering.
UNREAD_SUFFIXES = ('.dng', '.cr2', '.cr3', '.nef', '.nrw', '.arw', '.orf', '.rw2', '.raf', '.pef', '.srw', '.psd',
                   '.psb', '.xcf', '.svg', '.eps', '.tga', '.pcx', '.dib', '.ico', '.icns', '.sgi', '.dds', '.qoi',
                   '.exr', '.hdr', '.pfm', '.pam', '.jxr', '.wdp')
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


def is_unread(path: str | os.PathLike[str], head: bytes) -> bool:
    """Whether a file with these first 16 bytes is a picture of a format of `UNREAD_SUFFIXES`, and not misnamed."""
    is_unread_name = os.fspath(path).lower().endswith(UNREAD_SUFFIXES)
    return is_unread_name and (head.startswith((b'II*\0', b'MM\0*')) or not is_picture_head(head))


def has_jpeg_content(path: Path) -> bool:
    """Whether a file begins as a JPEG file does, whatever its name is; False where it cannot be read."""
    try:
        with open(path, 'rb') as file:
            return file.read(3) == b'\xff\xd8\xff'
    except OSError:
        return False


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
                suffixes: tuple[str, ...] = IMAGE_SUFFIXES, on_odd: Callable[[Path, str], None] | None = None,
                by_content: bool = False) -> list[str]:
    """Return the paths from `root` of all image files under it, in any depth, with '/'; hidden ones are left out.

    Args:
        root: the folder.
        on_error: as of `walk`.
        suffixes: in lower case, with the dot.
        on_odd: called with an entry of such a name that is no file (a pipe, a device, a link to itself), and what it
            is; by default it is left out.
        by_content: take JPEG files of other suffixes, or of none, as well.
    """
    found = []
    for folder, files in walk(root, on_error):
        prefix = folder.relative_to(root)
        for name in files:
            if name.startswith('.') or not (by_content or name.lower().endswith(suffixes)):
                continue
            try:
                odd = oddity(folder / name)
            except OSError as error:  # deleted in the meantime, or on a disk that fails
                odd = error.strerror or type(error).__name__
            named = name.lower().endswith(suffixes)
            if odd is not None:
                if named and on_odd is not None:
                    on_odd(folder / name, odd)
            elif named or has_jpeg_content(folder / name):
                found.append((prefix / name).as_posix())
    return found
