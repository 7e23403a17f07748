"""`tgjar import-attngan`: turns AttnGAN's published encoders and vocabulary into checkpoints of ours."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tgjar_arch.cli import arguments
from tgjar_arch.cli.screen import one_line
from tgjar_arch.text.defaults import DEFAULT_MAX_WORDS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar import-attngan',
        description="Turn AttnGAN's published text and image encoders into checkpoints of ours, with the vocabulary.",
        epilog='Then name the results in an option file: tokenizer.json in every dataset, the others under path: as '
               'pretrain_network_t and pretrain_network_i.')
    parser.add_argument('--text-encoder', type=Path, required=True, metavar='PTH', help='text_encoder200.pth')
    parser.add_argument('--image-encoder', type=Path, required=True, metavar='PTH', help='image_encoder200.pth')
    parser.add_argument('--captions', type=Path, required=True, metavar='PICKLE', help='captions.pickle')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FOLDER', help='where to write')
    parser.add_argument('--max-words', type=arguments.positive_int, default=DEFAULT_MAX_WORDS, metavar='T',
                        help='words kept of a caption (default: %(default)s, as for birds; 15 for COCO)')
    parser.add_argument('--overwrite', action='store_true', help='replace existing files')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar import-attngan`.

    Returns:
        Exit code: 0, or 1 if nothing was written; argparse exits with 2 for wrong arguments.
    """
    args = _parser().parse_args(argv)
    names = ('tokenizer.json', 'net_t_latest.pth', 'net_i_latest.pth')
    existing = [name for name in names if (args.output / name).exists()]
    from tgjar_arch.cli.import_attngan_run import convert

    try:
        if existing and not args.overwrite:
            raise ValueError(f'{args.output / existing[0]} already exists; to replace it, give --overwrite.')
        unreachable = convert(args.text_encoder, args.image_encoder, args.captions, args.output, args.max_words)
    except (OSError, ValueError) as error:
        print(one_line(f'tgjar import-attngan: {error}'), file=sys.stderr)
        return 1
    if unreachable:
        print(f'{len(unreachable)} words cannot occur in a caption, e.g. {unreachable[:3]}; their ids are kept')
    for name in names:
        print(one_line(f'wrote {args.output / name}'))
    return 0


if __name__ == '__main__':
    sys.exit(main())
