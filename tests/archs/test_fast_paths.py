"""Every step of the generators that is computed in a cheaper form equals the plain one: values and gradients."""

import copy

import pytest
import torch
from torch.nn import functional as F

from tgjar_arch import TextFeatures
from tgjar_arch.archs.blocks import ResidualBlock, add_skip, upsample
from tgjar_arch.archs.fusion import GlobalFusion, LocalFusion
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lite_generator_arch import TGJARLiteGenerator

GENERATORS = [TGJARGenerator, TGJARLiteGenerator]


def plain_upsample(x):
    height, width = x.shape[2:]
    x = F.interpolate(x, size=(2 * height - 1, 2 * width - 1), mode='bilinear', align_corners=True)
    return F.pad(x, (0, 1, 0, 1), mode='replicate')


def plain_fuse(gfm, x, pooled, sentence):
    fused = gfm.fc(torch.cat((pooled, sentence), dim=1))
    repeated = fused[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return gfm.conv_fuse(torch.cat((x, repeated), dim=1))


def plain_attend(lfm, x, words, mask):
    keys = lfm.conv_word(words * mask[:, None])
    attention = torch.einsum('ncyx,nct->ntyx', x, keys)
    attention = attention.masked_fill(~mask[:, :, None, None], -torch.inf).softmax(dim=1)
    return torch.einsum('ntyx,nct->ncyx', attention, keys)


def plain_generator(net, lq, text):
    """`TGJARGenerator.forward` for sizes in multiples of 8 and captions of a word at least, step by step."""
    def act(x):
        return F.leaky_relu(x, 0.2)

    def block(layers, x):
        return x + layers.conv2(layers.act(layers.conv1(x)))

    def attended(k, x, *skips):
        return torch.cat((x, *skips, plain_attend(net.lfms[k], x, words, text.mask)), dim=1)

    def one_length(x):
        return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()

    words, sentence = one_length(text.words), one_length(text.sentence)
    e0 = act(net.head(lq))
    e1 = block(net.block1, act(net.down1(e0)))
    e2 = block(net.block2, act(net.down2(e1)))
    e3 = block(net.block3, act(net.down3(e2)))
    d3 = plain_fuse(net.gfm, e3, net.gfm.conv_global(e3).mean(dim=(2, 3)), sentence)
    for layers in net.body:
        d3 = block(layers, d3)
    d2 = plain_upsample(act(net.up1(attended(0, d3, e3)))) + e2
    d1 = plain_upsample(act(net.up2(attended(1, d2)))) + e1
    d0 = plain_upsample(act(net.up3(attended(2, d1)))) + e0
    return lq + net.tail(act(net.refine(d0)))


def make_text(batch=2, dim=16, dtype=torch.float32):
    mask = torch.arange(6) < torch.tensor([6, 3, 5])[:batch, None]
    return TextFeatures(torch.randn(batch, dim, 6, dtype=dtype), torch.randn(batch, dim, dtype=dtype), mask)


def make(cls):
    net = cls(num_feat=8, num_block=2, text_dim=16).eval()
    with torch.no_grad():
        net.tail.weight.mul_(10)  # as after training: not all of the result is lq
    return net


def same_gradients(one, other, inputs, tolerance=1e-10):
    weight = torch.randn_like(one)
    for a, b in zip(torch.autograd.grad((one * weight).sum(), inputs, retain_graph=True),
                    torch.autograd.grad((other * weight).sum(), inputs), strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=0)
        assert b.abs().max() > 0


@pytest.mark.parametrize('size', [(1, 1), (1, 6), (2, 2), (2, 5), (3, 3), (4, 3), (9, 8)])
def test_gfm_equals_the_convolution_of_the_repeated_vector(size):
    gfm = GlobalFusion(4, 6).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
    sentence = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    out, plain = gfm.fuse(x, gfm.pool(x), sentence), plain_fuse(gfm, x, gfm.pool(x), sentence)
    torch.testing.assert_close(out, plain, atol=1e-12, rtol=0)
    same_gradients(out, plain, [x, sentence, *gfm.parameters()])


def test_gfm_keeps_its_gradients_under_autocast():
    # 32x32 features, as of a crop of 256 pixels. Added up one after another in bfloat16, of 1,000 gradients of one sign
    # the last hundreds would change nothing.
    gfm, x, sentence = GlobalFusion(8, 6), torch.randn(2, 8, 32, 32), torch.randn(2, 6)
    weight, gradients = 1 + 0.1 * torch.randn(2, 8, 32, 32), []
    for enabled in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            out = gfm(x, sentence)
        gradients.append(torch.autograd.grad((out.float() * weight).mean(), list(gfm.parameters())))
    for (name, _), expected, found in zip(gfm.named_parameters(), *gradients, strict=True):
        assert (found - expected).norm() < 0.03 * expected.norm(), name


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (2, 3), (33, 49)])
def test_upsampling_equals_interpolation_with_its_edge_repeated(size):
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    if 1 not in size:  # the plain form has no step to take along a single row
        torch.testing.assert_close(upsample(x), plain_upsample(x), atol=1e-12, rtol=0)
        same_gradients(upsample(x), plain_upsample(x), [x])
    out = upsample(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(upsample(x), out, atol=1e-12, rtol=0)
    assert out.shape[2:] == (2 * size[0], 2 * size[1])
    torch.testing.assert_close(out[:, :, ::2, ::2], x.detach(), atol=1e-12, rtol=0)
    right = torch.cat((x[..., 1:], x[..., -1:]), dim=3).detach()
    torch.testing.assert_close(out[:, :, ::2, 1::2], (x.detach() + right) / 2, atol=1e-12, rtol=0)


@pytest.mark.parametrize('batch', [1, 3])
def test_lfm_equals_the_plain_formula_and_keeps_the_layout(batch):
    lfm, text = LocalFusion(8, 16).double(), make_text(batch, dtype=torch.float64)
    x = torch.randn(batch, 8, 5, 7, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    out, plain = lfm(x, text.words, text.mask), plain_attend(lfm, x, text.words, text.mask)
    torch.testing.assert_close(out, plain, atol=1e-12, rtol=0)
    same_gradients(out, plain, [x, *lfm.parameters()])
    # Else the concatenation with x, and the convolution after it, would copy both.
    assert torch.cat((x, out), dim=1).is_contiguous(memory_format=torch.channels_last)


def test_residual_block_equals_the_plain_sum():
    block = ResidualBlock(4).double()
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    before, out = x.detach().clone(), block(x)
    plain = x + block.conv2(block.act(block.conv1(x)))
    torch.testing.assert_close(out, plain, atol=1e-12, rtol=0)
    same_gradients(out, plain, [x, *block.parameters()])
    assert torch.equal(x, before)


def test_a_skip_is_overwritten_only_without_gradients():
    x, skip = torch.randn(2, 3), torch.randn(2, 3)
    expected, before = x + skip, skip.clone()
    assert torch.equal(add_skip(x, skip), expected) and torch.equal(skip, before)
    with torch.no_grad():
        assert torch.equal(add_skip(x, skip), expected) and torch.equal(skip, expected)


@pytest.mark.parametrize('size', [(16, 16), (16, 40), (64, 64)])
def test_generator_equals_its_plain_form(size):
    net = make(TGJARGenerator).double()
    lq, text = torch.rand(2, 3, *size, dtype=torch.float64, requires_grad=True), make_text(dtype=torch.float64)
    out, plain = net(lq, text), plain_generator(net, lq, text)
    torch.testing.assert_close(out, plain, atol=1e-10, rtol=0)
    parameters = [p for name, p in net.named_parameters() if not name.startswith('null')]
    same_gradients(out, plain, [lq, *parameters], 1e-8)
    assert (out - lq).abs().max() > 0.05


@pytest.mark.parametrize('cls', GENERATORS)
@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode])
def test_inference_equals_training_and_leaves_its_inputs_alone(cls, context):
    net, lq, text = make(cls), torch.rand(2, 3, 37, 42), make_text()
    arguments = [tensor.clone() for tensor in (lq, *text)]
    with context():
        first, second = net(lq, text), net(lq, text)
    torch.testing.assert_close(first, net(lq, text), atol=1e-5, rtol=0)
    assert torch.equal(first, second)
    assert all(torch.equal(a, b) for a, b in zip(arguments, (lq, *text), strict=True))


@pytest.mark.parametrize('cls', GENERATORS)
@pytest.mark.parametrize('batch', [1, 2])
def test_channels_last_changes_nothing_and_stays(cls, batch):
    net, lq, text = make(cls), torch.rand(batch, 3, 40, 48), make_text(batch)
    with torch.inference_mode():
        expected = net(lq, text)
    net = net.to(memory_format=torch.channels_last)
    copied = []
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(lambda module, args: copied.append(
                not args[0].is_contiguous(memory_format=torch.channels_last)))
    with torch.inference_mode():
        out = net(lq.to(memory_format=torch.channels_last), text)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    assert copied and not any(copied)  # a convolution copies an input of another layout


@pytest.mark.parametrize('cls', GENERATORS)
def test_weights_in_half_precision_take_and_return_float32_images(cls):
    net, lq, text = make(cls), torch.rand(1, 3, 32, 32), make_text(1)
    half = copy.deepcopy(net).bfloat16()
    with torch.inference_mode():
        expected, out = net(lq, text), half(lq, text)
        without = half(lq)
    assert out.dtype == without.dtype == torch.float32
    residual = (expected - lq).abs()
    assert (out - expected).abs().max() < 0.05 * residual.max()  # bfloat16 has 8 significant bits
    torch.testing.assert_close(without, net(lq), atol=0.05 * float(residual.max()), rtol=0)


@pytest.mark.parametrize('cls', GENERATORS)
def test_under_autocast_gradients_are_those_of_float32_nearly(cls):
    net, lq, text = make(cls), torch.rand(2, 3, 32, 32), make_text()
    gradients = []
    for enabled in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            out = net(lq, text)
        net.zero_grad()
        out.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    assert F.cosine_similarity(*gradients, dim=0) > 0.99
