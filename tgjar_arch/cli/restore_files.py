"""Which files `tgjar restore` takes, and where the results go."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tgjar_arch.atomic_file import MAX_NAME, fitting_name
from tgjar_arch.file_kind import oddity
from tgjar_arch.pictures.files import ALL_SUFFIXES, JPEG_SUFFIXES, UNREAD_SUFFIXES, image_name, list_images
from tgjar_arch.pictures.write import FORMATS


@dataclass(frozen=True)
class Job:
    """One file to restore.

    Attributes:
        source: the file.
        root: the folder that names count from.
        target: where the result goes.
        copy: where the file goes if it is copied and not restored.
        named: whether it was named itself, and not found in a folder.
    """

    source: Path
    root: Path
    target: Path
    copy: Path
    named: bool = False


@dataclass(frozen=True)
class FoundImages:
    """The pictures of an input.

    Attributes:
        root: the folder that names count from.
        files: the pictures.
        named: whether the input is a picture itself.
        odd: entry with the name of a picture that is no file -> what it is, such as 'a named pipe'.
        unreadable: folder -> why it cannot be read.
    """

    root: Path
    files: Sequence[Path]
    named: bool = False
    odd: Mapping[Path, str] = field(default_factory=dict)
    unreadable: Mapping[Path, str] = field(default_factory=dict)


def find_images(path: Path, output: Path) -> FoundImages:
    """Find the pictures: `path` itself, or in any depth below it, but not in `output`.

    In a folder these are all files with the suffix of a picture, and all with the content of a JPEG file.

    Args:
        path: a picture, or a folder.
        output: folder of the results.

    Raises:
        FileNotFoundError: if `path` does not exist.
        OSError: if the folder cannot be read.
        ValueError: if `path` is neither file nor folder, if the folder has no picture, or is the output.
    """
    try:
        odd = oddity(path)
    except FileNotFoundError:
        raise FileNotFoundError(f'{path} does not exist.') from None
    if odd is None:
        return FoundImages(path.parent, [path], named=True)
    if not path.is_dir():
        raise ValueError(f'{path} is {odd}; name a file or a folder.')
    if output.is_dir() and output.samefile(path):
        raise ValueError(f'input and output are the same folder {path}; name another for the results.')
    results = output.resolve()
    unreadable: dict[Path, str] = {}
    oddities: dict[Path, str] = {}

    def failed(error: OSError) -> None:
        if Path(error.filename) == path:
            raise type(error)(f'the folder {path} cannot be read: {error.strerror}.')
        unreadable[Path(error.filename)] = f'the folder cannot be read: {error.strerror}'

    names = sorted(list_images(path, failed, ALL_SUFFIXES + UNREAD_SUFFIXES, oddities.__setitem__, by_content=True))
    files = [file for file in (path / name for name in names) if not file.resolve().is_relative_to(results)]
    if not files:
        more = ''.join(f'; {place}: {why}' for place, why in {**unreadable, **oddities}.items())
        raise ValueError(f'{path} has no JPEG file, nor another picture{more}.')
    return FoundImages(path, files, odd=oddities, unreadable=unreadable)


def is_picture_name(output: Path) -> bool:
    """Whether an output is one picture: it is named as one, and is no folder.

    Raises:
        ValueError: if it is named as a picture of a format that is not written.
    """
    suffix = output.suffix.lower()
    if output.is_dir() or suffix not in (*FORMATS, *ALL_SUFFIXES, *UNREAD_SUFFIXES, '.pdf'):
        return False
    if suffix not in FORMATS:
        raise ValueError(f'{output}: results are written as {" ".join(FORMATS)}, not as {suffix}; name one of these, '
                         'or make the folder first if it is to be one.')
    return True


def plan(found: Sequence[FoundImages], output: Path, suffix: str = '.png') -> list[Job]:
    """Where each result goes: the same place below `output`, or `output` itself if it is named as a picture.

    A file that is found twice is restored once. Results that would have one name keep the suffix of their source:
    `a.jpg.png`, `a.jpeg.png`. A single JPEG file among them does not: `a.jpg` becomes `a.png`, and `a.webp` becomes
    `a.webp.png`. Those that differ only in upper and lower case, which is one name on many disks, and those of several
    inputs that have one name are numbered as well: `A.jpg.png`, `a.jpg.2.png`. A name that is too long for a disk is
    cut.
    """
    unique: dict[Path, tuple[Path, Path]] = {}  # absolute path -> file and its root
    for images in found:
        for file in images.files:
            unique.setdefault(file.absolute(), (file, images.root))
    by_name = {file.absolute() for images in found if images.named for file in images.files}
    files, roots = [file for file, _ in unique.values()], [root for _, root in unique.values()]
    named = [file in by_name for file in unique]
    if is_picture_name(output):
        return [Job(files[0], roots[0], output, output, named[0])]
    names = [file.relative_to(root).as_posix() for file, root in zip(files, roots, strict=True)]
    short = [f'{image_name(name)}{suffix}' for name in names]
    counts = Counter(name.lower() for name in short)
    jpegs = Counter(brief.lower() for name, brief in zip(names, short, strict=True) if _is_jpeg_name(name))
    long = {f'{name}{suffix}'.lower() for name in names}
    targets, taken = [], set()
    for name, brief in zip(names, short, strict=True):
        alone = counts[brief.lower()] == 1 or _is_jpeg_name(name) and jpegs[brief.lower()] == 1
        target = brief if alone and brief.lower() not in long else f'{name}{suffix}'
        number = 1
        while target.lower() in taken or number > 1 and target.lower() in long | counts.keys():
            number += 1
            target = f'{name}.{number}{suffix}'
        taken.add(target.lower())
        targets.append(target)
    copies = []
    for name, target in zip(names, targets, strict=True):
        copy, number = name, 1
        while copy.lower() in taken and copy != target:
            number += 1
            copy = f'{image_name(name)}.{number}{Path(name).suffix}'
        taken.add(copy.lower())
        copies.append(copy)
    return [Job(file, root, output / _fitting(target), output / _fitting(copy), is_named)
            for file, root, target, copy, is_named in zip(files, roots, targets, copies, named, strict=True)]


def _is_jpeg_name(name: str) -> bool:
    return name.lower().endswith(JPEG_SUFFIXES)


def _fitting(place: str) -> Path:
    path = Path(place)
    return path if len(os.fsencode(path.name)) <= MAX_NAME else path.with_name(fitting_name(path.stem, path.suffix))
