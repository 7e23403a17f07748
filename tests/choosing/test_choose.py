"""Which caption is taken, from scores that a made-up judge gives."""

import pytest

from tgjar_arch.choosing.choose import choose_caption, pick
from tgjar_arch.choosing.compose import compose_caption
from tgjar_arch.choosing.judge import Trial
from tgjar_arch.choosing.nearness import Distance

GAIN = {'red': .03, 'bird': .02, 'wings': .01, 'sky': -.01, 'vogel': 0.}


class Judge:
    """Each word gains once; `none` has LPIPS .5 and 20 dB."""

    def __init__(self):
        self.asked = []
        self.none = self.trial('')

    @staticmethod
    def trial(caption):
        lpips = .5 - sum(GAIN.get(word, 0) for word in set(caption.split()))
        return Trial(caption, Distance(20., lpips), lpips)

    def __call__(self, captions, tell=None):
        self.asked.append(list(captions))
        if tell:
            tell(len(captions))
        return [self.trial(caption) for caption in captions]

    def distinct(self, words):
        return [word for word in dict.fromkeys(words) if word in GAIN and word != 'vogel']


@pytest.fixture
def judge():
    return Judge()


def test_the_best_is_taken_and_what_it_gains_is_said(judge):
    told = []
    choice = choose_caption(judge, ['a red bird', ' a  bird\n', 'a bird', 'sky', ''], tell=told.append)
    assert choice.chosen.caption == 'a red bird' and choice.chosen.size == 10
    assert judge.asked == [['a red bird', 'a bird', 'sky']] and sum(told) == choice.candidates == 3
    assert choice.gain_lpips == pytest.approx(.05) and choice.gain_db == 0


@pytest.mark.parametrize('captions', [[], [''], ['sky'], ['vogel'], ['🐦 zyx', 'vogel'], [' \n']])
def test_none_is_taken_where_nothing_gains(judge, captions):
    choice = choose_caption(judge, captions)
    assert choice.chosen.caption == '' and choice.chosen.size == 0 and choice.gain_lpips == 0


def test_of_equally_good_ones_the_shortest(judge):
    assert choose_caption(judge, ['red red', 'a red 🐦', 'red', 'the red']).chosen.caption == 'red'


@pytest.mark.parametrize('tolerance, caption', [
    (0, 'red bird wings'), (.011, 'red bird'), (.031, 'red'), (.049, 'bird'), (.059, 'bird'), (.061, '')])
def test_the_shortest_within_the_tolerance(judge, tolerance, caption):
    captions = ['red bird wings', 'red bird', 'red', 'bird']
    found = choose_caption(judge, captions, tolerance=tolerance).chosen.caption
    assert found == ('red' if caption == 'bird' else caption)  # shorter than "bird"


@pytest.mark.parametrize('budget, caption, too_long', [
    (None, 'red bird', 0), (8, 'red bird', 0), (7, 'bird', 2), (3, '', 3), (0, '', 3)])
def test_the_budget(judge, budget, caption, too_long):
    choice = choose_caption(judge, ['red bird', 'bird', 'sky 🐦'], budget)
    assert (choice.chosen.caption, choice.too_long) == (caption, too_long)


def test_the_budget_counts_bytes(judge):
    assert choose_caption(judge, ['red 🐦'], 7).chosen.caption == ''
    assert choose_caption(judge, ['red 🐦'], 8).chosen.caption == 'red 🐦'


def test_captions_that_would_not_be_read_back_are_left_out(judge):
    choice = choose_caption(judge, ['...', 'DSC_0001 red', 'IMG_0001', 'red'])
    assert (choice.unfit, choice.candidates) == (2, 2) and choice.chosen.caption == 'red'


@pytest.mark.parametrize('limits, message', [
    ({'max_bytes': -1}, 'max_bytes must be 0 or more'), ({'tolerance': -.1}, 'tolerance must be 0 or more'),
    ({'tolerance': float('nan')}, 'tolerance must be 0 or more')])
@pytest.mark.parametrize('decide', [choose_caption, compose_caption])
def test_negative_limits(judge, decide, limits, message):
    with pytest.raises(ValueError, match=message):
        decide(judge, ['red'], **limits)


def test_composing_adds_the_word_that_gains_most(judge):
    told = []
    choice = compose_caption(judge, ['sky', 'wings', 'bird', 'red', 'bird', 'zyx'], tell=told.append)
    assert choice.chosen.caption == 'red bird wings' and choice.gain_lpips == pytest.approx(.06)
    assert judge.asked == [['sky', 'wings', 'bird', 'red'], ['red bird', 'red wings', 'red sky'],
                           ['red bird wings', 'red bird sky'], ['red bird wings sky']]
    assert choice.candidates == sum(told) == 10


@pytest.mark.parametrize('budget, caption', [
    (13, 'red bird'), (8, 'red bird'), (7, 'red'), (3, 'red'), (2, ''), (0, '')])
def test_composing_stops_at_the_budget(judge, budget, caption):
    choice = compose_caption(judge, ['wings', 'bird', 'red'], budget)
    assert choice.chosen.caption == caption
    assert choice.too_long == {13: 0, 8: 0, 7: 0, 3: 2, 2: 3, 0: 3}[budget]


@pytest.mark.parametrize('words', [[], ['zyx', 'vogel'], ['sky'], ['...']])
def test_composing_of_nothing_that_gains(judge, words):
    assert compose_caption(judge, words).chosen.caption == ''


def test_a_word_must_gain_more_than_the_tolerance(judge):
    assert compose_caption(judge, list(GAIN), tolerance=.015).chosen.caption == 'red bird'
    assert compose_caption(judge, list(GAIN), tolerance=.5).chosen.caption == ''


def test_the_shortlist_is_what_did_best_alone(judge):
    assert compose_caption(judge, list(GAIN), shortlist=2).chosen.caption == 'red bird'
    assert judge.asked[1:] == [['red bird']]
    with pytest.raises(ValueError, match='shortlist must be 1 or more'):
        compose_caption(judge, ['red'], shortlist=0)


def test_pick_prefers_the_better_of_equally_short_ones():
    trials = [Trial(text, Distance(0, score), score) for text, score in (('', .5), ('aaa', .41), ('bbb', .4))]
    assert pick(trials, .05).caption == 'bbb' and pick(trials, .2).caption == ''
