"""JPEG in memory: the same files as Pillow's, the grid of a double compression, the drawing of quality factors."""

import io
import random
import tarfile

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from tgjar_arch.datasets.degradation import DoubleCompression, QualitySampler, shifted_compress
from tgjar_arch.jpeg.codec import compress, encode
from tgjar_arch.jpeg.settings import CHROMA


@pytest.fixture(scope='module')
def photo() -> np.ndarray:
    """A natural image (120, 104, 3), BGR, whose sides are no multiples of 16."""
    return np.ascontiguousarray(data.astronaut()[:120, 150:254, ::-1])


def pillow(image: np.ndarray, qf: int, chroma: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[..., ::-1])).save(buffer, 'JPEG', quality=qf, subsampling=chroma)
    return buffer.getvalue()


@pytest.mark.parametrize('chroma', CHROMA)
@pytest.mark.parametrize('qf', [1, 5, 10, 90])
def test_files_are_pillows_byte_for_byte(photo, qf, chroma):
    file = encode(photo, qf, chroma)
    assert file == pillow(photo, qf, chroma)
    decoded = np.asarray(Image.open(io.BytesIO(file)))[..., ::-1]
    assert np.array_equal(compress(photo, qf, chroma), decoded)


def test_chroma_is_420_unless_said_otherwise(photo):
    assert encode(photo, 10) == encode(photo, 10, '4:2:0') != encode(photo, 10, '4:4:4')


def test_views_and_odd_sizes(photo):
    view = photo[3:40, 5:38, :]
    assert not view.flags['C_CONTIGUOUS']
    assert np.array_equal(compress(view, 5), compress(view.copy(), 5))
    assert compress(view, 5).shape == (37, 33, 3)
    assert compress(photo[:1, :1], 1).shape == (1, 1, 3)


def test_plain_jpeg_reaches_the_published_figures(shared):
    """PSNR of plain JPEG on the 500 birds, which the data's own read-me gives with Pillow as 21.87, 24.46 and 27.67."""
    scores = []
    with tarfile.open(shared / 'data' / 'cub' / 'test.tar') as archive:
        for member in archive:
            if member.name.endswith('.webp'):
                image = cv2.imdecode(np.frombuffer(archive.extractfile(member).read(), np.uint8), cv2.IMREAD_COLOR)
                scores.append([cv2.PSNR(image, compress(image, qf)) for qf in (1, 5, 10)])
    assert len(scores) == 500
    assert np.mean(scores, axis=0) == pytest.approx([21.87, 24.46, 27.67], abs=0.006)


def test_double_compression_without_shift_is_two_compressions(photo):
    assert np.array_equal(compress(shifted_compress(photo, 20), 60), compress(compress(photo, 20), 60))


@pytest.mark.parametrize('shift', [(0, 0), (3, 5), (7, 1)])
def test_shift_moves_the_grid_of_the_first_compression(photo, shift):
    image = compress(shifted_compress(photo, 1, shift, '4:4:4'), 100, '4:4:4').astype(float).mean(axis=2)
    assert image.shape == photo.shape[:2]
    for axis, offset in enumerate(shift):
        steps = np.abs(np.diff(image, axis=axis)).mean(axis=1 - axis)  # step k lies between pixels k and k + 1
        strength = [steps[k::8].mean() for k in range(8)]
        assert (int(np.argmax(strength)) + 1) % 8 == -offset % 8


@pytest.mark.parametrize(('call', 'message'), [
    (lambda image: compress(image, 0), 'from 1 to 100, but 0'),
    (lambda image: compress(image, 10, '4:1:1'), "one of 4:2:0, 4:2:2, 4:4:4, but is '4:1:1'"),
    (lambda image: compress(image[..., 0], 10), r'\(H, W, 3\) uint8, but got \(120, 104\) uint8'),
    (lambda image: compress(image / 255, 10), 'float64'),
    (lambda image: shifted_compress(image, 10, (0, 8)), r'0 to 7, but is \(0, 8\)'),
])
def test_wrong_arguments(photo, call, message):
    with pytest.raises(ValueError, match=message):
        call(photo)


@pytest.mark.parametrize(('spec', 'values'), [
    (1, {1}), ([1, 5, 10], {1, 5, 10}), ((7,), {7}), ({'min': 3, 'max': 6}, {3, 4, 5, 6}), ({'min': 9, 'max': 9}, {9}),
])
def test_quality_is_drawn_from_all_values_and_no_other(spec, values):
    sampler, rng = QualitySampler(spec), random.Random(0)
    assert {sampler.sample(rng) for _ in range(200)} == values


def test_quality_in_validation_depends_on_the_index_only():
    assert [QualitySampler([1, 5, 10]).at(i) for i in range(4)] == [1, 5, 10, 1]
    assert QualitySampler(7).at(123) == 7
    sampler = QualitySampler({'min': 1, 'max': 40})
    drawn = [sampler.at(i) for i in range(400)]
    assert drawn == [sampler.at(i) for i in range(400)]
    counts = np.bincount(drawn, minlength=41)[1:]
    assert counts.sum() == 400 and counts.min() >= 8 and counts.max() <= 12
    assert set(np.array(drawn[:8]) // 10) == {0, 1, 2, 3}


@pytest.mark.parametrize(('spec', 'message'), [
    (0, 'qf: .* from 1 to 100, but 0'), (101, 'but 101'), (True, 'but True'), ('10', "but '10'"), (2.5, 'but 2.5'),
    (None, 'but None'), ([], 'qf: the list is empty'), ([1, 'x'], "but 'x'"),
    ({'min': 5, 'max': 4}, 'qf: min 5 is greater than max 4'), ({'min': 0, 'max': 4}, 'qf: min: .* but 0'),
    ({'min': 5}, r'a range is \{min: 1, max: 40\}, but'), ({'min': 1, 'max': 2, 'step': 1}, 'a range is'),
])
def test_wrong_quality(spec, message):
    with pytest.raises(ValueError, match=message):
        QualitySampler(spec)


def test_messages_name_the_option():
    with pytest.raises(ValueError, match='^double_jpeg: qf: a JPEG quality'):
        QualitySampler(0, 'double_jpeg: qf')


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return cv2.PSNR(np.ascontiguousarray(one), np.ascontiguousarray(other))


def test_without_the_new_keys_the_draws_are_the_old_ones(photo):
    rng = random.Random(3)
    shift = rng.randint(0, 5), rng.randint(0, 5)
    expected = encode(shifted_compress(photo, QualitySampler({'min': 5, 'max': 30}).sample(rng), shift), 60)
    again = random.Random(3)
    made = DoubleCompression({'qf': {'min': 5, 'max': 30}, 'shift': 5})(photo, 60, again)
    assert made.jpeg == expected and made.qf == 60 and np.array_equal(made.pixels, cv2.imdecode(
        np.frombuffer(expected, np.uint8), cv2.IMREAD_COLOR))
    assert again.getstate() == rng.getstate()


@pytest.mark.parametrize('scale', [0.75, 2.0])
def test_resized_between_the_compressions(photo, scale):
    made = DoubleCompression({'qf': 90, 'shift': 0, 'resize': {'scale': [scale, scale]}, 'last': {'png': 1}})(
        photo, 50, random.Random(0))
    assert made.pixels.shape == photo.shape and made.qf == 90
    first = cv2.imdecode(np.frombuffer(made.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert first.shape[:2] == (round(120 / scale), round(104 / scale))
    best = {0.75: 33, 2.0: 23}[scale]  # an enlarged picture has lost what its half size cannot show
    assert best < psnr(made.pixels, photo) < best + 9


def test_half_and_double_are_equally_likely(photo):
    double = DoubleCompression({'qf': 50, 'resize': {'prob': .5, 'scale': [.5, 2]}, 'last': {'png': 1}})
    rng, heights = random.Random(0), []
    for _ in range(400):
        first = cv2.imdecode(np.frombuffer(double(photo[:32, :32], 50, rng).jpeg, np.uint8), cv2.IMREAD_COLOR)
        heights.append(first.shape[0])
    heights = np.array(heights)
    assert heights.min() >= 16 and heights.max() <= 64 + 7
    assert .4 < np.mean((heights < 32) | (heights > 39)) < .6  # up to 7 rows are the shift's
    assert .12 < np.mean(heights < 30) < .3 and .12 < np.mean(heights > 41) < .3


def test_shares_of_the_last_format(photo):
    double = DoubleCompression({'qf': 5, 'shift': 0, 'last': {'jpeg': 2, 'webp': 1, 'png': 1}, 'webp_qf': 80})
    first, rng = compress(photo[:32, :32], 5), random.Random(0)
    kinds = []
    for _ in range(400):
        made = double(photo[:32, :32], 95, rng)
        if made.qf == 95:
            assert np.array_equal(made.pixels, compress(first, 95)) and made.jpeg == encode(first, 95)
            kinds.append('jpeg')
        else:
            assert made.qf == 5 and made.jpeg == encode(photo[:32, :32], 5)
            kinds.append('png' if np.array_equal(made.pixels, first) else 'webp')
            assert psnr(made.pixels, first) > 30
    assert [kinds.count(kind) / 400 for kind in ('jpeg', 'webp', 'png')] == pytest.approx([.5, .25, .25], abs=.06)


def test_formats_without_a_share_are_not_made(photo):
    double = DoubleCompression({'qf': 5, 'last': {'jpeg': 0, 'webp': 1}})
    assert all(double(photo, 95, random.Random(k)).qf == 5 for k in range(5))


@pytest.mark.parametrize(('spec', 'message'), [
    ({'qf': 5, 'resise': {}}, "double_jpeg: nothing reads the key 'resise'; the nearest is 'resize'"),
    ({'qf': 5, 'resize': [.5, 2]}, r'double_jpeg: resize must be such as \{prob: 0.5, scale: \[0.5, 2\]\}, but is'),
    ({'qf': 5, 'resize': {'scale': None}}, r'resize: scale is empty'),
    ({'qf': 5, 'resize': {'scale': [2, .5]}}, 'scale must be two factors above 0, the smaller first'),
    ({'qf': 5, 'resize': {'scale': [1, 2], 'prob': 2}}, 'prob must be a probability'),
    ({'qf': 5, 'last': 'png'}, "double_jpeg: last must hold shares from 0 up.* but is 'png'"),
    ({'qf': 5, 'last': {'jpeg': 0}}, 'one above 0'), ({'qf': 5, 'last': {'jpeg': -1, 'png': 2}}, 'from 0 up'),
    ({'qf': 5, 'last': {'gif': 1}}, "double_jpeg: last: nothing reads the key 'gif'"),
    ({'qf': 5, 'webp_qf': 80}, 'webp_qf can have no effect, since last has no share of webp'),
    ({'qf': 5, 'last': {'webp': 1}, 'webp_qf': 0}, 'double_jpeg: webp_qf: a JPEG quality'),
])
def test_wrong_double_compression(spec, message):
    with pytest.raises(ValueError, match=message):
        DoubleCompression(spec)
