"""Checkpoints: what they hold, what is written when the disk is full, what `tgjar export` will make of them."""

import json

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from tests.helpers.tiny_model import batch, make, step
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.checkpoint import load_checkpoint, save_atomically


def test_what_export_will_refuse_is_said_before_the_training(opt, log):
    make(opt)
    assert 'tgjar export' not in log.text

    class Foreign(torch.nn.Conv2d):
        """A network of somebody's own plugin."""

    ARCH_REGISTRY._do_register('Foreign', Foreign)
    try:
        opt['network_g'] = {'type': 'Foreign', 'in_channels': 3, 'out_channels': 3, 'kernel_size': 1}
        make(opt)
    finally:
        del ARCH_REGISTRY._obj_map['Foreign']
    assert "`tgjar export` will refuse this model (`tgjar test` takes it): network_g is a 'Foreign'" in log.text


def test_checkpoints_say_what_they_are_and_resume(opt, tmp_path):
    model, data = make(opt), batch(opt)
    step(model, data, 2)
    model.save(0, 2)
    content = load_checkpoint(tmp_path / 'models' / 'net_t_2.pth')
    assert WordTokenizer.from_json(content['tokenizer']).to_json() == model.tokenizer.to_json()
    assert content['max_words'] == 8
    assert json.loads(content['network'])['vocab_size'] == model.tokenizer.vocab_size
    for label in 'gtd':
        opt['path'][f'pretrain_network_{label}'] = str(tmp_path / 'models' / f'net_{label}_2.pth')
    resumed = make(opt)
    resumed.resume_training(load_checkpoint(tmp_path / 'training_states' / '2.state'))
    for one in (model, resumed):
        torch.manual_seed(3)
        step(one, data)
    for net in ('net_g', 'net_t', 'net_d', 'net_g_ema', 'net_t_ema'):
        for (key, a), b in zip(getattr(model, net).state_dict().items(), getattr(resumed, net).state_dict().values(),
                               strict=True):
            torch.testing.assert_close(a, b, msg=f'{net}.{key}')


def test_another_vocabulary_is_refused(opt, tmp_path):
    make(opt).save(0, 2)
    WordTokenizer.build(['a green parrot']).save(tmp_path / 'tokenizer.json')
    opt['path']['pretrain_network_t'] = str(tmp_path / 'models' / 'net_t_2.pth')
    with pytest.raises(ValueError, match='another vocabulary'):
        make(opt)


def test_a_full_disk_keeps_the_old_checkpoint_and_goes_on(opt, tmp_path, monkeypatch):
    model = make(opt)
    model.save(0, 2)
    before = (tmp_path / 'models' / 'net_g_2.pth').read_bytes()

    def full(obj, file):
        file.write(b'half a checkp')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    model.save(0, 2)
    assert (tmp_path / 'models' / 'net_g_2.pth').read_bytes() == before
    assert [file.name for file in (tmp_path / 'models').iterdir() if file.name.endswith('.tmp')] == []
    with pytest.raises(OSError, match='No space left'):
        model.save(-1, -1)


def test_save_atomically_replaces(tmp_path):
    save_atomically({'a': torch.ones(2)}, tmp_path / 'x.pth')
    save_atomically({'a': torch.zeros(2)}, tmp_path / 'x.pth')
    assert load_checkpoint(tmp_path / 'x.pth')['a'].sum() == 0
    assert [file.name for file in tmp_path.iterdir()] == ['x.pth']
    (tmp_path / 'cut.pth').write_bytes((tmp_path / 'x.pth').read_bytes()[:200])
    with pytest.raises(ValueError, match='cut.pth cannot be read'):
        load_checkpoint(tmp_path / 'cut.pth')
