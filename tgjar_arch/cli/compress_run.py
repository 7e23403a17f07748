"""What `tgjar compress` does once its arguments are read: JPEG files that carry their captions."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tgjar_arch.atomic_file import MAX_NAME, atomic, fitting_name
from tgjar_arch.file_kind import oddity
from tgjar_arch.jpeg.codec import encode
from tgjar_arch.jpeg.segments import add_segments
from tgjar_arch.pictures.captions import find_caption, is_caption
from tgjar_arch.pictures.files import ALL_SUFFIXES, JPEG_SUFFIXES, UNREAD_SUFFIXES, list_images
from tgjar_arch.pictures.limits import MAX_PIXELS
from tgjar_arch.pictures.photo import Photo, read_photo
from tgjar_arch.pictures.write import to_srgb, upright_exif
from tgjar_arch.text.cleaning import clean

_LONGEST_SIDE = 65500  # of libjpeg


@dataclass(frozen=True)
class Job:
    """One image to compress: where it is, the folder that names count from, and where the result goes."""

    source: Path
    root: Path
    target: Path


@dataclass(frozen=True)
class CompressSettings:
    """How images are compressed.

    Attributes:
        qf: quality factor, 1 to 100.
        chroma: subsampling, one of `tgjar_arch.jpeg.settings.CHROMA`.
        caption: of every image; None: each file's own.
        max_side: reduce pictures until their longer side has this many pixels; they are never enlarged.
        strip: leave out EXIF data and colour profile; the colours are converted to sRGB.
        max_pixels: refuse images with more.
        overwrite: replace files that are already there.
    """

    qf: int
    chroma: str = '4:2:0'
    caption: str | None = None
    max_side: int | None = None
    strip: bool = False
    max_pixels: int = MAX_PIXELS
    overwrite: bool = False


@dataclass(frozen=True)
class Sizes:
    """Bytes of a file: the compressed picture, EXIF data and colour profile, and the caption's text."""

    image: int
    metadata: int
    caption: int

    def __add__(self, other: 'Sizes') -> 'Sizes':
        return Sizes(self.image + other.image, self.metadata + other.metadata, self.caption + other.caption)

    def __str__(self) -> str:
        metadata = f', metadata {self.metadata:,} bytes' if self.metadata else ''
        caption = f'caption {self.caption:,} bytes (1/{self.image / self.caption:.1f} of the image)' if (
            self.caption) else 'no caption'
        return f'image {self.image:,} bytes{metadata}, {caption}'


def plan(inputs: Sequence[Path], output: Path, on_odd: Callable[[Path, str], None] | None = None,
         ) -> tuple[list[Job], dict[Path, str]]:
    """Where each result goes: `output` itself for one file, if it ends in .jpg; else the same place below `output`.

    Results of one name keep the suffix of the image: `a.png.jpg`, `a.webp.jpg`.

    Args:
        inputs: images and folders.
        output: a .jpg file, or a folder.
        on_odd: as of `list_images`.

    Returns:
        The images, and the folders that cannot be read: folder -> why.

    Raises:
        FileNotFoundError: if an input does not exist.
        OSError: if an input cannot be looked at.
        ValueError: if an input is neither file nor folder, if there is no image, the output is not as said, or two
            results would have one name.
    """
    unreadable = {}

    def failed(error: OSError) -> None:
        unreadable[Path(error.filename)] = f'the folder cannot be read: {error.strerror}'

    found: list[tuple[Path, Path]] = []  # image, root
    for path in inputs:
        if path.is_dir():
            names = sorted(list_images(path, failed, ALL_SUFFIXES, on_odd))
            if not names:
                raise ValueError(f'there is no image in {path}' + ''.join(
                    f'; {folder}: {why}' for folder, why in unreadable.items()) + '.')
            found += [(path / name, path) for name in names]
            continue
        try:
            odd = oddity(path)
        except FileNotFoundError:
            raise FileNotFoundError(f'{path} does not exist.') from None
        if odd is not None:
            raise ValueError(f'{path} is {odd}; name a file or a folder.')
        found.append((path, path.parent))
    suffix = output.suffix.lower()
    is_file = suffix in JPEG_SUFFIXES and not output.is_dir()
    if suffix in (*ALL_SUFFIXES, *UNREAD_SUFFIXES, '.pdf') and not is_file and not output.exists():
        raise ValueError(f'{output}: results are JPEG files, not {suffix}; name a .jpg file, or make the folder '
                         'first if it is to be one.')
    if is_file and (len(inputs) > 1 or inputs[0].is_dir()):
        raise ValueError(f'{output} is one file; name a folder for the results of several images.')
    if is_file:
        jobs = [Job(*found[0], output)]
    elif output.exists() and not output.is_dir():
        raise ValueError(f'the output {output} is a file without the suffix of a JPEG file; name another.')
    else:
        wanted = [source.relative_to(root).with_suffix('.jpg') for source, root in found]
        counts = Counter(wanted)
        places = [place if counts[place] == 1 else place.with_name(f'{source.name}.jpg')
                  for place, (source, _) in zip(wanted, found, strict=True)]
        jobs = [Job(source, root, output / place.with_name(_fitting(place)))
                for (source, root), place in zip(found, places, strict=True)]
    for target, count in Counter(job.target for job in jobs).items():
        if count > 1:
            both = ' and '.join(str(job.source) for job in jobs if job.target == target)
            raise ValueError(f'{both} would both become {target}; compress them into different folders.')
    for job in jobs:
        if job.target.exists() and job.target.samefile(job.source):
            raise ValueError(f'{job.source} would be replaced by its own compressed copy; name another output.')
    return jobs, unreadable


def _fitting(place: Path) -> str:
    return place.name if len(os.fsencode(place.name)) <= MAX_NAME else fitting_name(place.stem, place.suffix)


def to_compress(photo: Photo, settings: CompressSettings) -> np.ndarray:
    """Return the picture that the encoder gets: upright, opaque, reduced; (H, W, 3) uint8 RGB.

    Args:
        photo, settings: as of `compress`.

    Raises:
        ValueError: if it is larger than a JPEG file can hold.
    """
    image = to_srgb(photo.pixels, _rgb_profile(photo)) if settings.strip else photo.pixels
    if photo.alpha is not None:
        opaque = photo.alpha[..., None].astype(np.float32) / 255
        image = (image * opaque + 255 * (1 - opaque)).round().astype(np.uint8)
    image = _reduced(photo.upright(image), settings.max_side)
    height, width = image.shape[:2]
    if max(height, width) > _LONGEST_SIDE:
        raise ValueError(f'the picture is {width} x {height}, but JPEG holds sides up to {_LONGEST_SIDE}; reduce it.')
    return image


def _rgb_profile(photo: Photo) -> bytes | None:
    return photo.icc if photo.icc and photo.icc[16:20] == b'RGB ' else None


def compress(photo: Photo, caption: str, settings: CompressSettings) -> tuple[bytes, Sizes]:
    """Return a baseline JPEG file, upright, with its caption in a comment segment (UTF-8), and its sizes.

    Args:
        photo: the image; transparent parts become white.
        caption: what it shows; '' for none.
        settings: how.

    Raises:
        ValueError: if a setting is invalid, the caption is too long for its segment, or it would not be read back as a
            caption.
    """
    caption = clean(caption)
    if caption and not is_caption(caption):
        raise ValueError(f'the caption {caption[:60]!r} would not be read back: it looks like what cameras and '
                         'programs write into comments; word it otherwise.')
    image = to_compress(photo, settings)
    height, width = image.shape[:2]
    icc = _rgb_profile(photo)
    content = encode(image[..., ::-1], settings.qf, settings.chroma)
    exif = upright_exif(photo.exif, (width, height)) if photo.exif and not settings.strip else None
    described = add_segments(content, exif, None if settings.strip else icc)
    text = caption.encode()
    sizes = Sizes(len(content), len(described) - len(content), len(text))
    return add_segments(content, exif, None if settings.strip else icc, text), sizes


def _reduced(image: np.ndarray, max_side: int | None) -> np.ndarray:
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


Decide = Callable[[Job, Photo, CompressSettings], tuple[str, str]]
"""The caption for a picture ('' for none), and words about it that go on the line of the file."""


def own_caption(job: Job, photo: Photo, settings: CompressSettings) -> tuple[str, str]:
    """The caption that is given or that the file has, see `find_caption`, and where it is from."""
    caption, source = find_caption(job.source, settings.caption, job.root, max_pixels=settings.max_pixels)
    return caption, f', from {source}' if caption and source != '--caption' else ''


def compress_all(jobs: Iterable[Job], settings: CompressSettings, say: Callable[[str], None],
                 decide: Decide = own_caption) -> tuple[list[Sizes], dict[Path, str]]:
    """Compress all; one bad file never stops the rest.

    Args:
        jobs: the images.
        settings: how.
        say: called with a line for each file written.
        decide: see `Decide`.

    Returns:
        Sizes of the files written, and what failed: file -> why.
    """
    written, failed = [], {}
    for job in jobs:
        try:
            if job.target.exists() and not settings.overwrite:
                raise FileExistsError(f'{job.target} is already there; --overwrite replaces it.')
            photo = read_photo(job.source, settings.max_pixels)
            caption, words = decide(job, photo, settings)
            content, sizes = compress(photo, caption, settings)
            with atomic(job.target) as temporary:
                temporary.write_bytes(content)
        except (OSError, ValueError, RuntimeError, MemoryError, cv2.error) as error:
            failed[job.source] = str(error) or type(error).__name__
            continue
        written.append(sizes)
        for warning in photo.notes:
            say(f'warning: {job.source}: {warning}.')
        say(f'{job.target}: {sizes}{words}')
    return written, failed
