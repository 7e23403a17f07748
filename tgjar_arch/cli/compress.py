"""`tgjar compress`: writes JPEG files that carry their captions (paper, section 4.7)."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tgjar_arch.atomic_file import atomic
from tgjar_arch.jpeg.codec import CHROMA, check_qf, encode
from tgjar_arch.jpeg.segments import add_segments
from tgjar_arch.pictures.captions import find_caption, is_caption
from tgjar_arch.pictures.files import list_images
from tgjar_arch.pictures.photo import MAX_PIXELS, Photo, read_photo
from tgjar_arch.pictures.write import to_srgb, upright_exif
from tgjar_arch.text.cleaning import clean

_SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif')
_LONGEST_SIDE = 65500  # of libjpeg


@dataclass(frozen=True)
class Job:
    """One image to compress: where it is, the folder that names count from, and where the result goes."""

    source: Path
    root: Path
    target: Path


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


def plan(inputs: Sequence[Path], output: Path, unreadable: dict[Path, str] | None = None) -> list[Job]:
    """Where each result goes: `output` itself for one file, if it ends in .jpg; else the same place below `output`.

    Results of one name keep the suffix of the image: `a.png.jpg`, `a.webp.jpg`.

    Args:
        inputs: images and folders.
        output: a .jpg file, or a folder.
        unreadable: gets the folders that cannot be read, and why.

    Raises:
        FileNotFoundError: when an input does not exist.
        ValueError: when there is no image, the output is not as said, or two results would have one name.
    """
    unreadable = {} if unreadable is None else unreadable

    def failed(error: OSError) -> None:
        unreadable[Path(error.filename)] = f'the folder cannot be read: {error.strerror}'

    found: list[tuple[Path, Path]] = []  # image, root
    for path in inputs:
        if path.is_dir():
            names = sorted(list_images(path, failed))
            if not names:
                raise ValueError(f'there is no image in {path}' + ''.join(
                    f'; {folder}: {why}' for folder, why in unreadable.items()) + '.')
            found += [(path / name, path) for name in names]
        elif path.exists():
            found.append((path, path.parent))
        else:
            raise FileNotFoundError(f'{path} does not exist.')
    is_file = output.suffix.lower() in _SUFFIXES and not output.is_dir()
    if is_file and (len(inputs) > 1 or inputs[0].is_dir()):
        raise ValueError(f'{output} is one file; name a folder for the results of several images.')
    if is_file:
        jobs = [Job(*found[0], output)]
    elif output.exists() and not output.is_dir():
        raise ValueError(f'the output {output} is a file without the suffix of a JPEG file; name another.')
    else:
        wanted = [source.relative_to(root).with_suffix('.jpg') for source, root in found]
        counts = Counter(wanted)
        targets = [name if counts[name] == 1 else name.with_name(f'{source.name}.jpg')
                   for name, (source, _) in zip(wanted, found, strict=True)]
        jobs = [Job(source, root, output / target) for (source, root), target in zip(found, targets, strict=True)]
    for target, count in Counter(job.target for job in jobs).items():
        if count > 1:
            both = ' and '.join(str(job.source) for job in jobs if job.target == target)
            raise ValueError(f'{both} would both become {target}; compress them into different folders.')
    for job in jobs:
        if job.target.exists() and job.target.samefile(job.source):
            raise ValueError(f'{job.source} would be replaced by its own compressed copy; name another output.')
    return jobs


def compress(photo: Photo, caption: str, qf: int, chroma: str = '4:2:0', max_side: int | None = None,
             strip: bool = False) -> tuple[bytes, Sizes]:
    """Return a baseline JPEG file, upright, with its caption in a comment segment (UTF-8), and its sizes.

    Args:
        photo: the image; transparent parts become white.
        caption: what it shows; '' for none.
        qf: quality factor, 1 to 100.
        chroma: subsampling, a key of `tgjar_arch.jpeg.codec.CHROMA`.
        max_side: reduce the picture until its longer side has this many pixels; it is never enlarged.
        strip: leave out EXIF data and colour profile; the colours are converted to sRGB.

    Raises:
        ValueError: when an argument is not as said, or the caption is too long for its segment or would not be read
            as a caption.
    """
    caption = clean(caption)
    if caption and not is_caption(caption):
        raise ValueError(f'the caption {caption[:60]!r} would not be read back: it looks like what cameras and '
                         'programs write into comments; word it otherwise.')
    icc = photo.icc if photo.icc and photo.icc[16:20] == b'RGB ' else None
    image = to_srgb(photo.pixels, icc) if strip else photo.pixels
    if photo.alpha is not None:
        opaque = photo.alpha[..., None].astype(np.float32) / 255
        image = (image * opaque + 255 * (1 - opaque)).round().astype(np.uint8)
    image = _reduced(photo.upright(image), max_side)
    height, width = image.shape[:2]
    if max(height, width) > _LONGEST_SIDE:
        raise ValueError(f'the picture is {width} x {height}, but JPEG holds sides up to {_LONGEST_SIDE}; reduce it.')
    content = encode(image[..., ::-1], qf, chroma)
    exif = upright_exif(photo.exif, (width, height)) if photo.exif and not strip else None
    described = add_segments(content, exif, None if strip else icc)
    text = caption.encode()
    sizes = Sizes(len(content), len(described) - len(content), len(text))
    return add_segments(content, exif, None if strip else icc, text), sizes


def _reduced(image: np.ndarray, max_side: int | None) -> np.ndarray:
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def run(jobs: list[Job], args: argparse.Namespace) -> tuple[list[Sizes], dict[Path, str]]:
    """Compress all; one bad file never stops the rest.

    Returns:
        Sizes of the files written, and what failed: file -> reason.
    """
    written, failed = [], {}
    for job in jobs:
        try:
            if job.target.exists() and not args.overwrite:
                raise FileExistsError(f'{job.target} is there already; --overwrite replaces it.')
            photo = read_photo(job.source, args.max_pixels)
            caption, source = find_caption(job.source, args.caption, job.root, max_pixels=args.max_pixels)
            content, sizes = compress(photo, caption, args.qf, args.chroma, args.max_side, args.strip)
            with atomic(job.target) as temporary:
                temporary.write_bytes(content)
        except (OSError, ValueError, MemoryError, cv2.error) as error:
            failed[job.source] = str(error) or type(error).__name__
            continue
        written.append(sizes)
        if not args.quiet:
            print(f'{job.target}: {sizes}' + (f', from {source}' if caption and source != '--caption' else ''))
    return written, failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar compress', description=__doc__,
        epilog='Captions: --caption, else what the file itself says (JPEG comment, XMP, EXIF, PNG text), else a text '
        'file beside it, else metadata.jsonl in its folder or above, up to the input, else none. Every viewer opens '
        'the result; `tgjar restore` finds the caption in it. Exit code: 0 all written, 1 some failed, 2 nothing could '
        'be started. Example: tgjar compress bird.png --qf 1 --caption "a small yellow bird" -o bird.jpg')
    parser.add_argument('inputs', type=Path, nargs='+', metavar='IMAGE', help='image files, or folders (any depth)')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='OUT',
                        help='a .jpg file, or a folder (always for several images)')
    parser.add_argument('--qf', type=int, required=True, metavar='Q',
                        help='JPEG quality factor, 1 (worst) to 100; restore with weights trained for it')
    parser.add_argument('--caption', metavar='TEXT', help='what the picture shows; for every image of the input')
    parser.add_argument('--chroma', choices=tuple(CHROMA), default='4:2:0', help='subsampling (default: %(default)s)')
    parser.add_argument('--max-side', type=int, metavar='N', help='reduce pictures whose longer side is above N pixels')
    parser.add_argument('--strip', action='store_true',
                        help='leave out EXIF data (camera, place, time) and the colour profile; colours become sRGB')
    parser.add_argument('--max-pixels', type=int, default=MAX_PIXELS, metavar='N',
                        help='refuse images with more pixels (default: %(default)s)')
    parser.add_argument('--overwrite', action='store_true', help='replace files that are there already')
    parser.add_argument('--quiet', action='store_true', help='only the last line')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar compress`.

    Returns:
        Exit code: 0, 1 when some images failed, 2 when nothing could be started.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    for option, value in (('--max-side', args.max_side), ('--max-pixels', args.max_pixels)):
        if value is not None and value < 1:
            parser.error(f'{option} must be 1 or more, but is {value}')
    try:
        check_qf(args.qf, '--qf')
        unreadable: dict[Path, str] = {}
        jobs = plan(args.inputs, args.output, unreadable)
    except (OSError, ValueError) as error:
        print(f'tgjar compress: {error}', file=sys.stderr)
        return 2
    written, failed = run(jobs, args)
    failed = unreadable | failed
    for file, reason in failed.items():
        print(f'failed: {file}: {reason}', file=sys.stderr)
    total = f': {sum(written, Sizes(0, 0, 0))}' if len(written) > 1 else ''
    print(f'{len(written)} written to {args.output}{total}, {len(failed)} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
