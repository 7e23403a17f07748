"""Pictures to look at: rows of images with a caption above each row."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_MARGIN = 8
_FONT_SIZE = 14
_LINE = 18
_MAX_LINES = 3


def draw_panel(rows: Sequence[tuple[str, Sequence[np.ndarray]]], columns: Sequence[str],
               cell: int | None = None) -> Image.Image:
    """Draw a comparison grid in the form of the paper's Figure 4.

    Args:
        rows: for each row its caption and its images, RGB uint8 (H, W, 3), as many as there are columns; sizes may
            differ.
        columns: column titles, written once at the top.
        cell: longer side of a cell in pixels; larger images are reduced to it, smaller ones stay. None: nothing is
            resized.

    Returns:
        The picture, RGB.

    Raises:
        ValueError: when there is no row, or a row has another number of images than there are columns.
    """
    if not rows:
        raise ValueError('draw_panel needs at least one row.')
    for caption, images in rows:
        if len(images) != len(columns):
            raise ValueError(f'row {caption!r} has {len(images)} images for {len(columns)} columns {list(columns)}.')

    font = ImageFont.load_default(size=_FONT_SIZE)
    pictures = [[_fit(Image.fromarray(image), cell) for image in images] for _, images in rows]
    widths = [max(row[k].width for row in pictures) for k in range(len(columns))]
    total_width = sum(widths) + _MARGIN * (len(widths) + 1)
    letters = max(12, int((total_width - 2 * _MARGIN) / (0.52 * _FONT_SIZE)))
    captions = [_lines(caption, letters) for caption, _ in rows]
    heights = [max(picture.height for picture in row) for row in pictures]
    total_height = _LINE + 2 * _MARGIN + sum(heights) + sum(_LINE * len(lines) + _MARGIN for lines in captions)

    panel = Image.new('RGB', (total_width, total_height), 'white')
    draw = ImageDraw.Draw(panel)
    lefts = [_MARGIN + sum(widths[:k]) + _MARGIN * k for k in range(len(widths))]
    for left, width, title in zip(lefts, widths, columns, strict=True):
        draw.text((left + width / 2, _MARGIN / 2), title, fill='black', font=font, anchor='ma')
    top = _LINE + _MARGIN
    for lines, row, height in zip(captions, pictures, heights, strict=True):
        for line in lines:
            draw.text((total_width / 2, top), line, fill=(60, 60, 60), font=font, anchor='ma')
            top += _LINE
        for left, width, picture in zip(lefts, widths, row, strict=True):
            panel.paste(picture, (left + (width - picture.width) // 2, top))
        top += height + _MARGIN
    return panel


def _fit(picture: Image.Image, cell: int | None) -> Image.Image:
    picture = picture.convert('RGB')
    if cell is None or max(picture.size) <= cell:
        return picture
    scale = cell / max(picture.size)
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.LANCZOS)


def _lines(caption: str, letters: int) -> list[str]:
    lines = wrap(caption, letters) or ['']
    if len(lines) > _MAX_LINES:
        lines = lines[:_MAX_LINES]
        lines[-1] = lines[-1][:max(0, letters - 3)].rstrip() + '...'
    return lines
