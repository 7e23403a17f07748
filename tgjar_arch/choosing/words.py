"""Words that a caption can be composed of: colours and things, built in or from a file."""

import os
import re
from collections.abc import Iterable

from tgjar_arch.text.caption_files import read_caption_file
from tgjar_arch.text.cleaning import clean

BUILT_IN = 'default'  # stands for the built-in list where a file could be named

COLOURS = tuple('black white grey brown red orange yellow green blue purple pink golden silver beige turquoise '
                'dark light bright pale colorful'.split())
THINGS = tuple(
    'bird head crown bill beak eye throat breast belly wings back tail feathers '  # the parts that CUB's captions name
    'flower petals leaves stem center '
    'striped spotted small large long round wooden metal wet '
    'sky clouds sun sunset night snow fog water sea lake river beach sand rock mountain hill field grass tree forest '
    'branch road street bridge building house roof wall brick window door tower fence garden '
    'room floor table chair bed carpet curtain glass plate cup food fruit book paper sign '
    'man woman child people face hair skin hand shirt dress jacket hat helmet '
    'dog cat horse cow sheep fish insect car bus train boat plane bicycle '
    'background shadow light'.split())
WORDS = tuple(dict.fromkeys(COLOURS + THINGS))
"""The built-in list, each word once."""


def read_words(path: str | os.PathLike[str]) -> list[str]:
    """Return the words of a text file, one a line (a line may also be a phrase), each once.

    Args:
        path: a text as of `tgjar_arch.text.caption_files.read_caption_file`; or `default`, for the built-in list, where
            no file has that name.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it has no word, or is no text.
    """
    if os.fspath(path) == BUILT_IN and not os.path.exists(path):
        return list(WORDS)
    if not os.path.exists(path):
        raise FileNotFoundError(f'the word list {path} does not exist; give a text file with one word a line, or '
                                f'{BUILT_IN}.')
    misfits: list[str] = []
    lines = read_caption_file(path, lambda misfit: misfits.append(misfit.why))
    words = [word for line in lines if (word := clean(line))]
    if not words:
        why = f' ({misfits[0]})' if misfits else ''
        raise ValueError(f'the word list {path} has no words{why}; write one a line.')
    return list(dict.fromkeys(words))


def words_of(captions: Iterable[str]) -> list[str]:
    """Return the words of captions in lower case, each once, in their order."""
    return list(dict.fromkeys(word for caption in captions for word in re.findall(r'\w+', caption.lower())))
