"""Text of unknown encoding: UTF-8, UTF-16 or UTF-32, or the words why it is none of them."""

from __future__ import annotations

import codecs
import unicodedata
from typing import NamedTuple

from tgjar_arch.text.limits import JUDGED

SPACES = 'bytes that are not UTF-8 become spaces; save it as UTF-8'
UNKNOWN = 'not read, its encoding is neither UTF-8 nor UTF-16; save it as UTF-8'

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = ((codecs.BOM_UTF32_LE, 'utf-32-le'), (codecs.BOM_UTF32_BE, 'utf-32-be'),
          (codecs.BOM_UTF16_LE, 'utf-16-le'), (codecs.BOM_UTF16_BE, 'utf-16-be'))
_NO_TEXT = ('Cn', 'Co', 'Cs')  # unassigned, private, half of a pair


class Decoded(NamedTuple):
    """A text, and what was wrong with its bytes: '', `SPACES`, or `UNKNOWN` (then the text is '')."""

    text: str
    problem: str = ''


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == 'Cc' and not character.isspace()


def decode_utf_16(content: bytes) -> str | None:
    """Return the text of bytes in UTF-16 or UTF-32, or None if they are not plainly that.

    They are with a byte order mark; and without one, when they make a text of assigned characters in UTF-16, of which
    half are ASCII, or which does not read as UTF-8.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark):].decode(encoding, errors='replace')
    if len(content) % 2:
        return None
    padding = len(content) - len(content.rstrip(b'\0'))  # which ends a text, or fills it up
    content = content[:len(content) - padding // 2 * 2]
    if b'\0' not in content:
        return None
    if 4 * content.count(b'\0') < len(content) and _reads_as_utf_8(content):
        return None
    found: list[tuple[int, str]] = []
    for encoding in ('utf-16-le', 'utf-16-be'):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        head = text[:JUDGED]
        if not any(_is_control(character) or unicodedata.category(character) in _NO_TEXT for character in head):
            found.append((sum(character.isascii() for character in head), text))
    found.sort(reverse=True)
    # ASCII in the wrong byte order is Chinese, but not the other way round.
    return found[0][1] if found and found[0][0] and (len(found) == 1 or found[0][0] > found[1][0]) else None


def _reads_as_utf_8(content: bytes) -> bool:
    try:
        return _is_readable(content.decode()[:JUDGED])
    except UnicodeDecodeError:
        return False


def _is_readable(text: str, undecodable: int = 0) -> bool:
    """Whether there are not more control characters and undecodable bytes than letters."""
    return undecodable + sum(map(_is_control, text)) <= sum(map(str.isalpha, text))


def decode_text(content: bytes) -> Decoded:
    """Return the text of a file in UTF-8 (with or without a byte order mark), UTF-16 or UTF-32.

    Bytes that are not UTF-8 become U+FFFD. With more of them and of control characters than letters, the encoding
    cannot be told: of a text in GBK or Windows-1251 only stray letters would be left.
    """
    if (wide := decode_utf_16(content)) is not None:
        return Decoded(wide.lstrip('\ufeff'))
    head, bad = _decoded_utf_8(content[:JUDGED])
    if not _is_readable(head, bad):
        return Decoded('', UNKNOWN)
    text, bad = _decoded_utf_8(content)
    return Decoded(text, SPACES if bad else '')


def _decoded_utf_8(content: bytes) -> tuple[str, int]:
    """The text, and how many bytes of it are not UTF-8."""
    text = content.decode('utf-8', errors='replace').lstrip('\ufeff')
    return text, text.count('\ufffd') - content.count('\ufffd'.encode())
