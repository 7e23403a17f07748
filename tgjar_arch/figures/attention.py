"""The picture of word attention: the restored image, and over it the heat map of each word."""

import os
from math import sqrt

import numpy as np
from PIL import Image

from tgjar_arch.figures.canvas import Canvas, check_suffix, open_canvas
from tgjar_arch.pictures.panel import wrap_text
from tgjar_arch.restoration.attention import WordAttention

_LEAST, _MOST = 192, 384  # pixels of the longer side of a cell: smaller images are enlarged, larger ones reduced
_SHAPE = 1.6  # width of the grid against its height, about
_NARROWEST = .25  # of a word's mean attention: the range that the colours span at least; less is nothing to look at
_HEAT, _GREY_IMAGE = .65, .25  # of the colours in a cell, and of the image in grey: white would outshine them
_BLACK, _GREY = '#000000', '#6e6e6e'
_CAPTION_LINES = 3


def draw_attention(image: np.ndarray, attention: WordAttention, path: str | os.PathLike, caption: str = '',
                   dpi: int = 150) -> None:
    """Draw a wrapped grid: the image, then for each word its heat map over the image, with the word below.

    Each word has its own colours, from its least attention (dark) to its greatest (light), and the two stand below it
    in percent. A word that gets the same everywhere is drawn in one colour.

    Args:
        image: (H, W, 3) uint8, RGB: what the maps lie over.
        attention: words, and maps (T, H, W) of the image's size.
        path: file to write, .png or .pdf; it appears whole or not at all.
        caption: stands above the grid.
        dpi: device pixels an inch.

    Raises:
        ImportError: when matplotlib is missing.
        OSError: when the file cannot be written.
        ValueError: when the maps do not fit the image or the words, or the file has another suffix.
    """
    check_suffix(path)
    words, maps = attention
    if maps.shape != (len(words), *image.shape[:2]):
        raise ValueError(f'attention of {len(words)} words for an image of {image.shape[1]} x {image.shape[0]} pixels '
                         f'must be {(len(words), *image.shape[:2])}, but is {maps.shape}.')
    size = _cell(*image.shape[1::-1])
    with open_canvas(dpi) as canvas:
        pictures = [_resized(image, size)] + [_resized(heat_map(image, one), size) for one in maps]
        titles = ['restored', *words]
        notes = ['', *(f'{100 * one.min():.1f} to {100 * one.max():.1f} %' for one in maps)]
        _draw(canvas, pictures, titles, notes, f'“{caption}”' if caption else '', path)


def heat_map(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Lay the attention of one word over an image, in colours from its least to its greatest value.

    Args:
        image: (H, W, 3) uint8, RGB.
        attention: (H, W), in [0, 1].

    Returns:
        (H, W, 3) uint8, RGB.
    """
    from matplotlib import colormaps

    least, greatest = float(attention.min()), float(attention.max())
    span = max(greatest - least, _NARROWEST * float(attention.mean()), 1e-6)
    level = .5 + (attention - (least + greatest) / 2) / span
    colours = colormaps['inferno'](level)[..., :3] * 255
    grey = image @ np.array([.299, .587, .114], np.float32)
    return (_HEAT * colours + _GREY_IMAGE * grey[..., None]).round().astype(np.uint8)


def _cell(width: int, height: int) -> tuple[int, int]:
    """Width and height of a cell."""
    longer = max(width, height)
    scale = min(_MOST / longer, 1.) if longer >= _LEAST else -(-_LEAST // longer)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[1::-1] == size:
        return image
    how = Image.Resampling.NEAREST if size[0] > image.shape[1] else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, how))


def _draw(canvas: Canvas, pictures: list[np.ndarray], titles: list[str], notes: list[str], caption: str,
          path: str | os.PathLike) -> None:
    height, width = pictures[0].shape[:2]
    font = round(.085 * max(_LEAST, min(width, _MOST)), 1)
    column = max(width, round(7 * font))  # room for a word below a narrow image
    gap, high = round(.75 * font), round(1.25 * font)
    row = height + 2 * high + gap
    across = min(len(pictures), max(2, round(sqrt(_SHAPE * len(pictures) * row / (column + gap)))))
    total = gap + across * (column + gap)

    def write(text: str, middle: float, top: int, size: float, bold: bool, colour: str) -> None:
        left = middle - canvas.text_width(text, size, bold) / 2
        canvas.text(left, top + round(.88 * size), text, size, bold, colour)

    def wrapped(text: str, room: int, size: float, bold: bool, lines: int) -> list[str]:
        return wrap_text(canvas.printable(text), lambda part: canvas.text_width(part, size, bold) <= room, lines)

    top = gap
    for line in wrapped(caption, total - 2 * gap, font, False, _CAPTION_LINES):
        write(line, total / 2, top, font, False, _BLACK)
        top += high
    if caption:
        top += gap
    for k, (picture, title, note) in enumerate(zip(pictures, titles, notes, strict=True)):
        middle = gap + (k % across) * (column + gap) + column / 2
        upper = top + (k // across) * row
        canvas.picture(round(middle - width / 2), upper, picture)
        below = upper + height + gap // 4
        for line in wrapped(title, column, font, k > 0, 1):
            write(line, middle, below, font, k > 0, _BLACK if k else _GREY)
        write(note, middle, below + high, .8 * font, False, _GREY)
    canvas.save(path, total, top + -(-len(pictures) // across) * row + gap // 2)
