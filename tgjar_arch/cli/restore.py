"""`tgjar restore`: restores badly compressed pictures with the help of captions."""

import argparse
import ctypes
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from tgjar_arch.cli import restore_attention as attention_maps
from tgjar_arch.cli.arguments import DTYPES, WEIGHTS, number_from, tile_size
from tgjar_arch.cli.restore_files import Job, check_metadata, find_images, plan
from tgjar_arch.jpeg.codec import check_qf
from tgjar_arch.pictures.captions import FoundCaption, find_caption
from tgjar_arch.pictures.photo import MAX_PIXELS, Photo, describe, read_photo
from tgjar_arch.pictures.write import FORMATS, to_srgb, write_picture
from tgjar_arch.restoration.attention import MAX_PIXELS as ATTENTION_PIXELS
from tgjar_arch.restoration.attention import check_size
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.restoration.tiling import MIN_TILE
from tgjar_arch.text.captioner import DEFAULT_MODEL, Captioner
from tgjar_arch.weights.shipped import DEFAULT_MAX_QF, find_weights, quality_limit, shipped


@dataclass
class Outcome:
    """What became of the files.

    Attributes:
        done: restored.
        kept: results of an earlier run, not restored again. kept_maps: files in the place of attention maps.
        skipped: file -> why it was left as it is.
        failed: file -> what went wrong.
        no_jpeg: files without a JPEG quality to be read. deep: files with more than 8 bits a sample.
        unguided: no caption. unknown: a caption without any known word. cut: a caption that is too long.
    """

    done: int = 0
    kept: int = 0
    kept_maps: list[Path] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    no_jpeg: list[Path] = field(default_factory=list)
    deep: list[Path] = field(default_factory=list)
    unguided: int = 0
    unknown: int = 0
    cut: int = 0


def restore_file(restorer: Restorer, job: Job, args: argparse.Namespace, captioner: Captioner | None,
                 outcome: Outcome) -> None:
    """Restore one file, or leave it if it is not badly compressed; the result appears whole or not at all.

    Raises:
        OSError: when the file cannot be read or the result not written.
        ValueError: when the file is broken, or does not suit the network or the output format.
    """
    photo = read_photo(job.source, args.max_pixels)
    if photo.jpeg is not None and photo.jpeg.qf > args.max_qf and not args.force:
        outcome.skipped[job.source] = (f'{describe(photo)}: better than --max-qf {args.max_qf}, restoring would harm '
                                       'it; --force does it all the same')
        tqdm.write(f'left as it is: {job.source}: {outcome.skipped[job.source]}.', file=sys.stderr)
        return

    if args.attention is not None:
        check_size(*photo.size)

    caption = _caption(job, photo, args, captioner)
    with tqdm(unit='tile', desc=job.source.name, leave=False, disable=args.quiet, delay=2) as bar:
        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        restored = restorer(photo.pixels, caption.text, text_strength=args.text_strength, tile=args.tile,
                            tables=photo.jpeg.tables if photo.jpeg else None, progress=progress)
    if trim := getattr(ctypes.CDLL(None), 'malloc_trim', None) if os.name == 'posix' else None:
        trim(0)  # glibc: gives back what the tiles took, before the writer takes a copy of the picture
    if _draws_maps(job, args, outcome):
        picture = to_srgb(np.ascontiguousarray(photo.upright(restored)), photo.icc)
        attention_maps.draw(restorer, photo, picture, caption.text, attention_maps.file_of(job, args))
    # The blocks lie on the grid of the pixels as stored, so a turned photo is turned after the restoration.
    write_picture(job.target, photo.upright(restored), photo, args.quality, args.keep_metadata, overwrite=True)
    outcome.done += 1
    if photo.jpeg is None:
        outcome.no_jpeg.append(job.source)
    if photo.bit_depth > 8:
        outcome.deep.append(job.source)
    _count(restorer, caption, outcome)
    if not args.quiet:
        tqdm.write(f'{job.source}: {describe(photo)} -> {job.target}')
    if args.show_caption:
        tqdm.write(f'{job.source}: caption "{caption.text}", from {caption.source}' if caption.text else
                   f'{job.source}: no caption')


def _draws_maps(job: Job, args: argparse.Namespace, outcome: Outcome) -> bool:
    """Whether to draw attention maps; a file in their place, which may be anything, is kept and noted."""
    if args.attention is None:
        return False
    file = attention_maps.file_of(job, args)
    if args.overwrite or not file.exists():
        return True
    outcome.kept_maps.append(file)
    return False


def _caption(job: Job, photo: Photo, args: argparse.Namespace, captioner: Captioner | None) -> FoundCaption:
    if captioner is None:
        return find_caption(job.source, args.caption, job.root, None, args.max_pixels)

    def auto(_: Path) -> str:
        return captioner([Image.fromarray(photo.upright(photo.pixels).copy())])[0]

    return find_caption(job.source, args.caption, job.root, auto, args.max_pixels)


def _count(restorer: Restorer, caption: FoundCaption, outcome: Outcome) -> None:
    if not restorer.takes_text:
        outcome.unknown += bool(caption.text)
        return
    known = len(restorer.tokenizer.encode(caption.text))
    outcome.unguided += not caption.text
    outcome.unknown += bool(caption.text) and not known
    outcome.cut += known > restorer.max_words


def run(restorer: Restorer, jobs: list[Job], args: argparse.Namespace, captioner: Captioner | None = None) -> Outcome:
    """Restore all; one bad file never stops the rest."""
    outcome = Outcome(failed=dict(args.unreadable))
    with tqdm(jobs, unit='image', desc='restore', disable=args.quiet or len(jobs) < 2) as progress:
        for job in progress:
            if job.target.exists() and not args.overwrite:
                outcome.kept += 1
                if not _draws_maps(job, args, outcome):
                    continue
            try:
                if job.target.exists() and not args.overwrite:
                    photo = read_photo(job.source, args.max_pixels)
                    attention_maps.draw_missing(restorer, photo, _caption(job, photo, args, captioner).text, job, args)
                    continue
                restore_file(restorer, job, args, captioner, outcome)
            except (OSError, ValueError) as error:
                outcome.failed[job.source] = str(error) or type(error).__name__
            except (RuntimeError, MemoryError) as error:  # torch's, out of memory above all
                reason = str(error).partition('\n')[0] or type(error).__name__
                hint = f'a --tile smaller than {args.tile}' if args.tile else f'--tile {MIN_TILE * 4}'
                hint = hint if restorer.can_tile else 'a smaller picture'
                outcome.failed[job.source] = f'{reason}; if memory ran out, try {hint} or --device cpu'
                torch.cuda.empty_cache()
    return outcome


def _notes(restorer: Restorer, outcome: Outcome) -> list[str]:
    """What a user should know about files, and about captions that were not used, or not as a whole."""
    lines = [f'{len(files)} of {outcome.done} files {what}: {_some(files)}.' for files, what in (
        (outcome.no_jpeg, 'are no JPEG files whose quality can be read: what is not badly compressed becomes worse'),
        (outcome.deep, 'have more than 8 bits a sample, of which the results keep 8')) if files]
    if outcome.kept_maps:
        lines.append(f'{len(outcome.kept_maps)} files are where attention maps would go, and are kept (--overwrite '
                     f'replaces them): {_some(outcome.kept_maps)}.')
    if not restorer.takes_text:
        return lines + ['These weights take no captions: the captions are not used.'] * bool(outcome.unknown)
    return lines + [f'{count} of {outcome.done} files have {what}.' for count, what in (
        (outcome.unguided, 'no caption and are restored without text'),
        (outcome.unknown, 'a caption without any known word and are restored without text'),
        (outcome.cut, f'a caption that is cut to its first {restorer.max_words} known words')) if count]


def _some(files: Sequence[Path]) -> str:
    return ', '.join(map(str, files[:3])) + (', ...' if len(files) > 3 else '')


def _start(args: argparse.Namespace) -> tuple[Restorer, list[Job], Captioner | None]:
    """Find the files and load the networks.

    Raises:
        OSError, ValueError, RuntimeError: when something is missing or not as it must be.
    """
    weights = find_weights(args.weights)
    if args.max_qf is None:
        args.max_qf = quality_limit(weights)
    is_file = args.output.suffix.lower() in FORMATS and not args.output.is_dir()
    if is_file and args.input.is_dir():
        raise ValueError(f'{args.output} is one file; name a folder for the results of {args.input}.')
    if args.output.exists() and not args.output.is_dir() and not is_file:
        raise ValueError(f'the output {args.output} is a file; name a folder, or a picture '
                         f'({" ".join(FORMATS)}).')
    if is_file and args.output.exists() and args.input.exists() and args.output.samefile(args.input):
        raise ValueError(f'{args.input} would be replaced by its own restoration; name another output.')
    suffix = args.output.suffix.lower() if is_file else f'.{args.format or "png"}'
    if is_file and args.format and FORMATS[f'.{args.format}'] != FORMATS[suffix]:
        raise ValueError(f'--format {args.format} contradicts the name {args.output}; leave it out.')
    if args.quality is not None:
        if FORMATS[suffix] == 'PNG':
            raise ValueError('PNG is lossless and has no --quality; leave it out, or take --format webp or jpg.')
        check_qf(args.quality, '--quality')
    check_qf(args.max_qf, '--max-qf')
    args.unreadable = {}
    root, files, others = find_images(args.input, args.output, args.force, args.unreadable)
    jobs = plan(root, files, args.output, suffix)
    if args.caption is None:
        check_metadata(jobs)
    restorer = Restorer.from_pretrained(weights, args.device, DTYPES[args.dtype], args.self_ensemble)
    if args.tile and not restorer.can_tile:
        raise ValueError(f'{restorer.name} sees the whole picture and cannot restore tiles without seams; leave --tile '
                         'out.')
    if args.attention is not None:
        attention_maps.check(restorer, jobs, args)
    if others:
        print(f'{others} pictures that are no JPEG files are left out; name one by itself, or --force.',
              file=sys.stderr)
    captioner = None
    if args.auto_caption and args.caption is None and restorer.takes_text and args.text_strength:
        try:
            captioner = Captioner(args.auto_caption_model, restorer.device)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            reason = str(error).strip().partition('\n')[0].partition('. If you ')[0].rstrip('.')
            raise ValueError(f'cannot load the captioner {args.auto_caption_model}: {reason}. `tgjar caption FOLDER '
                             '--download` fetches it; or name a folder with --auto-caption-model.') from error
    return restorer, jobs, captioner


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar restore', description=__doc__.partition(': ')[2],
        epilog='Captions: --caption, else what the file itself says (JPEG comment, XMP, EXIF, PNG text), else a text '
        'file beside it (bird.jpg, bird.txt), else metadata.jsonl in its folder or above, up to the input, else '
        '--auto-caption, else none. '
        'Results that are there already are kept, so that an interrupted run goes on where it stopped. Exit code: 0 no '
        'failure, 1 some files failed, 2 nothing could be started. '
        'Example: tgjar restore bird.jpg -o bird.png --caption "a small yellow bird"')
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('file', type=Path, nargs='?', metavar='INPUT', help='picture, or folder of JPEGs (any depth)')
    which.add_argument('-i', '--input', type=Path, metavar='INPUT', help='the same')
    parser.add_argument('-o', '--output', type=Path, default=Path('restored'), metavar='OUT',
                        help='folder for the results, or the name of a single one (default: %(default)s)')
    names = list(shipped())
    parser.add_argument('--weights', type=Path, default=os.environ.get(WEIGHTS) or None, metavar='FILE',
                        help=f'.safetensors file of `tgjar export`{" or one of " * bool(names)}{", ".join(names)} '
                        f'(default: the variable {WEIGHTS}{", else " * bool(names)}{"".join(names[:1])})')
    text = parser.add_argument_group('captions')
    text.add_argument('--caption', metavar='TEXT', help='what the picture shows, for every file; "" for no text')
    text.add_argument('--text-strength', type=number_from(float, 0, '0 or more'), default=1., metavar='S',
                      help='0: no text, 1: as trained, above: the text counts more (default: %(default)s)')
    text.add_argument('--attention', type=Path, metavar='FOLDER',
                      help='also draw which words were read where, as PNG files in this folder; for pictures of up to '
                      f'{ATTENTION_PIXELS:,} pixels')
    text.add_argument('--show-caption', action='store_true', help='say which caption was used, and where it is from')
    text.add_argument('--auto-caption', action='store_true',
                      help='describe files that have no caption, by the model of `tgjar caption`')
    text.add_argument('--auto-caption-model', default=DEFAULT_MODEL, metavar='NAME_OR_FOLDER',
                      help='an image-to-text model that transformers loads (default: %(default)s)')
    which_files = parser.add_argument_group('files')
    which_files.add_argument('--max-qf', type=int, metavar='Q',
                             help='leave JPEG files of a better quality as they are (default: '
                             f'what the weights file says, else {DEFAULT_MAX_QF})')
    which_files.add_argument('--force', action='store_true',
                             help='restore them too, and, of a folder, pictures that are no JPEG files')
    which_files.add_argument('--max-pixels', type=int, default=MAX_PIXELS, metavar='N',
                             help='refuse pictures with more pixels (default: %(default)s)')
    which_files.add_argument('--format', choices=('png', 'webp', 'jpg'), help='of the results (default: png)')
    which_files.add_argument('--quality', type=int, metavar='Q',
                             help='of JPEG results, 1 to 100 (default: 95), and of WebP (default: lossless)')
    which_files.add_argument('--keep-metadata', action='store_true',
                             help='keep EXIF (also the place), XMP and comment; the colour profile is always kept')
    which_files.add_argument('--overwrite', action='store_true',
                             help='restore again what is there already, and replace files below --attention')
    machine = parser.add_argument_group('machine')
    machine.add_argument('--tile', type=tile_size, metavar='N',
                         help='side of the tiles in pixels; the result is the same, and memory is bounded; 0: none '
                         '(default: what fits a part of the free memory)')
    machine.add_argument('--self-ensemble', action='store_true',
                         help='the mean of the restored picture and its restored mirror image: twice the time, nearer '
                         'to the original (PSNR), softer texture')
    machine.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: the GPU if there is one')
    machine.add_argument('--dtype', choices=tuple(DTYPES), default='float32',
                         help='precision of the network (default: %(default)s)')
    machine.add_argument('--quiet', action='store_true', help='no progress bar, and no line for each file')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar restore`.

    Returns:
        Exit code: 0, 1 when some files failed, 2 when nothing could be started.
    """
    args = _parser().parse_args(argv)
    args.input = args.input or args.file
    try:
        restorer, jobs, captioner = _start(args)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f'tgjar restore: {error}', file=sys.stderr)
        return 2
    outcome = run(restorer, jobs, args, captioner)
    for line in _notes(restorer, outcome):
        print(line, file=sys.stderr)
    for file, reason in outcome.failed.items():
        print(f'failed: {reason}' if reason.startswith(str(file)) else f'failed: {file}: {reason}', file=sys.stderr)
    kept = f', {outcome.kept} already there (--overwrite restores them again)' if outcome.kept else ''
    skipped = f', {len(outcome.skipped)} left as they are (--max-qf {args.max_qf})' if outcome.skipped else ''
    print(f'{outcome.done} restored to {args.output}{kept}{skipped}, {len(outcome.failed)} failed')
    return 1 if outcome.failed else 0


if __name__ == '__main__':
    sys.exit(main())
