"""Picture files with small faults that every viewer passes over, made such that Pillow reads them.

A JPEG file without its end marker, and a PNG file with a fault in a chunk that the pixels do not need. Nothing is
guessed: where pixels are missing, the file stays broken.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

_END = b'\xff\xd9'  # JPEG's EOI
# What no sound scan goes on with: where pixels are missing, a decoder reads these as pixels.
_FILLERS = tuple(bytes((17 + step * k) % 254 + 1 for k in range(4096)) for step in (91, 148))
_PNG_HEAD = b'\x89PNG\r\n\x1a\n'
_TEXTS = (b'tEXt', b'zTXt', b'iTXt')
_LARGEST_TEXT = 1_000_000  # bytes; Pillow refuses more than 1 MiB that was compressed
_PIXELS = (b'IHDR', b'PLTE', b'tRNS', b'IDAT', b'IEND')

Reopen = Callable[[io.BytesIO], Image.Image]


def with_end_marker(content: bytes, reopen: Reopen) -> bytes | None:
    """Return a JPEG file with the end marker that it lacks; None where pixels are missing as well.

    A decoder fills what is missing with zeros and says nothing. So the file is also decoded with other bytes in that
    place: they come behind the last block, where they are passed over, or change pixels.

    Args:
        content: the file.
        reopen: opens a file with Pillow.
    """
    body = content[:-1] if content.endswith(b'\xff') else content
    whole = body + _END
    try:
        pixels = _decoded(whole, reopen)
        if all(np.array_equal(pixels, _decoded(body + filler + _END, reopen)) for filler in _FILLERS):
            return whole
    except MemoryError:
        raise
    except Exception:  # Pillow's plugins raise many kinds on broken files
        pass
    return None


def _decoded(content: bytes, reopen: Reopen) -> np.ndarray:
    with reopen(io.BytesIO(content)) as image:
        return np.asarray(image)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """The chunks of a PNG file: name, data, whether the checksum is right; as far as they go."""
    at = len(_PNG_HEAD)
    while at + 12 <= len(content):
        length, name = struct.unpack('>I4s', content[at:at + 8])
        data = content[at + 8:at + 8 + length]
        checksum = content[at + 8 + length:at + 12 + length]
        if len(checksum) < 4:
            return
        yield name, data, checksum == struct.pack('>I', zlib.crc32(name + data))
        at += 12 + length


def _is_large_text(name: bytes, data: bytes) -> bool:
    if name not in _TEXTS:
        return False
    _, _, rest = data.partition(b'\0')
    if name == b'zTXt':
        packed = rest[1:]
    elif name == b'iTXt' and rest[:1] == b'\1':
        packed = rest[2:].split(b'\0', 2)[-1]
    else:
        return len(data) > _LARGEST_TEXT
    try:
        return len(zlib.decompressobj().decompress(packed, _LARGEST_TEXT + 1)) > _LARGEST_TEXT
    except zlib.error:
        return True  # Pillow takes the text as empty, or stops


def without_bad_chunks(content: bytes, reopen: Reopen) -> tuple[bytes, str] | None:
    """Return a PNG file without the chunks that Pillow stops at, and what was left out, in words; None if none helps.

    First those whose checksum is wrong and texts that are too large; if that does not help, every chunk that the pixels
    do not need; then a transparency of the wrong length too, which viewers pass over. Critical chunks stay.

    Args:
        content: the file.
        reopen: opens a file with Pillow.
    """
    if not content.startswith(_PNG_HEAD):
        return None
    chunks = list(_chunks(content))

    def is_extra(name: bytes) -> bool:
        return bool(name[0] & 0x20)  # PNG, section 5.4: a lower-case first letter is ancillary

    small = [is_extra(name) and (not is_sound or _is_large_text(name, data)) for name, data, is_sound in chunks]
    bare = [is_extra(name) and (name not in _PIXELS or not is_sound) for name, _, is_sound in chunks]
    barest = [is_extra(name) for name, _, _ in chunks]
    for left_out in (small, bare, barest):
        if not any(left_out):
            continue
        kept = [chunk for chunk, out in zip(chunks, left_out, strict=True) if not out]
        mended = _PNG_HEAD + b''.join(_packed(name, data, is_sound) for name, data, is_sound in kept)
        try:
            _decoded(mended, reopen)
        except MemoryError:
            raise
        except Exception:  # as above
            continue
        names = sorted({name.decode('ascii', 'replace') for (name, _, _), out in zip(chunks, left_out, strict=True)
                        if out})
        return mended, ', '.join(names)
    return None


def _packed(name: bytes, data: bytes, is_sound: bool) -> bytes:
    checksum = zlib.crc32(name + data) ^ (0 if is_sound else 1)  # what was wrong stays wrong
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', checksum)
