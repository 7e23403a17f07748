import sys
from pathlib import Path

import pytest
import torch

from benchmarks import inference
from tests.helpers.forked import python
from tgjar_arch.evaluation.cost import count_flop

CPU = torch.device('cpu')
TINY = {
    'TGJAR': {'type': 'TGJARGenerator', 'num_feat': 8, 'num_block': 1},
    'TGJAR lite': {'type': 'TGJARLiteGenerator', 'num_feat': 8, 'num_block': 1, 'num_fine': 4},
    'EDSR': {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 1},
}


@pytest.mark.parametrize('name', ['TGJAR', 'TGJAR lite'])
def test_our_work_grows_linearly_with_the_pixels(name):
    small, medium, large = (inference.meta_flop(name, size) for size in (256, 512, 1024))
    # text and the border of the GFM cost the same at every size; nothing grows faster
    assert (large - medium) / (medium - small) == pytest.approx(4, rel=1e-9)
    assert large / small == pytest.approx(16, rel=0.02)


def test_work_that_grows_faster_is_seen():
    small, large = (inference.meta_flop('RNAN', size) for size in (64, 128))
    assert large > 4.5 * small  # attention over all pixels


def test_work_agrees_with_the_evaluations():
    assert inference.meta_flop('TGJAR', 64) == pytest.approx(count_flop('TGJAR', 64), rel=1e-3)
    assert inference.meta_flop('QGCN', 64) == count_flop('QGCN', 64)


def test_expected_seconds_follow_the_growth_seen():
    assert inference.expected_seconds([(64, 1.0), (128, 4.0)], 256) == pytest.approx(16)
    assert inference.expected_seconds([(64, 1.0), (128, 16.0)], 256) == pytest.approx(256)
    assert inference.expected_seconds([(8, 9.0), (64, 1.0), (128, 1.5)], 256) == pytest.approx(6)  # at least the pixels


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells and resets the peak')
def test_peak_memory_is_what_a_run_takes_at_its_height():
    # In a process of its own: what other tests left behind changes what the C library keeps of freed memory. It may
    # keep one array; the sum of the three would be 150 MB.
    program = """
import torch
from benchmarks import inference
from tests.helpers.forked import python

def run():
    for _ in range(3):
        torch.ones(50_000_000, dtype=torch.uint8)
    return torch.ones(1)

print(inference.peak_memory(run, torch.device('cpu')))
"""
    root = Path(inference.__file__).parents[1]
    done = python('-c', program, cwd=root)
    assert done.returncode == 0, done.stderr
    assert 45e6 < float(done.stdout) < 120e6


def test_parameters_include_the_text_encoder():
    assert inference.Candidate('TGJAR', CPU).parameters() == 6_930_503


def test_prints_all_networks_and_says_what_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(inference, 'NETWORKS', TINY)
    monkeypatch.setattr(inference, 'PROBES', (16, 24))
    calls = []
    honest = inference.expected_seconds

    def expected(known, size):
        calls.append(size)
        return 1e6 if size == 48 and len(calls) == 6 else honest(known, size)  # the third network at the second size

    monkeypatch.setattr(inference, 'expected_seconds', expected)
    assert inference.main(['--sizes', '64', '32', '48', '--networks', *TINY, '--threads', '1', '--repeats', '2']) == 0
    out = capsys.readouterr().out
    assert '1 thread, ' in out and f'PyTorch {torch.__version__}, float32' in out
    first, second, third, ours = out.split('\n\n')[2::2]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in first.splitlines()[2:]]
    assert [row[0] for row in rows] == list(TINY)
    assert rows[0][6] == '1.00' and all(float(row[3]) > 0 and row[-1] == '2' for row in rows)
    assert float(rows[2][6]) == pytest.approx(float(rows[2][3]) / float(rows[0][3]), rel=0.02, abs=0.01)  # of rounded
    assert 'EDSR | 0.0 | left out: 1000000 s a run or more, over 60' in second
    assert 'EDSR | 0.0 | left out, as at 48x48' in third and len(calls) == 8  # not asked about again
    assert [line.split('|')[1:3] for line in ours.splitlines()[2:]] == [
        [f' {name} ', f' {size} '] for name in ('TGJAR', 'TGJAR lite') for size in (32, 48, 64)]


def test_cpu_clock_is_refused_for_a_gpu(capsys):
    with pytest.raises(SystemExit):
        inference.main(['--device', 'cuda', '--clock', 'cpu'])
    assert 'tells nothing about a GPU' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        inference.main(['--threads', '2', '--clock', 'cpu'])
    assert '--threads 1' in capsys.readouterr().err


@pytest.mark.parametrize('value, text', [(0.00035127, '0.000351'), (0.0076, '0.00760'), (0.9994, '0.999'),
                                         (53.04, '53.0'), (2041.4, '2041'), (0, '0')])
def test_three_digits_without_an_exponent(value, text):
    assert inference.digits(value) == text
