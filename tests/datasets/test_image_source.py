"""Images by name, from folders and from lmdb."""

import os
import pickle

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.lmdb_util import LmdbMaker

from tgjar_arch.datasets.captions import iter_captions, read_captions
from tgjar_arch.datasets.image_source import ImageSource
from tgjar_arch.pictures.files import image_name, list_images

NAMES = ('004.Groove_billed_Ani/a b', 'photo (1).v2', 'plain')


def png(value: int) -> bytes:
    return cv2.imencode('.png', np.full((4, 5, 3), value, np.uint8))[1].tobytes()


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'images'
    for k, name in enumerate(NAMES):
        path = root / f'{name}{(".png", ".PNG", ".Jpeg")[k]}'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(k))
    return root


@pytest.fixture
def lmdb_folder(tmp_path):
    maker = LmdbMaker(str(tmp_path / 'images.lmdb'), map_size=2**22)
    for k, name in enumerate(NAMES):
        maker.put(png(k), name, (4, 5, 3))
    maker.close()
    return tmp_path / 'images.lmdb'


@pytest.mark.parametrize(('path', 'name'), [
    ('004.Groove_billed_Ani/x.webp', '004.Groove_billed_Ani/x'), ('a.b.JPG', 'a.b'), ('004.Groove', '004.Groove'),
    ('photo.v2', 'photo.v2'), ('x', 'x'), ('a.png.png', 'a.png'),
])
def test_only_the_image_suffix_is_taken_off(path, name):
    assert image_name(path) == name


def test_folder_in_any_depth_without_hidden_and_other_files(folder):
    for extra in ('.hidden.png', 'notes.txt', '.cache/x.png'):
        (folder / extra).parent.mkdir(exist_ok=True)
        (folder / extra).write_bytes(png(9))
    source = ImageSource(folder)
    assert tuple(source.files) == NAMES
    assert source.files['photo (1).v2'] == str(folder / 'photo (1).v2.PNG')
    assert source.read('plain') == png(2)


def test_linked_folders_are_followed(folder, tmp_path):
    (tmp_path / 'links').mkdir()
    (tmp_path / 'links' / 'set').symlink_to(folder)
    assert tuple(ImageSource(tmp_path / 'links').files) == tuple(f'set/{name}' for name in NAMES)


def test_loops_of_links_end_and_no_folder_counts_twice(folder, tmp_path):
    (folder / 'a').mkdir()
    (folder / 'a' / 'x.png').write_bytes(png(0))
    (folder / 'a' / 'loop').symlink_to(folder)
    (folder / 'a' / 'a').symlink_to(folder / 'a')
    (folder / '0 link').symlink_to(folder / 'a')  # sorts before the folder itself, which counts all the same
    (tmp_path / 'outside').mkdir()
    (tmp_path / 'outside' / 'y.png').write_bytes(png(1))
    (tmp_path / 'outside' / 'back').symlink_to(tmp_path)  # leads to the root once more, and to the lmdb's neighbours
    for name in ('first', 'second'):
        (folder / name).symlink_to(tmp_path / 'outside')
    (folder / 'a' / 'metadata.jsonl').write_text('{"file_name": "x.png", "captions": ["a bird"]}')
    files = [image_name(path) for path in list_images(folder)]
    assert sorted(files) == sorted([*NAMES, 'a/x', 'first/y'])
    images, report = read_captions(folder)
    assert {image.name: image.captions for image in images if image.captions} == {'a/x': ('a bird',)}
    assert not report.missing_images


def test_folders_that_cannot_be_read_are_named(folder, locked, log):
    locked.add(str(folder / '004.Groove_billed_Ani'))
    assert tuple(ImageSource(folder).files) == NAMES[1:]
    (line,) = log.messages
    assert line.startswith(f'dataroot_gt: the folder {folder / "004.Groove_billed_Ani"} cannot be read (Permission')


def test_lmdb_of_basicsr(lmdb_folder):
    source = ImageSource(lmdb_folder)
    assert tuple(source.files) == NAMES
    assert source.files['plain'] == str(lmdb_folder / 'plain.png')
    assert [source.read(name) for name in NAMES] == [png(k) for k in range(3)]
    copy = pickle.loads(pickle.dumps(source))
    assert copy.read('plain') == ImageSource(lmdb_folder).read('plain') == png(2)


class Reader(torch.utils.data.Dataset):
    """Reads an image source, as a dataset in a loader's worker does."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(NAMES)

    def __getitem__(self, index: int) -> str:
        return self.source.read(NAMES[index]).hex()


def test_lmdb_opened_before_the_workers_start(lmdb_folder):
    reader = Reader(ImageSource(lmdb_folder))
    assert reader[0] == png(0).hex()
    loader = torch.utils.data.DataLoader(reader, num_workers=2, multiprocessing_context='fork')
    for _ in range(2):
        assert [batch[0] for batch in loader] == [png(k).hex() for k in range(3)]
    assert reader[2] == png(2).hex()


def test_errors_name_the_option_and_the_folder(folder, lmdb_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'dataroot_lq: there is no folder .*absent'):
        ImageSource(tmp_path / 'absent', 'dataroot_lq')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match=r'dataroot_gt: there is no image in .*empty \(\.jpg'):
        ImageSource(tmp_path / 'empty')
    (folder / 'plain.bmp').write_bytes(b'')
    with pytest.raises(ValueError, match=r'plain\.Jpeg and .*plain\.bmp have one name|plain\.bmp and .*plain\.Jpeg'):
        ImageSource(folder)
    with pytest.raises(FileNotFoundError, match="no key 'plain2'"):
        ImageSource(lmdb_folder).read('plain2')
    (lmdb_folder / 'meta_info.txt').unlink()
    with pytest.raises(FileNotFoundError, match=r'meta_info\.txt is missing: .* is no lmdb written by BasicSR'):
        ImageSource(lmdb_folder)


def test_entries_that_are_no_files_are_named_and_passed_over(folder, caplog):
    """Reading one of them would never end."""
    os.mkfifo(folder / 'pipe.png')
    os.mkfifo(folder / 'plain.txt')
    os.mkfifo(folder / 'metadata.jsonl')
    (folder / 'loop.jpg').symlink_to('loop.jpg')
    (folder / 'zero.png').symlink_to('/dev/zero')
    with caplog.at_level('WARNING'):
        assert set(ImageSource(folder).files) == set(NAMES)
    for name, what in (('pipe.png', 'a named pipe'), ('loop.jpg', 'a link to itself'), ('zero.png', 'a device')):
        assert f'dataroot_gt: {folder / name} is {what}; it is left out.' in caplog.text
    misfits = []
    assert list(iter_captions(folder, misfits.append)) == []
    assert {(misfit.path.name, misfit.why) for misfit in misfits} == {
        ('plain.txt', 'not read, it is a named pipe'), ('metadata.jsonl', 'not read, it is a named pipe')}
