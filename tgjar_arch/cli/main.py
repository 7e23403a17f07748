"""`tgjar COMMAND ...`: hands over to the module of that subcommand, and imports no other."""

from __future__ import annotations

import difflib
import importlib
import sys
import warnings
from collections.abc import Sequence

from tgjar_arch.cli.endings import endings
from tgjar_arch.cli.screen import screens
from tgjar_arch.version import VERSION

COMMANDS = {  # name: (module, or module:function where that is not `main`; what it does in one line)
    'train': ('tgjar_arch.cli.train:train', "train from an option file, with BasicSR's trainer"),
    'test': ('tgjar_arch.cli.train:test', "restore and measure the test sets of an option file, with BasicSR's tester"),
    'prepare': ('tgjar_arch.cli.prepare', 'turn CUB, Oxford-102, COCO or Kodak into folders to train and test on'),
    'caption': ('tgjar_arch.cli.caption', 'write captions beside images, with an image-captioning model'),
    'vocab': ('tgjar_arch.cli.vocab', 'build the vocabulary (tokenizer.json) from captions'),
    'import-attngan': ('tgjar_arch.cli.import_attngan', "turn AttnGAN's encoders into ours"),
    'export': ('tgjar_arch.cli.export', 'turn a training checkpoint into one .safetensors or ONNX file'),
    'unpack': ('tgjar_arch.cli.unpack', 'turn such a file, or shipped weights, into checkpoints to train further'),
    'restore': ('tgjar_arch.cli.restore', 'restore JPEG files, with captions if there are any'),
    'compare': ('tgjar_arch.cli.compare', 'draw what several captions make of one JPEG file'),
    'evaluate': ('tgjar_arch.cli.evaluate', "measure methods on a test set, in tables like the paper's"),
    'compress': ('tgjar_arch.cli.compress', 'write JPEG files that carry their captions'),
    'app': ('tgjar_arch.cli.app', 'open a page in the browser to restore pictures one by one'),
    'demo': ('tgjar_arch.cli.demo', 'restore photographs and draw the result; --train: train a small model first'),
    'schema': ('tgjar_arch.cli.schema', 'write the JSON schema by which editors check option files'),
    'doctor': ('tgjar_arch.cli.doctor', 'check the installation; --fix repairs the installed BasicSR'),
}


def usage() -> str:
    """Return the help text with every command."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:<{width}}  {summary}' for name, (_, summary) in COMMANDS.items()]
    return '\n'.join([
        f'TGJAR {VERSION}: text-guided JPEG artifact reduction on BasicSR',
        '',
        'usage: tgjar COMMAND [arguments]      tgjar COMMAND --help      tgjar --version',
        '',
        *lines,
    ])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; what it prints is made fit for the terminal (`tgjar_arch.cli.screen`).

    Args:
        argv: the words after `tgjar`; by default those of the command line.

    Returns:
        The exit code: the command's own; 2 for an unknown command; 130 after Ctrl-C, and likewise 143 after TERM and
        129 after HUP; 1 if the command went well, but what it said could not be written, as on a full disk.
    """
    with screens() as said, warnings.catch_warnings():
        # Of odd EXIF data Pillow prints its own path and a line of its code; what matters is said per file.
        warnings.filterwarnings('ignore', category=UserWarning, module=r'PIL\.')
        code = _run(argv)
    return code or int(said.is_lost)


def _run(argv: Sequence[str] | None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ('-h', '--help', 'help'):
        print(usage())
        return 0
    if argv[0] == '--version':
        print(f'tgjar {VERSION}')
        return 0
    name, *arguments = argv
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=2, cutoff=0.5)
        hint = f' Did you mean {" or ".join(near)}?' if near else f' There are: {", ".join(COMMANDS)}.'
        print(f'tgjar: no command {name!r}.{hint}', file=sys.stderr)
        return 2
    module, _, function = COMMANDS[name][0].partition(':')
    with endings() as ending:
        try:
            command = getattr(importlib.import_module(module), function or 'main')
            return command(arguments) or 0
        except KeyboardInterrupt:
            print(f'\ntgjar {name}: interrupted', file=sys.stderr)
            return ending.exit_code


if __name__ == '__main__':
    sys.exit(main())
