"""What the tokenizer in a weights file may be made of, and how errors of the native library behind it are caught.

A `tokenizer.json` is a small program: its steps may lengthen a text a thousandfold, its regular expressions may take
hours, its ids may lie outside the embedding, and some of its values end in a panic of native code at the first caption.
A weights file may hold the steps that `tgjar vocab` writes and those of the tokenizers of CLIP, BERT, GPT-2 and their
kin, which the tables below list. A tokenizer that its user names in an option file is not checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Regular expressions, letter by letter.
PATTERNS = (
    r'[^\p{L}\p{N}_]+', r'[^\x00-\x7F]+',  # `tgjar vocab`
    r'\s+', r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",  # CLIP
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    r' {2,}',  # SentencePiece
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",  # Llama 3  # noqa: E501
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",  # Qwen  # noqa: E501
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",  # Qwen 3  # noqa: E501
)
MODELS = ('WordLevel', 'WordPiece', 'BPE')
# Steps by their kind -> their settings and what these may be, types or values. A `Sequence` has a list of steps.
_TEXT, _FLAG, _MAYBE = (str,), (bool,), (bool, type(None))
NORMALIZERS: dict[str, dict[str, tuple]] = {
    'Lowercase': {}, 'NFC': {}, 'NFD': {}, 'NFKC': {}, 'NFKD': {}, 'StripAccents': {}, 'ByteLevel': {},
    'Strip': {'strip_left': _FLAG, 'strip_right': _FLAG},
    'BertNormalizer': {'clean_text': _FLAG, 'handle_chinese_chars': _FLAG, 'strip_accents': _MAYBE, 'lowercase': _FLAG},
    'Prepend': {'prepend': ('▁',)},
    'Replace': {'pattern': (dict,), 'content': _TEXT},
}
PRE_TOKENIZERS: dict[str, dict[str, tuple]] = {
    'WhitespaceSplit': {}, 'Whitespace': {}, 'BertPreTokenizer': {}, 'UnicodeScripts': {},
    'ByteLevel': {'add_prefix_space': _FLAG, 'trim_offsets': _FLAG, 'use_regex': _FLAG},
    'Metaspace': {'replacement': ('▁',), 'prepend_scheme': ('always', 'never', 'first'), 'split': _FLAG},
    'Punctuation': {'behavior': ('Removed', 'Isolated', 'Contiguous', 'MergedWithPrevious', 'MergedWithNext')},
    'Digits': {'individual_digits': _FLAG},
    'Split': {'pattern': (dict,), 'invert': _FLAG,
              'behavior': ('Removed', 'Isolated', 'Contiguous', 'MergedWithPrevious', 'MergedWithNext')},
}
POST_PROCESSORS: dict[str, dict[str, tuple]] = {
    'ByteLevel': {'add_prefix_space': _FLAG, 'trim_offsets': _FLAG, 'use_regex': _FLAG},
    'BertProcessing': {'sep': (list,), 'cls': (list,)},
    'RobertaProcessing': {'sep': (list,), 'cls': (list,), 'trim_offsets': _FLAG, 'add_prefix_space': _FLAG},
    'TemplateProcessing': {'single': (list,), 'pair': (list,), 'special_tokens': (dict,)},
}
DECODERS: dict[str, dict[str, tuple]] = {  # never run, for ids are looked up one by one
    'ByteLevel': {'add_prefix_space': _FLAG, 'trim_offsets': _FLAG, 'use_regex': _FLAG},
    'WordPiece': {'prefix': _TEXT, 'cleanup': _FLAG}, 'BPEDecoder': {'suffix': _TEXT}, 'Fuse': {}, 'ByteFallback': {},
    'Replace': {'pattern': (dict,), 'content': _TEXT}, 'Strip': {'content': (' ', '▁'), 'start': (0, 1), 'stop': (0,)},
    'Metaspace': {'replacement': ('▁',), 'prepend_scheme': ('always', 'never', 'first'), 'split': _FLAG},
}
_MOST_STEPS = 16
_MOST_ADDED = 32  # special tokens around a caption
_LONGEST_WORD = 1000  # letters that WordPiece looks at, with the square of which its time grows


@contextmanager
def native_errors(what: str) -> Iterator[None]:
    """Turn whatever the library raises into a ValueError of one line; panics of its native code are no `Exception`.

    Args:
        what: the beginning of the message, which the reason in brackets follows.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(f'{what} ({reason})') from error


def check_tokenizer(text: str, rows: int) -> None:
    """Check the tokenizer of a weights file before the native library reads it.

    Args:
        text: the `tokenizer.json`.
        rows: ids that the text encoder can read, from 0 on.

    Raises:
        ValueError: it is none, has a step that is not listed here, or an id that the text encoder does not have.
    """
    try:
        whole = json.loads(text, object_pairs_hook=_unique)
        if not isinstance(whole, dict) or not isinstance(whole.get('model'), dict):
            raise ValueError('it has no model')
        for key in ('truncation', 'padding'):
            if whole.get(key) is not None:
                raise ValueError(f'it has {key}, which the program leaves to itself')
        vocab = _check_model(whole['model'])
        for key, table in (('normalizer', NORMALIZERS), ('pre_tokenizer', PRE_TOKENIZERS),
                           ('post_processor', POST_PROCESSORS), ('decoder', DECODERS)):
            _check_steps(whole.get(key), key, table)
        _check_added(whole.get('added_tokens') or [], whole['model']['type'])
        if whole['model']['type'] == 'WordLevel' and not (whole.get('normalizer') and whole.get('pre_tokenizer')):
            raise ValueError('a word vocabulary needs a normalizer and a pre_tokenizer')
        _check_ids(vocab, whole, rows)
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError, IndexError) as error:  # odd JSON
        reason = ' '.join(str(error).split())[:300]
        raise ValueError(f'its tokenizer cannot be used: {reason}.') from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which no reader can find another value than this one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError('one of its names is there twice')
    return found


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _check_model(model: dict[str, Any]) -> dict[str, int]:
    """The vocabulary of a model."""
    kind, vocab, unknown = model.get('type'), model.get('vocab'), model.get('unk_token')
    if kind not in MODELS:
        raise ValueError(f'its model is {str(kind)[:40]!r}; weights files hold {", ".join(MODELS)}')
    if not isinstance(vocab, dict) or not vocab or not all(map(_is_id, vocab.values())):
        raise ValueError('its vocabulary must be an object of words and their ids')
    if len(set(vocab.values())) != len(vocab):
        raise ValueError('two words of its vocabulary have the same id')
    is_known = isinstance(unknown, str) and unknown in vocab
    if not is_known and (unknown is not None or kind != 'BPE'):
        raise ValueError(f'its unknown token {str(unknown)[:40]!r} is not in its vocabulary')
    if kind == 'WordPiece':
        longest = model.get('max_input_chars_per_word')
        if not isinstance(longest, int) or not 0 <= longest <= _LONGEST_WORD:
            raise ValueError(f'max_input_chars_per_word must be a whole number up to {_LONGEST_WORD}')
    if kind == 'BPE':
        _check_merges(model, vocab)
    return vocab


def _check_merges(model: dict[str, Any], vocab: dict[str, int]) -> None:
    if model.get('dropout') or model.get('continuing_subword_prefix'):
        raise ValueError('a BPE model with dropout or continuing_subword_prefix is not taken')
    merges = model.get('merges')
    if not isinstance(merges, list):
        raise ValueError('its merges must be a list')
    for merge in merges:
        parts = merge.split(' ') if isinstance(merge, str) else merge
        if not (isinstance(parts, list) and len(parts) == 2 and all(isinstance(part, str) for part in parts)):
            raise ValueError('a merge must be two words')
        if any(part not in vocab for part in (*parts, ''.join(parts))):
            raise ValueError(f'its merge of {parts[0][:20]!r} and {parts[1][:20]!r} is not in its vocabulary')


def _steps(part: Any, name: str) -> Iterator[dict[str, Any]]:
    if part is None:
        return
    if not isinstance(part, dict):
        raise ValueError(f'its {name} must be an object')
    if part.get('type') != 'Sequence':
        yield part
        return
    lists = [value for key, value in part.items() if key != 'type']
    if len(lists) != 1 or not isinstance(lists[0], list):
        raise ValueError(f'a Sequence of its {name} must have one list')
    for item in lists[0]:
        yield from _steps(item, name)


def _check_steps(part: Any, name: str, table: dict[str, dict[str, tuple]]) -> None:
    steps = list(_steps(part, name))
    if len(steps) > _MOST_STEPS:
        raise ValueError(f'its {name} has {len(steps)} steps, more than {_MOST_STEPS}')
    for step in steps:
        kind = step.get('type')
        if not isinstance(kind, str) or kind not in table:
            raise ValueError(f'its {name} has a step {str(kind)[:40]!r}, which weights files do not hold; they hold '
                             f'{", ".join(table)}')
        for key, value in step.items():
            allowed = table[kind].get(key, ()) if key != 'type' else (str,)
            if not any(isinstance(value, one) if isinstance(one, type) else value == one for one in allowed):
                raise ValueError(f'its {name} {kind} has {str(value)[:40]!r} as {key[:40]}')
        if missing := [key for key in table[kind] if key not in step and (kind, key) not in _OPTIONAL]:
            raise ValueError(f'its {name} {kind} has no {missing[0]}')
        if 'pattern' in step:
            _check_pattern(step, name)


_OPTIONAL = {('ByteLevel', 'use_regex'), ('BertNormalizer', 'strip_accents'), ('Metaspace', 'split'),
             ('Metaspace', 'prepend_scheme')}  # which older versions of the library did not write


def _check_pattern(step: dict[str, Any], name: str) -> None:
    """A listed regular expression or a fixed text; what replaces it makes nothing longer."""
    if len(step['pattern']) != 1:
        raise ValueError(f'a pattern of its {name} must be one text')
    (kind, pattern), = step['pattern'].items()
    if kind not in ('Regex', 'String') or not isinstance(pattern, str) or not pattern:
        raise ValueError(f'a pattern of its {name} must be a text')
    if kind == 'Regex' and pattern not in PATTERNS:
        raise ValueError(f'its {name} has the regular expression {pattern[:40]!r}, which weights files do not hold')
    if len(step.get('content', '')) > (1 if kind == 'Regex' else len(pattern)):
        raise ValueError(f'its {name} replaces {pattern[:20]!r} by a longer text')


def _check_added(tokens: Any, kind: str) -> None:
    if not isinstance(tokens, list) or not all(
            isinstance(token, dict) and _is_id(token.get('id')) and isinstance(token.get('content'), str)
            and token['content'] for token in tokens):
        raise ValueError('its added_tokens must be objects with an id and a content')
    if tokens and kind == 'WordLevel':
        raise ValueError('a word vocabulary has no added_tokens')


def _check_ids(vocab: dict[str, int], whole: dict[str, Any], rows: int) -> None:
    """Every id that it can say is one that the text encoder can read."""
    ids = {*vocab.values(), *(token['id'] for token in whole.get('added_tokens') or [])}
    around = list(_ids_of(whole.get('post_processor')))
    if len(around) > _MOST_ADDED:
        raise ValueError(f'it puts {len(around)} special tokens around a caption, more than {_MOST_ADDED}')
    greatest = max([*ids, *around])
    if greatest >= rows:
        raise ValueError(f'it has the id {greatest}, but the text encoder reads {rows} ids from 0 on')


def _ids_of(processor: Any) -> Iterator[int]:
    """The ids that the steps after the model put around a caption."""
    for step in _steps(processor, 'post_processor'):
        pairs = [step[key] for key in ('sep', 'cls') if key in step]
        for pair in pairs:
            if not (len(pair) == 2 and isinstance(pair[0], str) and _is_id(pair[1])):
                raise ValueError('sep and cls of its post_processor must be a text and an id')
            yield pair[1]
        special = step.get('special_tokens', {})
        for token in special.values():
            if not isinstance(token, dict) or not isinstance(token.get('ids'), list) or not all(
                    map(_is_id, token['ids'])):
                raise ValueError('special_tokens of its post_processor must have ids')
        for piece in (*step.get('single', ()), *step.get('pair', ())):
            if not isinstance(piece, dict) or len(piece) != 1:
                raise ValueError('a piece of its post_processor must be a SpecialToken or a Sequence')
            (kind, content), = piece.items()
            if kind == 'SpecialToken':
                name = content.get('id') if isinstance(content, dict) else None
                if not isinstance(name, str) or name not in special:
                    raise ValueError(f'its post_processor has no special token {str(name)[:40]!r}')
                yield from special[name]['ids']
            elif kind != 'Sequence':
                raise ValueError('a piece of its post_processor must be a SpecialToken or a Sequence')
        if step.get('type') == 'TemplateProcessing':
            captions = [piece for piece in step.get('single', ()) if 'Sequence' in piece]
            if len(captions) != 1:
                raise ValueError('its post_processor must have the caption once')
