"""Reconstruction loss that counts a picture's error against its JPEG's, so that no quality rules; not of the paper."""

import torch
from torch import Tensor, nn


def relative_error(output: Tensor, gt: Tensor, lq: Tensor, floor: float = 1e-4) -> Tensor:
    """Squared error of every restored image, over that of its JPEG.

    L = MSE(output, gt) / max(MSE(lq, gt), floor)

    1 is no better than the JPEG, 0.5 is 3 dB better, 0 is the original. No gradient reaches the divisor.

    Args:
        output: (N, 3, H, W) restored RGB images, nominally in [0, 1].
        gt: uncompressed images in [0, 1], of the same shape.
        lq: compressed images in [0, 1], of the same shape.
        floor: least divisor, > 0: a JPEG of a smaller squared error, as a flat or hardly compressed crop, counts as if
            it had this one. 1e-4 is a PSNR of 40 dB.

    Returns:
        (N,) quotients.

    Raises:
        ValueError: when the shapes differ or are not (N, 3, H, W).
    """
    if output.ndim != 4 or not output.shape == gt.shape == lq.shape:
        raise ValueError('RelativeMSELoss needs output, gt and lq as (N, 3, H, W) of one shape, but got '
                         f'{tuple(output.shape)}, {tuple(gt.shape)} and {tuple(lq.shape)}.')
    with torch.no_grad():
        of_jpeg = (lq - gt).square().mean(dim=(1, 2, 3)).clamp(min=floor)
    return (output - gt).square().mean(dim=(1, 2, 3)) / of_jpeg


class RelativeMSELoss(nn.Module):
    """Mean over the batch of `relative_error`, times `loss_weight`; L_R for trainings on many qualities.

    The squared error of a JPEG file falls some 10 times from quality 1 to 40. With MSELoss or L1Loss a training on
    qualities 1 to 40 learns L_R from the worst files, and at the better ones L_C, which is a quotient already, rules.
    Here a share of the JPEG's error counts alike at every quality.

    A batch's value lies between 0 and about `loss_weight`, whatever the qualities. For the weight of MSELoss at one
    quality take that weight times the JPEG's squared error there (about .006 at quality 1, .0007 at 40).

    Args:
        loss_weight: factor of the loss.
        floor: least divisor; see `relative_error`.

    Raises:
        ValueError: when `floor` is not above 0.
    """

    def __init__(self, loss_weight: float = 1.0, floor: float = 1e-4) -> None:
        super().__init__()
        if not floor > 0:
            raise ValueError(f'floor must be above 0, or the loss is unbounded at files without loss; got {floor}.')
        self.loss_weight = loss_weight
        self.floor = floor

    def forward(self, output: Tensor, gt: Tensor, lq: Tensor) -> Tensor:
        """Loss of a batch, a scalar; arguments and errors as of `relative_error`."""
        return self.loss_weight * relative_error(output, gt, lq, self.floor).mean()
