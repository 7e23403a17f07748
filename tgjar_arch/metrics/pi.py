"""Perceptual index (PI) and Ma's score, two measures without a reference.

Blau et al., The 2018 PIRM Challenge on Perceptual Image Super-Resolution, ECCV Workshops 2018,
https://arxiv.org/abs/1809.07517:

    PI = ((10 - Ma) + NIQE) / 2

Ma (also NRQM): Ma et al., Learning a No-Reference Quality Metric for Single-Image Super-Resolution, CVIU 2017,
https://github.com/chaoma99/sr-metric, in the port of `pyiqa`. NIQE is BasicSR's `calculate_niqe`, so that the columns
PI and NIQE of a table fit together; pyiqa's own `pi` takes its own NIQE and leaves out 4 pixels at each edge. Both
parts see the rounded Y of YCbCr, as the challenge's code does.

pyiqa and its weights are for non-commercial use and optional. Ma needs nothing that pyiqa requires beyond what tgjar
requires, so `pip install --no-deps pyiqa` is enough; with its requirements comes, among others, a second OpenCV that
overwrites the first. The weights, `NRQM_model.mat`, are downloaded to torch's hub cache (`TORCH_HOME`) once. On a
machine that cannot download, name a local file with `weights_path`, or once for all option files in the environment:
TGJAR_NRQM. Ma takes about 10 seconds for a 256x256 image on one CPU core; with a GPU its features are computed there.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from basicsr.metrics.metric_util import reorder_image, to_y_channel
from basicsr.metrics.niqe import calculate_niqe

if TYPE_CHECKING:
    from pyiqa.archs.nrqm_arch import NRQM

# Below it the smallest image of Ma's pyramid has fewer than the 25 blocks of 5x5 whose singular values are features.
MIN_SIZE = 84


def perceptual_index(ma: float, niqe: float) -> float:
    """PI = ((10 - Ma) + NIQE) / 2; lower is better."""
    return (10 - ma + niqe) / 2


def calculate_pi(img: np.ndarray, crop_border: int = 0, input_order: str = 'HWC', weights_path: str | None = None,
                 better: str = 'lower', **kwargs: Any) -> float:
    """Perceptual index of an image; lower is better.

    Args:
        img: (H, W, 3) BGR or (H, W) grey in [0, 255], as BasicSR's metrics take it. NIQE needs 96 pixels each way, and
            twice that in one direction.
        crop_border: pixels left out at each edge (the PIRM challenge: 4, the scale).
        input_order: `HWC` or `CHW`.
        weights_path: local file with Ma's weights; None: see `build_nrqm`.
        better: for BasicSR's record of the best score, not used here; give `lower` in the option file.
        **kwargs: BasicSR hands over every key of the option file; others are ignored, as in its own metrics.

    Raises:
        ValueError: when too little is left of the image.
        ImportError, FileNotFoundError, RuntimeError, ValueError: as `build_nrqm`.
    """
    ma = calculate_ma(img, crop_border, input_order, weights_path)
    grey = img.ndim == 2
    return perceptual_index(ma, calculate_niqe(img, crop_border, 'HW' if grey else input_order))


def calculate_ma(img: np.ndarray, crop_border: int = 0, input_order: str = 'HWC', weights_path: str | None = None,
                 better: str = 'higher', **kwargs: Any) -> float:
    """Ma's score of an image, about 0 to 10; higher is better.

    Features are computed on the GPU when there is one, random forests on the CPU. The weights are read at the first
    call and kept for the process.

    Args:
        img: see `calculate_pi`; at least 84x84 pixels after the crop.
        crop_border: pixels left out at each edge.
        input_order: `HWC` or `CHW`.
        weights_path: local file with the weights; None: see `build_nrqm`.
        better: for BasicSR's record of the best score, not used here; `higher` is what BasicSR takes without it.
        **kwargs: BasicSR hands over every key of the option file; others are ignored, as in its own metrics.

    Raises:
        ValueError: when too little is left of the image.
        ImportError, FileNotFoundError, RuntimeError, ValueError: as `build_nrqm`.
    """
    model = cached_nrqm(weights_path)
    y = _luma(img, crop_border, input_order)
    if min(y.shape) < MIN_SIZE:
        raise ValueError(f"Ma's score needs {MIN_SIZE}x{MIN_SIZE} pixels or more after the crop, but got "
                         f'{y.shape[0]}x{y.shape[1]}.')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    with torch.no_grad():
        return float(model(torch.from_numpy(y)[None, None].to(device)))


def build_nrqm(weights_path: str | Path | None = None) -> 'NRQM':
    """Build Ma's measure with its weights, on the CPU.

    Args:
        weights_path: `NRQM_model.mat` as pyiqa publishes it. None: the file named by the environment variable
            TGJAR_NRQM, and without one pyiqa's, which is downloaded once.

    Raises:
        ImportError: when pyiqa is not installed; says the command.
        FileNotFoundError: when there is no such file.
        ValueError: when it is no such model.
        RuntimeError: when the weights cannot be downloaded.
    """
    try:
        from pyiqa.archs.nrqm_arch import NRQM
    except ImportError as error:
        raise ImportError(f'PI and Ma need the package pyiqa ({error}), for non-commercial use: '
                          'pip install --no-deps pyiqa.') from error
    weights_path = weights_path or os.environ.get('TGJAR_NRQM') or None
    if weights_path is None:
        try:
            return NRQM(color_space='ycbcr')
        except (OSError, RuntimeError) as error:
            raise RuntimeError(
                f"Ma's weights could not be downloaded ({error}). Without a network, name a local copy of "
                'NRQM_model.mat: weights_path in the option file, or TGJAR_NRQM in the environment.') from error
    path = Path(weights_path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"Ma's weights {path} do not exist; name a copy of NRQM_model.mat.")
    try:
        return NRQM(color_space='ycbcr', pretrained_model_path=str(path))
    except Exception as error:  # scipy and the indexing of what it read raise value, type, key and index errors here
        raise ValueError(f"Ma's weights {path} cannot be read ({type(error).__name__}: {error}); they must be "
                         'NRQM_model.mat of pyiqa.') from error


@lru_cache(maxsize=2)
def cached_nrqm(weights_path: str | None = None) -> 'NRQM':
    """The model that `calculate_ma` uses, kept for the process."""
    return build_nrqm(weights_path)


def _luma(img: np.ndarray, crop_border: int, input_order: str) -> np.ndarray:
    """Y of YCbCr in [0, 255] as `calculate_niqe` takes it: cropped and rounded (H, W), float32."""
    y = img.astype(np.float32)
    if img.ndim == 3:
        y = to_y_channel(reorder_image(y, input_order=input_order))[..., 0]  # (H, W)
    return y[crop_border:y.shape[0] - crop_border, crop_border:y.shape[1] - crop_border].round()
