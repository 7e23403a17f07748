"""`tgjar evaluate` compares like with like, and says where it does not."""

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.test_evaluate import FAST, bgr, rows, run
from tests.evaluation.test_evaluate_methods import captions_of, write_tiny
from tgjar_arch.cli import evaluate_run
from tgjar_arch.jpeg.codec import compress


@pytest.fixture
def cub_test(photos):
    return photos(size=48, folder='cub/test')


def test_methods_are_checked_before_metrics_are_loaded(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate_run, 'build_measures', lambda names: pytest.fail('the metrics were loaded first'))
    (tmp_path / 'w.safetensors').write_text('x')
    for path, message in (('no_such', 'there is no folder or file no_such'),
                          (tmp_path / 'w.safetensors', 'is no safetensors file')):
        assert run(photos(folder=f'set{len(message)}'), '--method', f'X={path}', '-o', tmp_path / 'out') == 2
        assert message in capsys.readouterr().err


def test_a_quality_that_the_weights_are_not_for_is_warned_of(cub_test, tmp_path, capsys):
    weights, out = write_tiny(tmp_path / 'w.safetensors', captions_of(cub_test)), tmp_path / 'out'
    assert run(cub_test, '--method', f'TGJAR={weights}', '--qf', 40, 41, '-o', out, *FAST) == 0
    line = 'TGJAR: w.safetensors is for JPEG quality up to 40, and is measured at 41 too'
    assert f'warning: {line}' in capsys.readouterr().err
    assert f'- {line}' in (out / 'tables.md').read_text(encoding='utf-8')


def test_pictures_of_other_images_are_marked(cub_test, tmp_path):
    pictures = {'A': ('astronaut', 'chelsea'), 'B': ('astronaut', 'coffee'), 'C': ('coffee', 'astronaut')}
    for name in pictures:
        for image in pictures[name]:
            (tmp_path / name).mkdir(exist_ok=True)
            restored = compress(bgr(cub_test / f'{image}.png'), 5)
            Image.fromarray(restored[..., ::-1]).save(tmp_path / name / f'{image}.png')
    methods = [text for name in 'ABC' for text in ('--method', f'{name}={tmp_path / name}')]
    assert run(cub_test, *methods, '-o', tmp_path / 'out', *FAST) == 1
    text = (tmp_path / 'out' / 'tables.md').read_text(encoding='utf-8')
    line, = {line for line in text.splitlines() if line.startswith('† QF 1') and 'a*b*' in line}
    assert 'A without 1 of the 2 and with 1 more than the 2 (PSNR, a*b* error)' in line
    marked = {row['method']: row['on_other_images'] for row in rows(tmp_path / 'out' / 'table.csv')}
    assert (marked['A'], marked['B'], marked['C']) == ('psnr ab_error', '', '')


def test_originals_are_those_of_this_run(cub_test, photos, tmp_path, capsys):
    photos(size=48, folder='cub/test/more')
    out, folder = tmp_path / 'out', tmp_path / 'out' / 'originals'
    assert run(cub_test, '--originals', '-o', out, *FAST) == 0
    assert len(list(folder.rglob('*.png'))) == 6 and (folder / 'more').is_dir()
    Image.new('RGB', (8, 8)).save(folder / 'mine.png')  # not written by the command
    (folder / 'notes.txt').write_text('mine')
    capsys.readouterr()
    assert run(cub_test, '--originals', '--max-images', 2, '--crop', 40, '-o', out, *FAST) == 0
    measured = {row['image'] for row in rows(out / 'scores.csv')}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob('*.*')}
    kept = there - {'mine.png', 'notes.txt'}
    assert len(kept) == 2 and {name.removesuffix('.png') for name in kept} <= measured and 'mine.png' in there
    assert all(np.array_equal(bgr(folder / name), bgr(cub_test / name)[4:44, 4:44]) for name in kept)
    assert f'{folder} has 1 files of others, such as mine.png; move them away' in capsys.readouterr().err
    assert (folder / 'more').is_dir() == any(name.startswith('more/') for name in kept)


def test_restored_pictures_of_earlier_runs_are_named(cub_test, tmp_path, capsys):
    weights, out = write_tiny(tmp_path / 'w.safetensors', captions_of(cub_test)), tmp_path / 'out'
    arguments = [cub_test, '--originals', '--method', f'TGJAR={weights}', '-o', out, *FAST]
    assert run(*arguments) == 0 and 'warning' not in capsys.readouterr().err
    assert run(*arguments, '--max-images', 1) == 0
    assert f'{out / "restored" / "TGJAR" / "qf1"} has 2 pictures of earlier runs' in capsys.readouterr().err
    assert len(list((out / 'restored').rglob('*.png'))) == 3  # they are kept for the next run


def test_training_images_have_no_figures_of_the_paper(photos, tmp_path):
    for part, count in (('train', 0), ('test', 6)):
        assert run(photos(size=48, folder=f'cub/{part}'), '-o', tmp_path / part, *FAST) == 0
        assert sum(row['source'] == 'paper' for row in rows(tmp_path / part / 'table.csv')) == count
