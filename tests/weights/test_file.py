"""Weights files: what they may say, and what is refused before anything is built."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.cli import export
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.checkpoint import save_atomically
from tgjar_arch.weights.file import ExportedWeights, read_max_qf, read_weights, write_weights

G = {'type': 'TGJARGenerator', 'num_feat': 8, 'num_block': 1, 'text_dim': 16}
STATE = TGJARGenerator(**{key: value for key, value in G.items() if key != 'type'}).state_dict()
TEXT = {'network_t': json.dumps({'type': 'LSTMTextEncoder', 'vocab_size': 3, 'embed_dim': 8, 'text_dim': 16}),
        'tokenizer': WordTokenizer.build(['a bird']).to_json(), 'max_words': '6'}


def write(folder, tensors=None, **metadata):
    tensors = {f'net_g.{key}': value for key, value in STATE.items()} if tensors is None else tensors
    save_file(tensors, folder / 'w.safetensors', metadata={'format': 'tgjar-1', 'network_g': json.dumps(G)} | metadata)
    return folder / 'w.safetensors'


@pytest.mark.parametrize(('metadata', 'message'), [
    ({'network_g': 'no json'}, 'network_g is missing or no JSON'), ({'network_g': ''}, 'is missing or no JSON'),
    ({'network_g': '[' * 100_000}, 'is missing or no JSON'),
    ({'network_g': '[1]'}, r'must be an object with "type".* but is \[1\]'),
    ({'network_g': 'null'}, 'must be an object'),
    ({'network_g': '{"type": "SpyNet", "load_path": "evil.pth"}'}, "'load_path', which reads or fetches a file"),
    (TEXT | {'network_t': '{"type": "HFTextEncoder", "model": "a", "download": true}'}, "network_t .*'model', which"),
    (TEXT | {'max_words': '0'}, "max_words must be a whole number from 1 to 1,000, but is '0'"),
    (TEXT | {'max_words': '-3'}, "but is '-3'"), (TEXT | {'max_words': 'abc'}, "but is 'abc'"),
    (TEXT | {'max_words': '9' * 99}, 'max_words must be'), (TEXT | {'tokenizer': ''}, 'but no tokenizer'),
])
def test_malformed_metadata_are_one_clear_error(tmp_path, metadata, message, monkeypatch):
    torch.save({'params': {}}, tmp_path / 'evil.pth')
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, **metadata)
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: pytest.fail('unpickled'))
    for read in (read_weights, Restorer.from_pretrained):
        with pytest.raises(ValueError, match=rf'weights file .*w\.safetensors cannot be used: .*{message}'):
            read(path)


def test_a_text_encoder_without_tokenizer_is_refused(tmp_path):
    weights = ExportedWeights(G, STATE, json.loads(TEXT['network_t']))
    for use in (lambda: write_weights(tmp_path / 'w.safetensors', weights), lambda: Restorer(weights, 'cpu')):
        with pytest.raises(ValueError, match='have a text encoder, network_t, but no tokenizer'):
            use()


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    state = {key: tensor.clone() for key, tensor in STATE.items()}
    state['tail.bias'][1] = value
    with pytest.raises(ValueError, match='net_g.tail.bias has values that are NaN or infinite'):
        read_weights(write(tmp_path, {f'net_g.{key}': tensor for key, tensor in state.items()}))
    with pytest.raises(ValueError, match='net_g.tail.bias has values'):
        write_weights(tmp_path / 'x.safetensors', ExportedWeights(G, state))
    state['tail.bias'][1] = 1e6
    with pytest.raises(ValueError, match='--half ends at 65,504'):
        write_weights(tmp_path / 'x.safetensors', ExportedWeights(G, state), half=True)
    assert not (tmp_path / 'x.safetensors').exists()


def test_arguments_that_fit_no_network_are_named(tmp_path):
    for more in ({'num_feat': -8}, {'num_feat': 'x'}, {'num_feat': [8]}, {'number': 8}, {'num_block': 2.5}):
        with pytest.raises(ValueError, match=r'w\.safetensors does not fit the networks it names'):
            Restorer.from_pretrained(write(tmp_path, network_g=json.dumps(G | more)), 'cpu')


def test_a_checkpoint_may_name_no_more_than_its_export(tmp_path, monkeypatch, capsys):
    network = '{"type": "SpyNet", "load_path": "evil.pth"}'
    save_atomically({'params': STATE, 'network': network}, tmp_path / 'net_g_5.pth')
    torch.save({'params': {}}, tmp_path / 'evil.pth')
    monkeypatch.chdir(tmp_path)
    assert export.main(['net_g_5.pth', '-o', 'x.safetensors']) == 1
    assert "net_g_5.pth cannot be exported: network has the argument 'load_path'" in capsys.readouterr().err
    with pytest.raises(ValueError, match='network_g has the argument'):
        write_weights('x.safetensors', ExportedWeights({'type': 'SpyNet', 'load_path': 'evil.pth'}, STATE))


@pytest.mark.parametrize(('max_qf', 'source'), [(None, ''), (1, 'CUB, one night'), (100, 'zwölf Vögel')])
def test_quality_limit_and_source_come_back(tmp_path, max_qf, source):
    path = tmp_path / 'x.safetensors'
    write_weights(path, ExportedWeights(G, STATE, max_qf=max_qf, source=source))
    weights = read_weights(path)
    assert (weights.max_qf, weights.source, read_max_qf(path)) == (max_qf, source, max_qf)
    with safe_open(path, 'pt') as file:
        assert file.metadata()['format'] == 'tgjar-2'  # older versions of tgjar go on reading it
        assert ('max_qf' in file.metadata()) == (max_qf is not None) and ('source' in file.metadata()) == bool(source)


def test_a_file_without_them_and_one_with_more_are_read(tmp_path):
    weights = read_weights(write(tmp_path, maker='somebody'))
    assert (weights.max_qf, weights.source) == (None, '')


@pytest.mark.parametrize('text', ['0', '101', '-1', 'x', '', '1.5', '٣', '9' * 99])
def test_a_quality_limit_that_is_none_is_refused(tmp_path, text):
    path = write(tmp_path, max_qf=text)
    for read in (read_weights, read_max_qf):
        with pytest.raises(ValueError, match=r'w\.safetensors cannot be used: its max_qf must be a whole number from 1 '
                                             'to 100'):
            read(path)


@pytest.mark.parametrize('max_qf', [0, 101, 8.0, True, '8'])
def test_a_quality_limit_that_is_none_is_not_written(tmp_path, max_qf):
    with pytest.raises(ValueError, match='max_qf must be a whole number from 1 to 100, but is'):
        write_weights(tmp_path / 'x.safetensors', ExportedWeights(G, STATE, max_qf=max_qf))
    assert not any(tmp_path.iterdir())


def test_a_source_is_one_short_line_whoever_wrote_it(tmp_path):
    text = ' from\n\tme\x1b[31m  and\x00you ' + 'x' * 1000
    weights = read_weights(write(tmp_path, source=text))
    assert weights.source.startswith('from me [31m and you xxx') and len(weights.source) == 500
    write_weights(tmp_path / 'x.safetensors', ExportedWeights(G, STATE, source=text))
    with safe_open(tmp_path / 'x.safetensors', 'pt') as file:
        assert file.metadata()['source'] == weights.source


class Evil:
    """Its unpickling would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_a_checkpoint_with_code_is_refused_without_advice_to_run_it(tmp_path, capsys):
    torch.save({'params': Evil(tmp_path / 'written')}, tmp_path / 'net_g_5.pth')
    assert export.main([str(tmp_path / 'net_g_5.pth'), '-o', str(tmp_path / 'x.safetensors')]) == 1
    error = capsys.readouterr().err
    assert 'net_g_5.pth is refused: it holds more than tensors and plain containers' in error
    assert 'weights_only' not in error and error.count('\n') == 1 and not (tmp_path / 'written').exists()
