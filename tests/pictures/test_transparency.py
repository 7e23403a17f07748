"""The transparent colour of PNG files without an alpha channel, of every number of bits; and deep grey maps."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tgjar_arch.pictures.arrays import open_picture
from tgjar_arch.pictures.photo import read_photo
from tgjar_arch.pictures.write import write_picture


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def png(samples: np.ndarray, bits: int, key: np.ndarray) -> bytes:
    """A PNG file (H, W, 1) or (H, W, 3) of `bits` a sample, with a transparent colour."""
    height, width, channels = samples.shape
    head = struct.pack('>IIBBBBB', width, height, bits, {1: 0, 3: 2}[channels], 0, 0, 0)
    rows = b''
    for row in samples.reshape(height, -1):
        bitten = (row[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)  # most significant bit first
        rows += b'\0' + np.packbits(bitten).tobytes()
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'tRNS', key.astype('>u2').tobytes())
            + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


def samples(bits: int, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples, a colour of them, and the alpha that it makes; another colour has the same upper bits."""
    values = np.random.default_rng(bits).integers(0, 2**bits, (9, 7, channels), dtype=np.uint16)
    key = values[3, 4].copy()
    values[5:8, 2:5] = key
    values[8, 6] = key
    values[8, 6, 0] ^= 1
    return values, key, np.where((values == key).all(2), 0, 255)


@pytest.mark.parametrize('bits, channels', [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_the_transparent_colour_is_kept(tmp_path, bits, channels):
    values, key, alpha = samples(bits, channels)
    (tmp_path / 'a.png').write_bytes(png(values, bits, key))
    photo = read_photo(tmp_path / 'a.png')
    assert photo.bit_depth == bits and photo.is_grey == (channels == 1)
    assert np.array_equal(photo.alpha, alpha)
    assert np.array_equal(photo.pixels[..., :channels], values >> 8 if bits == 16 else values * (255 // (2**bits - 1)))
    write_picture(tmp_path / 'b.png', photo.pixels, photo)
    assert np.array_equal(read_photo(tmp_path / 'b.png').alpha, alpha)


@pytest.mark.parametrize('bits', [2, 4, 16])
def test_of_an_image_that_a_program_has_opened_too(tmp_path, bits):
    values, key, alpha = samples(bits, 1)
    (tmp_path / 'a.png').write_bytes(png(values, bits, key))
    with Image.open(tmp_path / 'a.png') as image:
        assert np.array_equal(open_picture(image, 'the test').alpha, alpha)


def test_of_16_bit_colour_a_program_has_the_upper_bits(tmp_path):
    values, key, alpha = samples(16, 3)
    (tmp_path / 'a.png').write_bytes(png(values, 16, key))
    alpha[8, 6] = 0
    with Image.open(tmp_path / 'a.png') as image:
        assert np.array_equal(open_picture(image, 'the test').alpha, alpha)


def test_a_colour_that_no_pixel_has_leaves_the_picture_opaque(tmp_path):
    for bits, channels in ((4, 1), (16, 1), (16, 3)):
        values, key, _ = samples(bits, channels)
        other = key ^ 1
        values[(values == other).all(2)] = key
        (tmp_path / 'a.png').write_bytes(png(values, bits, other))
        assert read_photo(tmp_path / 'a.png').alpha is None


@pytest.mark.parametrize('kind, channels', [(b'P5', 1), (b'P6', 3), (b'P2', 1), (b'P3', 3)])
@pytest.mark.parametrize('largest', [100, 255, 1023, 65535])
def test_grey_and_colour_maps_of_more_bits(tmp_path, kind, channels, largest):
    values = np.random.default_rng(0).integers(0, largest + 1, (5, 7, channels), dtype=np.uint16)
    data = ' '.join(map(str, values.ravel())).encode() if kind in b'P2P3' else values.astype(
        '>u2' if largest > 255 else 'u1').tobytes()
    path = tmp_path / 'x.pgm'
    path.write_bytes(kind + b'\n7 5\n%d\n' % largest + data)
    photo = read_photo(path)
    assert (photo.format, photo.is_grey, photo.alpha) == ('PPM', channels == 1, None)
    assert photo.bit_depth == max(8, largest.bit_length())
    assert np.abs(photo.pixels[..., :channels] - values * (255 / largest)).max() < 1
    with Image.open(path) as image:
        assert np.array_equal(open_picture(image, 'the test').pixels, photo.pixels)
