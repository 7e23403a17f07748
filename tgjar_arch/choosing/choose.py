"""Choosing one of several captions, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tgjar_arch.choosing.judge import CaptionJudge, Tell, Trial, size_of
from tgjar_arch.jpeg.segments import MAX_PAYLOAD
from tgjar_arch.pictures.captions import is_caption
from tgjar_arch.text.cleaning import clean


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        chosen: the caption and what it does.
        none: what no caption does.
        candidates: different captions that were judged, none not counted.
        too_long: captions that were left out because they have more bytes than allowed.
        unfit: captions that were left out because they would not be read back from a file (`can_be_sent`).
    """

    chosen: Trial
    none: Trial
    candidates: int = 0
    too_long: int = 0
    unfit: int = 0

    @property
    def gain_db(self) -> float:
        """PSNR over that without a caption, in dB; higher is better."""
        return self.chosen.distance.psnr - self.none.distance.psnr

    @property
    def gain_lpips(self) -> float | None:
        """LPIPS below that without a caption, higher is better; None where it was not measured."""
        chosen, none = self.chosen.distance.lpips, self.none.distance.lpips
        return None if chosen is None or none is None else none - chosen


def check_limits(max_bytes: int | None, tolerance: float) -> None:
    """Raises ValueError when a budget or a tolerance is negative or no number."""
    if max_bytes is not None and max_bytes < 0:
        raise ValueError(f'max_bytes must be 0 or more, or None for no limit, but is {max_bytes}.')
    if not tolerance >= 0:
        raise ValueError(f'tolerance must be 0 or more, but is {tolerance}.')


def can_be_sent(text: str) -> bool:
    """Whether a JPEG comment holds a cleaned text, and it is read back (`tgjar_arch.pictures.captions.is_caption`)."""
    return size_of(text) <= MAX_PAYLOAD and is_caption(text)


def pick(trials: Sequence[Trial], tolerance: float = 0.) -> Trial:
    """The shortest of those whose score is within `tolerance` of the best; of equally short ones the better."""
    limit = min(trial.score for trial in trials) + tolerance
    return min((trial for trial in trials if trial.score <= limit), key=lambda trial: (trial.size, trial.score))


def choose_caption(judge: CaptionJudge, captions: Sequence[str], max_bytes: int | None = None, tolerance: float = 0.,
                   tell: Tell | None = None) -> Choice:
    """The caption that brings the restored picture nearest to the original, or none if none helps.

    In the paper (section 4.7) the sender writes whatever caption there is; it has the original at hand, and can look.

    Args:
        judge: restores and compares.
        captions: candidates, in any number, also none; equal ones count once.
        max_bytes: longest caption, in bytes of UTF-8; None: no limit.
        tolerance: take a shorter caption, or none, that is worse by no more than this: in LPIPS, or in dB if the judge
            goes by PSNR.
        tell: called with the number of captions that were just tried.

    Raises:
        ValueError: when a limit is negative.
    """
    check_limits(max_bytes, tolerance)
    texts = list(dict.fromkeys(text for caption in captions if (text := clean(caption))))
    fit = [text for text in texts if can_be_sent(text)]
    short = [text for text in fit if max_bytes is None or size_of(text) <= max_bytes]
    trials = judge(short, tell)
    return Choice(pick([judge.none, *trials], tolerance), judge.none, len(trials), len(fit) - len(short),
                  len(texts) - len(fit))
