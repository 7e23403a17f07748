"""What a text encoder hands to the networks and losses."""

from typing import NamedTuple

import torch
from torch import Tensor


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

    def to(self, *args, **kwargs) -> 'TextFeatures':
        """Move or cast the features as `Tensor.to` does; the mask moves but stays bool."""
        words, sentence = self.words.to(*args, **kwargs), self.sentence.to(*args, **kwargs)
        return TextFeatures(words, sentence, self.mask.to(words.device))

    @classmethod
    def empty(cls, batch: int, dim: int, device: torch.device | str = 'cpu',
              dtype: torch.dtype = torch.float32) -> 'TextFeatures':
        """Features of `batch` missing captions, D = `dim`, T = 1."""
        return cls(torch.zeros(batch, dim, 1, device=device, dtype=dtype),
                   torch.zeros(batch, dim, device=device, dtype=dtype),
                   torch.zeros(batch, 1, device=device, dtype=torch.bool))
