"""Ending a restoration that nobody waits for any more, between two layers of its networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tgjar_arch.restoration.restorer import Restorer


class Abandoned(Exception):
    """A restoration was ended before it was done."""


@contextmanager
def while_wanted(restorer: Restorer, is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Ask before every layer of the networks whether to go on: also where a picture is restored in one piece.

    Args:
        restorer: whose calls inside the `with` block are watched, by one thread at a time.
        is_wanted: called often; once it says False, the call raises.

    Raises:
        Abandoned: by the call that is not wanted any more; the restorer can be used again.
    """
    def check(*_: object) -> None:
        if not is_wanted():
            raise Abandoned('nobody waits for this picture any more.')

    networks = [net for net in (restorer.net_t, restorer.net_g) if net is not None]
    hooks = [module.register_forward_pre_hook(check) for net in networks for module in net.modules()]
    try:
        check()
        yield
    finally:
        for hook in hooks:
            hook.remove()
