"""RNAN, a residual network whose features are gated by local and non-local attention masks."""

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

_MAX_SCORES = 2**25  # scores of one attention step: 128 MiB in float32


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a ReLU around an identity, (N, C, h, w) to the same."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 3, 1, 1), nn.ReLU(inplace=True), nn.Conv2d(num_feat, num_feat, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class NonLocalBlock(nn.Module):
    """Every pixel i adds what all pixels j hold, weighted by how their embeddings fit::

        out_i = x_i + W sum_j a_ij g(x_j),    a_ij = exp(theta_i . phi_j) / sum_k exp(theta_k . phi_j)

    The sum of the softmax is over the receiving pixels, as in the public code; the paper's equation 5 sums over j. The
    two differ, and published weights need the former. It is computed for some columns j at a time, which gives the same
    values but needs no matrix of pixels times pixels (17 GB for one image of 256x256).

    Args:
        num_feat: channels C; the embeddings have C / 2.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.g = nn.Conv2d(num_feat, num_feat // 2, 1)
        self.W = nn.Conv2d(num_feat // 2, num_feat, 1)
        self.theta = nn.Conv2d(num_feat, num_feat // 2, 1)
        self.phi = nn.Conv2d(num_feat, num_feat // 2, 1)
        # The block begins as an identity.
        for parameter in self.W.parameters():
            nn.init.zeros_(parameter)

    @staticmethod
    def _attend(theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        scores = theta.transpose(1, 2) @ phi  # (N, pixels i, some pixels j)
        return g @ scores.softmax(dim=1).transpose(1, 2)  # (N, C/2, pixels i)

    def forward(self, x: Tensor) -> Tensor:
        theta, phi, g = (layer(x).flatten(2) for layer in (self.theta, self.phi, self.g))  # (N, C/2, pixels)
        step = max(1, _MAX_SCORES // (theta.shape[0] * theta.shape[2]))
        parts = list(zip(phi.split(step, dim=2), g.split(step, dim=2), strict=True))
        if len(parts) > 1 and torch.is_grad_enabled():
            # Kept for the backward pass, the parts would be the whole matrix again.
            sums = (checkpoint(self._attend, theta, *part, use_reentrant=False) for part in parts)
        else:
            sums = (self._attend(theta, *part) for part in parts)
        out = reduce(torch.add, sums)
        return x + self.W(out.reshape(x.shape[0], -1, *x.shape[2:]))


class MaskBranch(nn.Module):
    """Attention mask in (0, 1) for every channel and pixel, from a view twice as wide: (N, C, h, w), h and w even."""

    def __init__(self, num_feat: int, non_local: bool) -> None:
        super().__init__()
        head = [NonLocalBlock(num_feat)] if non_local else []
        self.MB_RB1 = nn.Sequential(*head, ResidualBlock(num_feat))
        self.MB_Down = nn.Sequential(nn.Conv2d(num_feat, num_feat, 3, 2, 1))
        self.MB_RB2 = nn.Sequential(ResidualBlock(num_feat), ResidualBlock(num_feat))
        self.MB_Up = nn.Sequential(nn.ConvTranspose2d(num_feat, num_feat, 6, 2, 2))
        self.MB_RB3 = nn.Sequential(ResidualBlock(num_feat))
        self.MB_1x1conv = nn.Sequential(nn.Conv2d(num_feat, num_feat, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.MB_RB1(x)
        wide = self.MB_Up(self.MB_RB2(self.MB_Down(x)))
        return torch.sigmoid(self.MB_1x1conv(self.MB_RB3(x + wide)))


class Trunk(nn.Module):
    """The features that the mask is laid on: two residual blocks."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ResidualBlock(num_feat), ResidualBlock(num_feat))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class AttentionBlock(nn.Module):
    """RAB: x = block(x), then trunk(x) * mask(x) + x, then two more blocks; (N, C, h, w) to the same."""

    def __init__(self, num_feat: int, non_local: bool) -> None:
        super().__init__()
        self.RA_RB1 = nn.Sequential(ResidualBlock(num_feat))
        self.RA_TB = nn.Sequential(Trunk(num_feat))
        self.RA_MB = nn.Sequential(MaskBranch(num_feat, non_local))
        self.RA_tail = nn.Sequential(ResidualBlock(num_feat), ResidualBlock(num_feat))

    def forward(self, x: Tensor) -> Tensor:
        x = self.RA_RB1(x)
        return self.RA_tail(self.RA_TB(x) * self.RA_MB(x) + x)


class Group(nn.Module):
    """An attention block and a 3x3 convolution."""

    def __init__(self, num_feat: int, non_local: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(AttentionBlock(num_feat, non_local), nn.Conv2d(num_feat, num_feat, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class RNAN(nn.Module):
    """Residual non-local attention network, a baseline of the paper's tables.

    Zhang et al., "Residual Non-local Attention Networks for Image Restoration", ICLR 2019; names of the state dict as
    https://github.com/yulunzhang/RNAN has them, so that its weights load::

        lq --> Conv3 --> non-local group --> groups, Conv3 --> non-local group --> Conv3 --> + lq

    With the defaults 8,959,555 parameters. Attention costs time with the square of the number of pixels: train on small
    crops (48x48 in its paper), and expect minutes for one 256x256 image on a CPU.

    Args:
        num_in_ch: image channels.
        num_feat: channels C of the features, even.
        num_group: groups, the first and the last of them non-local; 2 or more.

    Raises:
        ValueError: when an argument is not as said.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, num_group: int = 10) -> None:
        super().__init__()
        if num_group < 2 or num_feat < 2 or num_feat % 2:
            raise ValueError('RNAN needs num_group of 2 or more and an even num_feat, but got num_group '
                             f'{num_group} and num_feat {num_feat}.')
        self.num_in_ch = num_in_ch
        self.head = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 3, 1, 1))
        self.body_nl_low = nn.Sequential(Group(num_feat, non_local=True))
        self.body = nn.Sequential(*(Group(num_feat) for _ in range(num_group - 2)),
                                  nn.Conv2d(num_feat, num_feat, 3, 1, 1))
        self.body_nl_high = nn.Sequential(Group(num_feat, non_local=True))
        self.tail = nn.Sequential(nn.Conv2d(num_feat, num_in_ch, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Restore images (N, num_in_ch, H, W), in [0, 1], of any size; the result has the same shape, not clipped.

        Raises:
            ValueError: when the shape does not fit.
        """
        if x.ndim != 4 or x.shape[1] != self.num_in_ch:
            raise ValueError(f'RNAN expects images (N, {self.num_in_ch}, H, W), but got {tuple(x.shape)}.')
        height, width = x.shape[2:]
        x = F.pad(x, (0, width % 2, 0, height % 2), mode='replicate')  # the mask is halved and doubled
        x = x + self.tail(self.body_nl_high(self.body(self.body_nl_low(self.head(x)))))
        return x[:, :, :height, :width]
