"""How much of the change is applied: `strength` of Restorer, files and the command line."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.photo_files import picture
from tests.restoration.test_restorer import CAPTIONS, path, pixels, restorer, tensor  # noqa: F401  fixtures
from tgjar_arch.cli import restore
from tgjar_arch.pictures.photo import read_photo
from tgjar_arch.restoration.file import RestoreSettings, restore_file
from tgjar_arch.restoration.restorer import Restorer


def expected(pixels: np.ndarray, restored: torch.Tensor, strength: float) -> np.ndarray:  # noqa: F811
    lq = tensor(pixels)
    return ((lq + strength * (restored - lq)).clamp(0, 1) * 255).permute(1, 2, 0).numpy()


@pytest.mark.parametrize('strength', [0.0, 0.5, 1.3, np.float32(2)])
@pytest.mark.parametrize('tile', [0, 64])
def test_share_of_the_change(restorer, pixels, strength, tile):  # noqa: F811
    restored = restorer(tensor(pixels), CAPTIONS[0])
    out = restorer(pixels, CAPTIONS[0], strength=strength, tile=tile)
    assert np.abs(out - expected(pixels, restored, strength)).max() < 0.51
    batch = restorer(tensor(pixels)[None], CAPTIONS[0], strength=strength)
    assert np.abs((batch[0] * 255).permute(1, 2, 0).numpy() - expected(pixels, restored, strength)).max() < 1e-3
    whole = restorer.restore(tensor(pixels)[None], [CAPTIONS[0]], strength=strength)
    assert torch.allclose(whole, batch, atol=1e-6)


def test_none_is_the_picture_and_all_the_restored_one_to_the_bit(restorer, pixels):  # noqa: F811
    assert np.array_equal(restorer(pixels, CAPTIONS[0], strength=0), pixels)
    assert np.array_equal(restorer(pixels, CAPTIONS[0], strength=1), restorer(pixels, CAPTIONS[0]))
    image = tensor(pixels)
    assert torch.equal(restorer(image, strength=0), image)
    assert torch.equal(restorer(image, strength=1.0), restorer(image))


def test_off_the_grid_mirrored_and_grey(restorer, pixels):  # noqa: F811
    assert np.array_equal(restorer(pixels, grid=(3, 5), strength=0), pixels)
    restorer.self_ensemble = True
    for tile in (0, 64):
        assert np.array_equal(restorer(pixels, tile=tile, strength=0), pixels)
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    half = restorer(grey, strength=0.5)
    assert np.array_equal(half[..., 0], half[..., 1]) and not np.array_equal(half, grey)


@pytest.mark.parametrize('strength', [-0.1, 2.1, float('nan'), '1', True])
def test_wrong_strength(restorer, pixels, strength):  # noqa: F811
    for call in (lambda: restorer(pixels, strength=strength),
                 lambda: restorer.restore(tensor(pixels)[None], [''], strength=strength)):
        with pytest.raises(ValueError, match='strength must be a number from 0 .* to 2, but is'):
            call()


def test_files_and_command_line(path, tmp_path, capsys):  # noqa: F811
    source, target = tmp_path / 'in.jpg', tmp_path / 'out.png'
    picture(48, 40).save(source, quality=5)
    restore_file(Restorer.from_pretrained(path, 'cpu'), source, target, RestoreSettings(strength=0.5))
    half = np.asarray(Image.open(target))
    assert restore.main([str(source), '-o', str(tmp_path / 'cli.png'), '--weights', str(path), '--strength', '0.5',
                         '--quiet']) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'cli.png')), half)
    assert restore.main([str(source), '-o', str(tmp_path / 'all.png'), '--weights', str(path), '--quiet']) == 0
    lq, full = (x.astype(int) for x in (read_photo(source).pixels, np.asarray(Image.open(tmp_path / 'all.png'))))
    assert np.abs(half - (lq + full) / 2).max() <= 1 and not np.array_equal(lq, full)
    with pytest.raises(SystemExit):
        restore.main([str(source), '--strength', '2.5'])
    assert 'argument --strength: must be a number from 0 to 2, but is' in capsys.readouterr().err
