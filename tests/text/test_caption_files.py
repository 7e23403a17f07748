"""Text files and metadata of strangers: every encoding that is plain is read, and what does not fit is told."""

import json
from pathlib import Path

import pytest

from tgjar_arch.text.caption_files import (
    Misfit,
    is_sidecar,
    metadata_rank,
    read_caption_file,
    read_metadata,
    unread,
)
from tgjar_arch.text.encodings import SPACES, UNKNOWN, decode_text, decode_utf_16

TEXTS = ('a small yellow bird\nwith a beak\n', 'ein Vögelchen, ganz für sich', '一只小黄鸟\n红色的花 🐦',
         'красная птица', 'a')


def record(name: str, **more: object) -> str:
    return json.dumps({'file_name': name} | more, ensure_ascii=False)


def table(path: Path, content: str, encoding: str = 'utf-8') -> tuple[list[tuple[str, list[str], int]], list[str]]:
    """Write and read a table; return its entries and what was told about it, without the path."""
    path.write_text(content, encoding=encoding, newline='')
    misfits: list[Misfit] = []
    entries = list(read_metadata(path, misfits.append))
    assert all(misfit.path == path for misfit in misfits)
    return entries, [misfit.why for misfit in misfits]


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32', 'utf-16-le', 'utf-16-be'])
@pytest.mark.parametrize('text', TEXTS)
def test_encodings_of_text_files(tmp_path: Path, encoding: str, text: str) -> None:
    misfits: list[Misfit] = []
    (tmp_path / 'x.txt').write_bytes(text.encode(encoding))
    assert read_caption_file(tmp_path / 'x.txt', misfits.append) == text.strip().split('\n')
    assert misfits == []


def test_big_endian_with_a_mark() -> None:
    assert decode_text(b'\xfe\xff' + 'a bird'.encode('utf-16-be')) == ('a bird', '')
    assert decode_text(b'\xff\xfe' + 'a bird'.encode('utf-16-le')[:-1]) == ('a bir\ufffd', '')  # truncated


@pytest.mark.parametrize('content', [b'a bir\0', b'a bird\0\0', b'\0' * 8, bytes(range(256)), b'a bird', b''])
def test_what_is_not_plainly_utf_16(content: bytes) -> None:
    assert decode_utf_16(content) is None


def test_undecodable_bytes_become_spaces_and_are_told(tmp_path: Path) -> None:
    (tmp_path / 'x.txt').write_bytes('ein Vögelchen\nfür ’sich’\n'.encode('cp1252'))
    misfits: list[Misfit] = []
    assert read_caption_file(tmp_path / 'x.txt', misfits.append) == ['ein V gelchen', 'f r  sich']
    assert misfits == [Misfit(tmp_path / 'x.txt', SPACES)]
    assert str(misfits[0]) == f'{tmp_path / "x.txt"}: bytes that are not UTF-8 become spaces; save it as UTF-8.'
    (tmp_path / 'x.txt').write_text('a real \ufffd of UTF-8', encoding='utf-8')
    assert read_caption_file(tmp_path / 'x.txt', misfits.append) == ['a real   of UTF-8']
    assert len(misfits) == 1


@pytest.mark.parametrize(('text', 'encoding'), [
    ('一只小黄鸟在树枝上', 'gbk'), ('一隻小黃鳥在樹枝上', 'big5'), ('赤い鳥が枝に止まっている', 'shift_jis'),
    ('красная птица на ветке', 'cp1251'), ('작은 노란 새', 'euc-kr'), ('a\0b', 'utf-16-le')])
def test_other_encodings_are_told_and_give_no_stray_letters(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / 'x.txt').write_bytes(text.encode(encoding))
    misfits: list[Misfit] = []
    assert read_caption_file(tmp_path / 'x.txt', misfits.append) == []
    assert misfits == [Misfit(tmp_path / 'x.txt', UNKNOWN)]


def test_line_ends_and_marks_inside(tmp_path: Path) -> None:
    (tmp_path / 'x.txt').write_bytes(b'one\rtwo\r')  # old Macs
    assert read_caption_file(tmp_path / 'x.txt') == ['one', 'two']
    (tmp_path / 'x.txt').write_bytes('\ufeff\ufeffone\r\n\ufefftwo\r\n'.encode())  # files that were joined
    assert read_caption_file(tmp_path / 'x.txt') == ['one', 'two']


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le'])
def test_encodings_of_json_lines(tmp_path: Path, encoding: str) -> None:
    lines = [record('a.png', text='one ö'), '\ufeff' + record('b.png', caption='two')]
    (tmp_path / 'metadata.jsonl').write_bytes('\n'.join(lines).encode(encoding))
    assert list(read_metadata(tmp_path / 'metadata.jsonl')) == [('a.png', ['one ö'], -1), ('b.png', ['two'], -1)]


def test_json_lines_in_an_encoding_that_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / 'metadata.jsonl').write_bytes(('"' + '一只小黄鸟' * 9).encode('gbk'))
    with pytest.raises(ValueError, match=r'metadata\.jsonl: not read, its encoding is neither'):
        list(read_metadata(tmp_path / 'metadata.jsonl'))


@pytest.mark.parametrize(('more', 'captions'), [
    ({'caption': 'a'}, ['a']), ({'caption': ['a', 'b']}, ['a', 'b']), ({'text': ['a']}, ['a']),
    ({'captions': 'a', 'text': 'b', 'caption': 'c'}, ['a']), ({'text': 'b', 'caption': 'c'}, ['b']),
    ({'captions': [], 'text': 'b'}, ['b']), ({'captions': None, 'caption': ' '}, []), ({}, []),
])
def test_keys_of_captions(tmp_path: Path, more: dict[str, object], captions: list[str]) -> None:
    (tmp_path / 'metadata.jsonl').write_text(record('a.png', class_id=3, **more))
    assert list(read_metadata(tmp_path / 'metadata.jsonl')) == [('a.png', captions, 3)]


def test_metadata_without_any_key_of_captions_is_told(tmp_path: Path) -> None:
    entries, told = table(tmp_path / 'metadata.jsonl', record('a.png', prompt='a bird', seed=4))
    assert entries == [('a.png', [], -1)]
    assert told == ['no captions; expected one of captions, text, caption beside file_name, but got prompt, seed']
    entries, told = table(tmp_path / 'metadata.jsonl', record('a.png', class_id=1))  # classes alone are wanted, too
    assert entries == [('a.png', [], 1)] and told == []


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('separator', [',', ';', '\t'])
@pytest.mark.parametrize('key', ['text', 'caption', 'captions', 'Caption'])
def test_tables(tmp_path: Path, encoding: str, separator: str, key: str) -> None:
    content = f'file_name,{key}\r\na.png,"red, ""ö""; blue\tnow"\r\n\r\nsub/b.png,two\r\na.png,three\r\n'
    head, _, rest = content.partition('\n')
    content = head.replace(',', separator) + '\n' + rest.replace('png,', f'png{separator}')
    assert table(tmp_path / 'metadata.csv', content, encoding) == (
        [('a.png', ['red, "ö"; blue\tnow'], -1), ('sub/b.png', ['two'], -1), ('a.png', ['three'], -1)], [])


def test_cells_of_tables(tmp_path: Path) -> None:
    content = 'file_name,class_id,captions,text\n' 'a.png,4,"[""one"", ""two""]",no\n' 'b.png,,,yes\n' 'c.png,7\n'
    assert table(tmp_path / 'metadata.csv', content) == (
        [('a.png', ['one', 'two'], 4), ('b.png', ['yes'], -1), ('c.png', [], 7)], [])
    assert table(tmp_path / 'metadata.csv', 'file_name,text\na.png,[sic] a bird\nb.png,"[1, 2]"\n') == (
        [('a.png', ['[sic] a bird'], -1), ('b.png', ['[1, 2]'], -1)], [])
    assert table(tmp_path / 'metadata.csv', 'file_name,text\na.png,"two\nlines"\n') == (
        [('a.png', ['two\nlines'], -1)], [])


@pytest.mark.parametrize(('content', 'why'), [
    ('image,caption\na.png,one\n', 'not read, it has no column file_name; its columns are image, caption'),
    ('image;caption\na.png;one\n', 'not read, it has no column file_name; its columns are image, caption'),
    ('file_name,prompt\na.png,one\n', 'no captions; expected one of captions, text, caption beside file_name, but got '
                                      'prompt'),
    ('file_name,text\n,one\n', '1 rows without a file_name are left out'),
    ('file_name,text,class_id\na.png,one,bird\nb.png,two,4\nc.png,three,fish\n',
     "class_id must be a whole number, but is 'bird' in one of 2 rows; it is left out there"),
    (f'file_name,text\na.png,{"x" * 140000}\n', 'not read from line 2 on: field larger than field limit (131072)'),
])
def test_what_does_not_fit_in_a_table_is_told(tmp_path: Path, content: str, why: str) -> None:
    assert table(tmp_path / 'metadata.csv', content)[1] == [why]


def test_an_empty_table_is_none(tmp_path: Path) -> None:
    assert table(tmp_path / 'metadata.csv', '') == ([], [])


def test_names_of_files() -> None:
    assert [name for name in ('x.txt', 'X.TXT', 'x.jpg.txt', '.x.txt', 'meta_info.txt', 'x.csv') if is_sidecar(name)
            ] == ['x.txt', 'X.TXT', 'x.jpg.txt']
    assert [metadata_rank(name) for name in ('metadata.jsonl', 'Metadata.CSV', 'metadata.json')] == [0, 1, None]


@pytest.mark.parametrize('name', ['captions.json', 'captions.csv', 'metadata.parquet', 'Captions_val2014.JSON',
                                  'metadata.json', 'x.caption', 'captions.txt'])
def test_files_that_are_not_read_are_told(name: str) -> None:
    assert str(unread(Path('birds'), name)) == (
        f'birds/{name}: not read; captions are read from metadata.jsonl, metadata.csv and x.txt beside x.jpg.')


@pytest.mark.parametrize('name', ['metadata.jsonl', 'metadata.csv', 'x.json', 'x.txt', 'caption.jpg', '.captions.json',
                                  'metadata', 'captioner.json'])
def test_files_that_nobody_takes_for_captions(name: str) -> None:
    assert unread(Path('birds'), name) is None
