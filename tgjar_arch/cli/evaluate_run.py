"""What `tgjar evaluate` does once its arguments are read: restores, measures, and writes tables."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from tqdm import tqdm

from tgjar_arch.atomic_file import atomic
from tgjar_arch.cli.screen import one_line
from tgjar_arch.evaluation.figure_files import FigureFiles
from tgjar_arch.evaluation.kept_pictures import write_originals
from tgjar_arch.evaluation.measures import Measure, build_measures
from tgjar_arch.evaluation.methods import Method, build_methods, find_paths, parse_methods, quality_warnings
from tgjar_arch.evaluation.network_method import Dials
from tgjar_arch.evaluation.paper import DATASETS, guess_dataset, paper_rows
from tgjar_arch.evaluation.scores import Scores, measure_all
from tgjar_arch.evaluation.tables import Comparison, Table, build_tables
from tgjar_arch.evaluation.test_set import EvaluationSet, Progress
from tgjar_arch.figures.zoom import Zoom
from tgjar_arch.text.escaping import as_markdown


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f'nothing can be written to the output folder {folder} ({error.strerror}); name another with '
                         '-o.') from error


def progress_bar(quiet: bool) -> Progress:
    def progress(items: Sequence[str], description: str) -> Iterable[str]:
        return tqdm(items, desc=description, unit='image', disable=quiet, leave=False)

    return progress


@dataclass(frozen=True)
class EvaluateSettings:
    """What `tgjar evaluate` was asked for.

    Attributes:
        images: folder or lmdb of originals.
        output: folder for tables, scores and restored pictures.
        methods: rows of the tables, as texts `NAME[=PATH]`, see `parse_methods`.
        qfs: JPEG quality factors.
        metrics: names; None: all of the default ones that can be computed here.
        caption_rows: which captions networks get, of `CAPTION_KINDS`; a row for each.
        self_ensemble: a row for each network with it, too.
        text: folder of captions; None: those with the originals.
        paper: the paper's figures to stand beside ours; None: those of the data set that the path names.
        crop: side of the centre of the originals in pixels; None: all of them.
        max_images: this many, evenly spread; None: all.
        seed: of the wrong captions.
        device: see `Restorer`.
        overwrite: restore again what is already there.
        originals: write the originals as they were compared.
        figure: images to draw, or their number; None: no figure.
        captions: draw what methods make of one image with each of these; None: draw methods.
        zoom: windows that are enlarged in the figures.
        strengths, fidelities: rows of networks for each; see `Restorer` and `Restorer.from_pretrained`.
        fidelity_weights: see `Restorer.from_pretrained`.
    """

    images: str
    output: Path
    methods: Sequence[str]
    qfs: Sequence[int]
    metrics: Sequence[str] | None
    caption_rows: Sequence[str]
    self_ensemble: bool
    text: str | None
    paper: str | None
    crop: int | None
    max_images: int | None
    seed: int
    device: str | None
    overwrite: bool
    originals: bool
    figure: Sequence[str] | None
    captions: Sequence[str] | None
    zoom: Sequence[Zoom]
    strengths: Sequence[float] = (1.,)
    fidelities: Sequence[float] = (0.,)
    fidelity_weights: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """What came out: tables, lines to stand below them, scores, and what draws the figures and returns their files."""

    tables: list[Table]
    notes: list[str]
    scores: Scores
    draw: Callable[[], list[Path]]


def evaluate(settings: EvaluateSettings, progress: Progress, warn: Callable[[str], None]) -> Evaluation:
    """Restore, measure and tabulate.

    Args:
        settings: what and how.
        progress: shows a bar.
        warn: called with lines that a user should know.

    Raises:
        ImportError, OSError, RuntimeError, ValueError: if something is missing or not as it must be.
    """
    if settings.fidelity_weights is not None and not any(settings.fidelities):
        raise ValueError('--fidelity-weights has no effect without --fidelity; give 1 for these weights alone.')
    specs = find_paths(parse_methods(settings.methods, settings.qfs))
    warnings = quality_warnings(specs, settings.qfs)
    for line in warnings:
        warn(f'warning: {line}')
    images = EvaluationSet(settings.images, settings.crop, settings.max_images, settings.text, settings.seed)
    images.check(progress)
    methods = build_methods(specs, images, settings.qfs, settings.output, settings.caption_rows, settings.device,
                            settings.overwrite, settings.self_ensemble,
                            [Dials(strength, fidelity, settings.fidelity_weights)
                             for fidelity in settings.fidelities for strength in settings.strengths])
    figures = None
    if settings.figure:  # a mistake in it shows now, not hours later
        figures = FigureFiles(settings.figure, settings.captions, settings.zoom, images, methods, settings.qfs,
                              settings.output)
    measures, left_out = build_measures(settings.metrics)  # after the methods: this may download weights
    for line in left_out:
        warn(line)
    _check_writable(settings.output)  # now, not after all was restored
    if settings.originals:
        others = write_originals(images, settings.output, progress)
        if others:
            warn(f'warning: {settings.output / "originals"} has {len(others)} files of others, such as '
                 f'{others[0].name}; move them away before other tools pair the folder.')
    scores = measure_all(methods, images, settings.qfs, measures, settings.output, progress)
    for folder, count in (method.leftovers(qf) for method in methods
                          if settings.originals and hasattr(method, 'leftovers') for qf in method.qfs):
        if count:
            warn(f'warning: {folder} has {count} pictures of earlier runs that OUTPUT/originals lacks; tools that pair '
                 'by order need another output folder (-o).')
    if not any(scores.by_image.get(row, {}).get(m.name) or m.name in scores.of_set.get(row, {})
               for row in scores.by_image for m in measures):
        raise ValueError('nothing could be measured:\n' + '\n'.join(
            one_line(problem_line(*problem)) for problem in scores.problems.items()))
    dataset = guess_dataset(settings.images)
    paper = settings.paper or dataset or 'none'
    name = DATASETS[dataset] if dataset else Path(settings.images).name
    comparison = Comparison(name, [method.label for method in methods], settings.qfs, measures, scores,
                            [] if paper == 'none' else paper_rows(paper), _captioned(images, settings.caption_rows))
    draw = partial(figures.write, measures, scores) if figures else list
    notes = [*warnings, *_notes(settings, images, methods, measures, left_out, paper)]
    return Evaluation(build_tables(comparison), notes, scores, draw)


def _captioned(images: EvaluationSet, kinds: Sequence[str]) -> frozenset[str]:
    """The images with a caption of every kind that is compared."""
    given = [images.captions(kind) for kind in dict.fromkeys(('right', *kinds)) if kind != 'none']
    return frozenset(name for name in images.names if all(captions[name] for captions in given))


def _notes(settings: EvaluateSettings, images: EvaluationSet, methods: Sequence[Method],
           measures: Sequence[Measure], left_out: Sequence[str], paper: str) -> list[str]:
    """What the figures mean: images, error bars, methods, metrics."""
    size = f'centre {settings.crop}x{settings.crop}' if settings.crop else 'whole'
    whole_set = ', '.join(measure.label for measure in measures if measure.score is None)
    lines = [
        f'Images: {len(images.names)} of {settings.images}, {size}, JPEG 4:2:0 made after the crop.',
        '±: half of the 95 % interval of the mean over the images (bootstrap, 1,000 resamples)'
        + ('' if len(images.names) > 1 else '; none for one image')
        + (f'; none for {whole_set}, which has one value for the whole set and falls with more images, so compare it '
           'between equal numbers only.' if whole_set else '.'),
        'Bold: the best of the methods measured here on the same images; † stands where they were others.' + (
            ' The rows called paper are copied from the paper, which measured on its own, complete test set.'
            if paper != 'none' else ''),
    ]
    without = sum(not caption for caption in images.captions().values())
    if without and any(getattr(method, 'takes_text', False) for method in methods):
        lines.append(f'{without} of the images have no caption and are restored without.')
    if 'wrong' in settings.caption_rows:
        lines.append('Wrong captions: those of other images, of another class where classes are known, drawn once with '
                     f'seed {settings.seed}.')
    for method in methods:
        sources = dict.fromkeys(method.describe(qf) for qf in method.qfs)
        lines.append(f'{method.label}: {"; ".join(sources)}.')
    lines += [f'{measure.label}: {measure.source}.' for measure in measures]
    return lines + [f'Left out: {line}' for line in left_out]


def problem_line(where: str, reason: str) -> str:
    return reason if where in reason else f'{where}: {reason}'


def write_tables(output: Path, tables: Sequence[Table], notes: Sequence[str], scores: Scores) -> list[Path]:
    """Write `tables.md` and a CSV file a table, each whole or not at all; returns their paths."""
    parts = ['# Evaluation\n', *(table.markdown() for table in tables)]
    if notes:
        parts.append('\n'.join(f'- {as_markdown(line)}' for line in notes) + '\n')
    if scores.problems:
        problems = (problem_line(where, reason) for where, reason in scores.problems.items())
        parts.append('## Left out\n\n' + '\n'.join(f'- {as_markdown(line)}' for line in problems) + '\n')
    files = {output / f'{table.name}.csv': table.csv() for table in tables}
    files = {output / 'tables.md': '\n'.join(parts)} | files
    for path, text in files.items():
        with atomic(path) as temporary:
            temporary.write_text(text, encoding='utf-8', errors='surrogateescape')
    return [*files, *(path for path in (output / 'scores.csv', output / 'set_scores.csv') if path.is_file()
                      and scores.by_image)]
