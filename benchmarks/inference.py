"""Restoration side by side: the networks of the paper's Table 5 and ours, text encoder included, on the same input.

    python -m benchmarks.inference [--device cpu] [--threads 1] [--sizes 256 512] [--dtype float32] [--batch 1]

All in one process, random weights, channels_last. After a run to warm up the networks take turns, so that
whatever else the machine does slows all of them, and the median of the runs counts. Prints Markdown: a table for each
size, and our cost a pixel over the sizes. A network that would take longer than `--seconds` for one run is left out of
the size and of all larger ones, which the table says. Peak memory is what a run adds to the process at its height,
weights apart. On a machine that does other things too, `--clock cpu --threads 1` counts the time on the core, not on
the wall.
"""
# ruff: noqa: T201

import argparse
import ctypes
import gc
import math
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from basicsr.archs import build_network
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import tgjar_arch
from tgjar_arch.evaluation.cost import NETWORKS as TABLE_5_NETWORKS
from tgjar_arch.evaluation.cost import TEXT_ENCODER
from tgjar_arch.evaluation.cost import machine as processor

tgjar_arch.register()

PROBES = (64, 128)  # pixels a side of the runs that tell what the first size will take
WORDS = 18  # of a caption, as CUB's
OURS = 'TGJAR'
NETWORKS = TABLE_5_NETWORKS | {'TGJAR lite': {'type': 'TGJARLiteGenerator'}}
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


class Candidate:
    """A network with its text encoder, if it takes one, and the inputs it wants.

    Args:
        name: key of `NETWORKS`.
        device: where it runs.
        dtype: of its weights and images; the text encoder stays in float32.
        batch: images a run.
    """

    def __init__(self, name: str, device: torch.device, dtype: torch.dtype = torch.float32, batch: int = 1) -> None:
        torch.manual_seed(0)
        self.device, self.dtype, self.batch = device, dtype, batch
        with torch.device(device):
            self.net, self.net_t = build_network(deepcopy(NETWORKS[name])), None
            if getattr(self.net, 'uses_text', False):
                self.net_t = build_network(deepcopy(TEXT_ENCODER)).requires_grad_(False).eval()
        self.net.requires_grad_(False).eval().to(dtype=dtype, memory_format=torch.channels_last)

    def parameters(self) -> int:
        """Number of parameters, text encoder included."""
        return sum(p.numel() for net in (self.net, self.net_t) if net is not None for p in net.parameters())

    def prepare(self, size: int) -> Callable[[], Tensor]:
        """One restoration of `batch` square images of `size` pixels a side, as a function to call repeatedly."""
        generator = torch.Generator().manual_seed(size)

        def image(channels: int, side: int) -> Tensor:
            values = torch.rand(self.batch, channels, side, side, generator=generator)
            return values.to(self.device, self.dtype, memory_format=torch.channels_last)

        made = {'qmaps': lambda: image(2, size), 'thumbnail': lambda: image(3, self.net.thumbnail_size)}
        lq, extra = image(3, size), {key: made[key]() for key in getattr(self.net, 'extra_inputs', ())}
        ids = torch.randint(1, TEXT_ENCODER['vocab_size'], (self.batch, WORDS), generator=generator).to(self.device)
        mask = torch.ones_like(ids, dtype=torch.bool)

        def run() -> Tensor:
            with torch.inference_mode():
                if self.net_t is not None:
                    return self.net(lq, text=self.net_t(ids, mask), **extra)
                return self.net(lq, **extra)

        return run


def flop(run: Callable[[], Tensor]) -> int:
    """Floating-point operations of convolutions and matrix products, a fused multiply-add counted as 2."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='TF32 acceleration')  # about Intel's GPUs, from the flags
        # Without oneDNN, whose LSTM is one operation that the counter does not know.
        with FlopCounterMode(display=False) as counter, torch.backends.mkldnn.flags(enabled=False):
            run()
    return counter.get_total_flops()


def seconds(run: Callable[[], Tensor], device: torch.device, clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one run."""
    _wait(device)
    start = clock()
    run()
    _wait(device)
    return clock() - start


def expected_seconds(known: list[tuple[int, float]], size: int) -> float:
    """What a run at `size` will take, when time goes with a power of the side, at least the second.

    Args:
        known: (size, seconds) of two smaller sizes or more, ascending.
        size: pixels a side.
    """
    (small, fast), (large, slow) = known[-2:]
    exponent = max(2.0, math.log(slow / fast) / math.log(large / small))
    return slow * (size / large) ** exponent


def peak_memory(run: Callable[[], Tensor], device: torch.device) -> float | None:
    """Bytes that one run adds at its height; None where the system does not say (no Linux, no CUDA)."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    reset = Path('/proc/self/clear_refs')
    if not reset.exists():
        return None
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)  # freed memory that the process still holds would hide what the run takes
    reset.write_text('5')
    before = _status('VmRSS')
    run()
    return _status('VmHWM') - before


def _status(key: str) -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f'{key}:'))


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def machine(device: torch.device, dtype: str, batch: int) -> str:
    """What the figures were measured on, in a line."""
    where = processor(device)
    cpuinfo = Path('/proc/cpuinfo')
    if device.type == 'cpu' and cpuinfo.is_file():  # a cloud's processor is often called no more than "AMD EPYC"
        fields = dict(re.findall(r'^(cpu family|model)\s*: (\d+)$', cpuinfo.read_text(), re.MULTILINE))
        where += ''.join(f', {key} {value}' for key, value in fields.items())
        where += f', {torch.backends.cpu.get_cpu_capability()}'
    return f'{where}, PyTorch {torch.__version__}, {dtype}, channels_last, batch {batch}'


def measure(candidates: dict[str, Candidate], size: int, known: dict[str, list[tuple[int, float]]], budget: float,
            repeats: int, clock: Callable[[], float] = time.perf_counter) -> tuple[dict[str, dict], dict[str, str]]:
    """Measure all candidates at one size, in turns.

    Args:
        candidates: those to run, by name.
        size: pixels a side.
        known: (size, seconds) of each at smaller sizes; this size is added.
        budget: seconds that one run may take, and about what all runs of one network may.
        repeats: runs at most.
        clock: what tells the time.

    Returns:
        Rows (seconds and flop an image, runs, memory of a run) by name, and for those left out the reason.
    """
    runs, rounds, times, rows, skipped = {}, {}, {}, {}, {}
    device = next(iter(candidates.values())).device
    for name, candidate in candidates.items():
        expected = expected_seconds(known[name], size)
        if expected > budget:
            skipped[name] = f'left out: {expected:.0f} s a run or more, over {budget:g}'
            continue
        runs[name] = candidate.prepare(size)
        warm = seconds(runs[name], device, clock)
        rounds[name] = min(repeats, int(budget / warm))
        times[name] = [] if rounds[name] else [warm]  # slower than expected: the run to warm up is all there is
    for turn in range(max(rounds.values(), default=0)):
        for name, run in runs.items():
            if turn < rounds[name]:
                times[name].append(seconds(run, device, clock))
    for name, run in runs.items():
        median = statistics.median(times[name])
        known[name].append((size, median))
        rows[name] = {'seconds': median / candidates[name].batch, 'runs': len(times[name]),
                      'flop': meta_flop(name, size),
                      'memory': peak_memory(run, device) if median < budget else None}
    return rows, skipped


def meta_flop(name: str, size: int) -> int:
    """FLOP of a network at a size, counted without computing anything but the text, whose LSTM wants numbers."""
    candidate = Candidate(name, torch.device('meta'))
    total = 0
    if candidate.net_t is not None:
        net_t = build_network(deepcopy(TEXT_ENCODER)).eval()
        ids = torch.ones(1, WORDS, dtype=torch.int64)
        with torch.inference_mode():
            total = flop(lambda: net_t(ids, ids.bool()))
            features = net_t(ids, ids.bool()).to('meta')
        candidate.net_t = lambda ids, mask: features._replace(mask=mask)
    return total + flop(candidate.prepare(size))


def digits(value: float) -> str:
    """Three significant digits, or all before the point: 0.000351, 7.60, 2041."""
    return f'{value:.{max(0, 2 - math.floor(math.log10(value)))}f}' if value > 0 else '0'


def table(rows: dict[str, dict], skipped: dict[str, str], candidates: dict[str, Candidate]) -> str:
    """Markdown table of one size."""
    lines = ['| network | parameters, M | GFLOP | s an image | GFLOP/s | peak memory, MB | time, ours = 1 | runs |',
             '|---|---|---|---|---|---|---|---|']
    for name, candidate in candidates.items():
        millions = f'{candidate.parameters() / 1e6:.1f}'
        if name in rows:
            row = rows[name]
            memory = '' if row['memory'] is None else f'{row["memory"] / 1e6:.0f}'
            ratio = f'{row["seconds"] / rows[OURS]["seconds"]:.2f}' if OURS in rows else ''
            lines.append(f'| {name} | {millions} | {row["flop"] / 1e9:.1f} | {digits(row["seconds"])} | '
                         f'{row["flop"] / row["seconds"] / 1e9:.0f} | {memory} | {ratio} | {row["runs"]} |')
        elif name in skipped:
            lines.append(f'| {name} | {millions} | {skipped[name]} | | | | | |')
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--sizes', type=int, nargs='+', default=[256, 512, 1024, 2048], help='pixels a side')
    parser.add_argument('--networks', nargs='+', choices=NETWORKS, default=list(NETWORKS), metavar='NAME',
                        help=f'which of {", ".join(NETWORKS)}')
    parser.add_argument('--dtype', choices=DTYPES, default='float32')
    parser.add_argument('--batch', type=int, default=1, help='images a run, for the throughput of a GPU')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads')
    parser.add_argument('--clock', choices=CLOCKS, default='wall', help='cpu: time of all threads on their cores')
    parser.add_argument('--seconds', type=float, default=60, help='longest run of one network')
    parser.add_argument('--repeats', type=int, default=15, help='runs of each network, fewer of slow ones')
    args = parser.parse_args(argv)
    if args.batch < 1:
        parser.error(f'--batch must be 1 or more, but is {args.batch}')
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    if device.type == 'cuda' and args.clock == 'cpu':
        parser.error('--clock cpu tells nothing about a GPU')
    if args.clock == 'cpu' and args.threads > 1:
        parser.error('--clock cpu adds up the time of all threads; give it --threads 1')
    clock = CLOCKS[args.clock]
    candidates, known = {}, {}
    for name in args.networks:
        try:
            candidates[name] = Candidate(name, device, DTYPES[args.dtype], args.batch)
        except ImportError as error:
            print(f'{name} is left out: {error}', file=sys.stderr)
            continue
        known[name] = []
        for size in PROBES:
            run = candidates[name].prepare(size)
            run()
            known[name].append((size, seconds(run, device, clock)))
    print(f'{machine(device, args.dtype, args.batch)}; median {args.clock} time of the runs.')
    growth, gone = {}, {}
    left = dict(candidates)
    for size in sorted(args.sizes):
        rows, skipped = measure(left, size, known, args.seconds, args.repeats, clock)
        print(f'\n{size}x{size}\n\n{table(rows, gone | skipped, candidates)}', flush=True)
        gone |= dict.fromkeys(skipped, f'left out, as at {size}x{size}')
        left = {name: candidate for name, candidate in left.items() if name in rows}
        growth[size] = {name: row for name, row in rows.items() if name.startswith(OURS)}
    if any(growth.values()):
        print('\nOurs, a megapixel\n\n| network | size | s | GFLOP | peak memory, MB |\n|---|---|---|---|---|')
        for name in next(iter(growth.values())):
            for size, rows in growth.items():
                if name in rows:
                    row, megapixel = rows[name], size**2 / 1e6
                    memory = '' if row['memory'] is None else f'{row["memory"] / 1e6 / megapixel:.0f}'
                    print(f'| {name} | {size} | {digits(row["seconds"] / megapixel)} | '
                          f'{row["flop"] / 1e9 / megapixel:.0f} | {memory} |')
    return 0


if __name__ == '__main__':
    sys.exit(main())
