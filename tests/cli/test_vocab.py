"""`tgjar vocab`."""

import json

import pytest

from tgjar_arch.cli.vocab import main
from tgjar_arch.text.word_tokenizer import WordTokenizer


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'birds'
    root.mkdir()
    lines = [{'file_name': 'a.png', 'captions': ['a red bird', 'a small bird']},
             {'file_name': 'b.png', 'captions': ['a']}]
    (root / 'metadata.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    return root


def test_builds_one_vocabulary_of_all_sources(folder, tmp_path, capsys):
    (tmp_path / 'more').mkdir()
    (tmp_path / 'more' / 'c.txt').write_text('a blue flower\n')
    out = tmp_path / 'new' / 'tokenizer.json'
    assert main([str(folder), str(tmp_path / 'more'), '-o', str(out)]) == 0
    assert WordTokenizer.load(out).decode(range(7)) == ['a', 'red', 'bird', 'small', 'blue', 'flower']
    assert capsys.readouterr().out.splitlines() == [
        f'{folder}: 3 captions', f'{tmp_path / "more"}: 1 captions', '4 captions, 6 different words, 6 kept',
        f'wrote {out}: vocab_size 7, <end> included',
    ]


def test_a_line_break_in_a_name_is_shown(folder, tmp_path, capsys):
    odd = tmp_path / 'a\nfailed: \x1b[31mb\u202e'
    folder.rename(odd)
    assert main([str(odd), '-o', str(odd / 'tokenizer.json')]) == 0
    shown = str(odd).replace('\n', r'\n').replace('\x1b', r'\x1b').replace('\u202e', r'\u202e')
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'{shown}: 3 captions' and len(lines) == 3
    assert lines[2].startswith(f'wrote {shown}/tokenizer.json')


def test_min_count(folder, tmp_path, capsys):
    out = tmp_path / 'tokenizer.json'
    assert main([str(folder / 'metadata.jsonl'), '-o', str(out), '--min-count', '2']) == 0
    assert WordTokenizer.load(out).decode(range(3)) == ['a', 'bird']
    assert '4 different words, 2 kept' in capsys.readouterr().out
    assert main([str(folder), '-o', str(out), '--min-count', '9', '--overwrite']) == 1
    assert 'no word of the captions appears 9 or more times' in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_info:
        main([str(folder), '-o', str(out), '--min-count', '0'])
    assert exit_info.value.code == 2


def test_an_existing_file_is_kept_without_overwrite(folder, tmp_path, capsys):
    out = tmp_path / 'tokenizer.json'
    out.write_text('old')
    assert main([str(folder), '-o', str(out)]) == 1
    assert 'exists' in capsys.readouterr().err and out.read_text() == 'old'
    assert main([str(folder), '-o', str(out), '--overwrite']) == 0
    assert WordTokenizer.load(out).vocab_size == 5


@pytest.mark.parametrize(('content', 'message'), [(None, 'there is no file or folder'), ('', 'no captions in'),
                                                  ('{', 'metadata.jsonl, line 1: not JSON'),
                                                  ('{"file_name": "a.png", "captions": ["..."]}', 'no word')])
def test_failures_write_nothing_and_exit_with_1(tmp_path, capsys, content, message):
    folder, out = tmp_path / 'folder', tmp_path / 'tokenizer.json'
    if content is not None:
        folder.mkdir()
        (folder / 'metadata.jsonl').write_text(content)
    assert main([str(folder), '-o', str(out)]) == 1
    assert message in capsys.readouterr().err and not out.exists()


def test_output_must_be_a_file(folder, tmp_path, capsys):
    assert main([str(folder), '-o', str(tmp_path)]) == 1
    assert 'is a folder; name a file' in capsys.readouterr().err


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        main(['--help'])
    help_text = ' '.join(capsys.readouterr().out.split())
    assert 'tgjar vocab data/cub/train data/cub/test -o data/cub/tokenizer.json' in help_text


def test_caption_files_that_do_not_fit_are_said(folder, tmp_path, capsys):
    (folder / 'more').mkdir()
    (folder / 'more' / 'metadata.csv').write_text('image,text\na.png,lost\n')
    assert main([str(folder), '-o', str(tmp_path / 'tokenizer.json')]) == 0
    assert capsys.readouterr().err == (
        f'{folder}: 1 caption file: not read, it has no column file_name; its columns are image, text: '
        f'{folder / "more" / "metadata.csv"}\n')


def test_utf_16(tmp_path, capsys):
    (tmp_path / 'a.txt').write_text('a small yellow bird', encoding='utf-16')
    assert main([str(tmp_path), '-o', str(tmp_path / 'tokenizer.json')]) == 0
    assert '4 different words' in capsys.readouterr().out
