"""`tgjar unpack`: the reverse of `tgjar export`, so that training can go on from shipped or exported weights.

Writes net_g_latest.pth and, of weights that take captions, net_t_latest.pth and tokenizer.json.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tgjar_arch.atomic_file import atomic
from tgjar_arch.datasets.captions import read_captions
from tgjar_arch.datasets.image_source import ImageSource
from tgjar_arch.restoration.text_norm import add_text_norm
from tgjar_arch.weights.checkpoint import save_atomically
from tgjar_arch.weights.file import ExportedWeights, read_weights
from tgjar_arch.weights.shipped import find_weights


def unpack(content: ExportedWeights, output: Path) -> list[Path]:
    """Write the networks of exported weights as training checkpoints.

    Args:
        content: what `read_weights` returns.
        output: folder to write to; existing files of these names are replaced.

    Returns:
        The files written. A generator's checkpoint holds the same weights as `params` and as their average.

    Raises:
        OSError: when a file cannot be written.
    """
    files = [output / 'net_g_latest.pth']
    if content.network_t is not None and content.tokenizer is not None:
        with atomic(output / 'tokenizer.json', durable=True) as temporary:
            temporary.write_text(content.tokenizer, encoding='utf-8')
        save_atomically({'params': content.state_t, 'network': json.dumps(content.network_t),
                         'tokenizer': content.tokenizer, 'max_words': content.max_words}, output / 'net_t_latest.pth')
        files += [output / 'net_t_latest.pth', output / 'tokenizer.json']
    save_atomically({'params': content.state_g, 'params_ema': content.state_g,
                     'network': json.dumps(content.network_g)}, files[0])
    return files


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar unpack`.

    Returns:
        Exit code: 0, or 1 when nothing was written; argparse exits with 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser(
        prog='tgjar unpack', description=__doc__,
        epilog='Name the results in an option file: tokenizer.json in every dataset, the others as path: '
               'pretrain_network_g and pretrain_network_t; network_g and network_t as the command prints them. '
               'max_qf and source, if the file says them, are for --max-qf and --source of tgjar export.')
    parser.add_argument('weights', help='a .safetensors file of tgjar export, or the name of shipped weights')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FOLDER', help='where to write')
    parser.add_argument('--text-norm', metavar='IMAGES',
                        help='turn weights trained without text_norm into some for a generator with it, by the '
                             'captions of this folder of images')
    parser.add_argument('--overwrite', action='store_true', help='replace existing files')
    args = parser.parse_args(argv)
    existing = [file for name in ('net_g_latest.pth', 'net_t_latest.pth', 'tokenizer.json')
                if (file := args.output / name).exists()]
    try:
        if existing and not args.overwrite:
            raise ValueError(f'{existing[0]} exists; to replace it, give --overwrite.')
        content = read_weights(find_weights(args.weights))
        if args.text_norm:
            images, _ = read_captions(ImageSource(args.text_norm))
            captions = [image.captions[0] for image in images if image.captions]
            content = add_text_norm(content, captions[::max(len(captions) // 1000, 1)])  # of all classes
        files = unpack(content, args.output)
    except (OSError, ValueError) as error:
        print(f'tgjar unpack: {error}', file=sys.stderr)
        return 1
    for file in files:
        print(f'wrote {file}')
    for key in ('network_g', 'network_t'):
        if (options := getattr(content, key)) is not None:
            print(f'{key}: {json.dumps(options)}')
    if content.max_qf is not None:
        print(f'max_qf: {content.max_qf}')
    if content.source:
        print(f'source: {content.source}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
