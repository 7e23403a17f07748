"""The oracle knows mean colours of the original and nothing else; see benchmarks/caption_ceiling.py."""

import cv2
import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from benchmarks.caption_ceiling import CENTRE, ORACLES, run, true_colours
from tgjar_arch.evaluation.measures import Measure, ab_error
from tgjar_arch.evaluation.test_set import EvaluationSet


@pytest.fixture
def original() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.uniform(80, 170, (5, 6, 3)), (160, 128), interpolation=cv2.INTER_CUBIC)
    return (smooth + rng.normal(0, 4, smooth.shape)).round().astype(np.uint8)


def chroma(image: np.ndarray) -> np.ndarray:
    return rgb2lab(image[..., ::-1])[..., 1:]


def test_equal_colours_stay(original):
    for told in true_colours(original, original).values():
        assert np.abs(told.astype(int) - original).max() <= 1


def test_a_cast_is_taken_off_where_the_oracle_looks_and_lightness_stays(original):
    lab = rgb2lab(original[..., ::-1])
    cast = np.round(lab2rgb(lab + [0, 8, -6])[..., ::-1] * 255).astype(np.uint8)
    told = true_colours(cast, original)
    for name, picture in told.items():
        assert np.abs(rgb2lab(picture[..., ::-1])[..., 0] - lab[..., 0]).max() < 1.5
        assert ab_error(picture, original, centre=True) < (0.8 if name != CENTRE else 2.5)  # its borders are soft
    assert ab_error(told[CENTRE], original) > 5 > 1 > ab_error(told['64x64'], original)
    assert ab_error(told[CENTRE][:16], original[:16]) == pytest.approx(10, abs=0.3)  # nothing is told there
    middle = np.s_[48:80, 60:100]
    means = [chroma(image)[middle].mean(axis=(0, 1)) for image in (told[CENTRE], original)]
    assert np.abs(means[0] - means[1]).max() < 0.5


def test_smaller_blocks_tell_more_and_no_block_tells_texture(original):
    grey = cv2.cvtColor(cv2.cvtColor(original, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    errors = [ab_error(picture, original) for picture in true_colours(grey, original).values()]
    assert all(first > second for first, second in zip(errors, errors[1:], strict=False))
    assert errors[-1] > 1  # the noise of single pixels


def test_scores_of_every_oracle_and_image(tmp_path, original):
    for k in range(2):
        cv2.imwrite(str(tmp_path / f'{k}.png'), np.roll(original, 16 * k, axis=1))
    captions = []

    def grey(image, caption):
        captions.append(caption)
        return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)

    measure = Measure('ab_error', 'a*b* error', False, 2, '', ab_error)
    scores = run(grey, EvaluationSet(tmp_path), [measure], qf=50, quiet=True)['ab_error']
    assert captions == ['', ''] and list(scores) == ['restored', *ORACLES]
    assert all(len(values) == 2 for values in scores.values())
    assert np.mean(scores['restored']) > np.mean(scores['64x64']) > np.mean(scores['16x16'])
