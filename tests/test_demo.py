"""`tgjar demo`, shortened to two iterations: every step runs, and the exit code says whether the result is better."""

import re
import shutil

from PIL import Image

from tgjar_arch.cli import demo

SHORT = ['val:val_freq=2', 'logger:print_freq=1', 'network_g:num_feat=8', 'network_g:num_block=1',
         'datasets:train:num_worker_per_gpu=0', 'datasets:val:max_images=1']


def test_two_iterations(tmp_path, capsys):
    code = demo.main(['-o', str(tmp_path), '--iterations', '2', '2', '--force_yml', *SHORT])
    out = capsys.readouterr().out
    jpeg, restored = map(float, re.search(r'\*\*mean\*\* \| (\S+) \| (\S+)', out).groups())
    assert code == (0 if restored > jpeg else 1)
    assert 'demo.png' in out and (tmp_path / 'tgjar_demo.safetensors').is_file()
    with Image.open(tmp_path / 'demo.png') as picture:
        assert picture.width > 3 * 240
    assert len(list((tmp_path / 'restored').glob('*.png'))) == 8
    for path in (tmp_path / 'jpeg_qf1').glob('*.jpg'):
        assert path.stat().st_size < 4000 and path.with_suffix('.txt').is_file()


def test_a_failing_training_is_shown(tmp_path, capsys):
    assert demo.main(['-o', str(tmp_path), '--iterations', '1', '1', '--force_yml', 'train:optim_g:lr=fast']) == 1
    error = capsys.readouterr().err
    assert 'the training failed' in error and 'lr' in error
    shutil.rmtree(tmp_path / 'experiments', ignore_errors=True)
