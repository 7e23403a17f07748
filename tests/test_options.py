"""Every shipped option file: it loads, its networks and losses build, and its keys are real."""

import os
import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils.options import _postprocess_yml_value, ordered_yaml
from basicsr.utils.registry import DATASET_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

import tgjar_arch
from tests.helpers.force_yml_rows import FILES, OPTIONS, option_file, rows
from tgjar_arch.datasets import paired_image_text_dataset as dataset_module
from tgjar_arch.training.options import check_options, override, parse_value

PAPER = {'pixel_opt': 1.0, 'contrastive_opt': 0.01, 'gan_opt': 0.001, 'damsm_opt': 0.0005}


def load(path):
    return yaml.load(path.read_text(encoding='utf-8'), Loader=ordered_yaml()[0])


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def file(request):
    return request.param


def test_names_the_schema_and_registers_the_plugin_in_its_first_lines(file):
    text = file.read_text(encoding='utf-8')
    schema = os.path.relpath(OPTIONS / 'schema.json', file.parent)
    assert text.startswith(f'# yaml-language-server: $schema={schema}\nplugin: !!python/name:tgjar_arch.__version__')
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
        # Without storage not a weight is drawn, but SwinIR reads numbers that it computes.
        with torch.device('cpu' if network['type'] == 'SwinIR' else 'meta'):
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
            unknown = set(dataset) - dataset_module.OWN_KEYS - dataset_module.LOADER_KEYS
            assert unknown == set()
    for metric in (opt.get('val', {}).get('metrics') or {}).values():
        assert metric['type'] in METRIC_REGISTRY
        # BasicSR takes "higher" where nothing is said
        assert metric.get('better') == (None if metric['type'] in ('calculate_psnr', 'calculate_ssim') else 'lower')


def test_no_path_key_becomes_a_folder(file):
    # BasicSR makes a directory of every key under path but these
    assert all(any(word in key for word in ('pretrain_network', 'strict_load', 'resume', 'param_key'))
               for key in load(file)['path'])


def test_the_readme_has_a_line_for_each_file():
    named = re.findall(r'`([\w/]+\.yml)`', (OPTIONS / 'README.md').read_text(encoding='utf-8'))
    assert sorted(named) == sorted(file.relative_to(OPTIONS).as_posix() for file in FILES)


@pytest.mark.parametrize('name, total, milestones', [
    ('train_tgjar_cub', 221300, [44260, 88520, 132780, 177040]),
    ('train_tgjar_oxford102', 175800, [35160, 70320, 105480, 140640]),
    ('train_tgjar_coco', 2957100, [591420, 1182840, 1774260, 2365680]),
])
def test_the_papers_settings(name, total, milestones):
    opt = load(option_file(name))
    train = opt['train']
    assert {key: train[key]['loss_weight'] for key in PAPER} == PAPER
    assert train['contrastive_opt']['c'] == 0.1 and train['contrastive_opt']['net'] == 'alex'
    assert train['total_iter'] == total == 5 * milestones[0] and train['scheduler']['milestones'] == milestones
    assert train['scheduler']['gamma'] == 0.1 and train['optim_g']['lr'] == train['optim_d']['lr'] == 1e-4
    assert train['optim_g']['type'] == train['optim_d']['type'] == 'Adam'
    assert not train['train_network_t'] and train['ema_decay'] == 0 and train['amp'] is None
    dataset = opt['datasets']['train']
    assert (dataset['batch_size_per_gpu'], dataset['gt_size'], dataset['qf'], dataset['caption_drop']) == (4, 256, 1, 0)
    assert dataset['chroma'] == '4:2:0' and dataset['max_words'] == (12 if 'coco' in name else 18)
    # One sees every default spelt out: the constructor's are the paper's too.
    generator = {key: value for key, value in opt['network_g'].items() if key != 'type'}
    assert generator == {'num_in_ch': 3, 'num_feat': 64, 'num_block': 9, 'text_dim': 256, 'use_global_fusion': True,
                         'use_local_fusion': True, 'text_norm': True}


TRAINING_IMAGES = {'cub': 8855, 'oxford102': 7034, 'coco': 118287}
BASELINES = ('edsr', 'rnan', 'qgcn', 'fbcnn')
TRAINED = [f'{net}_{data}' for data in TRAINING_IMAGES for net in (*BASELINES, 'tgjar')
           if data != 'coco' or net in ('edsr', 'tgjar')]
TESTED = [*TRAINED, 'edsr_kodak', 'tgjar_kodak']


def flat(section, prefix=''):
    """{'datasets:train:qf': 1, ...} of nested options."""
    entries = {}
    for key, value in section.items():
        entries |= flat(value, f'{prefix}{key}:') if isinstance(value, dict) else {f'{prefix}{key}': value}
    return entries


def differing(one, other):
    """Keys that one of two option files lacks, or that have different values; the names of data sets are all alike."""
    def alike(opt):
        return {key: re.sub('cub|oxford102|coco', 'DATA', value) if isinstance(value, str) else value
                for key, value in flat(opt).items()}
    one, other = alike(one), alike(other)
    return {key for key in one.keys() | other.keys() if one.get(key, 'no such key') != other.get(key, 'no such key')}


@pytest.mark.parametrize('name', TRAINED)
def test_training_takes_a_hundred_epochs(name):
    opt, images = load(option_file(f'train_{name}')), TRAINING_IMAGES[name.partition('_')[2]]
    epoch = images // opt['datasets']['train']['batch_size_per_gpu']
    assert opt['train']['total_iter'] == 100 * epoch
    assert opt['train']['scheduler']['milestones'] == [20 * epoch * k for k in (1, 2, 3, 4)]
    assert (opt['train']['optim_g']['type'], opt['train']['optim_g']['lr']) == ('Adam', 1e-4)
    # RNAN's own batch and crop: attention over 256x256 pixels does not fit
    batch, crop = (16, 48) if 'rnan' in name else (4, 256)
    assert (opt['datasets']['train']['batch_size_per_gpu'], opt['datasets']['train']['gt_size']) == (batch, crop)


@pytest.mark.parametrize('data, epoch, epochs', [('cub', 184, 200), ('oxford102', 146, 200), ('coco', 2464, 100)])
def test_stage_1_schedule(data, epoch, epochs):
    opt = load(option_file(f'train_damsm_{data}'))
    assert TRAINING_IMAGES[data] // 48 == epoch == opt['train']['scheduler']['iters_per_epoch']
    assert opt['train']['total_iter'] == epochs * epoch and opt['val']['val_freq'] == 10 * epoch
    assert {dataset['max_words'] for dataset in opt['datasets'].values()} == {15 if data == 'coco' else 18}


@pytest.mark.parametrize('name', TRAINED)
def test_data_sets_differ_in_their_schedule_only(name):
    net, _, data = name.partition('_')
    allowed = {'train:scheduler:milestones', 'train:total_iter'} if data != 'cub' else set()
    if data == 'coco':
        allowed |= {'val:val_freq'}
        if net == 'tgjar':
            allowed |= {'datasets:train:max_words', 'datasets:val:max_words'}
    assert differing(load(option_file(f'train_{net}_cub')), load(option_file(f'train_{name}'))) == allowed


@pytest.mark.parametrize('name', TESTED)
def test_test_files_differ_in_the_data_set_only(name):
    net, _, data = name.partition('_')
    allowed = set()
    if data == 'kodak':  # whole images of one caption, by the model trained on COCO
        allowed = {'name', 'datasets:test_1:name', 'datasets:test_1:dataroot_gt', 'datasets:test_1:gt_size'}
    if data in ('coco', 'kodak') and net == 'tgjar':
        allowed |= {'datasets:test_1:max_words'}
    opt = load(option_file(f'test_{name}'))
    assert differing(load(option_file(f'test_{net}_cub')), opt) == allowed
    trained = name.replace('kodak', 'coco')
    assert opt['path']['pretrain_network_g'] == f'experiments/train_{trained}/models/net_g_latest.pth'
    (dataset,) = opt['datasets'].values()
    assert dataset['dataroot_gt'] == f'data/{data}/test' and dataset['qf'] == 1


@pytest.mark.parametrize('name', TESTED)
def test_what_is_trained_is_tested(name):
    train, test = load(option_file(f'train_{name.replace("kodak", "coco")}')), load(option_file(f'test_{name}'))
    for label in ('network_g', 'network_t'):
        tested = test.get(label)
        if tested and tested['type'] == 'FBCNN':
            assert tested.pop('qf_input') is None
        assert tested == train.get(label)


@pytest.mark.parametrize('net', BASELINES)
@pytest.mark.parametrize('data', ['cub', 'oxford102'])
def test_baselines_differ_in_little_but_the_network(net, data):
    allowed = {
        'edsr': set(),
        'rnan': {'datasets:train:gt_size', 'datasets:train:batch_size_per_gpu', 'datasets:val:max_images',
                 'train:scheduler:milestones', 'train:total_iter', 'train:pixel_opt:type', 'val:val_freq',
                 'logger:save_checkpoint_freq'},
        'qgcn': {f'datasets:{phase}:{key}' for phase in ('train', 'val') for key in ('quantisation_maps', 'thumbnail')},
        'fbcnn': {'path:pretrain_network_g', *(f'train:qf_opt:{key}' for key in ('type', 'loss_weight', 'reduction'))},
    }[net] | ({'name'} if net != 'edsr' else set())
    found = differing(load(option_file(f'train_edsr_{data}')), load(option_file(f'train_{net}_{data}')))
    assert {key for key in found if not key.startswith('network_g')} == allowed


def test_unpacked_text_encoders_have_their_own_vocabulary(file):
    """`tgjar unpack` writes net_t_latest.pth and tokenizer.json into one folder; another vocabulary is refused."""
    opt = load(file)
    weights = Path(opt['path'].get('pretrain_network_t') or '')
    if weights.parent.name not in ('', 'models'):
        assert {dataset['tokenizer'] for dataset in opt['datasets'].values()} == {f'{weights.parent}/tokenizer.json'}


def test_entries_in_comments_change_keys_that_exist(file):
    """Every `--force_yml` line that a file shows can be typed as it stands."""
    for label, entries in rows(file).items():
        changed, notes = override(load(file), entries, file.name)
        assert notes == [], label
        for entry in entries:  # BasicSR's own script reads it alike
            value = entry.partition('=')[2]
            assert _postprocess_yml_value(value) == parse_value(value), entry
        assert differing(changed, load(file)), label
        check_options(changed, file.name, is_train='train' in changed)


@pytest.mark.parametrize('qf', [5, 10])
@pytest.mark.parametrize('name', [f'{kind}_{name}' for kind in ('train', 'test') for name in TRAINED
                                  if not name.endswith('coco')])
def test_other_quality_factors(name, qf):
    (entries,) = [entries for label, entries in rows(option_file(name)).items() if label.startswith('Quality factor 5')]
    opt, _ = override(load(option_file(name)), [re.sub(r'qf5|qf=5', lambda m: m[0].replace('5', str(qf)), entry)
                                                for entry in entries], name)
    assert opt['name'] == f'{name}_qf{qf}'
    assert {dataset['qf'] for dataset in opt['datasets'].values()} == {qf}
    changed = {'name', *(f'datasets:{phase}:qf' for phase in opt['datasets'])}
    if name.startswith('test'):
        labels = [label for label in 'gt' if f'network_{label}' in opt]
        changed |= {'datasets:test_1:name', *(f'path:pretrain_network_{label}' for label in labels)}
        trained = name.replace('test', 'train', 1)
        for label in labels:  # what training at this factor leaves behind
            assert opt['path'][f'pretrain_network_{label}'] == (
                f'experiments/{trained}_qf{qf}/models/net_{label}_latest.pth')
    assert differing(opt, load(option_file(name))) == changed
