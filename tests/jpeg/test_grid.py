"""The grid of an earlier compression is found where there is one, and nowhere else; see docs/hidden_grid.md."""

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data

from tgjar_arch.jpeg.grid import FINEST, HiddenGrid, border_contrast, find_grid
from tgjar_arch.jpeg.quality import standard_tables

PHOTOS = {'astronaut': (0, 100), 'chelsea': (20, 80), 'coffee': (60, 150), 'rocket': (100, 200), 'camera': (60, 120)}
SIZE = 264


def photo(name, size=SIZE):
    row, column = PHOTOS[name]
    pixels = getattr(data, name)()[row:row + size, column:column + size]
    return np.ascontiguousarray(pixels) if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def saved(pixels, quality, name='JPEG', **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, name, quality=quality, **options)
    return np.asarray(Image.open(file).convert('RGB'))


def cropped(pixels, row, column):
    """So that the grid, which began at (0, 0), begins at (row, column)."""
    return pixels[-row % 8:, -column % 8:]


@pytest.mark.parametrize('name', PHOTOS)
@pytest.mark.parametrize(('qf', 'later', 'offset'), [
    (5, 75, (3, 5)), (10, 85, (0, 7)), (20, 90, (6, 0)), (20, 85, (1, 1)), (40, 95, (4, 2)), (10, None, (7, 3)),
    (40, None, (0, 0)), (60, None, (2, 4))])
def test_offset_and_quality_below_a_later_compression_and_in_png(name, qf, later, offset):
    pixels = cropped(saved(photo(name), qf), *offset)
    if later:
        pixels = saved(pixels, later)
    found = find_grid(pixels, later)
    assert (found.row, found.column) == offset
    assert abs(np.log(standard_tables(found.qf)[0] / standard_tables(qf)[0]).mean()) < np.log(1.1)
    assert found.strength > 0.05


@pytest.mark.parametrize('name', PHOTOS)
def test_in_webp(name):
    found = find_grid(saved(cropped(saved(photo(name), 10), 5, 2), 80, 'WEBP'))
    assert (found.row, found.column) == (5, 2) and 9 <= found.qf <= 11


def test_every_offset():
    compressed = saved(photo('coffee'), 20)
    for place in range(64):
        found = find_grid(cropped(compressed, *divmod(place, 8)))
        assert (found.row, found.column, found.qf) == (*divmod(place, 8), 20)


@pytest.mark.parametrize('name', PHOTOS)
def test_clean_photographs_have_none(name):
    pixels = photo(name)
    assert find_grid(pixels) is None
    assert find_grid(pixels[..., 1]) is None
    for quality in (90, 95):
        assert find_grid(saved(pixels, quality), quality) is None
        assert find_grid(saved(pixels, quality)) is None
    assert find_grid(saved(pixels, 80, 'WEBP')) is None


@pytest.mark.parametrize('quality', [10, 30, 50, 75, 85])
def test_the_file_s_own_grid_does_not_count(quality):
    pixels = saved(photo('astronaut'), quality)
    assert find_grid(pixels, quality) is None
    assert find_grid(cropped(pixels, 3, 6), quality, own_offset=(3, 6)) is None
    assert find_grid(pixels) == find_grid(pixels, None) and find_grid(pixels).qf == quality


@pytest.mark.parametrize(('qf', 'later'), [(5, 75), (10, 90), (20, 75), (20, 90), (40, 90), (60, 95)])
def test_two_compressions_on_one_grid(qf, later):
    pixels = saved(saved(photo('coffee'), qf), later)
    for own in (later, None):  # as a JPEG file, and as PNG made of it
        found = find_grid(pixels, own)
        assert (found.row, found.column) == (0, 0) and abs(found.qf - qf) <= 1


def test_a_finer_compression_before_a_coarser_one_does_not_count():
    pixels = saved(cropped(saved(photo('coffee'), 80), 3, 3), 30)
    assert find_grid(pixels, 30) is None


def test_finest():
    pixels = photo('astronaut')
    assert find_grid(saved(pixels, FINEST)).qf == FINEST
    assert find_grid(saved(pixels, FINEST + 1)) is None


def test_tables_that_are_not_libjpeg_s():
    table = np.clip(np.add.outer(np.arange(8), np.arange(8)) * 6 + 14, 1, 255)
    pixels = saved(photo('astronaut'), -1, qtables=[table.ravel().tolist()] * 2)
    found = find_grid(pixels)
    assert (found.row, found.column) == (0, 0)
    low = slice(3), slice(3)  # at high frequencies libjpeg's tables rise more
    assert 1 / 1.5 < np.exp(np.log(standard_tables(found.qf)[0][low] / table[low]).mean()) < 1.5
    assert find_grid(pixels, own_table=table) is None
    hidden = saved(cropped(saved(photo('astronaut'), 5), 2, 7), -1, qtables=[(table // 4).ravel().tolist()] * 2)
    found = find_grid(hidden, own_table=table // 4)
    assert (found.row, found.column, found.qf) == (2, 7, 5)


def test_chroma():
    pixels = saved(photo('coffee'), 40, subsampling='4:2:0')
    for row, column in ((0, 0), (3, 12), (9, 15), (14, 1)):
        assert find_grid(pixels[-row % 16:, -column % 16:]).chroma == (row, column)
    assert find_grid(saved(photo('coffee'), 40, subsampling='4:4:4')).chroma is None
    assert find_grid(pixels[..., 0]).chroma is None
    assert find_grid(np.repeat(pixels[..., :1], 3, axis=2)).chroma is None


def drawings():
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:256, :256]
    yield 'slope', (row / 3 + column / 2).astype(np.uint8)
    yield 'sky', np.stack([row // 4 + 60, row // 3 + 90, row // 2 + 120], axis=-1).astype(np.uint8)
    yield 'rings', np.hypot(row - 128, column - 128).astype(np.uint8)
    yield 'one colour', np.full((256, 256, 3), 77, np.uint8)
    yield 'noise', rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    yield 'grain', rng.normal(128, 20, (256, 256)).clip(0, 255).astype(np.uint8)
    for scale in (4, 8, 16):
        small = rng.integers(0, 256, (256 // scale, 256 // scale, 3), dtype=np.uint8)
        yield f'pixels x{scale}', small.repeat(scale, 0).repeat(scale, 1)
        yield f'photograph of pixels x{scale}', photo('chelsea')[::scale, ::scale].repeat(scale, 0).repeat(scale, 1)
    for period in (4, 8, 16):
        yield f'checks of {period}', ((row // period + column // period) % 2 * 255).astype(np.uint8)
        lines = np.full((256, 256, 3), 240, np.uint8)
        lines[::period] = lines[:, ::period] = 190
        yield f'lines at {period}', lines
        yield f'saw of {period}', (column % period * (255 // period)).astype(np.uint8)
        yield f'wave of {period}', (128 + 100 * np.sin(2 * np.pi * column / period)).astype(np.uint8)
    interface = np.full((256, 320, 3), 245, np.uint8)
    for _ in range(60):
        (top, left), (height, width) = rng.integers(0, 32, 2) * 8, rng.integers(1, 8, 2) * 8
        interface[top:top + height, left:left + width] = rng.integers(0, 256, 3)
    yield 'interface', interface
    page = Image.new('L', (320, 320), 255)
    for line in range(20):
        ImageDraw.Draw(page).text((8, 16 * line), ''.join(rng.choice(list('MWHE#lo '), 60)), fill=0)
    yield 'text', np.asarray(page)


DRAWINGS = dict(drawings())


@pytest.mark.parametrize('name', DRAWINGS)
def test_drawings_have_none(name):
    pixels = DRAWINGS[name]
    assert find_grid(pixels) is None
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    assert find_grid(saved(pixels[3:, 5:], 92), 92) is None


@pytest.mark.parametrize('factor', [0.5, 0.75, 1.5, 2])
@pytest.mark.parametrize('how', [Image.Resampling.BICUBIC, Image.Resampling.NEAREST])
def test_scaled_pictures_have_none(factor, how):
    for qf in (5, 20):
        image = Image.fromarray(saved(photo('coffee'), qf))
        assert find_grid(np.asarray(image.resize((int(factor * SIZE),) * 2, how))) is None


@pytest.mark.parametrize('shape', [(1, 1), (7, 5), (8, 300), (16, 16), (24, 24), (300, 23), (25, 31)])
def test_small_pictures(shape):
    assert find_grid(saved(photo('astronaut'), 5)[:shape[0], :shape[1]]) is None


def test_large_pictures_are_sampled():
    large = np.tile(photo('coffee', 256), (5, 9, 1))  # 1280x2304
    pixels = saved(large, 20)[5:, 2:]
    find_grid(pixels[:100, :100])  # builds the tables
    start = time.process_time()
    found = find_grid(pixels)
    assert time.process_time() - start < 1
    assert (found.row, found.column, found.qf, found.chroma) == (3, 6, 20, (11, 14))
    assert find_grid(large) is None


def test_strength_is_that_of_the_evidence():
    pixels = photo('coffee')
    plain, below = (find_grid(image).strength for image in (saved(pixels, 20), saved(saved(pixels, 20)[3:, 3:], 85)))
    assert plain > 2 * below > 0


@pytest.mark.parametrize(('pixels', 'options', 'said'), [
    (np.zeros((40, 40, 3), np.float32), {}, 'uint8, but got'), (np.zeros((40, 40, 4), np.uint8), {}, r'\(40, 40, 4\)'),
    (np.zeros((40, 40), np.uint8), {'own_qf': 0}, 'from 1 to 100'),
    (np.zeros((40, 40), np.uint8), {'own_offset': (0, 8)}, 'from 0 to 7'),
    (np.zeros((40, 40), np.uint8), {'own_table': np.ones(64)}, r'\(8, 8\)')])
def test_wrong_arguments(pixels, options, said):
    with pytest.raises(ValueError, match=said):
        find_grid(pixels, **options)


def test_border_contrast():
    rng = np.random.default_rng(0)
    blocks = rng.normal(128, 30, (20, 24)).repeat(8, 0).repeat(8, 1) + rng.normal(0, 1, (160, 192))
    contrast = border_contrast(blocks[3:, 6:].astype(np.float32))
    assert contrast.shape == (2, 8) and contrast.argmax(axis=1).tolist() == [5, 2]
    assert contrast.max() > 0.5 and np.abs(border_contrast(rng.normal(0, 9, (160, 192)).astype(np.float32))).max() < 0.2


def test_a_result_cannot_be_changed():
    with pytest.raises(AttributeError):
        HiddenGrid(0, 0, 1., 20, None).qf = 30
