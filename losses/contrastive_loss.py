"""Perceptual contrastive loss L_C (paper, section 3.3): near the uncompressed image, far from the compressed one."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tgjar_arch.metrics.lpips import build_lpips, lpips_features, lpips_from_features


def contrastive_ratio(d_gt: Tensor, d_lq: Tensor, c: float = 0.1) -> Tensor:
    """L_C = d_gt / (d_lq + c), for every image (paper, eq. 5).

    Args:
        d_gt: (N,) distances of the restored images to the uncompressed ones, >= 0.
        d_lq: (N,) distances of the restored images to the compressed ones, >= 0.
        c: keeps the ratio finite where nothing was changed (d_lq = 0); 0.1 in the paper.

    Returns:
        (N,) ratios.
    """
    return d_gt / (d_lq + c)


class PerceptualContrastiveLoss(nn.Module):
    """Mean over the batch of LPIPS(output, gt) / (LPIPS(output, lq) + c), times `loss_weight` (paper, eq. 5).

    The trunk sees each image once, and keeps a graph for `output` alone: no gradient reaches `gt` or `lq`. It is
    frozen, stays in evaluation mode and computes in its own type (float32), under autocast too.

    Args:
        loss_weight: factor of the loss; lambda_1 = 0.01 in the paper.
        c: constant of eq. 5, > 0.
        net: LPIPS trunk, `alex` (the paper's), `vgg` or `squeeze`.
        pretrained: False leaves the trunk random (tests, dry runs).
        trunk_path: local file with the trunk's weights; None: see `tgjar_arch.metrics.lpips.build_lpips`.

    Raises:
        ValueError: for c <= 0, an unknown `net`, or weights that are not the trunk's.
    """

    def __init__(self, loss_weight: float = 1.0, c: float = 0.1, net: str = 'alex', pretrained: bool = True,
                 trunk_path: str | Path | None = None) -> None:
        super().__init__()
        if c <= 0:
            raise ValueError(f'c must be greater than 0, or L_C is unbounded where the output equals lq; got {c}.')
        self.loss_weight = loss_weight
        self.c = c
        self.lpips = build_lpips(net, pretrained, trunk_path)

    def train(self, mode: bool = True) -> 'PerceptualContrastiveLoss':
        """Switch this module only: LPIPS' heads have dropout and must stay in evaluation mode."""
        super().train(mode)
        self.lpips.eval()
        return self

    def distances(self, output: Tensor, gt: Tensor, lq: Tensor) -> tuple[Tensor, Tensor]:
        """LPIPS of every image to its two references.

        Args:
            output: (N, 3, H, W) restored RGB images. Nominally in [0, 1]; values beyond are used as they are, since
                clamping would cut the gradient that brings them back.
            gt: uncompressed images in [0, 1], of the same shape.
            lq: compressed images in [0, 1], of the same shape; or smaller by one whole number in both directions, as
                for super-resolution: they are then resized to the output's size (bicubic, clamped to [0, 1]).

        Returns:
            (N,) LPIPS(output, gt) and (N,) LPIPS(output, lq).

        Raises:
            ValueError: when the shapes differ, are not (N, 3, H, W), or are too small for the trunk.
        """
        if output.shape == gt.shape != lq.shape and output.ndim == lq.ndim == 4:
            lq = _enlarged(lq, output)
        if not output.shape == gt.shape == lq.shape:
            raise ValueError('PerceptualContrastiveLoss needs output, gt and lq of one shape, but got '
                             f'{tuple(output.shape)}, {tuple(gt.shape)} and {tuple(lq.shape)}.')
        dtype = next(self.lpips.parameters()).dtype
        with torch.autocast(output.device.type, enabled=False):
            with torch.no_grad():
                references = lpips_features(self.lpips, torch.cat([gt, lq]).to(dtype))
            features = lpips_features(self.lpips, output.to(dtype))
            d_gt, d_lq = (lpips_from_features(self.lpips, features, half)
                          for half in zip(*(layer.chunk(2) for layer in references), strict=True))
        return d_gt, d_lq

    def forward(self, output: Tensor, gt: Tensor, lq: Tensor) -> Tensor:
        """Loss of a batch, a scalar; arguments and errors as in `distances`."""
        return self.loss_weight * contrastive_ratio(*self.distances(output, gt, lq), self.c).mean()


def _enlarged(lq: Tensor, output: Tensor) -> Tensor:
    """lq (N, 3, h, w) in the size of the output, where that is a whole multiple of it; bicubic, in [0, 1].

    Raises:
        ValueError: it is none.
    """
    (height, width), (low, narrow) = output.shape[2:], lq.shape[2:]
    factor = height // low if low else 0
    if lq.shape[:2] != output.shape[:2] or factor < 2 or (low * factor, narrow * factor) != (height, width):
        raise ValueError(f"PerceptualContrastiveLoss needs lq of the output's size {tuple(output.shape)}, or smaller "
                         f'by one whole number in both directions, but got {tuple(lq.shape)}; resize it before: '
                         'torch.nn.functional.interpolate(lq, output.shape[2:], mode="bicubic").')
    return F.interpolate(lq, size=(height, width), mode='bicubic', align_corners=False).clamp(0, 1)
