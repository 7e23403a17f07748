"""Which image of a data set is for training and which for testing: class lists and AttnGAN's name lists."""

import hashlib
import json
import pickle
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tgjar_arch.pictures.files import image_name

EXPECTED = ('expected {"train": [names], "test": [names]} or {"test_classes": [numbers]} (.json), a list of the test '
            'classes (.txt), or a folder with train/filenames.pickle and test/filenames.pickle, or with '
            'testclasses.txt')


@dataclass(frozen=True)
class Split:
    """The training and test images of a data set, by class or by name.

    Args:
        test_classes: numbers of the test classes, all others are for training; or
        train: names of the training images, as `image_name` has them, and
        test: names of the test images.
    """

    test_classes: frozenset[int] = frozenset()
    train: frozenset[str] = frozenset()
    test: frozenset[str] = frozenset()

    @classmethod
    def by_class(cls, test_classes: Collection[int]) -> 'Split':
        return cls(test_classes=frozenset(test_classes))

    def part(self, name: str, class_id: int) -> str | None:
        """Return 'train' or 'test', or None for an image that the lists of names leave out."""
        if self.test_classes:
            return 'test' if class_id in self.test_classes else 'train'
        return 'train' if name in self.train else 'test' if name in self.test else None

    @property
    def digest(self) -> str:
        """Eight characters that differ between different splits."""
        content = repr([sorted(self.test_classes), sorted(self.train), sorted(self.test)])
        return hashlib.sha256(content.encode()).hexdigest()[:8]


def find_split(folder: Path) -> Path | None:
    """Return the split that lies in a data set's own folder: a JSON file, or the folder with the lists; else None."""
    if (folder / 'split.json').is_file():
        return folder / 'split.json'
    return folder if _pickles(folder)[0].is_file() or (folder / 'testclasses.txt').is_file() else None


def read_split(path: Path) -> Split:
    """Read a split.

    Args:
        path: a `.json` file with `{"train": [...], "test": [...]}` (image names, with or without `.jpg`) or
            `{"test_classes": [...]}`; a text file with one test class a line (`5`, `class_00005`,
            `005.Crested_Auklet`); or a folder with such a `testclasses.txt` (Reed et al.), or with
            `train/filenames.pickle` and `test/filenames.pickle` (AttnGAN, StackGAN).

    Raises:
        FileNotFoundError: when there is nothing of the kind.
        ValueError: when a file is not like this, or an image is in both parts.
    """
    if path.is_dir():
        train, test = _pickles(path)
        if train.is_file():
            return _by_name(path, _read_pickle(train), _read_pickle(test))
        path = path / 'testclasses.txt'
    if not path.is_file():
        raise FileNotFoundError(f'there is no split {path}; {EXPECTED}.')
    if path.suffix == '.pickle':
        raise ValueError(f'{path} is one half of a split; name the folder that has train/ and test/.')
    text = path.read_bytes().decode('utf-8-sig', errors='replace')
    if path.suffix != '.json':
        return Split.by_class([_class_number(path, line) for line in text.splitlines() if line.strip()])
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'{path} is not JSON ({error}); {EXPECTED}.') from error
    if not isinstance(content, dict) or not ({'train', 'test'} <= content.keys() or content.get('test_classes')):
        raise ValueError(f'{path} is no split; {EXPECTED}.')
    if content.get('test_classes'):
        return Split.by_class([_class_number(path, str(line)) for line in content['test_classes']])
    return _by_name(path, content['train'], content['test'])


def _pickles(folder: Path) -> tuple[Path, Path]:
    return folder / 'train' / 'filenames.pickle', folder / 'test' / 'filenames.pickle'


def _class_number(path: Path, line: str) -> int:
    number = re.search(r'\d+', line)
    if number is None:
        raise ValueError(f'{path}: a class is a number, class_00005 or 005.Crested_Auklet, but got {line.strip()!r}.')
    return int(number[0])


def _by_name(path: Path, train: list[str], test: list[str]) -> Split:
    parts = []
    for names in (train, test):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f'{path}: the training and the test images must each be a list of names.')
        # StackGAN's flowers are `jpg/image_00001`; elsewhere names start below the folder of the images.
        parts.append(frozenset(image_name(name).removeprefix('jpg/') for name in names))
    both = parts[0] & parts[1]
    if both or not parts[0] | parts[1]:
        what = f'{min(both)} is for training and for testing' if both else 'there is no image'
        raise ValueError(f'{path}: {what}; {EXPECTED}.')
    return Split(train=parts[0], test=parts[1])


class _TextOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> None:
        raise pickle.UnpicklingError(f'it asks for {module}.{name}, which a list of names does not need and '
                                     'which could run any program')


def _read_pickle(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f'{path} is missing; {EXPECTED}.')
    with open(path, 'rb') as file:
        try:
            return _TextOnly(file, encoding='latin1').load()
        except Exception as error:  # a damaged pickle raises almost anything
            raise ValueError(f'{path} is no list of names: {error}.') from error
