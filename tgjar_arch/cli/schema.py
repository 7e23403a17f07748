"""`tgjar schema`: write the JSON schema by which editors complete and check our option files.

An option file names it in its first line: `# yaml-language-server: $schema=schema.json`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tgjar_arch.atomic_file import atomic

SCHEMA = Path('options', 'schema.json')


def schema_text() -> str:
    """The schema as its file has it."""
    from tgjar_arch.cli.option_schema import build_schema  # here: it imports BasicSR, seconds that --help can spare

    return json.dumps(build_schema(), indent=1, ensure_ascii=False) + '\n'


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar schema`.

    Returns:
        Exit code: 0; 1 when the file cannot be written, or with --check is not what would be written.
    """
    parser = argparse.ArgumentParser(prog='tgjar schema', description=__doc__.partition(': ')[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-o', '--output', type=Path, default=SCHEMA, metavar='FILE',
                        help='the file (default: %(default)s)')
    parser.add_argument('--check', action='store_true', help='write nothing, and fail if the file is not up to date')
    args = parser.parse_args(argv)
    text = schema_text()
    try:
        if not args.check:
            with atomic(args.output) as temporary:
                temporary.write_text(text, encoding='utf-8')
            print(f'wrote {args.output}')
        elif args.output.read_text(encoding='utf-8') != text:
            raise ValueError(f'{args.output} is not up to date; write it anew by `tgjar schema -o {args.output}`.')
    except (OSError, ValueError) as error:
        print(f'tgjar schema: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
