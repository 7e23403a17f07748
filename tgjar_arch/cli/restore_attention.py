"""`tgjar restore --attention`: pictures of what the words of a caption were read for."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from tgjar_arch.figures.attention import draw_attention
from tgjar_arch.figures.canvas import require_matplotlib
from tgjar_arch.pictures.photo import Photo, read_photo
from tgjar_arch.pictures.write import to_srgb
from tgjar_arch.restoration.attention import WordAttention, check_attention, word_attention
from tgjar_arch.restoration.restorer import Restorer

if TYPE_CHECKING:
    from tgjar_arch.cli.restore_files import Job


def file_of(job: 'Job', args: argparse.Namespace) -> Path:
    """Where the maps of a picture go: below --attention, as its result below --output, which may be one file."""
    below = Path(job.target.name) if job.target == args.output else job.target.relative_to(args.output)
    return args.attention / below.with_suffix('.png')  # all results of a run have one suffix: no two names become one


def check(restorer: Restorer, jobs: Sequence['Job'], args: argparse.Namespace) -> None:
    """Find what is wrong before anything is restored.

    Raises:
        ImportError: when matplotlib is missing.
        ValueError: when the networks have no word attention, no text is wanted, or the maps would replace a picture.
    """
    require_matplotlib()
    check_attention(restorer)
    if args.text_strength == 0:
        raise ValueError('--text-strength 0 restores without text, of which --attention shows the use; leave one out.')
    if args.attention.exists() and not args.attention.is_dir():
        raise ValueError(f'--attention {args.attention} is a file; name a folder.')
    taken = {file.resolve() for job in jobs for file in (job.source, job.target)}
    for file in (file_of(job, args) for job in jobs):
        if file.resolve() in taken:
            raise ValueError(f'the attention maps would replace the picture {file}; give --attention another folder.')


def draw(restorer: Restorer, photo: Photo, picture: np.ndarray, caption: str, file: Path) -> None:
    """Draw the maps over the restored picture; without a usable caption there are none, which is said.

    Args:
        restorer: the networks.
        photo: the file.
        picture: (H, W, 3) uint8, restored, upright and in sRGB.
        caption: '' for none.
        file: .png or .pdf; it appears whole or not at all.

    Raises:
        OSError: when the file cannot be written.
        ValueError: when the picture is too large.
    """
    if not restorer.tokenizer.encode(caption):
        tqdm.write(f'no attention maps: {photo.path} has no caption with a known word.', file=sys.stderr)
        return
    words, maps = word_attention(restorer, photo.pixels, caption)
    maps = photo.upright(maps.transpose(1, 2, 0)).transpose(2, 0, 1)
    draw_attention(picture, WordAttention(words, maps), file, caption)


def draw_missing(restorer: Restorer, photo: Photo, caption: str, job: 'Job', args: argparse.Namespace) -> None:
    """Draw the maps of a picture over its result of an earlier run.

    Raises:
        OSError, ValueError: as of `draw`, or when the result cannot be read, or is not of the picture's size.
    """
    result = read_photo(job.target, args.max_pixels)
    if result.size != photo.size:
        raise ValueError(f'{job.target} is not of the size of {job.source}; --overwrite restores it again.')
    draw(restorer, photo, to_srgb(result.pixels, result.icc), caption, file_of(job, args))
