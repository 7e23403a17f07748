"""`import tgjar_arch.spandrel`: spandrel's own loader reads our files, and its models restore as `Restorer` does."""

import importlib
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.checkout import ROOT
from tests.helpers.pages import blocks
from tests.helpers.photo_files import picture
from tgjar_arch import Restorer
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lite_generator_arch import TGJARLiteGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.restoration import restorer as restorer_module
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.file import ExportedWeights, write_weights
from tgjar_arch.weights.shipped import shipped
from tgjar_arch.weights.unpack import unpack

spandrel = pytest.importorskip('spandrel')

import tgjar_arch.spandrel as ours  # noqa: E402

KINDS = {'TGJAR': TGJARGenerator, 'TGJARLite': TGJARLiteGenerator}
SMALL = {'num_feat': 8, 'num_block': 2, 'text_dim': 16}


def exported(kind='TGJAR', **options):
    """Weights of a small generator, whose change of a picture is large, with a text encoder where it reads text."""
    torch.manual_seed(0)
    net = KINDS[kind](**(options := {**SMALL, **options}))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    network = {'type': type(net).__name__, **options}
    if not net.uses_text:
        return ExportedWeights(network, net.state_dict())
    tokenizer = WordTokenizer.build(['a small yellow bird'])
    text = {'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': options['text_dim']}
    return ExportedWeights(network, net.state_dict(), {'type': 'LSTMTextEncoder', **text},
                           LSTMTextEncoder(**text).state_dict(), tokenizer.to_json(), 6)


def tensor(height=61, width=75):
    return torch.tensor(np.asarray(picture(width, height))).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize('name', shipped() or [pytest.param(None, marks=pytest.mark.skip('no weights are shipped'))])
def test_shipped_weights_restore_as_without_a_caption(name):
    model = spandrel.ModelLoader().load_from_file(shipped()[name])
    image = tensor()
    restored = model(image)
    assert (restored - image).abs().max() > 0.05
    torch.testing.assert_close(restored, Restorer.from_pretrained(name, 'cpu')(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize('size', [(61, 75), (64, 40), (3, 5), (1, 20)])
@pytest.mark.parametrize('kind', KINDS)
def test_any_size(kind, size, tmp_path):
    write_weights(tmp_path / 'a.safetensors', weights := exported(kind))
    model = spandrel.ModelLoader('cpu').load_from_file(tmp_path / 'a.safetensors')
    assert model.architecture.id == kind and isinstance(model.model, KINDS[kind])
    image = tensor(*size)
    torch.testing.assert_close(model(image), Restorer(weights, 'cpu')(image), atol=1e-5, rtol=0)


def test_what_a_program_reads_of_it(tmp_path):
    write_weights(tmp_path / 'a.safetensors', exported())
    model = spandrel.ModelLoader().load_from_file(tmp_path / 'a.safetensors')
    assert isinstance(model, spandrel.ImageModelDescriptor)
    assert (model.purpose, model.scale, model.input_channels, model.output_channels) == ('Restoration', 1, 3, 3)
    assert model.size_requirements.none and model.tiling is spandrel.ModelTiling.INTERNAL
    assert model.tags == ['8nf', '2nb'] and not model.model.training
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.float32}


@pytest.mark.parametrize('options', [
    {}, {'num_feat': 4, 'num_block': 0}, {'text_dim': 24}, {'use_global_fusion': False}, {'use_local_fusion': False},
    {'use_global_fusion': False, 'use_local_fusion': False}, {'text_norm': False}])
@pytest.mark.parametrize('kind', KINDS)
def test_arguments_are_found_in_the_shapes(kind, options):
    if kind == 'TGJARLite':
        options = options | {'num_fine': 6}
    weights = exported(kind, **options)
    model = spandrel.MAIN_REGISTRY.load(weights.state_g)
    found = model.model.portable_options()
    expected = KINDS[kind](**SMALL | options).portable_options()
    if not model.model.uses_text:  # of what reads no text no tensor shows its size
        expected['text_dim'] = 256
    assert found == expected | {'text_norm': True}
    image = tensor(24, 32)
    torch.testing.assert_close(model(image), Restorer(weights, 'cpu')(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize('kind', KINDS)
def test_plain_state_dicts_and_checkpoints(kind, tmp_path):
    weights = exported(kind)
    unpack(weights, tmp_path)
    save_file(weights.state_g, tmp_path / 'plain.safetensors')
    torch.save(weights.state_g, tmp_path / 'plain.pth')
    torch.save({'params': {'module.' + key: value for key, value in weights.state_g.items()}}, tmp_path / 'ddp.pth')
    image = tensor()
    expected = Restorer(weights, 'cpu')(image)
    for name in ('net_g_latest.pth', 'plain.safetensors', 'plain.pth', 'ddp.pth'):
        model = spandrel.ModelLoader().load_from_file(tmp_path / name)
        assert model.architecture.id == kind
        torch.testing.assert_close(model(image), expected, atol=1e-5, rtol=0)


def test_of_a_checkpoint_the_moving_average_is_taken(tmp_path):
    state = exported().state_g
    torch.save({'params': {key: value + 1 for key, value in state.items()}, 'params_ema': state}, tmp_path / 'g.pth')
    model = spandrel.ModelLoader().load_from_file(tmp_path / 'g.pth')
    assert torch.equal(model.model.head.weight, state['head.weight'])


@pytest.mark.parametrize('kind', KINDS)
def test_large_pictures_are_restored_in_our_tiles(kind, monkeypatch):
    model = spandrel.MAIN_REGISTRY.load(exported(kind).state_g)
    image = tensor(300, 210)
    whole = model(image)
    calls = []
    in_tiles = ours.restore_in_tiles
    monkeypatch.setattr(ours, 'memory_for', lambda device: 0)
    monkeypatch.setattr(ours, 'restore_in_tiles', lambda *a: (calls.append(a[-1]), in_tiles(*a)))
    tiled = model(image)
    assert calls == [ours.choose_tile(model.model, 300, 210, 0)] and calls[0] < 210
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
    monkeypatch.setattr(restorer_module, 'memory_for', lambda device: 0)
    torch.testing.assert_close(tiled, Restorer(exported(kind), 'cpu')(image), atol=1e-5, rtol=0)
    assert model(image[..., :5]).shape == (1, 3, 300, 5)


def test_grey_stays_grey_and_batches_are_taken_one_by_one():
    weights = exported()
    model = spandrel.MAIN_REGISTRY.load(weights.state_g)
    grey = tensor(40, 40).mean(1, keepdim=True).expand(1, 3, 40, 40).contiguous()
    batch = torch.cat([grey, tensor(40, 40)])
    restored = model(batch)
    assert torch.equal(restored[0, 0], restored[0, 2]) and not torch.equal(restored[1, 0], restored[1, 2])
    torch.testing.assert_close(restored, Restorer(weights, 'cpu')(batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model = spandrel.MAIN_REGISTRY.load(exported().state_g)
    image = tensor(32, 32)
    expected = model(image)
    restored = model.to(dtype)(image.to(dtype))
    assert restored.dtype == dtype
    torch.testing.assert_close(restored.float(), expected, atol=0.03, rtol=0)


def test_weights_stored_in_half_precision_are_computed_with_in_full(tmp_path):
    write_weights(tmp_path / 'a.safetensors', exported(), half=True)
    model = spandrel.ModelLoader().load_from_file(tmp_path / 'a.safetensors')
    assert model.dtype == torch.float32
    image = tensor(32, 32)
    expected = Restorer.from_pretrained(tmp_path / 'a.safetensors', 'cpu')(image)
    torch.testing.assert_close(model(image), expected, atol=1e-5, rtol=0)


def test_networks_of_others_are_left_to_them():
    from spandrel.architectures.DnCNN import DnCNN
    from spandrel.architectures.RCAN import RCAN

    for net in (DnCNN(), RCAN(n_resgroups=1, n_resblocks=1)):
        state = net.state_dict()
        assert not any(entry.detect(state) for entry in ours.EXTRA_REGISTRY)
        assert type(spandrel.MAIN_REGISTRY.load(state).model) is type(net)
    with pytest.raises(spandrel.UnsupportedModelError):  # a text encoder restores nothing
        spandrel.MAIN_REGISTRY.load(exported().state_t)


@pytest.mark.parametrize(('change', 'message'), [
    (lambda state: state.pop('up2.weight'), 'of the network TGJARGenerator it lacks 1 tensors, e.g. up2.weight'),
    (lambda state: state.update({'up2.weight': torch.zeros(3)}), 'it has other shapes for 1 tensors, e.g. up2.weight'),
    (lambda state: state.update(more=torch.zeros(3)), 'it also has 1 tensors, e.g. more'),
    (lambda state: state['tail.bias'].fill_(float('nan')), 'the tensor tail.bias has values that are NaN or infinite'),
    (lambda state: state.update({'body.99999999.act.weight': torch.zeros(1)}), 'more than the file has tensors for'),
])
def test_broken_state_dicts_are_named_in_one_line(change, message):
    state = exported().state_g
    change(state)
    with pytest.raises(ValueError, match='this is no whole state dict of TGJAR: ') as caught:
        spandrel.MAIN_REGISTRY.load(state)
    assert message in str(caught.value) and '\n' not in str(caught.value)


def test_import_registers_once():
    before = len(spandrel.MAIN_REGISTRY)
    assert ours.install() == [] and len(spandrel.MAIN_REGISTRY) == before
    assert [entry.architecture.id for entry in ours.EXTRA_REGISTRY] == ['TGJAR', 'TGJARLite']
    with pytest.raises(spandrel.DuplicateArchitectureError):
        ours.install(ignore_duplicates=False)
    state = exported().state_g
    model = spandrel.ModelLoader(registry=ours.EXTRA_REGISTRY).load_from_state_dict(state)
    assert model.architecture.name == 'TGJAR'


def test_without_spandrel_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, 'spandrel', None)
    monkeypatch.delitem(sys.modules, 'tgjar_arch.spandrel')
    with pytest.raises(ImportError, match=r"^tgjar_arch\.spandrel needs spandrel \(.*pip install 'tgjar\[spandrel\]'$"):
        importlib.import_module('tgjar_arch.spandrel')


@pytest.mark.skipif(not shipped(), reason='no weights are shipped')
def test_the_example_of_the_documentation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(48, 40).save('bird.jpg', quality=1)
    (code,) = blocks(ROOT / 'docs' / 'spandrel.md', 'python')[:1]
    names = {}
    exec(code, names)
    expected = Restorer.from_pretrained(device='cpu')(names['jpeg'])
    torch.testing.assert_close(names['restored'], expected, atol=1e-5, rtol=0)
    assert load_file(shipped()['tgjar_universal'])['net_g.head.weight'].shape == names['model'].model.head.weight.shape
