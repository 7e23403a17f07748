"""Metadata segments of a JPEG file, added without touching its compressed pixels (ITU-T T.81, section B.1.1.4).

Pillow writes the same bytes (`save(exif=..., icc_profile=..., comment=...)`), but not always: its encoder's buffer
holds 64 KiB, or the EXIF data or the colour profile if that is longer, and libjpeg cannot pause within a segment. A
small picture with 60,000 bytes of EXIF data (makers' notes and a thumbnail) and a colour profile then fails with
"broken data stream" as soon as its caption has some thousand bytes; so does a caption of 65,533 bytes, which a segment
can hold.
"""

import struct

MAX_PAYLOAD = 65533  # the length field has 16 bits and counts itself
_SOI, _APP0, _APP1, _APP2, _COM = b'\xff\xd8', b'\xff\xe0', b'\xff\xe1', b'\xff\xe2', b'\xff\xfe'
_EXIF, _ICC = b'Exif\0\0', b'ICC_PROFILE\0'


def add_segments(content: bytes, exif: bytes | None = None, icc: bytes | None = None,
                 comment: bytes | None = None) -> bytes:
    """Return a JPEG file with metadata, which are written behind the JFIF header, where all readers look.

    Args:
        content: a JPEG file, as `tgjar_arch.jpeg.codec.encode` returns it.
        exif: TIFF structure, with or without the signature `Exif\\0\\0`.
        icc: colour profile; a long one goes into several segments, as the ICC says (ICC.1:2022, annex B.4).
        comment: text, in any encoding.

    Raises:
        ValueError: when `content` is no JPEG file, or a text is too long for its segment.
    """
    if not content.startswith(_SOI):
        raise ValueError('segments can be added to a JPEG file only, which begins with FF D8.')
    at = len(_SOI)
    if content[at:at + 2] == _APP0:
        at += 2 + struct.unpack('>H', content[at + 2:at + 4])[0]
    added = b''
    if exif:
        added += _segment(_APP1, _EXIF + exif.removeprefix(_EXIF), 'the EXIF data')
    if icc:
        size = MAX_PAYLOAD - len(_ICC) - 2
        parts = [icc[start:start + size] for start in range(0, len(icc), size)]
        if len(parts) > 255:
            raise ValueError(f'the colour profile has {len(icc):,} bytes, more than a JPEG file can hold.')
        for number, part in enumerate(parts, start=1):
            added += _segment(_APP2, _ICC + bytes([number, len(parts)]) + part, 'the colour profile')
    if comment:
        added += _segment(_COM, comment, 'the comment')
    return content[:at] + added + content[at:]


def _segment(marker: bytes, payload: bytes, what: str) -> bytes:
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f'{what} has {len(payload):,} bytes, but a JPEG segment holds {MAX_PAYLOAD:,} at most; '
                         'shorten it or leave it out.')
    return marker + struct.pack('>H', len(payload) + 2) + payload
