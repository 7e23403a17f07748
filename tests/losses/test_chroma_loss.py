"""The loss on mean colours of blocks: by hand, against OpenCV's colours, and what it must not see."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from torch.autograd import gradcheck

from tgjar_arch.losses.chroma_loss import ChromaBlockLoss, chroma_block_error


def test_by_hand() -> None:
    """Pure red against black on one block of four: Cb = -0.168736, Cr = 0.5 there, 0 in the others."""
    gt = torch.zeros(1, 3, 32, 32)
    output = gt.clone()
    output[:, 0, :16, 16:] = 1
    expected = (0.168736**2 + 0.5**2) / 2 / 4
    torch.testing.assert_close(chroma_block_error(output, gt), torch.tensor([expected]))


def test_equals_the_mean_colours_of_opencv() -> None:
    """Another implementation of the colour space and of the means, at 8 bits, on a size that cuts the last blocks."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 40, 53, 3), np.uint8)
    chroma = [cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.float64) / 255 for image in images]
    errors = []
    for top in range(0, 40, 16):
        for left in range(0, 53, 16):
            one, other = (part[top:top + 16, left:left + 16].mean((0, 1)) for part in chroma)
            errors.append(((one - other)**2).mean())
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    assert chroma_block_error(tensors[:1], tensors[1:]).item() == pytest.approx(np.mean(errors), rel=1e-2)


def test_sees_neither_grey_nor_texture_and_every_image_alone() -> None:
    gt = torch.rand(3, 3, 48, 32, dtype=torch.float64)
    grey = torch.rand(3, 1, 48, 32, dtype=torch.float64)
    assert chroma_block_error(gt + grey, gt).max() < 1e-10
    texture = torch.rand(3, 3, 3, 16, 2, 16, dtype=torch.float64)
    texture -= texture.mean(dim=(3, 5), keepdim=True)
    assert chroma_block_error(gt + texture.reshape_as(gt), gt).max() < 1e-10
    output = torch.rand_like(gt).requires_grad_()
    (gradient,) = torch.autograd.grad(chroma_block_error(output, gt)[1], output)
    assert gradient[1].abs().min() > 0 and not gradient[[0, 2]].any()


def test_gradient_and_weight() -> None:
    gt, output = torch.rand(2, 1, 3, 20, 20, dtype=torch.float64)
    assert gradcheck(lambda x: chroma_block_error(x, gt, 8), output.requires_grad_())
    loss = build_loss({'type': 'ChromaBlockLoss', 'loss_weight': 3.0, 'block': 8})
    torch.testing.assert_close(loss(output, gt), 3 * chroma_block_error(output, gt, 8).mean())
    assert loss(gt, gt) == 0


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r'\(2, 3, 8, 8\) and \(2, 3, 8, 9\)'):
        chroma_block_error(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 9))
    with pytest.raises(ValueError, match='block must be 1 or more pixels, but is 0'):
        ChromaBlockLoss(block=0)
