"""Caption files: text files and metadata.jsonl."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

METADATA = 'metadata.jsonl'


def _clean(captions: Sequence[str]) -> list[str]:
    # The public CUB captions contain undecodable bytes; AttnGAN makes them a space too.
    return [text for text in (caption.replace('\ufffd', ' ').strip() for caption in captions) if text]


def read_caption_file(path: str | os.PathLike) -> list[str]:
    """Return the captions of a sidecar file: one a line, UTF-8 with or without BOM; blank lines are left out."""
    return _clean(Path(path).read_bytes().decode('utf-8-sig', errors='replace').split('\n'))


def read_metadata(path: str | os.PathLike) -> Iterator[tuple[str, list[str], int]]:
    """Yield (file_name, captions, class_id) of every line of a `metadata.jsonl`.

    A line is `{"file_name": "004.Groove_billed_Ani/x.webp", "captions": ["...", ...], "class_id": 4}`; `class_id` may
    be missing (-1), and `"text": "..."` may stand for `captions` (as Hugging Face's image folders have it).

    Raises:
        ValueError: when a line is not like this, with its number.
    """
    lines = Path(path).read_bytes().decode('utf-8-sig', errors='replace').split('\n')
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f'{path}, line {number}: not JSON ({error}).') from error
        if not isinstance(record, dict) or not isinstance(record.get('file_name'), str):
            raise ValueError(f'{path}, line {number}: expected an object with "file_name", but got {line.strip()[:80]}')
        captions = record.get('captions', record.get('text', []))
        captions = [captions] if isinstance(captions, str) else captions
        if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
            raise ValueError(f'{path}, line {number}: "captions" must be a list of strings, not {str(captions)[:80]}')
        class_id = record.get('class_id', -1)
        if isinstance(class_id, bool) or not isinstance(class_id, int):
            raise ValueError(f'{path}, line {number}: "class_id" must be a whole number, but is {class_id!r}.')
        yield record['file_name'], _clean(captions), class_id
