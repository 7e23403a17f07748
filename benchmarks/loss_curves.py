"""Draw the losses and the validation of BasicSR's training logs over the iterations.

    python -m benchmarks.loss_curves experiments/train_tgjar_cub_cpu/train_*.log -o training.png

Several logs follow one another on the x axis; a training that was resumed goes on in the curves of the log before, and
what it repeats counts as it was last.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.curves import new_figure
from tgjar_arch.atomic_file import atomic

_TRAIN = re.compile(r'\[epoch:\s*[\d,]+, iter:\s*([\d,]+), lr:.*\] (?=\S+: \S+)')
_VALUE = re.compile(r'(\w+): (\S+)')
_VALIDATION = re.compile(r'INFO: Validation (\S+)')
_METRIC = re.compile(r'^\s*# (\w+): (\S+)')
_RESUMED = 'Resuming training from epoch'


@dataclass
class Curves:
    """What a log says.

    Attributes:
        losses: name -> {iteration: value}, in the order of the log.
        metrics: 'DATASET metric' -> {iteration: value}.
        resumed: whether the training went on from a state of an earlier one.
    """

    losses: dict[str, dict[int, float]] = field(default_factory=dict)
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    resumed: bool = False

    @property
    def last(self) -> int:
        """The highest iteration."""
        return max(max(values) for values in (*self.losses.values(), *self.metrics.values()))


def read_log(path: Path) -> Curves:
    """Read the training log `path` (train_*.log).

    Validation lines do not say their iteration: they belong to the last one that was logged before.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it has no training iteration.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; name a training log, experiments/NAME/train_*.log.')
    curves, iteration, dataset = Curves(), 0, ''
    for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
        if found := _TRAIN.search(line):
            iteration = int(found[1].replace(',', ''))
            for name, value in _VALUE.findall(line[found.end():]):
                curves.losses.setdefault(name, {})[iteration] = float(value)
        elif _RESUMED in line:
            curves.resumed = True
        elif found := _VALIDATION.search(line):
            dataset = found[1]
        elif dataset and (found := _METRIC.match(line)):
            curves.metrics.setdefault(f'{dataset} {found[1]}', {})[iteration] = float(found[2])
    if not curves.losses:
        raise ValueError(f'{path} has no line "[epoch: ..., iter: ..., lr: ...] l_...: ..." of a training by BasicSR.')
    return curves


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """Mean over `window` neighbouring values, fewer towards both ends; of the length of `values`."""
    return np.array([np.mean(values[max(k - (window - 1) // 2, 0):k + window // 2 + 1]) for k in range(len(values))])


def join(logs: Sequence[Curves]) -> tuple[Curves, list[int]]:
    """All logs one after another, and the iterations at which the second and later ones start."""
    joined, starts, offset = Curves(), [], 0
    for number, log in enumerate(logs):
        if number and not log.resumed:
            offset = joined.last
            starts.append(offset)
        for target, source in ((joined.losses, log.losses), (joined.metrics, log.metrics)):
            for name, values in source.items():
                target.setdefault(name, {}).update({offset + k: value for k, value in values.items()})
    return joined, starts


def draw(curves: Curves, starts: Sequence[int], output: Path, window: int) -> None:
    """Draw one panel a loss and a metric, if that was measured more than once; the file appears whole or not at all.

    Raises:
        ImportError: when matplotlib is missing.
        OSError: when the file cannot be written.
    """
    panels = [(name, values, True) for name, values in curves.losses.items()]
    panels += [(name, values, False) for name, values in curves.metrics.items() if len(values) > 1]
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(3.4 * columns, 2.4 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten()
    for axis, (name, values, is_loss) in zip(axes, panels, strict=False):
        iterations = sorted(values)
        # A break in the line between the logs: they are trainings of their own, with other batches and losses.
        for first, last in zip([0, *starts], [*starts, iterations[-1]], strict=True):
            own = [k for k in iterations if first < k <= last]
            points = [values[k] for k in own]
            if is_loss:
                axis.plot(own, points, color='tab:blue', alpha=0.25, linewidth=0.6)
                axis.plot(own, smooth(points, window), color='tab:blue', linewidth=1.4)
            else:
                axis.plot(own, points, color='tab:orange', marker='o', markersize=3, linewidth=1.2)
        for start in starts:
            axis.axvline(start, color='0.6', linewidth=0.8, linestyle='--')
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes[len(panels):]:
        axis.set_visible(False)
    for k in range(max(0, len(panels) - columns), len(panels)):  # the lowest of each column
        axes[k].tick_params(labelbottom=True)
        axes[k].set_xlabel('iteration', fontsize=8)
    with atomic(output) as temporary:
        figure.savefig(temporary, dpi=110, format=output.suffix.removeprefix('.') or None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.loss_curves', description=__doc__.partition('\n')[0])
    parser.add_argument('logs', nargs='+', type=Path, metavar='LOG', help='train_*.log of BasicSR, in their order')
    parser.add_argument('-o', '--output', type=Path, default=Path('training.png'), metavar='FILE',
                        help='PNG, PDF or SVG (default: %(default)s)')
    parser.add_argument('--window', type=int, default=15, metavar='N',
                        help='logged values that the smooth line averages (default: %(default)s)')
    args = parser.parse_args(argv)
    try:
        if args.window < 1:
            raise ValueError(f'--window must be at least 1, but is {args.window}.')
        curves, starts = join([read_log(path) for path in args.logs])
        draw(curves, starts, args.output, args.window)
    except (OSError, ValueError, ImportError) as error:
        print(f'loss_curves: {error}', file=sys.stderr)
        return 2
    drawn = [*curves.losses, *(name for name, values in curves.metrics.items() if len(values) > 1)]
    print(f'{args.output}: {", ".join(drawn)}; {curves.last} iterations')
    return 0


if __name__ == '__main__':
    sys.exit(main())
