"""The perceptual contrastive loss, on random trunks: the formula and the gradients do not depend on the weights."""

import pytest
import torch
from basicsr.losses import build_loss
from lpips import LPIPS
from torch import Tensor

from tgjar_arch.losses.contrastive_loss import PerceptualContrastiveLoss, contrastive_ratio


def images(n: int = 2, size: int = 33, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gt and lq; the output asks for a gradient."""
    output, gt, lq = torch.rand(3, n, 3, size, size + 7, dtype=dtype)
    return output.requires_grad_(), gt, lq


@pytest.fixture
def loss() -> PerceptualContrastiveLoss:
    return PerceptualContrastiveLoss(net='squeeze', pretrained=False)


def plain(lpips: LPIPS, output: Tensor, gt: Tensor, lq: Tensor, c: float) -> Tensor:
    """Eq. 5 with two calls of the package."""
    return (lpips(output, gt, normalize=True) / (lpips(output, lq, normalize=True) + c)).mean()


def test_ratio_by_hand() -> None:
    ratio = contrastive_ratio(torch.tensor([0.3, 0.0, 0.5]), torch.tensor([0.5, 0.2, 0.0]), c=0.1)
    torch.testing.assert_close(ratio, torch.tensor([0.5, 0.0, 5.0]))


def test_built_by_basicsr_from_an_option_file() -> None:
    loss = build_loss({'type': 'PerceptualContrastiveLoss', 'loss_weight': 0.01, 'c': 0.2, 'net': 'squeeze',
                       'pretrained': False})
    batch = images()
    value = loss(*batch)
    assert value.shape == ()
    torch.testing.assert_close(value, 0.01 * plain(loss.lpips, *batch, c=0.2), rtol=1e-4, atol=0)


@pytest.mark.parametrize('net', ['alex', 'squeeze'])
def test_value_and_gradient_equal_the_plain_formula(net: str) -> None:
    loss = PerceptualContrastiveLoss(loss_weight=3.0, net=net, pretrained=False)
    output, gt, lq = images(3)
    (expected,) = torch.autograd.grad(3 * plain(loss.lpips, output, gt, lq, 0.1), output)
    value = loss(output, gt, lq)
    torch.testing.assert_close(value, 3 * plain(loss.lpips, output, gt, lq, 0.1), rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(value, output)
    assert gradient.abs().max() > 0
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_gradcheck(loss: PerceptualContrastiveLoss) -> None:
    loss.double()
    output, gt, lq = images(2, 17, torch.float64)
    assert loss(output, gt, lq).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda x: loss(x, gt, lq), (output,), eps=1e-7, atol=1e-6, fast_mode=True)


def test_perfect_restoration_has_loss_0(loss: PerceptualContrastiveLoss) -> None:
    _, gt, lq = images()
    output = gt.clone().requires_grad_()
    value = loss(output, gt, lq)
    value.backward()
    assert 0 <= value.item() < 1e-8
    assert output.grad.isfinite().all()


def test_mean_over_the_batch_without_leaks(loss: PerceptualContrastiveLoss) -> None:
    output, gt, lq = images(3)
    each = [loss(output[i:i + 1], gt[i:i + 1], lq[i:i + 1]) for i in range(3)]
    torch.testing.assert_close(loss(output, gt, lq), torch.stack(each).mean(), rtol=1e-5, atol=0)
    d_gt, d_lq = loss.distances(output, gt, lq)
    assert d_gt.shape == d_lq.shape == (3,)
    (gradient,) = torch.autograd.grad(contrastive_ratio(d_gt, d_lq)[1], output)
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2]].abs().sum() == 0


def test_trunk_sees_every_image_once_and_keeps_a_graph_for_one(loss: PerceptualContrastiveLoss) -> None:
    seen = []
    loss.lpips.net.register_forward_hook(
        lambda module, args, layers: seen.append((len(args[0]), layers[-1].requires_grad)))
    loss(*images(2))
    assert sum(count for count, _ in seen) == 3 * 2
    assert sum(count for count, graph in seen if graph) == 2


def test_no_gradient_reaches_the_references_or_the_trunk(loss: PerceptualContrastiveLoss) -> None:
    output, gt, lq = images()
    gt.requires_grad_()
    lq.requires_grad_()
    loss(output, gt, lq).backward()
    assert output.grad.abs().sum() > 0
    assert gt.grad is None
    assert lq.grad is None
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in loss.parameters())


def test_training_mode_changes_nothing(loss: PerceptualContrastiveLoss) -> None:
    batch = images()
    before = loss.eval()(*batch)
    after = loss.train()(*batch)
    assert loss.training
    assert not loss.lpips.training
    assert torch.equal(before, after)  # the dropout of LPIPS' heads would show


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_mixed_precision_computes_in_float32(loss: PerceptualContrastiveLoss, dtype: torch.dtype) -> None:
    output, gt, lq = (x.detach().to(dtype) for x in images())
    expected = loss(output.float(), gt.float(), lq.float())
    output.requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(output, gt.float(), lq)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    value.backward()
    assert output.grad.dtype == dtype
    assert output.grad.isfinite().all()


def test_gradient_is_finite_on_constant_images(loss: PerceptualContrastiveLoss) -> None:
    output = torch.zeros(2, 3, 32, 32, requires_grad=True)
    value = loss(output, torch.ones(2, 3, 32, 32), torch.zeros(2, 3, 32, 32))
    value.backward()
    assert value.isfinite()
    assert output.grad.isfinite().all()


def test_output_is_not_clamped(loss: PerceptualContrastiveLoss) -> None:
    _, gt, lq = images(1)
    output = (gt + 1.2).requires_grad_()  # all of it above 1
    loss(output, gt, lq).backward()
    assert output.grad.abs().sum() > 0


def test_channels_last_changes_nothing(loss: PerceptualContrastiveLoss) -> None:
    batch = images()
    last = [x.contiguous(memory_format=torch.channels_last) for x in batch]
    torch.testing.assert_close(loss(*last), loss(*batch), rtol=1e-5, atol=0)


def test_shape_errors(loss: PerceptualContrastiveLoss) -> None:
    output, gt, lq = images()
    with pytest.raises(ValueError, match=r'one shape, but got \(2, 3, 33, 40\), \(2, 3, 32, 40\) and \(2, 3, 33, 40\)'):
        loss(output, gt[:, :, 1:], lq)
    with pytest.raises(ValueError, match=r'\(N, 3, H, W\).*but got \(4, 1, 33, 40\)'):
        loss(output[:, :1], gt[:, :1], lq[:, :1])
    with pytest.raises(ValueError, match=r'17x17 pixels or more'):
        loss(output[..., :16], gt[..., :16], lq[..., :16])


@pytest.mark.parametrize('c', [0.0, -0.1])
def test_c_must_be_positive(c: float) -> None:
    with pytest.raises(ValueError, match='c must be greater than 0'):
        PerceptualContrastiveLoss(c=c, pretrained=False)


def test_unknown_options_raise() -> None:
    with pytest.raises(ValueError, match="'resnet' is unknown"):
        PerceptualContrastiveLoss(net='resnet', pretrained=False)
    with pytest.raises(TypeError, match='trunkpath'):
        build_loss({'type': 'PerceptualContrastiveLoss', 'trunkpath': 'x.npz'})


@pytest.mark.parametrize('factor', [2, 3, 4])
def test_a_smaller_lq_is_resized(loss: PerceptualContrastiveLoss, factor: int) -> None:
    """As for super-resolution: bicubic, clamped, as if it had come in the output's size."""
    output, gt, _ = images(size=12 * factor)
    output, gt = output[..., :12 * factor], gt[..., :12 * factor]
    lq = torch.rand(2, 3, 12, 12).round()  # bicubic goes beyond 0 and 1 at edges
    resized = torch.nn.functional.interpolate(lq, scale_factor=factor, mode='bicubic')
    assert resized.max() > 1
    torch.testing.assert_close(loss(output, gt, lq), loss(output, gt, resized.clamp(0, 1)))


@pytest.mark.parametrize('size', [(24, 47), (16, 32), (96, 96), (48, 24)])
def test_an_lq_of_another_ratio_says_how(loss: PerceptualContrastiveLoss, size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, 48, 48)
    with pytest.raises(ValueError, match='smaller by one whole number in both .* resize it before: .*interpolate'):
        loss(image, image, torch.rand(1, 3, *size))
