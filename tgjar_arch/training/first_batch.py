"""One batch through data set, networks and losses before a training, in which nothing is learnt.

Sizes that do not fit (channels, features of the text, crops of small pictures) show in a forward pass only.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from basicsr.models.sr_model import SRModel
from torch import Tensor, nn
from torch.utils.data import DataLoader

_MOST = 8  # images that are drawn; the networks get two of them


def try_first_batch(loader: DataLoader, model: Any) -> None:
    """Draw images of the training set and run the model's networks and losses on two, without gradients.

    Random states, the data set, the networks' buffers and the model's attributes are afterwards what they were. Of
    models that read a batch in their own way only the drawing is tried.

    Args:
        loader: the loader of the training set.
        model: the model, built for training.

    Raises:
        Exception: whatever the data set or a network raises.
        ValueError: the output has another size than the original.
    """
    with _kept_random_states():
        batch = _drawn(loader)
        if batch is None:
            return
        attributes = dict(vars(model))
        try:
            with torch.no_grad(), _evaluated(model), _not_compiled():
                _run(model, batch)
        finally:
            vars(model).clear()
            vars(model).update(attributes)


def _drawn(loader: DataLoader) -> Any:
    """Two images of the first batch as the model gets them, after a few of its images were read."""
    try:
        # A copy: a data set keeps open files, which no worker process may inherit, and BasicSR's empties its options.
        dataset: Any = deepcopy(loader.dataset)
    except TypeError:  # it holds what cannot be copied
        return None
    count = min(loader.batch_size or 1, _MOST)
    images = [dataset[index] for index in itertools.islice(iter(loader.sampler), count)]
    assert loader.collate_fn is not None  # PyTorch sets it
    loader.collate_fn(images)
    return loader.collate_fn(images[:2])


def _run(model: Any, batch: Any) -> None:
    if hasattr(model, 'forward_once'):  # ours
        model.feed_data(batch)
        output = model.forward_once()
    elif isinstance(model, SRModel) and type(model).feed_data is SRModel.feed_data:
        model.feed_data(batch)
        output = model.get_bare_model(model.net_g)(model.lq)
        if getattr(model, 'net_d', None) is not None:
            model.get_bare_model(model.net_d)(output)
    else:
        return
    if isinstance(output, Tensor) and output.shape != model.gt.shape:
        made, wanted = ('x'.join(map(str, images.shape[1:])) for images in (output, model.gt))
        raise ValueError(f'network_g makes images of {made} (channels x height x width), but the originals are '
                         f'{wanted}; mend its channels or its upscale.')


@contextmanager
def _evaluated(model: Any) -> Iterator[None]:
    """Evaluation mode: no statistics are gathered, nothing is dropped."""
    networks = [value for value in vars(model).values() if isinstance(value, nn.Module)]
    modes = [(module, module.training) for network in networks for module in network.modules()]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _not_compiled() -> AbstractContextManager:
    """Compiling takes minutes. Before PyTorch 2.6 there is no way around it."""
    return torch.compiler.set_stance('force_eager') if hasattr(torch.compiler, 'set_stance') else nullcontext()


@contextmanager
def _kept_random_states() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # BasicSR draws from it
    try:
        with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
