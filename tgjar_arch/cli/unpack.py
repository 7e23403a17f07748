"""`tgjar unpack`: the reverse of `tgjar export`, so that training can go on from shipped or exported weights.

Writes net_g_latest.pth and, for weights that take captions, net_t_latest.pth and tokenizer.json.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tgjar_arch.cli.screen import one_line
from tgjar_arch.weights.shipped import find_weights


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar unpack',
        description='The reverse of `tgjar export`, so that training can go on from shipped or exported weights. '
        'Writes net_g_latest.pth and, for weights that take captions, net_t_latest.pth and tokenizer.json.',
        epilog='Then name the results in an option file: tokenizer.json in every dataset, the others under path: as '
               'pretrain_network_g and pretrain_network_t; copy network_g and network_t from what the command prints. '
               'If it prints max_qf and source too, they are for --max-qf and --source of tgjar export.')
    parser.add_argument('weights', help='a .safetensors file of tgjar export, or the name of shipped weights')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FOLDER', help='where to write')
    parser.add_argument('--text-norm', metavar='IMAGES',
                        help='turn weights trained without text_norm into weights for a generator with it, using the '
                             'captions of this folder of images')
    parser.add_argument('--vocab', type=Path, metavar='FILE',
                        help='take this tokenizer.json of `tgjar vocab` in the place of that of the weights; words '
                             'that both have keep their embedding, the others start at random')
    parser.add_argument('--text-model', type=Path, metavar='FOLDER',
                        help='with --vocab: let the other words start at the vectors of this pretrained text model '
                             '(model.safetensors and tokenizer.json of save_pretrained), by principal components')
    parser.add_argument('--overwrite', action='store_true', help='replace existing files')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar unpack`.

    Returns:
        Exit code: 0, or 1 if nothing was written; argparse exits with 2 for wrong arguments.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.text_model and not args.vocab:
        parser.error('--text-model is for the new words of --vocab; give both.')
    existing = [file for name in ('net_g_latest.pth', 'net_t_latest.pth', 'tokenizer.json')
                if (file := args.output / name).exists()]
    from tgjar_arch.weights.file import read_weights
    from tgjar_arch.weights.unpack import unpack

    try:
        if existing and not args.overwrite:
            raise ValueError(f'{existing[0]} already exists; to replace it, give --overwrite.')
        content = read_weights(find_weights(args.weights))
        if args.text_norm:
            from tgjar_arch.datasets.captions import read_captions
            from tgjar_arch.datasets.image_source import ImageSource
            from tgjar_arch.restoration.text_norm import add_text_norm

            images, _ = read_captions(ImageSource(args.text_norm))
            captions = [image.captions[0] for image in images if image.captions]
            content = add_text_norm(content, captions[::max(len(captions) // 1000, 1)])  # of all classes
        if args.vocab:
            from tgjar_arch.text.tokenizer import load_tokenizer
            from tgjar_arch.weights.vocabulary import with_vocabulary

            content, taken = with_vocabulary(content, load_tokenizer(args.vocab).to_json(), text_model=args.text_model)
        files = unpack(content, args.output)
    except (OSError, ValueError) as error:
        print(one_line(f'tgjar unpack: {error}'), file=sys.stderr)
        return 1
    for file in files:
        print(one_line(f'wrote {file}'))
    if args.vocab and content.network_t is not None:
        print(f"vocabulary: {taken} of {content.network_t['vocab_size']} rows of the embedding are those of the "
              f"weights, the others start at {args.text_model or 'random'}")
    for key in ('network_g', 'network_t'):
        if (options := getattr(content, key)) is not None:
            print(f'{key}: {json.dumps(options)}')
    if content.max_qf is not None:
        print(f'max_qf: {content.max_qf}')
    if content.source:
        print(one_line(f'source: {content.source}'))
    return 0


if __name__ == '__main__':
    sys.exit(main())
