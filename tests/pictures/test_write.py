"""Writing pictures like the files they are from: formats, profile, transparency, metadata, and nothing replaced."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.photo_files import cmyk_profile, exif, picture, reader, saved, srgb_profile, swapped_profile, xmp
from tgjar_arch.pictures.photo import read_photo
from tgjar_arch.pictures.write import to_srgb, write_picture


@pytest.fixture
def read(tmp_path):
    return reader(tmp_path)


def test_png_and_webp_are_lossless_by_default(tmp_path):
    pixels = np.asarray(picture())
    for name in ('a/b/x.png', 'x.webp'):
        write_picture(tmp_path / name, pixels)
        assert np.array_equal(read_photo(tmp_path / name).pixels, pixels)
    write_picture(tmp_path / 'lossy.webp', pixels, quality=10)
    assert (tmp_path / 'lossy.webp').stat().st_size < (tmp_path / 'x.webp').stat().st_size / 3


def test_jpeg_has_the_quality_asked_for_and_whole_chroma(tmp_path):
    for quality, expected in ((None, 95), (30, 30)):
        path = tmp_path / f'{quality}.jpg'
        write_picture(path, np.asarray(picture()), quality=quality)
        jpeg = read_photo(path).jpeg
        assert (jpeg.qf, jpeg.standard_tables, jpeg.chroma) == (expected, True, '4:4:4')


def test_nothing_is_replaced_unless_asked_for(tmp_path):
    pixels, path = np.asarray(picture()), tmp_path / 'x.png'
    path.write_text('mine')
    with pytest.raises(FileExistsError, match=r'x\.png is there already'):
        write_picture(path, pixels)
    assert path.read_text() == 'mine'
    write_picture(path, pixels, overwrite=True)
    assert np.array_equal(read_photo(path).pixels, pixels)
    assert [file.name for file in tmp_path.iterdir()] == ['x.png']


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / 'x.png'
    path.write_text('old')

    def fail(self, file, **options):
        Path(file).write_text('half')
        raise OSError('no space left')

    monkeypatch.setattr(Image.Image, 'save', fail)
    with pytest.raises(OSError, match='no space left'):
        write_picture(path, np.asarray(picture()), overwrite=True)
    assert path.read_text() == 'old' and [file.name for file in tmp_path.iterdir()] == ['x.png']


@pytest.mark.parametrize('suffix', ['.png', '.webp', '.jpg'])
def test_the_colour_profile_is_always_kept(read, tmp_path, suffix):
    photo = read(saved(picture(), icc_profile=srgb_profile()))
    write_picture(tmp_path / f'out{suffix}', photo.pixels, photo)
    out = read_photo(tmp_path / f'out{suffix}')
    assert out.icc == srgb_profile() and out.exif is out.xmp is None


def test_a_profile_of_another_colour_space_is_not(read, tmp_path):
    grey_profile = srgb_profile()[:16] + b'GRAY' + srgb_profile()[20:]
    photo = read(saved(picture().convert('L'), icc_profile=grey_profile))
    for name, options, is_grey in (('a.png', {}, True), ('a.jpg', {}, True), ('b.png', {'keep_grey': False}, False),
                                   ('a.webp', {}, False)):
        write_picture(tmp_path / name, photo.pixels, photo, **options)
        out = read_photo(tmp_path / name)
        assert out.is_grey == is_grey and out.icc == (grey_profile if is_grey else None)
    assert np.array_equal(read_photo(tmp_path / 'a.png').pixels, photo.pixels)


@pytest.mark.parametrize('suffix', ['.png', '.webp', '.jpg'])
def test_metadata_are_kept_on_request_and_upright(read, tmp_path, suffix):
    data = exif(6, 'eine Größe')
    data.get_ifd(0x8769)[0xA002] = 51
    data.get_ifd(0x8769)[0xA003] = 37
    data.get_ifd(0x8825)[1] = 'N'
    photo = read(saved(picture(), exif=data, xmp=xmp('<tiff:Orientation>6</tiff:Orientation>'), comment='a cup'))
    image = photo.upright(photo.pixels)
    write_picture(tmp_path / f'bare{suffix}', image, photo)
    assert read_photo(tmp_path / f'bare{suffix}').exif is None
    write_picture(tmp_path / f'out{suffix}', image, photo, keep_metadata=True)
    out = read_photo(tmp_path / f'out{suffix}')
    assert out.orientation == 1 and out.size == (37, 51)
    kept = Image.Exif()
    kept.load(out.exif)
    assert kept[0x0112] == 1 and kept.get_ifd(0x8825)[1] == 'N'
    assert kept[0x010E].encode('latin-1').decode() == 'eine Größe'
    assert (kept.get_ifd(0x8769)[0xA002], kept.get_ifd(0x8769)[0xA003]) == (37, 51)
    assert b'<tiff:Orientation>1</tiff:Orientation>' in out.xmp
    if suffix == '.jpg':
        assert out.comment == b'a cup'


def test_orientation_in_an_attribute_of_xmp(read, tmp_path):
    photo = read(saved(picture(), xmp=xmp('', 'tiff:Orientation="8" tiff:ImageWidth="8"')))
    write_picture(tmp_path / 'out.webp', photo.pixels, photo, keep_metadata=True)
    assert b'tiff:Orientation="1" tiff:ImageWidth="8"' in read_photo(tmp_path / 'out.webp').xmp


@pytest.mark.parametrize('suffix', ['.png', '.webp'])
def test_transparency_is_turned_with_the_picture(read, tmp_path, suffix):
    image = picture().convert('RGBA')
    alpha = np.random.default_rng(0).integers(0, 256, (37, 51), dtype=np.uint8)
    image.putalpha(Image.fromarray(alpha))
    photo = read(saved(image, 'PNG', exif=exif(8)), 'x.png')
    write_picture(tmp_path / f'out{suffix}', photo.upright(photo.pixels), photo)
    out = read_photo(tmp_path / f'out{suffix}')
    assert np.array_equal(out.alpha, np.rot90(alpha)) and np.array_equal(out.pixels, np.rot90(np.asarray(picture())))
    with pytest.raises(ValueError, match=r'is 51 x 37, but .*x\.png is 37 x 51; turn the result by `like.upright`'):
        write_picture(tmp_path / f'other{suffix}', photo.pixels, photo)
    with pytest.raises(ValueError, match=r'x\.png is partly transparent, which JPEG cannot hold; write \.png'):
        write_picture(tmp_path / 'out.jpg', photo.upright(photo.pixels), photo)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([f'out{suffix}', 'x.png'])


@pytest.mark.parametrize('name, change, options, message', [
    ('x.gif', None, {}, r'x\.gif: a picture is written as \.png, \.webp, \.jpg, \.jpeg, not as'),
    ('x.png', lambda image: image / 255, {}, r'expected a picture \(H, W, 3\) uint8, but got .* float64'),
    ('x.png', lambda image: image[..., 0], {}, r'but got \(37, 51\) uint8'),
    ('x.png', None, {'quality': 90}, 'PNG is lossless and has no quality'),
    ('x.jpg', None, {'quality': 0}, r'quality of .*x\.jpg: .* from 1 to 100, but 0'),
    ('x.webp', lambda image: np.zeros((1, 16384, 3), np.uint8), {}, '16384 x 1, but WEBP holds sides up to 16383'),
])
def test_wrong_arguments(tmp_path, name, change, options, message):
    image = np.asarray(picture())
    with pytest.raises(ValueError, match=message):
        write_picture(tmp_path / name, change(image) if change else image, **options)
    assert not list(tmp_path.iterdir())


def test_metadata_that_do_not_fit_are_named(read, tmp_path):
    photo = read(saved(picture(), 'PNG', exif=exif(1, 'x' * 70000)), 'x.png')
    with pytest.raises(ValueError, match=r'out\.jpg cannot be written: .*long'):
        write_picture(tmp_path / 'out.jpg', photo.pixels, photo, keep_metadata=True)
    assert [file.name for file in tmp_path.iterdir()] == ['x.png']


def test_conversion_to_srgb():
    pixels = np.array([[[250, 20, 30]]], np.uint8)
    assert np.abs(to_srgb(pixels, srgb_profile()).astype(int) - pixels).max() <= 1
    assert np.abs(to_srgb(pixels, swapped_profile()).astype(int) - pixels[..., ::-1]).max() <= 2
    for profile in (None, b'', b'nothing', cmyk_profile(), srgb_profile()[:200]):
        assert np.array_equal(to_srgb(pixels, profile), pixels)
