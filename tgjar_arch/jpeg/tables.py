"""What a JPEG file says about its own compression: quantisation tables, as maps, and the picture as a thumbnail.

Inputs of networks that are told how an image was compressed (QGCN: Li et al., IEEE TIP 29, 2020, section III).
"""

import io

import cv2
import numpy as np
import torch
from PIL import Image, JpegImagePlugin
from torch import Tensor

BLOCK = 8  # pixels of a JPEG block
_ORIENTATION = 0x0112  # EXIF tag; from 5 on, rows and columns change places
_REVERSED = {2: (0,), 3: (0, 1), 4: (1,), 6: (1,), 7: (0, 1), 8: (0,)}  # columns (0) and rows (1) as stored


def tables_as_stored(image: Image.Image) -> np.ndarray | None:
    """Return the luma and the chroma table of an image that Pillow opened, for its pixels as they lie in the file.

    Args:
        image: as `Image.open` returns it; a copy, crop or conversion of it has no tables.

    Returns:
        (2, 8, 8) float32, as `quantisation_tables`; None when there are none, as for a PNG file.
    """
    tables = getattr(image, 'quantization', None)  # Pillow has undone the zigzag order of the file
    if not tables:
        return None
    ids = sorted(tables)
    return np.array([tables[ids[0]], tables[ids[min(1, len(ids) - 1)]]], dtype=np.float32).reshape(2, BLOCK, BLOCK)


def quantisation_tables(content: bytes, path: str) -> np.ndarray:
    """Read the luma and the chroma table of a JPEG file.

    Args:
        content: the whole file.
        path: its name, for the message.

    Returns:
        (2, 8, 8) float32, steps of the quantiser from 1 to 255 (12-bit files: more), row = vertical frequency. A file
        with one table (a grey one, or an unusual encoder) has it twice. Where an EXIF tag turns the picture by 90
        degrees, which OpenCV does when it decodes, the tables are turned too.

    Raises:
        ValueError: when it is no JPEG file.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            pair = tables_as_stored(image)
            turned = _orientation(image) >= 5
    except OSError as error:
        raise ValueError(f'{path} cannot be read by Pillow ({error}), so it has no quantisation tables.') from error
    if pair is None:
        raise ValueError(f'{path} is no JPEG file and has no quantisation tables; compress with qf, or put JPEG files '
                         'into dataroot_lq, or set quantisation_maps: false.')
    return pair.transpose(0, 2, 1) if turned else pair


def off_grid(content: bytes) -> bool:
    """Whether a JPEG file is turned by EXIF so that, looked at, its block grid does not begin at the left upper corner.

    OpenCV turns it when it decodes. Rows or columns that come to lie the other way round then begin with their last
    block, of chroma where that is subsampled, which the picture may cut.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if not isinstance(image, JpegImagePlugin.JpegImageFile):
                return False
            components = image.layer  # (id, columns, rows, table), of which the most subsampled have 1 and 1
            unit = (1, 1) if len(components) == 1 else [max(one[axis] for one in components) for axis in (1, 2)]
            return any(image.size[axis] % (BLOCK * unit[axis]) for axis in _REVERSED.get(_orientation(image), ()))
    except (OSError, Image.DecompressionBombError):  # decoding says what there is to say
        return False


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 (upright) to 8; not XMP's, which Pillow would take for it and OpenCV does not read."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get('exif', b''))
        value = exif.get(_ORIENTATION, 1)
    except Exception:  # broken metadata must not stop a whole picture
        return 1
    return value if isinstance(value, int) else 1


def quantisation_maps(tables: np.ndarray, height: int, width: int) -> Tensor:
    """Repeat the tables over an image, one entry a pixel, from the corner where its block grid begins.

    Args:
        tables: (2, 8, 8), of `quantisation_tables`.
        height, width: size of the image, any.

    Returns:
        (2, height, width) float32, steps / 255: in (0, 1] for 8-bit tables, as the image is.
    """
    repeat = -(-height // BLOCK), -(-width // BLOCK)
    maps = np.tile(tables, (1, *repeat))[:, :height, :width]
    return torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32)).div_(255)


def thumbnail(image: np.ndarray, size: int) -> Tensor:
    """Reduce an image (H, W, 3) uint8 BGR to (3, size, size) float RGB in [0, 1], whatever its aspect ratio.

    Bicubic, and without aliasing: scaling down, every pixel counts.
    """
    small = Image.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float().div_(255)
