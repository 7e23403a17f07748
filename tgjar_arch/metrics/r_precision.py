"""R-precision of AttnGAN: does an image find its own caption among others?

https://arxiv.org/abs/1711.10485, section 4.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def r_precision(images: Tensor, sentences: Tensor, class_ids: Tensor, num_negatives: int = 99, seed: int = 0) -> float:
    """Share of images whose own caption has a greater cosine than every one of `num_negatives` from other classes.

    Args:
        images: global image features (N, D).
        sentences: sentence features of their captions (N, D).
        class_ids: (N,) int; a negative one is an unknown class, another than all.
        num_negatives: captions to compare with, drawn without replacement; with fewer in other classes, all of them.
        seed: of the drawing; two runs compare with the same captions.

    Returns:
        R-precision in [0, 1]; chance is 1 / (1 + num_negatives).

    Raises:
        ValueError: when an image has no caption of another class to compare with.
    """
    similarity = F.normalize(images.double(), dim=1) @ F.normalize(sentences.double(), dim=1).T  # (N, N)
    other = (class_ids[:, None] != class_ids[None]) | (class_ids[:, None] < 0)
    other.fill_diagonal_(False)
    if not len(images) or not other.any(dim=1).all():
        raise ValueError('R-precision needs for every image captions of other classes, or of images whose class is not '
                         f'known; {len(images)} captioned images of {len(set(class_ids.tolist()))} classes are too '
                         'few.')
    # A random order of the others, those of the same class last: the first `num_negatives` are the draw.
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(other.shape, generator=generator).masked_fill(~other.cpu(), 2).argsort(dim=1)[:, :num_negatives]
    order = order.to(similarity.device)
    drawn = similarity.gather(1, order).masked_fill(~other.gather(1, order), -2)
    return (similarity.diagonal() > drawn.max(dim=1).values).double().mean().item()
