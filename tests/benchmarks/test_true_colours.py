"""The oracles know mean colours of the original and nothing else; see benchmarks/true_colours.py."""

import cv2
import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from benchmarks.true_colours import BLOCKS, CENTRE, ORACLES, block_offset, centre_offset, run, true_colours
from tgjar_arch.evaluation.measures import Measure, ab_error
from tgjar_arch.evaluation.test_set import EvaluationSet


@pytest.fixture
def original() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.uniform(80, 170, (5, 6, 3)), (192, 128), interpolation=cv2.INTER_CUBIC)
    return (smooth + rng.normal(0, 4, smooth.shape)).round().astype(np.uint8)


def block_means(values: np.ndarray, block: int) -> np.ndarray:
    height, width, channels = values.shape
    return values.reshape(height // block, block, width // block, block, channels).mean(axis=(1, 3))


@pytest.mark.parametrize('block', BLOCKS)
def test_block_means_are_the_true_ones(block):
    difference = np.random.default_rng(1).normal(0, 10, (128, 192, 3))
    for _ in range(2):  # noise, whose means are small and unlike; then means of the size of the blocks
        error = block_means(block_offset(difference, block) - difference, block)
        assert np.abs(error).max() < 0.05 * np.abs(block_means(difference, block)).max()
        difference = np.kron(np.random.default_rng(2).normal(0, 10, (128 // block, 192 // block, 3)),
                             np.ones((block, block, 1)))


def test_any_size_and_the_mean_of_the_centre():
    difference = np.random.default_rng(1).normal(3, 10, (75, 101, 2))
    assert block_offset(difference, 64).shape == difference.shape
    assert block_offset(difference[:40], 64).shape == (40, 101, 2)
    offset = centre_offset(difference)
    middle = np.s_[18:57, 25:76]
    assert np.allclose(offset[middle].mean(axis=(0, 1)), difference[middle].mean(axis=(0, 1)))
    assert np.abs(offset[:8]).max() < 0.1


def test_equal_colours_stay(original):
    for told in true_colours(original, original).values():
        assert np.abs(told.astype(int) - original).max() <= 1


def test_a_cast_is_taken_off_where_and_of_what_the_oracle_knows(original):
    lab = rgb2lab(original[..., ::-1])
    cast = np.round(lab2rgb(lab + [10, 8, -6])[..., ::-1] * 255).astype(np.uint8)
    told = true_colours(cast, original)
    assert tuple(told) == ORACLES
    for name, picture in told.items():
        light = (rgb2lab(picture[..., ::-1]) - lab)[48:80, 60:130, 0].mean()
        assert light == pytest.approx(10 if name.endswith(', a*b*') else 0, abs=1)  # but for what clips
        if name.startswith(CENTRE):
            assert ab_error(picture, original, centre=True) < 3  # its borders are soft
            assert ab_error(picture[:8], original[:8]) == pytest.approx(10, abs=0.4)
        else:
            assert ab_error(picture, original) < 0.8


def test_smaller_blocks_tell_more_and_no_block_tells_texture(original):
    grey = cv2.cvtColor(cv2.cvtColor(original, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    told = true_colours(grey, original)
    errors = [ab_error(told[name], original) for name in ORACLES[:4]]
    assert all(first > second for first, second in zip(errors, errors[1:], strict=False))
    assert errors[-1] > 1  # the noise of single pixels


def test_scores_of_every_oracle_and_image(tmp_path, original):
    for k in range(2):
        cv2.imwrite(str(tmp_path / f'{k}.png'), np.roll(original, 16 * k, axis=1))
    captions = []

    class Grey:
        extra_inputs = ()

        def restore(self, lq, text, extra, strength):
            captions.extend(text)
            return lq.mean(dim=1, keepdim=True).expand_as(lq)

    measure = Measure('ab_error', 'a*b* error', False, 2, '', ab_error)
    scores = run(Grey(), EvaluationSet(tmp_path), [measure], qf=50, quiet=True)['ab_error']
    assert captions == ['', ''] and list(scores) == ['restored', *ORACLES]
    assert all(len(values) == 2 for values in scores.values())
    assert np.mean(scores['restored']) > np.mean(scores['64x64, a*b*']) > np.mean(scores['16x16, a*b*'])
