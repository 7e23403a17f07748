"""The metrics of the tables: what each is computed by, with which weights, and why one is left out."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from skimage.color import rgb2lab

from tgjar_arch import registration
from tgjar_arch.evaluation.choices import DEFAULT_METRICS, METRICS
from tgjar_arch.metrics.fid import build_set_metric
from tgjar_arch.metrics.lpips import cached_lpips

_NIQE_BLOCK = 96  # pixels; of one block alone there is no covariance
Score = Callable[[np.ndarray, np.ndarray], float]  # restored and original, (H, W, 3) uint8 BGR


@dataclass(frozen=True)
class Measure:
    """One metric.

    Attributes:
        name: on the command line and in the CSV files.
        label: in the tables.
        higher: whether higher is better.
        digits: behind the point, in the tables.
        source: what it is computed by and what its weights are, for the line below the tables.
        score: for one image; None for a metric of a whole set.
    """

    name: str
    label: str
    higher: bool
    digits: int
    source: str
    score: Score | None = None

    @property
    def heading(self) -> str:
        return f'{self.label} {"↑" if self.higher else "↓"}'


def central_half(image: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the middle of an image (H, W, ...), where the object is: half of its height and width."""
    rows, columns = (slice(size // 4, size - size // 4) for size in image.shape[:2])
    return rows, columns


def ab_error(restored: np.ndarray, original: np.ndarray, centre: bool = False) -> float:
    """Colour error: the mean distance of two images in the a*b* plane of CIELAB (D65); 0 for equal colours.

    Lightness takes no part, so it says whether the colours are right where PSNR also counts edges and texture.

    Args:
        restored, original: (H, W, 3) uint8, BGR.
        centre: only the `central_half`.
    """
    if centre:
        middle = central_half(original)
        restored, original = restored[middle], original[middle]
    first, second = (rgb2lab(image[..., ::-1])[..., 1:] for image in (restored, original))
    return float(np.linalg.norm(first - second, axis=2).mean())


def _registered(name: str, **options: Any) -> Score:
    """A metric of BasicSR's registry, on the whole image in RGB."""
    metric = METRIC_REGISTRY.get(name)
    return lambda restored, original: float(metric(restored, original, crop_border=0, **options))


def _without_reference(name: str) -> Score:
    metric = METRIC_REGISTRY.get(name)

    def score(restored: np.ndarray, original: np.ndarray) -> float:
        height, width = restored.shape[:2]
        if name != 'calculate_ma' and (min(height, width) < _NIQE_BLOCK or max(height, width) < 2 * _NIQE_BLOCK):
            raise ValueError(f'NIQE needs {_NIQE_BLOCK} pixels each way and {2 * _NIQE_BLOCK} in one, but the picture '
                             f'is {width}x{height}')
        return float(metric(restored, crop_border=0))

    return score


def _lpips(net: str) -> tuple[str, Score]:
    cached_lpips(net)  # raises here, not at the first image
    path = os.environ.get(f'TGJAR_LPIPS_{net.upper()}')
    weights = "torchvision's ImageNet weights"
    if path:
        weights = _named(path)
    return f'LPIPS 0.1 on {net}, {weights}', _registered('calculate_lpips', net=net)


def _pyiqa() -> str:
    from importlib.metadata import version

    path = os.environ.get('TGJAR_NRQM')
    weights = _named(path) if path else 'NRQM_model.mat (downloaded)'
    return f'Ma of pyiqa {version("pyiqa")}, {weights}'


def _named(path: str) -> str:
    file = Path(path).expanduser()
    return f'{file.name} (sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:8]})'


def _perceptual_index(name: str) -> tuple[str, Score]:
    metric = METRIC_REGISTRY.get(f'calculate_{name}')
    metric(np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8), crop_border=0)  # loads the weights
    formula = 'PI = (10 - Ma + NIQE) / 2, ' if name == 'pi' else ''
    return f'{formula}{_pyiqa()}', _without_reference(f'calculate_{name}')


def _frechet(name: str) -> tuple[str, None]:
    metric = build_set_metric(name)
    return f'{metric.label}, {metric.weights}', None


# name: label, higher is better, digits, () -> (source, score for one image or None)
_KNOWN: dict[str, tuple[str, bool, int, Callable[[], tuple[str, Score | None]]]] = {
    'psnr': ('PSNR', True, 2, lambda: ("BasicSR's, RGB, no border", _registered('calculate_psnr'))),
    'ssim': ('SSIM', True, 4, lambda: ("BasicSR's, RGB, no border", _registered('calculate_ssim'))),
    'lpips': ('LPIPS', False, 4, partial(_lpips, 'alex')),
    'fid': ('FID', False, 1, partial(_frechet, 'fid')),
    'pi': ('PI', False, 2, partial(_perceptual_index, 'pi')),
    'niqe': ('NIQE', False, 2, lambda: ("BasicSR's and its model, no border", _without_reference('calculate_niqe'))),
    'ma': ('Ma', True, 2, partial(_perceptual_index, 'ma')),
    'lpips_vgg': ('LPIPS-VGG', False, 4, partial(_lpips, 'vgg')),
    'lpips_squeeze': ('LPIPS-Squeeze', False, 4, partial(_lpips, 'squeeze')),
    'frechet_alexnet': ('Fréchet-AlexNet', False, 3, partial(_frechet, 'frechet_alexnet')),
    'ab_error': ('a*b* error', False, 2, lambda: ('CIELAB, mean distance in a*b*', ab_error)),
    'ab_error_centre': ('a*b* error, centre', False, 2, lambda: ('the same over the central half',
                                                                partial(ab_error, centre=True))),
}


def build_measures(names: Sequence[str] | None = None) -> tuple[list[Measure], list[str]]:
    """Make metrics ready: their packages imported and their weights loaded.

    Args:
        names: those wanted; None for all of `DEFAULT_METRICS` that can be computed here.

    Returns:
        The metrics, and a line for each of `DEFAULT_METRICS` that is left out: why, and what to do.

    Raises:
        ValueError: when one that is named is unknown or cannot be computed.
    """
    registration.register()
    measures, left_out = [], []
    for name in dict.fromkeys(names or DEFAULT_METRICS):
        if name not in _KNOWN:
            raise ValueError(f'--metrics: there is no metric {name!r}; there are {", ".join(METRICS)}.')
        label, higher, digits, build = _KNOWN[name]
        try:
            source, score = build()
        except Exception as error:  # packages and weights of others, missing in as many ways
            reason = f'{label} cannot be computed here: {" ".join(str(error).split())}'
            if names:
                raise ValueError(reason) from error
            left_out.append(reason)
        else:
            measures.append(Measure(name, label, higher, digits, source, score))
    return measures, left_out


def clear_memory() -> None:
    """Give back what a network needed on the GPU, before the metrics' networks need it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
