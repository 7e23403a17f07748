"""Checkpoint files: written whole or not at all, read without executing anything in them."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger

from tgjar_arch.atomic_file import atomic
from tgjar_arch.portable_network import check_network
from tgjar_arch.weights_file import with_text_norm_said


def save_atomically(obj: Any, path: str | Path) -> None:
    """`torch.save` that leaves either the old file or the new one, also after a kill or on a full disk.

    Args:
        obj: what `torch.save` takes.
        path: file to write; its folder is made.

    Raises:
        OSError: when the file cannot be written; an older file of that name is untouched.
    """
    try:
        with atomic(path, durable=True) as temporary, open(temporary, 'wb') as file:
            torch.save(obj, file)
    except RuntimeError as error:  # torch's zip writer reports a full disk as one
        raise OSError(f'could not write {path}: {error}') from error


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a `.pth` file of tensors and plain containers (`weights_only=True`) to the CPU.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a readable checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist.')
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:  # torch's message advises to execute what is in the file
        raise ValueError(f'checkpoint {path} is refused: it holds more than tensors and plain containers, which can be '
                         'code that runs when it is read; or it is truncated or no PyTorch checkpoint.') from error
    except Exception as error:  # torch raises zip, runtime and EOF errors here
        raise ValueError(f'checkpoint {path} cannot be read ({type(error).__name__}: {str(error).splitlines()[0]}); it '
                         'is truncated or no PyTorch checkpoint of tensors and plain containers.') from error


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
    if text_norm is not None and 'network' in content:
        trained = with_text_norm_said(json.loads(content['network'])).get('text_norm', text_norm)
        if trained != text_norm:
            raise ValueError(f'{path} was trained with text_norm: {str(trained).lower()}, but network_g has '
                             f'{str(text_norm).lower()}; set network_g: text_norm, or use what `tgjar unpack '
                             '--text-norm` makes of exported weights.')
    return content


def save_model(model: BaseModel, labels: str, epoch: int, current_iter: int) -> None:
    """Write a model's networks, then its training state, as BasicSR names them; on the first process only.

    Besides BasicSR's `params` (and `params_ema` from `net_X_ema`), a network's file says which network it is
    (`network`, JSON of `model.network_opts[X]`) and what `model.checkpoint_extras(X)` adds. A failed write keeps the
    files before it; training goes on, except when it was the last.

    Args:
        model: the model, with networks `net_X`.
        labels: the networks' letters X; missing ones are left out.
        epoch: the current epoch.
        current_iter: the current iteration; -1 for the last, which is named `latest` and has no state.

    Raises:
        OSError: when the last checkpoint cannot be written.
    """
    if model.opt['rank'] != 0:
        return
    suffix = 'latest' if current_iter == -1 else current_iter
    folders = model.opt['path']
    try:
        for label in labels:
            if (net := getattr(model, f'net_{label}', None)) is None:
                continue
            content = {'params': _on_cpu(model.get_bare_model(net))}
            if (averaged := getattr(model, f'net_{label}_ema', None)) is not None:
                content['params_ema'] = _on_cpu(averaged)
            content['network'] = json.dumps(_network_of(model, label))
            content |= model.checkpoint_extras(label)
            save_atomically(content, os.path.join(folders['models'], f'net_{label}_{suffix}.pth'))
        if current_iter != -1:
            state = {'epoch': epoch, 'iter': current_iter,
                     'optimizers': [optimizer.state_dict() for optimizer in model.optimizers],
                     'schedulers': [scheduler.state_dict() for scheduler in model.schedulers]}
            if getattr(model, 'scaler', None) is not None:
                state['scaler'] = model.scaler.state_dict()
            save_atomically(state, os.path.join(folders['training_states'], f'{current_iter}.state'))
    except OSError as error:
        if current_iter == -1:
            raise
        get_root_logger().error(f'The checkpoint of iteration {current_iter} was not saved: {error}. Training goes on; '
                                'the checkpoints before it are untouched.')


def warn_of_what_export_refuses(model: BaseModel, labels: str) -> None:
    """Say in the log, before the training, which networks of a model `tgjar export` would refuse after it."""
    for label in labels:
        if getattr(model, f'net_{label}', None) is not None:
            try:
                check_network(json.loads(json.dumps(_network_of(model, label))), f'network_{label}')
            except ValueError as error:
                get_root_logger().warning(f'`tgjar export` will refuse this model (`tgjar test` takes it): {error}')


def _network_of(model: BaseModel, label: str) -> dict[str, Any]:
    """Type and arguments; of a network built from a pretrained model those that build it without that model."""
    portable = getattr(model.get_bare_model(getattr(model, f'net_{label}')), 'portable_options', None)
    return portable() if portable else model.network_opts[label]


def _on_cpu(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in net.state_dict().items()}
