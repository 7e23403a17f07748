"""A sheet that figures are drawn on: pictures at whole device pixels, frames and text, written as PNG or PDF.

All places and sizes are device pixels from the top left corner. matplotlib draws; its global state is left alone.
"""

import logging
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tgjar_arch.atomic_file import atomic

FORMATS = ('.png', '.pdf')
MAX_PIXELS = 200_000_000  # of the whole sheet; drawing takes about 10 bytes for each
_FONTS = ['STIXGeneral', 'DejaVu Sans']  # both come with matplotlib; the first is the Times of most papers
_NO_GLYPH = '□'


def require_matplotlib() -> None:
    """Raises ImportError, which says how to install it, when matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError(f"figures need matplotlib ({error}): pip install 'tgjar[plot]' or pip install matplotlib"
                          ) from error


@contextmanager
def open_canvas(dpi: int = 300) -> Iterator['Canvas']:
    """A new sheet, with matplotlib's default settings while it is open, whatever the user's are.

    Args:
        dpi: device pixels an inch.

    Raises:
        ImportError: when matplotlib is missing.
        ValueError: when `dpi` is not positive.
    """
    require_matplotlib()
    import matplotlib

    if dpi < 1:
        raise ValueError(f'dpi must be 1 or more, but is {dpi}.')
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({
            'text.hinting': 'none',  # a line is as long in the PDF as it was measured
            'pdf.fonttype': 42,  # TrueType: conferences refuse Type 3 fonts
            'image.composite_image': False,  # in a PDF every picture keeps its own pixels
        })
        yield Canvas(dpi)


class Canvas:
    """The sheet; made by `open_canvas`."""

    def __init__(self, dpi: int) -> None:
        from matplotlib.backends.backend_agg import RendererAgg

        self.dpi = dpi
        self._ruler = RendererAgg(1, 1, dpi)
        self._fonts = list(_FONTS)
        self._widths: dict[tuple[str, float, bool], float] = {}
        self._pictures: list[tuple[int, int, np.ndarray]] = []
        self._frames: list[tuple[int, int, int, int, int, str]] = []
        self._texts: list[tuple[float, float, str, dict[str, Any]]] = []

    def printable(self, text: str) -> str:
        """The text with one space for each run of white space, and □ where no installed font has a character."""
        text = ' '.join(''.join(c for c in text if c.isspace() or unicodedata.category(c) not in ('Cc', 'Cs', 'Co')
                                and not '\ufe00' <= c <= '\ufe0f').split())  # those choose between forms of an emoji
        missing = []
        for char in sorted(set(text)):
            if char.isspace() or any(ord(char) in _charmap(_font_file(name)) for name in self._fonts):
                continue
            font = _installed_font(ord(char))
            if font:
                self._fonts.append(font)
            else:
                missing.append(char)
                text = text.replace(char, _NO_GLYPH)
        if missing:
            codes = ', '.join(f'{char} (U+{ord(char):04X})' for char in missing)
            logging.getLogger('basicsr').warning(
                f'Figure: no installed font has {codes}; {_NO_GLYPH} stands in the place. Fonts '
                'such as Noto Sans CJK or Noto Emoji (not the coloured one) may have it.')
        return text

    def text_width(self, text: str, size: float, bold: bool = False) -> float:
        """Width of a line of `printable` text, spaces at its ends included; `size` is the height of the font."""
        key = (text, size, bold)
        if key not in self._widths:
            self._widths[key] = self._ruler.get_text_width_height_descent(text, self._font(size, bold), False)[0]
        return self._widths[key]

    def _font(self, size: float, bold: bool) -> Any:
        from matplotlib.font_manager import FontProperties

        return FontProperties(family=self._fonts, size=size * 72 / self.dpi, weight='bold' if bold else 'normal')

    def picture(self, left: int, top: int, image: np.ndarray, scale: int = 1) -> None:
        """Place an image (H, W, 3) uint8 RGB; each of its pixels is `scale` x `scale` device pixels."""
        self._pictures.append((left, top, image.repeat(scale, 0).repeat(scale, 1)))

    def frame(self, left: int, top: int, width: int, height: int, line: int, colour: str) -> None:
        """Draw a frame `line` pixels wide around the rectangle, outside of it."""
        self._frames.append((left, top, width, height, line, colour))

    def text(self, left: float, baseline: float, text: str, size: float, bold: bool = False,
             colour: str = 'black') -> None:
        """Write a line of `printable` text; nothing in it is read as a formula."""
        self._texts.append((left, baseline, text, {'color': colour, 'size': size, 'bold': bold}))

    def save(self, path: str | os.PathLike, width: int, height: int) -> None:
        """Write the sheet; the file appears whole or not at all, and is the same for the same content.

        Args:
            path: its suffix, .png or .pdf, says the format; missing folders are made.
            width, height: of the sheet.

        Raises:
            OSError: when it cannot be written.
            ValueError: for another suffix, or more than `MAX_PIXELS`.
        """
        path = Path(path)
        check_suffix(path)
        if width * height > MAX_PIXELS:
            raise ValueError(f'{path}: the figure would be {width} x {height} pixels, more than {MAX_PIXELS:,}; crop '
                             'the images, or draw fewer of them.')
        figure = self._figure(width, height)
        with atomic(path) as temporary:
            if path.suffix.lower() == '.pdf':
                figure.savefig(temporary, format='pdf', metadata={'CreationDate': None})
            else:
                figure.canvas.draw()
                pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
                Image.fromarray(pixels).save(temporary, format='PNG', dpi=(self.dpi, self.dpi), optimize=True)

    def _figure(self, width: int, height: int) -> Any:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        # A hundredth of a pixel more: matplotlib rounds down, and width / dpi * dpi may be just below width.
        wide, high = width + .01, height + .01
        figure = Figure(figsize=(wide / self.dpi, high / self.dpi), dpi=self.dpi, facecolor='white')
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 1 - height / high, width / wide, height / high), xlim=(0, width), ylim=(height, 0),
                               autoscale_on=False)
        axes.axis('off')
        for left, top, image in self._pictures:
            axes.imshow(image, extent=(left, left + image.shape[1], top + image.shape[0], top), aspect='auto',
                        interpolation='none')
        for left, top, across, down, line, colour in self._frames:
            # Four bars: filled at whole pixels, where a stroke would be moved or blurred.
            for x, y, w, h in ((left - line, top - line, across + 2 * line, line),
                               (left - line, top + down, across + 2 * line, line),
                               (left - line, top, line, down), (left + across, top, line, down)):
                axes.add_patch(Rectangle((x, y), w, h, facecolor=colour, edgecolor='none', antialiased=False))
        for start, baseline, text, style in self._texts:
            axes.text(start, baseline, text, color=style['color'], va='baseline', ha='left', parse_math=False,
                      fontproperties=self._font(style['size'], style['bold']))
        return figure


def check_suffix(path: str | os.PathLike) -> None:
    """Raises ValueError when the suffix is not one of `FORMATS`."""
    if Path(path).suffix.lower() not in FORMATS:
        raise ValueError(f'{os.fspath(path)}: a figure is written as {" or ".join(FORMATS)}, not as '
                         f'{Path(path).suffix!r}.')


@lru_cache(maxsize=1024)
def _charmap(path: str) -> frozenset[int]:
    """Characters of a font file; none if its glyphs are no outlines."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (RuntimeError, OSError):  # a damaged file among the installed ones
        return frozenset()


@lru_cache
def _font_file(name: str) -> str:
    from matplotlib.font_manager import findfont

    return str(findfont(name))


@lru_cache(maxsize=1024)
def _installed_font(char: int) -> str | None:
    """An installed font, upright and of normal weight, that has the character."""
    from matplotlib.font_manager import fontManager

    for entry in sorted(fontManager.ttflist, key=lambda entry: (not entry.name.startswith('Noto'), entry.name)):
        # Colours are not drawn, and Last Resort has a box with its code for every character.
        unusable = entry.style != 'normal' or entry.weight not in (400, 'normal', 'regular') or \
            'color' in entry.name.lower() or entry.name.startswith('Last Resort')
        if not unusable and char in _charmap(entry.fname):
            return entry.name
    return None
