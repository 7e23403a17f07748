"""FBCNN in the trainer: the loss on its estimated quality factor, and a factor that is given."""

from copy import deepcopy

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from torch.utils.data import DataLoader

from tests.helpers.force_yml_rows import option_file
from tgjar_arch.archs.fbcnn_arch import FBCNN
from tgjar_arch.training.options import read_options

pytest.importorskip('spandrel', reason='FBCNN needs spandrel, which is optional')

TINY = {'num_feat': [4, 4, 8, 512], 'num_block': 1}


@pytest.fixture
def opt(photos):
    """Options of a training on three photographs, with the losses of the option file."""
    shipped = read_options(option_file('train_fbcnn_cub'))
    dataset = {'type': 'PairedImageTextDataset', 'dataroot_gt': str(photos(size=48, captions=False)),
               'name': 'photos', 'phase': 'train', 'gt_size': 32, 'qf': [1, 20, 60]}
    train = {key: shipped['train'][key] for key in ('pixel_opt', 'qf_opt', 'optim_g', 'scheduler')}
    return {'name': 'tiny', 'model_type': 'TGJARModel', 'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1,
            'is_train': True, 'datasets': {'train': dataset}, 'network_g': {'type': 'FBCNN', **TINY}, 'path': {},
            'train': train}


def batch(opt):
    return next(iter(DataLoader(build_dataset(deepcopy(opt['datasets']['train'])), batch_size=3)))


def test_loss_on_the_estimate(opt):
    model, data = build_model(deepcopy(opt)), batch(opt)
    with torch.no_grad():
        image, estimate = model.net_g(data['lq'], return_qf=True)
    model.feed_data(data)
    model.optimize_parameters(1)
    log = model.get_current_log()
    assert list(log) == ['l_g_pix', 'l_g_qf']
    assert log['l_g_pix'] == pytest.approx((image - data['gt']).abs().mean().item(), rel=1e-5)
    true = 1 - torch.tensor([[qf / 100] for qf in data['qf'].tolist()])
    assert log['l_g_qf'] == pytest.approx(0.1 * (estimate - true).abs().mean().item(), rel=1e-5)


def test_the_loss_teaches_the_estimate(opt):
    opt['train']['optim_g']['lr'] = 1e-3
    opt['datasets']['train']['qf'] = 60
    model, data = build_model(deepcopy(opt)), batch(opt)
    for iteration in range(30):
        model.feed_data(data)
        model.optimize_parameters(iteration)
    _, estimate = model.net_g(data['lq'], return_qf=True)
    assert (estimate - 0.4).abs().max() < 0.05  # 1 - 60 / 100; a new network estimates 0.5
    del opt['train']['qf_opt']
    without = build_model(deepcopy(opt))
    without.feed_data(data)
    without.optimize_parameters(1)
    assert list(without.get_current_log()) == ['l_g_pix']


def test_what_the_loss_needs(opt):
    model, data = build_model(deepcopy(opt)), batch(opt)
    del data['qf']
    model.feed_data(data)
    with pytest.raises(KeyError, match='qf_opt needs the quality factor of every image'):
        model.optimize_parameters(1)
    opt['network_g'] = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 1}
    with pytest.raises(ValueError, match='network_g EDSR estimates none'):
        build_model(opt)


def test_a_given_quality_factor(opt):
    """`qf_input` of the test option file is the one of `forward`, for every image."""
    assert read_options(option_file('test_fbcnn_cub'))['network_g']['qf_input'] is None
    blind, lq = FBCNN(**TINY), torch.rand(2, 3, 16, 24)
    given = FBCNN(**TINY, qf_input=0.9)
    given.load_state_dict(blind.state_dict())  # no weight of its own: public weights load as they are
    with torch.no_grad():
        expected = blind(lq, qf_input=torch.full((2, 1), 0.9))
        assert torch.equal(given(lq), expected) and not torch.equal(blind(lq), expected)
        assert torch.equal(given(lq, qf_input=torch.zeros(2, 1)), blind(lq, qf_input=torch.zeros(2, 1)))
        (_, one), (_, other) = given(lq, return_qf=True), blind(lq, return_qf=True)
        assert torch.equal(one, other)  # the estimate remains the network's own

    opt |= {'is_train': False, 'network_g': {'type': 'FBCNN', **TINY, 'qf_input': 0.9}, 'val': {}}
    del opt['train']
    model = build_model(opt)
    model.net_g.load_state_dict(blind.state_dict())
    model.feed_data({'lq': lq})
    model.test()
    assert torch.equal(model.output, expected)


@pytest.mark.parametrize('qf_input', [10, -0.1])
def test_a_quality_factor_in_the_place_of_its_complement(qf_input):
    with pytest.raises(ValueError, match=r'1 - QF / 100, from 0 to 1, but is .*; for quality factor 10 give 0.9'):
        FBCNN(**TINY, qf_input=qf_input)
