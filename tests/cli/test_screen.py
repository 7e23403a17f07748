"""What commands print is fit for any terminal, and no terminal makes a command fail."""

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.test_restore import experiment, jpegs, tokenizer, weights  # noqa: F401  fixtures among them
from tests.helpers.checkout import ROOT
from tests.helpers.photo_files import picture
from tgjar_arch.cli import main as cli
from tgjar_arch.cli.screen import one_line, printable


@pytest.fixture
def printing(monkeypatch: pytest.MonkeyPatch):
    """Return `run(text, encoding, stream)`: a command that prints a text, on a terminal of an encoding."""

    def run(text: str, encoding: str = 'utf-8', end: str = '\n') -> str:
        def command(arguments: list[str]) -> int:
            print(text, end=end)
            return 0

        monkeypatch.setitem(cli.COMMANDS, 'doctor', ('tests.cli.test_screen:unused', ''))
        monkeypatch.setattr(sys.modules[__name__], 'unused', command, raising=False)
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, 'stdout', stream)
        assert cli.main(['doctor']) == 0 and sys.stdout is stream
        return stream.buffer.getvalue().decode(encoding)

    return run


@pytest.mark.parametrize(('encoding', 'expected'), [
    ('utf-8', 'PSNR ↑ ± 1 – 🐦 é'), ('cp1252', 'PSNR ^ ± 1 – \\U0001f426 é'), ('latin-1', 'PSNR ^ ± 1 - \\U0001f426 é'),
    ('ascii', 'PSNR ^ +/- 1 - \\U0001f426 \\xe9'), ('cp437', 'PSNR ↑ ± 1 - \\U0001f426 é')])
def test_what_an_encoding_lacks_is_written_another_way(printing, encoding: str, expected: str) -> None:
    if encoding == 'cp437':
        expected = expected.replace('↑', '^')
    assert printing('PSNR ↑ ± 1 – 🐦 é', encoding) == f'{expected}\n'


@pytest.mark.parametrize(('text', 'expected'), [
    ('\x1b[2J\x1b]0;owned\x07', r'\x1b[2J\x1b]0;owned\x07'), ('a\x9b31mb', r'a\x9b31mb'), ('a\x00\x08b', r'a\x00\x08b'),
    ('bird\u202egpj.exe', r'bird\u202egpj.exe'), ('a\rb', r'a\rb'), ('a\u2028b', r'a\u2028b'),
    ('two\nlines\tand a tab', 'two\nlines\tand a tab')])
def test_control_characters_are_shown(printing, text: str, expected: str) -> None:
    assert printing(text) == f'{expected}\n'


def test_a_progress_bar_still_moves(printing) -> None:
    for text in ('\rrestore: 10%', '\n\n\x1b[A\x1b[A', '\r      \r', ''):
        assert printing(text, end='') == text


def test_a_name_that_is_no_utf_8(printing) -> None:
    assert printing(os.fsdecode(b'caf\xe9.jpg')) == 'caf\\udce9.jpg\n'


def test_a_line_stays_one() -> None:
    assert one_line('failed: a\nfailed: b\r\tc') == r'failed: a\nfailed: b\r\tc'
    assert printable('x', 'no-such-encoding') == 'x'


def test_restoring_on_another_console(tmp_path, weights, monkeypatch) -> None:  # noqa: F811
    """No name and no comment makes a file fail, and none reaches the terminal as it is."""
    names = ['小鳥.jpg', 'two\nlines.jpg', '\x1b[31mred.jpg', os.fsdecode(b'caf\xe9.jpg')]
    jpegs(tmp_path / 'in', names)
    picture().save(tmp_path / 'in' / 'comment.jpg', quality=5, comment='a bird → \x1b[2J here')
    out, err = (io.TextIOWrapper(io.BytesIO(), 'cp1252') for _ in range(2))
    monkeypatch.setattr(sys, 'stdout', out)
    monkeypatch.setattr(sys, 'stderr', err)
    assert cli.main(['restore', str(tmp_path / 'in'), '-o', str(tmp_path / 'out'), '--weights', str(weights),
                     '--device', 'cpu', '--show-caption']) == 0
    text = out.buffer.getvalue().decode('cp1252')
    assert '5 restored' in text and '0 failed' in text and '\x1b' not in text
    assert r'\u5c0f\u9ce5.jpg' in text and r'two\nlines.jpg' in text and r'\x1b[31mred.jpg' in text
    assert len(list((tmp_path / 'out').iterdir())) == 5


def tgjar(command: str, **environment: str) -> subprocess.CompletedProcess:
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    return subprocess.run(['bash', '-c', f'set -o pipefail; {command}'], capture_output=True, text=True, cwd=ROOT,
                          env=os.environ | {'PATH': path, 'PYTHONPATH': str(ROOT)} | environment)


COMMAND = f'{sys.executable} -m tgjar_arch --help'


@pytest.mark.skipif(sys.platform == 'win32', reason='a shell of Unix')
@pytest.mark.parametrize(('command', 'code'), [
    (f'{COMMAND} | head -1', 0), (f'{COMMAND} | true', 0), (f'{COMMAND} >&-', 0), (f'{COMMAND} >&- 2>&-', 0),
    (f'{COMMAND} >/dev/full', 1)])
def test_nobody_reads(command: str, code: int) -> None:
    done = tgjar(command)
    assert done.returncode == code
    said = 'tgjar: the output could not be written, as on a full disk.\n' if code else ''
    assert done.stderr == said


def test_a_reader_who_goes_away_does_not_stop_the_work(tmp_path, weights) -> None:  # noqa: F811
    jpegs(tmp_path / 'in', ['a.jpg', 'b.jpg', 'c.jpg'])
    done = tgjar(f'{sys.executable} -u -m tgjar_arch restore {tmp_path / "in"} -o {tmp_path / "out"} '
                 f'--weights {weights} --device cpu --quiet --show-caption | true')
    assert done.returncode == 0 and 'failed' not in done.stderr and 'Broken' not in done.stderr
    assert len(list((tmp_path / 'out').iterdir())) == 3


def test_evaluate_prints_its_arrows(photos, tmp_path, monkeypatch, capfd) -> None:
    folder = photos(size=48)
    out = io.TextIOWrapper(io.BytesIO(), 'cp1252')
    monkeypatch.setattr(sys, 'stdout', out)
    assert cli.main(['evaluate', str(folder), '-o', str(tmp_path / 'out'), '--metrics', 'psnr', '--crop', '0',
                     '--qf', '5', '--quiet']) == 0
    assert 'PSNR ^' in out.buffer.getvalue().decode('cp1252').replace('(dB) ', '')
    assert '↑' in (tmp_path / 'out' / 'tables.md').read_text('utf-8')


def test_pillows_warnings_do_not_reach_the_terminal(tmp_path, monkeypatch, capsys):
    exif = b'Exif\0\0II*\0' + (8).to_bytes(4, 'little') + b'\1\0' + b'\x69\x87\4\0\1\0\0\0\x3f\x42\x0f\0' + bytes(4)
    path = tmp_path / 'x.jpg'  # the place of its EXIF data lies behind the end of the file
    Image.new('RGB', (16, 16), 'red').save(path, 'JPEG', exif=exif)

    def read(argv):
        with Image.open(path) as image:
            image.getexif().get_ifd(0x8769)
        return 0

    with pytest.warns(UserWarning, match='Corrupt EXIF'):
        read([])
    monkeypatch.setattr(cli, '_run', read)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert cli.main(['restore']) == 0
    assert not caught
