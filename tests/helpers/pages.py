"""README.md, CONTRIBUTING.md and the pages of docs/, and the code blocks in them."""

import re
import shlex
from pathlib import Path

from tests.helpers.checkout import ROOT

PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]


def name_of(page: Path) -> str:
    """Path below the checkout, which also names a test's parameter."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """Content of the fenced code blocks of one language."""
    return re.findall(rf'^```{language}\n(.*?)^```', page.read_text('utf-8'), re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[list[str]]:
    """Words of each command of a bash block; continued lines are one, comments are left out."""
    lines = block.replace('\\\n', ' ').splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def tgjar_arguments(words: list[str]) -> list[str] | None:
    """What follows `tgjar`, or `-m tgjar_arch` under torchrun; None for another program."""
    if words[0] == 'tgjar':
        return words[1:]
    if 'tgjar_arch' in words:
        return words[words.index('tgjar_arch') + 1:]
    return None
