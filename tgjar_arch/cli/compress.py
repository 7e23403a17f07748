"""`tgjar compress`: writes JPEG files that carry their captions (paper, section 4.7)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tgjar_arch.cli import arguments
from tgjar_arch.cli.screen import one_line
from tgjar_arch.jpeg.settings import CHROMA


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
    parser.add_argument('--caption', metavar='TEXT', help='what the picture shows, for every image')
    parser.add_argument('--chroma', choices=CHROMA, default='4:2:0', help='subsampling (default: %(default)s)')
    parser.add_argument('--max-side', type=arguments.positive_int, metavar='N',
                        help='reduce pictures whose longer side has more than N pixels')
    parser.add_argument('--strip', action='store_true',
                        help='leave out EXIF data (camera, place, time) and the colour profile; colours become sRGB')
    arguments.add_max_pixels(parser)
    parser.add_argument('--overwrite', action='store_true', help='replace files that are already there')
    parser.add_argument('--quiet', action='store_true', help='only the last line')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar compress`.

    Returns:
        Exit code: 0, 1 if some images failed, 2 if nothing could be started.
    """
    args = _parser().parse_args(argv)
    from tgjar_arch.cli.compress_run import CompressSettings, Sizes, compress_all, plan

    settings = CompressSettings(args.qf, args.chroma, args.caption, args.max_side, args.strip, args.max_pixels,
                                args.overwrite)

    def pass_over(entry: Path, what: str) -> None:
        print(one_line(f'left out: {entry} is {what}'), file=sys.stderr)

    try:
        jobs, unreadable = plan(args.inputs, args.output, pass_over)
    except (OSError, ValueError) as error:
        print(one_line(f'tgjar compress: {error}'), file=sys.stderr)
        return 2

    def say(line: str) -> None:
        if not args.quiet:
            print(one_line(line))

    written, failed = compress_all(jobs, settings, say)
    failed = unreadable | failed
    for file, reason in failed.items():
        print(one_line(f'failed: {file}: {reason}'), file=sys.stderr)
    total = f': {sum(written, Sizes(0, 0, 0))}' if len(written) > 1 else ''
    print(one_line(f'{len(written)} written to {args.output}{total}, {len(failed)} failed'))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
