"""LPIPS: the perceptual distance that judges the restored images and drives the contrastive loss.

Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018,
https://arxiv.org/abs/1801.03924. Networks and heads (version 0.1) are those of the `lpips` package. Its trunks are
torchvision's ImageNet networks, which are downloaded to torch's hub cache (`TORCH_HOME`) when a network is built with
`pretrained=True`. On a machine that cannot download, name a local file with `trunk_path`, or once for all option files
in the environment: TGJAR_LPIPS_ALEX, TGJAR_LPIPS_VGG or TGJAR_LPIPS_SQUEEZE.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tgjar_arch.weights.trunk import read_trunk

if TYPE_CHECKING:
    from lpips import LPIPS

# Smallest height and width (pixels) that each trunk's strides leave something of.
MIN_SIZE = {'alex': 31, 'vgg': 16, 'squeeze': 17}


def build_lpips(net: str = 'alex', pretrained: bool = True, trunk_path: str | Path | None = None) -> 'LPIPS':
    """Build a frozen LPIPS network in evaluation mode, on the CPU.

    The linear heads always are the `lpips` package's, version 0.1; the arguments choose the trunk below them.

    Args:
        net: the trunk, `alex` (the paper's), `vgg` or `squeeze`.
        pretrained: False leaves the trunk random unless `trunk_path` is given (tests and dry runs; nothing is read or
            downloaded, and the distances mean nothing).
        trunk_path: .npz, .safetensors or .pth file with the trunk's weights under torchvision's names
            (`features.0.weight`, ...); a classifier in it is ignored, LPIPS heads in it (`lin0.weight`, ...) must be
            the package's. None with `pretrained`: the file named by the environment variable TGJAR_LPIPS_ALEX (_VGG,
            _SQUEEZE), and without one torchvision's weights, downloaded once.

    Returns:
        `lpips.LPIPS`, without gradients for its parameters.

    Raises:
        ValueError: for an unknown `net`, or a file whose weights are not this trunk's.
        FileNotFoundError: when `trunk_path` or the environment names a file that does not exist.
        RuntimeError: when torchvision's weights cannot be downloaded.
    """
    from lpips import LPIPS  # here: what needs no LPIPS should not wait for the package

    if net not in MIN_SIZE:
        raise ValueError(f'LPIPS net {net!r} is unknown; choose one of {", ".join(MIN_SIZE)}.')
    if pretrained and trunk_path is None:
        trunk_path = os.environ.get(f'TGJAR_LPIPS_{net.upper()}') or None
    with _quiet_torchvision():
        if trunk_path is None and pretrained:
            try:
                model = LPIPS(net=net, verbose=False)
            except (OSError, RuntimeError) as error:
                raise RuntimeError(
                    f'the ImageNet weights of the LPIPS trunk {net!r} could not be downloaded ({error}). Without a '
                    'network, name a local file: trunk_path in the option file, or '
                    f'TGJAR_LPIPS_{net.upper()} in the environment.'
                ) from error
        else:
            model = LPIPS(net=net, pnet_rand=True, verbose=False)
    if trunk_path is not None:
        _load_trunk(model, trunk_path)
    return model.requires_grad_(False).eval()


def lpips_features(model: 'LPIPS', x: Tensor) -> list[Tensor]:
    """Features that LPIPS compares: the trunk's layers, each position's channels scaled to unit length.

    Args:
        model: from `build_lpips`.
        x: (N, 3, H, W) RGB in [0, 1], of the model's dtype; H and W at least `MIN_SIZE`.

    Returns:
        One (N, C_l, H_l, W_l) tensor a layer. The gradient is finite also where all channels are zero; the `lpips`
        package's own normalisation gives NaN there, and relies on the ReLU below to drop it.

    Raises:
        ValueError: when x has another shape or is too small for the trunk.
    """
    least = MIN_SIZE[model.pnet_type]
    if x.dim() != 4 or x.shape[1] != 3 or min(x.shape[2:]) < least:
        raise ValueError(f'LPIPS ({model.pnet_type}) compares (N, 3, H, W) images of {least}x{least} pixels or more, '
                         f'but got {tuple(x.shape)}.')
    layers = model.net(model.scaling_layer(2 * x - 1))
    # vector_norm has gradient 0 at 0, where sqrt has an infinite one; 1e-10 is the package's.
    return [layer / (torch.linalg.vector_norm(layer, dim=1, keepdim=True) + 1e-10) for layer in layers]


def lpips_from_features(model: 'LPIPS', a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """LPIPS = sum over layers of the spatial mean of head_l * (a_l - b_l)^2.

    Args:
        model: from `build_lpips`.
        a: features of N images, from `lpips_features`.
        b: features of N others.

    Returns:
        (N,) distances, 0 for equal features.
    """
    return sum(head((p - q).square()).mean((1, 2, 3)) for head, p, q in zip(model.lins, a, b, strict=True))


def calculate_lpips(img: np.ndarray, img2: np.ndarray, crop_border: int = 0, input_order: str = 'HWC',
                    net: str = 'alex', trunk_path: str | None = None, better: str = 'lower', **kwargs: Any) -> float:
    """LPIPS of two images; 0 for equal ones, lower is better.

    Runs on the GPU when there is one. The network is built at the first call and kept for the process.

    Args:
        img: the restored image, (H, W, 3) BGR or (H, W) grey in [0, 255], as BasicSR's metrics take it.
        img2: the reference, likewise.
        crop_border: pixels left out at each edge.
        input_order: `HWC` or `CHW`.
        net: `alex` (the paper's), `vgg` or `squeeze`.
        trunk_path: local file with the trunk's weights; None: see `build_lpips`.
        better: for BasicSR's record of the best score, not used here; give `lower` in the option file.
        **kwargs: BasicSR hands over every key of the option file; others are ignored, as in its own metrics.

    Returns:
        The distance.

    Raises:
        ValueError: when the shapes differ or too little is left of the images for the trunk.
    """
    from basicsr.metrics.metric_util import reorder_image  # here: the loss works without BasicSR

    if img.shape != img2.shape:
        raise ValueError(f'calculate_lpips compares images of one shape, but got {img.shape} and {img2.shape}.')
    model = cached_lpips(net, trunk_path)
    images = []
    for image in (img, img2):
        image = reorder_image(image, input_order=input_order)  # (H, W, C)
        image = image[crop_border:image.shape[0] - crop_border, crop_border:image.shape[1] - crop_border, ::-1]
        tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).permute(2, 0, 1) / 255
        images.append(tensor.expand(3, -1, -1))  # (3, H, W) RGB; grey is repeated
    with torch.no_grad():
        features = lpips_features(model, torch.stack(images).to(next(model.parameters()).device))
        return lpips_from_features(model, [f[:1] for f in features], [f[1:] for f in features]).item()


@lru_cache(maxsize=4)
def cached_lpips(net: str = 'alex', trunk_path: str | None = None) -> 'LPIPS':
    """The network that `calculate_lpips` uses, kept for the process, on the GPU when there is one."""
    return build_lpips(net, trunk_path=trunk_path).to('cuda' if torch.cuda.is_available() else 'cpu')


def _load_trunk(model: 'LPIPS', path: str | Path) -> None:
    """Copy a trunk from a file into `model`, and check the heads if the file has any."""
    weights = read_trunk(path)
    own = model.net.state_dict()  # slice2.3.weight is torchvision's features.3.weight
    wanted = {'features.' + key.split('.', 1)[1]: value for key, value in own.items()}
    hint = f"it must hold the trunk of torchvision's network for LPIPS net {model.pnet_type!r}."
    for key, value in wanted.items():
        if key not in weights:
            raise ValueError(f'LPIPS trunk file {path} has no {key}; {hint}')
        if weights[key].shape != value.shape:
            raise ValueError(f'{key} in LPIPS trunk file {path} has shape {tuple(weights[key].shape)}, not '
                             f'{tuple(value.shape)}; {hint}')
    for key in weights:
        if key.startswith('features.') and key not in wanted:
            raise ValueError(f'LPIPS trunk file {path} has {key}, which this trunk has not; {hint}')
    for index, head in enumerate(model.lins):
        key, package = f'lin{index}.weight', head.model[-1].weight
        if key in weights and not torch.equal(weights[key].to(package), package):
            raise ValueError(f"{key} in LPIPS trunk file {path} is not the lpips package's head (version 0.1); leave "
                             'the heads out of the file.')
    model.net.load_state_dict(dict(zip(own, (weights[key] for key in wanted), strict=True)))


@contextmanager
def _quiet_torchvision() -> Iterator[None]:
    """Hide that the lpips package names torchvision's weights in a way torchvision has deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', category=UserWarning, module=r'torchvision\.models\._utils')
        yield
