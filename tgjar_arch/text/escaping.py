"""Foreign text (captions, words, names of files, error messages) where markup or formulas would be obeyed."""

from __future__ import annotations

import re

# C0 and C1 controls; marks that turn the direction of what follows; line separators; halves of a character.
_HIDDEN = re.compile('[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
# What Markdown and HTML may obey anywhere. `_` inside a word, as in `tgjar_universal`, is none of it.
_MARKUP = re.compile(r'[\\`*\[\]<>&~$@^{}!]|(?<![^\W_])_|_(?![^\W_])|:(?=[/\\])|(?<=www)\.', re.IGNORECASE)
_AT_START = re.compile(r'[#+=-]|(?<=\d)[.)]')  # headings, lists and lines, where a text begins with them
_START = re.compile(r'\d*[#+=.)-]')
# Spreadsheets take a cell that begins with one of these for a formula; East Asian ones also the wide forms. Where the
# comma is the decimal mark, they begin a new cell after a semicolon.
_ACTIVE = "'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_FORMULA = re.compile(f'(^|;)(?={_ACTIVE})')
_QUOTED = re.compile(f"(^|;)'(?={_ACTIVE})")
_NUMBER = re.compile(r'[+-]?\d+(\.\d+)?(e[+-]?\d+)?')


def as_markdown(text: str) -> str:
    """Return a text so that Markdown shows it as it is, on one line: no link, no picture, no HTML.

    Numeric character references stand for what could be obeyed, for all dialects read those (GitHub's, Python-Markdown
    of TensorBoard, Gradio's): by CommonMark 0.31, section 2.5, they never act as markup. Control characters and marks
    of writing direction are shown as `\\x1b` or `\\u202e`. `|` stays: whoever makes a table escapes it in all cells.
    """
    line = one_line(' '.join(text.split()))
    start = _START.match(line)
    if start:
        head = _AT_START.sub(_reference, line[:start.end()])
        return head + _MARKUP.sub(_reference, line[start.end():])
    return _MARKUP.sub(_reference, line)


def _reference(match: re.Match) -> str:
    return f'&#{ord(match[0])};'


def from_markdown(text: str) -> str:
    """Return the text that `as_markdown` was given, as far as it was on one line."""
    return re.sub(r'&#(\d+);', lambda found: chr(int(found[1])), text)


def one_line(text: str) -> str:
    r"""Return a text on one line, with what would move the cursor or turn the direction shown, not obeyed.

    A line break in the name of a file becomes `\n`, an escape `\x1b`, a mark of direction `\u202e`.
    """
    return _HIDDEN.sub(_code, text)


def _code(match: re.Match) -> str:
    character = match[0]
    return {'\n': r'\n', '\r': r'\r', '\t': r'\t'}.get(character) or (
        f'\\x{ord(character):02x}' if ord(character) < 256 else f'\\u{ord(character):04x}')


def as_cell(value: object) -> object:
    """Return the value of a CSV cell so that no spreadsheet computes it: `=1+1` becomes `'=1+1`, `a;=1` `a;'=1`.

    Only texts change, and no numbers; `from_cell` gives back each as it was. See OWASP, "CSV Injection".
    """
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    return _FORMULA.sub(r"\1'", value)


def from_cell(text: str) -> str:
    """Return the text that `as_cell` wrote."""
    return _QUOTED.sub(r'\1', text)
