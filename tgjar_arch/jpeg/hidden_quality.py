"""The quality of a JPEG compression that pixels went through, from the DCT coefficients of their blocks.

Coefficients that were quantised with a step lie near its multiples, also when the picture was decoded, rounded and
saved again by a finer compression, which scatters them. Estimating the step by maximum likelihood is from Fan and de
Queiroz (IEEE TIP 12(2), 2003); scatter about the multiples is modelled as in Neelamani et al. (IEEE TIP 15(6), 2006).
That one quality factor stands for all steps, and what the zeros count, is particular to this file.
"""

from functools import cache

import numpy as np

from tgjar_arch.jpeg.quality import standard_tables

BLOCK = 8
# (27, 2) row and column, the lowest first: beyond them little is left of a photograph below quality 60.
FREQUENCIES = np.array(sorted(((u, v) for u in range(7) for v in range(7) if 0 < u + v < 7), key=sum))
SCATTER = (0.5, 1., 2., 3.5, 6., 10.)  # standard deviations of a coefficient about its multiple; 0.5: rounded only
LARGEST = 767  # coefficients beyond it are left out
_OUTLIERS = 0.02  # share of coefficients that the model does not explain: clipped pixels, captions drawn later
_COARSER = 1.3  # times as large the steps must be, in the geometric mean
_DISTINCT = 1.4  # times as large a step must be to count, where it is that of an aligned compression
_STEPS = np.stack([standard_tables(qf)[0][tuple(FREQUENCIES.T)] for qf in range(1, 101)])  # (100, 27)


def block_coefficients(luma: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return the DCT coefficients of all whole blocks on a grid that begins at (row, column), at `FREQUENCIES`.

    Args:
        luma: (H, W) float32, 0 to 255.
        row, column: 0 to 7.

    Returns:
        (blocks, 27) float32, scaled as JPEG's, -1024 to 1024.
    """
    height, width = ((size - start) // BLOCK for size, start in zip(luma.shape, (row, column), strict=True))
    blocks = luma[row:row + BLOCK * height, column:column + BLOCK * width].reshape(height, BLOCK, width, BLOCK)
    return transform(blocks.transpose(0, 2, 1, 3)).reshape(-1, len(FREQUENCIES))


def transform(blocks: np.ndarray) -> np.ndarray:
    """Return the coefficients (..., 27) at `FREQUENCIES` of blocks (..., 8, 8)."""
    return np.ascontiguousarray(blocks).reshape(*blocks.shape[:-2], BLOCK * BLOCK) @ _basis()


def histograms(coefficients: np.ndarray) -> np.ndarray:
    """Count the magnitudes of coefficients (blocks, 27), rounded: (27, 768) float32.

    Blocks that are the same count once: a pattern that repeats, of a drawing or of a user interface, says no more than
    its first copy.
    """
    rounded = np.rint(coefficients).astype(np.int16)
    keys = rounded.astype(np.int64) @ _hash_weights()
    magnitudes = np.abs(rounded[np.unique(keys, return_index=True)[1]]).astype(np.int64)
    at = np.minimum(magnitudes, LARGEST + 1) + np.arange(len(FREQUENCIES)) * (LARGEST + 2)
    counts = np.bincount(at.ravel(), minlength=len(FREQUENCIES) * (LARGEST + 2))
    return counts.reshape(len(FREQUENCIES), -1)[:, :-1].astype(np.float32)


def step_evidence(counts: np.ndarray, scatters: slice = slice(None)) -> np.ndarray:
    """Return how much better each step of a quantiser explains coefficients than no quantiser does.

    With the step q and the scatter s a coefficient c that rounds to a multiple other than 0 gives

        log((1 - e) q N(c - q round(c / q); 0, s) + e),    e = 0.02,  N wrapped about q,

    the logarithm of its density over that of a smooth distribution; q stands for the smooth one, which spreads over
    the whole step what quantisation collects at the multiple. One that rounds to 0 gives no more than 0: all
    distributions of photographs have their peak there, but only quantised ones have nothing beside it.

    Args:
        counts: (n, m), how often each magnitude from 0 to m - 1 occurs in each of n sets, m up to 768.
        scatters: of `SCATTER`.

    Returns:
        (scatters, 255, n) float32, in nats, steps 1 to 255.
    """
    tables = _log_ratios()[scatters, :, :counts.shape[-1]]
    return (tables.reshape(-1, tables.shape[-1]) @ counts.T).reshape(*tables.shape[:2], len(counts))


def quality_evidence(each: np.ndarray, own_steps: np.ndarray | None = None, aligned: bool = False) -> np.ndarray:
    """Return the evidence for each quality factor of libjpeg, its steps taken together.

    Args:
        each: (..., scatters, 255, n), of `step_evidence` for the first n of `FREQUENCIES`.
        own_steps: (8, 8) luma table of a later compression; only coarser ones are then looked for.
        aligned: whether that compression was on the same grid, so that multiples of its steps count for nothing.

    Returns:
        (..., 100) float32 in nats, the best of all scatters; -inf where the steps are not coarser than `own_steps`.
    """
    number = each.shape[-1]
    frequency, steps = np.arange(number), _STEPS[:, :number]
    if own_steps is None:
        return each[..., steps - 1, frequency].sum(axis=-1).max(axis=-2)
    own = own_steps[tuple(FREQUENCIES[:number].T)]
    # An aligned compression scatters by its rounding error, which is uniform over its step.
    least = np.searchsorted(SCATTER, own / np.sqrt(12)) if aligned else np.zeros(number, int)
    seen = np.flatnonzero(least < len(SCATTER))
    evidence = np.stack([each[..., np.maximum(least[seen], index), steps[:, seen] - 1, seen]
                         for index in range(each.shape[-3])])
    if aligned:  # once the own step lies near once a step that is little larger
        evidence = np.where(steps[:, seen] < _DISTINCT * own[seen], np.minimum(evidence, 0), evidence)
    best = evidence.sum(axis=-1).max(axis=0)
    coarser = np.log(steps / own).mean(axis=1) > np.log(_COARSER)
    return np.where(coarser, best, -np.inf)


def free_evidence(each: np.ndarray) -> np.ndarray:
    """Return the evidence for a quantiser whose steps are not libjpeg's: each frequency has its best, and pays for it.

    Args:
        each: (..., scatters, 255, n), of `step_evidence`.

    Returns:
        (...) float32 in nats, the best of all scatters.
    """
    return np.maximum(each.max(axis=-2) - np.log(each.shape[-2]), 0).sum(axis=-1).max(axis=-1)


def nearest_quality(each: np.ndarray) -> int:
    """Return libjpeg's quality factor whose steps are nearest to the best ones, each by its evidence in the weight.

    Args:
        each: (scatters, 255, 27), of `step_evidence`.
    """
    gains = np.maximum(each.max(axis=1) - np.log(each.shape[1]), 0)
    best = int(gains.sum(axis=1).argmax())
    steps = each[best].argmax(axis=0) + 1
    return int((np.abs(np.log(_STEPS / steps)) @ gains[best]).argmin()) + 1


@cache
def _basis() -> np.ndarray:
    """(64, 27): a block's pixels, row by row, to its coefficients."""
    frequency, place = np.mgrid[:BLOCK, :BLOCK]
    dct = np.cos((2 * place + 1) * frequency * np.pi / (2 * BLOCK)) * np.where(frequency == 0, np.sqrt(0.125), 0.5)
    return np.stack([np.outer(dct[u], dct[v]).ravel() for u, v in FREQUENCIES], axis=1).astype(np.float32)


@cache
def _hash_weights() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 2**40, len(FREQUENCIES))


@cache
def _log_ratios() -> np.ndarray:
    """(scatters, 255, 768) float32: the formula of `step_evidence` by scatter, step - 1 and magnitude."""
    magnitude, step = np.arange(LARGEST + 1.), np.arange(1., 256)[:, None]
    rest = magnitude - step * np.rint(magnitude / step)
    ratios = []
    for scatter in SCATTER:
        density = sum(np.exp(-((rest - wrap * step) / scatter)**2 / 2) for wrap in range(-2, 3))
        # Its mean over the magnitudes of one step is 1, so that no distribution that is smooth gains anything.
        density /= np.array([row[:int(width)].mean() for row, width in zip(density, step[:, 0], strict=True)])[:, None]
        ratio = np.log((1 - _OUTLIERS) * density + _OUTLIERS)
        ratios.append(np.where(magnitude <= step / 2, np.minimum(ratio, 0), ratio))
    return np.array(ratios, dtype=np.float32)
