import random

import cv2
import numpy as np
import pytest

from benchmarks.colour_swap import COLOURS, colour_shift, read_cases, run, swap_colour


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((32, 32, 3), colour, np.uint8)


def test_one_colour_word_is_swapped_wherever_it_stands():
    swapped, old, new = swap_colour('A Red bird, red all over; redder than coloured', random.Random(0))
    assert old == 'red' and new in set(COLOURS) - {'red'}
    assert swapped == f'A {new} bird, {new} all over; redder than coloured'


@pytest.mark.parametrize('caption', ['a bird', 'a red and blue bird', 'a black bird', ''])
def test_captions_with_no_colour_or_several_are_left_out(caption):
    assert swap_colour(caption, random.Random(0)) is None


def test_shift_is_the_distance_between_the_two_colours_and_changes_sign():
    forth = colour_shift(plain(COLOURS['red']), plain(COLOURS['blue']), 'red', 'blue')
    assert forth > 60
    assert colour_shift(plain(COLOURS['blue']), plain(COLOURS['red']), 'red', 'blue') == pytest.approx(-forth)
    assert colour_shift(plain((9, 9, 9)), plain((200, 200, 200)), 'red', 'blue') == pytest.approx(0, abs=0.1)


def test_a_model_that_obeys_moves_and_one_that_does_not_stays(tmp_path):
    for k, word in enumerate(('red', 'yellow', 'bird')):
        cv2.imwrite(str(tmp_path / f'{k}.png'), np.random.default_rng(k).integers(0, 255, (32, 32, 3), dtype=np.uint8))
        (tmp_path / f'{k}.txt').write_text(f'a {word} thing', 'utf-8')
    cases = read_cases(tmp_path, 5, seed=0)
    assert len(cases) == 2

    def obeys(image, caption):
        return plain(next(COLOURS[word] for word in COLOURS if word in caption.split()))

    shifts, rows = run(obeys, cases, qf=10, quiet=True)
    assert (shifts > 30).all() and len(rows) == 2
    assert (run(lambda image, caption: image, cases, qf=10, quiet=True)[0] == 0).all()
    for path in tmp_path.glob('*.txt'):
        path.write_text('a thing', 'utf-8')
    with pytest.raises(SystemExit, match='no caption names exactly one'):
        read_cases(tmp_path, 5, seed=0)
