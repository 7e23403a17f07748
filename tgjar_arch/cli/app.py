"""`tgjar app`: opens a page in the browser to restore pictures one by one, on this machine alone."""

import argparse
import sys
from collections.abc import Sequence

from tgjar_arch.cli import arguments
from tgjar_arch.cli.screen import one_line
from tgjar_arch.weights.shipped import find_weights, quality_limit

MAX_PIXELS = 12_000_000
MAX_MEGABYTES = 20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tgjar app',
                                     description='Open a page in the browser to restore pictures one by one, on this '
                                     'machine alone.',
                                     epilog="Needs Gradio: pip install 'tgjar[app]'. Ctrl-C ends it.")
    arguments.add_weights(parser)
    arguments.add_fidelity_weights(parser)
    parser.add_argument('--host', default='127.0.0.1', metavar='ADDRESS',
                        help='address to listen on; 0.0.0.0 lets the whole network in (default: %(default)s)')
    parser.add_argument('--port', type=arguments.port, metavar='N', help='default: the first free one from 7860 up')
    arguments.add_max_pixels(parser, MAX_PIXELS)
    parser.add_argument('--max-megabytes', type=arguments.positive_int, default=MAX_MEGABYTES, metavar='N',
                        help='refuse larger uploads; all that lie there take 50 times as much, the oldest go (default: '
                        '%(default)s)')
    parser.add_argument('--allow-host', action='append', default=[], metavar='NAME[:PORT]',
                        help='a name by which the page may be asked for besides its own address, as of a proxy or a '
                        'forwarded port; may be given several times')
    arguments.add_device(parser)
    parser.add_argument('--browser', action='store_true', help='open the page in a browser')
    parser.add_argument('--share', action='store_true',
                        help="let in everyone who knows a public address, through Gradio's servers; off by default")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar app`.

    Returns:
        Exit code: 0 after Ctrl-C, SIGTERM or SIGHUP, 2 if it could not be started.
    """
    args = _parser().parse_args(argv)
    try:
        weights = find_weights(args.weights)
        try:
            from tgjar_arch import app
        except ImportError as error:
            if (error.name or '').partition('.')[0] != 'gradio':
                raise
            raise ImportError("the page needs Gradio: pip install 'tgjar[app]'.") from error
        from tgjar_arch.restoration.fidelity import FidelityDial
        from tgjar_arch.restoration.restorer import Restorer

        restorer = Restorer.from_pretrained(weights, args.device)
        dial = FidelityDial.find(restorer, weights, args.fidelity_weights)
        name = weights.stem if weights.is_file() else args.weights.name
        app.serve(restorer, app.Limits(args.max_pixels, quality_limit(weights)), name, args.host, args.port,
                  args.max_megabytes * 1_000_000, args.share, args.browser,
                  lambda line: print(line, file=sys.stderr, flush=True), args.allow_host, dial)
    except (ImportError, OSError, ValueError) as error:
        print(one_line(f'tgjar app: {error}'), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
    return 0


if __name__ == '__main__':
    sys.exit(main())
