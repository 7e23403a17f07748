"""A restoration that nobody waits for ends between two layers."""

import numpy as np
import pytest

from tgjar_arch.restoration.interrupt import Abandoned, while_wanted
from tgjar_arch.restoration.restorer import Restorer


@pytest.fixture(scope='module')
def restorer() -> Restorer:
    return Restorer.from_pretrained('tgjar_universal', 'cpu')


@pytest.mark.parametrize('tile', [0, 64])
def test_ends_soon_and_leaves_nothing_behind(restorer: Restorer, tile: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 80, 3), np.uint8)
    before = restorer(pixels, 'a brown cat', tile=tile)
    asked = 0

    def is_wanted() -> bool:
        nonlocal asked
        asked += 1
        return asked < 10

    with pytest.raises(Abandoned), while_wanted(restorer, is_wanted):
        restorer(pixels, 'a brown cat', tile=tile)
    assert asked == 10
    with while_wanted(restorer, lambda: True):
        assert np.array_equal(restorer(pixels, 'a brown cat', tile=tile), before)
    asked = 100
    assert np.array_equal(restorer(pixels, 'a brown cat', tile=tile), before), 'nobody is asked any more'
    with pytest.raises(Abandoned), while_wanted(restorer, lambda: False):
        pytest.fail('begun all the same')
