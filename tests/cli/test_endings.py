"""Sudden ends of commands: TERM and HUP clean up as Ctrl-C does."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.helpers.checkout import ROOT
from tgjar_arch.cli.endings import Ending, endings
from tgjar_arch.cli.main import main

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no such signals')

# A command that writes a file when the signal comes, and takes its time to clean up.
SCRIPT = """
import sys, time
from tgjar_arch.atomic_file import atomic
from tgjar_arch.cli import main

def slow(arguments):
    with atomic(arguments[0]) as temporary:
        temporary.write_text('half')
        try:
            print('ready', flush=True)
            time.sleep(60)
        finally:
            time.sleep(float(arguments[1]))
            print('cleaned up', flush=True)

sys.modules['slow'] = sys.modules['__main__']
main.COMMANDS['slow'] = ('slow:slow', 'for the test')
sys.exit(main.main(['slow', *sys.argv[1:]]))
"""


def started(folder, pause=0., hangup=signal.SIG_DFL):
    def as_in_a_terminal():  # the tests may run in the background, or under nohup, and a child inherits that
        for number, handler in ((signal.SIGINT, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_DFL),
                                (signal.SIGHUP, hangup)):
            signal.signal(number, handler)

    process = subprocess.Popen([sys.executable, '-c', SCRIPT, folder / 'a.txt', str(pause)], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=as_in_a_terminal,
                               env=os.environ | {'PYTHONPATH': str(ROOT)})
    assert process.stdout.readline() == 'ready\n'
    return process


@pytest.mark.parametrize('name, code', [('SIGINT', 130), ('SIGTERM', 143), ('SIGHUP', 129)])
def test_temporary_files_go(tmp_path, name, code):
    with started(tmp_path) as process:
        process.send_signal(getattr(signal, name))
        said, errors = process.communicate(timeout=30)
    assert (process.returncode, said, errors) == (code, 'cleaned up\n', '\ntgjar slow: interrupted\n')
    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_does_not_disturb_the_cleaning(tmp_path):
    with started(tmp_path, pause=0.4) as process:  # closing a terminal sends several, and so does systemd
        for name in ('SIGHUP', 'SIGTERM', 'SIGHUP'):
            process.send_signal(getattr(signal, name))
            time.sleep(0.05)
        said, errors = process.communicate(timeout=30)
    assert (process.returncode, said) == (129, 'cleaned up\n') and 'Traceback' not in errors
    assert list(tmp_path.iterdir()) == []


def test_nohup_stays_in_force(tmp_path):
    with started(tmp_path, hangup=signal.SIG_IGN) as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 143 and list(tmp_path.iterdir()) == []


def test_handlers_are_those_of_before_again():
    def other(number, frame):
        pass

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGTERM, other)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with endings() as ending:
            assert signal.getsignal(signal.SIGTERM) is other  # the program that calls has one
            assert signal.getsignal(signal.SIGHUP) == ending.handle
        assert signal.getsignal(signal.SIGTERM) is other and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_in_another_thread_nothing_changes(capsys):
    codes = []

    def run():
        try:
            main(['schema', '--help'])
        except SystemExit as error:
            codes.append(error.code)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert codes == [0] and 'usage' in capsys.readouterr().out


def test_later_a_signal_counts_again():
    ending = Ending()
    with pytest.raises(KeyboardInterrupt):
        ending.handle(signal.SIGTERM, None)
    ending.handle(signal.SIGHUP, None)  # at once: passed over
    assert ending.exit_code == 143
    ending.at -= 10
    with pytest.raises(KeyboardInterrupt):
        ending.handle(signal.SIGHUP, None)
    assert ending.exit_code == 129


def test_an_end_while_a_command_is_imported(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr('importlib.import_module', interrupted)
    assert main(['schema']) == 130 and capsys.readouterr().err == '\ntgjar schema: interrupted\n'
