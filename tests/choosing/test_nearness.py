"""Distances of restored pictures from an original."""

import numpy as np
import pytest
import torch

from tests.helpers.photo_files import picture
from tgjar_arch.choosing import nearness
from tgjar_arch.choosing.criteria import CRITERIA, LPIPS_PER_DB
from tgjar_arch.choosing.nearness import Distance, Nearness, lpips_for
from tgjar_arch.metrics.lpips import build_lpips, lpips_features, lpips_from_features


@pytest.fixture
def original():
    return np.asarray(picture(51, 37))


@pytest.fixture(scope='module')
def lpips():
    torch.manual_seed(0)
    return build_lpips('alex', pretrained=False)


def test_psnr_and_lpips_are_those_of_the_metrics(original, lpips):
    others = [np.roll(original, 1, axis=1), original // 2]
    found = Nearness(original, lpips)(others)
    for one, other in zip(found, others, strict=True):
        error = np.mean((other.astype(float) - original)**2)
        assert one.psnr == pytest.approx(10 * np.log10(255**2 / error), abs=1e-4)
        x, y = (lpips_features(lpips, torch.tensor(image).permute(2, 0, 1)[None] / 255) for image in (other, original))
        assert one.lpips == pytest.approx(lpips_from_features(lpips, x, y).item(), rel=1e-4)
    assert [one.lpips for one in Nearness(original)(others)] == [None, None] and Nearness(original, lpips)([]) == []


def test_equal_pictures_have_a_finite_distance(original, lpips):
    found, = Nearness(original, lpips)([original])
    assert found.psnr == 100 and found.lpips == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('size', [(1, 1), (7, 5), (30, 64)])
def test_smaller_pictures_than_the_trunk_takes(lpips, size):
    small = np.asarray(picture(*size))
    equal, other = Nearness(small, lpips)([small, 255 - small])
    assert equal.lpips == pytest.approx(0, abs=1e-6) and other.lpips > 1e-4


def test_scores():
    distance = Distance(20., .3)
    assert [distance.score(by) for by in CRITERIA] == [.3, -20., .3 - 20 * LPIPS_PER_DB]
    assert Distance(20., None).score('psnr') == -20
    with pytest.raises(ValueError, match='mix needs LPIPS, which was not measured'):
        Distance(20., None).score('mix')
    with pytest.raises(ValueError, match="one of lpips, psnr, mix, not by 'ssim'"):
        distance.score('ssim')


def test_another_size_is_refused(original):
    with pytest.raises(ValueError, match=r'original \(37, 51, 3\), but one is \(37, 50, 3\)'):
        Nearness(original)([original[:, :50]])


def test_without_weights_the_way_out_is_named(monkeypatch):
    def fail(net):
        raise RuntimeError('the weights could not be downloaded (no\nnetwork). Name a file.')

    monkeypatch.setattr(nearness, 'build_lpips', fail)
    assert lpips_for('psnr', torch.device('cpu')) is None
    for by in ('lpips', 'mix'):
        with pytest.raises(ValueError, match=rf'chosen by {by} here: .*\(no network\).* by psnr \(--choose-by psnr\)'):
            lpips_for(by, torch.device('cpu'))
