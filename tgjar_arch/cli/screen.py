"""What commands print, made fit for any terminal: no output that cannot be printed is a failure of the command.

Characters that the terminal's encoding lacks are written in another way; control characters, which come from the names
and comments of strangers' files and could move the cursor or rename the window, are shown and not obeyed; and when
nobody reads any more (`tgjar evaluate ... | head`), the command goes on quietly to its end.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from tgjar_arch.text.escaping import one_line

# C0 and C1 controls but tab and line feed; marks that turn the direction of what follows; line separators.
_CONTROL = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+')
# tqdm's: a line begins at its start, and ends there when it is cleared; several bars go up and down.
_BAR = re.compile(r'(\r?)(.*?)(\r?)', re.DOTALL)
_MOVES = re.compile('(\n|\x1b\\[A)*')
_PLAIN = {'↑': '^', '↓': 'v', '→': '->', '–': '-', '±': '+/-', '†': '*', '“': '"', '”': '"', '’': "'", '…': '...',
          '×': 'x', '□': '?'}


def printable(text: str, encoding: str | None) -> str:
    """Return a text as it can be printed.

    Args:
        text: line breaks and tabs stay, as do a carriage return at its beginning and end, and tqdm's moves of the
            cursor.
        encoding: of the terminal; what it lacks becomes a likeness in ASCII, or `\\u2191`.
    """
    if not _MOVES.fullmatch(text):
        before, inner, after = _BAR.fullmatch(text).groups()  # type: ignore[union-attr]  # it matches any text
        text = before + _CONTROL.sub(lambda found: one_line(found[0]), inner) + after
    encoding = encoding or 'utf-8'
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return ''.join(_in(character, encoding) for character in text)
    except LookupError:
        pass
    return text


def _in(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        plain = _PLAIN.get(character, character)
        return plain.encode(encoding, 'backslashreplace').decode(encoding)
    return character


@dataclass
class Said:
    """What became of the output: `is_lost` when it could not be written, for another reason than that nobody reads."""

    is_lost: bool = False


class Screen:
    """A stream (`sys.stdout`, `sys.stderr`) that prints what is `printable`, and whose reader may go away.

    Everything else is the stream's own.

    Args:
        stream: where to print.
        said: is told when the output is lost.
    """

    def __init__(self, stream: TextIO, said: Said) -> None:
        self._stream = stream
        self._said = said

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Print a text."""
        try:
            self._stream.write(printable(text, getattr(self._stream, 'encoding', None)))
        except OSError as error:
            self._give_up(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Print texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what has been printed."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)
        except ValueError:  # it was closed
            pass

    def _give_up(self, error: OSError) -> None:
        """Print into nowhere from now on; what the stream still holds must go somewhere when Python ends."""
        if not isinstance(error, BrokenPipeError) and error.errno != errno.EINVAL:  # the latter is Windows' broken pipe
            self._said.is_lost = True
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):  # no file: a stream of tests, or of a program that calls this one
            pass


@contextmanager
def screens() -> Iterator[Said]:
    """Print through `Screen` for a while; yields what became of the output, known at the end."""
    said = Said()
    before = sys.stdout, sys.stderr
    closed = [open(os.devnull, 'w') for stream in before if stream is None]  # noqa: SIM115  `tgjar ... >&-`
    spare = iter(closed)
    mine = [Screen(stream if stream is not None else next(spare), said) for stream in before]
    sys.stdout, sys.stderr = mine
    try:
        yield said
    finally:
        for screen in mine:
            screen.flush()
        if sys.stdout is mine[0]:
            sys.stdout = before[0]
        if sys.stderr is mine[1]:
            sys.stderr = before[1]
        for stream in closed:
            stream.close()
        if said.is_lost and before[1] is not None:
            Screen(before[1], Said()).write('tgjar: the output could not be written, as on a full disk.\n')
