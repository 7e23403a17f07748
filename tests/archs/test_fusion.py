import pytest
import torch

from tgjar_arch.archs.fusion import GlobalFusion, LocalFusion


def test_gfm_has_the_papers_parameters():
    # 384-128-128 fully connected layers and two Conv3-128: see appendix A.1
    assert sum(p.numel() for p in GlobalFusion(128, 256).parameters()) == 508_416


def test_gfm_adds_the_same_vector_everywhere():
    gfm = GlobalFusion(8, 6)
    x = torch.randn(2, 8, 5, 7)
    a, b = gfm(x, torch.randn(2, 6)), gfm(x, torch.randn(2, 6))
    difference = (a - b)[:, :, 1:-1, 1:-1]  # inside: at the border the zero padding of the convolution shows
    assert difference.abs().max() > 1e-3
    assert difference.std(dim=(2, 3)).max() < 1e-6


def test_gfm_pools_the_whole_image():
    gfm = GlobalFusion(4, 6)
    x = torch.randn(1, 4, 8, 8)
    assert gfm.pool(x).shape == (1, 4)
    torch.testing.assert_close(gfm.pool(x), gfm.conv_global(x).flatten(2).mean(2))


def test_lfm_equals_the_plain_formula():
    lfm = LocalFusion(5, 6).double()
    x, words = torch.randn(2, 5, 3, 4).double(), torch.randn(2, 6, 7).double()
    mask = torch.arange(7)[None] < torch.tensor([7, 3])[:, None]
    context, attention = lfm(x, words, mask, return_attention=True)
    for n in range(2):
        keys = (lfm.conv_word.weight[:, :, 0] @ words[n, :, mask[n]] + lfm.conv_word.bias[:, None]).T  # (T', C)
        for i in range(3):
            for j in range(4):
                weight = torch.softmax(keys @ x[n, :, i, j], dim=0)
                torch.testing.assert_close(attention[n, mask[n], i, j], weight, atol=1e-6, rtol=1e-6)
                torch.testing.assert_close(context[n, :, i, j], weight @ keys, atol=1e-6, rtol=1e-6)
    assert attention[1, 3:].abs().max() == 0
    torch.testing.assert_close(attention.sum(1), torch.ones(2, 3, 4).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize('poison', [1e4, float('nan'), float('inf')])
def test_lfm_ignores_what_stands_in_padded_words(poison):
    lfm = LocalFusion(5, 6)
    x, words = torch.randn(1, 5, 3, 4), torch.randn(1, 6, 4)
    mask = torch.tensor([[True, True, False, False]])
    expected = lfm(x, words, mask)
    words[:, :, 2:] = poison
    words.requires_grad_()
    context = lfm(x, words, mask)
    assert torch.equal(context, expected)
    (gradient,) = torch.autograd.grad(context.square().sum(), words)
    assert gradient[:, :, 2:].abs().max() == 0 and gradient.isfinite().all()
