"""Self-ensemble: the mean of a restored picture and its restored mirror image."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import tgjar_arch.restoration.restorer
from tests.evaluation.test_evaluate_methods import captions_of, quiet, write_tiny
from tests.helpers.photo_files import picture
from tests.restoration.test_qgcn import weights as qgcn  # noqa: F401  a fixture
from tests.restoration.test_restorer import CAPTIONS, by_hand, path, pixels, restorer, tensor  # noqa: F401  fixtures
from tgjar_arch.archs.lite_generator_arch import TGJARLiteGenerator
from tgjar_arch.cli import evaluate, restore
from tgjar_arch.evaluation.kept_pictures import restored_path
from tgjar_arch.evaluation.methods import build_methods, parse_methods
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.jpeg.codec import decode
from tgjar_arch.jpeg.tables import quantisation_maps, thumbnail
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.restoration.self_ensemble import both_parts
from tgjar_arch.weights.file import ExportedWeights, write_weights


@pytest.fixture
def both(path):  # noqa: F811
    return Restorer.from_pretrained(path, 'cpu', self_ensemble=True)


def test_a_mirror_image_gives_the_mirrored_result(restorer, both):  # noqa: F811
    batch = torch.stack([tensor(np.asarray(picture(48, 40))), torch.rand(3, 40, 48)])
    torch.testing.assert_close(both(batch.flip(3), CAPTIONS).flip(3), both(batch, CAPTIONS), atol=1e-6, rtol=0)
    alone = restorer(batch, CAPTIONS)
    assert (restorer(batch.flip(3), CAPTIONS).flip(3) - alone).abs().max() > 0.01
    torch.testing.assert_close(both(batch, CAPTIONS), (alone + restorer(batch.flip(3), CAPTIONS).flip(3)) / 2)


@pytest.mark.parametrize('width', [91, 88, 17, 4])
def test_other_widths_are_filled_up_to_whole_units_before(both, restorer, width):  # noqa: F811
    """Without that the mirror image would begin within a block, or between two blocks of one of chroma."""
    given = np.asarray(picture(width, 75))
    filled = F.pad(tensor(given)[None], (0, -width % 16, 0, 0), mode='replicate')[0].permute(1, 2, 0)
    filled = (filled * 255).round().byte().numpy()
    first, second = (by_hand(restorer, image, CAPTIONS[0]).clamp(0, 1)
                     for image in (filled, np.ascontiguousarray(filled[:, ::-1])))
    expected = ((first + second.flip(2)) / 2)[..., :width]
    torch.testing.assert_close(both(tensor(given), CAPTIONS[0]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('size', [(91, 75), (160, 70), (17, 130), (5, 90), (130, 3)])
@pytest.mark.parametrize('strength', [1, 1.5])
def test_tiles_give_the_whole(both, size, strength):
    image = np.asarray(picture(*size))
    whole = both(image, CAPTIONS[0], tile=0, text_strength=strength)
    calls = []
    tiled = both(image, CAPTIONS[0], tile=64, text_strength=strength, progress=lambda *count: calls.append(count))
    assert tiled.shape == image.shape and np.abs(tiled.astype(int) - whole).max() <= 1
    assert calls == [(k, len(calls)) for k in range(1, len(calls) + 1)] and len(calls) >= 4


def test_tiles_of_a_tensor(both, pixels, monkeypatch):  # noqa: F811
    batch = torch.stack([tensor(pixels), tensor(pixels).flip(1)])
    whole = both(batch, CAPTIONS, tile=0)
    monkeypatch.setattr(tgjar_arch.restoration.restorer, 'memory_for', lambda device: 2**19)
    torch.testing.assert_close(both(batch, CAPTIONS), whole, atol=2e-5, rtol=0)


def test_parts_cover_the_mirror_image_and_the_picture():
    """Networks that do nothing, part by part: the mean is the picture, every pixel written once."""
    image = torch.rand(1, 3, 20, 37)
    out, written = torch.zeros_like(image), torch.zeros(20, 37)

    def write(rows, columns, result):
        out[..., rows, columns] = result
        written[rows, columns] += 1

    mirror, own = both_parts(lambda rows, columns: image[..., rows, columns], write, (20, 37))
    for read, put, (height, width) in (mirror, own):
        assert (height, width) == (20, 48)
        for left in range(0, width, 8):
            columns = slice(left, left + 8)
            part = read(slice(0, height), columns)
            assert part.shape == (1, 3, 20, 8)
            put(slice(0, height), columns, part)
    assert (written == 1).all()
    torch.testing.assert_close(out, image, atol=1e-5, rtol=0)
    read = mirror[0]
    assert torch.equal(read(slice(0, 20), slice(0, 48))[..., 11:], image.flip(3))
    assert torch.equal(read(slice(0, 20), slice(0, 11)), image[..., -1:].expand(-1, -1, -1, 11))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_the_lite_generator(dtype, tmp_path, monkeypatch):
    torch.manual_seed(0)
    options = {'num_feat': 8, 'num_block': 1}
    net = TGJARLiteGenerator(**options)
    nn.init.normal_(net.tail.weight, std=0.02)
    file = tmp_path / 'lite.safetensors'
    write_weights(file, ExportedWeights({'type': 'TGJARLiteGenerator', **options}, net.state_dict()))
    alone, lite = (Restorer.from_pretrained(file, 'cpu', dtype, each) for each in (False, True))
    image = torch.rand(2, 3, 72, 96)
    whole = lite(image)
    expected = (alone(image) + alone(image.flip(3)).flip(3)) / 2
    torch.testing.assert_close(whole, expected)
    assert (whole - alone(image)).abs().max() > 0.01
    monkeypatch.setattr(tgjar_arch.restoration.restorer, 'memory_for', lambda device: 2**18)
    torch.testing.assert_close(lite(image), whole, atol=2e-5 if dtype == torch.float32 else 0.02, rtol=0)


@pytest.mark.parametrize('width', [75, 80, 5])
def test_tables_of_a_mirror_image_are_the_same_and_its_thumbnail_mirrored(qgcn, width):  # noqa: F811
    """QGCN: mirroring a JPEG picture only turns the signs of odd coefficients round."""
    rng = np.random.default_rng(0)
    tables = rng.integers(1, 255, (2, 8, 8)).astype(np.float32)
    image = np.asarray(picture(width, 64))
    filled = np.pad(image, ((0, 0), (0, -width % 16), (0, 0)), mode='edge')
    net = Restorer.from_pretrained(qgcn, 'cpu').net_g
    maps = quantisation_maps(tables, *filled.shape[:2])[None]
    small = thumbnail(np.ascontiguousarray(image[..., ::-1]), 112)[None]
    with torch.no_grad():
        own = net(tensor(filled)[None], small, qmaps=maps)
        other = net(tensor(filled)[None].flip(3), small.flip(3), qmaps=maps).flip(3)
    expected = ((own.clamp(0, 1) + other.clamp(0, 1)) / 2)[0, ..., :width]
    both = Restorer.from_pretrained(qgcn, 'cpu', self_ensemble=True)
    torch.testing.assert_close(both(tensor(image), tables=tables), expected, atol=1e-5, rtol=0)
    assert (expected - own[0, ..., :width].clamp(0, 1)).abs().max() > 0.004


def test_command_line(path, both, tmp_path, pixels):  # noqa: F811
    Image.fromarray(pixels).save(tmp_path / 'a.jpg', quality=5)
    assert restore.main([str(tmp_path / 'a.jpg'), '-o', str(tmp_path / 'a.png'), '--weights', str(path), '--caption',
                         CAPTIONS[0], '--self-ensemble', '--quiet']) == 0
    expected = both(Image.open(tmp_path / 'a.jpg'), CAPTIONS[0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'a.png')), np.asarray(expected))


def test_rows_of_evaluate(photos, qgcn, tmp_path):  # noqa: F811
    """Networks have their rows twice; what was restored with and without is told apart."""
    images = photos(size=80)
    tiny = write_tiny(tmp_path / 'tiny.safetensors', captions_of(images))
    found = EvaluationSet(images, 64)
    methods = build_methods(parse_methods([f'T={tiny}', f'Q={qgcn}'], [1]), found, [1], tmp_path / 'out',
                            ['right', 'wrong'], 'cpu', self_ensemble=True)
    assert [method.label for method in methods] == ['T', 'T, wrong captions', 'T, self-ensemble',
                                                    'T, self-ensemble, wrong captions', 'Q', 'Q, self-ensemble']
    assert len({method.folder for method in methods}) == 6
    name = found.names[0]
    plain, mirrored = methods[0], methods[2]
    for method in (plain, mirrored):
        assert method.prepare(1, [name], quiet) == {}
    assert 'mirror image' in mirrored.describe(1) and 'mirror' not in plain.describe(1)
    lq = tensor(decode(found.jpeg(name, 1))[..., ::-1].copy())[None]
    expected = Restorer.from_pretrained(tiny, 'cpu', self_ensemble=True).restore(lq, [mirrored.caption(name)])
    steps = (expected[0] * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
    assert np.array_equal(mirrored.image(name, 1), steps) and not np.array_equal(plain.image(name, 1), steps)
    # A folder of pictures that were restored without it.
    os.replace(restored_path(tmp_path / 'out', 'T', 1, name), restored_path(tmp_path / 'out', mirrored.label, 1, name))
    assert mirrored.prepare(1, [name], quiet) == {}
    assert np.array_equal(mirrored.image(name, 1), steps)


def test_rows_of_one_name(photos, tmp_path):
    images = photos(size=80)
    tiny = write_tiny(tmp_path / 'tiny.safetensors', captions_of(images))
    specs = parse_methods([f'T={tiny}', f'T, self-ensemble={images}'], [1])
    with pytest.raises(ValueError, match='two rows would be called T, self-ensemble; give that --method another name'):
        build_methods(specs, EvaluationSet(images, 64), [1], tmp_path / 'out', device='cpu', self_ensemble=True)


def test_evaluate_from_the_command_line(photos, tmp_path):
    images = photos(size=80)
    tiny = write_tiny(tmp_path / 'tiny.safetensors', captions_of(images))
    assert evaluate.main([str(images), '-o', str(tmp_path / 'out'), '--method', f'T={tiny}', '--metrics', 'psnr',
                          '--crop', '64', '--max-images', '2', '--device', 'cpu', '--self-ensemble', '--quiet']) == 0
    table = (tmp_path / 'out' / 'tables.md').read_text()
    assert '| T, self-ensemble |' in ' '.join(table.split())
