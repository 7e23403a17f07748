"""`tgjar train -opt FILE` and `tgjar test -opt FILE`: BasicSR's trainer and tester, in the working directory."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


def train(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar train`; the arguments are those of `basicsr/train.py`.

    Returns:
        Exit code: 0, 1 if training came to an end by itself (a loss became NaN), 2 for a mistake in the options.
    """
    return _run(argv, 'train')


def test(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar test`; the arguments are those of `basicsr/test.py`. Exit codes: see `train`."""
    return _run(argv, 'test')


def _run(argv: Sequence[str] | None, command: str) -> int:
    argv = list(sys.argv[2:] if argv is None else argv)
    args = _parser(command).parse_args(argv)
    from tgjar_arch.training.options import find_options
    from tgjar_arch.training.pipeline import PipelineSettings, run

    file = find_options(args.opt)
    if file != args.opt:
        print(f'tgjar {command}: there is no file {args.opt} here, so the one of the package is taken: {file}',
              file=sys.stderr)
        argv = _with_file(argv, args.opt, file)
    return run(PipelineSettings(
        option_file=file, is_train=command == 'train', argv=argv, launcher=args.launcher,
        auto_resume=args.auto_resume, force_yml=args.force_yml,
        show_traceback=args.debug or os.environ.get('TGJAR_TRACEBACK', '') not in ('', '0')))


def _with_file(argv: Sequence[str], name: str, file: str) -> list[str]:
    """The arguments, with another option file."""
    changed = [file if before.startswith('-o') and word == name else word
               for before, word in zip(['', *argv], argv, strict=False)]
    return changed if changed != list(argv) else [*argv, '-opt', file]  # of two the last counts


def _parser(command: str) -> argparse.ArgumentParser:
    description = "BasicSR's tester: writes results/NAME into the working directory."
    if command == 'train':
        description = "BasicSR's trainer: writes experiments/NAME and tb_logger/NAME into the working directory."
    description += (' An option file is a program, whose Python tags run when it is read: take none from people you do '
                    'not trust. Weights files (.safetensors) are not.')
    parser = argparse.ArgumentParser(prog=f'tgjar {command}', description=description)
    parser.add_argument('-opt', required=True, metavar='FILE',
                        help='option file, from people you trust: a path, or the name of one that comes with the '
                             'package')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='pytorch under torchrun, which starts '
                        f'`-m tgjar_arch {command} -opt FILE --launcher pytorch`')
    parser.add_argument('--auto_resume', action='store_true', help='resume from the newest state, if there is one')
    parser.add_argument('--debug', action='store_true', help='log every iteration, validate every 8; show tracebacks')
    parser.add_argument('--local_rank', type=int, default=0, metavar='N', help='set by the launcher')
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='SECTION:KEY=VALUE',
                        help='change options of the file, for example train:optim_g:lr=2e-4 train:gan_opt=~')
    return parser
