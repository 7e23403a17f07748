"""Recolouring of a training image together with its caption."""

import json
import random
import re

import cv2
import numpy as np
import pytest

from tests.helpers.photo_set import pixels
from tgjar_arch.datasets.paired_image_text_dataset import PairedImageTextDataset
from tgjar_arch.datasets.recolour import COLOURS, centre_weight, membership, recolour
from tgjar_arch.jpeg.codec import compress
from tgjar_arch.text.word_tokenizer import WordTokenizer

TYPICAL = {'red': (50, 45, 32), 'orange': (62, 25, 45), 'yellow': (80, 0, 45), 'green': (50, -25, 25),
           'blue': (45, 0, -32), 'purple': (40, 25, -25), 'pink': (75, 28, 3), 'brown': (35, 9, 20),
           'white': (84, 0, 0), 'grey': (55, 0, 0), 'gray': (55, 0, 0), 'black': (18, 0, 0)}  # L*, a*, b*


def bird(word: str, size: int = 96, background: tuple = (60, -12, -12)) -> np.ndarray:
    """A disc of a named colour before a teal ground, (H, W, 3) uint8 BGR."""
    lab = np.empty((size, size, 3), dtype=np.float32)
    lab[:] = background
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    lab[np.hypot(x, y) < 0.22 * size] = TYPICAL[word]
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2BGR) * 255, 0, 255).round().astype(np.uint8)


def to_lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2Lab)


def word_of(caption: str) -> str:
    return re.search(rf'\b({"|".join(COLOURS)})\b', caption)[1]


@pytest.mark.parametrize('word', COLOURS)
def test_a_typical_colour_is_of_its_own_name(word):
    lab = np.array([[TYPICAL[word]]], dtype=np.float32)
    assert membership(lab, COLOURS[word])[0, 0] > 0.9
    opposite = {'red': 'green', 'orange': 'blue', 'yellow': 'blue', 'green': 'red', 'blue': 'orange', 'purple': 'green',
                'pink': 'green', 'brown': 'blue', 'white': 'black', 'grey': 'red', 'gray': 'red', 'black': 'white'}
    assert membership(lab, COLOURS[opposite[word]])[0, 0] == 0


@pytest.mark.parametrize('word', COLOURS)
def test_picture_shows_what_the_new_caption_says(word):
    image = bird(word)
    seen = set()
    for seed in range(30):
        new, caption = recolour(image, f'this bird is {word} all over', centre_weight(96, 96), random.Random(seed))
        assert re.sub(word_of(caption), word, caption) == f'this bird is {word} all over'
        colour = COLOURS[word_of(caption)]
        # No longer the old colour: not from white to grey, nor from brown to orange, which are one picture.
        assert membership(to_lab(new), COLOURS[word])[40:56, 40:56].max() < 0.5
        seen.add(word_of(caption))
        light, a, b = to_lab(new)[48, 48]
        assert abs(light - TYPICAL[word][0]) < 6  # but for what the gamut clips
        if colour.hue is None:
            assert np.hypot(a, b) < 0.3 * max(np.hypot(*TYPICAL[word][1:]), 10)
        else:
            assert np.hypot(a, b) > 4
            away = abs((np.degrees(np.arctan2(b, a)) - colour.hue + 180) % 360 - 180)
            assert away < 35, (caption, a, b)  # the gamut turns it, too
        # Nothing else changes: neither the ground nor lightness.
        assert np.abs(new[:8].astype(int) - image[:8]).max() <= 1
    assert len(seen) > 2


def test_what_is_not_there_is_not_recoloured():
    weight, rng = centre_weight(96, 96), random.Random(0)
    assert recolour(bird('red'), 'a small bird', weight, rng) is None
    assert recolour(bird('red'), 'a yellow bird', weight, rng) is None
    assert recolour(bird('red'), 'a bird with a red beak', weight, rng) is None
    assert recolour(bird('red'), 'a bird with red and black webbed feet', weight, rng) is None
    assert recolour(bird('red'), 'a red bird', 0 * weight, rng) is None
    assert recolour(bird('red'), 'red crown, black beak', weight, rng)
    assert recolour(bird('red'), 'its feet are red', weight, rng) is None
    assert recolour(bird('red'), 'the bill that is bright red', weight, rng) is None
    assert recolour(bird('red'), 'a red iridescent head', weight, rng)
    assert recolour(bird('red'), 'its eyes are black, the crown red', weight, rng)
    assert recolour(bird('red'), 'a red bird', weight, rng, known={'orange', 'brown'}) is None
    assert recolour(bird('red'), 'a red bird', weight, rng, known={'green', 'orange'})[1] == 'a green bird'
    assert recolour(bird('red'), 'a reddish, unscarred bird', weight, rng) is None
    new, caption = recolour(bird('red'), 'Red belly, red beak, RED head.', weight, rng)
    word = word_of(caption)
    assert caption == f'{word} belly, red beak, {word} head.'


def test_the_article_goes_with_the_word():
    weight, rng = centre_weight(96, 96), random.Random(0)
    _, caption = recolour(bird('blue'), 'A blue  bird, a dark blue back, an odd blue head', weight, rng, {'orange'})
    assert caption == 'An orange  bird, a dark orange back, an odd orange head'
    _, caption = recolour(bird('orange'), 'an orange bird, Lena orange', weight, rng, {'blue'})
    assert caption == 'a blue bird, Lena blue'


def test_image_is_not_changed_in_place():
    image = bird('red')
    before = image.copy()
    assert recolour(image, 'a red bird', centre_weight(96, 96), random.Random(0))
    assert np.array_equal(image, before)


def test_weight_is_of_the_middle():
    weight = centre_weight(60, 100)
    assert weight.shape == (60, 100) and weight.dtype == np.float32
    assert weight[30, 50] == 1 and weight[30, 0] == weight[0, 50] == weight[30, 99] == 0
    assert np.array_equal(weight, weight[::-1, ::-1])


@pytest.fixture
def options(tmp_path):
    """Options of a training set of one red bird, a little off the middle, in a frame of another image's size."""
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    image[:] = (120, 110, 40)
    image[12:108, 32:128] = bird('red')
    cv2.imwrite(str(tmp_path / 'bird.png'), image)
    captions = ['a red bird', 'the red belly of a bird', 'some bird']
    (tmp_path / 'metadata.jsonl').write_text(json.dumps({'file_name': 'bird.png', 'captions': captions}))
    tokenizer = WordTokenizer.build([*captions, ' '.join(COLOURS)])
    tokenizer.save(tmp_path / 'tokenizer.json')
    return {'phase': 'train', 'dataroot_gt': str(tmp_path), 'tokenizer': str(tmp_path / 'tokenizer.json'),
            'max_words': 8, 'qf': 5, 'gt_size': 96, 'recolour': 1.0}


def test_dataset_recolours_image_caption_and_jpeg_alike(options):
    random.seed(0)
    dataset = PairedImageTextDataset(options)
    words = []
    for _ in range(40):
        item = dataset[0]
        gt = pixels(item['gt'])
        assert np.array_equal(pixels(item['lq']), compress(gt, item['qf']))
        assert item['text'][item['text_mask']].tolist() == dataset.tokenizer.encode(item['caption'])
        red = membership(to_lab(gt), COLOURS['red']).mean()
        if item['caption'] == 'some bird':
            assert red > 0.05
        else:
            words.append(word_of(item['caption']))
            near = {'orange', 'brown', 'pink', 'white', 'grey', 'gray', 'black'}  # the neutral ones keep a trace
            assert words[-1] != 'red' and (red < 0.02 or words[-1] in near)
    assert len(set(words)) > 3


def test_dataset_recolours_only_to_words_of_the_vocabulary(options, tmp_path, log):
    random.seed(0)
    WordTokenizer.build(['a red bird some belly of the', 'green']).save(tmp_path / 'tokenizer.json')
    dataset = PairedImageTextDataset(options)
    named = {caption for caption in (dataset[0]['caption'] for _ in range(40)) if caption != 'some bird'}
    assert named == {'a green bird', 'the green belly of a bird'}
    assert not any('unknown word' in message for message in log.messages)  # no caption has one


def test_dataset_recolours_only_in_training_and_as_often_as_told(options):
    random.seed(0)
    half = PairedImageTextDataset(options | {'recolour': 0.5})
    captions = [half[0]['caption'] for _ in range(300)]
    named = [caption for caption in captions if caption != 'some bird']
    assert 0.4 < np.mean(['red' not in caption for caption in named]) < 0.6
    assert PairedImageTextDataset(options | {'phase': 'val'})[0]['caption'] == 'a red bird'
    dropped = PairedImageTextDataset(options | {'caption_drop': 1.0})[0]
    assert dropped['caption'] == '' and membership(to_lab(pixels(dropped['gt'])), COLOURS['red']).mean() > 0.05


@pytest.mark.parametrize(('changes', 'message'), [
    ({'recolour': 2}, 'recolour must be a probability from 0 to 1, but is 2'),
    ({'tokenizer': None}, 'recolour needs tokenizer; give that or drop it'),
    ({'tokenizer': None, 'qf': None}, 'recolour needs tokenizer and qf'),
])
def test_what_recolour_needs(options, changes, message):
    with pytest.raises(ValueError, match=message):
        PairedImageTextDataset(options | changes)
