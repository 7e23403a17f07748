"""What `tgjar compress --choose` and `--compose` do: the sender restores with captions and keeps what is worth it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from tgjar_arch.choosing.choose import Choice, choose_caption
from tgjar_arch.choosing.compose import compose_caption
from tgjar_arch.choosing.criteria import SHORTLIST, UNITS
from tgjar_arch.choosing.judge import CaptionJudge, Received, receive
from tgjar_arch.choosing.nearness import lpips_for
from tgjar_arch.choosing.words import BUILT_IN, read_words, words_of
from tgjar_arch.cli.compress_run import CompressSettings, Job, compress, to_compress
from tgjar_arch.cli.screen import one_line
from tgjar_arch.pictures.captions import find_captions
from tgjar_arch.pictures.photo import Photo
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.weights.shipped import find_weights, quality_limit

if TYPE_CHECKING:
    from lpips import LPIPS


@dataclass(frozen=True)
class ChooseSettings:
    """How captions are chosen.

    Attributes:
        choose: judge whole captions. compose: compose one of words. With both the better one is taken.
        captions: given for every image; None: each file's own, all of them.
        by: of `tgjar_arch.choosing.criteria.CRITERIA`.
        max_bytes: longest caption in bytes; None: no limit.
        tolerance: see `choose_caption` and `compose_caption`.
        words: a word list, see `read_words`. To compose of, beside the words of the captions (None: the built-in list);
            with `choose` alone each of them is a caption (None: no words).
        shortlist: see `compose_caption`.
        weights, fidelity, fidelity_weights, self_ensemble, device: as of `Restorer.from_pretrained`.
        text_strength, strength, colourise: as of `Restorer.__call__`.
    """

    choose: bool
    compose: bool
    captions: tuple[str, ...] | None = None
    by: str = 'lpips'
    max_bytes: int | None = None
    tolerance: float = 0.
    words: Path | None = None
    shortlist: int = SHORTLIST
    weights: Path | None = None
    fidelity: float = 0.
    fidelity_weights: Path | None = None
    self_ensemble: bool = False
    device: str | None = None
    text_strength: float = 1.
    strength: float = 1.
    colourise: bool = False


@dataclass
class Chooser:
    """Decides on the caption of one picture after another; made by `start`.

    Attributes:
        choices: those made so far.
    """

    settings: ChooseSettings
    restorer: Restorer
    lpips: LPIPS | None
    max_qf: int
    words: Sequence[str]
    quiet: bool
    choices: list[Choice] = field(default_factory=list)

    def __call__(self, job: Job, photo: Photo, settings: CompressSettings) -> tuple[str, str]:
        """The caption for a picture ('' for none), and in words what it costs and gains.

        Raises:
            OSError, RuntimeError, ValueError: if the picture cannot be compressed or restored.
        """
        content, _ = compress(photo, '', settings)
        received = receive(content, settings.max_pixels)
        if (qf := received.compression.qf) is not None and qf > self.max_qf:
            return '', f': `tgjar restore` leaves files of quality {qf} as they are (--max-qf {self.max_qf})'
        given = self.settings.captions
        if given is None:
            given = tuple(one.text for one in find_captions(job.source, job.root, settings.max_pixels))
        with tqdm(unit='caption', desc=one_line(job.source.name), leave=False, disable=self.quiet, delay=2) as bar:
            choice = self._choose(to_compress(photo, settings), received, given, bar.update)
        self.choices.append(choice)
        return choice.chosen.caption, self._said(choice)

    def summary(self) -> str:
        """What the captions of several pictures gain on average, for the last line; '' for fewer than two pictures."""
        if len(self.choices) < 2:
            return ''
        return f'; on average choosing {gains(self.choices)} over none'

    def _choose(self, original: np.ndarray, received: Received, given: Sequence[str],
                tell: Callable[[int], object]) -> Choice:
        want = self.settings
        judge = CaptionJudge(self.restorer, original, received, want.by, self.lpips, strength=want.strength,
                             text_strength=want.text_strength, colourise=want.colourise)
        if not want.compose:
            return choose_caption(judge, [*given, *judge.distinct(self.words)], want.max_bytes, want.tolerance, tell)
        composed = compose_caption(judge, [*self.words, *words_of(given)], want.max_bytes, want.tolerance,
                                   want.shortlist, tell)
        if not want.choose:
            return composed
        built = [composed.chosen.caption] if composed.chosen.caption else []
        # One choice between all, for which the tolerance counts once.
        whole = choose_caption(judge, [*given, *built], want.max_bytes, want.tolerance, tell)
        return replace(whole, candidates=whole.candidates - len(built) + composed.candidates,
                       too_long=whole.too_long + composed.too_long)

    def _said(self, choice: Choice) -> str:
        want = self.settings
        left_out = f', {choice.too_long} longer than --caption-bytes {want.max_bytes}' if choice.too_long else ''
        left_out += f', {choice.unfit} that would not be read back' if choice.unfit else ''
        if choice.chosen.caption:
            return f': "{choice.chosen.caption}" {gains([choice])} over none; tried {choice.candidates}{left_out}'
        if not choice.candidates:
            return f': there was no caption to try{left_out}'
        more = f' more than --tolerance {want.tolerance:g} ({UNITS[want.by]})' if want.tolerance else ''
        return f': none of the {choice.candidates} tried gains{more or " anything"}{left_out}'


def gains(choices: Sequence[Choice]) -> str:
    """What captions gain on average, in words: 'gains 0.0052 LPIPS and loses 0.01 dB'."""
    parts = []
    lpips = [choice.gain_lpips for choice in choices if choice.gain_lpips is not None]
    if lpips:
        parts.append((float(np.mean(lpips)), '.4f', 'LPIPS'))
    parts.append((float(np.mean([choice.gain_db for choice in choices])), '.2f', 'dB'))
    said, before = [], ''
    for value, digits, unit in parts:
        verb = 'loses' if value < 0 else 'gains'
        said.append(f'{"" if verb == before else verb + " "}{abs(value):{digits}} {unit}')
        before = verb
    return ' and '.join(said)


def start(settings: ChooseSettings, quiet: bool = False) -> Chooser:
    """Load the networks and the word list.

    Raises:
        ImportError, OSError, RuntimeError, ValueError: if something is missing or not as it must be.
    """
    if settings.fidelity_weights is not None and not settings.fidelity:
        raise ValueError('--fidelity-weights has no effect without --fidelity; give 1 for these weights alone.')
    named = settings.words if settings.words is not None or not settings.compose else Path(BUILT_IN)
    words = [] if named is None else read_words(named)
    weights = find_weights(settings.weights)
    restorer = Restorer.from_pretrained(weights, settings.device, None, settings.self_ensemble, settings.fidelity,
                                        settings.fidelity_weights)
    if not restorer.takes_text:
        raise ValueError(f'{weights} takes no captions, so there is nothing to choose; name other --weights.')
    return Chooser(settings, restorer, lpips_for(settings.by, restorer.device), quality_limit(weights), words, quiet)
