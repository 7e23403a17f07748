"""From originals to a prepared data set: crop, resize, encode, write `metadata.jsonl`; in parallel, resumable."""

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import ExifTags, Image, TiffImagePlugin
from tqdm import tqdm

from tgjar_arch.atomic_file import atomic
from tgjar_arch.datasets.prepare.formats import FORMATS
from tgjar_arch.file_kind import oddity
from tgjar_arch.jpeg.codec import is_cut_short
from tgjar_arch.text.caption_files import METADATA

SETTINGS = 'prepare.json'


@dataclass(frozen=True)
class Item:
    """One image to prepare.

    Args:
        source: the original file.
        name: path of the result from the split's folder, with '/' and without a suffix.
        captions: its captions.
        class_id: its class, -1 where there is none.
        crop: `crop(width, height)` returns the box (left, upper, right, lower) in pixels to keep; None for the whole.
        problem: why it cannot be prepared, when that is known beforehand.
    """

    source: Path
    name: str
    captions: tuple[str, ...]
    class_id: int = -1
    crop: Callable[[int, int], tuple[int, int, int, int]] | None = None
    problem: str = ''


@dataclass(frozen=True)
class Plan:
    """What a data set's module found.

    Args:
        dataset: its name.
        splits: split -> its images.
        expected: split -> number of images of the complete data set; `total` counts all splits.
        settings: what the result depends on, besides size and format.
        notes: lines to tell the user.
        problems: path -> what is wrong, of files that belong to no split.
    """

    dataset: str
    splits: dict[str, list[Item]]
    expected: dict[str, int]
    settings: dict[str, str | int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problems: dict[Path, str] = field(default_factory=dict)

    def check_counts(self) -> None:
        """Make sure that the data set is complete.

        Raises:
            ValueError: when a split has more or fewer images than published.
        """
        found = {split: len(items) for split, items in self.splits.items()}
        found['total'] = sum(found.values())
        wrong = [f'{count:,} ({split}), found {found.get(split, 0):,}' for split, count in self.expected.items()
                 if found.get(split, 0) != count]
        if wrong:
            raise ValueError(f'{self.dataset} is not complete or is split otherwise: expected {"; ".join(wrong)} '
                             'images. To prepare what is there, give --subset.')


@dataclass(frozen=True)
class Encoding:
    """How results are written: `size` of the shorter side in pixels, None as it is; `format`, a key of `FORMATS`;
    `quality` 1 to 100 of the lossy ones."""

    size: int | None = None
    format: str = 'png'
    quality: int = 95

    def save(self, image: Image.Image, path: Path) -> None:
        # Chroma at full resolution: what is a target of training must not have the artifacts that are to be removed.
        options = {'png': {}, 'webp': {'quality': self.quality, 'method': 4},
                   'jpg': {'quality': self.quality, 'subsampling': 0}}[self.format]
        with atomic(path) as temporary:
            image.save(temporary, format=FORMATS[self.format], **options)


@dataclass
class Result:
    """How many images were written, how many of an earlier run were kept, and what failed: file -> why."""

    written: int = 0
    kept: int = 0
    failed: dict[Path, str] = field(default_factory=dict)


def resize_shorter(image: Image.Image, size: int) -> Image.Image:
    """Return the image with its shorter side `size` pixels long, bilinear with antialiasing as torchvision's `Resize`.

    The longer side is rounded to the nearest pixel, which keeps the proportions better than rounding down.
    """
    target = shorter_size(*image.size, size)
    return image if image.size == target else image.resize(target, Image.Resampling.BILINEAR)


def shorter_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height in pixels of `resize_shorter`'s result."""
    return (size, round(size * height / width)) if width <= height else (round(size * width / height), size)


def load(item: Item, size: int | None = None) -> Image.Image:
    """Return the image of an item as it is to be written: RGB, cropped and resized.

    The pixels are taken as stored: boxes count in them, and AttnGAN looks at no EXIF orientation either.

    Raises:
        OSError: when the file is missing, broken or truncated.
        ValueError: when it is no regular file, has more than 8 bits a channel or is CMYK, or the crop leaves nothing.
    """
    with _open(item.source) as opened:
        if opened.mode.startswith(('I', 'F')):
            raise ValueError(f'it has pixels of mode {opened.mode}; convert it to 8 bits a channel')
        if (bits := _bits(opened, item.source)) > 8:
            raise ValueError(f'it has {bits} bits a channel; convert it to 8')
        if opened.mode == 'CMYK':
            raise ValueError('it is CMYK, whose colours depend on the printer; convert it to sRGB')
        image = opened.convert('RGB')
    if item.crop is not None:
        box = item.crop(*image.size)
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ValueError(f'the box {box} leaves nothing of {image.width} x {image.height} pixels')
        image = image.crop(box)
    image = image if size is None else resize_shorter(image, size)
    image.info.clear()  # a colour profile would be copied, and some readers would apply it
    return image


def _open(path: Path) -> Image.Image:
    """`Image.open`, which would wait for ever at a named pipe, and read on without end from some devices."""
    if odd := oddity(path):
        raise ValueError(f'it is {odd}')
    return Image.open(path)


def _bits(image: Image.Image, path: Path) -> int:
    """Bits a channel in the file; Pillow opens 16-bit colour as 8-bit, without a word."""
    if image.format == 'PNG':
        with open(path, 'rb') as file:
            return file.read(25)[24]  # of the header chunk
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(ExifTags.Base.BitsPerSample) or (8,))
    return 8


def is_whole(target: Path, item: Item, size: int | None = None) -> bool:
    """Whether the result of an earlier run can be kept: it decodes, and has the size that it is to have.

    Where the original is gone, its size is not known, and decoding is all that is asked for.
    """
    try:
        with Image.open(target) as image:
            image.load()
            found = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # as Pillow raises them
        return False
    if target.suffix == '.jpg' and is_cut_short(target.read_bytes()):  # which Pillow overlooks
        return False
    try:
        with _open(item.source) as image:
            expected = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return True
    if item.crop is not None:
        left, upper, right, lower = item.crop(*expected)
        expected = right - left, lower - upper
    return found == (expected if size is None or min(expected) < 1 else shorter_size(*expected, size))


def claim_folder(output: Path, settings: Mapping[str, str | int | None]) -> None:
    """Mark a folder as the result of these settings, in `prepare.json`.

    Raises:
        ValueError: when the folder has other content, or the result of other settings.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f'{output} is a file; name a folder.')
    marker = output / SETTINGS
    advice = 'nothing was changed; name another folder, or delete this one first.'
    if marker.is_file():
        try:
            there = json.loads(marker.read_text(encoding='utf-8'))
        except ValueError:
            there = None
        if not isinstance(there, dict):
            raise ValueError(f'{marker} is damaged; {advice}')
        other = [f'{key} {there.get(key)} (now {settings.get(key)})' for key in sorted({*there, *settings})
                 if there.get(key) != settings.get(key)]
        if other:
            raise ValueError(f'{output} was prepared with {", ".join(other)}; {advice}')
        return
    if output.is_dir() and any(not path.name.startswith('.') for path in output.iterdir()):
        raise ValueError(f'{output} is not empty, and not a result of `tgjar prepare`; {advice}')
    write_text(marker, json.dumps(settings, indent=2) + '\n')


def write_text(path: Path, text: str) -> None:
    """Write a text file, unless it is there already with this content."""
    if not path.is_file() or path.read_bytes() != text.encode():
        with atomic(path) as temporary:
            temporary.write_bytes(text.encode())


@dataclass(frozen=True)
class _Task:
    """What a worker process does with one item; a class, since workers cannot be sent a nested function."""

    folder: Path
    encoding: Encoding

    def target(self, item: Item) -> Path:
        return self.folder / f'{item.name}.{self.encoding.format}'

    def __call__(self, item: Item) -> tuple[bool, str]:
        """Return whether the image was written now, and what failed or ''."""
        if item.problem:
            return False, item.problem
        target = self.target(item)
        if target.is_file():
            if is_whole(target, item, self.encoding.size):
                return False, ''
            target.unlink()  # should it fail to be made again, nothing damaged stays
        try:
            self.encoding.save(load(item, self.encoding.size), target)
        except FileNotFoundError:
            return False, 'there is no such file'
        # Pillow raises these for what is no image, broken or a decompression bomb.
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return False, f'{type(error).__name__}: {error}'
        return True, ''


def run_split(items: list[Item], folder: Path, encoding: Encoding, jobs: int = 1, quiet: bool = False) -> Result:
    """Prepare the images of one split; one bad file never stops the rest.

    Results of an earlier run are kept if they are whole. `metadata.jsonl` lists, by name, the images that are there.

    Args:
        items: the images.
        folder: the split's folder.
        encoding: how to write them.
        jobs: number of processes; 1 works in this one.
        quiet: no progress bar.
    """
    task, result = _Task(folder, encoding), Result()
    lines = []
    with _mapper(jobs, len(items)) as mapped, tqdm(total=len(items), unit='image', desc=folder.name,
                                                   disable=quiet) as progress:
        for item, (written, reason) in zip(items, mapped(task, items), strict=True):
            progress.update()
            if reason:
                result.failed[item.source] = reason
                continue
            result.written += written
            result.kept += not written
            lines.append(json.dumps({'file_name': task.target(item).relative_to(folder).as_posix(),
                                     'captions': list(item.captions), 'class_id': item.class_id}, ensure_ascii=False))
    if lines:
        write_text(folder / METADATA, '\n'.join(sorted(lines)) + '\n')
    return result


def _leave_the_end_to_the_parent() -> None:
    """Ctrl-C and a closed terminal are the parent's to handle: it cancels what has not begun, and the workers finish
    their image. TERM, which ends a worker, removes what it has begun to write."""
    for name in ('SIGINT', 'SIGHUP'):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@contextmanager
def _mapper(jobs: int, count: int) -> Iterator[Callable]:
    jobs = min(jobs, count)
    if jobs <= 1:
        yield map
        return
    with ProcessPoolExecutor(jobs, initializer=_leave_the_end_to_the_parent) as pool:
        chunk = max(1, min(16, count // (4 * jobs)))
        yield lambda task, items: pool.map(task, items, chunksize=chunk)
