"""The figures of `tgjar evaluate --figure`: which images, methods, scores and captions they show, and their files."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from tgjar_arch.evaluation.kept_pictures import folder_name
from tgjar_arch.evaluation.measures import Measure
from tgjar_arch.evaluation.methods import Method
from tgjar_arch.evaluation.network_method import NetworkMethod
from tgjar_arch.evaluation.scores import Scores
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.figures.canvas import FORMATS, require_matplotlib
from tgjar_arch.figures.comparison import NO_CAPTION, FigureRow, draw_captions, draw_comparison
from tgjar_arch.figures.zoom import Zoom
from tgjar_arch.jpeg.codec import decode
from tgjar_arch.pictures.files import image_name

_NOTED = ('lpips', 'psnr')  # below the images, as far as they were measured; else the first two that were
_DIGITS = 3


def choose_images(wanted: Sequence[str], names: Sequence[str]) -> list[str]:
    """The images that `--figure` names.

    Args:
        wanted: names, paths or file names, with or without suffix; or one number of images, evenly spread.
        names: the images there are, as `EvaluationSet.names`.

    Raises:
        ValueError: when there is no such image, or a file name stands in several folders.
    """
    if len(wanted) == 1 and wanted[0].isdecimal() and not _named(wanted[0], names):
        count = min(int(wanted[0]), len(names))
        if count < 1:
            raise ValueError('--figure 0: give the number of images, 1 or more, or their names.')
        return [names[k * len(names) // count] for k in range(count)]
    chosen = []
    for text in wanted:
        found = _named(text, names)
        if len(found) != 1:
            several = f'names {len(found)} images, among them {", ".join(found[:2])}; write one with its folder'
            near = get_close_matches(text, {*names, *(name.rpartition('/')[2] for name in names)}, 3, .5)
            none = f'is none of the {len(names)} images that are compared, such as {", ".join(near or names[:1])}'
            raise ValueError(f'--figure {text} {several if found else none}.')
        chosen += found
    return list(dict.fromkeys(chosen))


def _named(text: str, names: Sequence[str]) -> list[str]:
    for key in dict.fromkeys((text, image_name(text))):
        found = [key] if key in names else [name for name in names if name.rpartition('/')[2] == key]
        if found:
            return found
    return []


class FigureFiles:
    """Figures of some images; all that can be wrong is found when it is made, before anything is restored.

    Args:
        wanted: as of `choose_images`.
        captions: texts for one image, for Figure 8; None for the comparison of methods.
        zooms: what is enlarged: one for all images, or one for each.
        images, methods, qfs: what is compared.
        out: folder of the figures.

    Raises:
        ImportError: when matplotlib is missing.
        ValueError: when there is no such image, a window does not lie inside one, there are neither one nor as many
            windows as images, or there are captions, but several images or no method that takes them.
    """

    def __init__(self, wanted: Sequence[str], captions: Sequence[str] | None, zooms: Sequence[Zoom],
                 images: EvaluationSet, methods: Sequence[Method], qfs: Sequence[int], out: str | os.PathLike) -> None:
        require_matplotlib()
        self.names = choose_images(wanted, images.names)
        self._captions, self._images, self._out = captions, images, Path(out)
        self._methods, self._qfs = methods, qfs
        if len(zooms) not in (1, len(self.names)):
            raise ValueError(f'--zoom names {len(zooms)} windows, but --figure {len(self.names)} images; give one '
                             'window, or one for each.')
        self._zooms = dict(zip(self.names, list(zooms) * len(self.names) if len(zooms) == 1 else zooms, strict=True))
        for name, zoom in self._zooms.items():
            height, width = images.original(name).shape[:2]
            if not isinstance(zoom, tuple):
                continue
            x, y, across, down = zoom
            if min(across, down) < 1 or x + across > width or y + down > height:
                raise ValueError(f'--zoom {" ".join(map(str, zoom))} does not lie inside {name}, which is {width} x '
                                 f'{height}.')
        if captions is not None:
            if len(self.names) != 1:
                raise ValueError(f'--captions are for one image, but --figure names {len(self.names)}.')
            if not self._guided():
                raise ValueError('--captions: none of the methods restores here by captions; give --method '
                                 'NAME=WEIGHTS.safetensors of a network that takes text.')

    def _guided(self) -> list[NetworkMethod]:
        """Methods that take text, each once, whatever captions its rows of the tables have, without self-ensemble."""
        guided = {method.name: method for method in reversed(self._methods)
                  if isinstance(method, NetworkMethod) and method.takes_text}
        return list(reversed(guided.values()))

    def write(self, measures: Sequence[Measure], scores: Scores) -> list[Path]:
        """Draw all, once the methods have restored; returns the files, PDF and PNG of each."""
        if self._captions is None:
            return self._comparisons(measures, scores)
        return self._caption_figures(self._captions)

    def _comparisons(self, measures: Sequence[Measure], scores: Scores) -> list[Path]:
        """`figure_qfN`: a row an image, a column a method, those that take text last."""
        files = []
        methods = sorted((method for method in self._methods if method.label != 'JPEG'),
                         key=lambda method: getattr(method, 'takes_text', False))
        noted = [m for name in _NOTED for m in measures if m.name == name] or [m for m in measures if m.score][:2]
        captions = self._images.captions()
        for qf in self._qfs:
            jpeg = f'JPEG (QF {qf})'
            rows = []
            for name in self.names:
                original = self._images.original(name)
                pictures = {'Original': original, jpeg: decode(self._images.jpeg(name, qf))}
                for method in methods:
                    if (picture := _picture(method, name, qf)) is not None and picture.shape == original.shape:
                        pictures[method.label] = picture
                notes = {title: _note('JPEG' if title == jpeg else title, qf, name, noted, scores)
                         for title in pictures if title != 'Original'}
                if any(notes.values()):
                    notes['Original'] = ' / '.join(measure.heading for measure in noted)
                for method in methods:  # by another caption than the one above the row
                    if (isinstance(method, NetworkMethod) and method.label in pictures
                            and method.captions == 'wrong'):
                        caption = method.caption(name)
                        notes[method.label] += f'\n“{caption}”' if caption else f'\n{NO_CAPTION}'
                rows.append(FigureRow(captions[name], {k: _rgb(image) for k, image in pictures.items()}, notes,
                                      self._zooms[name]))
            for suffix in FORMATS:
                files.append(self._out / f'figure_qf{qf}{suffix}')
                draw_comparison(rows, files[-1])
        return files

    def _caption_figures(self, captions: Sequence[str]) -> list[Path]:
        """`captions_figure_METHOD_qfN`: one JPEG file, and what the method makes of it by each caption."""
        files = []
        name, = self.names
        for method in self._guided():
            for qf in (qf for qf in self._qfs if qf in method.qfs):
                results = [(caption, _rgb(method.restore(name, qf, caption))) for caption in captions]
                for suffix in FORMATS:
                    files.append(self._out / f'captions_figure_{folder_name(method.name)}_qf{qf}{suffix}')
                    draw_captions(_rgb(decode(self._images.jpeg(name, qf))), results, files[-1],
                                  _rgb(self._images.original(name)), self._zooms[name], title=f'JPEG (QF {qf})')
        return files


def _picture(method: Method, name: str, qf: int) -> np.ndarray | None:
    """What a method restored; None where it could not, which the tables' list of problems says."""
    try:
        return method.image(name, qf) if qf in method.qfs else None
    except (OSError, ValueError, KeyError):
        return None


def _note(label: str, qf: int, name: str, measures: Sequence[Measure], scores: Scores) -> str:
    found = [scores.by_image.get((label, qf), {}).get(measure.name, {}).get(name) for measure in measures]
    if all(value is None for value in found):
        return ''
    return ' / '.join('–' if value is None else f'{value:.{min(_DIGITS, measure.digits)}f}'
                      for measure, value in zip(measures, found, strict=True))


def _rgb(image: np.ndarray) -> np.ndarray:
    return image[..., ::-1]
