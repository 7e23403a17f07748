"""Write a restored picture as PNG, WebP or JPEG, with colour profile, transparency and metadata of its source."""

import io
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, TiffImagePlugin

from tgjar_arch.atomic_file import atomic
from tgjar_arch.jpeg.settings import check_qf
from tgjar_arch.pictures.photo import Photo, tells_of_appended

FORMATS = {'.png': 'PNG', '.webp': 'WEBP', '.jpg': 'JPEG', '.jpeg': 'JPEG'}
JPEG_QUALITY = 95
_MAX_SIDE = {'WEBP': 16383, 'JPEG': 65500}
_COLOUR_SPACE = {'RGB': b'RGB ', 'RGBA': b'RGB ', 'L': b'GRAY', 'LA': b'GRAY'}  # in an ICC profile, bytes 16 to 19
_TIFF_ORIENTATION = re.compile(rb'(tiff:Orientation\s*(?:=\s*["\']|>\s*))[1-8]')


def write_picture(path: str | os.PathLike, image: np.ndarray, like: Photo | None = None, quality: int | None = None,
                  keep_metadata: bool = False, overwrite: bool = False, keep_grey: bool = True) -> None:
    """Write a picture; it appears whole or not at all.

    The colour profile and the transparency of `like` are always kept: without them the picture looks different.

    Args:
        path: file to write, whose suffix (.png, .webp, .jpg, .jpeg) says the format; missing folders are made.
        image: (H, W, 3) uint8, RGB, upright: `like.upright(restored)`.
        like: the file that the picture was made from.
        quality: 1 to 100 of JPEG (default 95; always 4:4:4) and WebP (default: lossless). PNG has none.
        keep_metadata: keep EXIF (among it the place where the photo was taken), XMP and comment. The orientation
            becomes 1 and the size that of the picture.
        overwrite: replace a file that is there.
        keep_grey: write a picture made from a grey file in grey.

    Raises:
        FileExistsError: when the file is there and `overwrite` is not set.
        OSError: when the file cannot be written.
        ValueError: when an argument is not as said, or the format cannot hold the picture.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f'{path}: a picture is written as {", ".join(FORMATS)}, not as {path.suffix!r}.')
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'{path}: expected a picture (H, W, 3) uint8, but got {image.shape} {image.dtype}.')
    if quality is not None:
        if kind == 'PNG':
            raise ValueError(f'{path}: PNG is lossless and has no quality; leave it out, or write .webp or .jpg.')
        check_qf(quality, f'quality of {path}')
    if max(image.shape[:2]) > _MAX_SIDE.get(kind, 2**31 - 1):
        raise ValueError(f'{path}: the picture is {image.shape[1]} x {image.shape[0]}, but {kind} holds sides up to '
                         f'{_MAX_SIDE[kind]}; write .png.')
    if path.exists() and not overwrite:
        raise FileExistsError(f'{path} is there already; it is replaced only when overwriting is asked for.')
    picture = _picture(image, like, path, keep_grey)
    if like is not None and kind == 'JPEG' and 'A' in picture.getbands():
        raise ValueError(f'{path}: {like.path} is partly transparent, which JPEG cannot hold; write .png or .webp.')
    options = _format_options(kind, quality)
    if like is not None:
        # WebP has no grey: Pillow writes RGB, for which a profile for grey would be wrong.
        mode = 'RGB' if kind == 'WEBP' else picture.mode
        if like.icc and like.icc[16:20] == _COLOUR_SPACE[mode]:
            options['icc_profile'] = like.icc
        if keep_metadata:
            options |= _metadata(like, kind, picture.size)
    try:
        with atomic(path) as temporary:
            picture.save(temporary, format=kind, **options)
    except ValueError as error:  # metadata too long for the format
        raise ValueError(f'{path} cannot be written: {error}') from error


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


def _format_options(kind: str, quality: int | None) -> dict[str, Any]:
    if kind == 'JPEG':
        # Coarser chroma would lose what the restoration has just brought back.
        return {'quality': JPEG_QUALITY if quality is None else quality, 'subsampling': '4:4:4', 'optimize': True}
    if kind == 'WEBP':
        # exact: the colour of fully transparent pixels stays as it is
        return {'lossless': True, 'exact': True} if quality is None else {'quality': quality}
    return {}


def _metadata(like: Photo, kind: str, size: tuple[int, int]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if like.exif and (exif := upright_exif(like.exif, size)):
        options['exif'] = exif
    # XMP that tells of an appended gain map or video would have viewers look for it.
    xmp = like.xmp if like.xmp and not tells_of_appended(like.xmp) else None
    xmp = _TIFF_ORIENTATION.sub(rb'\g<1>1', xmp) if xmp else None
    if kind == 'PNG':
        text = PngImagePlugin.PngInfo()
        if xmp:
            text.add_itxt('XML:com.adobe.xmp', xmp.decode('utf-8', 'replace'))
        if like.comment:
            text.add_itxt('Comment', like.comment.decode('utf-8', 'replace'))
        options['pnginfo'] = text
    else:
        if xmp:
            options['xmp'] = xmp
        if like.comment and kind == 'JPEG':
            options['comment'] = like.comment
    return options


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
