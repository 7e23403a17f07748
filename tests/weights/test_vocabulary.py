"""Another vocabulary for weights: what both know stays, to the bit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tgjar_arch.cli.main import main
from tgjar_arch.registration import network_class
from tgjar_arch.text.piece_tokenizer import PieceTokenizer
from tgjar_arch.text.tokenizer import Tokenizer, tokenizer_from_json
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.file import ExportedWeights, read_weights, write_weights
from tgjar_arch.weights.vocabulary import with_vocabulary

CAPTIONS = ['a red bird sits', 'a red bird', 'a bird with a red wing', 'the woman sits', 'the woman and the door'] * 2


def weights_with(tokenizer: Tokenizer) -> ExportedWeights:
    network_g = {'text_norm': True, 'type': 'TGJARGenerator', 'num_feat': 8, 'num_block': 1, 'text_dim': 16}
    network_t = {'type': 'LSTMTextEncoder', 'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': 16}
    states = [network_class(network['type'])(**{key: value for key, value in network.items() if key != 'type'}
                                             ).state_dict() for network in (network_g, network_t)]
    return ExportedWeights(network_g, states[0], network_t, states[1], tokenizer.to_json(), 6)


def sentence(weights: ExportedWeights, caption: str) -> torch.Tensor:
    assert weights.network_t is not None and weights.tokenizer is not None
    encoder = network_class('LSTMTextEncoder')(**{key: value for key, value in weights.network_t.items()
                                                  if key != 'type'})
    encoder.load_state_dict(weights.state_t)
    tokenizer = tokenizer_from_json(weights.tokenizer)
    ids, mask = tokenizer.pad(tokenizer.encode(caption), weights.max_words)
    return encoder.eval()(ids[None], mask[None]).sentence


def test_words_of_both_vocabularies_are_read_as_before_and_new_ones_are_there() -> None:
    old = weights_with(WordTokenizer.build(CAPTIONS[:3]))
    for tokenizer in (WordTokenizer.build(CAPTIONS), PieceTokenizer.build(CAPTIONS, 90)):
        new, taken = with_vocabulary(old, tokenizer.to_json())
        assert torch.equal(sentence(new, 'a red bird'), sentence(old, 'a red bird'))
        assert not tokenizer.unknown('the woman sits') and new.network_t['vocab_size'] == tokenizer.vocab_size
        assert not torch.equal(sentence(new, 'the woman'), torch.zeros(1, 16))
        assert 4 <= taken < tokenizer.vocab_size
        assert new.state_g is old.state_g and old.network_t['vocab_size'] == len(old.state_t['encoder.weight'])


def test_a_word_that_was_in_pieces_starts_at_their_mean_and_pieces_keep_theirs() -> None:
    pieces = PieceTokenizer.build(CAPTIONS, 90)
    old = weights_with(pieces)
    ids = pieces.encode('redwing')
    assert len(ids) > 1
    words = WordTokenizer.build(['redwing bird'])
    new, _ = with_vocabulary(old, words.to_json())
    row = new.state_t['encoder.weight'][words.encode('redwing')[0]]
    torch.testing.assert_close(row, old.state_t['encoder.weight'][ids].mean(dim=0))
    same, taken = with_vocabulary(old, pieces.to_json())
    assert taken == pieces.vocab_size and torch.equal(same.state_t['encoder.weight'], old.state_t['encoder.weight'])
    fewer = PieceTokenizer.build(CAPTIONS, 70)
    some, _ = with_vocabulary(old, fewer.to_json())
    assert torch.equal(sentence(some, 'a bird'), sentence(old, 'a bird'))


def test_new_rows_are_those_of_a_new_encoder_and_the_same_each_time() -> None:
    old = weights_with(WordTokenizer.build(['bird']))
    vocabulary = WordTokenizer.build(['bird woman door']).to_json()
    one, other = (with_vocabulary(old, vocabulary)[0].state_t['encoder.weight'] for _ in range(2))
    assert torch.equal(one, other) and one[2:].abs().max() <= 0.1 and one[2:].std() > 0.01
    half = replace(old, state_t={key: value.half() for key, value in old.state_t.items()})
    assert with_vocabulary(half, vocabulary)[0].state_t['encoder.weight'].dtype == torch.float16


def test_what_has_no_word_embedding_is_refused() -> None:
    old = weights_with(WordTokenizer.build(['bird']))
    with pytest.raises(ValueError, match='these have no text encoder'):
        with_vocabulary(ExportedWeights(old.network_g, old.state_g), WordTokenizer.build(['bird']).to_json())
    with pytest.raises(ValueError, match='new tokenizer'):
        with_vocabulary(old, '{}')


def test_unpack_makes_a_start_with_the_new_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_weights(tmp_path / 'w.safetensors', weights_with(WordTokenizer.build(CAPTIONS[:3])))
    PieceTokenizer.build(CAPTIONS, 90).save(tmp_path / 'new.json')
    assert main(['unpack', str(tmp_path / 'w.safetensors'), '--vocab', str(tmp_path / 'new.json'),
                 '-o', str(tmp_path / 'start')]) == 0
    assert 'rows of the embedding are those of the weights' in capsys.readouterr().out
    content = torch.load(tmp_path / 'start' / 'net_t_latest.pth', weights_only=True)
    rows = len(content['params']['encoder.weight'])
    assert json.loads(content['network'])['vocab_size'] == rows
    assert content['tokenizer'] == (tmp_path / 'start' / 'tokenizer.json').read_text(encoding='utf-8')
    assert read_weights(tmp_path / 'w.safetensors').network_t['vocab_size'] != rows
    assert main(['unpack', str(tmp_path / 'w.safetensors'), '--vocab', str(tmp_path / 'none.json'),
                 '-o', str(tmp_path / 'other')]) == 1
    assert 'none.json' in capsys.readouterr().err and not (tmp_path / 'other').exists()


@pytest.mark.parametrize('content, said', [
    (b'\xff\xfe\x80', 'is no tokenizer.json, for it is no UTF-8 text; build one with `tgjar vocab'),
    (b'', 'is no tokenizer.json'), (b'{"model": ', 'is no tokenizer.json'), (None, 'build it from the captions with')])
def test_a_broken_vocabulary_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None,
                                      said: str) -> None:
    weights, file = tmp_path / 'w.safetensors', tmp_path / 'new.json'
    write_weights(weights, weights_with(WordTokenizer.build(CAPTIONS[:3])))
    if content is not None:
        file.write_bytes(content)
    assert main(['unpack', str(weights), '--vocab', str(file), '-o', str(tmp_path / 'start')]) == 1
    error = capsys.readouterr().err
    assert str(file) in error and said in error and error.count('\n') == 1 and not (tmp_path / 'start').exists()
