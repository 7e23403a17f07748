"""A program of others among the compared methods."""

import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

from tgjar_arch.evaluation.kept_method import KeptMethod
from tgjar_arch.evaluation.peers import Peer, non_local_means, waifu2x
from tgjar_arch.evaluation.test_set import EvaluationSet, Progress
from tgjar_arch.jpeg.codec import decode

_NAMED = re.compile(r'(nlm)(?:-(\d+(?:\.\d+)?))?|(waifu2x)(?:-([0-3]))?', re.IGNORECASE)


def is_named_peer(name: str) -> bool:
    """Whether `name` alone says the program: `NLM`, `NLM-5` (h 5), `waifu2x`, `waifu2x-1` (noise 1)."""
    return _NAMED.fullmatch(name) is not None


def named_peer(name: str) -> Peer:
    """The program that `name` says.

    Raises:
        ImportError: when a package that it needs is missing; says the command.
        ValueError: when it says none.
    """
    found = _NAMED.fullmatch(name)
    if found is None:
        raise ValueError(f'{name} is none of NLM, NLM-H, waifu2x, waifu2x-NOISE.')
    if found[1]:
        return non_local_means(*map(float, filter(None, [found[2]])))
    return waifu2x(*map(int, filter(None, [found[4]])))


class PeerMethod(KeptMethod):
    """A program that restores the test set here; what it restored is kept and used again.

    Args:
        label: the row.
        peers: quality factor -> program.
        images, out, overwrite: as of `KeptMethod`.
    """

    def __init__(self, label: str, peers: Mapping[int, Peer], images: EvaluationSet, out: str | os.PathLike,
                 overwrite: bool = False) -> None:
        super().__init__(label, tuple(peers), images, out, overwrite)
        self._peers = peers

    def describe(self, qf: int) -> str:
        return self._peers[qf].source

    def prepare(self, qf: int, names: Sequence[str], progress: Progress) -> dict[str, str]:
        peer = self._peers[qf]

        def restore(content: bytes, caption: str, name: str) -> np.ndarray:
            return peer.restore(decode(content))

        return self._keep(qf, progress(names, f'{self.label}, QF {qf}'), peer.identity, restore)
