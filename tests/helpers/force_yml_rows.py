"""The option files, and the `--force_yml` entries that their comments show, for the tests that try them out."""

import re
import shlex
from pathlib import Path

OPTIONS = Path(__file__).resolve().parents[2] / 'options'
FILES = sorted(OPTIONS.rglob('*.yml'))


def option_file(name: str) -> Path:
    (path,) = [file for file in FILES if file.stem == name]
    return path


def rows(path: Path) -> dict[str, list[str]]:
    """Entries by their label: comment lines of nothing but `key=value`, below a comment line that ends in a colon."""
    found: dict[str, list[str]] = {}
    label = None
    for line in path.read_text(encoding='utf-8').splitlines():
        entries = re.fullmatch(r'# {7,}(?:--force_yml )?((?:\S+=\S+ ?)+)', line)
        if entries and label:
            found.setdefault(label, []).extend(shlex.split(entries[1]))  # quoted for the shell where it has brackets
        else:
            label = line.removeprefix('# ').removesuffix(':') if re.fullmatch('#.*:', line) else None
    return found
