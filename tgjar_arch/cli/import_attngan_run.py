"""What `tgjar import-attngan` does once its arguments are read: AttnGAN's files become checkpoints of ours."""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tgjar_arch.archs.image_encoder_arch import DAMSMImageEncoder
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.text.word_tokenizer import END, WordTokenizer
from tgjar_arch.weights.checkpoint import load_checkpoint, save_atomically

# Python 2 wrote AttnGAN's files, hence both names of the module and two of its types.
_PLAIN = {(module, name) for module in ('builtins', '__builtin__')
          for name in ('dict', 'list', 'tuple', 'set', 'str', 'int', 'float', 'unicode', 'long')}
_UNUSED = ('AuxLogits.', 'fc.')  # Inception's classifiers
_NETWORKS = {'LSTMTextEncoder': LSTMTextEncoder, 'DAMSMImageEncoder': DAMSMImageEncoder}


class _Refused(Exception):
    """A pickle that wants more than plain containers and strings."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PLAIN:
            raise _Refused(f'{module}.{name}')
        return super().find_class(module, name)


def read_words(path: Path) -> list[str]:
    """Read the vocabulary of AttnGAN's `captions.pickle`: the words of ids 1, 2, ...; nothing in the file is executed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not `[train captions, test captions, ixtoword, wordtoix]` of plain containers and text.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist.')
    try:
        with open(path, 'rb') as file:
            content = _PlainUnpickler(file, encoding='latin1').load()
    except _Refused as error:
        raise ValueError(f'{path} asks for {error}, which a vocabulary does not need: the file is refused, since such '
                         'a pickle can run any program.') from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError(f'{path} is not a readable pickle ({type(error).__name__}: {error}).') from error
    expected = f"{path} must hold AttnGAN's [train captions, test captions, ixtoword, wordtoix]"
    if not isinstance(content, list | tuple) or len(content) != 4 or not isinstance(content[2], dict):
        raise ValueError(f'{expected}, but is something else.')
    by_id = content[2]
    if set(by_id) != set(range(len(by_id))) or by_id.get(0) != END:
        raise ValueError(f'{expected}, with ids 0, 1, 2, ... in ixtoword and {END!r} at 0.')
    words = [by_id[i] for i in range(1, len(by_id))]
    wrong = [word for word in words if not isinstance(word, str)]
    if wrong:
        raise ValueError(f'{expected}, with words as text, but one is {wrong[0]!r}.')
    return words


def read_text_encoder(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Options and state of the LSTMTextEncoder that AttnGAN's `text_encoderN.pth` holds; sizes are the tensors'.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds another network.
    """
    state = _read_state(path)
    embedding, recurrent = (_tensor(state, key, 2, path) for key in ('encoder.weight', 'rnn.weight_hh_l0'))
    options = {'type': 'LSTMTextEncoder', 'vocab_size': embedding.shape[0], 'embed_dim': embedding.shape[1],
               'text_dim': 2 * recurrent.shape[1], 'drop_prob': 0.5}
    _check_fit(options, state, path)
    return options, state


def read_image_encoder(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Options and state of the DAMSMImageEncoder that AttnGAN's `image_encoderN.pth` holds; errors as above."""
    read = {key: value for key, value in _read_state(path).items() if not key.startswith(_UNUSED)}
    for key in list(read):
        if key.endswith('.running_mean'):  # files of PyTorch 0.3 have no such counter
            read.setdefault(key.replace('running_mean', 'num_batches_tracked'), torch.tensor(0))
    state = {key if key.startswith('emb_') else f'backbone.{key}': value for key, value in read.items()}
    features = _tensor(state, 'emb_features.weight', 4, path)
    options = {'type': 'DAMSMImageEncoder', 'backbone': 'inception_v3', 'text_dim': features.shape[0], 'weights': None,
               'train_backbone': False, 'bn_drift': False}
    _check_fit(options, state, path)
    return options, state


def _read_state(path: Path) -> dict[str, Tensor]:
    content = load_checkpoint(path)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} is not a state dict of named tensors, as AttnGAN's checkpoints are.")
    # `module.` stands in files of a network that was trained on several GPUs.
    return {key.removeprefix('module.'): value for key, value in content.items()}


def _tensor(state: dict[str, Tensor], key: str, dims: int, path: Path) -> Tensor:
    if key not in state or state[key].ndim != dims:
        raise ValueError(f'{path} has no tensor {key} of {dims} dimensions; it has {", ".join(list(state)[:3])}. Give '
                         "AttnGAN's text_encoderN.pth and image_encoderN.pth.")
    return state[key]


def _check_fit(options: dict[str, Any], state: dict[str, Tensor], path: Path) -> None:
    arguments = {key: value for key, value in options.items() if key != 'type'}
    with torch.device('meta'):  # only names and shapes
        net: nn.Module = _NETWORKS[options['type']](**arguments)
    wanted = net.state_dict()
    for names, verb in (([key for key in wanted if key not in state], 'lacks'),
                        ([key for key in state if key not in wanted], 'also has')):
        if names:
            raise ValueError(f'{path} does not fit {options["type"]}: it {verb} {len(names)} tensors, e.g. '
                             f'{", ".join(names[:3])}.')
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            raise ValueError(f'{path}: {key} has the shape {tuple(value.shape)} instead of {tuple(wanted[key].shape)}.')


def convert(text_encoder: Path, image_encoder: Path, captions: Path, output: Path, max_words: int) -> list[str]:
    """Write `tokenizer.json`, `net_t_latest.pth` and `net_i_latest.pth` to the folder `output`; nothing on an error.

    Returns:
        Words of the vocabulary that no caption can contain; their ids are kept.

    Raises:
        FileNotFoundError: if one of the files does not exist.
        ValueError: if one of them is not AttnGAN's, or they do not belong together.
    """
    words = read_words(captions)
    options_t, state_t = read_text_encoder(text_encoder)
    options_i, state_i = read_image_encoder(image_encoder)
    if len(words) + 1 != options_t['vocab_size']:
        raise ValueError(f'{captions} has {len(words) + 1} words, {END} included, but the embedding of {text_encoder} '
                         f'has {options_t["vocab_size"]} rows; they belong to different data sets.')
    if options_t['text_dim'] != options_i['text_dim']:
        raise ValueError(f'{text_encoder} has features of dimension {options_t["text_dim"]}, {image_encoder} of '
                         f'{options_i["text_dim"]}; they were not trained together.')
    try:
        tokenizer = WordTokenizer.from_words(words, unreachable=True)
    except ValueError as error:
        raise ValueError(f'{captions}: {error}') from error

    output.mkdir(parents=True, exist_ok=True)
    tokenizer.save(output / 'tokenizer.json')
    save_atomically({'params': state_t, 'network': json.dumps(options_t), 'tokenizer': tokenizer.to_json(),
                     'max_words': max_words}, output / 'net_t_latest.pth')
    save_atomically({'params': state_i, 'network': json.dumps(options_i)}, output / 'net_i_latest.pth')
    return [word for word in words if tokenizer.words(word) != [word]]
