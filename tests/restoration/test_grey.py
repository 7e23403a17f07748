"""Grey pictures stay grey, in a colour file too, unless colour is asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.photo_files import picture, saved
from tests.restoration.test_restorer import CAPTIONS, path, restorer, tensor  # noqa: F401  fixtures
from tgjar_arch.pictures.photo import read_photo
from tgjar_arch.restoration.file import RestoreSettings, restore_file
from tgjar_arch.restoration.grey import greyed, is_neutral


def grey() -> Image.Image:
    return picture(91, 75).convert('L').convert('RGB')


@pytest.mark.parametrize('quality', [1, 10, 40, 75, 90])
@pytest.mark.parametrize('subsampling', ['4:4:4', '4:2:0'])
def test_a_grey_photograph_is_neutral_at_every_quality(tmp_path: Path, quality: int, subsampling: str) -> None:
    (tmp_path / 'a.jpg').write_bytes(saved(grey(), quality=quality, subsampling=subsampling))
    assert is_neutral(read_photo(tmp_path / 'a.jpg').pixels)


def test_what_has_colour_is_not() -> None:
    assert not is_neutral(np.asarray(picture()))
    tinted = np.full((300, 8, 3), 128, np.uint8)
    assert is_neutral(tinted)
    tinted[299, 7] = 128, 128, 132  # one pixel, in the last strip
    assert not is_neutral(tinted)
    sepia = np.stack([np.full((9, 9), value, np.uint8) for value in (140, 128, 110)], axis=2)
    assert not is_neutral(sepia)


def test_the_luma_of_the_result_is_kept(restorer) -> None:  # noqa: F811
    pixels = np.asarray(grey())
    tinted = restorer(pixels, CAPTIONS[0], colourise=True)
    assert not is_neutral(tinted)
    found = restorer(pixels, CAPTIONS[0])
    assert np.array_equal(found, np.asarray(Image.fromarray(tinted).convert('L').convert('RGB'))) or np.abs(
        found.astype(int) - np.asarray(Image.fromarray(tinted).convert('L').convert('RGB'))).max() <= 1
    assert np.array_equal(found, greyed(tinted)) and (found == found[..., :1]).all()
    assert np.array_equal(restorer(pixels, CAPTIONS[0], tile=64, grid=(3, 5)).std(axis=2), np.zeros(pixels.shape[:2]))
    as_picture = restorer(Image.fromarray(pixels).convert('L'), CAPTIONS[0])
    assert np.array_equal(np.asarray(as_picture), found)


def test_colour_is_not_touched(restorer) -> None:  # noqa: F811
    pixels = np.asarray(picture(91, 75))
    assert np.array_equal(restorer(pixels), restorer(pixels, colourise=True))


def test_of_a_batch_each_for_itself(restorer) -> None:  # noqa: F811
    batch = torch.stack([tensor(np.asarray(grey())), tensor(np.asarray(picture(91, 75)))])
    own, raw = restorer(batch), restorer(batch, colourise=True)
    assert torch.equal(own[1], raw[1]) and not torch.equal(own[0], raw[0])
    assert torch.equal(own[0, 0], own[0, 1]) and torch.equal(own[0, 1], own[0, 2])


@pytest.mark.parametrize('mode', ['RGB', 'L'])
@pytest.mark.parametrize(('caption', 'colourise', 'is_grey'), [
    (CAPTIONS[0], False, True), (CAPTIONS[0], True, False), ('', True, True)])
def test_files(restorer, tmp_path: Path, mode: str, caption: str, colourise: bool, is_grey: bool) -> None:  # noqa: F811
    source = tmp_path / 'a.jpg'
    source.write_bytes(saved(grey().convert(mode), quality=10))
    report = restore_file(restorer, source, tmp_path / 'a.png', RestoreSettings(caption=caption, colourise=colourise))
    assert report.is_grey is is_grey is is_neutral(read_photo(tmp_path / 'a.png').pixels)
    if is_grey:
        assert Image.open(tmp_path / 'a.png').mode == mode
