"""What belongs together in one weights file: a generator's checkpoint, its text encoder's, the tokenizer."""

import inspect
import json
from pathlib import Path

from torch import nn

from tgjar_arch.weights.build import check_fit
from tgjar_arch.weights.checkpoint import load_checkpoint, stored_shapes
from tgjar_arch.weights.file import ExportedWeights, read_weights, with_text_norm_said
from tgjar_arch.weights.network_check import check_network
from tgjar_arch.weights.shipped import shipped


def collect(checkpoint: Path, averaged: bool = True, without_text: bool = False) -> ExportedWeights:
    """Gather what belongs to a generator's checkpoint.

    Args:
        checkpoint: `.../models/net_g_ITER.pth`, or an experiment's folder, whose newest checkpoint is taken. The text
            encoder's, `net_t_ITER.pth`, lies beside it.
        averaged: take the moving average of the weights (`params_ema`) where there is one.
        without_text: leave the text encoder out, for restoration without captions.

    Raises:
        FileNotFoundError: if there is no such checkpoint, or the text encoder's is not beside it.
        ValueError: if it was not written by TGJARModel, or names a network that a weights file may not.
    """
    net_g_file = find_checkpoint(checkpoint)
    network_g, state_g, _, net_g = _read(net_g_file, averaged)
    net_t_file = net_g_file.with_name(net_g_file.name.replace('net_g_', 'net_t_', 1))
    if without_text or not _uses_text(net_g):
        return ExportedWeights(network_g, state_g)
    if not net_t_file.is_file():
        raise FileNotFoundError(f'{net_g_file} takes captions, but its text encoder {net_t_file.name} is not there; '
                                'copy it there, or give --without-text to restore without captions.')
    network_t, state_t, content, _ = _read(net_t_file, averaged)
    if not isinstance(content.get('tokenizer'), str):
        raise ValueError(f'{net_t_file} has no tokenizer, by which captions become words; only checkpoints that '
                         'TGJARModel wrote can be exported. Or give --without-text to restore without captions.')
    if not isinstance(content.get('max_words'), int):
        raise ValueError(f'{net_t_file} does not say its max_words; only checkpoints that TGJARModel wrote can be '
                         'exported. Or give --without-text to restore without captions.')
    return ExportedWeights(network_g, state_g, network_t, state_t, content['tokenizer'], content['max_words'])


def _uses_text(net_g: nn.Module) -> bool:
    return 'text' in inspect.signature(net_g.forward).parameters and getattr(net_g, 'uses_text', True)


def find_checkpoint(path: Path) -> Path:
    """The generator's checkpoint `path` stands for: itself, or the newest of an experiment's folder."""
    if not path.is_dir():
        if not path.name.startswith('net_g_'):
            names = f' (shipped weights are {", ".join(shipped())})' if shipped() else ''
            raise ValueError(f'{path} is not a generator checkpoint; name experiments/NAME, or its '
                             f'models/net_g_ITER.pth{names}.')
        return path
    found = [*path.glob('net_g_*.pth'), *path.glob('models/net_g_*.pth')]
    if not found:
        raise FileNotFoundError(f'{path} has no checkpoint models/net_g_*.pth; has the training saved one yet?')
    # By number, since copying may change times; `latest` has none, and after a resumed run it may be older than them.
    numbered = [file for file in found if file.stem.rpartition('_')[2].isdecimal()]
    others = [file for file in found if file not in numbered]
    if numbered:
        best = max(numbered, key=lambda file: int(file.stem.rpartition('_')[2]))
        newer = [file for file in others if file.stat().st_mtime_ns >= best.stat().st_mtime_ns]
        return max(newer, key=lambda file: file.stat().st_mtime_ns, default=best)
    return max(others, key=lambda file: file.stat().st_mtime_ns)


def _read(path: Path, averaged: bool) -> tuple[dict, dict, dict, nn.Module]:
    """Options, weights and content of a checkpoint, and the network without weights."""
    content = load_checkpoint(path)
    if not isinstance(content.get('network'), str):
        raise ValueError(f'{path} does not say which network it is; only checkpoints that TGJARModel wrote can be '
                         'exported.')
    key = 'params_ema' if averaged and 'params_ema' in content else 'params'
    if key not in content:
        raise ValueError(f'{path} has no weights under {key!r}; only checkpoints that TGJARModel wrote can be '
                         'exported.')
    state = content[key]
    try:
        network = with_text_norm_said(check_network(json.loads(content['network']), 'network'))
        net = check_fit(network, stored_shapes(state, path), 'network')
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f'{path} cannot be exported: {error}') from error
    return network, state, content, net


def gather(path: Path, averaged: bool, without_text: bool) -> tuple[ExportedWeights, Path]:
    """What `path` holds, a checkpoint or a file exported earlier, and the file it is from."""
    if path.suffix == '.safetensors':
        weights = read_weights(path)
        return (ExportedWeights(weights.network_g, weights.state_g) if without_text else weights), path
    checkpoint = find_checkpoint(path)
    return collect(checkpoint, averaged, without_text), checkpoint
