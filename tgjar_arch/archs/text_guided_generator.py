"""What the text-guided generators have in common."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tgjar_arch.text.features import TextFeatures


class Margins(NamedTuple):
    """How many coarsest features (of 8 pixels) beyond its own a result of each part of a generator sees."""

    encode: int
    fuse: int
    decode: int


class Footprint(NamedTuple):
    """How many floats a generator needs at once.

    Attributes:
        pixel: for a pixel, at the worst moment of its encoder or decoder.
        skips: for a pixel, of the skips alone.
        coarse: for one coarsest feature.
    """

    pixel: int
    skips: int
    coarse: int


def fill_missing(text: TextFeatures, null_word: Tensor | None, null_sentence: Tensor | None) -> TextFeatures:
    """Put the learned null condition where a caption has no word, so that `mask` is True at least once a row.

    Args:
        text: features of the captions.
        null_word: (D), or None where no LFM reads words.
        null_sentence: (D), or None where no GFM reads sentences.
    """
    words, sentence, mask = text
    empty = ~mask.any(dim=1)  # (N,)
    first = torch.arange(mask.shape[1], device=mask.device) == 0  # (T,)
    mask = mask | (empty[:, None] & first)
    if null_word is not None:
        words = torch.where(empty[:, None, None], null_word[:, None], words)
    if null_sentence is not None:
        sentence = torch.where(empty[:, None], null_sentence, sentence)
    return TextFeatures(words, sentence, mask)


def prepare_text(net: nn.Module, lq: Tensor, text: TextFeatures | None) -> TextFeatures | None:
    """What the fusions of a generator read: `text` with the null condition where there is no caption.

    Args:
        net: a generator with `num_in_ch`, `min_size`, `text_dim`, `text_norm`, `uses_text`, `null_word` and
            `null_sentence`.
        lq: its images (N, num_in_ch, H, W).
        text: its captions; None for none.

    Returns:
        Features in the precision of the generator's weights; None if it uses no text.

    Raises:
        ValueError: when a shape does not fit.
    """
    name = type(net).__name__
    if lq.ndim != 4 or lq.shape[1] != net.num_in_ch or min(lq.shape[2:]) < net.min_size:
        raise ValueError(f'{name} expects lq as (N, {net.num_in_ch}, H, W) with H and W at least {net.min_size}, but '
                         f'got {tuple(lq.shape)}.')
    if not net.uses_text:
        return None
    dtype = (net.null_word if net.null_word is not None else net.null_sentence).dtype
    if text is None:
        text = TextFeatures.empty(lq.shape[0], net.text_dim, lq.device, dtype)
    expected = (lq.shape[0], net.text_dim)
    if tuple(text.words.shape[:2]) != expected or tuple(text.sentence.shape) != expected:
        raise ValueError(f'{name} expects words (N, D, T) and sentence (N, D) with (N, D) = {expected}, but got '
                         f'{tuple(text.words.shape)} and {tuple(text.sentence.shape)}; text_dim of the generator and '
                         'of the text encoder must agree.')
    if tuple(text.mask.shape) != (text.words.shape[0], text.words.shape[2]) or text.mask.dtype != torch.bool:
        raise ValueError(f'{name} expects mask (N, T) bool for words {tuple(text.words.shape)}, but got '
                         f'{tuple(text.mask.shape)} {text.mask.dtype}.')
    text = text.normalised() if net.text_norm else text
    return fill_missing(text.to(dtype), net.null_word, net.null_sentence)
