"""The figures of benchmarks/choose.py: interpolation, resuming, and tables from a tiny model."""

import argparse
import json

import numpy as np
import pytest

from benchmarks import choose
from tests.helpers.tiny_restorer import write_tiny_weights
from tgjar_arch.evaluation.measures import Measure
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.restoration.restorer import Restorer


def rung(size, value):
    return {'bytes': size, 'scores': {'psnr': value}}


@pytest.mark.parametrize('size, value', [(100, 20), (150, 21), (175, 21.5), (200, 22), (300, 25), (90, 20), (999, 25)])
def test_the_ladder_is_linear_in_bytes_between_qualities(size, value):
    assert choose.at_size([rung(100, 20), rung(200, 22), rung(300, 25)], size, 'psnr') == pytest.approx(value)


def test_a_quality_that_costs_nothing_takes_the_place_of_the_lower_one():
    ladder = [rung(100, 20), rung(100, 21), rung(200, 30), rung(190, 25)]
    assert choose.at_size(ladder, 100, 'psnr') == 21 and choose.at_size(ladder, 145, 'psnr') == 23


@pytest.fixture
def setup(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, 'lpips_for', lambda by, device: None)
    images = EvaluationSet(photos(size=48, count=2), crop=32)
    measures = [Measure('psnr', 'PSNR', True, 2, '', lambda a, b: float(10 * np.log10(255**2 / np.mean(
        (a.astype(float) - b)**2)))), Measure('error', 'error', False, 3, '', lambda a, b: float(np.mean(a != b)))]
    options = argparse.Namespace(qf=[5], by=['psnr'], compose=True, caption_bytes=20, tolerance=0., shortlist=2,
                                 ladder=2, quiet=True, output=tmp_path / 'out')
    restorer = Restorer.from_pretrained(write_tiny_weights(tmp_path / 'tiny.safetensors'), 'cpu')
    return restorer, images, measures, options, {'words': ['red', 'blue', 'zyx']}


def test_rows_ladder_tables_and_picture(setup, tmp_path):
    restorer, images, measures, options, settings = setup
    found = choose.run(*setup)
    assert len(found[5]) == 2
    for name, image in zip(images.names, found[5], strict=True):
        rows, ladder = image['rows'], image['ladder']
        assert list(rows) == [choose.NONE, choose.FIRST, 'chosen by psnr', 'composed by psnr']
        assert rows[choose.FIRST]['caption'] == images.every_caption(name)[0]
        for row in rows.values():
            more = len(row['caption'].encode())
            assert row['bytes'] == ladder[0]['bytes'] + (more + 4 if more else 0)
        for row in list(rows.values())[2:]:
            assert len(row['caption']) <= 20 and row['scores']['psnr'] >= rows[choose.NONE]['scores']['psnr'] - 1e-3
        sizes = [rung['bytes'] for rung in ladder]
        assert len(sizes) >= 3 and max(sizes) >= max(row['bytes'] for row in rows.values())
    tables = choose.tables(found, measures)
    assert [table.name for table in tables] == [
        f'{name}_q5' for name in ('scores', 'over_none', 'over_first', 'as_jpeg', 'over_jpeg')]
    over_none, as_jpeg, over_jpeg = ({row[0]: float(row[2].split()[0]) for row in tables[k].cells} for k in (1, 3, 4))
    for row in over_none:
        assert over_none[row] - as_jpeg[row] == pytest.approx(over_jpeg[row], abs=.011)
    choose.draw(found, measures, tmp_path / 'out' / 'picture.png')
    assert (tmp_path / 'out' / 'picture.png').read_bytes().startswith(b'\x89PNG')


def test_an_interrupted_run_goes_on(setup, monkeypatch):
    choose.run(*setup)
    file = setup[3].output / 'scores.jsonl'
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(''.join(lines[:2]) + lines[2][:30])  # killed while it wrote
    measured = []
    measure = choose.measure_image
    monkeypatch.setattr(choose, 'measure_image', lambda *a: measured.append(a[2]) or measure(*a))
    found = choose.run(*setup)
    assert measured == [setup[1].names[1]] and file.read_text().splitlines(keepends=True) == lines
    assert found[5][0] == json.loads(lines[1])
    with pytest.raises(ValueError, match='a run with other settings; name another folder'):
        choose.run(*setup[:4], {'words': ['red']})
