"""The dial between beautiful and true of a restorer that is in use: both sets of weights stay in memory."""

from __future__ import annotations

from pathlib import Path

from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.weights.file import ExportedWeights, read_weights
from tgjar_arch.weights.interpolation import check_fidelity, interpolate
from tgjar_arch.weights.shipped import find_fidelity_weights


class FidelityDial:
    """Turns a restorer between two sets of weights; no file is read again.

    Args:
        restorer: its networks are those of `beautiful`.
        beautiful: what fidelity 0 gives.
        true: what fidelity 1 gives.

    Attributes:
        fidelity: where it stands, from 0 to 1.

    Raises:
        ValueError: when there are no weights between the two, see `tgjar_arch.weights.interpolation.interpolate`.
    """

    def __init__(self, restorer: Restorer, beautiful: ExportedWeights, true: ExportedWeights) -> None:
        interpolate(beautiful, true, .5)
        self._restorer, self._beautiful, self._true = restorer, beautiful, true
        self.fidelity = 0.

    @classmethod
    def find(cls, restorer: Restorer, weights: Path, partner: str | Path | None = None) -> FidelityDial | None:
        """The dial of a restorer.

        Args:
            restorer: with the weights of the file `weights`.
            weights: as of `find_weights`.
            partner: what fidelity 1 gives: a file, or the name of shipped weights; None for the shipped ones that
                belong to `weights`.

        Returns:
            The dial; None when `partner` is None and no weights belong to `weights`.

        Raises:
            FileNotFoundError: when there is no `partner`.
            ValueError: when it is no weights file, or does not fit `weights`; the message names both.
        """
        try:
            other = find_fidelity_weights(weights, partner)
        except FileNotFoundError:
            if partner is not None:
                raise
            return None
        beautiful, true = read_weights(weights), read_weights(other)
        try:
            return cls(restorer, beautiful, true)
        except ValueError as error:
            raise ValueError(f'{weights} and {other}: {error}') from error

    def turn(self, fidelity: float) -> None:
        """Give the restorer's generator the weights at `fidelity`; as by `Restorer.from_pretrained`, to the bit.

        Raises:
            ValueError: when it is no number from 0 to 1.
        """
        if check_fidelity(fidelity) != self.fidelity:
            self._restorer.net_g.load_state_dict(interpolate(self._beautiful, self._true, fidelity).state_g)
            self.fidelity = float(fidelity)
