"""The checkout that is tested, and fresh processes in it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_python(code: str, cwd: Path, *path: Path, check: bool = True) -> subprocess.CompletedProcess:
    """Run code in a fresh process, whose path starts with the folders given."""
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(map(str, path)), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, '-c', code], cwd=cwd, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done
