"""`tgjar compare`: draws what several captions make of one JPEG file (the paper's Figure 8)."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tgjar_arch.cli.arguments import WEIGHTS, number_from, tile_size
from tgjar_arch.figures.canvas import MAX_PIXELS as SHEET_PIXELS
from tgjar_arch.figures.canvas import check_suffix, require_matplotlib
from tgjar_arch.figures.comparison import draw_captions
from tgjar_arch.figures.zoom import Zoom, read_zoom
from tgjar_arch.pictures.photo import MAX_PIXELS, Photo, describe, read_photo
from tgjar_arch.pictures.write import upright_srgb
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.cleaning import clean
from tgjar_arch.weights.shipped import find_weights, quality_limit


def check_files(args: argparse.Namespace) -> tuple[Photo, np.ndarray | None, Zoom]:
    """Find what is wrong with files and window, before anything is restored.

    Returns:
        The JPEG file, the original upright in sRGB (None if there is none) and what is enlarged.

    Raises:
        ImportError: when matplotlib is missing.
        OSError: when a file cannot be read, or the output is there already.
        ValueError: when a file or the window is not as it must be.
    """
    require_matplotlib()
    check_suffix(args.output)
    for file in (args.file, args.original):
        if file is not None and args.output.exists() and file.exists() and args.output.samefile(file):
            raise ValueError(f'{file} would be replaced by the figure; name another output.')
    if args.output.is_dir() or args.output.exists() and not args.overwrite:
        kind = 'a folder' if args.output.is_dir() else 'there already; --overwrite replaces it'
        raise FileExistsError(f'{args.output} is {kind}.')
    photo = read_photo(args.file, args.max_pixels)
    original = None
    if args.original is not None:
        other = read_photo(args.original, args.max_pixels)
        original = upright_srgb(other, other.pixels)
        if other.size != photo.size:
            raise ValueError(f'the original {args.original} is {other.size[0]} x {other.size[1]}, but {args.file} is '
                             f'{photo.size[0]} x {photo.size[1]}.')
    zoom = read_zoom(args.zoom or ['none' if original is None else 'auto'])
    width, height = photo.size
    if zoom == 'auto' and original is None:
        raise ValueError('--zoom auto finds where JPEG lost most, which only the --original tells; give it, or a '
                         'window such as --zoom 96 64 64 40.')
    if isinstance(zoom, tuple):
        x, y, across, down = zoom
        if min(across, down) < 1 or x + across > width or y + down > height:
            raise ValueError(f'--zoom {x} {y} {across} {down} does not lie inside {args.file}, which is {width} x '
                             f'{height}.')
    columns = len(args.captions) + 1 + (original is not None)
    if columns * width * height > SHEET_PIXELS:
        raise ValueError(f'{args.file} is {width} x {height}: {columns} of it are more than the {SHEET_PIXELS:,} '
                         'pixels of a figure; cut a part out of it, or give fewer captions.')
    return photo, original, zoom


def load(weights: Path, args: argparse.Namespace) -> Restorer:
    """Load the networks.

    Raises:
        OSError, ValueError: when the file is no weights file, or its networks take no text.
    """
    restorer = Restorer.from_pretrained(weights, args.device, self_ensemble=args.self_ensemble)
    if not restorer.takes_text:
        raise ValueError(f'{restorer.name} takes no captions, and all pictures would be equal; give --weights of a '
                         'network that does.')
    if args.tile and not restorer.can_tile:
        raise ValueError(f'{restorer.name} cannot be restored with in tiles; leave --tile out.')
    return restorer


def notes(restorer: Restorer, photo: Photo, captions: Sequence[str], max_qf: int) -> list[str]:
    """What to know about the figure: captions that are not used, or not as a whole, and a file of too good quality."""
    lines = []
    for caption in filter(None, captions):
        known = len(restorer.tokenizer.encode(caption))
        if not known:
            lines.append(f'"{caption}" has no known word: its picture is restored without text.')
        elif known > restorer.max_words:
            lines.append(f'"{caption}" is cut to its first {restorer.max_words} known words.')
    if photo.jpeg is not None and photo.jpeg.qf > max_qf:
        lines.append(f'{photo.path} is {describe(photo)}: better than {max_qf}, and restoring may harm it.')
    return lines


def _title(photo: Photo) -> str:
    if photo.jpeg is None:
        return photo.format
    return f'JPEG (QF {"" if photo.jpeg.standard_tables else "about "}{photo.jpeg.qf})'


def run(args: argparse.Namespace) -> str:
    """Restore by each caption and draw the figure, which appears whole or not at all.

    Returns:
        What was drawn, and how far the pictures differ.

    Raises:
        ImportError, OSError, ValueError, RuntimeError: when something is missing or not as it must be.
    """
    photo, original, zoom = check_files(args)
    args.captions = [clean(caption) for caption in args.captions]
    weights = find_weights(args.weights)
    restorer = load(weights, args)
    for line in notes(restorer, photo, args.captions, quality_limit(weights)):
        print(line, file=sys.stderr)
    results = [restorer(photo.pixels, caption, text_strength=args.text_strength, tile=args.tile)
               for caption in args.captions]
    pictures = [upright_srgb(photo, result) for result in results]
    draw_captions(upright_srgb(photo, photo.pixels), list(zip(args.captions, pictures, strict=True)), args.output,
                  original, zoom, args.dpi, _title(photo))
    first = results[0].astype(np.int16)
    differences = ', '.join(f'{np.abs(result - first).mean():.2f}' for result in results[1:])
    return f'{args.output}: {len(results)} pictures' + (
        f'; from the first the others differ by {differences} of 255 on average' if differences else '')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar compare', description=__doc__.partition(': ')[2],
        epilog='Words that the captions do not share are red. Exit code: 0 drawn, 2 not. Example: tgjar compare '
        'bird.jpg --captions "a red bird" "a blue bird" "" -o grid.png')
    parser.add_argument('file', type=Path, metavar='FILE', help='a JPEG file')
    parser.add_argument('--captions', nargs='+', required=True, metavar='TEXT',
                        help='one picture is restored by each; "" is no caption')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='OUT', help='figure, .png or .pdf')
    parser.add_argument('--weights', type=Path, default=os.environ.get(WEIGHTS) or None, metavar='FILE',
                        help='as of `tgjar restore`')
    parser.add_argument('--text-strength', type=number_from(float, 0, '0 or more'), default=1., metavar='S',
                        help='1: as trained, above: the text counts more, and the pictures differ more (default: '
                        '%(default)s)')
    parser.add_argument('--original', type=Path, metavar='IMAGE', help='the picture before compression, drawn first')
    parser.add_argument('--zoom', nargs='+', metavar='PIXELS',
                        help='window that is enlarged below: X Y W H in pixels; auto: where JPEG lost most; none '
                        '(default: auto with --original, else none)')
    parser.add_argument('--dpi', type=int, default=300, metavar='N',
                        help='device pixels an inch, the size in print (default: %(default)s)')
    parser.add_argument('--max-pixels', type=int, default=MAX_PIXELS, metavar='N',
                        help='refuse pictures with more pixels (default: %(default)s)')
    parser.add_argument('--overwrite', action='store_true', help='replace the figure that is there already')
    parser.add_argument('--tile', type=tile_size, metavar='N',
                        help='side of the tiles in pixels, as of `tgjar restore`')
    parser.add_argument('--self-ensemble', action='store_true', help='as of `tgjar restore`')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: the GPU if there is one')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar compare`.

    Returns:
        Exit code: 0 when the figure was drawn, else 2.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.text_strength == 0:
        parser.error('--text-strength 0 leaves the captions out, and all pictures would be equal')
    if args.dpi < 1:
        parser.error(f'--dpi must be 1 or more, but is {args.dpi}')
    try:
        print(run(args))
    except (ImportError, OSError, ValueError) as error:
        print(f'tgjar compare: {error}', file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:  # torch's, out of memory above all
        reason = str(error).partition('\n')[0] or type(error).__name__
        print(f'tgjar compare: {reason}; if memory ran out, try --tile 256 or --device cpu', file=sys.stderr)
        torch.cuda.empty_cache()
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
