import shutil
from copy import deepcopy

import pytest
import torch
from basicsr.archs import build_network

from tests.helpers.tiny_model import batch, changed, make, state, step
from tgjar_arch.losses.chroma_loss import chroma_block_error
from tgjar_arch.losses.grid_loss import grid_pattern_error
from tgjar_arch.losses.relative_loss import relative_error
from tgjar_arch.weights.checkpoint import load_checkpoint, save_atomically


def test_all_losses_are_logged_and_every_network_moves(opt):
    model, data = make(opt), batch(opt)
    before = {label: state(getattr(model, f'net_{label}')) for label in 'gtd'}
    step(model, data)
    assert list(model.get_current_log()) == ['l_g_pix', 'l_g_contrastive', 'l_g_gan', 'l_d_fake', 'out_d_fake',
                                             'l_d_real', 'out_d_real']
    for label in 'gd':
        net = getattr(model, f'net_{label}')
        trained = {name for name, p in net.named_parameters() if not name.startswith('null_')}
        assert changed(net, before[label]) >= trained
    assert changed(model.net_t, before['t']) == set(dict(model.net_t.named_parameters()))


@pytest.mark.parametrize('without, logged', [
    (('gan_opt',), ['l_g_pix', 'l_g_contrastive']),
    (('gan_opt', 'contrastive_opt'), ['l_g_pix']),
    (('pixel_opt', 'gan_opt'), ['l_g_contrastive']),
])
def test_a_loss_is_present_only_if_its_option_is(opt, without, logged):
    for key in without:
        opt['train'][key] = None
    if 'gan_opt' in without:
        del opt['network_d'], opt['train']['optim_d']
    model = make(opt)
    step(model, batch(opt))
    assert list(model.get_current_log()) == logged
    assert (model.net_d is None) == ('gan_opt' in without)


def test_the_total_is_the_weighted_sum(opt):
    opt['train'] |= {'ema_decay': 0, 'chroma_opt': {'type': 'ChromaBlockLoss', 'loss_weight': 5.0},
                     'grid_opt': {'type': 'GridPatternLoss', 'loss_weight': 7.0, 'blocks': 2}}
    model, data = make(opt), batch(opt)
    model.feed_data(data)
    model.net_t.eval()  # no dropout: two passes are the same
    output = model.net_g(model.lq, model.net_t(model.ids, model.mask))
    total = ((output - model.gt).abs().mean() + model.cri_contrastive(output, model.gt, model.lq)
             + 5 * chroma_block_error(output, model.gt).mean() + 7 * grid_pattern_error(output, model.gt, 2).mean()
             + 1e-3 * torch.nn.functional.softplus(-model.net_d(output)).mean())
    (expected,) = torch.autograd.grad(total, model.net_g.tail.weight)
    model.optimizer_g.step = lambda *args, **kwargs: None
    model.optimize_parameters(1)
    torch.testing.assert_close(model.net_g.tail.weight.grad, expected, rtol=1e-3, atol=1e-6)
    assert list(model.get_current_log())[:4] == ['l_g_pix', 'l_g_chroma', 'l_g_grid', 'l_g_contrastive']


def test_l_r_may_be_divided_by_the_error_of_the_jpeg(opt):
    opt['train']['pixel_opt'] = {'type': 'RelativeMSELoss', 'loss_weight': 3.0}
    model, data = make(opt), batch(opt)
    model.feed_data(data)
    model.forward_once()
    step(model, data)
    expected = 3 * relative_error(model.output, model.gt, model.lq).mean()
    assert model.get_current_log()['l_g_pix'] == pytest.approx(expected.item(), rel=1e-5)


def test_learns(opt):
    model, data = make(opt), batch(opt)
    step(model, data)
    first = model.get_current_log()['l_g_pix']
    step(model, data, 30)
    assert model.get_current_log()['l_g_pix'] < 0.9 * first


def test_a_frozen_text_encoder_stays_as_it_is(opt, tmp_path):
    make(opt).save(0, 5)
    opt['train']['train_network_t'] = False
    opt['path']['pretrain_network_t'] = str(tmp_path / 'models' / 'net_t_5.pth')
    model = make(opt)
    before = state(model.net_t)
    step(model, batch(opt), 2)
    assert not model.net_t.training and not any(p.requires_grad for p in model.net_t.parameters())
    assert changed(model.net_t, before) == set()
    assert not hasattr(model, 'net_t_ema')


def test_average_follows_networks_and_is_what_validation_uses(opt):
    model, data = make(opt), batch(opt)
    before = {label: state(getattr(model, f'net_{label}_ema')) for label in 'gt'}
    step(model, data)
    for label in 'gt':
        now, followed = (dict(getattr(model, f'net_{label}{kind}').named_parameters()) for kind in ('_ema', ''))
        for key, value in now.items():
            torch.testing.assert_close(value, 0.9 * before[label][key] + 0.1 * followed[key])
    model.feed_data(data)
    model.test()
    text = model.net_t_ema(model.ids, model.mask)
    torch.testing.assert_close(model.output, model.net_g_ema(model.lq, text).detach())
    assert model.net_g.training and model.net_t.training and not model.net_g_ema.training


@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_mixed_precision_keeps_losses_near_float32(opt, amp):
    data, logs = batch(opt), []
    for value in (None, amp):
        opt['train']['amp'] = value
        opt['network_t']['drop_prob'] = 0.0
        model = make(opt)
        step(model, data)
        logs.append(model.get_current_log())
        assert model.output.dtype == torch.float32
    for key in ('l_g_pix', 'l_g_contrastive', 'l_g_gan'):
        assert logs[1][key] == pytest.approx(logs[0][key], rel=0.05)


def test_channels_last_gives_the_same_losses_and_gradients(opt):
    data, runs = batch(opt), []
    opt['network_t']['drop_prob'] = 0.0
    for value in (False, True):
        opt['train']['channels_last'] = value
        model = make(opt)
        step(model, data)
        runs.append((model.get_current_log(), {key: p.grad for key, p in model.net_g.named_parameters()}))
        for net in (model.net_g, model.net_g_ema, model.net_d):
            four = [p for p in net.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
            assert four and all(p.is_contiguous(memory_format=torch.channels_last) == value for p in four)
    for key, value in runs[0][0].items():
        assert runs[1][0][key] == pytest.approx(value, rel=1e-4), key
    for key, value in runs[0][1].items():
        torch.testing.assert_close(runs[1][1][key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('amp, rtol', [(None, 1e-5), ('fp16', 1e-2)])
def test_one_pass_of_the_discriminator_serves_both_updates(opt, amp, rtol):
    opt['network_t']['drop_prob'] = 0.0
    opt['train'] |= {'amp': amp, 'clip_grad': 0.5}
    data, runs, passes = batch(opt), [], []
    for reuse in (False, True):
        opt['train']['reuse_fake'] = reuse
        model = make(opt)
        model.net_d.register_forward_hook(lambda *_, reuse=reuse: passes.append(reuse))
        step(model, data)
        runs.append((model.get_current_log(), [p.grad for net in (model.net_g, model.net_d) for p in net.parameters()]))
    assert passes.count(False) == 3 and passes.count(True) == 2
    assert runs[0][0] == pytest.approx(runs[1][0], rel=rtol)
    for plain, reused in zip(runs[0][1], runs[1][1], strict=True):
        torch.testing.assert_close(reused, plain, rtol=rtol, atol=rtol * plain.abs().max().item())


def test_fused_adam_takes_the_same_steps(opt):
    opt['network_t']['drop_prob'] = 0.0
    data, weights = batch(opt), []
    for fused in (False, True):
        for key in ('optim_g', 'optim_d'):
            opt['train'][key] |= {'fused': fused, 'lr': 1e-3, 'eps': 1e-3}
        model = make(opt)
        step(model, data, 2)
        assert model.optimizer_g.defaults['fused'] == fused
        weights.append([p.detach() for net in (model.net_g, model.net_d) for p in net.parameters()])
    for plain, fused in zip(*weights, strict=True):
        torch.testing.assert_close(fused, plain, rtol=0, atol=1e-5)  # two steps move a weight by up to 2e-3


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ('g++', 'c++', 'clang++'))), reason='torch.compile needs a C++ compiler')
def test_a_compiled_generator_has_the_same_losses_gradients_and_checkpoints(opt, tmp_path):
    opt['network_t']['drop_prob'] = 0.0
    opt['network_g']['use_local_fusion'] = False  # most of what takes long to compile
    opt['train'] |= {'gan_opt': None, 'channels_last': True}
    data, runs = batch(opt), []
    for compiled in (False, True):
        opt['train']['compile'] = compiled
        model = make(opt)
        step(model, data)
        runs.append((model.get_current_log(), {key: p.grad for key, p in model.net_g.named_parameters()}))
    assert runs[1][0] == pytest.approx(runs[0][0], rel=1e-4)
    for key, value in runs[0][1].items():
        torch.testing.assert_close(runs[1][1][key], value, rtol=1e-3, atol=1e-5)
    model.save(0, 1)
    assert set(load_checkpoint(tmp_path / 'models/net_g_1.pth')['params']) == set(runs[0][1])


def test_discriminator_warm_up_leaves_the_generator_alone(opt):
    opt['train']['net_d_init_iters'] = 1
    model, data = make(opt), batch(opt)
    before = state(model.net_g), state(model.net_d)
    step(model, data)
    assert changed(model.net_g, before[0]) == set() and changed(model.net_d, before[1])
    assert 'l_g_pix' not in model.get_current_log()


def test_any_network_of_basicsr_works(opt):
    opt['network_g'] = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 1}
    del opt['network_t']
    opt['train']['train_network_t'] = False
    model = make(opt)
    step(model, batch(opt))
    assert not model.takes_text and 'l_g_contrastive' in model.get_current_log()


@pytest.mark.parametrize('change, message', [
    (lambda opt: opt.pop('network_d'), 'network_d is not'),
    (lambda opt: opt['train'].update(pixel_opt=None, contrastive_opt=None), 'neither pixel_opt'),
    (lambda opt: opt['train'].update(amp='int8'), "amp is 'int8'"),
    (lambda opt: opt['train'].update(train_network_t=False), 'pretrain_network_t names no weights'),
    (lambda opt: opt['network_t'].update(vocab_size=9), 'vocab_size is 9'),
    (lambda opt: [dataset.pop('tokenizer') for dataset in opt['datasets'].values()], 'tgjar vocab'),
    (lambda opt: opt.pop('network_t'), 'there is no network_t'),
])
def test_wrong_options_are_named(opt, change, message):
    change(opt)
    with pytest.raises(ValueError, match=message):
        make(opt)


def test_losses_that_became_nan_stop_the_training(opt):
    model, data = make(opt), batch(opt)
    with torch.no_grad():
        model.net_g.tail.bias.fill_(float('nan'))
    step(model, data)
    with pytest.raises(FloatingPointError, match='l_g_pix'):
        model.get_current_log()


@pytest.fixture
def with_damsm(opt, tmp_path):
    """The same with L_IT: frozen encoders from checkpoints."""
    make(opt).save(0, 5)
    opt['train'] |= {'train_network_t': False, 'damsm_opt': {'type': 'DAMSMLoss', 'loss_weight': 5e-4}}
    opt['network_i'] = {'type': 'DAMSMImageEncoder', 'backbone': 'alexnet', 'text_dim': 16}
    encoder = build_network(opt['network_i'])
    save_atomically({'params': encoder.state_dict()}, tmp_path / 'models' / 'net_i_5.pth')
    for label in 'ti':
        opt['path'][f'pretrain_network_{label}'] = str(tmp_path / 'models' / f'net_{label}_5.pth')
    return opt


def test_all_four_losses_together(with_damsm):
    model, data = make(with_damsm), batch(with_damsm)
    before = state(model.net_i), state(model.net_t)
    step(model, data, 2)
    log = model.get_current_log()
    assert {'l_g_pix', 'l_g_contrastive', 'l_g_gan', 'l_g_damsm'} <= set(log) and log['l_g_damsm'] > 0
    assert changed(model.net_i, before[0]) == changed(model.net_t, before[1]) == set()
    assert not model.net_i.training and all(p.grad is None for p in model.net_i.parameters())


def test_image_text_loss_reaches_the_generator_only_through_the_image(with_damsm):
    for key in ('contrastive_opt', 'gan_opt'):
        with_damsm['train'][key] = None
    gradients = []
    for weight in (0.0, 1.0):
        with_damsm['train']['damsm_opt']['loss_weight'] = weight
        model = make(with_damsm)
        step(model, batch(with_damsm))
        gradients.append(model.net_g.tail.weight.grad.clone())
    assert (gradients[1] - gradients[0]).abs().max() > 1e-6


def test_dropped_captions_take_no_part_in_the_image_text_loss(with_damsm):
    model, data = make(with_damsm), batch(with_damsm)
    data['text_mask'][:] = False
    step(model, data)
    log = model.get_current_log()
    assert log['l_g_damsm'] == 0 and log['l_g_pix'] > 0


@pytest.mark.parametrize('change, message', [
    (lambda opt: opt.pop('network_i'), 'needs network_i'),
    (lambda opt: opt['path'].pop('pretrain_network_i'), 'pretrain_network_i names no weights'),
    (lambda opt: opt['train'].update(train_network_t=True), 'train_network_t: false'),
])
def test_image_text_loss_says_what_it_lacks(with_damsm, change, message):
    change(with_damsm)
    with pytest.raises(ValueError, match=message):
        make(with_damsm)


def test_a_misspelt_key_is_named(opt):
    for section, key, near in (('train', 'contrastive_op', 'contrastive_opt'), ('train', 'ema_decy', 'ema_decay'),
                               ('val', 'num_show', 'num_shown'), ('path', 'pretrain_networkg', 'pretrain_network_g')):
        wrong = deepcopy(opt)
        wrong[section][key] = None
        with pytest.raises(ValueError, match=f'{section}: nothing reads the key {key!r}; the nearest is {near!r}'):
            make(wrong)


@pytest.mark.parametrize('amp', [None, 'fp16'])
def test_gradient_is_clipped(opt, amp):
    opt['train'] |= {'clip_grad': 1e-3, 'amp': amp}
    model = make(opt)
    step(model, batch(opt))
    norm = torch.stack([p.grad.norm() for p in model.optimizer_g.param_groups[0]['params']]).norm()
    assert norm == pytest.approx(1e-3, rel=0.01)
