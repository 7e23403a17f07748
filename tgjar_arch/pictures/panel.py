"""Pictures to look at: rows of images with a caption above each row."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

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
    text_width = total_width - 2 * _MARGIN
    captions = [wrap_text(caption, lambda line: font.getlength(line) <= text_width, _MAX_LINES) or ['']
                for caption, _ in rows]
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
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))),
                          Image.Resampling.LANCZOS)


def wrap_text(text: str, fits: Callable[[str], bool], max_lines: int, ending: str = '...') -> list[str]:
    """Break a text into lines, between words or, where one word fills more than a line, inside it.

    Args:
        text: any text; runs of white space count as one space.
        fits: whether a line is short enough; must hold for every beginning of a line for which it holds.
        max_lines: what goes beyond is cut off.
        ending: of the last line where something was cut off.

    Returns:
        At most `max_lines` lines, none empty; no line for a text without words.
    """
    rest = ' '.join(text.split())
    lines: list[str] = []
    while rest and len(lines) < max_lines:
        end = 16  # doubled until it is too long: a text of thousands of words is measured only as far as it is drawn
        while end < len(rest) and fits(rest[:end]):
            end *= 2
        end = min(end, len(rest))
        cut = max(1, bisect_left(range(1, end + 1), True, key=lambda length: not fits(rest[:length])))
        if cut < len(rest) and rest[cut] != ' ' and (space := rest.rfind(' ', 0, cut)) > 0:
            cut = space
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    if rest:
        last = lines[-1]
        while last and not fits(last + ending):
            last = last.rpartition(' ')[0] or last[:-1]
        lines[-1] = last + ending
    return lines
