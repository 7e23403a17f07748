"""The encoders of stage 1 for a training loop of one's own: L_IT needs both, and the tokenizer."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from tgjar_arch.text.tokenizer import Tokenizer, tokenizer_from_json
from tgjar_arch.text.tokenizer_check import check_tokenizer
from tgjar_arch.weights.build import build, check_fit
from tgjar_arch.weights.checkpoint import load_checkpoint, stored_shapes
from tgjar_arch.weights.network_check import check_network

_IMAGE_ENCODER = 'DAMSMImageEncoder'
_NAMES = ('net_t_', 'net_i_')


class Stage1(NamedTuple):
    """Image encoder, text encoder and tokenizer that were trained together; the encoders frozen, in evaluation mode."""

    image_encoder: nn.Module
    text_encoder: nn.Module
    tokenizer: Tokenizer


def load_stage1(path: str | Path) -> Stage1:
    """Load the encoders of stage 1, on the CPU; BasicSR need not be installed, and nothing is downloaded.

    Args:
        path: the experiment, `experiments/train_damsm_cub`, whose newest checkpoints are taken; a folder with
            `net_t_latest.pth` and `net_i_latest.pth`, as `tgjar import-attngan` writes; or one of these files, beside
            which the other lies.

    Returns:
        `image_encoder(images)` gives regions (N, D, h, w) and global features (N, D) of RGB images (N, 3, H, W) in
        [0, 1]; `text_encoder(ids, mask)` gives `TextFeatures`; `tokenizer.encode(caption)` and `tokenizer.pad(ids, T)`
        give ids and mask.

    Raises:
        FileNotFoundError: when there are no such checkpoints.
        ValueError: when they cannot be read, or are not those of stage 1.
    """
    text_file, image_file = _files(Path(path))
    text, image = load_checkpoint(text_file), load_checkpoint(image_file)
    for file, content, key in ((text_file, text, 'network'), (text_file, text, 'tokenizer'),
                               (image_file, image, 'network')):
        if not isinstance(content.get(key), str):
            raise ValueError(f'{file} does not say its {key}; name checkpoints that DAMSMModel or `tgjar '
                             'import-attngan` wrote.')
    network_t = check_network(_options(text['network'], text_file), 'network_t')
    image_encoder = _build(_image_options(image['network'], image_file), image, image_file)
    text_encoder = _build(network_t, text, text_file)
    try:
        check_tokenizer(text['tokenizer'], getattr(text_encoder, 'num_ids', 0))
    except ValueError as error:
        raise ValueError(f'{text_file} cannot be used: {error}') from error
    return Stage1(image_encoder, text_encoder, tokenizer_from_json(text['tokenizer'], f'the tokenizer of {text_file}'))


def _files(path: Path) -> tuple[Path, Path]:
    """The checkpoints of the text and of the image encoder."""
    if path.is_dir():
        pairs = {file: file.with_name(file.name.replace('net_t_', 'net_i_', 1))
                 for folder in (path, path / 'models') for file in folder.glob('net_t_*.pth')}
        whole = [(text, image) for text, image in pairs.items() if image.is_file()]
        if not whole:
            raise FileNotFoundError(f'{path} has no net_t_ITER.pth with its net_i_ITER.pth; name an experiment of '
                                    'stage 1 (options/train_damsm_*.yml), or a folder of `tgjar import-attngan`.')
        return max(whole, key=lambda pair: pair[0].stat().st_mtime_ns)
    start = next((start for start in _NAMES if path.name.startswith(start)), None)
    if start is None:
        raise ValueError(f'{path} is no checkpoint of stage 1; name a folder, or a net_t_ITER.pth or '
                         'net_i_ITER.pth in it.')
    text, image = (path.with_name(path.name.replace(start, name, 1)) for name in _NAMES)
    for file in (text, image):
        if not file.is_file():
            raise FileNotFoundError(f'{file} does not exist; both encoders of stage 1 lie in one folder.')
    return text, image


def _options(network: str, file: Path) -> Any:
    try:
        return json.loads(network)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{file} cannot be used: its network is no JSON ({error}).') from error


def _image_options(network: str, file: Path) -> dict[str, Any]:
    """Options that build the image encoder without reading or fetching a file."""
    options = _options(network, file)
    if not isinstance(options, dict) or options.get('type') != _IMAGE_ENCODER:
        raise ValueError(f'{file} holds no {_IMAGE_ENCODER}; name the net_i_ITER.pth of stage 1.')
    return options | {'weights': None}


def _build(options: dict[str, Any], content: dict[str, Any], file: Path) -> nn.Module:
    try:
        check_fit(options, stored_shapes(content.get('params'), file),
                  'network_i' if options['type'] == _IMAGE_ENCODER else 'network_t')
        return build(options, content['params'])
    except (ValueError, RuntimeError) as error:
        raise ValueError(f'{file} does not fit the network that it names: {" ".join(str(error).split())}') from error
