"""`tgjar evaluate`: restores and measures a test set by several methods, and sets tables in the paper's form."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import torch
from tqdm import tqdm

from tgjar_arch.atomic_file import atomic
from tgjar_arch.evaluation import measures as measuring
from tgjar_arch.evaluation.figure_files import FigureFiles
from tgjar_arch.evaluation.kept_pictures import write_originals
from tgjar_arch.evaluation.methods import Method, build_methods, find_paths, parse_methods, quality_warnings
from tgjar_arch.evaluation.paper import CHOICES, DATASETS, guess_dataset, paper_rows
from tgjar_arch.evaluation.scores import Scores, measure_all
from tgjar_arch.evaluation.tables import Comparison, Table, build_tables
from tgjar_arch.evaluation.test_set import CAPTION_KINDS, EvaluationSet, Progress
from tgjar_arch.figures.zoom import read_zooms
from tgjar_arch.jpeg.codec import check_qf

_METHODS = """\
methods:
  JPEG                          the JPEG files themselves
  FBCNN=results/.../cub_qf1     a folder of restored pictures, named like the originals (BasicSR's ending is found)
  TGJAR=tgjar_cub.safetensors   weights of `tgjar export`; captions are those beside the originals
  TGJAR=tgjar_universal         weights that come with tgjar, by name (`tgjar doctor` lists them)
  EDSR=options/baselines/test_edsr_cub.yml   a test option file: its networks and weights
  {qf} in a path stands for the quality factor; or name each: TGJAR@1=first.safetensors, TGJAR@5=second.safetensors

Exit code: 0 all was measured, 1 something was left out and is listed, 2 nothing could be started."""

_SHOWN = 20  # of what was left out, on the screen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tgjar evaluate', description=__doc__, epilog=_METHODS,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='?', help='folder (or *.lmdb) of originals, with captions as for training')
    parser.add_argument('-o', '--output', type=Path, default=Path('results/evaluate'),
                        help='folder for tables, scores and restored pictures (%(default)s)')
    parser.add_argument('--method', action='append', metavar='NAME[=PATH]',
                        help='a row of the tables, see below; may be given several times (JPEG)')
    parser.add_argument('--qf', type=int, nargs='+', default=[1], help='JPEG quality factors (1)')
    parser.add_argument('--metrics', nargs='+', metavar='METRIC', choices=measuring.NAMES,
                        help=f'of {", ".join(measuring.NAMES)}; by default {", ".join(measuring.DEFAULT)}, as far as '
                             'packages and weights are there')
    parser.add_argument('--caption-rows', nargs='+', choices=CAPTION_KINDS, default=['right'],
                        help="give networks the image's own caption, another image's, none; a row for each (right)")
    parser.add_argument('--self-ensemble', action='store_true',
                        help='repeat the rows of networks with the mean of the restored picture and its restored '
                             'mirror image')
    parser.add_argument('--text', metavar='FOLDER', help='captions, where they do not lie with the originals')
    parser.add_argument('--paper', choices=(*CHOICES, 'none'),
                        help="the paper's figures to stand beside ours; by default those of the data set that the path "
                             'names, if it is of a test set, such as data/cub/test')
    parser.add_argument('--crop', type=int, help='centre of the originals in pixels, 0 for all (256; Kodak: all)')
    parser.add_argument('--max-images', type=int, help='this many, evenly spread over all')
    parser.add_argument('--seed', type=int, default=0, help='of the wrong captions (0)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: the GPU if there is one')
    parser.add_argument('--overwrite', action='store_true', help='restore again what is there')
    parser.add_argument('--originals', action='store_true',
                        help="write the originals as they were compared to OUTPUT/originals, for BasicSR's "
                             'scripts/metrics and other tools; those of an earlier run go')
    parser.add_argument('--figure', nargs='+', metavar='IMAGE',
                        help='draw these images, or this number of them, as PDF and PNG: a row an image, a column a '
                             "method (the paper's Figures 4, 6, 7)")
    parser.add_argument('--captions', nargs='+', metavar='TEXT',
                        help='draw instead what methods that take text make of the one image of --figure by each of '
                             "these texts (the paper's Figure 8); \"\" is none")
    parser.add_argument('--zoom', nargs='+', metavar='PIXELS',
                        help='window that is enlarged in the figures: X Y W H in pixels, four numbers for all images '
                             'or for each in turn; auto: where JPEG lost most; none (auto, with --captions none)')
    parser.add_argument('--table5', type=int, nargs='?', const=256, metavar='SIZE',
                        help="parameters, FLOP and seconds of the paper's networks for a picture of SIZE (256) pixels; "
                             'works without a test set')
    parser.add_argument('--slow', action='store_true', help='time RNAN at SIZE on a CPU too: minutes')
    parser.add_argument('--quiet', action='store_true', help='no progress bars')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.images is None and args.table5 is None:
        parser.error('name the folder of the originals, or give --table5')
    tables: list[Table] = []
    notes: list[str] = []
    scores = Scores()
    draw: Callable[[], list[Path]] = list
    try:
        _check(args)
        if args.images is not None:
            tables, notes, scores, draw = _compare(args)
        if args.table5 is not None:
            from tgjar_arch.evaluation.cost import cost_table

            tables.append(cost_table(args.table5, args.device, args.slow, _progress(args.quiet)))
        files = _write(args.output, tables, notes, scores)
        files += draw()  # after the tables: they stay if this fails
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f'tgjar evaluate: {error}', file=sys.stderr)
        return 2
    print((args.output / 'tables.md').read_text(encoding='utf-8'))
    print('written: ' + ', '.join(map(str, files)))
    if scores.problems:
        print(f'{len(scores.problems)} left out:', file=sys.stderr)
        for where, reason in list(scores.problems.items())[:_SHOWN]:
            print(f'  {_problem(where, reason)}', file=sys.stderr)
        if len(scores.problems) > _SHOWN:
            print(f'  ... all of them in {args.output / "tables.md"}', file=sys.stderr)
    return 1 if scores.problems else 0


def _check(args: argparse.Namespace) -> None:
    args.qf = [check_qf(qf, '--qf') for qf in dict.fromkeys(args.qf)]
    args.caption_rows = list(dict.fromkeys(args.caption_rows))
    for option in ('captions', 'zoom'):
        if getattr(args, option) is not None and args.figure is None:
            raise ValueError(f'--{option} belongs to a figure; name its image with --figure.')
    if args.figure is not None and args.images is None:
        raise ValueError('--figure needs the folder of the originals.')
    args.zoom = read_zooms(args.zoom or ['auto' if args.captions is None else 'none'])
    for option in ('max_images', 'table5'):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise ValueError(f'--{option.replace("_", "-")} must be 1 or more, but is {getattr(args, option)}.')
    if args.crop is None:  # as the test option files have it
        args.crop = 0 if args.images and guess_dataset(args.images) == 'kodak' else 256
    if args.crop < 0:
        raise ValueError(f'--crop must be 0 (whole images) or more, but is {args.crop}.')
    if args.output.exists() and not args.output.is_dir():
        raise ValueError(f'the output {args.output} is a file; name a folder.')
    if args.device is not None:
        try:
            torch.empty(0, device=args.device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f'--device {args.device} cannot be used here: {str(error).splitlines()[0]}') from error


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f'nothing can be written to the output folder {folder} ({error.strerror}); name another with '
                         '-o.') from error


def _progress(quiet: bool) -> Progress:
    def progress(items: Sequence[str], description: str) -> Iterable[str]:
        return tqdm(items, desc=description, unit='image', disable=quiet, leave=False)

    return progress


def _compare(args: argparse.Namespace) -> tuple[list[Table], list[str], Scores, Callable[[], list[Path]]]:
    """Restore, measure and tabulate; returns the tables, the lines below them, the scores, what draws the figures."""
    specs = find_paths(parse_methods(args.method or ['JPEG'], args.qf))
    warnings = quality_warnings(specs, args.qf)
    for line in warnings:
        print(f'warning: {line}', file=sys.stderr)
    images = EvaluationSet(args.images, args.crop or None, args.max_images, args.text, args.seed)
    images.check(_progress(args.quiet))
    methods = build_methods(specs, images, args.qf, args.output, args.caption_rows, args.device, args.overwrite,
                            args.self_ensemble)
    figures = FigureFiles(args.figure, args.captions, args.zoom, images, methods, args.qf,
                          args.output) if args.figure else None  # a mistake in it shows now, not hours later
    measures, left_out = measuring.build_measures(args.metrics)  # after the methods: this may download weights
    for line in left_out:
        print(line, file=sys.stderr)
    _check_writable(args.output)  # now, not after all was restored
    if args.originals:
        others = write_originals(images, args.output, _progress(args.quiet))
        if others:
            print(f'warning: {args.output / "originals"} has {len(others)} files of others, such as {others[0].name}; '
                  'move them away before other tools pair the folder.', file=sys.stderr)
    scores = measure_all(methods, images, args.qf, measures, args.output, _progress(args.quiet))
    for folder, count in (method.leftovers(qf) for method in methods if args.originals and hasattr(method, 'leftovers')
                          for qf in method.qfs):
        if count:
            print(f'warning: {folder} has {count} pictures of earlier runs that OUTPUT/originals lacks; tools that '
                  'pair by order need another output folder (-o).', file=sys.stderr)
    if not any(scores.by_image.get(row, {}).get(m.name) or m.name in scores.of_set.get(row, {})
               for row in scores.by_image for m in measures):
        raise ValueError('nothing could be measured:\n' + '\n'.join(
            _problem(*problem) for problem in scores.problems.items()))
    dataset = guess_dataset(args.images)
    paper = args.paper or dataset or 'none'
    comparison = Comparison(DATASETS.get(dataset or '', Path(args.images).name), [method.label for method in methods],
                            args.qf, measures, scores, [] if paper == 'none' else paper_rows(paper),
                            _captioned(images, args.caption_rows))
    draw = partial(figures.write, measures, scores) if figures else list
    notes = [*warnings, *_notes(args, images, methods, measures, left_out, paper)]
    return build_tables(comparison), notes, scores, draw


def _captioned(images: EvaluationSet, kinds: Sequence[str]) -> frozenset[str]:
    """The images with a caption of every kind that is compared."""
    given = [images.captions(kind) for kind in dict.fromkeys(('right', *kinds)) if kind != 'none']
    return frozenset(name for name in images.names if all(captions[name] for captions in given))


def _notes(args: argparse.Namespace, images: EvaluationSet, methods: Sequence[Method],
           measures: Sequence[measuring.Measure], left_out: Sequence[str], paper: str) -> list[str]:
    """What the figures mean: images, error bars, methods, metrics."""
    size = f'centre {args.crop}x{args.crop}' if args.crop else 'whole'
    whole_set = ', '.join(measure.label for measure in measures if measure.score is None)
    lines = [
        f'Images: {len(images.names)} of {args.images}, {size}, JPEG 4:2:0 made after the crop.',
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
    if 'wrong' in args.caption_rows:
        lines.append('Wrong captions: those of other images, of another class where classes are known, drawn once with '
                     f'seed {args.seed}.')
    for method in methods:
        sources = dict.fromkeys(method.describe(qf) for qf in method.qfs)
        lines.append(f'{method.label}: {"; ".join(sources)}.')
    lines += [f'{measure.label}: {measure.source}.' for measure in measures]
    return lines + [f'Left out: {line}' for line in left_out]


def _problem(where: str, reason: str) -> str:
    return reason if where in reason else f'{where}: {reason}'


def _write(output: Path, tables: Sequence[Table], notes: Sequence[str], scores: Scores) -> list[Path]:
    """Write `tables.md` and a CSV file a table, each whole or not at all; returns their paths."""
    parts = ['# Evaluation\n', *(table.markdown() for table in tables)]
    if notes:
        parts.append('\n'.join(f'- {line}' for line in notes) + '\n')
    if scores.problems:
        problems = (_problem(where, reason) for where, reason in scores.problems.items())
        parts.append('## Left out\n\n' + '\n'.join(f'- {line}' for line in problems) + '\n')
    files = {output / f'{table.name}.csv': table.csv() for table in tables}
    files = {output / 'tables.md': '\n'.join(parts)} | files
    for path, text in files.items():
        with atomic(path) as temporary:
            temporary.write_text(text, encoding='utf-8')
    return [*files, *(path for path in (output / 'scores.csv', output / 'set_scores.csv') if path.is_file()
                      and scores.by_image)]


if __name__ == '__main__':
    sys.exit(main())
