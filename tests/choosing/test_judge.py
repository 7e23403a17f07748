"""The judge restores as the receiver does, each different caption once, and compares with the original."""

import numpy as np
import pytest
import torch

from tests.helpers.photo_files import picture
from tests.helpers.tiny_restorer import WORDS, write_tiny_weights
from tgjar_arch.choosing.choose import choose_caption
from tgjar_arch.choosing.compose import compose_caption
from tgjar_arch.choosing.judge import CaptionJudge, receive
from tgjar_arch.choosing.nearness import Nearness
from tgjar_arch.jpeg.codec import encode
from tgjar_arch.jpeg.segments import add_segments
from tgjar_arch.metrics.lpips import build_lpips
from tgjar_arch.restoration.file import RestoreSettings, restore_file
from tgjar_arch.restoration.restorer import Restorer


@pytest.fixture(scope='module')
def restorer(tmp_path_factory):
    return Restorer.from_pretrained(write_tiny_weights(tmp_path_factory.mktemp('weights') / 'tiny.safetensors'), 'cpu')


@pytest.fixture
def original():
    return np.asarray(picture(51, 37))


def jpeg(original, qf=5):
    return encode(np.ascontiguousarray(original[..., ::-1]), qf)


@pytest.fixture
def judge(restorer, original):
    return CaptionJudge(restorer, original, receive(jpeg(original)), 'psnr')


@pytest.mark.parametrize('caption', ['', 'a yellow bird', 'zyx 🐦'])
@pytest.mark.parametrize('colourise', [False, True])
@pytest.mark.parametrize('grey', [False, True])
def test_what_is_judged_is_what_tgjar_restore_writes(restorer, original, tmp_path, caption, colourise, grey):
    original = original.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2) if grey else original
    content = jpeg(original)
    judge = CaptionJudge(restorer, original, receive(content), 'psnr', colourise=colourise, strength=.8,
                         text_strength=1.5)
    (tmp_path / 'sent.jpg').write_bytes(add_segments(content, comment=caption.encode()))
    seen = []
    settings = RestoreSettings(colourise=colourise, strength=.8, text_strength=1.5)
    restore_file(restorer, tmp_path / 'sent.jpg', tmp_path / 'seen.png', settings,
                 on_restored=lambda photo, pixels, text, grid: seen.append(pixels))
    assert np.array_equal(judge.restored(caption), seen[0])
    assert judge([caption])[0].distance.psnr == pytest.approx(Nearness(original)(seen)[0].psnr, abs=1e-3)


def test_large_pictures_are_measured_one_by_one(restorer, original, monkeypatch):
    captions, told = WORDS[:3], []
    together = CaptionJudge(restorer, original, receive(jpeg(original)), 'psnr')(captions, told.append)
    monkeypatch.setattr('tgjar_arch.choosing.judge._MOST_PIXELS', 1)
    assert CaptionJudge(restorer, original, receive(jpeg(original)), 'psnr')(captions, told.append) == together
    assert told == [3, 1, 1, 1]


def test_captions_that_read_alike_are_restored_once(judge):
    assert judge.tried == 1  # none
    told = []
    captions = ['a bird', 'A bird!', 'a 🐦 bird', 'zyx', '', ' ', 'a zyx bird', 'red']
    trials = judge(captions, told.append)
    assert judge.tried == 3 and sum(told) == 2
    assert [trial.caption for trial in trials] == ['a bird', 'A bird!', 'a 🐦 bird', 'zyx', '', '', 'a zyx bird', 'red']
    assert len({trial.score for trial in trials[:3]}) == 1 and trials[0].score == trials[6].score
    assert trials[3].distance == trials[4].distance == judge.none.distance != trials[0].distance
    judge(captions)
    assert judge.tried == 3


def test_another_criterion_restores_nothing_again(restorer, original):
    torch.manual_seed(0)
    judge = CaptionJudge(restorer, original, receive(jpeg(original)), 'lpips', build_lpips('alex', pretrained=False))
    trials = judge(WORDS)
    other = judge.judging_by('psnr')
    assert [trial.distance for trial in other(WORDS)] == [trial.distance for trial in trials]
    assert other.tried == judge.tried == len(WORDS) + 1
    assert (judge.none.score, other.none.score) == (judge.none.distance.lpips, -judge.none.distance.psnr)
    with pytest.raises(ValueError, match='not by'):
        judge.judging_by('ssim')


def test_distinct_words_are_known_and_read_differently(judge):
    assert judge.distinct(['Red', 'red', 'zyx', 'blue sky', '', '🐦', 'a zyx', 'bird!']) == ['Red', 'blue sky', 'bird!']


def test_chosen_and_composed_captions_gain_what_is_said(judge, original):
    chosen = choose_caption(judge, WORDS)
    composed = compose_caption(judge, WORDS, shortlist=4)
    for choice in (chosen, composed):
        gain = np.subtract(*(Nearness(original)([judge.restored(text)])[0].psnr
                             for text in (choice.chosen.caption, '')))
        assert choice.gain_db == pytest.approx(gain, abs=2e-3) and choice.gain_lpips is None
    assert composed.gain_db >= chosen.gain_db > 0
    assert chosen.gain_db == pytest.approx(max(-trial.score for trial in judge(WORDS)) + judge.none.score)
    assert len(composed.chosen.caption.split()) <= judge.restorer.max_words


@pytest.mark.parametrize('size', [(1, 1), (5, 7), (7, 40)])
def test_the_smallest_pictures(restorer, size):
    small = np.asarray(picture(*size))
    judge = CaptionJudge(restorer, small, receive(jpeg(small)), 'lpips', build_lpips('alex', pretrained=False))
    assert choose_caption(judge, WORDS).candidates == len(WORDS)


def test_what_cannot_be_judged(restorer, original, tmp_path):
    received = receive(jpeg(original))
    deaf = Restorer.from_pretrained(write_tiny_weights(tmp_path / 'deaf.safetensors', takes_text=False), 'cpu')
    with pytest.raises(ValueError, match='take no captions'):
        CaptionJudge(deaf, original, received, 'psnr')
    with pytest.raises(ValueError, match='lpips needs LPIPS'):
        CaptionJudge(restorer, original, received)
    with pytest.raises(ValueError, match='compared with an original'):
        CaptionJudge(restorer, original[:30], received, 'psnr')
