"""Sudden ends: a command that is told to end (TERM), or whose terminal is closed (HUP), ends as by Ctrl-C.

Python ends at once by these signals, and leaves temporary files behind. Here they raise KeyboardInterrupt, as Ctrl-C
does, so that everything that is cleaned up then is cleaned up.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_NAMES = ('SIGTERM', 'SIGHUP', 'SIGBREAK')  # SIGBREAK: Windows, where SIGHUP is missing
_PAUSE = 2.  # seconds: closing a terminal sends several


@dataclass
class Ending:
    """Which signal has ended a command.

    Attributes:
        signal: its number; that of Ctrl-C as long as there was no other.
        at: when it came, in seconds of a clock of its own; None if there was none.
    """

    signal: int = signal.SIGINT
    at: float | None = None

    @property
    def exit_code(self) -> int:
        """What shells make of a signal: 130 of Ctrl-C, 143 of TERM, 129 of HUP."""
        return 128 + self.signal

    def handle(self, number: int, _: FrameType | None) -> None:
        """Raise KeyboardInterrupt, but not again while what the first one has begun is at work."""
        now = time.monotonic()
        if self.at is None or now - self.at > _PAUSE:
            self.signal, self.at = number, now
            raise KeyboardInterrupt


@contextmanager
def endings() -> Iterator[Ending]:
    """Let TERM and HUP raise KeyboardInterrupt for a while.

    A signal that somebody has a handler for, or ignores, as `nohup` does, stays as it is. In other threads than the
    main one, where Python handles no signals, nothing changes.
    """
    ending = Ending()
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    mine = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, ending.handle)
    try:
        yield ending
    finally:
        for number in mine:
            if signal.getsignal(number) == ending.handle:
                signal.signal(number, signal.SIG_DFL)
