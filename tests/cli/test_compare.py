"""`tgjar compare`: one picture for each caption, as `tgjar restore` makes it, in one figure; what is wrong is said."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers.photo_files import exif, picture, swapped_profile
from tests.restoration.test_attention import CAPTION, exported, weights  # noqa: F401  a fixture
from tgjar_arch.cli import compare, compare_run, main, restore
from tgjar_arch.pictures.write import to_srgb
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.weights.file import write_weights

CAPTIONS = ['a red bird', 'a black bird', '']


@pytest.fixture
def jpeg(tmp_path):
    picture(120, 88).save(tmp_path / 'bird.jpg', quality=5)
    return tmp_path / 'bird.jpg'


@pytest.fixture
def arguments(tmp_path, jpeg, weights):  # noqa: F811
    def make(*more, file=jpeg, captions=CAPTIONS, output='grid.png'):
        return [str(word) for word in (file, '-o', tmp_path / output, '--weights', weights, '--device', 'cpu', *more,
                                       '--captions', *captions)]

    return make


def places(sheet, image, scale):
    """Left upper corners where the image stands in the sheet, enlarged `scale` times."""
    big = np.asarray(image).repeat(scale, 0).repeat(scale, 1)
    height, width = big.shape[:2]
    found = np.argwhere((sheet[:sheet.shape[0] - height + 1, :sheet.shape[1] - width + 1] == big[0, 0]).all(2))
    return [(x, y) for y, x in found.tolist() if np.array_equal(sheet[y:y + height, x:x + width], big)]


def sheet_of(path):
    return np.asarray(Image.open(path).convert('RGB'))


def test_bytes_that_are_no_utf_8_do_not_count(arguments, capsys):
    assert compare.main(arguments(captions=['a red\udcff bird', 'a red bird'])) == 0
    assert 'from the first the others differ by 0.00' in capsys.readouterr().out


def test_each_caption_has_its_picture(tmp_path, jpeg, weights, arguments, capsys):  # noqa: F811
    picture(120, 88).save(tmp_path / 'original.png')
    assert compare.main(arguments('--original', tmp_path / 'original.png', '--text-strength', '3')) == 0
    out, err = capsys.readouterr()
    assert 'grid.png: 3 pictures; from the first the others differ by ' in out and err == ''
    sheet = sheet_of(tmp_path / 'grid.png')
    restorer = Restorer.from_pretrained(weights, 'cpu')
    pixels = np.asarray(Image.open(jpeg))
    columns = [picture(120, 88), pixels, *(restorer(pixels, caption, text_strength=3) for caption in CAPTIONS)]
    assert not np.array_equal(columns[2], columns[3]) and not np.array_equal(columns[2], columns[4])
    # The red frame of the window (auto, because there is an original) covers pixels: the lower rows are free of it.
    corners = [places(sheet, np.asarray(image)[:4], 2) for image in columns]
    assert all(len(found) == 1 for found in corners)
    lefts = [found[0][0] for found in corners]
    assert lefts == sorted(lefts) and len({found[0][1] for found in corners}) == 1
    means = [float(word) for word in out.partition('differ by ')[2].partition(' of')[0].split(', ')]
    expected = [np.abs(columns[k].astype(int) - columns[2]).mean() for k in (3, 4)]
    assert means == pytest.approx(expected, abs=.006)


def test_pictures_are_those_of_restore_turned_and_in_srgb(tmp_path, weights, arguments):  # noqa: F811
    file = tmp_path / 'turned.jpg'
    picture(120, 88).save(file, quality=5, exif=exif(8), icc_profile=swapped_profile())
    assert compare.main(arguments(file=file, captions=['a red bird'])) == 0
    assert restore.main([str(file), '-o', str(tmp_path / 'a.png'), '--weights', str(weights), '--caption', 'a red bird',
                         '--device', 'cpu', '--quiet']) == 0
    with Image.open(tmp_path / 'a.png') as restored:
        assert restored.size == (88, 120)
        expected = to_srgb(np.asarray(restored), restored.info['icc_profile'])
        assert not np.array_equal(expected, np.asarray(restored))
    assert len(places(sheet_of(tmp_path / 'grid.png'), expected, 3)) == 1


def test_pdf_and_a_window(tmp_path, arguments, capsys):
    assert compare.main(arguments('--zoom', 16, 8, 40, 24, output='x/grid.pdf')) == 0
    assert (tmp_path / 'x' / 'grid.pdf').read_bytes().startswith(b'%PDF')
    assert [path.name for path in (tmp_path / 'x').iterdir()] == ['grid.pdf']
    assert compare.main(arguments('--zoom', 16, 8, 40, 24)) == 0 and compare.main(arguments(output='plain.png')) == 0
    assert sheet_of(tmp_path / 'grid.png').shape[0] > sheet_of(tmp_path / 'plain.png').shape[0] + 100


@pytest.mark.parametrize('more, changed, message', [
    ([], {'file': 'nowhere.jpg'}, 'nowhere.jpg'),
    ([], {'output': 'grid.gif'}, "written as .png or .pdf, not as '.gif'"),
    ([], {'output': 'bird.png'}, 'bird.png is already there; --overwrite replaces it'),
    (['--overwrite'], {'output': 'bird.png', 'file': 'bird.png'}, 'would be replaced by the figure'),
    ([], {'output': 'folder.png'}, 'folder.png is a folder'),
    ([], {'file': 'broken.jpg'}, 'broken.jpg'),
    ([], {'file': 'folder.png'}, 'folder.png is a folder; name one picture of it'),
    (['--original', 'folder.png'], {}, 'folder.png is a folder; name one picture of it'),
    (['--zoom', 'auto'], {}, 'only the --original tells'),
    (['--zoom', '100', '0', '40', '24'], {}, '--zoom 100 0 40 24 does not lie inside'),
    (['--zoom', '1', '2'], {}, '--zoom 1 2: write auto, none, or left'),
    (['--original', 'bird.png'], {}, 'bird.png is 51 x 37, but'),
    (['--weights', 'no.safetensors'], {}, 'no.safetensors'),
    (['--device', 'abacus'], {}, "device 'abacus' cannot be used"),
    (['--max-pixels', '100'], {}, 'bird.jpg'),
])
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, jpeg, arguments, capsys, monkeypatch, more, changed,
                                                  message):
    monkeypatch.chdir(tmp_path)
    picture().save(tmp_path / 'bird.png')
    (tmp_path / 'broken.jpg').write_bytes(jpeg.read_bytes()[:300])
    (tmp_path / 'folder.png').mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    assert compare.main(arguments(*more, **changed)) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.startswith('tgjar compare: ') and message in err and err.count('\n') == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()} == before


def test_networks_without_text_and_strength_0_are_refused(tmp_path, arguments, capsys):
    write_weights(tmp_path / 'none.safetensors', exported(use_global_fusion=False, use_local_fusion=False))
    words = arguments()
    words[words.index('--weights') + 1] = str(tmp_path / 'none.safetensors')
    assert compare.main(words) == 2
    assert 'takes no captions, and all pictures would be equal' in capsys.readouterr().err
    with pytest.raises(SystemExit, match='2'):
        compare.main(arguments('--text-strength', '0'))
    assert 'all pictures would be equal' in capsys.readouterr().err


def test_what_should_be_known_is_said(tmp_path, arguments, capsys):
    picture(64, 48).save(tmp_path / 'good.jpg', quality=90)
    assert main.main(['compare', *arguments(file=tmp_path / 'good.jpg', captions=['ein Papagei', CAPTION])]) == 0
    err = capsys.readouterr().err
    assert '"ein Papagei" has no known word' in err and f'"{CAPTION}" is cut to its first 6 known words' in err
    assert 'good.jpg is JPEG quality 90' in err and 'may harm it' in err


def test_too_much_for_a_figure_is_refused_before_restoring(tmp_path, arguments, capsys, monkeypatch):
    monkeypatch.setattr(compare_run, 'SHEET_PIXELS', 4 * 120 * 88 - 1)
    monkeypatch.setattr(Restorer, '__call__', lambda *_, **__: pytest.fail('restored'))
    assert compare.main(arguments()) == 2
    assert '4 of it are more than the 42,239 pixels' in capsys.readouterr().err
