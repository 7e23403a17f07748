import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from tgjar_arch.archs.image_encoder_arch import DAMSMImageEncoder

MOBILE = {'backbone': 'mobilenet_v3_small', 'region_node': 'features.3', 'global_node': 'features.12', 'text_dim': 8}


@pytest.fixture(autouse=True)
def one_thread(deterministic):
    torch.set_num_threads(1)


@pytest.fixture(scope='module')
def inception():
    """The paper's image encoder with random weights; tests leave it as it is."""
    torch.manual_seed(0)
    return DAMSMImageEncoder()


@pytest.fixture(scope='module')
def alexnet():
    torch.manual_seed(0)
    return DAMSMImageEncoder('alexnet', text_dim=16)


@pytest.fixture(scope='module')
def trunk():
    """Weights of an AlexNet, classifier included."""
    torch.manual_seed(1)
    return torchvision.models.alexnet(weights=None).state_dict()


def count(parameters):
    return sum(p.numel() for p in parameters)


def test_inception_has_the_parameters_and_keys_of_attngan(inception):
    assert count(inception.parameters()) == 22_506_720
    assert count(p for p in inception.parameters() if p.requires_grad) == 721_152
    assert inception.emb_features.weight.shape == (256, 768, 1, 1) and inception.emb_features.bias is None
    assert inception.emb_cnn_code.weight.shape == (256, 2048)
    for layer in (inception.emb_features, inception.emb_cnn_code):
        assert 0.099 < layer.weight.abs().max() <= 0.1
    keys = set(inception.state_dict())
    assert {'emb_features.weight', 'emb_cnn_code.weight', 'emb_cnn_code.bias', 'backbone.Conv2d_1a_3x3.conv.weight',
            'backbone.Mixed_7c.branch_pool.bn.running_var'} <= keys
    assert not any(key.startswith(('backbone.fc', 'backbone.AuxLogits', 'mean', 'std')) for key in keys)


def test_inception_gives_17x17_regions_of_images_of_any_size(inception):
    inception.eval()
    images = torch.rand(2, 3, 40, 64)
    with torch.no_grad():
        regions, whole = inception(images)
        resized = inception(F.interpolate(images, size=(299, 299), mode='bilinear', align_corners=False))
        alone = inception(images[1:])
    assert regions.shape == (2, 256, 17, 17) and whole.shape == (2, 256)
    for a, b, c in zip((regions, whole), resized, alone, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a[1:], c, rtol=1e-4, atol=1e-5)  # images do not leak into each other


def test_frozen_means_that_statistics_of_batch_normalisation_stay(inception):
    before = {key: value.clone() for key, value in inception.backbone.state_dict().items()}
    inception.train()
    with torch.no_grad():
        trained = inception(torch.rand(1, 3, 299, 299))
    assert inception.training and not any(module.training for module in inception.backbone.modules())
    assert all(torch.equal(value, before[key]) for key, value in inception.backbone.state_dict().items())
    assert all(torch.isfinite(part).all() for part in trained)


@pytest.mark.parametrize('option, moves', [({}, False), ({'bn_drift': True}, True), ({'train_backbone': True}, True)])
def test_statistics_follow_the_data_only_if_told(option, moves):
    net = DAMSMImageEncoder(**MOBILE, **option).train()
    before = {key: value.clone() for key, value in net.backbone.state_dict().items() if 'running' in key}
    net(torch.rand(2, 3, 32, 32))
    changed = [not torch.equal(net.backbone.state_dict()[key], value) for key, value in before.items()]
    assert all(changed) if moves else not any(changed)
    net.eval()
    before = {key: value.clone() for key, value in net.backbone.state_dict().items()}
    net(torch.rand(2, 3, 32, 32))
    assert all(torch.equal(net.backbone.state_dict()[key], value) for key, value in before.items())


def test_only_the_projections_are_trained(alexnet):
    regions, whole = alexnet(torch.rand(2, 3, 64, 64))
    (regions.square().sum() + whole.square().sum()).backward()
    with_gradient = {name for name, p in alexnet.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert with_gradient == {'emb_features.weight', 'emb_cnn_code.weight', 'emb_cnn_code.bias'}
    alexnet.zero_grad()


def test_a_frozen_backbone_keeps_no_graph_unless_the_image_wants_a_gradient(alexnet):
    outputs = []
    handle = alexnet.backbone.register_forward_hook(lambda module, args, output: outputs.append(output['regions']))
    alexnet(torch.rand(1, 3, 64, 64))
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    regions, whole = alexnet(image)
    with torch.no_grad():
        alexnet(image)
    handle.remove()
    assert [output.requires_grad for output in outputs] == [False, True, False]
    for feature in (regions, whole):
        (gradient,) = torch.autograd.grad(feature.square().sum(), image, retain_graph=True)
        assert torch.isfinite(gradient).all() and (gradient != 0).float().mean() > 0.9


def test_a_trained_backbone_gets_gradients():
    net = DAMSMImageEncoder(**MOBILE, train_backbone=True)
    _, whole = net(torch.rand(2, 3, 64, 64))
    whole.square().sum().backward()
    assert all(p.grad is not None for p in net.backbone.parameters())


def test_images_are_normalised_for_their_backbone(alexnet, inception):
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    images = torch.rand(1, 3, 299, 299)
    for net, expected in ((alexnet, (images - mean) / std), (inception, images * 2 - 1)):
        seen = []
        handle = net.backbone.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0]))
        with torch.no_grad():
            net(images)
        handle.remove()
        torch.testing.assert_close(seen[0], expected)


def test_half_precision_images_of_another_network(alexnet):
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = alexnet(images), alexnet(images.bfloat16())
        with torch.autocast('cpu', dtype=torch.bfloat16):
            mixed = alexnet(images)
    for a, b, c in zip(expected, found, mixed, strict=True):
        assert b.dtype == torch.float32
        assert (a - b).norm() < 0.05 * a.norm() and (a - c.float()).norm() < 0.05 * a.norm()


@pytest.mark.parametrize('suffix', ['npz', 'safetensors', 'pth'])
def test_weights_of_a_local_file(trunk, tmp_path, suffix):
    path = tmp_path / f'alexnet.{suffix}'
    if suffix == 'npz':
        np.savez(path, **{key: value.numpy() for key, value in trunk.items() if key.startswith('features')})
    elif suffix == 'safetensors':
        save_file(trunk, path)
    else:  # a classifier of other classes is no matter: it is not used
        torch.save(trunk | {'classifier.6.weight': torch.zeros(5, 4096)}, path)
    net = DAMSMImageEncoder('alexnet', text_dim=8, weights=str(path))
    state = net.backbone.state_dict()
    assert set(state) == {key for key in trunk if key.startswith('features')}
    assert all(torch.equal(value, trunk[key]) for key, value in state.items())
    assert not any(p.requires_grad for p in net.backbone.parameters())


def test_weights_of_the_shared_lpips_trunk(shared):
    path = shared / 'weights' / 'lpips_alex_v0.1.npz'
    net = DAMSMImageEncoder('alexnet', weights=str(path)).eval()
    with np.load(path) as file:
        assert np.array_equal(net.backbone.state_dict()['features.10.weight'], file['features.10.weight'])
    with torch.no_grad():
        regions, whole = net(torch.rand(1, 3, 80, 80))
    assert regions.shape == (1, 256, 17, 17) and whole.shape == (1, 256)
    assert torch.isfinite(regions).all() and whole.std() > 0


def test_weights_of_an_old_pytorch_have_no_batch_counter(tmp_path):
    torch.manual_seed(2)
    state = torchvision.models.mobilenet_v3_small(weights=None).state_dict()
    torch.save({key: value for key, value in state.items() if not key.endswith('num_batches_tracked')},
               tmp_path / 'old.pth')
    net = DAMSMImageEncoder(**MOBILE, weights=str(tmp_path / 'old.pth'))
    assert all(torch.equal(value, state[key]) for key, value in net.backbone.state_dict().items())


def test_weights_that_do_not_fit_are_named(trunk, tmp_path):
    path = tmp_path / 'alexnet.pth'
    torch.save({key: value for key, value in trunk.items() if 'features.3' not in key}, path)
    with pytest.raises(ValueError, match=r"alexnet.pth lack 2 tensors of alexnet, e.g. \['features.3.weight'"):
        DAMSMImageEncoder('alexnet', weights=str(path))
    torch.save(trunk | {'features.3.weight': torch.zeros(1, 2)}, path)
    with pytest.raises(ValueError, match=r'features.3.weight \(1, 2\) instead of \(192, 64, 5, 5\)'):
        DAMSMImageEncoder('alexnet', weights=str(path))
    with pytest.raises(FileNotFoundError, match='missing.npz'):
        DAMSMImageEncoder('alexnet', weights=str(tmp_path / 'missing.npz'))
    with pytest.raises(ValueError, match='must be a .npz, .safetensors or .pth'):
        (tmp_path / 'alexnet.bin').write_bytes(b'')
        DAMSMImageEncoder('alexnet', weights=str(tmp_path / 'alexnet.bin'))


@pytest.mark.parametrize('options, shape', [
    (MOBILE, (38, 38)),
    ({'backbone': 'squeezenet1_1', 'region_node': 'features.12', 'global_node': 'features.12', 'text_dim': 8},
     (18, 18)),
])
def test_other_torchvision_backbones(options, shape):
    net = DAMSMImageEncoder(**options).eval()
    with torch.no_grad():
        regions, whole = net(torch.rand(2, 3, 48, 48))
    assert regions.shape == (2, 8, *shape) and whole.shape == (2, 8)


def test_global_features_are_the_pooled_last_map(alexnet):
    alexnet.eval()
    images = torch.rand(2, 3, 299, 299)
    with torch.no_grad():
        last = alexnet.backbone((images - alexnet.mean) / alexnet.std)['regions']
        regions, whole = alexnet(images)
    torch.testing.assert_close(whole, alexnet.emb_cnn_code(last.mean(dim=(2, 3))))
    torch.testing.assert_close(regions, nn.functional.conv2d(last, alexnet.emb_features.weight))


def test_a_smaller_input_has_fewer_regions():
    net = DAMSMImageEncoder('alexnet', text_dim=8, input_size=128).eval()
    with torch.no_grad():
        regions, whole = net(torch.rand(1, 3, 64, 64))
    assert regions.shape == (1, 8, 7, 7) and whole.shape == (1, 8)


@pytest.mark.parametrize('options, message', [
    ({'backbone': 'inception_v33'}, 'name region_node and global_node'),
    ({'backbone': 'alexnett', 'region_node': 'a', 'global_node': 'b'}, "no classification model 'alexnett'.*'alexnet'"),
    ({'backbone': 'squeezenet1_1', 'region_node': 'features.12'}, 'name region_node and global_node'),
    ({'backbone': 'alexnet', 'region_node': 'features.99'}, "alexnet has no node 'features.99'"),
    ({'backbone': 'alexnet', 'global_node': 'classifier.1'}, r"'classifier.1' of alexnet gives \(1, 4096\), no map"),
])
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        DAMSMImageEncoder(**options)


def test_wrong_images_are_named(alexnet):
    with pytest.raises(ValueError, match=r'\(N, 3, H, W\), but got \(2, 1, 32, 32\)'):
        alexnet(torch.rand(2, 1, 32, 32))


def test_a_download_that_fails_names_the_way_round(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError('no route to host')

    monkeypatch.setattr('torchvision.models.get_model', fail)
    with pytest.raises(OSError, match='cannot be downloaded .no route to host.; .* network_i: weights: FILE'):
        DAMSMImageEncoder(weights='imagenet')
