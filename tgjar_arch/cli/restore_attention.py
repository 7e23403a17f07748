"""`tgjar restore --attention`: pictures of what the words of a caption were read for."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tgjar_arch.cli.restore_files import Job
from tgjar_arch.cli.screen import one_line
from tgjar_arch.figures.attention import draw_attention
from tgjar_arch.figures.canvas import require_matplotlib
from tgjar_arch.pictures.photo import Photo, read_photo
from tgjar_arch.pictures.write import to_srgb
from tgjar_arch.restoration.attention import WordAttention, check_attention, word_attention
from tgjar_arch.restoration.file import compression_of
from tgjar_arch.restoration.grid import Grid
from tgjar_arch.restoration.restorer import Restorer


def plan(jobs: Sequence[Job], output: Path, folder: Path) -> dict[Job, Path]:
    """Where the maps of each picture go: the same place below `folder` as its result below `output`.

    Raises:
        ValueError: if maps would replace a picture.
    """
    taken = {file.resolve() for job in jobs for file in (job.source, job.target)}
    maps = {}
    for job in jobs:
        below = Path(job.target.name) if job.target == output else job.target.relative_to(output)
        file = folder / below.with_suffix('.png')  # all results of a run have one suffix: no two names become one
        if file.resolve() in taken:
            raise ValueError(f'the attention maps would replace the picture {file}; give --attention another folder.')
        maps[job] = file
    return maps


def check(restorer: Restorer, folder: Path, text_strength: float) -> None:
    """Find what is wrong before anything is restored.

    Raises:
        ImportError: if matplotlib is missing.
        ValueError: if the networks have no word attention, no text is wanted, or the folder is a file.
    """
    require_matplotlib()
    check_attention(restorer)
    if text_strength == 0:
        raise ValueError('--text-strength 0 restores without text, and --attention shows what the text is used for; '
                         'leave one out.')
    if folder.exists() and not folder.is_dir():
        raise ValueError(f'--attention {folder} is a file; name a folder.')


def draw(restorer: Restorer, photo: Photo, picture: np.ndarray, caption: str, grid: Grid, file: Path) -> None:
    """Draw the maps over the restored picture; without a usable caption there are none, and a line says so.

    Args:
        restorer: the networks.
        photo: the file.
        picture: (H, W, 3) uint8, restored, upright and in sRGB.
        caption: '' for none.
        grid: as of `Restorer`.
        file: .png or .pdf; it appears whole or not at all.

    Raises:
        OSError: if the file cannot be written.
        ValueError: if the picture is too large.
    """
    if not restorer.tokenizer.encode(caption):
        tqdm.write(one_line(f'no attention maps: {photo.path} has no caption with a known word.'), file=sys.stderr)
        return
    words, maps = word_attention(restorer, photo.pixels, caption, grid=grid)
    maps = photo.upright(maps.transpose(1, 2, 0)).transpose(2, 0, 1)
    draw_attention(picture, WordAttention(words, maps), file, caption)


def draw_missing(restorer: Restorer, photo: Photo, caption: str, result: Path, file: Path, max_pixels: int) -> None:
    """Draw the maps of a picture over its result of an earlier run.

    Args:
        restorer: the networks.
        photo: the file.
        caption: '' for none.
        result: the restored picture.
        file: see `draw`.
        max_pixels: refuse a result with more.

    Raises:
        OSError, ValueError: see `draw`; also if the result cannot be read, or does not have the picture's size.
    """
    restored = read_photo(result, max_pixels)
    if restored.size != photo.size:
        raise ValueError(f'{result} does not have the size of {photo.path}; --overwrite restores it again.')
    draw(restorer, photo, to_srgb(restored.pixels, restored.icc), caption, compression_of(photo).grid, file)
