"""A small sibling of TGJAR's generator for restoring on a CPU: the same interface at a quarter of the work."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tgjar_arch.archs.blocks import add_skip, initialise, upsample
from tgjar_arch.archs.text_guided_generator import Footprint, Margins, TextGuidedGenerator
from tgjar_arch.text.features import TextFeatures


class TGJARLiteGenerator(TextGuidedGenerator):
    """Text-guided generator that works on 4x4 blocks of pixels, so that nearly all of it is at H/4 and H/8.

    Not in the paper; GFM, LFM and resblock are those of `TGJARGenerator`, to which text encoders, losses and `tgjar
    export` see no difference. C = `num_feat`, F = `num_fine`::

        lq (3, H, W) ---------------------------- Conv3-F --------------------------+              restored = lq + tail
         | pixel unshuffle 4, Conv3-C                                               |                      ^
        C, H/4, W/4 ------------- add --> LFM 2 --> cat, Conv3-C --> Conv1-16F, --> add Conv3-F --> Conv3-3
         | Conv3-2C stride 2       ^ up                              pixel shuffle 4
        2C, H/8, W/8 --> GFM --> n resblock-2C --> LFM 1 --> cat with the GFM's input, Conv3-C

    A pixel shuffle that writes the image itself leaves a dot pattern of its own period, for each of the 16 pixels of a
    block comes from other weights. Here it writes features; two convolutions at full resolution, which are the same for
    every pixel and see `lq` too, make the image of them; and at first the 16 are equal (ICNR, Aitken et al.,
    https://arxiv.org/abs/1707.02937), so that training begins without the pattern. With the defaults 2.16 M parameters
    and 5.0 GFLOP for one 256x256 image.

    Args:
        num_in_ch: image channels.
        num_feat: width C at H/4; twice as much at H/8.
        num_block: residual blocks at H/8 after the GFM.
        num_fine: width F at full resolution.
        text_dim: dimension D of the text features.
        use_global_fusion: False leaves the GFM out.
        use_local_fusion: False leaves the two LFMs out.
        text_norm: as of `TGJARGenerator`.
    """

    pixel_block = 4

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, num_block: int = 4, num_fine: int = 16,
                 text_dim: int = 256, use_global_fusion: bool = True, use_local_fusion: bool = True,
                 text_norm: bool = True) -> None:
        super().__init__({'num_in_ch': num_in_ch, 'num_feat': num_feat, 'num_block': num_block, 'num_fine': num_fine,
                          'text_dim': text_dim, 'use_global_fusion': use_global_fusion,
                          'use_local_fusion': use_local_fusion, 'text_norm': text_norm})
        self.head = nn.Conv2d(16 * num_in_ch, num_feat, 3, 1, 1)
        self.down = nn.Conv2d(num_feat, 2 * num_feat, 3, 2, 1)
        self.add_fusion(2 * num_feat, num_block, (2 * num_feat, num_feat), use_global_fusion, use_local_fusion)

        fused = 2 if use_local_fusion else 1
        self.up = nn.Conv2d((fused + 1) * 2 * num_feat, num_feat, 3, 1, 1)
        self.mix = nn.Conv2d(fused * num_feat, num_feat, 3, 1, 1)
        self.expand = nn.Conv2d(num_feat, 16 * num_fine, 1)
        self.fine = nn.Conv2d(num_in_ch, num_fine, 3, 1, 1)
        self.refine = nn.Conv2d(num_fine, num_fine, 3, 1, 1, bias=False)  # added to `fine`, which has one
        self.tail = nn.Conv2d(num_fine, num_in_ch, 3, 1, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Kaiming initialisation, ICNR before the pixel shuffle; the last convolution starts small."""
        initialise(self)
        with torch.no_grad():
            self.expand.weight.copy_(self.expand.weight[::16].repeat_interleave(16, dim=0))
            self.tail.weight.mul_(0.1)

    @property
    def margins(self) -> Margins:
        """What each part below sees beyond itself, in coarsest features of 8 pixels, as of `TGJARGenerator`."""
        return Margins(encode=1, fuse=(self.gfm is not None) + 2 * len(self.body), decode=3)

    @property
    def footprint(self) -> Footprint:
        """Floats alive at once, of which those of a pixel are measured."""
        width = self.head.out_channels
        return Footprint(pixel=5 * self.fine.out_channels, skips=width // 8, coarse=2 * width)

    def encode_fine(self, x: Tensor) -> list[Tensor]:
        """Skip (N, C, H/4, W/4) of images."""
        return [self.act(self.head(F.pixel_unshuffle(x.to(self.head.weight.dtype), 4)))]

    def encode_coarse(self, skips: list[Tensor]) -> Tensor:
        """Coarsest features (N, 2C, H/8, W/8)."""
        return self.act(self.down(skips[-1]))

    def decode(self, x: Tensor, skips: list[Tensor], coarse: Tensor, deep: Tensor, text: TextFeatures | None) -> Tensor:
        """Restored images (N, 3, H, W) from what the other parts returned."""
        d2 = upsample(self.act(self.up(self.fuse_locally(0, deep, text, coarse))))
        d2 = add_skip(d2, skips[0])  # (N, C, H/4, W/4)
        d2 = self.act(self.mix(self.fuse_locally(1, d2, text)))
        d0 = F.pixel_shuffle(self.act(self.expand(d2)), 4)  # (N, F, H, W)
        d0 = self.act(add_skip(self.refine(d0), self.fine(x.to(self.fine.weight.dtype))))
        return x + self.tail(d0)
