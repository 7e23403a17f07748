"""Splits of data sets: class lists and lists of names."""

import json
import pickle
from pathlib import Path

import pytest

from tgjar_arch.datasets.prepare.split import Split, find_split, read_split


def test_splits(tmp_path):
    expected = Split(train=frozenset({'005.A/b.v1'}), test=frozenset({'image_00002'}))
    for part, names in (('train', ['005.A/b.v1']), ('test', ['jpg/image_00002'])):
        (tmp_path / part).mkdir()
        (tmp_path / part / 'filenames.pickle').write_bytes(pickle.dumps(names, protocol=0))
    assert read_split(tmp_path) == expected
    file = tmp_path / 'split.json'
    file.write_text(json.dumps({'train': ['005.A/b.v1.jpg'], 'test': ['image_00002.jpg']}))
    assert read_split(file) == expected
    assert [expected.part(name, 5) for name in ('005.A/b.v1', 'image_00002', 'x')] == ['train', 'test', None]

    file.write_text(json.dumps({'test_classes': [5, 30]}))
    listed = tmp_path / 'testclasses.txt'
    listed.write_text('class_00005\n030.Fish_Crow\n')
    assert read_split(file) == read_split(listed) == Split.by_class([5, 30])
    assert read_split(file).digest != expected.digest
    assert [read_split(file).part('x', number) for number in (5, 6)] == ['test', 'train']


@pytest.mark.parametrize(('content', 'message'), [
    ('{', 'is not JSON'), ('[]', 'is no split'), ('{"train": [1], "test": []}', 'must each be a list of names'),
    ('{"train": ["a"], "test": ["a"]}', 'a is for training and for testing'),
    ('{"test_classes": ["x"]}', "but got 'x'"),
])
def test_malformed_splits(tmp_path, content, message):
    file = tmp_path / 'split.json'
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_split(file)


def test_a_pickle_cannot_run_anything(tmp_path):
    for part in ('train', 'test'):
        (tmp_path / part).mkdir()
        (tmp_path / part / 'filenames.pickle').write_bytes(pickle.dumps(Path('x')))
    with pytest.raises(ValueError, match='filenames.pickle is no list of names: it asks for'):
        read_split(tmp_path)


def test_the_split_in_a_data_sets_folder_is_found(tmp_path):
    assert find_split(tmp_path) is None
    (tmp_path / 'testclasses.txt').write_text('5\n')
    assert find_split(tmp_path) == tmp_path and read_split(tmp_path) == Split.by_class([5])
    (tmp_path / 'split.json').write_text('{"test_classes": [6]}')
    assert read_split(find_split(tmp_path)) == Split.by_class([6])


def test_half_a_split(tmp_path):
    (tmp_path / 'train').mkdir()
    (tmp_path / 'train' / 'filenames.pickle').write_bytes(pickle.dumps(['a']))
    with pytest.raises(FileNotFoundError, match='test/filenames.pickle is missing'):
        read_split(tmp_path)
    with pytest.raises(ValueError, match='is one half of a split; name the folder'):
        read_split(tmp_path / 'train' / 'filenames.pickle')
    with pytest.raises(FileNotFoundError, match='there is no split'):
        read_split(tmp_path / 'nothing.txt')
