"""`tgjar restore`."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from PIL import Image

from tests.cli.test_caption import blip  # noqa: F401  a fixture
from tests.helpers.photo_files import exif, picture, swapped_profile
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.cli import compress, export, restore
from tgjar_arch.cli.caption_run import load
from tgjar_arch.pictures.photo import read_photo
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.captioner import Captioner
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights import shipped
from tgjar_arch.weights.checkpoint import save_atomically
from tgjar_arch.weights.file import ExportedWeights, write_weights

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


def args_of(tmp_path, weights, *more):
    words = ['-i', tmp_path / 'in', '-o', tmp_path / 'out', '--weights', weights, '--quiet', *more]
    return [str(word) for word in words]


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


def test_grey_stays_grey_and_cmyk_becomes_rgb(tmp_path, weights):
    root, out = tmp_path / 'in', tmp_path / 'out'
    root.mkdir()
    for mode in ('L', 'CMYK'):
        Image.new(mode, (32, 24), 90).save(root / f'{mode}.jpg', quality=10)
    assert restore.main(['-i', str(root), '-o', str(out), '--weights', str(weights), '--quiet']) == 0
    assert {path.name: Image.open(path).mode for path in out.iterdir()} == {'L.png': 'L', 'CMYK.png': 'RGB'}


def test_what_happens_to_captions_is_said(tmp_path, weights, capsys):
    root = tmp_path / 'in'
    jpegs(root, ['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg'])
    Image.new('RGB', (32, 32)).save(root / 'e.png')
    (root / 'a.txt').write_text('🦜')
    (root / 'b.txt').write_text('a small red bird with black wings')
    (root / 'c.txt').write_text('a bird')
    restore.main(['-i', str(root), '-o', str(tmp_path / 'out'), '--weights', str(weights), '--quiet'])
    error = capsys.readouterr().err
    assert f'left as it is: {root / "e.png"}: PNG, 32 x 32: no JPEG file, and no blocks of an earlier' in error
    assert '1 of 4 files have no caption' in error
    assert '1 of 4 files have a caption without any known word' in error
    assert '1 of 4 files have a caption that is cut to its first 6 known words' in error


def test_out_of_memory_does_not_stop_the_rest(tmp_path, weights, capsys, monkeypatch):
    jpegs(tmp_path / 'in', ['a.jpg', 'b.jpg'])
    call = Restorer.__call__

    def first_fails(self, *args, seen=[], **kwargs):  # noqa: B006
        seen.append(1)
        if len(seen) == 1:
            raise torch.OutOfMemoryError('out of memory')
        return call(self, *args, **kwargs)

    monkeypatch.setattr(Restorer, '__call__', first_fails)
    assert restore.main(args_of(tmp_path, weights)) == 1
    captured = capsys.readouterr()
    assert '1 restored' in captured.out and 'a.jpg: out of memory; if memory ran out, try --tile 256' in captured.err


def test_colour_profile_is_kept(tmp_path, weights):
    (tmp_path / 'in').mkdir()
    Image.new('RGB', (24, 24), 'red').save(tmp_path / 'in' / 'a.jpg', quality=10, icc_profile=swapped_profile())
    assert restore.main(args_of(tmp_path, weights)) == 0
    assert Image.open(tmp_path / 'out' / 'a.png').info['icc_profile'] == swapped_profile()


def test_what_is_not_badly_compressed_is_left_as_it_is(tmp_path, weights, capsys):
    root, out = tmp_path / 'in', tmp_path / 'out'
    root.mkdir()
    for qf in (20, 40, 41, 90):
        picture().save(root / f'{qf}.jpg', quality=qf)
    assert restore.main(args_of(tmp_path, weights)) == 0
    captured = capsys.readouterr()
    assert '2 restored' in captured.out and '2 left as they are (--max-qf 40)' in captured.out
    assert f'left as it is: {root / "90.jpg"}: JPEG quality 90, 4:2:0, 51 x 37: better than' in captured.err
    assert sorted(path.name for path in out.iterdir()) == ['20.png', '40.png']
    assert restore.main(args_of(tmp_path, weights, '--max-qf', '60')) == 0
    assert sorted(path.name for path in out.iterdir()) == ['20.png', '40.png', '41.png']
    assert restore.main(args_of(tmp_path, weights, '--force')) == 0
    assert len(list(out.iterdir())) == 4


def test_formats_quality_and_metadata(tmp_path, weights):
    root = tmp_path / 'in'
    root.mkdir()
    picture().save(root / 'a.jpg', quality=10, exif=exif(6, 'two cups'), comment=b'mine')
    for name, arguments in {'lossless': ['--format', 'webp'], 'webp': ['--format', 'webp', '--quality', '50'],
                            'jpg': ['--format', 'jpg', '--keep-metadata'], 'png': ['--keep-metadata'],
                            'low': ['--format', 'jpg', '--quality', '20']}.items():
        assert restore.main([*args_of(tmp_path, weights, *arguments), '-o', str(tmp_path / name)]) == 0
    files = {name: next((tmp_path / name).iterdir()) for name in ('lossless', 'webp', 'jpg', 'png', 'low')}
    assert [path.suffix for path in files.values()] == ['.webp', '.webp', '.jpg', '.png', '.jpg']
    images = {name: Image.open(path) for name, path in files.items()}
    assert {image.size for image in images.values()} == {(37, 51)}  # turned
    assert np.array_equal(np.asarray(images['lossless']), np.asarray(images['png']))
    assert files['webp'].stat().st_size < files['lossless'].stat().st_size / 3
    assert read_photo(files['low']).jpeg.qf == 20 and read_photo(files['jpg']).jpeg.qf == 95
    for name in ('jpg', 'png'):
        data = images[name].getexif()
        assert data[0x0112] == 1 and data[0x010E] == 'two cups'
    assert images['jpg'].info['comment'] == b'mine' and not images['low'].getexif()


def test_one_file_by_name(tmp_path, weights, capsys):
    root = tmp_path / 'in'
    root.mkdir()
    picture().save(root / 'a.png')
    out = tmp_path / 'new' / 'result.webp'
    assert restore.main([str(root / 'a.png'), '-o', str(out), '--weights', str(weights)]) == 0
    captured = capsys.readouterr()
    assert f'{root / "a.png"}: PNG, 51 x 37 -> {out}' in captured.out
    assert Image.open(out).format == 'WEBP'
    picture().save(root / 'b.jpg', quality=7)
    assert restore.main([str(root / 'b.jpg'), '-o', str(tmp_path), '--weights', str(weights)]) == 0
    assert 'b.jpg: JPEG quality 7, 4:2:0, 51 x 37 -> ' in capsys.readouterr().out


def test_captions_in_their_order(tmp_path, weights, capsys):
    root = tmp_path / 'in'
    root.mkdir()
    picture().save(root / 'own.jpg', quality=5, comment=b'a red bird')
    picture().save(root / 'exif.jpg', quality=5, exif=exif(description='a black bird'))
    for name in ('beside', 'listed', 'none'):
        picture().save(root / f'{name}.jpg', quality=5)
    (root / 'own.txt').write_text('not this one')
    (root / 'beside.txt').write_text('a yellow bird\nnot this one\n')
    (root / 'metadata.jsonl').write_text('{"file_name": "listed.webp", "captions": ["a small bird"]}\n'
                                         '{"file_name": "beside.jpg", "captions": ["not this one"]}\n')
    assert restore.main(args_of(tmp_path, weights, '--show-caption')) == 0
    captured = capsys.readouterr()
    lines = [line.removeprefix(f'{root}/') for line in captured.out.splitlines()[:-1]]
    assert lines == ['beside.jpg: caption "a yellow bird", from beside.txt',
                     'exif.jpg: caption "a black bird", from EXIF description',
                     'listed.jpg: caption "a small bird", from metadata.jsonl', 'none.jpg: no caption',
                     'own.jpg: caption "a red bird", from JPEG comment']
    restorer = Restorer.from_pretrained(weights, 'cpu')
    pixels = read_photo(root / 'own.jpg').pixels
    expected = restorer(pixels, 'a red bird')
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'out' / 'own.png')), expected)
    assert not np.array_equal(restorer(pixels), expected)
    more = args_of(tmp_path, weights, '--show-caption', '--overwrite', '--caption')
    assert restore.main([*more, 'a red bird with black wings']) == 0
    assert capsys.readouterr().out.count('caption "a red bird with black wings", from --caption') == 5
    assert restore.main([*more, '']) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'out' / 'own.png')), restorer(pixels))


def test_the_captioner_describes_what_has_no_caption(tmp_path, weights, blip, capsys):  # noqa: F811
    root = tmp_path / 'in'
    root.mkdir()
    for name in ('a', 'b'):
        picture().save(root / f'{name}.jpg', quality=5, exif=exif(6))
    (root / 'b.txt').write_text('a red bird')
    auto = ['--auto-caption', '--auto-caption-model', blip]
    assert restore.main(args_of(tmp_path, weights, '--show-caption', *auto)) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    text = Captioner(str(blip), torch.device('cpu'))([load(root / 'a.jpg')])[0]
    assert text and first == f'{root / "a.jpg"}: caption "{text}", from captioner'
    assert second.endswith('caption "a red bird", from b.txt')
    assert restore.main(args_of(tmp_path, weights, '--auto-caption', '--auto-caption-model', tmp_path / 'no')) == 2
    error = capsys.readouterr().err.splitlines()[-1]  # transformers draws a bar before
    assert error.startswith('tgjar restore: cannot load the captioner') and '--auto-caption-model' in error


def test_strength_tile_and_dtype_reach_the_network(tmp_path, weights):
    jpegs(tmp_path / 'in', ['a.jpg'], size=(150, 90))
    pixels, caption = read_photo(tmp_path / 'in' / 'a.jpg').pixels, CAPTIONS[0]
    restorer = Restorer.from_pretrained(weights, 'cpu')
    for arguments, expected in (
        (['--text-strength', '4', '--tile', '64'], restorer(pixels, caption, text_strength=4, tile=64)),
        (['--text-strength', '0'], restorer(pixels)),
        (['--dtype', 'bfloat16'], Restorer.from_pretrained(weights, 'cpu', torch.bfloat16)(pixels, caption)),
    ):
        assert restore.main(args_of(tmp_path, weights, '--overwrite', '--caption', caption, *arguments)) == 0
        assert np.array_equal(np.asarray(Image.open(tmp_path / 'out' / 'a.png')), expected)
        assert not np.array_equal(expected, restorer(pixels, caption))


@pytest.mark.parametrize('arguments, message', [
    (['--tile', '20'], 'must be 0 or at least 64 pixels, but is 20'),
    (['--text-strength', '-1'], "must be 0 or more, but is '-1'"),
    (['--text-strength', 'nan'], "must be 0 or more, but is 'nan'"),
    (['--tile', 'x'], 'must be a number of pixels'),
])
def test_arguments_that_make_no_sense(tmp_path, arguments, message, capsys):
    with pytest.raises(SystemExit):
        restore.main(args_of(tmp_path, 'w.safetensors', *arguments))
    assert message in capsys.readouterr().err


def test_weights_from_the_environment(tmp_path, weights, monkeypatch, capsys):
    jpegs(tmp_path / 'in', ['a.jpg'])
    arguments = [str(tmp_path / 'in'), '-o', str(tmp_path / 'out'), '--quiet']
    monkeypatch.delenv('TGJAR_WEIGHTS', raising=False)
    monkeypatch.setattr(shipped, 'FOLDER', tmp_path)
    assert restore.main(arguments) == 2
    assert 'no weights are shipped' in capsys.readouterr().err
    monkeypatch.setenv('TGJAR_WEIGHTS', str(weights))
    assert restore.main(arguments) == 0


def test_compressed_with_a_caption_restored_without_another_word(tmp_path, weights, capsys):
    picture(64, 48).save(tmp_path / 'a.png')
    out = tmp_path / 'a.jpg'
    assert compress.main([str(tmp_path / 'a.png'), '--qf', '1', '--caption', CAPTIONS[0], '-o', str(out)]) == 0
    assert restore.main([str(out), '-o', str(tmp_path / 'b.png'), '--weights', str(weights)]) == 0
    expected = Restorer.from_pretrained(weights, 'cpu')(read_photo(out).pixels, CAPTIONS[0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'b.png')), expected)


@pytest.mark.slow
def test_twelve_megapixels_within_two_gigabytes(tmp_path, weights):
    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / 'noise.jpg', quality=5)
    # In one piece this narrow network would take more than 1.1 GB beside 0.8 GB of libraries; the default one 9 GB.
    # Linux hands ru_maxrss of this process on to the one that it starts; its own peak is in /proc.
    code = (f'from tgjar_arch.cli import restore; import pathlib, re, resource; '
            f'code = restore.main([{str(tmp_path / "noise.jpg")!r}, "-o", {str(tmp_path / "out.jpg")!r}, "--weights", '
            f'{str(weights)!r}, "--caption", "a red bird", "--device", "cpu"]); '
            'status = pathlib.Path("/proc/self/status"); '
            'print(code, re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1] if status.exists() else '
            'resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    code, peak = done.stdout.splitlines()[-1].split()
    assert code == '0' and Image.open(tmp_path / 'out.jpg').size == (4000, 3000), done.stderr
    assert int(peak) * (1 if sys.platform == 'darwin' else 1024) < 2 * 10**9, peak


def test_window_networks_restore_any_size(tmp_path, capsys):
    network = {'type': 'SwinIR', 'upscale': 1, 'in_chans': 3, 'img_size': 32, 'window_size': 8, 'img_range': 1.,
               'depths': [1], 'embed_dim': 8, 'num_heads': [2], 'mlp_ratio': 1, 'upsampler': '',
               'resi_connection': '1conv'}
    state = ARCH_REGISTRY.get('SwinIR')(**{key: value for key, value in network.items() if key != 'type'}).state_dict()
    write_weights(tmp_path / 's.safetensors', ExportedWeights(network, state))
    restorer = Restorer.from_pretrained(tmp_path / 's.safetensors', 'cpu')
    assert restorer(np.zeros((35, 50, 3), np.uint8)).shape == (35, 50, 3)
    jpegs(tmp_path / 'in', ['a.jpg'])
    assert restore.main(args_of(tmp_path, tmp_path / 's.safetensors')) == 0
    assert restore.main(args_of(tmp_path, tmp_path / 's.safetensors', '--tile', '64')) == 2
    assert 'SwinIR sees the whole picture and cannot restore it in seamless tiles' in capsys.readouterr().err
