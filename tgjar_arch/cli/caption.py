"""`tgjar caption`: describes images with an image-captioning model, in text files beside them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tgjar_arch.cli import arguments
from tgjar_arch.cli.screen import one_line
from tgjar_arch.text.defaults import DEFAULT_MODEL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar caption',
        description='Describe the images of a folder with an image-captioning model, each in a text file beside it '
        '(bird.jpg, bird.txt), where `tgjar restore` and the data sets find it. Describe originals: compressed images '
        'are described worse.',
        epilog='The paper describes Kodak with OFA, which is not in the transformers library; its captions come with '
        '`tgjar prepare kodak`. Exit code: 0 all described, 1 some failed, 2 nothing could be started. '
        'Example: tgjar caption photos --download')
    parser.add_argument('folder', type=Path, metavar='FOLDER', help='images in any depth')
    parser.add_argument('--model', default=DEFAULT_MODEL, metavar='NAME_OR_FOLDER',
                        help='an image-to-text model that transformers loads (default: %(default)s)')
    parser.add_argument('--download', action='store_true', help='fetch the model if it is not on this machine yet')
    parser.add_argument('--batch', type=arguments.positive_int, default=8, metavar='N',
                        help='images at a time (default: %(default)s)')
    parser.add_argument('--beams', type=arguments.positive_int, default=3, metavar='N',
                        help='beams of the search (default: %(default)s)')
    parser.add_argument('--max-tokens', type=arguments.positive_int, default=30, metavar='N',
                        help='longest caption, in tokens of the model (default: %(default)s)')
    arguments.add_device(parser)
    parser.add_argument('--overwrite', action='store_true', help='write text files again; otherwise they are kept')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar caption`.

    Returns:
        Exit code: 0, 1 if some images failed, 2 if nothing could be started.
    """
    args = _parser().parse_args(argv)
    from torch import OutOfMemoryError

    from tgjar_arch.cli.caption_run import describe_all, find_work
    from tgjar_arch.cli.device import find_device
    from tgjar_arch.text.captioner import Captioner

    try:
        device = find_device(args.device)
        files, kept = find_work(args.folder, args.overwrite)
    except (OSError, ValueError) as error:
        print(one_line(f'tgjar caption: {error}'), file=sys.stderr)
        return 2
    done = 0
    failed: dict[Path, str] = {}
    if files:
        try:
            captioner = Captioner(args.model, device, args.download, args.beams, args.max_tokens)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            reason = str(error).strip().partition('\n')[0].partition('. If you ')[0].rstrip('.')
            hint = '' if args.download or Path(args.model).is_dir() else (
                ' If it is not on this machine yet, --download fetches it; or name a folder with --model.')
            print(f'tgjar caption: cannot load the model {args.model}: {reason}.{hint}', file=sys.stderr)
            return 2
        try:
            done, failed = describe_all(captioner, files, args.batch, args.quiet)
        except OutOfMemoryError:
            print(f'tgjar caption: out of memory; run it again with a smaller --batch than {args.batch}. What '
                  'has been described is kept.', file=sys.stderr)
            return 1
    for path, reason in failed.items():
        print(one_line(f'failed: {path}: {reason}'), file=sys.stderr)
    already = f', {kept} already have captions' if kept else ''
    print(one_line(f'{args.folder}: {done} described{already}, {len(failed)} failed'))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
