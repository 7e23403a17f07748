"""A pattern of 8x8 pixels is found and nothing else is taken for one; see benchmarks/grid_pattern.py."""

import cv2
import numpy as np
import pytest

from benchmarks.grid_pattern import place_means, run, windows
from tgjar_arch.evaluation.measures import Measure
from tgjar_arch.evaluation.test_set import EvaluationSet


def test_the_pattern_at_every_place_in_any_size():
    pattern = np.random.default_rng(0).normal(0, 2, (8, 8))
    tiled = np.tile(pattern, (5, 6))
    assert np.allclose(place_means(tiled), pattern)
    assert np.allclose(place_means(tiled[:37, :41]), pattern)
    assert np.allclose(place_means(tiled[3:]), np.roll(pattern, -3, axis=0))


def test_windows_leave_the_grid_by_a_pixel_each():
    image = np.arange(20 * 30 * 3).reshape(20, 30, 3)
    first, *others = windows(image)
    assert np.array_equal(first, image[:13, :23]) and len(others) == 7
    for k, window in enumerate(others, 1):
        assert np.array_equal(window, image[k:k + 13, k:k + 23])


def test_a_restorer_that_draws_a_pattern(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(6):
        smooth = cv2.resize(rng.uniform(80, 170, (5, 6, 3)), (96, 64), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / f'{k}.png'), smooth.round().astype(np.uint8))

    class Drawing:
        extra_inputs = ()

        def restore(self, lq, text, extra):
            lq = lq.clone()
            lq[..., 2::8, 5::8] += 10 / 255
            return lq

    def on_grid(picture, original):
        return float(picture[2, 5, 0] - 1. * original[2, 5, 0])

    results = run(Drawing(), EvaluationSet(tmp_path, crop=None), [Measure('x', 'x', False, 2, '', on_grid)], qf=90,
                  quiet=True)
    difference = results['restored']['pattern'] - results['JPEG']['pattern']
    assert difference[2, 5] == pytest.approx(10)
    difference[2, 5] = 0
    assert np.abs(difference).max() < 1e-9
    assert results['restored']['x'][0] - results['JPEG']['x'][0] == pytest.approx(10)
    assert results['restored']['x'][1] == pytest.approx(results['JPEG']['x'][1])
