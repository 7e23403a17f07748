"""Grey stays grey: a picture without colour, whatever its file, is restored without colour.

A network that has learnt colour photographs tints grey ones. JPEG keeps a grey photograph's chroma planes at 128
throughout, also where it is stored as a colour file; a result then keeps the luma (ITU-R BT.601, as JFIF has it) of
what the network says. At the lowest qualities JPEG does that to faint colours too, which only a caption can bring back.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Largest difference of two channels, of 255: one step of Cb or Cr, the least that a file can differ from 128 by, moves
# blue or red by 1.8 and 1.4 and green the other way.
TOLERANCE = 3
_LUMA = 0.299, 0.587, 0.114
_STRIP = 256  # rows


def is_neutral(pixels: np.ndarray) -> bool:
    """Whether an image (H, W, 3) uint8 is grey everywhere: no two channels differ by more than `TOLERANCE`."""
    return all(_spread(pixels[top:top + _STRIP]) <= TOLERANCE for top in range(0, len(pixels), _STRIP))


def _spread(pixels: np.ndarray) -> int:
    red, green, blue = (pixels[..., k].astype(np.int16) for k in range(3))
    return int(max(np.abs(red - green).max(), np.abs(green - blue).max(), np.abs(blue - red).max()))


def greyed(pixels: np.ndarray) -> np.ndarray:
    """Return the luma of an image (H, W, 3) uint8 RGB on all three channels."""
    grey = np.empty_like(pixels)
    for top in range(0, len(pixels), _STRIP):
        luma = pixels[top:top + _STRIP].astype(np.float32) @ np.array(_LUMA, np.float32)
        grey[top:top + _STRIP] = luma.round().astype(np.uint8)[..., None]
    return grey


def neutral_tensors(images: Tensor) -> Tensor:
    """Whether images (..., 3, H, W) in [0, 1] are neutral, as `is_neutral`: (...) bool."""
    spread = (images.amax(-3) - images.amin(-3)).flatten(-2).amax(-1)
    return spread * 255 < TOLERANCE + 0.5


def greyed_tensor(images: Tensor, which: Tensor) -> Tensor:
    """Return images (..., 3, H, W), with the luma of those in `which` (...) on all three channels."""
    if not which.any():
        return images
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)[:, None, None]
    luma = (images * weights).sum(-3, keepdim=True).expand_as(images)
    return torch.where(which[..., None, None, None].to(images.device), luma, images)
