"""Word attention maps: sums, places on the picture, words, the figure, and `tgjar restore --attention`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.photo_files import exif, picture
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lite_generator_arch import TGJARLiteGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.cli import restore
from tgjar_arch.figures.attention import draw_attention, heat_map
from tgjar_arch.restoration import attention as attention_module
from tgjar_arch.restoration.attention import WordAttention, to_picture, word_attention
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.file import ExportedWeights, write_weights

OPTIONS = {TGJARGenerator: {'num_feat': 8, 'num_block': 1, 'text_dim': 16},
           TGJARLiteGenerator: {'num_feat': 8, 'num_block': 1, 'num_fine': 4, 'text_dim': 16}}
CAPTION = 'a bird with a red head and black wings'


def exported(kind=TGJARGenerator, max_words=6, **more):
    torch.manual_seed(0)
    tokenizer = WordTokenizer.build([CAPTION])
    network_t = {'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': 16}
    options = OPTIONS[kind] | more
    return ExportedWeights({'type': kind.__name__, **options}, kind(**options).state_dict(),
                           {'type': 'LSTMTextEncoder', **network_t}, LSTMTextEncoder(**network_t).state_dict(),
                           tokenizer.to_json(), max_words)


@pytest.fixture
def weights(tmp_path):
    write_weights(tmp_path / 'tiny.safetensors', exported())
    return tmp_path / 'tiny.safetensors'


@pytest.mark.parametrize('kind', OPTIONS)
@pytest.mark.parametrize('size', [(51, 37), (64, 8), (20, 5)])
def test_the_words_share_every_pixel(kind, size):
    restorer = Restorer(exported(kind), 'cpu')
    image = picture(*size)
    words, mean = word_attention(restorer, image, CAPTION)
    assert words == ['a', 'bird', 'with', 'a', 'red', 'head']  # the first six, one of them twice
    scales = [word_attention(restorer, image, CAPTION, scale).maps for scale in range(1, len(restorer.net_g.lfms) + 1)]
    for maps in (mean, *scales):
        assert maps.shape == (6, size[1], size[0]) and maps.dtype == np.float32
        np.testing.assert_allclose(maps.sum(0), 1, atol=1e-5)
        assert maps.min() >= 0 and maps.std(axis=(1, 2)).max() > 1e-4
    np.testing.assert_allclose(mean, np.mean(scales, 0), atol=1e-6)
    assert len(scales) == (3 if kind is TGJARGenerator else 2)


def test_maps_are_what_the_lfm_gives_and_restoring_is_not_changed():
    restorer = Restorer(exported(), 'cpu')
    pixels = np.asarray(picture(48, 40))
    before = restorer(pixels, CAPTION)
    maps = word_attention(restorer, pixels, CAPTION, 1).maps
    assert np.array_equal(restorer(pixels, CAPTION), before)
    assert not any(lfm._forward_hooks for lfm in restorer.net_g.lfms)
    net, text = restorer.net_g, restorer.encode([CAPTION]).normalised()
    with torch.no_grad():
        lq = torch.tensor(pixels).permute(2, 0, 1)[None] / 255.
        deep = net.fuse(net.encode_coarse(net.encode_fine(lq)), text)
        expected = net.lfms[0](deep, text.words, text.mask, return_attention=True)[1][0]
    np.testing.assert_allclose(maps[:, ::8, ::8], expected.numpy(), atol=1e-5)  # feature i lies at pixel 8 i


@pytest.mark.parametrize('kind', OPTIONS)
def test_maps_lie_on_the_grid_of_an_earlier_compression(kind):
    restorer = Restorer(exported(kind), 'cpu')
    pixels = np.asarray(picture(53, 44))
    grid = (5, 12)
    filled = np.pad(pixels, ((11, 0), (4, 0), (0, 0)), mode='reflect')
    maps = word_attention(restorer, pixels, CAPTION, grid=grid).maps
    assert maps.shape == (6, 44, 53)
    np.testing.assert_array_equal(maps, word_attention(restorer, filled, CAPTION).maps[:, 11:, 4:])
    assert not np.allclose(maps, word_attention(restorer, pixels, CAPTION).maps, atol=1e-4)
    with pytest.raises(ValueError, match='grid must be'):
        word_attention(restorer, pixels, CAPTION, grid=(16, 0))


@pytest.mark.parametrize('kind, step, middle', [(TGJARGenerator, 8, (16, 24)), (TGJARGenerator, 4, (8, 12)),
                                                (TGJARGenerator, 2, (4, 6)), (TGJARLiteGenerator, 8, (17.5, 25.5)),
                                                (TGJARLiteGenerator, 4, (9.5, 13.5))])
def test_a_feature_lies_where_its_pixels_are(kind, step, middle):
    maps = torch.zeros(1, 1, 40 // step, 56 // step)
    maps[..., 2, 3] = 1
    found = to_picture(maps, (37, 51), kind(**OPTIONS[kind]))[0, 0].numpy()
    assert found.shape == (37, 51) and found.min() >= 0
    rows, columns = np.indices(found.shape)
    centre = (rows * found).sum() / found.sum(), (columns * found).sum() / found.sum()
    assert centre == pytest.approx(middle, abs=1e-4)


def test_what_has_no_attention_is_refused(monkeypatch):
    image = picture()
    with pytest.raises(ValueError, match=r'TGJARGenerator was trained without local fusion \(LFM\)'):
        word_attention(Restorer(exported(use_local_fusion=False), 'cpu'), image, CAPTION)
    without_text = replace(exported(), network_t=None, state_t={}, tokenizer=None)
    with pytest.raises(ValueError, match='takes no captions'):
        word_attention(Restorer(without_text, 'cpu'), image, CAPTION)
    restorer = Restorer(exported(), 'cpu')
    for caption in ('', 'ein Papagei'):
        with pytest.raises(ValueError, match='no word that the tokenizer knows'):
            word_attention(restorer, image, caption)
    with pytest.raises(ValueError, match='scale must be 1 to 3'):
        word_attention(restorer, image, CAPTION, 4)
    with pytest.raises(ValueError, match=r'\(H, W, 3\) uint8'):
        word_attention(restorer, np.zeros((16, 16), np.uint8), CAPTION)
    monkeypatch.setattr(attention_module, 'ATTENTION_PIXELS', 51 * 37 - 1)
    with pytest.raises(ValueError, match='up to 1,886 pixels, but it is 51 x 37'):
        word_attention(restorer, image, CAPTION)


def test_heat_is_light_where_attention_is_great_and_no_noise_is_blown_up():
    image = np.full((8, 8, 3), 128, np.uint8)
    attention = np.full((8, 8), .1, np.float32)
    attention[2, 5] = .5
    heat = heat_map(image, attention).sum(2)
    assert np.argwhere(heat == heat.max()).tolist() == [[2, 5]] and heat.max() > heat.min() + 250
    noise = heat_map(image, (.1 + np.random.default_rng(0).uniform(0, 1e-4, (8, 8))).astype(np.float32))
    assert np.ptp(noise.astype(int), axis=(0, 1)).max() <= 3
    black, white = (heat_map(np.full((8, 8, 3), grey, np.uint8), attention).astype(int) for grey in (0, 255))
    assert np.ptp(white - black) <= 1  # the image shows through, the same under every colour


def test_the_figure_has_every_word_once(tmp_path):
    image = np.asarray(picture(200, 200))
    maps = np.random.default_rng(0).dirichlet(np.ones(7), (200, 200)).transpose(2, 0, 1).astype(np.float32)
    words = [f'word{k}' for k in range(7)]
    draw_attention(image, WordAttention(words, maps), tmp_path / 'x.png', 'seven words')
    sheet = np.asarray(Image.open(tmp_path / 'x.png'))
    corners = []
    for cell in (image, *(heat_map(image, one) for one in maps)):
        found = [(x, y) for y, x in np.argwhere((sheet[:-200, :-200] == cell[0, 0]).all(2)).tolist()
                 if np.array_equal(sheet[y:y + 200, x:x + 200], cell)]
        assert len(found) == 1
        corners += found
    across = sum(y == corners[0][1] for _, y in corners)
    assert 3 <= across <= 5 and [x for x, _ in corners[:8 - across]] == [x for x, _ in corners[across:2 * across]]
    draw_attention(image, WordAttention(words, maps), tmp_path / 'x.pdf', 'seven words')
    assert (tmp_path / 'x.pdf').read_bytes().startswith(b'%PDF')
    with pytest.raises(ValueError, match=r'of 6 words .* must be \(6, 200, 200\)'):
        draw_attention(image, WordAttention(words[:6], maps), tmp_path / 'y.png')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['x.pdf', 'x.png']


def test_restore_draws_maps_upright_beside_the_same_result(tmp_path, weights, capsys, monkeypatch):
    root = tmp_path / 'in'
    (root / 'sub').mkdir(parents=True)
    picture().save(root / 'sub' / 'a.jpg', quality=5, exif=exif(6), comment=b'a bird with black wings')
    picture().save(root / 'b.jpg', quality=5)
    drawn = []

    def spy(image, attention, path, caption):
        drawn.append((image, attention, caption))
        draw_attention(image, attention, path, caption)

    monkeypatch.setattr('tgjar_arch.cli.restore_attention.draw_attention', spy)
    words = ['-i', str(root), '--weights', str(weights), '--quiet', '--device', 'cpu']
    assert restore.main([*words, '-o', str(tmp_path / 'out'), '--attention', str(tmp_path / 'maps')]) == 0
    assert f'no attention maps: {root / "b.jpg"} has no caption' in capsys.readouterr().err
    assert [path for path in (tmp_path / 'maps').rglob('*') if path.is_file()] == [tmp_path / 'maps' / 'sub' / 'a.png']
    (image, attention, caption), = drawn
    assert caption == 'a bird with black wings' and attention.words == caption.split()
    assert image.shape == (51, 37, 3)
    assert np.array_equal(image, np.asarray(Image.open(tmp_path / 'out' / 'sub' / 'a.png')))
    stored = word_attention(Restorer.from_pretrained(weights, 'cpu'), Image.open(root / 'sub' / 'a.jpg'), caption).maps
    np.testing.assert_allclose(attention.maps, np.rot90(stored, -1, axes=(1, 2)), atol=1e-6)
    assert restore.main([*words, '-o', str(tmp_path / 'plain')]) == 0
    assert np.array_equal(image, np.asarray(Image.open(tmp_path / 'plain' / 'sub' / 'a.png')))


def test_maps_of_results_that_are_kept(tmp_path, weights, capsys):
    root = tmp_path / 'in'
    root.mkdir()
    picture().save(root / 'a.jpg', quality=5, exif=exif(6), comment=CAPTION)
    words = ['-i', str(root), '--weights', str(weights), '--quiet', '--device', 'cpu', '--attention']
    assert restore.main([*words, str(tmp_path / 'first'), '-o', str(tmp_path / 'out')]) == 0
    stamp = (tmp_path / 'out' / 'a.png').stat().st_mtime_ns
    assert restore.main([*words, str(tmp_path / 'second'), '-o', str(tmp_path / 'out')]) == 0
    assert '0 restored' in (out := capsys.readouterr().out) and '1 already there' in out
    assert (tmp_path / 'out' / 'a.png').stat().st_mtime_ns == stamp
    first, second = (np.asarray(Image.open(tmp_path / name / 'a.png')) for name in ('first', 'second'))
    assert np.array_equal(first, second)
    stamp = (tmp_path / 'second' / 'a.png').stat().st_mtime_ns
    assert restore.main([*words, str(tmp_path / 'second'), '-o', str(tmp_path / 'out')]) == 0
    assert (tmp_path / 'second' / 'a.png').stat().st_mtime_ns == stamp
    picture(40, 40).save(tmp_path / 'out' / 'a.png')
    assert restore.main([*words, str(tmp_path / 'third'), '-o', str(tmp_path / 'out')]) == 1
    assert 'a.png does not have the size of' in capsys.readouterr().err


def test_maps_replace_no_file_unless_asked_to(tmp_path, weights, capsys):
    """A picture that was compressed lies beside its JPEG file under the name that its maps would have."""
    picture().save(tmp_path / 'a.png')
    picture().save(tmp_path / 'a.jpg', quality=5, comment=CAPTION)
    original = (tmp_path / 'a.png').read_bytes()
    words = [str(tmp_path / 'a.jpg'), '-o', str(tmp_path / 'out'), '--weights', str(weights), '--quiet', '--device',
             'cpu', '--attention', str(tmp_path)]
    assert restore.main(words) == 0
    assert '1 files are where attention maps would go, and are kept' in capsys.readouterr().err
    assert (tmp_path / 'a.png').read_bytes() == original and (tmp_path / 'out' / 'a.png').exists()
    assert restore.main(words) == 0 and 'would go, and are kept' in capsys.readouterr().err
    assert restore.main([*words, '--overwrite']) == 0
    assert (tmp_path / 'a.png').read_bytes() != original


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_maps_of_half_precision_weights_are_float32(weights, dtype):
    image = picture()
    maps = word_attention(Restorer.from_pretrained(weights, 'cpu', dtype), image, CAPTION).maps
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum(0), 1, atol=1e-5)
    exact = word_attention(Restorer.from_pretrained(weights, 'cpu'), image, CAPTION).maps
    np.testing.assert_allclose(maps, exact, atol=.01)


def test_restore_refuses_what_cannot_be_drawn(tmp_path, weights, capsys, monkeypatch):
    picture().save(tmp_path / 'a.jpg', quality=5)
    words = [str(tmp_path / 'a.jpg'), '-o', str(tmp_path / 'a.png'), '--weights', str(weights), '--caption', CAPTION,
             '--quiet', '--device', 'cpu', '--attention']
    assert restore.main([*words, str(tmp_path)]) == 2
    assert f'would replace the picture {tmp_path / "a.png"}' in capsys.readouterr().err
    assert restore.main([*words, str(weights)]) == 2 and 'is a file; name a folder' in capsys.readouterr().err
    assert restore.main([*words, str(tmp_path / 'm'), '--text-strength', '0']) == 2
    assert '--text-strength 0 restores without text' in capsys.readouterr().err
    write_weights(tmp_path / 'g.safetensors', exported(use_local_fusion=False))
    assert restore.main([*words, str(tmp_path / 'm'), '--weights', str(tmp_path / 'g.safetensors')]) == 2
    assert 'without local fusion' in capsys.readouterr().err
    monkeypatch.setattr(attention_module, 'ATTENTION_PIXELS', 1000)
    assert restore.main([*words, str(tmp_path / 'm')]) == 1
    assert 'up to 1,000 pixels, but it is 51 x 37' in capsys.readouterr().err
    assert not (tmp_path / 'a.png').exists() and not (tmp_path / 'm').exists()
