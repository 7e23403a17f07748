"""Text of strangers is bounded: long captions, many of them, deep JSON and huge numbers."""

import json
import time

import pytest
from PIL import Image, PngImagePlugin

from tgjar_arch.datasets.captions import iter_captions, read_captions
from tgjar_arch.pictures.captions import decode, find_caption
from tgjar_arch.text import caption_files, limits
from tgjar_arch.text.caption_files import read_caption_file, read_metadata
from tgjar_arch.text.encodings import SPACES, UNKNOWN, Decoded, decode_text

LONG = 'a small bird ' * 400_000  # 5 MB


@pytest.fixture
def folder(tmp_path):
    Image.new('RGB', (16, 16)).save(tmp_path / 'a.jpg')
    return tmp_path


@pytest.mark.parametrize(('name', 'content', 'kept', 'said'), [
    ('a.txt', LONG, 1, ['captions are cut after 100,000 characters', 'only the first 1,000,000 bytes are read']),
    ('a.txt', 'a bird\n' * 500_000, 1000, ['of more than 1,000 captions of one image the first are taken',
                                           'only the first 1,000,000 bytes are read']),
    ('metadata.jsonl', json.dumps({'file_name': 'a.jpg', 'text': LONG}), 1, ['captions are cut after 100,000']),
    ('metadata.jsonl', json.dumps({'file_name': 'a.jpg', 'captions': ['a bird'] * 200_000}), 1000,
     ['of more than 1,000 captions']),
    ('metadata.csv', 'file_name,text\na.jpg,' + LONG[:120_000], 1, ['captions are cut after 100,000 characters']),
])
def test_long_texts_are_cut_with_one_word(folder, name, content, kept, said):
    (folder / name).write_text(content)
    start, told = time.process_time(), []
    found = find_caption(folder / 'a.jpg', tell=told.append)
    (image,), report = read_captions(folder)
    assert time.process_time() - start < 10
    assert found.source == name and 0 < len(found.text) <= limits.MAX_CAPTION
    assert len(image.captions) == kept and max(map(len, image.captions)) <= limits.MAX_CAPTION
    for misfits in (told, report.misfits):
        assert len(misfits) == len(said)
        for misfit, why in zip(sorted(misfit.why for misfit in misfits), sorted(said), strict=True):
            assert misfit.startswith(why)


def test_short_texts_are_read_as_before(folder):
    (folder / 'a.txt').write_text('x' * limits.MAX_CAPTION + '\n' + 'a bird\n' * 999 + '\n' * 5000)
    told = []
    assert len(read_caption_file(folder / 'a.txt', told.append)) == 1000 and not told


@pytest.mark.parametrize(('line', 'said'), [
    ('{"file_name": "a.jpg", "text": ' + '[' * 100_000 + ']' * 100_000 + '}', 'lists or objects are nested too deeply'),
    ('{"file_name": "a.jpg", "text": ' + '[' * 900 + ']' * 900 + '}', '"text" must be a list of strings, not'),
    ('{"file_name": "a.jpg", "class_id": ' + '9' * 5000 + '}', 'not JSON'),
    ('{"file_name": "a.jpg", "class_id": ' + '9' * 4000 + '}', '"class_id" must be a whole number up to'),
    ('{"file_name": "a.jpg", "class_id": 2147483648}', '"class_id" must be a whole number up to 2,147,483,647'),
])
def test_what_is_no_sensible_json_is_named_with_its_line(folder, line, said):
    (folder / 'metadata.jsonl').write_text('{"file_name": "a.jpg", "text": "a bird"}\n' + line)
    told = []
    assert find_caption(folder / 'a.jpg', tell=told.append).text == 'a bird'  # one line costs only itself
    assert [misfit.why.startswith(f'line 2: {said}') for misfit in told] == [True]
    for read in (lambda: list(read_metadata(folder / 'metadata.jsonl')), lambda: read_captions(folder),
                 lambda: list(iter_captions(folder))):
        with pytest.raises(ValueError, match=f'metadata.jsonl, line 2: {said}') as caught:
            read()
        assert '\n' not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize('cell', ['[' * 9000, '9' * 4000, '9' * 5000])
def test_odd_cells_of_a_table_cost_only_themselves(folder, cell):
    (folder / 'metadata.csv').write_text(f'file_name,text,class_id\na.jpg,"{cell}",{cell}\n')
    told = []
    assert list(read_metadata(folder / 'metadata.csv', told.append)) == [('a.jpg', [cell], -1)]
    assert [misfit.why[:32] for misfit in told] == ['class_id must be a whole number,']


def test_a_metadata_file_that_is_too_large_is_named(folder, monkeypatch):
    (folder / 'metadata.jsonl').write_text('{"file_name": "a.jpg"}')
    monkeypatch.setattr(caption_files, 'MAX_METADATA', 20)
    with pytest.raises(ValueError, match='metadata.jsonl: has more than 20 bytes; split it over folders'):
        list(read_metadata(folder / 'metadata.jsonl'))


def test_a_long_comment_of_a_file_is_cut_between_characters(folder):
    info = PngImagePlugin.PngInfo()
    info.add_itxt('Description', '€' * 150_000)
    Image.new('RGB', (16, 16)).save(folder / 'b.png', pnginfo=info)
    told = []
    assert find_caption(folder / 'b.png', tell=told.append).text == '€' * limits.MAX_CAPTION
    assert [misfit.why.partition(' is cut ')[2] for misfit in told] == ['after 100,000 characters']
    for text in ('é' * 500_000, 'a' + '𝄞' * 200_000):
        assert text.startswith(decode(text.encode())) and len(decode(text.encode())) > limits.MAX_CAPTION


def test_encodings_of_long_texts():
    text = 'a bird\n' * 40_000
    for encoding in ('utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32'):
        assert decode_text(text.encode(encoding)) == Decoded(text), encoding
    assert decode_text(text.encode() + b'\xff').problem == SPACES
    assert decode_text(b'\xff\x81' * 100_000).problem == UNKNOWN
