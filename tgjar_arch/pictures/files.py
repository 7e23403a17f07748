"""Which files of a folder are pictures, and their names."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.jp2')


def image_name(path: str) -> str:
    """Return `path` without an image suffix; other dots (`004.Groove_billed_Ani`, `photo.v2`) belong to the name."""
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in IMAGE_SUFFIXES else path


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


def list_images(root: Path, on_error: Callable[[OSError], None] | None = None) -> list[str]:
    """Return the paths from `root` of all image files under it, in any depth, with '/'; hidden ones are left out.

    Args:
        root: the folder.
        on_error: as of `walk`.
    """
    found = []
    for folder, files in walk(root, on_error):
        prefix = folder.relative_to(root)
        found += [(prefix / name).as_posix() for name in files
                  if not name.startswith('.') and name.lower().endswith(IMAGE_SUFFIXES)]
    return found
