"""`tgjar evaluate --figure`: the right images, columns, scores and captions reach the figures."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.test_evaluate_methods import captions_of, write_tiny
from tgjar_arch.cli import evaluate
from tgjar_arch.evaluation import figure_files
from tgjar_arch.evaluation.figure_files import choose_images
from tgjar_arch.figures.zoom import read_zoom, read_zooms

FAST = ['--quiet', '--device', 'cpu', '--metrics', 'psnr', 'ab_error']


def run(*arguments):
    return evaluate.main([str(argument) for argument in arguments])


@pytest.fixture
def setup(photos, tmp_path):
    """Arguments for three photographs, a folder as one method and a tiny network as another."""
    root = photos(size=64, folder='set')
    (tmp_path / 'done').mkdir()
    for path in root.glob('*.png'):
        Image.open(path).rotate(180).save(tmp_path / 'done' / path.name)
    weights = write_tiny(tmp_path / 'w.safetensors', captions_of(root))
    return [root, '--method', f'TGJAR={weights}', '--method', 'JPEG', '--method', f'Turned@1={tmp_path / "done"}', '-o',
            tmp_path / 'out', *FAST]


@pytest.fixture
def drawn(monkeypatch):
    """What the two drawing functions are called with; they draw all the same."""
    calls = []

    def record(function):
        def call(*args, **kwargs):
            calls.append((args, kwargs))
            function(*args, **kwargs)
        return call

    for name in ('draw_comparison', 'draw_captions'):
        monkeypatch.setattr(figure_files, name, record(getattr(figure_files, name)))
    return calls


def test_images_are_chosen_by_name_or_number():
    names = ['a/x', 'b/x', 'b/y.1', '7']
    assert choose_images(['a/x', 'y.1', 'b/x.webp', 'y.1.png', '7.png'], names) == ['a/x', 'b/y.1', 'b/x', '7']
    assert choose_images(['2'], names) == ['a/x', 'b/y.1'] and choose_images(['99'], names) == names
    assert choose_images(['7'], names) == ['7']  # an image of that name is meant
    with pytest.raises(ValueError, match='--figure x names 2 images, among them a/x, b/x; write one with its folder'):
        choose_images(['x'], names)
    with pytest.raises(ValueError, match=r'--figure parrots is none of the 1 images .* such as parrot\.'):
        choose_images(['parrots'], ['parrot'])
    with pytest.raises(ValueError, match='--figure 0'):
        choose_images(['0'], names)


def test_zoom_is_read():
    assert read_zoom(['auto']) == 'auto' and read_zoom(['none']) is None
    assert read_zoom(['1', '2', '30', '40']) == (1, 2, 30, 40)
    for texts in (['1', '2'], ['-1', '2', '3', '4'], ['none', 'none']):
        with pytest.raises(ValueError, match='--zoom .*: write auto, none, or left, top'):
            read_zoom(texts)


def test_zooms_are_read():
    assert read_zooms(['auto']) == ['auto'] and read_zooms(['none']) == [None]
    assert read_zooms(['1', '2', '3', '4']) == [(1, 2, 3, 4)]
    assert read_zooms(list('12345678')) == [(1, 2, 3, 4), (5, 6, 7, 8)]
    for texts in (list('12345'), ['auto', *'1234'], ['auto', *'1234567']):
        with pytest.raises(ValueError, match='--zoom .*: write auto, none, or left, top'):
            read_zooms(texts)


def test_each_image_has_its_window(setup, drawn):
    assert run(*setup, '--figure', 'coffee', 'chelsea', '--zoom', *'1 2 30 20 10 11 12 13'.split()) == 0
    assert [row.zoom for row in drawn[0][0][0]] == [(1, 2, 30, 20), (10, 11, 12, 13)]
    assert run(*setup, '--figure', 'coffee', 'chelsea', '--zoom', *'1 2 30 20'.split()) == 0
    assert [row.zoom for row in drawn[2][0][0]] == [(1, 2, 30, 20)] * 2


def test_a_column_with_wrong_captions_shows_them(setup, drawn, tmp_path):
    assert run(*setup, '--figure', 'coffee', '--caption-rows', 'right', 'wrong', 'none') == 0
    row, = drawn[0][0][0]
    with Image.open(tmp_path / 'out' / 'restored' / 'TGJAR_wrong_captions' / 'qf1' / 'coffee.png') as image:
        wrong = image.info['caption']
    assert wrong and wrong != row.caption
    assert row.notes['TGJAR, wrong captions'].endswith(f'\n“{wrong}”')
    assert not any('“' in row.notes[title] for title in ('TGJAR', 'TGJAR, no captions', 'Turned'))


def test_comparison(setup, drawn, tmp_path, capsys):
    assert run(*setup, '--qf', 1, 10, '--figure', 'coffee', 'chelsea', '--caption-rows', 'right', 'none') == 0
    out = tmp_path / 'out'
    printed = capsys.readouterr().out
    for qf in (1, 10):
        for suffix in ('png', 'pdf'):
            file = out / f'figure_qf{qf}.{suffix}'
            assert file.is_file() and str(file) in printed
    (rows, _), _ = drawn[0]
    assert [(row.caption, row.zoom) for row in rows] == [('a white cup of coffee on a saucer', 'auto'),
                                                        ('a brown cat with green eyes', 'auto')]
    # The original and the JPEG first, what takes text last, in the order it was given
    assert list(rows[0].images) == ['Original', 'JPEG (QF 1)', 'Turned', 'TGJAR', 'TGJAR, no captions']
    original = np.asarray(Image.open(setup[0] / 'coffee.png'))
    assert np.array_equal(rows[0].images['Original'], original)
    assert np.array_equal(rows[0].images['Turned'], original[::-1, ::-1])
    restored = np.asarray(Image.open(out / 'restored' / 'TGJAR' / 'qf1' / 'coffee.png'))
    assert np.array_equal(rows[0].images['TGJAR'], restored)

    def psnr(title):
        return 10 * np.log10(255**2 / np.mean((rows[0].images[title] - original.astype(float))**2))

    notes = rows[0].notes
    assert notes['Original'] == 'PSNR ↑' and set(notes) == set(rows[0].images)
    for title in ('JPEG (QF 1)', 'TGJAR'):
        assert float(notes[title]) == pytest.approx(psnr(title), abs=.006)
    # At another quality factor the folder has nothing
    assert [list(row.images)[:3] for row in drawn[2][0][0]] == [['Original', 'JPEG (QF 10)', 'TGJAR']] * 2


def test_a_method_without_the_picture_leaves_its_place_empty(setup, drawn, tmp_path):
    (tmp_path / 'done' / 'coffee.png').unlink()
    Image.new('RGB', (20, 64)).save(tmp_path / 'done' / 'chelsea.png')
    assert run(*setup, '--figure', 3, '--zoom', 'none') == 1
    rows = drawn[0][0][0]
    assert [('Turned' in row.images) for row in rows] == [True, False, False] and {row.zoom for row in rows} == {None}


def test_captions(setup, drawn, tmp_path):
    texts = ['a red cup', 'a blue cup', '']
    assert run(*setup, '--figure', 'coffee.png', '--captions', *texts, '--caption-rows', 'right', 'wrong') == 0
    assert {path.name for path in (tmp_path / 'out').glob('*figure*')} == {
        'captions_figure_TGJAR_qf1.png', 'captions_figure_TGJAR_qf1.pdf'}
    (jpeg, results, _, original, zoom), keys = drawn[0]
    assert [text for text, _ in results] == texts and zoom is None and keys == {'title': 'JPEG (QF 1)'}
    assert np.array_equal(original, np.asarray(Image.open(setup[0] / 'coffee.png')))
    from tgjar_arch.restoration.restorer import Restorer

    restorer = Restorer.from_pretrained(tmp_path / 'w.safetensors', 'cpu')
    for text, image in results:
        assert np.array_equal(image, restorer(np.ascontiguousarray(jpeg), text))
    assert not np.array_equal(results[0][1], results[2][1])


@pytest.mark.parametrize('arguments, message', [
    (['--figure', 'dog'], '--figure dog is none of the 3 images'),
    (['--figure', '2', '--captions', 'a'], '--captions are for one image, but --figure names 2'),
    (['--figure', '1', '--zoom', '0', '0', '65', '8'], '--zoom 0 0 65 8 does not lie inside astronaut, which is'),
    (['--figure', '3', '--zoom', *'00880088'], '--zoom names 2 windows, but --figure 3 images; give one'),
    (['--figure', '2', '--zoom', *'0088', '60', '0', '8', '8'], '--zoom 60 0 8 8 does not lie inside chelsea, which'),
    (['--figure', '1', '--zoom', '0', '0', '0', '8'], '--zoom 0 0 0 8 does not lie inside'),
    (['--figure', '1', '--captions', 'a', '--method', 'JPEG'], 'none of the methods restores here by captions'),
])
def test_mistakes_are_found_before_anything_is_restored(setup, arguments, message, capsys, tmp_path):
    if '--method' in arguments:
        setup = [setup[0], *setup[7:]]
    assert run(*setup, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out' / 'restored').exists() and not (tmp_path / 'out' / 'scores.csv').exists()


def test_without_matplotlib_the_command_is_named(setup, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    assert run(*setup, '--figure', '1') == 2
    assert "pip install 'tgjar[plot]'" in capsys.readouterr().err and not (tmp_path / 'out').exists()
    assert run(*setup) == 0  # tables need none


def test_images_without_captions(setup, drawn, tmp_path):
    lines = [json.loads(line) for line in (setup[0] / 'metadata.jsonl').read_text().splitlines()]
    (setup[0] / 'metadata.jsonl').write_text(''.join(json.dumps(line | {'captions': []}) + '\n' for line in lines))
    assert run(*setup, '--figure', '1') == 0
    assert drawn[0][0][0][0].caption == '' and (tmp_path / 'out' / 'figure_qf1.png').is_file()
