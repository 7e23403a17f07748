"""What a weights file may have built: networks by name, with arguments that name no file and no address.

BasicSR's registry also holds networks that read a file of theirs with `torch.load`, which can run code, or fetch one
(`SpyNet(load_path=...)`, `VGGFeatureExtractor`), and `transformers` builds models that do the like. An option file is
its user's own and may say all of that; a file that came with weights may not.
"""

import math
import re
from typing import Any

from tgjar_arch.registration import network_class

_PACKAGES = ('tgjar_arch', 'basicsr')
_LOADERS = ('VGGFeatureExtractor', 'DFDNet')  # read or fetch weights whatever their arguments are
# Words of an argument's name that stand for a file, a folder or an address; `use_checkpoint` (SwinIR) is about memory.
_FILE_WORDS = {'path', 'file', 'folder', 'dir', 'root', 'url', 'repo', 'weights', 'pretrained', 'download', 'model',
               'checkpoint', 'load', 'code', 'backbone', 'quantization', 'kernels', 'kernel'}
_HARMLESS = {'use_checkpoint', 'model_type', 'd_model', 'conv_kernel', 'conv_kernel_size', 'resample_kernel',
             'kernel_size', 'pad_model', 'train_backbone', 'scale_attn_weights', 'tie_weights_', 'hash_code_len'}
_WORD = re.compile(r'[A-Za-z0-9_+-]{0,64}')  # no dot, slash, colon or space: neither a path nor an address
# Entries of a text model's configuration that say where it came from; building it needs none of them.
_ORIGIN = ('_name_or_path', 'auto_map', 'transformers_version', 'architectures', 'task_specific_params', 'id2label',
           'label2id', 'torch_dtype', 'dtype')


def check_network(network: Any, label: str) -> dict[str, Any]:
    """Return type and arguments of a network, if a file may name them.

    Args:
        network: what the file says, as under `network_g` in an option file.
        label: what messages call it, 'network_g'.

    Returns:
        The same; of an `HFTextEncoder` without what its configuration says about its origin.

    Raises:
        ValueError: when it is no network of this package or of BasicSR, or an argument is not a number, a boolean, a
            word, or a list of these, or stands for a file.
    """
    try:
        return _checked(network, label)
    except RecursionError as error:
        raise ValueError(f'{label} has lists or objects that are nested too deeply.') from error


def _checked(network: Any, label: str) -> dict[str, Any]:
    if not isinstance(network, dict) or not isinstance(network.get('type'), str):
        raise ValueError(f'{label} must be an object with "type", the name of a network, but is {str(network)[:80]}.')
    kind = network['type']
    try:
        known = network_class(kind).__module__.partition('.')[0] in _PACKAGES and kind not in _LOADERS
    except KeyError:
        known = False
    if not known:
        raise ValueError(f'{label} is a {kind[:60]!r}, which is no network of this package or of BasicSR that a '
                         'weights file may name.')
    arguments = {key: value for key, value in network.items() if key != 'type'}
    config = arguments.pop('config', None) if kind == 'HFTextEncoder' else None
    for key, value in arguments.items():
        _check(key, value, label)
    if config is None:
        return dict(network)
    return network | {'config': _text_config(config, label)}


def _check(key: str, value: Any, label: str) -> None:
    words = set(key.lower().split('_'))
    if words & _FILE_WORDS and key not in _HARMLESS and value not in (None, False, ''):
        raise ValueError(f'{label} has the argument {key[:60]!r}, which reads or fetches a file; weights files hold '
                         'all they need, and such arguments are refused.')
    if isinstance(value, list):
        for item in value:
            _check(key, item, label)
    elif isinstance(value, str):
        if not _WORD.fullmatch(value):
            raise ValueError(f'{label} has {value[:60]!r} as {key[:60]!r}, which may be a path or an address; only '
                             'numbers, booleans, lists and single words are accepted in a weights file.')
    elif isinstance(value, float) and not math.isfinite(value) or not isinstance(value, int | float | None):
        raise ValueError(f'{label} has {str(value)[:60]} as {key[:60]!r}; only numbers, booleans, lists and single '
                         'words are accepted in a weights file.')


def _text_config(config: Any, label: str) -> dict[str, Any]:
    """The configuration of a text model, without its origin."""
    # Imported here: it takes seconds, and whoever uses the LSTM needs nothing of it.
    from transformers.models.auto import modeling_auto as auto

    kind = config.get('model_type') if isinstance(config, dict) else None
    # Models of other kinds may have backbones of other libraries, which fetch weights.
    known = {*auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES, *auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
             *auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
    if not isinstance(kind, str) or kind not in known and not kind.endswith(('_text', '_text_model')):
        raise ValueError(f'{label} has a configuration of model_type {str(kind)[:60]!r}, which is no text model.')
    kept = {key: value for key, value in config.items() if key not in _ORIGIN}

    def check(part: dict) -> None:
        for key, value in part.items():
            if isinstance(value, dict):  # as `rope_parameters`
                check(value)
            else:
                _check(key, value, label)

    check(kept)
    return kept
