"""`tgjar compress`: JPEG files with captions in them, that every reader opens and `find_caption` reads back."""

import io
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.helpers.photo_files import exif, picture, saved, srgb_profile, swapped_profile, xmp
from tgjar_arch.cli import compress
from tgjar_arch.cli.main import COMMANDS
from tgjar_arch.jpeg.codec import encode
from tgjar_arch.jpeg.segments import MAX_PAYLOAD, add_segments
from tgjar_arch.pictures.captions import find_caption
from tgjar_arch.pictures.photo import read_photo

CAPTION = 'a "small" yellow bird 🐦 with a black cap'


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'in' / 'bird.png'
    path.parent.mkdir()
    picture().save(path)
    return path


def tgjar(*arguments) -> int:
    return compress.main([str(argument) for argument in arguments])


def pixels(path_or_bytes) -> np.ndarray:
    content = path_or_bytes if isinstance(path_or_bytes, bytes) else Path(path_or_bytes).read_bytes()
    return np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))


@pytest.mark.parametrize('qf, chroma', [(1, '4:2:0'), (10, '4:4:4'), (90, '4:2:2')])
def test_a_file_is_the_data_sets_own_with_one_segment_more(image, tmp_path, qf, chroma, capsys):
    out = tmp_path / 'out.jpg'
    assert tgjar(image, '--qf', qf, '--chroma', chroma, '--caption', CAPTION, '-o', out) == 0
    content, text = out.read_bytes(), CAPTION.encode()
    bare = encode(np.asarray(picture())[..., ::-1], qf, chroma)
    segment = b'\xff\xfe' + (len(text) + 2).to_bytes(2, 'big') + text
    at = content.index(b'\xff\xfe')
    assert content[at:at + len(segment)] == segment and content[:at] + content[at + len(segment):] == bare
    assert content[:4] == b'\xff\xd8\xff\xe0' and at == 20  # right behind the JFIF header
    photo = read_photo(out)
    assert (photo.jpeg.qf, photo.jpeg.chroma, photo.jpeg.progressive) == (qf, chroma, False)
    printed = capsys.readouterr().out
    ratio = len(bare) / len(text)
    assert f'{out}: image {len(bare):,} bytes, caption {len(text)} bytes (1/{ratio:.1f} of the image)\n' in printed
    assert '1 written' in printed


def test_pillow_and_opencv_decode_the_same_pixels_as_without(image, tmp_path):
    out = tmp_path / 'out.jpg'
    tgjar(image, '--qf', 5, '--caption', CAPTION, '-o', out)
    bare = encode(np.asarray(picture())[..., ::-1], 5)
    assert np.array_equal(pixels(out), pixels(bare))
    assert np.array_equal(cv2.imread(str(out)), cv2.imdecode(np.frombuffer(bare, np.uint8), cv2.IMREAD_COLOR))
    with Image.open(out) as opened:
        assert opened.info['comment'] == CAPTION.encode()


@pytest.mark.parametrize('text', [
    CAPTION, "it's \\ \\n & <b> %s {x} \\x00", '一只小黄鸟', '👩‍🚀🏴󠁧󠁢󠁥󠁮󠁧󠁿', ' '.join(f'wörd{k}' for k in range(3000)),
    '\u00e9' * 32766])
def test_captions_are_read_back(image, tmp_path, text):
    out = tmp_path / 'out.jpg'
    assert tgjar(image, '--qf', 1, '--caption', text, '-o', out, '--quiet') == 0
    assert find_caption(out) == (text, 'JPEG comment')


def test_white_space_and_control_characters_are_not_stored(image, tmp_path):
    assert tgjar(image, '--qf', 1, '--caption', ' a\x07 red\n\tbird ', '-o', tmp_path / 'out.jpg') == 0
    assert find_caption(tmp_path / 'out.jpg').text == 'a red bird'


@pytest.mark.parametrize('text, message', [
    ('bird ' * 13107 + 'x', None), ('bird ' * 13107 + 'two', r'has 65,538 bytes, but a JPEG segment holds 65,533'),
    ('OLYMPUS DIGITAL CAMERA', 'would not be read back'), ('...', 'would not be read back')])
def test_captions_that_cannot_be_stored(image, tmp_path, capsys, text, message):
    out = tmp_path / 'out.jpg'
    if message is None:
        text = text[:MAX_PAYLOAD]
        assert len(text) == MAX_PAYLOAD and tgjar(image, '--qf', 1, '--caption', text, '-o', out) == 0
        assert find_caption(out).text == text
        return
    assert tgjar(image, '--qf', 1, '--caption', text, '-o', out) == 1
    error = capsys.readouterr().err
    assert f'failed: {image}: ' in error and message in error and len(error) < 400
    assert not out.exists()


def test_a_folder_with_captions_of_all_kinds(tmp_path, capsys):
    root, out = tmp_path / 'in', tmp_path / 'out'
    files = {'a/own.jpg': saved(picture(), comment='its own'), 'a/beside.png': saved(picture(), 'PNG'),
             'listed.webp': saved(picture(), 'WEBP'), 'same.png': saved(picture(), 'PNG'), 'same.bmp': saved(
                 picture(), 'BMP'), 'broken.png': saved(picture(), 'PNG')[:-60], 'empty.jpg': b''}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / 'a' / 'beside.txt').write_text('from the sidecar\n')
    (root / 'metadata.jsonl').write_text(json.dumps({'file_name': 'listed.png', 'captions': ['from the metadata']}))
    assert tgjar(root, '--qf', 10, '-o', out) == 1
    printed = capsys.readouterr()
    assert 'broken.png is truncated or broken' in printed.err and f'failed: {root / "empty.jpg"}: ' in printed.err
    found = {path.relative_to(out).as_posix(): find_caption(path).text for path in out.rglob('*') if path.is_file()}
    assert found == {'a/own.jpg': 'its own', 'a/beside.jpg': 'from the sidecar', 'listed.jpg': 'from the metadata',
                     'same.bmp.jpg': '', 'same.png.jpg': ''}
    last = printed.out.splitlines()[-1]
    texts = sum(map(len, found.values()))
    images = sum(path.stat().st_size for path in out.rglob('*.jpg')) - texts - 4 * 3  # marker and length of a segment
    assert last == (f'5 written to {out}: image {images:,} bytes, caption {texts} bytes (1/{images / texts:.1f} of the '
                    'image), 2 failed')
    assert 'from beside.txt' in printed.out and 'from metadata.jsonl' in printed.out and 'no caption' in printed.out


def test_nothing_is_replaced_unless_asked_for(image, tmp_path, capsys):
    out = tmp_path / 'out.jpg'
    out.write_text('mine')
    assert tgjar(image, '--qf', 1, '-o', out) == 1
    assert '--overwrite' in capsys.readouterr().err and out.read_text() == 'mine'
    assert tgjar(image, '--qf', 1, '-o', out, '--overwrite', '--caption', 'a bird') == 0
    assert find_caption(out).text == 'a bird'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in', 'out.jpg']


@pytest.mark.parametrize('arguments, message', [
    (lambda t: [t / 'nowhere.png', '-o', t / 'out.jpg', '--qf', 1], r'nowhere.png does not exist'),
    (lambda t: [t / 'loop.jpg', '-o', t / 'out.jpg', '--qf', 1], r'loop.jpg is a link to itself; name a file or a'),
    (lambda t: [t / 'in', '-o', t / 'out.jpg', '--qf', 1], 'name a folder for the results'),
    (lambda t: [t / 'in' / 'bird.png', t / 'x.png', '-o', t / 'out.jpg', '--qf', 1], 'name a folder for the results'),
    (lambda t: [t / 'in' / 'bird.png', '-o', t / 'x.png', '--qf', 1], 'without the suffix of a JPEG file'),
    (lambda t: [t / 'none', '-o', t / 'out', '--qf', 1], 'there is no image in'),
    (lambda t: [t / 'x.jpg', '-o', t / 'x.jpg', '--qf', 1, '--overwrite'], 'would be replaced by its own compressed'),
    (lambda t: [t / 'x.jpg', '-o', t, '--qf', 1, '--overwrite'], 'would be replaced by its own compressed'),
    (lambda t: [t / 'in', t / 'in2', '-o', t / 'out', '--qf', 1],
     r'in.bird\.png and .*in2.bird\.png would both become .*bird\.png\.jpg'),
])
def test_what_cannot_be_started(image, tmp_path, capsys, arguments, message):
    (tmp_path / 'none').mkdir()
    (tmp_path / 'in2').mkdir()
    (tmp_path / 'loop.jpg').symlink_to('loop.jpg')
    for name in ('x.jpg', 'x.png', 'in2/bird.png'):
        (tmp_path / name).write_bytes(saved(picture()))
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob('*') if path.is_file())
    assert tgjar(*arguments(tmp_path)) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count('\n') == 1
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob('*') if path.is_file()) == before


@pytest.mark.parametrize('option, value, message', [
    ('--max-side', 0, 'a whole number from 1 up'), ('--max-pixels', -1, 'a whole number from 1 up'),
    ('--chroma', '4:1:1', 'choose from'), ('--qf', 0, "a whole number from 1 to 100, but is '0'"),
    ('--qf', 101, "a whole number from 1 to 100, but is '101'")])
def test_wrong_options(image, tmp_path, capsys, option, value, message):
    with pytest.raises(SystemExit) as stop:
        tgjar(image, '--qf', 1, '-o', tmp_path / 'out.jpg', option, value)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert f'argument {option}: ' in error and message in error


def test_a_turned_photo_is_compressed_upright_with_its_metadata(tmp_path):
    data = exif(6, 'an older description')
    data.get_ifd(0x8825)[1] = 'N'
    source, out = tmp_path / 'x.jpg', tmp_path / 'out.jpg'
    source.write_bytes(saved(picture(), quality=95, exif=data, icc_profile=srgb_profile(), xmp=xmp('')))
    photo = read_photo(source)
    assert tgjar(source, '--qf', 20, '--caption', CAPTION, '-o', out) == 0
    result = read_photo(out)
    assert result.orientation == 1 and result.size == photo.size == (37, 51)
    assert result.icc == srgb_profile() and find_caption(out).text == CAPTION
    kept = Image.Exif()
    kept.load(result.exif)
    assert kept[0x010E] == 'an older description' and kept.get_ifd(0x8825)[1] == 'N'
    upright = photo.upright(photo.pixels)
    assert np.array_equal(result.pixels, pixels(encode(upright[..., ::-1], 20)))


def test_strip_leaves_the_caption_only_and_converts_colours(tmp_path):
    source, kept, stripped = (tmp_path / name for name in ('x.png', 'kept.jpg', 'stripped.jpg'))
    source.write_bytes(saved(Image.new('RGB', (32, 32), (250, 20, 30)), 'PNG', icc_profile=swapped_profile(),
                             exif=exif(1, 'an older description')))
    for path, options in ((kept, []), (stripped, ['--strip'])):
        assert tgjar(source, '--qf', 95, '--caption', CAPTION, '-o', path, *options) == 0
    assert read_photo(kept).icc == swapped_profile() and read_photo(kept).exif
    assert read_photo(kept).pixels[9, 9].tolist() == pytest.approx([250, 20, 30], abs=4)
    photo = read_photo(stripped)
    assert photo.icc is photo.exif is photo.xmp is None and find_caption(stripped).text == CAPTION
    assert photo.pixels[9, 9].tolist() == pytest.approx([30, 20, 250], abs=6)


def test_large_pictures_are_reduced_and_small_ones_kept(image, tmp_path):
    for side, size in ((20, (20, 15)), (51, (51, 37)), (500, (51, 37)), (1, (1, 1))):
        out = tmp_path / f'{side}.jpg'
        assert tgjar(image, '--qf', 95, '--chroma', '4:4:4', '--max-side', side, '-o', out) == 0
        photo = read_photo(out)
        assert photo.size == size
        assert np.abs(photo.pixels.mean((0, 1)) - np.asarray(picture()).mean((0, 1))).max() < 4


def test_transparent_parts_become_white_and_grey_and_print_colours_work(tmp_path):
    image = Image.new('RGBA', (16, 16), (0, 0, 0, 0))
    image.paste((10, 20, 30, 255), (8, 0, 16, 16))
    files = {'a.png': saved(image, 'PNG'), 'g.png': saved(Image.new('L', (16, 16), 77), 'PNG'),
             'c.jpg': saved(Image.new('CMYK', (16, 16), (255, 0, 0, 0)))}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert tgjar(*(tmp_path / name for name in files), '--qf', 100, '--chroma', '4:4:4', '-o', tmp_path / 'out') == 0
    result = pixels(tmp_path / 'out' / 'a.jpg')
    assert (result[:, :8] > 250).all() and np.abs(result[:, 8:].astype(int) - [10, 20, 30]).max() < 5
    assert np.abs(pixels(tmp_path / 'out' / 'g.jpg').astype(int) - 77).max() <= 1
    assert np.abs(pixels(tmp_path / 'out' / 'c.jpg').astype(int) - [0, 255, 255]).max() <= 3


def test_pixel_limit(image, tmp_path, capsys):
    assert tgjar(image, '--qf', 1, '-o', tmp_path / 'out.jpg', '--max-pixels', 1000) == 1
    assert 'more than the limit of 1,000' in capsys.readouterr().err


def test_the_bytes_are_pillows():
    described = {'exif': exif(1, 'an older description').tobytes(), 'icc_profile': swapped_profile() + bytes(100_000),
                 'comment': CAPTION.encode()}
    bare = encode(np.asarray(picture())[..., ::-1], 5)
    for names in (['exif'], ['icc_profile'], ['comment'], list(described)):
        content = saved(picture(), quality=5, subsampling='4:2:0', **{name: described[name] for name in names})
        assert content == add_segments(bare, *(described[name] if name in names else None for name in described))


def test_what_pillow_cannot_write():
    """The reason why there are segments of our own; when this fails, Pillow can do it all."""
    content, caption = exif(1).tobytes() + bytes(60_000), b'a bird' * 1000
    described = add_segments(saved(picture(), quality=5), content, srgb_profile(), caption)
    with Image.open(io.BytesIO(described)) as opened:
        assert opened.info['comment'] == caption and opened.info['icc_profile'] == srgb_profile()
    with pytest.raises(OSError, match='broken data stream'):
        saved(picture(), quality=5, exif=content, icc_profile=srgb_profile(), comment=caption)


def test_long_profiles_are_split_and_read_whole():
    profile = srgb_profile() + np.random.default_rng(0).integers(0, 256, 150_000, dtype=np.uint8).tobytes()
    content = add_segments(saved(picture()), icc=profile, comment=b'a bird')
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.info['icc_profile'] == profile and opened.info['comment'] == b'a bird'
    assert np.array_equal(pixels(content), pixels(saved(picture())))
    without_header = b'\xff\xd8' + saved(picture())[20:]
    assert np.array_equal(pixels(add_segments(without_header, comment=b'x')), pixels(without_header))


def test_segments_that_cannot_be():
    with pytest.raises(ValueError, match='a JPEG file only'):
        add_segments(saved(picture(), 'PNG'), comment=b'x')
    with pytest.raises(ValueError, match='the EXIF data has 65,534 bytes, but'):
        add_segments(saved(picture()), exif=bytes(MAX_PAYLOAD + 1 - 6))
    with pytest.raises(ValueError, match='the colour profile has 17,000,000 bytes, more than a JPEG file can hold'):
        add_segments(saved(picture()), icc=bytes(17_000_000))


def test_it_is_a_command():
    assert COMMANDS['compress'][0] == compress.__name__


def test_folders_that_cannot_be_read_are_failures(tmp_path, capsys, locked):
    (tmp_path / 'in' / 'locked').mkdir(parents=True)
    picture().save(tmp_path / 'in' / 'a.png')
    locked.add(str(tmp_path / 'in' / 'locked'))
    arguments = ['--qf', '5', '--caption', 'default', '-o', str(tmp_path / 'out')]
    assert compress.main([str(tmp_path / 'in'), *arguments]) == 1
    captured = capsys.readouterr()
    assert f'failed: {tmp_path / "in" / "locked"}: the folder cannot be read: Permission denied' in captured.err
    assert captured.out.endswith('1 written to ' + str(tmp_path / 'out') + ', 1 failed\n')
    assert find_caption(tmp_path / 'out' / 'a.jpg') == ('default', 'JPEG comment')
    assert compress.main([str(tmp_path / 'in' / 'locked'), *arguments]) == 2
    assert 'there is no image in' in (error := capsys.readouterr().err) and 'cannot be read: Permission' in error
