"""One picture restored for many captions, as whoever chooses between them needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tgjar_arch.archs.padding import enlarged
from tgjar_arch.archs.text_guided_generator import TextGuidedGenerator
from tgjar_arch.restoration.grey import greyed, is_neutral
from tgjar_arch.restoration.grid import Grid, aligned, unaligned
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.restoration.tiling import Encoded, choose_tile, encode_whole, memory_for, restore_encoded, working_bytes

_MOST = 32  # captions at once: more are no faster, also on a GPU


class CaptionTrials:
    """Restores one picture for one list of captions after another; what no caption changes is computed once.

    Each result is that of `Restorer.__call__` with the same settings: equal where captions come one by one, and but for
    rounding where several go through the network together. A picture that is restored in tiles, self-ensemble, and
    networks of others, go through `Restorer.__call__` itself, caption by caption.

    Args:
        restorer: the networks.
        pixels: the compressed picture (H, W, 3), RGB uint8.
        text_strength, strength, grid, colourise: as of `Restorer.__call__`.
        at_once: captions that go through the network together; None: as many as memory allows, up to 32.
    """

    def __init__(self, restorer: Restorer, pixels: np.ndarray, *, text_strength: float = 1., strength: float = 1.,
                 grid: Grid = (0, 0), colourise: bool = False, at_once: int | None = None) -> None:
        self.restorer = restorer
        self._pixels, self._text_strength, self._strength = pixels, text_strength, strength
        self._grid, self._colourise = grid, colourise
        self._whole: Tensor | None = None  # the picture (1, 3, H, W) in [0, 1], where it is restored in one piece
        self._encoded: Encoded | None = None
        self._at_once = 1
        net = restorer.net_g
        if not isinstance(net, TextGuidedGenerator) or restorer.self_ensemble:
            return
        whole = aligned(pixels, grid)
        height, width = whole.shape[:2]
        memory = memory_for(restorer.device)
        if choose_tile(net, height, width, memory, conditions=2):
            return
        contiguous = np.ascontiguousarray(whole)  # as `Restorer` does it: torch takes no negative strides
        self._whole = torch.tensor(contiguous, device=restorer.device).permute(2, 0, 1)[None] / 255.
        fitting = memory // working_bytes(net, height, width, conditions=2)
        self._at_once = at_once or max(1, min(_MOST, fitting))

    def __call__(self, captions: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the restored picture (H, W, 3), RGB uint8, of each caption; '' is no caption.

        Raises:
            ValueError: when a setting is not as said.
        """
        if self._whole is None:
            for caption in captions:
                yield self.restorer(self._pixels, caption, text_strength=self._text_strength, strength=self._strength,
                                    grid=self._grid, colourise=self._colourise)
            return
        colourless = not self._colourise and is_neutral(self._pixels)
        for start in range(0, len(captions), self._at_once):
            for restored in self._restore(captions[start:start + self._at_once], self._whole):
                steps = (restored * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
                pixels = unaligned(steps, self._grid)
                yield greyed(pixels) if colourless else pixels

    def _restore(self, captions: Sequence[str], lq: Tensor) -> Tensor:
        """(N, 3, H, W), clipped."""
        net = self.restorer.net_g
        assert isinstance(net, TextGuidedGenerator)  # of others there is no whole picture
        height, width = lq.shape[2:]
        with torch.no_grad():
            if self._encoded is None:
                self._encoded = encode_whole(net, enlarged(lq).contiguous(memory_format=torch.channels_last))
            if any(captions) and self._text_strength:
                conditions = self.restorer.conditions(captions, self._text_strength)
                result = restore_encoded(net, self._encoded.repeated(len(captions)), conditions)
            else:
                conditions = self.restorer.conditions([''], self._text_strength)
                result = restore_encoded(net, self._encoded.repeated(1), conditions).expand(len(captions), -1, -1, -1)
        restored = result[:, :, :height, :width].clamp(0, 1)
        return restored if self._strength == 1 else torch.lerp(lq.expand_as(restored), restored,
                                                               self._strength).clamp_(0, 1)
