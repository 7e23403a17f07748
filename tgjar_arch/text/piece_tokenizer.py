"""Captions to pieces of words: a vocabulary of `tgjar vocab --subwords`, for a text encoder of our own."""

import json
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from tgjar_arch.atomic_file import atomic
from tgjar_arch.text.tokenizer_check import native_errors
from tgjar_arch.text.word_tokenizer import END, END_ID, pad_ids, report_unknown, token_of

START = '▁'  # before the first piece of a word, as SentencePiece has it
_LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789_'  # always there, so that every ASCII word has pieces
_LEAST_COUNT = 2  # of a pair of pieces in the captions, to become one: what is there once cannot be learnt


def _bare_tokenizer(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFKD(), normalizers.StripAccents(),  # "café" is "cafe", a ligature its letters
        normalizers.Lowercase(),
        # As for words: letters, numbers and '_' of `\w+`.
        normalizers.Replace(Regex(r'[^\p{L}\p{N}_]+'), ' '),
    ])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(START, prepend_scheme='always', split=False)])
    return tokenizer


class PieceTokenizer:
    """Byte-pair encoding (Sennrich et al., ACL 2016): frequent words are one piece, others several.

    Used as `WordTokenizer` is. A caption is brought to Unicode's NFKD, loses its accents, is lower-cased and split into
    its `\\w+`, and each word into pieces of the vocabulary. Id 0 is `<end>`, which is also the padding. Since every
    letter of `a-z`, digit and `_` is a piece, any ASCII word has pieces; a word with a letter that no caption had when
    the vocabulary was built is unknown, and skipped as a whole.

    `max_words` counts pieces here. What is said to people, and drawn, is of whole words: a caption that is too long
    keeps whole words, and `group` says which pieces are a word.

    Make one with `build`, or read its file with `tgjar_arch.text.tokenizer.load_tokenizer`. The file is one of the
    `tokenizers` library.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._letters = {token for token in tokenizer.get_vocab() if len(token) == 1}

    @classmethod
    def build(cls, captions: Iterable[str], size: int) -> 'PieceTokenizer':
        """Make the vocabulary of at most `size` pieces, `<end>` included; the same one from the same captions.

        Raises:
            ValueError: when there is no word, or `size` leaves no room for pieces beside single letters.
        """
        tokenizer = _bare_tokenizer(models.BPE(unk_token=END))
        trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=_LEAST_COUNT, special_tokens=[END],
                                      initial_alphabet=[START, *_LETTERS], show_progress=False)
        captions = list(captions)
        if not any(cls(tokenizer).words(caption) for caption in captions):
            raise ValueError('no caption has a word; give captions.')
        tokenizer.train_from_iterator(captions, trainer, len(captions))
        letters = sum(len(token) == 1 for token in tokenizer.get_vocab()) + 1
        if size <= letters:
            raise ValueError(f'{size} pieces leave no room beside the {letters} of {END} and the single letters of '
                             'the captions; take some thousands.')
        # Without the library's special token, which would be read in a caption that has the text "<end>".
        trained = json.loads(tokenizer.to_str())['model']
        merges = [tuple(merge) for merge in trained['merges']]
        return cls(_bare_tokenizer(models.BPE(trained['vocab'], merges, unk_token=END)))

    @classmethod
    def parse(cls, text: str, source: str) -> 'PieceTokenizer':
        """Read what `to_json` gave; `source` is what errors call it.

        Raises:
            ValueError: when it is no such vocabulary.
        """
        advice = 'build one with `tgjar vocab FOLDER --subwords 8000 -o tokenizer.json`.'
        with native_errors(f'{source} is no tokenizer.json; {advice.rstrip(".")}'):
            tokenizer = Tokenizer.from_str(text)
        vocab = tokenizer.get_vocab(with_added_tokens=False)
        if vocab.get(END) != END_ID or sorted(vocab.values()) != list(range(len(vocab))) or START not in vocab:
            raise ValueError(f'{source} must have {END} at id 0 and pieces at 1, 2, ... without a gap, {START} among '
                             f'them; {advice}')
        if tokenizer.normalizer is None or tokenizer.pre_tokenizer is None or \
                tokenizer.get_vocab(with_added_tokens=True) != vocab:
            raise ValueError(f'{source} must have a normalizer, a pre_tokenizer and no added_tokens; {advice}')
        return cls(tokenizer)

    def to_json(self) -> str:
        """Return the whole tokenizer as JSON; equal for equal vocabularies."""
        return self._tokenizer.to_str()

    def save(self, path: str | os.PathLike) -> None:
        """Write `tokenizer.json`; folders are made, and a file at `path` is replaced in one step."""
        with atomic(Path(path).expanduser(), durable=True) as temporary:
            temporary.write_text(self.to_json(), encoding='utf-8')

    @property
    def vocab_size(self) -> int:
        """Number of ids, `<end>` included: the rows of an embedding."""
        return self._tokenizer.get_vocab_size()

    def words(self, caption: str) -> list[str]:
        """Return the words of `caption`, known or not."""
        return self._tokenizer.normalizer.normalize_str(caption).split()

    def unknown(self, caption: str) -> list[str]:
        """Return the words of `caption` with a letter that is no piece."""
        return [word for word in self.words(caption) if not self._letters.issuperset(word)]

    def encode(self, caption: str) -> list[int]:
        """Return the ids of the pieces of all known words of `caption`, in order; unknown ones are named in the log."""
        encoded = self._tokenizer.encode(caption, add_special_tokens=False)
        if END_ID not in encoded.ids:
            return encoded.ids
        words = self.unknown(caption)
        report_unknown(words, 'unknown words are skipped, with letters that the tokenizer has not')
        left_out = {word for word, i in zip(encoded.word_ids, encoded.ids, strict=True) if i == END_ID}
        return [i for word, i in zip(encoded.word_ids, encoded.ids, strict=True) if word not in left_out]

    def pad(self, ids: Sequence[int], max_words: int, rng: random.Random | None = None) -> tuple[Tensor, Tensor]:
        """Bring the ids of a caption to T = `max_words` pieces; arguments and results as `pad_ids`.

        A longer caption keeps whole words: its first ones, up to one that does not fit, or, with `rng`, those of a
        random order that fit, in the caption's. Of a first word that alone is longer the first T pieces stay.
        """
        if len(ids) > max_words:
            counts = [count for _, count in self.group(ids)]
            order = list(range(len(counts)))
            if rng is not None:
                rng.shuffle(order)
            kept, room = set(), max_words
            for word in order:
                if counts[word] <= room:
                    kept.add(word)
                    room -= counts[word]
                elif rng is None:
                    break
            owners = [word for word, count in enumerate(counts) for _ in range(count)]
            ids = [i for i, word in zip(ids, owners, strict=True) if word in kept] or ids[:max_words]
        return pad_ids(ids, max_words)

    def group(self, ids: Iterable[int]) -> list[tuple[str, int]]:
        """Return the words of `ids`, padding left out, each with the number of its pieces."""
        groups: list[tuple[str, int]] = []
        for i in ids:
            if i == END_ID:
                continue
            piece = token_of(self._tokenizer, int(i))
            if piece.startswith(START) or not groups:
                groups.append((piece.removeprefix(START), 1))
            else:
                word, count = groups[-1]
                groups[-1] = word + piece, count + 1
        return groups

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the words of `ids`, padding left out."""
        return [word for word, _ in self.group(ids)]
