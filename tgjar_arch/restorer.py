"""Restore images in Python: an exported weights file in, a restored image out."""

import inspect
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from PIL import Image
from torch import Tensor

from tgjar_arch.datasets.quantisation import quantisation_maps, tables_as_stored, thumbnail
from tgjar_arch.padded import run_padded
from tgjar_arch.text_features import TextFeatures
from tgjar_arch.tokenizer import tokenizer_from_json
from tgjar_arch.weights_file import ExportedWeights, read_weights


class Restorer:
    """A generator with its text encoder and tokenizer, ready for use.

        restorer = Restorer.from_pretrained('tgjar.safetensors')
        restored = restorer(Image.open('bird.jpg'), 'a small yellow bird')

    Args:
        weights: content of an exported file.
        device: where to compute; None takes the GPU if there is one.

    Raises:
        ValueError: when a network is unknown, weights do not fit it, or the device cannot be used.
    """

    def __init__(self, weights: ExportedWeights, device: str | torch.device | None = None) -> None:
        self.device = _usable_device(device)
        self.net_g = self._build(weights.network_g, weights.state_g)
        self.name = weights.network_g['type']
        self.extra_inputs = getattr(self.net_g, 'extra_inputs', ())
        if unknown := set(self.extra_inputs) - {'qmaps', 'thumbnail'}:
            raise ValueError(f'{self.name} needs {", ".join(sorted(unknown))} besides the image, which only a data set '
                             'gives it; restore with `tgjar test` and an option file.')
        self.net_t = self.tokenizer = None
        takes_text = 'text' in inspect.signature(self.net_g.forward).parameters
        self.takes_text = takes_text and getattr(self.net_g, 'uses_text', True) and weights.network_t is not None
        if weights.network_t is not None:
            self.net_t = self._build(weights.network_t, weights.state_t)
            self.tokenizer = tokenizer_from_json(weights.tokenizer)
            self.max_words = weights.max_words

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str | torch.device | None = None) -> 'Restorer':
        """Load a `.safetensors` file of `tgjar export`; nothing in it is executed."""
        device = _usable_device(device)  # before the weights, which would be blamed for it
        try:
            return cls(read_weights(path), device)
        except (RuntimeError, TypeError, KeyError) as error:  # what a state dict or arguments that do not fit raise
            raise ValueError(f'weights file {path} does not fit the networks it names: {error}') from error

    def _build(self, network: dict, state: dict[str, Tensor]) -> torch.nn.Module:
        options = deepcopy(network)
        net = ARCH_REGISTRY.get(options.pop('type'))(**options)
        net.load_state_dict(state)
        return net.requires_grad_(False).eval().to(self.device, memory_format=torch.channels_last)

    def encode(self, captions: list[str]) -> TextFeatures | None:
        """Text features of captions; '' is no caption. None if the networks take no text."""
        if not self.takes_text:
            return None
        padded = [self.tokenizer.pad(self.tokenizer.encode(caption), self.max_words) for caption in captions]
        ids, mask = (torch.stack(part).to(self.device) for part in zip(*padded, strict=True))
        with torch.inference_mode():
            return self.net_t(ids, mask)

    def restore(self, lq: Tensor, captions: list[str], extra_inputs: Mapping[str, Tensor] | None = None) -> Tensor:
        """Restore a batch.

        Args:
            lq: images (N, 3, H, W), RGB in [0, 1].
            captions: N texts.
            extra_inputs: what else the network asks for: of QGCN qmaps (N, 2, H, W) and thumbnail (N, 3, 112, 112), see
                `tgjar_arch.datasets.quantisation`.

        Returns:
            (N, 3, H, W), clipped to [0, 1].

        Raises:
            ValueError: when the number of captions or the extra inputs are not as said.
        """
        if len(captions) != len(lq):
            raise ValueError(f'{len(lq)} images were given with {len(captions)} captions.')
        extra = {key: value.to(self.device) for key, value in (extra_inputs or {}).items()}
        if set(extra) != set(self.extra_inputs):
            raise ValueError(f'{self.name} expects the extra inputs {list(self.extra_inputs)}, but got {list(extra)}.')
        text = self.encode(captions)
        lq = lq.to(self.device, torch.float32, memory_format=torch.channels_last)
        with torch.inference_mode():
            out = run_padded(self.net_g, lq,
                             lambda x: self.net_g(x, **({'text': text} if self.takes_text else {}), **extra))
        return out.clamp(0, 1)

    def __call__(self, image: Image.Image | np.ndarray, caption: str | None = None) -> Image.Image | np.ndarray:
        """Restore one image.

        Args:
            image: a PIL image, or an array (H, W, 3), RGB uint8. For a network that is told the quantisation tables
                (QGCN) a PIL image as `Image.open` returns it of a JPEG file.
            caption: what the picture shows; None or '' for none.

        Returns:
            The restored image, of the kind and size given.

        Raises:
            ValueError: when an array is not (H, W, 3) uint8, or the image has no quantisation tables where they are
                needed.
        """
        pixels = np.asarray(image.convert('RGB') if isinstance(image, Image.Image) else image)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f'Restorer expects an RGB image (H, W, 3) uint8, but got {pixels.shape} {pixels.dtype}.')
        lq = torch.tensor(pixels, device=self.device).permute(2, 0, 1)[None] / 255.
        out = self.restore(lq, [caption or ''], self._read_extra_inputs(image, pixels))[0].permute(1, 2, 0)
        restored = (out * 255).round().to(torch.uint8).cpu().numpy()
        return Image.fromarray(restored) if isinstance(image, Image.Image) else restored

    def _read_extra_inputs(self, image: Image.Image | np.ndarray, pixels: np.ndarray) -> dict[str, Tensor]:
        extra = {}
        if 'qmaps' in self.extra_inputs:
            tables = tables_as_stored(image)
            if tables is None:
                kind = getattr(image, 'format', None)
                raise ValueError(f'{self.name} is told the quantisation tables of a JPEG file, and '
                                 f'{f"a {kind} file" if kind else "this image, not as opened from a file,"} has none; '
                                 'give the JPEG file itself, or take weights of another network.')
            extra['qmaps'] = quantisation_maps(tables, *pixels.shape[:2])[None]
        if 'thumbnail' in self.extra_inputs:
            extra['thumbnail'] = thumbnail(pixels[..., ::-1], self.net_g.thumbnail_size)[None]
        return extra


def _usable_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or the best there is.

    Raises:
        ValueError: when there is no such device.
    """
    try:
        found = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:  # torch's, for an unknown name and for a missing driver
        raise ValueError(f'device {device!r} cannot be used here: {str(error).splitlines()[0]}') from error
    return found
