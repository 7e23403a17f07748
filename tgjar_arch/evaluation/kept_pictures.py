"""Restored pictures that are kept from run to run."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from tgjar_arch.atomic_file import atomic
from tgjar_arch.evaluation.test_set import EvaluationSet, Progress
from tgjar_arch.pictures.files import list_images

_ORIGINAL = 'original'  # in the text chunk `tgjar` of what `write_originals` wrote


def folder_name(label: str) -> str:
    """The label of a method as the name of a folder: letters, digits and `._+-` stay, others become one `_`."""
    return re.sub(r'[^\w.+-]+', '_', label).strip('_.') or 'method'


def restored_path(out: str | os.PathLike, label: str, qf: int, name: str) -> Path:
    """Where `tgjar evaluate -o out` keeps the picture a network restored: `OUT/restored/METHOD/qfN/STEM.png`.

    Args:
        out: the output folder.
        label: the row's label, such as `TGJAR` or `TGJAR, wrong captions` (METHOD is its `folder_name`).
        qf: quality factor N.
        name: the image's path from the root of the test set without suffix (STEM; with folders if it has any).
    """
    return Path(out, 'restored', folder_name(label), f'qf{qf}', f'{name}.png')


def write_originals(images: EvaluationSet, out: str | os.PathLike, progress: Progress) -> list[Path]:
    """Write the originals as they are compared to `OUT/originals/STEM.png`, with the text chunk `tgjar`.

    What an earlier run wrote there and this one does not compare is removed, since BasicSR's scripts pair files by
    their order; files that do not bear our chunk are left.

    Returns:
        Image files there that are not of this run, to be moved away by hand.
    """
    folder = Path(out, 'originals')
    paths = {folder / f'{name}.png' for name in images.names}
    others = []
    for path in ([folder / file for file in sorted(list_images(folder))] if folder.is_dir() else []):
        if path in paths:
            continue
        if not is_made_from(path, _ORIGINAL):
            others.append(path)
            continue
        path.unlink()
        for parent in path.relative_to(folder).parents[:-1]:
            if not any((folder / parent).iterdir()):
                (folder / parent).rmdir()
    for name in progress(images.names, 'write the originals'):
        save_png(images.original(name), folder / f'{name}.png', {'tgjar': _ORIGINAL})
    return others


def is_made_from(path: Path, made_from: str) -> bool:
    if not path.is_file():
        return False
    try:
        with Image.open(path) as image:
            image.load()  # a file cut short has its text all the same
            return image.info.get('tgjar') == made_from
    except (OSError, SyntaxError):
        return False


def save_png(image: np.ndarray, path: Path, text: Mapping[str, str] | None = None) -> None:
    """Write a picture (H, W, 3) uint8 BGR with text chunks, whole or not at all, and make its folder."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_itxt(key, value)
    with atomic(path) as temporary:
        Image.fromarray(image[..., ::-1]).save(temporary, format='PNG', pnginfo=chunks)
