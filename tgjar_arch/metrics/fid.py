"""Set-level metrics: the FID, and a Fréchet distance on AlexNet's features under another name.

Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, NeurIPS 2017,
https://arxiv.org/abs/1706.08500. Sums, gathering over processes and the distance are those of `torchmetrics`, the
Inception network is that of `torch-fidelity` (the port of the TensorFlow network of 2015 that FIDs are made with).

One interface for both, in validation and offline::

    metric = build_set_metric('fid', weights_path='weights-inception-2015-12-05-6726825d.pth')
    for restored, gt in pairs:
        metric.update(restored, gt)  # (H, W, 3) BGR uint8, as BasicSR's metrics take images
    score = metric.compute()         # float; over all processes when torch.distributed runs

In an option file: `val: metrics: fid: {type: fid, weights_path: ..., better: lower}`. On a machine that cannot
download, name the weights with `weights_path`, or once for all option files in the environment: TGJAR_FID_INCEPTION,
and TGJAR_LPIPS_ALEX for AlexNet.
"""

import hashlib
import io
import os
import warnings
from collections.abc import Callable
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tgjar_arch.metrics.lpips import MIN_SIZE, cached_lpips
from tgjar_arch.weights.trunk import read_trunk

if TYPE_CHECKING:
    from lpips import LPIPS

INSTALL_TORCHMETRICS = "pip install torchmetrics torch-fidelity (or the extra: pip install 'tgjar[fid]')"
INCEPTION_FILE = 'weights-inception-2015-12-05-6726825d.pth'


def build_set_metric(name: str, **options: Any) -> 'FrechetDistance':
    """Build a metric of a whole set of images by the name it has in option files, `fid` or `frechet_alexnet`.

    The network behind it is read at the first call and kept for the process; every call starts an empty set.

    Args:
        name: a key of `SET_METRICS`.
        **options: keys of the option file but `type`: `weights_path`; `better` is accepted and ignored.

    Returns:
        `FrechetDistance`, with `update(restored, gt)` and `compute()`, on the GPU when there is one.

    Raises:
        ValueError: for an unknown name or option, or a file whose weights are not this network's.
        FileNotFoundError: when the weights file does not exist.
        RuntimeError: when there is no weights file and a download fails.
        ImportError: when torchmetrics or torch-fidelity is not installed; says the command.
    """
    if name not in SET_METRICS:
        raise ValueError(f'there is no set-level metric {name!r}; there are {", ".join(SET_METRICS)}.')
    known = signature(SET_METRICS[name]).parameters
    for key in options:
        if key not in known:
            raise ValueError(f'the metric {name} has no option {key!r}; it has {", ".join(known)}.')
    return SET_METRICS[name](**options)


class FrechetDistance:
    """Fréchet distance between the features of restored images and of the originals; 0 for equal sets, lower is better.

    d^2 = |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)), with mean m and covariance C of the features of each set.

    Args:
        network: (N, 3, H, W) uint8 RGB -> (N, D) features; has `num_features` = D.
        label: name for tables and messages.
        weights: where the network's weights came from, for tables.
    """

    better = 'lower'

    def __init__(self, network: nn.Module, label: str, weights: str) -> None:
        self.label, self.weights = label, weights
        device = next(network.parameters()).device
        self._metric = _torchmetrics_fid()(feature=network).to(device)
        # torchmetrics sets this at the first image, but a process may have none; a float32 result would round.
        self._metric.orig_dtype = torch.float64
        self._device = device

    def update(self, restored: np.ndarray, gt: np.ndarray) -> None:
        """Add an image to each set.

        Args:
            restored: (H, W, 3) BGR or (H, W) grey, uint8 in [0, 255]; (N, H, W, 3) for several at once.
            gt: the original, likewise; it may have another size.

        Raises:
            ValueError: for another shape or type, before anything is added.
        """
        images = [self._tensor(image, name) for name, image in (('restored', restored), ('gt', gt))]
        with torch.no_grad():
            for image, real in zip(images, (False, True), strict=True):
                self._metric.update(image.to(self._device), real=real)
        self._metric.orig_dtype = torch.float64

    def compute(self) -> float:
        """Distance of the two sets; with torch.distributed, of the sets of all processes, each of which must call.

        Raises:
            RuntimeError: with fewer than two images.
        """
        with warnings.catch_warnings():  # of a process that has no images, but gathers those of others
            warnings.filterwarnings('ignore', message='The ``compute`` method of metric')
            return max(float(self._metric.compute()), 0.0)  # rounding can leave equal sets a little below 0

    def reset(self) -> None:
        """Empty both sets."""
        self._metric.reset()

    def _tensor(self, image: np.ndarray, name: str) -> Tensor:
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        if image.dtype != np.uint8 or image.ndim not in (3, 4) or image.shape[-1] != 3 or 0 in image.shape:
            raise ValueError(f'{self.label} takes (H, W, 3) uint8 images, but {name} is {image.shape} {image.dtype}.')
        image = image if image.ndim == 4 else image[None]
        least = getattr(self._metric.inception, 'min_size', 1)
        if min(image.shape[1:3]) < least:
            raise ValueError(f'{self.label} takes images of {least}x{least} pixels or more, but {name} is '
                             f'{image.shape[1]}x{image.shape[2]}.')
        return torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(0, 3, 1, 2)  # (N, 3, H, W) RGB


def fid(weights_path: str | Path | None = None, better: str = 'lower') -> FrechetDistance:
    """FID: the Fréchet distance on the 2,048 pooled features of the Inception network of 2015.

    Images are enlarged to 299x299 as TensorFlow 1 did (bilinear, without antialiasing), as torch-fidelity does.

    Args:
        weights_path: the network's weights, `weights-inception-2015-12-05-6726825d.pth` of torch-fidelity, which is
            `pt_inception-2015-12-05-6726825d.pth` of pytorch-fid, or the same tensors as .safetensors or .npz. None:
            the file named by the environment variable TGJAR_FID_INCEPTION, and without one torch-fidelity's, which
            is downloaded once.
        better: for BasicSR's record of the best score, not used here; give `lower` in the option file.

    Raises:
        ValueError, FileNotFoundError, RuntimeError, ImportError: as `build_set_metric`.
    """
    path = weights_path or os.environ.get('TGJAR_FID_INCEPTION') or None
    network, weights = _inception(None if path is None else str(path))
    return FrechetDistance(network, 'FID', weights)


def frechet_alexnet(weights_path: str | Path | None = None, better: str = 'lower') -> FrechetDistance:
    """Fréchet distance on the 256 pooled features of AlexNet's last convolution: NOT the FID, not comparable with it.

    It ranks methods on one test set where Inception's weights are not at hand; its values have another scale, and no
    published table has them. The images keep their size.

    Args:
        weights_path: AlexNet's weights, a file as LPIPS takes it (`trunk_path` there). None: the file named by
            TGJAR_LPIPS_ALEX, and without one torchvision's, which are downloaded once.
        better: see `fid`.

    Raises:
        ValueError, FileNotFoundError, RuntimeError, ImportError: as `build_set_metric`.
    """
    path = weights_path or os.environ.get('TGJAR_LPIPS_ALEX') or None
    lpips = cached_lpips('alex', None if path is None else str(path))
    return FrechetDistance(_AlexNetFeatures(lpips), 'Fréchet distance (AlexNet)',
                           'torchvision AlexNet (downloaded)' if path is None else
                           f'{Path(path).name} (sha256 {_sha256(path)[:8]})')


SET_METRICS: dict[str, Callable[..., FrechetDistance]] = {'fid': fid, 'frechet_alexnet': frechet_alexnet}


class _AlexNetFeatures(nn.Module):
    """Mean over the positions of AlexNet's last convolution, behind LPIPS' scaling of the input."""

    num_features = 256
    min_size = MIN_SIZE['alex']

    def __init__(self, lpips: 'LPIPS') -> None:
        super().__init__()
        self.net, self.scaling_layer = lpips.net, lpips.scaling_layer

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.scaling_layer(x.float() / 127.5 - 1))[-1].mean((2, 3))  # (N, 256)


@lru_cache(maxsize=2)
def _inception(path: str | None) -> tuple[nn.Module, str]:
    """The network of the FID, kept for the process, and where its weights came from."""
    _torchmetrics_fid()
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ImportError(f'FID needs the Inception network of torch-fidelity ({error}): {INSTALL_TORCHMETRICS}.'
                          ) from error
    from torchmetrics.image.fid import NoTrainInceptionV3
    if path is None:
        try:
            # torch-fidelity's own class reads or downloads what NoTrainInceptionV3 below is given as a file.
            state = FeatureExtractorInceptionV3('inception', ['2048']).state_dict()
        except (OSError, RuntimeError) as error:
            raise RuntimeError(
                f'the Inception weights of the FID could not be downloaded ({error}). Without a network, name a local '
                f'copy of {INCEPTION_FILE}: weights_path in the option file, or TGJAR_FID_INCEPTION in the '
                'environment.') from error
        weights = f'{INCEPTION_FILE} (downloaded)'
    else:
        state = _read_inception(path)
        weights = f'{Path(path).name} (sha256 {_sha256(path)[:8]})'
    # torchmetrics unpickles a file as it is; ours was read without executing anything in it. It says that it takes a
    # path only, and hands it to torch.load, which takes both.
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    try:
        network = NoTrainInceptionV3('inception', ['2048'], file,  # type: ignore[arg-type]
                                     antialias=False)
    except RuntimeError as error:  # torch's list of missing, unexpected and misshapen keys
        raise ValueError(f'Inception weights {path} are not those of the FID ({INCEPTION_FILE}): '
                         f'{_first_difference(error)}') from error
    network.num_features = 2048
    return network.to('cuda' if torch.cuda.is_available() else 'cpu'), weights


def _read_inception(path: str) -> dict[str, Tensor]:
    try:
        return read_trunk(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'Inception weights of the FID, {path}, do not exist; name a copy of {INCEPTION_FILE}.'
                                ) from error


def _first_difference(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()[1:]]
    return (lines[0][:200] if lines else str(error))


def _sha256(path: str | Path) -> str:
    with open(Path(path).expanduser(), 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _torchmetrics_fid() -> type:
    """The accumulator of torchmetrics, imported where it is used: the library is optional."""
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ImportError as error:
        raise ImportError(f'Fréchet distances need torchmetrics ({error}): {INSTALL_TORCHMETRICS}.') from error
    return FrechetInceptionDistance
