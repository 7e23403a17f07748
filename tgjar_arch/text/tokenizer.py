"""Tokenizers of all kinds, words, pieces of words and those of pretrained models, from their files."""

import json
import os
from pathlib import Path

import tokenizers

from tgjar_arch.text.piece_tokenizer import PieceTokenizer
from tgjar_arch.text.subword_tokenizer import HFTokenizer
from tgjar_arch.text.tokenizer_check import native_errors
from tgjar_arch.text.word_tokenizer import END, WordTokenizer, read_tokenizer_text

Tokenizer = WordTokenizer | PieceTokenizer | HFTokenizer


def kept_of_caption(tokenizer: Tokenizer, max_words: int) -> str:
    """What a caption that is too long is cut to, in words for people."""
    if isinstance(tokenizer, PieceTokenizer):
        return f'the first words of it that make up {max_words} pieces'
    return f'its first {max_words} known words'


def tokenizer_from_json(text: str, source: str = 'the tokenizer') -> Tokenizer:
    """Make the tokenizer a `tokenizer.json` describes: of `tgjar vocab`, or that of a pretrained model.

    Args:
        text: the file's content.
        source: what errors call it.

    Raises:
        ValueError: when it is none of them.
    """
    try:
        model = json.loads(text)['model']
        kind, unknown = model['type'], model.get('unk_token')
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        kind, unknown = 'WordLevel', END  # whose reader says what is wrong
    if kind == 'WordLevel':
        return WordTokenizer.parse(text, source)
    if kind == 'BPE' and unknown == END:
        return PieceTokenizer.parse(text, source)
    with native_errors(f'{source} is no tokenizer.json; take that of the pretrained text model'):
        return HFTokenizer(tokenizers.Tokenizer.from_str(text))


def load_tokenizer(path: str | os.PathLike) -> Tokenizer:
    """Read a `tokenizer.json`: of `tgjar vocab`, or of a pretrained text model (also named by its folder).

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when the file is no tokenizer.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path /= 'tokenizer.json'
        if not path.is_file():
            raise FileNotFoundError(f'tokenizer: there is no file {path}; save the fast tokenizer of the pretrained '
                                    'model there (AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)).')
    if not path.is_file():
        return WordTokenizer.load(path)  # says how to build one
    return tokenizer_from_json(read_tokenizer_text(path), str(path))
