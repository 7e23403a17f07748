"""TGJARModel on two processes (as of torchrun, gloo on the CPU), through BasicSR's launcher.

L_R and L_C are means over the images of a batch, so two processes with half the batch each take the steps that one
process takes with all of it. L_IT and the discriminator's batch normalisation compare the images of one process with
each other, and so differ by nature: of these, only that they run and keep the processes together.
"""

import re
import socket
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.utils.options import ordered_yaml

from tests.helpers.checkout import ROOT
from tests.helpers.forked import start
from tgjar_arch.cli import vocab
from tgjar_arch.metrics.lpips import build_lpips

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason='with a GPU the launcher takes it, one for each process'),
]


@pytest.fixture
def workspace(tmp_path, photos, monkeypatch):
    """A working directory with data/cub and tiny.yml: train_tgjar_cub.yml, small and without chance."""
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'test'):
        photos(size=32, folder=f'data/cub/{split}')
    assert vocab.main(['data/cub/train', '-o', 'data/cub/tokenizer.json']) == 0
    trunk = build_lpips('alex', pretrained=False).net.state_dict()  # one for all: a random trunk is another everywhere
    torch.save({'features.' + key.split('.', 1)[1]: value for key, value in trunk.items()}, 'alex.pth')

    opt = yaml.load((ROOT / 'options/train_tgjar_cub.yml').read_text(encoding='utf-8'), Loader=ordered_yaml()[0])
    opt['num_gpu'] = 0
    # Crops of the whole image, no flips, and two images a step: nothing is drawn but the caption and the order.
    opt['datasets']['train'] |= {'gt_size': 32, 'use_hflip': False, 'num_worker_per_gpu': 0, 'max_images': 2}
    opt['datasets']['val'] |= {'max_images': 2}
    for split in ('train', 'test'):
        metadata = Path(f'data/cub/{split}/metadata.jsonl')
        metadata.write_text(re.sub(r'", "[^"]*"\]', '"]', metadata.read_text()))  # one caption an image
    opt['network_g'] |= {'num_feat': 8, 'num_block': 1, 'text_dim': 16}
    opt['network_d'] |= {'num_feat': 4}
    opt['network_t'] |= {'embed_dim': 8, 'text_dim': 16, 'drop_prob': 0.0}
    opt['path'] |= {'pretrain_network_t': None, 'pretrain_network_i': None}
    opt['train'] |= {'train_network_t': True, 'ema_decay': 0.9, 'damsm_opt': None, 'total_iter': 3}
    opt['train']['contrastive_opt'] |= {'trunk_path': 'alex.pth', 'loss_weight': 1.0}
    # Adam divides by the gradient's size, which makes much of rounding errors; with a large eps it does not.
    opt['train']['optim_g'] |= {'lr': 1e-2, 'eps': 1e-2}
    opt['val'] |= {'val_freq': 100, 'save_img': True, 'pbar': False, 'metrics': {'psnr': {'type': 'calculate_psnr',
                                                                                       'crop_border': 0}}}
    opt['logger'] |= {'print_freq': 1, 'save_checkpoint_freq': 3, 'use_tb_logger': False}

    def write(name, without=(), **train):
        mine = {key: dict(value) if isinstance(value, dict) else value for key, value in opt.items()}
        mine |= {'name': name, 'plugin': None}
        mine['train'] |= train
        for key in without:
            mine['train'][key] = None
        text = yaml.safe_dump(_plain(mine), sort_keys=False)
        Path(f'{name}.yml').write_text(text.replace('plugin: null', 'plugin: !!python/name:tgjar_arch.__version__'))
        return f'{name}.yml'

    return write


def _plain(value):
    """Without the ordered dictionaries of BasicSR's loader."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def train(options, batch, processes=1):
    """Output of `tgjar train` in a process of its own, or in several, with what torchrun sets for each.

    torchrun itself starts one in test_pipeline.py.
    """
    command = ['-m', 'tgjar_arch', 'train', '-opt', options, '--force_yml',
               f'datasets:train:batch_size_per_gpu={batch}']
    ranks = [{}]
    if processes > 1:
        command += ['--launcher', 'pytorch']
        with socket.create_server(('127.0.0.1', 0)) as free:
            port = free.getsockname()[1]
        ranks = [{'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(processes),
                  'LOCAL_WORLD_SIZE': str(processes), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
                 for rank in range(processes)]
    started = [start(*command, path=(ROOT,), **variables) for variables in ranks]
    all_done = [process.wait(timeout=500) for process in started]
    text = ''.join(done.stdout + done.stderr for done in all_done)
    assert all(done.returncode == 0 for done in all_done), text[-6000:]
    return text


def logged(text, key):
    return [float(value) for value in re.findall(rf'{key}: (\S+)', text)]


def weights(name, label):
    return torch.load(f'experiments/{name}/models/net_{label}_latest.pth', weights_only=True)


def test_two_processes_take_the_steps_of_one_with_the_double_batch(workspace):
    one = train(workspace('one', without=('gan_opt',)), 2)
    two = train(workspace('two', without=('gan_opt',)), 1, processes=2)
    assert 'World size (gpu number): 2' in two
    for key in ('l_g_pix', 'l_g_contrastive'):
        assert len(logged(one, key)) == 3
        assert logged(two, key) == pytest.approx(logged(one, key), rel=1e-3), key
    for label in 'gt':
        for kind in ('params', 'params_ema'):
            expected, found = weights('one', label)[kind], weights('two', label)[kind]
            for key, value in expected.items():
                # an update of up to 3 * lr = 3e-2 a weight
                torch.testing.assert_close(found[key], value, rtol=0, atol=2e-4, msg=f'net_{label} {kind} {key}')
    assert len(logged(one, '# psnr')) == 1
    assert logged(two, '# psnr') == pytest.approx(logged(one, '# psnr'), abs=0.01)


def test_all_options_together_and_one_writer(workspace):
    options = workspace('gan', clip_grad=0.5, amp='bf16', channels_last=True, net_d_init_iters=1)
    text = train(options, 1, processes=2)
    for key, steps in (('l_g_pix', 2), ('l_g_contrastive', 2), ('l_g_gan', 2), ('l_d_real', 3), ('l_d_fake', 3)):
        assert len(logged(text, key)) == steps, key
    folder = Path('experiments/gan')
    assert len(list(folder.glob('train_gan_*.log'))) == 1 and len(logged(text, '# psnr')) == 1
    assert {path.name for path in (folder / 'models').iterdir()} == {
        f'net_{label}_{suffix}.pth' for label in 'gtd' for suffix in ('3', 'latest')}
    assert [path.name for path in (folder / 'training_states').iterdir()] == ['3.state']
    assert len(list((folder / 'visualization').glob('*/*_4.png'))) == 2
