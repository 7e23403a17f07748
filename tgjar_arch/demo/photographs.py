"""The eight photographs of the demo, which scikit-image ships, with captions of ours."""

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import skimage.data
from PIL import Image


class Photograph(NamedTuple):
    """A photograph of the demo.

    Attributes:
        name: of its file, without suffix.
        image: RGB.
        captions: the first is the one that it is restored by.
    """

    name: str
    image: Image.Image
    captions: list[str]


def photographs() -> Iterator[Photograph]:
    """Yield the photographs, one after the other."""
    captions = json.loads(resources.files('tgjar_arch.demo').joinpath('captions.json').read_text(encoding='utf-8'))
    for file_name, sentences in captions.items():
        with Image.open(Path(skimage.data.__file__).parent / file_name) as image:
            yield Photograph(Path(file_name).stem, image.convert('RGB'), sentences)
