import pytest
import torch

from tgjar_arch.archs.discriminator_arch import TGJARDiscriminator


@pytest.mark.parametrize('size', [(8, 8), (33, 70), (128, 128)])
def test_one_logit_an_image_at_any_size(size):
    net = TGJARDiscriminator(num_feat=8).eval()
    with torch.no_grad():
        assert net(torch.rand(2, 3, *size)).shape == (2, 1)


def test_ends_in_logits():
    # A sigmoid at the end would confine the output to (0, 1); GANLoss(vanilla) brings its own.
    net = TGJARDiscriminator(num_feat=8).eval()
    with torch.no_grad():
        net.classifier[-1].bias.fill_(-30.)
        assert net(torch.rand(1, 3, 32, 32)).item() < -20


def test_gradients_reach_every_parameter_and_the_image():
    net = TGJARDiscriminator(num_feat=8)
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    net(x).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []
    assert x.grad.abs().max() > 0


def test_average_pooling_makes_a_tiled_texture_look_the_same():
    net = TGJARDiscriminator(num_feat=8).train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net(torch.rand(8, 3, 64, 64))  # statistics, so that the logits of different images differ
        net.eval()
        x, other = (torch.rand(1, 3, 16, 16).repeat(1, 1, 16, 16) for _ in range(2))  # period = the total stride
        whole, half, different = net(x), net(x[..., :128]), net(other)
    # Only the border of zeros tells the two sizes apart.
    assert abs(whole - half) < 0.25 * abs(whole - different)
