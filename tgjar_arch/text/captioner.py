"""A captioner: an image-to-text model of transformers."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image


class Captioner:
    """An image-to-text model of `transformers`: BLIP, GIT, a vision encoder with a text decoder, ...

    Args:
        model: name on the Hugging Face hub, or a folder with the model, its image processor and its tokenizer.
        device: where to run it.
        download: fetch what is not on this machine yet.
        beams: number of beams of the search; there is no sampling, so a caption is the same every time.
        max_tokens: longest caption, in tokens of the model.

    Raises:
        OSError: when the model, or a part of it, is not there.
        ValueError: when it is no image-to-text model.
    """

    def __init__(self, model: str, device: torch.device, download: bool = False, beams: int = 3,
                 max_tokens: int = 30) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

        options = {'local_files_only': not download}
        self._processor = AutoImageProcessor.from_pretrained(model, **options)
        self._tokenizer = AutoTokenizer.from_pretrained(model, **options)
        network: torch.nn.Module = AutoModelForImageTextToText.from_pretrained(model, **options)
        self._model: Any = network.to(device).eval()
        self._device = device
        self._options = {'num_beams': beams, 'max_new_tokens': max_tokens, 'do_sample': False}

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image]) -> list[str]:
        """Return one caption an image, on one line; '' when the model found no word."""
        pixels = self._processor(images=list(images), return_tensors='pt')['pixel_values'].to(self._device)
        ids = self._model.generate(pixel_values=pixels, **self._options)
        return [' '.join(text.split()) for text in self._tokenizer.batch_decode(ids, skip_special_tokens=True)]
