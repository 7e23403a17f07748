"""Files that were saved more than once are restored from their first compression, on its own block grid."""

import io
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from tgjar_arch.jpeg.quality import standard_tables
from tgjar_arch.pictures.photo import read_photo
from tgjar_arch.restoration.file import Compression, RestoreSettings, compression_of, restore_file
from tgjar_arch.restoration.restorer import Restorer

CROP = 3, 5  # rows and columns cut off between the two compressions


@pytest.fixture(scope='module')
def original() -> Image.Image:
    """A photograph of 192 pixels that was never compressed coarsely."""
    return Image.open(Path(skimage.data.__file__).parent / 'astronaut.png').convert('RGB').crop((128, 0, 320, 192))


@pytest.fixture(scope='module')
def restorer() -> Restorer:
    return Restorer.from_pretrained('tgjar_universal', 'cpu')


def once(image: Image.Image, qf: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, 'JPEG', quality=qf, subsampling='4:2:0')
    return Image.open(content).convert('RGB')


def cropped(image: Image.Image) -> Image.Image:
    return image.crop((CROP[1], CROP[0], *image.size))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255 ** 2 / np.mean((a.astype(np.float64) - b) ** 2))


@pytest.mark.parametrize(('name', 'save'), [
    ('a.jpg', {'quality': 90, 'subsampling': '4:2:0'}), ('a.jpg', {'quality': 95, 'subsampling': '4:4:4'}),
    ('a.png', {}), ('a.webp', {'lossless': True})])
def test_restored_on_the_hidden_grid(name: str, save: dict, original: Image.Image, restorer: Restorer,
                                     tmp_path: Path) -> None:
    """A picture of quality 10, cropped by 3 rows and 5 columns, saved again: it is restored, and gains."""
    file = tmp_path / name
    cropped(once(original, 10)).save(file, **save)
    found = compression_of(read_photo(file))
    assert found.qf is not None and 9 <= found.qf <= 11
    assert tuple(at % 8 for at in found.grid) == (8 - CROP[0], 8 - CROP[1])
    assert found.words == f'compressed before at quality {found.qf} (blocks from row 5, column 3)'

    report = restore_file(restorer, file, tmp_path / 'out.png', RestoreSettings(caption='', max_qf=40))
    assert not report.skipped and report.is_jpeg and found.words in report.description
    truth, before, after = (np.asarray(image.convert('RGB')) for image in (
        cropped(original), Image.open(file), Image.open(tmp_path / 'out.png')))
    assert after.shape == before.shape
    gain = psnr(after, truth) - psnr(before, truth)
    beside_the_grid = psnr(restorer(before), truth) - psnr(before, truth)
    assert gain > 0.5 and gain > beside_the_grid + 0.2, (gain, beside_the_grid)


def test_the_same_grid_is_found_too(original: Image.Image, tmp_path: Path) -> None:
    once(original, 10).save(tmp_path / 'a.jpg', quality=90, subsampling='4:2:0')
    found = compression_of(read_photo(tmp_path / 'a.jpg'))
    assert found.qf == 10 and tuple(at % 8 for at in found.grid) == (0, 0) and found.words
    np.testing.assert_array_equal(found.tables, standard_tables(10))  # not those of the last compression


@pytest.mark.parametrize('qf', [5, 10, 40, 90])
def test_a_file_saved_once_keeps_its_own_quality(qf: int, original: Image.Image, tmp_path: Path) -> None:
    original.save(tmp_path / 'a.jpg', quality=qf, subsampling='4:2:0')
    assert compression_of(read_photo(tmp_path / 'a.jpg')) == Compression(qf)


def test_what_was_never_compressed_has_none(original: Image.Image, tmp_path: Path) -> None:
    original.save(tmp_path / 'a.png')
    assert compression_of(read_photo(tmp_path / 'a.png')) == Compression(None)
