"""How both training stages bring tokenizer and text encoder of an option file together."""

import inspect
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

from basicsr.archs import build_network
from torch import nn

from tgjar_arch.models.pretrained import read_pretrained
from tgjar_arch.registration import network_class
from tgjar_arch.text.defaults import DEFAULT_MAX_WORDS
from tgjar_arch.text.subword_tokenizer import HFTokenizer
from tgjar_arch.text.tokenizer import Tokenizer, load_tokenizer, tokenizer_from_json
from tgjar_arch.text.word_tokenizer import WordTokenizer


def read_tokenizer(opt: dict[str, Any]) -> Tokenizer:
    """The tokenizer that the datasets of an option file share.

    Raises:
        ValueError: when a dataset names none, or they name different ones.
    """
    paths = sorted({dataset['tokenizer'] for dataset in opt['datasets'].values() if dataset.get('tokenizer')})
    without = [key for key, dataset in opt['datasets'].items()
               if dataset.get('type') == 'PairedImageTextDataset' and not dataset.get('tokenizer')]
    if not paths:
        raise ValueError('network_t needs the vocabulary, but no dataset has the key tokenizer; build one with '
                         '`tgjar vocab FOLDER -o tokenizer.json` and name it in every dataset.')
    if without:  # it would be noticed at its first image, of a validation hours later
        raise ValueError(f'network_t needs the vocabulary of every dataset, but {", ".join(without)} has no key '
                         f'tokenizer; name {paths[0]} there too.')
    tokenizers = [load_tokenizer(path) for path in paths]
    if any(tokenizer.to_json() != tokenizers[0].to_json() for tokenizer in tokenizers):
        raise ValueError(f'the datasets name different tokenizers {paths}; they must share one vocabulary.')
    return tokenizers[0]


def text_encoder_options(opt: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """The options under `network_t`, with `vocab_size: ~`, and a pretrained model's `special_ids`, from the tokenizer.

    Raises:
        ValueError: when another `vocab_size` is given than the tokenizer has, or when a pretrained model is to read the
            words of a `tgjar vocab` tokenizer.
    """
    network_t = deepcopy(opt['network_t'])
    if 'special_ids' in inspect.signature(network_class(network_t['type'])).parameters:
        if not isinstance(tokenizer, HFTokenizer):
            kind = 'word' if isinstance(tokenizer, WordTokenizer) else 'subword'
            raise ValueError(f'network_t {network_t["type"]} reads ids of its own tokenizer, but the datasets name a '
                             f"{kind} vocabulary; give the model's folder or its tokenizer.json as their tokenizer.")
        network_t = {'vocab_size': None} | network_t | {'special_ids': sorted(tokenizer.special_ids)}
    if 'vocab_size' in network_t:
        wanted, found = network_t['vocab_size'], tokenizer.vocab_size
        if wanted is not None and wanted != found:
            raise ValueError(f'network_t: vocab_size is {wanted}, but the tokenizer of the datasets has {found} words; '
                             'take the tokenizer that the text encoder was trained with, or vocab_size: ~ .')
        network_t['vocab_size'] = found
    return network_t


def check_vocabulary(load_path: str, tokenizer: Tokenizer) -> None:
    """Compare the vocabulary stored in a text encoder's checkpoint with the one of the datasets.

    Raises:
        ValueError: when they differ: every word would be taken for another one.
    """
    stored = read_pretrained(load_path, 't').get('tokenizer')
    if stored is None:
        raise ValueError(f'{load_path} does not say which vocabulary it was trained with, so words could be taken for '
                         "others; AttnGAN's checkpoints become ones that do by `tgjar import-attngan`.")
    if tokenizer_from_json(stored).to_json() != tokenizer.to_json():
        raise ValueError(f'{load_path} was trained with another vocabulary than the tokenizer of the datasets; name '
                         'the tokenizer.json it was trained with under datasets.')


def text_extras(opt: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """What a text encoder's checkpoint stores beside its weights, so that the vocabulary cannot be mismatched later."""
    max_words = max(dataset.get('max_words') or DEFAULT_MAX_WORDS for dataset in opt['datasets'].values())
    return {'tokenizer': tokenizer.to_json(), 'max_words': max_words}


class TextEncoder(NamedTuple):
    """A text encoder, its tokenizer, and the options that built it."""

    net: nn.Module
    tokenizer: Tokenizer
    options: dict[str, Any]


def build_text_encoder(opt: dict[str, Any], load: Callable[[nn.Module, str], None], trained: bool) -> TextEncoder:
    """Build `network_t` of an option file, on the CPU.

    Args:
        opt: the option file.
        load: called with the network and its letter, loads what `path` names.
        trained: whether it is trained, and may begin without weights.

    Raises:
        ValueError: when weights or vocabulary are missing or do not fit.
    """
    tokenizer = read_tokenizer(opt)
    options = text_encoder_options(opt, tokenizer)
    net = build_network(options)
    load_path = opt['path'].get('pretrain_network_t')
    if load_path is not None:
        check_vocabulary(load_path, tokenizer)
        load(net, 't')
    elif opt['is_train'] and not trained:
        raise ValueError('network_t is frozen, but path: pretrain_network_t names no weights for it; give them '
                         '(stage 1), or train it with the generator by train: train_network_t: true.')
    return TextEncoder(net, tokenizer, options)


def build_image_encoder(opt: dict[str, Any], load: Callable[[nn.Module, str], None]) -> nn.Module:
    """Build the frozen `network_i` of an option file for L_IT, on the CPU; arguments as of `build_text_encoder`.

    Raises:
        ValueError: when it, its weights or a frozen text encoder are missing.
    """
    if not opt.get('network_i') or not opt.get('network_t') or opt['train'].get('train_network_t'):
        raise ValueError('train: damsm_opt (L_IT) compares images with captions in the space of stage 1: it needs '
                         'network_i, and network_t with train_network_t: false. Or set damsm_opt: ~ .')
    if opt['path'].get('pretrain_network_i') is None:
        raise ValueError('train: damsm_opt (L_IT) is given, but path: pretrain_network_i names no weights for '
                         'network_i; train stage 1 first, or set damsm_opt: ~ .')
    net = build_network(opt['network_i'])
    load(net, 'i')
    return net.requires_grad_(False).eval()
