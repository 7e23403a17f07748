"""JPEG files of every kind under `dataroot_lq`: some can be read, the others are named, and the rest is evaluated."""

import logging

import numpy as np
import pytest
import torch
from basicsr.models import build_model
from PIL import Image
from torch.utils.data import DataLoader

from tests.helpers.photo_set import photo
from tgjar_arch.datasets.paired_image_text_dataset import PairedImageTextDataset, UnusableImageError
from tgjar_arch.jpeg.codec import encode, is_cut_short
from tgjar_arch.jpeg.segments import add_segments

SIZE = (48, 64)


@pytest.fixture
def lq(tmp_path):
    """Return `write(name, content=None, **how)`: an original, and beside it its file under `dataroot_lq`."""
    original = Image.fromarray(photo(*SIZE)[..., ::-1])
    for folder in ('gt', 'lq'):
        (tmp_path / folder).mkdir()

    def write(name, content=None, mode='RGB', **how):
        original.save(tmp_path / 'gt' / f'{name.partition(".")[0]}.png')
        path = tmp_path / 'lq' / name
        if content is None:
            original.convert(mode).save(path, **({'quality': 90} | how))
        else:
            path.write_bytes(content)
        return path

    return write


def dataset(tmp_path, **options):
    return PairedImageTextDataset({'name': 'bad', 'phase': 'val', 'dataroot_gt': str(tmp_path / 'gt'),
                                   'dataroot_lq': str(tmp_path / 'lq'), **options})


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
@pytest.mark.parametrize('progressive', [False, True])
def test_colours_are_read_as_rgb(lq, tmp_path, mode, progressive):
    lq('a.jpg', mode=mode, progressive=progressive)
    (item,) = dataset(tmp_path, quantisation_maps=True, thumbnail=112)
    expected = item['gt'].mul(torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0) if mode == 'L' else item['gt']
    assert (item['lq'] - expected).abs().mean() < 0.03
    assert item['qmaps'].shape == (2, *SIZE) and 0 < item['qmaps'].max() < 0.2  # quality 90


def test_whether_a_file_lost_its_end():
    content = encode(photo(*SIZE), 50)
    assert not is_cut_short(content) and not is_cut_short(content + bytes(100))  # some cameras write more behind it
    assert all(is_cut_short(content[:end]) for end in (2, 100, len(content) // 2, len(content) - 2))
    assert not is_cut_short(b'') and not is_cut_short(b'no JPEG')


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_file():
    thumbnail = encode(photo(16, 16), 50)
    content = add_segments(encode(photo(*SIZE), 50), exif=b'II*\0' + thumbnail, comment=thumbnail)
    assert thumbnail in content and not is_cut_short(content) and not is_cut_short(content + bytes(100))
    assert all(is_cut_short(content[:end]) for end in (300, 2 * len(thumbnail) + 100, len(content) - 2))
    filled = content[:2] + b'\xff\xff' + content[2:]  # fill bytes before a marker are allowed
    assert not is_cut_short(filled) and is_cut_short(filled[:-2])


@pytest.mark.parametrize('content, message', [
    (b'', 'it is empty'),
    (b'hello', 'it is broken or of another format'),
    (encode(photo(*SIZE), 50)[:700], r'it was cut short \(700 bytes\)'),
    (encode(photo(*SIZE), 50)[:-2], 'it was cut short'),
])
def test_unreadable_files_are_named(lq, tmp_path, content, message):
    path = lq('a.jpg', content)
    pattern = rf'a\.jpg is no readable image: {message}.* Replace or remove it'
    with pytest.raises(UnusableImageError, match=pattern) as caught:
        dataset(tmp_path)[0]
    assert str(path) in str(caught.value)


def test_an_evaluation_goes_on_past_them(lq, tmp_path, log):
    lq('a.jpg')
    lq('cut.jpg', encode(photo(*SIZE), 50)[:700])
    lq('image.png', quality=None)
    lq('small.jpg', encode(photo(40, 40), 50))
    lq('z.jpg')
    opt = {'name': 'tiny', 'model_type': 'TGJARModel', 'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1,
           'is_train': False, 'network_g': {'type': 'QGCN', 'num_feat': 4, 'num_block': 2},
           'path': {'visualization': str(tmp_path / 'results')},
           'datasets': {}, 'val': {'save_img': True, 'suffix': None,
                                   'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}}
    model = build_model(opt)
    log.clear()
    model.validation(DataLoader(dataset(tmp_path, quantisation_maps=True, thumbnail=112)), 'test', None, save_img=True)
    errors = [record.getMessage() for record in log.records if record.levelno == logging.ERROR]
    for line, (name, reason) in zip(errors, (('cut.jpg', 'it was cut short'), ('image.png', 'is no JPEG file'),
                                             ('small.jpg', 'is 40x40; both must have one size')), strict=True):
        assert name in line and reason in line and 'left out of the validation' in line
    assert {path.name for path in (tmp_path / 'results' / 'bad').iterdir()} == {'a_tiny.png', 'z_tiny.png'}
    assert np.isfinite(model.metric_results['psnr'])
