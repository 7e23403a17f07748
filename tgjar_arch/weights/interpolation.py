"""Network interpolation: one dial between weights that draw beautiful pictures and weights that draw true ones.

As in ESRGAN (Wang et al., ECCV Workshops 2018, section 3.4): two sets of weights of one network, of which one was
trained from the other or both from the same start, give a network between them, by every parameter::

    theta = (1 - F) theta_beautiful + F theta_true
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tgjar_arch.weights.file import ExportedWeights


def check_fidelity(fidelity: Any) -> float:
    """Return `fidelity`, which must be a number from 0 to 1.

    Raises:
        ValueError: it is not.
    """
    if isinstance(fidelity, bool) or not isinstance(fidelity, int | float) or not 0 <= fidelity <= 1:
        raise ValueError('fidelity must be a number from 0 (the weights as they are, beautiful) to 1 (the fidelity '
                         f'weights, true), but is {fidelity!r}.')
    return float(fidelity)


def interpolate(beautiful: ExportedWeights, true: ExportedWeights, fidelity: float) -> ExportedWeights:
    """Weights between two of one network.

    Args:
        beautiful: what fidelity 0 gives; `max_qf` and `source` of the result are its.
        true: what fidelity 1 gives.
        fidelity: F, from 0 to 1.

    Raises:
        ValueError: when `fidelity` is out of range, or the two differ in what must be the same: the network, its text
            encoder (with its weights), the tokenizer, or the words kept of a caption. The message says in what.
    """
    fidelity = check_fidelity(fidelity)
    if found := difference(beautiful, true):
        raise ValueError(f'they cannot be interpolated, since {found}; take weights that were trained from the same '
                         'start, with the same frozen text encoder.')
    if fidelity in (0, 1):
        state = beautiful.state_g if fidelity == 0 else true.state_g
    else:
        state = {name: torch.lerp(value, true.state_g[name], fidelity) if value.is_floating_point() else value
                 for name, value in beautiful.state_g.items()}
    return replace(beautiful, state_g=state)


def difference(one: ExportedWeights, other: ExportedWeights) -> str:
    """What two weights differ in, apart from the values of the generator's parameters; '' for nothing."""
    for label, what in (('network_g', 'the networks'), ('network_t', 'the text encoders')):
        if found := _of_options(getattr(one, label), getattr(other, label)):
            return f'{what} differ: {found}'
    if found := _of_shapes(one.state_g, other.state_g):
        return f'the networks differ: {found}'
    if one.tokenizer != other.tokenizer:
        return 'the tokenizers differ, and with them what each word means'
    if one.max_words != other.max_words:
        return f'max_words differs: {one.max_words} and {other.max_words}'
    if found := _of_shapes(one.state_t, other.state_t):
        return f'the text encoders differ: {found}'
    if changed := [name for name, value in one.state_t.items() if not torch.equal(value, other.state_t[name])]:
        return f'the text encoders have other weights, in {len(changed)} tensors, e.g. {changed[0]}'
    return ''


def _of_options(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str:
    if one is None or other is None:
        return '' if one is other else 'one file has none'
    for key in sorted(one.keys() | other.keys(), key=lambda key: (key != 'type', key)):
        if one.get(key) != other.get(key):
            return f'{key} is {one.get(key)!r} and {other.get(key)!r}'
    return ''


def _of_shapes(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    if alone := sorted(one.keys() ^ other.keys()):
        return f'{len(alone)} tensors are in one file only, e.g. {alone[0]}'
    return next((f'{name} is {tuple(value.shape)} and {tuple(other[name].shape)}' for name, value in one.items()
                 if value.shape != other[name].shape), '')
