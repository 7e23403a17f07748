"""Which picture a caption file means: names as people, archives and file systems write them."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable

from tgjar_arch.pictures.files import image_name


def folded(name: str) -> str:
    """Return a path in one way of writing: '/' for a backslash, no `./`, Unicode's composed form (NFC).

    macOS writes names in the decomposed form, Windows separates folders with backslashes.
    """
    return unicodedata.normalize('NFC', posixpath.normpath(name.replace('\\', '/')))


class NameIndex:
    """Finds names: the same one, else one that is written in another way (`folded`) if only one is.

    Args:
        names: of images, without their suffix (`tgjar_arch.pictures.files.image_name`).
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        ways = Counter(map(folded, self._names))
        self._folded = {key: name for name in self._names if ways[key := folded(name)] == 1}

    def find(self, name: str) -> str | None:
        """Return the name that `name` means, or None."""
        return name if name in self._names else self._folded.get(folded(name))


def sidecar_stem(path: str) -> str:
    """Return the path of a text file without its `.txt` (or `.TXT`)."""
    return path[:-len('.txt')]


def match_sidecars(names: Iterable[str], files: Iterable[str]) -> dict[str, list[str]]:
    """Return image name -> its text files, the one that counts first: `x.txt`, `X.TXT`, `x.jpg.txt`.

    Args:
        names: of images, without their suffix.
        files: paths of text files, from the folder that names count from.
    """
    index = NameIndex(names)
    found: dict[str, list[tuple[bool, bool, str, bool, str]]] = {}
    for file in files:
        stem = sidecar_stem(file)
        whole = index.find(stem)
        name = whole if whole is not None else index.find(image_name(stem))
        if name is not None:
            found.setdefault(name, []).append((whole is None, stem != name, stem, not file.endswith('.txt'), file))
    return {name: [file for *_, file in sorted(ranked)] for name, ranked in found.items()}
