"""What a JPEG encoder is told: quality factor and chroma subsampling. Light, for the command line."""

from numbers import Integral
from typing import Any

# 4:2:0 is what photos on the web have and what the paper's figures imply: 4:4:4 would be 0.8 to 2.7 dB better.
CHROMA = ('4:2:0', '4:2:2', '4:4:4')


def check_qf(qf: Any, key: str = 'qf') -> int:
    """Return `qf` as int.

    Raises:
        ValueError: if it is not a whole number from 1 to 100; the message names `key`.
    """
    if isinstance(qf, bool) or not isinstance(qf, Integral) or not 1 <= int(qf) <= 100:
        raise ValueError(f'{key}: a JPEG quality factor is a whole number from 1 to 100, but {qf!r} was given.')
    return int(qf)
