"""Bootstrap intervals of means."""

import math

import numpy as np
import pytest

from tgjar_arch.evaluation.bootstrap import mean_interval, paired_interval


def test_the_interval_is_that_of_the_normal_distribution():
    values = np.random.default_rng(3).normal(5, 2, 400)
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(values.mean()) and interval.count == 400
    assert interval.half == pytest.approx(1.96 * values.std() / math.sqrt(400), rel=0.1)
    assert interval.low < 5 < interval.high


def test_it_is_the_same_every_time():
    values = [1., 2., 5., 9.]
    assert mean_interval(values) == mean_interval(values) != mean_interval(values, seed=1)


@pytest.mark.parametrize('count', [2, 7, 300])
def test_it_is_the_percentile_interval(count):
    values = np.random.default_rng(count).normal(20, 5, count)
    rng = np.random.default_rng(0)
    means = [values[rng.integers(0, count, count)].mean() for _ in range(1000)]
    interval = mean_interval(values)
    assert (interval.low, interval.high) == pytest.approx(np.quantile(means, [.025, .975]), rel=1e-12)


def test_equal_values_have_no_width():
    assert mean_interval([3.] * 7).half == 0


def test_one_value_has_no_interval():
    alone, pair = mean_interval([3.]), paired_interval([1.], [3.])
    assert (alone.mean, alone.count) == (3, 1) and (pair.mean, pair.count) == (2, 1)
    assert all(math.isnan(value) for value in (alone.low, alone.high, alone.half, pair.low, pair.half))


def test_pairs_are_compared_image_by_image():
    rng = np.random.default_rng(0)
    first = rng.normal(20, 5, 100)
    second = first + 1 + rng.normal(0, .1, 100)
    gain = paired_interval(first, second)
    assert gain.mean == pytest.approx(1, abs=.05) and gain.low > .9
    assert gain.half < mean_interval(first).half / 20


def test_what_has_no_mean():
    with pytest.raises(ValueError, match='at least one'):
        mean_interval([])
    with pytest.raises(ValueError, match='there are 2 and 1'):
        paired_interval([1., 2.], [1.])
