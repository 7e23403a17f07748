"""Arguments that several commands share."""

import argparse
from collections.abc import Callable
from math import isfinite

import torch

from tgjar_arch.restoration.tiling import MIN_TILE

WEIGHTS = 'TGJAR_WEIGHTS'


DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def number_from(kind: Callable[[str], float], least: float, what: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float('nan')
        if not isfinite(value) or value < least:
            raise argparse.ArgumentTypeError(f'must be {what}, but is {text!r}')
        return value
    return read


def tile_size(text: str) -> int:
    value = int(number_from(int, 0, 'a number of pixels, or 0 for the whole picture')(text))
    if 0 < value < MIN_TILE:
        raise argparse.ArgumentTypeError(f'must be 0 or at least {MIN_TILE} pixels, but is {value}')
    return value
