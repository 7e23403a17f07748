"""`tgjar prepare`: turns the published CUB, Oxford-102, COCO or Kodak into folders to train and test on."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tgjar_arch.cli import arguments
from tgjar_arch.cli.screen import one_line
from tgjar_arch.datasets.prepare.formats import FORMATS

if TYPE_CHECKING:
    from tgjar_arch.datasets.prepare.pipeline import Plan

SIZE = 304  # AttnGAN's for crops of 256 pixels: int(256 * 76 / 64)
QUALITY = 95
LAYOUTS = {
    'cub': 'CUB-200-2011: SOURCE has CUB_200_2011/ and text/ (captions). Cropped around the bird as by AttnGAN.',
    'oxford102': 'Oxford-102 flowers: SOURCE has jpg/ and text_c10/ (captions).',
    'coco': 'COCO captions: SOURCE has annotations/captions_{train,val}2017.json, train2017/ and val2017/ (or 2014).',
    'kodak': "Kodak: SOURCE has kodim01.png to kodim24.png. They are not cropped, and get the paper's captions.",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar prepare',
        description='Turn a published data set into one folder a split, with images and metadata.jsonl.',
        epilog='Run it again after an interruption or a repair: what is finished is kept. Exit code: 0 all '
               'prepared, 1 some images failed (they are listed), 2 nothing could be started. '
               'Example: tgjar prepare cub downloads/birds -o data/cub')
    commands = parser.add_subparsers(dest='dataset', required=True, metavar='DATASET')
    for name, layout in LAYOUTS.items():
        command = commands.add_parser(name, help=layout, description=layout)
        command.add_argument('source', type=Path, metavar='SOURCE', help='folder with the data set as unpacked')
        command.add_argument('-o', '--output', type=Path, required=True, metavar='FOLDER', help='such as data/' + name)
        if name in ('cub', 'oxford102'):
            default = ("AttnGAN's 50 test classes" if name == 'cub' else
                       '20 classes that were drawn at random once, since the published list is not part of the archive')
            command.add_argument('--split', type=Path, metavar='PATH',
                                 help='list of test classes (.txt), or {"train": names, "test": names} or '
                                 '{"test_classes": numbers} (.json), or a folder with train/filenames.pickle and '
                                 'test/filenames.pickle or with testclasses.txt; default: such files in SOURCE, else '
                                 + default)
            command.add_argument('--captions', type=Path, metavar='FOLDER', help='the captions, if not in SOURCE')
        if name == 'coco':
            command.add_argument('--test-images', type=arguments.number_from(int, 0, 'a whole number from 0 up'),
                                 default=1000, metavar='N',
                                 help='test on the first N images of val, 0: on all (default: %(default)s, as many as '
                                 'in the paper)')
        if name != 'kodak':
            command.add_argument('--size', type=arguments.number_from(int, 8, 'a number of pixels from 8 up'),
                                 default=SIZE, metavar='PIXELS',
                                 help='length of the shorter side (default: %(default)s)')
        command.add_argument('--format', choices=FORMATS, default='png',
                             help='of the images (default: %(default)s; the others are smaller but lossy)')
        command.add_argument('--quality', type=arguments.quality_factor, metavar='1-100',
                             help=f'of webp and jpg (default: {QUALITY})')
        command.add_argument('--lmdb', action='store_true', help="also write BasicSR's lmdb, FOLDER/train.lmdb, ...")
        command.add_argument('--subset', action='store_true', help='accept an incomplete data set')
        command.add_argument('--jobs', type=arguments.positive_int, default=os.cpu_count() or 1, metavar='N',
                             help='processes (default: one a core)')
        command.add_argument('--quiet', action='store_true', help='no progress bar')
    return parser


def _plan(args: argparse.Namespace) -> Plan:
    if not args.source.is_dir():
        raise FileNotFoundError(f'there is no folder {args.source}.')
    if args.dataset == 'coco':
        from tgjar_arch.datasets.prepare import coco

        return coco.plan(args.source, args.test_images)
    if args.dataset == 'kodak':
        from tgjar_arch.datasets.prepare import kodak

        return kodak.plan(args.source, args.subset)
    from tgjar_arch.datasets.prepare import cub, oxford102

    return {'cub': cub, 'oxford102': oxford102}[args.dataset].plan(args.source, args.captions, args.split)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar prepare`.

    Returns:
        Exit code: 0, 1 if some images failed, 2 if nothing could be started.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.quality is not None and args.format == 'png':
        parser.error('png is lossless and has no --quality; leave it out, or choose --format webp or jpg')
    size = getattr(args, 'size', None)
    from concurrent.futures.process import BrokenProcessPool

    from tgjar_arch.datasets.prepare.pipeline import Encoding, claim_folder, run_split

    encoding = Encoding(size, args.format, args.quality or QUALITY)
    settings = {'dataset': args.dataset, 'size': size, 'format': args.format,
                'quality': None if args.format == 'png' else encoding.quality}
    try:
        plan = _plan(args)
        if not any(plan.splits.values()):
            raise ValueError(f'there is no image of the split in {args.source}.')
        if not args.subset:
            plan.check_counts()
        claim_folder(args.output, settings | plan.settings)
    except (OSError, ValueError) as error:
        print(one_line(f'tgjar prepare: {error}'), file=sys.stderr)
        return 2
    for note in plan.notes:
        print(one_line(note))

    failed = dict(plan.problems)
    for split, items in plan.splits.items():
        folder = args.output / split
        try:
            result = run_split(items, folder, encoding, args.jobs, args.quiet)
            lmdb = None
            if args.lmdb:
                from tgjar_arch.datasets.prepare.lmdb_copy import write_lmdb

                lmdb = write_lmdb(folder, args.quiet)
        except BrokenProcessPool:
            print('tgjar prepare: a process was killed, perhaps for memory; run it again with fewer --jobs.',
                  file=sys.stderr)
            return 1
        failed |= result.failed
        print(f'{folder}: {result.written + result.kept} images ({result.written} new), {len(result.failed)} failed'
              + (f'; {lmdb}' if lmdb else ''))
    for path, reason in failed.items():
        print(one_line(f'failed: {path}: {reason}'), file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
