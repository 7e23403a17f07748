"""Captions to word ids, in one `tokenizer.json` that Hugging Face's libraries read too."""

import logging
import os
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor

from tgjar_arch.atomic_file import atomic
from tgjar_arch.text.tokenizer_check import native_errors

END = '<end>'
END_ID = 0  # also the padding, as in AttnGAN's vocabularies

_MAX_NAMED = 20
_named_unknown: set[str] = set()  # unknown words already said in this process


def read_tokenizer_text(path: Path) -> str:
    """Return the text of a `tokenizer.json`.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is no text.
    """
    try:
        return path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is no tokenizer.json, for it is no UTF-8 text; build one with `tgjar vocab FOLDER -o '
                         'tokenizer.json`.') from error


def _bare_tokenizer(vocab: dict[str, int]) -> Tokenizer:
    # An unknown word gets the padding's id: the model insists on an id, and an <unk> of its own would shift AttnGAN's.
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=END))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Lowercase(),
        # Python's \w is letters, numbers and '_'; the library's own \w also has combining marks and lacks e.g. '²'.
        normalizers.Replace(Regex(r'[^\p{L}\p{N}_]+'), ' '),
        normalizers.Replace(Regex(r'[^\x00-\x7F]+'), ''),
    ])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


class WordTokenizer:
    """Word-level tokenizer with the words and ids of AttnGAN.

    A caption is lower-cased and split into its `\\w+`; of each the ASCII characters are kept (`café-red` is `caf`,
    `red`). Id 0 is `<end>`, which is also the padding; words count from 1 in the order of first appearance. Given
    AttnGAN's captions in AttnGAN's order the ids are those of its `captions.pickle`
    (https://github.com/taoxugit/AttnGAN, code/datasets.py, load_captions and build_dictionary).

    Make one with `build`, `from_words`, `load` or `from_json`. The file is one of the `tokenizers` library:
    `transformers.PreTrainedTokenizerFast(tokenizer_file=..., pad_token='<end>')` reads it (there an unknown word
    becomes `<end>`, while `encode` skips it).
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._vocab = tokenizer.get_vocab(with_added_tokens=False)

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 1) -> 'WordTokenizer':
        """Make the vocabulary of all words that appear at least `min_count` times in `captions`.

        Raises:
            ValueError: when that leaves no word.
        """
        splitter = cls(_bare_tokenizer({END: END_ID}))
        counts = Counter(word for caption in captions for word in splitter.words(caption))
        kept = [word for word, count in counts.items() if count >= min_count]
        if not kept:
            raise ValueError(f'no word of the captions appears {min_count} or more times ({len(counts)} different '
                             'words); give captions, or a lower min_count.')
        return cls.from_words(kept)

    @classmethod
    def from_words(cls, words: Iterable[str], unreachable: bool = False) -> 'WordTokenizer':
        """Make the vocabulary whose ids 1, 2, ... are `words`: for AttnGAN's checkpoints, its `ixtoword` from 1 on.

        Args:
            words: the words, in the order of their ids.
            unreachable: keep words that no caption can contain, so that the ids after them stay; otherwise an error.

        Raises:
            ValueError: when a word is there twice, or is not one that a caption can contain.
        """
        words = list(words)
        splitter = cls(_bare_tokenizer({END: END_ID}))
        for word in words:
            if not unreachable and splitter.words(word) != [word]:
                raise ValueError(f'{word!r} is no lower-case ASCII word, and no caption can contain it.')
        twice = [word for word, count in Counter([END, *words]).items() if count > 1]
        if twice:
            raise ValueError(f'a vocabulary has each word once, but {twice[:3]} are there more often.')
        return cls(_bare_tokenizer({END: END_ID} | {word: i for i, word in enumerate(words, start=1)}))

    @classmethod
    def load(cls, path: str | os.PathLike) -> 'WordTokenizer':
        """Read a `tokenizer.json` that `save` wrote.

        Raises:
            FileNotFoundError: when there is none.
            ValueError: when the file is no such vocabulary.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f'tokenizer: there is no file {path}; build it from the captions with '
                                    f'`tgjar vocab FOLDER -o {path}`.')
        return cls.parse(read_tokenizer_text(path), str(path))

    @classmethod
    def from_json(cls, text: str) -> 'WordTokenizer':
        """Read what `to_json` gave.

        Raises:
            ValueError: when `text` is no such vocabulary.
        """
        return cls.parse(text, 'the tokenizer')

    @classmethod
    def parse(cls, text: str, source: str) -> 'WordTokenizer':
        advice = 'build one with `tgjar vocab FOLDER -o tokenizer.json`.'
        with native_errors(f'{source} is no tokenizer.json; {advice.rstrip(".")}'):
            tokenizer = Tokenizer.from_str(text)
        if not isinstance(tokenizer.model, models.WordLevel):
            raise ValueError(f'{source} is a {type(tokenizer.model).__name__} tokenizer, no word vocabulary; {advice}')
        vocab = tokenizer.get_vocab(with_added_tokens=False)
        if vocab.get(END) != END_ID or sorted(vocab.values()) != list(range(len(vocab))):
            raise ValueError(f'{source} must have {END} at id 0 and its words at 1, 2, ... without a gap; {advice}')
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
        """Number of ids, `<end>` included: the rows of a word embedding."""
        return len(self._vocab)

    def words(self, caption: str) -> list[str]:
        """Return the words of `caption`, known or not."""
        text = self._tokenizer.normalizer.normalize_str(caption)
        return [word for word, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(text)]

    def unknown(self, caption: str) -> list[str]:
        """Return the words of `caption` that are not in the vocabulary."""
        return [word for word in self.words(caption) if word not in self._vocab]

    def encode(self, caption: str) -> list[int]:
        """Return the ids of the known words of `caption`, in order; unknown words are skipped and named in the log."""
        ids = self._tokenizer.encode(caption, add_special_tokens=False).ids
        if END_ID in ids:
            report_unknown(self.unknown(caption), 'unknown words are skipped, not among the '
                           f'{self.vocab_size - 1} of the tokenizer')
            ids = [i for i in ids if i != END_ID]
        return ids

    def pad(self, ids: Sequence[int], max_words: int, rng: random.Random | None = None) -> tuple[Tensor, Tensor]:
        """Bring the ids of a caption to T = `max_words`: `pad_ids`."""
        return pad_ids(ids, max_words, rng)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the words of `ids`, padding left out."""
        return [token_of(self._tokenizer, int(i)) for i in ids if i != END_ID]

    def group(self, ids: Iterable[int]) -> list[tuple[str, int]]:
        """Return the words of `ids`, padding left out, each with the number of its ids, which is 1."""
        return [(word, 1) for word in self.decode(ids)]


def report_unknown(words: Iterable[str], what: str) -> None:
    """Name unknown words in the log, each once in this process, and only the first ones."""
    new = [word for word in dict.fromkeys(words) if word not in _named_unknown]
    room = _MAX_NAMED - len(_named_unknown)
    if not new or room < 0:
        return
    _named_unknown.update(new[:room + 1])
    warning = logging.getLogger('basicsr').warning
    if room:
        warning(f'{what}: {", ".join(repr(word[:40]) for word in new[:room])}.')
    if len(new) > room:
        warning(f'more than {_MAX_NAMED} unknown words: further ones are skipped silently.')


def token_of(tokenizer: Tokenizer, index: int) -> str:
    """Return the token with an id.

    Raises:
        ValueError: when there is none.
    """
    token = tokenizer.id_to_token(index)
    if token is None:
        raise ValueError(f'the tokenizer has no token {index}; take ids that it made itself.')
    return token


def pad_ids(ids: Sequence[int], max_words: int, rng: random.Random | None = None) -> tuple[Tensor, Tensor]:
    """Bring the ids of a caption to T = `max_words`.

    A longer caption keeps a random subset in its order when `rng` is given (AttnGAN's training), else its first T.

    Args:
        ids: word ids, without padding.
        max_words: T, at least 1.
        rng: source of the random subset, `random.Random` or the module `random`.

    Returns:
        ids (T,) int64, padded with 0, and mask (T,) bool, True at a word.
    """
    if len(ids) > max_words:
        kept = range(max_words) if rng is None else sorted(rng.sample(range(len(ids)), max_words))
        ids = [ids[i] for i in kept]
    padded = torch.zeros(max_words, dtype=torch.int64)
    padded[:len(ids)] = torch.as_tensor(ids, dtype=torch.int64)
    return padded, torch.arange(max_words) < len(ids)


