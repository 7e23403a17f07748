"""Which files `tgjar restore` takes, and where the results go."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tgjar_arch.atomic_file import MAX_NAME, fitting_name
from tgjar_arch.pictures.files import ALL_SUFFIXES, image_name, is_jpeg_file, list_images
from tgjar_arch.pictures.write import FORMATS
from tgjar_arch.text.caption_files import METADATA, read_metadata


@dataclass(frozen=True)
class Job:
    """One file to restore.

    Attributes:
        source: the file.
        root: the folder that names count from.
        target: where the result goes.
        copy: where the file goes if it is copied and not restored.
    """

    source: Path
    root: Path
    target: Path
    copy: Path


@dataclass(frozen=True)
class FoundImages:
    """The pictures of an input.

    Attributes:
        root: the folder that names count from.
        files: the pictures.
        left_out: pictures of other formats, which are left out.
        unreadable: folder -> why it cannot be read.
    """

    root: Path
    files: Sequence[Path]
    left_out: Sequence[Path] = ()
    unreadable: Mapping[Path, str] = field(default_factory=dict)


def find_images(path: Path, output: Path, force: bool = False) -> FoundImages:
    """Find the pictures: `path` itself, or in any depth below it, but not in `output`.

    Args:
        path: a picture, or a folder.
        output: folder of the results.
        force: in a folder, take pictures that are not JPEG files too.

    Raises:
        FileNotFoundError: if `path` does not exist.
        OSError: if the folder cannot be read.
        ValueError: if the folder has no file to restore, or is the output.
    """
    if path.is_file():
        return FoundImages(path.parent, [path])
    if not path.is_dir():
        raise FileNotFoundError(f'{path} does not exist.')
    if output.is_dir() and output.samefile(path):
        raise ValueError(f'input and output are the same folder {path}; name another for the results.')
    results = output.resolve()
    unreadable = {}

    def failed(error: OSError) -> None:
        if Path(error.filename) == path:
            raise type(error)(f'the folder {path} cannot be read: {error.strerror}.')
        unreadable[Path(error.filename)] = f'the folder cannot be read: {error.strerror}'

    found = [file for file in (path / name for name in sorted(list_images(path, failed, ALL_SUFFIXES)))
             if not file.resolve().is_relative_to(results)]
    files = [file for file in found if force or is_jpeg_file(file)]
    if not files:
        more = f', but {len(found)} pictures of other formats; --force restores them' if found else ''
        more += ''.join(f'; {folder}: {why}' for folder, why in unreadable.items())
        raise ValueError(f'{path} has no JPEG file{more}.')
    chosen = set(files)
    return FoundImages(path, files, [file for file in found if file not in chosen], unreadable)


def is_picture_name(output: Path) -> bool:
    """Whether an output is one picture: it is named as one, and is no folder.

    Raises:
        ValueError: if it is named as a picture of a format that is not written.
    """
    suffix = output.suffix.lower()
    if output.is_dir() or suffix not in FORMATS and suffix not in ALL_SUFFIXES:
        return False
    if suffix not in FORMATS:
        raise ValueError(f'{output}: results are written as {" ".join(FORMATS)}, not as {suffix}; name one of these, '
                         'or make the folder first if it is to be one.')
    return True


def plan(found: Sequence[FoundImages], output: Path, suffix: str = '.png') -> list[Job]:
    """Where each result goes: the same place below `output`, or `output` itself if it is named as a picture.

    A file that is found twice is restored once. Results that would have one name keep the suffix of their source:
    `a.jpg.png`, `a.jpeg.png`. Those that differ only in upper and lower case, which is one name on many disks, and
    those of several inputs that have one name are numbered as well: `A.jpg.png`, `a.jpg.2.png`. A name that is too long
    for a disk is cut.
    """
    unique: dict[Path, tuple[Path, Path]] = {}  # file -> itself and its root
    for images in found:
        for file in images.files:
            unique.setdefault(file.absolute(), (file, images.root))
    files, roots = [file for file, _ in unique.values()], [root for _, root in unique.values()]
    if is_picture_name(output):
        return [Job(files[0], roots[0], output, output)]
    names = [file.relative_to(root).as_posix() for file, root in zip(files, roots, strict=True)]
    short = [f'{image_name(name)}{suffix}' for name in names]
    counts = Counter(name.lower() for name in short)
    long = {f'{name}{suffix}'.lower() for name in names}
    targets, taken = [], set()
    for name, brief in zip(names, short, strict=True):
        target = brief if counts[brief.lower()] == 1 and brief.lower() not in long else f'{name}{suffix}'
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
    return [Job(file, root, output / _fitting(target), output / _fitting(copy))
            for file, root, target, copy in zip(files, roots, targets, copies, strict=True)]


def _fitting(place: str) -> Path:
    path = Path(place)
    return path if len(os.fsencode(path.name)) <= MAX_NAME else path.with_name(fitting_name(path.stem, path.suffix))


def check_metadata(jobs: Sequence[Job]) -> None:
    """Find a mistake in a `metadata.jsonl`, which would stop all its files.

    Raises:
        ValueError: with file and line.
    """
    folders = {folder for job in jobs for folder in job.source.parents if folder.is_relative_to(job.root)}
    for folder in sorted(folders):
        if (folder / METADATA).is_file():
            for _ in read_metadata(folder / METADATA):
                pass
