"""TGJAR's generator: a U-Net with residual blocks and image-text fusion (paper 3.1-3.2, appendix A.1)."""

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from tgjar_arch.fusion import GlobalFusion, LocalFusion
from tgjar_arch.text_features import TextFeatures


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
        return x + self.conv2(self.act(self.conv1(x)))


@ARCH_REGISTRY.register()
class TGJARGenerator(nn.Module):
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
    parameters and 21.3 GFLOP for one 256x256 image. Each decoder step convolves before it upsamples, and text-guided
    local features are upsampled together with the image features they were fused into.

    Args:
        num_in_ch: image channels.
        num_feat: base width C.
        num_block: residual blocks at H/8 after the GFM.
        text_dim: dimension D of the text features.
        use_global_fusion: False leaves the GFM out (ablation, paper Table 3).
        use_local_fusion: False leaves the three LFMs out (ablation, paper Table 3).
    """

    min_size = 8  # pixels a side; three halvings leave one feature

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, num_block: int = 9, text_dim: int = 256,
                 use_global_fusion: bool = True, use_local_fusion: bool = True) -> None:
        super().__init__()
        self.num_in_ch = num_in_ch
        self.text_dim = text_dim
        self.act = nn.LeakyReLU(0.2)

        self.head = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        self.down1 = nn.Conv2d(num_feat, num_feat, 3, 2, 1)
        self.block1 = ResidualBlock(num_feat)
        self.down2 = nn.Conv2d(num_feat, 2 * num_feat, 3, 2, 1)
        self.block2 = ResidualBlock(2 * num_feat)
        self.down3 = nn.Conv2d(2 * num_feat, 2 * num_feat, 3, 2, 1)
        self.block3 = ResidualBlock(2 * num_feat)

        self.gfm = GlobalFusion(2 * num_feat, text_dim) if use_global_fusion else None
        self.body = nn.Sequential(*(ResidualBlock(2 * num_feat) for _ in range(num_block)))

        widths = (2 * num_feat, 2 * num_feat, num_feat)
        self.lfms = nn.ModuleList(LocalFusion(width, text_dim) for width in widths) if use_local_fusion else None
        # Learned stand-ins for a missing caption; only for the modules that would read them.
        self.null_sentence = nn.Parameter(torch.zeros(text_dim)) if use_global_fusion else None
        self.null_word = nn.Parameter(torch.zeros(text_dim)) if use_local_fusion else None

        fused = 2 if use_local_fusion else 1
        self.up1 = nn.Conv2d((fused + 1) * 2 * num_feat, 2 * num_feat, 3, 1, 1)
        self.up2 = nn.Conv2d(fused * 2 * num_feat, num_feat, 3, 1, 1)
        self.up3 = nn.Conv2d(fused * num_feat, num_feat, 3, 1, 1)
        self.refine = nn.Conv2d(num_feat, num_feat // 2, 3, 1, 1)
        self.tail = nn.Conv2d(num_feat // 2, num_in_ch, 3, 1, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Kaiming initialisation; every residual path starts small (as ESRGAN), so that restored begins near lq."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.2)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, ResidualBlock):
                    module.conv2.weight.mul_(0.1)
            self.tail.weight.mul_(0.1)

    @property
    def uses_text(self) -> bool:
        """False when both fusions are switched off."""
        return self.gfm is not None or self.lfms is not None

    def fill_missing(self, text: TextFeatures) -> TextFeatures:
        """Put the learned null condition where a caption has no word, so that `mask` is True at least once a row."""
        empty = ~text.mask.any(dim=1)  # (N,)
        words, sentence, mask = text
        first = torch.arange(mask.shape[1], device=mask.device) == 0  # (T,)
        mask = mask | (empty[:, None] & first)
        if self.null_word is not None:
            words = torch.where(empty[:, None, None], self.null_word.to(words.dtype)[:, None], words)
        if self.null_sentence is not None:
            sentence = torch.where(empty[:, None], self.null_sentence.to(sentence.dtype), sentence)
        return TextFeatures(words, sentence, mask)

    def _check(self, lq: Tensor, text: TextFeatures | None) -> None:
        if lq.ndim != 4 or lq.shape[1] != self.num_in_ch or min(lq.shape[2:]) < self.min_size:
            raise ValueError(f'TGJARGenerator expects lq as (N, {self.num_in_ch}, H, W) with H and W at least '
                             f'{self.min_size}, but got {tuple(lq.shape)}.')
        if text is None or not self.uses_text:
            return
        expected = (lq.shape[0], self.text_dim)
        if tuple(text.words.shape[:2]) != expected or tuple(text.sentence.shape) != expected:
            raise ValueError(f'TGJARGenerator expects words (N, D, T) and sentence (N, D) with (N, D) = {expected}, '
                             f'but got {tuple(text.words.shape)} and {tuple(text.sentence.shape)}; text_dim of the '
                             'generator and of the text encoder must agree.')
        if tuple(text.mask.shape) != (text.words.shape[0], text.words.shape[2]) or text.mask.dtype != torch.bool:
            raise ValueError(f'TGJARGenerator expects mask (N, T) bool for words {tuple(text.words.shape)}, but got '
                             f'{tuple(text.mask.shape)} {text.mask.dtype}.')

    def _local(self, index: int, x: Tensor, text: TextFeatures, *skips: Tensor) -> Tensor:
        parts = [x, *skips]
        if self.lfms is not None:
            parts.append(self.lfms[index](x, text.words, text.mask))
        return torch.cat(parts, dim=1) if len(parts) > 1 else x

    @staticmethod
    def _up(x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C, 2h, 2w), where feature i goes to 2i: there a stride-2 convolution has taken it from.

        The usual `align_corners=False` would put it at 2i + 0.5, after three steps 3.5 pixels off its JPEG block.
        """
        height, width = x.shape[2:]
        x = F.interpolate(x, size=(2 * height - 1, 2 * width - 1), mode='bilinear', align_corners=True)
        return F.pad(x, (0, 1, 0, 1), mode='replicate')

    def forward(self, lq: Tensor, text: TextFeatures | None = None) -> Tensor:
        """Restore.

        Args:
            lq: compressed images (N, 3, H, W), RGB in [0, 1], any H and W from 8 up.
            text: features of the captions; None, or a row of `mask` all False, is the learned null condition.

        Returns:
            Restored images (N, 3, H, W), not clipped.

        Raises:
            ValueError: when a shape does not fit.
        """
        self._check(lq, text)
        if self.uses_text:
            if text is None:
                text = TextFeatures.empty(lq.shape[0], self.text_dim, lq.device, lq.dtype)
            text = self.fill_missing(text)

        height, width = lq.shape[2:]
        # On JPEG's own 8x8 grid: padding to the right and the bottom leaves every block where it is.
        x = F.pad(lq, (0, -width % 8, 0, -height % 8), mode='reflect')

        e0 = self.act(self.head(x))  # (N, C, H, W)
        e1 = self.block1(self.act(self.down1(e0)))  # (N, C, H/2, W/2)
        e2 = self.block2(self.act(self.down2(e1)))  # (N, 2C, H/4, W/4)
        e3 = self.block3(self.act(self.down3(e2)))  # (N, 2C, H/8, W/8)

        d3 = e3 if self.gfm is None else self.gfm(e3, text.sentence)
        d3 = self.body(d3)
        d2 = self._up(self.act(self.up1(self._local(0, d3, text, e3)))) + e2  # (N, 2C, H/4, W/4)
        d1 = self._up(self.act(self.up2(self._local(1, d2, text)))) + e1  # (N, C, H/2, W/2)
        d0 = self._up(self.act(self.up3(self._local(2, d1, text)))) + e0  # (N, C, H, W)
        x = x + self.tail(self.act(self.refine(d0)))
        return x[:, :, :height, :width]
