"""The empty figure that the benchmarks' curves are drawn on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, whose panels make room for their labels.

    Raises:
        ImportError: when matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"curves need matplotlib ({error}): pip install 'tgjar[plot]'") from error
    return Figure(figsize=(width, height), layout='constrained')
