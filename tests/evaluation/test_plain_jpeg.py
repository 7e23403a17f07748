"""Plain JPEG on the reference images scores what was measured on them independently."""

import tarfile

import cv2
import numpy as np
import pytest

from tgjar_arch.evaluation.measures import build_measures
from tgjar_arch.jpeg.codec import compress

PSNR, LPIPS = 21.87, .5034  # shared/data/README.md: 500 images of CUB's test set at quality 1, by Pillow
EVERY = 5  # image of which LPIPS is computed: all 500 give .50338, but take half a minute on one core


def test_plain_jpeg_scores_as_published(shared, monkeypatch):
    weights = shared / 'weights' / 'lpips_alex_v0.1.npz'
    archive = shared / 'data' / 'cub' / 'test.tar'
    if not archive.is_file():
        pytest.skip(f'no {archive.name}')
    names = ['psnr']
    if weights.is_file():
        monkeypatch.setenv('TGJAR_LPIPS_ALEX', str(weights))
        names.append('lpips')
    (psnr, *lpips), _ = build_measures(names)
    psnrs, distances = [], []
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.name.endswith('.webp'):
                continue
            content = np.frombuffer(tar.extractfile(member).read(), np.uint8)
            original = cv2.imdecode(content, cv2.IMREAD_COLOR)
            restored = compress(original, 1)
            if lpips and len(psnrs) % EVERY == 0:
                distances.append(lpips[0].score(restored, original))
            psnrs.append(psnr.score(restored, original))
    assert len(psnrs) == 500
    assert np.mean(psnrs) == pytest.approx(PSNR, abs=.02)
    if lpips:
        # Within 2 %, and beyond that as far as a sample of 100 out of 500 may stray from the mean of all: two standard
        # errors, sqrt(1 - 1/5) since the 500 are all there are.
        error = np.std(distances, ddof=1) / np.sqrt(len(distances)) * np.sqrt(1 - 1 / EVERY)
        assert len(distances) == 500 / EVERY and error < .01
        assert np.mean(distances) == pytest.approx(LPIPS, abs=.02 * LPIPS + 2 * error)
