"""What the default and the lite generator are both built of, apart from the fusion with text."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """The paper's resblock-C: two Conv3-C-1-1 and one PReLU around an identity, (N, C, h, w) to the same.

    Args:
        num_feat: channels C.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.act(self.conv1(x))).add_(x)  # in place: no gradient needs what conv2 returned


def initialise(net: nn.Module) -> None:
    """Kaiming initialisation of all convolutions; every residual path starts small, as in ESRGAN."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.2)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, ResidualBlock):
                module.conv2.weight.mul_(0.1)


def upsample(x: Tensor) -> Tensor:
    """(N, C, h, w) to (N, C, 2h, 2w), where feature i goes to 2i: there a stride-2 convolution has taken it from.

    The usual `align_corners=False` would put it at 2i + 0.5, after three steps 3.5 pixels off its JPEG block.
    """
    if torch.is_grad_enabled():  # the backward pass takes a third of the time so
        return _doubled(_doubled(x.permute(0, 2, 3, 1), 2), 1).permute(0, 3, 1, 2)
    height, width = x.shape[2:]
    # One feature more, repeated from the edge, before the interpolation: afterwards it would copy the larger map.
    # Concatenated, since F.pad makes of channels_last a contiguous map on CUDA.
    x = torch.cat((x, x[:, :, -1:]), dim=2)
    x = torch.cat((x, x[..., -1:]), dim=3)
    x = F.interpolate(x, size=(2 * height + 1, 2 * width + 1), mode='bilinear', align_corners=True)
    return x[:, :, :-1, :-1]


def _doubled(x: Tensor, dim: int) -> Tensor:
    """x with the mean of it and the next one after every feature along `dim`; after the last, the last itself."""
    after = torch.cat((x.narrow(dim, 1, x.shape[dim] - 1), x.narrow(dim, -1, 1)), dim)
    return torch.stack((x, (x + after) / 2), dim + 1).flatten(dim, dim + 1)


def add_skip(x: Tensor, skip: Tensor) -> Tensor:
    """x + skip; without gradients in the memory of `skip`, which must not be read any more."""
    return x + skip if torch.is_grad_enabled() else skip.add_(x)
