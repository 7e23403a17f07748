"""Installs BasicSR 1.4.2 where pip alone cannot: on Python 3.13 and later.

Its setup.py runs version.py by `exec` in a function and reads `locals()` afterwards, which Python 3.13 (PEP 667) keeps
apart: `KeyError: '__version__'`. The package itself is plain Python and works. pip fetches and builds it as ever, from
whatever index it is set up for; in the processes of that build a `sitecustomize` in a temporary folder corrects those
two expressions while setup.py is read. Nothing else is changed, neither pip's cache nor the source that was fetched.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENT = 'basicsr==1.4.2'
_TOOLS = ('setuptools<82', 'wheel')  # 82 has no pkg_resources, which MMEngine imports
# Corrects setup.py as setuptools opens it; of any other file nothing is changed.
_SITECUSTOMIZE = """\
import io
import os
import tokenize

RUN = "exec(compile(f.read(), version_file, 'exec'))"
CORRECTIONS = ((RUN, 'found = {}; ' + RUN[:-1] + ', found)'),
               ("return locals()['__version__']", "return found['__version__']"))
open_source = tokenize.open


def corrected(path):
    file = open_source(path)
    if os.path.basename(path) != 'setup.py':
        return file
    with file:
        text = file.read()
    if all(text.count(old) == 1 for old, _ in CORRECTIONS):
        for old, new in CORRECTIONS:
            text = text.replace(old, new)
    return io.StringIO(text)


tokenize.open = corrected
"""


class InstallError(RuntimeError):
    """pip could not install; the message, one line, says why."""


def install_basicsr(*arguments: str) -> str:
    """Install BasicSR 1.4.2 with pip into the environment that runs this, without its requirements.

    Those are among ours but tb-nightly, whose job tensorboard does, and `future`, which nothing in it imports.

    Args:
        arguments: more of `pip install`, such as `--no-index`.

    Returns:
        What was done, in one line.

    Raises:
        InstallError: when pip is missing or fails; what is installed is then as it was.
    """
    _pip(*_TOOLS, *arguments)
    with tempfile.TemporaryDirectory(prefix='tgjar-') as folder:
        (Path(folder) / 'sitecustomize.py').write_text(_SITECUSTOMIZE, encoding='utf-8')
        _pip('--no-deps', '--no-build-isolation', REQUIREMENT, *arguments, first_on_path=folder)
    importlib.invalidate_caches()
    return f'Installed {REQUIREMENT} in {sys.prefix}.'


def _pip(*arguments: str, first_on_path: str | None = None) -> None:
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK='1')
    if first_on_path is not None:
        environment['PYTHONPATH'] = os.pathsep.join(filter(None, (first_on_path, os.environ.get('PYTHONPATH'))))
    done = subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', *arguments], env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace')
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        telling = [line for line in lines if re.match(r'ERROR:|\w*Error\b|.*No module named pip', line)] or lines
        reason = ' '.join(telling[0].split())[:300] if telling else f'exit code {done.returncode}'
        raise InstallError(f'pip could not install {" ".join(arguments)}: {reason}')
