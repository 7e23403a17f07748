"""Options that were changed between a training and its resumption: they hold, and are said.

BasicSR loads optimisers and schedules with everything in them, so that a learning rate or a schedule of the option file
would silently give way to that of the saved state.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from basicsr.models.base_model import BaseModel

from tgjar_arch.training.errors import OptionError

_POSITION = {'last_epoch', '_step_count', '_last_lr', '_get_lr_called_within_step', '_is_initial', 'verbose',
             'lr_lambdas'}


def apply_changes(state: dict[str, Any], model: BaseModel, path: str) -> list[str]:
    """Put what the option file says into a training state, before BasicSR loads it.

    Where the learning rate or the schedule differ, the new one is followed from the beginning to the state's iteration:
    training goes on as if it had always been so. Moments of the optimisers stay. A state without a change stays as it
    is.

    Args:
        state: BasicSR's training state; it is changed.
        model: as built from the option file, without a step.
        path: the option file, for messages.

    Returns:
        A note for every change.

    Raises:
        OptionError: the state has other optimisers, or of other parameters, than the option file asks for.
    """
    _check_fit(state, model, path)
    notes, moved = [], False
    for number, (optimizer, saved) in enumerate(zip(model.optimizers, state['optimizers'], strict=True)):
        for group, old in zip(optimizer.param_groups, saved['param_groups'], strict=True):
            for key in [key for key in old if key in group and key not in ('params', 'lr')]:
                if not _equal(group[key], old[key]):
                    moved |= key == 'initial_lr'
                    name = 'lr' if key == 'initial_lr' else key
                    notes.append(f'optimiser {number + 1}: {name} {_short(old[key])} -> {_short(group[key])}')
                    old[key] = group[key]
    for scheduler, saved in zip(model.schedulers, state['schedulers'], strict=True):
        current = scheduler.state_dict()
        for key in [key for key in current if key in saved and key not in _POSITION | {'base_lrs'}]:
            if not _equal(current[key], saved[key]):
                moved = True
                note = f'scheduler: {key} {_short(saved[key])} -> {_short(current[key])}'
                notes += [note] if note not in notes else []
        if type(current.get('periods')) is not type(saved.get('periods')):
            raise OptionError(f'{path}: train:scheduler: the training was begun with another type; set that, or start '
                              'anew under another name from path:pretrain_network_g.')
    if moved:
        _follow(state, model)
    return [f'{path}: changed since the saved state, and applied: {note}' for note in notes]


def _check_fit(state: dict[str, Any], model: BaseModel, path: str) -> None:
    remedy = 'set them as they were, or start anew under another name from path:pretrain_network_g'
    found, wanted = len(state['optimizers']), len(model.optimizers)
    if found != wanted:
        raise OptionError(f'{path}: the state to resume has {found} optimisers, but the options make {wanted}: '
                          f'gan_opt, network_d or optim_d were added or removed since; {remedy}.')
    for number, (optimizer, saved) in enumerate(zip(model.optimizers, state['optimizers'], strict=True)):
        sizes = [[len(group['params']) for group in groups]
                 for groups in (saved['param_groups'], optimizer.param_groups)]
        if sizes[0] != sizes[1]:
            raise OptionError(f'{path}: optimiser {number + 1} of the state to resume has {sum(sizes[0])} parameters, '
                              f'but the options make {sum(sizes[1])}: a network or train_network_t has been changed '
                              f'since; {remedy}.')
    if len(state['schedulers']) != len(model.schedulers):
        raise OptionError(f'{path}: the state to resume has {len(state["schedulers"])} schedules, but the options make '
                          f'{len(model.schedulers)}; {remedy}.')


def _follow(state: dict[str, Any], model: BaseModel) -> None:
    """Let the model's schedules run to the iteration of the state, and put where they are into it."""
    warmup = model.opt['train'].get('warmup_iter', -1)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # schedulers warn that no optimiser has stepped
        for iteration in range(1, state['iter'] + 1):
            model.update_learning_rate(iteration, warmup_iter=warmup)
    state['schedulers'] = [scheduler.state_dict() for scheduler in model.schedulers]
    for optimizer, saved in zip(model.optimizers, state['optimizers'], strict=True):
        for group, old in zip(optimizer.param_groups, saved['param_groups'], strict=True):
            old['lr'] = group['lr']


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return list(one) == list(other)
    return bool(one == other)


def _short(value: Any) -> str:
    if isinstance(value, dict):  # the milestones, each with how often it is there
        value = list(_repeated(value))
    text = str(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def _repeated(counts: dict[Any, int]) -> Iterator[Any]:
    for value, count in counts.items():
        yield from [value] * count
