"""Captions are found in every supported layout, and what does not fit is named."""

import json
import logging
import unicodedata

import pytest

from tgjar_arch.datasets.captions import CaptionedImage, CaptionReport, EncodedCaptions, iter_captions, read_captions
from tgjar_arch.text.caption_files import Misfit, read_caption_file, read_metadata
from tgjar_arch.text.encodings import SPACES, UNKNOWN
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
    ('{"file_name": "a.png", "class_id": "4"}', r'line 2: "class_id" must be a whole number up to .* but is .4.'),
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


def images_in(folder, *names: str):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_metadata_in_a_table(root):
    """Hugging Face's image folders have it; JSON lines go before it, it before text files."""
    write(root / 'metadata.csv', 'file_name,class_id,text', '010.Red/red.jpg,10,a red bird',
          '004.Groove_billed_Ani/ani.1.jpg,4,"black, thick beak"', '004.Groove_billed_Ani/ani.1.jpg,4,second',
          'gone.jpg,3,lost')
    write(root / '010.Red' / 'red.txt', 'from the sidecar')
    write(root / '004.Groove_billed_Ani' / 'ani.2.txt', 'sidecar only')
    images, report = read_captions(root)
    assert images == [CaptionedImage('004.Groove_billed_Ani/ani.1', ('black, thick beak', 'second'), 4),
                      CaptionedImage('004.Groove_billed_Ani/ani.2', ('sidecar only',)),
                      CaptionedImage('010.Red/red', ('a red bird',), 10)]
    assert report == CaptionReport(missing_images=['gone'])
    assert list(iter_captions(root)) == ['a red bird', 'black, thick beak', 'second', 'lost', 'sidecar only',
                                         'from the sidecar']

    write(root / 'metadata.jsonl', record('010.Red/red.jpg', 'from JSON'))
    images, report = read_captions(root)
    assert images[2] == CaptionedImage('010.Red/red', ('from JSON',), 10)
    assert images[0].captions == ('black, thick beak', 'second')
    assert list(iter_captions(root))[:2] == ['from JSON', 'black, thick beak']


@pytest.mark.parametrize('as_folder', [True, False])
def test_text_root_with_a_table(root, tmp_path, as_folder):
    write(tmp_path / 'text' / 'metadata.csv', 'file_name,caption', '010.Red/red.png,far away')
    images, _ = read_captions(root, tmp_path / 'text' if as_folder else tmp_path / 'text' / 'metadata.csv')
    assert images[2].captions == ('far away',)


@pytest.mark.parametrize('on_disk', ['NFC', 'NFD'])
@pytest.mark.parametrize('kind', ['jsonl', 'csv', 'sidecar', 'text_root', 'by_stem'])
def test_names_in_another_unicode_form(tmp_path, on_disk, kind):
    image, text = (unicodedata.normalize(form, 'Vögel/grün.jpg') for form in (
        on_disk, 'NFD' if on_disk == 'NFC' else 'NFC'))
    images_in(tmp_path / 'images', image)
    if kind == 'jsonl':
        write(tmp_path / 'images' / 'metadata.jsonl', record(text, 'found'))
    elif kind == 'csv':
        write(tmp_path / 'images' / 'metadata.csv', 'file_name,text', f'{text},found')
    elif kind == 'sidecar':
        write(tmp_path / 'images' / image.split('/')[0] / text.split('/')[1].replace('.jpg', '.txt'), 'found')
    elif kind == 'text_root':
        write(tmp_path / 'text' / text.replace('.jpg', '.txt'), 'found')
    else:
        write(tmp_path / 'text' / 'other' / text.split('/')[1].replace('.jpg', '.txt'), 'found')
    images, report = read_captions(tmp_path / 'images', tmp_path / 'text' if (tmp_path / 'text').exists() else None)
    assert images == [CaptionedImage(image.removesuffix('.jpg'), ('found',))]
    assert report == CaptionReport()


def test_of_two_names_in_two_forms_each_has_its_own(tmp_path):
    names = [unicodedata.normalize(form, 'grün') for form in ('NFC', 'NFD')]
    images_in(tmp_path, *(f'{name}.jpg' for name in names))
    write(tmp_path / f'{names[1]}.txt', 'second')
    assert captions_of(tmp_path) == {names[0]: (), names[1]: ('second',)}


@pytest.mark.parametrize('file_name', [r'010.Red\red.jpg', r'.\010.Red\red.jpg', './010.Red/red.jpg',
                                       '010.Red//red.jpg'])
@pytest.mark.parametrize('kind', ['metadata.jsonl', 'metadata.csv'])
def test_backslashes_on_any_system(root, kind, file_name):
    line = record(file_name, 'found') if kind.endswith('jsonl') else f'file_name,text\n{file_name},found'
    write(root / kind, line)
    images, report = read_captions(root)
    assert images[2].captions == ('found',) and report.missing_images == []


def test_metadata_of_sub_folders_with_backslashes(root):
    (root / '010.Red' / 'new').mkdir()
    (root / '010.Red' / 'new' / 'one.jpg').touch()
    write(root / '010.Red' / 'metadata.jsonl', record(r'new\one.jpg', 'found'))
    assert captions_of(root)['010.Red/new/one'] == ('found',)


@pytest.mark.parametrize(('image', 'text'), [('X.JPG', 'X.TXT'), ('x.jpg', 'x.TXT'), ('x.jpg', 'x.jpg.txt'),
                                             ('X.JPG', 'X.JPG.TXT'), ('x.v2.png', 'x.v2.txt'),
                                             ('x.png', 'x.jpg.txt')])
def test_names_of_sidecars(tmp_path, image, text):
    write(images_in(tmp_path, image) / text, 'found')
    images, report = read_captions(tmp_path)
    assert [image.captions for image in images] == [('found',)] and report == CaptionReport()
    assert list(iter_captions(tmp_path)) == ['found']
    (tmp_path / text).rename(tmp_path / 'of_no_image.txt')
    assert read_captions(tmp_path)[1].unmatched_texts == [str(tmp_path / 'of_no_image.txt')]


def test_the_order_of_several_sidecars(tmp_path):
    images_in(tmp_path, 'x.jpg')
    order = ['x.txt', 'x.TXT', 'x.jpg.txt', 'x.jpg.TXT', 'x.png.txt']
    for name in order:
        write(tmp_path / name, name)
    for name in order:
        assert captions_of(tmp_path) == {'x': (name,)}
        write(tmp_path / name, '')  # what is empty leaves room for the next
    assert captions_of(tmp_path) == {'x': ()}


def test_a_sidecar_of_the_whole_name_is_of_the_image_that_has_it(tmp_path):
    write(images_in(tmp_path, 'x.jpg.png', 'x.tif') / 'x.jpg.txt', 'found')
    assert captions_of(tmp_path) == {'x': (), 'x.jpg': ('found',)}


def test_caption_files_that_do_not_fit_are_in_the_report(root, caplog):
    (root / '010.Red' / 'red.txt').write_bytes('für'.encode('latin-1'))
    (root / '004.Groove_billed_Ani' / 'ani.1.txt').write_bytes('grün'.encode('latin-1'))
    (root / '004.Groove_billed_Ani' / 'ani.2.txt').write_bytes('一只小黄鸟'.encode('gbk'))
    write(root / 'metadata.csv', 'image,caption', 'red.jpg,lost')
    write(root / 'captions.json', '{}')
    images, report = read_captions(root)
    assert [image.captions for image in images] == [('gr n',), (), ('f r',)]
    assert sorted(report.misfits) == sorted([
        Misfit(root / 'captions.json', 'not read; captions are read from metadata.jsonl, metadata.csv and x.txt beside '
                                       'x.jpg'),
        Misfit(root / 'metadata.csv', 'not read, it has no column file_name; its columns are image, caption'),
        Misfit(root / '004.Groove_billed_Ani' / 'ani.1.txt', SPACES),
        Misfit(root / '004.Groove_billed_Ani' / 'ani.2.txt', UNKNOWN), Misfit(root / '010.Red' / 'red.txt', SPACES)])
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger='basicsr'):
        report.log('birds')
    logger.removeHandler(caplog.handler)
    assert [line for line in caplog.messages if 'spaces' in line] == [  # once for all
        f'birds: 2 caption files: {SPACES}: {root / "004.Groove_billed_Ani" / "ani.1.txt"}, '
        f'{root / "010.Red" / "red.txt"}']
    assert f'birds: 1 caption file: {UNKNOWN}: {root / "004.Groove_billed_Ani" / "ani.2.txt"}' in caplog.messages
    told: list[Misfit] = []
    assert list(iter_captions(root, told.append)) == ['gr n', 'f r']
    assert sorted(told) == sorted(report.misfits)


def test_a_line_without_a_class_leaves_that_of_another(root):
    write(root / 'metadata.jsonl', record('010.Red/red.jpg', 'one', class_id=10), record('010.Red/red.jpg', 'two'))
    assert read_captions(root)[0][2] == CaptionedImage('010.Red/red', ('one', 'two'), 10)


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
