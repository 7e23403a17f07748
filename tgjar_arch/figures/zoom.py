"""Which window of a picture a figure enlarges."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Window = tuple[int, int, int, int]
Zoom = Window | Literal['auto'] | None


def zoom_window(gt: np.ndarray, jpeg: np.ndarray, size: int | tuple[int, int]) -> Window:
    """Find the window in which JPEG lost most: the largest sum of squared errors.

    Args:
        gt, jpeg: original and compressed image, (H, W, 3) or (H, W), uint8.
        size: (width, height) of the window, or the side of a square; cut to the image.

    Returns:
        (x, y, width, height) in pixels; of equally bad windows the uppermost, then the leftmost.

    Raises:
        ValueError: when the images differ in size, or `size` is not positive.
    """
    gt, jpeg = as_rgb(gt, 'the original'), as_rgb(jpeg, 'the JPEG image')
    if gt.shape != jpeg.shape:
        raise ValueError(f'the original is {size_text(gt)}, but the JPEG image is {size_text(jpeg)}.')
    width, height = (size, size) if isinstance(size, int) else size
    if width < 1 or height < 1:
        raise ValueError(f'the window must be 1 pixel or more wide and high, but is {width} x {height}.')
    width, height = min(width, gt.shape[1]), min(height, gt.shape[0])
    error = ((gt.astype(np.int64) - jpeg) ** 2).sum(2)
    total = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # sums of all rectangles from the corner
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    y, x = np.unravel_index(sums.argmax(), sums.shape)
    return int(x), int(y), width, height


def as_rgb(image: np.ndarray, what: str) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.ndim == 3 and image.shape[2] not in (1, 3) \
            or not image.size:
        raise ValueError(f'{what} must be an image (H, W, 3) or (H, W) uint8, but is {image.shape} {image.dtype}.')
    if image.ndim == 2:
        image = image[..., None]
    return np.broadcast_to(image, (*image.shape[:2], 3))


def window_in(images: Sequence[np.ndarray], zoom: Zoom, where: str) -> Window | None:
    height, width = images[0].shape[:2]
    if zoom is None or zoom == 'auto' and len(images) < 2:
        return None
    if zoom == 'auto':
        across = max(1, width // 4)
        return zoom_window(images[0], images[1], (across, max(1, round(.625 * across))))
    x, y, across, down = zoom
    if min(x, y) < 0 or min(across, down) < 1 or x + across > width or y + down > height:
        raise ValueError(f'{where}: the window x {x}, y {y}, {across} x {down} does not lie inside the images, which '
                         f'are {width} x {height}.')
    return x, y, across, down


def size_text(image: np.ndarray) -> str:
    return f'{image.shape[1]} x {image.shape[0]}'


def read_zoom(texts: Sequence[str]) -> Zoom:
    """The window that `--zoom` names: `auto`, `none`, or X Y W H in pixels.

    Raises:
        ValueError: when it is something else.
    """
    if list(texts) in (['auto'], ['none']):
        return 'auto' if texts[0] == 'auto' else None
    if len(texts) != 4 or not all(text.isdecimal() for text in texts):
        raise ValueError(f'--zoom {" ".join(texts)}: write auto, none, or left, top, width and height in pixels, such '
                         'as --zoom 96 64 64 40.')
    x, y, width, height = map(int, texts)
    return x, y, width, height


def read_zooms(texts: Sequence[str]) -> list[Zoom]:
    """The windows that `--zoom` names, as of `read_zoom`, of all images or one after the other of each.

    Raises:
        ValueError: when it is something else.
    """
    if len(texts) <= 4 or len(texts) % 4:
        return [read_zoom(texts)]
    return [read_zoom(texts[k:k + 4]) for k in range(0, len(texts), 4)]
