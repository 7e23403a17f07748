"""Fresh Python processes that cost no imports of libraries: each is forked from one that has read PyTorch and SciPy.

`python('-m', 'tgjar_arch', ...)` is `python -m tgjar_arch ...`: a process of its own that starts with nothing of
BasicSR and nothing of ours, and with its own arguments, folder, environment, path and output. Only the libraries of
`LIBRARIES` are in `sys.modules` already, which saves nine of ten seconds of a training of two iterations. A test whose
subject is what an import brings along starts a Python of its own instead.

This file is also the program that is forked; it reads a request a line and writes a process id or an exit code.
"""

import atexit
import functools
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from pathlib import Path

LIBRARIES = ('torch', 'torchvision', 'torch._dynamo', 'torch.utils.data', 'numpy', 'scipy.linalg', 'scipy.ndimage',
             'scipy.special', 'scipy.stats', 'cv2', 'PIL.Image', 'safetensors.torch', 'yaml', 'tqdm')


class Process:
    """A process that runs; see `start`."""

    def __init__(self, arguments: tuple[str, ...], cwd: str | os.PathLike, environment: dict[str, str]) -> None:
        self.arguments = arguments
        self._files = [tempfile.NamedTemporaryFile(prefix='tgjar_test_') for _ in range(2)]
        self._server = _server()
        self.pid = _ask(self._server, start=arguments, cwd=os.fspath(cwd), environment=environment,
                        streams=[file.name for file in self._files])

    def wait(self, timeout: float = 300) -> subprocess.CompletedProcess:
        """Exit code and output, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it ran longer than `timeout` seconds, and has been killed.
        """
        killed = threading.Event()

        def kill() -> None:
            killed.set()
            os.kill(self.pid, 9)

        watchdog = threading.Timer(timeout, kill)
        watchdog.start()
        code = _ask(self._server, wait=self.pid)
        watchdog.cancel()
        output, errors = (Path(file.name).read_text('utf-8', 'replace') for file in self._files)
        for file in self._files:
            file.close()
        if killed.is_set():
            raise subprocess.TimeoutExpired(self.arguments, timeout, output, errors)
        return subprocess.CompletedProcess(self.arguments, code, output, errors)


def start(*arguments: str | os.PathLike, cwd: str | os.PathLike = '.', path: tuple[str | os.PathLike, ...] = (),
          **environment: str) -> Process:
    """Start `python ARGUMENTS` (`-m MODULE ...`, `-c CODE ...` or `FILE ...`) on one thread.

    Args:
        arguments: what would follow `python`.
        cwd: its working directory.
        path: PYTHONPATH.
        environment: further variables, beside those of this process.
    """
    variables = os.environ | {'PYTHONPATH': os.pathsep.join(map(str, path)), 'OMP_NUM_THREADS': '1'} | environment
    return Process(tuple(map(str, arguments)), Path(cwd).absolute(), variables)


def python(*arguments: str | os.PathLike, cwd: str | os.PathLike = '.', path: tuple[str | os.PathLike, ...] = (),
           timeout: float = 300, **environment: str) -> subprocess.CompletedProcess:
    """Run what `start` starts to its end."""
    return start(*arguments, cwd=cwd, path=path, **environment).wait(timeout)


@functools.cache
def _server() -> subprocess.Popen:
    """The program below, which ends with this process."""
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'} | {'OMP_NUM_THREADS': '1'}
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env=environment)
    atexit.register(server.communicate)
    return server


def _ask(server: subprocess.Popen, **request: object) -> int:
    server.stdin.write(json.dumps(request) + '\n')
    server.stdin.flush()
    answer = server.stdout.readline()
    if not answer:
        raise RuntimeError(f'the program that is forked ended with code {server.wait()}')
    return int(answer)


def _serve() -> dict | None:
    """Answer requests; returns in a forked process, with what it shall run, and with None when all is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of the tests, and the end of this input
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        if 'start' not in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request['wait'], 0)[1]), flush=True)
            continue
        pid = os.fork()
        if not pid:
            return request
        print(pid, flush=True)
    return None


def _become(request: dict) -> None:
    """Be a Python process of its own: folder, environment, path, streams and random numbers."""
    os.chdir(request['cwd'])
    os.environ.clear()
    os.environ.update(request['environment'])
    for target, (file, flags) in enumerate([(os.devnull, os.O_RDONLY)] + [
            (name, os.O_WRONLY | os.O_APPEND) for name in request['streams']]):
        opened = os.open(file, flags)
        os.dup2(opened, target)
        os.close(opened)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = open(0, closefd=False)  # the old one has read ahead
    sys.path[:1] = filter(None, os.environ['PYTHONPATH'].split(os.pathsep))  # in the place of this file's folder
    importlib.import_module('numpy').random.seed()


def _run(kind: str, *rest: str) -> None:
    """What `python KIND ...` does, in the end of a process that has become one."""
    if kind == '-m':
        sys.argv = list(rest)
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
    elif kind == '-c':
        sys.argv = ['-c', *rest[1:]]
        sys.path.insert(0, '')
        main = sys.modules['__main__'] = types.ModuleType('__main__')
        exec(compile(rest[0], '<string>', 'exec'), vars(main))
    else:
        sys.argv = [kind, *rest]
        sys.path.insert(0, os.path.dirname(os.path.abspath(kind)))
        runpy.run_path(kind, run_name='__main__')


def _main() -> int:
    """Exit code of the program, or of a process that was forked from it."""
    if (request := _serve()) is None:
        return 0
    _become(request)
    try:
        _run(*request['start'])
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == '__main__':
    exit_code = _main()
    # As Python ends, but that the libraries are not taken apart, which would take longer than many a test.
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(exit_code)
