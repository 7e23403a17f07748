"""LPIPS: values against a re-computation and the package, trunk files, and the metric in BasicSR's hands."""

import io
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from lpips import LPIPS
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from tgjar_arch.metrics.lpips import build_lpips, cached_lpips, calculate_lpips, lpips_features, lpips_from_features

# torchvision's AlexNet up to the last layer LPIPS reads: index of the convolution, stride, padding, pooling before it.
ALEX = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))
# LPIPS' scaling layer turns [-1, 1] into ImageNet's normalisation.
SHIFT, SCALE = np.array([-.030, -.088, -.188]), np.array([.458, .448, .450])


def trunk(model: LPIPS) -> dict[str, Tensor]:
    """The trunk's weights under torchvision's names."""
    return {'features.' + key.split('.', 1)[1]: value for key, value in model.net.state_dict().items()}


def distance(model: LPIPS, a: Tensor, b: Tensor) -> Tensor:
    return lpips_from_features(model, lpips_features(model, a), lpips_features(model, b))


def numpy_lpips(weights: dict[str, np.ndarray], heads: list[np.ndarray], a: np.ndarray, b: np.ndarray) -> float:
    """LPIPS-Alex of two (3, H, W) images in [0, 1], in float64 and without any network library."""

    def windows(x: np.ndarray, size: int, stride: int) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]

    def features(x: np.ndarray) -> list[np.ndarray]:
        x = (2 * x - 1 - SHIFT[:, None, None]) / SCALE[:, None, None]
        layers = []
        for index, stride, padding, pooled in ALEX:
            if pooled:
                x = windows(x, 3, 2).max((3, 4))
            kernel = weights[f'features.{index}.weight'].astype(np.float64)
            x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
            x = np.einsum('chwij,ocij->ohw', windows(x, kernel.shape[2], stride), kernel, optimize=True)
            x = np.maximum(x + weights[f'features.{index}.bias'][:, None, None], 0)
            layers.append(x / (np.sqrt((x**2).sum(0)) + 1e-10))
        return layers

    return sum((head.reshape(-1, 1, 1) * (p - q)**2).sum(0).mean()
               for head, p, q in zip(heads, features(a), features(b), strict=True))


@pytest.fixture(scope='module')
def squeeze() -> LPIPS:
    """A random trunk of the smallest network."""
    torch.manual_seed(1)
    return build_lpips('squeeze', pretrained=False)


@pytest.fixture
def squeeze_file(squeeze: LPIPS, tmp_path: Path) -> Path:
    path = tmp_path / 'squeeze.safetensors'
    save_file(trunk(squeeze), path)
    return path


def test_alex_equals_a_recomputation() -> None:
    model = build_lpips('alex', pretrained=False)
    a, b = torch.rand(2, 3, 47, 64)
    weights = {key: value.numpy() for key, value in trunk(model).items()}
    expected = numpy_lpips(weights, [head.model[-1].weight.numpy() for head in model.lins], a.numpy(), b.numpy())
    assert expected > 1e-4
    assert distance(model, a[None], b[None]).item() == pytest.approx(expected, rel=1e-5)
    assert model(a[None], b[None], normalize=True).item() == pytest.approx(expected, rel=1e-5)


def test_shared_weights_equal_a_recomputation_and_hold_the_heads(shared: Path) -> None:
    path = shared / 'weights' / 'lpips_alex_v0.1.npz'
    weights = dict(np.load(path))
    model = build_lpips('alex', trunk_path=path)
    a, b = torch.rand(2, 3, 64, 64)
    heads = [weights[f'lin{index}.weight'] for index in range(5)]
    for head, own in zip(heads, model.lins, strict=True):
        np.testing.assert_array_equal(head, own.model[-1].weight.numpy())
    expected = numpy_lpips(weights, heads, a.numpy(), b.numpy())
    assert distance(model, a[None], b[None]).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('net', ['alex', 'squeeze', 'vgg'])
def test_value_and_gradient_equal_the_package(net: str) -> None:
    model = build_lpips(net, pretrained=False)
    a, b = torch.rand(2, 2, 3, 40, 53)
    a.requires_grad_()
    (expected,) = torch.autograd.grad(model(a, b, normalize=True).sum(), a)
    values = distance(model, a, b)
    assert values.shape == (2,)
    torch.testing.assert_close(values, model(a, b, normalize=True).flatten(), rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(values.sum(), a)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_equal_images_have_distance_0_and_samples_do_not_mix(squeeze: LPIPS) -> None:
    a, b = torch.rand(2, 3, 3, 32, 32)
    assert distance(squeeze, a, a).tolist() == [0, 0, 0]
    a.requires_grad_()
    (gradient,) = torch.autograd.grad(distance(squeeze, a, b)[1], a)
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2]].abs().sum() == 0


def test_gradient_is_finite_where_all_features_are_zero() -> None:
    model = build_lpips('squeeze', pretrained=False)
    layers = []
    model.net.register_forward_hook(lambda module, args, outputs: layers.extend(outputs))
    x, y = torch.zeros(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32)
    features = lpips_features(model, y)
    layers.clear()
    for key, value in model.net.state_dict().items():
        if key.endswith('bias'):
            value.fill_(-1e3)  # no ReLU lets anything through
    dead = lpips_features(model, x)
    assert all(layer.abs().max() == 0 for layer in dead)
    for gradient in torch.autograd.grad(lpips_from_features(model, dead, features).sum(), [x, *layers]):
        assert gradient.isfinite().all()


def test_network_is_frozen_and_in_evaluation_mode(squeeze: LPIPS) -> None:
    assert not squeeze.training
    assert not any(parameter.requires_grad for parameter in squeeze.parameters())
    assert not any(module.training for module in squeeze.modules())


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors', '.pth'])
def test_trunk_file(squeeze: LPIPS, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'trunk{suffix}'
    weights = trunk(squeeze) | {'classifier.1.weight': torch.zeros(3)}  # a whole classification network is fine
    weights['lin2.weight'] = squeeze.lins[2].model[-1].weight.detach().clone()
    if suffix == '.npz':
        np.savez(path, **{key: value.numpy() for key, value in weights.items()})
    elif suffix == '.safetensors':
        save_file(weights, path)
    else:
        torch.save(weights, path)
    model = build_lpips('squeeze', trunk_path=path)
    for key, value in squeeze.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def corrupt(key: str, value: Tensor | None) -> Callable[[dict[str, Tensor]], None]:
    def change(weights: dict[str, Tensor]) -> None:
        weights.pop(key, None)
        if value is not None:
            weights[key] = value
    return change


@pytest.mark.parametrize(('change', 'message'), [
    (corrupt('features.3.squeeze.bias', None), r'bad\.safetensors has no features\.3\.squeeze\.bias'),
    (corrupt('features.0.weight', torch.zeros(64, 3, 11, 11)),
     r'features\.0\.weight in .*bad\.safetensors has shape \(64, 3, 11, 11\), not \(64, 3, 3, 3\)'),
    (corrupt('features.28.weight', torch.zeros(1)),
     r'bad\.safetensors has features\.28\.weight, which this trunk has not'),
    (corrupt('lin0.weight', torch.zeros(1, 64, 1, 1)), r'lin0\.weight in .*bad\.safetensors is not'),
])
def test_wrong_trunk_file(squeeze: LPIPS, tmp_path: Path, change: Callable, message: str) -> None:
    weights = trunk(squeeze)
    change(weights)
    save_file(weights, tmp_path / 'bad.safetensors')
    with pytest.raises(ValueError, match=message):
        build_lpips('squeeze', trunk_path=tmp_path / 'bad.safetensors')


def test_missing_trunk_file_and_unknown_net(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'none\.npz'):
        build_lpips('squeeze', trunk_path=tmp_path / 'none.npz')
    with pytest.raises(ValueError, match="'resnet' is unknown; choose one of alex, vgg, squeeze"):
        build_lpips('resnet')


def test_environment_names_the_trunk(squeeze: LPIPS, squeeze_file: Path, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TGJAR_LPIPS_SQUEEZE', str(squeeze_file))
    key = 'slice1.0.weight'
    assert torch.equal(build_lpips('squeeze').net.state_dict()[key], squeeze.net.state_dict()[key])
    random = build_lpips('squeeze', pretrained=False)  # asks for a random trunk and gets one
    assert not torch.equal(random.net.state_dict()[key], squeeze.net.state_dict()[key])
    save_file(trunk(random), tmp_path / 'other.safetensors')
    named = build_lpips('squeeze', trunk_path=tmp_path / 'other.safetensors')
    assert torch.equal(named.net.state_dict()[key], random.net.state_dict()[key])


def test_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a pretrained trunk without a file is downloaded; a failure says what to do, a success warns of nothing."""
    monkeypatch.delenv('TGJAR_LPIPS_SQUEEZE', raising=False)
    asked = []

    def no_network(url: str, *args, **kwargs) -> None:
        asked.append(url)
        raise URLError('no route to host')

    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', no_network)
    build_lpips('squeeze', pretrained=False)
    assert asked == []
    with pytest.raises(RuntimeError, match='no route to host.*trunk_path.*TGJAR_LPIPS_SQUEEZE'):
        build_lpips('squeeze')
    assert len(asked) == 1
    from torchvision.models import squeezenet1_1
    weights = squeezenet1_1(weights=None).state_dict()
    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', lambda *args, **kwargs: weights)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model = build_lpips('squeeze')
    assert torch.equal(model.net.slice1[0].weight, weights['features.0.weight'])


def test_metric(squeeze: LPIPS, squeeze_file: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 40, 36, 3), dtype=np.uint8)
    tensors = [torch.from_numpy(image[3:-3, 3:-3, ::-1] / np.float32(255)).permute(2, 0, 1)[None] for image in (a, b)]
    expected = distance(squeeze, *tensors).item()
    option = {'type': 'calculate_lpips', 'crop_border': 3, 'net': 'squeeze', 'trunk_path': str(squeeze_file),
              'better': 'lower'}
    value = calculate_metric({'img': a, 'img2': b}, option)
    assert isinstance(value, float)
    assert value == pytest.approx(expected, rel=1e-5)
    assert calculate_metric({'img': a, 'img2': a}, option) == 0
    chw = a.transpose(2, 0, 1), b.transpose(2, 0, 1)
    assert calculate_lpips(*chw, 3, 'CHW', 'squeeze', str(squeeze_file)) == pytest.approx(value, rel=1e-6)
    key = ('squeeze', str(squeeze_file))
    assert cached_lpips(*key) is cached_lpips(*key)  # one network a process


def test_metric_of_grey_images(squeeze_file: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 32, 32), dtype=np.uint8)
    colour = [np.repeat(image[:, :, None], 3, axis=2) for image in (a, b)]
    options = {'net': 'squeeze', 'trunk_path': str(squeeze_file)}
    assert calculate_lpips(a, b, **options) == pytest.approx(calculate_lpips(*colour, **options), rel=1e-6)


def test_metric_errors(squeeze_file: Path) -> None:
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r'one shape, but got \(32, 32, 3\) and \(24, 32, 3\)'):
        calculate_lpips(image, image[:24])
    with pytest.raises(ValueError, match=r'17x17 pixels or more, but got \(2, 3, 16, 16\)'):
        calculate_lpips(image, image, crop_border=8, net='squeeze', trunk_path=str(squeeze_file))


def test_jpeg_scores_of_cub_are_the_published_ones(shared: Path) -> None:
    """Plain JPEG at QF 1 has 0.505 in the paper's table 1; here every 12th of 500 test images."""
    scores = []
    with tarfile.open(shared / 'data' / 'cub' / 'test.tar') as archive:
        members = sorted((m for m in archive.getmembers() if m.name.endswith('.webp')), key=lambda m: m.name)
        for member in members[::12]:
            image = Image.open(io.BytesIO(archive.extractfile(member).read())).convert('RGB')
            buffer = io.BytesIO()
            image.save(buffer, 'JPEG', quality=1)
            pair = [np.asarray(picture)[:, :, ::-1] for picture in (Image.open(buffer), image)]
            scores.append(calculate_lpips(*pair, trunk_path=str(shared / 'weights' / 'lpips_alex_v0.1.npz')))
    assert np.mean(scores) == pytest.approx(.505, abs=0.02)
