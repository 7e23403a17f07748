"""The checkout that is tested, and processes in it."""

import subprocess
from pathlib import Path

from tests.helpers.forked import python

ROOT = Path(__file__).resolve().parents[2]


def run_python(code: str, cwd: Path, *path: Path, check: bool = True) -> subprocess.CompletedProcess:
    """Run code in a process of its own, whose path starts with the folders given."""
    done = python('-c', code, cwd=cwd, path=path)
    assert not check or done.returncode == 0, done.stderr
    return done
