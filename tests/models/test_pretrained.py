"""What `path: pretrain_network_X` may name besides a checkpoint, and what is said when it does not fit."""

import json

import pytest
import torch
from torch.utils.data import DataLoader

from tests.helpers.tiny_model import batch, make, state, step
from tgjar_arch.models.pretrained import read_pretrained
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.checkpoint import load_checkpoint, save_atomically
from tgjar_arch.weights.collect import collect
from tgjar_arch.weights.file import write_weights
from tgjar_arch.weights.shipped import shipped


@pytest.fixture
def trained(opt, tmp_path):
    """A trained tiny model, its checkpoints saved as iteration 5."""
    model = make(opt)
    step(model, batch(opt), 2)
    model.save(0, 5)
    return model


def equal(net, expected):
    return all(torch.equal(value, expected[key]) for key, value in net.state_dict().items())


def test_a_weights_file_for_generator_and_text_encoder(opt, tmp_path, trained):
    file = str(tmp_path / 'tiny.safetensors')
    write_weights(file, collect(tmp_path / 'models' / 'net_g_5.pth', averaged=False))
    opt['path'] |= {'pretrain_network_g': file, 'pretrain_network_t': file}
    model = make(opt)
    assert equal(model.net_g, state(trained.net_g)) and equal(model.net_t, state(trained.net_t))
    WordTokenizer.from_words(['another', 'vocabulary']).save(tmp_path / 'tokenizer.json')
    with pytest.raises(ValueError, match='trained with another vocabulary'):
        make(opt)


def test_a_checkpoint_with_averaged_weights_only(opt, tmp_path, trained):
    for label in 'gt':
        content = load_checkpoint(tmp_path / 'models' / f'net_{label}_5.pth')
        del content['params']
        save_atomically(content, tmp_path / f'net_{label}.pth')
        opt['path'][f'pretrain_network_{label}'] = str(tmp_path / f'net_{label}.pth')
    model = make(opt)
    assert equal(model.net_g, state(trained.net_g_ema)) and equal(model.net_t, state(trained.net_t_ema))
    assert not equal(model.net_g, state(trained.net_g))


def test_a_key_that_the_checkpoint_lacks(opt, tmp_path, trained):
    opt['path'] |= {'pretrain_network_g': str(tmp_path / 'models' / 'net_g_5.pth'), 'param_key_g': 'parms'}
    with pytest.raises(ValueError, match=r"net_g_5.pth has nothing under 'parms', which `param_key_` of .*; it has "):
        make(opt)


@pytest.mark.skipif(not shipped(), reason='no weights are shipped')
def test_the_name_of_shipped_weights(opt, tmp_path):
    name = next(iter(shipped()))
    for_g, for_t = (read_pretrained(name, label) for label in 'gt')
    opt['network_g'], opt['network_t'] = json.loads(for_g['network']), json.loads(for_t['network'])
    opt['path'] |= {'pretrain_network_g': name, 'pretrain_network_t': f'{name}.safetensors'}
    with pytest.raises(ValueError, match='vocab_size'):  # of the photographs' tokenizer
        make(opt)
    (tmp_path / 'tokenizer.json').write_text(for_t['tokenizer'])
    model = make(opt)
    assert equal(model.net_g, for_g['params']) and equal(model.net_t, for_t['params'])


@pytest.mark.parametrize(('label', 'content', 'said'), [
    ('g', {'epoch': 1, 'optimizers': []}, 'holds no weights of a network: its keys are epoch, optimizers'),
    ('d', 'safetensors', 'holds no network_d; weights files hold a generator'),
    ('g', 'other', 'net_g_5.pth does not fit network_g: it has other shapes for .* It was trained with other options; '
                   'set --force_yml network_g:num_feat=8'),
    ('g', 'net_t', 'It is of a LSTMTextEncoder, but network_g is a TGJARGenerator')])
def test_weights_that_do_not_fit(opt, tmp_path, trained, label, content, said):
    path = tmp_path / 'models' / 'net_g_5.pth'
    if content == 'safetensors':
        path = tmp_path / 'tiny.safetensors'
        write_weights(path, collect(tmp_path / 'models' / 'net_g_5.pth'))
    elif content == 'net_t':
        path = tmp_path / 'models' / 'net_t_5.pth'
    elif content == 'other':
        opt['network_g']['num_feat'] = 16
    else:
        save_atomically(content, path)
    opt['path'][f'pretrain_network_{label}'] = str(path)
    with pytest.raises(ValueError, match=said) as caught:
        make(opt)
    assert '\n' not in str(caught.value)


def test_an_image_encoder_of_another_backbone(opt, tmp_path, trained):
    from tgjar_arch.archs.image_encoder_arch import DAMSMImageEncoder

    net = DAMSMImageEncoder(backbone='alexnet', text_dim=16, input_size=64)
    save_atomically({'params': net.state_dict(), 'network': json.dumps(net.portable_options())},
                    tmp_path / 'net_i_1.pth')
    opt['network_i'] = {'type': 'DAMSMImageEncoder', 'backbone': 'inception_v3', 'text_dim': 16}
    opt['train'] |= {'train_network_t': False, 'damsm_opt': {'type': 'DAMSMLoss'}}
    opt['path'] |= {'pretrain_network_t': str(tmp_path / 'models' / 'net_t_5.pth'),
                    'pretrain_network_i': str(tmp_path / 'net_i_1.pth')}
    said = 'net_i_1.pth does not fit network_i: .* set --force_yml network_i:backbone=alexnet'
    with pytest.raises(ValueError, match=said):
        make(opt)
    opt['network_i'] |= {'backbone': 'alexnet', 'input_size': 64}
    assert equal(make(opt).net_i, net.state_dict())


def test_what_every_dataset_must_make(opt):
    del opt['datasets']['val']['tokenizer']
    with pytest.raises(ValueError, match='but val has no key tokenizer; name .*tokenizer.json there too'):
        make(opt)


def test_quantisation_maps_of_the_validation(opt):
    opt['network_g'] = {'type': 'QGCN', 'num_feat': 4, 'num_block': 1}
    opt['datasets']['train'] |= {'quantisation_maps': True, 'thumbnail': 112}
    opt['network_t'] = None
    opt['train']['train_network_t'] = False
    said = 'network_g QGCN needs qmaps of every image; set datasets:val:quantisation_maps'
    with pytest.raises(ValueError, match=said):
        make(opt)


def test_large_pictures_are_tiled(opt, monkeypatch):
    """The same picture, and no more memory at once than for a tile."""
    from tgjar_arch.models import tgjar_model

    model = make(opt)
    model.is_train = False
    data = batch(opt, 1) | {'lq': torch.rand(1, 3, 200, 333)}
    model.feed_data(data)
    model.test()
    whole, tiles = model.output, []
    original = tgjar_model.restore_in_tiles

    def counted(*arguments):
        tiles.append(arguments[-1])
        original(*arguments)

    monkeypatch.setattr(tgjar_model, 'restore_in_tiles', counted)
    monkeypatch.setattr(tgjar_model, 'memory_for', lambda device: 1000)
    model.test()
    assert len(tiles) == 1 and 0 < tiles[0] < 200
    torch.testing.assert_close(model.output, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('error', [RuntimeError("can't allocate memory: you tried to allocate 9 bytes\nmore"),
                                   MemoryError(), ValueError('too small')])
def test_a_picture_that_cannot_be_restored_is_named_and_left_out(opt, monkeypatch, log, error):
    from basicsr.data import build_dataset

    model = make(opt)
    model.net_g.train()
    original = type(model)._restore

    def restore(self, net_g, lq, text, **options):
        if 'chelsea' in self.captioned_path:
            raise error
        return original(self, net_g, lq, text, **options)

    def feed(data, feed=model.feed_data):
        model.captioned_path = data['lq_path'][0]
        feed(data)

    monkeypatch.setattr(type(model), '_restore', restore)
    monkeypatch.setattr(model, 'feed_data', feed)
    model.validation(DataLoader(build_dataset(opt['datasets']['val']), batch_size=1), 7, None, save_img=True)
    reason = str(error).partition('\n')[0] or 'MemoryError'
    assert f'chelsea.png (64x64 pixels) cannot be restored: {reason} It is left out of the validation.' in log.text
    assert 5 < model.metric_results['psnr'] < 40
    assert model.net_g_ema.training is False and model.net_g.training


def test_a_tiny_picture_does_not_end_a_validation(opt, photos, log):
    import cv2
    from basicsr.data import build_dataset

    root = photos(size=64, folder='tiny')
    cv2.imwrite(str(root / 'coffee.png'), cv2.imread(str(root / 'coffee.png'))[:5, :7])
    opt['datasets']['val']['dataroot_gt'] = str(root)
    model = make(opt)
    model.validation(DataLoader(build_dataset(opt['datasets']['val']), batch_size=1), 7, None, save_img=False)
    assert 5 < model.metric_results['psnr'] < 40
    assert 'coffee.png (7x5 pixels) cannot be restored' in log.text


def test_super_resolution_with_the_contrastive_loss(opt):
    """lq of half the size: trained with L_C, validated in the full size."""
    opt['network_g'] = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2}
    opt['network_t'], opt['network_d'] = None, None
    opt['train'] |= {'train_network_t': False, 'gan_opt': None}
    opt['train']['contrastive_opt']['net'] = 'squeeze'
    model = make(opt)
    gt = torch.rand(2, 3, 48, 64)
    model.feed_data({'lq': gt[..., ::2, ::2].contiguous(), 'gt': gt})
    model.optimize_parameters(1)
    assert model.get_current_log()['l_g_contrastive'] > 0
    model.test()
    assert model.output.shape == gt.shape
