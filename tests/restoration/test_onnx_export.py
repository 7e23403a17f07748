"""`tgjar export --onnx`: onnxruntime restores as PyTorch does, at any size and with any captions."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import tgjar_arch
from tests.docs.test_python_examples import example
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.hf_text_encoder_arch import HFTextEncoder
from tgjar_arch.archs.lite_generator_arch import TGJARLiteGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.cli import export
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.tokenizer import tokenizer_from_json
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights import shipped
from tgjar_arch.weights.file import ExportedWeights, read_weights, write_weights

pytest.importorskip('onnx')
pytest.importorskip('onnxscript')
onnxruntime = pytest.importorskip('onnxruntime')

from tgjar_arch.restoration import onnx_export  # noqa: E402

G = {'num_feat': 8, 'num_block': 1, 'text_dim': 16}
CAPTION = 'a small yellow bird with a black cap'


def make_weights(**options) -> ExportedWeights:
    """Random weights whose null condition is not zero, and that change the image a lot."""
    torch.manual_seed(0)
    tokenizer = WordTokenizer.build([CAPTION, 'the red flower has five long petals and a green stem'])
    network_g = {'type': 'TGJARGenerator', **G, **options}
    network_t = {'type': 'LSTMTextEncoder', 'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': 16}
    net_g = TGJARGenerator(**G, **options)
    net_t = LSTMTextEncoder(**{key: value for key, value in network_t.items() if key != 'type'})
    with torch.no_grad():
        net_g.tail.weight.mul_(3)
        for null in (net_g.null_word, net_g.null_sentence):
            if null is not None:
                null.normal_()
        net_t.encoder.weight.normal_()
    return ExportedWeights(network_g, net_g.state_dict(), network_t, net_t.state_dict(), tokenizer.to_json(), 6)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A folder with `tiny.safetensors` and `tiny.onnx`, made from it by the command."""
    folder = tmp_path_factory.mktemp('onnx')
    write_weights(folder / 'tiny.safetensors', make_weights())
    assert export.main([str(folder / 'tiny.safetensors'), '--onnx', '-o', str(folder / 'tiny.onnx')]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ['tiny.onnx', 'tiny.safetensors']  # nothing half-written
    return folder


@pytest.fixture(scope='module')
def session(files):
    return onnxruntime.InferenceSession(files / 'tiny.onnx')


@pytest.fixture(scope='module')
def restorer(files):
    return Restorer.from_pretrained(files / 'tiny.safetensors', 'cpu')


def batch(restorer, size, lengths, words=None):
    """lq, ids and mask of captions with so many words; what stands in the padding is no padding id."""
    mask = torch.arange(words or max(*lengths, 1)) < torch.tensor(lengths)[:, None]
    return torch.rand(len(lengths), 3, *size), torch.randint(1, restorer.tokenizer.vocab_size, mask.shape), mask


def run(session, lq, ids, mask):
    (restored,) = session.run(None, {'lq': lq.numpy(), 'text': ids.numpy(), 'text_mask': mask.numpy()})
    return torch.from_numpy(restored)


@pytest.mark.parametrize(('size', 'lengths'), [
    ((8, 8), (1,)), ((8, 8), (0,)), ((15, 23), (2, 1)), ((16, 64), (3, 0, 0, 18)), ((33, 50), (7, 0, 2)),
    ((64, 64), (4, 4)), ((129, 71), (9,)), ((40, 24), (0, 0))])
def test_equals_pytorch_at_any_size_and_length(session, restorer, size, lengths):
    lq, ids, mask = batch(restorer, size, lengths)
    with torch.no_grad():
        expected = restorer.net_g(lq, restorer.net_t(ids, mask)).clamp(0, 1)
        unguided = restorer.net_g(lq).clamp(0, 1)
    restored = run(session, lq, ids, mask)
    torch.testing.assert_close(restored, expected, atol=1e-4, rtol=0)
    # The comparison would see it, were the image, the captions or the null condition left out.
    assert (restored - lq).abs().mean() > 0.02
    for row, length in enumerate(lengths):
        assert ((restored[row] - unguided[row]).abs().max() > 1e-2) == (length > 0)


def test_padded_words_and_neighbours_change_nothing(session, restorer):
    lq, ids, mask = batch(restorer, (24, 32), (2, 5, 0), words=9)
    restored = run(session, lq, ids, mask)
    other = torch.where(mask, ids, ids.flip(1))
    torch.testing.assert_close(run(session, lq, other, mask), restored, atol=1e-6, rtol=0)
    torch.testing.assert_close(run(session, lq[:1], ids[:1, :2], mask[:1, :2]), restored[:1], atol=1e-5, rtol=0)


def test_lstm_without_packing_gives_the_features_of_the_packed_one(restorer):
    _, ids, mask = batch(restorer, (8, 8), (6, 1, 0, 4, 2))
    with torch.no_grad():
        got, expected = onnx_export._PaddedLSTM(restorer.net_t)(ids, mask), restorer.net_t(ids, mask)
    for name in ('words', 'sentence', 'mask'):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name), atol=1e-6, rtol=0)


def test_file_says_how_to_use_it(files, session):
    weights = read_weights(files / 'tiny.safetensors')
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata.pop('source') == f'tgjar {tgjar_arch.__version__}, tiny.safetensors'
    assert json.loads(metadata.pop('network_g')) == weights.network_g
    assert json.loads(metadata.pop('network_t')) == weights.network_t
    assert metadata == {'format': 'tgjar-onnx-1', 'tokenizer': weights.tokenizer, 'max_words': '6'}
    assert tokenizer_from_json(metadata['tokenizer']).decode([1, 2]) == ['a', 'small']
    assert [(value.name, value.type, value.shape) for value in session.get_inputs()] == [
        ('lq', 'tensor(float)', ['N', 3, 'H', 'W']), ('text', 'tensor(int64)', ['N', 'T']),
        ('text_mask', 'tensor(bool)', ['N', 'T'])]
    assert [(value.name, value.shape) for value in session.get_outputs()] == [('restored', ['N', 3, 'H', 'W'])]


@pytest.mark.parametrize('caption', [
    'a small yellow bird', 'a small yellow bird with a black cap and the red flower',  # of 11 words 6 count
    'unbekannt', ''])
def test_example_of_the_documentation(files, restorer, tmp_path, monkeypatch, caption):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'tgjar_cub.onnx').symlink_to(files / 'tiny.onnx')
    pixels = np.random.default_rng(0).integers(0, 255, (21, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save('bird.jpg', quality=20)
    code = example('docs/python.md', 'onnxruntime')
    assert len(code.splitlines()) <= 13 and "'a small yellow bird'" in code
    exec(code.replace('a small yellow bird', caption), {})
    restored = np.asarray(Image.open('bird.png'))
    lq = np.asarray(Image.open('bird.jpg'))
    assert np.abs(restored.astype(int) - restorer(lq, caption)).max() <= 1
    counts = caption.startswith('a small')
    assert (np.abs(restored.astype(int) - restorer(lq)).max() > 1) == counts  # the caption, where a word is known


def test_shipped_weights_by_name(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shipped, 'FOLDER', files)
    monkeypatch.chdir(tmp_path)
    seen = []

    def write_nothing(path, weights, source):
        seen.append((weights.max_words, source))
        path.touch()
        return 0.

    monkeypatch.setattr(onnx_export, 'export_onnx', write_nothing)  # the test above has the real one
    assert export.main(['tiny', '--onnx', '-o', 'x.onnx']) == 0 and seen == [(6, 'tiny.safetensors')]
    with pytest.raises(SystemExit, match='2'):
        export.main(['tiny', '-o', 'x.safetensors'])
    assert 'is already exported' in capsys.readouterr().err
    assert export.main(['other', '--onnx', '-o', 'y.onnx']) == 1
    assert 'other is not a generator checkpoint' in (error := capsys.readouterr().err)
    assert 'shipped weights are tiny' in error and not (tmp_path / 'y.onnx').exists()


def test_without_text_the_null_condition_is_inside(files, restorer, tmp_path, capsys):
    path = tmp_path / 'new' / 'null.onnx'
    assert export.main([str(files / 'tiny.safetensors'), '--onnx', '--without-text', '-o', str(path)]) == 0
    assert 'text encoder' not in capsys.readouterr().out
    session = onnxruntime.InferenceSession(path)
    assert [value.name for value in session.get_inputs()] == ['lq']
    assert set(session.get_modelmeta().custom_metadata_map) == {'format', 'source', 'network_g'}
    lq = torch.rand(2, 3, 19, 41)
    with torch.no_grad():
        expected = restorer.net_g(lq).clamp(0, 1)
    np.testing.assert_allclose(session.run(None, {'lq': lq.numpy()})[0], expected, atol=1e-4)


@pytest.mark.slow
def test_lite_generator(tmp_path):
    weights = make_weights()
    options = {'num_feat': 8, 'num_block': 1, 'num_fine': 4, 'text_dim': 16}
    net = TGJARLiteGenerator(**options)
    with torch.no_grad():
        net.null_word.normal_()
    weights.network_g, weights.state_g = {'type': 'TGJARLiteGenerator', **options}, net.state_dict()
    assert onnx_export.export_onnx(tmp_path / 'x.onnx', weights) <= 1e-4


@pytest.mark.slow
def test_text_encoder_of_transformers_and_ablation_without_gfm(tmp_path):
    """CLIP's: it reads ahead only, and the sentence is its last token."""
    weights = make_weights(use_global_fusion=False)
    vocab_size = tokenizer_from_json(weights.tokenizer).vocab_size
    config = {'model_type': 'clip_text_model', 'vocab_size': vocab_size, 'hidden_size': 8, 'num_hidden_layers': 1,
              'num_attention_heads': 2, 'intermediate_size': 8, 'max_position_embeddings': 20, 'bos_token_id': 1,
              'eos_token_id': 2, 'pad_token_id': 0}
    options = {'text_dim': 16, 'special_ids': [1, 2], 'config': config}
    weights.network_t = {'type': 'HFTextEncoder', **options}
    weights.state_t = HFTextEncoder(**options).state_dict()
    # It compares with PyTorch at two odd sizes before it writes.
    assert onnx_export.export_onnx(tmp_path / 'x.onnx', weights) <= 1e-4
    inputs = [value.name for value in onnxruntime.InferenceSession(tmp_path / 'x.onnx').get_inputs()]
    assert inputs == ['lq', 'text', 'text_mask']


def test_a_graph_that_restores_otherwise_is_refused(files, restorer):
    content = (files / 'tiny.onnx').read_bytes()
    assert onnx_export._compare(content, restorer) <= 1e-4
    for net, name in (('net_g', 'null_word'), ('net_t', 'rnn.weight_hh_l0_reverse'), ('net_g', 'tail.bias')):
        changed = Restorer.from_pretrained(files / 'tiny.safetensors', 'cpu')
        getattr(changed, net).get_parameter(name).add_(0.5)
        with pytest.raises(ValueError, match='otherwise than PyTorch .* nothing was written'):
            onnx_export._compare(content, changed)


def test_other_networks_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match='only TGJARGenerator and TGJARLiteGenerator are written as ONNX, not RNAN'):
        onnx_export.export_onnx(tmp_path / 'x.onnx', ExportedWeights({'type': 'RNAN'}, {}))


@pytest.mark.parametrize(('arguments', 'message'), [
    (['-o', 'x.safetensors', '--onnx'], 'must end in .onnx with --onnx'),
    (['-o', 'x.onnx'], 'must end in .safetensors; or give --onnx'),
    (['-o', 'x.onnx', '--onnx', '--half'], '--half stores float16, which --onnx does not'),
    (['-o', 'x.onnx', '--onnx', '--raw'], 'one set of weights'),
    (['-o', 'x.safetensors'], 'is already exported'),
])
def test_arguments_that_do_not_go_together(files, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='2'):
        export.main([str(files / 'tiny.safetensors'), *arguments])
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_missing_extra_is_named(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    assert export.main([str(files / 'tiny.safetensors'), '--onnx', '-o', str(tmp_path / 'x.onnx')]) == 1
    assert "pip install 'tgjar[onnx]'" in capsys.readouterr().err and not list(tmp_path.iterdir())
