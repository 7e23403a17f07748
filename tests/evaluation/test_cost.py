"""Table 5: counted and timed."""

import pytest
import torch

from tgjar_arch.evaluation import cost
from tgjar_arch.evaluation.cost import NETWORKS, Cost, count_flop, measure_cost
from tgjar_arch.evaluation.paper import TABLE_5


def test_a_convolution_by_hand():
    """EDSR's are 3x3 at full size: 2 operations x 9 x inputs x outputs a pixel."""
    widths = [(3, 256), *[(256, 256)] * (2 * 16 + 1), (256, 3)]  # head, 16 blocks and one after them, tail
    assert count_flop('EDSR', 16) == sum(2 * 9 * a * b for a, b in widths) * 16 * 16


def test_ours_is_generator_and_text_encoder():
    found = measure_cost('TGJAR', 256, time_size=32, repeats=2)
    assert found.parameters == 4_855_183 + 2_075_320
    assert found.flop / 1e9 == pytest.approx(21.0, abs=.4)  # 20.6 of them convolutions
    lstm = 2 * 4 * 128 * (300 + 128) * 18 * 2  # 4 gates, 18 words, 2 directions
    assert cost._lstm_flop(cost._build(cost.TEXT_ENCODER, 'meta')) == lstm
    assert found.size == 32 and 0 < found.seconds < 5


def test_parameters_agree_with_the_paper():
    """The paper truncates to 0.1 million."""
    for row in TABLE_5:
        if row.method == 'FBCNN':
            pytest.importorskip('spandrel')
        nets = [cost._build(NETWORKS[row.method], 'meta')]
        if row.method == 'TGJAR':
            nets.append(cost._build(cost.TEXT_ENCODER, 'meta'))
        millions = sum(p.numel() for net in nets for p in net.parameters()) / 1e6
        assert int(millions * 10) / 10 == row.parameters, row.method


def test_attention_grows_with_the_square_of_the_pixels():
    small, large = count_flop('RNAN', 32), count_flop('RNAN', 64)
    assert 4 * small < large < 16 * small


def test_the_table(monkeypatch):
    costs = {name: Cost(10**7, 5 * 10**9, .0123, 64 if name == 'RNAN' else 256) for name in NETWORKS}

    def measured(name, size, device, time_size):
        if name == 'FBCNN':
            raise ImportError('needs spandrel')
        assert time_size == (64 if name == 'RNAN' else size)
        return costs[name]

    monkeypatch.setattr(cost, 'measure_cost', measured)
    table = cost.cost_table(256, 'cpu', False, lambda items, _: items)
    cells = {line[0]: line[1:] for line in table.cells}
    assert cells['EDSR'] == ['10.00', '5.0', '0.0123', '19.4', '0.178']
    assert cells['RNAN'][2] == '0.0123 at 64x64' and cells['FBCNN'][:3] == ['–'] * 3
    assert cells['TGJAR (generator + text encoder)'][3:] == ['6.9', '0.087']
    text = table.markdown()
    assert 'needs spandrel' in text and '--slow' in text and 'Machine: ' in text and torch.__version__ in text


def test_digits():
    assert [cost._digits(s) for s in (.0871, .698, 2.9, 23.14, 312.4)] == ['0.0871', '0.698', '2.90', '23.1', '312']


def test_the_random_state_is_left_alone():
    state = torch.get_rng_state()
    measure_cost('TGJAR', 16, repeats=1)
    assert torch.equal(state, torch.get_rng_state())
