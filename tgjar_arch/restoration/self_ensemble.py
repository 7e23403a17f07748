"""Self-ensemble: the mean of what a network makes of a picture and of its mirror image.

Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017, section 3.4, where it is of
eight flips and rotations; https://arxiv.org/abs/1707.02921. Here of two: our weights have seen mirror images in
training, but no picture upside down. What both draw stays, and what each invents is halved, so PSNR rises and texture
is softer.

The picture is filled up to whole units of JPEG to the right, so that the grid of the blocks begins at the left edge of
the mirror image as well; both see the filled picture, which so counts alike in GFM's average.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tgjar_arch.archs.padding import enlarged
from tgjar_arch.jpeg.tables import BLOCK

UNIT = 16  # pixels: two blocks of luma, one of chroma at 4:2:0 and 4:2:2 (of the rare 4:1:1 half of one)

Parts = tuple[Callable[[slice, slice], Tensor], Callable[[slice, slice, Tensor], None], tuple[int, int]]


def restore_both(lq: Tensor, extra: Mapping[str, Tensor],
                 restore: Callable[[Tensor, Mapping[str, Tensor]], Tensor]) -> Tensor:
    """The mean of `restore` of the filled picture and the mirrored `restore` of its mirror image, cut to the width.

    Args:
        lq: images (N, 3, H, W).
        extra: what else the network is told of them: `qmaps`, `thumbnail` (`tgjar_arch.jpeg.tables`).
        restore: images and extra inputs to images of the same size, in [0, 1].
    """
    width = lq.shape[3]
    full = _full(width)
    filled = lq if full == width else F.pad(lq, (0, full - width, 0, 0), mode='replicate')
    own, mirrored = restore(filled, _extra_of(extra, full)), restore(filled.flip(3), _extra_of(extra, full, True))
    return (own + mirrored.flip(3))[..., :width] / 2


def _full(width: int) -> int:
    return width + -width % UNIT


def _extra_of(extra: Mapping[str, Tensor], width: int, mirrored: bool = False) -> dict[str, Tensor]:
    """Extra inputs of the filled picture. A mirror image has the same tables: only signs of coefficients change."""
    found = dict(extra)
    if 'qmaps' in found:
        found['qmaps'] = enlarged(found['qmaps'])[..., torch.arange(width, device=found['qmaps'].device) % BLOCK]
    if 'thumbnail' in found and mirrored:
        found['thumbnail'] = found['thumbnail'].flip(3)
    return found


def both_parts(read: Callable[[slice, slice], Tensor], write: Callable[[slice, slice, Tensor], None],
               size: tuple[int, int]) -> tuple[Parts, Parts]:
    """The mirror image and then the picture, as `restore_in_tiles` takes them; `write` gets the mean.

    What the mirror image became is kept until then as 16-bit integers, 6 bytes a pixel.

    Args:
        read, write, size: of one picture, as `restore_in_tiles` takes them.

    Returns:
        Twice (read, write, size), to be restored in this order, of one size, so that they have as many tiles.
    """
    height, width = size
    full = _full(width)
    kept = torch.empty(1, 3, height, width, dtype=torch.int16)

    def read_filled(rows: slice, columns: slice) -> Tensor:
        inside = slice(min(columns.start, width - 1), min(columns.stop, width))
        part = read(rows, inside)
        return F.pad(part, (0, columns.stop - columns.start - part.shape[3], 0, 0), mode='replicate')

    def write_mean(rows: slice, columns: slice, result: Tensor) -> None:
        columns = slice(columns.start, min(columns.stop, width))
        if columns.start < width:
            own = result[..., :columns.stop - columns.start].clamp(0, 1)
            write(rows, columns, (own + (kept[..., rows, columns].to(own) + 32768) / 65535) / 2)

    def mirrored(columns: slice) -> slice:
        return slice(full - columns.stop, full - columns.start)

    def read_mirrored(rows: slice, columns: slice) -> Tensor:
        return read_filled(rows, mirrored(columns)).flip(3)

    def keep_mirrored(rows: slice, columns: slice, result: Tensor) -> None:
        columns = mirrored(columns)
        columns = slice(columns.start, min(columns.stop, width))
        if columns.start < width:
            part = result.flip(3)[..., :columns.stop - columns.start].clamp(0, 1)
            kept[..., rows, columns] = (part * 65535 - 32768).round().to('cpu', torch.int16)

    return (read_mirrored, keep_mirrored, (height, full)), (read_filled, write_mean, (height, full))
