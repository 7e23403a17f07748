"""Files that nobody would make: pictures, captions, metadata and weights by Hypothesis, from small seeds of our own.

A short, repeatable run of each is among the tests. `make fuzz` goes on for FUZZ_SECONDS with new examples each time.
"""

import io
import json
import os
import time

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.pictures.captions import decode, find_caption, xmp_description
from tgjar_arch.pictures.photo import read_photo
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.caption_files import read_caption_file, read_metadata
from tgjar_arch.text.encodings import decode_text
from tgjar_arch.text.limits import MAX_CAPTION
from tgjar_arch.text.word_tokenizer import WordTokenizer

SECONDS = float(os.environ.get('FUZZ_SECONDS', 0))
PROPERTIES = 4
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)


def fuzz(check, strategy, examples):
    """Try a check on examples: so many, always the same ones; or new ones for a share of FUZZ_SECONDS."""
    def run(count, number=None):
        options = settings(max_examples=count, deadline=None, derandomize=number is None, database=None, phases=PHASES,
                           suppress_health_check=list(HealthCheck))
        tried = options(given(strategy)(check))
        (tried if number is None else seed(number)(tried))()

    if not SECONDS:
        run(examples)
        return
    end, number = time.monotonic() + SECONDS / PROPERTIES, time.time_ns()
    while time.monotonic() < end:
        run(examples, number)
        number += 1


def one_line(error):
    assert '\n' not in str(error) and len(str(error)) < 2000, error


def picture(kind, **options):
    file = io.BytesIO()
    Image.effect_noise((24, 17), 60).convert('RGB').save(file, kind, **options)
    return file.getvalue()


def pictures():
    text = PngInfo()
    text.add_itxt('Description', 'a bird')
    exif = Image.Exif()
    exif[270], exif[274] = 'a bird', 6
    return [picture('JPEG', quality=20, comment=b'a bird', exif=exif.tobytes()), picture('PNG', pnginfo=text),
            picture('JPEG', quality=5, progressive=True), picture('WEBP', exif=exif.tobytes()), picture('TIFF'),
            picture('BMP'), picture('GIF'), picture('PPM')]


@st.composite
def damaged(draw, seeds):
    """Bytes of a seed with some overwritten, left out, put in or cut off."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(content)))
        some = draw(st.binary(max_size=6))
        length = draw(st.sampled_from((0, len(some), 1, 40)))
        content[place:place + length] = some
    return bytes(content[:draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


def test_pictures(tmp_path):
    def check(content):
        path = tmp_path / 'x.jpg'
        path.write_bytes(content)
        assert len(find_caption(path).text) <= MAX_CAPTION
        try:
            photo = read_photo(path, max_pixels=1_000_000)
        except (OSError, ValueError) as error:
            one_line(error)
        else:
            assert photo is not None

    fuzz(check, damaged(pictures()), 60)


TEXTS = [text.encode(encoding) for text in ('a small bird\nein kleiner Vögel\n\n一只鸟\n', 'x\r\ny', '[1, 2]')
         for encoding in ('utf-8', 'utf-8-sig', 'utf-16', 'utf-16-be', 'utf-32')]
XMP = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
       b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt><rdf:li xml:lang='
       b'"x-default">a bird</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>')


def test_captions(tmp_path):
    def check(content):
        path = tmp_path / 'x.txt'
        path.write_bytes(content)
        assert all(0 < len(caption) <= MAX_CAPTION for caption in read_caption_file(path))
        for text in (decode_text(content).text, decode(content), xmp_description(content)):
            assert isinstance(text, str)

    fuzz(check, damaged([*TEXTS, XMP]) | st.binary() | st.text().map(lambda text: text.encode('utf-16')), 200)


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
                      | st.sampled_from((2**31, 10**4000, '[1', 'a bird')),
                      lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=4), part, max_size=3),
                      max_leaves=6)
RECORD = st.fixed_dictionaries({}, optional=dict.fromkeys(
    ('file_name', 'captions', 'text', 'caption', 'class_id', 'x'), VALUES | st.lists(st.text(max_size=8), max_size=3)))
LINES = st.lists(RECORD.map(json.dumps) | st.text(max_size=20) | st.integers(1, 5000).map('['.__mul__), max_size=4)


def test_metadata(tmp_path):
    def check(text):
        for name in ('metadata.jsonl', 'metadata.csv'):
            (tmp_path / name).write_text(text, encoding='utf-8', errors='replace')
            try:
                for file_name, captions, class_id in read_metadata(tmp_path / name):
                    assert isinstance(file_name, str) and abs(class_id) < 2**31
                    assert all(isinstance(caption, str) and len(caption) <= MAX_CAPTION for caption in captions)
            except ValueError as error:
                one_line(error)
                assert name == 'metadata.jsonl' and f'{name}, line ' in str(error) or 'encoding' in str(error), error

    table = st.lists(st.lists(st.text(max_size=8), max_size=4).map(','.join), max_size=4).map(
        lambda rows: 'file_name,text,class_id\n' + '\n'.join(rows))
    fuzz(check, LINES.map('\n'.join) | table, 100)


G = {'type': 'TGJARGenerator', 'num_feat': 4, 'num_block': 1, 'text_dim': 8}
T = {'type': 'LSTMTextEncoder', 'vocab_size': 4, 'embed_dim': 4, 'text_dim': 8}
TOKENIZER = json.loads(WordTokenizer.from_words(['a', 'red', 'bird']).to_json())
# What has gone wrong in the past, besides values of any kind.
STEPS = [None, {}, {'type': 'Lowercase'}, {'type': 'Replace', 'pattern': {'String': 'a'}, 'content': 'aa'},
         {'type': 'Replace', 'pattern': {'Regex': '(a+)+$'}, 'content': ''}, {'type': 'WhitespaceSplit'},
         {'type': 'Precompiled', 'precompiled_charsmap': 'BAAAAP////9hYgA='}, {'type': 'ByteLevel'},
         {'type': 'Sequence', 'normalizers': []}, {'type': 'BertProcessing', 'sep': ['x', 3], 'cls': ['a', 9]}]
MODELS = [{'type': 'WordPiece', 'unk_token': 'a', 'continuing_subword_prefix': '##', 'max_input_chars_per_word': 100,
           'vocab': {'a': 0, '##b': 1}},
          {'type': 'BPE', 'unk_token': None, 'continuing_subword_prefix': 'abcdef', 'vocab': {'a': 0, 'b': 1, 'ab': 2},
           'merges': [['a', 'b']]},
          {'type': 'BPE', 'unk_token': None, 'vocab': {'a': 0, 'b': 1, 'ab': 2}, 'merges': [['a', 'b']]},
          {'type': 'Unigram', 'unk_id': None, 'vocab': [['a', -1.0]]}]


def places(value, path=()):
    """The ways to every value in JSON."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


@st.composite
def changed(draw, value, more=()):
    """JSON with some values replaced, or left out."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(0, 2))):
        *path, key = draw(st.sampled_from([path for path in places(value) if path]))
        part = value
        for step in path:
            part = part[step]
        if isinstance(part, dict) and draw(st.booleans()):
            del part[key]
        else:
            new = draw(VALUES | st.sampled_from((10**7, 9000, -1, *more)))
            part[key] = json.loads(json.dumps(new))  # a copy, or it might be put into itself
        if not any(path for path in places(value) if path):
            break
    return value


def test_weights(tmp_path):
    tensors = {}
    for label, net in (('g', TGJARGenerator(num_feat=4, num_block=1, text_dim=8)),
                       ('t', LSTMTextEncoder(4, embed_dim=4, text_dim=8))):
        tensors |= {f'net_{label}.{name}': value for name, value in net.state_dict().items()}
    path = tmp_path / 'w.safetensors'

    def check(parts):
        network_g, network_t, tokenizer, max_words, cut, left_out = parts
        save_file({name: value for k, (name, value) in enumerate(tensors.items()) if k != left_out}, path,
                  metadata={'format': 'tgjar-2', 'network_g': json.dumps(network_g), 'max_words': max_words,
                            'network_t': json.dumps(network_t), 'tokenizer': json.dumps(tokenizer)})
        if cut is not None:
            path.write_bytes(path.read_bytes()[:cut])
        try:
            restorer = Restorer.from_pretrained(path, 'cpu')
        except ValueError as error:
            one_line(error)
            assert 'w.safetensors' in str(error)
        else:
            features = restorer.encode(['a red bird, été', '', 'x' * 50])
            assert features is None or features.words.isfinite().all()

    fuzz(check, st.tuples(changed(G), changed(T), changed(TOKENIZER, (*STEPS, *MODELS)),
                          st.sampled_from(('6', '6', '6', '0', '1000', '9999', 'x', '')),
                          st.none() | st.none() | st.integers(0, 3000), st.none() | st.none() | st.integers(0, 60)), 60)


@pytest.mark.parametrize('content', [b'', b'\xff\xd8', b'\0' * 8, b'\xff' * 64])
def test_files_of_nothing(tmp_path, content):
    for name in ('x.jpg', 'x.txt', 'w.safetensors'):
        (tmp_path / name).write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        read_photo(tmp_path / 'x.jpg')
    with pytest.raises(ValueError, match='w.safetensors is no safetensors file, or truncated'):
        Restorer.from_pretrained(tmp_path / 'w.safetensors', 'cpu')
    assert isinstance(read_caption_file(tmp_path / 'x.txt'), list)
