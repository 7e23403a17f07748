"""Encoders and tokenizer of stage 1 in one line."""

import json
import os
from pathlib import Path

import pytest
import torch

from tests.helpers.checkout import ROOT
from tests.helpers.forked import python
from tgjar_arch.archs.image_encoder_arch import DAMSMImageEncoder
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.losses.damsm_loss import DAMSMLoss
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.checkpoint import save_atomically
from tgjar_arch.weights.stage1 import load_stage1

TEXT = {'type': 'LSTMTextEncoder', 'vocab_size': 4, 'embed_dim': 4, 'text_dim': 8}
IMAGE = {'type': 'DAMSMImageEncoder', 'backbone': 'alexnet', 'text_dim': 8, 'weights': 'imagenet', 'input_size': 64}


@pytest.fixture
def stage1(tmp_path: Path) -> tuple[Path, LSTMTextEncoder, DAMSMImageEncoder]:
    """An experiment's folder with checkpoints as DAMSMModel writes them, and the networks in them."""
    text = LSTMTextEncoder(vocab_size=4, embed_dim=4, text_dim=8)
    image = DAMSMImageEncoder(backbone='alexnet', text_dim=8, input_size=64)
    tokenizer = WordTokenizer.from_words(['a', 'red', 'bird'])
    folder = tmp_path / 'stage1' / 'models'
    save_atomically({'params': text.state_dict(), 'network': json.dumps(TEXT), 'tokenizer': tokenizer.to_json(),
                     'max_words': 5}, folder / 'net_t_latest.pth')
    save_atomically({'params': image.state_dict(), 'network': json.dumps(IMAGE)}, folder / 'net_i_latest.pth')
    return folder.parent, text.eval(), image.eval()


@pytest.mark.parametrize('path', ['', 'models', 'models/net_i_latest.pth', 'models/net_t_latest.pth'])
def test_one_line_is_enough_for_the_loss(stage1: tuple, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, text, image = stage1
    monkeypatch.setattr(torch.hub, 'load_state_dict_from_url', lambda *_, **__: pytest.fail('downloads'))
    image_encoder, text_encoder, tokenizer = load_stage1(folder / path)
    ids, mask = (part[None] for part in tokenizer.pad(tokenizer.encode('a red bird'), 5))
    images = torch.rand(1, 3, 40, 40)
    features = text_encoder(ids, mask)
    torch.testing.assert_close(features.sentence, text(ids, mask).sentence)
    torch.testing.assert_close(image_encoder(images)[1], image(images)[1])
    assert not any(parameter.requires_grad for net in (image_encoder, text_encoder) for parameter in net.parameters())
    images = torch.rand(2, 3, 40, 40, requires_grad=True)
    ids, mask = ids.repeat(2, 1), mask.repeat(2, 1)
    DAMSMLoss()(*image_encoder(images), text_encoder(ids, mask)).backward()
    assert images.grad.abs().max() > 0


def test_the_newest_is_taken(stage1: tuple) -> None:
    folder, text, image = stage1
    for name in ('net_t', 'net_i'):
        old = folder / 'models' / f'{name}_latest.pth'
        os.utime(old, (1, 1))
        content = torch.load(old, weights_only=True)
        content['params'] = {key: value + 1 for key, value in content['params'].items()}
        save_atomically(content, folder / 'models' / f'{name}_9.pth')
    weight = load_stage1(folder).image_encoder.emb_features.weight
    torch.testing.assert_close(weight, image.emb_features.weight + 1, check_stride=False)


def test_without_basicsr(stage1: tuple) -> None:
    code = ('import sys; sys.modules["basicsr"] = None\n'
            'from tgjar_arch.weights.stage1 import load_stage1\n'
            'print(type(load_stage1(sys.argv[1])[0]).__name__)')
    done = python('-c', code, stage1[0], path=(ROOT,))
    assert done.stdout == 'DAMSMImageEncoder\n', done.stderr


def test_what_is_missing_is_named(stage1: tuple, tmp_path: Path) -> None:
    folder = stage1[0] / 'models'
    with pytest.raises(FileNotFoundError, match='has no net_t_ITER.pth with its net_i_ITER.pth; name an experiment'):
        load_stage1(tmp_path)
    with pytest.raises(ValueError, match='other.pth is no checkpoint of stage 1'):
        load_stage1(folder / 'other.pth')
    save_atomically({'params': {}, 'network': json.dumps({'type': 'VGGFeatureExtractor'})}, folder / 'net_i_latest.pth')
    with pytest.raises(ValueError, match='net_i_latest.pth holds no DAMSMImageEncoder'):
        load_stage1(folder)
    save_atomically({'params': {}}, folder / 'net_i_latest.pth')
    with pytest.raises(ValueError, match='net_i_latest.pth does not say its network'):
        load_stage1(folder)
    (folder / 'net_i_latest.pth').unlink()
    with pytest.raises(FileNotFoundError, match='net_i_latest.pth does not exist; both encoders'):
        load_stage1(folder / 'net_t_latest.pth')
