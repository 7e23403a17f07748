"""Finding the 8x8 grid of an earlier JPEG compression in pixels: after a crop, in PNG, below a later compression.

On the right grid, and on no other, the DCT coefficients of the blocks lie near the multiples of a quantiser's steps
(`tgjar_arch.jpeg.hidden_quality`). All 64 grids are tried on some blocks, the best of them on more. What it finds and
what it misses is measured in docs/hidden_grid.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tgjar_arch.jpeg.hidden_quality import (
    BLOCK,
    block_coefficients,
    free_evidence,
    histograms,
    nearest_quality,
    quality_evidence,
    step_evidence,
    transform,
)
from tgjar_arch.jpeg.quality import standard_tables

FINEST = 85  # quality factor up to which a grid is reported: finer ones leave nothing to restore

_SMALLEST = 24  # pixels on a side
_LARGEST = 1 << 19  # pixels that are looked at as a whole
_TILE = 256  # pixels on a side; nine tiles stand for a larger picture
_PATCHES = 256  # that all grids are tried on, with these frequencies, magnitudes, and scatters (1, 3.5, 10):
_QUICK_FREQUENCIES, _QUICK_MAGNITUDES, _QUICK_SCATTERS = 14, 256, slice(1, 6, 2)
_TRIED, _BLOCKS = 4, 8192  # grids that are then looked at closely, and their blocks
# nats; pictures without a grid stayed below 30, but for two scaled by nearest neighbour, which came to more than 40.
_ENOUGH = 60.
_CLEARER = 2.  # times the evidence of any other grid
_OTHERS_ENOUGH, _OTHERS_CLEARER = 300., 3.  # the same for tables that are not libjpeg's
_CHROMA_CONTRAST = 0.05
_REACH = 3  # borders on either side that a border is compared with: no other one of the same phase
_FLAT = 0.5  # grey levels of difference below which a border says little
_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)


@dataclass(frozen=True)
class HiddenGrid:
    """The block grid of a JPEG compression that a picture went through before it came to its present form.

    Attributes:
        row, column: where the first whole block begins, 0 to 7.
        strength: evidence in nats a block (natural logarithm of the likelihood ratio), above 0; about 0.05 is weak
            (quality 40 saved again at 75), 10 is plain (quality 20 in PNG).
        qf: quality factor of libjpeg, 1 to `FINEST`, whose luma table explains the coefficients best.
        chroma: where the first whole block of subsampled chroma (4:2:0, 16 pixels) begins, 0 to 15; None when no grid
            of chroma is seen (4:4:4, grey, 4:2:2, or too weak).
    """

    row: int
    column: int
    strength: float
    qf: int
    chroma: tuple[int, int] | None


@dataclass(frozen=True)
class _Found:
    offset: tuple[int, int]
    qf: int
    strength: float
    libjpeg: bool  # whether its steps are, to what can be told, libjpeg's


def find_grid(pixels: np.ndarray, own_qf: int | None = None, own_offset: tuple[int, int] = (0, 0),
              own_table: np.ndarray | None = None) -> HiddenGrid | None:
    """Find the grid of the coarsest JPEG compression that pixels went through, other than the one of their own file.

    Pictures of up to 2^19 pixels are looked at as a whole, larger ones in nine tiles of 256 pixels, three by three
    over the picture; of these, 256 patches decide between the offsets and up to 8,192 blocks on the quality.

    Args:
        pixels: (H, W, 3) RGB or (H, W) grey, uint8.
        own_qf: quality factor of the JPEG file that the pixels were decoded from, 1 to 100; only coarser compressions
            are then looked for. None for PNG, WebP and the like.
        own_offset: where the grid of that file begins, row and column, 0 to 7; (0, 0) unless it was turned or cropped.
        own_table: (8, 8) luma table of that file, in the place of `own_qf`. Needed where it is not libjpeg's, as of
            cameras and Photoshop: its own grid would else be taken for a hidden one.

    Returns:
        None when there is none: no grid, one finer than quality `FINEST`, a picture that was scaled since, or one of
        less than 24 pixels on a side. Small ones mostly give None too, as the evidence does not suffice.

    Raises:
        ValueError: when an argument is not as said.
    """
    own = _own_steps(pixels, own_qf, own_offset, own_table)
    own_offset = int(own_offset[0]), int(own_offset[1])
    if min(pixels.shape[:2]) < _SMALLEST:
        return None
    tiles = _tiles(pixels)
    lumas = [_plane(tile, 0) for tile in tiles]
    scan = step_evidence(_counts_at_all_offsets(lumas), _QUICK_SCATTERS)
    found = None
    # Below the grid that is found there may be a coarser one: a file of quality 10 that was saved at 90, then as PNG.
    while (deeper := _best(lumas, scan, own, own_offset)) is not None:
        found = deeper
        if not found.libjpeg:  # its steps are known roughly: too little to look below
            break
        own_offset, own = found.offset, standard_tables(found.qf)[0]
    if found is None or found.qf > FINEST:
        return None
    chroma = _chroma_offset(tiles, found.offset) if pixels.ndim == 3 else None
    return HiddenGrid(*found.offset, found.strength, found.qf, chroma)


def border_contrast(plane: np.ndarray) -> np.ndarray:
    """Return how much the differences across borders stand out, by phase: (2, 8), rows then columns, -1 to 1.

    For pixels x along a line, the break between i - 1 and i is b = |x[i] - x[i-1] - (x[i-1] - x[i-2] + x[i+1] - x[i])
    / 2|, the difference less the slope on either side; MSDS of Minami and Zakhor (IEEE Trans. CSVT 5(2), 1995) is its
    square. The contrast is the mean of (b - m) / (b + m + 0.5), where m is the mean of b at the three borders on
    either side: every border counts the same, however strong its edge is. A plane without a grid has about 0, or
    slightly less, everywhere.

    Args:
        plane: (H, W) float32, grey levels, both at least 17.
    """
    contrasts = np.empty((2, BLOCK))
    for axis, lines in enumerate((plane.T, plane)):
        slope = np.diff(lines, axis=1)
        breaks = np.abs(slope[:, 1:-1] - (slope[:, :-2] + slope[:, 2:]) / 2)  # [:, i]: between i + 1 and i + 2
        running = np.cumsum(np.pad(breaks, ((0, 0), (1, 0))), axis=1)
        here = breaks[:, _REACH:-_REACH]
        around = (running[:, 2 * _REACH + 1:] - running[:, :-2 * _REACH - 1] - here) / (2 * _REACH)
        contrast = ((here - around) / (here + around + _FLAT)).mean(axis=0)
        phase = (np.arange(len(contrast)) + _REACH + 2) % BLOCK
        contrasts[axis] = np.bincount(phase, contrast, BLOCK) / np.maximum(np.bincount(phase, minlength=BLOCK), 1)
    return contrasts


def _own_steps(pixels: np.ndarray, own_qf: int | None, own_offset: tuple[int, int],
               own_table: np.ndarray | None) -> np.ndarray | None:
    """The checked arguments' luma table."""
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.ndim == 3 and pixels.shape[2] == 3):
        raise ValueError('a grid is looked for in pixels (H, W, 3) RGB or (H, W) grey, uint8, but got '
                         f'{pixels.shape} {pixels.dtype}.')
    if len(own_offset) != 2 or not all(0 <= start < BLOCK for start in own_offset):
        raise ValueError(f'own_offset must be a row and a column from 0 to 7, but is {own_offset!r}.')
    if own_table is not None:
        if np.shape(own_table) != (BLOCK, BLOCK) or np.min(own_table) < 1:
            raise ValueError('own_table must be an (8, 8) table of steps from 1, but is '
                             f'{np.shape(own_table)}{"" if np.size(own_table) == 0 else f" from {np.min(own_table)}"}.')
        return np.asarray(own_table)
    if own_qf is None:
        return None
    if not 1 <= own_qf <= 100:
        raise ValueError(f'own_qf must be a quality factor from 1 to 100 or None, but is {own_qf!r}.')
    return standard_tables(own_qf)[0]


def _counts_at_all_offsets(lumas: list[np.ndarray]) -> np.ndarray:
    """(64 * 14, 256) float32: how often each magnitude occurs, by offset and frequency, in patches of much detail."""
    size = 2 * BLOCK - 1  # holds a block at each of the 64 offsets
    windows = [sliding_window_view(luma, (size, size))[::BLOCK, ::BLOCK] for luma in lumas]
    detail = np.concatenate([window[..., ::3, ::3].std(axis=(2, 3)).ravel() for window in windows])
    order = np.argsort(-detail, kind='stable')[:max(_PATCHES, len(detail) // 2)]
    chosen = np.zeros(len(detail), bool)
    chosen[order[::-(-len(order) // _PATCHES)]] = True
    parts = np.split(chosen, np.cumsum([window.shape[0] * window.shape[1] for window in windows])[:-1])
    patches = np.concatenate([window[part.reshape(window.shape[:2])]
                              for window, part in zip(windows, parts, strict=True)])
    blocks = sliding_window_view(patches, (BLOCK, BLOCK), axis=(1, 2))
    levels = np.abs(np.rint(transform(blocks)[..., :_QUICK_FREQUENCIES])).astype(np.int64)
    sets = BLOCK * BLOCK * _QUICK_FREQUENCIES
    at = np.minimum(levels, _QUICK_MAGNITUDES).reshape(-1, sets) + np.arange(sets) * (_QUICK_MAGNITUDES + 1)
    counts = np.bincount(at.ravel(), minlength=sets * (_QUICK_MAGNITUDES + 1))
    return counts.reshape(sets, -1)[:, :-1].astype(np.float32)


def _best(lumas: list[np.ndarray], scan: np.ndarray, own: np.ndarray | None,
          own_offset: tuple[int, int]) -> _Found | None:
    """The grid that has the most evidence, if it is enough.

    Args:
        scan: (scatters, 255, 64 * 14), of `step_evidence` for `_counts_at_all_offsets`.
        own: (8, 8) steps of a later compression, whose grid is at `own_offset`.
    """
    at_offsets = np.moveaxis(scan.reshape(*scan.shape[:2], BLOCK * BLOCK, _QUICK_FREQUENCIES), 2, 0)
    ranking = np.argsort(-quality_evidence(at_offsets, own).max(axis=-1), kind='stable')
    places: list[tuple[int, int]] = [divmod(int(index), BLOCK) for index in ranking]
    if own is None:
        places.insert(0, divmod(int(free_evidence(at_offsets).argmax()), BLOCK))
        places = list(dict.fromkeys(places))
    if own is not None:  # there its own multiples stand out in the scan, so it is always looked at
        places.remove(own_offset)
        places.insert(0, own_offset)
    by_libjpeg: list[tuple[float, _Found | None]] = []
    by_others: list[tuple[float, _Found | None]] = []
    for place in places[:_TRIED]:
        coefficients = np.concatenate([block_coefficients(luma, *place) for luma in lumas])
        coefficients = coefficients[::-(-len(coefficients) // _BLOCKS)]
        each = step_evidence(histograms(coefficients))
        evidence = quality_evidence(each, own, own is not None and place == own_offset)
        nats = float(evidence.max()), float(free_evidence(each))
        by_libjpeg.append((nats[0], _Found(place, int(evidence.argmax()) + 1, nats[0] / len(coefficients), True)))
        # Other grids gain from the one of the file itself, so free steps would be seen in any JPEG file.
        if own is None and nats[1] > _OTHERS_CLEARER * nats[0]:
            by_others.append((nats[1], _Found(place, nearest_quality(each), nats[1] / len(coefficients), False)))
        elif own is None:
            by_others.append((nats[1], None))
    best = _clear_winner(by_others, _OTHERS_ENOUGH, _OTHERS_CLEARER)
    return best or _clear_winner(by_libjpeg, _ENOUGH, _CLEARER)


def _clear_winner(entries: list[tuple[float, _Found | None]], enough: float, clearer: float) -> _Found | None:
    """What has the most evidence, if that is enough and so many times that of the second."""
    if not entries:
        return None
    (nats, found), (second, _), *_ = sorted(entries, key=lambda entry: -entry[0])
    return found if nats >= max(enough, clearer * second) else None


def _chroma_offset(tiles: list[np.ndarray], offset: tuple[int, int]) -> tuple[int, int] | None:
    """Where the 16-pixel grid of chroma begins, for a luma grid at `offset`.

    Chroma is reduced to half its size again, on the pairs of pixels that it was made of; its blocks then begin at 0 or
    at 4 of every 8, and at one of these only.
    """
    row, column = offset
    contrast = np.mean([border_contrast(_halve(_plane(tile[row:, column:], index))) for tile in tiles
                        for index in (1, 2) if min(tile.shape[:2]) >= 6 * BLOCK], axis=0)
    if np.ndim(contrast) == 0:
        return None
    best = contrast.argmax(axis=1)
    second = np.sort(contrast, axis=1)[:, -2]
    if (best % 4).any() or (contrast.max(axis=1) - second < _CHROMA_CONTRAST).any():
        return None
    return row + 2 * int(best[0]), column + 2 * int(best[1])


def _halve(plane: np.ndarray) -> np.ndarray:
    height, width = (size // 2 for size in plane.shape)
    return plane[:2 * height, :2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))


def _tiles(pixels: np.ndarray) -> list[np.ndarray]:
    """Pieces that begin at multiples of 16 pixels, so that a grid has the same offset in all of them."""
    height, width = pixels.shape[:2]
    if height * width <= _LARGEST:
        return [pixels]
    rows, columns = (sorted({max(0, size - _TILE) * place // 2 // (2 * BLOCK) * 2 * BLOCK for place in range(3)})
                     for size in (height, width))
    return [pixels[row:row + _TILE, column:column + _TILE] for row in rows for column in columns]


def _plane(pixels: np.ndarray, index: int) -> np.ndarray:
    """(H, W) float32: Y, Cb or Cr of JFIF (chroma about 0)."""
    return pixels.astype(np.float32) if pixels.ndim == 2 else pixels @ _YCC[index]
