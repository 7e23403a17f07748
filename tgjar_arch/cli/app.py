"""`tgjar app`: a page in the browser to restore pictures one by one, on this machine alone."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tgjar_arch.cli.arguments import WEIGHTS
from tgjar_arch.weights.shipped import find_weights, quality_limit, shipped

MAX_PIXELS = 12_000_000
MAX_MEGABYTES = 20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tgjar app', description=__doc__.partition(': ')[2],
                                     epilog="Needs Gradio: pip install 'tgjar[app]'. Ctrl-C ends it.")
    parser.add_argument('--weights', default=os.environ.get(WEIGHTS) or None, metavar='FILE',
                        help=f'.safetensors file of `tgjar export`, or one of {", ".join(shipped()) or "none"} '
                        f'(default: the variable {WEIGHTS}, else the first)')
    parser.add_argument('--host', default='127.0.0.1', metavar='ADDRESS',
                        help='address to listen at; 0.0.0.0 lets the whole network in (default: %(default)s)')
    parser.add_argument('--port', type=int, metavar='N', help='default: the first free one from 7860 on')
    parser.add_argument('--max-pixels', type=int, default=MAX_PIXELS, metavar='N',
                        help='refuse pictures with more pixels (default: %(default)s)')
    parser.add_argument('--max-megabytes', type=int, default=MAX_MEGABYTES, metavar='N',
                        help='refuse larger uploads (default: %(default)s)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: the GPU if there is one')
    parser.add_argument('--browser', action='store_true', help='open the page in a browser')
    parser.add_argument('--share', action='store_true',
                        help="let everyone in who knows a public address, through Gradio's servers; off by default")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar app`.

    Returns:
        Exit code: 0 after Ctrl-C, 2 when it could not be started.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    for name in ('max_pixels', 'max_megabytes'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more, but is {getattr(args, name)}')
    if args.port is not None and not 0 < args.port < 65536:
        parser.error(f'--port must be 1 to 65535, but is {args.port}')
    try:
        weights = find_weights(args.weights)
        try:
            from tgjar_arch import app
        except ImportError as error:
            if (error.name or '').partition('.')[0] != 'gradio':
                raise
            raise ImportError("the page needs Gradio: pip install 'tgjar[app]'.") from error
        from tgjar_arch.restoration.restorer import Restorer

        restorer = Restorer.from_pretrained(weights, args.device)
        app.serve(restorer, app.Limits(args.max_pixels, quality_limit(weights)), Path(weights).stem, args.host,
                  args.port, args.max_megabytes * 1_000_000, args.share, args.browser,
                  lambda line: print(line, file=sys.stderr, flush=True))
    except (ImportError, OSError, ValueError) as error:
        print(f'tgjar app: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
    return 0


if __name__ == '__main__':
    sys.exit(main())
