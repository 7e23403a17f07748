"""Encoding and decoding JPEG in memory."""

import cv2
import numpy as np

from tgjar_arch.jpeg.settings import CHROMA, check_qf

_FACTORS = dict(zip(CHROMA, (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
                             cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444), strict=True))
_ALONE = {0xff, 0x01, *range(0xd0, 0xd8)}  # second bytes without a length behind them: fill, TEM, RSTn


def encode(image: np.ndarray, qf: int, chroma: str = '4:2:0') -> bytes:
    """Return the baseline JPEG file of an image; byte for byte Pillow's `save(quality=qf, subsampling=chroma)`.

    Args:
        image: (H, W, 3) uint8, BGR.
        qf: quality factor of libjpeg, 1 (worst) to 100.
        chroma: subsampling, one of `CHROMA`.

    Raises:
        ValueError: when an argument is not as said.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'JPEG compression expects an image (H, W, 3) uint8, but got {image.shape} {image.dtype}.')
    check_qf(qf)
    if chroma not in CHROMA:
        raise ValueError(f'chroma must be one of {", ".join(CHROMA)}, but is {chroma!r}.')
    options = [cv2.IMWRITE_JPEG_QUALITY, int(qf), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _FACTORS[chroma]]
    return cv2.imencode('.jpg', np.ascontiguousarray(image), options)[1].tobytes()


def compress(image: np.ndarray, qf: int, chroma: str = '4:2:0') -> np.ndarray:
    """Return the image (H, W, 3) uint8 BGR as it is after one JPEG compression; arguments as of `encode`."""
    return decode(encode(image, qf, chroma))


def decode(content: bytes) -> np.ndarray:
    """Return the image (H, W, 3) uint8 BGR of a file that `encode` made.

    Raises:
        ValueError: when it is no image.
    """
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f'expected a JPEG file made by encode, but OpenCV cannot read these {len(content)} bytes.')
    return image


def is_cut_short(content: bytes) -> bool:
    """Whether a JPEG file has lost its end: no end marker behind the image data. False for files of other formats.

    OpenCV before version 5 decodes such a file all the same, and fills the rest of the picture with grey. What lies in
    the segments before the image data is passed over: the thumbnail of EXIF is a JPEG file with an end of its own.
    """
    if content[:2] != b'\xff\xd8':
        return False
    at = 2
    while (marker := content[at:at + 2]) != b'\xff\xda':  # start of the image data
        if len(marker) < 2:
            return True
        if marker[0] != 0xff:  # no segment begins here: let the search below decide
            break
        if marker[1] in _ALONE:
            at += 1 if marker[1] == 0xff else 2
        else:
            at += 2 + max(2, int.from_bytes(content[at + 2:at + 4], 'big'))
    return content.find(b'\xff\xd9', at) < 0
