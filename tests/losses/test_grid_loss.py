"""The loss on the pattern of the JPEG grid: by hand, against the benchmark's formula, and what it must not see."""

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from torch.autograd import gradcheck

from benchmarks.grid_pattern import place_means
from tgjar_arch.losses.grid_loss import GridPatternLoss, grid_pattern_error


def test_by_hand() -> None:
    """One pixel of a block is 0.64 too bright, in red: there 0.63 over the mean, at the other places 0.01 under it."""
    gt = torch.rand(1, 3, 48, 64, dtype=torch.float64)
    output = gt.clone()
    output[:, 0, 3::8, 5::8] += 0.64
    expected = (0.63**2 + 63 * 0.01**2) / 64 / 3
    for blocks in (1, 2, 6, 100):
        assert grid_pattern_error(output, gt, blocks).item() == pytest.approx(expected)


def test_equals_the_variance_of_the_mean_errors() -> None:
    """A region as large as the image is what `benchmarks.grid_pattern` measures; blocks that the edge cuts are out."""
    gt, output = torch.rand(2, 2, 3, 43, 61, dtype=torch.float64)
    error = (output - gt)[..., :40, :56].numpy()
    expected = [np.mean([place_means(colour).var() for colour in image]) for image in error]
    np.testing.assert_allclose(grid_pattern_error(output, gt, 100).numpy(), expected)


def test_regions_are_every_one_of_their_size() -> None:
    gt, output = torch.rand(2, 1, 3, 32, 40, dtype=torch.float64)
    regions = [grid_pattern_error(output[..., y:y + 16, x:x + 16], gt[..., y:y + 16, x:x + 16], 2)
               for y in range(0, 24, 8) for x in range(0, 32, 8)]
    torch.testing.assert_close(grid_pattern_error(output, gt, 2), torch.stack(regions).mean(dim=0))


def test_sees_a_pattern_and_hardly_anything_else() -> None:
    torch.manual_seed(0)
    gt = torch.rand(2, 3, 192, 192, dtype=torch.float64)
    pattern = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    pattern -= pattern.mean(dim=(2, 3), keepdim=True)
    seen = grid_pattern_error(gt + pattern.repeat(2, 1, 24, 24), gt)
    torch.testing.assert_close(seen, pattern.square().mean().expand(2))
    colour = torch.randn(2, 3, 1, 1, dtype=torch.float64)
    assert grid_pattern_error(gt + colour, gt).max() < 1e-20
    steps = torch.randn(2, 3, 24, 24, dtype=torch.float64).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert grid_pattern_error(gt + steps, gt).max() < 1e-20  # another brightness for each block
    noise = grid_pattern_error(gt + torch.randn_like(gt), gt)
    torch.testing.assert_close(noise, torch.full((2,), 63 / 64 / 36, dtype=torch.float64), rtol=0.1, atol=0)


def test_every_image_alone_gradient_and_weight() -> None:
    gt, output = torch.rand(2, 3, 3, 24, 25, dtype=torch.float64)
    output.requires_grad_()
    (gradient,) = torch.autograd.grad(grid_pattern_error(output, gt, 2)[1], output)
    assert gradient[1, :, :, :24].abs().min() > 0 and not gradient[[0, 2]].any() and not gradient[..., 24:].any()
    assert gradcheck(lambda x: grid_pattern_error(x, gt, 2), output)
    loss = build_loss({'type': 'GridPatternLoss', 'loss_weight': 3.0, 'blocks': 2})
    torch.testing.assert_close(loss(output, gt), 3 * grid_pattern_error(output, gt, 2).mean())
    assert loss(gt, gt) == 0


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r'\(2, 3, 8, 8\) and \(2, 3, 8, 9\)'):
        grid_pattern_error(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 9))
    with pytest.raises(ValueError, match='sides of 8 pixels or more'):
        grid_pattern_error(torch.zeros(1, 3, 7, 80), torch.zeros(1, 3, 7, 80))
    with pytest.raises(ValueError, match='blocks must be 1 or more, but is 0'):
        GridPatternLoss(blocks=0)
