"""The baselines: equal to the authors' public code, sizes, gradients, and training in TGJARModel."""

import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model
from torch.utils.data import DataLoader

from tgjar_arch.archs import rnan_arch
from tgjar_arch.archs.fbcnn_arch import FBCNN
from tgjar_arch.archs.qgcn_arch import QGCN
from tgjar_arch.archs.rnan_arch import RNAN

NETWORKS = {  # tiny ones
    'EDSR': {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 1},
    'RNAN': {'num_feat': 4, 'num_group': 3},
    'QGCN': {'num_feat': 4, 'num_block': 2},
    'FBCNN': {'num_feat': [4, 4, 8, 512], 'num_block': 1},
}


def count(net):
    return sum(p.numel() for p in net.parameters())


def close(found, expected):
    """Whether the largest difference is below 1e-4 of the largest value."""
    return (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.fixture
def spandrel():
    return pytest.importorskip('spandrel', reason='FBCNN needs spandrel, which is optional')


def test_rnan_equals_the_public_code(shared):
    values = np.load(shared / 'parity' / 'rnan.npz')
    weights = {key[3:]: torch.from_numpy(values[key]) for key in values.files if key.startswith('sd.')}
    net = RNAN(num_feat=16, num_group=2)
    net.load_state_dict(weights)
    assert list(net.state_dict()) == list(weights)
    lq = torch.from_numpy(values['input'])
    with torch.no_grad():
        out = net(lq)
    assert close(out - lq, torch.from_numpy(values['output']) - lq)


def test_qgcn_equals_the_public_code(shared):
    values = np.load(shared / 'parity' / 'qgcn.npz')
    net = QGCN(num_block=4)
    state = net.state_dict()
    assert list(state) == values['names'].tolist()
    for i, weight in enumerate(state.values()):
        numbers = values['amplitude'] * np.sin(0.37 * np.arange(weight.numel()) + i)
        weight.copy_(torch.from_numpy(numbers).reshape(weight.shape))
    x, thumbnail = torch.from_numpy(values['input']), torch.from_numpy(values['thumbnail'])
    with torch.no_grad():
        out = net(x, thumbnail)
        apart = net(x[:, :3], thumbnail, qmaps=x[:, 3:])
    assert close(out, torch.from_numpy(values['output']))
    assert torch.equal(out, apart)


def test_parameters():
    assert count(RNAN()) == 8_959_555
    assert count(QGCN()) == 12_305_472


def test_fbcnn_has_the_public_files_layers(spandrel):
    from spandrel.architectures.FBCNN import FBCNN as Public
    with torch.device('meta'):
        net, public = FBCNN(), Public()
    assert count(net) == 71_921_796
    shapes = {key: value.shape for key, value in net.state_dict().items()}
    assert shapes == {key: value.shape for key, value in public.state_dict().items()}
    assert {'m_head.weight', 'm_up3.0.weight', 'qf_pred.0.res.0.weight', 'to_gamma_1.0.weight'} <= set(shapes)


def test_fbcnn_is_spandrels_and_takes_a_quality_factor(spandrel):
    from spandrel.architectures.FBCNN import FBCNN as Public
    net, public = FBCNN(**NETWORKS['FBCNN']), Public(nc=[4, 4, 8, 512], nb=1)
    net.load_state_dict(public.state_dict())
    lq = torch.rand(2, 3, 35, 50)
    with torch.no_grad():
        (image, qf), expected = net(lq, return_qf=True), public(lq)
        assert torch.equal(image, expected[0]) and torch.equal(qf, expected[1]) and torch.equal(net(lq), image)
        assert torch.equal(net(lq, qf_input=qf), image)
        assert not torch.equal(net(lq, qf_input=qf + 0.5), image)
        assert torch.equal(deepcopy(net)(lq), image)
    with pytest.raises(ValueError, match=r'qf_input \(2, 1\)'):
        net(lq, qf_input=torch.tensor([0.9]))


def test_fbcnn_without_spandrel_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'spandrel.architectures.FBCNN', None)
    with pytest.raises(ImportError, match=r'pip install tgjar\[fbcnn\]'):
        FBCNN()


def test_attention_in_parts_is_the_same(monkeypatch):
    net = rnan_arch.NonLocalBlock(4)
    torch.nn.init.normal_(net.W.weight)
    x = torch.randn(2, 4, 6, 5, requires_grad=True)
    results = []
    for scores in (2**25, 2 * 30 * 7):  # all 30 pixels at once; 7, 7, 7, 7 and 2
        monkeypatch.setattr(rnan_arch, '_MAX_SCORES', scores)
        out = net(x)
        with torch.no_grad():
            torch.testing.assert_close(net(x), out)
        results.append([out, *torch.autograd.grad(out.square().sum(), [x, *net.parameters()])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_rnan_sees_the_whole_image():
    net = RNAN(num_feat=4, num_group=2)
    for module in net.modules():
        if isinstance(module, rnan_arch.NonLocalBlock):
            torch.nn.init.normal_(module.W.weight)
    lq = torch.rand(1, 3, 8, 200, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(lq)[0, 0, 4, 0], lq)
    assert gradient[..., -1].abs().max() > 0


def inputs(net, height, width, batch=2):
    extra = {'qmaps': torch.rand(batch, 2, height, width), 'thumbnail': torch.rand(batch, 3, 112, 112)}
    return {'x': torch.rand(batch, 3, height, width)} | {key: extra[key] for key in getattr(net, 'extra_inputs', ())}


@pytest.fixture(params=['RNAN', 'QGCN', 'FBCNN'])
def net(request):
    if request.param == 'FBCNN':
        request.getfixturevalue('spandrel')
    return build_network({'type': request.param, **deepcopy(NETWORKS[request.param])})


def test_odd_sizes(net):
    """As if the edge had been repeated beforehand up to the size that the layers want."""
    multiple = 8 if isinstance(net, FBCNN) else 2
    for height, width in ((1, 1), (13, 18), (16, 31), (21, 9)):
        batch = inputs(net, height, width)
        border = (0, -width % multiple, 0, -height % multiple)
        padded = {key: value if key == 'thumbnail' else torch.nn.functional.pad(value, border, mode='replicate')
                  for key, value in batch.items()}
        with torch.no_grad():
            out = net(**batch)
            torch.testing.assert_close(out, net(**padded)[:, :, :height, :width])
        assert out.shape == batch['x'].shape and out.std() > 0


def test_images_of_a_batch_do_not_see_each_other(net):
    batch = inputs(net, 16, 16)
    with torch.no_grad():
        together = net(**batch)
        for k in range(2):
            torch.testing.assert_close(net(**{key: value[k:k + 1] for key, value in batch.items()}), together[k:k + 1],
                                       rtol=1e-4, atol=1e-5)


def test_gradients_reach_all_parameters(net):
    for module in net.modules():
        if isinstance(module, rnan_arch.NonLocalBlock):
            torch.nn.init.normal_(module.W.weight)  # 0 in a new network, which shuts the layers before it off
    net(**inputs(net, 16, 16)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize('x, thumbnail, qmaps', [
    ((1, 3, 16, 16), (1, 3, 112, 112), None),
    ((1, 5, 16, 16), (1, 3, 64, 64), None),
    ((1, 3, 16, 16), (1, 3, 112, 112), (1, 2, 16, 8)),
    ((2, 5, 16, 16), (1, 3, 112, 112), None),
])
def test_qgcn_says_what_it_needs(x, thumbnail, qmaps):
    with pytest.raises(ValueError, match='quantisation_maps: true and thumbnail: 112'):
        QGCN(**NETWORKS['QGCN'])(torch.rand(x), torch.rand(thumbnail), None if qmaps is None else torch.rand(qmaps))


def test_fbcnn_arguments(spandrel):
    for num_feat in ([4, 8], [4, 4, 8, 8]):
        with pytest.raises(ValueError, match='the last of them 512, but is'):
            FBCNN(num_feat=num_feat)
    with pytest.raises(ValueError, match=r'expects images \(N, 3, H, W\), but got \(1, 1, 8, 8\)'):
        FBCNN(**NETWORKS['FBCNN'])(torch.rand(1, 1, 8, 8))


def test_rnan_arguments():
    with pytest.raises(ValueError, match='num_group 1'):
        RNAN(num_group=1)
    with pytest.raises(ValueError, match=r'expects images \(N, 3, H, W\), but got \(1, 1, 8, 8\)'):
        RNAN(**NETWORKS['RNAN'])(torch.rand(1, 1, 8, 8))


@pytest.fixture
def opt(photos, tmp_path):
    """Return `make(network)`, options of a training on three photographs."""
    root = photos(size=48, captions=False)
    (tmp_path / 'models').mkdir()
    (tmp_path / 'training_states').mkdir()

    def make(network: str) -> dict:
        if network == 'FBCNN':
            pytest.importorskip('spandrel', reason='FBCNN needs spandrel, which is optional')
        dataset = {'type': 'PairedImageTextDataset', 'dataroot_gt': str(root), 'io_backend': {'type': 'disk'}, 'qf': 10}
        if network == 'QGCN':
            dataset |= {'quantisation_maps': True, 'thumbnail': 112}
        return {
            'name': 'tiny', 'model_type': 'TGJARModel', 'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1,
            'is_train': True,
            'datasets': {'train': dataset | {'name': 'train', 'phase': 'train', 'gt_size': 32},
                         'val': dataset | {'name': 'val', 'phase': 'val'}},
            'network_g': {'type': network, **deepcopy(NETWORKS[network])},
            'path': {key: str(tmp_path / key) for key in ('models', 'training_states')},
            'train': {'ema_decay': 0.9, 'optim_g': {'type': 'Adam', 'lr': 1e-3},
                      'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.1},
                      'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}},
            'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
        }

    return make


@pytest.mark.parametrize('network', NETWORKS)
def test_two_iterations_and_a_validation(opt, network, tmp_path):
    options = opt(network)
    model = build_model(deepcopy(options))
    data = next(iter(DataLoader(build_dataset(deepcopy(options['datasets']['train'])), batch_size=2)))
    before = {key: value.clone() for key, value in model.net_g.named_parameters()}
    for iteration in (1, 2):
        model.feed_data(data)
        model.optimize_parameters(iteration)
    assert list(model.get_current_log()) == ['l_g_pix']
    assert all(not torch.equal(value, before[key]) for key, value in model.net_g.named_parameters()
               if not key.endswith('.theta.bias'))  # the same for all that the softmax compares
    model.validation(DataLoader(build_dataset(options['datasets']['val']), batch_size=1), 2, None, save_img=False)
    assert model.metric_results['psnr'] > 0
    model.save(0, 2)
    options['path']['pretrain_network_g'] = str(tmp_path / 'models' / 'net_g_2.pth')
    again = build_model(options)
    for (key, a), b in zip(model.net_g.state_dict().items(), again.net_g.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def test_a_missing_extra_input_names_the_option(opt):
    options = opt('QGCN')
    model = build_model(options)
    with pytest.raises(KeyError, match='QGCN needs qmaps, which the batch has not; .* quantisation_maps: true'):
        model.feed_data({'lq': torch.rand(1, 3, 8, 8), 'thumbnail': torch.rand(1, 3, 112, 112)})


def test_a_public_state_dict_loads_as_it_is(opt, tmp_path):
    options = opt('RNAN')
    public = build_network(deepcopy(options['network_g']))
    torch.save(public.state_dict(), tmp_path / 'public.pth')
    options['path']['pretrain_network_g'] = str(tmp_path / 'public.pth')
    model = build_model(options)
    for net in (model.net_g, model.net_g_ema):
        assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), public.state_dict().values(),
                                                     strict=True))
