"""Which files `tgjar restore` takes, and where the results go."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tgjar_arch.pictures.files import image_name, list_images
from tgjar_arch.pictures.write import FORMATS
from tgjar_arch.text.caption_files import METADATA, read_metadata

JPEG_SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif')


@dataclass(frozen=True)
class Job:
    """One file to restore: where it is, the folder that names count from, and where the result goes."""

    source: Path
    root: Path
    target: Path


@dataclass(frozen=True)
class FoundImages:
    """The pictures of an input.

    Attributes:
        root: the folder that names count from.
        files: the pictures.
        left_out: how many pictures of other formats are left out.
        unreadable: folder -> why it cannot be read.
    """

    root: Path
    files: Sequence[Path]
    left_out: int = 0
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

    found = [file for file in (path / name for name in sorted(list_images(path, failed)))
             if not file.resolve().is_relative_to(results)]
    files = [file for file in found if force or file.suffix.lower() in JPEG_SUFFIXES]
    if not files:
        more = f', but {len(found)} pictures of other formats; --force restores them' if found else ''
        more += ''.join(f'; {folder}: {why}' for folder, why in unreadable.items())
        raise ValueError(f'{path} has no JPEG file ({" ".join(JPEG_SUFFIXES)}){more}.')
    return FoundImages(path, files, len(found) - len(files), unreadable)


def plan(root: Path, files: Sequence[Path], output: Path, suffix: str = '.png') -> list[Job]:
    """Where each result goes: the same place below `output`, or `output` itself if it is named as a picture.

    Results that would have one name keep the suffix of their source: `a.jpg.png`, `a.jpeg.png`; those that differ only
    in upper and lower case, which is one name on many disks, are numbered as well: `A.jpg.png`, `a.jpg.2.png`.
    """
    if output.suffix.lower() in FORMATS and not output.is_dir():
        return [Job(files[0], root, output)]
    names = [file.relative_to(root).as_posix() for file in files]
    short = [f'{image_name(name)}{suffix}' for name in names]
    counts = Counter(name.lower() for name in short)
    long = {f'{name}{suffix}'.lower() for name in names}
    jobs, taken = [], set()
    for file, name, brief in zip(files, names, short, strict=True):
        target = brief if counts[brief.lower()] == 1 and brief.lower() not in long else f'{name}{suffix}'
        number = 1
        while target.lower() in taken or number > 1 and target.lower() in long | counts.keys():
            number += 1
            target = f'{name}.{number}{suffix}'
        taken.add(target.lower())
        jobs.append(Job(file, root, output / target))
    return jobs


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
