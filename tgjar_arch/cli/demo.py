"""`tgjar demo`: restores eight photographs from JPEG at quality 1; --train trains a small model first."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tgjar_arch.cli import arguments
from tgjar_arch.weights.shipped import find_weights, shipped


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tgjar demo', description='Restore eight photographs from JPEG at quality 1 '
                                     'with the shipped weights, and draw the result. With --train, first train a small '
                                     'model on them, on the CPU, in a few minutes: vocabulary, training, export, '
                                     'restoration.')
    parser.add_argument('-o', '--output', type=Path, default=Path('demo_output'), metavar='FOLDER',
                        help='folder for everything it makes (default: %(default)s)')
    parser.add_argument('--train', action='store_true',
                        help='train a small model on the photographs first, instead of taking the shipped weights')
    parser.add_argument('--iterations', nargs=2, type=arguments.positive_int, metavar=('STAGE1', 'STAGE2'),
                        help='train for this many iterations (--train); default: see the option files')
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='KEY=VALUE',
                        help='change options of stage 2 (--train), as `tgjar train` does, e.g. network_g:num_feat=16')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar demo`.

    Returns:
        Exit code: 0 if the restored photographs beat the JPEG files in PSNR, else 1.
    """
    args = _parser().parse_args(argv)
    from tgjar_arch.cli.demo_run import compare, prepare, restore_all, train_weights

    start, output = time.time(), args.output.resolve()
    training = bool(args.train or args.iterations or args.force_yml)
    try:
        if not training and not shipped():
            print('No weights are shipped with this installation: a small model is trained first, on the CPU in 4 to 8 '
                  'minutes.')
            training = True
        prepare(output)
        weights = train_weights(output, args.iterations, args.force_yml) if training else find_weights()
        print(f'Weights: {weights.name}')
        if not restore_all(output, weights):
            return 1
        better = compare(output)
    except (OSError, RuntimeError) as error:
        print(f'tgjar demo: {error}', file=sys.stderr)
        return 1
    print(f'{time.time() - start:.0f} s. The picture: {output / "demo.png"}')
    if not better:
        print('The restored photographs do not beat the JPEG files in PSNR.', file=sys.stderr)
    return 0 if better else 1


if __name__ == '__main__':
    sys.exit(main())
