import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tgjar_arch import TextFeatures
from tgjar_arch.archs.blocks import upsample
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder


def count(net):
    return sum(p.numel() for p in net.parameters())


def make_text(batch=1, words=6, dim=16, lengths=None):
    lengths = torch.tensor(lengths or [words] * batch)
    return TextFeatures(torch.randn(batch, dim, words), torch.randn(batch, dim),
                        torch.arange(words)[None] < lengths[:, None])


@pytest.fixture
def small():
    return TGJARGenerator(num_feat=8, num_block=1, text_dim=16).eval()


def test_budgets_of_the_paper():
    generator, encoder = TGJARGenerator(), LSTMTextEncoder(vocab_size=5450)
    assert count(encoder) == 2_075_320
    assert 4.825e6 <= count(generator) <= 4.925e6
    assert 6.90e6 <= count(generator) + count(encoder) <= 7.00e6
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator(torch.rand(1, 3, 256, 256), make_text(words=18, dim=256))
    assert counter.get_total_flops() <= 25e9


def test_gfm_reads_the_third_blocks_output_at_one_eighth():
    generator = TGJARGenerator(num_block=0).eval()
    seen = []
    generator.gfm.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    with torch.no_grad():
        generator(torch.rand(1, 3, 256, 256))
    assert seen == [(1, 128, 32, 32)]


@pytest.mark.parametrize('size', [(8, 8), (9, 15), (17, 8), (33, 50), (64, 64), (71, 129)])
def test_any_size_keeps_it(small, size):
    lq = torch.rand(1, 3, *size)
    with torch.no_grad():
        out = small(lq, make_text())
    assert out.shape == lq.shape and out.isfinite().all()


def test_padding_is_invisible_where_it_cannot_reach():
    # 128x120 needs no padding, 128x123 does: far from the right border the two must agree but for GFM's pooled vector
    net = TGJARGenerator(num_feat=8, num_block=0, text_dim=16, use_global_fusion=False).eval()
    lq, text = torch.rand(1, 3, 128, 123), make_text()
    with torch.no_grad():
        difference = net(lq, text)[..., :40] - net(lq[..., :120], text)[..., :40]
    assert difference.abs().max() < 1e-5


@pytest.mark.parametrize('shape', [(3, 16, 16), (1, 1, 16, 16), (1, 3, 7, 16)])
def test_wrong_image_shape_is_named(small, shape):
    with pytest.raises(ValueError, match='at least 8, but got'):
        small(torch.rand(*shape))


def test_wrong_text_is_named(small):
    with pytest.raises(ValueError, match='text_dim'):
        small(torch.rand(1, 3, 16, 16), make_text(dim=12))
    with pytest.raises(ValueError, match='text_dim'):
        small(torch.rand(2, 3, 16, 16), make_text(batch=1))
    text = make_text()
    with pytest.raises(ValueError, match='bool'):
        small(torch.rand(1, 3, 16, 16), text._replace(mask=text.mask.float()))


def test_padded_words_change_nothing(small):
    lq, text = torch.rand(2, 3, 24, 40), make_text(2, 5, lengths=[5, 2])
    padded = TextFeatures(torch.cat((text.words, torch.randn(2, 16, 4) * 9), 2), text.sentence,
                          torch.cat((text.mask, torch.zeros(2, 4, dtype=torch.bool)), 1))
    with torch.no_grad():
        torch.testing.assert_close(small(lq, padded), small(lq, text), atol=1e-6, rtol=0)


@pytest.mark.parametrize('argument', ['lq', 'words', 'sentence'])
def test_samples_do_not_leak_into_each_other(small, argument):
    lq, text = torch.rand(2, 3, 16, 16), make_text(2)
    tensors = {'lq': lq, 'words': text.words, 'sentence': text.sentence}
    tensors[argument].requires_grad_()
    out = small(tensors['lq'], TextFeatures(tensors['words'], tensors['sentence'], text.mask))
    (gradient,) = torch.autograd.grad(out[0].square().sum(), tensors[argument])
    assert gradient[1].abs().max() == 0
    assert gradient[0].abs().max() > 0


def test_missing_caption_is_the_learned_null_condition(small):
    lq, text = torch.rand(2, 3, 16, 24), make_text(2, lengths=[6, 0])
    with torch.no_grad():
        small.null_word.normal_()
        small.null_sentence.normal_()
        both, none = small(lq, text), small(lq)
        only_first = small(lq[:1], make_text(1)._replace(words=text.words[:1], sentence=text.sentence[:1]))
    torch.testing.assert_close(both[1], none[1], atol=1e-6, rtol=0)  # empty caption == no caption
    torch.testing.assert_close(both[:1], only_first, atol=1e-6, rtol=0)
    assert (both[0] - none[0]).abs().max() > 1e-4  # a caption is not no caption


def test_what_an_empty_captions_features_hold_does_not_matter(small):
    lq, text = torch.rand(1, 3, 16, 24), make_text(1, lengths=[0])
    with torch.no_grad():
        assert torch.equal(small(lq, text), small(lq, text._replace(words=text.words * 7, sentence=text.sentence * 7)))


@pytest.mark.parametrize('use_global', [True, False])
@pytest.mark.parametrize('use_local', [True, False])
def test_gradients_reach_every_parameter(use_global, use_local):
    net = TGJARGenerator(num_feat=8, num_block=2, text_dim=16, use_global_fusion=use_global, use_local_fusion=use_local)
    net(torch.rand(2, 3, 32, 32), make_text(2, lengths=[6, 0])).square().sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert without == []


def test_ablation_without_fusion_ignores_the_caption():
    net = TGJARGenerator(num_feat=8, num_block=1, text_dim=16, use_global_fusion=False, use_local_fusion=False).eval()
    lq = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(net(lq, make_text()), net(lq))
    assert not net.uses_text


def test_state_dict_round_trip(small):
    other = TGJARGenerator(num_feat=8, num_block=1, text_dim=16).eval()
    other.load_state_dict(small.state_dict())
    lq, text = torch.rand(1, 3, 16, 16), make_text()
    with torch.no_grad():
        assert torch.equal(small(lq, text), other(lq, text))


def test_starts_near_the_compressed_image():
    net = TGJARGenerator().eval()
    lq = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert (net(lq) - lq).abs().mean() < 0.2


def test_a_misspelt_option_raises():
    with pytest.raises(TypeError, match='num_feats'):
        TGJARGenerator(num_feats=64)


def test_decoder_puts_features_where_the_encoder_took_them():
    # An impulse at pixel (16, 24) of a stride-2 averaging comes back centred on it.
    x = torch.zeros(1, 1, 33, 49)
    x[..., 16, 24] = 1
    kernel = torch.tensor([0.25, 0.5, 0.25])
    kernel = (kernel[:, None] * kernel)[None, None]
    for _ in range(3):
        x = torch.nn.functional.conv2d(x, kernel, stride=2, padding=1)
    for _ in range(3):
        x = upsample(x)
    rows, columns = x[0, 0].sum(1), x[0, 0].sum(0)
    centre = [(p * torch.arange(len(p))).sum() / p.sum() for p in (rows, columns)]
    assert centre[0] == pytest.approx(16, abs=1e-4) and centre[1] == pytest.approx(24, abs=1e-4)
