"""Resuming: BasicSR's `load_resume_state`, also on a CPU, and past files that a kill cut short."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from basicsr.utils import check_resume

from tgjar_arch.training.errors import OptionError
from tgjar_arch.weights.checkpoint import load_checkpoint

_STATE = re.compile(r'(\d+)\.state')


def load_resume_state(options: dict[str, Any]) -> dict[str, Any] | None:
    """Find and read the training state to go on from; takes the place of the function of this name in `basicsr.train`.

    BasicSR's own asks for the current CUDA device, and with `--auto_resume` takes the newest state unread. Here tensors
    come to the CPU (the optimizer moves them to its parameters), and a state that cannot be read, or whose networks
    cannot, gives way to the one before it.

    Args:
        options: BasicSR's `opt`; `path: resume_state` and the paths of the networks are set in it as BasicSR does.

    Returns:
        The state, or None to start from the beginning.

    Raises:
        OptionError: `path: resume_state` names a file that cannot be read.
    """
    if options['auto_resume']:
        found = _newest_readable(options)
        if found is None:
            return None
        path, state = found
        options['path']['resume_state'] = str(path)
    elif options['path'].get('resume_state'):
        try:
            state = load_checkpoint(options['path']['resume_state'])
        except (OSError, ValueError) as error:
            raise OptionError(f'path:resume_state: {error} Name another, or use --auto_resume.') from error
    else:
        return None
    check_resume(options, state['iter'])
    return state


def _newest_readable(options: dict[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    folder = Path(options['path']['training_states'])
    states = {int(match[1]): file for file in folder.glob('*.state') if (match := _STATE.fullmatch(file.name))}
    for iteration in sorted(states, reverse=True):
        state = _read(states[iteration])
        if state is not None and all(_read(file) is not None for file in _networks(options, iteration)):
            _say(f'going on from {states[iteration]}')
            return states[iteration], state
    _say(f'no training state that can be read in {folder}: starting from the beginning')
    return None


def _networks(options: dict[str, Any], iteration: int) -> Iterator[Path]:
    """The files that BasicSR loads with a state. Only the generator's must exist: which others there are depends on the
    model (a discriminator is left out when its loss is)."""
    ignored = options['path'].get('ignore_resume_networks') or ()
    for key in options:
        if key.startswith('network_') and key not in ignored:
            file = Path(options['path']['models']) / f'net_{key.removeprefix("network_")}_{iteration}.pth'
            if key == 'network_g' or file.exists():
                yield file


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return load_checkpoint(file)
    except (OSError, ValueError):
        _say(f'{file} cannot be read (was it cut short?), trying the state before it')
        return None


def _say(message: str) -> None:
    # BasicSR's logger must not be touched before the trainer has opened its log file, which comes later.
    print(f'--auto_resume: {message}', file=sys.stderr)
