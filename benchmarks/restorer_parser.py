"""Command line of the benchmarks that restore test images with trained weights."""

import argparse
from pathlib import Path


def restorer_parser(name: str, description: str, number: int = 100,
                    counted: str = 'images, evenly spread') -> argparse.ArgumentParser:
    """Parser of `python -m benchmarks.NAME` with --weights, --data, --qf and --number (of what is `counted`)."""
    parser = argparse.ArgumentParser(prog=f'python -m benchmarks.{name}', description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', required=True, help='file of `tgjar export`, or the name of shipped weights')
    parser.add_argument('--data', type=Path, default=Path('data/cub/test'), help='test images')
    parser.add_argument('--qf', type=int, default=1, help='JPEG quality factor')
    parser.add_argument('--number', type=int, default=number, help=counted)
    return parser
