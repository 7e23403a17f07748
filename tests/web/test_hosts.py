"""By which names a page may be asked for."""

import socket

import pytest

from tgjar_arch.web.hosts import Hosts, split_host

HERE = ('127.0.0.1', 7860)


@pytest.mark.parametrize('host', ['127.0.0.1:7860', 'localhost:7860', 'LocalHost:7860'])
def test_its_own_names(host: str) -> None:
    assert Hosts().is_own(host, HERE)


@pytest.mark.parametrize('host', [
    '', 'evil.example', 'evil.example:7860', '127.0.0.1.evil.example:7860', 'localhost.evil.example:7860', 'localhost',
    '127.0.0.1', 'localhost:7861', 'localhost:', 'localhost:99999', '192.168.0.7:7860', 'evil@localhost:7860',
    'localhost:7860@evil.example', 'localhost:7860/x', 'localhost:7860, evil.example', 'localhost:7860\x00',
    '[::1]:7860', ' localhost:7860', '127.1:7860', '0.0.0.0:7860', '2130706433:7860'])
def test_all_others_are_refused(host: str) -> None:
    assert not Hosts().is_own(host, HERE)


def test_the_address_that_a_request_came_to_counts() -> None:
    hosts, there = Hosts(), ('192.168.0.7', 7860)
    assert hosts.is_own('192.168.0.7:7860', there) and hosts.is_own(f'{socket.gethostname()}:7860', there)
    assert not hosts.is_own('localhost:7860', there) and not hosts.is_own('192.168.0.8:7860', there)
    assert hosts.is_own('[::1]:7860', ('::1', 7860)) and hosts.is_own('localhost:7860', ('::1', 7860))
    assert hosts.is_own('127.0.0.1:7860', ('::ffff:127.0.0.1', 7860))
    assert hosts.is_own('localhost', ('127.0.0.1', 80)) and hosts.is_own('localhost', ('127.0.0.1', 443), 'https')
    assert not hosts.is_own('localhost:80', ('/run/socket', None))


def test_names_that_were_given() -> None:
    hosts = Hosts(['photos.example', 'localhost:8080'])
    hosts.add('abc.gradio.live')
    for host in ('photos.example', 'photos.example:443', 'localhost:8080', 'abc.gradio.live'):
        assert hosts.is_own(host, HERE)
    assert not hosts.is_own('localhost:8081', HERE) and not hosts.is_own('x.photos.example', HERE)
    with pytest.raises(ValueError, match=r'a host is NAME.*http://x'):
        Hosts(['http://x'])


def test_origins() -> None:
    hosts = Hosts(['photos.example'])
    for origin in ('http://localhost:7860', 'https://photos.example'):
        assert hosts.is_own_origin(origin, HERE)
    for origin in ('null', 'http://evil.example', 'http://localhost', 'file://', 'http://localhost:7861', 'http://[',
                   'http://photos.example.evil', ''):
        assert not hosts.is_own_origin(origin, HERE)


def test_split() -> None:
    assert split_host('Example.org:80') == ('example.org', 80) and split_host('[::1]', 80) == ('::1', 80)
