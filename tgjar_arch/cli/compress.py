"""`tgjar compress`: writes JPEG files that carry their captions (paper, section 4.7)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tgjar_arch.choosing.criteria import CRITERIA, SHORTLIST, UNITS
from tgjar_arch.choosing.words import BUILT_IN
from tgjar_arch.cli import arguments
from tgjar_arch.cli.screen import one_line
from tgjar_arch.jpeg.settings import CHROMA

if TYPE_CHECKING:
    from tgjar_arch.cli.compress_choose import Chooser

# Arguments that are for these two alone.
_CHOOSING = ('choose_by', 'caption_bytes', 'tolerance', 'words', 'weights', 'strength', 'fidelity', 'fidelity_weights',
             'text_strength', 'colourise', 'self_ensemble', 'device')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar compress',
        description='Write JPEG files that carry their captions (paper, section 4.7).',
        epilog='Captions: --caption, else what the file itself says (JPEG comment, XMP, EXIF, IPTC, PNG text), else a '
        'text file beside it, else metadata.jsonl or metadata.csv in its folder or above, up to the input, else none. '
        'Every viewer opens the result; `tgjar restore` finds the caption in it. Exit code: 0 all written, 1 some '
        'failed, 2 nothing could be started. '
        'Example: tgjar compress bird.png --qf 1 --caption "a small yellow bird" -o bird.jpg')
    parser.add_argument('inputs', type=Path, nargs='+', metavar='IMAGE', help='image files, or folders (any depth)')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='OUT',
                        help='a .jpg file, or a folder (always for several images)')
    parser.add_argument('--qf', type=arguments.quality_factor, required=True, metavar='Q',
                        help='JPEG quality factor, 1 (worst) to 100; restore with weights trained for it')
    parser.add_argument('--caption', action='append', metavar='TEXT', help='what the picture shows, for every image; '
                        'several times with --choose or --compose')
    parser.add_argument('--chroma', choices=CHROMA, default='4:2:0', help='subsampling (default: %(default)s)')
    parser.add_argument('--max-side', type=arguments.positive_int, metavar='N',
                        help='reduce pictures whose longer side has more than N pixels')
    parser.add_argument('--strip', action='store_true',
                        help='leave out EXIF data (camera, place, time) and the colour profile; colours become sRGB')
    arguments.add_max_pixels(parser)
    parser.add_argument('--overwrite', action='store_true', help='replace files that are already there')
    parser.add_argument('--quiet', action='store_true', help='only the last line')
    choosing = parser.add_argument_group(
        'choosing the caption', 'The sender has the original, so it can restore with each caption and keep the one '
        'that brings the restored picture nearest to the original, or none. Takes a while: a caption is a restoration.')
    choosing.add_argument('--choose', action='store_true', help='choose between all captions of a file (every line '
                          'of its text file, every one in the metadata), or those of --caption')
    choosing.add_argument('--compose', action='store_true', help='compose a caption: begin with none, add the word '
                          'that gains most, until none gains; of --words and the words of the captions. With --choose '
                          'the better of both is kept')
    choosing.add_argument('--choose-by', choices=CRITERIA, help='what is nearest to the original: LPIPS (AlexNet; its '
                          'ImageNet weights are downloaded once, or TGJAR_LPIPS_ALEX names them), PSNR, or '
                          f'{UNITS["mix"]} (default: {CRITERIA[0]})')
    choosing.add_argument('--caption-bytes', type=arguments.number_from(int, 0, 'a number of bytes, 0 or more'),
                          metavar='N', help='longest caption, in bytes (default: no limit)')
    choosing.add_argument('--tolerance', type=arguments.number_from(float, 0, '0 or more'), metavar='T',
                          help='keep a shorter caption, or none, that is worse by no more than this; a word is added '
                          'only if it gains more. In LPIPS, or dB with --choose-by psnr (default: 0)')
    choosing.add_argument('--words', type=Path, metavar='FILE', help='word list, one word or phrase a line; '
                          f'"{BUILT_IN}" for the built-in one of colours and things, which --compose takes anyway. '
                          'With --choose alone each word is tried as a caption')
    choosing.add_argument('--shortlist', type=arguments.positive_int, metavar='N', help='of the words, how many '
                          f'--compose goes on with after its first round, the best ones (default: {SHORTLIST})')
    receiving = parser.add_argument_group('how the receiver will restore', 'For --choose and --compose; give what '
                                          '`tgjar restore` will be given.')
    arguments.add_weights(receiving)
    arguments.add_strength(receiving)
    arguments.add_fidelity(receiving)
    arguments.add_text_strength(receiving)
    receiving.add_argument('--colourise', action='store_true', help='captions colour grey pictures')
    arguments.add_self_ensemble(receiving)
    arguments.add_device(receiving)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar compress`.

    Returns:
        Exit code: 0, 1 if some images failed, 2 if nothing could be started.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if wrong := _contradiction(parser, args):
        print(one_line(f'tgjar compress: {wrong}'), file=sys.stderr)
        return 2
    from tqdm import tqdm

    from tgjar_arch.cli.compress_run import CompressSettings, Sizes, compress_all, plan

    settings = CompressSettings(args.qf, args.chroma, args.caption[0] if args.caption else None, args.max_side,
                                args.strip, args.max_pixels, args.overwrite)

    def pass_over(entry: Path, what: str) -> None:
        print(one_line(f'left out: {entry} is {what}'), file=sys.stderr)

    try:
        jobs, unreadable = plan(args.inputs, args.output, pass_over)
        decide = _chooser(args) if args.choose or args.compose else None
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(one_line(f'tgjar compress: {error}'), file=sys.stderr)
        return 2

    def say(line: str) -> None:
        if not args.quiet:
            tqdm.write(one_line(line))  # above the progress bar

    if decide is None:
        written, failed = compress_all(jobs, settings, say)
    else:
        with tqdm(jobs, unit='image', desc='compress', disable=args.quiet or len(jobs) < 2) as progress:
            written, failed = compress_all(progress, settings, say, decide)
    failed = unreadable | failed
    for file, reason in failed.items():
        print(one_line(f'failed: {file}: {reason}'), file=sys.stderr)
    total = f': {sum(written, Sizes(0, 0, 0))}' if len(written) > 1 else ''
    gained = decide.summary() if decide is not None else ''
    print(one_line(f'{len(written)} written to {args.output}{total}{gained}, {len(failed)} failed'))
    return 1 if failed else 0


def _contradiction(parser: argparse.ArgumentParser, args: argparse.Namespace) -> str | None:
    """What is given and would have no effect."""
    if args.shortlist is not None and not args.compose:
        return '--shortlist has no effect without --compose.'
    if args.choose or args.compose:
        return None
    if args.caption and len(args.caption) > 1:
        return f'{len(args.caption)} captions are given, but a file has one; --choose keeps the best of them.'
    for name in _CHOOSING:
        if str(getattr(args, name)) != str(parser.get_default(name)):
            return f'--{name.replace("_", "-")} has no effect without --choose or --compose.'
    return None


def _chooser(args: argparse.Namespace) -> 'Chooser':
    from tgjar_arch.cli.compress_choose import ChooseSettings, start

    return start(ChooseSettings(
        choose=args.choose, compose=args.compose, captions=None if args.caption is None else tuple(args.caption),
        by=args.choose_by or CRITERIA[0], max_bytes=args.caption_bytes, tolerance=args.tolerance or 0.,
        words=args.words, shortlist=args.shortlist or SHORTLIST, weights=args.weights, fidelity=args.fidelity,
        fidelity_weights=args.fidelity_weights, self_ensemble=args.self_ensemble, device=args.device,
        text_strength=args.text_strength, strength=args.strength, colourise=args.colourise), args.quiet)


if __name__ == '__main__':
    sys.exit(main())
