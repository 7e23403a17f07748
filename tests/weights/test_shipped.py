"""Weights by name, and the default of `tgjar restore` and `Restorer.from_pretrained`."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from tests.helpers.checkout import ROOT
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.cli import doctor, restore
from tgjar_arch.jpeg.codec import compress
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.weights import shipped
from tgjar_arch.weights.file import ExportedWeights, read_weights, write_weights

G = {'num_feat': 8, 'num_block': 1, 'use_global_fusion': False, 'use_local_fusion': False}
NAMES = ('other', 'tgjar_cub_qf1', 'tgjar_universal')


def write(path, seed, max_qf=None):
    torch.manual_seed(seed)
    net = TGJARGenerator(**G)
    write_weights(path, ExportedWeights({'type': 'TGJARGenerator', **G}, net.state_dict(), max_qf=max_qf))
    return net


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three shipped files, told apart by their weights."""
    for seed, name in enumerate(NAMES):
        write(tmp_path / 'weights' / f'{name}.safetensors', seed)
    monkeypatch.setattr(shipped, 'FOLDER', tmp_path / 'weights')
    monkeypatch.delenv('TGJAR_WEIGHTS', raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'weights'


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.jpg', quality=1)
    return tmp_path / 'a.jpg'


def test_the_default_is_universal_else_cub(folder):
    assert list(shipped.shipped()) == ['tgjar_universal', 'tgjar_cub_qf1', 'other']
    assert shipped.find_weights() == folder / 'tgjar_universal.safetensors'
    (folder / 'tgjar_universal.safetensors').unlink()
    assert shipped.find_weights() == folder / 'tgjar_cub_qf1.safetensors'
    (folder / 'tgjar_cub_qf1.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match='no weights are shipped.*name a file'):
        shipped.find_weights()


def test_names_and_files(folder, tmp_path):
    expected = folder / 'tgjar_cub_qf1.safetensors'
    for name in ('tgjar_cub_qf1', 'tgjar_cub_qf1.safetensors', Path('tgjar_cub_qf1'), expected):
        assert shipped.find_weights(name) == expected
    own = shutil.copy(expected, tmp_path / 'tgjar_cub_qf1.safetensors')
    assert shipped.find_weights('tgjar_cub_qf1.safetensors').resolve() == own  # a file comes first
    for name in ('tgjar_cup_qf1', 'elsewhere/tgjar_cub_qf1', 'no.safetensors'):
        with pytest.raises(FileNotFoundError, match=f'{name} does not exist, and shipped weights are tgjar_universal, '
                                                    'tgjar_cub_qf1, other'):
            shipped.find_weights(name)


@pytest.mark.parametrize('arguments, environment, seed', [
    ([], None, 2), (['--weights', 'tgjar_cub_qf1'], None, 1), ([], 'other', 0), ([], '', 2),
    (['--weights', 'tgjar_universal'], 'other', 2)])
def test_restore(folder, photo, monkeypatch, arguments, environment, seed, tmp_path):
    if environment is not None:
        monkeypatch.setenv('TGJAR_WEIGHTS', environment)
    assert restore.main([str(photo), '-o', str(tmp_path / 'b.png'), '--device', 'cpu', *arguments]) == 0
    own = tmp_path / 'own.safetensors'
    write(own, seed)
    expected = Restorer.from_pretrained(own, 'cpu')(np.asarray(Image.open(photo)))
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'b.png')), expected)


def test_restore_names_what_there_is(folder, photo, tmp_path, capsys):
    assert restore.main([str(photo), '-o', str(tmp_path / 'b.png'), '--weights', 'tgjar']) == 2
    assert 'shipped weights are tgjar_universal, tgjar_cub_qf1, other' in capsys.readouterr().err


def test_in_python(folder, photo):
    pixels = np.asarray(Image.open(photo))
    results = [Restorer.from_pretrained(name, 'cpu')(pixels) for name in (None, 'tgjar_universal', 'tgjar_cub_qf1')]
    assert np.array_equal(results[0], results[1]) and not np.array_equal(results[0], results[2])


@pytest.mark.parametrize('said, limit', [(8, 8), (60, 60), (None, 40)])
def test_files_too_good_for_the_weights_are_left(folder, said, limit, tmp_path, capsys):
    """The limit is in the weights file, whatever its name: --max-qf overrules it."""
    weights = 'tgjar_cub_qf1'
    write(folder / f'{weights}.safetensors', 0, said)
    for qf in (limit, limit + 1):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
            tmp_path / f'{qf}.jpg', quality=qf)
    command = [str(tmp_path), '-o', str(tmp_path / 'out'), '--weights', weights, '--device', 'cpu']
    assert restore.main(command) == 0
    assert f'1 left as they are (--max-qf {limit})' in capsys.readouterr().out
    assert [path.name for path in (tmp_path / 'out').iterdir()] == [f'{limit}.png']
    assert restore.main([*command, '--max-qf', str(limit + 1)]) == 0
    assert len(list((tmp_path / 'out').iterdir())) == 2


def test_doctor_names_them(folder, capsys, monkeypatch):
    monkeypatch.setattr(doctor, 'stock_import_error', lambda: None)  # a process of its own, and seconds
    doctor.main([])
    assert 'weights        tgjar_universal tgjar_cub_qf1 other' in capsys.readouterr().out


TENSORS = {  # shipped weights: SHA-256 of all names, types, shapes and bytes; best JPEG quality that gains
    'tgjar_universal': ('56d4d51c5924fafec7a54d655925618c38f63a9522b42f72c722d20ea0ded68e', 60),
    'tgjar_fidelity': ('4d3f8977fdcd474d6eec183c8901c0fb50a806e6be441c8403988a7904203470', 60),
    'tgjar_cub_qf1': ('1318985c812b6fb54ad6484275acbfa5fdecdc9fb1ccd3585791ffce6a88eec1', 8),
}
needs_weights = pytest.mark.skipif(not shipped.shipped(), reason='no weights are shipped')


@needs_weights
@pytest.mark.parametrize('name', shipped.shipped())
def test_what_is_shipped(name):
    """Small enough, known to restore, in git, and clearly better than the JPEG file on a photograph."""
    file = shipped.shipped()[name]
    assert file.stat().st_size <= 16e6
    card = (ROOT / 'docs' / 'model_card.md').read_text('utf-8')
    assert name in card
    if (ROOT / '.git').exists():
        ignored = subprocess.run(['git', 'check-ignore', '--no-index', str(file)], cwd=ROOT, capture_output=True)
        assert ignored.returncode == 1, f'git ignores {file}'
    import skimage.data
    from basicsr.metrics import calculate_psnr
    with Image.open(os.path.join(os.path.dirname(skimage.data.__file__), 'chelsea.png')) as image:
        original = np.asarray(image.convert('RGB').resize((270, 180), Image.LANCZOS))
    jpeg = compress(original[..., ::-1], 1)[..., ::-1]
    restored = Restorer.from_pretrained(name, 'cpu')(np.ascontiguousarray(jpeg))
    before, after = (calculate_psnr(picture, original, crop_border=0) for picture in (jpeg, restored))
    assert after > before + 1


@needs_weights
@pytest.mark.parametrize('name', shipped.shipped())
def test_the_shipped_tensors_and_what_their_file_says(name):
    """Writing other metadata changes no tensor, and each file says its limit and where its history is."""
    file, digest = shipped.shipped()[name], hashlib.sha256()
    with safe_open(file, 'pt') as content:
        for key in sorted(content.keys()):
            tensor = content.get_tensor(key)
            digest.update(f'{key} {tensor.dtype} {tuple(tensor.shape)}\n'.encode() + tensor.numpy().tobytes())
        assert content.metadata()['format'] == 'tgjar-2'
    assert (digest.hexdigest(), shipped.quality_limit(file)) == TENSORS[name]
    source = read_weights(file).source
    history = source.rpartition(' ')[2]
    assert history == f'docs/weights/{name}.md' and (ROOT / history).is_file()
