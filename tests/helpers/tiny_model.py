"""A tiny stage 2 on three photographs, for the tests of the model and of its validation; conftest has the fixture."""

import json
import random
from copy import deepcopy

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from torch.utils.data import DataLoader

from tgjar_arch.text.word_tokenizer import WordTokenizer

GAN = {'type': 'GANLoss', 'gan_type': 'vanilla', 'real_label_val': 1.0, 'fake_label_val': 0.0, 'loss_weight': 1e-3}
ADAM = {'type': 'Adam', 'lr': 1e-3}


@pytest.fixture
def opt(photos, tmp_path):
    """Options of a tiny stage 2 with all losses but L_IT, on three photographs."""
    root = photos(size=64)
    captions = [json.loads(line)['captions'] for line in (root / 'metadata.jsonl').read_text().splitlines()]
    WordTokenizer.build(sum(captions, [])).save(tmp_path / 'tokenizer.json')
    dataset = {'type': 'PairedImageTextDataset', 'dataroot_gt': str(root), 'io_backend': {'type': 'disk'}, 'qf': 1,
               'tokenizer': str(tmp_path / 'tokenizer.json'), 'max_words': 8}
    for folder in ('models', 'training_states', 'visualization'):
        (tmp_path / folder).mkdir()
    return {
        'name': 'tiny', 'model_type': 'TGJARModel', 'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1,
        'is_train': True,
        'datasets': {'train': dataset | {'name': 'train', 'phase': 'train', 'gt_size': 32},
                     'val': dataset | {'name': 'val', 'phase': 'val'}},
        'network_g': {'type': 'TGJARGenerator', 'num_feat': 8, 'num_block': 1, 'text_dim': 16},
        'network_d': {'type': 'TGJARDiscriminator', 'num_feat': 4},
        'network_t': {'type': 'LSTMTextEncoder', 'vocab_size': None, 'embed_dim': 8, 'text_dim': 16},
        'path': {key: str(tmp_path / key) for key in ('models', 'training_states', 'visualization')},
        'train': {
            'train_network_t': True, 'ema_decay': 0.9, 'optim_g': dict(ADAM), 'optim_d': dict(ADAM),
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.1},
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            'contrastive_opt': {'type': 'PerceptualContrastiveLoss', 'loss_weight': 0.01, 'pretrained': False},
            'gan_opt': dict(GAN)},
        'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
    }


def make(opt):
    torch.manual_seed(0)
    return build_model(deepcopy(opt))


def batch(opt, size=2):
    random.seed(0)
    return next(iter(DataLoader(build_dataset(deepcopy(opt['datasets']['train'])), batch_size=size)))


def step(model, data, iterations=1):
    for iteration in range(1, iterations + 1):
        model.feed_data(data)
        model.optimize_parameters(iteration)


def state(net):
    return {key: value.clone() for key, value in net.state_dict().items()}


def changed(net, before):
    return {key for key, value in net.named_parameters() if not torch.equal(value, before[key])}
