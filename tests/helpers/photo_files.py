"""Small image files of every kind that people have, for the tests of reading and writing them."""

import functools
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageCms

from tgjar_arch.pictures.photo import Photo, read_photo


def picture(width: int = 51, height: int = 37) -> Image.Image:
    """A natural image, no mirror image of itself, whose sides are no multiples of 8."""
    with Image.open(Path(skimage.data.__file__).parent / 'coffee.png') as image:
        return image.convert('RGB').crop((150, 60, 150 + width, 60 + height))


def saved(image: Image.Image, kind: str = 'JPEG', **how) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def exif(orientation: int | None = None, description: str | None = None) -> Image.Exif:
    data = Image.Exif()
    if orientation is not None:
        data[0x0112] = orientation
    if description is not None:
        data[0x010E] = description.encode()
    return data


def xmp(inner: str, attributes: str = '') -> bytes:
    """An XMP packet with `inner` in its rdf:Description."""
    return ('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
            'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
            f'{attributes}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>').encode()


def described(text: str, language: str = 'x-default') -> bytes:
    return xmp(f'<dc:description><rdf:Alt><rdf:li xml:lang="{language}">{text}</rdf:li></rdf:Alt></dc:description>')


@functools.cache  # it holds the time it was made at
def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


@functools.cache  # it holds the time it was made at
def swapped_profile() -> bytes:
    """An RGB profile in which red and blue have changed places."""
    content = bytearray(srgb_profile())
    count = struct.unpack('>I', content[128:132])[0]
    for at in range(132, 132 + 12 * count, 12):
        content[at:at + 4] = {b'rXYZ': b'bXYZ', b'bXYZ': b'rXYZ'}.get(bytes(content[at:at + 4]), content[at:at + 4])
    return bytes(content)


def cmyk_profile(lab_of_ink: tuple[int, int, int] = (136, 208, 195)) -> bytes:
    """A CMYK profile in which paper is white, and any full ink has one colour (8-bit L*, a*, b*; the default is red).

    One tag, `A2B0` of type lut8 (ICC.1:2022, section 10.11), with two grid points a channel.
    """
    identity = bytes(range(256))
    matrix = struct.pack('>9i', *(65536 * (k % 4 == 0) for k in range(9)))
    grid = bytes([255, 128, 128]) + bytes(lab_of_ink) * 15
    lut = b'mft1' + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + grid + identity * 3
    white = b'XYZ ' + bytes(4) + struct.pack('>3i', 63190, 65536, 54061)
    text = b'text' + bytes(4) + b'test\0\0\0\0'
    tags, offset, table = [(b'desc', text), (b'cprt', text), (b'wtpt', white), (b'A2B0', lut)], 128 + 4 + 12 * 4, b''
    for name, data in tags:
        table += struct.pack('>4sII', name, offset, len(data))
        offset += len(data) + -len(data) % 4
    body = struct.pack('>I', len(tags)) + table + b''.join(data + bytes(-len(data) % 4) for _, data in tags)
    header = struct.pack('>I4sI4s4s4s12s4s4s', 128 + len(body), bytes(4), 0x02400000, b'prtr', b'CMYK', b'Lab ',
                         bytes(12), b'acsp', bytes(4))
    header += bytes(68 - len(header)) + struct.pack('>3i', 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + body


def ycck(image: Image.Image) -> bytes:
    """The YCCK file of an RGB image, as Photoshop writes it: inverted, transform 2 in Adobe's marker; no black."""
    inks = Image.fromarray(255 - np.asarray(image))  # C, M, Y; stored inverted and, by the format, inverted again
    parts = [255 - np.asarray(inks.convert('YCbCr'))[..., k] for k in range(3)]
    black = np.zeros(parts[0].shape, np.uint8)
    planes = Image.merge('CMYK', [Image.fromarray(np.ascontiguousarray(plane)) for plane in (*parts, black)])
    content = bytearray(saved(planes, quality=95, subsampling='4:4:4'))
    at = content.index(b'Adobe') + 11
    assert content[at] == 0
    content[at] = 2
    return bytes(content)


def reader(folder: Path) -> Callable[..., Photo]:
    """Return `read(content, name='x.jpg', **options)`, which writes the file to the folder and reads it as a photo."""

    def read(content: bytes, name: str = 'x.jpg', **options) -> Photo:
        (folder / name).write_bytes(content)
        return read_photo(folder / name, **options)

    return read
