"""A network among the compared methods: restores the test set here, and keeps what it restored."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tgjar_arch.archs.extra_inputs import thumbnail_size
from tgjar_arch.evaluation.kept_method import KeptMethod
from tgjar_arch.evaluation.load_restorer import cached_restorer
from tgjar_arch.evaluation.test_set import EvaluationSet, Progress
from tgjar_arch.jpeg.codec import decode
from tgjar_arch.jpeg.tables import quantisation_maps, quantisation_tables, thumbnail
from tgjar_arch.restoration.restorer import Restorer

_CAPTION_LABELS = {'right': '', 'wrong': ', wrong captions', 'none': ', no captions'}


@dataclass(frozen=True)
class Dials:
    """How a network is used in one row.

    Attributes:
        strength: see `Restorer`.
        fidelity: see `Restorer.from_pretrained`.
        fidelity_weights: see `Restorer.from_pretrained`.
    """

    strength: float = 1.
    fidelity: float = 0.
    fidelity_weights: str | os.PathLike | None = None

    @property
    def label(self) -> str:
        """What a row is called by, behind the name of its method."""
        return ''.join(f', {name} {value:g}' for name, value, usual in (
            ('fidelity', self.fidelity, 0), ('strength', self.strength, 1)) if value != usual)


class NetworkMethod(KeptMethod):
    """A network that restores the test set here; what it restored is kept and used again.

    It is made from the weights, the caption and the JPEG file, with self-ensemble or without, at its dials.

    Args:
        label: the row.
        files: quality factor -> weights file or test option file.
        images: the test set.
        out: folder of the results.
        captions: one of `CAPTION_KINDS`.
        device: where to compute; None takes the GPU if there is one.
        overwrite: restore again what is there.
        self_ensemble: restores a picture and its mirror image and takes the mean.
        dials: strength and fidelity.

    Raises:
        FileNotFoundError, ValueError: when a file is missing, or is not what its suffix says.
    """

    def __init__(self, label: str, files: dict[int, str], images: EvaluationSet, out: str | os.PathLike,
                 captions: str = 'right', device: str | None = None, overwrite: bool = False,
                 self_ensemble: bool = False, dials: Dials = Dials()) -> None:
        self.name, self.self_ensemble, self.dials = label, self_ensemble, dials
        row = label + dials.label + (', self-ensemble' if self_ensemble else '') + _CAPTION_LABELS[captions]
        super().__init__(row, tuple(files), images, out, overwrite)
        self._files, self._device = files, device
        self.captions, self._captions = captions, images.captions(captions)
        self._names: dict[str, str] = {}
        for file in dict.fromkeys(files.values()):  # a mistake should show now, not hours later
            restorer, _ = self._load(file)
            self._names[file], self.takes_text = restorer.name, restorer.takes_text

    def _load(self, file: str) -> tuple[Restorer, str]:
        dials = self.dials
        restorer, weights = cached_restorer(file, self._device, os.stat(file).st_mtime_ns, dials.fidelity,
                                            os.fspath(dials.fidelity_weights) if dials.fidelity and
                                            dials.fidelity_weights is not None else None)
        restorer.self_ensemble = self.self_ensemble  # rows with it and without share the networks
        return restorer, weights

    def describe(self, qf: int) -> str:
        mirrored = ', the mean of picture and mirror image' if self.self_ensemble else ''
        dials = self.dials.label
        if self.dials.fidelity and self.dials.fidelity_weights is not None:
            dials += f' ({self.dials.fidelity_weights})'
        return f'{self._names[self._files[qf]]}, weights of {self._files[qf]}{dials}{mirrored}'

    def prepare(self, qf: int, names: Sequence[str], progress: Progress) -> dict[str, str]:
        file = self._files[qf]
        restorer, weights = self._load(file)
        if self.self_ensemble:
            weights += ' self-ensemble'
        if self.dials.strength != 1:
            weights += f' strength {self.dials.strength!r}'
        captions = self._captions if restorer.takes_text else {}

        def restore(content: bytes, caption: str, name: str) -> np.ndarray:
            return restore_jpeg(restorer, content, caption, name, self.dials.strength)

        return self._keep(qf, progress(names, f'{self.label}, QF {qf}'), weights, restore, captions)

    def caption(self, name: str) -> str:
        """The caption that an image is restored by; '' for none."""
        return self._captions[name]

    def restore(self, name: str, qf: int, caption: str) -> np.ndarray:
        """Restore one picture by any caption ('' for none), without keeping it; (H, W, 3) uint8 BGR."""
        file = self._files[qf]
        restorer, _ = self._load(file)
        return restore_jpeg(restorer, self._images.jpeg(name, qf), caption, name, self.dials.strength)


def restore_jpeg(restorer: Restorer, content: bytes, caption: str, path: str, strength: float = 1.) -> np.ndarray:
    """Restore one JPEG file, with everything a network may ask for.

    Args:
        restorer: the network.
        content: the whole file.
        caption: '' for none.
        path: its name, for messages.
        strength: see `Restorer`.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        ValueError: when the file has no quantisation tables where they are needed.
    """
    pixels = decode(content)
    extra = {}
    if 'qmaps' in restorer.extra_inputs:
        extra['qmaps'] = quantisation_maps(quantisation_tables(content, path), *pixels.shape[:2])[None]
    if 'thumbnail' in restorer.extra_inputs:
        extra['thumbnail'] = thumbnail(pixels, thumbnail_size(restorer.net_g))[None]
    lq = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)[None] / 255.
    out = restorer.restore(lq, [caption], extra, strength=strength)[0].permute(1, 2, 0)
    return (out * 255).round().to(torch.uint8).cpu().numpy()[..., ::-1]
