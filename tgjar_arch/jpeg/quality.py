"""The quality factor of a JPEG file, from its quantisation tables.

The tables at quality 50 are K.1 and K.2 of ITU-T T.81; the other qualities are the Independent JPEG Group's scaling of
them (libjpeg 6b, `jcparam.c`, `jpeg_quality_scaling` and `jpeg_add_quant_table`), which libjpeg-turbo, Pillow, OpenCV
and most programs use. Cameras, Photoshop and MozJPEG have tables of their own.
"""

from functools import cache

import numpy as np

_LUMA = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]])
_CHROMA = np.full((8, 8), 99)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

_LARGEST = 255, 32767  # of a baseline table, and of one with 16 bits, which `cjpeg` writes below quality 25


def standard_tables(qf: int, largest: int = 255) -> np.ndarray:
    """Return libjpeg's tables of a quality factor.

    scale = 5000 / qf below 50, else 200 - 2 qf, rounded down; step = (table * scale + 50) / 100, rounded down, at least
    1 and at most `largest`.

    Args:
        qf: 1 to 100.
        largest: 255 for baseline files, 32767 where 16 bits are allowed.

    Returns:
        (2, 8, 8) int64, luma and chroma, row = vertical frequency.
    """
    scale = 5000 // qf if qf < 50 else 200 - 2 * qf
    return np.clip((np.stack([_LUMA, _CHROMA]) * scale + 50) // 100, 1, largest)


@cache
def _all_standard_tables() -> np.ndarray:
    tables = [standard_tables(qf, largest) for largest in _LARGEST for qf in range(1, 101)]
    return np.array(tables, dtype=np.float64)  # (200, 2, 8, 8)


def estimate_quality(tables: np.ndarray) -> tuple[int, bool]:
    """Return the quality factor that quantisation tables stand for.

    Args:
        tables: (2, 8, 8) luma and chroma as `tgjar_arch.jpeg.tables.tables_as_stored` returns them, or
            (1, 8, 8) where all components share one table (a grey file).

    Returns:
        The quality factor, and whether the tables are exactly libjpeg's at that factor. If they are not, the factor is
        that of the nearest ones: least mean of |log(step / step of libjpeg)|.
    """
    standard = _all_standard_tables()[:, :len(tables)]
    distance = np.abs(np.log(standard / np.maximum(tables, 1))).mean(axis=(1, 2, 3))
    best = int(distance.argmin())  # the first: between baseline and 16 bits the same factor
    return best % 100 + 1, bool(distance[best] == 0)
