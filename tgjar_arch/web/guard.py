"""Stands before the page (ASGI): who may ask, for what, how much may be sent, and which hosts a browser may turn to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from tgjar_arch.web.hosts import Hosts
from tgjar_arch.web.listeners import Application, Listeners, Message, Receive, Send

_UPLOAD = re.compile(r'(/gradio_api)?/upload/?')
_STREAM = re.compile(r'(/gradio_api)?/call/(?:v2/)?[^/]+/([^/]+)/?')
_FILE = re.compile(r'(/gradio_api)?/file[=/](.*)', re.DOTALL)
# What the page and Gradio's client send; Gradio answers more, which takes files or code and goes past the limits.
_POSTS = re.compile(r'(/gradio_api)?/(upload|queue/join|cancel|reset|run/[^/]+|call/(v2/)?[^/]+)/?')
_CLOSED = re.compile(r'(/gradio_api)?/(proxy=|vibe-|monitoring|deep_link|run-history|runs|stream/|dev/)')
_MAX_JSON = 1_010_000  # bytes of a request that is no upload: a caption and numbers
_MAX_PARTS = 4  # of an upload; the page sends one file
_OVERHEAD = 10_000  # bytes around the file in an upload
_DRAINED = 10  # as many times the allowed bytes are read and dropped, for a browser reads no answer before
_AT_ONCE = 4  # uploads

_POLICY = {'default-src': "'self'", 'style-src': "'self' 'unsafe-inline'", 'img-src': "'self' data: blob:",
           'font-src': "'self' data:", 'media-src': "'self' data: blob:", 'connect-src': "'self' data: blob:",
           'worker-src': "'self' blob:", 'object-src': "'none'", 'base-uri': "'self'", 'form-action': "'self'",
           'frame-ancestors': "'none'"}
_FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"  # an upload is looked at, and not run
_HEADERS = {'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY', 'referrer-policy': 'same-origin',
            'cross-origin-resource-policy': 'same-origin', 'cross-origin-opener-policy': 'same-origin'}
_SCRIPT = re.compile(r'<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>', re.DOTALL | re.IGNORECASE)


class _Refusal(Exception):
    """A request that is not answered: its status, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def policy(page: str | None = None) -> str:
    """Return the Content-Security-Policy: everything comes from the page's own host, of scripts also what it holds.

    Args:
        page: HTML whose inline scripts may run, each by its SHA-256 hash; None for what is no page.
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
              for script in _SCRIPT.findall(page or '')]
    scripts = ' '.join(["'self'", *(f"'sha256-{digest}'" for digest in dict.fromkeys(hashes))])
    return '; '.join(f'{key} {value}' for key, value in {**_POLICY, 'script-src': scripts}.items())


class Guard:
    """ASGI middleware around Gradio's application.

    Refused are requests by another host's name, those that another page makes (`Origin`), uploads of more than is
    allowed, and what the page has no use for.

    Args:
        app: what is guarded.
        hosts: the page's own names.
        max_bytes: largest upload.
        listeners: is told of streams that are opened and end.
        tidy: called after each upload.
    """

    def __init__(self, app: Application, *, hosts: Hosts, max_bytes: int, listeners: Listeners,
                 tidy: Callable[[], None]) -> None:
        self.app = app
        self._hosts, self._max_bytes, self._listeners, self._tidy = hosts, max_bytes, listeners, tidy
        self._uploads = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope)
            if scope['type'] == 'http':
                await self._answer(scope, receive, send)
            else:
                await self.app(scope, receive, send)
        except _Refusal as refusal:
            if scope['type'] == 'websocket':
                await send({'type': 'websocket.close', 'code': 1008})
                return
            await _refuse(refusal, send)

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        server = tuple(scope.get('server') or ('', None))
        hosts = [*_values(scope, b'host'), *_values(scope, b'x-forwarded-host')]
        if len(_values(scope, b'host')) != 1 or not all(self._hosts.is_own(host, server, scope.get('scheme', 'http'))
                                                        for host in hosts):
            raise _Refusal(403, 'This page is not served by that name. Ask for it by the address that `tgjar app` '
                                'said, or start it with --allow-host NAME[:PORT].')
        if not all(self._hosts.is_own_origin(origin, server) for origin in _values(scope, b'origin')):
            raise _Refusal(403, 'Another page may not use this one.')
        if scope['type'] == 'http':
            path, file = scope['path'], _FILE.fullmatch(scope['path'])
            is_known = scope['method'] in ('GET', 'HEAD', 'OPTIONS') or (
                scope['method'] == 'POST' and _POSTS.fullmatch(path))
            if not is_known or _CLOSED.match(path) or file and '://' in file[2]:
                raise _Refusal(404, 'There is no such thing on this page.')

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path = scope['path']
        send = _with_headers(send, _FILE.fullmatch(path) is not None)
        if scope['method'] == 'POST':
            await self._take(scope, receive, send)
        elif scope['method'] == 'GET' and path.rstrip('/').endswith('/queue/data'):
            session = parse_qs(scope.get('query_string', b'').decode('latin-1')).get('session_hash', [''])[0]
            await self._listeners.follow(session, self.app, scope, receive, send)
        elif scope['method'] == 'GET' and (stream := _STREAM.fullmatch(path)):
            await self._listeners.follow(stream[2], self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _take(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Let a request with a body through, as far as it is small enough."""
        if not _UPLOAD.fullmatch(scope['path']):
            await self._pass_on(scope, _Body(scope, receive, _MAX_JSON), send)
            return
        if self._uploads >= _AT_ONCE:
            raise _Refusal(503, 'Too many uploads at once; try again in a moment.')
        self._uploads += 1
        try:
            await self._pass_on(scope, _Body(scope, receive, self._max_bytes + _OVERHEAD, _MAX_PARTS), send)
        finally:
            self._uploads -= 1
            await asyncio.to_thread(self._tidy)

    async def _pass_on(self, scope: MutableMapping[str, Any], body: _Body, send: Send) -> None:
        try:
            body.check(_values(scope, b'content-length'))
            await self.app(scope, body.receive, send)
        except _Refusal:
            await body.drain()
            raise


class _Body:
    """The body of a request, as long as it is within its bounds.

    Args:
        scope, receive: of the request.
        max_bytes: of all of it.
        max_parts: of a multipart body; None for any other.
    """

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, max_bytes: int,
                 max_parts: int | None = None) -> None:
        self._receive, self._max_bytes, self._max_parts = receive, max_bytes, max_parts
        self._bytes, self._more = 0, True
        kind = b''.join(_raw_values(scope, b'content-type')).decode('latin-1')
        found = re.search(r'boundary="?([^";,\s]+)', kind)
        self._boundary = f'--{found[1]}'.encode('latin-1') if found else b''
        self._parts, self._tail = 0, b''

    def check(self, lengths: list[str]) -> None:
        """Look at the length that the request says it has, before any of it is read.

        Raises:
            _Refusal: when it is too much.
        """
        if any(length.isdecimal() and int(length[:20]) > self._max_bytes for length in lengths):
            raise self._too_much()

    def _too_much(self) -> _Refusal:
        return _Refusal(413, f'More than {(self._max_bytes - _OVERHEAD) / 1e6:.3g} MB are not taken.')

    async def receive(self) -> Message:
        """The next message.

        Raises:
            _Refusal: when the bounds are passed.
        """
        message = await self._receive()
        if message['type'] == 'http.request':
            body = message.get('body', b'')
            self._more = message.get('more_body', False)
            self._bytes += len(body)
            if self._bytes > self._max_bytes:
                raise self._too_much()
            if self._max_parts is not None and self._boundary:
                window = self._tail + body
                self._parts += window.count(self._boundary)
                # What may be the beginning of a boundary is looked at again, a whole one is not.
                self._tail = window[1 - len(self._boundary):]
                if self._parts > self._max_parts + 1:  # one more closes the last part
                    raise _Refusal(413, 'One upload has one file.')
        return message

    async def drain(self) -> None:
        """Read on for a while what is not wanted: a browser that is still sending would see no answer."""
        while self._more and self._bytes < _DRAINED * self._max_bytes:
            message = await self._receive()
            if message['type'] != 'http.request':
                return
            self._bytes += len(message.get('body', b''))
            self._more = message.get('more_body', False)


def _raw_values(scope: MutableMapping[str, Any], name: bytes) -> list[bytes]:
    return [value for key, value in scope['headers'] if key.lower() == name]


def _values(scope: MutableMapping[str, Any], name: bytes) -> list[str]:
    return [value.decode('latin-1') for value in _raw_values(scope, name)]


def _with_headers(send: Send, is_file: bool) -> Send:
    """Add the page's headers to an answer; of HTML the inline scripts are read, for which its body is held back."""
    start: Message | None = None
    body = b''

    async def write(message: Message) -> None:
        nonlocal start, body
        if message['type'] == 'http.response.start':
            kinds = [value for key, value in message.get('headers', []) if key.lower() == b'content-type']
            if not is_file and kinds and kinds[0].startswith(b'text/html'):
                start = message
                return
            _add(message, _FILE_POLICY if is_file else policy())
        elif message['type'] == 'http.response.body' and start is not None:
            body += message.get('body', b'')
            if message.get('more_body', False):
                return
            _add(start, policy(body.decode('utf-8', 'replace')))
            await send(start)
            start = None
            message = {'type': 'http.response.body', 'body': body}
        await send(message)

    return write


def _add(message: Message, security_policy: str) -> None:
    added = {'content-security-policy': security_policy, **_HEADERS}
    kept = [(key, value) for key, value in message.get('headers', []) if key.decode('latin-1').lower() not in added]
    message['headers'] = [*kept, *((key.encode(), value.encode()) for key, value in added.items())]


async def _refuse(refusal: _Refusal, send: Send) -> None:
    text = str(refusal).encode()
    start: Message = {'type': 'http.response.start', 'status': refusal.status, 'headers': [
        (b'content-type', b'text/plain; charset=utf-8'), (b'content-length', str(len(text)).encode()),
        (b'connection', b'close')]}
    _add(start, policy())
    await send(start)
    await send({'type': 'http.response.body', 'body': text})
