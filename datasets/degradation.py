"""JPEG compression in memory, once or twice, and how its quality factor is drawn."""

import random
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from tgjar_arch.jpeg.codec import compress
from tgjar_arch.jpeg.settings import check_qf

MAX_SHIFT = 7  # blocks are 8 wide: a shift by 8 is no shift for the luma


def shifted_compress(image: np.ndarray, qf: int, shift: tuple[int, int] = (0, 0), chroma: str = '4:2:0') -> np.ndarray:
    """Compress once, with the 8x8 grid moved down and to the right.

    Non-aligned double JPEG as in FBCNN (Jiang et al., ICCV 2021, section 3.4), but without losing the border: the
    compression sees the image with `shift` repeated rows above and columns to the left, which are cut off again.

    Args:
        image: (H, W, 3) uint8, BGR.
        qf: quality factor.
        shift: (rows, columns), each 0 to 7; (0, 0) is aligned double JPEG.
        chroma: subsampling, one of `tgjar_arch.jpeg.settings.CHROMA`.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        ValueError: when an argument is not as said.
    """
    if not all(0 <= offset <= MAX_SHIFT for offset in shift):
        raise ValueError(f'shift must be two numbers from 0 to {MAX_SHIFT}, but is {shift}.')
    dy, dx = shift
    moved = cv2.copyMakeBorder(image, dy, 0, dx, 0, cv2.BORDER_REPLICATE)
    return compress(moved, qf, chroma)[dy:, dx:]


class QualitySampler:
    """Quality factors as an option file gives them.

    Args:
        spec: a number (`1`), a list (`[1, 5, 10]`: one of them) or a mapping (`{min: 1, max: 40}`: any whole number
            between, both ends included).
        key: name of the option, for the messages.

    Raises:
        ValueError: when `spec` is none of these, or a number is not from 1 to 100.
    """

    def __init__(self, spec: Any, key: str = 'qf') -> None:
        if isinstance(spec, Mapping):
            if set(spec) != {'min', 'max'}:
                raise ValueError(f'{key}: a range is {{min: 1, max: 40}}, but {dict(spec)} was given.')
            low, high = (check_qf(spec[end], f'{key}: {end}') for end in ('min', 'max'))
            if low > high:
                raise ValueError(f'{key}: min {low} is greater than max {high}.')
            self.values: list[int] | range = range(low, high + 1)
        elif isinstance(spec, list | tuple):
            if not spec:
                raise ValueError(f'{key}: the list is empty; give numbers from 1 to 100.')
            self.values = [check_qf(value, key) for value in spec]
        else:
            self.values = [check_qf(spec, key)]

    def sample(self, rng: random.Random) -> int:
        """Draw one quality factor, each with the same probability."""
        return rng.choice(self.values)

    def at(self, index: int) -> int:
        """Return the quality factor of image `index` in validation, always the same: a list in turn, a range evenly."""
        if isinstance(self.values, range):
            # Multiples of the golden ratio: the first few images already cover the range, and neighbours differ.
            return self.values[int(index * 0.6180339887498949 % 1 * len(self.values))]
        return self.values[index % len(self.values)]
