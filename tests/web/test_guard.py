"""What stands before the page: names, origins, sizes, routes, and the headers of every answer."""

import asyncio
import base64
import hashlib
from typing import Any

import pytest

from tgjar_arch.web.guard import Guard
from tgjar_arch.web.hosts import Hosts
from tgjar_arch.web.listeners import Listeners

HTML = b'<html><script>one()</script><script type="module" src="./x.js"></script><SCRIPT data-a>\ntwo()</SCRIPT></html>'
OWN = ('host', 'localhost:7860')


class Page:
    """An application behind a guard; `ask` sends it one request."""

    def __init__(self, max_bytes: int = 100_000) -> None:
        self.reached: list[str] = []
        self.received = 0
        self.tidied = 0
        self.guard = Guard(self._application, hosts=Hosts(), max_bytes=max_bytes, listeners=Listeners(),
                           tidy=self._tidy)

    def _tidy(self) -> None:
        self.tidied += 1

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        more = scope['method'] == 'POST'
        while more:
            message = await receive()
            self.received += len(message['body'])
            more = message['more_body']
        self.reached.append(scope['path'])
        kind = b'text/html; charset=utf-8' if scope['path'] == '/' else b'text/plain'
        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', kind)]})
        await send({'type': 'http.response.body', 'body': HTML[:30], 'more_body': True})
        await send({'type': 'http.response.body', 'body': HTML[30:]})

    def ask(self, method: str, path: str, *headers: tuple[str, str], body: bytes = b'', piece: int = 1000,
            kind: str = 'http') -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer; the request's body comes in pieces."""
        pieces = [body[k:k + piece] for k in range(0, len(body), piece)] or [b'']
        sent: list[dict] = []

        async def receive() -> dict:
            return {'type': 'http.request', 'body': pieces.pop(0), 'more_body': bool(pieces)}

        async def send(message: dict) -> None:
            sent.append(message)

        scope = {'type': kind, 'method': method, 'path': path, 'query_string': b'', 'scheme': 'http',
                 'server': ('127.0.0.1', 7860), 'headers': [(k.encode(), v.encode('latin-1')) for k, v in headers]}
        asyncio.run(asyncio.wait_for(self.guard(scope, receive, send), 20))
        if kind != 'http':
            return sent[0]['code'], {}, b''
        return (sent[0]['status'], {k.decode(): v.decode() for k, v in sent[0]['headers']},
                b''.join(message.get('body', b'') for message in sent[1:]))


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.mark.parametrize('headers', [
    [('host', 'evil.example')], [], [OWN, OWN], [('host', 'localhost')], [OWN, ('x-forwarded-host', 'evil.example')],
    [OWN, ('origin', 'http://evil.example')], [OWN, ('origin', 'null')]])
@pytest.mark.parametrize('path', ['/', '/gradio_api/queue/data', '/gradio_api/file=/x', '/gradio_api/upload'])
def test_other_names_and_other_pages_are_refused(headers: list, path: str, page: Page) -> None:
    for method in ('GET', 'POST', 'HEAD'):
        status, answered, body = page.ask(method, path, *headers)
        assert status == 403 and 'content-security-policy' in answered and b'evil' not in body
    assert not page.reached
    assert page.ask('GET', path, *headers, kind='websocket')[0] == 1008


def test_its_own_are_answered(page: Page) -> None:
    assert page.ask('GET', '/', OWN)[::2] == (200, HTML)
    assert page.ask('POST', '/gradio_api/queue/join', OWN, ('origin', 'http://localhost:7860'), body=b'{}')[0] == 200
    assert page.reached == ['/', '/gradio_api/queue/join']


def test_a_browser_may_turn_to_no_other_host(page: Page) -> None:
    """Every source of the policy is the page itself or made in it; of scripts those of the page, by their hashes."""
    for path in ('/', '/config', '/gradio_api/file=/x.svg'):
        parts = page.ask('GET', path, OWN)[1]['content-security-policy'].split('; ')
        policy = dict(part.split(' ', 1) for part in parts if ' ' in part)
        sources = {source for value in policy.values() for source in value.split()}
        assert {source for source in sources if not source.startswith("'sha256-")} <= {
            "'self'", "'none'", "'unsafe-inline'", 'data:', 'blob:'}
        assert "'unsafe-inline'" not in policy.get('script-src', policy['default-src'])
        hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
                  for script in (b'one()', b'\ntwo()')}
        assert {source for source in sources if source.startswith("'sha256-")} == (hashes if path == '/' else set())
    assert policy == {'default-src': "'none'", 'style-src': "'unsafe-inline'"}, 'an upload runs nothing'


def upload(count: int, size: int) -> tuple[tuple[str, str], bytes]:
    part = b'--Xy\r\ncontent-disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + b'-' * size + b'\r\n'
    return ('content-type', 'multipart/form-data; boundary=Xy'), part * count + b'--Xy--\r\n'


@pytest.mark.parametrize('piece', [1, 7, 1000, 10**9])
def test_uploads_are_counted_however_they_come(piece: int, page: Page) -> None:
    kind, body = upload(1, 1000)
    assert page.ask('POST', '/gradio_api/upload', OWN, kind, body=body, piece=piece)[0] == 200
    kind, body = upload(50, 1)
    status, _, said = page.ask('POST', '/gradio_api/upload', OWN, kind, body=body, piece=piece)
    assert status == 413 and b'one file' in said and page.reached == ['/gradio_api/upload'] and page.tidied == 2


def test_large_requests_are_refused() -> None:
    page = Page(max_bytes=100_000)
    kind, body = upload(1, 120_000)
    status, _, said = page.ask('POST', '/upload', OWN, kind, body=body)
    assert status == 413 and said == b'More than 0.1 MB are not taken.' and page.received <= 110_000
    status, _, _ = page.ask('POST', '/upload', OWN, kind, ('content-length', str(len(body))), body=body)
    assert status == 413 and page.received <= 110_000
    status, _, _ = page.ask('POST', '/gradio_api/queue/join', OWN, body=bytes(1_100_000), piece=100_000)
    assert status == 413 and not page.reached


@pytest.mark.parametrize(('method', 'path'), [
    ('POST', '/gradio_api/process_recording'), ('POST', '/gradio_api/component_server'), ('POST', '/login'),
    ('PUT', '/gradio_api/upload'), ('GET', '/gradio_api/proxy=http://127.0.0.1/'), ('GET', '/proxy=http://127.0.0.1/'),
    ('GET', '/gradio_api/file=http://127.0.0.1/x'), ('GET', '/gradio_api/vibe-code'), ('GET', '/monitoring')])
def test_what_the_page_has_no_use_for(method: str, path: str, page: Page) -> None:
    assert page.ask(method, path, OWN)[0] == 404 and not page.reached
