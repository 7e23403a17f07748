"""The sender judges captions: it restores as the receiver will, and has the original to compare with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tgjar_arch.choosing.criteria import check_criterion
from tgjar_arch.choosing.nearness import Distance, Nearness
from tgjar_arch.pictures.limits import MAX_PIXELS
from tgjar_arch.pictures.photo import read_photo
from tgjar_arch.restoration.file import Compression, compression_of
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.restoration.trials import CaptionTrials
from tgjar_arch.text.cleaning import clean

if TYPE_CHECKING:
    from lpips import LPIPS

_MEASURED_AT_ONCE = 8  # restored pictures
_MOST_PIXELS = 2_000_000  # of these together, but for one: LPIPS takes about 100 bytes for each

Tell = Callable[[int], object]
"""What is called with the number of captions that were just tried."""


@dataclass(frozen=True)
class Received:
    """A compressed file as `tgjar restore` sees it.

    Attributes:
        pixels: (H, W, 3), RGB uint8.
        compression: what it is restored from: quality and grid of blocks.
    """

    pixels: np.ndarray
    compression: Compression


def receive(content: bytes, max_pixels: int = MAX_PIXELS) -> Received:
    """Read a JPEG file back, as `tgjar_arch.restoration.file.restore_file` does.

    Args:
        content: the whole file.
        max_pixels: as of `read_photo`.

    Raises:
        ValueError: as of `read_photo`.
    """
    with tempfile.TemporaryDirectory(prefix='tgjar-') as folder:
        path = Path(folder, 'sent.jpg')
        path.write_bytes(content)
        photo = read_photo(path, max_pixels)
    return Received(photo.pixels, compression_of(photo))


@dataclass(frozen=True)
class Trial:
    """What a caption does.

    Attributes:
        caption: the text; '' for none.
        distance: of the picture restored with it from the original.
        score: of the distance, by the judge's criterion; lower is better.
    """

    caption: str
    distance: Distance
    score: float

    @property
    def size(self) -> int:
        """Bytes of the text in UTF-8. In a JPEG file 4 more introduce it."""
        return size_of(self.caption)


def size_of(caption: str) -> int:
    """Bytes of a caption in UTF-8."""
    return len(caption.encode())


class CaptionJudge:
    """Says how near captions bring the restored picture to the original (paper, section 4.7: the sender's side).

    Captions that the text encoder cannot tell apart, because words are unknown or cut off, are restored once.

        judge = CaptionJudge(restorer, original, receive(content), 'psnr')
        judge(['a yellow bird', 'a red bird'])

    Args:
        restorer: the networks that the receiver will use.
        original: (H, W, 3), RGB uint8.
        received: the compressed file.
        by: `lpips`, `psnr` or `mix`, see `tgjar_arch.choosing.criteria`.
        lpips: from `tgjar_arch.choosing.nearness.lpips_for`; None for `psnr`.
        text_strength, strength, colourise: as the receiver will have them, see `Restorer.__call__`.

    Attributes:
        tried: how many restored pictures were compared.

    Raises:
        ValueError: when the networks take no captions, the pictures differ in size, or LPIPS is needed and missing.
    """

    def __init__(self, restorer: Restorer, original: np.ndarray, received: Received, by: str = 'lpips',
                 lpips: LPIPS | None = None, *, text_strength: float = 1., strength: float = 1.,
                 colourise: bool = False) -> None:
        if not restorer.takes_text:
            raise ValueError(f'these weights of {restorer.name} take no captions, so there is nothing to choose.')
        self.restorer, self.by, self.tried = restorer, by, 0
        self._colourise = colourise
        trials = partial(CaptionTrials, restorer, received.pixels, text_strength=text_strength, strength=strength,
                         grid=received.compression.grid)
        self._without = trials()  # `tgjar restore --colourise` leaves grey grey where there is no caption
        self._with = trials(colourise=True) if colourise else self._without
        self._nearness = Nearness(original, lpips)
        self._at_once = max(1, min(_MEASURED_AT_ONCE, _MOST_PIXELS // (original.shape[0] * original.shape[1])))
        self._known: dict[tuple[int, ...] | None, Distance] = {}
        self([''])

    @property
    def none(self) -> Trial:
        """What no caption does."""
        return self._trial('', None)

    def _trial(self, caption: str, key: tuple[int, ...] | None) -> Trial:
        return Trial(caption, self._known[key], self._known[key].score(self.by))

    def judging_by(self, by: str) -> CaptionJudge:
        """The same judge with another criterion; what one has restored, the other need not."""
        check_criterion(by)
        other = copy(self)
        other.by = by
        return other

    def restored(self, caption: str) -> np.ndarray:
        """The picture (H, W, 3), RGB uint8, that the receiver will see."""
        text = clean(caption)
        return next((self._with if text else self._without)([text]))

    def _key(self, caption: str) -> tuple[int, ...] | None:
        """Equal for captions that restore alike; None for those that restore like none."""
        ids = self.restorer.ids(caption) if caption else ()
        # Any caption, whatever it says, lets `tgjar restore --colourise` colour a grey picture.
        return ids if ids or caption and self._colourise else None

    def __call__(self, captions: Iterable[str], tell: Tell | None = None) -> list[Trial]:
        """Judge captions, cleaned (`tgjar_arch.text.cleaning`), in their order.

        Args:
            captions: texts; '' is no caption.
            tell: see `Tell`.
        """
        texts = [clean(caption) for caption in captions]
        keys = [self._key(text) for text in texts]
        new: dict[tuple[int, ...] | None, str] = {}
        for key, text in zip(keys, texts, strict=True):
            if key not in self._known:
                new.setdefault(key, text)
        if None in new:
            del new[None]
            self._compare(self._without, {None: ''}, tell)
        self._compare(self._with, new, tell)
        return [self._trial(text, key) for key, text in zip(keys, texts, strict=True)]

    def _compare(self, trials: CaptionTrials, new: Mapping[tuple[int, ...] | None, str],
                 tell: Tell | None) -> None:
        waiting: list[np.ndarray] = []
        keys = iter(new)

        def measure() -> None:
            for distance in self._nearness(waiting):
                self._known[next(keys)] = distance
            self.tried += len(waiting)
            if tell is not None and waiting:
                tell(len(waiting))
            waiting.clear()

        for restored in trials(list(new.values())):
            waiting.append(restored)
            if len(waiting) == self._at_once:
                measure()
        measure()

    def distinct(self, captions: Sequence[str]) -> list[str]:
        """Those whose words are all known and that no earlier one equals for the text encoder; '' never."""
        found: dict[tuple[int, ...], str] = {}
        for caption in map(clean, captions):
            if caption and not self.restorer.tokenizer.unknown(caption) and (ids := self.restorer.ids(caption)):
                found.setdefault(ids, caption)
        return list(found.values())
