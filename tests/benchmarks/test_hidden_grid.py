"""The benchmark hides grids where it says; see benchmarks/hidden_grid.py."""

import numpy as np
from PIL import Image
from skimage import data

from benchmarks import hidden_grid
from benchmarks.hidden_grid import CLEAN, HIDDEN, LATER, hide, main, photographs, run, save, step_ratio, tables


def test_the_grid_lies_at_the_offset():
    image = Image.fromarray(data.coffee()[:64, :80])
    compressed = np.asarray(save(image, 'JPEG 10'))
    assert np.array_equal(np.asarray(hide(image, 10, (0, 0), 'PNG')), compressed)
    hidden = np.asarray(hide(image, 10, (3, 6), 'PNG'))
    assert np.array_equal(hidden[3:, 6:], compressed[8:, 8:])


def test_wrong_offsets_are_counted():
    results = run([Image.fromarray(data.coffee()[100:300, 100:300])], quiet=True)
    assert set(results) == {(qf, later) for qf in HIDDEN for later in LATER}
    (_, found), = results[20, 'PNG']
    results[20, 'PNG'] = [((found.row, found.column), found), ((found.row ^ 1, 0), found), ((1, 1), None)]
    recall, error = tables(results, 'title')
    assert recall.cells[HIDDEN.index(20)][1] == '33 % (1 wrong)'
    assert error.cells[HIDDEN.index(20)][1] == '1.00 / 1.00'


def test_step_ratio():
    assert step_ratio(20, 20) == 1
    assert np.isclose(step_ratio(10, 40), step_ratio(40, 10)) and 3 < step_ratio(10, 40) < 4


def test_the_halves_have_no_photograph_in_common(tmp_path):
    for grey in range(10):
        Image.new('L', (4, 4), grey).save(tmp_path / f'{grey}.png')
    halves = [{image.getpixel((0, 0)) for image in photographs([tmp_path], 3, half)} for half in ('first', 'second')]
    assert len(halves[0]) == len(halves[1]) == 3 and not halves[0] & halves[1]


def test_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(hidden_grid, 'HIDDEN', (10,))
    Image.fromarray(data.coffee()[100:260, 100:260]).save(tmp_path / 'photo.png')
    assert main(['--data', str(tmp_path), '--half', 'first']) == 0
    printed = capsys.readouterr().out
    assert printed.count('##') == 5 and all(f'| {how}' in printed for how in CLEAN)
