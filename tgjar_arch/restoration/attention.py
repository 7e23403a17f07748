"""Word attention maps: which words of a caption the generator's local fusion (LFM) reads where in a picture.

    words, maps = word_attention(restorer, np.asarray(Image.open('bird.jpg').convert('RGB')), 'a small yellow bird')

`tgjar_arch.figures.attention` draws them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from tgjar_arch.archs.blocks import upsample
from tgjar_arch.archs.padding import enlarged
from tgjar_arch.archs.text_guided_generator import TextGuidedGenerator
from tgjar_arch.pictures.arrays import open_picture
from tgjar_arch.restoration.grid import Grid, aligned, check_grid, unaligned_tensor
from tgjar_arch.restoration.limits import ATTENTION_PIXELS
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.cleaning import clean

_SUBWORD_MARKS = ('##', '</w>', 'Ġ', '▁')  # of BERT, CLIP, GPT-2 and SentencePiece


class WordAttention(NamedTuple):
    """Attention of one picture.

    Attributes:
        words: the T words (of a pretrained text model: its sub-words) that the LFMs read, in the caption's order; whole
            words also where the vocabulary is of pieces.
        maps: (T, H, W) float32, one value for each pixel of the picture; their sum over T is 1.
    """

    words: list[str]
    maps: np.ndarray


def check_attention(restorer: Restorer) -> None:
    """Raises ValueError when the networks have no word attention: they take no text, or have no LFM."""
    if not restorer.takes_text or not isinstance(restorer.net_g, TextGuidedGenerator) or \
            restorer.net_g.lfms is None:
        why = 'was trained without local fusion (LFM)' if restorer.takes_text else 'takes no captions'
        raise ValueError(f'{restorer.name} {why}, and has no word attention; take weights of another network.')


def check_size(width: int, height: int) -> None:
    """Raises ValueError when a picture has more than `ATTENTION_PIXELS`."""
    if width * height > ATTENTION_PIXELS:
        raise ValueError(f'attention maps are computed for the picture in one piece, up to {ATTENTION_PIXELS:,} '
                         f'pixels, but it is {width} x {height}; cut a part out of the JPEG file, at multiples of 8 '
                         'pixels, or leave the maps out.')


def word_attention(restorer: Restorer, image: np.ndarray | Image.Image, caption: str,
                   scale: int | None = None, grid: Grid = (0, 0)) -> WordAttention:
    """Compute the attention of the LFMs (paper 3.2, Figure 3 (b)) for one picture.

    Args:
        restorer: the networks; the maps are computed in float32, whatever its dtype, to which its weights are rounded.
        image: (H, W, 3) uint8, RGB, or a PIL image, as the JPEG file stores it (not turned); of at most
            `ATTENTION_PIXELS`.
        caption: with at least one word that the tokenizer knows.
        scale: which LFM, 1 for the coarsest (of 8 x 8 pixels) and so on; None for the mean of all.
        grid: as of `Restorer`.

    Returns:
        Words and maps. A map lies on the picture where the decoder puts its features.

    Raises:
        ValueError: when the networks have no attention, the picture is too large, the caption has no known
            word, or there is no such LFM.
    """
    check_attention(restorer)
    net = restorer.net_g if restorer.dtype == torch.float32 else deepcopy(restorer.net_g).float()
    assert isinstance(net, TextGuidedGenerator) and net.lfms is not None  # as `check_attention` says
    if scale is not None and scale not in range(1, len(net.lfms) + 1):
        raise ValueError(f'scale must be 1 to {len(net.lfms)}, the LFMs of {restorer.name}, or None for their mean, '
                         f'but is {scale!r}.')
    check_grid(grid)
    opened = open_picture(image, 'word_attention').pixels
    check_size(opened.shape[1], opened.shape[0])
    pixels = np.ascontiguousarray(aligned(opened, grid))  # torch takes no negative strides
    height, width = pixels.shape[:2]
    text = restorer.encode([caption])
    assert text is not None  # `check_attention` has refused networks that take none
    read = text.mask[0]
    if not read.any():
        raise ValueError(f'the caption {caption[:60]!r} has no word that the tokenizer knows: there is no attention.')
    ids, _ = restorer.tokenizer.pad(restorer.tokenizer.encode(clean(caption)), restorer.max_words)
    groups = restorer.tokenizer.group(ids[read.cpu()].tolist())

    lq = torch.tensor(pixels, device=restorer.device).permute(2, 0, 1)[None] / 255.
    with torch.no_grad(), _recorded(net.lfms, read) as recorded:
        net(enlarged(lq).contiguous(memory_format=torch.channels_last), text)
    chosen = recorded if scale is None else [recorded[scale - 1]]
    total: Tensor | None = None
    for attention in chosen:
        on_picture = to_picture(attention.float(), (height, width), net)
        total = on_picture if total is None else total.add_(on_picture)
    assert total is not None  # there is at least one LFM
    maps, counts = unaligned_tensor(total[0] / len(chosen), grid), torch.tensor([count for _, count in groups])
    if counts.max() > 1:  # a word is read where its pieces are
        owners = torch.repeat_interleave(torch.arange(len(groups)), counts).to(maps.device)
        maps = maps.new_zeros(len(groups), *maps.shape[1:]).index_add_(0, owners, maps)
    return WordAttention([_readable(word) for word, _ in groups], maps.cpu().numpy())


def to_picture(attention: Tensor, size: tuple[int, int], net: TextGuidedGenerator) -> Tensor:
    """Bring maps of an LFM to the size of the picture, each value to where the decoder takes it.

    Args:
        attention: (N, T, h, w), of a picture that was padded to multiples of 8 pixels.
        size: height and width of the picture.
        net: the generator, whose grid it is.

    Returns:
        (N, T, H, W), interpolated linearly, so that sums over T stay what they are.
    """
    height, width = size
    # The lite generator's finest features stand for blocks of 4 x 4 pixels, and lie in their middle; apart from that
    # feature i lies at 2i of the next finer map, where a stride-2 convolution has taken it from.
    block = net.pixel_block
    fine = (height + -height % 8) // block
    while attention.shape[2] < fine:
        attention = upsample(attention)
    if block > 1:
        attention = F.interpolate(attention, scale_factor=block, mode='bilinear', align_corners=False)
    return attention[:, :, :height, :width]


@contextmanager
def _recorded(lfms: nn.ModuleList, read: Tensor) -> Iterator[list[Tensor]]:
    """The attention (1, T, h, w) of each LFM to the words `read`, in their order, once the network has run."""
    recorded: list[Tensor] = []

    def record(lfm: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        recorded.append(lfm.forward(*inputs, return_attention=True)[1][:, read])  # `forward` itself calls no hook

    hooks = [lfm.register_forward_hook(record) for lfm in lfms]
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()


def _readable(token: str) -> str:
    """A word or sub-word without the marks of its tokenizer."""
    for mark in _SUBWORD_MARKS:
        token = token.replace(mark, '')
    return token
