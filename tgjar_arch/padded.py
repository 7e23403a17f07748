"""Run networks that want sizes in multiples of their attention window on images of any size."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F


def run_padded(net: nn.Module, lq: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
    """`run(lq)`, with lq reflect-padded to the right and the bottom to a multiple of the window, and cropped back.

    Networks without windows (TGJARGenerator pads by itself) see the images as they are.

    Args:
        net: the network behind `run`; a module in it has `window_size`, as the blocks of BasicSR's SwinIR.
        lq: images (N, 3, H, W).
        run: images to images of the same size.
    """
    height, width = lq.shape[2:]
    sizes = (getattr(module, 'window_size', None) for module in net.modules())
    multiple = max((size for size in sizes if isinstance(size, int)), default=1)
    padded = F.pad(lq, (0, -width % multiple, 0, -height % multiple), mode='reflect')
    return run(padded)[:, :, :height, :width]
