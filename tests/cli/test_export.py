"""`tgjar export` to weights files, and what reads them."""

import json
import os
from copy import deepcopy

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from PIL import Image

from tests.cli.test_restore import G, experiment, jpegs, tokenizer, weights  # noqa: F401  fixtures among them
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.cli import export, restore
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.weights.checkpoint import save_atomically
from tgjar_arch.weights.collect import find_checkpoint
from tgjar_arch.weights.file import ExportedWeights, read_weights, write_weights


def test_export_takes_the_newest_and_the_average(weights, experiment, tmp_path, tokenizer):  # noqa: F811
    torch.manual_seed(1)  # the seed of net_g_latest's params_ema
    expected = TGJARGenerator(**G).state_dict()
    content = read_weights(weights)
    assert all(torch.equal(content.state_g[key], value) for key, value in expected.items())
    assert content.tokenizer == tokenizer.to_json() and content.max_words == 6
    torch.manual_seed(11)
    raw = tmp_path / 'raw.safetensors'
    assert export.main([str(experiment / 'models' / 'net_g_latest.pth'), '-o', str(raw), '--raw']) == 0
    assert torch.equal(read_weights(raw).state_g['tail.weight'], TGJARGenerator(**G).state_dict()['tail.weight'])


@pytest.mark.parametrize('names, newest', [
    (['net_g_900.pth', 'net_g_1000.pth', 'net_g_950.pth'], 'net_g_1000.pth'),
    (['net_g_latest.pth', 'net_g_20.pth', 'net_g_10.pth'], 'net_g_20.pth'),
    (['net_g_10.pth', 'net_g_latest.pth'], 'net_g_latest.pth'),
    (['net_g_latest.pth'], 'net_g_latest.pth'),
])
def test_the_newest_checkpoint_has_the_highest_number(tmp_path, names, newest):
    for k, name in enumerate(names):  # written in this order
        (tmp_path / name).touch()
        os.utime(tmp_path / name, ns=(10 ** 9 * k, 10 ** 9 * k))
    assert find_checkpoint(tmp_path).name == newest


def test_half_precision_is_half_the_size_and_near(weights, experiment, tmp_path):  # noqa: F811
    half = tmp_path / 'half.safetensors'
    assert export.main([str(experiment), '-o', str(half), '--half']) == 0
    a, b = read_weights(weights).state_g, read_weights(half).state_g
    assert all(b[key].dtype == torch.float32 for key in b)
    assert max((a[key] - b[key]).abs().max().item() for key in a) < 1e-3
    assert half.stat().st_size < 0.75 * weights.stat().st_size


def test_networks_that_cannot_be_built_without_memory_are_exported(tmp_path):
    """BasicSR's SwinIR reads a tensor's value while it is built, which the meta device has not."""
    network = {'type': 'SwinIR', 'upscale': 1, 'in_chans': 3, 'img_size': 16, 'window_size': 8, 'img_range': 1.,
               'depths': [1], 'embed_dim': 8, 'num_heads': [2], 'mlp_ratio': 1, 'upsampler': '',
               'resi_connection': '1conv'}
    net = build_network(deepcopy(network))
    save_atomically({'params': net.state_dict(), 'network': json.dumps(network)}, tmp_path / 'net_g_5.pth')
    assert export.main([str(tmp_path / 'net_g_5.pth'), '-o', str(tmp_path / 'x.safetensors')]) == 0
    image = torch.rand(3, 20, 24)
    with torch.no_grad():
        expected = net(torch.nn.functional.pad(image[None], (0, 0, 0, 4), mode='reflect'))[0, :, :20]
    restored = Restorer.from_pretrained(tmp_path / 'x.safetensors', 'cpu')(image)
    torch.testing.assert_close(restored, expected.clamp(0, 1), atol=1e-5, rtol=0)


def test_quality_limit_and_source_are_kept_and_used(experiment, tmp_path, capsys):  # noqa: F811
    out = tmp_path / 'limited.safetensors'
    assert export.main([str(experiment), '-o', str(out), '--max-qf', '30', '--source', 'my birds,\none night']) == 0
    content = read_weights(out)
    assert (content.max_qf, content.source) == (30, 'my birds, one night')
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for qf in (30, 31):
        (tmp_path / 'photos').mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / 'photos' / f'{qf}.jpg', quality=qf)
    assert restore.main([str(tmp_path / 'photos'), '-o', str(tmp_path / 'out'), '--weights', str(out), '--device',
                         'cpu']) == 0
    assert [file.name for file in (tmp_path / 'out').iterdir()] == ['30.png']
    assert '(--max-qf 30)' in capsys.readouterr().out


@pytest.mark.parametrize('arguments, message', [
    (['-o', 'x.safetensors', '--max-qf', '0'], "argument --max-qf: must be a whole number from 1 to 100, but is '0'"),
    (['-o', 'x.safetensors', '--max-qf', '101'], "but is '101'"),
    (['-o', 'x.onnx', '--onnx', '--max-qf', '40'], '--max-qf and --source are kept by a .safetensors file'),
    (['-o', 'x.onnx', '--onnx', '--source', 'me'], '--max-qf and --source are kept by a .safetensors file'),
])
def test_a_quality_limit_that_cannot_be_kept_is_refused(experiment, arguments, message, capsys,  # noqa: F811
                                                        monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        export.main([str(experiment), *arguments])
    assert message in capsys.readouterr().err


def test_tensors_that_share_memory_are_written(weights, tmp_path):  # noqa: F811
    content = read_weights(weights)
    content.state_g['tail.bias'] = content.state_g['tail.weight'].flatten()[:3]
    write_weights(tmp_path / 'w.safetensors', content)
    read = read_weights(tmp_path / 'w.safetensors').state_g
    assert all(torch.equal(value, read[key]) for key, value in content.state_g.items())


def test_export_refuses_what_it_cannot_do(experiment, weights, tmp_path, capsys):  # noqa: F811
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


def test_weights_that_do_not_fit_are_named(tmp_path, weights):  # noqa: F811
    content = read_weights(weights)
    content.network_g['num_feat'] = 16
    with pytest.raises(ValueError, match='of network_g TGJARGenerator it has other shapes for'):
        write_weights(tmp_path / 'w.safetensors', content)
    assert not (tmp_path / 'w.safetensors').exists()  # how it is read, test_misfits_of_a_file_are_one_line says


def test_exported_weights_without_text(tmp_path):
    network = {'type': 'TGJARGenerator', **G, 'use_global_fusion': False, 'use_local_fusion': False}
    state = TGJARGenerator(**{key: value for key, value in network.items() if key != 'type'}).state_dict()
    write_weights(tmp_path / 'plain.safetensors', ExportedWeights(network, state))
    restorer = Restorer.from_pretrained(tmp_path / 'plain.safetensors', 'cpu')
    image = np.full((16, 16, 3), 50, np.uint8)
    assert np.array_equal(restorer(image, 'a bird'), restorer(image))


def test_a_generator_without_its_text_encoder_is_not_exported_unnoticed(experiment, tmp_path, capsys):  # noqa: F811
    for path in experiment.rglob('net_t_*.pth'):
        path.unlink()
    assert export.main([str(experiment), '-o', str(tmp_path / 'x.safetensors')]) == 1
    assert '--without-text' in capsys.readouterr().err
    assert export.main([str(experiment), '-o', str(tmp_path / 'x.safetensors'), '--without-text']) == 0
    jpegs(tmp_path / 'in', ['a.jpg'])
    assert restore.main(['-i', str(tmp_path / 'in'), '-o', str(tmp_path / 'out'), '--weights',
                         str(tmp_path / 'x.safetensors'), '--caption', 'a bird', '--quiet']) == 0
    assert 'take no captions' in capsys.readouterr().err
