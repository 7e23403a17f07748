"""TGJAR's generator: a U-Net with residual blocks and image-text fusion (paper 3.1-3.2, appendix A.1)."""

import torch
from torch import Tensor, nn

from tgjar_arch.archs.blocks import ResidualBlock, add_skip, initialise, upsample
from tgjar_arch.archs.text_guided_generator import Footprint, Margins, TextGuidedGenerator
from tgjar_arch.text.features import TextFeatures


class TGJARGenerator(TextGuidedGenerator):
    """Text-guided generator: restores a JPEG-compressed image with the help of a caption.

    Jiang et al., "Multi-Modality Deep Network for JPEG Artifacts Reduction", IJCAI 2023, Figure 2. C = `num_feat`::

        lq (3, H, W)                                                                               restored = lq + tail
         | head                                                                                            ^
        C, H, W ------------------------------ add ------------------------------> Conv3-C/2 --> Conv3-3 --+
         | Conv3-C stride 2, resblock-C                                     ^ up
        C, H/2, W/2 -------------------------- add --> LFM 3 --> cat, Conv3-C
         | Conv3-2C stride 2, resblock-2C                        ^ up
        2C, H/4, W/4 ------------------------- add --> LFM 2 --> cat, Conv3-C
         | Conv3-2C stride 2, resblock-2C                        ^ up
        2C, H/8, W/8 --> GFM --> n resblock-2C --> LFM 1 --> cat with the GFM's input, Conv3-2C

    Where the paper's layer list (Figure 9) leaves room, the work is spent at low resolution: with the defaults 4.86 M
    parameters and 21.0 GFLOP for one 256x256 image. Each decoder step convolves before it upsamples, and text-guided
    local features are upsampled together with the image features they were fused into.

    Args:
        num_in_ch: image channels.
        num_feat: base width C.
        num_block: residual blocks at H/8 after the GFM.
        text_dim: dimension D of the text features.
        use_global_fusion: False leaves the GFM out (ablation, paper Table 3).
        use_local_fusion: False leaves the three LFMs out (ablation, paper Table 3).
        text_norm: True gives every word and sentence feature the same length before it is fused
            (`TextFeatures.normalised`), whatever the text encoder's are. Not in the paper, and False in weights that
            were exported before there was this choice.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, num_block: int = 9, text_dim: int = 256,
                 use_global_fusion: bool = True, use_local_fusion: bool = True, text_norm: bool = True) -> None:
        super().__init__({'num_in_ch': num_in_ch, 'num_feat': num_feat, 'num_block': num_block, 'text_dim': text_dim,
                          'use_global_fusion': use_global_fusion, 'use_local_fusion': use_local_fusion,
                          'text_norm': text_norm})
        self.head = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        self.down1 = nn.Conv2d(num_feat, num_feat, 3, 2, 1)
        self.block1 = ResidualBlock(num_feat)
        self.down2 = nn.Conv2d(num_feat, 2 * num_feat, 3, 2, 1)
        self.block2 = ResidualBlock(2 * num_feat)
        self.down3 = nn.Conv2d(2 * num_feat, 2 * num_feat, 3, 2, 1)
        self.block3 = ResidualBlock(2 * num_feat)

        self.add_fusion(2 * num_feat, num_block, (2 * num_feat, 2 * num_feat, num_feat), use_global_fusion,
                        use_local_fusion)

        fused = 2 if use_local_fusion else 1
        self.up1 = nn.Conv2d((fused + 1) * 2 * num_feat, 2 * num_feat, 3, 1, 1)
        self.up2 = nn.Conv2d(fused * 2 * num_feat, num_feat, 3, 1, 1)
        self.up3 = nn.Conv2d(fused * num_feat, num_feat, 3, 1, 1)
        self.refine = nn.Conv2d(num_feat, num_feat // 2, 3, 1, 1)
        self.tail = nn.Conv2d(num_feat // 2, num_in_ch, 3, 1, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Kaiming initialisation; the last convolution starts small, so that restored begins near lq."""
        initialise(self)
        with torch.no_grad():
            self.tail.weight.mul_(0.1)

    @property
    def margins(self) -> Margins:
        """What each part below sees beyond itself, in coarsest features of 8 pixels; a 3x3 convolution sees 1 more.

        `encode`: 36 pixels = 1 + 1 + 2 (2 + 1) + 4 (2 + 1) + 8 * 2, for head, down1, block1 and down2, ..., block3.
        `decode`: 25 pixels, over upsampling and the longest skip. The tests measure them.
        """
        return Margins(encode=5, fuse=(self.gfm is not None) + 2 * len(self.body), decode=4)

    @property
    def footprint(self) -> Footprint:
        """Floats alive at once, of which those of a pixel are measured: e0, d0 and what makes it."""
        width = self.head.out_channels
        return Footprint(pixel=3 * width, skips=2 * width, coarse=2 * width)

    def encode_fine(self, x: Tensor) -> list[Tensor]:
        """Skips (N, C, H, W), (N, C, H/2, W/2), (N, 2C, H/4, W/4) of images."""
        e0 = self.act(self.head(x.to(self.head.weight.dtype)))
        e1 = self.block1(self.act(self.down1(e0)))
        e2 = self.block2(self.act(self.down2(e1)))
        return [e0, e1, e2]

    def encode_coarse(self, skips: list[Tensor]) -> Tensor:
        """Coarsest features (N, 2C, H/8, W/8)."""
        return self.block3(self.act(self.down3(skips[-1])))

    def decode(self, x: Tensor, skips: list[Tensor], coarse: Tensor, deep: Tensor, text: TextFeatures | None) -> Tensor:
        """Restored images (N, 3, H, W) from what the other parts returned."""
        e0, e1, e2 = skips
        d2 = add_skip(upsample(self.act(self.up1(self.fuse_locally(0, deep, text, coarse)))), e2)  # (N, 2C, H/4, W/4)
        d1 = add_skip(upsample(self.act(self.up2(self.fuse_locally(1, d2, text)))), e1)  # (N, C, H/2, W/2)
        d0 = add_skip(upsample(self.act(self.up3(self.fuse_locally(2, d1, text)))), e0)  # (N, C, H, W)
        return x + self.tail(self.act(self.refine(d0)))
