"""The steps of `tgjar demo`: photographs, training if it is wanted, restoration, picture and table."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from basicsr.metrics import calculate_niqe, calculate_psnr
from PIL import Image
from tqdm import tqdm

import tgjar_arch
from tgjar_arch.cli import export, restore, vocab
from tgjar_arch.demo.photographs import photographs
from tgjar_arch.pictures.panel import draw_panel
from tgjar_arch.text.escaping import as_markdown
from tgjar_arch.text.piece_tokenizer import PieceTokenizer
from tgjar_arch.text.tokenizer import tokenizer_from_json
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.file import read_weights

STAGES = ('train_damsm_demo', 'train_tgjar_demo')  # option files, in their order
SHORTER_SIDE = 240  # pixels; keeps training and NIQE short
QF = 1
MARK = '.tgjar_demo'  # a file that says whose the folder is, for each demo begins by removing what one made
_PROGRESS = re.compile(r'iter:\s*([\d,]+), lr.*?(l_\S+: \S+)')


def option_file(name: str) -> Path:
    """Path of a shipped option file, in a source checkout or installed.

    Raises:
        FileNotFoundError: if there is none of that name.
    """
    for folder in tgjar_arch.__path__:
        path = Path(folder) / 'options' / f'{name}.yml'
        if path.is_file():
            return path
    raise FileNotFoundError(f'the option file {name}.yml is missing from the installation.')


def prepare(output: Path) -> None:
    """Write the photographs with their captions, and their JPEG files at QF 1, below `output`.

    Raises:
        FileExistsError: if there are files in `output` that are not of an earlier demo.
    """
    earlier = (output / MARK).is_file() or (output / 'table.md').is_file() and (output / f'jpeg_qf{QF}').is_dir()
    if output.is_dir() and not earlier and any(file.name != '.DS_Store' for file in output.iterdir()):
        raise FileExistsError(f'{output} is not empty, and not of an earlier `tgjar demo`; name another folder (-o), '
                              'or remove it.')
    output.mkdir(parents=True, exist_ok=True)
    (output / MARK).touch()
    photos, compressed = output / 'data' / 'demo' / 'photos', output / f'jpeg_qf{QF}'
    # Everything below is made here and anew each time.
    for folder in (photos, compressed, output / 'restored'):
        shutil.rmtree(folder, ignore_errors=True)
    photos.mkdir(parents=True)
    compressed.mkdir()
    with open(photos / 'metadata.jsonl', 'w', encoding='utf-8') as metadata:
        for name, image, captions in photographs():
            scale = SHORTER_SIDE / min(image.size)
            photo = image.resize([round(side * scale) for side in image.size], Image.Resampling.LANCZOS)
            photo.save(photos / f'{name}.png')
            photo.save(compressed / f'{name}.jpg', quality=QF, subsampling='4:2:0')
            (compressed / f'{name}.txt').write_text(captions[0] + '\n', encoding='utf-8')
            metadata.write(json.dumps({'file_name': f'{name}.png', 'captions': captions}) + '\n')


def train(output: Path, name: str, extra: list[str]) -> None:
    """Run one option file in a process of its own; BasicSR's log goes to `output/NAME.log`.

    Raises:
        RuntimeError: if the training failed.
    """
    # The same python, wherever it runs: a checkout need not be installed for that.
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, [
        str(Path(tgjar_arch.__file__).resolve().parents[1]), os.environ.get('PYTHONPATH')])), 'PYTHONUNBUFFERED': '1'}
    options = option_file(name)
    totals = re.findall(r'^  total_iter: (\d+)', options.read_text(encoding='utf-8'), re.MULTILINE)
    totals += [entry.rpartition('=')[2] for entry in extra if entry.startswith('train:total_iter=')]
    command = [sys.executable, '-m', 'tgjar_arch', 'train', '-opt', str(options)]
    command += ['--force_yml', *extra] if extra else []
    log_file = output / f'{name}.log'
    with (open(log_file, 'w', encoding='utf-8') as log,
          subprocess.Popen(command, cwd=output, env=environment, text=True, encoding='utf-8', errors='replace',
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process,
          tqdm(total=int(totals[-1]), desc=name, unit='it') as progress):
        assert process.stdout is not None  # a pipe, see above
        try:
            for line in process.stdout:
                log.write(line)
                if found := _PROGRESS.search(line):
                    progress.update(int(found[1].replace(',', '')) - progress.n)
                    progress.set_postfix_str(found[2])
        except BaseException:  # Ctrl-C goes to both, but other signals, and a full disk, to this one only
            process.terminate()
            raise
    if process.returncode:
        raise RuntimeError(f'the training failed (exit code {process.returncode}); the end of {log_file}:\n'
                           + ''.join(log_file.read_text(encoding='utf-8').splitlines(keepends=True)[-15:]))


def compare(output: Path) -> bool:
    """Write the picture and the table; True if the restored photographs beat the JPEG files in PSNR."""
    rows, scores, lines = [], [], ['| photograph | JPEG PSNR | restored PSNR | JPEG NIQE | restored NIQE |',
                                   '|---|---|---|---|---|']
    for source in sorted((output / f'jpeg_qf{QF}').glob('*.jpg')):
        files = (source, output / 'restored' / f'{source.stem}.png', output / 'data/demo/photos' / f'{source.stem}.png')
        jpeg, restored, original = (np.asarray(Image.open(file).convert('RGB')) for file in files)
        rows.append((source.with_suffix('.txt').read_text(encoding='utf-8').strip(), (jpeg, restored, original)))
        scores.append([calculate_psnr(image, original, crop_border=0) for image in (jpeg, restored)]
                      + [float(calculate_niqe(image[..., ::-1], crop_border=0)) for image in (jpeg, restored)])
        name = as_markdown(source.stem).replace('|', '&#124;')
        lines.append(f'| {name} | ' + ' | '.join(f'{score:.2f}' for score in scores[-1]) + ' |')
    mean = np.mean(scores, axis=0)
    lines.append('| **mean** | ' + ' | '.join(f'{score:.2f}' for score in mean) + ' |')
    table = '\n'.join(lines)
    (output / 'table.md').write_text(table + '\n', encoding='utf-8')
    draw_panel(rows, (f'JPEG, quality {QF}', 'restored', 'original'), cell=320).save(output / 'demo.png')
    print(f'\nPSNR in dB, higher is better; NIQE, lower is better\n{table}\n')
    return bool(mean[1] > mean[0])


def train_weights(output: Path, iterations: list[int] | None, force_yml: list[str]) -> Path:
    """Train both stages on the photographs of `prepare` and export the result.

    Args:
        output: folder of `prepare`.
        iterations: of stage 1 and of stage 2; None: as the option files say.
        force_yml: `KEY=VALUE` for stage 2.

    Returns:
        The weights file.

    Raises:
        RuntimeError: if a step failed, after it has said why.
    """
    for folder in ('experiments', 'tb_logger'):
        for name in STAGES:
            shutil.rmtree(output / folder / name, ignore_errors=True)
    data, weights = output / 'data' / 'demo', output / 'tgjar_demo.safetensors'
    if vocab.main([str(data / 'photos'), '-o', str(data / 'tokenizer.json'), '--overwrite']):
        raise RuntimeError('the vocabulary could not be built.')
    for k, name in enumerate(STAGES):
        extra = [f'train:total_iter={iterations[k]}'] if iterations else []
        train(output, name, extra + (force_yml if k == 1 else []))
    if export.main([str(output / 'experiments' / STAGES[1]), '-o', str(weights), '--overwrite']):
        raise RuntimeError('the checkpoint could not be exported.')
    return weights


def restore_all(output: Path, weights: Path) -> bool:
    """Restore the JPEG files of `prepare` into `output/restored`; False if one failed, after saying why.

    Words that the weights do not know are counted in one line: the log would name twenty of them.
    """
    content = read_weights(weights)
    if content.tokenizer is not None:
        tokenizer = tokenizer_from_json(content.tokenizer)
        captions = [file.read_text(encoding='utf-8') for file in (output / f'jpeg_qf{QF}').glob('*.txt')]
        # That of a pretrained model has no unknown words.
        ours = tokenizer if isinstance(tokenizer, WordTokenizer | PieceTokenizer) else None
        if ours is not None and (unknown := sum(len(ours.unknown(text)) for text in captions)):
            words = sum(len(ours.words(text)) for text in captions)
            print(f'{unknown} of the {words} words in the captions are not in the vocabulary and are skipped.')

    def says_something_else(record: logging.LogRecord) -> bool:
        return 'unknown word' not in record.getMessage()

    logger = logging.getLogger('basicsr')
    logger.addFilter(says_something_else)
    try:
        return restore.main(['-i', str(output / f'jpeg_qf{QF}'), '-o', str(output / 'restored'), '--weights',
                             str(weights), '--overwrite', '--quiet']) == 0
    finally:
        logger.removeFilter(says_something_else)
