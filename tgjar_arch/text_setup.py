"""How both training stages bring tokenizer and text encoder of an option file together."""

import inspect
from copy import deepcopy
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

from tgjar_arch.checkpoint import load_checkpoint
from tgjar_arch.hf_tokenizer import HFTokenizer
from tgjar_arch.tokenizer import DEFAULT_MAX_WORDS, WordTokenizer, load_tokenizer, tokenizer_from_json

Tokenizer = WordTokenizer | HFTokenizer


def read_tokenizer(opt: dict[str, Any]) -> Tokenizer:
    """The tokenizer that the datasets of an option file share.

    Raises:
        ValueError: when no dataset names one, or they name different ones.
    """
    paths = sorted({dataset['tokenizer'] for dataset in opt['datasets'].values() if dataset.get('tokenizer')})
    if not paths:
        raise ValueError('network_t needs the vocabulary, but no dataset has the key tokenizer; build one with '
                         '`tgjar vocab FOLDER -o tokenizer.json` and name it in every dataset.')
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
    if 'special_ids' in inspect.signature(ARCH_REGISTRY.get(network_t['type'])).parameters:
        if isinstance(tokenizer, WordTokenizer):
            raise ValueError(f'network_t {network_t["type"]} reads ids of its own tokenizer, but the datasets name a '
                             "word vocabulary; give the model's folder or its tokenizer.json as their tokenizer.")
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
    stored = load_checkpoint(load_path).get('tokenizer')
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
