"""Text encoders: from word ids to word and sentence features (paper 3.2, eq. 3)."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tgjar_arch.text.features import TextFeatures


class LSTMTextEncoder(nn.Module):
    """Bi-directional LSTM text encoder of AttnGAN, the paper's F_t: w, s = F_t(T) (eq. 3).

    Layout and state-dict keys are those of the public AttnGAN checkpoints (`text_encoder200.pth`,
    https://github.com/taoxugit/AttnGAN, code/model.py, class RNN_ENCODER)::

        ids (N, T) -- Embedding -- Dropout -- bi-LSTM --+-- outputs at every word ------------- words (N, D, T)
                                                        +-- last states, forward | backward --- sentence (N, D)

    Args:
        vocab_size: rows of the embedding, the padding `<end>` = 0 included.
        embed_dim: dimension of the word embedding.
        text_dim: D; each direction has D / 2 units.
        drop_prob: dropout on the embeddings while training.
    """

    def __init__(self, vocab_size: int, embed_dim: int = 300, text_dim: int = 256, drop_prob: float = 0.5) -> None:
        super().__init__()
        if text_dim % 2:
            raise ValueError(f'text_dim is shared by two directions and must be even, but got {text_dim}.')
        self.vocab_size = vocab_size
        self.text_dim = text_dim
        self.encoder = nn.Embedding(vocab_size, embed_dim)
        self.drop = nn.Dropout(drop_prob)
        self.rnn = nn.LSTM(embed_dim, text_dim // 2, batch_first=True, bidirectional=True)
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)

    @property
    def num_ids(self) -> int:
        """How many ids it can read: rows of the embedding."""
        return self.encoder.num_embeddings

    def forward(self, ids: Tensor, mask: Tensor) -> TextFeatures:
        """Encode captions.

        Args:
            ids: (N, T) int64 word ids in [0, vocab_size).
            mask: (N, T) bool, True at a real word; the real words stand first. A row without any is no caption: its
                features are 0. It may stay on the CPU when `ids` are on a GPU: the lengths are wanted on the CPU, and
                fetching them would wait for all that the GPU still has to do.

        Returns:
            Features with D = text_dim and T as given; words are 0 where `mask` is False.

        Raises:
            ValueError: when the shapes differ.
        """
        if ids.ndim != 2 or ids.shape != mask.shape:
            raise ValueError(f'LSTMTextEncoder expects ids and mask as (N, T), but got {tuple(ids.shape)} and '
                             f'{tuple(mask.shape)}.')
        lengths = mask.sum(dim=1).cpu()
        mask = mask.to(ids.device, non_blocking=True)
        embedded = self.drop(self.encoder(ids))  # (N, T, embed_dim)
        # cuDNN's packed sequences want lengths of at least 1 on the CPU; rows without a word are zeroed below. Sorted
        # here, since `pack_padded_sequence` would wait for the GPU when it brings the order there.
        lengths, order = lengths.clamp(min=1).sort(descending=True)
        order = order.to(ids.device, non_blocking=True)
        packed = pack_padded_sequence(embedded.index_select(0, order), lengths, batch_first=True)
        # In its own type under autocast: oneDNN has no bfloat16 LSTM for processors without AVX-512, and it is little.
        with torch.autocast(ids.device.type, enabled=False):
            outputs, (hidden, _) = self.rnn(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=ids.shape[1])  # (N, T, D)
        back = order.argsort()
        words = outputs.index_select(0, back).transpose(1, 2).masked_fill(~mask[:, None], 0)  # (N, D, T)
        sentence = hidden.index_select(1, back).transpose(0, 1).reshape(ids.shape[0], self.text_dim)  # (N, D)
        sentence = sentence.masked_fill(~mask.any(dim=1, keepdim=True), 0)
        return TextFeatures(words, sentence, mask)
