import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.utils.options import ordered_yaml
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.force_yml_rows import option_file
from tgjar_arch import TextFeatures
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lite_generator_arch import TGJARLiteGenerator
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.weights.collect import collect
from tgjar_arch.weights.file import write_weights

TINY = {'num_feat': 8, 'num_block': 1, 'num_fine': 4, 'text_dim': 16}


def make_text(batch=1, words=6, dim=16, lengths=None):
    lengths = torch.tensor(lengths or [words] * batch)
    return TextFeatures(torch.randn(batch, dim, words), torch.randn(batch, dim),
                        torch.arange(words)[None] < lengths[:, None])


@pytest.fixture
def small():
    return TGJARLiteGenerator(**TINY).eval()


def test_a_quarter_of_the_default_generators_work():
    work = []
    for net in (TGJARLiteGenerator(), TGJARGenerator()):
        with FlopCounterMode(display=False) as counter, torch.device('meta'), torch.no_grad():
            net.to('meta')(torch.rand(1, 3, 256, 256), make_text(words=18, dim=256))
        work.append(counter.get_total_flops())
    assert 4 * work[0] <= work[1]
    assert sum(p.numel() for p in TGJARLiteGenerator().parameters()) == 2_155_383


@pytest.mark.parametrize('size', [(8, 8), (9, 15), (17, 8), (33, 50), (64, 64), (71, 129)])
def test_odd_sizes_are_those_padded_by_reflection(small, size):
    lq, text = torch.rand(1, 3, *size), make_text()
    padded = torch.nn.functional.pad(lq, (0, -size[1] % 8, 0, -size[0] % 8), mode='reflect')
    with torch.no_grad():
        out = small(lq, text)
        assert torch.equal(out, small(padded, text)[:, :, :size[0], :size[1]])
    assert (out - lq).abs().max() > 1e-4


def test_a_shift_by_a_jpeg_block_shifts_the_result():
    # Without the GFM, which pools over the whole image; 40 pixels from the border, which nothing reaches with one block
    net = TGJARLiteGenerator(**TINY | {'use_global_fusion': False}).eval()
    lq, text = torch.rand(1, 3, 136, 136), make_text()
    with torch.no_grad():
        whole, shifted = net(lq, text), net(lq[:, :, 8:, 8:], text)
    inner = slice(48, -48)
    difference = whole[:, :, inner, inner] - shifted[:, :, 40:-48, 40:-48]
    assert difference.abs().max() < 1e-5
    with torch.no_grad():
        off = net(lq[:, :, 4:, 4:], text)  # half a block is another place in the 8x8 grid
    assert (whole[:, :, inner, inner] - off[:, :, 44:-48, 44:-48]).abs().max() > 1e-4


def test_begins_without_a_pattern_of_the_pixel_shuffle():
    # A grey image, further from the border than one block sees: all 16 pixels of a 4x4 block are restored alike (ICNR).
    net = TGJARLiteGenerator(num_block=1).eval()
    with torch.no_grad():
        out = net(torch.full((1, 3, 136, 136), 0.4), make_text(dim=256))[:, :, 64:72, 64:72]
        assert (out - 0.4).abs().mean() > 1e-3
        assert out.std(dim=(2, 3)).max() < 1e-6
        net.expand.weight.normal_(std=0.1)  # without it they differ
        out = net(torch.full((1, 3, 136, 136), 0.4), make_text(dim=256))[:, :, 64:72, 64:72]
        assert out.std(dim=(2, 3)).min() > 1e-4


def test_starts_near_the_compressed_image():
    net = TGJARLiteGenerator().eval()
    lq = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert (net(lq) - lq).abs().mean() < 0.2


@pytest.mark.parametrize('shape', [(3, 16, 16), (1, 1, 16, 16), (1, 3, 7, 16)])
def test_wrong_image_shape_is_named(small, shape):
    with pytest.raises(ValueError, match='TGJARLiteGenerator expects lq as .* at least 8, but got'):
        small(torch.rand(*shape))


def test_wrong_text_is_named(small):
    with pytest.raises(ValueError, match='TGJARLiteGenerator expects words .* text_dim'):
        small(torch.rand(1, 3, 16, 16), make_text(dim=12))


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
    torch.testing.assert_close(both[1], none[1], atol=1e-6, rtol=0)  # empty caption == no caption
    assert (both[0] - none[0]).abs().max() > 1e-4  # a caption is not no caption


@pytest.mark.parametrize('use_global', [True, False])
@pytest.mark.parametrize('use_local', [True, False])
def test_gradients_reach_every_parameter(use_global, use_local):
    net = TGJARLiteGenerator(**TINY, use_global_fusion=use_global, use_local_fusion=use_local)
    net(torch.rand(2, 3, 32, 32), make_text(2, lengths=[6, 0])).square().sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert without == []
    assert net.uses_text == (use_global or use_local)


def test_computes_the_same_with_and_without_gradients(small):
    lq, text = torch.rand(2, 3, 32, 40), make_text(2)
    with torch.no_grad():
        fast = small(lq, text)
    torch.testing.assert_close(small(lq, text), fast, atol=1e-6, rtol=0)


def test_option_files_train_and_test_one_network():
    train, test = (yaml.load(option_file(f'{kind}_tgjar_lite_cub').read_text(), Loader=ordered_yaml()[0])
                   for kind in ('train', 'test'))
    assert train['network_g'] == test['network_g'] and train['network_t'] == test['network_t']
    trained = TGJARLiteGenerator(**{key: value for key, value in train['network_g'].items() if key != 'type'})
    assert str(trained) == str(TGJARLiteGenerator())  # every default spelt out
    assert train['train']['ema_decay'] > 0 and test['path']['param_key_g'] == 'params_ema'
    assert test['path']['pretrain_network_g'] == f'experiments/{train["name"]}/models/net_g_latest.pth'


def test_a_checkpoint_is_exported_and_restores(opt, tmp_path):
    from tests.helpers.tiny_model import batch, make, step
    opt['network_g'] = {'type': 'TGJARLiteGenerator', **TINY}
    model = make(opt)
    data = batch(opt)
    before = {key: value.clone() for key, value in model.net_g.named_parameters()}
    step(model, data)
    assert all(not torch.equal(value, before[key]) for key, value in model.net_g.named_parameters()
               if not key.startswith('null'))
    model.save(0, 1)
    write_weights(tmp_path / 'lite.safetensors', collect(tmp_path / 'models' / 'net_g_1.pth'))
    restorer = Restorer.from_pretrained(tmp_path / 'lite.safetensors', 'cpu')
    net = build_network({'type': 'TGJARLiteGenerator', **TINY}).eval()
    net.load_state_dict(model.net_g_ema.state_dict())
    lq = data['lq'][:1]
    with torch.no_grad():
        expected = net(lq, restorer.encode(['a cat'])).clamp(0, 1)
    torch.testing.assert_close(restorer.restore(lq, ['a cat']), expected, atol=1e-5, rtol=0)
