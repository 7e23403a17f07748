"""Write a restored picture as PNG, WebP or JPEG, with colour profile, transparency and metadata of its source."""

import io
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, PngImagePlugin, TiffImagePlugin

from tgjar_arch.atomic_file import atomic
from tgjar_arch.jpeg.settings import check_qf
from tgjar_arch.pictures.photo import Photo, tells_of_appended

FORMATS = {'.png': 'PNG', '.webp': 'WEBP', '.jpg': 'JPEG', '.jpeg': 'JPEG'}
JPEG_QUALITY = 95
_MAX_SIDE = {'WEBP': 16383, 'JPEG': 65500}
# Bytes of a colour profile: Pillow refuses a PNG file with more, and JPEG numbers its segments with one byte.
_MAX_PROFILE = {'PNG': 2**20, 'JPEG': 255 * 65519}
_MAX_PNG_TEXT = 7_990_000  # bytes; libpng and OpenCV refuse a chunk, of which some is its name, of more than 8 MB
_JPEG_BYTES = 2  # a sample, at most: binary noise at quality 100 takes 1.1
_pillow_block = threading.Lock()
_TIFF_ORIENTATION = re.compile(rb'(tiff:Orientation\s*(?:=\s*["\']|>\s*))[1-8]')


def write_picture(path: str | os.PathLike, image: np.ndarray, like: Photo | None = None, quality: int | None = None,
                  keep_metadata: bool = False, overwrite: bool = False, keep_grey: bool = True) -> tuple[str, ...]:
    """Write a picture such that common readers read it; it appears whole or not at all.

    The colour profile and the transparency of `like` are always kept: without them the picture looks different. Where a
    profile is too large for the format, the picture is converted to sRGB.

    Args:
        path: file to write, whose suffix (.png, .webp, .jpg, .jpeg) says the format; missing folders are made.
        image: (H, W, 3) uint8, RGB, upright: `like.upright(restored)`.
        like: the file that the picture was made from.
        quality: 1 to 100 of JPEG (default 95; always 4:4:4) and WebP (default: lossless). PNG has none.
        keep_metadata: keep EXIF (among it the place where the photo was taken), XMP and comment. The orientation
            becomes 1 and the size that of the picture.
        overwrite: replace a file that is there.
        keep_grey: write a picture made from a grey file in grey.

    Returns:
        What the file could not take over from `like`, in words.

    Raises:
        FileExistsError: when the file is there and `overwrite` is not set.
        OSError: when the file cannot be written.
        ValueError: when an argument is not as said, or the format cannot hold the picture (`check_fits`).
    """
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'{path}: expected a picture (H, W, 3) uint8, but got {image.shape} {image.dtype}.')
    kind = _checked_kind(path, (image.shape[1], image.shape[0]), like, quality)
    if path.exists() and not overwrite:
        raise FileExistsError(f'{path} is there already; it is replaced only when overwriting is asked for.')
    options, notes = _options(kind, (image.shape[1], image.shape[0]), like, quality, keep_metadata, keep_grey)
    if like is not None and _has_large_profile(like, kind, keep_grey):
        before, image = image, to_srgb(image, like.icc)
        notes.append(f'has a colour profile of {len(like.icc or b""):,} bytes, too large for {kind}, so the result '
                     + ('has none' if image is before else 'is converted to sRGB'))
    picture = _picture(image, like, path, keep_grey)
    with atomic(path) as temporary:
        _save(picture, temporary, path, kind, options)
    return tuple(notes)


def check_fits(path: str | os.PathLike, like: Photo, quality: int | None = None, keep_metadata: bool = False) -> None:
    """Make sure, before the work, that the result of a file can be written.

    Args:
        path, like, quality, keep_metadata: as of `write_picture`.

    Raises:
        ValueError: when the format of `path` cannot hold the picture, its transparency or its metadata.
    """
    path = Path(path)
    kind = _checked_kind(path, like.size, like, quality)
    options, _ = _options(kind, like.size, like, quality, keep_metadata, keep_grey=True)
    _save(Image.new('L' if like.is_grey else 'RGB', (1, 1)), io.BytesIO(), path, kind, options)


def _checked_kind(path: Path, size: tuple[int, int], like: Photo | None, quality: int | None) -> str:
    """Pillow's name of the format that the suffix of a file says, if it holds such a picture."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f'{path}: a picture is written as {", ".join(FORMATS)}, not as {path.suffix!r}.')
    if quality is not None:
        if kind == 'PNG':
            raise ValueError(f'{path}: PNG is lossless and has no quality; leave it out, or write .webp or .jpg.')
        check_qf(quality, f'quality of {path}')
    if max(size) > _MAX_SIDE.get(kind, 2**31 - 1):
        raise ValueError(f'{path}: the picture is {size[0]} x {size[1]}, but {kind} holds sides up to '
                         f'{_MAX_SIDE[kind]}; write .png.')
    if like is not None and kind == 'JPEG' and like.alpha is not None:
        raise ValueError(f'{path}: {like.path} is partly transparent, which JPEG cannot hold; write .png or .webp.')
    return kind


def _save(picture: Image.Image, file: Path | io.BytesIO, path: Path, kind: str, options: dict[str, Any]) -> None:
    """Save into `file`; `path` is for messages."""
    try:
        with _enough_room(kind, picture, options):
            picture.save(file, format=kind, **options)
    except ValueError as error:  # metadata too long for the format
        raise ValueError(f'{path} cannot be written: {error}') from error


@contextmanager
def _enough_room(kind: str, picture: Image.Image, options: Mapping[str, Any]) -> Iterator[None]:
    """Let Pillow's JPEG encoder have a buffer for the whole file, which it needs to optimise the tables.

    It guesses the size, too small for noise, narrow pictures (blocks have 8 x 8 pixels) and large profiles, and its
    own minimum, one number for the whole process, cannot be passed.
    """
    with _pillow_block:
        before = ImageFile.MAXBLOCK
        if kind == 'JPEG':
            columns, rows = (-(-side // 8) * 8 for side in picture.size)
            room = columns * rows * len(picture.getbands()) * _JPEG_BYTES + before + 2 * sum(
                len(value) for value in options.values() if isinstance(value, bytes))
            ImageFile.MAXBLOCK = max(before, min(room, 2**31 - 1))
        try:
            yield
        finally:
            ImageFile.MAXBLOCK = before


def _picture(image: np.ndarray, like: Photo | None, path: Path, keep_grey: bool) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(image))
    if like is None:
        return picture
    if like.is_grey and keep_grey:
        picture = picture.convert('L')
    if like.alpha is not None:
        alpha = like.upright(like.alpha)
        if alpha.shape != image.shape[:2]:
            raise ValueError(f'{path}: the picture is {image.shape[1]} x {image.shape[0]}, but {like.path} is '
                             f'{alpha.shape[1]} x {alpha.shape[0]}; turn the result by `like.upright` first.')
        picture.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
    return picture


def _options(kind: str, size: tuple[int, int], like: Photo | None, quality: int | None, keep_metadata: bool,
             keep_grey: bool) -> tuple[dict[str, Any], list[str]]:
    """What Pillow is told about a file, and which metadata are too large for it, in words."""
    options: dict[str, Any] = {}
    if kind == 'JPEG':
        # Coarser chroma would lose what the restoration has just brought back.
        options = {'quality': JPEG_QUALITY if quality is None else quality, 'subsampling': '4:4:4', 'optimize': True}
    elif kind == 'WEBP':
        # exact: the colour of fully transparent pixels stays as it is
        options = {'lossless': True, 'exact': True} if quality is None else {'quality': quality}
    if like is None:
        return options, []
    if _suits(like, kind, keep_grey) and not _has_large_profile(like, kind, keep_grey):
        options['icc_profile'] = like.icc
    metadata, notes = _metadata(like, kind, size) if keep_metadata else ({}, [])
    return options | metadata, notes


def _suits(like: Photo, kind: str, keep_grey: bool) -> bool:
    """Whether the colour profile of a file is one for the result."""
    # WebP has no grey: Pillow writes RGB, for which a profile for grey would be wrong.
    space = b'GRAY' if like.is_grey and keep_grey and kind != 'WEBP' else b'RGB '
    return bool(like.icc) and like.icc[16:20] == space  # type: ignore[index]  # bytes of the profile's header


def _has_large_profile(like: Photo, kind: str, keep_grey: bool) -> bool:
    return _suits(like, kind, keep_grey) and len(like.icc or b'') > _MAX_PROFILE.get(kind, 2**31)


def _metadata(like: Photo, kind: str, size: tuple[int, int]) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, bytes] = {}
    if like.exif and (exif := upright_exif(like.exif, size)):
        found['exif'] = exif
    # XMP that tells of an appended gain map or video would have viewers look for it.
    if like.xmp and not tells_of_appended(like.xmp):
        found['xmp'] = _TIFF_ORIENTATION.sub(rb'\g<1>1', like.xmp)
    if like.comment and kind != 'WEBP':
        found['comment'] = like.comment
    if kind != 'PNG':
        return dict(found), []
    large = [key for key, value in found.items() if len(value) > _MAX_PNG_TEXT]
    notes = [f'has {key.upper()} data of {len(found.pop(key)):,} bytes, too large for PNG, so the result has none'
             for key in large]
    text = PngImagePlugin.PngInfo()
    if 'xmp' in found:
        text.add_itxt('XML:com.adobe.xmp', found['xmp'].decode('utf-8', 'replace'))
    if 'comment' in found:
        text.add_itxt('Comment', found['comment'].decode('utf-8', 'replace'))
    return {'pnginfo': text} | ({'exif': found['exif']} if 'exif' in found else {}), notes


def upright_exif(exif: bytes, size: tuple[int, int]) -> bytes | None:
    """Return EXIF data for a picture that has been turned upright and may have another size; None if unreadable.

    The orientation becomes 1, the size is corrected, and the thumbnail, which shows the old picture, is left out. So is
    a tag that cannot be written again, because its value is not of its type.

    Args:
        exif: TIFF structure, with or without the signature `Exif\\0\\0`.
        size: width and height in pixels of the picture.
    """
    data = Image.Exif()
    try:
        data.load(exif)
        data[ExifTags.Base.Orientation] = 1
        details = data.get_ifd(ExifTags.IFD.Exif)
        for tag, value in zip((ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight), size, strict=True):
            if tag in details:
                details[tag] = value
        for directory in (data, details):
            for key in list(directory):
                with suppress(Exception):  # a tag that cannot be read goes below
                    value = directory[key]
                    if isinstance(value, str) and not value.isascii():  # Pillow reads Latin-1, but writes ASCII
                        directory[key] = value.encode('latin-1', 'replace')
        with suppress(Exception):
            return data.tobytes()
        return _without_bad_tags(data).tobytes()
    except Exception:  # broken metadata must not stop a whole picture
        return None


def _without_bad_tags(data: Image.Exif) -> Image.Exif:
    good = Image.Exif()
    good.endian = data.endian
    for key, value in _writable(data, None).items():
        good[key] = value
    for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if details := _writable(data.get_ifd(tag), tag):
            good.get_ifd(tag).update(details)
    return good


def _writable(tags: Mapping[int, Any], group: int | None) -> dict[int, Any]:
    """Those tags of a directory that Pillow can write; of the directories within, only the Exif IFD's own tags."""
    found = {}
    for key in tags:
        if key in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop):
            continue
        with suppress(Exception):  # Pillow's, of many kinds, at reading and at writing
            directory = TiffImagePlugin.ImageFileDirectory_v2(group=group)
            directory[key] = tags[key]
            directory.tobytes()
            found[key] = tags[key]
    return found


def to_srgb(image: np.ndarray, icc: bytes | None) -> np.ndarray:
    """Return an image (H, W, 3) uint8 RGB in sRGB.

    Args:
        image: in the colours of the profile.
        icc: a profile; None, a broken one or one that is not for RGB leaves the image as it is.
    """
    if not icc or icc[16:20] != b'RGB ':
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(Image.fromarray(image), source, ImageCms.createProfile('sRGB'))
    except (ImageCms.PyCMSError, OSError):
        return image
    return np.asarray(converted)


def upright_srgb(photo: Photo, image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) uint8 made from the pixels of a file, as it is to be looked at: turned, and in sRGB."""
    return to_srgb(np.ascontiguousarray(photo.upright(image)), photo.icc)
