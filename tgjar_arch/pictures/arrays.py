"""Pictures as Python programs have them, to RGB pixels on JPEG's own grid, and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from tgjar_arch.pictures.photo import check_mode, orientation_of, rgb_of, turned


class Opened(NamedTuple):
    """A PIL image or an array, read.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, as stored.
        alpha: (H, W) uint8, as stored; None for an opaque picture.
        icc: colour profile of the pixels; None for sRGB, and for a profile that is not one for RGB.
        orientation: of EXIF, 1 (upright) to 8.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    orientation: int = 1

    def to_pil(self, restored: np.ndarray) -> Image.Image:
        """Return what was made from `pixels` as a picture: upright, with colour profile and transparency."""
        picture = Image.fromarray(np.ascontiguousarray(turned(restored, self.orientation)))
        if self.alpha is not None:
            picture.putalpha(Image.fromarray(np.ascontiguousarray(turned(self.alpha, self.orientation))))
        if self.icc:
            picture.info['icc_profile'] = self.icc
        return picture


def open_picture(image: Image.Image | np.ndarray, who: str) -> Opened:
    """Read a PIL image of any mode that has an 8-bit RGB picture, or an array (H, W, 3) uint8, RGB.

    Args:
        image: the picture; an array may be a view with any strides.
        who: expects it, for the messages.

    Raises:
        OSError: when the file behind a PIL image is truncated.
        ValueError: when it is none of these, or has no pixels.
    """
    if isinstance(image, Image.Image):
        check_mode(image, f'the picture given to {who}')
        if not all(image.size):
            raise ValueError(f'{who} got a picture of {image.width} x {image.height}, which has no pixels.')
        bits = _grey_bits(image)
        image.load()  # a TIFF is turned by Pillow as it is loaded, and says so only then
        pixels, alpha, icc = rgb_of(image, bits)
        return Opened(pixels, alpha, icc if icc and icc[16:20] == b'RGB ' else None, orientation_of(image))
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f'{who} expects an RGB image (H, W, 3) uint8, but got {pixels.shape} {pixels.dtype}; a '
                         'tensor may be (3, H, W) or (N, 3, H, W) float.')
    if not pixels.size:
        raise ValueError(f'{who} got an image {pixels.shape}, which has no pixels.')
    return Opened(pixels)


def _grey_bits(image: Image.Image) -> int:
    """Bits of a sample of a grey PNG file that is opened and not loaded yet; else 8, as Pillow makes of it."""
    tiles = getattr(image, 'tile', None) or ()
    return {'L;2': 2, 'L;4': 4}.get(tiles[0].args, 8) if tiles else 8
