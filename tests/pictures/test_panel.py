import numpy as np
import pytest

from tgjar_arch.pictures.panel import draw_panel


def picture(value, size=(20, 30)):
    return np.full((*size, 3), value, np.uint8)


def test_every_image_stands_in_its_column():
    panel = np.asarray(draw_panel([('a bird', (picture(10), picture(200)))], ('left', 'right')))
    # Flat patches of the two values, left before right, side by side
    columns = [np.flatnonzero((panel == value).all(2).sum(0) >= 20) for value in (10, 200)]
    assert [len(column) for column in columns] == [30, 30]
    assert columns[0].max() < columns[1].min()


def test_captions_and_titles_are_written():
    def ink(*arguments):
        return (np.asarray(draw_panel(*arguments)) < 128).sum()

    rows = [('', (picture(255),))]
    assert ink([('a small yellow bird', (picture(255),))], ('',)) > ink(rows, ('',)) == 0
    assert ink(rows, ('restored',)) > 0


def test_sizes_may_differ_and_large_ones_are_reduced():
    rows = [('x', (picture(0, (400, 200)), picture(0, (40, 60)))), ('y', (picture(0), picture(0)))]
    panel = draw_panel(rows, ('a', 'b'), cell=100)
    assert panel.width < 200 and panel.height < 300


@pytest.mark.parametrize('caption', ['word ' * 3000, '🦜', 'a' * 500])
def test_any_caption_fits(caption):
    panel = draw_panel([(caption, (picture(0),))], ('a',))
    assert panel.width == 46 and panel.height < 150


def test_errors_name_the_row():
    with pytest.raises(ValueError, match='at least one row'):
        draw_panel([], ('a',))
    with pytest.raises(ValueError, match="'parrot' has 1 images for 2 columns"):
        draw_panel([('parrot', (picture(0),))], ('a', 'b'))
