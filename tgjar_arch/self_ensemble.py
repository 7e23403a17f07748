"""Self-ensemble: the mean of what a network makes of a picture and of its mirror image.

Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017, section 3.4, where it is of
eight flips and rotations; https://arxiv.org/abs/1707.02921. Here of two: our weights have seen mirror images in
training, but no picture upside down. What both draw stays, and what each invents is halved, so PSNR rises and texture
is softer.

A picture is filled up to JPEG's units of 16 pixels before it is mirrored, so that the grid of its blocks begins at the
left edge of the mirror image as well.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

UNIT = 16  # pixels: the blocks of chroma at 4:2:0, two of luma

Parts = tuple[Callable[[slice, slice], Tensor], Callable[[slice, slice, Tensor], None], tuple[int, int]]


def restore_both(lq: Tensor, restore: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean of `restore(lq)` and of the mirrored `restore` of the mirrored lq.

    Args:
        lq: images (N, 3, H, W).
        restore: images to images of the same size, in [0, 1].
    """
    width = lq.shape[3]
    filled = F.pad(lq, (0, -width % UNIT, 0, 0), mode='replicate')
    return (restore(filled) + restore(filled.flip(3)).flip(3))[..., :width] / 2


def both_parts(read: Callable[[slice, slice], Tensor], write: Callable[[slice, slice, Tensor], None],
               size: tuple[int, int]) -> tuple[Parts, Parts]:
    """The mirror image and then the picture, as `restore_in_tiles` takes them; `write` gets the mean.

    What the mirror image became is kept until then in half precision, 6 bytes a pixel, whose steps are below an eighth
    of a grey level.

    Args:
        read, write, size: of one picture, as `restore_in_tiles` takes them.

    Returns:
        Twice (read, write, size), to be restored in this order, of one size, so that they have as many tiles.
    """
    height, width = size
    full = width + -width % UNIT
    kept = torch.empty(1, 3, height, width, dtype=torch.float16)

    def read_filled(rows: slice, columns: slice) -> Tensor:
        inside = slice(min(columns.start, width - 1), min(columns.stop, width))
        part = read(rows, inside)
        return F.pad(part, (0, columns.stop - columns.start - part.shape[3], 0, 0), mode='replicate')

    def write_mean(rows: slice, columns: slice, result: Tensor) -> None:
        columns = slice(columns.start, min(columns.stop, width))
        if columns.start < width:
            own = result[..., :columns.stop - columns.start].clamp(0, 1)
            write(rows, columns, (own + kept[..., rows, columns].to(own)) / 2)

    def mirrored(columns: slice) -> slice:
        return slice(full - columns.stop, full - columns.start)

    def read_mirrored(rows: slice, columns: slice) -> Tensor:
        return read_filled(rows, mirrored(columns)).flip(3)

    def keep_mirrored(rows: slice, columns: slice, result: Tensor) -> None:
        columns = mirrored(columns)
        columns = slice(columns.start, min(columns.stop, width))
        if columns.start < width:
            kept[..., rows, columns] = result.flip(3)[..., :columns.stop - columns.start].clamp(0, 1).cpu()

    return (read_mirrored, keep_mirrored, (height, full)), (read_filled, write_mean, (height, full))
