"""Figures for a paper: methods side by side (Figures 4, 6 and 7) and one image under several captions (Figure 8).

    rows = [FigureRow('a small yellow bird', {'Original': gt, 'JPEG (QF 1)': jpeg, 'TGJAR': restored})]
    draw_comparison(rows, 'figure4.pdf')

Nothing is resampled: a pixel of an image is one device pixel of the PNG file, or a square of them. Text is sized after
the columns: columns of 256 pixels at 300 dpi, seven of which fill the width of a page, have letters of 7 points.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal

import numpy as np

from tgjar_arch.figures.canvas import Canvas, check_suffix, open_canvas
from tgjar_arch.figures.zoom import Window, Zoom, as_rgb, size_text, window_in
from tgjar_arch.pictures.panel import wrap_text

NO_CAPTION = 'no caption'

_COLUMN = 256  # images of fewer pixels are enlarged to about this
_BLACK, _GREY, _RED = '#000000', '#6e6e6e', '#c8102e'
_MOST_COMPARED = 200  # words; comparing takes time with the square of them
_TITLE_LINES, _CAPTION_LINES, _NOTE_LINES, _COLUMN_CAPTION_LINES = 2, 3, 9, 12


@dataclass(frozen=True)
class FigureRow:
    """One row of a comparison.

    Attributes:
        caption: the text that the restoration was guided by; '' for none.
        images: column title -> image (H, W, 3), RGB, or (H, W), grey; uint8, all of one size. The original first, then
            the JPEG image, then the methods. A column that only other rows have stays empty.
        notes: column title -> what stands below the image, such as its scores; a line break is kept.
        zoom: what is enlarged in this row; `figure` as in all.
    """

    caption: str
    images: dict[str, np.ndarray]
    notes: dict[str, str] = field(default_factory=dict)
    zoom: Zoom | Literal['figure'] = 'figure'


@dataclass(frozen=True)
class _Text:
    """A text in the figure, with the words (counted by characters) that are to stand out."""

    text: str
    colour: str = _BLACK
    marked: tuple[bool, ...] = ()


@dataclass(frozen=True)
class _Row:
    above: _Text | None
    cells: Sequence[np.ndarray | None]
    below: list[_Text]
    window: Window | None


def draw_comparison(rows: Sequence[FigureRow], path: str | os.PathLike, zoom: Zoom = 'auto', dpi: int = 300) -> None:
    """Draw a grid as the paper's Figures 4, 6 and 7: a row an image, its caption above it, a column a method.

    Args:
        rows: the images, whose sizes may differ between rows.
        path: file to write, .png or .pdf; it appears whole or not at all.
        zoom: what is enlarged below each image. `auto`: where the second column (JPEG) differs most from the first (the
            original), a quarter of the width; or (x, y, width, height) in pixels; None: nothing.
        dpi: device pixels an inch, which says how large the figure is in print.

    Raises:
        ImportError: when matplotlib is missing.
        OSError: when the file cannot be written.
        ValueError: when there is no row, images of a row differ in size or are no images, the window does not lie
            inside them, or the file has another suffix.
    """
    if not rows:
        raise ValueError('a figure needs at least one row.')
    check_suffix(path)
    titles = list(dict.fromkeys(title for row in rows for title in row.images))
    finished = []
    for row in rows:
        images = _checked(row.images, f'row {_short(row.caption)}')
        if unknown := row.notes.keys() - row.images.keys():
            raise ValueError(f'row {_short(row.caption)} has notes for {sorted(unknown)}, but no such images.')
        caption = _Text(f'“{" ".join(row.caption.split())}”') if row.caption.strip() else _Text(NO_CAPTION, _GREY)
        finished.append(_Row(caption, [images.get(title) for title in titles],
                             [_Text(row.notes.get(title, '')) for title in titles],
                             window_in(list(images.values()), zoom if row.zoom == 'figure' else row.zoom,
                                     f'row {_short(row.caption)}')))
    _draw(finished, titles, path, dpi, _NOTE_LINES)


def draw_captions(jpeg: np.ndarray, results: Sequence[tuple[str, np.ndarray]], path: str | os.PathLike,
                  gt: np.ndarray | None = None, zoom: Zoom = None, dpi: int = 300, title: str = 'JPEG') -> None:
    """Draw a row as the paper's Figure 8: one JPEG image, and what each of several captions makes of it.

    The caption stands below its image; words that not all captions like it share are red and bold.

    Args:
        jpeg: (H, W, 3), RGB, or (H, W), grey; uint8.
        results: captions ('' for none) and restored images of the same size.
        path: file to write, .png or .pdf; it appears whole or not at all.
        gt: the original, drawn first.
        zoom: as of `draw_comparison`; `auto` needs `gt`.
        dpi: device pixels an inch.
        title: above the JPEG image.

    Raises:
        ImportError, OSError, ValueError: as `draw_comparison`.
    """
    if not results:
        raise ValueError('a figure of captions needs at least one caption with its image.')
    check_suffix(path)
    images = ({} if gt is None else {'Original': gt}) | {title: jpeg}
    first = len(images)
    images |= {f'result {k}': image for k, (_, image) in enumerate(results, 1)}
    arrays = list(_checked(images, 'the figure').values())
    if zoom == 'auto' and gt is None:
        raise ValueError('where JPEG lost most is known from the original only: give gt, or a window as zoom.')
    captions = [' '.join(caption.split()) for caption, _ in results]
    texts = [_Text(f'“{caption}”', marked=(False, *marks, False)) if caption else _Text(NO_CAPTION, _GREY)
             for caption, marks in zip(captions, different_words(captions), strict=True)]
    row = _Row(None, arrays, [_Text('')] * first + texts, window_in(arrays, zoom, 'the figure'))
    _draw([row], [*list(images)[:first], *[''] * len(results)], path, dpi, _COLUMN_CAPTION_LINES)


def different_words(captions: Sequence[str]) -> list[list[bool]]:
    """Find the words that a caption does not share with all others like it, by the longest common subsequences.

    Args:
        captions: words separated by single spaces.

    Returns:
        For each caption and each of its characters, whether it belongs to such a word. Another caption is like it if it
        shares at least half of its words; where more differ from all of these together, the nearest alone counts.
        Nothing is marked in a caption that none is like, nor where one has more than 200 words, which no figure shows.
    """
    words = [caption.split(' ') if caption else [] for caption in captions]
    if max(map(len, words), default=0) > _MOST_COMPARED:
        return [[False] * len(caption) for caption in captions]
    keys = [[word.lower().strip('.,;:!?"\'') for word in part] for part in words]
    keys = [['a' if key == 'an' else key for key in part] for part in keys]  # it only follows from the next word
    marks = []
    for k, (part, mine) in enumerate(zip(words, keys, strict=True)):
        alike = [same for other in keys[:k] + keys[k + 1:] if 2 * sum(same := _shared(mine, other)) >= len(mine)]
        stand_out = [not all(same) for same in zip(*alike, strict=True)] if alike else [False] * len(mine)
        if 2 * sum(stand_out) > len(mine):
            stand_out = [not same for same in max(alike, key=sum)]
        by_char = [mark for word, mark in zip(part, stand_out, strict=True) for mark in [mark] * len(word) + [False]]
        marks.append(by_char[:-1])
    return marks


def _shared(mine: list[str], other: list[str]) -> list[bool]:
    """For each of my words, whether the other text has it in the same order."""
    same = [False] * len(mine)
    for start, _, count in SequenceMatcher(None, mine, other, autojunk=False).get_matching_blocks():
        same[start:start + count] = [True] * count
    return same


def _draw(rows: Sequence[_Row], titles: Sequence[str], path: str | os.PathLike, dpi: int, note_lines: int) -> None:
    """Lay the figure out from the top to the bottom."""
    widest = max(_shape(row)[1] for row in rows)
    column = widest * max(1, round(_COLUMN / widest))
    gap, font = max(4, round(column / 32)), round(.115 * column, 1)
    line = max(1, round(column / 128))
    lefts = [gap + (column + gap) * k for k in range(len(titles))]
    total = lefts[-1] + column + gap
    with open_canvas(dpi) as canvas:
        top = gap
        if any(titles):
            top = _texts(canvas, [_Text(title) for title in titles], lefts, column, top, font, _TITLE_LINES, 'bottom')
            top += gap // 2
        for k, row in enumerate(rows):
            if k:
                top += 2 * gap
            if row.above is not None:
                top = _texts(canvas, [row.above], [gap], total - 2 * gap, top, font, _CAPTION_LINES) + gap // 2
            height, width = _shape(row)
            scale = column // width
            for left, image in zip(lefts, row.cells, strict=True):
                if image is None:
                    continue
                left += (column - scale * width) // 2
                canvas.picture(left, top, image, scale)
                if row.window:
                    x, y, w, h = (scale * value for value in row.window)
                    # Around the window, but not beyond the image; red in white, to be seen on a red bird as well.
                    rim = line + max(1, line // 2)
                    x1, x2 = max(x, rim), min(x + w, scale * width - rim)
                    y1, y2 = max(y, rim), min(y + h, scale * height - rim)
                    canvas.frame(left + x1, top + y1, x2 - x1, y2 - y1, rim, 'white')
                    canvas.frame(left + x1, top + y1, x2 - x1, y2 - y1, line, _RED)
            top += scale * height
            if row.window:
                top = _zoomed(canvas, row, row.window, lefts, column, scale * width, top + gap, line)
            if any(text.text for text in row.below):
                top = _texts(canvas, row.below, lefts, column, top + gap // 2, .92 * font, note_lines)
        canvas.save(path, total, top + gap)


def _zoomed(canvas: Canvas, row: _Row, window: Window, lefts: Sequence[int], column: int, room: int, top: int,
            line: int) -> int:
    """Draw the window of each image as large as its image allows; returns the place below."""
    x, y, width, height = window
    scale = max(1, room // width)
    for left, image in zip(lefts, row.cells, strict=True):
        if image is not None:
            left += (column - scale * width) // 2
            canvas.picture(left, top, image[y:y + height, x:x + width], scale)
            canvas.frame(left + line, top + line, scale * width - 2 * line, scale * height - 2 * line, line, _RED)
    return top + scale * height


def _texts(canvas: Canvas, texts: Sequence[_Text], lefts: Sequence[int], width: int, top: int, size: float,
           max_lines: int, align: str = 'top') -> int:
    """Write a text, centred, in each column; returns the place below the longest."""
    high = round(1.2 * size)
    columns = [_lines(canvas, text, width, size, max_lines) for text in texts]
    most = max(map(len, columns))
    for text, left, lines in zip(texts, lefts, columns, strict=True):
        baseline = top + round(.88 * size) + (high * (most - len(lines)) if align == 'bottom' else 0)
        for parts in lines:
            x = left + (width - sum(canvas.text_width(part, size, bold) for part, bold in parts)) / 2
            for part, bold in parts:
                canvas.text(x, baseline, part, size, bold, _RED if bold else text.colour)
                x += canvas.text_width(part, size, bold)
            baseline += high
    return top + high * most


def _lines(canvas: Canvas, text: _Text, width: int, size: float, max_lines: int) -> list[list[tuple[str, bool]]]:
    """Lines of (characters, stands out) that fit the width; a text without marks may have line breaks of its own."""
    if '\n' in text.text and not text.marked:
        return [line for part in text.text.split('\n')
                for line in _lines(canvas, _Text(part, text.colour), width, size, max_lines)][:max_lines]
    printable = canvas.printable(text.text)
    # Characters that were left out would shift the marks.
    marks = list(text.marked) if len(printable) == len(text.text) == len(text.marked) else [False] * len(printable)
    bold = any(marks)  # wider: then all lines are measured so
    ending = '...”' if printable.endswith('”') else '...'
    lines, start = [], 0
    for line in wrap_text(printable, lambda part: canvas.text_width(part, size, bold) <= width, max_lines, ending):
        start = printable.find(line.removesuffix(ending), start)
        marked = (marks[start:start + len(line)] + [False] * len(ending))[:len(line)]
        lines.append([(''.join(char for char, _ in group), mark)
                      for mark, group in groupby(zip(line, marked, strict=True), key=lambda pair: pair[1])])
        start += len(line)
    return lines


def _shape(row: _Row) -> tuple[int, int]:
    return next(image.shape[:2] for image in row.cells if image is not None)


def _checked(images: dict[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """All as RGB and of one size."""
    if not images:
        raise ValueError(f'{where} has no image.')
    checked = {title: as_rgb(image, f'{where}, {title!r}') for title, image in images.items()}
    (first, reference), *others = checked.items()
    for title, image in others:
        if image.shape != reference.shape:
            raise ValueError(f'{where}: {title!r} is {size_text(image)}, but {first!r} is {size_text(reference)}.')
    return checked


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f'{text[:37]}...')
