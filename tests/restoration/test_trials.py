"""Many captions of one picture give what `Restorer` gives for each, and the encoder runs once."""

import numpy as np
import pytest

from tests.helpers.photo_files import picture
from tests.helpers.tiny_restorer import write_tiny_weights
from tgjar_arch.restoration import trials as module
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.restoration.trials import CaptionTrials

CAPTIONS = ['a yellow bird', '', 'a red bird with black wings', 'blue', 'nothing known 🐦']


@pytest.fixture(scope='module')
def restorer(tmp_path_factory):
    return Restorer.from_pretrained(write_tiny_weights(tmp_path_factory.mktemp('weights') / 'tiny.safetensors'), 'cpu')


@pytest.fixture
def pixels():
    return np.asarray(picture(43, 37))


@pytest.mark.parametrize('settings', [{}, {'text_strength': 2.5}, {'text_strength': 0.}, {'strength': .5},
                                      {'grid': (3, 9)}, {'colourise': True}])
@pytest.mark.parametrize('grey', [False, True])
def test_one_by_one_each_is_the_restorers_own(restorer, pixels, settings, grey):
    pixels = pixels.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2) if grey else pixels
    found = list(CaptionTrials(restorer, pixels, at_once=1, **settings)(CAPTIONS))
    expected = [restorer(pixels, caption, **settings) for caption in CAPTIONS]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.uint8 and np.array_equal(one, other)
    assert settings.get('text_strength') == 0. or not np.array_equal(found[0], found[1])


def test_together_they_differ_by_rounding_at_most(restorer, pixels):
    together = list(CaptionTrials(restorer, pixels)(CAPTIONS))
    for one, caption in zip(together, CAPTIONS, strict=True):
        assert np.abs(one.astype(int) - restorer(pixels, caption)).max() <= 1


@pytest.mark.parametrize('size', [(1, 1), (5, 3), (8, 40)])
def test_the_smallest_pictures(restorer, size):
    small = np.asarray(picture(*size))
    found = list(CaptionTrials(restorer, small)(CAPTIONS[:2]))
    assert all(one.shape == small.shape for one in found)
    assert np.abs(found[0].astype(int) - restorer(small, CAPTIONS[0])).max() <= 1


def test_the_encoder_runs_once(restorer, pixels, monkeypatch):
    runs = []
    encode = type(restorer.net_g).encode_fine
    monkeypatch.setattr(type(restorer.net_g), 'encode_fine', lambda self, x: runs.append(len(x)) or encode(self, x))
    trials = CaptionTrials(restorer, pixels, at_once=2)
    first = list(trials(CAPTIONS))
    assert np.array_equal(list(trials(CAPTIONS))[2], first[2])  # what the decoder overwrites was a copy
    assert runs == [1]


def test_pictures_in_tiles_and_self_ensemble_go_through_the_restorer(restorer, monkeypatch):
    large = np.asarray(picture(150, 90))
    monkeypatch.setattr(module, 'choose_tile', lambda *a, **k: 64)
    calls = []

    class Watched:
        net_g, device, self_ensemble = restorer.net_g, restorer.device, False

        def __call__(self, pixels, caption, **settings):
            calls.append(caption)
            return restorer(pixels, caption, tile=64, **settings)

    found = list(CaptionTrials(Watched(), large)(CAPTIONS[:2]))
    assert calls == CAPTIONS[:2] and np.abs(found[0].astype(int) - restorer(large, CAPTIONS[0])).max() <= 1
    monkeypatch.undo()
    Watched.self_ensemble = True
    list(CaptionTrials(Watched(), large)(CAPTIONS[2:3]))
    assert calls[2:] == CAPTIONS[2:3]


def test_ids_are_equal_where_captions_restore_alike(restorer):
    assert restorer.ids('a Yellow, bird!') == restorer.ids('a yellow 🐦 bird') == restorer.ids('a yellow zyx bird')
    assert restorer.ids('') == restorer.ids('zyx 🐦') == () != restorer.ids('bird')
    assert len(restorer.ids('bird ' * 100)) == restorer.max_words
    assert all(isinstance(one, int) for one in restorer.ids('a bird'))
