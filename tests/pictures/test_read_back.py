"""What is written is read back by Pillow and by OpenCV: every format, also at its limits."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.helpers.photo_files import exif, picture, reader, saved, srgb_profile, swapped_profile, xmp
from tgjar_arch.pictures.photo import read_photo
from tgjar_arch.pictures.write import check_fits, write_picture

MEGABYTE = 2**20


@pytest.fixture
def photo(tmp_path):
    return reader(tmp_path)(saved(picture()))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, (height, width, 3), dtype=np.uint8) * 255


def padded(profile: bytes, size: int) -> bytes:
    """A profile with `size` bytes, which do not compress well; a reader passes over those behind its last tag."""
    content = profile + np.random.default_rng(0).bytes(size - len(profile))
    return size.to_bytes(4, 'big') + content[4:]


def opencv(path) -> np.ndarray:
    """The pixels as RGB or grey, with alpha where there is some."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, f'OpenCV cannot read {path}'
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]


def pillow(path) -> np.ndarray:
    with Image.open(path) as image:
        image.load()
        return np.asarray(image)


@pytest.mark.parametrize('suffix, quality, has_alpha', [
    *((suffix, quality, has_alpha) for suffix, quality in (('.png', None), ('.webp', None), ('.webp', 100))
      for has_alpha in (False, True)),
    *((suffix, quality, False) for suffix in ('.jpg', '.jpeg') for quality in (None, 100))])
@pytest.mark.parametrize('is_grey', [False, True])
def test_every_format(photo, tmp_path, suffix, is_grey, has_alpha, quality):
    pixels = np.repeat(photo.pixels[..., 1:2], 3, axis=2) if is_grey else photo.pixels
    alpha = np.random.default_rng(0).integers(0, 256, pixels.shape[:2], dtype=np.uint8) if has_alpha else None
    like = replace(photo, is_grey=is_grey, alpha=alpha, exif=exif(1, 'x').tobytes(), xmp=xmp(''), comment=b'a cup')
    path = tmp_path / f'out{suffix}'
    assert write_picture(path, pixels, like, quality, keep_metadata=True) == ()
    found, other = pillow(path), opencv(path)
    # WebP has no grey; OpenCV reads grey with alpha as colour.
    assert found.ndim == 3 if suffix == '.webp' or has_alpha or not is_grey else found.ndim == 2
    if other.shape != found.shape:
        assert has_alpha and is_grey
        found = found[..., [0, 0, 0, 1]]
    assert np.array_equal(other, found)
    ours = read_photo(path)
    assert (ours.alpha is not None) == has_alpha
    if suffix == '.png' or suffix == '.webp' and quality is None:
        assert np.array_equal(ours.pixels, pixels)
        assert alpha is None or np.array_equal(ours.alpha, alpha)
    else:
        assert np.abs(ours.pixels.astype(float) - pixels).mean() < 4


@pytest.mark.parametrize('is_grey', [False, True])
@pytest.mark.parametrize('quality', [None, 100])
@pytest.mark.parametrize('height, width', [(512, 512), (3, 20000), (20000, 3), (1, 65500)])
def test_noise_as_jpeg(photo, tmp_path, capfd, height, width, quality, is_grey):
    pixels = noise(height, width)
    like = replace(photo, is_grey=is_grey)
    path, before = tmp_path / 'out.jpg', ImageFile.MAXBLOCK
    write_picture(path, pixels, like, quality)
    assert ImageFile.MAXBLOCK == before
    assert np.array_equal(pillow(path), opencv(path)) and opencv(path).shape[:2] == (height, width)
    assert capfd.readouterr().err == ''  # the library says there what stops it


def test_an_ordinary_jpeg_file_is_what_pillow_writes(tmp_path):
    write_picture(tmp_path / 'out.jpg', np.asarray(picture()))
    assert (tmp_path / 'out.jpg').read_bytes() == saved(picture(), quality=95, subsampling='4:4:4', optimize=True)


@pytest.mark.parametrize('size', [MEGABYTE, MEGABYTE + 1, 9 * MEGABYTE])
@pytest.mark.parametrize('suffix', ['.png', '.webp', '.jpg'])
def test_large_profiles(photo, tmp_path, suffix, size):
    like = replace(photo, icc=padded(swapped_profile(), size))
    path = tmp_path / f'out{suffix}'
    check_fits(path, like)
    notes = write_picture(path, like.pixels, like)
    ours = read_photo(path)
    assert ours.warnings == () and opencv(path).shape == ours.pixels.shape
    if suffix != '.png' or size <= MEGABYTE:
        assert ours.icc == like.icc and notes == ()
        return
    assert ours.icc is None
    assert notes == (f'has a colour profile of {size:,} bytes, too large for PNG, so the result is converted to sRGB',)
    assert np.abs(ours.pixels.astype(int) - like.pixels[..., ::-1]).max() <= 3  # red and blue had changed places


def test_a_profile_beyond_the_segments_of_a_jpeg_file(photo, tmp_path):
    like = replace(photo, icc=padded(srgb_profile(), 255 * 65519 + 1))
    check_fits(tmp_path / 'out.jpg', like)
    assert 'too large for JPEG, so the result is converted to sRGB' in write_picture(
        tmp_path / 'out.jpg', like.pixels, like)[0]
    assert read_photo(tmp_path / 'out.jpg').icc is None


def test_a_large_profile_that_is_none_is_left_out_with_a_word(photo, tmp_path):
    like = replace(photo, icc=padded(srgb_profile()[:20], MEGABYTE + 1))
    notes = write_picture(tmp_path / 'out.png', like.pixels, like)
    assert notes == (f'has a colour profile of {MEGABYTE + 1:,} bytes, too large for PNG, so the result has none',)
    assert np.array_equal(read_photo(tmp_path / 'out.png').pixels, like.pixels)


@pytest.mark.parametrize('key', ['xmp', 'exif'])
def test_large_metadata_are_left_out_of_png_with_a_word(photo, tmp_path, key):
    long = xmp('x' * 8_000_000) if key == 'xmp' else exif(1, 'x' * 8_000_000).tobytes()
    path = tmp_path / 'out.png'
    notes = write_picture(path, photo.pixels, replace(photo, **{key: long}), keep_metadata=True)
    assert len(notes) == 1 and f'has {key.upper()} data of 8,000,' in notes[0] and 'the result has none' in notes[0]
    assert np.array_equal(pillow(path), opencv(path)) and getattr(read_photo(path), key) is None


@pytest.mark.parametrize('name, change, message', [
    ('y.webp', {'pixels': np.zeros((16384, 1, 3), np.uint8)}, '1 x 16384, but WEBP holds sides up to 16383'),
    ('y.webp', {'pixels': np.zeros((1, 16384, 3), np.uint8), 'orientation': 6}, '1 x 16384, but WEBP'),
    ('y.jpg', {'pixels': np.zeros((1, 65501, 3), np.uint8)}, '65501 x 1, but JPEG holds sides up to 65500'),
    ('y.jpg', {'alpha': np.zeros((37, 51), np.uint8)}, 'partly transparent, which JPEG cannot hold'),
    ('y.jpg', {'exif': exif(1, 'x' * 70000).tobytes()}, 'cannot be written: .*long'),
    ('y.jpg', {'xmp': xmp('x' * 70000)}, 'cannot be written: .*long'),
    ('y.gif', {}, 'a picture is written as .png'),
])
def test_what_does_not_fit_is_known_before_the_work(photo, tmp_path, name, change, message):
    like = replace(photo, **change)
    with pytest.raises(ValueError, match=message):
        check_fits(tmp_path / name, like, keep_metadata=True)
    with pytest.raises(ValueError, match=message):
        write_picture(tmp_path / name, like.upright(like.pixels), like, keep_metadata=True)
    assert not (tmp_path / name).exists()


def test_what_fits_is_written_nowhere_by_the_check(photo, tmp_path):
    for name in ('a.png', 'a.webp', 'a.jpg'):
        check_fits(tmp_path / name, replace(photo, exif=exif(6).tobytes()), keep_metadata=True)
    assert [file.name for file in tmp_path.iterdir()] == [photo.path.name]
