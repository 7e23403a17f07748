"""`Restorer` in Python: arrays, pictures and tensors, batches, precision, text strength and tiles."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import tgjar_arch.restoration.restorer
from tests.helpers.photo_files import cmyk_profile, exif, picture, saved, swapped_profile
from tgjar_arch import Restorer
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.file import ExportedWeights, write_weights

G = {'num_feat': 8, 'num_block': 1, 'text_dim': 16}
CAPTIONS = ['a small yellow bird', 'a red bird with black wings']


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = WordTokenizer.build(CAPTIONS)
    net_g = TGJARGenerator(**G)
    nn.init.kaiming_normal_(net_g.tail.weight)  # so that text and context show in 8 bits
    with torch.no_grad():
        net_g.tail.weight.mul_(0.05)
    options = {'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': 16}
    net_t = LSTMTextEncoder(**options)
    weights = ExportedWeights({'type': 'TGJARGenerator', **G}, net_g.state_dict(),
                              {'type': 'LSTMTextEncoder', **options}, net_t.state_dict(), tokenizer.to_json(), 6)
    file = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    write_weights(file, weights)
    return file


@pytest.fixture
def restorer(path):
    return Restorer.from_pretrained(path, 'cpu')


@pytest.fixture
def pixels():
    return np.asarray(picture(91, 75))


def tensor(pixels):
    return torch.tensor(pixels).permute(2, 0, 1) / 255


def by_hand(restorer, pixels, caption):
    """(3, H, W), not clipped, of the networks themselves."""
    text = None
    if caption:
        ids = torch.tensor([restorer.tokenizer.encode(caption)])
        text = restorer.net_t(ids, torch.ones_like(ids, dtype=torch.bool))
    with torch.no_grad():
        return restorer.net_g(tensor(pixels)[None], text)[0]


def steps(image):
    return (image.clamp(0, 1) * 255).permute(1, 2, 0).numpy()


def test_array_picture_and_tensor_give_one_result(restorer, pixels):
    expected = by_hand(restorer, pixels, CAPTIONS[0])
    out = restorer(pixels, CAPTIONS[0])
    assert out.dtype == np.uint8 and np.abs(out - steps(expected)).max() < 0.51
    as_picture = restorer(Image.fromarray(pixels), CAPTIONS[0])
    assert isinstance(as_picture, Image.Image) and np.array_equal(np.asarray(as_picture), out)
    as_tensor = restorer(tensor(pixels), CAPTIONS[0])
    torch.testing.assert_close(as_tensor, expected.clamp(0, 1), atol=1e-5, rtol=0)
    assert (as_tensor == 0).any() or (as_tensor == 1).any()  # clipped
    assert not np.array_equal(restorer(pixels), out)
    assert np.array_equal(restorer(pixels), restorer(pixels, ''))
    doubles = restorer(tensor(pixels).double(), CAPTIONS[0])
    assert doubles.dtype == torch.float64 and torch.equal(doubles.float(), as_tensor)


def test_other_modes_of_pictures_become_rgb(restorer):
    grey = picture().convert('L')
    assert np.array_equal(np.asarray(restorer(grey)), restorer(np.asarray(grey.convert('RGB'))))


def reopened(image, kind='PNG', **how):
    return Image.open(io.BytesIO(saved(image, kind, **how)))


def test_16_bits_keep_their_upper_8(restorer):
    grey = np.asarray(picture().convert('L'))
    deep = reopened(Image.fromarray(grey.astype(np.uint16) * 257))
    assert deep.mode == 'I;16'
    expected = restorer(np.repeat(grey[..., None], 3, axis=2))
    assert expected.std() > 20 and np.array_equal(np.asarray(restorer(deep)), expected)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_turned_picture_is_restored_as_stored_and_comes_back_upright(restorer, orientation):
    stored = reopened(picture(), 'JPEG', quality=10, exif=exif(orientation))
    upright = restorer(stored)
    expected = Image.fromarray(restorer(np.asarray(stored)))
    steps = {2: [0], 3: [3], 4: [1], 5: [5], 6: [4], 7: [6], 8: [2]}  # of PIL's Transpose
    for step in steps.get(orientation, ()):
        expected = expected.transpose(step)
    assert np.array_equal(np.asarray(upright), np.asarray(expected))
    assert upright.getexif().get(0x0112, 1) == reopened(upright).getexif().get(0x0112, 1) == 1


def test_profile_and_transparency_are_kept(restorer):
    image = picture()
    alpha = Image.fromarray(np.arange(51 * 37, dtype=np.uint16).reshape(37, 51).astype(np.uint8))
    image.putalpha(alpha)
    out = restorer(reopened(image, icc_profile=swapped_profile(), exif=exif(6)))
    assert out.mode == 'RGBA' and out.size == (37, 51) and out.info == {'icc_profile': swapped_profile()}
    assert np.array_equal(np.asarray(out)[..., 3], np.rot90(np.asarray(alpha), -1))
    assert np.array_equal(np.asarray(out)[..., :3], np.rot90(restorer(np.asarray(picture())), -1))
    assert reopened(out).info['icc_profile'] == swapped_profile()
    assert restorer(picture()).mode == 'RGB' and restorer(picture()).info == {}
    ink = restorer(reopened(Image.new('CMYK', (16, 16), (255, 0, 0, 0)), 'JPEG', icc_profile=cmyk_profile()))
    assert ink.mode == 'RGB' and ink.info == {}
    assert np.asarray(ink).mean((0, 1))[0] > np.asarray(ink).mean((0, 1))[2] + 50  # the profile's ink is red


def test_views_of_any_strides(restorer, pixels):
    for view in (lambda a: a[..., ::-1], lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a[::2, ::3]):
        for tile in (0, 64):
            given = view(pixels)
            assert np.array_equal(restorer(given, tile=tile), restorer(np.ascontiguousarray(given), tile=tile))


@pytest.mark.parametrize('size', [(1, 1), (5, 7), (7, 200), (90, 3)])
def test_pictures_below_a_block_are_filled_up_to_one(restorer, size):
    small = np.asarray(picture(*size[::-1]))
    filled = np.pad(small, (*((0, max(8 - side, 0)) for side in size), (0, 0)), mode='edge')
    expected = restorer(filled, CAPTIONS[0], tile=0)[:size[0], :size[1]]
    assert np.array_equal(restorer(small, CAPTIONS[0]), expected)
    assert np.abs(restorer(small, CAPTIONS[0], tile=64).astype(int) - expected).max() <= 1
    for tile in (None, 64):
        out = restorer(tensor(small)[None], CAPTIONS[0], tile=tile)
        assert out.shape == (1, 3, *size) and np.abs(steps(out[0]) - expected).max() < 1.01
    assert restorer(Image.fromarray(small), CAPTIONS[0]).size == size[::-1]
    assert restorer.restore(tensor(small)[None], [CAPTIONS[0]]).shape == (1, 3, *size)


def test_bytes_that_are_no_utf_8_do_not_count(restorer, pixels):
    assert np.array_equal(restorer(pixels, 'a red\udcff bird'), restorer(pixels, 'a red bird'))


def test_a_batch_is_its_images(restorer, pixels):
    batch = torch.stack([tensor(pixels), tensor(pixels).flip(2), tensor(pixels)])
    given = [CAPTIONS[0], None, CAPTIONS[1]]
    out = restorer(batch, given)
    for one, lq, caption in zip(out, batch, given, strict=True):
        torch.testing.assert_close(one, restorer(lq, caption), atol=1e-5, rtol=0)
    assert (out[0] - out[2]).abs().max() > 1e-3
    torch.testing.assert_close(restorer(batch, given, tile=64), out, atol=1e-4, rtol=0)
    torch.testing.assert_close(restorer(batch, CAPTIONS[0])[2], out[0], atol=1e-5, rtol=0)  # one text for all
    torch.testing.assert_close(restorer.restore(batch, given), out)


def test_text_strength(restorer, pixels):
    guided, unguided = by_hand(restorer, pixels, CAPTIONS[1]), by_hand(restorer, pixels, None)
    for strength in (0, 0.5, 1, 1.5, 3):
        expected = (unguided + strength * (guided - unguided)).clamp(0, 1)
        for tile in (0, 64):
            out = restorer(tensor(pixels), CAPTIONS[1], text_strength=strength, tile=tile)
            torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)
    assert np.array_equal(restorer(pixels, text_strength=3), restorer(pixels))  # without a text there is no direction


def test_tiles_are_chosen_by_the_memory_and_change_nothing(restorer, pixels, monkeypatch):
    whole = restorer(pixels, CAPTIONS[0], tile=0)
    calls = []
    assert np.array_equal(restorer(pixels, CAPTIONS[0], progress=lambda *count: calls.append(count)), whole)
    assert not calls  # it is small
    monkeypatch.setattr(tgjar_arch.restoration.restorer, 'memory_for', lambda device: 2**19)
    out = restorer(pixels, CAPTIONS[0], progress=lambda *count: calls.append(count))
    assert calls[-1] == (8, 8) and np.abs(out.astype(int) - whole).max() <= 1
    batch = torch.stack([tensor(pixels)] * 2)
    calls.clear()
    tiled = restorer(batch, CAPTIONS, progress=lambda *count: calls.append(count))
    assert calls == [(k, 8) for k in range(1, 9)] * 2
    torch.testing.assert_close(tiled, restorer(batch, CAPTIONS, tile=0), atol=1e-4, rtol=0)


@pytest.mark.parametrize('strength', [1, 1.5])
def test_a_large_batch_is_restored_in_as_many_images_at_once_as_fit(restorer, monkeypatch, strength):
    images = torch.rand(5, 3, 40, 48)
    captions = [*CAPTIONS, None, '', CAPTIONS[0]]
    expected = restorer(images, captions, text_strength=strength, tile=0)
    one = tgjar_arch.restoration.restorer.working_bytes(restorer.net_g, 40, 48, conditions=1 + (strength != 1))
    monkeypatch.setattr(tgjar_arch.restoration.restorer, 'memory_for', lambda device: 5 * one // 2)
    sizes = []
    hook = restorer.net_g.head.register_forward_hook(lambda module, given, out: sizes.append(len(out)))
    found = restorer(images, captions, text_strength=strength)
    hook.remove()
    assert sizes == [2, 2, 1]  # each encoded once, also for two conditions
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_text_is_encoded_once(restorer, pixels):
    calls = []
    hook = restorer.net_t.register_forward_pre_hook(lambda *given: calls.append(1))
    restorer(pixels, CAPTIONS[0], tile=64)
    hook.remove()
    assert len(calls) == 1


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_near(path, restorer, pixels, dtype):
    half = Restorer.from_pretrained(path, 'cpu', dtype)
    seen = set()
    hook = half.net_g.body.register_forward_hook(lambda module, given, out: seen.add(out.dtype))
    for tile in (0, 64):
        out = half(tensor(pixels), CAPTIONS[0], tile=tile)
        difference = (out - restorer(tensor(pixels), CAPTIONS[0])).abs().max()
        assert out.dtype == torch.float32 and 0 < difference < 0.02
    hook.remove()
    assert seen == {dtype}


def test_results_take_part_in_a_graph(restorer, pixels):
    restored = restorer(tensor(pixels))
    scale = torch.ones(1, requires_grad=True)
    (restored * scale).sum().backward()
    torch.testing.assert_close(scale.grad[0], restored.sum())


def test_a_network_that_sees_the_whole_picture_is_not_tiled(pixels, tmp_path):
    options = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 1}
    from basicsr.utils.registry import ARCH_REGISTRY
    net = ARCH_REGISTRY.get('EDSR')(**{key: value for key, value in options.items() if key != 'type'})
    restorer = Restorer(ExportedWeights(options, net.state_dict()), 'cpu')
    assert not restorer.can_tile and not restorer.takes_text and restorer.encode(['a bird']) is None
    with pytest.raises(ValueError, match='weights of EDSR have no text encoder, and so no tokenizer'):
        print(restorer.tokenizer)
    assert restorer(pixels, 'a bird').shape == pixels.shape
    with pytest.raises(ValueError, match='EDSR cannot be restored with in tiles without seams'):
        restorer(pixels, tile=64)


@pytest.mark.parametrize('call, message', [
    (lambda r, p: r(p / 255.), r'expects an RGB image \(H, W, 3\) uint8, but got \(75, 91, 3\) float64'),
    (lambda r, p: r(p[..., 0]), r'but got \(75, 91\) uint8'),
    (lambda r, p: r(torch.tensor(p).permute(2, 0, 1)), 'RGB float in .* torch.uint8'),
    (lambda r, p: r(tensor(p)[None, None]), r'\(1, 1, 3, 75, 91\)'),
    (lambda r, p: r(tensor(p)[None], CAPTIONS), '1 image was given with 2 captions'),
    (lambda r, p: r(tensor(p).expand(3, -1, -1, -1), CAPTIONS), '3 images were given with 2 captions'),
    (lambda r, p: r(p, 5), "a caption is a text or None, and of a batch a list of them, but is '5'"),
    (lambda r, p: r(p, b'a bird'), 'a caption is a text or None'),
    (lambda r, p: r(tensor(p)[None], [5]), r"a caption is a text or None, .* but is '\[5\]'"),
    (lambda r, p: r(p, CAPTIONS), '1 image was given with 2 captions'),
    (lambda r, p: r(p, 'x', text_strength=-1), 'text_strength must be 0'),
    (lambda r, p: r(p, 'x', text_strength=float('inf')), 'text_strength must be 0'),
    (lambda r, p: r(p, tile=8), 'at least 64 pixels'),
    (lambda r, p: r(p, tile=64.5), 'tile must be a whole number of pixels, 0 or None, but is 64.5'),
    (lambda r, p: r(p, tile=True), 'but is True'),
    (lambda r, p: r(p, tile='64'), "but is '64'"),
    (lambda r, p: r(p[:0, :0]), r'Restorer got an image \(0, 0, 3\), which has no pixels'),
    (lambda r, p: r(tensor(p)[:, :0]), r'images \(3, 0, 91\), which have no pixels'),
    (lambda r, p: r(Image.new('RGB', (0, 0))), 'a picture of 0 x 0, which has no pixels'),
    (lambda r, p: r(Image.new('F', (16, 16))), r'given to Restorer stores its pixels as F \(32-bit floating point\)'),
    (lambda r, p: r.restore(tensor(p)[None], []), '1 image was given with 0 captions'),
])
def test_mistakes_are_named(restorer, pixels, call, message):
    with pytest.raises(ValueError, match=message):
        call(restorer, pixels)


def test_a_dtype_that_is_none(path):
    with pytest.raises(ValueError, match='dtype must be torch.float32'):
        Restorer.from_pretrained(path, 'cpu', torch.int8)


@pytest.mark.parametrize('caption', ['🦜🦜🦜', '', '   ', 'bird ' * 3000, 'ein kleiner gelber Vogel', '\x00 \n\t',
                                     'a red\udcff\udce4 bird'])
def test_any_caption_is_accepted(restorer, caption):
    assert restorer(np.full((16, 16, 3), 99, np.uint8), caption).shape == (16, 16, 3)
