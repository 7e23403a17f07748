"""`tgjar demo`, with weights, and with training of two iterations: every step runs, the exit code says how it went."""

import re
import shutil

import pytest
import torch
from PIL import Image

from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.cli import demo, demo_run
from tgjar_arch.weights import shipped
from tgjar_arch.weights.file import ExportedWeights, write_weights

G = {'num_feat': 8, 'num_block': 1, 'use_global_fusion': False, 'use_local_fusion': False}
SHORT = ['val:val_freq=2', 'logger:print_freq=1', 'network_g:num_feat=8', 'network_g:num_block=1',
         'datasets:train:num_worker_per_gpu=0', 'datasets:val:max_images=1']


def test_two_iterations(tmp_path, capsys):
    code = demo.main(['-o', str(tmp_path), '--train', '--iterations', '2', '2', '--force_yml', *SHORT])
    out = capsys.readouterr().out
    jpeg, restored = map(float, re.search(r'\*\*mean\*\* \| (\S+) \| (\S+)', out).groups())
    assert code == (0 if restored > jpeg else 1)
    assert 'demo.png' in out and (tmp_path / 'tgjar_demo.safetensors').is_file()
    with Image.open(tmp_path / 'demo.png') as picture:
        assert picture.width > 3 * 240
    assert len(list((tmp_path / 'restored').glob('*.png'))) == 8
    for path in (tmp_path / 'jpeg_qf1').glob('*.jpg'):
        assert path.stat().st_size < 4000 and path.with_suffix('.txt').is_file()


def test_the_shipped_weights(tmp_path, monkeypatch, capsys):
    """Without --train nothing is trained: here with weights that hand the JPEG files through."""
    net = TGJARGenerator(**G)
    torch.nn.init.zeros_(net.tail.weight)
    torch.nn.init.zeros_(net.tail.bias)
    write_weights(tmp_path / 'weights' / 'tgjar_universal.safetensors',
                  ExportedWeights({'type': 'TGJARGenerator', **G}, net.state_dict()))
    monkeypatch.setattr(shipped, 'FOLDER', tmp_path / 'weights')
    monkeypatch.setattr(demo_run, 'train', lambda *_: pytest.fail('trains'))
    assert demo.main(['-o', str(tmp_path / 'out')]) == 1  # equal is not better
    captured = capsys.readouterr()
    jpeg, restored = map(float, re.search(r'\*\*mean\*\* \| (\S+) \| (\S+)', captured.out).groups())
    assert restored == jpeg and 'do not beat' in captured.err
    assert 'Weights: tgjar_universal.safetensors' in captured.out
    made = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert made == ['.tgjar_demo', 'data', 'demo.png', 'jpeg_qf1', 'restored', 'table.md']
    assert demo.main(['-o', str(tmp_path / 'out')]) == 1 and 'not empty' not in capsys.readouterr().err  # again


@pytest.mark.parametrize('arguments, there', [([], False), (['--train'], True), (['--train'], False)])
def test_training_if_asked_for_or_without_weights(tmp_path, monkeypatch, capsys, arguments, there):
    def train(output, name, extra):
        raise RuntimeError(f'would train {name} {extra}')

    monkeypatch.setattr(demo_run, 'train', train)
    monkeypatch.setattr(shipped, 'FOLDER', tmp_path)
    if there:
        (tmp_path / 'tgjar_universal.safetensors').touch()
    assert demo.main(['-o', str(tmp_path / 'out'), *arguments]) == 1
    captured = capsys.readouterr()
    assert 'would train train_damsm_demo []' in captured.err
    assert ('No weights are shipped' in captured.out) == (not arguments)


@pytest.mark.parametrize('names', [['.DS_Store'], ['table.md', 'restored/a.png', 'jpeg_qf1/a.jpg']])
def test_folders_that_are_as_good_as_empty_or_of_older_demos(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    demo_run.prepare(tmp_path)
    assert not (tmp_path / 'restored').exists() and len(list((tmp_path / 'jpeg_qf1').glob('*.jpg'))) == 8


def test_a_folder_of_others_is_refused(tmp_path, capsys):
    """`restored` is also where `tgjar restore` writes when nothing is said."""
    (tmp_path / 'restored').mkdir()
    (tmp_path / 'restored' / 'mine.png').touch()
    assert demo.main(['-o', str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith('tgjar demo: ') and 'is not empty, and not of an earlier' in error
    assert [file for file in tmp_path.rglob('*') if file.is_file()] == [tmp_path / 'restored' / 'mine.png']


def test_a_failing_training_is_shown(tmp_path, monkeypatch, capsys):
    train = demo_run.train
    monkeypatch.setattr(demo_run, 'train', lambda output, name, extra: train(output, name, ['train:optim_g:lr=fast']))
    assert demo.main(['-o', str(tmp_path), '--train']) == 1
    error = capsys.readouterr().err
    assert 'the training failed' in error and 'lr' in error
    shutil.rmtree(tmp_path / 'experiments', ignore_errors=True)
