"""Every baseline, from its option files as a user runs them: trained for two iterations, validated, tested."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.helpers.checkout import ROOT
from tests.helpers.force_yml_rows import option_file
from tests.helpers.forked import python
from tgjar_arch.weights.checkpoint import load_checkpoint

# What a test must make smaller, and the metrics that need large images (NIQE) or downloaded weights (LPIPS).
NETWORKS = {
    'edsr': ['network_g:num_feat=8', 'network_g:num_block=1'],
    'rnan': ['network_g:num_feat=4', 'network_g:num_group=3'],
    'qgcn': ['network_g:num_feat=4', 'network_g:num_block=2'],
    'fbcnn': ['network_g:num_feat=[4,4,8,512]', 'network_g:num_block=1'],
}
TRAIN = ['num_gpu=0', 'datasets:train:gt_size=32', 'datasets:train:num_worker_per_gpu=0',
         'datasets:train:batch_size_per_gpu=2', 'datasets:val:max_images=1', 'path:pretrain_network_g=~',
         'train:total_iter=2', 'val:val_freq=2', 'val:metrics:lpips=~', 'val:pbar=false', 'logger:print_freq=1',
         'logger:save_checkpoint_freq=2', 'logger:use_tb_logger=false']
TEST = ['num_gpu=0', 'val:metrics:lpips=~', 'val:metrics:niqe=~', 'val:pbar=false']
BOTH = """
import sys
from tgjar_arch.cli.main import main
split = sys.argv.index('then')
sys.exit(main(sys.argv[1:split]) or main(sys.argv[split + 1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize('net', NETWORKS)
def test_train_then_test(net, photos, tmp_path):
    if net == 'fbcnn':
        pytest.importorskip('spandrel', reason='FBCNN needs spandrel, which is optional')
    for split in ('train', 'test'):
        photos(size=64, captions=False, folder=f'data/cub/{split}')
    # `tgjar train ...` and `tgjar test ...` in one process: half of the time would be imports
    command = ['train', '-opt', option_file(f'train_{net}_cub'), '--force_yml', *TRAIN, *NETWORKS[net],
               'then', 'test', '-opt', option_file(f'test_{net}_cub'), '--force_yml', *TEST, *NETWORKS[net]]
    done = python('-c', BOTH, *command, cwd=tmp_path, path=(ROOT,))
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]

    losses = {key: [float(value) for value in re.findall(rf'{key}: (\S+)', text)] for key in ('l_g_pix', 'l_g_qf')}
    assert len(losses['l_g_pix']) == 2 and np.isfinite(losses['l_g_pix']).all()
    assert len(losses['l_g_qf']) == (2 if net == 'fbcnn' else 0)
    models = tmp_path / 'experiments' / f'train_{net}_cub' / 'models'
    assert {path.name for path in models.iterdir()} == {'net_g_2.pth', 'net_g_latest.pth'}
    assert json.loads(load_checkpoint(models / 'net_g_latest.pth')['network'])['type'] == {
        'edsr': 'EDSR', 'rnan': 'RNAN', 'qgcn': 'QGCN', 'fbcnn': 'FBCNN'}[net]

    # Validations at the second iteration and in the end; then the test, whose score is that of the pictures written.
    *validated, tested = (float(value) for value in re.findall(r'# psnr: (\S+)', text))
    assert len(validated) == 2 and len(re.findall('# ssim: ', text)) == 1
    pictures = sorted((tmp_path / 'results' / f'test_{net}_cub' / 'visualization' / 'cub_qf1').iterdir())
    names = ('astronaut', 'chelsea', 'coffee')
    assert [path.name for path in pictures] == [f'{name}_test_{net}_cub.png' for name in names]
    scores = []
    for path in pictures:
        original = Image.open(tmp_path / 'data/cub/test' / f'{path.name.partition("_")[0]}.png')
        difference = np.asarray(Image.open(path), float) - np.asarray(original, float)
        scores.append(10 * np.log10(255**2 / np.square(difference).mean()))
    assert tested == pytest.approx(np.mean(scores), abs=1e-3)
