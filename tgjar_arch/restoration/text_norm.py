"""Weights trained without `text_norm`, turned into weights with it, so that training can go on from them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.weights.file import ExportedWeights


def feature_lengths(weights: ExportedWeights, captions: Sequence[str]) -> tuple[float, float]:
    """Root mean square of the word and of the sentence features that the text encoder makes of captions.

    Raises:
        ValueError: when the weights take no captions, or no word of them is known.
    """
    text = Restorer(weights, 'cpu').encode(list(captions))
    if text is None:
        raise ValueError('the weights take no captions, so there are no features to measure.')
    known = text.mask.any(dim=1)
    if not known.any():
        raise ValueError('no word of the captions is in the vocabulary of the weights.')
    words = text.words.transpose(1, 2)[text.mask]  # (number of words, D)
    return words.square().mean().sqrt().item(), text.sentence[known].square().mean().sqrt().item()


def add_text_norm(weights: ExportedWeights, captions: Sequence[str]) -> ExportedWeights:
    """The same weights for a generator with `text_norm`.

    What reads the features is made smaller by their mean length, so the generator does nearly what it did: as far as
    the lengths of single words differ from the mean, its results do. Without a caption they are the same.

    Args:
        weights: of a generator without it.
        captions: such as the generator is used with, a few hundred; how long their features are is measured.

    Raises:
        ValueError: when the generator has `text_norm` already, takes no text, or is of another kind.
    """
    if weights.network_g.get('text_norm') is not False or weights.network_t is None:
        raise ValueError(f'text_norm can be given to weights of a TGJAR generator without it and with a text encoder, '
                         f'but these are of {weights.network_g}.')
    word, sentence = feature_lengths(weights, captions)

    def scaled(key: str, value: Tensor) -> Tensor:
        if key == 'null_word':
            return value / word
        if key == 'null_sentence':
            return value / sentence
        if key.endswith('conv_word.weight'):
            return value * word
        if key == 'gfm.fc.0.weight':  # reads image features, then the sentence
            image = value.shape[1] - weights.network_g.get('text_dim', 256)
            return torch.cat((value[:, :image], value[:, image:] * sentence), dim=1)
        return value

    state_g = {key: scaled(key, value) for key, value in weights.state_g.items()}
    return replace(weights, network_g=weights.network_g | {'text_norm': True}, state_g=state_g)
