"""A page in the browser to restore pictures one by one: drop a JPEG file, say what it shows, look at both (Gradio)."""

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

# Read when Gradio is imported: it neither counts its users nor looks for news where nobody asked for it.
os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')

import gradio as gr

from tgjar_arch.demo.photographs import photographs
from tgjar_arch.pictures.captions import find_caption
from tgjar_arch.pictures.files import JPEG_SUFFIXES
from tgjar_arch.pictures.photo import Photo, describe, read_photo
from tgjar_arch.pictures.write import upright_srgb, write_picture
from tgjar_arch.restoration.file import compression_of
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.cleaning import clean

SUFFIXES = [*JPEG_SUFFIXES, '.png', '.webp', '.avif', '.gif']
MAX_STRENGTH = 3.
MAX_CAPTION = 2000  # characters; weights read 18 words
_TITLE = 'TGJAR: restore a badly compressed JPEG with a sentence'
_HELP = ('Drop a picture, write in one sentence what it shows (colours and parts count), and restore it. What JPEG '
         'lost is invented or stays lost: a restored picture is evidence of nothing.')
_BAR = gr.Progress()


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
    try:
        return read_photo(path, limits.max_pixels)
    except (OSError, ValueError) as error:
        raise gr.Error(str(error).replace(path, Path(path).name), print_exception=False) from error


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


def restore(path: str | None, caption: str | None, strength: float, self_ensemble: bool = False, *, restorer: Restorer,
            limits: Limits, folder: Path, lock: threading.Lock, progress: Callable) -> tuple:
    """Restore an upload.

    Args:
        path: the uploaded file.
        caption: what it shows; empty for none.
        strength: as `text_strength` of `Restorer`.
        self_ensemble: as of `Restorer`, whose own it becomes.
        restorer: the networks, of which `lock` lets one request at a time have the use.
        limits: what is accepted.
        folder: for the file to download.
        progress: called with (tiles done, all tiles) and the argument `unit`, as Gradio's bar is.

    Returns:
        (before, after), the PNG file, a note.

    Raises:
        gr.Error: when there is no file, or it cannot be restored.
    """
    if path is None:
        raise gr.Error('Drop a JPEG file first.', print_exception=False)
    photo = _read(path, limits)
    caption = clean(caption or '')
    if len(caption) > MAX_CAPTION:
        raise gr.Error(f'The caption has {len(caption):,} characters; {MAX_CAPTION:,} are enough.',
                       print_exception=False)
    found = compression_of(photo)
    try:
        with lock:
            restorer.self_ensemble = self_ensemble
            restored = restorer(photo.pixels, caption, text_strength=float(strength),
                                tables=found.tables, grid=found.grid,
                                progress=lambda done, total: progress((done, total), unit='tiles'))
    except (ValueError, RuntimeError, MemoryError) as error:
        raise gr.Error(str(error).partition('\n')[0] or 'Memory ran out; try a smaller picture.') from error
    target = Path(tempfile.mkdtemp(dir=folder)) / f'{Path(path).stem}_restored.png'
    write_picture(target, photo.upright(restored), photo)
    difference = np.abs(restored.astype(np.int16) - photo.pixels).mean()
    how = _with_caption(restorer, caption, strength) + (', twice (self-ensemble)' if self_ensemble else '')
    note = f'Restored {how}; {difference:.1f} of 255 changed on average.'
    return (upright_srgb(photo, photo.pixels), upright_srgb(photo, restored)), str(target), note


def _with_caption(restorer: Restorer, caption: str, strength: float) -> str:
    if not restorer.takes_text:
        return 'by weights that take no captions'
    if not caption or strength == 0:
        return 'without a caption'
    words = [word for word in caption.split() if not restorer.tokenizer.encode(word)]
    known = len(restorer.tokenizer.encode(caption))
    if not known:
        return 'without a caption: none of its words is known'
    notes = [f'unknown: {", ".join(words[:8])}'] if words else []
    if known > restorer.max_words:
        notes.append(f'cut to the first {restorer.max_words} known words')
    return 'with the caption' + (f' ({"; ".join(notes)})' if notes else '')


def build(restorer: Restorer, limits: Limits, folder: Path, name: str) -> gr.Blocks:
    """Make the page.

    Args:
        restorer: the networks.
        limits: what is accepted.
        folder: for examples and results; whoever starts the page removes it.
        name: of the weights, shown on the page.

    Returns:
        The page; `.queue().launch()` serves it.
    """
    examples = example_files(folder)
    run = partial(restore, restorer=restorer, limits=limits, folder=folder, lock=threading.Lock())

    # Gradio finds its progress bar among the defaults of the function it is given, not behind `partial`.
    def on_restore(path: str | None, caption: str | None, strength: float, self_ensemble: bool,
                   bar: gr.Progress = _BAR) -> tuple:
        pictures, target, text = run(path, caption, strength, self_ensemble, progress=bar)
        return pictures, gr.DownloadButton(value=target, interactive=True), text

    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(f'# {_TITLE}\n{_HELP}')
        with gr.Row():
            with gr.Column(scale=2):
                file = gr.File(label='JPEG file', file_types=SUFFIXES, type='filepath', elem_id='file', height=140)
                facts = gr.Markdown(elem_id='facts')
                caption = gr.Textbox(label='Caption', placeholder='a small yellow bird with a black cap', lines=2,
                                     max_length=MAX_CAPTION, elem_id='caption', interactive=restorer.takes_text)
                strength = gr.Slider(0, MAX_STRENGTH, 1., step=0.1, label='Text strength', elem_id='strength',
                                     info='0: without the caption, 1: as trained, above: the caption counts more',
                                     interactive=restorer.takes_text)
                twice = gr.Checkbox(restorer.self_ensemble, label='Self-ensemble', elem_id='twice',
                                    info='twice the time: nearer to the original, softer texture')
                button = gr.Button('Restore', variant='primary', elem_id='restore')
                download = gr.DownloadButton('Save the result (PNG)', interactive=False, elem_id='result')
            with gr.Column(scale=3):
                slider = gr.ImageSlider(label='before | after', format='png', interactive=False, elem_id='slider',
                                        slider_position=50, max_height=700, buttons=['fullscreen'])
                note = gr.Markdown(elem_id='note')
        gr.Examples([[example] for example in examples], [file], label='Examples: photographs at JPEG quality 1',
                    example_labels=list(examples.values()), examples_per_page=8, cache_examples=False)
        gr.Markdown(f'Weights: {name}. Uploads stay on this machine and are removed when the page is closed down.')

        # `change` comes of an upload, of an example and of the cross that removes a file.
        file.change(lambda: (gr.DownloadButton(value=None, interactive=False), ''), None, [download, note]).then(
            partial(show, limits=limits), file, [slider, caption, facts], show_progress='minimal')
        gr.on([button.click, caption.submit], on_restore, [file, caption, strength, twice], [slider, download, note],
              concurrency_limit=1)
    return page.queue(max_size=16)


def serve(restorer: Restorer, limits: Limits, name: str, host: str, port: int | None, max_bytes: int,
          share: bool = False, browser: bool = False, announce: Callable[[str], None] | None = None) -> None:
    """Serve the page until Ctrl-C.

    Args:
        restorer, limits, name: as of `build`.
        host: address to listen at.
        port: None takes the first that is free from 7860 on.
        max_bytes: largest upload.
        share: open a public tunnel through Gradio's servers.
        browser: open a browser at the page.
        announce: called with a line that names the address, once the page is there.

    Raises:
        OSError: when the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix='tgjar_app_') as folder:
        os.environ['GRADIO_TEMP_DIR'] = str(Path(folder) / 'uploads')
        results = Path(folder) / 'results'
        results.mkdir()
        page = build(restorer, limits, results, name)
        try:
            page.launch(server_name=host, server_port=port, share=share, inbrowser=browser, max_file_size=max_bytes,
                        allowed_paths=[str(results)], ssr_mode=False, quiet=True, show_error=True, mcp_server=False,
                        footer_links=[], enable_monitoring=False, prevent_thread_lock=True,
                        theme=gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace']))
            if announce is not None:
                announce(f'The page is at {page.local_url} (Ctrl-C ends it)'
                         + (f', and public at {page.share_url}' if share else ''))
            page.block_thread()
        finally:
            page.close(verbose=False)
