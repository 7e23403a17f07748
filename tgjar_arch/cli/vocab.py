"""`tgjar vocab`: build the vocabulary, `tokenizer.json`, of words or of pieces of words, from captions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tgjar_arch.cli import arguments
from tgjar_arch.cli.screen import one_line

if TYPE_CHECKING:
    from tgjar_arch.text.piece_tokenizer import PieceTokenizer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar vocab',
        description='Build the vocabulary that text encoders are trained with, from all captions of one or more '
        'data sets. Name the training and the test captions, as AttnGAN does, so that no test word is unknown.',
        epilog='Example: tgjar vocab data/cub/train data/cub/test -o data/cub/tokenizer.json')
    parser.add_argument('source', nargs='+', metavar='FOLDER_OR_JSONL',
                        help='a folder with metadata.jsonl, metadata.csv or sidecar .txt files in any depth, or one '
                        'such file')
    parser.add_argument('-o', '--output', required=True, metavar='FILE', help='where to write tokenizer.json')
    parser.add_argument('--min-count', type=arguments.positive_int, default=1, metavar='N',
                        help='keep words that appear at least N times (default: 1, every word)')
    parser.add_argument('--subwords', type=arguments.positive_int, metavar='N',
                        help='a vocabulary of N pieces of words (byte-pair encoding), such as 8000, by which any word '
                        'can be spelt, instead of whole words; max_words of an option file then counts pieces')
    parser.add_argument('--overwrite', action='store_true',
                        help='replace FILE; weights that were trained with the old one no longer fit')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar vocab`.

    Returns:
        Exit code: 0, or 1 if nothing was written; argparse exits with 2 for wrong arguments.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.subwords is not None and args.min_count != 1:
        parser.error('--min-count leaves out words, and --subwords has a piece for every letter; give one of them')
    output = Path(args.output).expanduser()
    if output.is_dir():
        return _fail(f'{output} is a folder; name a file, such as {output / "tokenizer.json"}.')
    if output.exists() and not args.overwrite:
        return _fail(f'{output} already exists, and weights trained with it would not fit another; to replace it, give '
                     '--overwrite.')

    from tgjar_arch.datasets.captions import iter_captions, misfit_lines
    from tgjar_arch.text.caption_files import Misfit
    from tgjar_arch.text.piece_tokenizer import PieceTokenizer
    from tgjar_arch.text.word_tokenizer import WordTokenizer

    captions: list[str] = []
    for source in args.source:
        misfits: list[Misfit] = []
        try:
            found = list(iter_captions(source, misfits.append))
        except (FileNotFoundError, ValueError) as error:
            return _fail(str(error))
        for line in misfit_lines(misfits):
            print(one_line(f'{source}: {line}'), file=sys.stderr)
        if not found:
            return _fail(f'no captions in {source}; expected metadata.jsonl, metadata.csv, or .txt files beside the '
                         'images.')
        print(one_line(f'{source}: {len(found)} captions'))
        captions += found

    tokenizer: PieceTokenizer | WordTokenizer
    try:
        if args.subwords is not None:
            tokenizer = PieceTokenizer.build(captions, args.subwords)
            line = _of_pieces(tokenizer, captions)
        else:
            everything = WordTokenizer.build(captions)
            tokenizer = everything if args.min_count == 1 else WordTokenizer.build(captions, args.min_count)
            line = f'{everything.vocab_size - 1} different words, {tokenizer.vocab_size - 1} kept'
    except ValueError as error:
        return _fail(str(error))
    try:
        tokenizer.save(output)
    except OSError as error:
        return _fail(f'{output} cannot be written: {error}')
    print(f'{len(captions)} captions, {line}')
    print(one_line(f'wrote {output}: vocab_size {tokenizer.vocab_size}, <end> included'))
    return 0


def _of_pieces(tokenizer: PieceTokenizer, captions: Sequence[str]) -> str:
    counts = [(len(tokenizer.words(caption)), len(tokenizer.encode(caption))) for caption in captions]
    words, pieces = (sum(column) for column in zip(*counts, strict=True))
    longest = sorted(count for _, count in counts)[int(.95 * len(counts))]
    return (f'{tokenizer.vocab_size - 1} pieces, {pieces / words:.2f} a word on average; 95 % of the captions have at '
            f'most {longest} (max_words)')


def _fail(message: str) -> int:
    print(one_line(f'tgjar vocab: {message}'), file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
