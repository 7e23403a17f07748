"""Set-level metrics: the distance against its formula, sets put together, weights files, and what they refuse."""

import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from torch import Tensor, nn

pytest.importorskip('torchmetrics', reason='the extra fid is not installed')

from tgjar_arch.metrics import fid as fid_module
from tgjar_arch.metrics.fid import FrechetDistance, build_set_metric
from tgjar_arch.metrics.lpips import build_lpips
from tgjar_arch.training.options import OptionError, check_options, read_options

INCEPTION = 'torch_fidelity.feature_extractor_inceptionv3'


class MeanColour(nn.Module):
    """Features that can be given: the mean of each channel."""

    num_features = 3

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x.double().mean((2, 3))


def distance(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    metric = FrechetDistance(MeanColour(), 'test', 'none')
    for pair in pairs:
        metric.update(*pair)
    return metric.compute()


def flat(colours: np.ndarray) -> np.ndarray:
    """(N, 3) BGR colours as (N, 4, 5, 3) images."""
    return np.tile(np.rint(colours).clip(0, 255).astype(np.uint8)[:, None, None], (1, 4, 5, 1))


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """The formula, with scipy's square root of a matrix."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return np.sum((a.mean(0) - b.mean(0))**2) + np.trace(c1 + c2 - 2 * np.real(sqrtm(c1 @ c2)))


@pytest.fixture(scope='module')
def sets() -> tuple[np.ndarray, np.ndarray]:
    """60 images of correlated colours, and 60 of others."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(3, 3)) * 15
    return flat(120 + rng.normal(size=(60, 3)) @ mix), flat(100 + 20 * rng.normal(size=(60, 3)))


@pytest.fixture(scope='module')
def alex_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AlexNet's trunk, random."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp('alex') / 'alex.safetensors'
    state = build_lpips('alex', pretrained=False).net.state_dict()
    save_file({'features.' + key.split('.', 1)[1]: value for key, value in state.items()}, path)
    return path


@pytest.fixture(scope='module')
def inception_state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights of the FID's Inception network under their public names, random."""
    module = pytest.importorskip(INCEPTION, reason='the extra fid is not installed')
    torch.manual_seed(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'load_state_dict_from_url', lambda *args, **kwargs: None)
        patch.setattr(module.FeatureExtractorInceptionV3, 'load_state_dict', lambda self, state: None)
        return module.FeatureExtractorInceptionV3('random', ['2048']).state_dict()


@pytest.fixture(scope='module')
def inception_file(inception_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('inception') / 'inception.pth'
    torch.save(inception_state, path)
    return path


def test_value_of_given_features(sets: tuple[np.ndarray, np.ndarray]) -> None:
    restored, gt = sets
    expected = frechet(restored[:, 0, 0], gt[:, 0, 0])
    assert expected > 100
    assert distance(list(zip(*sets, strict=True))) == pytest.approx(expected, rel=1e-9)


def test_value_by_hand() -> None:
    """Independent channels: |m1 - m2|^2 + sum of (s1 - s2)^2, with variances 4/3 * 30^2 = 1200 and 4/3 * 10^2."""
    signs = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    pairs = zip(flat(100 + 30 * signs), flat(104 + 10 * signs), strict=True)
    assert distance(list(pairs)) == pytest.approx(3 * 4**2 + 3 * 4 / 3 * 20**2, rel=1e-9)


def test_colours_are_rgb_and_sets_are_told_apart() -> None:
    seen = []

    class Spy(MeanColour):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x[0, :, 0, 0].tolist())
            return super().forward(x)

    metric = FrechetDistance(Spy(), 'test', 'none')
    metric.update(flat(np.array([[1, 2, 3]]))[0], np.full((4, 5), 7, np.uint8))  # BGR, and grey
    assert seen == [[3, 2, 1], [7, 7, 7]]
    assert metric._metric.fake_features_sum.tolist() == [3, 2, 1]  # torchmetrics: "real" are the originals


def test_equal_sets_have_distance_0(sets: tuple[np.ndarray, np.ndarray], alex_file: Path) -> None:
    assert distance(list(zip(sets[0], sets[0], strict=True))) == pytest.approx(0, abs=1e-8)
    assert distance(list(zip(sets[0], sets[0][::-1], strict=True))) == pytest.approx(0, abs=1e-8)
    metric = build_set_metric('frechet_alexnet', weights_path=str(alex_file))
    rng = np.random.default_rng(0)
    for image in rng.integers(0, 256, (5, 40, 48, 3), dtype=np.uint8):
        metric.update(image, image)
    assert metric.compute() == pytest.approx(0, abs=1e-4)


def test_order_and_batches_do_not_matter(sets: tuple[np.ndarray, np.ndarray]) -> None:
    restored, gt = sets
    whole = distance(list(zip(restored, gt, strict=True)))
    assert distance(list(zip(restored[::-1], np.roll(gt, 7, axis=0), strict=True))) == pytest.approx(whole, rel=1e-9)
    assert distance([(restored[:13], gt[:50]), (restored[13:], gt[50:])]) == pytest.approx(whole, rel=1e-9)
    assert distance(list(zip(restored[:30], gt[:30], strict=True))) != pytest.approx(whole, rel=1e-3)


def test_reset_and_compute_twice(sets: tuple[np.ndarray, np.ndarray]) -> None:
    restored, gt = sets
    metric = FrechetDistance(MeanColour(), 'test', 'none')
    metric.update(restored[:9], gt[:9])
    first = metric.compute()
    metric.update(restored[9:], gt[9:])
    whole = metric.compute()
    assert whole == pytest.approx(frechet(restored[:, 0, 0], gt[:, 0, 0]), rel=1e-9) and whole != first
    metric.reset()
    metric.update(restored[:9], gt[:9])
    assert metric.compute() == pytest.approx(first, rel=1e-9)


def test_alexnet_features(alex_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """256 features: the mean of the layer that LPIPS calls relu5. The environment names the file."""
    monkeypatch.setenv('TGJAR_LPIPS_ALEX', str(alex_file))
    metric = build_set_metric('frechet_alexnet', better='lower')
    assert 'FID' not in metric.label and metric.weights.startswith('alex.safetensors (sha256 ')
    model = build_lpips('alex', trunk_path=alex_file)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 8, 40, 33, 3), dtype=np.uint8)
    images[0] //= 2
    metric.update(images[0], images[1])
    layers = []
    model.net.slice5.register_forward_hook(lambda module, inputs, output: layers.append(output.mean((2, 3)).double()))
    for set_ in images:
        model.net(model.scaling_layer(torch.from_numpy(set_[..., ::-1].copy()).permute(0, 3, 1, 2) / 127.5 - 1))
    a, b = (layer.numpy() for layer in layers)
    assert a.shape == (8, 256)
    assert metric.compute() == pytest.approx(nuclear(a, b), rel=1e-4)


def nuclear(a: np.ndarray, b: np.ndarray) -> float:
    """The distance without covariances: tr (C1 C2)^(1/2) is the sum of the singular values of A B^T."""
    scale = np.sqrt((len(a) - 1) * (len(b) - 1))
    centred = a - a.mean(0), b - b.mean(0)
    trace = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum() / scale
    variances = sum(np.square(x).sum() / (len(x) - 1) for x in centred)
    return np.square(a.mean(0) - b.mean(0)).sum() + variances - 2 * trace


def test_fid_is_on_torch_fidelitys_features(inception_state: dict[str, Tensor], inception_file: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TGJAR_FID_INCEPTION', str(inception_file))
    metric = build_set_metric('fid')
    assert metric.label == 'FID' and metric.weights.startswith('inception.pth (sha256 ')
    module = pytest.importorskip(INCEPTION)
    monkeypatch.setattr(module, 'load_state_dict_from_url', lambda *args, **kwargs: inception_state)
    reference = module.FeatureExtractorInceptionV3('reference', ['2048'])
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 3, 24, 32, 3), dtype=np.uint8)
    images[0] //= 3
    metric.update(images[0], images[1])
    a, b = (reference(torch.from_numpy(set_[..., ::-1].copy()).permute(0, 3, 1, 2))[0].double().numpy()
            for set_ in images)
    assert a.shape == (3, 2048)
    for kind, x in (('fake', a), ('real', b)):
        np.testing.assert_allclose(getattr(metric._metric, f'{kind}_features_sum').numpy(), x.sum(0), rtol=1e-5)
        np.testing.assert_allclose(getattr(metric._metric, f'{kind}_features_cov_sum').numpy(), x.T @ x, rtol=1e-4)


@pytest.mark.slow
def test_fid_of_2048_features(inception_file: Path) -> None:
    """The value on Inception's features: the eigenvalues of a matrix of their size take seconds to minutes."""
    metric = build_set_metric('fid', weights_path=inception_file)
    rng = np.random.default_rng(0)
    restored, gt = rng.integers(0, 256, (2, 3, 24, 32, 3), dtype=np.uint8)
    restored //= 3
    metric.update(restored, gt)
    a, b = (metric._metric.inception(torch.from_numpy(set_[..., ::-1].copy()).permute(0, 3, 1, 2)).double().numpy()
            for set_ in (restored, gt))
    assert metric.compute() == pytest.approx(nuclear(a, b), rel=1e-4) and nuclear(a, b) > 0


@pytest.mark.parametrize(('change', 'message'), [
    (lambda state: state.pop('fc.bias'), r'bad\.safetensors are not those of the FID.*Missing key.*fc\.bias'),
    (lambda state: state.update(extra=torch.zeros(1)), r'bad\.safetensors are not those.*Unexpected key.*extra'),
    (lambda state: state.update({'fc.bias': torch.zeros(1000)}), r'size mismatch for fc\.bias.*1000'),
])
def test_wrong_inception_file(inception_state: dict[str, Tensor], tmp_path: Path, change: Callable,
                              message: str) -> None:
    state = dict(inception_state)
    change(state)
    save_file(state, tmp_path / 'bad.safetensors')
    with pytest.raises(ValueError, match=message):
        build_set_metric('fid', weights_path=tmp_path / 'bad.safetensors')


def test_missing_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r'none\.pth.*weights-inception-2015-12-05'):
        build_set_metric('fid', weights_path=tmp_path / 'none.pth')
    monkeypatch.setenv('TGJAR_FID_INCEPTION', str(tmp_path / 'of_the_environment.pth'))
    with pytest.raises(FileNotFoundError, match=r'of_the_environment\.pth'):
        build_set_metric('fid')
    monkeypatch.delenv('TGJAR_FID_INCEPTION')

    def no_network(*args, **kwargs) -> None:
        raise URLError('no route to host')

    monkeypatch.setattr(f'{INCEPTION}.load_state_dict_from_url', no_network)
    with pytest.raises(RuntimeError, match='no route to host.*weights_path.*TGJAR_FID_INCEPTION'):
        build_set_metric('fid')


def test_download(inception_state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('TGJAR_FID_INCEPTION', raising=False)
    monkeypatch.setattr(f'{INCEPTION}.load_state_dict_from_url', lambda *args, **kwargs: inception_state)
    fid_module._inception.cache_clear()
    metric = build_set_metric('fid')
    fid_module._inception.cache_clear()  # random weights must not stay under the name of the public ones
    assert metric.weights == 'weights-inception-2015-12-05-6726825d.pth (downloaded)'
    assert torch.equal(metric._metric.inception.fc.weight, inception_state['fc.weight'])


def test_missing_packages(alex_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, INCEPTION, None)
        with pytest.raises(ImportError, match='torch-fidelity.*pip install torchmetrics torch-fidelity'):
            build_set_metric('fid', weights_path=tmp_path / 'any.pth')
    monkeypatch.setitem(sys.modules, 'torchmetrics.image.fid', None)
    with pytest.raises(ImportError, match='torchmetrics.*pip install torchmetrics torch-fidelity'):
        build_set_metric('frechet_alexnet', weights_path=alex_file)


def test_names_and_options() -> None:
    with pytest.raises(ValueError, match="no set-level metric 'FID'; there are fid, frechet_alexnet"):
        build_set_metric('FID')
    with pytest.raises(ValueError, match="fid has no option 'trunk_path'; it has weights_path, better"):
        build_set_metric('fid', trunk_path='x')


def test_option_files(tmp_path: Path) -> None:
    """`tgjar train` checks the metrics of a set as it does the others, and knows which model computes them."""
    path = str(Path(__file__).resolve().parents[2] / 'options' / 'train_tgjar_cub.yml')
    options = read_options(path)
    options['num_gpu'] = 0
    for metric in ({'type': 'fid', 'weights_path': 'x.pth', 'better': 'lower'}, {'type': 'frechet_alexnet'}):
        options['val']['metrics'] = {'set': metric}
        check_options(options, path, is_train=True)
    for metric, message in (({'type': 'fid', 'weight_path': 'x.pth'}, "fid has no key 'weight_path'. Did you mean"),
                            ({'type': 'fidd'}, "val:metrics:set:type: there is no 'fidd'. Did you mean fid"),
                            ({'type': 'mean'}, "there is no 'mean'. There are: .*calculate_psnr.*, frechet_alexnet")):
        options['val']['metrics'] = {'set': metric}
        with pytest.raises(OptionError, match=message):
            check_options(options, path, is_train=True)
    options |= {'model_type': 'SRModel'}
    options['val']['metrics'] = {'set': {'type': 'fid'}}
    with pytest.raises(OptionError, match="metrics:set:type: 'fid' is a metric of a whole set.*SRModel.*TGJARModel"):
        check_options(options, path, is_train=True)


def test_images_that_are_refused(alex_file: Path) -> None:
    metric = build_set_metric('frechet_alexnet', weights_path=alex_file)
    good = np.zeros((40, 40, 3), np.uint8)
    for bad, message in ((good.astype(np.float32), 'gt is .*float32'), (good[..., :2], r'gt is \(40, 40, 2\)'),
                         (good[:30], r'31x31 pixels or more, but gt is 30x40')):
        with pytest.raises(ValueError, match=message):
            metric.update(good, bad)
    with pytest.raises(RuntimeError, match='More than one sample'):  # and nothing was added
        metric.compute()
