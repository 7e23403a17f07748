"""The dataset with other files than expected: compressed beforehand, broken, in lmdb; and with wrong options."""

import logging
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from basicsr.utils.lmdb_util import LmdbMaker
from PIL import Image
from torch.utils.data import DataLoader

from tests.helpers.photo_set import CAPTIONS, SIZES, assert_equal_items, photo, pixels, write_compressed, write_set
from tgjar_arch.datasets.paired_image_text_dataset import PairedImageTextDataset, UnusableImageError
from tgjar_arch.jpeg.codec import compress, encode


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'gt'


@pytest.fixture
def options(tmp_path):
    """Return `make(**changes)`, the options of a training set."""
    base = write_set(tmp_path)
    return lambda **changes: base | changes


def test_dataroot_lq_keeps_the_block_grid(options, root, tmp_path, log):
    write_compressed(root, tmp_path / 'lq')
    cv2.imwrite(str(tmp_path / 'lq' / 'extra.png'), photo(80, 80))
    dataset = PairedImageTextDataset(options(dataroot_lq=str(tmp_path / 'lq'), qf=None, gt_size=48))
    assert any('1 images are not in' in message and 'extra' in message for message in log.messages)
    compressed = compress(photo(96, 112), 10)
    offsets = set()
    random.seed(0)
    for _ in range(60):
        item = dataset[0]
        assert 'qf' not in item and item['lq_path'].endswith('ani.1.jpg') and item['gt_path'].endswith('ani.1.png')
        gt, lq = pixels(item['gt']), pixels(item['lq'])
        for flipped in (False, True):
            gt_crop, lq_crop = (np.ascontiguousarray(image[:, ::-1] if flipped else image) for image in (gt, lq))
            match = cv2.matchTemplate(photo(96, 112), gt_crop, cv2.TM_SQDIFF)
            if match.min() < 1:
                top, left = (int(k) for k in np.unravel_index(match.argmin(), match.shape))
                assert np.array_equal(compressed[top:top + 48, left:left + 48], lq_crop)
                offsets.add((top, left))
    assert {top for top, _ in offsets} == {0, 16, 32, 48} and {left for _, left in offsets} == {0, 16, 32, 48, 64}

    whole = PairedImageTextDataset(options(phase='val', dataroot_lq=str(tmp_path / 'lq'), qf=None, gt_size=None))[2]
    assert np.array_equal(pixels(whole['lq']), compress(photo(100, 90), 10))


def test_lq_alone_in_test(options, root, tmp_path):
    write_compressed(root, tmp_path / 'lq')
    changes = {'dataroot_gt': None, 'dataroot_lq': str(tmp_path / 'lq'), 'qf': None, 'gt_size': None}
    item = PairedImageTextDataset(options(phase='test', dataroot_text=str(root), **changes))[0]
    assert 'gt' not in item and 'gt_path' not in item
    assert item['caption'] == CAPTIONS['004.Groove_billed_Ani/ani.1'][0] and item['text_mask'].any()
    with pytest.raises(ValueError, match='dataroot_gt is missing; only in validation and test'):
        PairedImageTextDataset(options(**changes))


def test_originals_alone(options):
    item = PairedImageTextDataset(options(qf=None))[0]
    assert 'lq' not in item and 'qf' not in item and item['gt'].shape == (3, 64, 64)


@pytest.mark.parametrize('kind', ['grey', 'alpha', '16 bit'])
def test_other_pixel_formats_become_8_bit_colour(options, root, kind):
    image = photo(80, 80)
    made = {'grey': image[..., 1], 'alpha': np.dstack([image, np.zeros_like(image[..., :1])]),
            '16 bit': image.astype(np.uint16) * 257}[kind]
    cv2.imwrite(str(root / '004.Groove_billed_Ani' / 'ani.2.png'), made)
    expected = np.repeat(image[..., 1:2], 3, axis=2) if kind == 'grey' else image
    item = PairedImageTextDataset(options(phase='val', gt_size=None))[1]
    assert np.array_equal(pixels(item['gt']), expected)


def test_exif_orientation_is_applied(options, root):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    path = root / '004.Groove_billed_Ani' / 'ani.2.png'
    Image.fromarray(photo(80, 60)[..., ::-1]).save(path.with_suffix('.jpg'), exif=exif)
    path.unlink()
    item = PairedImageTextDataset(options(phase='val', gt_size=None))[1]
    assert item['gt_path'].endswith('ani.2.jpg') and item['gt'].shape == (3, 60, 80)


def test_compressed_files_off_their_grid_are_named(options, root, tmp_path, log):
    """Turned by EXIF, of a size that is no multiple of 16."""
    write_compressed(root, tmp_path / 'lq')
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = next((tmp_path / 'lq').rglob('ani.2.*'))
    Image.fromarray(photo(80, 60)[..., ::-1]).save(turned.with_suffix('.jpg'), quality=10, exif=exif)
    cv2.imwrite(str(root / '004.Groove_billed_Ani' / 'ani.2.png'), photo(80, 60))
    dataset = PairedImageTextDataset(options(phase='val', dataroot_lq=str(tmp_path / 'lq'), qf=None, gt_size=None))
    with pytest.raises(UnusableImageError, match=r'ani\.2\.jpg is turned by its EXIF orientation, off its JPEG blocks'):
        dataset[1]


@pytest.mark.parametrize('damage', ['empty', 'text', 'truncated', 'missing', 'small'])
def test_broken_files_are_named_and_skipped_in_training(options, root, log, damage):
    path = root / '004.Groove_billed_Ani' / 'ani.2.png'
    dataset, validation = PairedImageTextDataset(options()), PairedImageTextDataset(options(phase='val', gt_size=None))
    if damage == 'missing':
        path.unlink()
    elif damage == 'small':
        cv2.imwrite(str(path), photo(80, 40))
    else:
        path.write_bytes({'empty': b'', 'text': b'no image', 'truncated': path.read_bytes()[:900]}[damage])
    log.clear()
    for _ in range(3):
        assert dataset[1]['gt_path'].endswith('cup of coffee.png')
    assert len(log.messages) == 1 and str(path) in log.messages[0] and 'next image' in log.messages[0]
    assert log.records[0].levelno == logging.ERROR
    if damage == 'small':
        assert '40x80, smaller than gt_size 64' in log.messages[0]
        assert validation[1]['gt'].shape == (3, 80, 40)
    else:
        with pytest.raises(ValueError, match=r'ani\.2\.png (is no readable image|cannot be read)'):
            validation[1]


def test_nothing_usable(options, log):
    dataset = PairedImageTextDataset(options(gt_size=200))
    with pytest.raises(RuntimeError, match=r'none of the 3 images of .*gt can be used'):
        dataset[0]
    assert sum('smaller than gt_size 200' in message for message in log.messages) == 3


def test_broken_file_is_said_once_by_all_workers_and_epochs(options, root, tmp_path):
    (root / 'cup of coffee.png').write_bytes(b'')
    dataset = PairedImageTextDataset(options())
    logger, handler = logging.getLogger('basicsr'), logging.FileHandler(tmp_path / 'log.txt')
    logger.addHandler(handler)
    for _ in range(3):
        paths = [path for batch in DataLoader(dataset, num_workers=2) for path in batch['gt_path']]
        assert [Path(path).stem for path in paths] == ['ani.1', 'ani.2', 'ani.1']
    logger.removeHandler(handler)
    assert (tmp_path / 'log.txt').read_text().count('cup of coffee.png is no readable image') == 1


def test_lmdb(options, root, tmp_path):
    for key, qf in (('gt', None), ('lq', 10)):
        maker = LmdbMaker(str(tmp_path / f'{key}.lmdb'), map_size=2**24)
        for name, size in SIZES.items():
            image = photo(*size)
            content = cv2.imencode('.png', image)[1].tobytes() if qf is None else encode(image, qf)
            maker.put(content, name, image.shape)
        maker.close()
    (tmp_path / 'gt.lmdb' / 'metadata.jsonl').write_text((root / 'metadata.jsonl').read_text())
    lmdb = {'io_backend': {'type': 'lmdb'}, 'dataroot_gt': str(tmp_path / 'gt.lmdb')}
    val = {'phase': 'val', 'gt_size': None}
    from_lmdb, from_files = PairedImageTextDataset(options(**val, **lmdb)), PairedImageTextDataset(options(**val))
    for k in range(3):
        item, expected = from_lmdb[k], from_files[k]
        assert Path(item['gt_path']).name == Path(expected['gt_path']).name
        assert_equal_items(item, expected | {key: item[key] for key in ('gt_path', 'lq_path')})
    train = PairedImageTextDataset(options(**lmdb, gt_size=48) | {'qf': None, 'dataroot_lq': str(tmp_path / 'lq.lmdb')})
    for _ in range(2):  # the same lmdb is open in this process, where validation runs
        assert len(list(DataLoader(train, num_workers=2, shuffle=True))) == 3
    text = PairedImageTextDataset(options(**val, **lmdb, dataroot_text=str(root / 'metadata.jsonl')))
    assert text[2]['caption'] == CAPTIONS['cup of coffee'][0]


@pytest.mark.parametrize(('changes', 'message'), [
    ({'use_hflp': True}, "dataset: nothing reads the key 'use_hflp'; the nearest is 'use_hflip'"),
    ({'io_backend': {'type': 'lmdb'}}, r'io_backend is lmdb, but dataroot_gt is .*an lmdb is a folder \*\.lmdb'),
    ({'io_backend': {'type': 'petrel'}}, "type must be one of disk, lmdb, but is 'petrel'"),
    ({'io_backend': {'typ': 'disk'}}, "io_backend: nothing reads the key 'typ'; the nearest is 'type'"),
    ({'phase': 'training'}, "phase must be one of train, val, test, but is 'training'"),
    ({'gt_size': 0}, 'gt_size must be a whole number from 1 up, but is 0'),
    ({'max_words': 2.5}, 'max_words must be a whole number from 1 up, but is 2.5'),
    ({'scale_range': [1, 0.5]}, r'scale_range must be two factors above 0, the smaller first, .* but is \[1, 0.5\]'),
    ({'scale_range': 0.5}, 'scale_range must be two factors above 0'),
    ({'scale_range': [0, 1]}, 'scale_range must be two factors above 0'),
    ({'scale_range': [0.5, 1], 'recolour': 0.5, 'qf': None, 'dataroot_lq': 'x'},
     'dataroot_lq has compressed files, so scale_range and recolour can have no effect'),
    ({'chroma_drop': 0.5, 'qf': None}, 'chroma_drop needs qf'),
    ({'caption_drop': 2}, 'caption_drop must be a probability from 0 to 1, but is 2'),
    ({'qf': 0}, 'qf: a JPEG quality factor is a whole number from 1 to 100, but 0'),
    ({'qf': None, 'double_jpeg': {'qf': 3}}, 'double_jpeg needs qf'),
    ({'double_jpeg': {'prob': 0.5}}, 'double_jpeg needs the qf of the first compression'),
    ({'double_jpeg': {'qf': 3, 'shift': 8}}, 'double_jpeg: shift must be from 0 to 7, but is 8'),
    ({'double_jpeg': {'qf': 101}}, 'double_jpeg: qf: a JPEG quality factor'),
    ({'double_jpeg': {'qf': 3, 'probability': 1}}, "nothing reads the key 'probability'; the nearest is 'prob'"),
    ({'chroma': '4:1:1'}, "chroma must be one of 4:2:0, 4:2:2, 4:4:4, but is '4:1:1'"),
    ({'dataroot_lq': 'x'}, 'dataroot_lq has compressed files, so qf can have no effect'),
    ({'dataroot_lq': 'x', 'qf': None, 'gt_size': 40}, 'gt_size 40 must be a multiple of 16 to flip'),
])
def test_wrong_options(options, changes, message):
    with pytest.raises(ValueError, match=message):
        PairedImageTextDataset(options(**changes))


def test_what_is_missing_is_named(options, root, tmp_path):
    without_qf = options()
    del without_qf['qf']
    with pytest.raises(ValueError, match=r'qf is missing: .* or dataroot_lq .* or `qf: ~`'):
        PairedImageTextDataset(without_qf)
    with pytest.raises(FileNotFoundError, match='dataroot_gt: there is no folder'):
        PairedImageTextDataset(options(dataroot_gt=str(tmp_path / 'none')))
    with pytest.raises(FileNotFoundError, match='build it .* with `tgjar vocab FOLDER -o'):
        PairedImageTextDataset(options(tokenizer=str(tmp_path / 'none.json')))
    (root / 'metadata.jsonl').unlink()
    with pytest.raises(ValueError, match=r'a tokenizer is given, but no caption .* dataroot_text'):
        PairedImageTextDataset(options())


def test_lq_that_does_not_fit(options, root, tmp_path):
    other = tmp_path / 'lq'
    other.mkdir()
    (other / 'another.jpg').write_bytes(encode(photo(96, 112), 5))
    changes = {'dataroot_lq': str(other), 'qf': None}
    with pytest.raises(ValueError, match='no file of dataroot_lq .* has the name of one of dataroot_gt'):
        PairedImageTextDataset(options(**changes))
    (other / 'cup of coffee.jpg').write_bytes(encode(photo(96, 112), 5))
    dataset = PairedImageTextDataset(options(**changes))
    assert len(dataset) == 1
    with pytest.raises(ValueError, match=r'coffee\.png is 90x100, but its compressed version .*coffee\.jpg is 112x96'):
        dataset[0]
