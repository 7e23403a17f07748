"""The machine that a benchmark ran on, and how it tells time there."""

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch


def describe(device: torch.device) -> str:
    """What the figures were measured on, in a line without a full stop."""
    if device.type == 'cuda':
        return f'{torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}'
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    entries = {key.strip(): value.strip() for key, _, value in (line.partition(':') for line in lines)}
    name = entries.get('model name', platform.processor() or platform.machine())
    if 'model name' in entries:
        name += f' (family {entries.get("cpu family")}, model {entries.get("model")})'
    bf16 = ' with bfloat16 instructions' if 'avx512_bf16' in entries.get('flags', '').split() else ''
    return (f'{name}, {torch.backends.cpu.get_cpu_capability()}{bf16}, {torch.get_num_threads()} thread(s), '
            f'PyTorch {torch.__version__}')


def clock(device: torch.device) -> tuple[Callable[[], float], str]:
    """A clock for `device` in seconds, and its name.

    One thread on the CPU is timed by CPU time, which other work on the machine does not lengthen; several threads wait
    for each other, and a GPU works on its own, so these are timed by the clock on the wall, the GPU's queue empty.
    """
    if device.type == 'cuda':
        def seconds() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()
        return seconds, 'wall time'
    if torch.get_num_threads() == 1:
        return time.process_time, 'CPU time'
    return time.perf_counter, 'wall time'
