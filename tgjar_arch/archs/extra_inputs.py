"""What a network is told besides the image and the caption, by its attribute `extra_inputs`, as QGCN is."""

from torch import nn


def extra_inputs(net: nn.Module) -> tuple[str, ...]:
    """Names of the further arguments of `forward`, such as `qmaps` and `thumbnail`; none for most networks."""
    names: tuple[str, ...] = getattr(net, 'extra_inputs', ())
    return names


def thumbnail_size(net: nn.Module) -> int:
    """Side in pixels of the `thumbnail` that a network asks for.

    Raises:
        TypeError: when the network has no such size.
    """
    size = getattr(net, 'thumbnail_size', None)
    if not isinstance(size, int):
        raise TypeError(f'{type(net).__name__} asks for a thumbnail and must say its side in pixels as '
                        f'thumbnail_size, but that is {size!r}.')
    return size
