"""Image-text fusion of the generator: GFM (global) and LFM (local), paper 3.2 and Figure 3."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GlobalFusion(nn.Module):
    """Image-text global fusion module (GFM): the sentence and the pooled image colour every position alike.

    Paper 3.2, Figure 3 (a)::

        x (N, C, h, w) -- Conv3-C -- GAP --+
                                           cat -- FC -- FC -- repeat (N, C, h, w) --+
        sentence (N, D) -------------------+                                        cat -- Conv3-C -- (N, C, h, w)
        x ------------------------------------------------------------------------- +

    Args:
        num_feat: channels C of the image features.
        text_dim: dimension D of the sentence feature.
    """

    def __init__(self, num_feat: int = 128, text_dim: int = 256) -> None:
        super().__init__()
        self.conv_global = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        # The paper names two FC layers and no activation; without one between them they would collapse into a single
        # one.
        self.fc = nn.Sequential(
            nn.Linear(num_feat + text_dim, num_feat), nn.LeakyReLU(0.2), nn.Linear(num_feat, num_feat))
        self.conv_fuse = nn.Conv2d(2 * num_feat, num_feat, 3, 1, 1)

    def pool(self, x: Tensor) -> Tensor:
        """Global image features (N, C) of x (N, C, h, w), before the text comes in."""
        return self.conv_global(x).mean(dim=(2, 3))

    def fuse(self, x: Tensor, pooled: Tensor, sentence: Tensor) -> Tensor:
        """Text-guided global features (N, C, h, w) from x, its `pool`ed features (N, C) and the sentence (N, D)."""
        fused = self.fc(torch.cat((pooled.to(x.dtype), sentence), dim=1))  # (N, C)
        # The convolution of cat(x, repeated) is the sum of two, and that of a constant map is constant but at the
        # border: computed for 3x3 positions, it is known everywhere, at half the work and without the concatenation.
        weight, weight_repeated = self.conv_fuse.weight.split(x.shape[1], dim=1)
        corners = fused[:, :, None, None].expand(-1, -1, *(min(size, 3) for size in x.shape[2:]))
        corners = F.conv2d(corners, weight_repeated, self.conv_fuse.bias, padding=1)  # (N, C, 3, 3)
        repeated = self._repeat_middle(self._repeat_middle(corners, 2, x.shape[2]), 3, x.shape[3])
        return F.conv2d(x, weight, padding=1) + repeated

    @staticmethod
    def _repeat_middle(x: Tensor, dim: int, size: int) -> Tensor:
        """x with the middle one of its three positions along `dim` repeated to make `size`; as it is up to 3."""
        if size <= 3:
            return x
        first, middle, last = x.split(1, dim)
        # Not by indices: on the CPU their gradient is added up in x's own type, and in bfloat16 most of it is lost.
        sizes = [-1] * x.ndim
        sizes[dim] = size - 2
        return torch.cat((first, middle.expand(sizes), last), dim)

    def forward(self, x: Tensor, sentence: Tensor) -> Tensor:
        return self.fuse(x, self.pool(x), sentence)


class LocalFusion(nn.Module):
    """Image-text local fusion module (LFM): every position attends to the words that describe it.

    Paper 3.2, Figure 3 (b); the attention is AttnGAN's (https://arxiv.org/abs/1711.10485, eq. 9): a 1x1 convolution
    brings the words to the image's channels, the correlation of position p and word t gives the attention map, and

        context_p = sum_t softmax_t(<x_p, U w_t>) U w_t.

    The result has the size of `x`; the generator's decoder upsamples it together with the image features (resampling is
    linear and channel-wise, so this equals upsampling it here, at a quarter of the work).

    Args:
        num_feat: channels C of the image features.
        text_dim: dimension D of the word features.
    """

    def __init__(self, num_feat: int, text_dim: int = 256) -> None:
        super().__init__()
        self.conv_word = nn.Conv1d(text_dim, num_feat, 1)

    def forward(self, x: Tensor, words: Tensor, mask: Tensor,
                return_attention: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Fuse.

        Args:
            x: image features (N, C, h, w).
            words: word features (N, D, T).
            mask: (N, T) bool, True at a real word; at least one per row.
            return_attention: also return the attention map.

        Returns:
            Text-guided local features (N, C, h, w); with `return_attention` also the attention (N, T, h, w), whose sum
            over T is 1.
        """
        n, c, h, w = x.shape
        # Zeroed before the projection and masked after it: whatever stands in a padded word, even NaN, stays out.
        words = words.masked_fill(~mask[:, None], 0)
        keys = self.conv_word(words)  # (N, C, T)
        pixels = x.flatten(2).transpose(1, 2)  # (N, h*w, C)
        scores = (pixels @ keys).masked_fill(~mask[:, None], float('-inf'))  # (N, h*w, T)
        # In float32 at least, whatever the rest is computed in.
        attention = scores.softmax(dim=2, dtype=torch.promote_types(scores.dtype, torch.float32)).to(keys.dtype)
        # Permuted from (N, h, w, C): what the convolution after it reads is then laid out as x in channels_last.
        context = (attention @ keys.transpose(1, 2)).unflatten(1, (h, w)).permute(0, 3, 1, 2)
        if return_attention:
            return context, attention.transpose(1, 2).reshape(n, -1, h, w)
        return context


