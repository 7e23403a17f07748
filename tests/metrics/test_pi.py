"""PI and Ma: the formula, the parts, and pyiqa's model with weights from a file; a stand-in where pyiqa is missing."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import skimage.data
import torch
from basicsr.metrics import calculate_metric
from basicsr.metrics.niqe import calculate_niqe
from torch import Tensor

from tgjar_arch.metrics.pi import build_nrqm, cached_nrqm, calculate_ma, calculate_pi, perceptual_index

NUM_FEATURES = (18, 45, 75)  # of the cosine transform, the wavelet bands and the singular values


class StandIn:
    """In place of pyiqa's NRQM: its score is the mean of what it is given, a known function of the picture."""

    def __init__(self, test_y_channel: bool = True, color_space: str = 'yiq', crop_border: int = 0,
                 pretrained_model_path: str | None = None) -> None:
        if pretrained_model_path is None:
            raise URLError('no route to host')
        scipy.io.loadmat(pretrained_model_path)['model']

    def __call__(self, x: Tensor) -> Tensor:
        assert x.shape[:2] == (1, 1) and x.dtype == torch.float32 and torch.equal(x, x.round())
        return x.mean() / 255 * 10


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    modules = {name: ModuleType(name) for name in ('pyiqa', 'pyiqa.archs', 'pyiqa.archs.nrqm_arch')}
    modules['pyiqa.archs.nrqm_arch'].NRQM = StandIn
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delenv('TGJAR_NRQM', raising=False)
    cached_nrqm.cache_clear()
    yield
    cached_nrqm.cache_clear()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file laid out as NRQM_model.mat, with small random forests: three full trees of depth four each."""
    rng = np.random.default_rng(0)
    nodes = np.arange(1, 32)  # node k has the children 2k and 2k + 1; 0 marks a leaf
    left, right = (np.where(child <= 31, child, 0).astype(np.int32) for child in (2 * nodes, 2 * nodes + 1))
    forests = np.empty((1, 3), dtype=object)
    for index, number in enumerate(NUM_FEATURES):
        forests[0, index] = {
            'lDau': np.stack([left] * 3, axis=1), 'rDau': np.stack([right] * 3, axis=1), 'nodeStatus': 0, 'nrnodes': 31,
            'upper': rng.uniform(0, 2, (31, 3)), 'avnode': rng.uniform(0, 10, (31, 3)),
            'mbest': rng.integers(1, number + 1, (31, 3), dtype=np.int32)}
    path = tmp_path / 'NRQM_model.mat'
    scipy.io.savemat(path, {'model': {'linear': rng.uniform(.1, .4, (4, 1)), 'rf': forests}})
    return path


def photo(height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(skimage.data.astronaut()[60:60 + height, 100:100 + width, ::-1])


def luma(image: np.ndarray) -> np.ndarray:
    """ITU-R BT.601, 16 to 235, of BGR."""
    return np.rint(16 + image.astype(np.float64) / 255 @ [24.966, 128.553, 65.481])


def test_formula() -> None:
    assert perceptual_index(ma=10, niqe=0) == 0
    assert perceptual_index(ma=6.53, niqe=19.43) == pytest.approx(11.45)  # JPEG at QF 1 in the paper's table 1
    assert perceptual_index(6, 5) < perceptual_index(5, 5) < perceptual_index(5, 6)


def test_parts(stand_in: None, weights: Path) -> None:
    image, file = photo(200, 104), str(weights)
    ma = luma(image).mean() / 25.5
    assert calculate_ma(image, weights_path=file) == pytest.approx(ma, abs=2e-3)
    niqe = calculate_niqe(image, crop_border=0)
    assert 1 < niqe < 50
    assert calculate_pi(image, weights_path=file) == pytest.approx((10 - ma + niqe) / 2, abs=2e-3)


def test_crop_order_and_grey(stand_in: None, weights: Path) -> None:
    image, file = photo(204, 108), str(weights)
    expected = calculate_ma(image[4:-4, 4:-4], weights_path=file), calculate_pi(image[4:-4, 4:-4], weights_path=file)
    for score, value in zip((calculate_ma, calculate_pi), expected, strict=True):
        assert score(image, crop_border=4, weights_path=file) == value
        assert score(image.transpose(2, 0, 1), crop_border=4, input_order='CHW', weights_path=file) == value
        assert score(image, weights_path=file) != value
    grey = luma(image).astype(np.uint8)  # taken as Y itself
    assert calculate_pi(grey, weights_path=file) == pytest.approx(calculate_pi(image, weights_path=file), abs=1e-2)


def test_in_basicsrs_hands(stand_in: None, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TGJAR_NRQM', str(weights))
    image = photo(200, 104)
    data = {'img': image, 'img2': image}
    for name in ('calculate_pi', 'calculate_ma'):
        value = calculate_metric({'img': image}, {'type': name, 'crop_border': 4, 'better': 'lower'})
        assert isinstance(value, float) and value > 0
        # BasicSR's own validation hands over the original as well, which has no influence
        assert calculate_metric(dict(data), {'type': name, 'crop_border': 4}) == value


def test_errors(stand_in: None, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match='no route to host.*NRQM_model.mat.*weights_path.*TGJAR_NRQM'):
        build_nrqm()
    with pytest.raises(FileNotFoundError, match=r'none\.mat do not exist; name a copy of NRQM_model\.mat'):
        build_nrqm(tmp_path / 'none.mat')
    (tmp_path / 'broken.mat').write_bytes(weights.read_bytes()[:150])
    with pytest.raises(ValueError, match=r'broken\.mat cannot be read .*must be NRQM_model\.mat'):
        build_nrqm(tmp_path / 'broken.mat')
    scipy.io.savemat(tmp_path / 'other.mat', {'weights': np.zeros(3)})
    with pytest.raises(ValueError, match=r"other\.mat cannot be read \(KeyError: 'model'\)"):
        build_nrqm(tmp_path / 'other.mat')
    with pytest.raises(ValueError, match='84x84 pixels or more after the crop, but got 92x80'):
        calculate_ma(photo(100, 88), crop_border=4, weights_path=str(weights))
    monkeypatch.setitem(sys.modules, 'pyiqa.archs.nrqm_arch', None)
    with pytest.raises(ImportError, match='pip install --no-deps pyiqa'):
        build_nrqm(weights)


def test_pyiqas_model(weights: Path) -> None:
    """pyiqa gives the same for the RGB picture; the score follows from its features and our own walk of the forests."""
    module = pytest.importorskip('pyiqa.archs.nrqm_arch', reason='pyiqa is optional: pip install --no-deps pyiqa')
    image = photo(84, 90)
    features, walk = [], module.random_forest_regression
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'random_forest_regression',
                      lambda x, *forest: (features.append((x[0].numpy(), forest)), walk(x, *forest))[1])
        value = calculate_ma(image, weights_path=str(weights))
    assert tuple(len(x) for x, _ in features) == NUM_FEATURES
    mat = scipy.io.loadmat(weights, simplify_cells=True)['model']
    expected = mat['linear'][0]
    for (x, _), forest, weight in zip(features, mat['rf'], mat['linear'][1:], strict=True):
        predictions = []
        for tree in range(3):
            node = 1
            while forest['lDau'][node - 1, tree]:
                left = x[forest['mbest'][node - 1, tree] - 1] <= forest['upper'][node - 1, tree]
                node = forest['lDau' if left else 'rDau'][node - 1, tree]
            predictions.append(forest['avnode'][node - 1, tree])
        expected += weight * np.mean(predictions)
    assert value == pytest.approx(expected, rel=1e-5) and 0 < value < 20
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    own = module.NRQM(color_space='ycbcr', pretrained_model_path=str(weights))
    assert own(rgb).item() == pytest.approx(value, rel=1e-6)


def test_pyiqas_errors(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip('pyiqa.archs.nrqm_arch', reason='pyiqa is optional: pip install --no-deps pyiqa')
    scipy.io.savemat(tmp_path / 'half.mat', {'model': {'linear': np.zeros((4, 1))}})
    with pytest.raises(ValueError, match=r'half\.mat cannot be read .*must be NRQM_model\.mat'):
        build_nrqm(tmp_path / 'half.mat')

    def no_network(url: str) -> None:
        raise URLError('no route to host')

    monkeypatch.delenv('TGJAR_NRQM', raising=False)
    monkeypatch.setattr(module, 'load_file_from_url', no_network)
    with pytest.raises(RuntimeError, match='no route to host.*TGJAR_NRQM'):
        build_nrqm()
    monkeypatch.setattr(module, 'load_file_from_url', lambda url: str(weights))
    assert build_nrqm().linear_param.shape == (4, 1)
