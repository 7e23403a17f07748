"""Text features of one length: whatever scale an encoder has, the generators read the same."""

import json
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from safetensors.torch import save_file

from tests.helpers.tiny_model import make, opt  # noqa: F401
from tgjar_arch.cli.main import main
from tgjar_arch.restoration.text_norm import add_text_norm
from tgjar_arch.text.features import TextFeatures
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.checkpoint import load_checkpoint, load_checkpoint_for, save_atomically
from tgjar_arch.weights.collect import collect
from tgjar_arch.weights.file import ExportedWeights, read_weights, write_weights

CAPTIONS = ['a red bird with a black head', 'the yellow belly of a bird', 'a grey bird', 'black and red wings']
GENERATORS = ['TGJARGenerator', 'TGJARLiteGenerator']


def features(scale: float = 1.0, dtype: torch.dtype = torch.float32) -> TextFeatures:
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[True, True, True, False], [True, False, False, False], [False] * 4])
    return TextFeatures(scale * torch.randn(3, 16, 4, generator=generator, dtype=dtype),
                        scale * torch.randn(3, 16, generator=generator, dtype=dtype), mask)


def test_every_feature_has_one_length() -> None:
    text = features(0.03)
    normal = text.normalised()
    square = normal.words.square().mean(dim=1)
    assert torch.allclose(square[text.mask], torch.ones(4), atol=1e-4) and not square[~text.mask].any()
    assert torch.allclose(normal.sentence.square().mean(dim=1), torch.tensor([1.0, 1.0, 0.0]), atol=1e-4)
    cosine = torch.nn.functional.cosine_similarity(normal.words, text.words, dim=1)
    assert torch.allclose(cosine[text.mask], torch.ones(4))
    half = features(0.03, torch.bfloat16).normalised()
    assert half.words.dtype == torch.bfloat16
    assert torch.allclose(half.sentence[:2].float().square().mean(dim=1), torch.ones(2), atol=0.02)


def test_padding_stays_out_of_results_and_gradients() -> None:
    text = features()
    words = text.words.masked_fill(~text.mask[:, None], float('nan')).requires_grad_()
    sentence = text.sentence.masked_fill(~text.mask.any(dim=1)[:, None], float('nan')).requires_grad_()
    normal = TextFeatures(words, sentence, text.mask).normalised()
    assert torch.equal(normal.words, text.normalised().words)
    assert torch.equal(normal.sentence, text.normalised().sentence)
    (normal.words.square().sum() + normal.sentence.square().sum()).backward()
    assert words.grad.isfinite().all() and sentence.grad.isfinite().all()
    zero = torch.zeros(3, 16, requires_grad=True)  # of no length: stays 0
    normal = TextFeatures(text.words, zero, text.mask).normalised()
    normal.sentence.sum().backward()
    assert not normal.sentence.any() and zero.grad.isfinite().all()


@pytest.mark.parametrize('kind', GENERATORS)
def test_scale_of_the_features_is_nothing_to_a_generator_with_it(kind: str) -> None:
    torch.manual_seed(0)
    options = {'type': kind, 'num_feat': 8, 'num_block': 1, 'text_dim': 16}
    lq = torch.rand(3, 3, 24, 24)
    with torch.no_grad():
        net = build_network(options).eval()
        assert net.text_norm
        assert torch.allclose(net(lq, features(50.0)), net(lq, features(0.02)), atol=1e-5)
        net = build_network(options | {'text_norm': False}).eval()
        assert not torch.allclose(net(lq, features(50.0)), net(lq, features(0.02)), atol=1e-3)


def weights(kind: str, **changes: object) -> ExportedWeights:
    torch.manual_seed(0)
    tokenizer = WordTokenizer.build(CAPTIONS)
    network_g = {'type': kind, 'num_feat': 8, 'num_block': 1, 'text_dim': 16} | changes
    network_t = {'type': 'LSTMTextEncoder', 'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': 16}
    net_g = build_network(dict(network_g))
    for name in ('null_word', 'null_sentence'):
        torch.nn.init.normal_(getattr(net_g, name))
    return ExportedWeights(network_g, net_g.state_dict(), network_t, build_network(dict(network_t)).state_dict(),
                           tokenizer.to_json(), 8)


def run(content: ExportedWeights, caption: str | None) -> torch.Tensor:
    net_g, net_t = build_network(dict(content.network_g)).eval(), build_network(dict(content.network_t)).eval()
    net_g.load_state_dict(content.state_g)
    net_t.load_state_dict(content.state_t)
    lq = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        if caption is None:
            return net_g(lq)
        ids, mask = WordTokenizer.from_json(content.tokenizer).pad(
            WordTokenizer.from_json(content.tokenizer).encode(caption), 8)
        return net_g(lq, net_t(ids[None], mask[None]))


@pytest.mark.parametrize('kind', GENERATORS)
def test_converted_weights_do_what_they_did(kind: str) -> None:
    before = weights(kind, text_norm=False)
    after = add_text_norm(before, CAPTIONS)
    assert after.network_g == before.network_g | {'text_norm': True} and before.network_g['text_norm'] is False
    assert torch.allclose(run(after, None), run(before, None), atol=1e-6)  # no caption: exactly
    for caption in CAPTIONS:
        effect = (run(before, caption) - run(before, None)).norm()
        assert (run(after, caption) - run(before, caption)).norm() < 0.25 * effect  # lengths differ from word to word


def test_what_cannot_be_converted() -> None:
    with pytest.raises(ValueError, match='text_norm can be given to weights'):
        add_text_norm(weights('TGJARGenerator'), CAPTIONS)
    with pytest.raises(ValueError, match='no word of the captions is in the vocabulary'):
        add_text_norm(weights('TGJARGenerator', text_norm=False), ['zebra', ''])
    without_text = weights('TGJARGenerator', text_norm=False)
    without_text.network_t = None
    with pytest.raises(ValueError, match='text_norm can be given to weights'):
        add_text_norm(without_text, CAPTIONS)


@pytest.mark.parametrize('kind', GENERATORS)
def test_files_from_before_are_without_it(kind: str, tmp_path: Path) -> None:
    content = weights(kind)
    tensors = {f'net_g.{key}': value for key, value in content.state_g.items()}
    metadata = {'format': 'tgjar-1', 'network_g': json.dumps(content.network_g)}
    save_file(tensors, tmp_path / 'old.safetensors', metadata=metadata)
    assert read_weights(tmp_path / 'old.safetensors').network_g['text_norm'] is False
    save_file(tensors, tmp_path / 'new.safetensors', metadata=metadata | {'format': 'tgjar-2'})
    assert read_weights(tmp_path / 'new.safetensors').network_g == content.network_g | {'text_norm': True}


def test_unpack_converts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_weights(tmp_path / 'w.safetensors', weights('TGJARGenerator', text_norm=False))
    images = tmp_path / 'images'
    images.mkdir()
    lines = [json.dumps({'file_name': f'{k}.png', 'captions': [caption]}) for k, caption in enumerate(CAPTIONS)]
    (images / 'metadata.jsonl').write_text('\n'.join(lines))
    command = ['unpack', str(tmp_path / 'w.safetensors'), '-o', str(tmp_path / 'start'), '--text-norm', str(images)]
    assert main(command) == 1
    assert str(images) in capsys.readouterr().err and not (tmp_path / 'start').exists()
    for k in range(len(CAPTIONS)):
        (images / f'{k}.png').write_bytes(b'read nowhere')
    assert main(command) == 0
    assert '"text_norm": true' in capsys.readouterr().out
    content = load_checkpoint(tmp_path / 'start' / 'net_g_latest.pth')
    expected = add_text_norm(read_weights(tmp_path / 'w.safetensors'), CAPTIONS).state_g
    assert all(torch.equal(content['params'][key], value) for key, value in expected.items())


def test_training_does_not_go_on_from_weights_of_the_other_kind(opt: dict, tmp_path: Path) -> None:  # noqa: F811
    before = make(opt)
    path = tmp_path / 'net_g.pth'
    for text_norm in (True, False):
        save_atomically({'params': before.net_g.state_dict(), 'params_ema': before.net_g.state_dict(),
                         'network': json.dumps(opt['network_g'] | {'text_norm': text_norm})}, path)
        changed = opt | {'path': opt['path'] | {'pretrain_network_g': str(path)}}
        make(changed | {'network_g': opt['network_g'] | {'text_norm': text_norm}})
        with pytest.raises(ValueError, match=f'was trained with text_norm: {str(text_norm).lower()}, but network_g'):
            make(changed | {'network_g': opt['network_g'] | {'text_norm': not text_norm}})


def test_checkpoints_say_it_and_those_from_before_are_without_it(opt: dict, tmp_path: Path) -> None:  # noqa: F811
    model = make(opt)
    assert 'text_norm' not in opt['network_g']
    model.save(0, -1)
    path = Path(opt['path']['models']) / 'net_g_latest.pth'
    content = load_checkpoint(path)
    assert json.loads(content['network']) == {
        'num_in_ch': 3, 'use_global_fusion': True, 'use_local_fusion': True, 'text_norm': True} | opt['network_g']
    assert load_checkpoint_for(True, path) and collect(path).network_g['text_norm'] is True
    save_atomically(content | {'network': json.dumps(opt['network_g'])}, path)
    assert collect(path).network_g['text_norm'] is False
    assert load_checkpoint_for(False, path) and load_checkpoint_for(None, path)
    with pytest.raises(ValueError, match='was trained with text_norm: false, but network_g has true'):
        load_checkpoint_for(True, path)
