"""One training step of stage 2 with all four losses, against the plain one, on the same weights and batch.

    python -m benchmarks.training [--device cpu] [--threads 1] [--batch 4] [--size 256] [--memory]
    python -m benchmarks.training --networks TGJAR EDSR RNAN QGCN FBCNN --batch 1 --size 64    # L1 alone, side by side
    python -m benchmarks.training --profile 'bf16, channels_last'                             # torch's top operators

The plain step is float32 and eager, as one writes it from the paper: two LPIPS calls that each run the trunk on both of
their images, the image-text loss caption by caption, the discriminator once for the generator and twice for itself. The
others are `TGJARModel` with options/train_tgjar_cub.yml and the keys of the row, that is what `tgjar train` runs. After
a run to warm up the rows take turns, so that whatever else the machine does slows all of them; the median counts. The
parts are timed in steps of their own, since a GPU has to be waited for after each.
Weights are random (the LPIPS trunk's too), so loss values compare rows and mean nothing else. Memory is the peak of a
process of its own that takes two steps (the program with its libraries included); on a GPU, of allocated memory.
"""
# ruff: noqa: T201

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import torch
import yaml
from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.utils.options import ordered_yaml
from torch import Tensor
from torch.nn import functional as F

import tgjar_arch
from benchmarks.damsm_loss import looped_word_loss
from benchmarks.machine import clock, describe
from tgjar_arch.losses.contrastive_loss import contrastive_ratio
from tgjar_arch.losses.damsm_loss import sentence_loss
from tgjar_arch.text.word_tokenizer import WordTokenizer

tgjar_arch.register()

OPTIONS = Path(__file__).resolve().parents[1] / 'options'
WORDS, VOCABULARY = 18, 5450  # CUB's
PLAIN = 'plain'
FAST = {'channels_last': True, 'amp': 'bf16'}
ROWS: dict[str, dict | None] = {  # keys under `train` of the option file
    PLAIN: None,
    'float32': {},
    'float32, channels_last': {'channels_last': True},
    'bf16': {'amp': 'bf16'},
    'bf16, channels_last': FAST,
    'bf16, channels_last, compiled': FAST | {'compile': True},
}
NETWORKS = ('TGJAR', 'EDSR', 'RNAN', 'QGCN', 'FBCNN')
PARTS = ('forward', 'losses', 'backward', 'optimiser')
LOSSES = ('l_g_pix', 'l_g_contrastive', 'l_g_gan', 'l_g_damsm', 'l_d_real', 'l_d_fake')


class Step:
    """A training step to be repeated, with the time of its parts.

    Args:
        run: takes one step.
        losses: values of the last step, by name.
        read_clock: seconds, see `benchmarks.machine.clock`.
    """

    def __init__(self, run: Callable[[], None], losses: Callable[[], dict[str, float]],
                 read_clock: Callable[[], float]) -> None:
        self._run, self.losses, self._clock = run, losses, read_clock
        self._parts: dict[str, float] | None = None

    def time_calls(self, owner: object, name: str, part: str) -> None:
        """Count the time spent in `owner.name(...)` as `part`."""
        function = getattr(owner, name)

        def timed(*args, **kwargs):
            if self._parts is None:
                return function(*args, **kwargs)
            start = self._clock()
            try:
                return function(*args, **kwargs)
            finally:
                self._parts[part] = self._parts.get(part, 0) + self._clock() - start

        setattr(owner, name, timed)

    def __call__(self) -> float:
        """Take one step; returns its seconds."""
        self._parts = None
        start = self._clock()
        self._run()
        return self._clock() - start

    def parts(self) -> dict[str, float]:
        """Take one step; returns the seconds of `PARTS`."""
        self._parts = {}
        originals = torch.autograd.backward, torch.autograd.grad
        self.time_calls(torch.autograd, 'backward', 'backward')
        self.time_calls(torch.autograd, 'grad', 'backward')
        try:
            start = self._clock()
            self._run()
            total = self._clock() - start
        finally:
            torch.autograd.backward, torch.autograd.grad = originals
        rest = total - sum(self._parts.values())
        return {part: self._parts.get(part, 0) for part in PARTS} | {'losses': rest}


def options(device: torch.device, folder: Path, train: dict, network: str = 'TGJAR') -> dict:
    """A shipped option file with `train` changed, ready for `build_model`; what it reads is made in `folder`."""
    files = OPTIONS if network == 'TGJAR' else OPTIONS / 'baselines'
    text = (files / f'train_{network.lower()}_cub.yml').read_text(encoding='utf-8')
    opt = yaml.load(text, Loader=ordered_yaml()[0])
    opt |= {'dist': False, 'rank': 0, 'world_size': 1, 'is_train': True, 'num_gpu': int(device.type == 'cuda')}
    if network == 'TGJAR':
        tokenizer = folder / 'tokenizer.json'
        if not tokenizer.exists():
            WordTokenizer.build(f'word{i}' for i in range(1, VOCABULARY)).save(tokenizer)
            opt['network_t']['vocab_size'] = VOCABULARY
            for label in 'ti':
                weights = build_network(deepcopy(opt[f'network_{label}'])).state_dict()
                text = {'tokenizer': tokenizer.read_text(encoding='utf-8'), 'max_words': WORDS}
                torch.save({'params': weights} | (text if label == 't' else {}), folder / f'net_{label}.pth')
        for label in 'ti':
            opt['path'][f'pretrain_network_{label}'] = str(folder / f'net_{label}.pth')
        for dataset in opt['datasets'].values():
            dataset['tokenizer'] = str(tokenizer)
        opt['train']['contrastive_opt'] |= {'pretrained': False}
    opt['path']['pretrain_network_g'] = None
    opt['val'] = {}
    opt['train'] |= deepcopy(train)
    return opt


def batch(n: int, size: int) -> dict:
    """Smooth random images and noisy versions of them, with captions of 10 to 18 words."""
    generator = torch.Generator().manual_seed(0)
    gt = F.interpolate(torch.rand(n, 3, 16, 16, generator=generator), size=size, mode='bicubic').clamp(0, 1)
    lq = (gt + 0.1 * torch.randn(gt.shape, generator=generator)).clamp(0, 1)
    lengths = torch.randint(10, WORDS + 1, (n,), generator=generator)
    return {'lq': lq, 'gt': gt, 'text': torch.randint(1, VOCABULARY, (n, WORDS), generator=generator),
            'text_mask': torch.arange(WORDS) < lengths[:, None], 'caption': [''] * n, 'class_id': torch.arange(n),
            'qmaps': torch.rand(n, 2, size, size, generator=generator),
            'thumbnail': torch.rand(n, 3, 112, 112, generator=generator), 'qf': torch.full((n,), 10)}


def our_step(opt: dict, data: dict, read_clock: Callable[[], float]) -> Step:
    """`TGJARModel`'s own step."""
    torch.manual_seed(0)
    model = build_model(opt)
    iteration = iter(range(1, sys.maxsize))

    def run() -> None:
        model.feed_data(data)
        model.optimize_parameters(next(iteration))

    step = Step(run, model.get_current_log, read_clock)
    step.time_calls(model, '_encode_text', 'forward')
    step.time_calls(model, '_restore', 'forward')
    for optimizer in model.optimizers:
        step.time_calls(optimizer, 'step', 'optimiser')
    return step


def plain_step(opt: dict, data: dict, read_clock: Callable[[], float]) -> Step:
    """The step written down from the paper, on the weights that `our_step` starts from."""
    torch.manual_seed(0)
    model = build_model(opt)
    net_g, net_d, net_t, net_i = model.net_g, model.net_d, model.net_t, model.net_i
    data = {key: value.to(model.device) if isinstance(value, Tensor) else value for key, value in data.items()}
    lq, gt, weights = data['lq'], data['gt'], {key: opt['train'][key]['loss_weight'] for key in
                                               ('pixel_opt', 'contrastive_opt', 'damsm_opt')}
    lpips = model.cri_contrastive.lpips
    losses: OrderedDict[str, Tensor] = OrderedDict()

    def forward() -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            text = net_t(data['text'], data['text_mask'])
        return net_g(lq, text), text

    calls = SimpleNamespace(forward=forward)

    def run() -> None:
        output, text = calls.forward()
        model.optimizer_g.zero_grad()
        net_d.requires_grad_(False)
        losses['l_g_pix'] = weights['pixel_opt'] * (output - gt).abs().mean()
        d_gt = lpips(output, gt, normalize=True).flatten()
        d_lq = lpips(output, lq, normalize=True).flatten()
        losses['l_g_contrastive'] = weights['contrastive_opt'] * contrastive_ratio(d_gt, d_lq).mean()
        losses['l_g_gan'] = model.cri_gan(net_d(output), True, is_disc=False)
        regions, global_features = net_i(output)
        word = looped_word_loss(regions, text.words, text.mask, data['class_id'])
        sentence = sentence_loss(global_features, text.sentence, data['class_id'])
        losses['l_g_damsm'] = weights['damsm_opt'] * sum(word + sentence)
        sum(losses[key] for key in LOSSES[:4]).backward()
        model.optimizer_g.step()
        net_d.requires_grad_(True)
        model.optimizer_d.zero_grad()
        for key, images, is_real in (('l_d_real', gt, True), ('l_d_fake', output.detach(), False)):
            losses[key] = model.cri_gan(net_d(images), is_real, is_disc=True)
            losses[key].backward()
        model.optimizer_d.step()

    step = Step(run, lambda: {key: value.item() for key, value in losses.items()}, read_clock)
    step.time_calls(calls, 'forward', 'forward')
    for optimizer in model.optimizers:
        step.time_calls(optimizer, 'step', 'optimiser')
    return step


def build(row: str, device: torch.device, folder: Path, n: int, size: int,
          read_clock: Callable[[], float]) -> Step:
    """The step of a row of `ROWS` or of a network of `NETWORKS` (with the loss L1 alone)."""
    if row in NETWORKS:
        rest = {'contrastive_opt': None, 'gan_opt': None, 'damsm_opt': None, 'qf_opt': None}
        return our_step(options(device, folder, FAST | rest, row), batch(n, size), read_clock)
    make = plain_step if ROWS[row] is None else our_step
    return make(options(device, folder, ROWS[row] or {}), batch(n, size), read_clock)


def measure(steps: dict[str, Step], repeats: int) -> dict[str, dict[str, float]]:
    """Medians of the step and of its parts, the rows in turns; the losses are those of the first step."""
    first, times, parts = {}, {row: [] for row in steps}, {row: [] for row in steps}
    for row, step in steps.items():
        step()
        first[row] = dict(step.losses())
    for _ in range(repeats):
        for row, step in steps.items():
            times[row].append(step())
    for _ in range((repeats + 1) // 2):
        for row, step in steps.items():
            parts[row].append(step.parts())
    return {row: {part: statistics.median(one[part] for one in parts[row]) for part in PARTS}
            | {'step': statistics.median(times[row])} | first[row] for row in steps}


def peak_memory(row: str, device: str, threads: int, n: int, size: int) -> int:
    """Bytes at the height of two steps, in a process of its own."""
    context = multiprocessing.get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_two_steps, args=(row, device, threads, n, size, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError(f'the process of {row!r} ended before it had measured anything.') from None
    finally:
        process.join()


def _two_steps(row: str, device: str, threads: int, n: int, size: int, sender) -> None:
    torch.set_num_threads(threads)
    device = torch.device(device)
    with tempfile.TemporaryDirectory() as folder:
        step = build(row, device, Path(folder), n, size, clock(device)[0])
        step()
        step()
    if device.type == 'cuda':
        sender.send(torch.cuda.max_memory_allocated(device))
        return
    status = Path('/proc/self/status')
    if status.exists():  # Linux' ru_maxrss counts the parent, too
        lines = status.read_text().splitlines()
        sender.send(next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM:')))
    else:
        unit = 1 if sys.platform == 'darwin' else 1024
        sender.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def table(rows: dict[str, dict[str, float]], memory: dict[str, int], reference: str, ratio: str) -> str:
    """Markdown table of seconds; the ratio is the reference's time over the row's."""
    lines = [f'| | {" | ".join(PARTS)} | step, s | {ratio} | peak memory, GB |', '|---' * (len(PARTS) + 4) + '|']
    for row, values in rows.items():
        cells = ' | '.join(f'{values[part]:.3f}' for part in (*PARTS, 'step'))
        peak = f'{memory[row] / 1e9:.2f}' if row in memory else ''
        lines.append(f'| {row} | {cells} | {rows[reference]["step"] / values["step"]:.2f} | {peak} |')
    return '\n'.join(lines)


def loss_table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown table of the loss values of the first step."""
    names = [name for name in LOSSES if any(name in values for values in rows.values())]
    lines = [f'| first step | {" | ".join(names)} |', '|---' * (len(names) + 1) + '|']
    lines += [f'| {row} | {" | ".join(f"{values[name]:.6g}" for name in names)} |' for row, values in rows.items()]
    return '\n'.join(lines)


def profile(step: Step, device: torch.device, rows: int) -> str:
    """torch.profiler's operators that took the most time of their own: all calls together, then by shapes."""
    step()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == 'cuda':
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, record_shapes=True) as profiler:
        step()
    order = {'sort_by': f'self_{device.type}_time_total', 'row_limit': rows, 'max_shapes_column_width': 70}
    return '\n'.join(profiler.key_averages(group_by_input_shape=shapes).table(**order) for shapes in (False, True))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--size', type=int, default=256, help='pixels a side')
    parser.add_argument('--rows', nargs='+', choices=ROWS, metavar='ROW',
                        help='which of ' + '; '.join(ROWS) + '; default: all, the compiled one on a GPU only')
    parser.add_argument('--networks', nargs='+', choices=NETWORKS, metavar='NAME',
                        help=f'instead: L1 alone, bf16 and channels_last, for {", ".join(NETWORKS)}')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads')
    parser.add_argument('--repeats', type=int, default=5, help='timed steps of each row')
    parser.add_argument('--memory', action='store_true', help='also the peak memory, each row in a process of its own')
    parser.add_argument('--profile', choices=ROWS, metavar='ROW', help='print the operators of one step instead')
    parser.add_argument('--profile-rows', type=int, default=25, help='operators printed')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    read_clock, kind = clock(device)
    torch.backends.cudnn.benchmark = True  # as BasicSR's trainer has it
    rows = args.rows or [row for row in ROWS if device.type == 'cuda' or not (ROWS[row] or {}).get('compile')]
    names = [args.profile] if args.profile else args.networks or rows
    with tempfile.TemporaryDirectory() as folder:
        steps = {name: build(name, device, Path(folder), args.batch, args.size, read_clock) for name in names}
        if args.profile:
            print(profile(steps[args.profile], device, args.profile_rows))
            return 0
        rows = measure(steps, args.repeats)
    del steps
    memory = {name: peak_memory(name, args.device, args.threads, args.batch, args.size)
              for name in names} if args.memory else {}
    losses = 'L1, bf16, channels_last' if args.networks else 'all four losses'
    print(f'{describe(device)}; batch {args.batch}, {args.size}x{args.size}, {losses}; {kind}, median of '
          f'{args.repeats} steps in turns.\n')
    print(table(rows, memory, names[0], f'times faster than {names[0]}'))
    print(f'\n{loss_table(rows)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
