"""What the text-guided generators have in common: fusion with text, its checks, and restoration in four parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tgjar_arch.archs.blocks import ResidualBlock
from tgjar_arch.archs.fusion import GlobalFusion, LocalFusion
from tgjar_arch.archs.padding import pad_to_multiple
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


class TextGuidedGenerator(nn.Module, ABC):
    """Base of `TGJARGenerator` and `TGJARLiteGenerator`: all but the layers of encoder and decoder.

    A generator restores in four parts, between which `tgjar_arch.restoration.tiling` cuts a large picture::

        x --> encode_fine --> skips --> encode_coarse --> coarse --> fuse (GFM, body) --> deep
                               |                            |                               |
                               +----------------------------+----> decode (LFMs) <----------+ --> restored

    A subclass makes its encoder, calls `add_fusion`, and makes its decoder, in this order: the order of the layers is
    that of the parameters in checkpoints, in optimizer states and in the draws of a seed.

    Args:
        options: arguments of the subclass by name, with `num_in_ch`, `text_dim` and `text_norm`.
    """

    min_size = 8  # pixels a side; three halvings leave one feature
    pixel_block = 1  # pixels a side of the block that one of the decoder's finest features before the end stands for

    gfm: GlobalFusion | None
    lfms: nn.ModuleList | None
    null_sentence: nn.Parameter | None
    null_word: nn.Parameter | None
    body: nn.Sequential

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self._options = options
        self.num_in_ch: int = options['num_in_ch']
        self.text_dim: int = options['text_dim']
        self.text_norm: bool = options['text_norm']
        self.act = nn.LeakyReLU(0.2, inplace=True)  # no convolution needs its own result again

    def add_fusion(self, width: int, num_block: int, local_widths: Sequence[int], use_global_fusion: bool,
                   use_local_fusion: bool) -> None:
        """Make what lies between encoder and decoder: GFM, body, LFMs, and the features of a missing caption.

        Args:
            width: channels of the coarsest features.
            num_block: residual blocks after the GFM.
            local_widths: channels of the features that each LFM reads.
            use_global_fusion: False leaves the GFM out.
            use_local_fusion: False leaves the LFMs out.
        """
        self.gfm = GlobalFusion(width, self.text_dim) if use_global_fusion else None
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(num_block)))
        self.lfms = (nn.ModuleList(LocalFusion(channels, self.text_dim) for channels in local_widths)
                     if use_local_fusion else None)
        # Learned stand-ins for a missing caption; only for the modules that would read them.
        self.null_sentence = nn.Parameter(torch.zeros(self.text_dim)) if use_global_fusion else None
        self.null_word = nn.Parameter(torch.zeros(self.text_dim)) if use_local_fusion else None

    def portable_options(self) -> dict[str, Any]:
        """Options that build this network again, those of later versions' defaults included."""
        return {'type': type(self).__name__} | self._options

    @property
    def uses_text(self) -> bool:
        """False when both fusions are switched off."""
        return self.gfm is not None or self.lfms is not None

    @property
    @abstractmethod
    def margins(self) -> Margins:
        """What each part sees beyond itself, in coarsest features of 8 pixels; a 3x3 convolution sees 1 more."""

    @property
    @abstractmethod
    def footprint(self) -> Footprint:
        """Floats alive at once, of which those of a pixel are measured."""

    def forward(self, lq: Tensor, text: TextFeatures | None = None) -> Tensor:
        """Restore.

        Args:
            lq: compressed images (N, 3, H, W), RGB in [0, 1], any H and W from 8 up.
            text: features of the captions; None, or a row of `mask` all False, is the learned null condition.

        Returns:
            Restored images (N, 3, H, W), not clipped. With weights in half precision the features are too, and the
            images, as `lq`, may be float32.

        Raises:
            ValueError: when a shape does not fit.
        """
        text = self.prepare_text(lq, text)
        height, width = lq.shape[2:]
        x = pad_to_multiple(lq)
        skips = self.encode_fine(x)
        coarse = self.encode_coarse(skips)
        deep = self.fuse(coarse, text)
        return self.decode(x, skips, coarse, deep, text)[:, :, :height, :width]

    # The four parts: x (N, 3, H, W) with H and W in multiples of 8, text as `prepare_text` returns it.

    @abstractmethod
    def encode_fine(self, x: Tensor) -> list[Tensor]:
        """Skips of images, the finest first."""

    @abstractmethod
    def encode_coarse(self, skips: list[Tensor]) -> Tensor:
        """Coarsest features (N, 2C, H/8, W/8)."""

    def fuse(self, coarse: Tensor, text: TextFeatures | None, pooled: Tensor | None = None) -> Tensor:
        """Coarsest features after GFM and body; `pooled` (N, 2C) is GFM's of the whole image, if `coarse` is a part."""
        if self.gfm is not None:
            assert text is not None  # of `prepare_text`, where there is a GFM
            coarse = self.gfm(coarse, text.sentence) if pooled is None else self.gfm.fuse(coarse, pooled, text.sentence)
        return self.body(coarse)

    @abstractmethod
    def decode(self, x: Tensor, skips: list[Tensor], coarse: Tensor, deep: Tensor, text: TextFeatures | None) -> Tensor:
        """Restored images (N, 3, H, W) from what the other parts returned; may overwrite the skips."""

    def fuse_locally(self, index: int, x: Tensor, text: TextFeatures | None, *skips: Tensor) -> Tensor:
        """Concatenation of x (N, C, h, w), `skips`, and what LFM number `index` makes of x and the words."""
        parts = [x, *skips]
        if self.lfms is not None:
            assert text is not None  # of `prepare_text`, where there are LFMs
            parts.append(self.lfms[index](x, text.words, text.mask))
        return torch.cat(parts, dim=1) if len(parts) > 1 else x

    def prepare_text(self, lq: Tensor, text: TextFeatures | None) -> TextFeatures | None:
        """What the fusions read: `text` with the null condition where there is no caption.

        Args:
            lq: images (N, num_in_ch, H, W).
            text: features of their captions; None for none.

        Returns:
            Features in the precision of the weights; None if no text is used.

        Raises:
            ValueError: when a shape does not fit.
        """
        name = type(self).__name__
        if lq.ndim != 4 or lq.shape[1] != self.num_in_ch or min(lq.shape[2:]) < self.min_size:
            raise ValueError(f'{name} expects lq as (N, {self.num_in_ch}, H, W) with H and W at least {self.min_size}, '
                             f'but got {tuple(lq.shape)}.')
        if not self.uses_text:
            return None
        null = self.null_word if self.null_word is not None else self.null_sentence
        assert null is not None  # one for each fusion that is there
        dtype = null.dtype
        if text is None:
            text = TextFeatures.empty(lq.shape[0], self.text_dim, lq.device, dtype)
        expected = (lq.shape[0], self.text_dim)
        if tuple(text.words.shape[:2]) != expected or tuple(text.sentence.shape) != expected:
            raise ValueError(f'{name} expects words (N, D, T) and sentence (N, D) with (N, D) = {expected}, but got '
                             f'{tuple(text.words.shape)} and {tuple(text.sentence.shape)}; text_dim of the generator '
                             'and of the text encoder must agree.')
        if tuple(text.mask.shape) != (text.words.shape[0], text.words.shape[2]) or text.mask.dtype != torch.bool:
            raise ValueError(f'{name} expects mask (N, T) bool for words {tuple(text.words.shape)}, but got '
                             f'{tuple(text.mask.shape)} {text.mask.dtype}.')
        text = text.normalised() if self.text_norm else text
        return fill_missing(text.to(dtype), self.null_word, self.null_sentence)
