"""`tgjar prepare` on files as they are published, and on files that it cannot take."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.cli.test_prepare import kodak_folder, prepare, records
from tests.helpers.checkout import ROOT
from tgjar_arch.datasets.captions import read_captions
from tgjar_arch.datasets.prepare.pipeline import Encoding, Item, Result, load, run_split


@pytest.mark.parametrize(('dataset', 'train', 'test'), [('cub', 12, 12), ('oxford102', 10, 6), ('coco', 0, 16)])
def test_published_files(shared, tmp_path, dataset, train, test):
    """A few images as they are published."""
    source, out = shared / 'data' / 'samples' / dataset, tmp_path / 'out'
    if not source.is_dir():
        pytest.skip(f'no {source.name} samples')
    assert prepare(dataset, source, '-o', out, '--format', 'jpg') == 0
    for split, count in (('train', train), ('test', test)):
        if not count:
            continue
        images, report = read_captions(out / split)
        assert len(images) == count and not report.without_caption
        assert {len(image.captions) for image in images} == {5 if dataset == 'coco' else 10}
        assert all((image.class_id > 0) == (dataset != 'coco') for image in images)
        assert all(min(Image.open(path).size) == 304 for path in (out / split).rglob('*.jpg'))


@pytest.mark.parametrize('dataset', ['cub', 'oxford102'])
def test_same_geometry_as_independently_prepared_images(shared, tmp_path, dataset):
    """Centre crops of the same originals, prepared by others, lossily: a shift by one pixel would be below 32 dB."""
    source, out = shared / 'data' / 'samples' / dataset, tmp_path / 'out'
    if not source.is_dir() or not (ROOT / 'data' / dataset / 'test').is_dir():
        pytest.skip(f'no {dataset} to compare with')
    assert prepare(dataset, source, '-o', out) == 0
    compared = 0
    for split in ('train', 'test'):
        theirs = records(ROOT / 'data' / dataset / split)
        for name, content in records(out / split).items():
            other = str(Path(name).with_suffix('.webp'))
            if other not in theirs:
                continue
            with Image.open(out / split / name) as ours, Image.open(ROOT / 'data' / dataset / split / other) as image:
                left, upper = (ours.width - image.width) // 2, (ours.height - image.height) // 2
                crop = ours.crop((left, upper, left + image.width, upper + image.height))
                error = np.mean((np.asarray(crop, float) - np.asarray(image.convert('RGB'), float)) ** 2)
            assert theirs[other] == content
            assert 10 * np.log10(255 ** 2 / error) > 32, name
            compared += 1
    assert compared >= 3


def test_pipes_and_links_among_the_images_are_listed(tmp_path):
    """Before a first run, where opening a pipe would wait for ever, and before a second, in the place of the original
    of a picture that is there already."""
    items = [Item(tmp_path / f'{name}.png', name, ('a bird',)) for name in ('pipe', 'loop', 'gone', 'there')]
    os.mkfifo(items[0].source)
    items[1].source.symlink_to('loop.png')
    Image.new('RGB', (36, 24)).save(items[3].source)
    failed = {items[0].source: 'ValueError: it is a named pipe', items[1].source: 'ValueError: it is a link to itself',
              items[2].source: 'there is no such file'}
    assert run_split(items, tmp_path / 'out', Encoding(), quiet=True) == Result(1, 0, failed)
    items[3].source.unlink()
    os.mkfifo(items[3].source)
    assert run_split(items, tmp_path / 'out', Encoding(), quiet=True) == Result(0, 1, failed)


def test_deep_and_printers_colours_are_listed_with_the_reason(tmp_path, capsys):
    root = kodak_folder(tmp_path)
    deep = np.full((24, 36, 3), 30000, np.uint16)
    assert cv2.imwrite(str(root / 'kodim03.png'), deep) and cv2.imwrite(str(tmp_path / 'deep.tif'), deep)
    Image.new('CMYK', (36, 24)).save(tmp_path / 'cmyk.jpg')
    assert prepare('kodak', root, '-o', tmp_path / 'out') == 1
    failed, = capsys.readouterr().err.splitlines()
    assert failed == f'failed: {root / "kodim03.png"}: ValueError: it has 16 bits a channel; convert it to 8'
    assert list(records(tmp_path / 'out' / 'test')) == ['kodim23.png']
    with pytest.raises(ValueError, match='16 bits a channel'):
        load(Item(tmp_path / 'deep.tif', 'deep', ()))
    with pytest.raises(ValueError, match='it is CMYK, .*; convert it to sRGB'):
        load(Item(tmp_path / 'cmyk.jpg', 'cmyk', ()))
    Image.new('P', (8, 8)).save(tmp_path / 'palette.png')  # of 8 bits or fewer
    assert load(Item(tmp_path / 'palette.png', 'palette', ())).mode == 'RGB'
