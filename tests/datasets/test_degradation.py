"""JPEG in memory: the same files as Pillow's, the grid of a double compression, the drawing of quality factors."""

import io
import random
import tarfile

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from tgjar_arch.datasets.degradation import QualitySampler, shifted_compress
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
