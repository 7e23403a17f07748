"""`tgjar evaluate`: restores and measures a test set with several methods, and writes tables like the paper's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tgjar_arch.cli import arguments
from tgjar_arch.cli.screen import one_line
from tgjar_arch.evaluation.choices import CAPTION_KINDS, DEFAULT_METRICS, METRICS
from tgjar_arch.evaluation.paper import CHOICES, guess_dataset

if TYPE_CHECKING:
    from tgjar_arch.figures.zoom import Zoom

_DESCRIPTION = """\
Restore and measure a test set with several methods, and write tables like the paper's."""
_METHODS = """\
methods:
  JPEG                          the JPEG files themselves
  NLM, NLM-5                    OpenCV's non-local means, of strength h 7, or another
  waifu2x, waifu2x-1            waifu2x for photographs, noise 3, or 0 to 2 (pip install 'tgjar[waifu2x]')
  FBCNN=fbcnn_color.pth         a .pth file that spandrel loads (pip install 'tgjar[fbcnn]')
  FBCNN=results/.../cub_qf1     a folder of restored pictures, named like the originals (BasicSR's suffix may follow)
  TGJAR=tgjar_cub.safetensors   weights of `tgjar export`; the captions are those beside the originals
  TGJAR=tgjar_universal         weights that come with tgjar, by name (`tgjar doctor` lists them)
  EDSR=options/baselines/test_edsr_cub.yml   a test option file: its networks and weights. An option file is a program
                                that runs when it is read: take none from people you do not trust
  {qf} in a path stands for the quality factor; or name each: TGJAR@1=first.safetensors, TGJAR@5=second.safetensors

Exit code: 0 everything was measured, 1 something was left out and is listed, 2 nothing could be started."""

_SHOWN = 20  # of what was left out, on the screen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tgjar evaluate', description=_DESCRIPTION, epilog=_METHODS,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='?', help='folder (or *.lmdb) of originals, with captions as for training')
    parser.add_argument('-o', '--output', type=Path, default=Path('results/evaluate'),
                        help='folder for tables, scores and restored pictures (default: %(default)s)')
    parser.add_argument('--method', action='append', metavar='NAME[=PATH]',
                        help='a row of the tables, see below; may be given several times (default: JPEG)')
    parser.add_argument('--qf', type=arguments.quality_factor, nargs='+', default=[1], metavar='Q',
                        help='JPEG quality factors (default: 1)')
    parser.add_argument('--metrics', nargs='+', metavar='METRIC', choices=METRICS,
                        help=f'of {", ".join(METRICS)}; default: those of {", ".join(DEFAULT_METRICS)} '
                             'whose packages and weights are there')
    parser.add_argument('--caption-rows', nargs='+', choices=CAPTION_KINDS, default=['right'],
                        help="give networks the image's own caption, another image's, none; a row for each "
                             '(default: right)')
    arguments.add_self_ensemble(parser, 'repeat the rows of networks with the mean of the restored picture and its '
                                'restored mirror image')
    parser.add_argument('--strength', type=arguments.strength, nargs='+', default=[1.], metavar='S',
                        help='rows of networks for each of these: how much of the change is applied (default: 1)')
    parser.add_argument('--fidelity', type=arguments.fidelity, nargs='+', default=[0.], metavar='F',
                        help='rows of networks for each of these: 0, their weights, to 1, the fidelity weights '
                        '(default: 0)')
    arguments.add_fidelity_weights(parser)
    parser.add_argument('--text', metavar='FOLDER',
                        help='folder of the captions, if they do not lie with the originals')
    parser.add_argument('--paper', choices=(*CHOICES, 'none'),
                        help="the paper's figures to show beside ours (default: those of the data set that the path "
                             'names, if it is a test set, such as data/cub/test)')
    parser.add_argument('--crop', type=arguments.number_from(int, 0, 'a number of pixels, or 0 for whole images'),
                        metavar='PIXELS',
                        help='side of the centre that is cut out of the originals, 0 for all of them (default: 256; '
                        'Kodak: 0)')
    parser.add_argument('--max-images', type=arguments.positive_int, metavar='N',
                        help='use this many, evenly spread over all')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of the wrong captions (default: %(default)s)')
    arguments.add_device(parser)
    parser.add_argument('--overwrite', action='store_true', help='restore again what is already there')
    parser.add_argument('--originals', action='store_true',
                        help="write the originals as they were compared to OUTPUT/originals, for BasicSR's "
                             'scripts/metrics and other tools; those of an earlier run are removed')
    parser.add_argument('--figure', nargs='+', metavar='IMAGE',
                        help='draw these images, or this number of them, as PDF and PNG: a row an image, a column a '
                             "method (the paper's Figures 4, 6, 7)")
    parser.add_argument('--captions', nargs='+', metavar='TEXT',
                        help='draw instead what methods that take text make of the one image of --figure with each of '
                             "these texts (the paper's Figure 8); \"\" is none")
    parser.add_argument('--zoom', nargs='+', metavar='PIXELS',
                        help='window that is enlarged in the figures: X Y W H in pixels, four numbers for all images '
                             'or for each in turn; auto: where JPEG lost most; none (default: auto; with '
                             '--captions: none)')
    parser.add_argument('--table5', type=arguments.positive_int, nargs='?', const=256, metavar='SIZE',
                        help="parameters, FLOP and seconds of the paper's networks for a picture of SIZE x SIZE pixels "
                             '(default: 256); works without a test set')
    parser.add_argument('--slow', action='store_true', help='time RNAN at SIZE on a CPU too, which takes minutes')
    parser.add_argument('--quiet', action='store_true', help='no progress bars')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar evaluate`.

    Returns:
        Exit code: 0 if everything was measured, 1 if something was left out, 2 if nothing could be started.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.images is None and args.table5 is None:
        parser.error('name the folder of the originals, or give --table5')
    if args.figure is not None and args.images is None:
        parser.error('--figure needs the folder of the originals')
    for option in ('captions', 'zoom'):
        if getattr(args, option) is not None and args.figure is None:
            parser.error(f'--{option} belongs to a figure; name its image with --figure')
    try:
        from tgjar_arch.figures.zoom import read_zooms

        zoom = read_zooms(args.zoom or ['auto' if args.captions is None else 'none'])
    except ValueError as error:
        parser.error(str(error).rstrip('.'))
    if args.output.exists() and not args.output.is_dir():
        parser.error(f'the output {args.output} is a file; name a folder')
    return _run(args, zoom)


def _run(args: argparse.Namespace, zoom: Sequence[Zoom]) -> int:
    """Do what the arguments say; returns the exit code."""
    from tgjar_arch.cli.device import find_device
    from tgjar_arch.cli.evaluate_run import EvaluateSettings, evaluate, problem_line, progress_bar, write_tables
    from tgjar_arch.evaluation.scores import Scores

    def warn(line: str) -> None:
        print(one_line(line), file=sys.stderr)

    progress = progress_bar(args.quiet)
    tables, notes, scores, draw = [], [], Scores(), None
    try:
        if args.device is not None:
            find_device(args.device)
        if args.images is not None:
            crop = args.crop
            if crop is None:  # as the test option files have it
                crop = 0 if guess_dataset(args.images) == 'kodak' else 256
            result = evaluate(EvaluateSettings(
                images=args.images, output=args.output, methods=args.method or ['JPEG'],
                qfs=list(dict.fromkeys(args.qf)), metrics=args.metrics,
                caption_rows=list(dict.fromkeys(args.caption_rows)), self_ensemble=args.self_ensemble, text=args.text,
                paper=args.paper, crop=crop or None, max_images=args.max_images, seed=args.seed, device=args.device,
                overwrite=args.overwrite, originals=args.originals, figure=args.figure, captions=args.captions,
                zoom=zoom, strengths=list(dict.fromkeys(args.strength)),
                fidelities=list(dict.fromkeys(args.fidelity)), fidelity_weights=args.fidelity_weights), progress, warn)
            tables, notes, scores, draw = list(result.tables), result.notes, result.scores, result.draw
        if args.table5 is not None:
            from tgjar_arch.evaluation.cost import cost_table

            tables.append(cost_table(args.table5, args.device, args.slow, progress))
        files = write_tables(args.output, tables, notes, scores)
        if draw is not None:
            files += draw()  # after the tables: they stay if this fails
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f'tgjar evaluate: {error}', file=sys.stderr)
        return 2
    print((args.output / 'tables.md').read_text(encoding='utf-8'))
    print(one_line('written: ' + ', '.join(map(str, files))))
    if scores.problems:
        print(f'{len(scores.problems)} left out:', file=sys.stderr)
        for where, reason in list(scores.problems.items())[:_SHOWN]:
            print(one_line(f'  {problem_line(where, reason)}'), file=sys.stderr)
        if len(scores.problems) > _SHOWN:
            print(f'  ... all of them in {args.output / "tables.md"}', file=sys.stderr)
    return 1 if scores.problems else 0


if __name__ == '__main__':
    sys.exit(main())
