"""Captions in and beside image files: where they are found, in which order, and what is none."""

import logging
import os
import struct
import time
import unicodedata
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from tests.helpers.photo_files import described, exif, picture, saved, xmp
from tgjar_arch.jpeg.segments import add_segments
from tgjar_arch.pictures.captions import (
    MAX_XMP_BYTES,
    decode,
    find_caption,
    find_captions,
    is_caption,
    own_captions,
    xmp_description,
)
from tgjar_arch.text.caption_files import Misfit
from tgjar_arch.text.cleaning import clean
from tgjar_arch.text.encodings import SPACES, UNKNOWN

LONG = ' '.join(f'"word{k}" & <tag> 🐦' for k in range(450))  # 1,350 words


@pytest.fixture
def write(tmp_path):
    """Return `write(content, name='x.jpg')`, which writes a file and returns its path."""

    def write(content: bytes, name: str = 'x.jpg'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def png_text(**texts) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        (info.add_itxt if not text.isascii() else info.add_text)(key, text)
    return saved(picture(8, 8), 'PNG', pnginfo=info)


@pytest.mark.parametrize('text', ['a red bird', 'ein Vögelchen "am" Ast', '一只小黄鸟', LONG[:60000],
                                  'a 🦜 and a 👩‍🚀 🏴󠁧󠁢󠁥󠁮󠁧󠁿'])
def test_jpeg_comments(write, text):
    path = write(add_segments(saved(picture()), comment=text.encode()))
    assert list(own_captions(path)) == [(text, 'JPEG comment')]


def test_comments_in_latin_1(write):
    assert find_caption(write(saved(picture(), comment='ein Vögelchen'.encode('latin-1')))).text == 'ein Vögelchen'
    assert decode(b'\xef\xbb\xbfa cup\0\0') == 'a cup'
    assert decode(bytes(range(256))) == ''  # binary data is no text in Latin-1


def test_the_first_of_several_comments_that_is_one(write):
    content = add_segments(saved(picture()), comment=b'a second comment')
    content = add_segments(content, comment=b'a first comment')
    content = add_segments(content, comment=b'CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90\n')
    assert [text for text, _ in own_captions(write(content))] == ['a first comment', 'a second comment']


@pytest.mark.parametrize('kind, name', [('JPEG', 'x.jpg'), ('WEBP', 'x.webp'), ('TIFF', 'x.tif')])
def test_xmp_before_exif(write, kind, name):
    both = {'xmp': described('from &lt;XMP&gt; &amp; co')} if kind != 'TIFF' else {
        'tiffinfo': {700: described('from &lt;XMP&gt; &amp; co'), 270: 'from EXIF'}}
    if kind != 'TIFF':
        both['exif'] = exif(description='from EXIF')
    path = write(saved(picture(), kind, **both), name)
    assert list(own_captions(path)) == [('from <XMP> & co', 'XMP description'), ('from EXIF', 'EXIF description')]


def test_png_texts_after_xmp_and_in_their_order(write):
    path = write(png_text(Comment='c', Software='s', caption='b', Description='a 鳥', Title='t'), 'x.png')
    assert list(own_captions(path)) == [('a 鳥', 'PNG text "Description"'), ('b', 'PNG text "caption"'),
                                        ('c', 'PNG text "Comment"')]
    info = PngImagePlugin.PngInfo()
    info.add_itxt('XML:com.adobe.xmp', described('from XMP').decode())
    info.add_text('Description', 'from the text', zip=True)
    path = write(saved(picture(), 'PNG', pnginfo=info, exif=exif(description='from EXIF')), 'y.png')
    assert [text for text, _ in own_captions(path)] == ['from XMP', 'from EXIF', 'from the text']


def test_png_texts_behind_the_pixels_and_in_utf_8(write):
    info = PngImagePlugin.PngInfo()
    info.add_text('Description', 'ein Vögelchen'.encode())  # UTF-8 in tEXt, which is against the standard and common
    info.add_text('Comment', 'Größe'.encode('latin-1'))
    content = saved(picture(), 'PNG', pnginfo=info)
    start = content.index(b'tEXt') - 4
    end = content.index(b'IDAT') - 4
    behind = content[:start] + content[end:-12] + content[start:end] + content[-12:]
    for name, file in (('x.png', content), ('y.png', behind)):
        assert [text for text, _ in own_captions(write(file, name))] == ['ein Vögelchen', 'Größe']


def test_exif_in_utf_8(write):
    assert find_caption(write(saved(picture(), exif=exif(description='ein Vögelchen')))) == ('ein Vögelchen',
                                                                                            'EXIF description')


@pytest.mark.parametrize('text', [
    'OLYMPUS DIGITAL CAMERA         ', 'SAMSUNG DIGITAL CAMERA', 'KODAK Digital Still Camera', 'SONY DSC',
    'Exif_JPEG_PICTURE', r'DCIM\100MEDIA\DJI_0012.JPG', 'Created with GIMP', 'Created with The GIMP',
    'Created with GIMP on a Mac', 'CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90', 'Lavc58.134.100',
    'AppleMark', 'Intel(R) JPEG Library, version 1,5,4,36', 'LEAD Technologies Inc. V1.01',
    'File written by Adobe Photoshop® 4.0', 'Optimized by JPEGmini 3.13', 'Compressed by jpeg-recompress',
    'Processed By eBay with ImageMagick, z1.1.0. ||B2', 'JPEG Encoder Copyright 1998, James R. Weeks', '***', ' - ',
    'FBMD23000969010000', 'charset="Ascii"', 'ASCII', '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJ', '',
    'GIMP', 'Picasa', 'Screenshot', 'Screenshot_2021-03-04-12-30-01', 'Screenshot 2021-03-04 at 12.30.01',
    'DSC_1234.JPG', 'IMG_2021', 'IMG_20210304_123001', 'DSCN0012', 'P1010023', 'Adobe Photoshop CC',
    'Adobe Photoshop CS6 (Windows)',
    'sdr_HDRB', 'oplus_0', 'untitled', 'Untitled-1', 'bird.jpg', r'C:\pictures\birds\one', '/home/me/pictures/one',
    'd41d8cd98f00b204e9800998ecf8427e', '123e4567-e89b-12d3-a456-426614174000',
])
def test_boilerplate_is_no_caption(write, text):
    assert not is_caption(clean(text))
    path = write(saved(picture(), comment=text, exif=exif(description=text)))
    assert find_caption(path) == ('', 'none')


@pytest.mark.parametrize('text', [
    'an OLYMPUS DIGITAL CAMERA on a table', 'a digital camera', 'the default', 'default',
    'a_small_yellow_bird_with_a_black_cap_on_1_Branch',
    'Donaudampfschiffahrtselektrizitätenhauptbetriebswerk', 'Donaudampfschiffahrtselektrizitaetenhauptbetriebswerk',
    'a screenshot of a map', 'Screenshot of a game', 'Adobe Photoshop on a laptop', 'P 3 birds', 'Picasa and Monet',
    'black/white', 'a coffee',  '🐦', '一只小黄鸟', 'x', '3 birds',
    'a bird, created with GIMP', 'Sony', '"quoted"', LONG])
def test_captions_that_look_a_little_like_it(text):
    assert is_caption(text) and clean(text) == text


def test_what_drones_write_everywhere_is_a_caption_in_a_comment(write):
    metadata = {'exif': exif(description='default'), 'xmp': described('default')}
    assert find_caption(write(saved(picture(), **metadata))) == ('', 'none')
    assert find_caption(write(saved(picture(), comment='default', **metadata))) == ('default', 'JPEG comment')


def test_long_texts_are_judged_at_once():
    started = time.monotonic()
    for part in ('Adobe Photoshop (x)', ' ()', ' (1 ', '1', 'IMG_123', 'IMG_1 2-', '/a', 'aA1', 'Screenshot 1.1 at',
                 'x.jpg', 'a' * 30 + '-', 'created by ', ' 1.'):
        for start in ('', 'Adobe Photoshop', 'IMG_', 'Screenshot 1', 'untitled'):
            assert is_caption(start + part * 5000 + ' !x')
    assert time.monotonic() - started < 3


def test_cleaning():
    assert clean(' a\r\n\tred\u00a0 \u2028bird\x00\x07\x9b\ufeff ') == 'a red bird'
    assert clean('\u202egnp.drib\u202c \u2066x\u2069 \ud800y\ufffdz') == 'gnp.drib x y z'
    assert clean('👩\u200d🚀') == '👩\u200d🚀'
    assert clean('\x00\n') == ''


@pytest.mark.parametrize('inner, expected', [
    ('<dc:description><rdf:Alt><rdf:li xml:lang="de">ein Vogel</rdf:li><rdf:li xml:lang="x-default">a bird</rdf:li>'
     '</rdf:Alt></dc:description>', 'a bird'),
    ('<dc:description><rdf:Alt><rdf:li xml:lang="de">ein Vogel</rdf:li><rdf:li xml:lang="en-GB">a bird</rdf:li>'
     '</rdf:Alt></dc:description>', 'a bird'),
    ('<dc:description><rdf:Alt><rdf:li xml:lang="x-default"> </rdf:li><rdf:li xml:lang="de">ein Vogel</rdf:li>'
     '</rdf:Alt></dc:description>', 'ein Vogel'),
    ('<dc:description><rdf:Alt><rdf:li>a &#x1F426; bird</rdf:li></rdf:Alt></dc:description>', 'a 🐦 bird'),
    ('<dc:description>a bird</dc:description>', 'a bird'),
    ('<dc:title><rdf:Alt><rdf:li xml:lang="x-default">no</rdf:li></rdf:Alt></dc:title>', ''),
    ('<dc:description/><dc:subject><rdf:Bag><rdf:li>no</rdf:li></rdf:Bag></dc:subject>', ''),
    ('<dc:description>mine</dc:description><x><dc:description>of an ingredient</dc:description></x>', 'mine'),
])
def test_xmp(inner, expected):
    assert xmp_description(xmp(inner)) == expected
    assert xmp_description(xmp(inner).decode().encode('utf-16')) == expected


def test_xmp_in_its_short_form():
    assert xmp_description(xmp('', 'dc:description="a bird"')) == 'a bird'
    renamed = described('a bird').replace(b'dc:', b'q:').replace(b'xmlns:dc', b'xmlns:q')
    assert xmp_description(renamed) == 'a bird'
    other = described('a bird').replace(b'http://purl.org/dc/elements/1.1/', b'http://example.org/')
    assert xmp_description(other) == ''


def test_xmp_cannot_expand_entities_or_read_files(write, tmp_path):
    (tmp_path / 'secret').write_text('a secret')
    entities = ''.join(f'<!ENTITY e{k + 1} "{f"&e{k};" * 10}">' for k in range(9))
    for declaration in (f'<!ENTITY e0 "lol">{entities}', f'<!ENTITY e9 SYSTEM "file://{tmp_path}/secret">', ''):
        packet = described('&e9;' if declaration else 'a bird').split(b'?>', 1)[1]
        assert declaration or xmp_description(packet) == 'a bird'
        document = f'<!DOCTYPE x [{declaration}]>'.encode() + packet
        started = time.monotonic()
        assert xmp_description(document) == ''
        assert time.monotonic() - started < 1
        path = write(saved(picture(), xmp=document, exif=exif(description='from EXIF')))
        assert find_caption(path).source == 'EXIF description'


@pytest.mark.parametrize('packet', [
    b'', b'<', b'<x:xmpmeta', b'\xff\xfe\x00', described('a')[:-60], b'\0' * 99,
    b'<?xml version="1.0" encoding="x"?><a/>', described('a' * MAX_XMP_BYTES), b'<a>' * 10000])
def test_broken_or_huge_xmp_is_none(packet):
    assert xmp_description(packet) == ''


def test_the_order_of_sources(write, tmp_path):
    auto = {'calls': 0}

    def captioner(path):
        auto['calls'] += 1
        return f' described\n{path.name} '

    path = write(saved(picture(), comment='its own'), 'sub/x.y.jpg')
    (tmp_path / 'metadata.jsonl').write_text('{"file_name": "sub/x.y.png", "captions": ["of the metadata", "b"]}\n')
    sidecar = write('\ufeff\n  from the\tsidecar \nsecond\n'.encode(), 'sub/x.y.txt')
    assert find_caption(path, ' given\n', tmp_path, captioner) == ('given', '--caption')
    assert find_caption(path, '', tmp_path, captioner) == ('', '--caption')
    assert find_caption(path, None, tmp_path, captioner) == ('its own', 'JPEG comment')
    write(saved(picture()), 'sub/x.y.jpg')
    assert find_caption(path, None, tmp_path, captioner) == ('from the sidecar', 'x.y.txt')
    sidecar.write_text(' \n')
    assert find_caption(path, None, tmp_path, captioner) == ('of the metadata', 'metadata.jsonl')
    assert find_caption(str(path), root=str(tmp_path)).text == 'of the metadata'
    assert auto['calls'] == 0
    assert find_caption(path, auto=captioner) == ('described x.y.jpg', 'captioner')  # the root is sub/ then
    assert find_caption(path) == ('', 'none')
    assert find_caption(path, auto=lambda path: '') == ('', 'none')


def test_metadata_names_count_from_the_root(write, tmp_path, monkeypatch):
    path = write(saved(picture()), 'a/b/x.jpg')
    write(b'{"file_name": "./x.jpg", "text": "one"}', 'a/b/metadata.jsonl')
    write(b'{"file_name": "b/x.webp", "captions": ["two"]}', 'a/metadata.jsonl')
    assert find_caption(path).text == 'one'
    # The nearest counts, as far as the root.
    assert find_caption(path, root=tmp_path / 'a').text == find_caption(path, root=tmp_path).text == 'one'
    write(b'{"file_name": "other.jpg", "text": "one"}', 'a/b/metadata.jsonl')
    assert find_caption(path) == ('', 'none')
    assert find_caption(path, root=tmp_path / 'a').text == find_caption(path, root=tmp_path).text == 'two'
    assert find_caption(path, root=tmp_path / 'c') == ('', 'none')
    monkeypatch.chdir(tmp_path / 'a')
    assert find_caption('b/x.jpg', root='.').text == 'two'
    write(b'{"file_name": "b/x.webp", "captions": ["changed"]}', 'a/metadata.jsonl')
    assert find_caption(path, root=tmp_path / 'a').text == 'changed'
    write(b'{"file_name": 5}', 'a/metadata.jsonl')
    misfits = []
    assert find_caption(path, root=tmp_path / 'a', tell=misfits.append) == ('', 'none')
    assert 'line 1: expected an object with "file_name", but got {"file_name": 5}; it is left out.' in str(misfits[1])



def test_a_thousand_lines_of_metadata_are_read_once(write, tmp_path, monkeypatch):
    import tgjar_arch.pictures.captions as module
    calls = []
    read = module.read_metadata
    monkeypatch.setattr(module, 'read_metadata',
                        lambda path, tell, strict: calls.append(path) or read(path, tell, strict))
    content = saved(picture(8, 8))
    paths = [write(content, f'{k}.jpg') for k in range(30)]
    lines = [b'{"file_name": "%d.jpg", "captions": ["bird %d"]}' % (k, k) for k in range(1000)]
    write(b'\n'.join(lines), 'metadata.jsonl')
    assert [find_caption(path).text for path in paths] == [f'bird {k}' for k in range(30)]
    assert len(calls) == 1


def test_a_broken_image_has_no_caption_of_its_own(write, tmp_path):
    write(b'beside it', 'x.txt')
    for content in (b'', b'no image', saved(picture(), comment='lost')[:30]):
        assert find_caption(write(content)) == ('beside it', 'x.txt')
    content = saved(picture(), comment='too many pixels')
    assert find_caption(write(content), max_pixels=100) == ('beside it', 'x.txt')
    with pytest.raises(ValueError, match='more than the limit of 100'):
        list(own_captions(tmp_path / 'x.jpg', max_pixels=100))
    os.remove(tmp_path / 'x.jpg')
    assert find_caption(tmp_path / 'x.jpg').text == 'beside it'


UTF_8 = (1, 90, b'\x1b%G')


def iim(*data_sets: tuple[int, int, bytes]) -> bytes:
    """IPTC-IIM 4.2, section 1.5: each data set is 1C, record, number, length, content."""
    return b''.join(struct.pack('>BBBH', 0x1C, record, number, len(content)) + content
                    for record, number, content in data_sets)


def app13(*data_sets: tuple[int, int, bytes]) -> bytes:
    """A JPEG file with IPTC data in Photoshop's image resource 0404."""
    content = iim(*data_sets)
    resource = b'8BIM\x04\x04\0\0' + struct.pack('>I', len(content)) + content + b'\0' * (len(content) % 2)
    payload = b'Photoshop 3.0\0' + resource
    file = saved(picture())
    return file[:2] + b'\xff\xed' + struct.pack('>H', len(payload) + 2) + payload + file[2:]


@pytest.mark.parametrize(('data_sets', 'text'), [
    ([UTF_8, (2, 120, 'ein Vögelchen, 一只小黄鸟'.encode())], 'ein Vögelchen, 一只小黄鸟'),
    ([(2, 120, 'ein Vögelchen'.encode('latin-1'))], 'ein Vögelchen'),
    ([(2, 120, 'ein Vögelchen'.encode())], 'ein Vögelchen'),  # many programs do not say that it is UTF-8
    ([(2, 120, 'a bird’s beak'.encode('cp1252'))], 'a bird’s beak'),
    ([UTF_8, (2, 120, 'Vögel'.encode()[:2])], 'V'),  # cut within a character
    ([(2, 120, b'a red\rbird'), (2, 120, b'another')], 'a red bird'),
    ([(2, 0, b'\0\x02'), (2, 25, b'key'), (2, 25, b'word'), (2, 120, b'a bird')], 'a bird'),
])
def test_iptc_captions(write, data_sets, text):
    assert find_caption(write(app13(*data_sets))) == (text, 'IPTC caption')


def test_iptc_in_tiff(write):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[TiffImagePlugin.IPTC_NAA_CHUNK] = 7
    tags[TiffImagePlugin.IPTC_NAA_CHUNK] = iim(UTF_8, (2, 120, 'ein Vögelchen'.encode()))
    path = write(saved(picture(), 'TIFF', tiffinfo=tags), 'x.tif')
    assert find_caption(path) == ('ein Vögelchen', 'IPTC caption')


def test_iptc_after_exif_and_titles_last(write):
    with_iptc = app13((2, 5, b'a title'), (2, 105, b'a headline'), (2, 120, b'from IPTC'))
    path = write(add_segments(with_iptc, exif=exif(description='from EXIF').tobytes(), comment=b'a comment'))
    assert list(own_captions(path)) == [
        ('a comment', 'JPEG comment'), ('from EXIF', 'EXIF description'), ('from IPTC', 'IPTC caption'),
        ('a headline', 'IPTC headline'), ('a title', 'IPTC title')]


def test_titles_only_where_nothing_else_says_anything(write):
    path = write(app13((2, 5, b'Lake Tahoe')))
    assert find_caption(path, auto=lambda path: 'seen') == ('Lake Tahoe', 'IPTC title')
    write(b'{"file_name": "x.jpg", "text": "listed"}', 'metadata.jsonl')
    assert find_caption(path).text == 'listed'
    write(b'beside it', 'x.txt')
    assert find_caption(path).text == 'beside it'
    assert find_caption(write(app13((2, 5, b'DSC_0123'), (2, 105, b'Untitled')), 'y.jpg')) == ('', 'none')


@pytest.mark.parametrize('content', [
    b'', b'\x1c', b'\x1c\x02x\xff', b'no IPTC', iim((2, 120, b'')), b'\x1c\x02\x78\x80\x04\x7f\xff\xff\xffx',
    iim((3, 60, b''), (8, 10, b'x'))])
def test_broken_iptc_is_none(write, content):
    file = app13((2, 120, b'?' * len(content))).replace(iim((2, 120, b'?' * len(content))), content)
    assert find_caption(write(file)) == ('', 'none')


def test_windows_comments(write):
    """Explorer writes its comments in UTF-16 into XPComment."""
    data = Image.Exif()
    data[0x9C9C] = 'ein Vögelchen 鳥'.encode('utf-16-le') + b'\0\0'
    assert find_caption(write(saved(picture(), exif=data))) == ('ein Vögelchen 鳥', 'EXIF XPComment')


@pytest.mark.parametrize('content', ['a bird’s “beak”'.encode('cp1252'), 'a bird’s “beak”'.encode('utf-16'),
                                     'a bird’s “beak”'.encode('utf-16-le') + b'\0\0'])
def test_comments_of_windows_programs(write, content):
    assert find_caption(write(add_segments(saved(picture()), comment=content))) == ('a bird’s “beak”', 'JPEG comment')


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be'])
def test_encodings_of_files_beside(write, encoding):
    path = write(saved(picture()))
    write('{"file_name": "x.jpg", "caption": "listed ö"}'.encode(encoding), 'metadata.jsonl')
    assert find_caption(path) == ('listed ö', 'metadata.jsonl')
    write('ein Vögelchen\n'.encode(encoding), 'x.txt')
    assert find_caption(path) == ('ein Vögelchen', 'x.txt')


@pytest.mark.parametrize(('image', 'text'), [('X.JPG', 'X.TXT'), ('x.jpg', 'x.TXT'), ('x.jpg', 'x.jpg.txt'),
                                             ('X.JPG', 'X.JPG.TXT')])
def test_names_of_sidecars(write, image, text):
    path = write(saved(picture(8, 8)), image)
    write(b'found', text)
    assert find_caption(path) == ('found', text)


def test_the_order_of_files_beside(write):
    path = write(saved(picture(8, 8)))
    order = ['x.txt', 'x.TXT', 'x.jpg.txt', 'metadata.jsonl', 'metadata.csv']
    contents = {'metadata.jsonl': b'{"file_name": "x.jpg", "text": "one"}',
                'metadata.csv': b'file_name,text\nx.jpg,one'}
    for name in order:
        write(contents.get(name, b'one'), name)
    for name in order:
        assert find_caption(path) == ('one', name)
        os.remove(path.with_name(name))
    assert find_caption(path) == ('', 'none')


def test_a_sidecar_of_the_whole_name_is_of_that_file(write):
    jpeg, png = write(saved(picture(8, 8))), write(saved(picture(8, 8), 'PNG'), 'x.png')
    write(b'of the JPEG file', 'x.jpg.txt')
    assert find_caption(jpeg).text == 'of the JPEG file'
    assert find_caption(png) == ('', 'none')
    (jpeg.parent / 'x.txt').mkdir()  # a folder is no text file
    assert find_caption(jpeg).text == 'of the JPEG file'


@pytest.mark.parametrize('on_disk', ['NFC', 'NFD'])
def test_names_in_another_unicode_form(write, tmp_path, on_disk):
    image, other = (unicodedata.normalize(form, 'Vögel/grün') for form in (
        on_disk, 'NFD' if on_disk == 'NFC' else 'NFC'))
    path = write(saved(picture(8, 8)), f'{image}.jpg')
    write(f'file_name,text\n{other}.jpg,from the table'.encode(), 'metadata.csv')
    assert find_caption(path, root=tmp_path) == ('from the table', 'metadata.csv')
    write(f'{{"file_name": "{other}.jpg", "text": "listed"}}'.encode(), 'metadata.jsonl')
    assert find_caption(path, root=tmp_path) == ('listed', 'metadata.jsonl')
    sidecar = write(b'beside', f'{image.split("/")[0]}/{other.split("/")[1]}.txt')
    assert find_caption(path, root=tmp_path) == ('beside', sidecar.name)


@pytest.mark.parametrize('name', ['metadata.jsonl', 'metadata.csv', 'Metadata.CSV'])
def test_backslashes_on_any_system(write, tmp_path, name):
    path = write(saved(picture(8, 8)), 'sub/x.jpg')
    write(b'file_name,caption\nsub\\x.jpg,found' if name.lower().endswith('csv') else
          b'{"file_name": "sub\\\\x.jpg", "caption": "found"}', name)
    assert find_caption(path, root=tmp_path) == ('found', name)


def test_the_first_line_of_metadata_counts(write):
    path = write(saved(picture(8, 8)))
    write(b'{"file_name": "x.jpg", "text": "first"}\n{"file_name": "x.jpg", "text": "second"}', 'metadata.jsonl')
    assert find_caption(path).text == 'first'


def told_of(path: Path) -> dict[str, str]:
    """What is told about the caption files of an image that has no caption: name of the file -> why."""
    misfits: list[Misfit] = []
    assert find_caption(path, tell=misfits.append) == ('', 'none')
    return {misfit.path.name: misfit.why for misfit in misfits}


@pytest.mark.parametrize(('name', 'content', 'why'), [
    ('x.txt', '一只小黄鸟在树枝上'.encode('gbk'), UNKNOWN),
    ('metadata.csv', b'image,caption\nx.jpg,one',
     'not read, it has no column file_name; its columns are image, caption'),
    ('metadata.csv', b'file_name,prompt\nx.jpg,one',
     'no captions; expected one of captions, text, caption beside file_name, but got prompt'),
    ('metadata.csv', b'file_name,text\n/data/x.jpg,one',
     'names no picture of its folder; the first that it names is /data/x'),
    ('metadata.jsonl', b'{"file_name": "train/x.jpg", "text": "one"}',
     'names no picture of its folder; the first that it names is train/x'),
    ('metadata.jsonl', b'{"file_name": "' + b'y' * 10**5 + b'", "text": "one"}',
     'names no picture of its folder; the first that it names is ' + 'y' * 100),
    ('metadata.jsonl', b'{"file_name": "x.jpg", "' + b'y' * 10**5 + b'": "one"}',
     'no captions; expected one of captions, text, caption beside file_name, but got ' + 'y' * 80),
    ('captions.json', b'{}', 'not read; captions are read from metadata.jsonl, metadata.csv and x.txt beside x.jpg'),
    ('captions.txt', b'x.jpg a bird',
     'not read; captions are read from metadata.jsonl, metadata.csv and x.txt beside x.jpg'),
    ('x.caption', b'one', 'not read; captions are read from metadata.jsonl, metadata.csv and x.txt beside x.jpg'),
    ('X.txt', b'one', 'not read; its name differs from x.jpg in upper and lower case'),
])
def test_what_does_not_fit_is_told(write, name, content, why):
    path = write(saved(picture(8, 8)))
    write(content, name)
    assert told_of(path) == {name: why}


def test_what_is_of_another_picture_is_not_told(write):
    path = write(saved(picture(8, 8)))
    for name in ('y.jpg', 'captions.jpg'):
        write(saved(picture(8, 8)), name)
    for name in ('y.txt', 'y.caption', 'captions.txt', 'readme.txt'):
        write(b'one', name)
    write(b'{"file_name": "y.jpg", "text": "one"}', 'metadata.jsonl')
    assert told_of(path) == {}


def test_misfits_are_logged_once(write, caplog):
    path = write(saved(picture(8, 8)))
    sidecar = write('für sich'.encode('latin-1'), 'x.txt')
    with caplog.at_level(logging.WARNING):
        assert find_caption(path).text == find_caption(path).text == 'f r sich'
    assert caplog.messages == [f'{sidecar}: {SPACES}.']


def test_every_caption_of_a_file_the_one_that_counts_first(write, tmp_path):
    path = write(saved(picture(), comment='its own', exif=exif(description='its EXIF')), 'a/x.jpg')
    write(b'beside\n\nits own\nmore beside\n', 'a/x.txt')
    write(b'{"file_name": "a/x.jpg", "captions": ["listed", "beside", "also listed"]}\n', 'metadata.jsonl')
    found = find_captions(path, root=tmp_path)
    assert [(one.text, one.source) for one in found] == [
        ('its own', 'JPEG comment'), ('its EXIF', 'EXIF description'), ('beside', 'x.txt'), ('more beside', 'x.txt'),
        ('listed', 'metadata.jsonl'), ('also listed', 'metadata.jsonl')]
    assert find_caption(path, root=tmp_path) == found[0]


def test_every_row_of_a_table_counts(write):
    path = write(saved(picture()))
    write(b'file_name,text\nx.jpg,one\ny.jpg,other\nx.jpg,two\n', 'metadata.csv')
    assert [one.text for one in find_captions(path)] == ['one', 'two']
    assert find_caption(path).text == 'one'


def test_no_caption_at_all_and_no_picture(write, tmp_path):
    assert find_captions(write(saved(picture()))) == []
    assert find_captions(tmp_path / 'nowhere.jpg') == find_captions(write(b'no picture', 'y.jpg')) == []
