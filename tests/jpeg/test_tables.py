"""Quantisation tables of JPEG files, as maps, and thumbnails; alone and through the dataset."""

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.photo_set import photo, pixels, write_compressed, write_set
from tgjar_arch.datasets.paired_image_text_dataset import PairedImageTextDataset
from tgjar_arch.jpeg.codec import encode
from tgjar_arch.jpeg.tables import off_grid, quantisation_maps, quantisation_tables, thumbnail

# ITU-T T.81, tables K.1 and K.2, which libjpeg uses as they are at quality 50; row = vertical frequency.
LUMA = [[16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]]
CHROMA = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]  # 99 everywhere else


@pytest.fixture
def options(tmp_path):
    base = write_set(tmp_path) | {'quantisation_maps': True, 'thumbnail': 112}
    return lambda **changes: base | changes


def pillow(image: Image.Image, **how) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', **how)
    return buffer.getvalue()


def test_the_standards_tables_at_quality_50():
    luma, chroma = quantisation_tables(encode(photo(24, 40), 50), 'x.jpg')
    assert np.array_equal(luma, LUMA)
    expected = np.full((8, 8), 99)
    expected[:4, :4] = CHROMA
    assert np.array_equal(chroma, expected)


def test_quality_1_is_all_255():
    assert (quantisation_tables(encode(photo(16, 16), 1), 'x.jpg') == 255).all()


def test_own_tables_are_read_and_grey_files_have_one():
    image = Image.fromarray(photo(16, 16))
    tables = [list(range(1, 65)), list(range(101, 165))]
    luma, chroma = quantisation_tables(pillow(image, qtables=tables), 'x.jpg')
    assert np.array_equal(luma, np.arange(1, 65).reshape(8, 8)) and np.array_equal(chroma, luma + 100)
    luma, chroma = quantisation_tables(pillow(image.convert('L'), qtables=tables[:1]), 'x.jpg')
    assert np.array_equal(luma, np.arange(1, 65).reshape(8, 8)) and np.array_equal(chroma, luma)


def test_a_turned_picture_has_turned_tables():
    exif = Image.Exif()
    exif[0x0112] = 6
    luma, _ = quantisation_tables(pillow(Image.fromarray(photo(16, 16)), quality=50, exif=exif), 'x.jpg')
    assert np.array_equal(luma, np.array(LUMA).T)


def test_grids_of_all_kinds_of_files():
    """Chroma blocks of 16 pixels at 4:2:0 only; a phone's second picture; XMP, which OpenCV ignores; a huge one."""
    exif = Image.Exif()
    exif[0x0112] = 3
    colour = Image.fromarray(photo(40, 40))
    assert off_grid(pillow(colour, subsampling='4:2:0', exif=exif))
    assert not off_grid(pillow(colour, subsampling='4:4:4', exif=exif))
    assert not off_grid(pillow(colour.convert('L'), exif=exif))
    buffer = io.BytesIO()
    colour.save(buffer, 'MPO', save_all=True, append_images=[colour], subsampling='4:2:0', exif=exif)
    assert off_grid(buffer.getvalue())
    xmp = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
           b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>')
    assert not off_grid(pillow(colour, subsampling='4:2:0', xmp=xmp))
    assert not off_grid(pillow(Image.new('L', (20_000, 10_000)), quality=1, exif=exif))
    assert not off_grid(pillow(colour, exif=b'Exif\0\0garbage!'))
    assert not off_grid(b'') and not off_grid(cv2.imencode('.png', photo(16, 16))[1].tobytes())


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('size', [(48, 32), (44, 32), (48, 28)])
def test_files_that_are_turned_off_their_grid(orientation, size):
    """Against the decoded picture, in which each block has one grey: its edges are where OpenCV has put them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    greys = np.random.default_rng(0).integers(0, 256, (4, 6), np.uint8)
    blocks = np.kron(greys, np.ones((8, 8), np.uint8))[:size[1], :size[0]]
    content = pillow(Image.fromarray(blocks), quality=50, exif=exif)
    seen = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE).astype(int)
    edges = [np.abs(np.diff(seen, axis=axis)).mean(1 - axis) for axis in (0, 1)]
    on_grid = all(edge[7::8].mean() > 2 * np.delete(edge, np.s_[7::8]).mean() for edge in edges)
    assert off_grid(content) != on_grid


def test_other_files_are_refused():
    content = cv2.imencode('.png', photo(16, 16))[1].tobytes()
    with pytest.raises(ValueError, match=r'a/b\.png is no JPEG file .* put JPEG files into dataroot_lq'):
        quantisation_tables(content, 'a/b.png')
    with pytest.raises(ValueError, match=r'a/b\.jpg cannot be read by Pillow'):
        quantisation_tables(b'nothing', 'a/b.jpg')


@pytest.mark.parametrize('size', [(16, 24), (13, 21), (5, 3)])
def test_maps_repeat_the_tables_on_the_block_grid(size):
    tables = quantisation_tables(encode(photo(16, 16), 50), 'x.jpg')
    maps = quantisation_maps(tables, *size)
    assert maps.shape == (2, *size) and maps.dtype == torch.float32
    for y, x in ((0, 0), (size[0] - 1, size[1] - 1), (3, 2)):
        assert maps[0, y, x].item() == pytest.approx(LUMA[y % 8][x % 8] / 255)


def test_thumbnail_is_rgb_and_keeps_the_mean():
    image = np.full((60, 90, 3), (255, 0, 51), np.uint8)  # BGR
    assert torch.equal(thumbnail(image, 112)[:, 50, 50], torch.tensor([51 / 255, 0, 1]))
    stripes = np.zeros((448, 448, 3), np.uint8)
    stripes[::2] = 255
    small = thumbnail(stripes, 112)  # picking single rows, it would be all black or all white
    assert small.shape == (3, 112, 112) and (small[:, 2:-2] - 0.5).abs().max() < 0.01


def test_compressed_on_the_fly(options):
    item = PairedImageTextDataset(options(qf=50, double_jpeg={'prob': 1, 'qf': 5}))[0]
    assert item['qmaps'].shape == (2, 64, 64)
    assert torch.equal(item['qmaps'][0, 8:16, 56:], torch.tensor(LUMA) / 255)  # the last compression's
    assert torch.equal(item['thumbnail'], thumbnail(np.ascontiguousarray(pixels(item['lq'])), 112))


def test_files_of_dataroot_lq_keep_their_tables_in_crops(options, tmp_path):
    write_compressed(tmp_path / 'gt', tmp_path / 'lq', qf=50)
    dataset = PairedImageTextDataset(options(qf=None, dataroot_lq=str(tmp_path / 'lq'), gt_size=48))
    for _ in range(5):
        assert torch.equal(dataset[0]['qmaps'][0, :8, :8], torch.tensor(LUMA) / 255)
    whole = PairedImageTextDataset(options(qf=None, dataroot_lq=str(tmp_path / 'lq'), gt_size=None, phase='val'))[2]
    assert whole['qmaps'].shape == (2, 100, 90) and whole['thumbnail'].shape == (3, 112, 112)


def test_without_compressed_images_there_are_none(options):
    with pytest.raises(ValueError, match='of the compressed image, but there is none'):
        PairedImageTextDataset(options(qf=None))
    with pytest.raises(ValueError, match='thumbnail must be a whole number from 1 up'):
        PairedImageTextDataset(options(thumbnail=0))
    assert not {'qmaps', 'thumbnail'} & set(PairedImageTextDataset(options(quantisation_maps=False, thumbnail=None))[0])
