"""Captions are found in every supported layout, and what does not fit is named."""

import json
import logging

import pytest

from tgjar_arch.datasets.captions import CaptionedImage, CaptionReport, EncodedCaptions, iter_captions, read_captions
from tgjar_arch.text.caption_files import read_caption_file, read_metadata
from tgjar_arch.text.word_tokenizer import WordTokenizer


@pytest.fixture
def root(tmp_path):
    """Three images (their content is not read here) in the folders of public CUB."""
    folder = tmp_path / 'images'
    for name in ('004.Groove_billed_Ani/ani.1.jpg', '004.Groove_billed_Ani/ani.2.jpg', '010.Red/red.jpg'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def write(path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def record(name: str, *captions: str, **more: int) -> str:
    return json.dumps({'file_name': name, 'captions': list(captions)} | more)


def captions_of(root, text_root=None) -> dict[str, tuple[str, ...]]:
    return {image.name: image.captions for image in read_captions(root, text_root)[0]}


def test_metadata_in_the_root(root):
    write(root / 'metadata.jsonl', record('010.Red/red.jpg', 'red', 'a red bird', class_id=10), '',
          record('004.Groove_billed_Ani/ani.1.webp', 'black'), record('gone.jpg', 'lost'))
    images, report = read_captions(root)
    assert images == [
        CaptionedImage('004.Groove_billed_Ani/ani.1', ('black',), -1),
        CaptionedImage('004.Groove_billed_Ani/ani.2', (), -1),
        CaptionedImage('010.Red/red', ('red', 'a red bird'), 10),
    ]
    assert report == CaptionReport(missing_images=['gone'], without_caption=['004.Groove_billed_Ani/ani.2'])


def test_metadata_of_sub_folders_counts_from_there(root):
    write(root / '010.Red' / 'metadata.jsonl', json.dumps({'file_name': 'red.jpg', 'text': 'one text'}))
    assert captions_of(root)['010.Red/red'] == ('one text',)


def test_sidecars_beside_the_images(root):
    write(root / '004.Groove_billed_Ani' / 'ani.1.txt', 'a black bird', '', '  its beak is thick \r')
    write(root / '004.Groove_billed_Ani' / 'ani.txt', 'of no image')
    images, report = read_captions(root)
    assert images[0].captions == ('a black bird', 'its beak is thick')
    assert report.unmatched_texts == [str(root / '004.Groove_billed_Ani' / 'ani.txt')]
    assert report.without_caption == ['004.Groove_billed_Ani/ani.2', '010.Red/red']


def test_metadata_goes_before_sidecars_and_sidecars_fill_the_gaps(root):
    write(root / 'metadata.jsonl', record('010.Red/red.jpg', 'from metadata'))
    write(root / '010.Red' / 'red.txt', 'from the sidecar')
    write(root / '004.Groove_billed_Ani' / 'ani.2.txt', 'sidecar only')
    images, report = read_captions(root)
    assert [image.captions for image in images] == [(), ('sidecar only',), ('from metadata',)]
    assert report.unmatched_texts == []


def test_text_root_with_the_same_folders(root, tmp_path):
    write(root / 'metadata.jsonl', record('010.Red/red.jpg', 'unused', class_id=10))
    write(tmp_path / 'text' / '010.Red' / 'red.txt', 'by path')
    write(tmp_path / 'text' / '004.Groove_billed_Ani' / 'ani.1.txt', 'also by path')
    images, _ = read_captions(root, tmp_path / 'text')
    assert [image.captions for image in images] == [('also by path',), (), ('by path',)]
    assert images[2].class_id == 10


def test_text_root_with_other_folders_matches_unambiguous_file_names(root, tmp_path):
    write(tmp_path / 'text' / 'class_00010' / 'red.txt', 'by name')
    write(tmp_path / 'text' / 'ani.1.txt', 'once')
    write(tmp_path / 'text' / 'a' / 'ani.2.txt', 'twice')
    write(tmp_path / 'text' / 'b' / 'ani.2.txt', 'twice')
    images, report = read_captions(root, tmp_path / 'text')
    assert [image.captions for image in images] == [('once',), (), ('by name',)]
    assert len(report.unmatched_texts) == 2


@pytest.mark.parametrize('file_name', ['text/metadata.jsonl', 'elsewhere.jsonl'])
def test_text_root_with_metadata(root, tmp_path, file_name):
    write(tmp_path / file_name, record('010.Red/red.png', 'far away', class_id=3))
    target = tmp_path / file_name
    images, _ = read_captions(root, target.parent if target.name == 'metadata.jsonl' else target)
    assert images[2] == CaptionedImage('010.Red/red', ('far away',), 3)


def test_several_lines_of_one_image_add_up(root):
    write(root / 'metadata.jsonl', record('010.Red/red.jpg', 'first'), record('010.Red/red.jpg', 'second'))
    assert captions_of(root)['010.Red/red'] == ('first', 'second')


def test_byte_order_mark_and_undecodable_bytes(tmp_path):
    path = tmp_path / 'x.txt'
    path.write_bytes(b'\xef\xbb\xbfa bird\r\n\r\nred\xff\xfeblue\n' + 'café\ufffd\n'.encode())
    assert read_caption_file(path) == ['a bird', 'red  blue', 'café']
    path.write_bytes(b'\xef\xbb\xbf' + record('a.png', 'one').encode())
    assert list(read_metadata(path)) == [('a.png', ['one'], -1)]


@pytest.mark.parametrize(('line', 'message'), [
    ('{"file_name": "a.png"', r'line 2: not JSON'),
    ('["a.png"]', r'line 2: expected an object with "file_name", but got \["a.png"\]'),
    ('{"captions": ["x"]}', r'line 2: expected an object with "file_name"'),
    ('{"file_name": "a.png", "captions": [1]}', r'line 2: "captions" must be a list of strings, not \[1\]'),
    ('{"file_name": "a.png", "class_id": "4"}', r'line 2: "class_id" must be a whole number, but is .4.'),
])
def test_malformed_lines_are_named_by_number(tmp_path, line, message):
    write(tmp_path / 'metadata.jsonl', record('b.png', 'fine'), line)
    with pytest.raises(ValueError, match=f'metadata.jsonl, {message}'):
        list(read_metadata(tmp_path / 'metadata.jsonl'))


def test_missing_text_root(root):
    with pytest.raises(FileNotFoundError, match=r'dataroot_text: there is no file or folder .*none'):
        read_captions(root, root / 'none')


def test_public_layouts(shared):
    """The official CUB and Oxford-102 layouts: every sample image finds its 10 captions."""
    samples = shared / 'data' / 'samples'
    for images, texts, count in (('cub/CUB_200_2011/images', 'cub/text', 24),
                                 ('oxford102/jpg', 'oxford102/text_c10', 16)):
        found, report = read_captions(samples / images, samples / texts)
        assert len(found) == count and all(len(image.captions) == 10 for image in found)
        assert report == CaptionReport()


def test_report_is_one_line_a_kind(root, caplog):
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger='basicsr'):
        CaptionReport(missing_images=list('abcde'), too_long=['x', 'x', 'y']).log('data/birds', max_words=18)
        CaptionReport().log('data/birds')
    logger.removeHandler(caplog.handler)
    assert caplog.messages[-2:] == [
        'data/birds: 5 metadata entries have no image: a, b, c, ...',
        'data/birds: 3 captions are longer than max_words = 18 and get cut, of: x, y',
    ]


def test_encoded_captions(root):
    write(root / 'metadata.jsonl', record('004.Groove_billed_Ani/ani.1.jpg', '???', 'one two three', 'two'),
          record('004.Groove_billed_Ani/ani.2.jpg', '!'), record('010.Red/red.jpg', 'three two'))
    images, report = read_captions(root)
    encoded = EncodedCaptions(images, WordTokenizer.build(['one two three']), 2, report)
    assert [image.captions for image in encoded.images] == [('one two three', 'two'), (), ('three two',)]
    assert [encoded.ids(0, 0), encoded.ids(0, 1), encoded.ids(2, 0)] == [[1, 2, 3], [2], [3, 2]]
    assert report.no_known_word == ['004.Groove_billed_Ani/ani.1', '004.Groove_billed_Ani/ani.2']
    assert report.too_long == ['004.Groove_billed_Ani/ani.1']


def test_all_captions_for_a_vocabulary(root, tmp_path):
    text = tmp_path / 'text'
    write(text / 'b' / 'two.txt', 'second', 'third')
    write(text / 'a' / 'one.txt', 'first')
    assert list(iter_captions(text)) == ['first', 'second', 'third']
    assert list(iter_captions(text / 'a' / 'one.txt')) == ['first']

    write(root / 'readme.txt', 'no caption')
    write(root / '010.Red' / 'red.txt', 'beside')
    assert list(iter_captions(root)) == ['beside']
    write(root / 'metadata.jsonl', record('010.Red/red.jpg', 'listed'), record('gone.jpg', 'image not unpacked'))
    assert list(iter_captions(root)) == ['listed', 'image not unpacked', 'beside']
    assert list(iter_captions(root / 'metadata.jsonl')) == ['listed', 'image not unpacked']
    with pytest.raises(FileNotFoundError, match='there is no file or folder'):
        list(iter_captions(root / 'none'))
