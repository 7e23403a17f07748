"""JPEG compression in memory, once or twice, and how its quality factor is drawn."""

import math
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from tgjar_arch.jpeg.codec import decode, encode
from tgjar_arch.jpeg.settings import check_qf
from tgjar_arch.option_checks import check_keys, probability, scale_range

MAX_SHIFT = 7  # blocks are 8 wide: a shift by 8 is no shift for the luma
LAST = ('jpeg', 'webp', 'png')  # what a file is saved as at last
WEBP_QF = {'min': 60, 'max': 95}


class Compressed(NamedTuple):
    """A compressed image.

    Attributes:
        pixels: (H, W, 3) uint8, BGR.
        jpeg: the file of its last JPEG compression, whose quantisation tables it has.
        qf: the quality factor of that.
    """

    pixels: np.ndarray
    jpeg: bytes
    qf: int


def compress_once(image: np.ndarray, qf: int, chroma: str = '4:2:0') -> Compressed:
    """Compress an image (H, W, 3) uint8, BGR, on its own grid; arguments as of `tgjar_arch.jpeg.codec.encode`."""
    file = encode(image, qf, chroma)
    return Compressed(decode(file), file, qf)


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
    dy, dx = shift
    return decode(_shifted_file(image, qf, shift, chroma))[dy:, dx:]


def _shifted_file(image: np.ndarray, qf: int, shift: tuple[int, int], chroma: str) -> bytes:
    if not all(0 <= offset <= MAX_SHIFT for offset in shift):
        raise ValueError(f'shift must be two numbers from 0 to {MAX_SHIFT}, but is {shift}.')
    dy, dx = shift
    return encode(cv2.copyMakeBorder(image, dy, 0, dx, 0, cv2.BORDER_REPLICATE), qf, chroma)


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


class DoubleCompression:
    """How a file came about that was compressed before: `double_jpeg` of an option file.

        image -- (to 1/scale) -- JPEG at qf, grid moved by shift -- (to its size) -- last: JPEG, WebP or PNG

    Args:
        spec: a mapping with these keys, all but `qf` optional:

            - prob: share of the files that are compressed twice (1).
            - qf: of the first compression, as of `QualitySampler`.
            - shift: the first grid is moved by 0 to `shift` pixels (7), down and right.
            - resize: `{prob: 0.5, scale: [0.5, 2]}`: share of these files that are resized between the compressions,
              and the factors, below 1 for a picture that was larger. Drawn log-uniformly: half and double are equally
              likely. The larger picture of a factor below 1 is the image enlarged (cubic); it is shrunk by areas. The
              smaller one of a factor above 1 is the image shrunk by areas; it is enlarged linearly or by cubics. ~
            - last: `{jpeg: 2, webp: 1, png: 1}`: relative shares of the formats of the last file. png is lossless, so
              that the earlier JPEG is the only one. Without it all are JPEG.
            - webp_qf: of the WebP files, as of `QualitySampler` (`{min: 60, max: 95}`).

        chroma: subsampling of the JPEG files.

    Raises:
        ValueError: when `spec` is not as said, or has a key that can have no effect.
    """

    def __init__(self, spec: Mapping[str, Any], chroma: str = '4:2:0') -> None:
        check_keys(spec, {'prob', 'qf', 'shift', 'resize', 'last', 'webp_qf'}, 'double_jpeg')
        if 'qf' not in spec:
            raise ValueError('double_jpeg needs the qf of the first compression, such as {qf: {min: 10, max: 95}}.')
        self.prob = probability(spec, 'prob', 1.0)
        self._chroma = chroma
        self._qf = QualitySampler(spec['qf'], 'double_jpeg: qf')
        self._max_shift = spec.get('shift', MAX_SHIFT)
        if self._max_shift not in range(MAX_SHIFT + 1):
            raise ValueError(f'double_jpeg: shift must be from 0 to {MAX_SHIFT}, but is {self._max_shift!r}.')
        self._resize_prob, self._scale = _resizing(spec.get('resize'))
        self._last = _formats(spec.get('last'))
        if spec.get('webp_qf') is not None and 'webp' not in self._last:
            raise ValueError('double_jpeg: webp_qf can have no effect, since last has no share of webp; add it there '
                             'or drop webp_qf.')
        webp_qf = spec.get('webp_qf')
        self._webp_qf = QualitySampler(WEBP_QF if webp_qf is None else webp_qf, 'double_jpeg: webp_qf')

    def __call__(self, image: np.ndarray, qf: int, rng: random.Random) -> Compressed:
        """Compress an image twice.

        Args:
            image: (H, W, 3) uint8, BGR.
            qf: of the last compression, if that is JPEG.
            rng: draws all else.
        """
        shift = rng.randint(0, self._max_shift), rng.randint(0, self._max_shift)
        first_qf = self._qf.sample(rng)
        # What follows draws only where its key is given: option files without it keep their samples.
        scale, enlarging = 1.0, cv2.INTER_LINEAR
        if self._resize_prob > 0 and rng.random() < self._resize_prob:
            scale = math.exp(rng.uniform(*map(math.log, self._scale)))
            enlarging = rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC))
        height, width = image.shape[:2]
        before = image
        if scale != 1:
            before = _resized(image, max(round(height / scale), 1), max(round(width / scale), 1), cv2.INTER_CUBIC)
        file = _shifted_file(before, first_qf, shift, self._chroma)
        pixels = decode(file)[shift[0]:, shift[1]:]
        if scale != 1:
            pixels = _resized(pixels, height, width, enlarging)
        last = 'jpeg'
        if self._last:
            last = rng.choices(list(self._last), list(self._last.values()))[0]
        if last == 'jpeg':
            return compress_once(pixels, qf, self._chroma)
        if last == 'webp':
            quality = [cv2.IMWRITE_WEBP_QUALITY, self._webp_qf.sample(rng)]
            pixels = decode(cv2.imencode('.webp', np.ascontiguousarray(pixels), quality)[1].tobytes())
        return Compressed(pixels, file, first_qf)


def _resizing(spec: Any) -> tuple[float, tuple[float, float]]:
    """Probability and factors of `resize`."""
    if spec is None:
        return 0.0, (1.0, 1.0)
    if not isinstance(spec, Mapping) or 'scale' not in spec:
        raise ValueError(f'double_jpeg: resize must be such as {{prob: 0.5, scale: [0.5, 2]}}, but is {spec!r}.')
    check_keys(spec, {'prob', 'scale'}, 'double_jpeg: resize')
    factors = scale_range(spec, 'scale')
    if factors is None:
        raise ValueError('double_jpeg: resize: scale is empty (~); give two factors, such as [0.5, 2], or drop resize.')
    return probability(spec, 'prob', 1.0), factors


def _formats(spec: Any) -> dict[str, float]:
    """Share of each format of `last`; empty where all are JPEG."""
    if spec is None:
        return {}
    shares = list(spec.values()) if isinstance(spec, Mapping) else []
    if not shares or not all(type(x) in (int, float) and 0 <= x < math.inf for x in shares) or not sum(shares):
        raise ValueError('double_jpeg: last must hold shares from 0 up, one above 0, such as '
                         f'{{jpeg: 2, webp: 1, png: 1}}, but is {spec!r}.')
    check_keys(spec, LAST, 'double_jpeg: last')
    return {name: spec[name] for name in LAST if spec.get(name)}


def _resized(image: np.ndarray, height: int, width: int, enlarging: int) -> np.ndarray:
    smaller = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else enlarging)
