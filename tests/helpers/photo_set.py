"""A small set of photographs with captions, written to a folder, for the tests of the dataset."""

import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch

from tgjar_arch.jpeg.codec import encode
from tgjar_arch.text.word_tokenizer import WordTokenizer

SIZES = {'004.Groove_billed_Ani/ani.1': (96, 112), '004.Groove_billed_Ani/ani.2': (80, 80), 'cup of coffee': (100, 90)}
CAPTIONS = {name: [f'{word} number {k} of this very long line' for k in ('one', 'two', 'three', 'four')]
            for name, word in zip(SIZES, ('first', 'second', 'third'), strict=True)}


@cache
def coffee() -> np.ndarray:
    return cv2.imread(str(Path(skimage.data.__file__).parent / 'coffee.png'))


def photo(height: int, width: int) -> np.ndarray:
    """A natural image, BGR uint8, that is no mirror image of itself."""
    return np.ascontiguousarray(coffee()[60:60 + height, 150:150 + width])


def pixels(tensor: torch.Tensor) -> np.ndarray:
    """(3, H, W) RGB in [0, 1] to (H, W, 3) BGR uint8; exact, since the values are those of an 8-bit image."""
    values = tensor.mul(255)
    assert torch.allclose(values, values.round(), atol=1e-4)
    return values.round().byte().permute(1, 2, 0).numpy()[..., ::-1]


def write_compressed(root, folder, qf: int = 10) -> None:
    for name in SIZES:
        path = folder / f'{name}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(cv2.imread(str(root / f'{name}.png')), qf))


def assert_equal_items(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert value.equal(second[key]) if isinstance(value, torch.Tensor) else value == second[key], key


def write_set(folder: Path) -> dict:
    """Write the images and their metadata to `folder/gt` and the vocabulary; returns the options of a training set."""
    for name, size in SIZES.items():
        path = folder / 'gt' / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), photo(*size))
    lines = [{'file_name': f'{name}.png', 'captions': texts, 'class_id': 4 if '004' in name else 7}
             for name, texts in CAPTIONS.items()]
    (folder / 'gt' / 'metadata.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    WordTokenizer.build(text for texts in CAPTIONS.values() for text in texts).save(folder / 'tokenizer.json')
    return {'name': 'birds', 'type': 'PairedImageTextDataset', 'phase': 'train', 'dataroot_gt': str(folder / 'gt'),
            'tokenizer': str(folder / 'tokenizer.json'), 'gt_size': 64, 'qf': 5, 'max_words': 5}
