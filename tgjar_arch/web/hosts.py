"""Under which names a page may be asked for: only its own, or a page elsewhere could read it by a name of its own.

That is DNS rebinding: a stranger's name is made to point at this machine, and a script from there then counts as of
the same origin. The address that a request came to cannot be forged, so that and the machine's own names are trusted.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

_HOST = re.compile(r'(\[[\da-f:.]+\]|[^\s:/?#@\[\],\\]+)(?::(\d{1,5}))?')
_DEFAULT_PORTS = {'http': 80, 'https': 443}


def split_host(text: str, default_port: int | None = None) -> tuple[str, int | None]:
    """Return name and port of `NAME`, `NAME:PORT` or `[ADDRESS]:PORT`, in lower case.

    Raises:
        ValueError: when it is none of these.
    """
    found = _HOST.fullmatch(text.lower())
    if not found or found[2] and int(found[2]) > 65535:
        raise ValueError(f'a host is NAME, NAME:PORT or [ADDRESS]:PORT, but came as {text[:80]!r}.')
    return found[1].strip('[]'), int(found[2]) if found[2] else default_port


class Hosts:
    """The names of a page.

    Args:
        more: further ones, `NAME` for any port or `NAME:PORT`, as of a proxy or a forwarded port.

    Raises:
        ValueError: when one is no name.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        self._more = {split_host(text) for text in more}
        name = socket.gethostname().lower()
        self._machine = {name, f'{name}.local'}

    def add(self, host: str) -> None:
        """Another name by which the page can be reached."""
        self._more.add(split_host(host))

    def is_own(self, host: str, server: tuple[str, int | None], scheme: str = 'http') -> bool:
        """Whether a request came by a name of the page.

        Args:
            host: of its header `Host`.
            server: address and port of this machine that it came to.
            scheme: http or https, for the port that `host` leaves out.
        """
        try:
            name, port = split_host(host, _DEFAULT_PORTS.get(scheme))
        except ValueError:
            return False
        if (name, port) in self._more or (name, None) in self._more:
            return True
        if port != server[1]:
            return False
        try:
            address = ipaddress.ip_address(server[0].partition('%')[0])
        except ValueError:  # no address, but a socket in the file system
            return False
        address = getattr(address, 'ipv4_mapped', None) or address
        if address.is_loopback:
            return name == str(address) or name == 'localhost'
        return name == str(address) or name in self._machine

    def is_own_origin(self, origin: str, server: tuple[str, int | None]) -> bool:
        """Whether a request was made by a page of this server, as its header `Origin` says."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in _DEFAULT_PORTS and self.is_own(parts.netloc, server, parts.scheme)
