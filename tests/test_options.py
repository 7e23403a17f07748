"""Every shipped option file: it loads, its networks and losses build, and its keys are real."""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils.options import ordered_yaml
from basicsr.utils.registry import DATASET_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

import tgjar_arch
from tgjar_arch.datasets import paired_image_text_dataset as dataset_module

FILES = sorted((Path(__file__).resolve().parents[1] / 'options').glob('*.yml'))
PAPER = {'pixel_opt': 1.0, 'contrastive_opt': 0.01, 'gan_opt': 0.001, 'damsm_opt': 0.0005}


def load(path):
    return yaml.load(path.read_text(encoding='utf-8'), Loader=ordered_yaml()[0])


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def file(request):
    return request.param


def test_registers_the_plugin_by_its_first_line(file):
    assert file.read_text(encoding='utf-8').startswith('plugin: !!python/name:tgjar_arch.__version__')
    assert load(file)['plugin'] == tgjar_arch.__version__


def test_name_is_the_files(file):
    assert load(file)['name'] == file.stem


def test_networks_and_losses_build(file):
    opt = load(file)
    for key in [key for key in opt if key.startswith('network_')]:
        network = deepcopy(opt[key])
        if 'vocab_size' in network:
            network['vocab_size'] = network['vocab_size'] or 50
        if network.get('weights') == 'imagenet':
            network['weights'] = None  # nothing is downloaded in a test
        if network['type'] == 'HFTextEncoder':
            continue  # needs a model folder, see tests/test_hf_text_encoder.py
        if network['type'] == 'FBCNN':
            pytest.importorskip('spandrel', reason='FBCNN needs spandrel, which is optional')
        build_network(network)
    sections = opt.get('train', {}) | opt.get('val', {})
    for key, loss in sections.items():
        if key.endswith('_opt') and loss:
            loss = deepcopy(loss)
            if loss['type'] == 'PerceptualContrastiveLoss':
                loss['pretrained'] = False
            build_loss(loss)


def test_datasets_models_and_metrics_are_registered(file):
    opt = load(file)
    assert opt['model_type'] in MODEL_REGISTRY
    for dataset in opt['datasets'].values():
        assert dataset['type'] in DATASET_REGISTRY
        if dataset['type'] == 'PairedImageTextDataset':
            unknown = set(dataset) - dataset_module._OWN_KEYS - dataset_module._LOADER_KEYS
            assert unknown == set()
    for metric in (opt.get('val', {}).get('metrics') or {}).values():
        assert metric['type'] in METRIC_REGISTRY
        # BasicSR takes "higher" where nothing is said
        assert metric.get('better') == (None if metric['type'] in ('calculate_psnr', 'calculate_ssim') else 'lower')


def test_no_path_key_becomes_a_folder(file):
    # BasicSR makes a directory of every key under path but these
    assert all(any(word in key for word in ('pretrain_network', 'strict_load', 'resume', 'param_key'))
               for key in load(file)['path'])


@pytest.mark.parametrize('name, total, milestones', [
    ('train_tgjar_cub', 221300, [44260, 88520, 132780, 177040]),
    ('train_tgjar_oxford102', 175900, [35180, 70360, 105540, 140720]),
])
def test_the_papers_settings(name, total, milestones):
    opt = load(next(file for file in FILES if file.stem == name))
    train = opt['train']
    assert {key: train[key]['loss_weight'] for key in PAPER} == PAPER
    assert train['contrastive_opt']['c'] == 0.1 and train['contrastive_opt']['net'] == 'alex'
    assert train['total_iter'] == total == 5 * milestones[0] and train['scheduler']['milestones'] == milestones
    assert train['scheduler']['gamma'] == 0.1 and train['optim_g']['lr'] == train['optim_d']['lr'] == 1e-4
    assert train['optim_g']['type'] == train['optim_d']['type'] == 'Adam'
    assert not train['train_network_t'] and train['ema_decay'] == 0 and train['amp'] is None
    dataset = opt['datasets']['train']
    assert (dataset['batch_size_per_gpu'], dataset['gt_size'], dataset['qf'], dataset['caption_drop']) == (4, 256, 1, 0)
    assert dataset['chroma'] == '4:2:0' and dataset['max_words'] == 18
    # One sees every default spelt out: the constructor's are the paper's too.
    generator = {key: value for key, value in opt['network_g'].items() if key != 'type'}
    assert generator == {'num_in_ch': 3, 'num_feat': 64, 'num_block': 9, 'text_dim': 256, 'use_global_fusion': True,
                         'use_local_fusion': True}
