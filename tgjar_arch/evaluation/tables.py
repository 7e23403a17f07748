"""Tables in the paper's form, ours beside the paper's figures, as Markdown and CSV."""

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tgjar_arch.evaluation.bootstrap import Interval, paired_interval
from tgjar_arch.evaluation.measures import Measure
from tgjar_arch.evaluation.paper import METHODS, PERCEPTUAL, PaperRow
from tgjar_arch.evaluation.scores import Scores
from tgjar_arch.text.escaping import as_cell, as_markdown, from_markdown

NOTHING = '–'
OTHER = '†'  # behind a figure that was measured on other images than the rest
_PAPER_DIGITS = {'psnr': 1, 'lpips': 3, 'fid': 1, 'pi': 2, 'niqe': 2}  # as printed
_BETTER = {True: max, False: min}


@dataclass
class Table:
    """A table to be written: `markdown` is what a reader sees, `rows` what a program reads (default: the same).

    Attributes:
        name: of the CSV file.
        title: above the table.
        header, cells: of the Markdown table.
        csv_header, csv_rows: of the CSV file, where they differ.
        notes: lines below the table.
    """

    name: str
    title: str
    header: list[str]
    cells: list[list[str]]
    csv_header: list[str] | None = None
    csv_rows: list[list[object]] | None = None
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table with its title and notes."""
        lines = [[cell.replace('|', '\\|') for cell in line] for line in (self.header, *self.cells)]
        widths = [max(3, *(len(line[k]) for line in lines)) for k in range(len(self.header))]
        rule = ['-' * width for width in widths]
        body = ['| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + ' |'
                for line in (lines[0], rule, *lines[1:])]
        title = as_markdown(self.title)
        return '\n'.join([f'## {title}', '', *body, *(['', *self.notes] if self.notes else [])]) + '\n'

    def csv(self) -> str:
        """The table as CSV, numbers in full."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        rows = self.csv_rows if self.csv_rows is not None else [[_plain(cell) for cell in row] for row in self.cells]
        header = self.csv_header or [_plain(cell) for cell in self.header]
        writer.writerows([as_cell(cell) for cell in row] for row in [header, *rows])
        return text.getvalue()


@dataclass(frozen=True)
class Comparison:
    """What is tabulated: the data set's name, the rows (methods) in order, quality factors, metrics and scores.

    `captioned` are the images that have both a right and a wrong caption; None for all.
    """

    dataset: str
    labels: Sequence[str]
    qfs: Sequence[int]
    measures: Sequence[Measure]
    scores: Scores
    paper: Sequence[PaperRow] = ()
    captioned: frozenset[str] | None = None

    def interval(self, label: str, qf: int, measure: str) -> Interval | None:
        return self.scores.interval((label, qf), measure)

    def count(self, label: str, qf: int) -> int:
        """Images that at least one metric was computed for."""
        return max((len(self.images(label, qf, measure.name)) for measure in self.measures), default=0)

    def images(self, label: str, qf: int, measure: str) -> frozenset[str]:
        return self.scores.images((label, qf), measure)

    def common(self, qf: int, measure: str) -> frozenset[str]:
        """The images that methods are compared on: the largest set that at least two were measured on.

        Of equally large sets the one of most methods, then of the first. Where no two methods have the same images, the
        largest set of one.
        """
        shared = Counter(images for label in self.labels if (images := self.images(label, qf, measure)))
        return max(shared, key=lambda images: (shared[images] > 1, len(images), shared[images]), default=frozenset())

    def others(self, qf: int, measure: str) -> dict[str, frozenset[str]]:
        """Methods that were measured on other images than `common`, and on which: not to be compared with the rest."""
        found = {label: self.images(label, qf, measure) for label in self.labels}
        return {label: images for label, images in found.items() if images and images != self.common(qf, measure)}

    def best(self, qf: int, measure: Measure, digits: int | None = None) -> set[str]:
        """The measured methods with the best mean as printed (`digits`: the measure's own), all that share it.

        Only those measured on the images of `common` take part: one that was measured on the easy ones cannot win. None
        where fewer than two take part.
        """
        common = self.common(qf, measure.name)
        digits = measure.digits if digits is None else digits
        means = {label: round(interval.mean, digits) for label in self.labels
                 if self.images(label, qf, measure.name) == common
                 and (interval := self.interval(label, qf, measure.name))}
        if len(means) < 2:
            return set()
        return {label for label, mean in means.items() if mean == _BETTER[measure.higher](means.values())}

    def warnings(self, measures: Sequence[Measure]) -> list[str]:
        """A line for each quality factor where methods were measured on different images; their cells bear `OTHER`."""
        lines = []
        for qf in self.qfs:
            parts: dict[str, list[str]] = {}  # what is said of metrics -> the metrics
            for measure in measures:
                common = self.common(qf, measure.name)
                for label, images in self.others(qf, measure.name).items():
                    missing, more = len(common - images), len(images - common)
                    text = ' and '.join(([f'without {missing} of the {len(common)}'] if missing else [])
                                        + ([f'with {more} more than the {len(common)}'] if more else []))
                    parts.setdefault(f'{as_markdown(label)} {text}', []).append(measure.label)
            if parts:
                text = '; '.join(f'{said} ({", ".join(labels)})' for said, labels in parts.items())
                lines.append(f'{OTHER} QF {qf}: measured on other images than the rest, compare with care: {text}.')
        return lines


def long_table(comparison: Comparison) -> Table:
    """A row for each quality factor and method, then the paper's; a column for each metric, with error bars."""
    measures = comparison.measures
    header = ['QF', 'method', 'images', *(measure.heading for measure in measures)]
    csv_header = ['dataset', 'qf', 'method', 'source', 'images']
    for measure in measures:
        csv_header += [measure.name, f'{measure.name}_low', f'{measure.name}_high']
    csv_header += ['on_other_images', 'paper_table']
    cells, rows = [], []
    for qf in comparison.qfs:
        best = {measure.name: comparison.best(qf, measure) for measure in measures}
        others = {measure.name: comparison.others(qf, measure.name) for measure in measures}
        for label in comparison.labels:
            count = comparison.count(label, qf)
            if not count:
                continue
            line: list[str] = [str(qf), as_markdown(label), str(count)]
            row: list[object] = [comparison.dataset, qf, label, 'measured', count]
            for measure in measures:
                interval = comparison.interval(label, qf, measure.name)
                text = _with_error(interval, measure, label in best[measure.name], count)
                line.append(f'{text} {OTHER}' if label in others[measure.name] else text)
                row += _numbers(interval)
            cells.append(line)
            rows.append([*row, ' '.join(name for name, labels in others.items() if label in labels), ''])
        for printed in (row for row in comparison.paper if row.qf == qf):
            values = [printed.scores.get(measure.name) for measure in measures]
            cells.append([str(qf), f'{printed.method} (paper, {printed.dataset}, {printed.source})', '',
                          *map(_printed, (m.name for m in measures), values)])
            rows.append([printed.dataset, qf, printed.method, 'paper', '',
                         *(cell for value in values for cell in ('' if value is None else value, '', '')),
                         '', printed.table])
    return Table('table', f'{comparison.dataset}: all metrics', header, cells, csv_header, rows,
                 comparison.warnings(measures))


def wide_table(comparison: Comparison, names: Sequence[str], name: str, title: str) -> Table | None:
    """The paper's form: a row for each quality factor, ours and the paper's, a column for each method.

    Args:
        comparison: what was measured.
        names: metrics of one cell, as `LPIPS/FID/PI/NIQE` in Table 1; one that was not computed is `–`.
        name, title: of the table.

    Returns:
        None where none of the metrics was computed.
    """
    measures = {measure.name: measure for measure in comparison.measures if measure.name in names}
    if not measures:
        return None
    printed = {(row.qf, row.method): row for row in comparison.paper if row.scores.keys() & set(names)}
    columns = [label for label in METHODS if label in comparison.labels or any(m == label for _, m in printed)]
    columns += [label for label in comparison.labels if label not in columns]
    columns += [method for method in dict.fromkeys(m for _, m in printed) if method not in columns]
    cells = []
    for qf in comparison.qfs:
        best = {key: comparison.best(qf, measure, _wide_digits(key)) for key, measure in measures.items()}
        others = {key: comparison.others(qf, key) for key in measures}

        def ours(label: str, key: str, qf: int = qf, best: dict[str, set[str]] = best, others: dict = others) -> str:
            interval = comparison.interval(label, qf, key) if key in measures else None
            if interval is None:
                return NOTHING
            text = f'{interval.mean:.{_wide_digits(key)}f}' + (OTHER if label in others[key] else '')
            return f'**{text}**' if label in best[key] else text

        def theirs(label: str, key: str, qf: int = qf) -> str:
            return _printed(key, printed[qf, label].scores.get(key) if (qf, label) in printed else None)

        cells.append([as_markdown(comparison.dataset), str(qf), 'measured',
                      *(_cell(names, label, ours) for label in columns)])
        for dataset, table in dict.fromkeys((row.dataset, _stands_in(row, names)) for (row_qf, _), row
                                            in printed.items() if row_qf == qf):
            cells.append([dataset, str(qf), f'paper, Table {table}',
                          *(_cell(names, label, theirs) for label in columns)])
    return Table(name, title, ['dataset', 'QF', 'source', *map(as_markdown, columns)], cells,
                 notes=comparison.warnings(list(measures.values())))


def _plain(cell: str) -> str:
    return from_markdown(cell.replace('**', ''))


def _stands_in(row: PaperRow, names: Sequence[str]) -> str:
    """Number of the table that has these metrics of a row."""
    return row.table if row.table != '1 and 2' else '2' if 'psnr' in names else '1'


def caption_table(comparison: Comparison, other: str = 'wrong') -> Table | None:
    """How much better the right caption is than another image's (or none): paired, image by image.

    Args:
        comparison: with rows `NAME` and `NAME, wrong captions` (or `NAME, no captions`).
        other: `wrong` or `no`.

    Returns:
        None where there are no such rows.
    """
    ending = f', {other} captions'
    cells, rows = [], []
    for qf in comparison.qfs:
        for label in (label for label in comparison.labels if f'{label}{ending}' in comparison.labels):
            for measure in (measure for measure in comparison.measures if measure.score):
                right, wrong = (comparison.scores.by_image.get((row, qf), {}).get(measure.name, {})
                                for row in (label, f'{label}{ending}'))
                common = sorted(right.keys() & wrong.keys())
                if comparison.captioned is not None:  # without a caption both rows show one and the same picture
                    common = [name for name in common if name in comparison.captioned]
                if not common:
                    continue
                pairs = [(right[name], wrong[name]) for name in common]
                sign = 1 if measure.higher else -1
                gain = paired_interval([sign * w for _, w in pairs], [sign * r for r, _ in pairs])
                wins = sum(sign * (r - w) > 0 for r, w in pairs) / len(pairs)
                sure = ' *' if gain.low > 0 or gain.high < 0 else ''  # not where there is no interval
                digits = measure.digits + 1
                error = '' if math.isnan(gain.half) else f' ± {gain.half:.{digits}f}'
                cells.append([str(qf), as_markdown(label), str(gain.count), measure.label,
                              f'{gain.mean:+.{digits}f}{error}{sure}',
                              f'{100 * wins:.0f} %'])
                rows.append([comparison.dataset, qf, label, gain.count, measure.name, *_numbers(gain), wins])
    if not cells:
        return None
    title = {'wrong': "Right captions against another image's", 'no': 'Right captions against none'}[other]
    return Table(f'captions_{other}', f'{comparison.dataset}: {title}',
                 ['QF', 'method', 'images', 'metric', 'gain', 'images that gain'], cells,
                 ['dataset', 'qf', 'method', 'images', 'metric', 'gain', 'gain_low', 'gain_high', 'share_that_gain'],
                 rows, ['Above 0 the right caption is better, whatever the direction of the metric; a star where the '
                        '95 % interval leaves out 0.'])


def _with_error(interval: Interval | None, measure: Measure, bold: bool, count: int) -> str:
    if interval is None:
        return NOTHING
    text = f'{interval.mean:.{measure.digits}f}'
    text = f'**{text}**' if bold else text
    if not math.isnan(interval.half):
        text += f' ± {interval.half:.{measure.digits}f}'
    if interval.count == count:
        return text
    return f'{text} (1 image)' if interval.count == 1 else f'{text} ({interval.count} images)'


def _numbers(interval: Interval | None) -> list[object]:
    if interval is None:
        return ['', '', '']
    return ['' if math.isnan(value) else value for value in (interval.mean, interval.low, interval.high)]


def _wide_digits(measure: str) -> int:
    """As the paper, but one more for PSNR, whose differences are small."""
    return _PAPER_DIGITS.get(measure, 2) + (measure == 'psnr')


def _cell(names: Sequence[str], label: str, text: Callable[[str, str], str]) -> str:
    parts = [text(label, key) for key in names]
    return NOTHING if all(part == NOTHING for part in parts) else '/'.join(parts)


def _printed(measure: str, value: float | None) -> str:
    return NOTHING if value is None else f'{value:.{_PAPER_DIGITS.get(measure, 2)}f}'


def build_tables(comparison: Comparison) -> list[Table]:
    """All tables of one comparison: every metric, the form of the paper's tables, and what captions bring.

    That form is Table 1's and Table 2's (PSNR), or where the paper's rows are of Table 3, 4 or 6 that one's.
    """
    arrows = {measure.name: measure.heading for measure in comparison.measures}
    labels = {'lpips': 'LPIPS', 'fid': 'FID', 'pi': 'PI', 'niqe': 'NIQE'}
    perceptual = '/'.join(labels[key] for key in PERCEPTUAL)
    forms = []  # of each table: number, file
    for names in (PERCEPTUAL, ('psnr',)):
        number = next((_stands_in(row, names) for row in comparison.paper if row.scores.keys() & set(names)),
                      '2' if 'psnr' in names else '1')
        forms.append((number, f'table{number}' if names == PERCEPTUAL or number == '2' else f'table{number}_psnr'))
    (first, first_file), (second, second_file) = forms
    wide = [wide_table(comparison, PERCEPTUAL, first_file,
                       f'{comparison.dataset}: {perceptual} ↓ (form of Table {first})'),
            wide_table(comparison, ['psnr'], second_file,
                       f'{comparison.dataset}: {arrows.get("psnr", "PSNR")} in dB (form of Table {second})')]
    captions = [caption_table(comparison, other) for other in ('wrong', 'no')]
    return [long_table(comparison), *(table for table in (*wide, *captions) if table)]
