"""Networks that a file names: compared with its tensors before they cost memory, then built.

A file of 150 bytes can name a network of ten million blocks. `check_fit` therefore builds a network without storage
first (PyTorch's meta device), stops as soon as it has more parts than the file could fill, and compares names and
shapes. The few networks that cannot be built there (they ask for values) are built with storage, but stopped at the
file's size too.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from tgjar_arch.registration import network_class

# What a network may have beyond the tensors of its file. Layers without tensors (activations, containers), those that
# are replaced or left out again (BERT's pooler), tied embeddings and buffers that are not stored are common.
_PARTS, _PARTS_A_TENSOR = 1000, 10
_ELEMENTS, _ELEMENTS_AN_ELEMENT = 2**22, 4
_LEFT_OUT = {'DAMSMImageEncoder': 2**28}  # elements of the classifiers of torchvision's networks, which are cut off
# An argument may be greater than any size of the network (a base of rotary embeddings, an id, a seed).
_GREATEST_NUMBER = 2**20

_COUNTS = {'layer', 'layers', 'block', 'blocks', 'depth', 'depths', 'group', 'groups', 'conv'}  # words for parts
# Of tensors, of torch.nn.init and of transformers.initialization.
_RANDOM = {'normal_', 'uniform_', 'random_', 'bernoulli_', 'trunc_normal_', 'kaiming_normal_', 'kaiming_uniform_',
           'xavier_normal_', 'xavier_uniform_', 'orthogonal_', 'sparse_'}


class _TooLargeError(ValueError):
    """A network has more than its file could fill."""


class _NoDraws(TorchFunctionMode):
    """Nothing is drawn at random: what a state dict replaces need not be, and it would take most of the time."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if getattr(function, '__name__', '') in _RANDOM and args and isinstance(args[0], Tensor):
            return args[0]
        return function(*args, **(kwargs or {}))


class _Limited(_NoDraws):
    """No tensor with more than `elements` elements; without storage where `stored` is False."""

    def __init__(self, elements: int, stored: bool) -> None:
        super().__init__()
        self.elements, self.stored = elements, stored

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in _device_constructors():
            if self.stored or function is torch.linspace:  # how large it will be, before it is
                self._check(function(*args, **{**kwargs, 'device': 'meta'}))
            if function is torch.linspace:  # of its values rates of dropping a layer are made
                kwargs['device'] = 'cpu'
        result = super().__torch_function__(function, types, args, kwargs)
        self._check(result)
        return result

    def _check(self, result: Any) -> None:
        if isinstance(result, Tensor) and result.numel() > self.elements:
            raise _TooLargeError(f'it has a tensor of {tuple(result.shape)}, more than the file holds')


@contextmanager
def _counted(tensors: int, elements: int) -> Iterator[None]:
    """Stop a network of this thread when it has more parts or elements than the limits."""
    thread, parts, total = threading.get_ident(), 0, 0

    def count(module: nn.Module, name: str, part: Any) -> None:
        nonlocal parts, total
        if threading.get_ident() != thread:
            return
        parts += 1
        total += part.numel() if isinstance(part, Tensor) else 0
        if parts > tensors or total > elements:
            raise _TooLargeError('it has more or larger layers than the file holds tensors for')

    handles = [register(count) for register in (hooks.register_module_parameter_registration_hook,
                                                hooks.register_module_buffer_registration_hook,
                                                hooks.register_module_module_registration_hook)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_fit(network: Mapping[str, Any], shapes: Mapping[str, torch.Size], label: str) -> nn.Module:
    """Compare a network that a file names with the file's tensors, at a cost that the file's size bounds.

    Args:
        network: type and arguments, as `tgjar_arch.weights.network_check.check_network` returns them.
        shapes: name -> shape of each tensor that the file has for it.
        label: what messages call it, 'network_g'.

    Returns:
        The network, without weights, and mostly without storage: only to be asked about itself.

    Raises:
        ValueError: they do not fit, or the arguments do not fit the network.
        ImportError: a library that the network needs is not installed.
    """
    elements = sum(map(math.prod, shapes.values()))
    parts = _PARTS + _PARTS_A_TENSOR * len(shapes)
    _check_numbers(network, max(elements, _GREATEST_NUMBER), parts, label)
    elements = _ELEMENTS + _ELEMENTS_AN_ELEMENT * elements
    try:
        try:
            without = elements + _LEFT_OUT.get(network['type'], 0)  # which costs nothing here
            net = _construct(network, parts, without, stored=False)
        except (_TooLargeError, ImportError):
            raise
        except Exception:  # of what needs values; wrong arguments fail again
            net = _construct(network, parts, elements, stored=True)
    except ImportError:
        raise
    except Exception as error:  # networks raise what they like at arguments that do not fit
        reason = ' '.join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f'{label} {network["type"]} cannot be built: {reason}.') from error
    wanted = net.state_dict()
    faults = [f'{verb} {len(names)} tensors, e.g. {names[0][:100]}' for verb, names in (
        ('lacks', [name for name in wanted if name not in shapes]),
        ('also has', [name for name in shapes if name not in wanted]),
        ('has other shapes for', [name for name in wanted if name in shapes and wanted[name].shape != shapes[name]]),
    ) if names]
    if faults:
        raise ValueError(f'of {label} {network["type"]} it {"; it ".join(faults)}.')
    unstored = sum(buffer.numel() for name, buffer in net.named_buffers() if name not in wanted)
    if unstored > elements:
        raise ValueError(f'{label} {network["type"]} needs {unstored:,} values that are not in the file.')
    return net


def _construct(network: Mapping[str, Any], parts: int, elements: int, stored: bool) -> nn.Module:
    place = nullcontext() if stored else torch.device('meta')
    with torch.random.fork_rng(devices=[]), _counted(parts, elements), place, _Limited(elements, stored):
        return _new(network)


def build(network: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """A network with its weights, on the CPU, frozen and in evaluation mode; the random state is left as it is.

    Raises:
        RuntimeError: when the weights do not fit.
        Exception: what the network raises at arguments that do not fit it.
    """
    with torch.random.fork_rng(devices=[]), _NoDraws():
        net = _new(network)
    net.load_state_dict(state)
    return net.requires_grad_(False).eval()


def _new(network: Mapping[str, Any]) -> nn.Module:
    options = deepcopy(dict(network))
    return network_class(options.pop('type'))(**options)


def _check_numbers(options: Mapping[str, Any], greatest: int, parts: int, label: str) -> None:
    """Python's own lists, of as many entries as a number says, are made before any tensor."""
    for key, value in options.items():
        if isinstance(value, Mapping):
            _check_numbers(value, greatest, parts, label)
            continue
        is_count = _COUNTS.intersection(key.lower().split('_'))
        limit = parts if is_count else greatest
        numbers = [abs(number) for number in _numbers(value)]
        if is_count:  # all together as well: SwinIR makes a list of its `depths` blocks before the first of them
            numbers.append(sum(numbers))
        for number in numbers:
            if number > limit:
                raise ValueError(f'{label} has the number {str(number)[:20]} as {key[:40]}, more than the file has '
                                 'tensors for.')


def _numbers(value: Any) -> Iterator[int]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int):
        yield value
