"""Word lists: the built-in one, and files."""

import pytest

from tgjar_arch.choosing.words import COLOURS, THINGS, WORDS, read_words, words_of
from tgjar_arch.pictures.captions import is_caption
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.weights.shipped import shipped


def test_the_built_in_list():
    assert read_words('default') == list(WORDS) and len(WORDS) == len(set(WORDS)) == len(set(COLOURS + THINGS))
    assert {'red', 'blue', 'sky', 'grass', 'sand', 'bird'} <= set(WORDS)
    assert all(word.isascii() and word.islower() and is_caption(word) for word in WORDS)


def test_the_default_weights_know_most_of_it():
    known = Restorer.from_pretrained(next(iter(shipped())), 'cpu').tokenizer
    unknown = [word for word in WORDS if known.unknown(word)]
    assert len(unknown) <= len(WORDS) // 2, unknown


def test_a_file_has_a_word_or_a_phrase_a_line(tmp_path):
    file = tmp_path / 'words.txt'
    file.write_text('red\n\n  dark  blue \r\nred\nvögel 🐦\n', encoding='utf-8')
    assert read_words(file) == ['red', 'dark blue', 'vögel 🐦']
    file.write_bytes('\ufeffrot\n'.encode('utf-16'))
    assert read_words(file) == ['rot']


def test_a_file_named_default_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'default').write_text('mine\n')
    assert read_words('default') == ['mine']


def test_what_is_no_word_list(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.txt does not exist; give a text file with one word a line'):
        read_words(tmp_path / 'nowhere.txt')
    (tmp_path / 'empty.txt').write_text(' \n')
    with pytest.raises(ValueError, match='empty.txt has no words; write one a line'):
        read_words(tmp_path / 'empty.txt')
    with pytest.raises(ValueError, match=r'has no words \(not read, it is a (folder|directory)'):
        read_words(tmp_path)


def test_words_of_captions():
    assert words_of(['A red, small bird.', 'the bird 🐦 is RED', '']) == ['a', 'red', 'small', 'bird', 'the', 'is']
