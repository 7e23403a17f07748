"""DAMSM loss: do an image and a caption belong together? (paper, section 3.4 and eq. 9)

Word and sentence loss of Xu et al., AttnGAN: Fine-Grained Text to Image Generation with Attentional Generative
Adversarial Networks, CVPR 2018, https://arxiv.org/abs/1711.10485, section 3.2, with the values that
https://github.com/taoxugit/AttnGAN computes.

For image i and caption j with words w_t and image regions r (similarities over all pairs of the batch at once):

    a_t     = softmax over regions of gamma1 * (softmax over the caption's words of <w_t, r>)     attention
    c_t     = sum over regions of a_t r                                        what the image shows of word t
    R(i, j) = log sum over words of exp(gamma2 * cos(c_t, w_t))
    losses  = cross entropy of gamma3 * R against the true pairs, over rows (captions) and over columns (images)

and for the sentence R(i, j) = cos(global_i, sentence_j). As in AttnGAN's code, R has no root 1 / gamma2.

A pair of different samples of one class takes no part (the caption would fit), nor does a sample whose caption has no
word, neither as image nor as caption. A row left with its own pair alone counts as loss 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgjar_arch.text.features import TextFeatures

# So many attention weights (images x captions x words x regions) are computed at once. 4 MB stay in a CPU's cache and
# are reused, where arrays for a whole batch are fetched from the system each time (5 times slower in a fresh process).
# On a GPU the bound only keeps the passing arrays of very large batches from filling the memory; what the backward pass
# needs of each part is kept in any case.
CHUNK = {'cpu': 2**20, 'cuda': 2**28}


def word_loss(regions: Tensor, words: Tensor, mask: Tensor, class_ids: Tensor | None = None, gamma1: float = 4.0,
              gamma2: float = 5.0, gamma3: float = 10.0, return_attention: bool = False) -> tuple[Tensor, ...]:
    """Cross entropy of matching images and captions by their regions and words.

    Half types are computed in float32. Padded words never change the result, whatever is stored there; their gradient
    is exactly 0.

    Args:
        regions: image regions r, (N, D, h, w).
        words: word features w of the captions, (N, D, T).
        mask: (N, T) bool, True at a real word. A caption without any word takes its sample out of the loss.
        class_ids: (N,) int, to leave other samples of the same class out; a negative id is an unknown class, unlike any
            other. None: every other sample is a wrong match.
        gamma1: sharpness of the attention over regions.
        gamma2: weight of a caption's best matching words in R.
        gamma3: sharpness of the softmax over the batch.
        return_attention: also return `attention_maps`.

    Returns:
        Image-to-text loss (softmax over captions) and text-to-image loss (softmax over images), scalars: AttnGAN's `w0`
        and `w1`. With `return_attention` also (N, T, h, w), the attention of caption i over image i.

    Raises:
        ValueError: when the shapes do not fit together.
    """
    _check_words(regions, words, mask)
    valid = mask.any(1)  # (N,)
    with torch.autocast(regions.device.type, enabled=False):
        regions, words = _full_precision(regions), _full_precision(words)
        scores = gamma3 * _word_scores(regions.flatten(2), words, mask, gamma1, gamma2)
        losses = _matching_loss(scores, class_ids, valid)
    if return_attention:
        return *losses, attention_maps(regions, words, mask, gamma1)
    return losses


def sentence_loss(globals_: Tensor, sentence: Tensor, class_ids: Tensor | None = None, gamma3: float = 10.0,
                  valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cross entropy of matching images and captions by their global and sentence features.

    Half types are computed in float32.

    Args:
        globals_: image features, (N, D).
        sentence: sentence features s, (N, D).
        class_ids: as in `word_loss`.
        gamma3: sharpness of the softmax over the batch.
        valid: (N,) bool, False takes a sample out of the loss (its caption has no word). None: all take part.

    Returns:
        Image-to-text and text-to-image loss, scalars: AttnGAN's `s0` and `s1`.

    Raises:
        ValueError: when the shapes do not fit together.
    """
    if globals_.dim() != 2 or globals_.shape != sentence.shape:
        raise ValueError('sentence_loss needs globals_ and sentence of one shape (N, D), but got '
                         f'{tuple(globals_.shape)} and {tuple(sentence.shape)}.')
    if valid is None:
        valid = torch.ones(len(sentence), dtype=torch.bool, device=sentence.device)
    elif valid.shape != sentence.shape[:1]:
        raise ValueError(f'valid must be (N,) = ({len(sentence)},), but is {tuple(valid.shape)}.')
    with torch.autocast(globals_.device.type, enabled=False):
        globals_ = _full_precision(globals_)
        sentence = _full_precision(sentence).masked_fill(~valid[:, None], 0)
        norms = globals_.norm(dim=1)[:, None] * sentence.norm(dim=1)  # (N, N)
        scores = gamma3 * (globals_ @ sentence.t()) / norms.clamp(min=1e-8)
        return _matching_loss(scores, class_ids, valid)


def attention_maps(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float = 4.0) -> Tensor:
    """Where in image i the words of caption i are: a_t above, for the true pairs only.

    Args:
        regions: (N, D, h, w).
        words: (N, D, T).
        mask: (N, T) bool, True at a real word.
        gamma1: sharpness of the attention over regions.

    Returns:
        (N, T, h, w); the map of a word sums to 1, that of a padded word is 0.

    Raises:
        ValueError: when the shapes do not fit together.
    """
    _check_words(regions, words, mask)
    with torch.autocast(regions.device.type, enabled=False):
        regions, words = _full_precision(regions), _full_precision(words)
        words = words.transpose(1, 2).masked_fill(~mask[:, :, None], 0)  # (N, T, D)
        similarity = torch.baddbmm(_word_bias(mask, words.dtype)[:, :, None], words, regions.flatten(2))  # (N, T, R)
        maps = _attention(similarity, gamma1).masked_fill(~mask[:, :, None], 0)
    return maps.unflatten(2, regions.shape[2:])


class DAMSMLoss(nn.Module):
    """Word loss plus sentence loss, each in both directions with equal weight, times `loss_weight` (paper, eq. 9).

    Args:
        loss_weight: factor of the sum; lambda_4 = 0.0005 in the paper's second stage, 1 in the first.
        gamma1: sharpness of the attention over regions.
        gamma2: weight of a caption's best matching words.
        gamma3: sharpness of the softmax over the batch.
    """

    def __init__(self, loss_weight: float = 1.0, gamma1: float = 4.0, gamma2: float = 5.0,
                 gamma3: float = 10.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.gamma1 = gamma1
        self.gamma2 = gamma2
        self.gamma3 = gamma3

    def terms(self, regions: Tensor, globals_: Tensor, text: TextFeatures,
              class_ids: Tensor | None = None) -> dict[str, Tensor]:
        """The four terms, unweighted.

        Args:
            regions: image regions, (N, D, h, w).
            globals_: image features, (N, D).
            text: features of the N captions; a caption without any word takes its sample out of the loss.
            class_ids: (N,) int; other samples of the same class are left out, a negative id is unlike any other.

        Returns:
            Scalars `word_i2t`, `word_t2i`, `sentence_i2t`, `sentence_t2i` (AttnGAN's w0, w1, s0, s1).

        Raises:
            ValueError: when the shapes do not fit together.
        """
        word = word_loss(regions, text.words, text.mask, class_ids, self.gamma1, self.gamma2, self.gamma3)
        sentence = sentence_loss(globals_, text.sentence, class_ids, self.gamma3, text.mask.any(1))
        return dict(zip(('word_i2t', 'word_t2i', 'sentence_i2t', 'sentence_t2i'), word + sentence, strict=True))

    def forward(self, regions: Tensor, globals_: Tensor, text: TextFeatures, class_ids: Tensor | None = None) -> Tensor:
        """Loss of a batch, a scalar; arguments and errors as in `terms`. A batch of one has loss 0."""
        word_i2t, word_t2i, sentence_i2t, sentence_t2i = self.terms(regions, globals_, text, class_ids).values()
        return self.loss_weight * (word_i2t + word_t2i + sentence_i2t + sentence_t2i)


def _word_scores(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """R of every image i (row) and caption j (column), (N, N), from regions (N, D, R) and words (N, D, T)."""
    n, dim, length = words.shape
    # A caption without a word is computed on zeros like a full one: finite, and left out by `_matching_loss`.
    words = words.transpose(1, 2).masked_fill(~mask[:, :, None], 0).reshape(n * length, dim)  # all captions' words
    bias = _word_bias(mask, words.dtype).view(1, -1, 1)
    lengths = words.norm(dim=1)
    step = max(1, CHUNK.get(words.device.type, CHUNK['cuda']) // (len(words) * regions.shape[2]))
    cosines = []
    for part in regions.split(step):
        similarity = torch.baddbmm(bias, words.expand(len(part), -1, -1), part)  # (step, N T, R)
        attention = _attention(similarity.unflatten(1, (n, length)), gamma1).flatten(1, 2)  # (step, N T, R)
        contexts = torch.bmm(attention, part.transpose(1, 2))  # (step, N T, D)
        cosines.append((contexts * words).sum(2) / (contexts.norm(dim=2) * lengths).clamp(min=1e-8))
    cosines = torch.cat(cosines).unflatten(1, (n, length))  # (N, N, T)
    left_out = ~mask & mask.any(1, keepdim=True)
    return (gamma2 * cosines).masked_fill(left_out, -torch.inf).logsumexp(2)


def _attention(similarity: Tensor, gamma1: float) -> Tensor:
    """Softmax over words (next to last axis), then over regions (last axis)."""
    return (gamma1 * similarity.softmax(-2)).softmax(-1)


def _word_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, T) to add to similarities: takes padded words out of the softmax over words, unless there are no others."""
    left_out = ~mask & mask.any(1, keepdim=True)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(left_out, -torch.inf)


def _matching_loss(scores: Tensor, class_ids: Tensor | None, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of (N, N) scores against the diagonal, over rows and over columns, mean over the valid samples."""
    n = len(scores)
    out = ~(valid[:, None] & valid)
    if class_ids is not None:
        if class_ids.shape != (n,):
            raise ValueError(f'class_ids must be (N,) = ({n},), but are {tuple(class_ids.shape)}.')
        out = out | ((class_ids[:, None] == class_ids) & (class_ids >= 0))
    # The diagonal stays, so that every row has a candidate: -inf throughout would give NaN, one alone gives loss 0.
    scores = scores.masked_fill(out & ~torch.eye(n, dtype=torch.bool, device=scores.device), -torch.inf)
    target = torch.arange(n, device=scores.device)
    count = valid.sum().clamp(min=1)
    return (F.cross_entropy(scores, target, reduction='sum') / count,
            F.cross_entropy(scores.t(), target, reduction='sum') / count)


def _full_precision(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _check_words(regions: Tensor, words: Tensor, mask: Tensor) -> None:
    if (regions.dim() != 4 or words.dim() != 3 or regions.shape[:2] != words.shape[:2] or words.shape[2] == 0
            or mask.shape != words[:, 0].shape or mask.dtype != torch.bool):
        got = f'{tuple(regions.shape)}, {tuple(words.shape)} and {tuple(mask.shape)} of {mask.dtype}'
        raise ValueError('the word loss needs regions (N, D, h, w), words (N, D, T), T > 0, and mask (N, T) of bool, '
                         f'but got {got}.')
