"""`tgjar compare`: draws what several captions make of one JPEG file (the paper's Figure 8)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tgjar_arch.cli import arguments
from tgjar_arch.cli.screen import one_line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar compare',
        description="Draw what several captions make of one JPEG file (the paper's Figure 8).",
        epilog='Words that the captions do not share are drawn in red. Exit code: 0 drawn, 2 not. Example: tgjar '
        'compare bird.jpg --captions "a red bird" "a blue bird" "" -o grid.png')
    parser.add_argument('file', type=Path, metavar='FILE', help='a JPEG file')
    parser.add_argument('--captions', nargs='+', required=True, metavar='TEXT',
                        help='one picture is restored with each; "" is no caption')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='OUT', help='figure, .png or .pdf')
    arguments.add_weights(parser)
    arguments.add_text_strength(parser, '1: as trained, above: the text counts more, and the pictures differ more')
    parser.add_argument('--original', type=Path, metavar='IMAGE', help='the picture before compression, drawn first')
    parser.add_argument('--zoom', nargs='+', metavar='PIXELS',
                        help='window that is enlarged below: X Y W H in pixels; auto: where JPEG lost most; none '
                        '(default: auto with --original, else none)')
    parser.add_argument('--dpi', type=arguments.positive_int, default=300, metavar='N',
                        help='pixels per inch, which sets the size in print (default: %(default)s)')
    arguments.add_max_pixels(parser)
    parser.add_argument('--overwrite', action='store_true', help='replace a figure that is already there')
    arguments.add_tile(parser)
    arguments.add_self_ensemble(parser)
    arguments.add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar compare`.

    Returns:
        Exit code: 0 if the figure was drawn, else 2.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.text_strength == 0:
        parser.error('--text-strength 0 leaves the captions out, and all pictures would be equal')
    from torch.cuda import empty_cache

    from tgjar_arch.cli.compare_run import CompareSettings, compare

    try:
        drawn = compare(CompareSettings(**vars(args)), lambda line: print(one_line(line), file=sys.stderr))
        print(one_line(str(drawn)))
    except (ImportError, OSError, ValueError) as error:
        print(one_line(f'tgjar compare: {error}'), file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:  # torch's, out of memory above all
        reason = str(error).partition('\n')[0] or type(error).__name__
        print(f'tgjar compare: {reason}; if memory ran out, try --tile 256 or --device cpu', file=sys.stderr)
        empty_cache()
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
