"""Arguments that several commands share. Nothing heavy is imported: help and errors must come at once."""

import argparse
import os
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tgjar_arch.pictures.limits import MAX_PIXELS
from tgjar_arch.restoration.limits import MAX_STRENGTH, MIN_TILE
from tgjar_arch.weights.shipped import FIDELITY, shipped

WEIGHTS = 'TGJAR_WEIGHTS'  # a variable of the environment
DTYPES = ('float32', 'bfloat16', 'float16')  # of torch
SELF_ENSEMBLE = ('the mean of the restored picture and its restored mirror image: twice the time, nearer to the '
                 'original (PSNR), softer texture')
Number = TypeVar('Number', int, float)


def number_from(kind: Callable[[str], Number], least: Number, what: str) -> Callable[[str], Number]:
    """An argument type: `kind(text)`, finite and not below `least`; `what` says so in the error message."""

    def read(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not isfinite(value) or value < least:
            raise argparse.ArgumentTypeError(f'must be {what}, but is {text!r}')
        return value

    return read


positive_int = number_from(int, 1, 'a whole number from 1 up')


def number_between(least: float, most: float, what: str) -> Callable[[str], float]:
    """An argument type: a number from `least` to `most`; `what` says so in the error message."""

    def read(text: str) -> float:
        value = number_from(float, least, what)(text)
        if value > most:
            raise argparse.ArgumentTypeError(f'must be {what}, but is {text!r}')
        return value

    return read


def quality_factor(text: str) -> int:
    """An argument type: a JPEG quality factor."""
    value = number_from(int, 1, 'a whole number from 1 to 100')(text)
    if value > 100:
        raise argparse.ArgumentTypeError(f'must be a whole number from 1 to 100, but is {text!r}')
    return value


def port(text: str) -> int:
    """An argument type: a TCP port."""
    value = number_from(int, 1, 'a port from 1 to 65535')(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f'must be a port from 1 to 65535, but is {text!r}')
    return value


def tile_size(text: str) -> int:
    """An argument type: the side of a tile in pixels, or 0 for none."""
    value = number_from(int, 0, 'a number of pixels, or 0 for the whole picture')(text)
    if 0 < value < MIN_TILE:
        raise argparse.ArgumentTypeError(f'must be 0 or at least {MIN_TILE} pixels, but is {value}')
    return value


class Parser(Protocol):
    """A parser, or a group of its arguments."""

    def add_argument(self, *names: str, **how: Any) -> argparse.Action: ...


def add_weights(parser: Parser) -> None:
    """`--weights`, of which the environment may hold the default."""
    names = list(shipped())
    if names:
        files = f'.safetensors file of `tgjar export`, one of {", ".join(names)}, or org/name of the Hugging Face Hub'
        default = f'the variable {WEIGHTS}, else {names[0]}'
    else:
        files = '.safetensors file of `tgjar export`, or org/name of the Hugging Face Hub'
        default = f'the variable {WEIGHTS}'
    parser.add_argument('--weights', type=Path, default=os.environ.get(WEIGHTS) or None, metavar='FILE',
                        help=f'{files} (default: {default})')


def add_text_strength(parser: Parser, note: str = '0: no text, 1: as trained, above: the text counts more') -> None:
    """`--text-strength`."""
    parser.add_argument('--text-strength', type=number_from(float, 0, '0 or more'), default=1., metavar='S',
                        help=f'{note} (default: %(default)s)')


strength = number_between(0, MAX_STRENGTH, f'a number from 0 to {MAX_STRENGTH}')
fidelity = number_between(0, 1, 'a number from 0 to 1')


def add_strength(parser: Parser) -> None:
    """`--strength`."""
    parser.add_argument('--strength', type=strength, default=1., metavar='S',
                        help=f'how much of the change is applied, 0: none, 1: all, up to {MAX_STRENGTH}: more '
                        '(default: %(default)s)')


def add_fidelity(parser: Parser) -> None:
    """`--fidelity` and `--fidelity-weights`."""
    parser.add_argument('--fidelity', type=fidelity, default=0., metavar='F',
                        help='0: the weights as they are, which draw texture; 1: the fidelity weights, which stay '
                        'nearest to the original (PSNR); between: weights between the two (default: %(default)s)')
    add_fidelity_weights(parser)


def add_fidelity_weights(parser: Parser) -> None:
    """`--fidelity-weights`."""
    shipped_ones = ', '.join(f'{partner} for {name}' for name, partner in FIDELITY.items() if partner in shipped())
    parser.add_argument('--fidelity-weights', type=Path, metavar='FILE',
                        help='weights of the same network and text encoder that were trained for fidelity'
                        + (f' (default: {shipped_ones})' if shipped_ones else ''))


def add_max_pixels(parser: Parser, default: int = MAX_PIXELS) -> None:
    """`--max-pixels`."""
    parser.add_argument('--max-pixels', type=positive_int, default=default, metavar='N',
                        help='refuse pictures with more pixels (default: %(default)s)')


def add_tile(parser: Parser) -> None:
    """`--tile`."""
    parser.add_argument('--tile', type=tile_size, metavar='N',
                        help='side of the tiles in pixels; the result is the same, and memory is bounded; 0: none '
                        '(default: what fits a part of the free memory)')


def add_self_ensemble(parser: Parser, note: str = SELF_ENSEMBLE) -> None:
    """`--self-ensemble`."""
    parser.add_argument('--self-ensemble', action='store_true', help=note)


def add_device(parser: Parser) -> None:
    """`--device`."""
    parser.add_argument('--device', metavar='NAME', help='cpu, cuda, cuda:1, ... (default: the GPU if there is one)')
