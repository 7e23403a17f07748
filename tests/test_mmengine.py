"""`import tgjar_arch.mmengine`: MMEngine's registries build ours, and its Runner trains, validates and saves them."""

import json
import math

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr
from basicsr.utils import tensor2img
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

import tgjar_arch
from tests.helpers.checkout import ROOT, run_python
from tgjar_arch.archs.image_encoder_arch import DAMSMImageEncoder
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.metrics.lpips import build_lpips, cached_lpips
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.checkpoint import save_atomically
from tgjar_arch.weights.file import write_weights

pytest.importorskip('mmengine')

from mmengine import Config  # noqa: E402
from mmengine.registry import DATASETS, METRICS, MODELS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from tgjar_arch import mmengine as ours  # noqa: E402

CONFIG = ROOT / 'docs' / 'mmengine_train_tgjar_cub.py'
G = {'type': 'tgjar.TGJARGenerator', 'num_feat': 8, 'num_block': 1, 'text_dim': 16}
T = {'type': 'tgjar.LSTMTextEncoder', 'vocab_size': None, 'embed_dim': 8, 'text_dim': 16}


@pytest.fixture
def files(photos, tmp_path, monkeypatch):
    """Photographs, vocabulary, encoders as stage 1 leaves them, and LPIPS' trunk with random weights."""
    root = photos(size=64)
    captions = [json.loads(line)['captions'] for line in (root / 'metadata.jsonl').read_text().splitlines()]
    tokenizer = WordTokenizer.build(sum(captions, []))
    tokenizer.save(tmp_path / 'tokenizer.json')
    save_atomically({'params': LSTMTextEncoder(tokenizer.vocab_size, 8, 16).state_dict(),
                     'tokenizer': tokenizer.to_json()}, tmp_path / 'net_t.pth')
    save_atomically({'params': DAMSMImageEncoder('alexnet', 16, input_size=64).state_dict()}, tmp_path / 'net_i.pth')
    trunk = {'features.' + key.split('.', 1)[1]: value
             for key, value in build_lpips(pretrained=False).net.state_dict().items()}
    torch.save(trunk, tmp_path / 'alex.pth')
    monkeypatch.setenv('TGJAR_LPIPS_ALEX', str(tmp_path / 'alex.pth'))
    cached_lpips.cache_clear()
    yield tmp_path
    cached_lpips.cache_clear()  # these weights are not for other tests


@pytest.fixture
def config(files):
    """The example's config, its sizes and paths made tiny."""
    cfg = Config.fromfile(CONFIG)
    data = {'dataroot_gt': str(files / 'photos'), 'tokenizer': str(files / 'tokenizer.json'), 'max_words': 6}
    loader = {'num_workers': 0, 'persistent_workers': False, 'batch_size': 2}
    cfg.merge_from_dict({
        'work_dir': str(files / 'work'),
        'model': {'network_g': {**G, '_delete_': True}, 'network_t': {**T, '_delete_': True},
                  'network_i': {'backbone': 'alexnet', 'text_dim': 16, 'input_size': 64}, 'max_words': 6,
                  'tokenizer': data['tokenizer'], 'pretrain_network_t': str(files / 'net_t.pth'),
                  'pretrain_network_i': str(files / 'net_i.pth')},
        'train_dataloader': {**loader, 'dataset': {'opt': {**data, 'gt_size': 32}}},
        'val_dataloader': {**loader, 'dataset': {'opt': {**data, 'gt_size': 48, 'max_images': 3}}},
        'train_cfg': {'max_iters': 2, 'val_interval': 2}, 'default_hooks': {'logger': {'interval': 1}},
    })
    return cfg


def test_every_network_and_loss_is_registered_under_our_scope():
    names = {name for registry in (ARCH_REGISTRY, LOSS_REGISTRY) for name, entry in registry
             if entry.__module__.startswith('tgjar_arch.')}
    assert {'TGJARGenerator', 'LSTMTextEncoder', 'RNAN', 'PerceptualContrastiveLoss', 'DAMSMLoss'} <= names
    for name in names:
        assert MODELS.get(f'tgjar.{name}').__name__ == name
        assert MODELS.module_dict.get(name) is None  # not in MMEngine's own scope
    assert DATASETS.get('tgjar.PairedImageTextDataset').__name__ == 'PairedImageTextDataset'
    assert METRICS.get('tgjar.RestorationMetric') is ours.RestorationMetric


def test_config_builds_a_network_and_refuses_a_misspelt_key():
    net = MODELS.build(G)
    assert type(net) is tgjar_arch.archs.generator_arch.TGJARGenerator and net.text_dim == 16
    with pytest.raises(TypeError, match='num_feats'):
        MODELS.build({**G, 'num_feats': 8})


def test_plugin_does_not_import_mmengine(tmp_path):
    code = ('import sys, tgjar_arch\nassert "mmengine" not in sys.modules\n'
            'import tgjar_arch.mmengine\nfrom mmengine.registry import MODELS\n'
            'print(MODELS.get("tgjar.TGJARGenerator").__name__)')
    assert run_python(code, tmp_path, ROOT).stdout.strip().endswith('TGJARGenerator')


def test_runner_trains_validates_and_resumes(config, files, monkeypatch):
    runner = Runner.from_cfg(config)
    model = runner.model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    runner.train()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert {key.partition('.')[0] for key in changed} == {'net_g'}  # encoders and LPIPS are frozen
    assert {key for key in before if key.startswith('net_g.body')} <= changed

    log = [json.loads(line) for line in next((files / 'work').rglob('scalars.json')).read_text().splitlines()]
    *steps, validation = log
    assert [step['step'] for step in steps] == [1, 2]
    for step in steps:
        parts = [step[f'loss_{part}'] for part in ('pix', 'contrastive', 'damsm')]
        assert min(parts) > 0 and step['loss'] == pytest.approx(sum(parts), abs=1e-4)

    # What was logged is the mean of BasicSR's metric over what the trained model restores.
    images = [model.val_step(batch) for batch in runner.val_dataloader]
    scores = [calculate_psnr(tensor2img(sample['restored']), tensor2img(sample['gt']), 0)
              for samples in images for sample in samples]
    assert len(scores) == 3 and validation['restoration/psnr'] == pytest.approx(np.mean(scores), abs=1e-4)
    assert 0 < validation['restoration/lpips'] < 2

    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')  # as the example says
    config.merge_from_dict({'resume': True, 'load_from': str(files / 'work' / 'iter_2.pth'), 'train_cfg.max_iters': 3})
    config.experiment_name = 'resumed'
    resumed = Runner.from_cfg(config)
    resumed.train()
    assert resumed.iter == 3


def test_trained_model_exports_to_tgjar_restore(config, files):
    model = MODELS.build(config.model)
    write_weights(files / 'tiny.safetensors', model.exported_weights())
    restorer = Restorer.from_pretrained(files / 'tiny.safetensors', 'cpu')
    dataset = DATASETS.build(config.val_dataloader.dataset)
    item = dataset[0]
    batch = {key: item[key][None] for key in ('lq', 'text', 'text_mask')}
    (predicted,) = model.eval()(**batch, mode='predict')
    restored = restorer.restore(batch['lq'], [item['caption']])[0]
    torch.testing.assert_close(restored, predicted['restored'], atol=1e-5, rtol=0)
    assert not torch.equal(restored, restorer.restore(batch['lq'], [''])[0])


def test_text_encoder_can_be_trained_along_and_left_out(config, files):
    item = DATASETS.build(config.train_dataloader.dataset)[0]
    batch = {key: item[key][None] for key in ('lq', 'gt', 'text', 'text_mask')}
    pixel = {'type': 'tgjar.L1Loss'}
    together = MODELS.build({'type': 'tgjar.TextGuidedRestorer', 'network_g': G, 'network_t': T, 'pixel_loss': pixel,
                             'tokenizer': str(files / 'tokenizer.json'), 'train_network_t': True})
    losses = together(**batch, mode='loss')
    assert list(losses) == ['loss_pix']
    losses['loss_pix'].backward()
    assert all(p.grad is not None and math.isfinite(p.grad.sum()) for p in together.net_t.parameters())
    assert together.net_t.training

    alone = MODELS.build({'type': 'tgjar.TextGuidedRestorer', 'network_g': G, 'pixel_loss': pixel})
    with torch.no_grad():
        assert torch.equal(alone(**batch), alone.net_g(batch['lq']))
        assert alone(**batch, mode='loss')['loss_pix'] == (alone.net_g(batch['lq']) - batch['gt']).abs().mean()
    assert alone.exported_weights().network_t is None


@pytest.mark.parametrize(('options', 'message'), [
    ({'network_t': T}, 'network_t and tokenizer go together'),
    ({'network_t': T, 'tokenizer': 'tokenizer.json'}, 'pretrain_network_t names no weights'),
    ({'damsm_loss': {'type': 'tgjar.DAMSMLoss'}}, 'damsm_loss compares in the space of stage 1'),
])
def test_what_does_not_go_together_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        ours.TextGuidedRestorer(G, **options)


def test_another_vocabulary_is_refused(files):
    WordTokenizer.build(['other words']).save(files / 'other.json')
    with pytest.raises(ValueError, match='another vocabulary'):
        ours.TextGuidedRestorer(G, T, tokenizer=str(files / 'other.json'), pretrain_network_t=str(files / 'net_t.pth'))


def test_batches_that_lack_something_are_named(files):
    model = ours.TextGuidedRestorer(G, T, tokenizer=str(files / 'tokenizer.json'), train_network_t=True)
    lq, text = torch.rand(1, 3, 16, 16), {'text': torch.ones(1, 2, dtype=torch.long), 'text_mask': torch.ones(1, 2) > 0}
    with pytest.raises(ValueError, match='the batch has no text'):
        model(lq)
    with pytest.raises(ValueError, match='needs gt to train'):
        model(lq, **text, mode='loss')
    with pytest.raises(ValueError, match='no loss to train with'):
        model(lq, lq, **text, mode='loss')
    with pytest.raises(ValueError, match="not 'test'"):
        model(lq, **text, mode='test')
    metric = ours.RestorationMetric({'psnr': {'type': 'calculate_psnr', 'crop_border': 0}})
    with pytest.raises(ValueError, match='a/b.jpg has none'):
        metric.process(None, [{'restored': lq[0], 'lq_path': 'a/b.jpg'}])
    with pytest.raises(ValueError, match="x: there is no metric of single images 'calculate_nothing'"):
        ours.RestorationMetric({'x': {'type': 'calculate_nothing'}})
