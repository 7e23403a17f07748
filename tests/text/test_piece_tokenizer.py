"""A vocabulary of pieces of words: its pieces, files, what is cut, and the networks and messages that use it."""

import json
import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.helpers.photo_files import picture
from tests.helpers.tiny_model import batch, make, step
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.cli import vocab
from tgjar_arch.datasets.captions import CaptionedImage, CaptionReport, EncodedCaptions
from tgjar_arch.models.encoders import text_encoder_options
from tgjar_arch.restoration.attention import word_attention
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text import word_tokenizer
from tgjar_arch.text.piece_tokenizer import PieceTokenizer
from tgjar_arch.text.subword_tokenizer import HFTokenizer
from tgjar_arch.text.tokenizer import kept_of_caption, load_tokenizer, tokenizer_from_json
from tgjar_arch.text.word_tokenizer import END, WordTokenizer
from tgjar_arch.weights.collect import collect
from tgjar_arch.weights.file import ExportedWeights, write_weights

CAPTIONS = [f'A small {colour} bird with {part}.' for colour in ('yellow', 'blue', 'red', 'Yellow')
            for part in ('wings', 'a beak', 'yellow wings')]
SIZE = 90
G = {'num_feat': 8, 'num_block': 1, 'text_dim': 16}


@pytest.fixture(scope='module')
def tokenizer() -> PieceTokenizer:
    return PieceTokenizer.build(CAPTIONS, SIZE)


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(word_tokenizer, '_named_unknown', set())
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_frequent_words_are_one_piece_and_any_word_has_some(tokenizer):
    assert len(tokenizer.encode('small YELLOW bird')) == 3
    for word in ('quokka', 'zebra', '2nd_row', 'xylophone'):
        assert tokenizer.unknown(word) == [] and tokenizer.decode(tokenizer.encode(word)) == [word]
        assert len(tokenizer.encode(word)) > 1
    assert 38 < tokenizer.vocab_size <= SIZE
    assert max(tokenizer.encode('quokka bird')) < tokenizer.vocab_size and min(tokenizer.encode('quokka bird')) > 0


def test_normal_forms_accents_and_punctuation(tokenizer):
    expected = tokenizer.encode('a cafe with birds')
    for caption in ('A café, with birds!', 'a cafe\u0301 with birds', '\uff41 \uff43\uff41\uff46\uff45 with birds',
                    ' a  cafe-with\tbirds'):
        assert tokenizer.encode(caption) == expected
    assert tokenizer.words('It\'s "red".') == ['it', 's', 'red']
    assert tokenizer.encode('') == tokenizer.encode(' ... ') == []
    assert tokenizer.decode(tokenizer.encode('<end>')) == ['end']  # it cannot be written in a caption


def test_words_with_foreign_letters_are_unknown_as_a_whole(tokenizer, log):
    assert tokenizer.unknown('a красная bird日本') == ['красная', 'bird日本']
    assert tokenizer.decode(tokenizer.encode('a красная bird日本 red')) == ['a', 'red']
    assert "unknown words are skipped, with letters that the tokenizer has not: 'красная', 'bird日本'." in log.text
    russian = PieceTokenizer.build(['красная птица'] * 3, 100)
    assert russian.unknown('красная red') == [] and russian.decode(russian.encode('Красная red')) == ['красная', 'red']


def test_the_same_captions_give_the_same_file_and_it_is_read_again(tokenizer, tmp_path):
    assert PieceTokenizer.build(iter(CAPTIONS), SIZE).to_json() == tokenizer.to_json()
    tokenizer.save(tmp_path / 'new' / 'tokenizer.json')
    again = load_tokenizer(tmp_path / 'new' / 'tokenizer.json')
    assert isinstance(again, PieceTokenizer) and again.to_json() == tokenizer.to_json()
    assert again.encode('a quokka') == tokenizer.encode('a quokka')
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / 'new' / 'tokenizer.json'), pad_token=END)
    assert fast('a quokka', add_special_tokens=False)['input_ids'] == tokenizer.encode('a quokka')


def test_kinds_are_told_apart(tokenizer):
    assert isinstance(tokenizer_from_json(WordTokenizer.build(CAPTIONS).to_json()), WordTokenizer)
    other = json.loads(tokenizer.to_json())
    other['model']['unk_token'] = None  # as CLIP's, which is byte-pair encoding too
    assert isinstance(tokenizer_from_json(json.dumps(other)), HFTokenizer)
    other['normalizer'], other['model']['unk_token'] = None, END
    with pytest.raises(ValueError, match='must have a normalizer, a pre_tokenizer and no added_tokens'):
        tokenizer_from_json(json.dumps(other))
    del other['model']['vocab'][END]
    other['model']['unk_token'] = END
    with pytest.raises(ValueError, match='the tokenizer must have <end> at id 0|the tokenizer is no tokenizer.json'):
        tokenizer_from_json(json.dumps(other))


def test_groups_are_words(tokenizer):
    ids = tokenizer.encode('a quokka bird')
    groups = tokenizer.group([*ids, 0, 0])
    assert [word for word, _ in groups] == ['a', 'quokka', 'bird'] and sum(count for _, count in groups) == len(ids)
    assert groups[0][1] == groups[2][1] == 1 < groups[1][1]


def kept(tokenizer, caption, length, rng=None) -> list[str]:
    ids, mask = tokenizer.pad(tokenizer.encode(caption), length, rng)
    assert ids.shape == mask.shape == (length,) and torch.equal(ids > 0, mask)
    return tokenizer.decode(ids[mask].tolist())


def test_what_is_too_long_keeps_whole_words(tokenizer):
    quokka = len(tokenizer.encode('quokka'))
    assert kept(tokenizer, 'a quokka bird', quokka + 1) == ['a', 'quokka']
    assert kept(tokenizer, 'a quokka bird', quokka) == ['a']  # the first ones: none after one that does not fit
    assert kept(tokenizer, 'a quokka bird', 9) == ['a', 'quokka', 'bird']
    assert kept(tokenizer, 'quokka bird', 3) == ['qu']  # of a word that is longer than all
    words, found = 'small red quokka with yellow wings'.split(), set()
    for seed in range(40):
        chosen = kept(tokenizer, ' '.join(words), 3, random.Random(seed))
        assert chosen == [word for word in words if word in chosen] and len(chosen) == 3 and 'quokka' not in chosen
        found.add(tuple(chosen))
    assert len(found) == 10  # three of the five words that fit
    assert kept(tokenizer, 'small red', 5, random.Random(0)) == ['small', 'red']


@pytest.mark.parametrize('captions, size, message', [
    (CAPTIONS, 39, 'leave no room beside the 39 of <end> and the single letters'), ([], 100, 'no caption has a word'),
    (['...'], 100, 'no caption has a word'),
])
def test_wrong_vocabularies(captions, size, message):
    with pytest.raises(ValueError, match=message):
        PieceTokenizer.build(captions, size)


def test_captions_of_a_data_set(tokenizer):
    report = CaptionReport()
    encoded = EncodedCaptions([CaptionedImage('x', ('a quokka', 'красная'))], tokenizer, 3, report)
    assert encoded.ids(0, 0) == tokenizer.encode('a quokka')
    assert report.no_known_word == ['x'] and report.too_long == ['x']


def test_option_files(tokenizer):
    found = text_encoder_options({'network_t': {'type': 'LSTMTextEncoder', 'vocab_size': None}}, tokenizer)
    assert found['vocab_size'] == tokenizer.vocab_size
    with pytest.raises(ValueError, match='reads ids of its own tokenizer, but the datasets name a subword vocabulary'):
        text_encoder_options({'network_t': {'type': 'HFTextEncoder'}}, tokenizer)


@pytest.fixture
def restorer(tokenizer, tmp_path) -> Restorer:
    torch.manual_seed(0)
    options = {'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': 16}
    net = TGJARGenerator(**G)
    torch.nn.init.normal_(net.tail.weight, std=.2)
    write_weights(tmp_path / 'w.safetensors', ExportedWeights(
        {'type': 'TGJARGenerator', **G}, net.state_dict(), {'type': 'LSTMTextEncoder', **options},
        LSTMTextEncoder(**options).state_dict(), tokenizer.to_json(), 12))
    return Restorer.from_pretrained(tmp_path / 'w.safetensors', 'cpu')


def test_weights_files_and_attention_speak_of_whole_words(restorer, tokenizer, monkeypatch):
    image = np.asarray(picture(48, 40))
    assert isinstance(restorer.tokenizer, PieceTokenizer)
    assert not np.array_equal(restorer(image, 'a quokka bird'), restorer(image, 'a red bird'))
    words, maps = word_attention(restorer, image, 'A quokka bird')
    assert words == ['a', 'quokka', 'bird'] and maps.shape == (3, 40, 48)
    np.testing.assert_allclose(maps.sum(axis=0), 1, atol=1e-5)
    pieces = len(tokenizer.encode('quokka'))
    ids = tokenizer.encode('a quokka bird')
    monkeypatch.setattr(restorer.tokenizer, 'group', lambda ids: [(str(i), 1) for i in ids])  # every piece alone
    _, single = word_attention(restorer, image, 'A quokka bird')
    assert len(single) == len(ids)
    np.testing.assert_allclose(maps[1], single[1:1 + pieces].sum(axis=0), atol=1e-6)


def test_trained_with_and_exported(tokenizer, opt, tmp_path):
    tokenizer.save(tmp_path / 'tokenizer.json')  # in the place of the words that the options name
    model = make(opt)
    data = batch(opt)
    step(model, data)
    assert data['text'].max() >= 38  # more than single letters
    assert model.get_bare_model(model.net_t).encoder.num_embeddings == tokenizer.vocab_size
    model.save(0, 1)
    weights = collect(tmp_path / 'models' / 'net_g_1.pth')
    restorer = Restorer(weights, 'cpu')
    assert restorer.tokenizer.to_json() == tokenizer.to_json() and restorer.max_words == 8
    opt['path']['pretrain_network_t'] = str(tmp_path / 'models' / 'net_t_1.pth')
    make(opt)
    PieceTokenizer.build(CAPTIONS[:3], 60).save(tmp_path / 'tokenizer.json')
    with pytest.raises(ValueError, match='was trained with another vocabulary'):
        make(opt)


def test_what_a_long_caption_is_cut_to(tokenizer):
    assert kept_of_caption(tokenizer, 18) == 'the first words of it that make up 18 pieces'
    assert kept_of_caption(WordTokenizer.build(CAPTIONS), 18) == 'its first 18 known words'


def test_command(tmp_path: Path, capsys):
    (tmp_path / 'captions.txt').write_text('\n'.join(CAPTIONS))
    command = [str(tmp_path / 'captions.txt'), '-o', str(tmp_path / 'tokenizer.json'), '--subwords', str(SIZE)]
    assert vocab.main(command) == 0
    output = capsys.readouterr().out
    made = load_tokenizer(tmp_path / 'tokenizer.json')
    assert f'12 captions, {made.vocab_size - 1} pieces, 1.00 a word' in output
    assert 'a word on average; 95 % of the captions have at most' in output
    assert made.to_json() == PieceTokenizer.build(CAPTIONS, SIZE).to_json()
    assert vocab.main([*command[:3], '--overwrite', '--subwords', '20']) == 1
    assert '20 pieces leave no room' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        vocab.main([*command, '--min-count', '2'])
    assert 'give one of them' in capsys.readouterr().err
