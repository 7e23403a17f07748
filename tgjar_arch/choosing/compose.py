"""Composing a caption word by word."""

from __future__ import annotations

from collections.abc import Sequence

from tgjar_arch.choosing.choose import Choice, can_be_sent, check_limits
from tgjar_arch.choosing.criteria import SHORTLIST
from tgjar_arch.choosing.judge import CaptionJudge, Tell, Trial, size_of


def compose_caption(judge: CaptionJudge, words: Sequence[str], max_bytes: int | None = None, tolerance: float = 0.,
                    shortlist: int | None = SHORTLIST, tell: Tell | None = None) -> Choice:
    """Build a caption greedily: begin with none, add the word that gains most, until none gains or the budget is full.

    A word is added at the end, and at most once. The first round tries every word; later ones try those that did best
    alone, for a word that harms alone seldom helps in company, and each trial is a restoration.

    Args:
        judge: restores and compares.
        words: words or phrases, such as `tgjar_arch.choosing.words.WORDS`; those that the tokenizer does not know are
            left out.
        max_bytes: longest caption, in bytes of UTF-8; None: no limit but what the text encoder reads (`max_words`).
        tolerance: a word has to gain more than this: in LPIPS, or in dB if the judge goes by PSNR.
        shortlist: how many of the words go on after the first round; None: all.
        tell: called with the number of captions that were just tried.

    Raises:
        ValueError: when a limit is negative, or `shortlist` is below 1.
    """
    check_limits(max_bytes, tolerance)
    if shortlist is not None and shortlist < 1:
        raise ValueError(f'shortlist must be 1 or more, or None for all words, but is {shortlist}.')
    pool = judge.distinct(words)
    current, judged, too_long = judge.none, 0, 0
    while pool:
        texts = {f'{current.caption} {word}'.strip(): word for word in pool}
        texts = {text: word for text, word in texts.items() if can_be_sent(text)}
        fitting = [text for text in texts if max_bytes is None or size_of(text) <= max_bytes]
        if not current.caption:
            too_long = len(texts) - len(fitting)
        trials = sorted(judge(fitting, tell), key=_rank)
        judged += len(trials)
        if not trials or not current.score - trials[0].score > tolerance:
            break
        if not current.caption:
            pool = [texts[trial.caption] for trial in trials][:shortlist]
        current = trials[0]
        pool = [word for word in pool if word != texts[current.caption]]
    return Choice(current, judge.none, judged, too_long)


def _rank(trial: Trial) -> tuple[float, int]:
    return trial.score, trial.size
