"""What `path: pretrain_network_X` may name: a checkpoint, a weights file of `tgjar export`, or shipped weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tgjar_arch.weights.checkpoint import load_checkpoint
from tgjar_arch.weights.file import read_weights
from tgjar_arch.weights.folder import holds_weights
from tgjar_arch.weights.shipped import find_weights

_KEYS = ('params', 'params_ema')
_NOT_THE_SHAPE = {'type', 'weights', 'drop_prob', 'train_backbone', 'bn_drift', 'config', 'pretrained', 'special_ids'}


def read_pretrained(path: str, label: str) -> dict[str, Any]:
    """The content of a network's checkpoint, or the like of it from a weights file.

    Args:
        path: a `.pth` file, a `.safetensors` file of `tgjar export`, or the name of shipped weights.
        label: letter X of the network, `g` or `t` for weights files, which hold no others.

    Returns:
        `params` and, where they are known, `params_ema`, `network` (JSON), and `tokenizer` and `max_words` of a text
        encoder. A file that is a state dict itself stays one.

    Raises:
        FileNotFoundError: when there is neither such a file nor such a name.
        ValueError: when it cannot be read, or does not hold this network.
    """
    if not holds_weights(path) and (Path(path).exists() or Path(path).suffix):
        return load_checkpoint(path)
    file = find_weights(path)
    weights = read_weights(file)
    if label == 'g':
        return {'params': weights.state_g, 'network': json.dumps(weights.network_g)}
    if label == 't' and weights.network_t is not None:
        return {'params': weights.state_t, 'network': json.dumps(weights.network_t), 'tokenizer': weights.tokenizer,
                'max_words': weights.max_words}
    raise ValueError(f'path: pretrain_network_{label}: {file} holds no network_{label}; weights files hold a generator '
                     'and, mostly, its text encoder. Name a checkpoint net_' + label + '_ITER.pth, or ~ .')


def state_of(content: Mapping[str, Any], key: str | None, path: str) -> dict[str, Tensor]:
    """The state dict in a checkpoint's content, `module.` of several GPUs left out.

    Args:
        content: of `read_pretrained`.
        key: None for the content itself. Of `params` and `params_ema` one stands in for the other, as in BasicSR; any
            other key must be there.
        path: the file, for messages.

    Raises:
        ValueError: when there is none.
    """
    if key is not None and key not in (*_KEYS, *content):
        raise ValueError(f'{path} has nothing under {key!r}, which `param_key_` of this network names; it has '
                         f'{", ".join(map(str, list(content)[:5]))}.')
    found = next((name for name in (key, *_KEYS) if name is not None and name in content), None)
    state = content if found is None or key is None else content[found]
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        keys = ', '.join(map(str, list(content)[:5]))
        raise ValueError(f'{path} holds no weights of a network: its keys are {keys}; name a checkpoint '
                         'models/net_X_ITER.pth.')
    return {name.removeprefix('module.'): value for name, value in state.items()}


def check_fit(net: nn.Module, state: Mapping[str, Tensor], content: Mapping[str, Any], options: Mapping[str, Any],
              path: str, label: str) -> None:
    """Compare names and shapes of weights with a network's.

    Args:
        net: the network.
        state: its weights.
        content: the checkpoint; it may say `network`, from which a message tells what differs.
        options: type and arguments of the network in the option file.
        path: the file, for messages.
        label: letter of the network.

    Raises:
        ValueError: when they do not fit.
    """
    wanted = net.state_dict()
    faults = [f'{verb} {len(names)} tensors, e.g. {names[0]}' for verb, names in (
        ('lacks', [name for name in wanted if name not in state]),
        ('also has', [name for name in state if name not in wanted]),
        ('has other shapes for', [name for name in wanted if name in state and torch.is_tensor(state[name])
                                  and state[name].shape != wanted[name].shape])) if names]
    if not faults:
        return
    remedy = f'name weights of this network, or ~, in path: pretrain_network_{label}'
    stored = json.loads(content['network']) if isinstance(content.get('network'), str) else {}
    if stored.get('type') not in (None, options.get('type')):
        remedy = f'it is of a {stored["type"]}, but network_{label} is a {options.get("type")}; {remedy}'
    else:
        differing = [key for key in stored if key not in _NOT_THE_SHAPE and key in options
                     and stored[key] is not None and stored[key] != options[key]]
        if differing:
            entries = ' '.join(f'network_{label}:{key}={_entry(stored[key])}' for key in differing)
            remedy = f'it was trained with other options; set --force_yml {entries}'
    remedy = remedy[0].upper() + remedy[1:]
    raise ValueError(f'{path} does not fit network_{label}: it {"; it ".join(faults)}. {remedy}.')


def _entry(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).replace(' ', '')
