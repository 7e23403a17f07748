"""What a text encoder hands to the networks and losses."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_EPSILON = 1e-8  # of a mean square


class TextFeatures(NamedTuple):
    """Word and sentence features of a batch of captions (paper, eq. 3).

    Padded words never change a result: whoever reads `words` reads `mask` with it. A caption without any word (its row
    of `mask` all False) is legal and stands for "no caption".

    Attributes:
        words: word features w, (N, D, T).
        sentence: sentence features s, (N, D).
        mask: (N, T) bool, True at a real word.
    """

    words: Tensor
    sentence: Tensor
    mask: Tensor

    def detach(self) -> 'TextFeatures':
        """The same features, cut from the graph that made them."""
        return TextFeatures(self.words.detach(), self.sentence.detach(), self.mask)

    def to(self, *args: Any, **kwargs: Any) -> 'TextFeatures':
        """Move or cast the features as `Tensor.to` does; the mask moves but stays bool."""
        words, sentence = self.words.to(*args, **kwargs), self.sentence.to(*args, **kwargs)
        return TextFeatures(words, sentence, self.mask.to(words.device))

    def normalised(self) -> 'TextFeatures':
        """Every word and sentence with a mean square of 1 over D; padded words and those of no caption are 0.

        Encoders are trained by the cosines of their features, whose length is left to chance (a root mean square of
        0.07 to 0.1 for our LSTMs); networks that read them want the size of their other features.
        """
        mask = self.mask.to(self.words.device)
        words = self.words.masked_fill(~mask[:, None], 0)
        sentence = self.sentence.masked_fill(~mask.any(dim=1, keepdim=True), 0)
        words = F.rms_norm(words.transpose(1, 2), words.shape[1:2], eps=_EPSILON).transpose(1, 2)
        return TextFeatures(words, F.rms_norm(sentence, sentence.shape[1:], eps=_EPSILON), mask)

    @classmethod
    def empty(cls, batch: int, dim: int, device: torch.device | str = 'cpu',
              dtype: torch.dtype = torch.float32) -> 'TextFeatures':
        """Features of `batch` missing captions, D = `dim`, T = 1."""
        return cls(torch.zeros(batch, dim, 1, device=device, dtype=dtype),
                   torch.zeros(batch, dim, device=device, dtype=dtype),
                   torch.zeros(batch, 1, device=device, dtype=torch.bool))
