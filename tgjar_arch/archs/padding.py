"""Run networks on images of any size: below a JPEG block, and no multiple of an attention window."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

MIN_SIDE = 8  # pixels of a JPEG block, below which the generators have no coarsest feature


def enlarged(x: Tensor) -> Tensor:
    """x (N, C, H, W) with its last rows and columns repeated until both sides have `MIN_SIDE` pixels.

    That is how JPEG encoders fill an incomplete block.
    """
    height, width = x.shape[2:]
    if min(height, width) >= MIN_SIDE:
        return x
    return F.pad(x, (0, max(MIN_SIDE - width, 0), 0, max(MIN_SIDE - height, 0)), mode='replicate')


def enlarged_parts(read: Callable[[slice, slice], Tensor], write: Callable[[slice, slice, Tensor], None],
                   size: tuple[int, int]) -> tuple[Callable, Callable, tuple[int, int]]:
    """`read`, `write` and `size` of a picture, as `restore_in_tiles` takes them, for the picture `enlarged`."""
    if min(size) >= MIN_SIDE:
        return read, write, size

    def inside(part: slice, length: int) -> slice:
        return slice(part.start, min(part.stop, length))

    def read_enlarged(rows: slice, columns: slice) -> Tensor:
        # A side below MIN_SIDE is one cell (two with self-ensemble), and no part is as small, so that every part
        # begins inside the picture.
        return enlarged(read(inside(rows, size[0]), inside(columns, size[1])))

    def write_inside(rows: slice, columns: slice, result: Tensor) -> None:
        rows, columns = inside(rows, size[0]), inside(columns, size[1])
        write(rows, columns, result[..., :rows.stop - rows.start, :columns.stop - columns.start])

    return read_enlarged, write_inside, (max(size[0], MIN_SIDE), max(size[1], MIN_SIDE))


def pad_to_multiple(x: Tensor, multiple: int = MIN_SIDE) -> Tensor:
    """Images (N, C, H, W) reflected to the right and the bottom; with 8, JPEG's grid, every block stays in place."""
    height, width = x.shape[2:]
    if height % multiple == 0 and width % multiple == 0:  # F.pad by nothing would copy
        return x
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode='reflect')


def run_padded(net: nn.Module, lq: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
    """`run(lq)`, with lq reflect-padded to the right and the bottom to a multiple of the window, and cropped back.

    A network that enlarges (super-resolution) keeps its factor.

    Networks without windows (TGJARGenerator pads by itself) see the images as they are.

    Args:
        net: the network behind `run`; a module in it has `window_size`, as the blocks of BasicSR's SwinIR.
        lq: images (N, 3, H, W).
        run: images to images of the same size, or of a whole multiple of it.
    """
    height, width = lq.shape[2:]
    sizes = (getattr(module, 'window_size', None) for module in net.modules())
    multiple = max((size for size in sizes if isinstance(size, int)), default=1)
    padded = pad_to_multiple(lq, multiple)
    result = run(padded)
    scale = result.shape[2] // padded.shape[2]
    return result[:, :, :height * scale, :width * scale]
