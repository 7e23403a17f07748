"""Figures: pixels stay what they are, the zoom shows the worst place, every caption is drawn, files are whole."""

import re
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tgjar_arch.figures import canvas as canvas_module
from tgjar_arch.figures.canvas import open_canvas
from tgjar_arch.figures.comparison import FigureRow, different_words, draw_captions, draw_comparison
from tgjar_arch.figures.zoom import zoom_window

RED = (200, 16, 46)


def noise(height, width, seed=0):
    """Pixels that neither paper, ink nor frame have."""
    return np.random.default_rng(seed).integers(60, 190, (height, width, 3), dtype=np.uint8)


def read(path):
    return np.asarray(Image.open(path).convert('RGB'))


def places(sheet, image, scale=1):
    """Left upper corners where the image stands in the sheet pixel by pixel."""
    big = image.repeat(scale, 0).repeat(scale, 1)
    height, width = big.shape[:2]
    found = np.argwhere((sheet[:sheet.shape[0] - height + 1, :sheet.shape[1] - width + 1] == big[0, 0]).all(2))
    return [(x, y) for y, x in found.tolist() if np.array_equal(sheet[y:y + height, x:x + width], big)]




def three(height=40, width=300, seed=0):
    return {title: noise(height, width, seed + k) for k, title in enumerate(('Original', 'JPEG (QF 1)', 'TGJAR'))}


def test_pictures_stand_in_their_columns_unchanged(tmp_path):
    rows = [FigureRow('a bird', three(), {'TGJAR': '.249 / 24.4'}), FigureRow('a flower', three(30, 300, 5))]
    draw_comparison(rows, tmp_path / 'figure.png', zoom=None)
    sheet = read(tmp_path / 'figure.png')
    corners = [[places(sheet, image) for image in row.images.values()] for row in rows]
    assert all(len(found) == 1 for row in corners for found in row)
    lefts = [[found[0][0] for found in row] for row in corners]
    tops = [[found[0][1] for found in row] for row in corners]
    assert lefts[0] == lefts[1] and np.all(np.diff(lefts[0]) > 300)
    assert len(set(tops[0])) == len(set(tops[1])) == 1 and tops[1][0] > tops[0][0] + 40


def test_small_images_are_enlarged_by_whole_numbers_and_odd_sizes_and_grey_are_centred(tmp_path):
    small, odd, grey = noise(23, 31, 1), noise(41, 97, 2), noise(20, 301, 3)[..., 0]
    draw_comparison([FigureRow('', {'a': image}) for image in (small, odd, grey)], tmp_path / 'x.png', zoom=None)
    sheet = read(tmp_path / 'x.png')
    middles = []
    for image, scale in ((small, 9), (odd, 3), (np.stack([grey] * 3, 2), 1)):
        (x, _), = places(sheet, image, scale)
        middles.append(x + scale * image.shape[1] / 2)
    assert max(middles) - min(middles) <= 1


def test_zoom_window_holds_the_largest_error():
    gt = noise(60, 90)
    jpeg = gt.copy()
    jpeg[5, 7] ^= 255  # one very wrong pixel, and a wrong block
    jpeg[33:43, 51:67] ^= 128
    x, y, width, height = zoom_window(gt, jpeg, (20, 12))
    assert (width, height) == (20, 12) and x <= 51 and x + 20 >= 67 and y <= 33 and y + 12 >= 43
    errors = ((gt.astype(float) - jpeg) ** 2).sum(2)
    sums = {(x, y): errors[y:y + 12, x:x + 20].sum() for y in range(49) for x in range(71)}
    assert sums[x, y] == max(sums.values())
    assert zoom_window(gt, jpeg, 500) == (0, 0, 90, 60)
    assert zoom_window(gt, gt, 8) == (0, 0, 8, 8)
    with pytest.raises(ValueError, match='the original is 90 x 60, but the JPEG image is 89 x 60'):
        zoom_window(gt, gt[:, 1:], 8)
    with pytest.raises(ValueError, match='1 pixel or more wide and high, but is 0 x 3'):
        zoom_window(gt, gt, (0, 3))


def test_zoom_is_framed_and_enlarged_without_blur(tmp_path):
    images = three(64, 256)
    draw_comparison([FigureRow('a bird', images)], tmp_path / 'x.png', zoom=(100, 20, 32, 16))
    sheet = read(tmp_path / 'x.png')
    for image in images.values():
        # Beside the frame the picture is unchanged, and so is what the frame encloses.
        (x, y), = places(sheet, image[:, :97])
        assert np.array_equal(sheet[y + 20:y + 36, x + 100:x + 132], image[20:36, 100:132])
        bars = [sheet[y + 18:y + 20, x + 98:x + 134], sheet[y + 36:y + 38, x + 98:x + 134],
                sheet[y + 18:y + 38, x + 98:x + 100], sheet[y + 18:y + 38, x + 132:x + 134]]
        assert all((bar == RED).all() for bar in bars)
        # Eight times as large; the frame covers the outermost pixels only.
        (left, top), = places(sheet, image[21:35, 101:131], 8)
        assert left == x + 8 and top > y + 64


def test_rows_have_windows_of_their_own(tmp_path):
    first, second = three(64, 256), three(64, 256, 5)
    draw_comparison([FigureRow('a', first, zoom=(100, 20, 32, 16)), FigureRow('b', second, zoom=None),
                     FigureRow('c', first)], tmp_path / 'x.png', zoom=(4, 4, 64, 32))
    sheet = read(tmp_path / 'x.png')
    for image in first.values():
        assert len(places(sheet, image[21:35, 101:131], 8)) == len(places(sheet, image[5:35, 5:67], 4)) == 1
    for image in second.values():
        assert places(sheet, image) and not places(sheet, image[5:35, 5:67], 4)
    with pytest.raises(ValueError, match="row 'a': the window x 250, y 0, 8 x 8 does not lie inside"):
        draw_comparison([FigureRow('a', first, zoom=(250, 0, 8, 8))], tmp_path / 'x.png')


def test_zoom_is_where_jpeg_lost_most_and_stays_inside_the_image(tmp_path):
    images = three(64, 256)
    images['JPEG (QF 1)'] = images['Original'].copy()
    images['JPEG (QF 1)'][60:, 250:] = 0
    images = {title: image for title, image in images.items() if title != 'TGJAR'}
    draw_comparison([FigureRow('a bird', images)], tmp_path / 'x.png')
    sheet = read(tmp_path / 'x.png')
    (x, y), _ = places(sheet, images['Original'][:20])  # the JPEG image begins alike
    red = np.argwhere((sheet[y:y + 64, x:x + 256] == RED).all(2))
    assert red.max(0).tolist() == [62, 254] and red.min(0).tolist() == [64 - 40 - 2, 256 - 64 - 2]  # a white rim
    assert (sheet[y + 23:y + 64, x + 255] == 255).all() and (sheet[y + 63, x + 191:x + 256] == 255).all()
    assert places(sheet, images['Original'][-39:-1, -63:-1], 4)


CAPTIONS = ['', ' \n', 'word ' * 3000, 'a' * 5000, 'a 🦜 with 👩🏽\u200d🚀 and ❤️', '青い鳥', 'طائر أزرق',
            r'costs $5 or $6_x, \alpha^2 & 50 %', 'tab\tand\x07bell']


@pytest.mark.parametrize('suffix', ['png', 'pdf'])
def test_any_caption_is_drawn(suffix, tmp_path, recwarn):
    images = [{'': noise(8, 256, seed)} for seed in range(len(CAPTIONS))]
    draw_comparison([FigureRow(*row) for row in zip(CAPTIONS, images, strict=True)], tmp_path / f'a.{suffix}')
    draw_captions(noise(8, 256), [(caption, noise(8, 256, seed)) for seed, caption in enumerate(CAPTIONS)],
                  tmp_path / f'b.{suffix}')
    assert not [str(w.message) for w in recwarn if 'lyph' in str(w.message)]  # each that is missing is replaced
    if suffix == 'png':
        sheet = read(tmp_path / 'a.png')
        assert sheet.shape[1] == 256 + 16 and (sheet[:, :4] == 255).all() and (sheet[:, -4:] == 255).all()
        tops = [places(sheet, image[''])[0][1] for image in images]
        inks = [(sheet[top - 45:top - 10] < 160).any(2).sum() for top in tops]
        assert min(inks) > 100 and inks[0] == inks[1]  # a line of text above each: `no caption` for a blank one
        assert max(np.diff(tops)) < 8 + 3 * 36 + 40 and tops[2] - tops[1] > tops[1] - tops[0] + 60  # 3 lines


def test_missing_characters_are_named_once(log):
    with open_canvas() as canvas:
        assert canvas.printable('a\n  😀 \U0001f99c\U0001f99c \ue000') in ('a 😀 □□', 'a 😀 \U0001f99c\U0001f99c')
        assert canvas.printable('é ζ →  ') == 'é ζ →'
        text = canvas.printable('\U0010ffff')  # no character at all
    assert text == '□' and 'no installed font has \U0010ffff (U+10FFFF)' in log.text


def test_captions_and_notes_leave_ink_where_they_belong(tmp_path):
    def ink(caption, notes):
        draw_comparison([FigureRow(caption, {'': noise(20, 256)}, notes)], tmp_path / 'x.png', zoom=None)
        sheet = read(tmp_path / 'x.png')
        (_, y), = places(sheet, noise(20, 256))
        return (sheet[:y] < 50).sum(), (sheet[y + 20:] < 50).sum()

    above, below = ink('a small yellow bird with black wings', {})
    assert above > 0 and below == 0
    assert ink('', {})[0] == 0  # `no caption` is grey
    assert ink('', {'': '.249 / 24.4'})[1] > 0


def test_notes_may_have_two_lines(tmp_path):
    image = noise(20, 256)
    heights = []
    for note in ('a b', 'a\nb', 'a\nb\nc'):
        draw_comparison([FigureRow('', {'': image}, {'': note})], tmp_path / 'x.png', zoom=None)
        heights.append(read(tmp_path / 'x.png').shape[0])
    assert heights[0] < heights[1] < heights[2] and heights[2] - heights[1] == heights[1] - heights[0]


def marked_words(*captions):
    return [''.join(char for char, mark in zip(text, marks, strict=True) if mark)
            for text, marks in zip(captions, different_words(captions), strict=True)]


def test_words_that_differ_stand_out(tmp_path):
    captions = ['an orange bird with a long beak', 'a blue bird, with a long beak', 'a bird with a long beak', '']
    marked = [''.join(char for char, mark in zip(text, marks, strict=True) if mark)
              for text, marks in zip(captions, different_words(captions), strict=True)]
    assert marked == ['orange', 'blue', '', '']
    assert not any(map(any, different_words(['a red bird', 'two purple flowers in the sun'])))
    assert different_words(['same words', 'same words']) == [[False] * 10] * 2
    # One of another kind does not hide what the others differ in; of many that differ the nearest counts.
    assert marked_words('a red bird sings', 'a blue bird sings', 'two people at the beach') == ['red', 'blue', '']
    assert marked_words('a red bird sings', 'a blue bird sings', 'a red fish sings', 'a red bird swims') == [
        'red', 'blue', 'fish', 'swims']

    def reds(second):
        draw_captions(noise(9, 256), [('a red bird sings', noise(9, 256, 1)), (second, noise(9, 256, 2))],
                      tmp_path / 'x.png')
        sheet = read(tmp_path / 'x.png')
        return (sheet == RED).all(2).sum()

    assert reds('a red bird sings') == 0 < reds('a blue bird sings')


def test_one_jpeg_and_its_captions(tmp_path):
    gt, jpeg, *results = (noise(30, 256, seed) for seed in range(5))
    captions = ['a red bird', 'a blue bird', '']
    draw_captions(jpeg, list(zip(captions, results, strict=True)), tmp_path / 'x.png', gt=gt)
    sheet = read(tmp_path / 'x.png')
    (corners,) = zip(*(places(sheet, image) for image in (gt, jpeg, *results)), strict=True)
    assert [x for x, _ in corners] == sorted(x for x, _ in corners) and len({y for _, y in corners}) == 1
    draw_captions(jpeg, list(zip(captions, results, strict=True)), tmp_path / 'y.png')
    assert not places(read(tmp_path / 'y.png'), gt) and places(read(tmp_path / 'y.png'), jpeg)
    with pytest.raises(ValueError, match='give gt, or a window'):
        draw_captions(jpeg, [('a', results[0])], tmp_path / 'z.png', zoom='auto')


@pytest.mark.parametrize('suffix', ['png', 'pdf'])
def test_the_same_figure_is_the_same_file_whatever_the_settings(suffix, tmp_path):
    rows = [FigureRow('a bird of $5', three(16, 64))]
    before = dict(matplotlib.rcParams)
    draw_comparison(rows, tmp_path / f'a.{suffix}')
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({'font.size': 30, 'text.usetex': True, 'savefig.bbox': 'tight', 'pdf.fonttype': 3}):
        draw_comparison(rows, tmp_path / f'b.{suffix}')
    assert (tmp_path / f'a.{suffix}').read_bytes() == (tmp_path / f'b.{suffix}').read_bytes()


def test_size_in_print(tmp_path):
    draw_comparison([FigureRow('a bird', three(64, 256))], tmp_path / 'x.png', dpi=600)
    draw_comparison([FigureRow('a bird', three(64, 256))], tmp_path / 'x.pdf', dpi=600)
    with Image.open(tmp_path / 'x.png') as image:
        assert image.info['dpi'] == pytest.approx((600, 600), abs=.1) and image.mode == 'RGB'
        width, height = image.size
    content = (tmp_path / 'x.pdf').read_bytes()
    box = [float(value) for value in re.search(rb'/MediaBox \[([^\]]+)\]', content).group(1).split()]
    assert box == pytest.approx([0, 0, width * 72 / 600, height * 72 / 600], abs=.01)
    assert b'/FontFile2' in content and b'/Type3' not in content  # letters, embedded as TrueType
    # Three pictures and their zooms with all their pixels: 64x40 four times as large is 256x160
    assert sorted(re.findall(rb'/Height (\d+)', content)) == [b'160'] * 3 + [b'64'] * 3
    assert re.findall(rb'/Width (\d+)', content) == [b'256'] * 6


def test_a_failed_figure_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / 'new' / 'x.png'
    draw_comparison([FigureRow('a bird', three())], path)
    before = path.read_bytes()

    def full(self, file, *args, **kwargs):
        file.write_bytes(b'half')
        raise OSError('no space left')

    monkeypatch.setattr(Image.Image, 'save', full)
    with pytest.raises(OSError, match='no space left'):
        draw_comparison([FigureRow('another', three())], path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ['x.png']


def test_errors_say_what_is_wrong(tmp_path, monkeypatch):
    path = tmp_path / 'x.png'
    image = noise(20, 30)
    row = FigureRow('parrot', {'Original': image, 'JPEG': image})
    with pytest.raises(ValueError, match='at least one row'):
        draw_comparison([], path)
    with pytest.raises(ValueError, match=r"x.gif: a figure is written as .png or .pdf, not as '.gif'"):
        draw_comparison([row], tmp_path / 'x.gif')
    with pytest.raises(ValueError, match="row 'parrot': 'JPEG' is 29 x 20, but 'Original' is 30 x 20"):
        draw_comparison([FigureRow('parrot', {'Original': image, 'JPEG': image[:, 1:]})], path)
    with pytest.raises(ValueError, match=r"row 'parrot', 'A' must be an image .* but is \(20, 30, 3\) float64"):
        draw_comparison([FigureRow('parrot', {'A': image / 255})], path)
    with pytest.raises(ValueError, match="row 'parrot' has no image"):
        draw_comparison([FigureRow('parrot', {})], path)
    with pytest.raises(ValueError, match=r"has notes for \['TGJAR'\], but no such images"):
        draw_comparison([FigureRow('parrot', {'JPEG': image}, {'TGJAR': '1'})], path)
    with pytest.raises(ValueError, match='the window x 20, y 0, 11 x 5 does not lie inside .* 30 x 20'):
        draw_comparison([row], path, zoom=(20, 0, 11, 5))
    with pytest.raises(ValueError, match='at least one caption'):
        draw_captions(image, [], path)
    with pytest.raises(ValueError, match='dpi must be 1 or more, but is 0'):
        draw_comparison([row], path, dpi=0)
    monkeypatch.setattr(canvas_module, 'MAX_PIXELS', 1000)
    with pytest.raises(ValueError, match=r'x.png: the figure would be \d+ x \d+ pixels, more than 1,000; crop'):
        draw_comparison([row], path)
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    with pytest.raises(ImportError, match=r"figures need matplotlib .*pip install 'tgjar\[plot\]'"):
        draw_comparison([row], path)
    assert not list(tmp_path.iterdir())
