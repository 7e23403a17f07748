"""Scores of every method, quality factor and image, kept in CSV files so that only what is missing is computed."""

import csv
import hashlib
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tgjar_arch.atomic_file import atomic
from tgjar_arch.evaluation.bootstrap import Interval, mean_interval
from tgjar_arch.evaluation.measures import Measure, clear_memory
from tgjar_arch.evaluation.methods import Method
from tgjar_arch.evaluation.test_set import EvaluationSet, Progress
from tgjar_arch.metrics.fid import build_set_metric
from tgjar_arch.text.escaping import as_cell, from_cell

Key = tuple[str, int, str]  # method, quality factor, image; of a whole set the image is ''
_AS_ON_DISK = 'surrogateescape'  # names that are no UTF-8 keep their bytes
_SAVE_EVERY = 200  # images between two writes of the CSV file


class ScoreFile:
    """A CSV file with a line for each method, quality factor and image: what was compared, and the scores.

    Columns: method, qf, image, pixels (a hash of restored and original pixels), and for each metric its score. A score
    counts only for the same pixels and the same source (weights) of the metric, which the column's heading
    `NAME [HASH]` tells.

    Args:
        path: the file; it need not exist.
        measures: the metrics that are asked for; columns of others are kept.

    Raises:
        ValueError: when the file is no such CSV file.
    """

    _FIXED = ('method', 'qf', 'image', 'pixels')

    def __init__(self, path: str | os.PathLike, measures: Sequence[Measure]) -> None:
        self.path = Path(path)
        self._columns = {measure.name: f'{measure.name} [{_digest(measure.source.encode())[:6]}]'
                         for measure in measures}
        self._lines: dict[Key, dict[str, str]] = {}
        if self.path.is_file():
            with open(self.path, encoding='utf-8', newline='', errors=_AS_ON_DISK) as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ())[:4] != self._FIXED:
                    raise ValueError(f'{self.path} is no file of scores (its first columns are not '
                                     f'{", ".join(self._FIXED)}); move it away or name another output folder.')
                for line in reader:
                    # A line that was cut short in an editor is computed again.
                    if line['qf'] and line['qf'].isdecimal() and None not in line.values():
                        line['method'], line['image'] = from_cell(line['method']), from_cell(line['image'])
                        self._lines[line['method'], int(line['qf']), line['image']] = line

    def get(self, key: Key, measure: str, pixels: str) -> float | None:
        """The score, or None when there is none for these pixels."""
        line = self._lines.get(key, {})
        text = line.get(self._columns[measure]) if line.get('pixels') == pixels else None
        try:
            return float(text) if text else None
        except ValueError:
            return None

    def put(self, key: Key, measure: str, pixels: str, value: float) -> None:
        """Remember a score; scores of other pixels of that image are dropped."""
        line = self._lines.get(key)
        if line is None or line.get('pixels') != pixels:
            line = self._lines[key] = dict(zip(self._FIXED, (key[0], str(key[1]), key[2], pixels), strict=True))
        line[self._columns[measure]] = repr(value)

    def save(self) -> None:
        columns = [*self._FIXED, *dict.fromkeys(column for line in self._lines.values() for column in line
                                                if column not in self._FIXED)]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator='\n')
        writer.writeheader()
        writer.writerows({column: as_cell(cell) for column, cell in self._lines[key].items()}
                         for key in sorted(self._lines))
        with atomic(self.path) as temporary:
            temporary.write_text(text.getvalue(), encoding='utf-8', errors=_AS_ON_DISK)


@dataclass
class Scores:
    """What was measured.

    Attributes:
        by_image: (method label, qf) -> metric -> image -> score.
        of_set: (method label, qf) -> metric of a whole set -> (score, the images it was computed on).
        problems: file or image -> what is wrong with it and what to do.
    """

    by_image: dict[tuple[str, int], dict[str, dict[str, float]]] = field(default_factory=dict)
    of_set: dict[tuple[str, int], dict[str, tuple[float, frozenset[str]]]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    _intervals: dict[tuple[tuple[str, int], str], Interval] = field(default_factory=dict, repr=False)

    def interval(self, row: tuple[str, int], measure: str) -> Interval | None:
        """The mean and its bootstrap interval (NaN for a metric of a set); None if not measured. Ask when all is in."""
        if measure in self.of_set.get(row, {}):
            value, names = self.of_set[row][measure]
            return Interval(value, math.nan, math.nan, len(names))
        values = self.by_image.get(row, {}).get(measure)
        if not values:
            return None
        if (row, measure) not in self._intervals:  # a table asks several times, and thousands of images take a while
            self._intervals[row, measure] = mean_interval([values[image] for image in sorted(values)])
        return self._intervals[row, measure]

    def images(self, row: tuple[str, int], measure: str) -> frozenset[str]:
        """The images that a metric was computed on; none if it was not."""
        if measure in self.of_set.get(row, {}):
            return self.of_set[row][measure][1]
        return frozenset(self.by_image.get(row, {}).get(measure, ()))


def measure_all(methods: Sequence[Method], images: EvaluationSet, qfs: Sequence[int], measures: Sequence[Measure],
                out: str | os.PathLike, progress: Progress) -> Scores:
    """Make and measure the pictures of all methods; what cannot be used is left out and named in `problems`.

    Args:
        methods, images: what is compared on what; `images.check` has been called.
        qfs: quality factors.
        measures: the metrics.
        out: folder of `scores.csv` (images) and `set_scores.csv` (whole sets).
        progress: wraps the images, with a description.
    """
    scores = Scores(problems=dict(images.broken))
    per_image, of_set = ([m for m in measures if (m.score is None) == whole] for whole in (False, True))
    image_file = ScoreFile(Path(out, 'scores.csv'), per_image)
    set_file = ScoreFile(Path(out, 'set_scores.csv'), of_set)
    for method in methods:
        for qf in (qf for qf in qfs if qf in method.qfs):
            failed = method.prepare(qf, images.names, progress)
            scores.problems |= {f'{method.label}, QF {qf}, {name}': reason for name, reason in failed.items()}
            clear_memory()
            names = [name for name in images.names if name not in failed]
            try:
                compared = _measure_images(method, qf, names, images, per_image, image_file, scores, progress)
            finally:
                image_file.save()
            _measure_set(method, qf, compared, images, of_set, set_file, scores, progress)
    return scores


def _measure_images(method: Method, qf: int, names: Sequence[str], images: EvaluationSet, measures: Sequence[Measure],
                    file: ScoreFile, scores: Scores, progress: Progress) -> dict[str, str]:
    """Measure image by image; returns the hash of each pair of pictures."""
    table = scores.by_image.setdefault((method.label, qf), {measure.name: {} for measure in measures})
    compared: dict[str, str] = {}
    new = 0
    for name in progress(names, f'measure {method.label}, QF {qf}'):
        where, original = f'{method.label}, QF {qf}, {name}', images.original(name)
        try:
            restored = method.image(name, qf)
        except (OSError, ValueError) as error:
            scores.problems[where] = str(error)
            continue
        if restored.shape != original.shape:
            crop = f'after the crop {images.crop}' if images.crop else 'whole'
            scores.problems[where] = (
                f'the picture is {restored.shape[1]}x{restored.shape[0]}, but the original {crop} is '
                f'{original.shape[1]}x{original.shape[0]}; restore what is compared, or give another --crop.')
            continue
        compared[name] = pixels = _digest(original.tobytes(), restored.tobytes())
        for measure in measures:
            value = file.get((method.label, qf, name), measure.name, pixels)
            if value is None:
                assert measure.score is not None  # of one that is not of whole sets
                try:
                    value = measure.score(restored, original)
                    if not math.isfinite(value):
                        raise ValueError(f'the score is {value}')
                except Exception as error:  # metrics are anybody's: none may end the evaluation
                    scores.problems[f'{where}, {measure.label}'] = (f'left out of the mean: '
                                                                    f'{" ".join(str(error).split()).rstrip(".")}.')
                    continue
                file.put((method.label, qf, name), measure.name, pixels, value)
                new += 1
                if new % (_SAVE_EVERY * len(measures)) == 0:
                    file.save()
            table[measure.name][name] = value
    return compared


def _measure_set(method: Method, qf: int, compared: dict[str, str], images: EvaluationSet,
                 measures: Sequence[Measure], file: ScoreFile, scores: Scores, progress: Progress) -> None:
    table = scores.of_set.setdefault((method.label, qf), {})
    if not compared:
        return
    pixels, key = _digest(*(compared[name].encode() for name in sorted(compared))), (method.label, qf, '')
    missing = {}
    for measure in measures:
        value = file.get(key, measure.name, pixels)
        if value is None:
            missing[measure.name] = measure
        else:
            table[measure.name] = value, frozenset(compared)
    if not missing:
        return
    metrics = {name: build_set_metric(name) for name in missing}
    for name in progress(sorted(compared), f'{", ".join(m.label for m in missing.values())} {method.label}, QF {qf}'):
        restored, original = method.image(name, qf), images.original(name)
        for metric in metrics.values():
            metric.update(restored, original)
    for name, metric in metrics.items():
        try:
            value = float(metric.compute())
            if not math.isfinite(value):
                raise ValueError(f'the score is {value}')
        except Exception as error:  # too few images for the covariance, above all
            scores.problems[f'{method.label}, QF {qf}, {missing[name].label}'] = ' '.join(str(error).split())
            continue
        file.put(key, name, pixels, value)
        table[name] = value, frozenset(compared)
    file.save()


def _digest(*contents: bytes) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(len(content).to_bytes(8, 'big') + content)
    return digest.hexdigest()[:16]
