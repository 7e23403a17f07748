"""The fast training step against the plain one: same losses from the same weights, whatever the rows."""

import pytest
import torch

from benchmarks import training


def first_losses(text):
    """{row: [values]} of the table of losses that the benchmark prints."""
    table = text[text.index('| first step |'):].splitlines()
    assert table[0] == '| first step | ' + ' | '.join(training.LOSSES) + ' |'
    return {cells[1].strip(): [float(cell) for cell in cells[2:-1]] for cells in (row.split('|') for row in table[2:])}


@pytest.mark.slow
def test_fast_steps_have_the_losses_of_the_plain_one(capsys):
    rows = [training.PLAIN, 'float32, channels_last', 'bf16, channels_last']
    assert training.main(['--batch', '2', '--size', '64', '--threads', '1', '--repeats', '1', '--rows', *rows]) == 0
    text = capsys.readouterr().out
    assert f'PyTorch {torch.__version__}' in text and 'batch 2, 64x64, all four losses' in text
    losses = first_losses(text)
    assert list(losses) == rows
    for row, values in losses.items():
        # 8 bits of mantissa are 0.4 %, and the image-text loss is a difference of much larger numbers
        tolerance = 2e-2 if 'bf16' in row else 1e-4
        assert values == pytest.approx(losses[training.PLAIN], rel=tolerance), row


@pytest.mark.slow
def test_other_networks_with_l1_alone(capsys):
    assert training.main(['--networks', 'TGJAR', 'QGCN', '--batch', '1', '--size', '32', '--threads', '1',
                          '--repeats', '1']) == 0
    text = capsys.readouterr().out
    assert 'L1, bf16, channels_last' in text and '| first step | l_g_pix |' in text
    assert all(float(row.split('|')[2]) > 0 for row in text.splitlines()[-2:])
