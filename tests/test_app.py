"""The page of `tgjar app`: its two functions, its limits, and the whole in a real browser where one is installed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip('gradio', reason="the page is optional: pip install 'tgjar[app]'")

from tgjar_arch import app  # noqa: E402
from tgjar_arch.cli.main import main  # noqa: E402
from tgjar_arch.restoration.fidelity import FidelityDial  # noqa: E402
from tgjar_arch.restoration.interrupt import Abandoned  # noqa: E402
from tgjar_arch.restoration.restorer import Restorer  # noqa: E402
from tgjar_arch.weights.file import read_weights, write_weights  # noqa: E402
from tgjar_arch.weights.shipped import find_weights  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
LIMITS = app.Limits(max_pixels=100_000, max_qf=8)
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


def wait_until(page: Any, condition: str, arg: Any = None, seconds: float = 120) -> None:
    """Wait for a condition in the page; playwright's own `wait_for_function` compiles text there, which it forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition, arg):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


@pytest.fixture(scope='module')
def restorer() -> Restorer:
    return Restorer.from_pretrained('tgjar_universal', 'cpu')


@pytest.fixture
def jpeg(photos, tmp_path: Path) -> str:
    file = tmp_path / 'cat.jpg'
    with Image.open(photos(size=96) / 'chelsea.png') as image:
        image.save(file, quality=1, comment='a brown cat')
    return str(file)


@pytest.fixture(scope='module')
def partner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that can be interpolated with `tgjar_universal`: they change half as much."""
    weights = read_weights(find_weights('tgjar_universal'))
    state = {name: value / 2 if name.startswith('tail.') else value for name, value in weights.state_g.items()}
    file = tmp_path_factory.mktemp('partner') / 'true.safetensors'
    write_weights(file, replace(weights, state_g=state))
    return file


def restore(path: str | None, caption: str, text_strength: float, restorer: Restorer, folder: Path,
            self_ensemble: bool = False, colourise: bool = False, strength: float = 1., fidelity: float = 0.,
            dial: FidelityDial | None = None) -> tuple:
    return app.restore(path, caption, text_strength, self_ensemble, colourise, strength, fidelity, restorer=restorer,
                       limits=LIMITS, folder=folder, lock=threading.Lock(), progress=lambda *_, **__: None, dial=dial)


def test_an_upload_shows_its_caption_and_quality(jpeg: str) -> None:
    (before, after), caption, facts = app.show(jpeg, LIMITS)
    assert np.array_equal(before, np.asarray(Image.open(jpeg).convert('RGB'))) and before is after
    assert caption == 'a brown cat'
    assert facts == f'cat.jpg: JPEG quality 1, 4:2:0, 96 x 96, {os.path.getsize(jpeg):,} bytes.'
    assert app.show(None, LIMITS) == (None, '', '')


def test_a_good_file_and_another_format_get_a_warning(jpeg: str, tmp_path: Path) -> None:
    image = Image.open(jpeg)
    image.save(tmp_path / 'good.jpg', quality=50)
    image.save(tmp_path / 'good.png')
    assert 'for quality 8 and below: restoring may harm it' in app.show(str(tmp_path / 'good.jpg'), LIMITS)[2]
    assert 'no JPEG file' in app.show(str(tmp_path / 'good.png'), LIMITS)[2]


def test_restores_what_the_api_restores(jpeg: str, restorer: Restorer, tmp_path: Path) -> None:
    (before, after), file, note = restore(jpeg, ' a  brown\ncat ', 1.5, restorer, tmp_path)
    pixels = np.asarray(Image.open(jpeg).convert('RGB'))
    assert np.array_equal(after, restorer(pixels, 'a brown cat', text_strength=1.5))
    assert np.array_equal(np.asarray(Image.open(file)), after) and Path(file).name == 'cat_restored.png'
    assert 'with the caption' in note and not np.array_equal(before, after)
    plain = restore(jpeg, '', 1., restorer, tmp_path)
    assert 'without a caption' in plain[2] and not np.array_equal(plain[0][1], after)
    assert 'none of its words is known' in restore(jpeg, 'собака', 1., restorer, tmp_path)[2]
    assert 'unknown: собака' in restore(jpeg, 'a brown собака', 1., restorer, tmp_path)[2]
    long = restore(jpeg, 'brown ' * 30, 1., restorer, tmp_path)[2]
    assert 'cut to the first words of it that make up 20 pieces' in long


def test_self_ensemble_holds_for_the_request_that_asks_for_it(jpeg: str, restorer: Restorer, tmp_path: Path) -> None:
    once = restore(jpeg, 'a brown cat', 1., restorer, tmp_path)
    twice = restore(jpeg, 'a brown cat', 1., restorer, tmp_path, self_ensemble=True)
    again = restore(jpeg, 'a brown cat', 1., restorer, tmp_path)
    pixels = np.asarray(Image.open(jpeg).convert('RGB'))
    assert np.array_equal(twice[0][1], Restorer.from_pretrained('tgjar_universal', 'cpu', self_ensemble=True)(
        pixels, 'a brown cat'))
    assert 'twice (self-ensemble)' in twice[2] and 'self-ensemble' not in again[2]
    assert np.array_equal(again[0][1], once[0][1]) and not np.array_equal(twice[0][1], once[0][1])


def test_strength_and_fidelity(jpeg: str, partner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = Restorer.from_pretrained('tgjar_universal', 'cpu')
    dial = FidelityDial.find(restorer, find_weights('tgjar_universal'), partner)
    monkeypatch.setattr('tgjar_arch.restoration.fidelity.read_weights', None)  # no file is read from here on
    pixels = np.asarray(Image.open(jpeg).convert('RGB'))
    for fidelity, strength in ((.3, .5), (1., 1.), (0., 0.)):
        (_, after), _, note = restore(jpeg, 'a brown cat', 1., restorer, tmp_path, strength=strength,
                                      fidelity=fidelity, dial=dial)
        expected = Restorer.from_pretrained('tgjar_universal', 'cpu', fidelity=fidelity, fidelity_weights=partner)
        assert np.array_equal(after, expected(pixels, 'a brown cat', strength=strength)), (fidelity, strength)
        assert (f'at fidelity {fidelity:g}' in note) == (fidelity > 0)
        assert (f'at strength {strength:g}' in note) == (strength < 1)
    assert np.array_equal(after, pixels)
    for name, value in (('strength', 2.5), ('fidelity', 1.5)):
        with pytest.raises(gr.Error, match=f'{name} must be a number from 0'):
            restore(jpeg, '', 1., restorer, tmp_path, dial=dial, **{name: value})


def test_fidelity_needs_weights(restorer: Restorer, partner: Path, tmp_path: Path,
                                capsys: pytest.CaptureFixture[str]) -> None:
    """Of weights that have no partner the page has no slider; a wrong partner is named."""
    assert FidelityDial.find(restorer, partner) is None
    config = app.build(restorer, LIMITS, tmp_path, 'name').get_config_file()
    shown = {part['props'].get('elem_id'): part['props'].get('visible') for part in config['components']}
    assert shown['fidelity'] is False and shown['strength'] is True
    other = read_weights(partner)
    write_weights(tmp_path / 'other.safetensors', replace(other, max_words=other.max_words + 1))
    for file, said in (('other.safetensors', 'cannot be interpolated, since max_words differs'), ('no', 'not exist')):
        assert main(['app', '--fidelity-weights', str(tmp_path / file)]) == 2
        error = capsys.readouterr().err
        assert said in error and file in error and error.count('\n') == 1


def test_a_turned_photo_comes_out_upright(jpeg: str, restorer: Restorer, tmp_path: Path) -> None:
    image = Image.open(jpeg).crop((0, 0, 96, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / 'turned.jpg', quality=1, exif=exif)
    (before, after), file, _ = restore(str(tmp_path / 'turned.jpg'), '', 1., restorer, tmp_path)
    assert before.shape == after.shape == (96, 64, 3) and Image.open(file).size == (64, 96)


@pytest.mark.parametrize(('damage', 'said'), [
    ('cut', r'.cat\.jpg is'), ('text', r'.cat\.jpg is'), ('large', r'.cat\.jpg.*100,000'),
    ('long', '2,000 are enough'), ('none', 'Drop a JPEG file first')])
def test_what_cannot_be_used_is_said(damage: str, said: str, jpeg: str, restorer: Restorer, tmp_path: Path) -> None:
    path, caption = jpeg, ''
    if damage == 'cut':
        os.truncate(jpeg, os.path.getsize(jpeg) // 2)
    elif damage == 'text':
        Path(jpeg).write_text('no picture')
    elif damage == 'large':
        Image.new('RGB', (1000, 200)).save(jpeg)
    elif damage == 'long':
        caption = 'brown cat ' * 3000
    else:
        path = None
    with pytest.raises(gr.Error, match=said):
        restore(path, caption, 1., restorer, tmp_path)
    assert not list(tmp_path.glob('*/*_restored.png'))


def test_wrong_arguments_end_in_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(['app', '--weights', 'no_such_weights']) == 2
    error = capsys.readouterr().err
    assert error.startswith('tgjar app: ') and 'no_such_weights does not exist' in error and error.count('\n') == 1
    monkeypatch.setitem(sys.modules, 'gradio', None)
    monkeypatch.delitem(sys.modules, 'tgjar_arch.app')
    monkeypatch.delattr('tgjar_arch.app')
    assert main(['app']) == 2
    assert "pip install 'tgjar[app]'" in capsys.readouterr().err


def test_a_grey_picture_is_coloured_on_demand(photos, restorer: Restorer, tmp_path: Path) -> None:
    with Image.open(photos(size=96) / 'chelsea.png') as image:
        image.convert('L').save(tmp_path / 'grey.jpg', quality=1)
    given = {'path': str(tmp_path / 'grey.jpg'), 'caption': 'a brown cat', 'text_strength': 1., 'restorer': restorer,
             'folder': tmp_path}
    plain, coloured, without = restore(**given), restore(**given, colourise=True), restore(
        **given | {'caption': ''}, colourise=True)
    pixels = np.asarray(Image.open(tmp_path / 'grey.jpg').convert('RGB'))
    assert np.array_equal(coloured[0][1], restorer(pixels, 'a brown cat', colourise=True))
    assert np.ptp(coloured[0][1].astype(int), axis=2).max() > 10 and Image.open(coloured[1]).mode == 'RGB'
    for result in (plain, without):
        assert np.ptp(result[0][1].astype(int), axis=2).max() == 0 and Image.open(result[1]).mode == 'L'
    assert 'Colourise' in plain[2] and 'Colourise' not in coloured[2] + without[2]


def test_errors_are_text_and_no_html(jpeg: str, restorer: Restorer, tmp_path: Path) -> None:
    """Gradio shows them as HTML."""
    name = '<img src=x onerror=alert(1)>&.jpg'
    (tmp_path / name).write_bytes(Path(jpeg).read_bytes()[:300])
    (tmp_path / '<b>.exe').write_bytes(b'x')
    for path in (tmp_path / name, tmp_path / '<b>.exe'):
        with pytest.raises(gr.Error, match='&lt;') as error:
            restore(str(path), '', 1., restorer, tmp_path)
        assert '<' not in str(error.value) and str(tmp_path) not in str(error.value)


def test_a_result_that_nobody_waits_for_is_not_computed(jpeg: str, restorer: Restorer, tmp_path: Path) -> None:
    asked = iter([True, True, False])
    with pytest.raises(Abandoned):
        app.restore(jpeg, 'a brown cat', 1., restorer=restorer, limits=LIMITS, folder=tmp_path, lock=threading.Lock(),
                    progress=lambda *_, **__: None, is_wanted=lambda: next(asked))
    assert not list(tmp_path.glob('*/*_restored.png'))


@contextmanager
def served(tmp_path: Path, *arguments: str, end: signal.Signals) -> Iterator[tuple[str, int]]:
    """Address and process of `tgjar app`, which a signal ends: with nothing left behind."""
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'TMPDIR': str(tmp_path)}
    # Shells start background jobs with SIGINT ignored, which a program started by one inherits unless it is handled.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([sys.executable, '-m', 'tgjar_arch', 'app', *arguments], text=True, env=environment,
                               stderr=subprocess.PIPE, cwd=tmp_path)
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r'http://127\.0\.0\.1:\d+/', line):
                break
        else:
            pytest.fail('the page did not start:\n' + ''.join(said))
        reader = threading.Thread(target=lambda: said.extend(process.stderr))  # or a full pipe would stop it
        reader.start()
        yield found[0], process.pid
    finally:
        process.send_signal(end)
        signal.signal(signal.SIGINT, before)
        assert process.wait(120) == 0
        watchdog.cancel()
    reader.join(30)
    process.stderr.close()
    assert 'Traceback' not in ''.join(said)
    assert not list(tmp_path.glob('tgjar_app_*')), 'uploads were left behind'


@contextmanager
def browser_page() -> Iterator:
    """A page of a real browser."""
    sync_api = pytest.importorskip('playwright.sync_api')
    switches = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
                '--disable-component-update', '--disable-sync']
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=switches)
        page = browser.new_page(viewport={'width': 1280, 'height': 1000})
        page.set_default_timeout(180_000)
        yield page
        browser.close()


@pytest.fixture
def address(tmp_path: Path, partner: Path) -> Iterator[str]:
    """Address of `tgjar app` in a process of its own, as it says it, until Ctrl-C."""
    with served(tmp_path, '--max-pixels', '400000', '--weights', 'tgjar_universal', '--fidelity-weights', str(partner),
                end=signal.SIGINT) as (found, _):
        yield found


@pytest.mark.skipif(CHROMIUM is None, reason='no Chromium: apt-get install chromium')
def test_in_a_browser(address: str, jpeg: str, partner: Path, tmp_path: Path) -> None:
    """Upload, the file's caption appears, restore, the picture changes, by all sliders.

    A broken file is named, and no other host is asked.
    """
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(Path(jpeg).read_bytes()[:400])
    with browser_page() as page:
        asked: set[str] = set()
        page.on('request', lambda request: asked.add(request.url))
        page.goto(address)
        page.set_input_files('#file input[type=file]', jpeg)
        wait_until(page, "document.querySelector('#caption textarea').value == 'a brown cat'")
        wait_until(page, "document.querySelectorAll('#slider img').length >= 2")

        def shown() -> list[str]:
            return [image.get_attribute('src') for image in page.query_selector_all('#slider img')]

        assert len(set(shown())) == 1
        page.click('#restore')
        wait_until(page, "document.querySelector('#note').innerText.includes('Restored with the caption')")
        wait_until(page, "new Set([...document.querySelectorAll('#slider img')].map(i => i.src)).size >= 2")
        with page.expect_download() as download:
            page.click('#result')
        with Image.open(download.value.path()) as result:
            assert result.size == (96, 96) and result.format == 'PNG'
        page.check('#twice input')
        page.fill('#fidelity input[type=number]', '0.5')
        page.fill('#strength input[type=number]', '0.75')
        page.click('#restore')
        wait_until(page, "document.querySelector('#note').innerText.includes('twice (self-ensemble), at fidelity 0.5, "
                         "at strength 0.75;')")
        with page.expect_download() as download:
            page.click('#result')
        expected = Restorer.from_pretrained('tgjar_universal', 'cpu', None, True, .5, partner)(
            np.asarray(Image.open(jpeg)), 'a brown cat', strength=.75)
        assert np.array_equal(np.asarray(Image.open(download.value.path())), expected)
        page.screenshot(path=tmp_path / 'page.png')

        page.reload()
        page.set_input_files('#file input[type=file]', broken)
        page.wait_for_selector('text=/broken\\.jpg.*(truncated|broken)/')
        page.reload()
        page.click('text=a white cup of espresso')
        wait_until(page, "document.querySelector('#caption textarea').value.includes('espresso')")
    outside = {url for url in asked if not url.startswith((address, 'data:', 'blob:'))}
    assert not outside


@pytest.fixture
def silent() -> Iterator[tuple[int, list[str]]]:
    """A port that listens, and what it was asked for, which must be nothing."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_POST = do_HEAD = do_OPTIONS = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, heard
        server.shutdown()
        thread.join()


def seconds_of_work(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


@pytest.mark.skipif(CHROMIUM is None, reason='no Chromium: apt-get install chromium')
@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='no /proc, which tells of processor time')
def test_foreign_text_and_sudden_ends_in_a_browser(photos, silent: tuple[int, list[str]], tmp_path: Path) -> None:
    """Captions, names and errors with markup are shown as they are, and nothing is fetched by them.

    Another user's `gradio` lies in the temporary folder; what is restored when the browser is closed ends soon, and
    SIGTERM leaves nothing.
    """
    port, heard = silent
    (tmp_path / 'gradio').touch()
    (tmp_path / 'files').mkdir()
    picture = Image.open(photos(size=96) / 'chelsea.png')

    def file(name: str, comment: str = '', size: int | None = None) -> str:
        path = tmp_path / 'files' / name
        picture.save(path, 'JPEG', quality=1, comment=comment)
        if size is not None:
            with open(path, 'r+b') as opened:
                opened.truncate(size)
        return str(path)

    # No name has a slash, but browsers read a backslash as one.
    markup = f'<img src=http:\\\\localhost:{port}\\name> ![](http:\\\\localhost:{port}\\x) <b>bold'
    caption = f'bird ![](http://localhost:{port}/x) <img src=http://localhost:{port}/y> [z](http://localhost:{port}/z)'
    # Weights with a vocabulary of words, so that there are unknown ones, which the note has.
    with served(tmp_path, '--max-megabytes', '1', '--weights', 'tgjar_cub_qf1', end=signal.SIGTERM) as (found, pid):
        connection = HTTPConnection('127.0.0.1', int(found.rpartition(':')[2].strip('/')), timeout=60)
        for host, status in (('evil.example', 403), (found.split('/')[2], 200)):
            connection.request('GET', '/', headers={'Host': host})
            answer = connection.getresponse()
            assert answer.status == status and "default-src 'self'" in answer.headers['content-security-policy']
            answer.read()
            connection.close()
        with browser_page() as page:
            asked: set[str] = set()
            page.on('request', lambda request: asked.add(request.url))
            refused: list[str] = []
            page.on('console', lambda line: refused.append(line.text) if 'Content Security' in line.text else None)
            page.goto(found)
            page.set_input_files('#file input[type=file]', file('bird.jpg', caption))
            wait_until(page, 'text => document.querySelector("#caption textarea").value == text', arg=caption)
            page.click('#restore')
            wait_until(page, "document.querySelector('#note').innerText.includes('Restored with the caption')")
            assert f'![](http://localhost:{port}/x), <img, ' in page.inner_text('#note')
            for name, size, said in ((f'{markup}.jpg', None, 'JPEG quality 1'), (f'{markup}e.jpg', 300, 'broken'),
                                     (f'{markup}.exe', None, 'none of the files'),
                                     (f'{markup}l.jpg', 1_500_000, '1 MB are not taken')):
                page.reload()
                page.set_input_files('#file input[type=file]', file(name, size=size))
                page.wait_for_selector(f'text=/{said}/')
                assert page.locator('[data-testid=toast-body] img, #facts img, b:text("bold")').count() == 0
            page.reload()
            picture = Image.effect_noise((1600, 1600), 40)
            page.set_input_files('#file input[type=file]', file('large.jpg'))
            wait_until(page, "document.querySelector('#facts').innerText.includes('1600 x 1600')")
            page.click('#restore')
            before = seconds_of_work(pid)
            while seconds_of_work(pid) < before + 3:  # it is at work
                time.sleep(.1)
        for _ in range(30):
            before = seconds_of_work(pid)
            time.sleep(1)
            if seconds_of_work(pid) < before + .3:
                break
        else:
            pytest.fail('the abandoned restoration went on')
    assert not heard and not refused
    assert not {url for url in asked if not url.startswith((found, 'data:', 'blob:'))}
