"""The fast training step against the plain one: same losses from the same weights, whatever the rows."""

import re

import pytest
import torch

from benchmarks import training

SMALLER = {  # key of an option file: what it is in the tests, where the sizes do not matter
    'num_feat': 8, 'num_block': 1, 'text_dim': 16, 'embed_dim': 8, 'backbone': 'alexnet',
}


@pytest.fixture
def small_networks(tmp_path, monkeypatch):
    """The option files that the benchmark reads, with small networks in them."""
    for file in training.OPTIONS.rglob('train_*_cub.yml'):
        text = file.read_text('utf-8')
        for key, value in SMALLER.items():
            text = re.sub(rf'^(  {key}): \S+', rf'\1: {value}', text, flags=re.MULTILINE)
        copy = tmp_path / file.relative_to(training.OPTIONS)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(text, 'utf-8')
    assert '  backbone: alexnet' in (tmp_path / 'train_tgjar_cub.yml').read_text('utf-8')
    monkeypatch.setattr(training, 'OPTIONS', tmp_path)


def first_losses(text):
    """{row: [values]} of the table of losses that the benchmark prints."""
    table = text[text.index('| first step |'):].splitlines()
    assert table[0] == '| first step | ' + ' | '.join(training.LOSSES) + ' |'
    return {cells[1].strip(): [float(cell) for cell in cells[2:-1]] for cells in (row.split('|') for row in table[2:])}


@pytest.mark.slow
def test_fast_steps_have_the_losses_of_the_plain_one(small_networks, capsys):
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
def test_other_networks_with_l1_alone(small_networks, capsys):
    assert training.main(['--networks', 'TGJAR', 'QGCN', '--batch', '1', '--size', '32', '--threads', '1',
                          '--repeats', '1']) == 0
    text = capsys.readouterr().out
    assert 'L1, bf16, channels_last' in text and '| first step | l_g_pix |' in text
    assert all(float(row.split('|')[2]) > 0 for row in text.splitlines()[-2:])
