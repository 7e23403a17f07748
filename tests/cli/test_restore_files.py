"""`tgjar restore` on folders: which files are taken, where the results go, and what is said of the rest."""


import os
import socket

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_restore import args_of, experiment, jpegs, tokenizer, weights  # noqa: F401  fixtures among them
from tests.helpers.photo_files import picture
from tgjar_arch.cli import restore
from tgjar_arch.cli.restore_files import FoundImages, find_images, plan
from tgjar_arch.restoration.restorer import Restorer


def test_results_never_collide(tmp_path):
    root, out = tmp_path / 'in', tmp_path / 'out'
    names = ['a.jpg', 'a.jpeg', 'a.png', 'a.jpg.jpg', 'A.JPG', 'sub/a.jpg', 'b.v2.JPG']
    jpegs(root, names)
    picture().save(root / 'a.png')
    found = find_images(root, out)
    assert len(found.files) == 7
    targets = [job.target.relative_to(out).as_posix() for job in plan([found], out)]
    assert sorted(targets) == ['A.JPG.png', 'a.jpeg.png', 'a.jpg.2.png', 'a.jpg.jpg.png', 'a.png.png', 'b.v2.png',
                               'sub/a.png']
    assert len({target.lower() for target in targets}) == 7
    files = [root / name for name in ('A.jpg', 'a.JPG', 'a.jpg', 'a.jpg.2.jpg')]
    targets = [job.target.name for job in plan([FoundImages(root, files)], out)]
    assert targets == ['A.jpg.png', 'a.JPG.3.png', 'a.jpg.4.png', 'a.jpg.2.png']


def test_results_inside_the_input_are_not_restored_again(tmp_path, weights, capsys):  # noqa: F811
    jpegs(tmp_path / 'in', ['a.jpg'])
    arguments = ['-i', str(tmp_path / 'in'), '-o', str(tmp_path / 'in' / 'done'), '--weights', str(weights), '--quiet',
                 '--format', 'jpg', '--quality', '10']
    assert restore.main(arguments) == 0 and restore.main([*arguments, '--overwrite']) == 0
    assert [path.name for path in (tmp_path / 'in' / 'done').iterdir()] == ['a.jpg']


def test_folders_that_cannot_be_read_are_failures(tmp_path, weights, capsys, locked):  # noqa: F811
    root = tmp_path / 'in'
    jpegs(root, ['a.jpg', 'locked/b.jpg'])
    (root / 'loop').symlink_to(root)
    locked.add(str(root / 'locked'))
    assert restore.main(args_of(tmp_path, weights)) == 1
    captured = capsys.readouterr()
    assert '1 restored' in captured.out and '1 failed' in captured.out
    assert f'failed: {root / "locked"}: the folder cannot be read: Permission denied' in captured.err
    locked.add(str(root))
    assert restore.main(args_of(tmp_path, weights)) == 2
    assert f'the folder {root} cannot be read: Permission denied.' in capsys.readouterr().err


def test_metadata_of_subfolders(tmp_path, weights, capsys):  # noqa: F811
    root = tmp_path / 'in'
    jpegs(root, ['sub/a.jpg'])
    (root / 'sub' / 'metadata.jsonl').write_text('{"file_name": "a.jpg", "captions": ["a red bird"]}\n')
    assert restore.main(args_of(tmp_path, weights, '--show-caption')) == 0
    assert 'caption "a red bird", from metadata.jsonl' in capsys.readouterr().out


def test_a_mistake_in_the_metadata_is_told_once_and_the_rest_is_read(tmp_path, weights, capsys, caplog):  # noqa: F811
    jpegs(tmp_path / 'in', ['a.jpg', 'b.jpg', 'c.jpg'])
    lines = ['{"file_name": "a.jpg", "text": "a red bird"}', '{"captions": []}', '{"file_name": "b.jpg", "text": 5}',
             '', '[{"file_name": "c.jpg"}]', '{"file_name": "c.jpg", "text": "a bird"}']
    (tmp_path / 'in' / 'metadata.jsonl').write_text('\n'.join(lines))
    assert restore.main(args_of(tmp_path, weights, '--show-caption')) == 0
    out = capsys.readouterr().out
    assert '3 restored' in out and 'a.jpg: caption "a red bird"' in out and 'c.jpg: caption "a bird"' in out
    assert 'b.jpg: no caption' in out
    [message] = [record.getMessage() for record in caplog.records if 'metadata.jsonl' in record.getMessage()]
    assert 'metadata.jsonl: line 2: expected an object with "file_name"' in message
    assert message.endswith('; it is left out, as are 2 more lines.')


def test_a_list_instead_of_lines_is_said(tmp_path, weights, caplog):  # noqa: F811
    jpegs(tmp_path / 'in', ['a.jpg'])
    (tmp_path / 'in' / 'metadata.jsonl').write_text('[{"file_name": "a.jpg",\n"text": "a bird"}]')
    assert restore.main(args_of(tmp_path, weights)) == 0
    assert 'line 1: a JSON array; write one object a line instead; it is left out' in caplog.text


def test_odd_entries_never_stop_a_folder(tmp_path, weights, capsys):  # noqa: F811
    root = tmp_path / 'in'
    jpegs(root, ['a.jpg', 'z.jpg'])
    os.mkfifo(root / 'b.jpg')
    (root / 'c.png').symlink_to('c.png')
    (root / 'd.jpg').symlink_to(root / 'gone.jpg')
    (root / 'e.jpeg').symlink_to('/dev/zero')
    (root / 'f.jpg').mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        place = os.getcwd()
        os.chdir(root)  # the name of a socket is at most 107 bytes long
        server.bind('g.jpg')
        os.chdir(place)
        os.mkfifo(root / 'no_picture')
        assert restore.main(args_of(tmp_path, weights)) == 0
    captured = capsys.readouterr()
    assert '2 restored' in captured.out and '5 left out, 0 failed' in captured.out
    assert '5 entries that are no files are left out:' in captured.err and 'no_picture' not in captured.err
    for name, what in (('b.jpg', 'a named pipe'), ('c.png', 'a link to itself'), ('e.jpeg', 'a device'),
                       ('d.jpg', f'a link to {root / "gone.jpg"}, which does not exist'), ('g.jpg', 'a socket')):
        assert f'{root / name} is {what}\n' in captured.err
    for name, what in (('b.jpg', 'a named pipe'), ('e.jpeg', 'a device'), ('c.png', 'a link to itself')):
        assert restore.main([str(root / name), '-o', str(tmp_path / 'out'), '--weights', str(weights)]) == 2
        assert f'{root / name} is {what}; name a file or a folder.' in capsys.readouterr().err


def test_jpeg_files_without_a_suffix_are_found(tmp_path, weights, capsys):  # noqa: F811
    jpegs(tmp_path / 'in', ['a.jpg', 'cache/f_00012a', 'b.dat', 'photo.v2'])
    (tmp_path / 'in' / 'notes').write_text('no picture')
    assert restore.main(args_of(tmp_path, weights)) == 0
    assert sorted(path.relative_to(tmp_path / 'out').as_posix() for path in (tmp_path / 'out').rglob('*.png')) == [
        'a.png', 'b.dat.png', 'cache/f_00012a.png', 'photo.v2.png']


def test_a_jpeg_file_keeps_its_name_beside_pictures_of_other_formats(tmp_path):
    root, out = tmp_path / 'in', tmp_path / 'out'
    files = [root / name for name in ('a.jpg', 'a.png', 'a.webp', 'b.jpg', 'b.jpeg', 'c.png')]
    jobs = plan([FoundImages(root, files)], out)
    assert [job.target.name for job in jobs] == ['a.png', 'a.png.png', 'a.webp.png', 'b.jpg.png', 'b.jpeg.png', 'c.png']
    assert [job.copy.name for job in jobs] == ['a.jpg', 'a.2.png', 'a.webp', 'b.jpg', 'b.jpeg', 'c.png']


def test_what_is_no_jpeg_or_has_16_bits_is_said(tmp_path, weights, capsys):  # noqa: F811
    root = tmp_path / 'in'
    jpegs(root, ['a.jpg'])
    Image.fromarray(np.full((16, 16), 40000, np.uint16)).save(root / 'deep.png')
    picture().save(root / 'clean.png')
    assert restore.main(args_of(tmp_path, weights)) == 0
    error = capsys.readouterr().err
    assert 'more than 8 bits' not in error and error.count('no JPEG file, and no blocks') == 2
    assert restore.main(args_of(tmp_path, weights, '--force', '--overwrite')) == 0
    error = capsys.readouterr().err
    assert (f'2 of 3 files are no JPEG files, and no blocks of an earlier compression were found in them: if they were '
            f'not badly compressed, they got worse: {root / "clean.png"}, {root / "deep.png"}.') in error
    assert f'1 of 3 files have more than 8 bits a sample, of which the results keep 8: {root / "deep.png"}.' in error


def test_200_files_with_20_broken_ones_and_a_stop_in_between(tmp_path, weights, capsys, monkeypatch):  # noqa: F811
    root, out = tmp_path / 'in', tmp_path / 'out'
    jpegs(root, [f'{k % 7}/{k:03}.jpg' for k in range(200)], size=(16, 16))
    broken = sorted(root.rglob('*.jpg'))[::10]
    for k, path in enumerate(broken):
        content = path.read_bytes()
        path.write_bytes([b'', content[:len(content) // 2], b'no picture', content[:30]][k % 4])
    call = Restorer.__call__
    calls = []

    def stopped(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 78:
            raise KeyboardInterrupt
        return call(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Restorer, '__call__', stopped)
        with pytest.raises(KeyboardInterrupt):
            restore.main(args_of(tmp_path, weights))
    assert len(list(out.rglob('*.png'))) == 77
    assert restore.main(args_of(tmp_path, weights)) == 1
    captured = capsys.readouterr()
    assert '103 restored' in captured.out and '77 already there' in captured.out and '20 failed' in captured.out
    lines = [line for line in captured.err.splitlines() if line.startswith('failed: ')]
    assert len(lines) == 20 and all(sum(str(path) in line for line in lines) == 1 for path in broken)
    assert len(list(out.rglob('*.png'))) == 180
    assert [path.name for path in out.rglob('.*')] == []


def test_a_folder_with_bad_files(tmp_path, weights, capsys):  # noqa: F811
    root, out = tmp_path / 'in', tmp_path / 'out'
    jpegs(root, ['a.jpg', 'deep/b.jpg', 'c.jpg'])
    jpegs(root, ['small.jpg'], size=(5, 3))
    (root / 'c.jpg').write_bytes((root / 'c.jpg').read_bytes()[:-300])
    (root / 'empty.jpg').write_bytes(b'')
    (root / 'text.jpg').write_text('no image')
    arguments = ['-i', str(root), '-o', str(out), '--weights', str(weights), '--quiet']
    assert restore.main(arguments) == 1
    captured = capsys.readouterr()
    assert '3 restored' in captured.out and '3 failed' in captured.out
    for name in ('c.jpg', 'empty.jpg', 'text.jpg'):
        assert f'failed: {root / name}' in captured.err
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob('*') if path.is_file())
    assert written == ['a.png', 'deep/b.png', 'small.png']
    assert Image.open(out / 'small.png').size == (5, 3)
    stamp = (out / 'a.png').stat().st_mtime_ns
    assert restore.main(arguments) == 1
    assert '0 restored' in (text := capsys.readouterr().out) and '3 already there' in text
    assert (out / 'a.png').stat().st_mtime_ns == stamp
    assert restore.main([*arguments, '--overwrite']) == 1
    assert (out / 'a.png').stat().st_mtime_ns > stamp


def test_pictures_of_formats_that_are_never_read_are_counted_and_named(tmp_path, weights, capsys):  # noqa: F811
    root = tmp_path / 'in'
    jpegs(root, ['a.jpg', 'misnamed.jpg'])
    (root / 'misnamed.jpg').rename(root / 'misnamed.tga')
    picture().convert('L').save(root / 'grey.pgm')
    picture().save(root / 'raw.tif')
    (root / 'raw.tif').rename(root / 'raw.DNG')  # a raw file's content is TIFF, with a thumbnail
    (root / 'drawing.psd').write_bytes(b'8BPS' + bytes(30))
    (root / 'notes.doc').write_bytes(b'no picture')
    assert restore.main(args_of(tmp_path, weights, '--better', 'copy')) == 0
    captured = capsys.readouterr()
    assert '2 restored' in captured.out and '1 copied' in captured.out and '2 left out, 0 failed' in captured.out
    assert f'{root / "drawing.psd"} is a .psd file, a format that is not read here' in captured.err
    assert f'{root / "raw.DNG"} is a .DNG file' in captured.err and 'notes.doc' not in captured.err
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['a.png', 'grey.pgm', 'misnamed.tga.png']
