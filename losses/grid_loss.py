"""Loss on what a restorer draws at the same place of every block of the JPEG grid; not of the paper."""

from torch import Tensor, nn
from torch.nn import functional as F

from tgjar_arch.jpeg.tables import BLOCK


def grid_pattern_error(output: Tensor, gt: Tensor, blocks: int = 6) -> Tensor:
    """Mean square of the pattern of 8x8 pixels in the error of a restored image.

    Over a region of `blocks` x `blocks` blocks of the JPEG grid, the error e = output - gt is averaged at each of the
    64 places p of a block, and the region's own mean is taken off; what is left repeats from block to block::

        L = mean over regions, colours and p of (m_p - mean_q m_q)^2,    m_p = mean over the region's blocks b of e_b,p

    The regions begin at every block, so they overlap. Texture that does not repeat averages out of it: of errors
    without a pattern, independent from pixel to pixel, 1 / `blocks`^2 of the variance is left.

    Args:
        output: (N, 3, H, W) restored RGB images, nominally in [0, 1]; the JPEG's grid begins at their corner.
        gt: uncompressed images in [0, 1], of the same shape.
        blocks: side of a region, in blocks; in smaller images the region is as large as they are. Blocks that the
            right and the lower edge cut are left out.

    Returns:
        (N,) errors.

    Raises:
        ValueError: when the shapes differ, are not (N, 3, H, W), or a side is below 8.
    """
    if output.ndim != 4 or output.shape[1] != 3 or output.shape != gt.shape:
        raise ValueError('GridPatternLoss needs output and gt as (N, 3, H, W) of one shape, but got '
                         f'{tuple(output.shape)} and {tuple(gt.shape)}.')
    rows, columns = (side // BLOCK for side in output.shape[2:])
    if not rows or not columns:
        raise ValueError(f'GridPatternLoss needs sides of {BLOCK} pixels or more, but got {tuple(output.shape)}.')
    error = (output - gt)[..., :rows * BLOCK, :columns * BLOCK]
    places = F.pixel_unshuffle(error, BLOCK)  # (N, 3 * 64, rows, columns): a channel is a colour at one place
    means = F.avg_pool2d(places, (min(blocks, rows), min(blocks, columns)), stride=1).unflatten(1, (3, BLOCK**2))
    return means.var(dim=2, correction=0).mean(dim=(1, 2, 3))


class GridPatternLoss(nn.Module):
    """Mean over the batch of `grid_pattern_error`, times `loss_weight`; keeps flat parts free of a faint grid of dots.

    L_C rewards texture where the JPEG kept none, and what is drawn then tends to follow the JPEG's blocks. In L_R this
    hardly counts beside the errors of the picture itself, which this loss averages away.

    Args:
        loss_weight: factor of the loss.
        blocks: side of the regions that are averaged, in blocks of 8x8 pixels.

    Raises:
        ValueError: when `blocks` is below 1.
    """

    def __init__(self, loss_weight: float = 1.0, blocks: int = 6) -> None:
        super().__init__()
        if blocks < 1:
            raise ValueError(f'blocks must be 1 or more, but is {blocks}.')
        self.loss_weight = loss_weight
        self.blocks = blocks

    def forward(self, output: Tensor, gt: Tensor) -> Tensor:
        """Loss of a batch, a scalar; arguments and errors as of `grid_pattern_error`."""
        return self.loss_weight * grid_pattern_error(output, gt, self.blocks).mean()
