"""Fixtures that more than one test file uses."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

# A download that slipped into the code must fail at once, not wait for a network.
os.environ['HF_HUB_OFFLINE'] = '1'

import pytest
import skimage.data
import torch
from PIL import Image

import tgjar_arch

pytest_plugins = ['tests.helpers.alexnet', 'tests.helpers.tiny_model']  # a fixture for all, and `opt`

tgjar_arch.register()  # first of all, so that a test may name what is ours

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = {  # file of scikit-image, captions
    'astronaut': ('astronaut.png', ['a smiling woman in an orange space suit', 'an astronaut before a flag']),
    'chelsea': ('chelsea.png', ['a brown cat with green eyes', 'the face of a striped cat']),
    'coffee': ('coffee.png', ['a white cup of coffee on a saucer', 'a cup with a spoon on a wooden table']),
}


@pytest.fixture
def shared() -> Path:
    """Folder of data that lies beside some checkouts; a test that needs it is skipped elsewhere."""
    folder = ROOT.parent / 'shared'
    if not folder.is_dir():
        pytest.skip(f'no folder {folder.name}/ beside the checkout')
    return folder


@pytest.fixture(autouse=True)
def deterministic() -> None:
    """Start every test from one seed, on one thread.

    The networks are tiny, and threads would only wait for each other.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Records of BasicSR's logger, which does not propagate."""
    logger = logging.getLogger('basicsr')
    propagates, logger.propagate = logger.propagate, False  # True until BasicSR has set it up: each record came twice
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger='basicsr'):
        yield caplog
    logger.removeHandler(caplog.handler)
    logger.propagate = propagates


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Folders that cannot be listed: what is added (root may list any, whatever its permissions say)."""
    scandir, folders = os.scandir, set()

    def refuse(path: str | os.PathLike) -> Iterator[os.DirEntry]:
        if str(path) in folders:
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    return folders


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Return `make(size=64, count=3, captions=True, folder='photos')`, which writes natural images to a folder.

    The images are square PNG files of `size` pixels, reduced from the middle of astronaut, chelsea and coffee, all
    different; with `captions` a metadata.jsonl with two captions each lies beside them.
    """

    def make(size: int = 64, count: int = 3, captions: bool = True, folder: str = 'photos') -> Path:
        root = tmp_path / folder
        root.mkdir(parents=True)
        lines = []
        for name, (file_name, texts) in list(PHOTOS.items())[:count]:
            with Image.open(Path(skimage.data.__file__).parent / file_name) as image:
                side = min(image.size)
                left, top = (image.width - side) // 2, (image.height - side) // 2
                square = image.convert('RGB').crop((left, top, left + side, top + side))
            square.resize((size, size), Image.LANCZOS).save(root / f'{name}.png')
            lines.append(json.dumps({'file_name': f'{name}.png', 'captions': texts, 'class_id': len(lines)}))
        if captions:
            (root / 'metadata.jsonl').write_text('\n'.join(lines) + '\n', encoding='utf-8')
        return root

    return make
