"""Help, version and wrong arguments come at once: they import neither torch nor BasicSR, nor what else takes time."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tgjar_arch.cli.main import COMMANDS

HEAVY = ('torch', 'torchvision', 'basicsr', 'transformers', 'tokenizers', 'skimage', 'scipy', 'cv2', 'numpy', 'PIL')
WRONG = [  # besides an unknown option, which every command can be given
    ['app', '--port', '0'],
    ['caption', 'photos', '--batch', '0'],
    ['compare', 'a.jpg', '--captions', 'x', '-o', 'a.png', '--text-strength', '0'],
    ['compress', 'a.png', '-o', 'a.jpg', '--qf', '0'],
    ['demo', '--iterations', '1', '0'],
    ['evaluate'],
    ['evaluate', 'photos', '--metrics', 'beauty'],
    ['evaluate', 'photos', '--zoom', 'auto'],
    ['export', 'x', '-o', 'x.zip'],
    ['import-attngan'],
    ['prepare', 'cub', 'x', '-o', 'y', '--quality', '3'],
    ['restore', 'a.jpg', '--tile', '3'],
    ['test'],
    ['train', '-opt', 'x.yml', '--launcher', 'none of these'],
    ['unpack', 'x'],
    ['vocab', 'x', '-o', 'y', '--min-count', '0'],
]
PROGRAM = """
import json, sys
from tgjar_arch.cli.main import main
codes = []
for words in json.loads(sys.argv[1]):
    try:
        codes.append(main(words))
    except SystemExit as stop:
        codes.append(stop.code)
print(json.dumps({'codes': codes, 'modules': [name for name in json.loads(sys.argv[2]) if name in sys.modules]}))
"""


@pytest.mark.parametrize('lines, code', [
    ([['--version'], ['--help'], [], ['help']], 0),
    ([[name, '--help'] for name in COMMANDS] + [['prepare', 'cub', '--help']], 0),
    ([[name, '--no-such-option'] for name in COMMANDS] + [['no-such-command']], 2),
    (WRONG, 2),
], ids=['version', 'help', 'unknown option', 'wrong value'])
def test_nothing_heavy_is_imported(lines: list[list[str]], code: int) -> None:
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-c', PROGRAM, json.dumps(lines), json.dumps(HEAVY)], env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert dict(zip(map(' '.join, lines), result['codes'], strict=True)) == {' '.join(words): code for words in lines}
    assert result['modules'] == []
