"""Files with faults that every viewer passes over are read, with a warning; those whose pixels are missing are not."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.helpers.photo_files import exif, picture, reader, saved, srgb_profile
from tgjar_arch.pictures.captions import find_caption
from tgjar_arch.pictures.photo import Photo
from tgjar_arch.pictures.write import upright_exif


@pytest.fixture
def read(tmp_path):
    return reader(tmp_path)


def chunk(name: bytes, data: bytes, is_sound: bool = True) -> bytes:
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data) ^ (not is_sound))


def with_chunks(content: bytes, *chunks: bytes, before_end: bool = False) -> bytes:
    """A PNG file with chunks behind its header, or behind its pixels."""
    at = content.rindex(b'IEND') - 4 if before_end else 33
    return content[:at] + b''.join(chunks) + content[at:]


def unchanged(photo: Photo, content: bytes) -> bool:
    return np.array_equal(photo.pixels, np.asarray(Image.open(io.BytesIO(content)).convert('RGB')))


@pytest.mark.parametrize('end', [b'', b'\xff', b'\0' * 40, b'\0'], ids=['nothing', 'half', 'zeros', 'zero'])
@pytest.mark.parametrize('how', [{}, {'progressive': True}, {'subsampling': '4:4:4', 'quality': 1}, {'optimize': True}])
def test_a_jpeg_without_its_end_marker_is_whole(read, end, how):
    content = saved(picture(), exif=exif(6), comment='a cup', **how)
    assert content.endswith(b'\xff\xd9')
    photo = read(content[:-2] + end)
    assert unchanged(photo, content) and photo.jpeg is not None and photo.orientation == 6 and photo.comment == b'a cup'
    # Pillow itself is content with enough of anything behind the pixels.
    assert photo.warnings == ('lacks the end marker of a JPEG file, but no pixel',) or len(end) == 40
    assert read(content).warnings == ()


@pytest.mark.parametrize('mode', ['L', 'CMYK'])
def test_also_in_grey_and_cmyk(read, mode):
    content = saved(picture().convert(mode))
    photo = read(content[:-2])
    assert np.array_equal(photo.pixels, read(content).pixels) and len(photo.warnings) == 1


@pytest.mark.parametrize('how', [{}, {'quality': 1}, {'progressive': True}, {'restart_marker_rows': 1}])
def test_pixels_that_are_missing_are_not_made_up(read, how):
    content = saved(picture(), **how)
    for missing in range(8, 60, 4):
        with pytest.raises(ValueError, match='is truncated or broken'):
            read(content[:-2 - missing])


BAD = {
    'checksum': chunk(b'tEXt', b'Comment\0a red cup', is_sound=False),
    'large text': chunk(b'zTXt', b'Raw\0\0' + zlib.compress(bytes(3_000_000))),
    'large international text': chunk(b'iTXt', b'Raw\0\1\0\0\0' + zlib.compress(b'x' * 3_000_000)),
    'resolution cut short': chunk(b'pHYs', bytes(3)),
    'gamma of a wrong length': chunk(b'gAMA', b''),
    'unknown, damaged': chunk(b'vpAg', bytes(9), is_sound=False),
}


@pytest.mark.parametrize('before_end', [False, True], ids=['before the pixels', 'behind them'])
@pytest.mark.parametrize('bad', BAD.values(), ids=BAD)
def test_a_png_with_a_bad_chunk_that_the_pixels_do_not_need(read, bad, before_end, tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text('Description', 'a white cup')
    content = saved(picture(), 'PNG', pnginfo=text, icc_profile=srgb_profile())
    photo = read(with_chunks(content, bad, before_end=before_end), 'x.png')
    assert unchanged(photo, content)
    if photo.warnings:
        assert photo.warnings[0].startswith('has chunks that are damaged or too large (')
        assert bad[4:8].decode() in photo.warnings[0]
    else:
        assert before_end or bad[4:8] in (b'gAMA', b'pHYs')  # which Pillow passes over
    if bad[4:8] in (b'zTXt', b'iTXt', b'vpAg', b'tEXt'):  # the sound ones stay
        assert photo.icc == srgb_profile()
        assert find_caption(tmp_path / 'x.png') == ('a white cup', 'PNG text "Description"')


def test_transparency_stays_and_a_damaged_critical_chunk_is_no_small_fault(read):
    indexed = Image.new('P', (2, 1))
    indexed.putpalette([10, 20, 30, 200, 210, 220])
    content = saved(indexed, 'PNG', transparency=0)
    photo = read(with_chunks(content, BAD['resolution cut short']), 'x.png')
    assert photo.alpha.tolist() == [[0, 0]] and photo.warnings
    at = content.index(b'IDAT') + 4
    broken = content[:at + 3] + bytes([content[at + 3] ^ 255]) + content[at + 4:]
    with pytest.raises(ValueError, match='is truncated or broken'):
        read(with_chunks(broken, BAD['checksum']), 'x.png')


@pytest.mark.parametrize('data', [b'', b'\0\1'], ids=['empty', 'of a grey picture'])
def test_a_transparency_of_the_wrong_length_is_passed_over(read, data):
    content = saved(picture(), 'PNG')
    photo = read(with_chunks(content, chunk(b'tRNS', data)), 'x.png')
    assert unchanged(photo, content) and photo.alpha is None
    assert photo.warnings == ('has chunks that are damaged or too large (tRNS), which are left out',)


def test_a_mended_png_keeps_to_the_limit_of_pixels(read):
    content = with_chunks(saved(picture(), 'PNG'), BAD['checksum'])
    assert read(content, 'x.png', max_pixels=51 * 37).warnings
    with pytest.raises(ValueError, match=r'x\.png'):
        read(content, 'x.png', max_pixels=51 * 37 - 1)


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack('<HHI', tag, kind, count) + value.ljust(4, b'\0')


def tiff(*entries: bytes, gps: tuple[bytes, ...] = ()) -> bytes:
    """EXIF data whose values all stand in their entries."""
    own = len(entries) + bool(gps)
    place = struct.pack('<I', 8 + 2 + 12 * own + 4)
    packed = b''.join(entries) + (entry(0x8825, 4, 1, place) if gps else b'')
    directory = struct.pack('<H', own) + packed + bytes(4)
    return b'II*\0' + struct.pack('<I', 8) + directory + (
        struct.pack('<H', len(gps)) + b''.join(gps) + bytes(4) if gps else b'')


MAKE = entry(0x010F, 2, 4, b'me!\0')
WRONG = {
    'a text as the width': entry(0x0100, 2, 4, b'abc\0'),
    'a text as the resolution': entry(0x011A, 2, 4, b'abc\0'),
    'a text as the place of the thumbnail': entry(0x0201, 2, 4, b'abc\0'),
    'a signed byte as the date': entry(0x0132, 6, 1, b'\xff'),
}


@pytest.mark.filterwarnings('ignore')  # Pillow's
@pytest.mark.parametrize('wrong', WRONG.values(), ids=WRONG)
def test_one_exif_tag_of_a_wrong_type_costs_that_tag_alone(wrong):
    kept = upright_exif(tiff(MAKE, wrong, gps=(entry(1, 2, 2, b'N\0'), entry(2, 2, 4, b'abc\0'))), (51, 37))
    assert kept is not None
    data = Image.Exif()
    data.load(kept)
    assert data[0x010F] == 'me!' and data[0x0112] == 1
    assert data.get_ifd(0x8825)[1] == 'N'


@pytest.mark.filterwarnings('ignore')  # Pillow's
def test_tags_of_a_right_type_all_stay():
    before = exif(6, 'two cups')
    before.get_ifd(0x8769)[0xA002] = 51
    before.get_ifd(0x8825)[1] = 'N'
    data = Image.Exif()
    data.load(upright_exif(before.tobytes(), (37, 51)))
    assert data[0x010E] == 'two cups' and data.get_ifd(0x8769)[0xA002] == 37 and data.get_ifd(0x8825)[1] == 'N'
