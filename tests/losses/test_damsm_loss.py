"""The word and sentence loss: against AttnGAN's values, a loop over captions, and by their properties."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from basicsr.losses import build_loss
from torch import Tensor

from benchmarks.damsm_loss import looped_word_loss
from tgjar_arch import TextFeatures
from tgjar_arch.losses import damsm_loss
from tgjar_arch.losses.damsm_loss import DAMSMLoss, attention_maps, sentence_loss, word_loss

CLASS_IDS = torch.tensor([3, 7, 3, 1, 7])


def batch(lengths: tuple[int, ...] = (4, 1, 3, 2, 4), dim: int = 6, size: tuple[int, int] = (3, 4),
          dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, TextFeatures]:
    """Regions, globals and text of one sample a length; the features ask for gradients, padded words are not zero."""
    n, longest = len(lengths), max(*lengths, 1)
    regions = torch.randn(n, dim, *size, dtype=dtype, requires_grad=True)
    globals_ = torch.randn(n, dim, dtype=dtype, requires_grad=True)
    words = torch.randn(n, dim, longest, dtype=dtype, requires_grad=True)
    sentence = torch.randn(n, dim, dtype=dtype, requires_grad=True)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return regions, globals_, TextFeatures(words, sentence, mask)


def looped_sentence_loss(globals_: Tensor, sentence: Tensor, class_ids: Tensor | None) -> tuple[Tensor, Tensor]:
    """One pair after another."""
    n = len(globals_)
    scores = torch.stack([torch.stack([10 * F.cosine_similarity(image, text, dim=0) for text in sentence])
                          for image in globals_])
    losses = []
    for table in (scores, scores.t()):
        rows = []
        for i in range(n):
            candidates = [j for j in range(n) if class_ids is None or i == j or class_ids[i] != class_ids[j]]
            rows.append(table[i, candidates].logsumexp(0) - table[i, i])
        losses.append(torch.stack(rows).mean())
    return losses[0], losses[1]


@pytest.mark.parametrize('class_mask', [False, True])
def test_parity_with_attngan(shared: Path, class_mask: bool) -> None:
    data = {key: torch.from_numpy(value) for key, value in np.load(shared / 'parity' / 'damsm.npz').items()}
    inputs = [data[key].requires_grad_() for key in ('regions', 'globals', 'words', 'sentence')]
    regions, globals_, words, sentence = inputs
    mask = torch.arange(words.shape[2]) < data['lengths'][:, None]
    class_ids, suffix = (data['class_ids'], '_class') if class_mask else (None, '')
    terms = DAMSMLoss().terms(regions, globals_, TextFeatures(words, sentence, mask), class_ids)
    for term, key in zip(terms.values(), ('w0', 'w1', 's0', 's1'), strict=True):
        torch.testing.assert_close(term, data[key + suffix], rtol=1e-5, atol=0)
    sum(terms.values()).backward()
    for tensor, name in zip(inputs, ('regions', 'global', 'words', 'sentence'), strict=True):
        expected = data[f'grad_{name}{suffix}']
        torch.testing.assert_close(tensor.grad, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    maps = attention_maps(regions, words, mask)
    torch.testing.assert_close(maps[:1], data['attention_pair0'], rtol=1e-4, atol=0)


@pytest.mark.parametrize('class_ids', [None, CLASS_IDS])
@pytest.mark.parametrize('images_at_once', [0, 2, 5])
def test_word_loss_equals_the_loop(class_ids: Tensor | None, images_at_once: int,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    regions, _, text = batch(dtype=torch.float64)
    monkeypatch.setitem(damsm_loss.CHUNK, 'cpu', images_at_once * 5 * 4 * 12)  # captions, words, regions
    options = {'gamma1': 3.0, 'gamma2': 2.0, 'gamma3': 5.0}
    ours = word_loss(regions, text.words, text.mask, class_ids, **options)
    theirs = looped_word_loss(regions, text.words, text.mask, class_ids, **options)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss[0] + 2 * loss[1], (regions, text.words)) for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('class_ids', [None, CLASS_IDS])
def test_sentence_loss_equals_the_loop(class_ids: Tensor | None) -> None:
    _, globals_, text = batch(dtype=torch.float64)
    ours = sentence_loss(globals_, text.sentence, class_ids)
    theirs = looped_sentence_loss(globals_, text.sentence, class_ids)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss[0] + 2 * loss[1], (globals_, text.sentence)) for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('class_ids', [None, CLASS_IDS])
def test_gradcheck(class_ids: Tensor | None) -> None:
    regions, globals_, text = batch((2, 1, 0, 2, 1), dim=2, size=(1, 3), dtype=torch.float64)

    def loss(regions: Tensor, globals_: Tensor, words: Tensor, sentence: Tensor) -> Tensor:
        return DAMSMLoss(loss_weight=0.5)(regions, globals_, TextFeatures(words, sentence, text.mask), class_ids)

    assert torch.autograd.gradcheck(loss, (regions, globals_, text.words, text.sentence))


def test_values_by_hand() -> None:
    """One region: the context is that region whatever the attention, so R = log(exp(5 cos) + ...) per word."""
    regions = torch.tensor([[1., 0.], [0., 2.]])[:, :, None, None]
    words = torch.tensor([[[3., 0.], [0., 1.]], [[0., 9.], [1., 9.]]])  # right, up | up, padding
    mask = torch.tensor([[True, True], [True, False]])
    scores = 10 * torch.tensor([[math.log(math.exp(5) + 1), 0.], [math.log(1 + math.exp(5)), 5.]])
    expected = -scores.log_softmax(1).diagonal().mean(), -scores.log_softmax(0).diagonal().mean()
    torch.testing.assert_close(word_loss(regions, words, mask), expected)
    globals_, sentence = torch.tensor([[2., 0.], [0., 1.]]), torch.tensor([[3., 3.], [0., 5.]])
    half = math.sqrt(0.5)
    scores = 10 * torch.tensor([[half, 0.], [half, 1.]])
    expected = -scores.log_softmax(1).diagonal().mean(), -scores.log_softmax(0).diagonal().mean()
    torch.testing.assert_close(sentence_loss(globals_, sentence), expected)


def test_class_adds_the_four_terms() -> None:
    regions, globals_, text = batch()
    loss = build_loss({'type': 'DAMSMLoss', 'loss_weight': 0.25, 'gamma1': 3.0, 'gamma2': 2.0, 'gamma3': 5.0})
    expected = (*word_loss(regions, text.words, text.mask, CLASS_IDS, 3, 2, 5),
                *sentence_loss(globals_, text.sentence, CLASS_IDS, 5))
    value = loss(regions, globals_, text, CLASS_IDS)
    assert value.shape == ()
    torch.testing.assert_close(value, 0.25 * sum(expected))
    terms = loss.terms(regions, globals_, text, CLASS_IDS)
    assert list(terms) == ['word_i2t', 'word_t2i', 'sentence_i2t', 'sentence_t2i']
    assert tuple(terms.values()) == expected


def test_matching_pairs_have_a_small_loss() -> None:
    """Regions that show exactly the words: near 0; with captions shifted by one: far from it."""
    words = torch.eye(6)[:, :, None] * 20  # one word a caption, orthogonal
    regions = words.unsqueeze(3).expand(-1, -1, 2, 2)
    mask = torch.ones(6, 1, dtype=torch.bool)
    loss = DAMSMLoss()
    right = loss(regions, words[:, :, 0], TextFeatures(words, words[:, :, 0], mask))
    wrong = loss(regions, words[:, :, 0], TextFeatures(words.roll(1, 0), words[:, :, 0].roll(1, 0), mask))
    assert right < 1e-3
    assert wrong > 100


def test_permuting_the_batch_changes_nothing() -> None:
    regions, globals_, text = batch()
    order = torch.tensor([3, 0, 4, 2, 1])
    loss = DAMSMLoss()
    permuted = TextFeatures(*(tensor[order] for tensor in text))
    torch.testing.assert_close(loss(regions[order], globals_[order], permuted, CLASS_IDS[order]),
                               loss(regions, globals_, text, CLASS_IDS))


@pytest.mark.parametrize('rubbish', [1e30, math.inf, math.nan])
def test_padded_words_never_change_the_result(rubbish: float) -> None:
    regions, globals_, text = batch()
    loss = DAMSMLoss()
    clean = loss(regions, globals_, text, CLASS_IDS)
    expected = torch.autograd.grad(clean, (regions, globals_, text.sentence))
    words = text.words.detach().clone()
    words.transpose(1, 2)[~text.mask] = rubbish
    words.requires_grad_()
    dirty = loss(regions, globals_, text._replace(words=words), CLASS_IDS)
    assert torch.equal(dirty, clean)
    *gradients, of_words = torch.autograd.grad(dirty, (regions, globals_, text.sentence, words))
    torch.testing.assert_close(gradients, list(expected), rtol=0, atol=0)
    assert of_words.isfinite().all()
    assert of_words.transpose(1, 2)[~text.mask].abs().max() == 0
    assert (of_words.abs().sum(1)[text.mask] > 0).all()


def test_longer_padding_changes_nothing() -> None:
    regions, _, text = batch()
    words, mask = F.pad(text.words, (0, 3), value=7.0), F.pad(text.mask, (0, 3))
    torch.testing.assert_close(word_loss(regions, words, mask), word_loss(regions, text.words, text.mask))


def test_sample_without_words_takes_no_part() -> None:
    """Also when its features are not finite: nothing is known about a caption that is not there."""
    regions, globals_, text = batch((4, 0, 3, 2, 0))
    kept = torch.tensor([0, 2, 3])
    loss = DAMSMLoss()
    words, sentence = text.words.detach().clone(), text.sentence.detach().clone()
    words[1], sentence[4] = math.nan, math.inf
    text = TextFeatures(words.requires_grad_(), sentence.requires_grad_(), text.mask)
    value = loss(regions, globals_, text, CLASS_IDS)
    torch.testing.assert_close(
        value, loss(regions[kept], globals_[kept], TextFeatures(*(tensor[kept] for tensor in text)), CLASS_IDS[kept]))
    for gradient in torch.autograd.grad(value, (regions, globals_, words, sentence)):
        assert gradient.isfinite().all()
        assert gradient[[1, 4]].abs().max() == 0
        assert (gradient[kept].flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize(('lengths', 'class_ids'), [
    ((3,), None),  # a batch of one
    ((0, 0, 0), None),  # no captions at all
    ((0, 2, 0), None),  # one caption
    ((3, 1, 2), torch.tensor([5, 5, 5])),  # one class
])
def test_rows_with_one_candidate_have_loss_0(lengths: tuple[int, ...], class_ids: Tensor | None) -> None:
    regions, globals_, text = batch(lengths)
    loss = DAMSMLoss()(regions, globals_, text, class_ids)
    assert loss.item() == 0
    loss.backward()
    for tensor in (regions, globals_, text.words, text.sentence):
        assert tensor.grad.abs().max() == 0  # NaN would fail as well


def test_some_rows_with_one_candidate_are_finite() -> None:
    regions, globals_, text = batch((1, 1, 2))
    class_ids = torch.tensor([5, 5, 6])  # the first two see only the third, which sees both
    loss = DAMSMLoss()(regions, globals_, text, class_ids)
    loss.backward()
    assert loss > 0
    assert all(tensor.grad.isfinite().all() for tensor in (regions, globals_, text.words, text.sentence))


def test_samples_of_one_class_do_not_meet() -> None:
    """Gradient of image 0's loss towards the caption of the same class is exactly 0, towards another's it is not."""
    _, globals_, text = batch()
    scores = [sentence_loss(globals_[[0, j]], text.sentence[[0, j]], CLASS_IDS[[0, j]])[0] for j in (2, 1)]
    same, other = (torch.autograd.grad(score, text.sentence, retain_graph=True)[0].abs().max() for score in scores)
    assert same == 0
    assert other > 0


def test_unknown_classes_are_all_different() -> None:
    regions, globals_, text = batch()
    loss = DAMSMLoss()
    unknown = loss(regions, globals_, text, torch.tensor([-1, -1, 2, -1, 4]))
    torch.testing.assert_close(unknown, loss(regions, globals_, text))
    torch.testing.assert_close(unknown, loss(regions, globals_, text, torch.arange(5)))


def test_zero_features_are_finite() -> None:
    regions, globals_, text = batch()
    zeros = [torch.zeros_like(tensor, requires_grad=True) for tensor in (regions, globals_, text.words, text.sentence)]
    loss = DAMSMLoss()(zeros[0], zeros[1], TextFeatures(zeros[2], zeros[3], text.mask))
    assert loss.isfinite()
    loss.backward()
    assert all(tensor.grad.isfinite().all() for tensor in zeros)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_types_are_computed_in_float32(dtype: torch.dtype) -> None:
    regions, globals_, text = batch()
    halves = [tensor.detach().to(dtype) for tensor in (regions, globals_, text.words, text.sentence)]
    loss = DAMSMLoss()
    singles = [tensor.float() for tensor in halves]
    expected = loss(singles[0], singles[1], TextFeatures(singles[2], singles[3], text.mask), CLASS_IDS)
    halves = [tensor.requires_grad_() for tensor in halves]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(halves[0], halves[1], TextFeatures(halves[2], halves[3], text.mask), CLASS_IDS)
        maps = attention_maps(halves[0], halves[2], text.mask)
    assert value.dtype == maps.dtype == torch.float32
    assert torch.equal(value, expected)
    value.backward()
    assert all(tensor.grad.dtype == dtype and tensor.grad.isfinite().all() for tensor in halves)


def test_attention_maps() -> None:
    regions, _, text = batch()
    *losses, maps = word_loss(regions, text.words, text.mask, return_attention=True)
    assert tuple(losses) == word_loss(regions, text.words, text.mask)
    assert maps.shape == (5, 4, 3, 4)
    torch.testing.assert_close(maps.sum((2, 3)), text.mask.float())  # 1 for a word, 0 for padding
    alone = attention_maps(regions[2:3], text.words[2:3, :, :3], text.mask[2:3, :3])
    torch.testing.assert_close(maps[2:3, :3], alone)
    # Region r shows e_r, and the first word asks for e_6: <w, r> is 3 there, 0 elsewhere and for the other word.
    words = 3 * F.one_hot(torch.tensor([[6, 20]]), 21)[:, :, :12].float().transpose(1, 2)  # (1, 12, 2)
    maps = attention_maps(torch.eye(12).view(1, 12, 3, 4), words, torch.ones(1, 2, dtype=torch.bool))
    there, elsewhere = math.exp(4 / (1 + math.exp(-3))), math.exp(4 / 2)
    expected = torch.full((12,), elsewhere)
    expected[6] = there
    torch.testing.assert_close(maps[0, 0].flatten(), expected / expected.sum())


def test_shape_errors() -> None:
    regions, globals_, text = batch()
    with pytest.raises(ValueError, match=r'regions \(N, D, h, w\).*got \(5, 6, 12\), \(5, 6, 4\) and \(5, 4\)'):
        word_loss(regions.flatten(2), text.words, text.mask)
    with pytest.raises(ValueError, match=r'got \(4, 6, 3, 4\), \(5, 6, 4\)'):
        word_loss(regions[:4], text.words, text.mask)
    with pytest.raises(ValueError, match=r'and \(5, 3\) of torch.bool'):
        attention_maps(regions, text.words, text.mask[:, :3])
    with pytest.raises(ValueError, match=r'and \(5, 4\) of torch.int64'):
        word_loss(regions, text.words, text.mask.long())
    with pytest.raises(ValueError, match=r'one shape \(N, D\), but got \(5, 6\) and \(5, 5\)'):
        sentence_loss(globals_, text.sentence[:, :5])
    with pytest.raises(ValueError, match=r'class_ids must be \(N,\) = \(5,\), but are \(4,\)'):
        DAMSMLoss()(regions, globals_, text, CLASS_IDS[:4])
    with pytest.raises(ValueError, match=r'valid must be \(N,\) = \(5,\), but is \(5, 4\)'):
        sentence_loss(globals_, text.sentence, valid=text.mask)
    with pytest.raises(TypeError, match='gamma4'):
        build_loss({'type': 'DAMSMLoss', 'gamma4': 1.0})
