"""Files that were compressed before, and what their restoration is compared with; see benchmarks/saved_twice.py."""

from pathlib import Path

import cv2
import numpy as np

from benchmarks import saved_twice
from benchmarks.saved_twice import KINDS, make, run
from tgjar_arch.evaluation.measures import Measure, build_measures
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.jpeg.codec import decode


def picture(seed: int = 0) -> np.ndarray:
    smooth = cv2.resize(np.random.default_rng(seed).uniform(60, 190, (9, 11, 3)), (121, 94),
                        interpolation=cv2.INTER_CUBIC)
    return smooth.round().astype(np.uint8)


def test_a_file_is_compared_with_the_original_treated_like_it():
    image = picture()
    for name, kind in KINDS.items():
        file, original = make(image, kind, 95)
        decoded = decode(file)
        assert decoded.shape == original.shape, name
        # At fine quality all that differs is the loss of twice the size.
        assert cv2.PSNR(decoded, original) > (30 if 'twice' in name else 36), name
        coarse = make(image, kind, 3)[0]
        assert cv2.PSNR(decode(coarse), original) < cv2.PSNR(decoded, original) - 3, name


class Blurring:
    """In the place of a Restorer: what it is asked for is kept."""

    def __init__(self) -> None:
        self.grids = []

    def __call__(self, pixels: np.ndarray, caption: str, **arguments) -> np.ndarray:
        assert caption == ''
        self.grids.append(arguments['grid'])
        return cv2.blur(pixels, (3, 3))


def test_scores_of_file_and_restored_by_the_steps_of_restore(tmp_path: Path):
    for seed in range(2):
        # Detail of some pixels, so that the blocks of quality 5 are to be found.
        detail = cv2.resize(np.random.default_rng(seed).uniform(40, 210, (70, 90, 3)), (270, 210),
                            interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / f'{seed}.png'), detail.clip(0, 255).astype(np.uint8))
    images = EvaluationSet(tmp_path, crop=None)
    measures, _ = build_measures(['psnr'])
    restorer = Blurring()
    results = run(restorer, images, measures, 5, quiet=True)
    assert set(results) == set(KINDS) and all(scores.shape == (2, 2, 1) for scores in results.values())
    assert len(restorer.grids) == 2 * len(KINDS)
    # The crop moved the blocks: 8 - 3 = 5, of the chroma's 16 pixels 13.
    shifted = restorer.grids[list(KINDS).index('cropped by 3, JPEG 90')]
    assert shifted[0] % 8 == shifted[1] % 8 == 5
    original = images.original(images.names[0])
    file, _ = make(original, KINDS['once'], 5)
    assert results['once'][0, 0, 0] == measures[0].score(decode(file), original)
    assert results['once'][0, 1, 0] == measures[0].score(cv2.blur(decode(file), (3, 3)), original)


def test_table_by_the_command(tmp_path: Path, monkeypatch, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), picture())
    monkeypatch.setattr(saved_twice.Restorer, 'from_pretrained', lambda weights: Blurring())
    ones = [Measure(name, name, True, 2, '', lambda one, other: 1.0) for name in saved_twice.METRICS]
    monkeypatch.setattr(saved_twice, 'build_measures', lambda names: (ones, []))
    assert saved_twice.main(['--weights', 'some', '--data', str(tmp_path)]) == 0
    out = ' '.join(capsys.readouterr().out.split())
    assert 'some, JPEG 10, then' in out and '| cropped by 3, WebP 80 | 1.00 / 1.000 | 1.00 / 1.000 |' in out
