"""Restore on the block grid of an earlier compression, which need not begin at the corner of the picture.

The networks take the corner for that of a JPEG block. A picture that was cropped after it was compressed is filled up
at the top and the left by its own mirror image, until the blocks lie on the grid, and cut back afterwards.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

UNIT = 16  # pixels: two blocks of luma, one of chroma at 4:2:0
Grid = tuple[int, int]


def check_grid(grid: Grid) -> None:
    """Raises ValueError when a grid is not (row, column), both 0 to 15."""
    if not (isinstance(grid, tuple | list) and len(grid) == 2 and all(
            isinstance(at, int | np.integer) and not isinstance(at, bool) and 0 <= at < UNIT for at in grid)):
        raise ValueError(f'grid must be (row, column) of the first whole block, both 0 to {UNIT - 1}, but is {grid!r}.')


def _filled(length: int, at: int) -> np.ndarray:
    """Indices of the rows or columns of the filled picture."""
    return np.pad(np.arange(length), (-at % UNIT, 0), mode='reflect')  # as often as a short side needs it


def aligned(pixels: np.ndarray, grid: Grid) -> np.ndarray:
    """Return pixels (H, W, C), filled up at the top and the left until the block at `grid` lies on the corner's grid.

    They then have H + (-row % 16) rows and W + (-column % 16) columns.
    """
    height, width = pixels.shape[:2]
    return pixels if not any(grid) else pixels[np.ix_(_filled(height, grid[0]), _filled(width, grid[1]))]


def unaligned(pixels: np.ndarray, grid: Grid) -> np.ndarray:
    """Return what was made of `aligned` pixels without what was added."""
    return pixels[-grid[0] % UNIT:, -grid[1] % UNIT:]


def aligned_tensor(images: Tensor, grid: Grid) -> Tensor:
    """`aligned` for images (..., C, H, W)."""
    for axis, at in zip((-2, -1), grid, strict=True):
        images = images.index_select(axis, torch.from_numpy(_filled(images.shape[axis], at)).to(images.device))
    return images


def unaligned_tensor(images: Tensor, grid: Grid) -> Tensor:
    """`unaligned` for images (..., C, H, W)."""
    return images[..., -grid[0] % UNIT:, -grid[1] % UNIT:]
