"""tgjar unpack: exported weights become checkpoints again, from which training goes on."""

import json
from pathlib import Path

import pytest
import torch

from tgjar_arch.cli.main import main
from tgjar_arch.registration import network_class
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.checkpoint import load_checkpoint
from tgjar_arch.weights.collect import collect
from tgjar_arch.weights.file import ExportedWeights, read_weights, write_weights

NETWORK_G = {'text_norm': True, 'type': 'TGJARGenerator', 'num_feat': 8, 'num_block': 1, 'text_dim': 16}
NETWORK_T = {'type': 'LSTMTextEncoder', 'vocab_size': 4, 'embed_dim': 8, 'text_dim': 16}
STATE_G, STATE_T = (network_class(network['type'])(**{key: value for key, value in network.items() if key != 'type'}
                                                   ).state_dict() for network in (NETWORK_G, NETWORK_T))


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    tokenizer = WordTokenizer.build(['a red bird'])
    write_weights(tmp_path / 'w.safetensors', ExportedWeights(
        NETWORK_G, STATE_G, NETWORK_T, STATE_T, tokenizer.to_json(), 18))
    return tmp_path / 'w.safetensors'


def test_export_reads_back_what_unpack_wrote(exported: Path, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['unpack', str(exported), '-o', str(tmp_path / 'start')]) == 0
    assert f'network_g: {json.dumps(NETWORK_G)}' in capsys.readouterr().out
    again, before = collect(tmp_path / 'start'), read_weights(exported)
    assert (again.network_g, again.network_t, again.max_words) == (NETWORK_G, NETWORK_T, 18)
    assert again.tokenizer == before.tokenizer == (tmp_path / 'start' / 'tokenizer.json').read_text(encoding='utf-8')
    assert torch.equal(again.state_g['head.weight'], STATE_G['head.weight'])
    assert all(torch.equal(again.state_t[key], value) for key, value in STATE_T.items())
    content = load_checkpoint(tmp_path / 'start' / 'net_g_latest.pth')
    assert torch.equal(content['params']['head.weight'], content['params_ema']['head.weight'])


def test_quality_limit_and_source_are_said_if_the_file_has_them(exported: Path, tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['unpack', str(exported), '-o', str(tmp_path / 'a')]) == 0
    assert 'max_qf: ' not in (said := capsys.readouterr().out) and 'source: ' not in said
    write_weights(tmp_path / 'v.safetensors', ExportedWeights(NETWORK_G, STATE_G, max_qf=8, source='birds'))
    assert main(['unpack', str(tmp_path / 'v.safetensors'), '-o', str(tmp_path / 'b')]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ['max_qf: 8', 'source: birds']


def test_weights_without_text(tmp_path: Path) -> None:
    write_weights(tmp_path / 'w.safetensors', ExportedWeights(NETWORK_G, STATE_G))
    assert main(['unpack', str(tmp_path / 'w.safetensors'), '-o', str(tmp_path / 'start')]) == 0
    assert [file.name for file in (tmp_path / 'start').iterdir()] == ['net_g_latest.pth']


def test_nothing_is_overwritten_and_mistakes_are_named(exported: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['unpack', 'no_such_weights', '-o', str(tmp_path / 'start')]) == 1
    assert 'no_such_weights does not exist' in capsys.readouterr().err and not (tmp_path / 'start').exists()
    start = tmp_path / 'start'
    start.mkdir()
    (start / 'tokenizer.json').write_text('mine')
    assert main(['unpack', str(exported), '-o', str(start)]) == 1
    assert 'tokenizer.json already exists' in capsys.readouterr().err
    assert [file.name for file in start.iterdir()] == ['tokenizer.json']
    assert (start / 'tokenizer.json').read_text() == 'mine'
    assert main(['unpack', str(exported), '-o', str(start), '--overwrite']) == 0
