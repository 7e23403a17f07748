"""TGJAR's discriminator (paper appendix A.1, Figure 9 (b)): tells a restored image from an uncompressed one."""

from torch import Tensor, nn


class TGJARDiscriminator(nn.Module):
    """Convolutions, batch normalisation and global average pooling; one logit an image, any image size.

    The paper takes SRGAN's GAN loss (https://arxiv.org/abs/1609.04802); the layer list follows SRGAN's discriminator,
    with global average pooling in the place of its size-bound fully connected layer::

        Conv3-C -- [Conv3-C /2] -- [Conv3-2C] -- [Conv3-2C /2] -- ... -- [Conv3-8C /2] -- GAP -- FC -- LReLU -- FC

    where /2 is stride 2 and [.] is followed by BN; LeakyReLU(0.2) after every convolution. There is no sigmoid at the
    end: BasicSR's `GANLoss(gan_type='vanilla')` takes logits.

    Args:
        num_in_ch: image channels.
        num_feat: base width C.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(num_in_ch, num_feat, 3, 1, 1), nn.LeakyReLU(0.2, inplace=True)]
        width_in = num_feat
        for width, stride in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)):
            width_out = width * num_feat
            # BN has its own offset, so a bias before it would be dead.
            layers += [nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False), nn.BatchNorm2d(width_out),
                       nn.LeakyReLU(0.2, inplace=True)]
            width_in = width_out
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(width_in, 16 * num_feat), nn.LeakyReLU(0.2, inplace=True), nn.Linear(16 * num_feat, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 1), positive for "uncompressed", of images x (N, 3, H, W), RGB in [0, 1]."""
        return self.classifier(self.features(x).mean(dim=(2, 3)))
