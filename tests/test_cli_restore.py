"""`tgjar export` and `tgjar restore`, and the restorer behind them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from PIL import Image

from tgjar_arch.checkpoint import save_atomically
from tgjar_arch.cli import export, restore
from tgjar_arch.generator_arch import TGJARGenerator
from tgjar_arch.restorer import Restorer
from tgjar_arch.text_encoder_arch import LSTMTextEncoder
from tgjar_arch.tokenizer import WordTokenizer
from tgjar_arch.weights_file import ExportedWeights, read_weights, write_weights

G = {'num_feat': 8, 'num_block': 1, 'text_dim': 16}
CAPTIONS = ['a small yellow bird', 'a red bird with black wings']


@pytest.fixture
def tokenizer():
    return WordTokenizer.build(CAPTIONS)


@pytest.fixture
def experiment(tmp_path, tokenizer):
    """A folder as the trainer leaves it, with an older checkpoint."""
    models = tmp_path / 'experiments' / 'tiny' / 'models'
    models.mkdir(parents=True)
    import json
    for k, suffix in enumerate(('10', 'latest')):
        nets = {}
        for kind in ('params', 'params_ema'):
            torch.manual_seed(k + 10 * (kind == 'params'))
            nets[kind] = TGJARGenerator(**G).state_dict()
        save_atomically(nets | {'network': json.dumps({'type': 'TGJARGenerator', **G})}, models / f'net_g_{suffix}.pth')
        network = {'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': 16}
        save_atomically({'params': LSTMTextEncoder(**network).state_dict(), 'tokenizer': tokenizer.to_json(),
                         'max_words': 6,
                         'network': json.dumps({'type': 'LSTMTextEncoder', **network})}, models / f'net_t_{suffix}.pth')
        os.utime(models / f'net_g_{suffix}.pth', (k, k))
    return models.parent


@pytest.fixture
def weights(experiment, tmp_path):
    path = tmp_path / 'tiny.safetensors'
    assert export.main([str(experiment), '-o', str(path)]) == 0
    return path


def jpegs(folder, names, size=(40, 24)):
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(k).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, format='JPEG', quality=5)


def test_export_takes_the_newest_and_the_average(weights, experiment, tmp_path, tokenizer):
    torch.manual_seed(1)  # the seed of net_g_latest's params_ema
    expected = TGJARGenerator(**G).state_dict()
    content = read_weights(weights)
    assert all(torch.equal(content.state_g[key], value) for key, value in expected.items())
    assert content.tokenizer == tokenizer.to_json() and content.max_words == 6
    torch.manual_seed(11)
    raw = tmp_path / 'raw.safetensors'
    assert export.main([str(experiment / 'models' / 'net_g_latest.pth'), '-o', str(raw), '--raw']) == 0
    assert torch.equal(read_weights(raw).state_g['tail.weight'], TGJARGenerator(**G).state_dict()['tail.weight'])


def test_half_precision_is_half_the_size_and_near(weights, experiment, tmp_path):
    half = tmp_path / 'half.safetensors'
    assert export.main([str(experiment), '-o', str(half), '--half']) == 0
    a, b = read_weights(weights).state_g, read_weights(half).state_g
    assert all(b[key].dtype == torch.float32 for key in b)
    assert max((a[key] - b[key]).abs().max().item() for key in a) < 1e-3
    assert half.stat().st_size < 0.75 * weights.stat().st_size


def test_export_refuses_what_it_cannot_do(experiment, weights, tmp_path, capsys):
    with pytest.raises(SystemExit):
        export.main([str(experiment), '-o', str(weights)])
    assert '--overwrite' in capsys.readouterr().err
    assert export.main([str(tmp_path), '-o', str(tmp_path / 'x.safetensors')]) == 1
    assert 'no checkpoint' in capsys.readouterr().err
    save_atomically({'params': {}}, tmp_path / 'net_g_5.pth')
    assert export.main([str(tmp_path / 'net_g_5.pth'), '-o', str(tmp_path / 'x.safetensors')]) == 1
    assert 'which network it is' in capsys.readouterr().err
    assert not (tmp_path / 'x.safetensors').exists()


@pytest.mark.parametrize('content, message', [
    (None, 'does not exist'), (b'', 'no safetensors file'), (b'not a weights file at all', 'no safetensors file')])
def test_broken_weights_are_named(tmp_path, content, message):
    path = tmp_path / 'w.safetensors'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_weights(path)


def test_weights_that_do_not_fit_are_named(tmp_path, weights):
    content = read_weights(weights)
    content.network_g['num_feat'] = 16
    write_weights(tmp_path / 'w.safetensors', content)
    with pytest.raises(ValueError, match='w.safetensors does not fit'):
        Restorer.from_pretrained(tmp_path / 'w.safetensors')


def test_restorer_equals_the_networks(weights, tokenizer):
    restorer = Restorer.from_pretrained(weights, 'cpu')
    pixels = np.random.default_rng(0).integers(0, 255, (19, 33, 3), dtype=np.uint8)
    out = restorer(pixels, CAPTIONS[0])
    lq = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    ids = torch.tensor([tokenizer.encode(CAPTIONS[0])])
    with torch.no_grad():
        expected = restorer.net_g(lq, restorer.net_t(ids, torch.ones_like(ids, dtype=torch.bool))).clamp(0, 1)
    expected = (expected[0].permute(1, 2, 0) * 255).round().numpy()
    assert out.shape == pixels.shape and out.dtype == np.uint8
    assert np.abs(out - expected).max() <= 1 and (out != expected).mean() < 0.01
    as_picture = restorer(Image.fromarray(pixels), CAPTIONS[0])
    assert isinstance(as_picture, Image.Image) and np.array_equal(np.asarray(as_picture), out)
    assert np.array_equal(restorer(pixels), restorer(pixels, ''))
    assert not np.array_equal(restorer(pixels), out)
    with pytest.raises(ValueError, match='uint8'):
        restorer(pixels / 255., 'x')


@pytest.mark.parametrize('caption', ['🦜🦜🦜', '', '   ', 'bird ' * 3000, 'ein kleiner gelber Vogel', '\x00 \n\t'])
def test_any_caption_is_accepted(weights, caption):
    restorer = Restorer.from_pretrained(weights, 'cpu')
    out = restorer(np.full((16, 16, 3), 99, np.uint8), caption)
    assert out.shape == (16, 16, 3)


def test_captions_are_found(tmp_path):
    root = tmp_path / 'in'
    jpegs(root, ['004.Ani/x.y.jpg', 'b.jpg', 'c.jpeg', 'd.jpg'])
    (root / 'b.txt').write_text('from the sidecar\nsecond\n', encoding='utf-8')
    (root / 'metadata.jsonl').write_text('{"file_name": "004.Ani/x.y.webp", "captions": ["from metadata"]}\n'
                                         '{"file_name": "b.jpg", "captions": ["not this one"]}\n')
    _, files = restore.find_images(root)
    found = {path.name: caption for path, caption in restore.find_captions(root, files).items()}
    assert found == {'x.y.jpg': 'from metadata', 'b.jpg': 'from the sidecar', 'c.jpeg': '', 'd.jpg': ''}
    assert set(restore.find_captions(root, files, ' given ').values()) == {'given'}


def test_results_never_collide(tmp_path):
    root = tmp_path / 'in'
    jpegs(root, ['a.jpg', 'a.jpeg', 'sub/a.jpg', 'b.JPG'])
    _, files = restore.find_images(root)
    jobs = restore.plan(root, dict.fromkeys(files, ''), tmp_path / 'out')
    targets = [job.target.relative_to(tmp_path / 'out').as_posix() for job in jobs]
    assert sorted(targets) == ['a.jpeg.png', 'a.jpg.png', 'b.png', 'sub/a.png']


def test_a_folder_with_bad_files(tmp_path, weights, capsys):
    root, out = tmp_path / 'in', tmp_path / 'out'
    jpegs(root, ['a.jpg', 'deep/b.jpg', 'c.jpg', 'small.jpg'])
    (root / 'c.jpg').write_bytes((root / 'c.jpg').read_bytes()[:-300])
    (root / 'empty.jpg').write_bytes(b'')
    (root / 'text.jpg').write_text('no image')
    jpegs(root, ['small.jpg'], size=(5, 5))
    arguments = ['-i', str(root), '-o', str(out), '--weights', str(weights), '--quiet']
    assert restore.main(arguments) == 1
    captured = capsys.readouterr()
    assert '2 restored' in captured.out and '4 failed' in captured.out
    for name in ('c.jpg', 'empty.jpg', 'text.jpg', 'small.jpg'):
        assert f'failed: {root / name}' in captured.err
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob('*') if path.is_file())
    assert written == ['a.png', 'deep/b.png']
    stamp = (out / 'a.png').stat().st_mtime_ns
    assert restore.main(arguments) == 1
    assert '0 restored' in (text := capsys.readouterr().out) and '2 already there' in text
    assert (out / 'a.png').stat().st_mtime_ns == stamp
    assert restore.main([*arguments, '--overwrite']) == 1
    assert (out / 'a.png').stat().st_mtime_ns > stamp


@pytest.mark.parametrize('arguments, message', [
    (lambda t, w: ['-i', t / 'nowhere', '-o', t / 'out', '--weights', w], 'does not exist'),
    (lambda t, w: ['-i', t / 'none', '-o', t / 'out', '--weights', w], 'no JPEG file'),
    (lambda t, w: ['-i', t / 'in', '-o', t / 'in', '--weights', w], 'same folder'),
    (lambda t, w: ['-i', t / 'in', '-o', w, '--weights', w], 'is a file'),
    (lambda t, w: ['-i', t / 'in', '-o', t / 'out', '--weights', t / 'no.safetensors'],
     'no.safetensors does not exist'),
    (lambda t, w: ['-i', t / 'in', '-o', t / 'out', '--weights', w, '--device', 'gpu7'],
     "device 'gpu7' cannot be used here"),
])
def test_what_cannot_start_says_why(tmp_path, weights, capsys, arguments, message):
    jpegs(tmp_path / 'in', ['a.jpg'])
    (tmp_path / 'none').mkdir()
    assert restore.main([str(word) for word in arguments(tmp_path, weights)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


def test_a_turned_photo_is_turned_after_the_restoration(tmp_path, weights):
    root, out = tmp_path / 'in', tmp_path / 'out'
    jpegs(root, ['a.jpg', 'b.jpg'])
    with Image.open(root / 'a.jpg') as image:
        exif = image.getexif()
        exif[0x0112] = 6  # the camera was held upright
    data = (root / 'a.jpg').read_bytes()
    segment = exif.tobytes()
    segment = b'\xff\xe1' + (len(segment) + 2).to_bytes(2, 'big') + segment
    (root / 'b.jpg').write_bytes(data[:2] + segment + data[2:])
    assert restore.main(['-i', str(root), '-o', str(out), '--weights', str(weights), '--quiet']) == 0
    straight, turned = (np.asarray(Image.open(out / name)) for name in ('a.png', 'b.png'))
    assert np.array_equal(np.rot90(straight, -1), turned)


def test_grey_and_cmyk_are_read(tmp_path, weights):
    root, out = tmp_path / 'in', tmp_path / 'out'
    root.mkdir()
    for mode in ('L', 'CMYK'):
        Image.new(mode, (32, 24), 90).save(root / f'{mode}.jpg', quality=10)
    assert restore.main(['-i', str(root), '-o', str(out), '--weights', str(weights), '--quiet']) == 0
    assert {Image.open(path).mode for path in Path(out).iterdir()} == {'RGB'}


def test_exported_weights_without_text(tmp_path):
    network = {'type': 'TGJARGenerator', **G, 'use_global_fusion': False, 'use_local_fusion': False}
    state = TGJARGenerator(**{key: value for key, value in network.items() if key != 'type'}).state_dict()
    write_weights(tmp_path / 'plain.safetensors', ExportedWeights(network, state))
    restorer = Restorer.from_pretrained(tmp_path / 'plain.safetensors', 'cpu')
    image = np.full((16, 16, 3), 50, np.uint8)
    assert np.array_equal(restorer(image, 'a bird'), restorer(image))


def test_a_generator_without_its_text_encoder_is_not_exported_unnoticed(experiment, tmp_path, capsys):
    for path in experiment.rglob('net_t_*.pth'):
        path.unlink()
    assert export.main([str(experiment), '-o', str(tmp_path / 'x.safetensors')]) == 1
    assert '--without-text' in capsys.readouterr().err
    assert export.main([str(experiment), '-o', str(tmp_path / 'x.safetensors'), '--without-text']) == 0
    jpegs(tmp_path / 'in', ['a.jpg'])
    assert restore.main(['-i', str(tmp_path / 'in'), '-o', str(tmp_path / 'out'), '--weights',
                         str(tmp_path / 'x.safetensors'), '--caption', 'a bird', '--quiet']) == 0
    assert 'take no captions' in capsys.readouterr().err


def test_what_happens_to_captions_is_said(tmp_path, weights, capsys):
    root = tmp_path / 'in'
    jpegs(root, ['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg'])
    Image.new('RGB', (32, 32)).save(root / 'e.png')
    (root / 'a.txt').write_text('🦜')
    (root / 'b.txt').write_text('a small red bird with black wings')
    (root / 'c.txt').write_text('a bird')
    restore.main(['-i', str(root), '-o', str(tmp_path / 'out'), '--weights', str(weights), '--quiet'])
    error = capsys.readouterr().err
    assert '1 images that are no JPEG files are left out' in error
    assert '1 of 4 files have no caption' in error
    assert '1 of 4 files have a caption without any known word' in error
    assert '1 of 4 files have a caption that is cut to its first 6 known words' in error


def test_out_of_memory_does_not_stop_the_rest(tmp_path, weights, capsys, monkeypatch):
    root = tmp_path / 'in'
    jpegs(root, ['a.jpg', 'b.jpg'])
    call = Restorer.__call__

    def first_fails(self, image, caption=None, seen=[]):  # noqa: B006
        seen.append(1)
        if len(seen) == 1:
            raise torch.OutOfMemoryError('out of memory')
        return call(self, image, caption)

    monkeypatch.setattr(Restorer, '__call__', first_fails)
    assert restore.main(['-i', str(root), '-o', str(tmp_path / 'out'), '--weights', str(weights), '--quiet']) == 1
    captured = capsys.readouterr()
    assert '1 restored' in captured.out and 'GB a megapixel' in captured.err


def test_colour_profile_is_kept(tmp_path, weights):
    from PIL import ImageCms
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    (tmp_path / 'in').mkdir()
    Image.new('RGB', (24, 24), 'red').save(tmp_path / 'in' / 'a.jpg', icc_profile=profile)
    restore.main(['-i', str(tmp_path / 'in'), '-o', str(tmp_path / 'out'), '--weights', str(weights), '--quiet'])
    assert Image.open(tmp_path / 'out' / 'a.png').info['icc_profile'] == profile


def test_window_networks_restore_any_size(tmp_path):
    network = {'type': 'SwinIR', 'upscale': 1, 'in_chans': 3, 'img_size': 32, 'window_size': 8, 'img_range': 1.,
               'depths': [1], 'embed_dim': 8, 'num_heads': [2], 'mlp_ratio': 1, 'upsampler': '',
               'resi_connection': '1conv'}
    state = ARCH_REGISTRY.get('SwinIR')(**{key: value for key, value in network.items() if key != 'type'}).state_dict()
    write_weights(tmp_path / 's.safetensors', ExportedWeights(network, state))
    restorer = Restorer.from_pretrained(tmp_path / 's.safetensors', 'cpu')
    assert restorer(np.zeros((35, 50, 3), np.uint8)).shape == (35, 50, 3)
