"""`tgjar restore` and the files that people have: several inputs, names, formats, faults, good and grey ones."""

import io
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from tests.cli.test_restore import args_of, experiment, jpegs, tokenizer, weights  # noqa: F401  fixtures among them
from tests.helpers.photo_files import exif, picture, saved, xmp
from tgjar_arch.atomic_file import MAX_NAME, atomic, fitting_name
from tgjar_arch.cli import compress, restore
from tgjar_arch.jpeg.segments import add_segments
from tgjar_arch.pictures.photo import read_photo
from tgjar_arch.pictures.write import write_picture

FORMATS = {'PNG': 'PNG', 'WEBP': 'WebP', 'GIF': 'GIF', 'AVIF': 'AVIF'}  # in words
GOOD = {'leave': [], 'copy': ['good.jpg'], 'restore': ['good.png']}


def names(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())


def test_several_inputs(tmp_path, weights, capsys):  # noqa: F811
    jpegs(tmp_path, ['in/a.jpg', 'in/sub/b.jpg', 'more/a.jpg', 'more/c.jpg'])
    out = tmp_path / 'out'
    inputs = [tmp_path / 'in', tmp_path / 'more' / 'a.jpg', tmp_path / 'more' / 'c.jpg', tmp_path / 'in' / 'a.jpg']
    words = [str(word) for word in (*inputs, '-o', out, '--weights', weights, '--quiet')]
    assert restore.main(words) == 0
    assert '4 restored' in capsys.readouterr().out  # in/a.jpg is one file
    assert names(out) == ['a.jpg.2.png', 'a.jpg.png', 'c.png', 'sub/b.png']
    assert restore.main(['-i', *words]) == 0
    assert '4 already there' in capsys.readouterr().out
    assert restore.main([str(tmp_path / 'no.jpg'), *words]) == 1  # the others are restored
    captured = capsys.readouterr()
    assert 'no.jpg does not exist' in captured.err and '4 already there' in captured.out and '1 failed' in captured.out
    assert restore.main([str(tmp_path / 'no.jpg'), str(tmp_path / 'no'), '-o', str(out)]) == 2
    assert 'no.jpg does not exist' in capsys.readouterr().err
    assert restore.main([*words, '--output', str(tmp_path / 'x.png')]) == 2
    assert 'x.png is one file; name a folder for the results of 4 inputs' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        restore.main(['-o', str(out)])


@pytest.mark.parametrize('name', ['x.tiff', 'x.bmp', 'x.gif', 'x.AVIF', 'x.jp2', 'x.heic', 'x.tga',
                                  'x.PSD', 'x.dng', 'x.pgm', 'x.pdf'])
def test_an_output_of_another_format_makes_no_folder(tmp_path, weights, capsys, name):  # noqa: F811
    jpegs(tmp_path / 'in', ['a.jpg'])
    source = str(tmp_path / 'in' / 'a.jpg')
    assert restore.main([source, '-o', str(tmp_path / name), '--weights', str(weights)]) == 2
    error = capsys.readouterr().err
    assert f'{name}: results are written as .png .webp .jpg .jpeg, not as' in error and error.count('\n') == 1
    assert compress.main([source, '--qf', '5', '-o', str(tmp_path / name)]) == 2
    assert f'{name}: results are JPEG files' in capsys.readouterr().err
    assert not (tmp_path / name).exists()
    (tmp_path / name).mkdir()  # who wants a folder of this name makes it
    assert restore.main([source, '-o', str(tmp_path / name), '--weights', str(weights)]) == 0
    assert names(tmp_path / name) == ['a.png']


@pytest.mark.parametrize('length', [236, 240, 251, 255])
@pytest.mark.parametrize('letter', ['x', 'é'])
def test_names_as_long_as_a_disk_allows(tmp_path, weights, length, letter):  # noqa: F811
    size = len(letter.encode())
    name = letter * ((length - 4) // size) + 'y' * ((length - 4) % size)
    jpegs(tmp_path / 'in', [f'{name}.jpg'])
    assert restore.main(args_of(tmp_path, weights, '--format', 'webp', '--attention', tmp_path / 'maps')) == 0
    [found] = names(tmp_path / 'out')
    assert found.endswith('.webp') and len(found.encode()) <= 255
    assert found == f'{name}.webp' or length == 255 and found.startswith(name[:100])
    assert compress.main([str(tmp_path / 'in' / f'{name}.jpg'), '--qf', '5', '-o', str(tmp_path / 'small')]) == 0


def test_cut_names_stay_apart(tmp_path):
    long = ['x' * 300 + end for end in 'ab']
    cut = [fitting_name(name, '.png') for name in long]
    assert len(set(cut)) == 2 and all(len(name) == MAX_NAME and name.endswith('.png') for name in cut)
    assert fitting_name('short', '.png') == 'short.png'
    strange = fitting_name(os.fsdecode(b'\xe9' * 300), '.png')
    assert len(os.fsencode(strange)) == MAX_NAME
    with atomic(tmp_path / ('x' * 255)) as temporary:
        temporary.write_text('a')
    assert names(tmp_path) == ['x' * 255]


@pytest.mark.parametrize('suffix', ['.pjpeg', '.jif', '.mpo', '.PJP', '.jfi', '.png', '.webp', '.heic'])
def test_jpeg_under_any_suffix_is_jpeg(tmp_path, weights, capsys, suffix):  # noqa: F811
    jpegs(tmp_path / 'in', [f'a{suffix}'])
    picture().save(tmp_path / 'in' / f'good{suffix}', 'JPEG', quality=90)
    assert restore.main(args_of(tmp_path, weights)) == 0
    assert names(tmp_path / 'out') == ['a.png']
    assert f'good{suffix}: JPEG quality 90' in capsys.readouterr().err


@pytest.mark.parametrize(('kind', 'name'), [('PNG', 'a.jpg'), ('WEBP', 'a.jpeg'), ('GIF', 'a.gif'), ('AVIF', 'a.avif'),
                                            ('GIF', 'a.jpg')])
def test_clean_pictures_of_a_folder_are_left_copied_or_restored(tmp_path, weights, capsys, kind, name):  # noqa: F811
    root = tmp_path / 'in'
    jpegs(root, ['b.jpg'])
    (root / name).write_bytes(saved(picture(), kind))
    assert restore.main(args_of(tmp_path, weights)) == 0
    captured = capsys.readouterr()
    assert f'left as it is: {root / name}: {FORMATS[kind]}, 51 x 37: no JPEG file, and no blocks of an' in captured.err
    assert '1 restored' in captured.out and ', 1 left as they are' in captured.out
    assert names(tmp_path / 'out') == ['b.png']
    assert restore.main(args_of(tmp_path, weights, '--better', 'copy')) == 0
    assert f'copied: {root / name}: ' in capsys.readouterr().err
    assert (tmp_path / 'out' / name).read_bytes() == (root / name).read_bytes()
    (tmp_path / 'out' / name).unlink()
    assert restore.main(args_of(tmp_path, weights, '--better', 'restore')) == 0
    assert names(tmp_path / 'out') == ['a.png', 'b.png']
    assert Image.open(tmp_path / 'out' / 'a.png').size == (51, 37)


@pytest.mark.parametrize(('options', 'left', 'words'), [
    ([], False, 'if they were not badly compressed, they got worse'), (['--better', 'leave'], True, 'left as it is'),
    (['--better', 'copy'], False, 'copied: '), (['--force'], False, 'they got worse')])
def test_a_clean_picture_that_is_named(tmp_path, weights, capsys, options, left, words):  # noqa: F811
    picture().save(tmp_path / 'a.png')
    words_of = [str(tmp_path / 'a.png'), '-o', str(tmp_path / 'x.png'), '--weights', str(weights), *options]
    assert restore.main(words_of) == 0
    assert words in capsys.readouterr().err
    assert (tmp_path / 'x.png').exists() != left
    if 'copy' in options:
        assert (tmp_path / 'x.png').read_bytes() == (tmp_path / 'a.png').read_bytes()


@pytest.mark.parametrize('kind', ['PNG', 'WEBP'])
def test_screenshots_of_a_folder_are_restored_on_their_grid(tmp_path, weights, capsys, kind):  # noqa: F811
    (tmp_path / 'in').mkdir()
    whole = Image.open(io.BytesIO(saved(Image.fromarray(astronaut()[:203, 100:303]), quality=10)))
    (tmp_path / 'in' / f'shot.{kind.lower()}').write_bytes(saved(whole.crop((3, 5, 203, 203)), kind, lossless=True))
    (tmp_path / 'in' / f'clean.{kind.lower()}').write_bytes(saved(Image.fromarray(astronaut()[:200, 300:]), kind,
                                                                  lossless=True))
    assert restore.main([str(tmp_path / 'in'), '-o', str(tmp_path / 'out'), '--weights', str(weights)]) == 0
    captured = capsys.readouterr()
    assert 'compressed before at quality 10 (blocks from row 3, column 5) ->' in captured.out
    assert '1 restored' in captured.out and ', 1 left as they are' in captured.out
    assert names(tmp_path / 'out') == ['shot.png']


HEIC = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(40)


@pytest.mark.parametrize(('content', 'name', 'words'), [
    (HEIC, 'a.heic', 'is a file of HEIC, which the installed Pillow cannot read'), (HEIC, 'a.jpg', 'is a file of HEIC'),
    (b'\0\0\0\x0cJXL \r\n\x87\n' + bytes(20), 'a.jxl', 'is a file of JPEG XL'),
    (saved(picture(), 'GIF', save_all=True, append_images=[picture().rotate(180)]), 'a.gif', 'animation of 2 frames')])
def test_what_cannot_be_read_is_counted_and_named(tmp_path, weights, capsys, content, name, words):  # noqa: F811
    jpegs(tmp_path / 'in', ['b.jpg'])
    (tmp_path / 'in' / name).write_bytes(content)
    assert restore.main(args_of(tmp_path, weights)) == 0
    captured = capsys.readouterr()
    assert '1 pictures that cannot be read here are left out:\n' in captured.err
    assert ', 1 left out, 0 failed' in captured.out
    assert f'{tmp_path / "in" / name} is a' in captured.err and words in captured.err
    assert restore.main([str(tmp_path / 'in' / name), '-o', str(tmp_path / 'out'), '--weights', str(weights)]) == 1
    assert restore.main(args_of(tmp_path, weights, '--force')) == 1
    captured = capsys.readouterr()
    assert '1 failed' in captured.out and words in captured.err and f'failed: {tmp_path / "in" / name}' in captured.err


def test_faults_are_warned_of(tmp_path, weights, capsys):  # noqa: F811
    jpegs(tmp_path / 'in', ['a.jpg'])
    whole = (tmp_path / 'in' / 'a.jpg').read_bytes()
    (tmp_path / 'in' / 'b.jpg').write_bytes(whole[:-2])
    assert restore.main(args_of(tmp_path, weights)) == 0
    assert f'warning: {tmp_path / "in" / "b.jpg"}: lacks the end marker' in capsys.readouterr().err
    first, second = ((tmp_path / 'out' / name).read_bytes() for name in ('a.png', 'b.png'))
    assert first == second


GAIN_MAP = xmp('', 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"')
MOTION = xmp('', 'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1"')


@pytest.mark.parametrize(('packet', 'what'), [
    (GAIN_MAP, 'an HDR gain map'), (MOTION, 'a video'),
    (MOTION.replace(b'="1"', b"='1'"), 'a video'), (xmp('<GDepth:Format/>', 'xmlns:GDepth="x"'), 'a depth map')])
def test_what_a_phone_appended_is_lost_and_said(tmp_path, weights, capsys, packet, what):  # noqa: F811
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'a.jpg').write_bytes(saved(picture(), quality=10, xmp=packet, exif=exif(6)) + b'appended')
    assert restore.main(args_of(tmp_path, weights, '--keep-metadata', '--format', 'jpg')) == 0
    assert f'a.jpg: holds {what}, which the result does not.' in capsys.readouterr().err
    out = read_photo(tmp_path / 'out' / 'a.jpg')
    assert out.xmp is None and out.exif is not None and out.appended == ()


def test_second_pictures_and_gain_maps_by_iso_are_said(tmp_path):
    (tmp_path / 'a.mpo').write_bytes(saved(picture(), 'MPO', save_all=True, append_images=[picture()]))
    assert read_photo(tmp_path / 'a.mpo').appended == ('a second picture',)
    with_xmp = read_photo(tmp_path / 'a.mpo')
    write_picture(tmp_path / 'x.jpg', with_xmp.pixels, replace(with_xmp, xmp=xmp('')), keep_metadata=True)
    assert read_photo(tmp_path / 'x.jpg').xmp == xmp('')  # which says nothing of the second picture
    (tmp_path / 'a.tif').write_bytes(saved(picture(), 'TIFF', save_all=True, append_images=[picture()] * 2))
    assert read_photo(tmp_path / 'a.tif').appended == ('2 more pictures',)
    plain = saved(picture(), xmp=xmp(''))
    (tmp_path / 'b.jpg').write_bytes(plain)
    assert read_photo(tmp_path / 'b.jpg').appended == () == tuple(read_photo(tmp_path / 'b.jpg').notes)
    name = b'urn:iso:std:iso:ts:21496:-1\0' + bytes(4)
    segment = b'\xff\xe2' + (len(name) + 2).to_bytes(2, 'big') + name
    content = add_segments(plain, comment=b'x')
    (tmp_path / 'c.jpg').write_bytes(content[:20] + segment + content[20:])
    assert read_photo(tmp_path / 'c.jpg').appended == ('an HDR gain map',)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_an_orientation_in_xmp_alone_does_not_turn(tmp_path, weights, kind):  # noqa: F811
    source = tmp_path / f'a.{kind.lower()}'
    packet = xmp('', 'tiff:Orientation="6"')
    content = saved(picture(), kind, **({} if kind == 'PNG' else {'tiffinfo': {700: packet}} if kind == 'TIFF' else
                                        {'xmp': packet}))
    if kind == 'PNG':
        from PIL import PngImagePlugin
        text = PngImagePlugin.PngInfo()
        text.add_itxt('XML:com.adobe.xmp', packet.decode())
        content = saved(picture(), kind, pnginfo=text)
    source.write_bytes(content)
    assert Image.open(io.BytesIO(content)).getexif().get(0x0112) in (6, None)
    assert read_photo(source).orientation == 1 and read_photo(source).xmp == packet
    assert restore.main([str(source), '-o', str(tmp_path / 'b.png'), '--weights', str(weights), '--force']) == 0
    assert Image.open(tmp_path / 'b.png').size == (51, 37)
    if kind == 'JPEG':  # EXIF counts beside it
        source.write_bytes(saved(picture(), kind, xmp=packet, exif=exif(3)))
        assert read_photo(source).orientation == 3


@pytest.mark.parametrize('better', list(GOOD))
def test_files_of_a_good_quality_are_left_copied_or_restored(tmp_path, weights, capsys, better):  # noqa: F811
    root, out = tmp_path / 'in', tmp_path / 'out'
    jpegs(root, ['bad.jpg'])
    picture().save(root / 'good.jpg', quality=90, comment='mine')
    assert restore.main(args_of(tmp_path, weights, '--better', better)) == 0
    assert names(out) == sorted(['bad.png', *GOOD[better]])
    captured = capsys.readouterr()
    if better == 'leave':
        assert f', 1 left as they are (--max-qf 40) and not in {out}: the lines "left as it is"' in captured.out
        assert 'restoring may harm it: the network takes detail' in captured.err and 'would harm' not in captured.err
    if better == 'copy':
        assert '1 restored' in captured.out and ', 1 copied' in captured.out
        assert f'copied: {root / "good.jpg"}: JPEG quality 90' in captured.err
        assert (out / 'good.jpg').read_bytes() == (root / 'good.jpg').read_bytes()
        assert restore.main(args_of(tmp_path, weights, '--better', better)) == 0
        assert '2 already there' in capsys.readouterr().out


def test_copies_by_name_and_beside_others(tmp_path, weights):  # noqa: F811
    picture().save(tmp_path / 'good.jpg', quality=90)
    for name, kind in (('x.png', 'PNG'), ('x.jpeg', 'JPEG')):
        assert restore.main([str(tmp_path / 'good.jpg'), '-o', str(tmp_path / name), '--weights', str(weights),
                             '--better', 'copy']) == 0
        assert Image.open(tmp_path / name).format == kind
        assert np.array_equal(read_photo(tmp_path / name).pixels, read_photo(tmp_path / 'good.jpg').pixels)
    before = (tmp_path / 'good.jpg').read_bytes()
    assert restore.main([str(tmp_path / 'good.jpg'), '-o', str(tmp_path), '--weights', str(weights), '--better', 'copy',
                         '--overwrite']) == 0  # onto itself
    assert (tmp_path / 'good.jpg').read_bytes() == before


def test_grey_stays_grey_unless_colour_is_asked_for(tmp_path, weights, capsys):  # noqa: F811
    root = tmp_path / 'in'
    root.mkdir()
    picture().convert('L').convert('RGB').save(root / 'a.jpg', quality=5)
    arguments = args_of(tmp_path, weights, '--caption', 'a red bird')
    assert restore.main(arguments) == 0
    assert '1 of 1 files have a caption, but are grey and stay so; --colourise' in capsys.readouterr().err
    pixels = read_photo(tmp_path / 'out' / 'a.png').pixels
    assert (pixels == pixels[..., :1]).all()
    assert restore.main([*arguments, '--overwrite', '--colourise']) == 0
    assert 'stay so' not in capsys.readouterr().err
    assert np.ptp(read_photo(tmp_path / 'out' / 'a.png').pixels, axis=2).max() > 0
