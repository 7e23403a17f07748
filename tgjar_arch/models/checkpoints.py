"""The checkpoints that a model writes while it trains."""

import json
import os
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger

from tgjar_arch.text.tokenizer_check import check_tokenizer
from tgjar_arch.weights.checkpoint import last_good, save_atomically
from tgjar_arch.weights.network_check import check_network


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
            content: dict[str, Any] = {'params': _on_cpu(model.get_bare_model(net))}
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
                                f'{last_good(folders["training_states"])}.')


def warn_of_what_export_refuses(model: BaseModel, labels: str) -> None:
    """Say in the log, before the training, which networks of a model `tgjar export` would refuse after it."""
    for label in labels:
        if getattr(model, f'net_{label}', None) is not None:
            try:
                check_network(json.loads(json.dumps(_network_of(model, label))), f'network_{label}')
                if label == 't' and (tokenizer := getattr(model, 'tokenizer', None)) is not None:
                    check_tokenizer(tokenizer.to_json(), model.get_bare_model(model.net_t).num_ids)
            except ValueError as error:
                get_root_logger().warning(f'`tgjar export` will refuse this model (`tgjar test` takes it): {error}')


def _network_of(model: BaseModel, label: str) -> dict[str, Any]:
    """Type and arguments; of a network built from a pretrained model those that build it without that model."""
    portable = getattr(model.get_bare_model(getattr(model, f'net_{label}')), 'portable_options', None)
    return portable() if portable else model.network_opts[label]


def _on_cpu(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in net.state_dict().items()}
