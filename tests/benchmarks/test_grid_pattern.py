"""A pattern of 8x8 pixels is found and nothing else is taken for one; see benchmarks/grid_pattern.py."""

import cv2
import numpy as np
import pytest
import torch

from benchmarks import grid_pattern
from benchmarks.grid_pattern import ROWS, place_means, run, windows
from tgjar_arch.evaluation.measures import Measure
from tgjar_arch.evaluation.test_set import EvaluationSet


def test_the_pattern_at_every_place_in_any_size():
    pattern = np.random.default_rng(0).normal(0, 2, (8, 8))
    tiled = np.tile(pattern, (5, 6))
    assert np.allclose(place_means(tiled), pattern)
    assert np.allclose(place_means(tiled[:37, :41]), pattern)
    assert np.allclose(place_means(tiled[3:]), np.roll(pattern, -3, axis=0))
    steps = np.random.default_rng(1).normal(0, 9, (5, 6)).repeat(8, 0).repeat(8, 1)  # another brightness for each block
    assert np.allclose(place_means(tiled + steps), pattern + steps.mean())


def test_windows_leave_the_grid_by_a_pixel_each():
    image = np.arange(20 * 30 * 3).reshape(20, 30, 3)
    first, *others = windows(image)
    assert np.array_equal(first, image[:13, :23]) and len(others) == 7
    for k, window in enumerate(others, 1):
        assert np.array_equal(window, image[k:k + 13, k:k + 23])


def pictures(folder, count):
    rng = np.random.default_rng(0)
    for k in range(count):
        smooth = cv2.resize(rng.uniform(80, 170, (5, 6, 3)), (96, 64), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'{k}.png'), smooth.round().astype(np.uint8))
    return EvaluationSet(folder, crop=None)


class Drawing:
    """Draws another pattern into every picture, differently in each colour, its upper half and its lower half."""

    extra_inputs = ()

    def __init__(self):
        self.drawn = []

    def restore(self, lq, text, extra, strength):
        assert text == ['']
        levels = np.random.default_rng(len(self.drawn)).integers(-20, 21, (3, 2, 8, 8))
        self.drawn.append(levels.mean(axis=(0, 1)))
        whole = np.concatenate([np.tile(levels[:, half], (1, 4, 12)) for half in (0, 1)], axis=1)
        return lq + torch.from_numpy(whole).float() / 255


def test_mean_over_blocks_colours_and_images(tmp_path):
    restorer = Drawing()
    results = run(restorer, pictures(tmp_path, 5), [], qf=90, quiet=True)
    difference = results['restored']['pattern'] - results['JPEG']['pattern']
    assert np.allclose(difference, np.mean(restorer.drawn, axis=0), atol=1e-6)


def test_scores_on_the_grid_and_beside_it(tmp_path):
    images = pictures(tmp_path, 3)
    originals = [images.original(name) for name in images.names]

    def place(picture, original):  # 100 for each picture, and the square of the offset of the window
        for number, whole in enumerate(originals):
            for k, window in enumerate(windows(whole)):
                if np.array_equal(window, original):
                    return 100. * number + k * k
        raise AssertionError('no window of an original')

    results = run(Drawing(), images, [Measure('x', 'x', False, 2, '', place)], qf=90, quiet=True)
    for row in ROWS:
        assert results[row]['x'] == pytest.approx((100, 100 + sum(k * k for k in range(1, 8)) / 7))


def test_table(tmp_path, monkeypatch, capsys):
    pictures(tmp_path, 2)
    monkeypatch.setattr(grid_pattern, 'build_measures', lambda names: ([], []))
    monkeypatch.setattr(grid_pattern.Restorer, 'from_pretrained', lambda weights: Drawing())
    monkeypatch.setattr(grid_pattern, 'EvaluationSet', lambda root, max_images: EvaluationSet(root, None, max_images))
    assert grid_pattern.main(['--weights', 'w', '--data', str(tmp_path), '--qf', '90']) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines if line.startswith('|')]
    assert cells[0] == ['', 'pattern, std', 'range'] and [row[0] for row in cells[2:]] == list(ROWS)
    results = run(Drawing(), EvaluationSet(tmp_path, None), [], qf=90, quiet=True)
    for row in cells[2:]:
        pattern = results[row[0]]['pattern']
        assert row[1:] == [f'{pattern.std():.2f}', f'{pattern.max() - pattern.min():.2f}']
