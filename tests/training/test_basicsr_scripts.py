"""BasicSR's `scripts/metrics/calculate_psnr_ssim.py --gt --restored --suffix` finds what we write.

https://github.com/XPixelGroup/BasicSR/blob/master/scripts/metrics/calculate_psnr_ssim.py pairs files so: with a suffix
`RESTORED/NAME SUFFIX EXTENSION` for every NAME EXTENSION below GT; without one, both folders listed and sorted.
"""

from os import path as osp

import cv2
import numpy as np
import pytest
from basicsr.data import build_dataset
from basicsr.metrics import calculate_psnr
from basicsr.utils import scandir
from torch.utils.data import DataLoader

from tests.evaluation.test_evaluate_methods import captions_of, write_tiny
from tests.helpers.tiny_model import make
from tgjar_arch.cli import evaluate
from tgjar_arch.evaluation.methods import match_names
from tgjar_arch.models.validation import _target


def pairs(gt, restored, suffix=''):
    """The script's pairs of files."""
    originals, pictures = (sorted(scandir(str(folder), recursive=True, full_path=True)) for folder in (gt, restored))
    for k, original in enumerate(originals):
        name, extension = osp.splitext(osp.basename(original))
        yield original, pictures[k] if suffix == '' else osp.join(str(restored), name + suffix + extension)


def test_what_evaluate_writes(photos, tmp_path, capsys):
    root, out = photos(size=48, folder='cub'), tmp_path / 'out'
    weights = write_tiny(tmp_path / 'w.safetensors', captions_of(root))
    assert evaluate.main([str(root), '--method', f'TGJAR={weights}', '--originals', '--metrics', 'psnr', '--crop', '40',
                          '--device', 'cpu', '--quiet', '-o', str(out)]) == 0
    found = list(pairs(out / 'originals', out / 'restored' / 'TGJAR' / 'qf1'))
    assert [osp.basename(a) for a, _ in found] == ['astronaut.png', 'chelsea.png', 'coffee.png'] == [
        osp.basename(b) for _, b in found]
    by_script = np.mean([calculate_psnr(cv2.imread(a), cv2.imread(b), crop_border=0) for a, b in found])
    line = (out / 'table.csv').read_text().splitlines()[1].split(',')
    assert float(line[5]) == pytest.approx(by_script, abs=1e-9)


def test_what_the_tester_writes(photos, tmp_path):
    root = photos(size=32, captions=False)
    opt = {'is_train': False, 'name': 'test_net', 'val': {'suffix': None}, 'path': {'visualization': str(tmp_path)}}
    names = ['astronaut', 'chelsea', 'coffee']
    (tmp_path / 'set').mkdir()
    for name in names:
        assert cv2.imwrite(_target(opt, 'set', name, 'test_net'), cv2.imread(str(root / f'{name}.png')))
    for suffix in ('_test_net', ''):
        found = list(pairs(root, tmp_path / 'set', suffix))
        assert len(found) == 3 and all(np.array_equal(cv2.imread(a), cv2.imread(b)) for a, b in found)
    there = [osp.splitext(path)[0] for path in scandir(str(tmp_path / 'set'))]
    assert match_names(names, there) == {name: f'{name}_test_net' for name in names}  # and so does `tgjar evaluate`


@pytest.mark.parametrize('twice', [False, True])
def test_a_test_set_in_folders_is_written_flat_where_names_differ(opt, tmp_path, photos, twice):
    root = photos(size=32, folder='nested/a').parent
    if twice:
        photos(size=32, folder='nested/b')
    opt['datasets']['val']['dataroot_gt'] = str(root)
    model = make(opt)
    model.opt['is_train'] = False
    model.validation(DataLoader(build_dataset(opt['datasets']['val']), batch_size=1), 'x', None, save_img=True)
    folder = tmp_path / 'visualization' / 'val'
    written = {path.relative_to(folder).as_posix() for path in folder.rglob('*.png')}
    names = {f'{name}_{opt["name"]}.png' for name in ('astronaut', 'chelsea', 'coffee')}
    assert written == ({f'{part}/{name}' for part in 'ab' for name in names} if twice else names)
