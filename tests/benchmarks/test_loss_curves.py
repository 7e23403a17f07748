"""Losses and validation as BasicSR logs them; see benchmarks/loss_curves.py."""

import math

import pytest
from PIL import Image

from benchmarks import loss_curves

HEAD = '2026-01-01 10:00:00,000 INFO: '
VALIDATION = HEAD + """Validation cub_test
\t # psnr: {}\tBest: 24.0000 @ 20 iter
\t # lpips: 0.2500\tBest: 0.2500 @ 20 iter

"""


def line(iteration, losses):
    return (f'{HEAD}[train..][epoch:  1, iter:{iteration:>8,}, lr:(1.000e-04,)] [eta: 0:00:12, time (data): 0.559 '
            f'(0.002)] {losses} \n')


@pytest.fixture
def logs(tmp_path):
    """A training, its resumption, and a second training with another loss."""
    first, resumed, second = (tmp_path / f'train_{name}.log' for name in ('a', 'b', 'c'))
    first.write_text('  lr: 1e-4\n' + line(10, 'l_g_pix: 4.0e-02') + line(1020, 'l_g_pix: 2.0e-02')
                     + VALIDATION.format('23.5000') + line(1030, 'l_g_pix: 9.0e-02'))
    resumed.write_text(HEAD + 'Resuming training from epoch: 1, iter: 1020.\n' + line(1030, 'l_g_pix: 1.0e-02')
                       + line(1040, 'l_g_pix: nan'))
    second.write_text(line(10, 'l_g_pix: 5.0e-03 l_g_gan: -1.5e+00') + VALIDATION.format('24.0000'))
    return first, resumed, second


def test_what_a_log_says(logs):
    curves = loss_curves.read_log(logs[0])
    assert curves.losses == {'l_g_pix': {10: 0.04, 1020: 0.02, 1030: 0.09}}
    assert curves.metrics == {'cub_test psnr': {1020: 23.5}, 'cub_test lpips': {1020: 0.25}}
    assert curves.last == 1030 and not curves.resumed


def test_logs_follow_one_another(logs):
    joined, starts = loss_curves.join([loss_curves.read_log(path) for path in logs])
    assert starts == [1040]
    pixel = joined.losses['l_g_pix']
    assert list(pixel) == [10, 1020, 1030, 1040, 1050] and pixel[1030] == 0.01 and pixel[1050] == 0.005
    assert joined.losses['l_g_gan'] == {1050: -1.5}
    assert joined.metrics['cub_test psnr'] == {1020: 23.5, 1050: 24.}


def test_smoothing_is_a_mean_of_neighbours():
    assert loss_curves.smooth([1, 2, 6, 3], 3).tolist() == pytest.approx([1.5, 3, 11 / 3, 4.5])
    assert loss_curves.smooth([1, 2, 6], 1).tolist() == [1, 2, 6]
    one_bad = loss_curves.smooth([1, math.nan, 3, 4, 5], 3)
    assert math.isnan(one_bad[1]) and one_bad[4] == 4.5  # a loss that was no number once spoils its neighbours only


def test_the_picture(logs, tmp_path, capsys):
    pytest.importorskip('matplotlib')
    out = tmp_path / 'docs' / 'training.png'
    assert loss_curves.main([*map(str, logs), '-o', str(out)]) == 0
    assert 'l_g_pix, l_g_gan, cub_test psnr, cub_test lpips; 1050 iterations' in capsys.readouterr().out
    with Image.open(out) as picture:
        assert picture.width > picture.height and len(picture.convert('RGB').getcolors(1 << 20)) > 50
    assert [path.name for path in out.parent.iterdir()] == ['training.png']
    assert loss_curves.main([str(logs[0]), '-o', str(out)]) == 0  # measured once: no curve
    assert ': l_g_pix; 1030 iterations' in capsys.readouterr().out


@pytest.mark.parametrize('content, message', [(None, 'train_x.log does not exist'), ('nothing', 'has no line "[epoch')])
def test_no_log(tmp_path, content, message, capsys):
    if content:
        (tmp_path / 'train_x.log').write_text(content)
    assert loss_curves.main([str(tmp_path / 'train_x.log'), '-o', str(tmp_path / 'x.png')]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / 'x.png').exists()
