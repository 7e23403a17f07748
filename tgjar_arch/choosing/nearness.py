"""How near restored pictures are to an original: PSNR and LPIPS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tgjar_arch.choosing.criteria import LPIPS_PER_DB, check_criterion
from tgjar_arch.metrics.lpips import MIN_SIZE, build_lpips, lpips_features, lpips_from_features

if TYPE_CHECKING:
    from lpips import LPIPS

_MOST_DB = 100.  # of equal pictures, whose PSNR has no value


def lpips_for(by: str, device: torch.device) -> LPIPS | None:
    """The LPIPS network (AlexNet) that the criterion `by` needs; None for `psnr`.

    Raises:
        ValueError: when the criterion is unknown, or the network's weights are not to be had.
    """
    check_criterion(by)
    if by == 'psnr':
        return None
    try:
        return build_lpips('alex').to(device)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'captions cannot be chosen by {by} here: {reason} Choosing by psnr (--choose-by psnr) works '
                         'without.') from error


class Distance(NamedTuple):
    """Of a restored picture from the original: PSNR in dB (RGB, at most 100), and LPIPS or None."""

    psnr: float
    lpips: float | None

    def score(self, by: str) -> float:
        """One number, lower is better: LPIPS, the negative PSNR, or LPIPS - 0.05 * PSNR for `mix`.

        Raises:
            ValueError: when the criterion is unknown, or LPIPS is needed and was not measured.
        """
        check_criterion(by)
        if by == 'psnr':
            return -self.psnr
        if self.lpips is None:
            raise ValueError(f'{by} needs LPIPS, which was not measured; give an LPIPS network, or choose by psnr.')
        return self.lpips - LPIPS_PER_DB * self.psnr if by == 'mix' else self.lpips


class Nearness:
    """Measures pictures against one original, whose LPIPS features are computed once.

    Args:
        original: (H, W, 3), RGB uint8.
        lpips: from `tgjar_arch.metrics.lpips.build_lpips`, on any device; None measures PSNR alone. Its trunk needs 31
            pixels each way; of smaller pictures the last rows and columns are repeated.
    """

    def __init__(self, original: np.ndarray, lpips: LPIPS | None = None) -> None:
        self._original, self._lpips = original, lpips
        self._features = None if lpips is None else self._features_of([original])

    def _features_of(self, pictures: Sequence[np.ndarray]) -> list[Tensor]:
        assert self._lpips is not None  # whoever calls has looked
        device = next(self._lpips.parameters()).device
        x = torch.from_numpy(np.stack(pictures)).to(device).permute(0, 3, 1, 2).float() / 255
        height, width = x.shape[2:]
        least = MIN_SIZE[self._lpips.pnet_type]
        x = F.pad(x, (0, max(least - width, 0), 0, max(least - height, 0)), mode='replicate')
        with torch.no_grad():
            return lpips_features(self._lpips, x)

    def __call__(self, restored: Sequence[np.ndarray]) -> list[Distance]:
        """Distances of pictures (H, W, 3), RGB uint8, of the size of the original.

        Raises:
            ValueError: when the size is another.
        """
        for picture in restored:
            if picture.shape != self._original.shape:
                raise ValueError(f'pictures are compared with an original {self._original.shape}, but one is '
                                 f'{picture.shape}.')
        psnrs = [self._psnr(picture) for picture in restored]
        if self._lpips is None or self._features is None or not restored:
            return [Distance(psnr, None) for psnr in psnrs]
        found = lpips_from_features(self._lpips, self._features_of(restored), self._features).flatten().tolist()
        return [Distance(psnr, lpips) for psnr, lpips in zip(psnrs, found, strict=True)]

    def _psnr(self, picture: np.ndarray) -> float:
        error = np.square(picture.astype(np.float32) - self._original).mean(dtype=np.float64) / 255**2
        return min(_MOST_DB, float(-10 * np.log10(error))) if error else _MOST_DB
