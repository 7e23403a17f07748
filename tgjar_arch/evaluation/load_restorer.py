"""Networks to evaluate, from weights files or test option files."""

import hashlib
import os
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tgjar_arch.models.encoders import read_tokenizer, text_encoder_options
from tgjar_arch.models.pretrained import state_of
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.defaults import DEFAULT_MAX_WORDS
from tgjar_arch.training.options import OptionError, read_options
from tgjar_arch.weights.checkpoint import load_checkpoint, load_checkpoint_for
from tgjar_arch.weights.file import ExportedWeights, read_weights
from tgjar_arch.weights.folder import holds_weights
from tgjar_arch.weights.interpolation import interpolate
from tgjar_arch.weights.shipped import find_fidelity_weights


@lru_cache(maxsize=1)  # rows with right, wrong and no captions share one; two networks may not fit the memory
def cached_restorer(file: str, device: str | None, modified: int, fidelity: float = 0.,
                    fidelity_weights: str | None = None) -> tuple[Restorer, str]:
    return load_restorer(file, device, fidelity, fidelity_weights)


def load_restorer(file: str | os.PathLike, device: str | None = None, fidelity: float = 0.,
                  fidelity_weights: str | os.PathLike | None = None) -> tuple[Restorer, str]:
    """Load a `.safetensors` file of `tgjar export`, a folder of weights, or the networks of a test option file.

    Args:
        file: of either kind.
        device: see `Restorer`.
        fidelity, fidelity_weights: see `Restorer.from_pretrained`.

    Returns:
        The restorer, and a fingerprint of its weights and options.

    Raises:
        FileNotFoundError, ValueError: when a file is missing or not as it must be; the message names it.
    """
    file = Path(file)
    weights = read_weights(file) if holds_weights(file) else _read_option_file(file)
    if fidelity:
        partner = find_fidelity_weights(file, None if fidelity_weights is None else Path(fidelity_weights))
        try:
            weights = interpolate(weights, read_weights(partner), fidelity)
        except ValueError as error:
            raise ValueError(f'{file} and {partner}: {error}') from error
    digest = hashlib.sha256(repr((weights.network_g, weights.network_t, weights.tokenizer,
                                  weights.max_words)).encode())
    for state in (weights.state_g, weights.state_t or {}):
        for key in sorted(state):
            digest.update(key.encode() + state[key].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
                          .tobytes())
    try:
        return Restorer(weights, device), digest.hexdigest()
    except (RuntimeError, TypeError, KeyError) as error:
        lines = [line.strip() for line in str(error).splitlines()[:2]]  # torch's first is a heading
        raise ValueError(f'{file}: the weights do not fit the network: {" ".join(lines)}') from error


def _read_option_file(file: Path) -> ExportedWeights:
    try:
        opt = read_options(str(file))
    except OptionError as error:
        raise ValueError(str(error)) from error
    paths = opt.get('path') or {}
    if not isinstance(opt.get('network_g'), dict) or not paths.get('pretrain_network_g'):
        raise ValueError(f'{file} must be a test option file, with network_g and path: pretrain_network_g.')
    network_g = dict(opt['network_g'])
    state_g = _state(file, paths, 'g', network_g.get('text_norm', True))
    if not isinstance(opt.get('network_t'), dict):
        return ExportedWeights(network_g, state_g)
    if not paths.get('pretrain_network_t'):
        raise ValueError(f'{file}: network_t has no weights; name them at path: pretrain_network_t.')
    tokenizer = read_tokenizer(opt)
    words = max(dataset.get('max_words') or DEFAULT_MAX_WORDS for dataset in opt['datasets'].values())
    stored = load_checkpoint(paths['pretrain_network_t']).get('tokenizer')
    if stored is not None and stored != tokenizer.to_json():
        raise ValueError(f'{file}: the tokenizer of the datasets is not the one {paths["pretrain_network_t"]} was '
                         'trained with; name that one.')
    return ExportedWeights(network_g, state_g, text_encoder_options(deepcopy(opt), tokenizer), _state(file, paths, 't'),
                           tokenizer.to_json(), words)


def _state(file: Path, paths: dict[str, Any], label: str, text_norm: bool | None = None) -> dict[str, torch.Tensor]:
    path = paths[f'pretrain_network_{label}']
    if not Path(path).is_file():
        raise FileNotFoundError(f'{file}: path: pretrain_network_{label}: there is no {path} (seen from {Path.cwd()}).')
    content = load_checkpoint_for(text_norm, path)
    try:
        return state_of(content, paths.get(f'param_key_{label}', 'params'), path)
    except ValueError as error:
        raise ValueError(f'{file}: path: pretrain_network_{label}: {error}') from error
