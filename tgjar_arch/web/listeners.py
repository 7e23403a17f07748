"""Who still waits for an answer: a browser that went away needs none, and nothing more is computed for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

PATIENCE = 15.  # seconds from a request to the stream by which its answer is waited for
_RETURN = 1.  # seconds in which a stream that broke off may be opened again
_MOST = 10_000  # sessions that are remembered


@dataclass
class _Session:
    streams: int = 0  # open now
    left: float | None = None  # when the last one broke off; None if none did, or one was opened since


class Listeners:
    """Sessions and the streams of events by which they wait for results.

    Each method may be called from any thread.
    """

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._lock = threading.Lock()
        self._is_closed = False

    def opened(self, session: str) -> None:
        """A stream has been opened."""
        with self._lock:
            found = self._sessions.setdefault(session, _Session())
            self._sessions.move_to_end(session)
            found.streams += 1
            found.left = None
            while len(self._sessions) > _MOST:
                self._sessions.popitem(last=False)

    def ended(self, session: str, broken: bool) -> None:
        """A stream has ended: with its last message, or `broken` off by the one who listened."""
        with self._lock:
            if found := self._sessions.get(session):
                found.streams = max(found.streams - 1, 0)
                found.left = time.monotonic() if broken and not found.streams else found.left

    def close(self) -> None:
        """The page is closed down: nobody waits any more."""
        self._is_closed = True

    def waits(self, session: str, since: float) -> bool:
        """Whether somebody waits for what the session asked for.

        Args:
            session: its name.
            since: `time.monotonic()` at which its work was begun; its stream may be opened a little later.
        """
        now = time.monotonic()
        with self._lock:
            found = self._sessions.get(session, _Session())
            if self._is_closed or found.streams:
                return not self._is_closed
            return now - since < PATIENCE if found.left is None else now - found.left < _RETURN

    async def follow(self, session: str, app: Application, scope: MutableMapping[str, Any], receive: Receive,
                     send: Send) -> None:
        """Answer the request for a stream, and note at once when the one who asked has gone.

        An ASGI server tells that by `receive` alone, and the application asks for that every few seconds only.
        """
        messages: asyncio.Queue[Message] = asyncio.Queue()
        is_open, is_complete = True, False

        def end(broken: bool) -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                self.ended(session, broken)

        async def watch() -> None:
            while True:
                message = await receive()
                if message['type'] == 'http.disconnect':
                    end(broken=not is_complete)
                    while True:  # whoever asks, and as often
                        if messages.empty():
                            messages.put_nowait(message)
                        await asyncio.sleep(.1)
                messages.put_nowait(message)

        async def note(message: Message) -> None:
            nonlocal is_complete
            if message['type'] == 'http.response.body' and not message.get('more_body', False):
                is_complete = True
            await send(message)

        self.opened(session)
        watcher = asyncio.create_task(watch())
        try:
            await app(scope, messages.get, note)
        finally:
            watcher.cancel()
            end(broken=not is_complete)
