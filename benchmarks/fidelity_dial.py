"""The dial between beautiful and true, as a curve: PSNR over LPIPS at some fidelities, for each JPEG quality.

    python -m benchmarks.fidelity_dial --data data/kodak --crop 384 --number 20 -o results/fidelity_dial
    python -m benchmarks.fidelity_dial --weights mine.safetensors --fidelity-weights true.safetensors --method waifu2x

Every image is restored with its caption at every fidelity (`tgjar evaluate --fidelity` has the same rows, in tables of
its own). The JPEG files, and what `--method` names besides, are single points. A better picture by both measures lies
higher and further to the left. OUTPUT gets `fidelity_dial.md`, `.csv` and `.png`; restored pictures and scores are kept
there, so that a second run computes only what is new.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from tqdm import tqdm

from benchmarks.curves import new_figure
from tgjar_arch.atomic_file import atomic
from tgjar_arch.evaluation.bootstrap import Interval
from tgjar_arch.evaluation.measures import build_measures
from tgjar_arch.evaluation.methods import build_methods, parse_methods
from tgjar_arch.evaluation.network_method import Dials, NetworkMethod
from tgjar_arch.evaluation.scores import measure_all
from tgjar_arch.evaluation.tables import Table
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.text.escaping import as_markdown
from tgjar_arch.weights.interpolation import check_fidelity
from tgjar_arch.weights.shipped import find_fidelity_weights, find_weights

QFS = (1, 10, 40)
FIDELITIES = (0., .25, .5, .75, 1.)
METRICS = ('psnr', 'lpips')
_ROW = 'TGJAR'  # of the network, in the folder of the results


@dataclass(frozen=True)
class Point:
    """What a method reaches at a quality.

    Attributes:
        psnr, lpips: means over the images, with their intervals.
        fidelity: of the dial; None for another method.
    """

    psnr: Interval
    lpips: Interval
    fidelity: float | None = None


Points = Mapping[int, Mapping[str, Point]]  # quality factor -> row -> point


def measure(images: EvaluationSet, weights: Path, partner: Path, qfs: Sequence[int], fidelities: Sequence[float],
            others: Sequence[str], out: Path, device: str | None = None,
            quiet: bool = False) -> tuple[Points, list[str]]:
    """Restore and measure.

    Args:
        images: the test set.
        weights, partner: what fidelity 0 and 1 give.
        qfs: JPEG quality factors.
        fidelities: points of the curve.
        others: methods of `tgjar evaluate` that stand beside it.
        out: folder of restored pictures and scores.
        device: see `Restorer`.
        quiet: no progress bars.

    Returns:
        The points, and a line for each method that says what it is.

    Raises:
        ImportError, OSError, ValueError: when something is missing, or not as it must be.
    """
    def progress(items: Sequence[str], description: str) -> Iterable[str]:
        return tqdm(items, desc=description, unit='image', disable=quiet, leave=False)

    images.check(progress)
    specs = parse_methods([*others, f'{_ROW}={weights}'], qfs)
    methods = build_methods(specs, images, qfs, out, device=device,
                            dials=[Dials(fidelity=value, fidelity_weights=partner) for value in fidelities])
    measures, _ = build_measures(METRICS)
    scores = measure_all(methods, images, qfs, measures, out, progress)
    if scores.problems:
        where, reason = next(iter(scores.problems.items()))
        raise ValueError(f'{len(scores.problems)} pictures could not be measured; the first, {where}: {reason}')
    points: dict[int, dict[str, Point]] = {qf: {} for qf in qfs}
    for method in methods:
        fidelity = method.dials.fidelity if isinstance(method, NetworkMethod) and method.name == _ROW else None
        for qf in method.qfs:
            psnr, lpips = (scores.interval((method.label, qf), name) for name in METRICS)
            assert psnr is not None and lpips is not None
            points[qf][method.label] = Point(psnr, lpips, fidelity)
    return points, [f'{method.label}: {method.describe(method.qfs[0])}.' for method in methods]


def table(points: Points, title: str, notes: Sequence[str]) -> Table:
    """A row for each quality and method."""
    cells, rows = [], []
    for qf, of_quality in points.items():
        for label, point in of_quality.items():
            name = label if point.fidelity is None else f'fidelity {point.fidelity:g}'
            cells.append([str(qf), name, _with_interval(point.psnr, 2), _with_interval(point.lpips, 4)])
            rows.append([qf, label, '' if point.fidelity is None else point.fidelity, point.psnr.mean, point.psnr.half,
                         point.lpips.mean, point.lpips.half])
    return Table('fidelity_dial', title, ['QF', 'method', 'PSNR ↑', 'LPIPS ↓'], cells,
                 ['qf', 'method', 'fidelity', 'psnr', 'psnr_half', 'lpips', 'lpips_half'], rows,
                 [f'- {as_markdown(line)}' for line in notes])


def _with_interval(value: Interval, digits: int) -> str:
    return f'{value.mean:.{digits}f}' + ('' if isnan(value.half) else f' ± {value.half:.{digits}f}')


def draw(points: Points, output: Path) -> None:
    """Draw a panel for each quality; the file appears whole or not at all.

    Raises:
        ImportError: when matplotlib is missing.
        OSError: when the file cannot be written.
    """
    figure = new_figure(4. * len(points), 3.6)
    axes = figure.subplots(1, len(points), squeeze=False)[0]
    names = list(dict.fromkeys(label for of_quality in points.values() for label, point in of_quality.items()
                               if point.fidelity is None))
    for axis, (qf, of_quality) in zip(axes, points.items(), strict=True):
        curve = [point for point in of_quality.values() if point.fidelity is not None]
        axis.plot([point.lpips.mean for point in curve], [point.psnr.mean for point in curve], 'o-', color='tab:blue',
                  markersize=4, linewidth=1.4, label='fidelity')
        for k, point in enumerate(curve):  # above and below in turns, for points that are close to each other
            axis.annotate(f'{point.fidelity:g}', (point.lpips.mean, point.psnr.mean), fontsize=8, ha='center',
                          xytext=(0, -13 if k % 2 else 6), textcoords='offset points')
        for name in names:
            if name in of_quality:
                point, number = of_quality[name], names.index(name)
                axis.plot(point.lpips.mean, point.psnr.mean, 'sD^vP*X'[number % 7], color=f'C{number % 9 + 1}',
                          linestyle='none', label=name)
        axis.set_title(f'quality {qf}', fontsize=10)
        axis.set_xlabel('LPIPS (lower is better)', fontsize=8)
        axis.tick_params(labelsize=7)
        axis.margins(.12)
        axis.grid(color='0.9', linewidth=.6)
        axis.set_axisbelow(True)
    axes[0].set_ylabel('PSNR in dB (higher is better)', fontsize=8)
    axes[0].legend(fontsize=8)
    with atomic(output) as temporary:
        figure.savefig(temporary, dpi=110, format='png')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.fidelity_dial', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', default='data/kodak', help='test images, with captions as for training '
                        '(default: %(default)s)')
    parser.add_argument('--weights', metavar='FILE', help='file of `tgjar export`, or the name of shipped weights '
                        '(default: those of `tgjar restore`)')
    parser.add_argument('--fidelity-weights', metavar='FILE', help='weights of the same network that were trained for '
                        'fidelity (default: the shipped ones that belong to --weights)')
    parser.add_argument('--qf', type=int, nargs='+', default=list(QFS), metavar='Q',
                        help=f'JPEG quality factors (default: {" ".join(map(str, QFS))})')
    parser.add_argument('--fidelity', type=float, nargs='+', default=list(FIDELITIES), metavar='F',
                        help=f'points of the curve (default: {" ".join(f"{value:g}" for value in FIDELITIES)})')
    parser.add_argument('--method', action='append', default=[], metavar='NAME[=PATH]',
                        help='another method to stand beside it, as of `tgjar evaluate`; may be given several times')
    parser.add_argument('--number', type=int, metavar='N',
                        help='images, evenly spread (default: all)')
    parser.add_argument('--crop', type=int, metavar='PIXELS',
                        help='side of the centre that is cut out before compression (default: whole images)')
    parser.add_argument('--text', metavar='FOLDER', help='folder of the captions, if they do not lie with the images')
    parser.add_argument('--device', help='cpu or cuda (default: the GPU if there is one)')
    parser.add_argument('-o', '--output', type=Path, default=Path('results/fidelity_dial'), metavar='FOLDER',
                        help='(default: %(default)s)')
    parser.add_argument('--quiet', action='store_true', help='no progress bars')
    args = parser.parse_args(argv)
    try:
        if any(value is not None and value < 1 for value in (args.number, args.crop)):
            raise ValueError('--number and --crop must be 1 or more.')
        if not all(1 <= qf <= 100 for qf in args.qf):
            raise ValueError('--qf must be from 1 to 100.')
        qfs, fidelities = (sorted(set(values)) for values in (args.qf, map(check_fidelity, args.fidelity)))
        weights = find_weights(args.weights)
        partner = find_fidelity_weights(weights, args.fidelity_weights)
        images = EvaluationSet(args.data, args.crop, args.number, args.text)
        points, sources = measure(images, weights, partner, qfs, fidelities, ['JPEG', *dict.fromkeys(args.method)],
                                  args.output, args.device, args.quiet)
        size = f'centre {args.crop}x{args.crop}' if args.crop else 'whole'
        result = table(points, f'{weights.stem} to {partner.stem}', [
            f'{len(images.names)} images of {args.data}, {size}, JPEG 4:2:0 made after the crop; ±: half of the 95 % '
            'interval of the mean over the images (bootstrap).', *sources])
        files = {args.output / f'{result.name}.md': result.markdown(), args.output / f'{result.name}.csv': result.csv()}
        for path, text in files.items():
            with atomic(path) as temporary:
                temporary.write_text(text, encoding='utf-8')
        draw(points, args.output / f'{result.name}.png')
    except (OSError, ValueError, ImportError) as error:
        print(f'fidelity_dial: {error}', file=sys.stderr)
        return 2
    print(result.markdown())
    print(f'written: {", ".join(map(str, files))}, {args.output / result.name}.png')
    return 0


if __name__ == '__main__':
    sys.exit(main())
