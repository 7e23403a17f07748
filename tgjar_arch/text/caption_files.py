"""Caption files: text files, `metadata.jsonl` and `metadata.csv`, and why one does not fit."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tgjar_arch.file_kind import oddity
from tgjar_arch.text.encodings import UNKNOWN, decode_text
from tgjar_arch.text.limits import MAX_CAPTION, MAX_CAPTIONS, MAX_METADATA, MAX_TEXT_FILE

METADATA = 'metadata.jsonl'
METADATA_FILES = (METADATA, 'metadata.csv')  # where both name an image, the first counts
CAPTION_KEYS = ('captions', 'text', 'caption')  # the first that is not empty counts
_SIDECAR = '.txt'
_GREATEST_CLASS = 2**31 - 1
_LMDB_INDEX = 'meta_info.txt'  # BasicSR's, in every lmdb
_UNREAD = re.compile(r'(metadata|captions?)([-_ .].*)?\.(jsonl?|csv|tsv|parquet|xlsx?|txt)|.+\.caption', re.IGNORECASE)


class Misfit(NamedTuple):
    """A caption file that was found and does not fit, as a whole or in part, and why."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f'{self.path}: {self.why}.'


Tell = Callable[[Misfit], object]
"""What is called with each misfit."""


def _silent(misfit: Misfit) -> None:
    pass


def is_sidecar(name: str) -> bool:
    """Whether a file of this name has the captions of one image: `x.txt`, in upper or lower case."""
    return name.lower().endswith(_SIDECAR) and not name.startswith('.') and name.lower() != _LMDB_INDEX


def metadata_rank(name: str) -> int | None:
    """Return the place of a file of this name in `METADATA_FILES`, in upper or lower case; None if it has none."""
    return METADATA_FILES.index(name.lower()) if name.lower() in METADATA_FILES else None


def unread(folder: Path, name: str) -> Misfit | None:
    """Return why a file whose name says that it has captions is not read (`captions.json`, `x.caption`), else None.

    `captions.txt` is such a name too, unless it is the text file of a picture.
    """
    if name.startswith('.') or metadata_rank(name) is not None or not _UNREAD.fullmatch(name):
        return None
    return Misfit(folder / name, f'not read; captions are read from {", ".join(METADATA_FILES)} and x{_SIDECAR} '
                                 'beside x.jpg')


def _lines(text: str) -> list[str]:
    # Files that were joined have marks inside. A carriage return alone ended lines on old Macs.
    return [line.lstrip('\ufeff') for line in text.split('\n' if '\n' in text else '\r')]


def _read(path: Path, limit: int) -> tuple[bytes, bool]:
    """The first bytes of a file, and whether it has more than `limit`."""
    with open(path, 'rb') as file:
        content = file.read(limit + 1)
    return content[:limit], len(content) > limit


def _clean(captions: Sequence[str], shortened: set[str]) -> list[str]:
    """Captions without blank ones, at most `MAX_CAPTIONS` of at most `MAX_CAPTION` characters.

    Args:
        captions: as they were read.
        shortened: gets why some were left out or cut.
    """
    if len(captions) > MAX_CAPTIONS:
        shortened.add(f'of more than {MAX_CAPTIONS:,} captions of one image the first are taken')
    kept = []
    for caption in captions[:MAX_CAPTIONS]:
        if len(caption) > MAX_CAPTION:
            shortened.add(f'captions are cut after {MAX_CAPTION:,} characters')
        # The public CUB captions contain undecodable bytes; AttnGAN makes them a space too.
        if text := caption[:MAX_CAPTION].replace('\ufffd', ' ').strip():
            kept.append(text)
    return kept


def read_caption_file(path: str | os.PathLike[str], tell: Tell = _silent) -> list[str]:
    """Return the captions of a text file, one a line, without blank lines.

    Args:
        path: a text in UTF-8, with or without a byte order mark, or in UTF-16. Undecodable bytes become spaces.
        tell: called if bytes are undecodable, or if the encoding cannot be told, which is no caption; if `path` is no
            regular file; or if the text is longer than `tgjar_arch.text.limits` says and is cut.
    """
    path = Path(path)
    if odd := oddity(path):
        tell(Misfit(path, f'not read, it is {odd}'))
        return []
    content, longer = _read(path, MAX_TEXT_FILE)
    text, problem = decode_text(content)
    if problem:
        tell(Misfit(path, problem))
    if longer:
        tell(Misfit(path, f'only the first {MAX_TEXT_FILE:,} bytes are read, for captions are short'))
    shortened: set[str] = set()
    captions = _clean([line for line in _lines(text) if line.strip()], shortened)
    for why in sorted(shortened):
        tell(Misfit(path, why))
    return captions


def read_metadata(path: str | os.PathLike[str], tell: Tell = _silent, strict: bool = True,
                  ) -> Iterator[tuple[str, list[str], int]]:
    """Yield (file_name, captions, class_id) of every line of a `metadata.jsonl`, or every row of a `metadata.csv`.

    A line is `{"file_name": "004.Groove_billed_Ani/x.webp", "captions": ["...", ...], "class_id": 4}`; `class_id` may
    be missing (-1), and `"text": "..."` or `"caption": "..."` may stand for `captions` (as Hugging Face's image folders
    have it). A table has columns of these names, separated by commas, semicolons or tabs; several rows of one image add
    up, and a cell may have a JSON list of captions.

    Args:
        path: a file `*.csv` or `*.tsv`; any other is read as JSON lines. Encodings are those of `read_caption_file`.
        tell: called with what is found and does not fit, such as a table without the column `file_name`.
        strict: raise an error at a line of JSON that is not like this; otherwise it is left out and told.

    Raises:
        ValueError: with `strict`, when a line of JSON is not like this, with its number, the encoding cannot be told,
            or the file is too large.
    """
    path = Path(path)
    if odd := oddity(path):
        tell(Misfit(path, f'not read, it is {odd}'))
        return
    content, longer = _read(path, MAX_METADATA)
    if longer:
        why = f'has more than {MAX_METADATA:,} bytes; split it over folders'
        if strict:
            raise ValueError(f'{path}: {why}.')
        tell(Misfit(path, f'not read, it {why}'))
        return
    text, problem = decode_text(content)
    is_table = path.suffix.lower() in ('.csv', '.tsv')
    if problem == UNKNOWN and not is_table and strict:
        raise ValueError(f'{path}: {problem}.')
    if problem:
        tell(Misfit(path, problem))
    keys: set[str] = set()
    shortened: set[str] = set()
    for name, record, class_id in _rows(path, text, tell) if is_table else _records(path, text, tell, strict):
        keys |= record.keys()
        yield name, _captions(record, shortened), class_id
    for why in sorted(shortened):
        tell(Misfit(path, why))
    if keys and not keys & {*CAPTION_KEYS, 'class_id'}:
        others = ', '.join(sorted(keys - {'file_name'}))[:80] or 'nothing else'
        tell(Misfit(path, f'no captions; expected one of {", ".join(CAPTION_KEYS)} beside file_name, but got {others}'))


def _captions(record: Mapping[str, object], shortened: set[str]) -> list[str]:
    for key in CAPTION_KEYS:
        value = record.get(key)
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list) and (
                found := _clean([item for item in value if isinstance(item, str)], shortened)):
            return found
    return []


def _records(path: Path, text: str, tell: Tell, strict: bool) -> Iterator[tuple[str, dict[str, object], int]]:
    """Yield (file_name, record, class_id) of JSON lines."""
    broken = []
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        try:
            record = _record(line)
        except ValueError as error:
            if strict:
                raise ValueError(f'{path}, line {number}: {error}.') from error
            broken.append(f'line {number}: {error}')
        else:
            yield record['file_name'], record, record.get('class_id', -1)
    if broken:
        more = f', as are {len(broken) - 1} more lines' if len(broken) > 1 else ''
        tell(Misfit(path, f'{broken[0]}; it is left out{more}'))


def _record(line: str) -> dict[str, Any]:
    """Read a line of `metadata.jsonl`.

    Raises:
        ValueError: if it is not as `read_metadata` says.
    """
    try:
        record = json.loads(line)
    except RecursionError as error:
        raise ValueError('lists or objects are nested too deeply') from error
    except ValueError as error:  # also of a number of thousands of digits
        array = line.lstrip().startswith('[')
        raise ValueError('a JSON array; write one object a line instead' if array else f'not JSON ({error})') from error
    if not isinstance(record, dict) or not isinstance(record.get('file_name'), str):
        raise ValueError(f'expected an object with "file_name", but got {line.strip()[:80]}')
    for key in CAPTION_KEYS:
        value = record.get(key)
        if not (value is None or isinstance(value, str) or _are_strings(value)):
            raise ValueError(f'"{key}" must be a list of strings, not {_shown(value)}')
    class_id = record.get('class_id', -1)
    if isinstance(class_id, bool) or not isinstance(class_id, int) or abs(class_id) > _GREATEST_CLASS:
        raise ValueError(f'"class_id" must be a whole number up to {_GREATEST_CLASS:,}, but is {_shown(class_id)}')
    return record


def _shown(value: object) -> str:
    """The beginning of a value, for messages."""
    try:
        return repr(value)[:80]
    except (ValueError, RecursionError):  # a number of thousands of digits, or deep lists
        return f'a {type(value).__name__}'


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _rows(path: Path, text: str, tell: Tell) -> Iterator[tuple[str, dict[str, object], int]]:
    """Yield (file_name, record, class_id) of a table; what does not fit is told."""
    lines = iter(line + '\n' for line in _lines(text))
    head = next((line for line in lines if line.strip()), '')
    columns, delimiter = _head(head)
    if 'file_name' not in columns:
        if text.strip():
            tell(Misfit(path, f'not read, it has no column file_name; its columns are {", ".join(columns)[:80]}'))
        return
    reader = csv.reader(lines, delimiter=delimiter)
    without_name = 0
    odd_classes: list[str] = []
    try:
        for cells in reader:
            record: dict[str, object] = dict(zip(columns, cells, strict=False))
            name = str(record.get('file_name', '')).strip()
            if not name:
                without_name += any(cells)
                continue
            for key in CAPTION_KEYS:
                if key in record:
                    record[key] = _cell(str(record[key]))
            class_id, number = -1, str(record.get('class_id', '')).strip()
            if number:
                try:
                    class_id = int(number[:20])
                except ValueError:
                    odd_classes.append(number)
                if abs(class_id) > _GREATEST_CLASS:
                    class_id = -1
                    odd_classes.append(number)
            yield name, record, class_id
    except csv.Error as error:
        tell(Misfit(path, f'not read from line {reader.line_num + 1} on: {error}'))
    if without_name:
        tell(Misfit(path, f'{without_name} rows without a file_name are left out'))
    if odd_classes:
        tell(Misfit(path, f'class_id must be a whole number, but is {odd_classes[0][:40]!r} in one of '
                          f'{len(odd_classes)} rows; it is left out there'))


def _head(line: str) -> tuple[list[str], str]:
    """Return the names of the columns, and what separates them."""
    found: list[tuple[list[str], str]] = []
    for delimiter in ',;\t':
        try:
            cells = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:  # as of a line that is too long
            cells = []
        found.append(([cell.strip().lower() for cell in cells], delimiter))
    return max(found, key=lambda pair: ('file_name' in pair[0], len(pair[0])))


def _cell(text: str) -> list[str]:
    if text.lstrip().startswith('['):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return [text]
        if _are_strings(value):
            return list(value)
    return [text]
