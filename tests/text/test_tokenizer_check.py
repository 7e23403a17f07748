"""The tokenizer in a weights file: what it may be made of, and what it may not do."""

import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tgjar_arch.text.piece_tokenizer import PieceTokenizer
from tgjar_arch.text.tokenizer import tokenizer_from_json
from tgjar_arch.text.tokenizer_check import PATTERNS, check_tokenizer, native_errors
from tgjar_arch.text.word_tokenizer import WordTokenizer

WORDS = json.loads(WordTokenizer.from_words(['a', 'bird']).to_json())
WORD_PIECE = {'type': 'WordPiece', 'unk_token': '[UNK]', 'continuing_subword_prefix': '##',
              'max_input_chars_per_word': 100, 'vocab': {'[UNK]': 0, 'a': 1, '##b': 2}}
BPE = {'type': 'BPE', 'dropout': None, 'unk_token': None, 'continuing_subword_prefix': '', 'end_of_word_suffix': '',
       'fuse_unk': False, 'byte_fallback': False, 'ignore_merges': False, 'vocab': {'a': 0, 'b': 1, 'ab': 2},
       'merges': [['a', 'b']]}


def words(**changes):
    return json.dumps(WORDS | changes)


def bert():
    tokenizer = Tokenizer(models.WordPiece({'[UNK]': 0, '[CLS]': 1, '[SEP]': 2, 'a': 3, 'bird': 4}, unk_token='[UNK]'))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(['[UNK]', '[CLS]', '[SEP]'])
    tokenizer.post_processor = processors.TemplateProcessing(single='[CLS] $A [SEP]',
                                                             special_tokens=[('[CLS]', 1), ('[SEP]', 2)])
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def byte_level(pre_tokenizer, normalizer=None):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def clip():
    tokenizer = byte_level(
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERNS[3]), 'removed', invert=True),
                                 pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r'\s+'), ' '), normalizers.Lowercase()]))
    tokenizer.add_special_tokens(['<|startoftext|>', '<|endoftext|>'])
    tokenizer.post_processor = processors.RobertaProcessing(('<|endoftext|>', 257), ('<|startoftext|>', 256), False,
                                                            False)
    return tokenizer


def llama():
    tokenizer = Tokenizer(models.BPE({'<unk>': 0, '▁': 1, 'a': 2, '▁a': 3}, [('▁', 'a')], unk_token='<unk>'))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
    tokenizer.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(' ', 1, 0)])
    return tokenizer


@pytest.mark.parametrize(('tokenizer', 'rows'), [
    (WordTokenizer.from_words(['a', 'bird']), 3), (PieceTokenizer.build(['a bird'] * 2, 41), 41),
    (bert(), 5), (clip(), 258), (llama(), 4),
    (byte_level(pre_tokenizers.ByteLevel(), normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])), 256),
    (byte_level(pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel()]),
                normalizers.NFC()), 256),
    (byte_level(pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERNS[6]), 'isolated'),
                                         pre_tokenizers.ByteLevel(use_regex=False)])), 256),
])
def test_tokenizers_of_ours_and_of_pretrained_models_are_taken(tokenizer, rows):
    text = tokenizer.to_json() if isinstance(tokenizer, WordTokenizer | PieceTokenizer) else tokenizer.to_str()
    check_tokenizer(text, rows)
    tokenizer_from_json(text).encode('A zebra bird, été!')
    with pytest.raises(ValueError, match=f'has the id {rows - 1}, but the text encoder reads {rows - 1} ids'):
        check_tokenizer(text, rows - 1)


def replace(pattern, content, count=1, kind='String'):
    return {'type': 'Sequence', 'normalizers': [{'type': 'Replace', 'pattern': {kind: pattern}, 'content': content}]
            * count}


def template(**changes):
    return {'type': 'TemplateProcessing', 'pair': [], 'single': [{'SpecialToken': {'id': 'X', 'type_id': 0}},
                                                                 {'Sequence': {'id': 'A', 'type_id': 0}}],
            'special_tokens': {'X': {'id': 'X', 'ids': [1], 'tokens': ['X']}}} | changes


TOKEN = {'id': 2, 'content': 'zebra', 'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': False,
         'special': True}


@pytest.mark.parametrize(('text', 'said'), [
    ('', 'Expecting value'), ('[' * 5000, 'recursion|Expecting'), ('[1]', 'has no model'), ('{}', 'has no model'),
    ('{"model": {"type": "WordLevel"}, "model": {}}', 'there twice'), ('{"model": 5}', 'has no model'),
    (words(model=WORDS['model'] | {'unk_token': 'nope'}), "unknown token 'nope' is not in its vocabulary"),
    (words(model=WORDS['model'] | {'unk_token': []}), r"unknown token '\[\]' is not in its vocabulary"),  # by make fuzz
    (words(model=WORDS['model'] | {'vocab': {'<end>': 0, 'a': 10**9}}), 'has the id 1000000000, but'),
    (words(model=WORDS['model'] | {'vocab': {'<end>': 0, 'a': -1}}), 'must be an object of words and their ids'),
    (words(model=WORDS['model'] | {'vocab': {'<end>': 0, 'a': 1, 'b': 1}}), 'two words .* the same id'),
    (words(model=WORDS['model'] | {'vocab': []}), 'must be an object of words'),
    (words(normalizer=None), 'needs a normalizer'), (words(pre_tokenizer=None), 'needs a normalizer'),
    (words(added_tokens=[TOKEN]), 'a word vocabulary has no added_tokens'),
    (words(added_tokens=[5]), 'must be objects with an id'),
    (words(truncation={'max_length': 1, 'stride': 5, 'strategy': 'LongestFirst', 'direction': 'Right'}),
     'it has truncation'),  # a panic at the first caption
    (words(padding={'pad_id': 500}), 'it has padding'),
    (words(normalizer=replace('a', 'aa', 18)), '18 steps, more than 16'),
    (words(normalizer=replace('a', 'aa')), "replaces 'a' by a longer text"),
    (words(normalizer=replace('', 'x')), 'must be a text'),
    (words(normalizer=replace('(a+)+$', 'x', kind='Regex')), 'regular expression .* weights files do not hold'),
    (words(normalizer=replace(PATTERNS[0], 'xx', kind='Regex')), 'by a longer text'),
    (words(normalizer={'type': 'Precompiled', 'precompiled_charsmap': 'BAAAAP////9hYgA='}), "step 'Precompiled'"),
    (words(normalizer={'type': 'Prepend', 'prepend': 'x' * 10**6}), 'Prepend has'),
    (words(normalizer={'type': 'Strip', 'strip_left': True}), 'Strip has no strip_right'),
    (words(normalizer={'type': 'Lowercase', 'more': 1}), "Lowercase has '1' as more"),
    (words(normalizer={'type': ['Lowercase']}), 'has a step'), (words(normalizer=[]), 'must be an object'),
    (words(normalizer={'type': 'Sequence', 'normalizers': [[]]}), 'must be an object'),
    (words(normalizer={'type': 'Sequence', 'normalizers': 5}), 'must have one list'),
    (words(pre_tokenizer={'type': 'FixedLength', 'length': 0}), "step 'FixedLength'"),
    (words(pre_tokenizer={'type': 'Split', 'pattern': {'Regex': '('}, 'behavior': 'Isolated', 'invert': False}),
     'regular expression'),
    (words(pre_tokenizer={'type': 'Split', 'pattern': {'String': 'a'}, 'behavior': 'Sideways', 'invert': False}),
     "has 'Sideways' as behavior"),
    (words(post_processor=template(special_tokens={'X': {'id': 'X', 'ids': [77], 'tokens': ['X']}})), 'has the id 77'),
    (words(post_processor=template(special_tokens={})), "no special token 'X'"),
    (words(post_processor=template(single=[{'SpecialToken': {'id': 'X', 'type_id': 0}}])), 'the caption once'),
    (words(post_processor=template(single=template()['single'][:1] * 99 + template()['single'][1:])),
     '99 special tokens'),
    (words(post_processor={'type': 'BertProcessing', 'sep': ['x', 99], 'cls': ['x', 0]}), 'has the id 99'),
    (words(post_processor={'type': 'BertProcessing', 'sep': ['x'], 'cls': ['x', 0]}), 'a text and an id'),
    (words(model=WORD_PIECE | {'unk_token': 'nope'}), "'nope' is not in its vocabulary"),
    (words(model=WORD_PIECE | {'max_input_chars_per_word': 10**9}), 'up to 1000'),
    (words(model=BPE | {'unk_token': 'nope'}), "'nope' is not in its vocabulary"),
    (words(model=BPE | {'continuing_subword_prefix': 'éé'}), 'is not taken'),  # a panic while it is read
    (words(model=BPE | {'dropout': 0.5}), 'is not taken'),
    (words(model=BPE | {'merges': [['a', 'zz']]}), "merge of 'a' and 'zz' is not in its vocabulary"),
    (words(model=BPE | {'merges': [['a']]}), 'must be two words'),
    (words(model={'type': 'Unigram', 'unk_id': None, 'vocab': [['a', -1.0]]}), "its model is 'Unigram'"),
])
def test_what_a_tokenizer_may_not_be(text, said):
    with pytest.raises(ValueError, match=f'its tokenizer cannot be used: .*({said})') as caught:
        check_tokenizer(text, 3)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 400


def test_a_panic_of_native_code_is_one_line(capfd):
    """Read without the check above, as from an option file."""
    text = words(model=BPE | {'continuing_subword_prefix': 'abcdefgh'})
    with pytest.raises(ValueError, match='the tokenizer is no tokenizer.json; take that .* \\(range end index') as e:
        tokenizer_from_json(text)
    assert '\n' not in str(e.value) and 'panicked' in capfd.readouterr().err
    for text in ('{"model": {"type": "WordLevel"}}', '[' * 5000):
        with pytest.raises(ValueError, match='is no tokenizer.json'):
            tokenizer_from_json(text)
    with pytest.raises(KeyboardInterrupt), native_errors('x'):
        raise KeyboardInterrupt
