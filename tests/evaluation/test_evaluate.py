"""`tgjar evaluate` as a whole, on three small photographs."""

import csv
import hashlib
import os
import re

import numpy as np
import pytest
from basicsr.utils.registry import METRIC_REGISTRY
from PIL import Image

from tests.evaluation.test_evaluate_methods import captions_of, write_tiny
from tgjar_arch.cli import evaluate
from tgjar_arch.evaluation import measures, scores
from tgjar_arch.evaluation.choices import DEFAULT_METRICS, METRICS
from tgjar_arch.evaluation.measures import Measure, ab_error, build_measures
from tgjar_arch.evaluation.scores import ScoreFile
from tgjar_arch.jpeg.codec import compress

SIZE = 200  # NIQE needs 192 in one direction
FAST = ['--quiet', '--device', 'cpu', '--metrics', 'psnr', 'ab_error']


def rows(path):
    with open(path, encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def run(*arguments):
    return evaluate.main([str(argument) for argument in arguments])


def bgr(path):
    return np.ascontiguousarray(np.asarray(Image.open(path))[..., ::-1])


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b)**2))


@pytest.fixture
def cub(photos):
    return photos(size=48, folder='cub/test')


def test_names_that_are_no_utf_8_and_odd_entries(photos, tmp_path, log):
    folder, out = photos(size=48, folder='set', count=2), tmp_path / 'out'
    name = os.fsdecode(b'\xff\xfe\xe9')
    (folder / f'{name}.png').write_bytes(next(folder.glob('*.png')).read_bytes())
    os.mkfifo(folder / 'pipe.png')
    for count in (1, 2):  # the second run reads what the first has written
        assert run(folder, '--method', 'JPEG', '--qf', 5, '-o', out, '--metrics', 'psnr') == 0
        assert log.text.count(f'{folder / "pipe.png"} is a named pipe; it is left out') == count
    with open(out / 'scores.csv', encoding='utf-8', errors='surrogateescape', newline='') as file:
        assert len(list(csv.DictReader(file))) == 3
    assert b'\xff\xfe\xe9' in (out / 'scores.csv').read_bytes()


def test_tables_of_two_methods(cub, tmp_path, capsys):
    weights, out = write_tiny(tmp_path / 'w.safetensors', captions_of(cub)), tmp_path / 'out'
    arguments = [cub, '--method', 'JPEG', '--method', f'TGJAR={weights}', '--qf', 1, 10, '--caption-rows', 'right',
                 'wrong', '-o', out, *FAST]
    assert run(*arguments) == 0
    table = rows(out / 'table.csv')
    measured = {(int(row['qf']), row['method']): row for row in table if row['source'] == 'measured'}
    assert list(measured) == [(qf, name) for qf in (1, 10) for name in ('JPEG', 'TGJAR', 'TGJAR, wrong captions')]
    assert {row['method'] for row in table if row['source'] == 'paper'} == {'JPEG', 'EDSR', 'RNAN', 'QGCN', 'FBCNN',
                                                                            'TGJAR'}
    originals = {path.stem: bgr(path) for path in sorted(cub.glob('*.png'))}
    by_hand = [psnr(compress(image, 10), image) for image in originals.values()]
    assert float(measured[10, 'JPEG']['psnr']) == pytest.approx(np.mean(by_hand), abs=1e-4)
    assert measured[10, 'JPEG']['images'] == '3'
    ours = [psnr(bgr(out / 'restored' / 'TGJAR' / 'qf1' / f'{name}.png'), image) for name, image in originals.items()]
    assert float(measured[1, 'TGJAR']['psnr']) == pytest.approx(np.mean(ours), abs=1e-4)

    text = (out / 'tables.md').read_text(encoding='utf-8')
    for part in ('PSNR ↑', 'a*b* error ↓', '(form of Table 2)', 'JPEG (paper, CUB', 'Images: 3 of', 'CIELAB',
                 '± ', '**', "Right captions against another image's", f'weights of {weights}'):
        assert part in text, part
    printed = capsys.readouterr()
    assert text in printed.out and f'{out}/captions_wrong.csv' in printed.out and 'left out' not in printed.err
    gains = {(row['qf'], row['metric']): row for row in rows(out / 'captions_wrong.csv')}
    difference = float(measured[1, 'TGJAR']['psnr']) - float(measured[1, 'TGJAR, wrong captions']['psnr'])
    assert float(gains['1', 'psnr']['gain']) == pytest.approx(difference, abs=1e-9)


def test_a_second_run_computes_only_what_is_missing(cub, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    assert run(cub, '--max-images', 2, '-o', out, *FAST) == 0
    first = {row['image']: row for row in rows(out / 'scores.csv')}
    asked = []

    def counted(restored, original):
        asked.append(1)
        return 7.5

    monkeypatch.setitem(measures._KNOWN, 'psnr', ('PSNR', True, 2, lambda: ("BasicSR's, RGB, no border", counted)))
    monkeypatch.setitem(measures._KNOWN, 'ab_error', ('a*b*', False, 2, lambda: ('another definition', counted)))
    assert run(cub, '-o', out, *FAST) == 0
    second = {row['image']: row for row in rows(out / 'scores.csv')}
    assert len(first) == 2 and len(second) == 3 and len(asked) == 1 + 3  # a new image; all of the changed metric
    column = next(key for key in first['astronaut'] if key.startswith('psnr'))
    assert all(second[name][column] == row[column] for name, row in first.items())

    image = Image.open(cub / 'astronaut.png')
    image.rotate(90).save(cub / 'astronaut.png')  # another original: its scores count no longer
    asked.clear()
    assert run(cub, '-o', out, *FAST) == 0
    assert len(asked) == 2


def test_bad_files_are_listed_and_the_rest_is_evaluated(cub, tmp_path, capsys):
    """One bad file of each kind, in both folders."""
    done = tmp_path / 'done'
    for path in sorted(cub.glob('*.png')):
        for k in range(4):
            Image.open(path).save(cub / f'{path.stem}{k}.png')
    for path in sorted(cub.glob('*.png')):
        (done / path.name).parent.mkdir(exist_ok=True)
        Image.fromarray(compress(bgr(path), 5)[..., ::-1]).save(done / path.name)
    originals = sorted(cub.glob('*.png'))
    good = len(originals) - 4 - 4
    originals[0].write_bytes(b'')
    originals[1].write_bytes(originals[1].read_bytes()[:-900])
    Image.open(originals[2]).convert('L').save(originals[2])
    originals[3].unlink()
    Image.open(done / originals[4].name).convert('CMYK').save(originals[3].with_suffix('.jpg'))
    (done / originals[4].name).write_bytes(b'text')
    Image.open(done / originals[5].name).resize((40, 48)).save(done / originals[5].name)
    (done / originals[6].name).unlink()
    Image.fromarray(np.full((48, 48), 30000, np.uint16)).save(done / originals[7].name)

    assert run(cub, '--method', f'Done={done}', '-o', tmp_path / 'out', *FAST) == 1
    error = capsys.readouterr().err
    for text in (f'{originals[0]} is empty', f'{originals[1]} is truncated', f'{originals[2]} is a grey image',
                 f'{originals[3].with_suffix(".jpg")} is a CMYK image', f'{done / originals[4].name} is trunc',
                 'the picture is 40x48, but the original after the crop 256 is 48x48',
                 f'has no picture of {originals[6].stem}', f'{done / originals[7].name} is a 16-bit image'):
        assert error.count(text) == 1, text
    assert '8 left out' in error
    table = rows(tmp_path / 'out' / 'table.csv')
    assert table[0]['images'] == str(good) and 15 < float(table[0]['psnr']) < 25
    assert '8-bit RGB' in (tmp_path / 'out' / 'tables.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('arguments, message', [
    (lambda t: [t / 'nowhere'], 'there is no folder'),
    (lambda t: [t / 'empty'], 'there is no image'),
    (lambda t: [t / 'photos', '--method', 'X'], 'write JPEG'),
    (lambda t: [t / 'photos', '--device', 'gpu7'], 'gpu7 cannot be used here'),
    (lambda t: [t / 'photos', '-o', t / 'photos' / 'chelsea.png' / 'out', '--metrics', 'psnr'],
     'chelsea.png/out (Not a directory); name another with -o'),
    (lambda t: [t / 'photos', '--metrics', 'lpips'], 'LPIPS cannot be computed here'),
    (lambda t: [t / 'photos', '--method', f'X={t / "empty"}'], 'there is no image'),
])
def test_what_cannot_start_says_why(photos, tmp_path, capsys, monkeypatch, arguments, message):
    photos()
    (tmp_path / 'empty').mkdir()
    monkeypatch.setenv('TGJAR_LPIPS_ALEX', str(tmp_path / 'no.npz'))
    root, *options = arguments(tmp_path)
    assert run(root, '-o', tmp_path / 'out', '--quiet', '--metrics', 'psnr', *options) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count('\n') == 1 and not printed.out
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('arguments, message', [
    (['--qf', '0'], "argument --qf: must be a whole number from 1 to 100, but is '0'"),
    (['--crop', '-1'], "argument --crop: must be a number of pixels, or 0 for whole images, but is '-1'"),
    (['--max-images', '0'], "argument --max-images: must be a whole number from 1 up, but is '0'"),
    (['-o', 'photos/chelsea.png'], 'the output photos/chelsea.png is a file'),
    (['--zoom', 'auto'], '--zoom belongs to a figure'),
    (['--captions', 'a bird'], '--captions belongs to a figure'),
    (['--figure', '1', '--zoom', 'near'], '--zoom near: write auto, none, or left, top'),
])
def test_wrong_arguments(photos, tmp_path, capsys, monkeypatch, arguments, message):
    photos()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='2'):
        evaluate.main(['photos', *arguments])
    assert message in capsys.readouterr().err


def test_the_metrics_that_can_be_named_are_those_there_are():
    assert tuple(measures._KNOWN) == METRICS and set(DEFAULT_METRICS) < set(METRICS)


def test_default_metrics_without_weights_are_left_out(monkeypatch, tmp_path):
    def no_torchmetrics(name):
        raise ImportError('FID needs\ntorchmetrics')

    monkeypatch.setenv('TGJAR_LPIPS_ALEX', str(tmp_path / 'no_lpips'))
    monkeypatch.setenv('TGJAR_NRQM', str(tmp_path / 'no_pi'))
    monkeypatch.setattr(measures, 'build_set_metric', no_torchmetrics)
    found, left_out = build_measures()
    assert [measure.name for measure in found] == ['psnr', 'ssim', 'niqe', 'ab_error']
    assert [line.split()[0] for line in left_out] == ['LPIPS', 'FID', 'PI']
    assert 'no_lpips' in left_out[0] and 'FID needs torchmetrics' in left_out[1]
    assert set(DEFAULT_METRICS) - {measure.name for measure in found} == {'lpips', 'fid', 'pi'}
    with pytest.raises(ValueError, match='FID cannot be computed here'):
        build_measures(['fid'])


def test_metrics_of_basicsr(photos, tmp_path):
    root = photos(size=SIZE, count=2)
    assert run(root, '--metrics', 'ssim', 'niqe', '--qf', 10, '-o', tmp_path / 'out', '--quiet') == 0
    from basicsr.metrics import calculate_niqe, calculate_ssim
    table, = rows(tmp_path / 'out' / 'table.csv')
    pictures = [(compress(bgr(path), 10), bgr(path)) for path in sorted(root.glob('*.png'))]
    assert float(table['ssim']) == pytest.approx(np.mean([calculate_ssim(a, b, 0) for a, b in pictures]))
    assert float(table['niqe']) == pytest.approx(np.mean([calculate_niqe(a, 0) for a, _ in pictures]))


@pytest.mark.parametrize('size', [(95, 200), (191, 191), (9, 15)])
def test_niqe_says_what_it_needs(size):
    (measure,), _ = build_measures(['niqe'])
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=f'96 pixels each way and 192 in one, but the picture is {size[1]}x{size[0]}'):
        measure.score(image, image)
    assert measure.score(np.random.default_rng(0).integers(0, 256, (96, 192, 3), dtype=np.uint8), image) > 0


def test_the_table_says_what_ma_was_computed_by(monkeypatch, tmp_path):
    pytest.importorskip('pyiqa')
    (tmp_path / 'NRQM_model.mat').write_bytes(b'weights')
    monkeypatch.setenv('TGJAR_NRQM', str(tmp_path / 'NRQM_model.mat'))
    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_ma', lambda img, crop_border: 5.)
    (measure,), _ = build_measures(['ma'])
    digest = hashlib.sha256(b'weights').hexdigest()[:8]
    assert re.fullmatch(rf'Ma of pyiqa [\d.]+, NRQM_model.mat \(sha256 {digest}\)', measure.source)


class Constant:
    """A metric of a whole set that counts what it is given."""

    made = 0

    def __init__(self):
        type(self).made += 1
        self.differences = []

    def update(self, restored, original):
        self.differences.append(np.abs(restored.astype(float) - original).mean())

    def compute(self):
        return sum(self.differences)


def test_a_metric_of_the_whole_set(cub, tmp_path, monkeypatch):
    monkeypatch.setitem(measures._KNOWN, 'fid', ('FID', False, 1, lambda: ('by hand', None)))
    monkeypatch.setattr(scores, 'build_set_metric', lambda name: Constant())
    arguments = [cub, '--metrics', 'psnr', 'fid', '-o', tmp_path / 'out', '--quiet', '--qf', 5]
    assert run(*arguments) == 0
    originals = [bgr(path) for path in sorted(cub.glob('*.png'))]
    expected = sum(np.abs(compress(image, 5).astype(float) - image).mean() for image in originals)
    row = rows(tmp_path / 'out' / 'table.csv')[0]
    assert float(row['fid']) == pytest.approx(expected) and row['fid_low'] == ''
    assert 'none for FID' in (tmp_path / 'out' / 'tables.md').read_text(encoding='utf-8')
    made = Constant.made
    assert run(*arguments) == 0 and Constant.made == made  # kept in set_scores.csv
    assert run(*arguments, '--max-images', 2) == 0 and Constant.made == made + 1


def test_ab_error_sees_colour_and_not_lightness():
    grey = np.full((8, 8, 3), 100, np.uint8)
    lighter = np.full((8, 8, 3), 140, np.uint8)
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255
    assert ab_error(grey, lighter) == pytest.approx(0, abs=.05)
    assert ab_error(red, np.zeros_like(red)) == pytest.approx(np.hypot(80.09, 67.20), abs=.1)  # sRGB red in CIELAB
    frame = np.zeros_like(red)
    frame[2:6, 2:6] = red[2:6, 2:6]
    assert ab_error(frame, red, centre=True) == 0 and ab_error(frame, red) > 70


def test_a_metric_that_fails_for_one_image_leaves_the_rest(cub, tmp_path, monkeypatch, capsys):
    def picky(restored, original):
        if len(seen) == 1:
            seen.append(1)
            raise RuntimeError('too\nsmall')
        seen.append(1)
        return 3.

    seen = []
    monkeypatch.setitem(measures._KNOWN, 'niqe', ('NIQE', False, 2, lambda: ('by hand', picky)))
    assert run(cub, '--metrics', 'psnr', 'niqe', '-o', tmp_path / 'out', '--quiet') == 1
    row = rows(tmp_path / 'out' / 'table.csv')[0]
    assert row['niqe'] == '3.0' and row['images'] == '3'
    assert '3.00 ± 0.00 (2 images)' in (tmp_path / 'out' / 'tables.md').read_text(encoding='utf-8')
    assert 'JPEG, QF 1, chelsea, NIQE: left out of the mean: too small.' in capsys.readouterr().err


def test_kodak_is_measured_whole(photos, tmp_path):
    for folder, size in (('kodak', '264x264'), ('others', '256x256')):
        root = photos(size=264, count=1, captions=False, folder=folder)
        (tmp_path / 'done').mkdir(exist_ok=True)
        Image.new('RGB', (8, 8)).save(tmp_path / 'done' / 'astronaut.png')
        run(root, '--method', 'JPEG', '--method', f'X={tmp_path / "done"}', '-o', tmp_path / folder / 'out', *FAST)
        assert size in (tmp_path / folder / 'out' / 'tables.md').read_text(encoding='utf-8')


def test_a_file_of_scores_that_is_none(tmp_path):
    measure = Measure('psnr', 'PSNR', True, 2, 'x', lambda a, b: 0.)
    (tmp_path / 'scores.csv').write_text('a,b\n1,2\n')
    with pytest.raises(ValueError, match='scores.csv is no file of scores'):
        ScoreFile(tmp_path / 'scores.csv', [measure])


def test_scores_survive_text_editors(tmp_path):
    measure = Measure('psnr', 'PSNR', True, 2, 'x', lambda a, b: 0.)
    file = ScoreFile(tmp_path / 'scores.csv', [measure])
    for name, value in (('a', 1 / 3), ('b, "c"', 2.)):
        file.put(('M', 1, name), 'psnr', 'hash', value)
    file.save()
    text = (tmp_path / 'scores.csv').read_text()
    again = ScoreFile(tmp_path / 'scores.csv', [measure])
    assert again.get(('M', 1, 'a'), 'psnr', 'hash') == 1 / 3 and again.get(('M', 1, 'b, "c"'), 'psnr', 'hash') == 2
    assert again.get(('M', 1, 'a'), 'psnr', 'other pixels') is None
    (tmp_path / 'scores.csv').write_text(text.rpartition(',')[0])  # the last line cut short
    cut = ScoreFile(tmp_path / 'scores.csv', [measure])
    assert cut.get(('M', 1, 'a'), 'psnr', 'hash') == 1 / 3 and cut.get(('M', 1, 'b, "c"'), 'psnr', 'hash') is None


def test_scores_of_names_that_are_formulas(tmp_path):
    """A spreadsheet computes none of them, and they are found again."""
    measure = Measure('psnr', 'PSNR', True, 2, 'x', lambda a, b: 0.)
    file = ScoreFile(tmp_path / 'scores.csv', [measure])
    names = ['=HYPERLINK("http://h/x","y")', '+1', "'=1", '@a', '-x', 'plain']
    for k, name in enumerate(names):
        file.put((f'={k}', 1, name), 'psnr', 'hash', -float(k))
    file.save()
    with open(tmp_path / 'scores.csv', encoding='utf-8', newline='') as opened:
        rows_as_read = list(csv.DictReader(opened))
    assert not [row for row in rows_as_read if row['image'][0] in '=@-' or row['method'][0] == '=']
    assert [row[column] for row in rows_as_read for column in row if column.startswith('psnr')][1] == '-1.0'
    for _ in range(2):
        file = ScoreFile(tmp_path / 'scores.csv', [measure])
        assert [file.get((f'={k}', 1, name), 'psnr', 'hash') for k, name in enumerate(names)] == [
            -float(k) for k in range(len(names))]
        file.save()


def test_table_5_alone(tmp_path, monkeypatch, capsys):
    from tgjar_arch.evaluation import cost
    monkeypatch.setattr(cost, 'NETWORKS', {'TGJAR': cost.NETWORKS['TGJAR']})
    assert run('--table5', 16, '-o', tmp_path / 'out', '--quiet') == 0
    row, = rows(tmp_path / 'out' / 'table5.csv')
    assert row['method'] == 'TGJAR' and row['parameters'] == '6930503' and row['paper_parameters_m'] == '6.9'
    assert 'Machine: ' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run('-o', tmp_path / 'out')
    assert 'name the folder of the originals' in capsys.readouterr().err
