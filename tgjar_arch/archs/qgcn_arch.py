"""QGCN, a residual network that is told the JPEG quantisation tables and sees the whole image as a thumbnail."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ScaledResidualBlock(nn.Module):
    """x + 0.1 (Conv3, ReLU, Conv3) without biases, (N, C, h, w) to the same.

    Args:
        num_feat: channels C.
        res_scale: factor of the residual path.
    """

    def __init__(self, num_feat: int, res_scale: float = 0.1) -> None:
        super().__init__()
        self.res_scale = res_scale
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res_scale * self.conv2(F.relu(self.conv1(x)))


def _global_branch() -> nn.Sequential:
    """Thumbnail (N, 3, 112, 112) to (N, 128, 7, 7): four times a halving and a plain convolution."""
    layers, width = [], 3
    for out in (32, 64, 128, 128):
        layers += [nn.Conv2d(width, out, 4, 2, 1), nn.ReLU(inplace=True),
                   nn.Conv2d(out, out, 3, 1, 1), nn.ReLU(inplace=True)]
        width = out
    return nn.Sequential(*layers)


class QGCN(nn.Module):
    """Quantisation- and globally-conditioned network, a baseline of the paper's tables.

    Li et al., "Learning a Single Model With a Wide Range of Quality Factors for JPEG Image Artifacts Removal", IEEE
    Transactions on Image Processing 29, 2020; names of the state dict as https://github.com/VDIGPKU/QGCN has them::

        lq, luma and chroma map (5, H, W)                         thumbnail (3, 112, 112)
         | Conv3-C                                                  | 8 convolutions, 2 linear layers
        C, H, W                                                     C, repeated to H/2, W/2
         | Conv4-C stride 2                                         v
        C, H/2, W/2 --> n/2 residual blocks, + identity ---------> cat --> Conv3-C --> n/2 residual blocks, + identity
                                                                                            | Conv3-C
        restored (3, H, W) <-- Conv3-3 <-- Conv3-4C, pixel shuffle <------------------------+

    With the defaults 12,305,472 parameters. The public code shifts all inputs and the output to [-1, 1]; here they are
    in [0, 1] as everywhere in BasicSR.

    Args:
        num_feat: channels C of the features.
        num_block: residual blocks n.
    """

    # Batch keys that TGJARModel hands over; the dataset makes them with quantisation_maps: true and thumbnail: 112.
    extra_inputs = ('qmaps', 'thumbnail')
    thumbnail_size = 112

    def __init__(self, num_feat: int = 64, num_block: int = 64) -> None:
        super().__init__()
        self.conv_global = _global_branch()
        self.conv_global_l = nn.Sequential(nn.Linear(128 * 7 * 7, 1024), nn.ReLU(inplace=True),
                                           nn.Linear(1024, num_feat))
        self.conv_input = nn.Conv2d(5, num_feat, 3, 1, 1, bias=False)
        self.downscale = nn.Sequential(nn.Conv2d(num_feat, num_feat, 4, 2, 1, bias=False), nn.ReLU(inplace=True))
        first = num_block // 2
        self.residual1 = nn.Sequential(*(ScaledResidualBlock(num_feat) for _ in range(first)))
        self.conv_res_mid = nn.Conv2d(2 * num_feat, num_feat, 3, 1, 1)
        self.residual2 = nn.Sequential(*(ScaledResidualBlock(num_feat) for _ in range(num_block - first)))
        self.conv_mid = nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False)
        self.upscale = nn.Sequential(nn.Conv2d(num_feat, 4 * num_feat, 3, 1, 1), nn.PixelShuffle(2))
        self.conv_output = nn.Conv2d(num_feat, 3, 3, 1, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, thumbnail: Tensor, qmaps: Tensor | None = None) -> Tensor:
        """Restore.

        Args:
            x: images, luma map and chroma map (N, 5, H, W) in [0, 1], any H and W; or, with `qmaps`, images alone
                (N, 3, H, W).
            thumbnail: the same images, whole, reduced to (N, 3, 112, 112), in [0, 1].
            qmaps: luma map and chroma map (N, 2, H, W), see `tgjar_arch.jpeg.tables.quantisation_maps`.

        Returns:
            Restored images (N, 3, H, W), not clipped.

        Raises:
            ValueError: when a shape does not fit.
        """
        shapes = [tuple(part.shape) for part in (x, qmaps, thumbnail) if part is not None]
        if qmaps is not None and x.shape[2:] == qmaps.shape[2:]:
            x = torch.cat([x, qmaps], dim=1)
        if x.ndim != 4 or x.shape[1] != 5 or thumbnail.shape != (x.shape[0], 3, *[self.thumbnail_size] * 2):
            raise ValueError('QGCN expects images (N, 3, H, W) with quantisation maps (N, 2, H, W), together (N, 5, H, '
                             f'W), and thumbnails (N, 3, 112, 112), but got {", ".join(map(str, shapes))}; the dataset '
                             'makes them with quantisation_maps: true and thumbnail: 112.')
        height, width = x.shape[2:]
        x = F.pad(x, (0, width % 2, 0, height % 2), mode='replicate')

        global_features = self.conv_global_l(self.conv_global(thumbnail).flatten(1))  # (N, C)
        x = self.downscale(self.conv_input(x))  # (N, C, H/2, W/2)
        x = x + self.residual1(x)
        global_features = global_features[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = F.relu(self.conv_res_mid(torch.cat([x, global_features], dim=1)))
        x = x + self.residual2(x)
        x = self.conv_output(self.upscale(self.conv_mid(x)))
        return x[:, :, :height, :width]
