"""The reconstruction loss that is divided by the JPEG's own error."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from skimage import data

from tgjar_arch.jpeg.codec import compress
from tgjar_arch.losses.relative_loss import RelativeMSELoss, relative_error


def flat(*values: float) -> torch.Tensor:
    """Images of one grey each, (N, 3, 4, 4)."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, 4, 4)


def test_by_hand() -> None:
    # Errors of .1, .2 and 0 against JPEG errors of .2, .2 and 0, which the floor of .04 bounds.
    found = relative_error(flat(.6, .7, .5), flat(.5, .5, .5), flat(.7, .3, .5), floor=.04)
    torch.testing.assert_close(found, torch.tensor([.25, 1., 0.]))
    torch.testing.assert_close(relative_error(flat(.6), flat(.5), flat(.5)), torch.tensor([.01 / 1e-4]))


def test_each_image_has_its_own_divisor_and_the_mean_is_over_images() -> None:
    output, gt, lq = torch.rand(3, 4, 3, 9, 7)
    whole = RelativeMSELoss(2.)(output, gt, lq)
    parts = [RelativeMSELoss(2.)(output[k:k + 1], gt[k:k + 1], lq[k:k + 1]) for k in range(4)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


def test_what_is_restored_by_half_counts_alike_at_every_quality() -> None:
    image = np.ascontiguousarray(cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)[:128, 128:256])
    gt, *files = (torch.tensor(x).permute(2, 0, 1)[None] / 255 for x in (image, *(compress(image, q) for q in (1, 40))))
    absolute, relative = [], []
    for lq in files:
        half = ((lq + gt) / 2).requires_grad_()
        loss = RelativeMSELoss()(half, gt, lq)
        loss.backward()
        relative.append(loss.item())
        absolute.append((half - gt).square().mean().item())
    assert relative == pytest.approx([.25, .25], rel=1e-4) and absolute[0] > 6 * absolute[1]


def test_only_the_output_gets_a_gradient() -> None:
    output, gt, lq = (torch.rand(1, 3, 8, 8, requires_grad=True) for _ in range(3))
    RelativeMSELoss()(output, gt.detach(), lq).backward()
    assert lq.grad is None
    expected = 2 * (output - gt) / output.numel() / (lq - gt).square().mean()
    torch.testing.assert_close(output.grad, expected.detach())


def test_built_by_basicsr_from_an_option_file() -> None:
    loss = build_loss({'type': 'RelativeMSELoss', 'loss_weight': .5, 'floor': .01})
    assert loss(flat(.7), flat(.5), flat(.5)).item() == pytest.approx(.5 * .04 / .01)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match='floor must be above 0, or the loss is unbounded .* got 0'):
        RelativeMSELoss(floor=0)
    with pytest.raises(ValueError, match=r'of one shape, but got \(1, 3, 4, 4\), \(1, 3, 4, 4\) and \(2, 3, 4, 4\)'):
        relative_error(flat(.1), flat(.1), flat(.1, .2))
