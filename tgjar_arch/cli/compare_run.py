"""What `tgjar compare` does once its arguments are read: restores a picture with each caption and draws the figure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tgjar_arch.figures.canvas import MAX_PIXELS as SHEET_PIXELS
from tgjar_arch.figures.canvas import check_suffix, require_matplotlib
from tgjar_arch.figures.comparison import draw_captions
from tgjar_arch.figures.zoom import Zoom, read_zoom
from tgjar_arch.pictures.photo import Photo, describe, read_photo
from tgjar_arch.pictures.write import upright_srgb
from tgjar_arch.restoration.file import compression_of
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.cleaning import clean
from tgjar_arch.text.tokenizer import kept_of_caption
from tgjar_arch.weights.shipped import find_weights, quality_limit


@dataclass(frozen=True)
class CompareSettings:
    """What `tgjar compare` was asked for.

    Attributes:
        file: the JPEG file.
        captions: one picture is restored with each; '' is none.
        output: the figure, .png or .pdf.
        original: the picture before compression; None: it is not drawn.
        zoom: words of `read_zoom`; None: `auto` with an original, else `none`.
        dpi: device pixels an inch.
        overwrite: replace a figure that is already there.
        max_pixels: refuse pictures with more.
        weights: see `find_weights`.
        text_strength, tile, self_ensemble, device: see `Restorer`.
    """

    file: Path
    captions: Sequence[str]
    output: Path
    original: Path | None
    zoom: Sequence[str] | None
    dpi: int
    overwrite: bool
    max_pixels: int
    weights: Path | None
    text_strength: float
    tile: int | None
    self_ensemble: bool
    device: str | None


def check_files(settings: CompareSettings) -> tuple[Photo, np.ndarray | None, Zoom]:
    """Find what is wrong with files and window, before anything is restored.

    Returns:
        The JPEG file, the original upright in sRGB (None if there is none) and what is enlarged.

    Raises:
        ImportError: if matplotlib is missing.
        OSError: if a file cannot be read, or the output is already there.
        ValueError: if a file or the window is not as it must be.
    """
    require_matplotlib()
    check_suffix(settings.output)
    for file in (settings.file, settings.original):
        if file is not None and settings.output.exists() and file.exists() and settings.output.samefile(file):
            raise ValueError(f'{file} would be replaced by the figure; name another output.')
    if settings.output.is_dir() or settings.output.exists() and not settings.overwrite:
        kind = 'a folder' if settings.output.is_dir() else 'already there; --overwrite replaces it'
        raise FileExistsError(f'{settings.output} is {kind}.')
    for file in (settings.file, settings.original):
        if file is not None and file.is_dir():
            raise IsADirectoryError(f'{file} is a folder; name one picture of it.')
    photo = read_photo(settings.file, settings.max_pixels)
    original = None
    if settings.original is not None:
        other = read_photo(settings.original, settings.max_pixels)
        original = upright_srgb(other, other.pixels)
        if other.size != photo.size:
            raise ValueError(f'the original {settings.original} is {other.size[0]} x {other.size[1]}, but '
                             f'{settings.file} is {photo.size[0]} x {photo.size[1]}.')
    zoom = read_zoom(settings.zoom or ['none' if original is None else 'auto'])
    width, height = photo.size
    if zoom == 'auto' and original is None:
        raise ValueError('--zoom auto finds where JPEG lost most, which only the --original tells; give it, or a '
                         'window such as --zoom 96 64 64 40.')
    if isinstance(zoom, tuple):
        x, y, across, down = zoom
        if min(across, down) < 1 or x + across > width or y + down > height:
            raise ValueError(f'--zoom {x} {y} {across} {down} does not lie inside {settings.file}, which is {width} x '
                             f'{height}.')
    columns = len(settings.captions) + 1 + (original is not None)
    if columns * width * height > SHEET_PIXELS:
        raise ValueError(f'{settings.file} is {width} x {height}: {columns} of it are more than the {SHEET_PIXELS:,} '
                         'pixels of a figure; cut a part out of it, or give fewer captions.')
    return photo, original, zoom


def load(weights: Path, settings: CompareSettings) -> Restorer:
    """Load the networks.

    Raises:
        OSError, ValueError: if the file is no weights file, or its networks take no text.
    """
    restorer = Restorer.from_pretrained(weights, settings.device, self_ensemble=settings.self_ensemble)
    if not restorer.takes_text:
        raise ValueError(f'{restorer.name} takes no captions, and all pictures would be equal; give --weights of a '
                         'network that does.')
    if settings.tile and not restorer.can_tile:
        raise ValueError(f'{restorer.name} cannot restore in seamless tiles; leave --tile out.')
    return restorer


def notes(restorer: Restorer, photo: Photo, qf: int | None, captions: Sequence[str], max_qf: int) -> list[str]:
    """What to know about the figure: captions that are not used, or not as a whole, and a file of too good quality."""
    lines = []
    for caption in filter(None, captions):
        known = len(restorer.tokenizer.encode(caption))
        if not known:
            lines.append(f'"{caption}" has no known word: its picture is restored without text.')
        elif known > restorer.max_words:
            kept = kept_of_caption(restorer.tokenizer, restorer.max_words)
            lines.append(f'"{caption}" is cut to {kept}.')
    if qf is not None and qf > max_qf:
        lines.append(f'{photo.path} is {describe(photo)}: better than {max_qf}, and restoring may harm it.')
    return lines


def _title(photo: Photo) -> str:
    if photo.jpeg is None:
        return photo.format
    return f'JPEG (QF {"" if photo.jpeg.standard_tables else "about "}{photo.jpeg.qf})'


def compare(settings: CompareSettings, say: Callable[[str], None]) -> str:
    """Restore with each caption and draw the figure, which appears whole or not at all.

    Args:
        settings: what to draw.
        say: called with lines that a user should know.

    Returns:
        What was drawn, and how far the pictures differ.

    Raises:
        ImportError, OSError, RuntimeError, ValueError: if something is missing or not as it must be.
    """
    photo, original, zoom = check_files(settings)
    captions = [clean(caption) for caption in settings.captions]
    weights = find_weights(settings.weights)
    restorer = load(weights, settings)
    found = compression_of(photo)
    for line in notes(restorer, photo, found.qf, captions, quality_limit(weights)):
        say(line)
    # The figure shows what the words do, so also where they colour a grey picture.
    results = [restorer(photo.pixels, caption, text_strength=settings.text_strength, tile=settings.tile,
                        grid=found.grid, colourise=True) for caption in captions]
    pictures = [upright_srgb(photo, result) for result in results]
    draw_captions(upright_srgb(photo, photo.pixels), list(zip(captions, pictures, strict=True)), settings.output,
                  original, zoom, settings.dpi, _title(photo))
    first = results[0].astype(np.int16)
    differences = ', '.join(f'{np.abs(result - first).mean():.2f}' for result in results[1:])
    return f'{settings.output}: {len(results)} pictures' + (
        f'; from the first the others differ by {differences} of 255 on average' if differences else '')
