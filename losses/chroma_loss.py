"""Loss on the mean colours of JPEG's chroma blocks, which quality 1 loses and captions tell; not of the paper."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Cb and Cr of JFIF (ITU-T T.871, section 7), without the offset of 128, rows over R, G, B.
_RGB_TO_CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def chroma_block_error(output: Tensor, gt: Tensor, block: int = 16) -> Tensor:
    """Mean squared error of the blocks' mean Cb and Cr: L = mean_b |m_b(output) - m_b(gt)|^2 / 2.

    Args:
        output: (N, 3, H, W) restored RGB images, nominally in [0, 1].
        gt: uncompressed images in [0, 1], of the same shape.
        block: side of a block in pixels. 16 is what one chroma block of 8x8 covers with 4:2:0; of it JPEG at quality 1
            keeps the mean alone, in steps of 32/255. The blocks start at the image's upper left corner, as JPEG's do;
            those cut by its edge are taken as they are.

    Returns:
        (N,) errors.

    Raises:
        ValueError: when the shapes differ or are not (N, 3, H, W).
    """
    if output.ndim != 4 or output.shape[1] != 3 or output.shape != gt.shape:
        raise ValueError('ChromaBlockLoss needs output and gt as (N, 3, H, W) of one shape, but got '
                         f'{tuple(output.shape)} and {tuple(gt.shape)}.')
    # Both steps are linear: the difference goes through them once, the mean first, which leaves little to convert.
    means = F.avg_pool2d(output - gt, block, ceil_mode=True, count_include_pad=False)  # (N, 3, ceil(H/16), ceil(W/16))
    red, green, blue = means.unbind(1)
    # Plain numbers: a tensor of them would be sent to the GPU, which waits for it, in every iteration.
    chroma = [r * red + g * green + b * blue for r, g, b in _RGB_TO_CHROMA]
    return torch.stack(chroma, dim=1).square().mean(dim=(1, 2, 3))


class ChromaBlockLoss(nn.Module):
    """Mean over the batch of `chroma_block_error`, times `loss_weight`; draws the training to colours, and so to text.

    Of the error of a picture restored from quality 1, texture that no caption tells is the larger part, in L_R and L_C
    alike. This loss does not see it.

    Args:
        loss_weight: factor of the loss.
        block: side of a block in pixels.
    """

    def __init__(self, loss_weight: float = 1.0, block: int = 16) -> None:
        super().__init__()
        if block < 1:
            raise ValueError(f'block must be 1 or more pixels, but is {block}.')
        self.loss_weight = loss_weight
        self.block = block

    def forward(self, output: Tensor, gt: Tensor) -> Tensor:
        """Loss of a batch, a scalar; arguments and errors as of `chroma_block_error`."""
        return self.loss_weight * chroma_block_error(output, gt, self.block).mean()
