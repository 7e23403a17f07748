"""A page in the browser to restore pictures one by one: drop a JPEG file, say what it shows, look at both (Gradio)."""

import html
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from tgjar_arch.web.folder import PAGE_FOLDER, Store, private_folder

# Read when Gradio is imported: it neither counts its users nor looks for news where nobody asked for it, and its files
# lie in a folder of this process alone, not in one that the first user of the machine to start Gradio owns. `serve`
# makes the folder, and removes it.
os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
os.environ['GRADIO_TEMP_DIR'] = str(PAGE_FOLDER / 'uploads')

import gradio as gr

from tgjar_arch.demo.photographs import photographs
from tgjar_arch.pictures.captions import find_caption
from tgjar_arch.pictures.files import JPEG_SUFFIXES
from tgjar_arch.pictures.photo import Photo, describe, read_photo
from tgjar_arch.pictures.write import upright_srgb, write_picture
from tgjar_arch.restoration.fidelity import FidelityDial
from tgjar_arch.restoration.file import compression_of
from tgjar_arch.restoration.grey import is_neutral
from tgjar_arch.restoration.interrupt import Abandoned, while_wanted
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.cleaning import clean
from tgjar_arch.text.escaping import as_markdown
from tgjar_arch.text.tokenizer import kept_of_caption
from tgjar_arch.web.guard import Guard
from tgjar_arch.web.hosts import Hosts
from tgjar_arch.web.listeners import Listeners

SUFFIXES = [*JPEG_SUFFIXES, '.png', '.webp', '.avif', '.gif']
MAX_TEXT_STRENGTH = 3.
MAX_CAPTION = 2000  # characters; weights read some 20 words or pieces of words
_TITLE = 'TGJAR: restore a badly compressed JPEG with a sentence'
_HELP = ('Drop a picture, write in one sentence what it shows (colours and parts count), and restore it. What JPEG '
         'lost is invented or stays lost: a restored picture is evidence of nothing.')
_BAR = gr.Progress()
_MAX_FILES = 200  # that the page holds at once, uploads and results; the oldest go
_MAX_UPLOADS = 50  # as many times the largest upload is what all these may take
_NO_LATEX: list[dict[str, str | bool]] = []

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What the page accepts.

    Attributes:
        max_pixels: of a picture.
        max_qf: JPEG quality above which the page warns that restoring may do harm.
    """

    max_pixels: int
    max_qf: int


def example_files(folder: Path, qf: int = 1) -> dict[str, str]:
    """Write the demo's photographs as JPEG files that carry their captions.

    Args:
        folder: where to write them.
        qf: their quality.

    Returns:
        File: caption.
    """
    examples = {}
    for name, image, captions in photographs():
        file = folder / f'{name}.jpg'
        image.save(file, quality=qf, subsampling='4:2:0', comment=captions[0])
        examples[str(file)] = captions[0]
    return examples


def _read(path: str, limits: Limits) -> Photo:
    """Read an upload.

    Raises:
        gr.Error: what is wrong with it, by the name it was uploaded with.
    """
    name = Path(path).name
    if not name.lower().endswith(tuple(SUFFIXES)):
        raise _error(f'{name} is none of the files that are read here: {", ".join(SUFFIXES)}.')
    try:
        return read_photo(path, limits.max_pixels)
    except (OSError, ValueError) as error:
        raise _error(str(error).replace(path, name)) from error


def _error(message: str) -> gr.Error:
    """What is said in a corner of the page, which shows it as HTML: messages name files of strangers."""
    return gr.Error(html.escape(message, quote=False), print_exception=False)


def show(path: str | None, limits: Limits) -> tuple[tuple[np.ndarray, np.ndarray] | None, str, str]:
    """A new upload: the picture as it is, the caption it carries, and what it is.

    Raises:
        gr.Error: when it cannot be used.
    """
    if path is None:
        return None, '', ''
    photo = _read(path, limits)
    caption = find_caption(path, max_pixels=limits.max_pixels)
    facts = f'{Path(path).name}: {describe(photo)}, {os.path.getsize(path):,} bytes.'
    found = compression_of(photo)
    facts += f' {found.words}.' if found.words else ''
    if found.qf is None:
        facts += ' It is no JPEG file; restored, it may become worse.'
    elif found.qf > limits.max_qf:
        facts += f' These weights are for quality {limits.max_qf} and below: restoring may harm it.'
    facts += ''.join(f' It {note}.' for note in photo.notes)
    picture = upright_srgb(photo, photo.pixels)
    return (picture, picture), caption.text, facts


def restore(path: str | None, caption: str | None, text_strength: float, self_ensemble: bool = False,
            colourise: bool = False, strength: float = 1., fidelity: float = 0., *, restorer: Restorer, limits: Limits,
            folder: Path, lock: threading.Lock, progress: Callable, is_wanted: Callable[[], bool] = lambda: True,
            dial: FidelityDial | None = None) -> tuple:
    """Restore an upload.

    Args:
        path: the uploaded file.
        caption: what it shows; empty for none.
        text_strength: as of `Restorer`.
        self_ensemble: as of `Restorer`, whose own it becomes.
        colourise: let the caption colour a grey picture, which stays grey otherwise.
        strength: as of `Restorer`.
        fidelity: as of `Restorer.from_pretrained`; without `dial` it has no effect.
        restorer: the networks, of which `lock` lets one request at a time have the use.
        limits: what is accepted.
        folder: for the file to download.
        progress: called with (tiles done, all tiles) and the argument `unit`, as Gradio's bar is.
        is_wanted: whether somebody still waits for the result.
        dial: of `restorer`, which turns it to `fidelity`; None where there are no fidelity weights.

    Returns:
        (before, after), the PNG file, a note.

    Raises:
        gr.Error: when there is no file, or it cannot be restored.
        Abandoned: when nobody waits for it any more.
    """
    if path is None:
        raise _error('Drop a JPEG file first.')
    photo = _read(path, limits)
    caption = clean(caption or '')
    if len(caption) > MAX_CAPTION:
        raise _error(f'The caption has {len(caption):,} characters; {MAX_CAPTION:,} are enough.')
    colourise = colourise and bool(caption) and restorer.takes_text and text_strength > 0
    found = compression_of(photo)
    try:
        with lock, while_wanted(restorer, is_wanted):
            restorer.self_ensemble = self_ensemble
            if dial is not None:
                dial.turn(float(fidelity))
            restored = restorer(photo.pixels, caption, text_strength=float(text_strength), tables=found.tables,
                                grid=found.grid, colourise=colourise, strength=float(strength),
                                progress=lambda done, total: progress((done, total), unit='tiles'))
    except (ValueError, RuntimeError, MemoryError) as error:
        raise _error(str(error).partition('\n')[0] or 'Memory ran out; try a smaller picture.') from error
    target = Path(tempfile.mkdtemp(dir=folder)) / f'{Path(path).stem}_restored.png'
    lost = write_picture(target, photo.upright(restored), photo, keep_grey=not colourise)
    difference = np.abs(restored.astype(np.int16) - photo.pixels).mean()
    how = _with_caption(restorer, caption, text_strength) + (', twice (self-ensemble)' if self_ensemble else '')
    how += f', at fidelity {fidelity:g}' if dial is not None and fidelity else ''
    how += f', at strength {strength:g}' if strength != 1 else ''
    note = f'Restored {how}; {difference:.1f} of 255 changed on average.'
    if how.startswith('with the caption') and not colourise and is_neutral(photo.pixels):
        note += ' The picture is grey and stays so; with “Colourise” the caption may colour it.'
    note += ''.join(f' The file {what}.' for what in lost)
    return (upright_srgb(photo, photo.pixels), upright_srgb(photo, restored)), str(target), note


def _with_caption(restorer: Restorer, caption: str, text_strength: float) -> str:
    if not restorer.takes_text:
        return 'by weights that take no captions'
    if not caption or text_strength == 0:
        return 'without a caption'
    words = [word for word in caption.split() if not restorer.tokenizer.encode(word)]
    known = len(restorer.tokenizer.encode(caption))
    if not known:
        return 'without a caption: none of its words is known'
    notes = [f'unknown: {", ".join(words[:8])}'] if words else []
    if known > restorer.max_words:
        notes.append(f'cut to {kept_of_caption(restorer.tokenizer, restorer.max_words)}')
    return 'with the caption' + (f' ({"; ".join(notes)})' if notes else '')


def build(restorer: Restorer, limits: Limits, folder: Path, name: str, listeners: Listeners | None = None,
          tidy: Callable[[], None] = lambda: None, dial: FidelityDial | None = None) -> gr.Blocks:
    """Make the page.

    Args:
        restorer: the networks.
        limits: what is accepted.
        folder: for examples and results; whoever starts the page removes it.
        name: of the weights, shown on the page.
        listeners: know who still waits for a result; None: everybody does.
        tidy: called when there are new files.
        dial: of `restorer`; None leaves the slider for the fidelity out.

    Returns:
        The page; `.queue().launch()` serves it.
    """
    examples = example_files(folder)
    run = partial(restore, restorer=restorer, limits=limits, folder=folder, lock=threading.Lock(),
                  dial=dial)

    # Gradio finds its progress bar and the request among the arguments of the function it is given, not behind
    # `partial`.
    def on_restore(path: str | None, caption: str | None, text_strength: float, self_ensemble: bool, colourise: bool,
                   strength: float, fidelity: float, request: gr.Request, bar: gr.Progress = _BAR) -> tuple:
        is_wanted = _is_wanted(listeners, request)
        with _said():
            pictures, target, text = run(path, caption, text_strength, self_ensemble, colourise, strength, fidelity,
                                         progress=bar, is_wanted=is_wanted)
        tidy()
        return pictures, gr.DownloadButton(value=target, interactive=True), as_markdown(text)

    def on_show(path: str | None) -> tuple:
        with _said():
            pictures, caption, facts = show(path, limits)
        return pictures, caption, as_markdown(facts)

    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(f'# {_TITLE}\n{_HELP}')
        with gr.Row():
            with gr.Column(scale=2):
                # No `file_types`: what Gradio says about a file of another kind shows its name as HTML.
                file = gr.File(label='JPEG file', type='filepath', elem_id='file', height=140)
                facts = gr.Markdown(elem_id='facts', latex_delimiters=_NO_LATEX)
                caption = gr.Textbox(label='Caption', placeholder='a small yellow bird with a black cap', lines=2,
                                     max_length=MAX_CAPTION, elem_id='caption', interactive=restorer.takes_text)
                text_strength = gr.Slider(0, MAX_TEXT_STRENGTH, 1., step=0.1, label='Text strength',
                                          elem_id='text_strength', interactive=restorer.takes_text,
                                          info='0: without the caption, 1: as trained, above: the caption counts more')
                fidelity = gr.Slider(0, 1, 0., step=0.05, label='Fidelity', elem_id='fidelity',
                                     visible=dial is not None,
                                     info='0: sharp, with drawn texture, 1: nearest to the original, softer')
                strength = gr.Slider(0, 1, 1., step=0.05, label='Strength', elem_id='strength',
                                     info='how much of the change is applied; 1: all of it')
                twice = gr.Checkbox(restorer.self_ensemble, label='Self-ensemble', elem_id='twice',
                                    info='twice the time: nearer to the original, softer texture')
                colourise = gr.Checkbox(False, label='Colourise', elem_id='colourise', interactive=restorer.takes_text,
                                        info='let the caption colour a grey picture, which stays grey otherwise')
                button = gr.Button('Restore', variant='primary', elem_id='restore')
                download = gr.DownloadButton('Save the result (PNG)', interactive=False, elem_id='result')
            with gr.Column(scale=3):
                slider = gr.ImageSlider(label='before | after', format='png', interactive=False, elem_id='slider',
                                        slider_position=50, max_height=700, buttons=['fullscreen'])
                note = gr.Markdown(elem_id='note', latex_delimiters=_NO_LATEX)
        gr.Examples([[example] for example in examples], [file], label='Examples: photographs at JPEG quality 1',
                    example_labels=list(examples.values()), examples_per_page=8, cache_examples=False)
        gr.Markdown(f'Weights: {as_markdown(name)}. Uploads stay on this machine and are removed when the page is '
                    'closed down.', latex_delimiters=_NO_LATEX)

        # `change` comes of an upload, of an example and of the cross that removes a file.
        file.change(lambda: (gr.DownloadButton(value=None, interactive=False), ''), None, [download, note]).then(
            on_show, file, [slider, caption, facts], show_progress='minimal')
        gr.on([button.click, caption.submit], on_restore,
              [file, caption, text_strength, twice, colourise, strength, fidelity], [slider, download, note],
              concurrency_limit=1)
    return page.queue(max_size=16, api_open=False)  # nobody goes past the queue


@contextmanager
def _said() -> Iterator[None]:
    """Turn what may go wrong while a request is answered into what the page says, as text."""
    try:
        yield
    except gr.Error:
        raise
    except Abandoned as error:
        raise _error('Nobody waited for the result.') from error
    except Exception as error:
        _logger.exception('A request could not be answered.')
        raise _error(f'{type(error).__name__}: {error}') from error


def _is_wanted(listeners: Listeners | None, request: gr.Request) -> Callable[[], bool]:
    """Whether the one who asked still waits; every layer of a network asks, so the answer is kept for a moment."""
    since = time.monotonic()
    session = request.session_hash
    if listeners is None or session is None:
        return lambda: True
    return partial(listeners.waits, session, since)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the page as Ctrl-C does, with its files removed; and a second one not disturb that."""
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return
    numbers = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)]
    # One that is ignored stays so: `nohup` means it.
    before = {number: signal.getsignal(number) for number in numbers
              if signal.getsignal(number) is not signal.SIG_IGN}

    def end(*_: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(restorer: Restorer, limits: Limits, name: str, host: str, port: int | None, max_bytes: int,
          share: bool = False, browser: bool = False, announce: Callable[[str], None] | None = None,
          hosts: Sequence[str] = (), dial: FidelityDial | None = None) -> None:
    """Serve the page until Ctrl-C, SIGTERM or SIGHUP; then nothing that was uploaded is left.

    Args:
        restorer, limits, name: as of `build`.
        host: address to listen at.
        port: None takes the first that is free from 7860 on.
        max_bytes: largest upload.
        share: open a public tunnel through Gradio's servers.
        browser: open a browser at the page.
        announce: called with a line that names the address, once the page is there.
        hosts: names, `NAME` or `NAME:PORT`, by which it may be asked for besides its address, as of a proxy.
        dial: as of `build`.

    Raises:
        OSError: when the port is taken.
        ValueError: when one of `hosts` is no name.
    """
    from starlette.middleware import Middleware  # which Gradio brings

    own, listeners = Hosts(hosts), Listeners()
    with _ended_by_signals(), private_folder(PAGE_FOLDER) as folder:
        uploads, results = folder / 'uploads', folder / 'results'
        os.environ['GRADIO_TEMP_DIR'] = str(uploads)
        uploads.mkdir()
        results.mkdir()
        store: list[Store] = []  # made when the examples, which stay, are there

        def tidy() -> None:
            for one in store:
                one.tidy()

        page = build(restorer, limits, results, name, listeners, tidy, dial)
        store.append(Store(folder, _MAX_FILES, _MAX_UPLOADS * max_bytes))
        guard = Middleware(Guard, hosts=own, max_bytes=max_bytes, listeners=listeners, tidy=tidy)
        try:
            # Gradio's own limit of size is left alone: what it says about a larger file shows its name as HTML.
            page.launch(server_name=host, server_port=port, share=share, inbrowser=browser,
                        allowed_paths=[str(results)], ssr_mode=False, quiet=True, show_error=False, mcp_server=False,
                        footer_links=[], enable_monitoring=False, prevent_thread_lock=True,
                        app_kwargs={'middleware': [guard]},
                        theme=gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace']))
            if public := urlsplit(str(page.share_url)).netloc:
                own.add(public)
            if announce is not None:
                announce(f'The page is at {page.local_url} (Ctrl-C ends it)'
                         + (f', and public at {page.share_url}' if share else ''))
            while page.is_running:  # and not `page.block_thread`, which would wait for them too
                time.sleep(.1)
        finally:
            listeners.close()
            shutil.rmtree(folder, ignore_errors=True)  # before open streams are waited for, which takes seconds
            page.close(verbose=False)
