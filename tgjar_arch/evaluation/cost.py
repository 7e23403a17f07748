"""Table 5: parameters, work and time of the paper's networks, on the machine at hand."""

import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tgjar_arch.archs.extra_inputs import extra_inputs, thumbnail_size
from tgjar_arch.evaluation.paper import TABLE_5
from tgjar_arch.evaluation.tables import NOTHING, Table
from tgjar_arch.evaluation.test_set import Progress
from tgjar_arch.registration import network_class
from tgjar_arch.text.features import TextFeatures

# As the paper has them: the option files' settings; CUB's vocabulary and AttnGAN's 18 words for the text encoder.
NETWORKS: dict[str, dict[str, Any]] = {
    'EDSR': {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 256, 'num_block': 16, 'upscale': 1},
    'RNAN': {'type': 'RNAN'},
    'QGCN': {'type': 'QGCN'},
    'FBCNN': {'type': 'FBCNN'},
    'TGJAR': {'type': 'TGJARGenerator'},
}
TEXT_ENCODER: dict[str, Any] = {'type': 'LSTMTextEncoder', 'vocab_size': 5450}
_WORDS = 18
_SMALL = 64  # side at which RNAN is timed on a CPU: its attention takes time with the square of the pixels


@dataclass(frozen=True)
class Cost:
    """What a network costs for one picture.

    Attributes:
        parameters: all of them, of TGJAR with its text encoder.
        flop: floating point operations; a multiplication and an addition count as two.
        seconds: median over the repetitions.
        size: side in pixels of the picture that was timed.
    """

    parameters: int
    flop: int
    seconds: float
    size: int


def measure_cost(name: str, size: int = 256, device: str | torch.device = 'cpu', time_size: int | None = None,
                 repeats: int = 7, patience: float = 20.0) -> Cost:
    """Count and time one network of `NETWORKS`, with random weights and batch 1.

    Args:
        name: the network; TGJAR is the generator and the text encoder, run one after the other.
        size: side of the square picture whose work is counted.
        device: where to time.
        time_size: side of the picture that is timed; None for `size`.
        repeats: runs after one that warms up; fewer when they take longer than `patience` seconds in all.
        patience: see `repeats`.

    Raises:
        ImportError: when a library is missing (FBCNN needs spandrel).
    """
    time_size = time_size or size
    with _seeded():
        net, text_net = _build(NETWORKS[name], device), _build(TEXT_ENCODER, device) if name == 'TGJAR' else None
        run = _runner(net, text_net, time_size, torch.device(device))
        seconds = _median_seconds(run, torch.device(device), repeats, patience)
        parameters = sum(p.numel() for part in (net, text_net) if part for p in part.parameters())
        return Cost(parameters, count_flop(name, size), seconds, time_size)


def count_flop(name: str, size: int) -> int:
    """Operations of one network of `NETWORKS` for a picture of `size` x `size`; nothing is computed.

    Convolutions, matrix products and attention are counted, and the LSTM; activations and additions are not.
    """
    meta = torch.device('meta')
    text_net = _build(TEXT_ENCODER, 'meta') if name == 'TGJAR' else None
    run = _runner(_build(NETWORKS[name], 'meta'), text_net, size, meta)
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() + (_lstm_flop(text_net) if text_net else 0)


def _lstm_flop(net: nn.Module) -> int:
    """The counter knows no LSTM: two matrix products a gate, word and direction."""
    return sum(2 * 4 * lstm.hidden_size * (lstm.input_size + lstm.hidden_size) * _WORDS * (1 + lstm.bidirectional)
               for lstm in net.modules() if isinstance(lstm, nn.LSTM))


def _build(options: dict[str, Any], device: str | torch.device) -> nn.Module:
    options = dict(options)
    with torch.device(device):
        return network_class(options.pop('type'))(**options).requires_grad_(False).eval()


def _runner(net: nn.Module, text_net: nn.Module | None, size: int, device: torch.device) -> Callable[[], Tensor]:
    image = torch.rand(1, 3, size, size, device=device)
    extra: dict[str, Tensor] = {}
    if 'qmaps' in extra_inputs(net):
        side = thumbnail_size(net)
        extra = {'qmaps': torch.rand(1, 2, size, size, device=device),
                 'thumbnail': torch.rand(1, 3, side, side, device=device)}
    if text_net is None:
        return torch.inference_mode()(lambda: net(image, **extra))
    if device.type == 'meta':  # packing a sequence needs its lengths, and the LSTM is counted by itself
        dim = TEXT_ENCODER.get('text_dim', 256)
        text = TextFeatures(torch.rand(1, dim, _WORDS, device=device), torch.rand(1, dim, device=device),
                            torch.ones(1, _WORDS, dtype=torch.bool, device=device))
        return torch.inference_mode()(lambda: net(image, text=text))
    ids = torch.ones(1, _WORDS, dtype=torch.long, device=device)
    mask = torch.ones(1, _WORDS, dtype=torch.bool, device=device)
    return torch.inference_mode()(lambda: net(image, text=text_net(ids, mask)))


def _median_seconds(run: Callable[[], Tensor], device: torch.device, repeats: int, patience: float) -> float:
    def once() -> float:
        start = time.perf_counter()
        run()
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    once()  # the first run also chooses algorithms and allocates memory
    times: list[float] = []
    while len(times) < repeats and (not times or sum(times) < patience):
        times.append(once())
    return median(times)


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def machine(device: str | torch.device) -> str:
    """The processor or GPU that is timed, in words."""
    if torch.device(device).type == 'cuda':
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        models = [line.partition(':')[2].strip() for line in info.read_text().splitlines()
                  if line.startswith('model name')]
        name = models[0] if models else name
    threads = torch.get_num_threads()
    return f'{name}, {threads} thread{"s" if threads > 1 else ""}'


def cost_table(size: int, device: str | None, slow: bool, progress: Progress) -> Table:
    """Table 5 for this machine beside the paper's.

    Args:
        size: side of the picture.
        device: where to time; None takes the GPU if there is one.
        slow: time RNAN at `size` on a CPU too, which takes minutes.
        progress: wraps the networks, with a description.
    """
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    printed = {row.method: row for row in TABLE_5}
    on_cpu = torch.device(device).type == 'cpu'
    cells, rows, notes = [], [], []
    for name in progress(list(NETWORKS), 'Table 5'):
        time_size = min(size, _SMALL) if name == 'RNAN' and on_cpu and not slow else size
        paper = printed[name]
        try:
            cost = measure_cost(name, size, device, time_size)
        except ImportError as error:
            cells.append([name, NOTHING, NOTHING, NOTHING, f'{paper.parameters:.1f}', f'{paper.seconds:.3f}'])
            rows.append([name, '', '', '', '', '', paper.parameters, paper.seconds])
            notes.append(f'- {name}: {error}')
            continue
        seconds = _digits(cost.seconds)
        if cost.size != size:
            seconds += f' at {cost.size}x{cost.size}'
            notes.append(f'- {name} is timed at {cost.size}x{cost.size}, since its attention over the whole picture '
                         f'takes minutes on a CPU at {size}x{size}; --slow times it all the same.')
        label = f'{name} (generator + text encoder)' if name == 'TGJAR' else name
        cells.append([label, f'{cost.parameters / 1e6:.2f}', f'{cost.flop / 1e9:.1f}', seconds,
                      f'{paper.parameters:.1f}', f'{paper.seconds:.3f}'])
        rows.append([name, cost.parameters, cost.flop, size, cost.seconds, cost.size, paper.parameters, paper.seconds])
    notes = [f'- Machine: {machine(device)}; median of up to 7 runs after one that warms up, batch 1, float32, random '
             'weights, PyTorch ' + torch.__version__ + '.',
             '- GFLOP: a multiplication and an addition count as two; convolutions, matrix products, attention and the '
             'LSTM are counted.', *notes,
             '- The paper does not give its GFLOP; its seconds are of a GTX 1080 Ti.']
    return Table('table5', f'Parameters, work and time for one {size}x{size} picture (Table 5)',
                 ['method', 'parameters (M) ↓', 'GFLOP ↓', 'seconds ↓', 'paper: parameters (M)', 'paper: seconds'],
                 cells, ['method', 'parameters', 'flop', 'flop_size', 'seconds', 'seconds_size', 'paper_parameters_m',
                         'paper_seconds'], rows, notes)


def _digits(seconds: float) -> str:
    """Three significant digits, as `0.698`, `2.90` or `23.1`."""
    return f'{seconds:.{max(0, min(4, 2 - math.floor(math.log10(max(seconds, 1e-9)))))}f}'
