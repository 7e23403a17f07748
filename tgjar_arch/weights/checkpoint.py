"""Checkpoint files: written whole or not at all, read without executing anything in them."""

import json
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tgjar_arch.atomic_file import atomic
from tgjar_arch.disk import disk_fault
from tgjar_arch.weights.file import with_text_norm_said


def save_atomically(obj: Any, path: str | Path) -> None:
    """`torch.save` that leaves either the old file or the new one, also after a kill or on a full disk.

    Args:
        obj: what `torch.save` takes.
        path: file to write; its folder is made.

    Raises:
        OSError: when the file cannot be written, in one line that says why; an older file of that name is untouched.
    """
    try:
        with atomic(path, durable=True) as temporary, open(temporary, 'wb') as file:
            torch.save(obj, file)
    except (OSError, RuntimeError) as error:  # torch's zip writer makes a RuntimeError of a full disk, of many lines
        reason = disk_fault(error, is_writing=True) or str(error).partition('\n')[0]
        raise OSError(f'could not write {path}: {reason}') from error


def last_good(training_states: str | os.PathLike) -> str:
    """Which checkpoint of an experiment a training can go on from, in words.

    Args:
        training_states: its folder; a state is written after its networks, and appears whole.
    """
    states = {int(file.stem): file for file in Path(training_states).glob('*.state') if file.stem.isdecimal()}
    if not states:
        return 'no checkpoint has been saved before'
    return f'the last good checkpoint is that of iteration {max(states)} ({states[max(states)]})'


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a `.pth` file of tensors and plain containers (`weights_only=True`) to the CPU.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a readable checkpoint, or holds something else than a dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist.')
    try:
        with warnings.catch_warnings():  # about what is inside; what matters of it is said below
            warnings.simplefilter('ignore')
            content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:  # torch's message advises to execute what is in the file
        raise ValueError(f'checkpoint {path} is refused: it holds more than tensors and plain containers, which can be '
                         'code that runs when it is read; or it is truncated or no PyTorch checkpoint.') from error
    except Exception as error:  # torch raises zip, runtime and EOF errors here
        raise ValueError(f'checkpoint {path} cannot be read ({_reason(error)}); it is '
                         'truncated or no PyTorch checkpoint of tensors and plain containers.') from error
    if not isinstance(content, dict):
        raise ValueError(f'checkpoint {path} holds a {type(content).__name__}, not a dictionary of weights; name a '
                         'models/net_X_ITER.pth.')
    return content


def _reason(error: Exception) -> str:
    """The kind of an error and the first sentence of its message; torch goes on for many."""
    words = ' '.join(str(error).split()).partition('. ')[0][:200]
    return f'{type(error).__name__}: {words}' if words else type(error).__name__


def stored_shapes(state: Any, path: str | Path) -> dict[str, torch.Size]:
    """Names and shapes of a state dict, all of whose values are in the file.

    Args:
        state: of `load_checkpoint`.
        path: the checkpoint, for messages.

    Raises:
        ValueError: when it is none, or a tensor is larger than what the file has of it (`expand`), or of another kind
            than plain numbers.
    """
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f'{path} holds no weights of a network, which are tensors by their names.')
    for name, value in state.items():
        if value.is_meta or value.is_quantized or value.is_complex():
            kind = 'meta' if value.is_meta else str(value.dtype).removeprefix('torch.')
            raise ValueError(f'{path} cannot be used: its {name} is a {kind} tensor; weights are plain numbers.')
        if value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f'{path} cannot be used: it has {name} as {tuple(value.shape)}, but not as many values.')
    return {str(name): value.shape for name, value in state.items()}


def load_checkpoint_for(text_norm: bool | None, path: str | Path) -> dict[str, Any]:
    """`load_checkpoint`, and compare `text_norm` of a network with the checkpoint's; its tensors would not show it.

    Args:
        text_norm: of the network that will read it; None where it has none.
        path: the checkpoint.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a readable checkpoint, or they differ.
    """
    content = load_checkpoint(path)
    check_text_norm(text_norm, content, path)
    return content


def check_text_norm(text_norm: bool | None, content: Mapping[str, Any], path: str | Path) -> None:
    """Compare `text_norm` of a network with the one in the content of a checkpoint; None where it has none.

    Raises:
        ValueError: they differ.
    """
    if text_norm is not None and 'network' in content:
        trained = with_text_norm_said(json.loads(content['network'])).get('text_norm', text_norm)
        if trained != text_norm:
            raise ValueError(f'{path} was trained with text_norm: {str(trained).lower()}, but network_g has '
                             f'{str(text_norm).lower()}; set network_g: text_norm, or use what `tgjar unpack '
                             '--text-norm` makes of exported weights.')
