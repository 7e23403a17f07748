"""The curve of the dial: its points are those of `tgjar evaluate`, and it is written as table and picture."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks import fidelity_dial
from tests.evaluation.test_evaluate_methods import captions_of, write_tiny
from tgjar_arch.evaluation.measures import Measure
from tgjar_arch.weights.file import read_weights, write_weights


@pytest.fixture
def quick(monkeypatch):
    """LPIPS would need weights."""
    def psnr(restored, original):
        return float(10 * np.log10(255 ** 2 / np.mean((restored.astype(float) - original) ** 2)))

    def distance(restored, original):
        return float(np.abs(restored.astype(float) - original).mean())

    measures = [Measure('psnr', 'PSNR', True, 2, 'one', psnr), Measure('lpips', 'LPIPS', False, 4, 'other', distance)]
    monkeypatch.setattr(fidelity_dial, 'build_measures', lambda names: (measures, []))


def test_curve(photos, quick, tmp_path, capsys):
    pytest.importorskip('matplotlib')
    root = photos(size=48)
    weights = write_tiny(tmp_path / 'w.safetensors', captions_of(root))
    true = read_weights(weights)
    write_weights(tmp_path / 'true.safetensors', replace(true, state_g={
        name: value + .1 if name == 'tail.bias' else value for name, value in true.state_g.items()}))
    arguments = ['--data', str(root), '--weights', str(weights), '--qf', '40', '5', '--fidelity', '0', '0.5', '1',
                 '--number', '2', '--crop', '32', '--method', 'NLM-3', '-o', str(tmp_path / 'out'), '--quiet']
    assert fidelity_dial.main(arguments) == 2
    assert 'no fidelity weights of w are shipped' in capsys.readouterr().err
    assert fidelity_dial.main([*arguments, '--fidelity-weights', str(tmp_path / 'true.safetensors')]) == 0
    said = capsys.readouterr().out
    assert 'fidelity 0.5' in said and 'NLM-3' in said and '2 images of' in said
    with open(tmp_path / 'out' / 'fidelity_dial.csv') as file:
        rows = list(csv.DictReader(file))
    assert [(row['qf'], row['fidelity']) for row in rows] == [
        (qf, fidelity) for qf in ('5', '40') for fidelity in ('', '', '0.0', '0.5', '1.0')]
    for of_quality in (rows[2:5], rows[7:]):  # a shift of all colours: the further, the worse
        values = [float(row['lpips']) for row in of_quality]
        assert values[0] < values[1] < values[2]
    with Image.open(tmp_path / 'out' / 'fidelity_dial.png') as image:
        assert image.format == 'PNG' and image.width > image.height
    assert len(list((tmp_path / 'out' / 'restored').iterdir())) == 4  # three fidelities and NLM
