"""QGCN in `tgjar restore`: it is told the quantisation tables of the very file that it restores."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.photo_set import photo
from tgjar_arch.archs.qgcn_arch import QGCN
from tgjar_arch.cli import restore
from tgjar_arch.datasets.paired_image_text_dataset import PairedImageTextDataset
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.weights.file import ExportedWeights, write_weights

TINY = {'num_feat': 4, 'num_block': 2}


@pytest.fixture
def weights(tmp_path):
    """Exported weights, large enough that every input shows in the 8-bit result."""
    net = QGCN(**TINY)
    state = {key: value * (2 if key.startswith('conv_output') else 1) for key, value in net.state_dict().items()}
    write_weights(tmp_path / 'q.safetensors', ExportedWeights({'type': 'QGCN', **TINY}, state))
    return tmp_path / 'q.safetensors'


@pytest.fixture
def jpeg(tmp_path):
    path = tmp_path / 'in' / 'a.jpg'
    path.parent.mkdir()
    Image.fromarray(photo(45, 60)[..., ::-1]).save(path, quality=7)
    return path


def test_restores_as_the_test_of_the_option_file_does(weights, jpeg, tmp_path):
    assert restore.main(['-i', str(jpeg), '-o', str(tmp_path / 'out'), '--weights', str(weights), '--quiet']) == 0
    restored = np.asarray(Image.open(tmp_path / 'out' / 'a.png'))

    (item,) = PairedImageTextDataset({'name': 'in', 'phase': 'test', 'dataroot_lq': str(jpeg.parent),
                                      'quantisation_maps': True, 'thumbnail': 112})
    net = Restorer.from_pretrained(weights, 'cpu').net_g
    with torch.no_grad():
        out = net(item['lq'][None], item['thumbnail'][None], qmaps=item['qmaps'][None])[0].clamp(0, 1)
    expected = out.mul(255).round().byte().permute(1, 2, 0).numpy()
    # Two decoders of JPEG, Pillow's and OpenCV's, may differ by a step in chroma.
    assert np.abs(restored.astype(int) - expected).max() <= 2 and restored.std() > 1


def test_tables_are_the_files_own(weights, jpeg):
    restorer = Restorer.from_pretrained(weights, 'cpu')
    image = Image.open(jpeg)
    first = np.asarray(restorer(image))
    image.quantization = {key: [1] * 64 for key in image.quantization}
    assert not np.array_equal(np.asarray(restorer(image)), first)


def test_grey_cmyk_and_turned_files(weights, tmp_path):
    root = tmp_path / 'in'
    root.mkdir()
    for mode in ('L', 'CMYK'):
        Image.fromarray(photo(30, 41)).convert(mode).save(root / f'{mode}.jpg', quality=10)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options in (('straight', {}), ('turned', {'exif': exif})):
        Image.fromarray(photo(30, 41)).save(root / f'{name}.jpg', quality=10, **options)
    assert restore.main(['-i', str(root), '-o', str(tmp_path / 'out'), '--weights', str(weights), '--quiet']) == 0
    straight, turned = (np.asarray(Image.open(tmp_path / 'out' / f'{name}.png')) for name in ('straight', 'turned'))
    assert np.array_equal(np.rot90(straight, -1), turned)  # the tables stay with the pixels as stored
    assert {Image.open(tmp_path / 'out' / f'{mode}.png').size for mode in ('L', 'CMYK')} == {(41, 30)}


def test_a_file_without_tables_is_named_and_the_rest_goes_on(weights, jpeg, tmp_path, capsys):
    Image.fromarray(photo(30, 41)).save(jpeg.parent / 'b.jpg', format='PNG')
    arguments = ['-i', str(jpeg.parent), '-o', str(tmp_path / 'out'), '--weights', str(weights), '--quiet', '--force']
    assert restore.main(arguments) == 1
    captured = capsys.readouterr()
    assert '1 restored' in captured.out
    assert 'b.jpg: QGCN is told the quantisation tables of a JPEG file, and this image' in captured.err


def test_arrays_and_batches_say_what_is_missing(weights, jpeg):
    restorer = Restorer.from_pretrained(weights, 'cpu')
    for image in (np.zeros((16, 16, 3), np.uint8), Image.open(jpeg).crop((0, 0, 16, 16))):
        with pytest.raises(ValueError, match='this image, not as opened from a JPEG file, has none; give the JPEG'):
            restorer(image)
    with pytest.raises(ValueError, match=r"QGCN expects the extra inputs \['qmaps', 'thumbnail'\], but got \[\]"):
        restorer.restore(torch.rand(1, 3, 16, 16), [''])


def test_an_input_that_only_a_data_set_has(weights, monkeypatch):
    monkeypatch.setattr(QGCN, 'extra_inputs', ('qmaps', 'depth'))
    with pytest.raises(ValueError, match='QGCN needs depth besides the image, which only a data set'):
        Restorer.from_pretrained(weights, 'cpu')
