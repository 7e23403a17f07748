"""Captions to ids by the tokenizer of a pretrained text model."""

import random
from collections.abc import Sequence

from tokenizers import Tokenizer
from torch import Tensor

from tgjar_arch.text.word_tokenizer import pad_ids, token_of


class HFTokenizer:
    """A fast tokenizer (`tokenizer.json`) of CLIP, BERT or another pretrained model, used as `WordTokenizer` is.

    Its ids are sub-words between the special tokens that the model expects around a caption, as `[CLS]` and `[SEP]`.
    Make one with `tgjar_arch.text.tokenizer.load_tokenizer`, which takes the model's folder or the file.

    Args:
        tokenizer: of the `tokenizers` library; padding and truncation that are stored in it are switched off.

    Attributes:
        special_ids: ids around every caption, which are no words.
        vocab_size: rows a word embedding needs, one more than the greatest id.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self.special_ids = frozenset(tokenizer.encode('').ids)
        self.vocab_size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def to_json(self) -> str:
        """Return the whole tokenizer as JSON."""
        return self._tokenizer.to_str()

    def unknown(self, caption: str) -> list[str]:
        """Return no word: what a sub-word tokenizer does not know it splits, or marks by a token of its own."""
        return []

    def encode(self, caption: str) -> list[int]:
        """Return the ids of `caption` between the special ones; none for a caption without any token."""
        ids = self._tokenizer.encode(caption).ids
        return ids if any(i not in self.special_ids for i in ids) else []

    def pad(self, ids: Sequence[int], max_words: int, rng: random.Random | None = None) -> tuple[Tensor, Tensor]:
        """Bring the ids of a caption to T = `max_words`, special ones counted; arguments and results as `pad_ids`.

        A longer caption keeps its beginning and the special tokens after its end, in training too: sub-words drawn at
        random, as AttnGAN draws words, would be no language to a pretrained model.

        Raises:
            ValueError: when `max_words` leaves no room for a word.
        """
        if len(ids) > max_words:
            after = next(k for k, i in enumerate(reversed(ids)) if i not in self.special_ids)
            before = next(k for k, i in enumerate(ids) if i not in self.special_ids)
            if before + after >= max_words:
                raise ValueError(f'max_words {max_words} leaves no room for a word beside {before + after} special '
                                 'tokens; raise it.')
            ids = [*ids[:max_words - after], *ids[len(ids) - after:]]
        return pad_ids(ids, max_words)

    def decode(self, ids: Sequence[int]) -> list[str]:
        """Return the tokens of `ids`, special ones left out."""
        return [token_of(self._tokenizer, int(i)) for i in ids if int(i) not in self.special_ids]

    def group(self, ids: Sequence[int]) -> list[tuple[str, int]]:
        """Return the tokens of `ids`, special ones left out, each with the number of its ids, which is 1.

        How tokens make up words is another matter in every model; see `PieceTokenizer` for a vocabulary that says it.
        """
        return [(token, 1) for token in self.decode(ids)]
