"""Reading image files of every kind, their quality factor, and writing pictures like them."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tests.helpers.photo_files import cmyk_profile, exif, picture, reader, saved, srgb_profile, xmp, ycck
from tgjar_arch.jpeg.quality import estimate_quality, standard_tables
from tgjar_arch.pictures.photo import open_image, read_photo


@pytest.fixture
def read(tmp_path):
    return reader(tmp_path)


@pytest.mark.parametrize('chroma', ['4:4:4', '4:2:2', '4:2:0'])
@pytest.mark.parametrize('progressive', [False, True])
def test_jpeg_files(read, chroma, progressive):
    content = saved(picture(), quality=7, subsampling=chroma, progressive=progressive)
    photo = read(content)
    assert (photo.format, photo.size, photo.bit_depth, photo.orientation) == ('JPEG', (51, 37), 8, 1)
    assert (photo.jpeg.qf, photo.jpeg.standard_tables) == (7, True)
    assert (photo.jpeg.chroma, photo.jpeg.progressive) == (chroma, progressive)
    assert not photo.is_grey and photo.alpha is photo.icc is photo.exif is photo.xmp is photo.comment is None
    assert photo.pixels.dtype == np.uint8
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(photo.pixels, decoded)


def test_tall_files_are_read_whole(read):
    tall = picture(9, 7).resize((5, 600))
    for mode, kind in (('RGB', 'PNG'), ('CMYK', 'TIFF'), ('P', 'PNG')):
        image = tall.convert(mode)
        assert np.array_equal(read(saved(image, kind)).pixels, np.asarray(image.convert('RGB')))


@pytest.mark.parametrize('sampling, name', [(0x12, '4:4:0'), (0x41, '4:1:1'), (0x42, '4:1:0')])
def test_rare_subsampling_is_named(read, sampling, name):
    content = bytearray(saved(picture(), subsampling='4:4:4'))
    at = content.index(b'\xff\xc0') + 11  # sampling factors of the first component
    assert content[at] == 0x11
    content[at] = sampling
    with open_image(_written(read, bytes(content))) as image:
        from tgjar_arch.pictures.photo import _jpeg_facts
        assert _jpeg_facts(image).chroma == name


def _written(read, content: bytes, name: str = 'x.jpg') -> Path:
    path = read(saved(picture()), name).path
    path.write_bytes(content)
    return path


@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_every_quality_is_found_exactly(read, mode):
    image = picture(8, 8).convert(mode)
    for qf in range(1, 101):
        jpeg = read(saved(image, quality=qf)).jpeg
        assert (jpeg.qf, jpeg.standard_tables) == (qf, True)
    assert (read(saved(image.convert('L'), quality=1)).jpeg.tables == 255).all()


def test_tables_of_16_bits():
    for qf in (1, 5, 20):
        tables = standard_tables(qf, 32767)
        assert tables.max() > 255 and estimate_quality(tables) == (qf, True)


def test_other_tables_get_the_nearest_quality_and_a_flag(read):
    for qf in (10, 40, 80):
        tables = standard_tables(qf).astype(float)
        tables[:, ::2, ::2] *= 1.1
        assert estimate_quality(tables.round())[1] is False
        assert abs(estimate_quality(tables.round())[0] - qf) <= 2
    qf, standard = estimate_quality(np.stack([standard_tables(80)[0], standard_tables(20)[1]]))
    assert not standard and 20 < qf < 80
    flat = read(saved(picture(), qtables=[[3] * 64, [3] * 64])).jpeg
    assert not flat.standard_tables and flat.qf > 90 and (flat.tables == 3).all()


def test_grey_files_stay_known_as_grey(read):
    photo = read(saved(picture().convert('L'), quality=5))
    assert photo.is_grey and photo.jpeg.chroma is None and photo.jpeg.qf == 5
    assert photo.pixels.shape == (37, 51, 3)
    assert np.array_equal(photo.pixels, photo.pixels[..., :1].repeat(3, axis=2))


@pytest.mark.parametrize('make', [lambda image: saved(image.convert('CMYK'), quality=95), ycck], ids=['CMYK', 'YCCK'])
def test_print_colours_are_not_inverted(read, make):
    photo = read(make(picture()))
    assert np.abs(photo.pixels.astype(int) - np.asarray(picture())).mean() < 3
    assert not photo.is_grey and photo.jpeg.chroma == '4:4:4'


def test_ink_is_converted_by_its_profile(read):
    ink = Image.new('CMYK', (16, 16), (255, 0, 0, 0))
    assert read(saved(ink, quality=95)).pixels[0, 0].tolist() == pytest.approx([0, 255, 255], abs=2)
    photo = read(saved(ink, quality=95, icc_profile=cmyk_profile()))
    red, green, blue = photo.pixels[8, 8].tolist()
    assert red > 100 and green < 20 and blue < 20
    assert photo.icc is None
    broken = read(saved(ink, quality=95, icc_profile=b'no profile at all'))
    assert broken.pixels[0, 0].tolist() == pytest.approx([0, 255, 255], abs=2)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_turned_photo_keeps_its_grid_and_is_turned_afterwards(read, orientation):
    content = saved(picture(), quality=20, exif=exif(orientation))
    photo = read(content)
    stored = Image.open(io.BytesIO(content))
    assert photo.orientation == orientation and np.array_equal(photo.pixels, np.asarray(stored))
    upright = ImageOps.exif_transpose(stored)
    assert np.array_equal(photo.upright(photo.pixels), np.asarray(upright)) and photo.size == upright.size
    assert np.array_equal(photo.upright(photo.pixels[..., 0]), np.asarray(upright)[..., 0])


@pytest.mark.parametrize('value', [0, 9, 77])
def test_an_unknown_orientation_is_upright(read, value):
    assert read(saved(picture(), exif=exif(value))).orientation == 1


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data')  # Pillow's
def test_broken_exif_is_no_obstacle(read):
    photo = read(saved(picture(), exif=b'Exif\0\0MM\0*\xff\xff\xff\xff'))
    assert photo.orientation == 1 and photo.pixels.shape == (37, 51, 3)


def test_metadata_are_returned_as_stored(read):
    data, packet = exif(6, 'a cup'), xmp('')
    for kind, name in (('JPEG', 'x.jpg'), ('PNG', 'x.png'), ('WEBP', 'x.webp')):
        extra = {} if kind == 'PNG' else {'xmp': packet}
        photo = read(saved(picture(), kind, icc_profile=srgb_profile(), exif=data, **extra), name)
        assert photo.icc == srgb_profile() and photo.exif == data.tobytes().removeprefix(b'Exif\0\0')
        assert photo.orientation == 6 and photo.xmp == extra.get('xmp')
    assert read(saved(picture(), comment='naïve 🐦')).comment == 'naïve 🐦'.encode()


def test_a_second_picture_inside_a_phones_jpeg_is_left_out(read):
    photo = read(saved(picture(), 'MPO', save_all=True, append_images=[picture().rotate(180)], quality=90))
    assert photo.format == 'JPEG' and photo.jpeg.qf == 90
    assert np.abs(photo.pixels.astype(int) - np.asarray(picture())).mean() < 8


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_sixteen_bits_keep_the_upper_eight(read, suffix):
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, 4), dtype=np.uint16)
    for channels in (1, 3, 4):
        stored = np.squeeze(values[..., :channels])
        photo = read(cv2.imencode(suffix, stored)[1].tobytes(), f'x{suffix}')
        assert photo.bit_depth == 16 and photo.is_grey == (channels == 1) and photo.jpeg is None
        high = (values[..., :channels] >> 8).astype(np.uint8)
        expected = high[..., 2::-1] if channels > 1 else high.repeat(3, axis=2)
        assert np.array_equal(photo.pixels, expected)
        assert (photo.alpha is None) == (channels < 4)
        if channels == 4:
            assert np.array_equal(photo.alpha, high[..., 3])


@pytest.mark.parametrize('kind, name', [('PNG', 'x.png'), ('WEBP', 'x.webp'), ('TIFF', 'x.tif')])
def test_transparency_is_kept_apart(read, kind, name):
    image = picture().convert('RGBA')
    alpha = np.tile(np.arange(51, dtype=np.uint8) * 5, (37, 1))
    image.putalpha(Image.fromarray(alpha))
    photo = read(saved(image, kind, **({'lossless': True, 'exact': True} if kind == 'WEBP' else {})), name)
    assert np.array_equal(photo.alpha, alpha) and np.array_equal(photo.pixels, np.asarray(picture()))


def test_palettes_grey_with_alpha_and_single_bits(read):
    indexed = Image.new('P', (2, 1))
    indexed.putpalette([10, 20, 30, 200, 210, 220])
    indexed.putpixel((1, 0), 1)
    photo = read(saved(indexed, 'PNG', transparency=0), 'x.png')
    assert photo.pixels.tolist() == [[[10, 20, 30], [200, 210, 220]]] and photo.alpha.tolist() == [[0, 255]]
    photo = read(saved(Image.new('LA', (2, 1), (90, 40)), 'PNG'), 'x.png')
    assert photo.is_grey and photo.pixels[0, 0].tolist() == [90] * 3 and photo.alpha[0, 0] == 40
    photo = read(saved(Image.new('1', (2, 1), 1), 'PNG'), 'x.png')
    assert photo.is_grey and photo.bit_depth == 1 and (photo.pixels == 255).all()
    assert read(saved(picture().convert('RGBA'), 'PNG'), 'x.png').alpha is None  # all opaque


@pytest.mark.parametrize('mode, words', [('F', '32-bit floating'), ('I', '32-bit whole'), ('LAB', 'Lab colour')])
def test_pixels_without_an_8_bit_picture_are_refused(read, mode, words):
    image = ImageCms.profileToProfile(picture(), ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'),
                                      outputMode='LAB') if mode == 'LAB' else Image.new(mode, (8, 8))
    with pytest.raises(ValueError, match=rf'x\.tif stores its pixels as {mode} \({words}'):
        read(saved(image, 'TIFF'), 'x.tif')


@pytest.mark.parametrize('kind, name', [('PNG', 'x.png'), ('WEBP', 'x.webp')])
def test_animations_are_refused(read, kind, name):
    with pytest.raises(ValueError, match=r'is an animation of 2 frames; save one of them'):
        read(saved(picture(), kind, save_all=True, append_images=[picture().rotate(180)]), name)


@pytest.mark.parametrize('kind, how', [('JPEG', {}), ('JPEG', {'progressive': True}), ('PNG', {}), ('WEBP', {})])
def test_truncated_files_give_one_clear_line(read, kind, how):
    content = saved(picture(), kind, **how)
    for length in (12, len(content) // 4, len(content) // 2, len(content) - 40):
        with pytest.raises(ValueError, match='is truncated or broken.*; get a complete copy of the file') as error:
            read(content[:length], 'sub.name.bin')
        assert 'sub.name.bin' in str(error.value) and '\n' not in str(error.value)
        assert '_io.' not in str(error.value)


def test_rare_kinds_are_refused_by_name(read):
    content = bytearray(saved(picture()))
    content[content.index(b'\xff\xc0') + 4] = 12
    with pytest.raises(ValueError, match=r'x\.jpg is .* of a rare kind \(as JPEG with 12 bits.* convert it to PNG'):
        read(bytes(content))


@pytest.mark.parametrize('content, message', [
    (b'', 'is empty'), (b'no image', r'is no image that can be read \(JPEG, PNG, WebP'),
    (b'GIF89a' + bytes(40), 'is truncated or broken'), (b'%!PS-Adobe-3.0 EPSF-3.0\n', 'is no image'),
])
def test_what_is_no_image(read, content, message):
    with pytest.raises(ValueError, match=r'x\.jpg ' + message):
        read(content)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.jpg'):
        read_photo(tmp_path / 'none.jpg')
    with pytest.raises(IsADirectoryError):
        read_photo(tmp_path)


def bomb(width: int, height: int) -> bytes:
    """A PNG file of 100 bytes that claims any size."""
    content = b'\x89PNG\r\n\x1a\n'
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    for name, data in ((b'IHDR', header), (b'IDAT', zlib.compress(bytes(9))), (b'IEND', b'')):
        content += struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
    return content


def test_decompression_bombs_are_refused(read, recwarn):
    with pytest.raises(ValueError, match='60000 x 60000 = 3,600,000,000 pixels, more than the limit of 200,000,000'):
        read(bomb(60000, 60000), 'x.png')
    content = saved(picture())
    assert read(content, max_pixels=51 * 37).size == (51, 37)
    with pytest.raises(ValueError, match='more than the limit of 1,886'):
        read(content, max_pixels=51 * 37 - 1)
    limit = Image.MAX_IMAGE_PIXELS  # Pillow's own limit, of 179 million, is neither in the way nor changed
    path = _written(read, bomb(20000, 20000), 'x.png')
    with open_image(path, max_pixels=400_000_000) as image:
        assert image.size == (20000, 20000)
    assert Image.MAX_IMAGE_PIXELS == limit is not None and not recwarn.list


def test_jpegs_that_claim_more_than_they_hold_are_refused(read):
    content = bytearray(saved(picture(), quality=5))
    at = content.index(b'\xff\xc0') + 5
    content[at:at + 4] = struct.pack('>HH', 14000, 14000)
    with pytest.raises(ValueError, match=r'x\.jpg claims 14000 x 14000 pixels, but [\d,]+ bytes of JPEG cannot hold'):
        read(bytes(content))
    # As few bytes as a sound file can have.
    for image, how in ((Image.new('RGB', (2048, 1024), 'red'), {'subsampling': '4:2:0'}),
                       (Image.new('L', (2048, 1024)), {})):
        for progressive in (False, True):
            plain = saved(image, quality=1, optimize=True, progressive=progressive, **how)
            assert len(plain) < 20_000 and read(plain).size == (2048, 1024)


def tiff(bits: int, form: int, samples: int = 3) -> bytes:
    """A sound TIFF file of 2 x 2 pixels: colour where `samples` is 3."""
    entries = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 2 if samples == 3 else 1),
               (273, 4, 1, 200), (277, 3, 1, samples), (278, 3, 1, 2), (279, 4, 1, 4 * samples * bits // 8),
               (339, 3, 1, form)]
    packed = b''.join(struct.pack('<HHI', tag, kind, count) + struct.pack('<I', value)
                      for tag, kind, count, value in entries)
    head = b'II*\0' + struct.pack('<IH', 8, len(entries)) + packed + bytes(4)
    return head.ljust(200, b'\0') + bytes(4 * samples * bits // 8)


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')  # Pillow's, about the half file
@pytest.mark.parametrize(('bits', 'form', 'words'), [
    (32, 3, '32-bit floating point numbers'), (16, 3, '16-bit floating point numbers'), (32, 1, '32-bit whole numbers'),
    (16, 2, '16-bit signed whole numbers')])
def test_tiffs_of_other_samples_are_called_what_they_are(read, bits, form, words):
    with pytest.raises(ValueError, match=rf'x\.tif is a TIFF file of {words}, which has no 8-bit RGB picture; convert'):
        read(tiff(bits, form), 'x.tif')
    with pytest.raises(ValueError, match='is truncated or broken'):
        read(tiff(bits, form)[:40], 'x.tif')


@pytest.mark.filterwarnings('ignore')  # Pillow's, about what it finds in there
def test_no_broken_file_gives_another_kind_of_error(read):
    rng = np.random.default_rng(0)
    small = picture(24, 16)
    files = [saved(small, exif=exif(6, 'x'), icc_profile=srgb_profile()), saved(small, progressive=True),
             saved(small.convert('CMYK')), saved(small, 'PNG', exif=exif(6)), saved(small, 'WEBP', exif=exif(6)),
             saved(small, 'TIFF'), saved(small, 'BMP'), saved(small, 'PPM')]
    read_anyway = 0
    for content in files:
        for _ in range(40):
            broken = bytearray(content)
            for at in rng.integers(0, len(broken), 4):
                broken[at] = rng.integers(0, 256)
            try:
                photo = read(bytes(broken), max_pixels=10 ** 6)
            except ValueError as error:
                assert 'x.jpg' in str(error) and '\n' not in str(error)
            else:
                assert photo.pixels.ndim == 3 and photo.pixels.dtype == np.uint8
                read_anyway += 1
    assert 50 < read_anyway < 300


def test_a_page_of_a_tiff_file_without_its_width_is_named(tmp_path):
    """Found by `make fuzz`: Pillow raises a TypeError where it counts the pages."""
    content = bytearray(saved(picture(), 'TIFF', save_all=True, append_images=[picture()]))
    first = int.from_bytes(content[4:8], 'little')
    entries = int.from_bytes(content[first:first + 2], 'little')
    second = int.from_bytes(content[first + 2 + 12 * entries:][:4], 'little')
    assert content[second + 2:second + 4] == b'\0\1'  # the width, tag 256
    content[second + 2:second + 4] = b'\1\1'
    (tmp_path / 'a.tif').write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.tif is truncated or broken \(Missing dimensions\); get a complete copy'):
        read_photo(tmp_path / 'a.tif')
