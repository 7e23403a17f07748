"""The transparent colour of PNG files without an alpha channel (their chunk tRNS), where Pillow misses it.

The chunk has a number of as many bits as the file's samples. Pillow compares it with pixels that it has brought to 8
bits, and finds none in a file of 2 or 4 bits, or of 16. PNG (third edition), section 11.3.1.1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFile


def has_deep_key(image: Image.Image, bits: int) -> bool:
    """Whether a picture names a transparent colour that is not one of its own 8-bit pixels.

    Args:
        image: opened by Pillow.
        bits: of a sample in the file.
    """
    key = image.info.get('transparency')
    if image.mode == 'RGB' and isinstance(key, tuple):
        return bits == 16 or max(key) > 255
    return isinstance(key, int) and (image.mode.startswith('I;16') or image.mode == 'L' and bits in (2, 4))


def keyed_alpha(image: Image.Image, bits: int, low_bytes: Callable[[], np.ndarray | None] = lambda: None,
                ) -> np.ndarray | None:
    """Return alpha (H, W) uint8 of a picture for which `has_deep_key`: 0 at the transparent colour, else 255.

    Args:
        image: the picture, loaded.
        bits: of a sample in the file.
        low_bytes: gives the lower bytes (H, W, 3) of 16-bit colours, which Pillow drops; None where they are not to be
            had: then the upper ones decide.

    Returns:
        None if no pixel has that colour.
    """
    key, pixels = image.info['transparency'], np.asarray(image)
    if image.mode == 'RGB':
        found = _is(pixels, [value >> 8 for value in key])
        if found.any() and (low := low_bytes()) is not None:
            found &= _is(low, [value & 255 for value in key])
    elif image.mode == 'L':
        found = pixels == key * (255 // (2**bits - 1))
    else:
        found = pixels == key
    return np.where(found, 0, 255).astype(np.uint8) if found.any() else None


def _is(pixels: np.ndarray, colour: list[int]) -> np.ndarray:
    red, green, blue = (pixels[..., channel] == value for channel, value in enumerate(colour))
    return red & green & blue


def low_bytes(image: Image.Image) -> np.ndarray | None:
    """Return the lower bytes (H, W, 3) of a 16-bit PNG file in colour that Pillow has opened, but not loaded."""
    if not isinstance(image, ImageFile.ImageFile) or [tile.args for tile in image.tile] != ['RGB;16B']:
        return None
    # The unpacker for samples of the other byte order takes the byte that it holds for the upper one.
    image.tile = [image.tile[0]._replace(args='RGB;16L')]
    return np.asarray(image)
