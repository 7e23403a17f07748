"""`tgjar restore`: restores badly compressed pictures with the help of captions."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tgjar_arch.cli import arguments
from tgjar_arch.cli.screen import one_line
from tgjar_arch.restoration.limits import ATTENTION_PIXELS
from tgjar_arch.text.defaults import DEFAULT_MODEL
from tgjar_arch.weights.shipped import DEFAULT_MAX_QF


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar restore', description='Restore badly compressed pictures with the help of captions.',
        epilog='Captions: --caption, else what the file itself says (JPEG comment, XMP, EXIF, IPTC, PNG text), else a '
        'text file beside it (bird.jpg, bird.txt), else metadata.jsonl or metadata.csv in its folder or above, up to '
        'the input, else --auto-caption, else none. '
        'Results that are already there are kept, so an interrupted run goes on where it stopped. Exit code: 0 no '
        'failure, 1 some files failed, 2 nothing could be started. '
        'Example: tgjar restore bird.jpg -o bird.png --caption "a small yellow bird"')
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('files', type=Path, nargs='*', default=[], metavar='INPUT',
                       help='pictures, and folders of pictures (any depth)')
    which.add_argument('-i', '--input', type=Path, nargs='+', metavar='INPUT', help='the same')
    parser.add_argument('-o', '--output', type=Path, default=Path('restored'), metavar='OUT',
                        help='folder for the results, or the name of a single one (default: %(default)s)')
    arguments.add_weights(parser)
    look = parser.add_argument_group('look')
    arguments.add_strength(look)
    arguments.add_fidelity(look)
    text = parser.add_argument_group('captions')
    text.add_argument('--caption', metavar='TEXT', help='what the picture shows, for every file; "" for no text')
    arguments.add_text_strength(text)
    text.add_argument('--colourise', action='store_true',
                      help='let captions colour grey pictures, which otherwise stay grey')
    text.add_argument('--attention', type=Path, metavar='FOLDER',
                      help='also draw which words were read where, as PNG files in this folder; for pictures of up to '
                      f'{ATTENTION_PIXELS:,} pixels')
    text.add_argument('--show-caption', action='store_true', help='say which caption was used, and where it is from')
    text.add_argument('--auto-caption', action='store_true',
                      help='describe files that have no caption, with the model of `tgjar caption`')
    text.add_argument('--auto-caption-model', default=DEFAULT_MODEL, metavar='NAME_OR_FOLDER',
                      help='an image-to-text model that transformers loads (default: %(default)s)')
    which_files = parser.add_argument_group('files')
    which_files.add_argument('--max-qf', type=arguments.quality_factor, metavar='Q',
                             help='do not restore JPEG files of a better quality, which it may harm (default: '
                             f'what the weights file says, else {DEFAULT_MAX_QF})')
    which_files.add_argument('--better', choices=('leave', 'copy', 'restore'),
                             help='what becomes of them, and of pictures that are no JPEG files and show no blocks of '
                             'an earlier compression: left out of the results, copied to them as they are, with all '
                             'metadata, or restored (default: leave, but such a picture is restored if it was named '
                             'itself)')
    which_files.add_argument('--force', dest='better', action='store_const', const='restore',
                             help='the same as --better restore')
    arguments.add_max_pixels(which_files)
    which_files.add_argument('--format', choices=('png', 'webp', 'jpg'), help='of the results (default: png)')
    which_files.add_argument('--quality', type=arguments.quality_factor, metavar='Q',
                             help='of JPEG results, 1 to 100 (default: 95), and of WebP (default: lossless)')
    which_files.add_argument('--keep-metadata', action='store_true',
                             help='keep EXIF (also the place), XMP and comment; the colour profile is always kept')
    which_files.add_argument('--overwrite', action='store_true',
                             help='restore again what is already there, and replace files below --attention')
    machine = parser.add_argument_group('machine')
    arguments.add_tile(machine)
    arguments.add_self_ensemble(machine)
    arguments.add_device(machine)
    machine.add_argument('--dtype', choices=arguments.DTYPES, default='float32',
                         help='precision of the network (default: %(default)s)')
    machine.add_argument('--quiet', action='store_true', help='no progress bar, and no line for each file')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar restore`.

    Returns:
        Exit code: 0, 1 if some files failed, 2 if nothing could be started.
    """
    args = _parser().parse_args(argv)
    from tgjar_arch.cli.restore_run import RestoreRun, notes, restore_all, start
    from tgjar_arch.restoration.file import RestoreSettings

    settings = RestoreSettings(
        caption=args.caption, text_strength=args.text_strength, tile=args.tile, max_qf=args.max_qf,
        colourise=args.colourise, max_pixels=args.max_pixels, quality=args.quality, keep_metadata=args.keep_metadata,
        strength=args.strength)
    job = RestoreRun(
        inputs=args.input or args.files, output=args.output, weights=args.weights, settings=settings,
        better=args.better, format=args.format, attention=args.attention,
        captioner=args.auto_caption_model if args.auto_caption else None,
        overwrite=args.overwrite, self_ensemble=args.self_ensemble, device=args.device, dtype=args.dtype,
        fidelity=args.fidelity, fidelity_weights=args.fidelity_weights)
    try:
        started = start(job)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(one_line(f'tgjar restore: {error}'), file=sys.stderr)
        return 2
    outcome = restore_all(started, args.quiet, args.show_caption)
    for line in notes(started.restorer, outcome):
        print(one_line(line), file=sys.stderr)
    for file, reason in outcome.failed.items():
        line = f'failed: {reason}' if reason.startswith(str(file)) else f'failed: {file}: {reason}'
        print(one_line(line), file=sys.stderr)
    kept = f', {outcome.kept} already there (--overwrite restores them again)' if outcome.kept else ''
    skipped = ''
    if outcome.skipped:
        skipped = (f', {len(outcome.skipped)} left as they are (--max-qf {started.settings.max_qf}) and not in '
                   f'{args.output}: the lines "left as it is" name them')
    passed = len(outcome.unsupported) + len(outcome.odd)
    skipped += f', {passed} left out' if passed else ''
    copied = f', {outcome.copied} copied' if outcome.copied else ''
    print(one_line(f'{outcome.done} restored to {args.output}{kept}{copied}{skipped}, {len(outcome.failed)} failed'))
    return 1 if outcome.failed else 0


if __name__ == '__main__':
    sys.exit(main())
