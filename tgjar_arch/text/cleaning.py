"""Captions from files of strangers, made safe to show."""

from __future__ import annotations

import unicodedata

_JOINERS = '\u200c\u200d'  # of emoji and of some scripts: formatting characters that belong to the text


def clean(text: str) -> str:
    """Return a text on one line: without control characters, white space folded to single spaces."""
    kept = []
    for character in text.replace('\ufffd', ' '):
        kind = unicodedata.category(character)
        if character.isspace():
            kept.append(' ')
        # Cf has the switches of writing direction, but also what holds emoji together.
        elif kind not in ('Cc', 'Cs', 'Cf') or character in _JOINERS or '\U000e0020' <= character <= '\U000e007f':
            kept.append(character)
    return ' '.join(''.join(kept).split())
