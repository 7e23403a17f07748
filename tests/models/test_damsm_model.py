import json
import math
import sys
from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from torch import distributed, nn
from torch.utils.data import DataLoader

from tests.helpers.checkout import ROOT
from tests.helpers.forked import start
from tgjar_arch import register
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.checkpoint import load_checkpoint

LOSSES = ['l_word_i2t', 'l_word_t2i', 'l_sentence_i2t', 'l_sentence_t2i']


@pytest.fixture(autouse=True)
def one_thread(deterministic):
    torch.set_num_threads(1)


@pytest.fixture
def opt(photos, tmp_path):
    """Options of a tiny stage 1 on three photographs of 64 pixels: a random AlexNet, 16 features."""
    root = photos(size=64)
    captions = [json.loads(line)['captions'] for line in (root / 'metadata.jsonl').read_text().splitlines()]
    WordTokenizer.build(sum(captions, [])).save(tmp_path / 'tokenizer.json')
    dataset = {'type': 'PairedImageTextDataset', 'dataroot_gt': str(root), 'io_backend': {'type': 'disk'}, 'qf': None,
               'tokenizer': str(tmp_path / 'tokenizer.json'), 'max_words': 8}
    for folder in ('models', 'training_states'):
        (tmp_path / folder).mkdir()
    return {
        'name': 'tiny', 'model_type': 'DAMSMModel', 'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1,
        'is_train': True,
        'datasets': {'train': dataset | {'name': 'train', 'phase': 'train', 'gt_size': 64},
                     'val': dataset | {'name': 'val', 'phase': 'val'}},
        'network_t': {'type': 'LSTMTextEncoder', 'vocab_size': None, 'embed_dim': 8, 'text_dim': 16},
        'network_i': {'type': 'DAMSMImageEncoder', 'backbone': 'alexnet', 'text_dim': 16, 'input_size': 96},
        'path': {key: str(tmp_path / key) for key in ('models', 'training_states')},
        'train': {
            'damsm_opt': {'type': 'DAMSMLoss'}, 'clip_text': 0.25,
            'optim_g': {'type': 'Adam', 'lr': 2e-3, 'betas': [0.5, 0.999]},
            'scheduler': {'type': 'EpochDecayLR', 'gamma': 0.98, 'min_lr': 2e-4, 'iters_per_epoch': 3}},
        'val': {'batch_size': 2},
    }


def make(opt):
    torch.manual_seed(0)
    return build_model(deepcopy(opt))


def make_quick_learner(opt):
    opt['train'] |= {'clip_text': 0, 'optim_g': {'type': 'Adam', 'lr': 1e-2}}
    opt['network_t']['drop_prob'] = 0.0
    model = make(opt)
    for layer in model.net_i.backbone.modules():  # PyTorch's own random weights show hardly anything of the image
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def batch(opt, size=3):
    return next(iter(DataLoader(build_dataset(deepcopy(opt['datasets']['val'])), batch_size=size)))


def step(model, data, iterations=1):
    logs = []
    for iteration in range(1, iterations + 1):
        model.feed_data(data)
        model.optimize_parameters(iteration)
        logs.append(sum(model.get_current_log().values()))
    return logs


def validate(model, opt, iteration=1):
    loader = DataLoader(build_dataset(deepcopy(opt['datasets']['val'])), batch_size=1)
    model.validation(loader, iteration, None, save_img=False)
    return getattr(model, 'metric_results', None)


def test_the_loss_falls_and_only_trained_parameters_move(opt):
    opt['train']['clip_text'] = 0
    opt['network_t']['drop_prob'] = 0.0
    model, data = make(opt), batch(opt)
    before = {label: deepcopy(getattr(model, f'net_{label}').state_dict()) for label in 'ti'}
    losses = step(model, data, 15)
    assert list(model.get_current_log()) == LOSSES
    assert losses[-1] < 0.7 * losses[0]
    assert all(not torch.equal(value, before['t'][key]) for key, value in model.net_t.state_dict().items())
    moved = {key for key, value in model.net_i.state_dict().items() if not torch.equal(value, before['i'][key])}
    assert moved == {'emb_features.weight', 'emb_cnn_code.weight', 'emb_cnn_code.bias'}


def test_a_frozen_backbone_is_not_in_the_optimizer(opt):
    model = make(opt)
    (optimizer,) = model.optimizers
    optimised = {id(p) for group in optimizer.param_groups for p in group['params']}
    assert optimised == {id(p) for p in (*model.net_t.parameters(), *model.net_i.emb_features.parameters(),
                                         *model.net_i.emb_cnn_code.parameters())}
    opt['network_i']['train_backbone'] = True
    (optimizer,) = make(opt).optimizers
    assert len(optimizer.param_groups[0]['params']) == len(optimised) + 10  # 5 convolutions


@pytest.mark.parametrize('clip', [0.01, 0])
def test_the_gradient_of_the_text_encoder_is_clipped(opt, clip):
    opt['train']['clip_text'] = clip
    opt['network_t']['drop_prob'] = 0.0
    model = make(opt)
    step(model, batch(opt))
    norms = [torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).norm()
             for net in (model.net_t, model.net_i)]
    assert (norms[0] <= 0.01 * 1.0001) == bool(clip)
    assert norms[1] > 0.01  # the image encoder's is never clipped


def test_the_learning_rate_decays_by_the_epoch(opt):
    model = make(opt)
    rates = []
    for iteration in range(1, 500):
        model.optimizers[0].step()
        model.update_learning_rate(iteration)
        rates += model.get_current_learning_rate()
    assert rates[:3] == [2e-3] * 3
    assert rates[3:7] == pytest.approx([2e-3 * 0.98] * 3 + [2e-3 * 0.98**2])
    assert min(rates) == rates[-1] == pytest.approx(2e-4)
    opt['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [1], 'gamma': 0.1}
    model = make(opt)
    model.optimizers[0].step()
    model.update_learning_rate(2)
    assert model.get_current_learning_rate() == pytest.approx([2e-4])


def test_checkpoints_say_what_they_are_and_resume(opt, tmp_path):
    model, data = make(opt), batch(opt)
    step(model, data, 2)
    model.save(0, 2)
    text, image = (load_checkpoint(tmp_path / 'models' / f'net_{label}_2.pth') for label in 'ti')
    assert WordTokenizer.from_json(text['tokenizer']).to_json() == model.tokenizer.to_json()
    assert text['max_words'] == 8 and json.loads(text['network'])['vocab_size'] == model.tokenizer.vocab_size
    assert json.loads(image['network']).items() >= opt['network_i'].items() and 'tokenizer' not in image
    for label in 'ti':
        opt['path'][f'pretrain_network_{label}'] = str(tmp_path / 'models' / f'net_{label}_2.pth')
    torch.manual_seed(9)
    resumed = build_model(deepcopy(opt))
    resumed.resume_training(load_checkpoint(tmp_path / 'training_states' / '2.state'))
    for one in (model, resumed):
        torch.manual_seed(3)
        step(one, data)
        one.update_learning_rate(3)
    for net in ('net_t', 'net_i'):
        for (key, a), b in zip(getattr(model, net).state_dict().items(), getattr(resumed, net).state_dict().values(),
                               strict=True):
            torch.testing.assert_close(a, b, msg=f'{net}.{key}')
    assert model.get_current_learning_rate() == resumed.get_current_learning_rate()


def test_validation_reports_and_tracks_the_best(opt):
    model = make_quick_learner(opt)
    first = dict(validate(model, opt, 5))
    assert list(first) == ['word_loss', 'sentence_loss', 'r_precision']
    assert model.net_t.training and model.net_i.training
    assert validate(model, opt, 6) == first  # seeded, without dropout
    step(model, batch(opt), 15)
    last = validate(model, opt, 7)
    assert last['sentence_loss'] < first['sentence_loss'] and last['r_precision'] == 1
    best = model.best_metric_results['val']
    assert [best[key]['better'] for key in last] == ['lower', 'lower', 'higher']
    assert best['sentence_loss'] == {'better': 'lower', 'val': last['sentence_loss'], 'iter': 7}
    model.cri_damsm.gamma3 *= -1  # worse losses are no best
    validate(model, opt, 8)
    assert best['sentence_loss']['iter'] == 7


def test_validation_equals_the_losses_of_a_batch(opt):
    opt['val']['batch_size'] = 48  # more than there are
    model = make(opt)
    results = validate(model, opt)
    model.net_t.eval()
    model.feed_data(batch(opt))
    with torch.no_grad():
        terms = model.cri_damsm.terms(*model._encode(), model.class_ids)
    assert results['word_loss'] == pytest.approx((terms['word_i2t'] + terms['word_t2i']).item(), rel=1e-3)
    assert results['sentence_loss'] == pytest.approx((terms['sentence_i2t'] + terms['sentence_t2i']).item(), rel=1e-4)


def validate_in(rank, folder):
    """One of the two processes: `folder` has opt.json, and gets the results."""
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2,
                                   timeout=timedelta(minutes=5))
    register()  # as the option file's first line does
    opt = json.loads((folder / 'opt.json').read_text())
    model = make(opt)
    model.opt['dist'] = True  # the networks stay bare: their wrapping is not the subject
    torch.save(validate(model, opt), f'{folder}/results{rank}.pth')
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_a_validation(opt, tmp_path):
    model = make(opt)
    validate(model, opt)
    (tmp_path / 'opt.json').write_text(json.dumps(opt))
    processes = [start('-m', __name__, rank, tmp_path, path=(ROOT,)) for rank in (0, 1)]
    for done in [process.wait() for process in processes]:
        assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f'results{rank}.pth') for rank in (0, 1))
    assert first == pytest.approx(model.metric_results, rel=1e-5) and second is None  # one process reports


def test_images_without_a_caption_do_not_count(opt, photos):
    model = make_quick_learner(opt)
    step(model, batch(opt), 15)
    root = photos(size=64, folder='some')
    lines = (root / 'metadata.jsonl').read_text().splitlines()
    (root / 'metadata.jsonl').write_text('\n'.join(lines[:2]) + '\n')
    opt['datasets']['val']['dataroot_gt'] = str(root)
    results = validate(model, opt)
    assert results['r_precision'] == 1 and all(torch.isfinite(torch.tensor(list(results.values()))))


def test_what_cannot_be_measured_ends_no_training(opt, photos, log):
    """A broken image is left out and named; R-precision of one class is no number, and never the best."""
    root = photos(size=64, folder='one_class')
    lines = [json.loads(line) | {'class_id': 3} for line in (root / 'metadata.jsonl').read_text().splitlines()]
    (root / 'metadata.jsonl').write_text('\n'.join(map(json.dumps, lines)) + '\n')
    broken, *others = sorted(root.glob('*.png'))
    broken.write_bytes(broken.read_bytes()[:200])
    opt['datasets']['val']['dataroot_gt'] = str(root)
    model = make(opt)
    results = validate(model, opt, 5)
    for file in others:
        file.write_bytes(file.read_bytes()[:200])
    validate(model, opt, 6)
    assert math.isnan(results['r_precision']) and math.isfinite(results['word_loss'])
    assert model.best_metric_results['val']['r_precision']['iter'] == -1
    assert broken.name in log.text and 'R-precision needs' in log.text
    assert 'none of its images can be read' in log.text


def test_test_mode_measures_given_checkpoints(opt, tmp_path, log):
    model = make(opt)
    step(model, batch(opt), 3)
    expected = validate(model, opt)
    model.save(0, -1)
    opt['is_train'] = False
    opt['val']['damsm_opt'] = opt.pop('train')['damsm_opt']
    for label in 'ti':
        opt['path'][f'pretrain_network_{label}'] = str(tmp_path / 'models' / f'net_{label}_latest.pth')
    tested = make(opt)
    log.clear()
    assert validate(tested, opt, 'tiny') == pytest.approx(expected)
    assert f'# r_precision: {expected["r_precision"]:.4f}' in log.text and 'Best' not in log.text
    assert tested.optimizers == []


def test_wrong_options_are_named(opt, tmp_path):
    make(opt).save(0, 2)
    del opt['train']['damsm_opt']
    with pytest.raises(ValueError, match='train: has no damsm_opt'):
        make(opt)
    opt['train']['damsm_opt'] = {'type': 'DAMSMLoss'}
    WordTokenizer.build(['a green parrot']).save(tmp_path / 'tokenizer.json')
    opt['path']['pretrain_network_t'] = str(tmp_path / 'models' / 'net_t_2.pth')
    with pytest.raises(ValueError, match='another vocabulary'):
        make(opt)


def test_losses_that_became_nan_stop_the_training(opt):
    model = make(opt)
    with torch.no_grad():
        model.net_i.emb_cnn_code.bias.fill_(float('nan'))
    with pytest.raises(FloatingPointError, match='l_sentence_i2t, l_sentence_t2i became NaN'):
        step(model, batch(opt))


def test_stage_2_takes_the_text_encoder(opt, tmp_path):
    model = make(opt)
    step(model, batch(opt))
    model.save(0, -1)
    stage2 = deepcopy(opt) | {
        'model_type': 'TGJARModel',
        'network_g': {'type': 'TGJARGenerator', 'num_feat': 8, 'num_block': 1, 'text_dim': 16},
        'path': opt['path'] | {'pretrain_network_t': str(tmp_path / 'models' / 'net_t_latest.pth')},
        'train': {'optim_g': {'type': 'Adam', 'lr': 1e-3},
                  'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.1},
                  'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}}}
    stage2['datasets']['train'] |= {'qf': 1, 'gt_size': 32}
    del stage2['network_i'], stage2['val']
    restorer = build_model(deepcopy(stage2))
    for key, value in restorer.net_t.state_dict().items():
        assert torch.equal(value, model.net_t.state_dict()[key])
    assert not restorer.net_t.training and not any(p.requires_grad for p in restorer.net_t.parameters())
    restorer.feed_data(next(iter(DataLoader(build_dataset(stage2['datasets']['train']), batch_size=2))))
    restorer.optimize_parameters(1)
    assert torch.equal(restorer.net_t.encoder.weight, model.net_t.encoder.weight)


@pytest.mark.parametrize('change, message', [
    (lambda opt: opt['network_i'].update(text_dim=32), 'share one space'),
    (lambda opt: opt['val'].update(r_precision={'num_negative': 9}), "nothing reads the key 'num_negative'"),
    (lambda opt: opt['val'].update(r_precision={'num_negatives': 0}), 'at least 1'),
    (lambda opt: opt['val'].update(suffix=None, metrics={'psnr': {'type': 'calculate_psnr'}}),
     "nothing reads the key 'metrics'"),
    (lambda opt: opt['train'].update(scheduler={'type': 'EpochDecayLR', 'gamma': 0.98, 'min_lr': 1e-4, 'iters': 3}),
     "nothing reads the key 'iters'"),
    (lambda opt: opt.update(is_train=False), 'random ones would be tested'),
])
def test_what_does_not_fit_is_named_at_the_start(opt, change, message):
    change(opt)
    with pytest.raises(ValueError, match=message):
        make(opt)


class Evil:
    """Its unpickling would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.mark.parametrize('label', ['t', 'i'])
def test_a_checkpoint_with_code_is_refused(opt, tmp_path, label, monkeypatch):
    """Whatever torch.load does by itself: versions before 2.6 unpickle."""
    torch.save({'params': Evil(tmp_path / 'written')}, tmp_path / 'evil.pth')
    opt['path'][f'pretrain_network_{label}'] = str(tmp_path / 'evil.pth')
    original, given = torch.load, []

    def load(*arguments, **options):
        given.append(options.get('weights_only'))
        return original(*arguments, **options)

    monkeypatch.setattr(torch, 'load', load)
    with pytest.raises(ValueError, match='evil.pth is refused: it holds more than tensors and plain containers'):
        build_model(deepcopy(opt))
    assert given == [True] and not (tmp_path / 'written').exists()


if __name__ == '__main__':
    validate_in(int(sys.argv[1]), Path(sys.argv[2]))
