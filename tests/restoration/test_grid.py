"""A picture that was cropped after its compression is restored on the grid that it had."""

import numpy as np
import pytest
import torch

from tests.helpers.photo_files import picture
from tests.restoration.test_restorer import CAPTIONS, path, restorer, tensor  # noqa: F401  fixtures

GRIDS = [(3, 0), (0, 5), (7, 2), (8, 8), (11, 15)]


def by_hand(pixels: np.ndarray, grid: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    top, left = (16 - grid[0]) % 16, (16 - grid[1]) % 16
    return np.pad(pixels, ((top, 0), (left, 0), (0, 0)), mode='reflect'), top, left


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('tile', [0, 64])
def test_it_is_the_picture_filled_up_by_hand(restorer, grid, tile):  # noqa: F811
    pixels = np.asarray(picture(150, 91))
    filled, top, left = by_hand(pixels, grid)
    expected = restorer(filled, CAPTIONS[0], tile=tile)[top:, left:]
    found = restorer(pixels, CAPTIONS[0], tile=tile, grid=grid)
    assert found.shape == pixels.shape and np.array_equal(found, expected)
    assert not np.array_equal(found, restorer(pixels, CAPTIONS[0], tile=tile))


def test_tensors_batches_and_the_mirror_image(restorer):  # noqa: F811
    pixels = np.asarray(picture(91, 75))
    filled, top, left = by_hand(pixels, (5, 12))
    batch = torch.stack([tensor(pixels), tensor(pixels).flip(1)])
    found = restorer(batch, CAPTIONS, grid=(5, 12))
    assert found.shape == batch.shape
    torch.testing.assert_close(found[0], restorer(tensor(filled), CAPTIONS[0])[:, top:, left:], atol=1e-6, rtol=0)
    restorer.self_ensemble = True
    assert np.array_equal(restorer(pixels, grid=(5, 12)), restorer(filled)[top:, left:])


def test_sides_shorter_than_what_is_added(restorer):  # noqa: F811
    for size in ((1, 1), (3, 20), (9, 2)):
        pixels = np.asarray(picture(*size))
        assert restorer(pixels, grid=(1, 1)).shape == pixels.shape


def test_no_offset_changes_nothing(restorer):  # noqa: F811
    pixels = np.asarray(picture(91, 75))
    assert np.array_equal(restorer(pixels, grid=(0, 0)), restorer(pixels))


@pytest.mark.parametrize('grid', [(16, 0), (0, -1), (1,), 3, (1.5, 0), (True, 0)])
def test_what_is_no_grid(restorer, grid):  # noqa: F811
    with pytest.raises(ValueError, match=r'grid must be \(row, column\) of the first whole block, both 0 to 15'):
        restorer(np.asarray(picture()), grid=grid)
