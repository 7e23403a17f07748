"""Words, ids and files of the word tokenizer."""

import json
import logging
import pickle
import random
import re

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from tgjar_arch.text import word_tokenizer as tokenizer_module
from tgjar_arch.text.word_tokenizer import END, WordTokenizer, pad_ids

CAPTIONS = ['This bird is red, with a red beak.', 'A small bird: blue!', 'small SMALL small']


def attngan_words(caption: str) -> list[str]:
    """What AttnGAN's rule gives: lower-case, words of `re`, then every character that is not ASCII dropped."""
    words = (word.encode('ascii', 'ignore').decode() for word in re.findall(r'\w+', caption.lower()))
    return [word for word in words if word]


@pytest.fixture
def tokenizer() -> WordTokenizer:
    return WordTokenizer.build(CAPTIONS)


@pytest.fixture
def log(caplog, monkeypatch):
    """Records of BasicSR's logger, which does not propagate; unknown words said by other tests are forgotten."""
    monkeypatch.setattr(tokenizer_module, '_named_unknown', set())
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize('caption', [
    "A bird's wing-tip, 2nd_row.", 'a café, naïve ete\u0301', '\ufffd\ufffdred\ufffdblue', 'x\u00a0y\u2003z\u2014w',
    '½ ² Ⅷ ٣x', '\u212aelvin İstanbul ΣΑΣ ß', '日本 bird日本', 'a\u200db a\u00adb a\u203fb', 'tab\tline\nend\x0b\x1f',
    '<end> [UNK]', '', ' ... ',
])
def test_words_are_those_of_attngan(tokenizer, caption):
    assert tokenizer.words(caption) == attngan_words(caption)


def test_ids_count_from_one_in_the_order_of_first_appearance(tokenizer):
    assert tokenizer.vocab_size == 10
    assert tokenizer.encode(CAPTIONS[0]) == [1, 2, 3, 4, 5, 6, 4, 7]
    assert tokenizer.encode('Small a BIRD') == [8, 6, 2]
    assert tokenizer.decode([8, 6, 2, 0, 0]) == ['small', 'a', 'bird']
    with pytest.raises(ValueError, match='no token 10; take ids that it made'):
        tokenizer.decode([2, 10])
    assert tokenizer.encode('') == []


def test_end_is_padding_and_cannot_be_written_in_a_caption(tokenizer):
    assert tokenizer.unknown(f'{END} bird') == ['end']
    assert tokenizer.encode(f'{END} bird') == [2]


def test_min_count_keeps_frequent_words_only():
    rare = WordTokenizer.build(CAPTIONS, min_count=2)
    assert rare.decode(range(rare.vocab_size)) == ['bird', 'red', 'a', 'small']
    with pytest.raises(ValueError, match=r'no word .* appears 9 or more times \(9 different words\)'):
        WordTokenizer.build(CAPTIONS, min_count=9)
    with pytest.raises(ValueError, match='give captions'):
        WordTokenizer.build([])


def test_from_words_keeps_a_given_order():
    given = WordTokenizer.from_words(['zebra', 'ant'])
    assert given.encode('ant zebra') == [2, 1]
    with pytest.raises(ValueError, match="'two words' is no lower-case ASCII word"):
        WordTokenizer.from_words(['ant', 'two words'])
    with pytest.raises(ValueError, match=r"each word once, but \['ant'\]"):
        WordTokenizer.from_words(['ant', 'zebra', 'ant'])


def test_unknown_words_are_skipped_and_said_once(tokenizer, log):
    for _ in range(3):
        assert tokenizer.encode('a violet bird') == [6, 2]
    assert tokenizer.unknown('a violet bird') == ['violet']
    assert log.messages == ["unknown words are skipped, not among the 9 of the tokenizer: 'violet'."]


def test_many_unknown_words_are_no_storm(tokenizer, log):
    for k in range(50):
        assert tokenizer.encode(f'unknown{k}') == []
    assert len(log.messages) == 21
    assert "'unknown19'" in log.messages[19] and 'more than 20 unknown words' in log.messages[20]


def test_the_unknown_words_of_a_caption_are_one_message(tokenizer, log):
    assert tokenizer.encode('a violet bird, a mauve bird: Violet') == [6, 2, 6, 2]
    assert tokenizer.encode(' '.join(f'w{k}' for k in range(3000))) == []
    assert tokenizer.encode('more') == []
    words = [message.partition(': ')[2] for message in log.messages]
    assert words[0] == "'violet', 'mauve'." and words[1].startswith("'w0', 'w1', 'w2', ")
    assert words[1].endswith("'w17'.") and len(words[1]) < 200 and words[2:] == ['further ones are skipped silently.']


def test_files_and_json_hold_everything(tokenizer, tmp_path):
    path = tmp_path / 'new' / 'tokenizer.json'
    tokenizer.save(path)
    tokenizer.save(path)
    assert [file.name for file in path.parent.iterdir()] == ['tokenizer.json']
    for copy in (WordTokenizer.load(path), WordTokenizer.from_json(tokenizer.to_json()),
                 pickle.loads(pickle.dumps(tokenizer))):
        assert copy.to_json() == tokenizer.to_json()
        assert copy.encode(CAPTIONS[0]) == tokenizer.encode(CAPTIONS[0])
        assert copy.vocab_size == 10


def test_transformers_reads_the_file(tokenizer, tmp_path):
    tokenizer.save(tmp_path / 'tokenizer.json')
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / 'tokenizer.json'), pad_token=END)
    batch = fast(CAPTIONS[:2], padding='max_length', max_length=10)
    for caption, ids, mask in zip(CAPTIONS, batch['input_ids'], batch['attention_mask'], strict=False):
        expected, expected_mask = pad_ids(tokenizer.encode(caption), 10)
        assert ids == expected.tolist()
        assert mask == expected_mask.int().tolist()


def test_errors_say_what_to_do(tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no file .*none\.json; build it .*`tgjar vocab FOLDER -o .*none'):
        WordTokenizer.load(tmp_path / 'none.json')
    (tmp_path / 'broken.json').write_text('{"version"')
    with pytest.raises(ValueError, match=r'broken\.json is no tokenizer\.json'):
        WordTokenizer.load(tmp_path / 'broken.json')
    with pytest.raises(ValueError, match='is a BPE tokenizer, no word vocabulary'):
        WordTokenizer.from_json(Tokenizer(models.BPE()).to_str())
    for vocab in ({'a': 0, END: 1}, {END: 0, 'a': 2}):
        content = json.loads(tokenizer.to_json())
        content['model']['vocab'] = vocab
        with pytest.raises(ValueError, match='<end> at id 0 and its words at 1, 2, ... without a gap'):
            WordTokenizer.from_json(json.dumps(content))


@pytest.mark.parametrize('count', [0, 1, 4, 5])
def test_captions_that_fit_are_padded_with_zero(count):
    ids, mask = pad_ids(list(range(1, count + 1)), 5, random.Random(0))
    assert ids.dtype == torch.int64 and mask.dtype == torch.bool
    assert ids.tolist() == list(range(1, count + 1)) + [0] * (5 - count)
    assert mask.tolist() == [True] * count + [False] * (5 - count)


def test_longer_captions_keep_the_first_or_a_random_subset_in_order():
    long = list(range(10, 30))
    assert pad_ids(long, 6)[0].tolist() == long[:6]
    rng = random.Random(0)
    drawn = [pad_ids(long, 6, rng)[0].tolist() for _ in range(200)]
    assert all(ids == sorted(ids) and len(set(ids)) == 6 for ids in drawn)
    assert {word for ids in drawn for word in ids} == set(long)
    assert len(set(map(tuple, drawn))) > 150
    assert pad_ids(long, 6, random.Random(3))[0].equal(pad_ids(long, 6, random.Random(3))[0])
    assert pad_ids(long, 6, rng)[1].all()
