"""The whole way in subprocesses, as a user goes it: BasicSR's stock scripts and ours, on our option files."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.helpers.checkout import ROOT
from tests.helpers.forked import python
from tgjar_arch.cli import vocab
from tgjar_arch.cli.doctor import stock_import_error

BASICSR = Path(importlib.util.find_spec('basicsr').origin).parent
TINY = [
    'num_gpu=0', 'datasets:train:gt_size=32', 'datasets:train:num_worker_per_gpu=0',
    'datasets:train:batch_size_per_gpu=2', 'datasets:val:max_images=2',
    'network_g:num_feat=8', 'network_g:num_block=1', 'network_g:text_dim=16',
    'network_d:num_feat=4', 'network_t:embed_dim=8', 'network_t:text_dim=16', 'path:pretrain_network_t=~',
    'train:train_network_t=True', 'train:damsm_opt=~', 'train:contrastive_opt:pretrained=False', 'train:total_iter=2',
    'val:val_freq=2', 'val:save_img=True', 'val:pbar=False', 'logger:print_freq=1', 'logger:save_checkpoint_freq=1',
]
# LPIPS needs weights that a test cannot download
METRICS = re.compile(r'    lpips:\n(?:      .*\n)+')


@pytest.fixture
def workspace(tmp_path, photos, monkeypatch):
    """A working directory with data/cub as the option files expect it; returns `option_file(name)`."""
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'test'):
        root = photos(size=200 if split == 'test' else 64, folder=f'data/cub/{split}')
    assert vocab.main(['data/cub/train', '-o', 'data/cub/tokenizer.json']) == 0
    assert root.is_dir()

    def option_file(name):
        # Unedited but for what a test on a machine without network must leave out.
        text = (ROOT / 'options' / f'{name}.yml').read_text(encoding='utf-8')
        text = METRICS.sub('', text).replace('    c: 0.1\n', '    c: 0.1\n    pretrained: true\n')
        (tmp_path / f'{name}.yml').write_text(text, encoding='utf-8')
        return str(tmp_path / f'{name}.yml')

    return option_file


def run(*command, expect=0):
    done = python(*command, path=(ROOT,))
    assert done.returncode == expect, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def logged(text, key):
    return [float(value) for value in re.findall(rf'{key}: (\S+)', text)]


@pytest.mark.skipif(stock_import_error() is not None,
                    reason='the stock BasicSR does not import; run `tgjar doctor --fix`')
def test_stock_scripts_run_our_option_files(workspace, tmp_path):
    # The stock trainer writes beside the package, so it gets its own name there, which is removed again.
    name = f'train_tgjar_cub_test_{os.getpid()}'
    out = {kind: BASICSR.parent / kind / name for kind in ('experiments', 'tb_logger', 'results')}
    try:
        text = run(BASICSR / 'train.py', '-opt', workspace('train_tgjar_cub'), '--force_yml', *TINY, f'name={name}')
        for key in ('l_g_pix', 'l_g_contrastive', 'l_g_gan', 'l_d_real', 'l_d_fake'):
            assert len(logged(text, key)) == 2, key
        assert '# psnr:' in text and '# niqe:' in text and '# ssim:' in text
        models = out['experiments'] / 'models'
        assert {path.name for path in models.iterdir()} == {
            f'net_{label}_{suffix}.pth' for label in 'gtd' for suffix in ('1', '2', 'latest')}
        test = ['num_gpu=0', f'name={name}', *(entry for entry in TINY if entry.startswith(('network_g', 'network_t'))),
                f'path:pretrain_network_g={models}/net_g_latest.pth',
                f'path:pretrain_network_t={models}/net_t_latest.pth', 'val:pbar=False']
        text = run(BASICSR / 'test.py', '-opt', workspace('test_tgjar_cub'), '--force_yml', *test)
        assert '# psnr:' in text
        pictures = out['results'] / 'visualization' / 'cub_qf1'
        assert len(list(pictures.glob(f'*_{name}.png'))) == 3
    finally:
        import shutil
        for folder in out.values():
            shutil.rmtree(folder, ignore_errors=True)
            if folder.parent.is_dir() and not any(folder.parent.iterdir()):
                folder.parent.rmdir()


def test_train_resume_test_export_restore(workspace, tmp_path):
    options = workspace('train_tgjar_cub')
    text = run('-m', 'tgjar_arch', 'train', '-opt', options, '--force_yml', *TINY)
    assert 'Warning' not in text and 'warning' not in text.replace('warnings.warn', ''), text
    experiment = tmp_path / 'experiments' / 'train_tgjar_cub'
    assert (experiment / 'visualization' / 'cub_test_2.png').is_file()
    captions = (experiment / 'visualization' / 'cub_test_captions.jsonl').read_text().splitlines()
    assert json.loads(captions[0])['caption'] == 'a smiling woman in an orange space suit'

    longer = [entry for entry in TINY if 'total_iter' not in entry] + ['train:total_iter=4']
    text = run('-m', 'tgjar_arch', 'train', '-opt', options, '--auto_resume', '--force_yml', *longer)
    assert 'Resuming training from epoch' in text and 'iter: 2.' in text
    iterations = re.findall(r'iter:\s+(\d+), lr', text)
    assert iterations == ['3', '4']

    weights = tmp_path / 'w.safetensors'
    assert 'net_g_latest' in run('-m', 'tgjar_arch', 'export', experiment, '-o', weights) and weights.is_file()
    from PIL import Image
    Image.open(tmp_path / 'data/cub/test/chelsea.png').save(tmp_path / 'cat.jpg', quality=1)
    text = run('-m', 'tgjar_arch', 'restore', '-i', 'cat.jpg', '-o', 'out', '--weights', weights,
               '--caption', 'a brown cat')
    assert '1 restored' in text and Image.open(tmp_path / 'out' / 'cat.png').size == (200, 200)


def test_killed_while_training_it_resumes(workspace, tmp_path):
    options = workspace('train_tgjar_cub')
    endless = [*(entry for entry in TINY if 'total_iter' not in entry),
               'train:total_iter=100000', 'val:val_freq=100000']
    command = [sys.executable, '-m', 'tgjar_arch', 'train', '-opt', options, '--force_yml', *endless]
    states = tmp_path / 'experiments' / 'train_tgjar_cub' / 'training_states'
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    with open(tmp_path / 'log', 'w') as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            deadline = time.time() + 240
            while time.time() < deadline and process.poll() is None and not len(list(states.glob('*.state'))) > 3:
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)  # checkpoints are written all the time here, so most likely in one
            process.wait()
    assert len(list(states.glob('*.state'))) > 3, (tmp_path / 'log').read_text()[-3000:]
    for path in (*states.glob('*.state'), *(states.parent / 'models').glob('*.pth')):
        torch.load(path, weights_only=True)  # every file is whole
    newest = max(int(path.stem) for path in states.glob('*.state'))
    longer = [*(entry for entry in TINY if 'total_iter' not in entry),
              f'train:total_iter={newest + 1}', 'val:val_freq=100000']
    text = run('-m', 'tgjar_arch', 'train', '-opt', options, '--auto_resume', '--force_yml', *longer)
    assert re.findall(r'iter:\s+([\d,]+), lr', text) == [f'{newest + 1:,}']


def test_another_restorer_trains_with_our_losses(workspace):
    small = ['num_gpu=0', 'datasets:train:gt_size=32', 'datasets:train:num_worker_per_gpu=0',
             'datasets:val:max_images=1', 'datasets:train:batch_size_per_gpu=2', 'network_g:depths=[1]',
             'network_g:num_heads=[2]', 'network_g:embed_dim=8', 'network_g:img_size=32', 'network_d:num_feat=4',
             'train:contrastive_opt:pretrained=False', 'train:total_iter=2',
             'val:val_freq=2', 'val:pbar=False', 'logger:print_freq=1', 'logger:save_checkpoint_freq=2']
    text = run('-m', 'tgjar_arch', 'train', '-opt', workspace('train_swinir_contrastive_cub'), '--force_yml', *small)
    assert len(logged(text, 'l_g_contrastive')) == 2 and '# psnr:' in text


def test_without_captions_found_it_says_so(workspace, tmp_path):
    (tmp_path / 'data/cub/train/metadata.jsonl').unlink()
    text = run('-m', 'tgjar_arch', 'train', '-opt', workspace('train_tgjar_cub'), '--force_yml', *TINY, expect=2)
    assert 'no caption with a known word' in text and 'Traceback' not in text


def test_fewer_images_than_a_batch_are_no_training(workspace, tmp_path):
    text = run('-m', 'tgjar_arch', 'train', '-opt', workspace('train_tgjar_cub'), '--force_yml', *TINY,
               'datasets:train:batch_size_per_gpu=4', expect=2)
    assert '3 images are fewer than a batch of 4' in text and 'Traceback' not in text
