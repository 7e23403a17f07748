"""Image files as people have them: pixels on JPEG's own grid, and what the file says about itself."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin, PpmImagePlugin, TiffImagePlugin

from tgjar_arch.file_kind import oddity
from tgjar_arch.jpeg.quality import estimate_quality
from tgjar_arch.jpeg.tables import tables_as_stored
from tgjar_arch.pictures.files import is_picture_head, is_unread
from tgjar_arch.pictures.limits import MAX_PIXELS
from tgjar_arch.pictures.mend import with_end_marker, without_bad_chunks
from tgjar_arch.pictures.transparency import has_deep_key, keyed_alpha, low_bytes

# A block of 8 x 8 samples takes a bit at least: 6 bits for 256 pixels of 4:2:0, or 1 byte for 341 pixels.
_JPEG_PIXELS_A_BYTE = 1000
_SMALL = 1_000_000  # pixels, below which a file that claims more than it holds does no harm
_FORMATS = {'JPEG': 'JPEG', 'PNG': 'PNG', 'WEBP': 'WebP', 'BMP': 'BMP', 'TIFF': 'TIFF', 'PPM': 'PPM',
            'JPEG2000': 'JPEG 2000', 'GIF': 'GIF', 'AVIF': 'AVIF', 'HEIF': 'HEIC'}  # Pillow's name: ours
# What a file may be that Pillow, or this one, cannot read, by its first bytes.
_FOREIGN = {'AVIF': re.compile(rb'....ftypavi', re.DOTALL), 'HEIC': re.compile(rb'....ftyphe', re.DOTALL),
            'HEIC or AVIF': re.compile(rb'....ftypm[is]f', re.DOTALL),
            'JPEG XL': re.compile(rb'\0\0\0\x0cJXL|\xff\x0a')}
# What phones append to a JPEG file, by what its metadata say of it; a result has none of it.
_APPENDED = {
    'an HDR gain map': re.compile(rb'hdrgm:|ns\.adobe\.com/hdr-gain-map|HDRGainMap|urn:iso:std:iso:ts:21496'),
    'a video': re.compile(rb'(MotionPhoto|MicroVideo)(=["\']|>)1'),
    'a depth map': re.compile(rb'GDepth:|Semantic\w*=["\']Depth'),
}
Warn = Callable[[str], None]
# (horizontal, vertical) sampling of the luma against the chroma
_CHROMA: dict[tuple[float, float], str] = {
    (1, 1): '4:4:4', (2, 1): '4:2:2', (2, 2): '4:2:0', (1, 2): '4:4:0', (4, 1): '4:1:1', (4, 2): '4:1:0',
}
_GREY_MODES = ('1', 'L', 'LA', 'La', 'I;16', 'I;16L', 'I;16B', 'I;16N')
_COLOUR_MODES = ('RGB', 'RGBA', 'RGBa', 'RGBX', 'P', 'PA', 'CMYK', 'YCbCr', 'HSV')  # no file has the last
_STRIP = 256  # rows
_pillow_limit = threading.Lock()


class UnsupportedPicture(ValueError):
    """A picture of a kind that is not read here: of another format, or an animation. The file itself may be sound."""


@dataclass(frozen=True, eq=False)
class JpegFacts:
    """How a JPEG file was compressed.

    Attributes:
        qf: quality factor, 1 to 100, estimated from the tables.
        standard_tables: whether the tables are libjpeg's at this `qf`; if not, `qf` is that of the nearest ones.
        chroma: subsampling, as '4:2:0'; None for a grey file.
        progressive: whether it is a progressive file.
        tables: (2, 8, 8) float32, luma and chroma, for the pixels as they lie in the file.
    """

    qf: int
    standard_tables: bool
    chroma: str | None
    progressive: bool
    tables: np.ndarray


@dataclass(frozen=True, eq=False)
class Photo:
    """An image file, read.

    The pixels are as the file stores them: the 8x8 blocks of a JPEG begin at the upper left corner. A photo that was
    taken with a turned camera is turned by `upright`, after the restoration, because turning moves the grid.

    Attributes:
        path: the file.
        format: 'JPEG', 'PNG', 'WebP', 'BMP', 'TIFF', 'PPM' or 'JPEG 2000'.
        pixels: (H, W, 3) uint8, RGB, as stored; a grey file has three equal channels.
        is_grey: whether the file is stored without colour.
        alpha: (H, W) uint8, as stored; None for an opaque file.
        bit_depth: bits a sample in the file; of 16 the upper 8 are kept.
        orientation: of EXIF, 1 (upright) to 8.
        icc: colour profile that the pixels are in; None for sRGB. CMYK files have been converted to sRGB.
        exif, xmp, comment: metadata as stored, without their signatures; None where the file has none.
        jpeg: how it was compressed; None for other formats, or where the file does not say it.
        appended: what the file holds besides the picture, in words, such as 'an HDR gain map'; a result does not.
        warnings: what was wrong with the file, though not with its pixels, in words.
    """

    path: Path
    format: str
    pixels: np.ndarray
    is_grey: bool
    alpha: np.ndarray | None
    bit_depth: int
    orientation: int
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    comment: bytes | None
    jpeg: JpegFacts | None
    appended: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What somebody who restores the file should know, in words: `warnings`, and what is lost of it."""
        return [*self.warnings, *(f'holds {what}, which the result does not' for what in self.appended)]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the upright picture."""
        height, width = self.pixels.shape[:2]
        return (width, height) if self.orientation < 5 else (height, width)

    def upright(self, image: np.ndarray) -> np.ndarray:
        """Turn an image (H, W) or (H, W, C), made from `pixels`, as the orientation says; a view, not a copy."""
        return turned(image, self.orientation)


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return an image (H, W, ...) as EXIF's orientation (1 to 8) says that it is to be looked at."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    rows, columns = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}.get(orientation, (1, 1))
    return image[::rows, ::columns]


@contextmanager
def open_image(path: str | os.PathLike, max_pixels: int = MAX_PIXELS, warn: Warn | None = None,
               ) -> Iterator[Image.Image]:
    """Open an image file with Pillow, not decoded yet; what is raised inside becomes one clear error.

    Args:
        path: the file.
        max_pixels: refuse an image with more; a small file can claim gigabytes.
        warn: called with what is wrong with the file, in words, where it can be read all the same.

    Raises:
        OSError: when there is no such file, or it cannot be read.
        UnsupportedPicture: when it is of a format that the installed Pillow does not read.
        ValueError: when it is no regular file, no image, broken, truncated or too large, or a JPEG file claims more
            pixels than its bytes can hold.
    """
    path = Path(path)
    odd = oddity(path)
    if odd and not path.is_dir():  # of a folder `open` says so
        raise ValueError(f'{path} is {odd}; name a file.')
    with open(path, 'rb') as file:
        head = file.read(16)
        file.seek(0)
        if not head:
            raise ValueError(f'{path} is empty; get a complete copy of the file.')
        if is_unread(path, head):
            raise UnsupportedPicture(f'{path} is a {path.suffix} file, a format that is not read here; convert it to '
                                     'PNG or JPEG.')
        try:
            image = _open(file)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's plugins raise many kinds on broken files
            kind = next((kind for kind, signature in _FOREIGN.items() if signature.match(head)), None)
            if kind is not None and kind not in _readable().values():
                raise UnsupportedPicture(f'{path} is a file of {kind}, which the installed Pillow cannot read; '
                                         'convert it to PNG or JPEG.') from error
            if isinstance(error, Image.UnidentifiedImageError) and not is_picture_head(head):
                raise ValueError(f'{path} is no image that can be read ({", ".join(_readable().values())}).'
                                 ) from error
            if samples := _float_tiff(file, head):
                raise ValueError(f'{path} is a TIFF file of {samples}, which has no 8-bit RGB picture; convert it '
                                 'first.') from error
            mended = _mended_png(path, max_pixels, warn)
            if mended is None:
                raise _broken(path, error) from error
            image = mended
        with image:
            width, height = image.size
            if width * height > max_pixels:
                raise ValueError(f'{path} has {width} x {height} = {width * height:,} pixels, more than the limit of '
                                 f'{max_pixels:,}; reduce it, or raise the limit if you trust the file.')
            size = os.fstat(file.fileno()).st_size
            is_jpeg = isinstance(image, JpegImagePlugin.JpegImageFile)
            if is_jpeg and width * height > max(_SMALL, size * _JPEG_PIXELS_A_BYTE):
                raise ValueError(f'{path} claims {width} x {height} pixels, but {size:,} bytes of JPEG cannot hold '
                                 'them: it is truncated, or made to take memory; get a complete copy of the file.')
            yield image


def _readable() -> dict[str, str]:
    """Those of our formats that the installed Pillow reads."""
    Image.init()
    return {kind: name for kind, name in _FORMATS.items() if kind in Image.OPEN}


def _open(file: io.BufferedReader | io.BytesIO) -> Image.Image:
    # Pillow's own limit is one number for the whole process, and cannot be passed; it is off while the header is read.
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=list(_readable()))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _reopen(file: io.BytesIO, max_pixels: int) -> Image.Image:
    image = _open(file)
    if image.width * image.height > max_pixels:
        raise ValueError('more pixels than the limit')
    return image


def _mended_png(path: Path, max_pixels: int, warn: Warn | None) -> Image.Image | None:
    """A PNG file that Pillow stops at, opened without the chunks that are in the way; None if that is not the reason.
    """
    reopen = partial(_reopen, max_pixels=max_pixels)
    mended = without_bad_chunks(path.read_bytes(), reopen)
    if mended is None:
        return None
    if warn is not None:
        warn(f'has chunks that are damaged or too large ({mended[1]}), which are left out')
    return reopen(io.BytesIO(mended[0]))


def _float_tiff(file: io.BufferedReader, head: bytes) -> str | None:
    """What a TIFF file's samples are, where Pillow knows no such picture though the file is sound; else None."""
    if not head.startswith((b'II*\0', b'MM\0*')):
        return None
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(head[:8])
        file.seek(directory.next)
        directory.load(file)
        bits = max(directory.get(ExifTags.Base.BitsPerSample) or (1,))
        form = max(directory.get(ExifTags.Base.SampleFormat) or (1,))
    except Exception:  # it is broken indeed
        return None
    kinds = {2: 'signed whole numbers', 3: 'floating point numbers', 5: 'complex numbers', 6: 'complex numbers'}
    words = kinds.get(form, 'whole numbers' if bits > 16 else None)
    return f'{bits}-bit {words}' if words else None


def _broken(path: Path, error: Exception) -> ValueError:
    if isinstance(error, Image.UnidentifiedImageError):  # its message names our file object, and no reason
        return ValueError(f'{path} is truncated or broken, or of a rare kind (as JPEG with 12 bits a sample); get a '
                          'complete copy of the file, or convert it to PNG.')
    reason = str(error).partition('\n')[0] or type(error).__name__
    return ValueError(f'{path} is truncated or broken ({reason}); get a complete copy of the file.')


def load(image: Image.Image, path: str | os.PathLike, warn: Warn | None = None) -> Image.Image:
    """Return an image that `open_image` opened, decoded: itself, or without a fault that Pillow stops at.

    Args:
        image: the image.
        path: its file.
        warn: as of `open_image`.

    Raises:
        ValueError: when it is truncated or broken.
    """
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile) and ExifTags.Base.Orientation not in image.tag_v2:
            # Pillow turns a TIFF file while it loads it, also by XMP, see `orientation_of`.
            image.getexif().pop(ExifTags.Base.Orientation, None)
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        mended = _mended(image, Path(path), warn)
        if mended is None:
            raise _broken(Path(path), error) from error
        return mended
    return image


def _mended(image: Image.Image, path: Path, warn: Warn | None) -> Image.Image | None:
    """An image that cannot be loaded, without the fault that is in the way, loaded; None where pixels are missing."""
    limit = image.width * image.height
    if image.format == 'PNG':  # chunks behind the pixels
        mended = _mended_png(path, limit, warn)
        if mended is not None:
            mended.load()
        return mended
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return None
    reopen = partial(_reopen, max_pixels=limit)
    content = with_end_marker(path.read_bytes(), reopen)
    if content is None:
        return None
    if warn is not None:
        warn('lacks the end marker of a JPEG file, but no pixel')
    completed = reopen(io.BytesIO(content))
    completed.load()
    return completed


def read_photo(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read an image file.

    Args:
        path: JPEG (baseline or progressive; grey, colour, CMYK or YCCK), PNG, WebP, BMP, TIFF, PPM, JPEG 2000 or GIF;
            AVIF where Pillow reads it, and HEIC where a plugin of Pillow's does.
        max_pixels: refuse an image with more.

    Returns:
        The picture with everything the file says about itself.

    Raises:
        OSError: when there is no such file, or it cannot be read.
        UnsupportedPicture: when it is of a format that the installed Pillow does not read, or animated.
        ValueError: when it is no regular file, no image, broken, truncated, too large, or of a kind that has no 8-bit
            RGB picture (32 bits a sample, Lab).
    """
    path = Path(path)
    warnings: list[str] = []
    with open_image(path, max_pixels, warnings.append) as image:
        assert image.format is not None  # of an image from a file
        kind = 'JPEG' if image.format == 'MPO' else image.format  # a JPEG with a second picture, of phones
        # Of a TIFF's pages and a phone's extra pictures the first is the photo; an animation has none.
        frames = _frames(image, path)
        if kind in ('PNG', 'WEBP', 'GIF', 'AVIF') and frames > 1:
            raise UnsupportedPicture(f'{path} is an animation of {frames} frames; save one of them as a picture.')
        check_mode(image, str(path))
        bit_depth = _bit_depth(image, path)
        image = load(image, path, warnings.append)
        jpeg = _jpeg_facts(image) if isinstance(image, JpegImagePlugin.JpegImageFile) else None
        is_grey = image.mode in _GREY_MODES or _is_deep_pgm(image)
        pixels, alpha, icc = rgb_of(image, bit_depth, partial(_low_bytes, path, max_pixels))
        return Photo(path, _FORMATS[kind], pixels, is_grey, alpha, bit_depth, orientation_of(image), icc, _exif(image),
                     xmp_of(image), image.info.get('comment') if jpeg else None, jpeg, _appended(image, frames),
                     tuple(warnings))


def _frames(image: Image.Image, path: Path) -> int:
    """Pictures in a file; Pillow reads the headers of all pages of a TIFF file to count them."""
    try:
        return int(getattr(image, 'n_frames', 1))
    except MemoryError:
        raise
    except Exception as error:  # as of a page without its width
        raise _broken(path, error) from error


def _told(metadata: bytes) -> list[str]:
    return [what for what, words in _APPENDED.items() if words.search(metadata)]


def tells_of_appended(xmp: bytes) -> bool:
    """Whether an XMP packet says that a gain map, a video or a depth map is in the file."""
    return bool(_told(xmp))


def _appended(image: Image.Image, frames: int) -> tuple[str, ...]:
    """What a file holds besides the picture, as its metadata say, in words."""
    segments = b''.join([content[:65536] for marker, content in getattr(image, 'applist', ())
                         if marker in ('APP1', 'APP2')] + [xmp_of(image) or b''])
    found = _told(segments)
    if frames > 1 and not found:
        found.append('a second picture' if frames == 2 else f'{frames - 1} more pictures')
    return tuple(found)


def check_mode(image: Image.Image, name: str) -> None:
    """Raises ValueError when an image has no 8-bit RGB picture, as one of 32 bits a sample; `name` is for the message.
    """
    if image.mode not in _GREY_MODES + _COLOUR_MODES and not _is_deep_pgm(image):
        raise ValueError(f'{name} stores its pixels as {image.mode} ({_mode_words(image.mode)}), which has no '
                         '8-bit RGB picture; convert it first.')


def _is_deep_pgm(image: Image.Image) -> bool:
    """Whether it is a PGM file with more than 8 bits a sample, which Pillow scales to 16 bits and keeps in 32."""
    return image.mode == 'I' and image.format == 'PPM'


def _mode_words(mode: str) -> str:
    return {'I': '32-bit whole numbers', 'F': '32-bit floating point', 'LAB': 'Lab colour'}.get(mode, 'unusual')


def _jpeg_facts(image: JpegImagePlugin.JpegImageFile) -> JpegFacts | None:
    tables = tables_as_stored(image)
    if tables is None:  # they may stand behind the headers that Pillow reads
        return None
    components = image.layer  # (id, horizontal sampling, vertical sampling, table) of each
    one_table = len({table for *_, table in components}) == 1 or len(image.quantization) == 1
    qf, standard = estimate_quality(tables[:1] if one_table else tables)
    chroma = None
    if len(components) >= 3:
        (_, columns, rows, _), (_, fewer_columns, fewer_rows, _) = components[:2]
        chroma = _CHROMA.get((columns / fewer_columns, rows / fewer_rows), 'unusual')
    return JpegFacts(qf, standard, chroma, bool(image.info.get('progressive')), tables)


def _bit_depth(image: Image.Image, path: Path) -> int:
    if image.mode.startswith('I;16'):
        return 16
    if image.mode == '1':
        return 1
    if image.format == 'PNG':  # Pillow opens 16-bit colour as 8-bit; the header chunk says it
        with open(path, 'rb') as file:
            return file.read(25)[24]
    if isinstance(image, PpmImagePlugin.PpmImageFile):
        args = image.tile[0].args  # of a file with another largest value than 255: (mode, largest value)
        return max(8, args[1].bit_length()) if isinstance(args, tuple) else 16 if image.mode == 'I' else 8
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(ExifTags.Base.BitsPerSample) or (8,))
    return 8


def rgb_of(image: Image.Image, bits: int = 8, low_bytes: Callable[[], np.ndarray | None] = lambda: None,
           ) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
    """Return (H, W, 3) RGB and (H, W) alpha, uint8, and the colour profile that holds for the result.

    Alpha is None for an opaque image, the profile for sRGB. Of 16 bits a sample the upper 8 are kept.

    Args:
        image: loaded.
        bits: of a sample in the file.
        low_bytes: as of `tgjar_arch.pictures.transparency.keyed_alpha`.
    """
    icc = image.info.get('icc_profile') or None
    if image.mode == 'CMYK':
        # Pillow takes all CMYK and YCCK files as inverted, as Adobe writes them; so does everyone else.
        return _array(_cmyk_to_srgb(image, icc), 'RGB'), None, None
    key = keyed_alpha(image, bits, low_bytes) if has_deep_key(image, bits) else None
    if image.mode.startswith('I;16') or _is_deep_pgm(image):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2), key, icc
    if has_deep_key(image, bits):
        return _array(image, 'RGB'), key, icc
    if image.has_transparency_data:
        pixels = _array(image, 'RGBA')
        alpha = np.ascontiguousarray(pixels[..., 3])
        return np.ascontiguousarray(pixels[..., :3]), None if alpha.min() == 255 else alpha, icc
    return _array(image, 'RGB'), None, icc


def _low_bytes(path: Path, max_pixels: int) -> np.ndarray | None:
    """The lower bytes (H, W, 3) of a 16-bit PNG file; None where they cannot be had."""
    try:
        with open_image(path, max_pixels) as image:
            return low_bytes(image)
    except (OSError, ValueError):  # a fault that was mended before
        return None


def _array(image: Image.Image, mode: str) -> np.ndarray:
    """Return the pixels (H, W, C) in `mode`, converted a strip at a time: at 48 megapixels that saves 0.4 GB."""
    width, height = image.size
    pixels = np.empty((height, width, len(mode)), np.uint8)
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)).convert(mode))
    return pixels


def _cmyk_to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    if icc:
        # A broken profile, or one of another colour space: converted as if there were none.
        with suppress(ImageCms.PyCMSError, OSError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile('sRGB'), outputMode='RGB')
            assert converted is not None  # only where it changes the image in place
            return converted
    return image.convert('RGB')


def orientation_of(image: Image.Image) -> int:
    """Return EXIF's orientation of an image that Pillow opened and loaded, 1 (upright) to 8.

    Not XMP's, which Pillow takes where EXIF has none: viewers do not turn by it.
    """
    if xmp_of(image) is not None:
        bare = Image.new('1', (1, 1))
        bare.info = {key: image.info[key] for key in ('exif', 'Raw profile type exif') if key in image.info}
        image = bare
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken metadata must not stop a whole picture
        return 1
    return int(value) if value in range(1, 9) else 1


def _exif(image: Image.Image) -> bytes | None:
    exif = image.info.get('exif')  # absent in a TIFF, whose tags are about the file's own layout
    return exif.removeprefix(b'Exif\0\0') or None if isinstance(exif, bytes) else None


def xmp_of(image: Image.Image) -> bytes | None:
    """Return the XMP packet of an image that Pillow opened (and, for a PNG file, loaded)."""
    xmp = image.info.get('xmp') or image.info.get('XML:com.adobe.xmp')
    return xmp.encode() if isinstance(xmp, str) else xmp or None


def describe(photo: Photo) -> str:
    """Format, quality and size of a file in a few words."""
    size = f'{photo.size[0]} x {photo.size[1]}'
    if photo.jpeg is None:
        return f'{photo.format}, {size}'
    about = '' if photo.jpeg.standard_tables else 'about '
    chroma = photo.jpeg.chroma or 'grey'
    return f'{photo.format} quality {about}{photo.jpeg.qf}, {chroma}, {size}'
