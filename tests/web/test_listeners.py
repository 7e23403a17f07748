"""Who still waits for an answer."""

import asyncio
import time

import pytest

from tgjar_arch.web import listeners
from tgjar_arch.web.listeners import PATIENCE, Listeners


def test_waits_while_a_stream_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.]
    monkeypatch.setattr(listeners.time, 'monotonic', lambda: clock[0])
    known = Listeners()
    assert known.waits('a', since=clock[0]), 'its stream may come'
    known.opened('a')
    clock[0] += 10 * PATIENCE
    assert known.waits('a', since=1000.)
    known.opened('a')
    known.ended('a', broken=True)
    assert known.waits('a', since=1000.), 'the other stream is open'
    known.ended('a', broken=True)
    clock[0] += 2
    assert not known.waits('a', since=clock[0])
    known.opened('a')
    assert known.waits('a', since=1000.), 'it has come back'
    known.ended('a', broken=False)
    assert known.waits('a', since=clock[0]) and not known.waits('a', since=clock[0] - PATIENCE - 1)
    assert not known.waits('b', since=clock[0] - PATIENCE - 1), 'nobody ever listened'
    known.opened('a')
    known.close()
    assert not known.waits('a', since=clock[0])


@pytest.mark.parametrize('goes', [True, False])
def test_a_browser_that_goes_is_noticed_at_once(goes: bool) -> None:
    """Also by an application that does not look; one that has had its last message was not left alone."""
    known = Listeners()
    sent = []

    async def application(scope: dict, receive, send) -> None:
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        if not goes:
            await send({'type': 'http.response.body', 'body': b''})
            return
        assert (await receive())['type'] == 'http.request'
        assert known.waits('a', since=time.monotonic() - 100)
        for _ in range(200):
            if not known.waits('a', since=time.monotonic() - 100):
                break
            await asyncio.sleep(.02)
        else:
            pytest.fail('it was not noticed')
        assert [(await receive())['type'] for _ in range(3)] == ['http.disconnect'] * 3

    messages = [{'type': 'http.request', 'body': b'', 'more_body': False}]

    async def receive() -> dict:
        if messages:
            return messages.pop()
        await asyncio.sleep(.05)
        return {'type': 'http.disconnect'}

    async def send(message: dict) -> None:
        sent.append(message['type'])

    asyncio.run(asyncio.wait_for(known.follow('a', application, {}, receive, send), 20))
    assert known.waits('a', since=time.monotonic()) is not goes
