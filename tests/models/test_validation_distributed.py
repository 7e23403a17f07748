"""Validation by two processes gives what one gives: means, metrics of the whole set, pictures and captions."""

import json
import math
import shutil
import sys
from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from basicsr.data import build_dataset
from safetensors.torch import save_file
from torch import distributed
from torch.utils.data import DataLoader

import tgjar_arch
from tests.helpers.checkout import ROOT
from tests.helpers.forked import start
from tests.helpers.tiny_model import make
from tgjar_arch.metrics.lpips import build_lpips


def validate(opt: dict, result: Path) -> None:
    """Validate, and write the scores and what is recorded of the best to a file."""
    model = make(opt)
    model.opt['dist'] = distributed.is_initialized()  # the networks stay bare: their wrapping is not the subject
    model.validation(DataLoader(build_dataset(opt['datasets']['val']), batch_size=1), 5, None, save_img=True)
    torch.save([model.metric_results, model.best_metric_results], result)


def process(rank: int, folder: Path) -> None:
    """One of the two: `folder` has opts.json, and gets the scores of each."""
    tgjar_arch.register()  # a new process, which has read no option file
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2,
                                   timeout=timedelta(minutes=5))  # then an error, where one waits for the other
    for index, opt in enumerate(json.loads((folder / 'opts.json').read_text())):
        validate(opt, folder / f'rank{rank}_{index}.pth')
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes(opt: dict, tmp_path: Path, photos) -> None:
    """Of three images, and of one, which leaves none for the second process."""
    pytest.importorskip('torchmetrics')
    state = build_lpips('alex', pretrained=False).net.state_dict()
    save_file({'features.' + k.split('.', 1)[1]: v for k, v in state.items()}, tmp_path / 'alex.safetensors')
    opt['val'] |= {'num_shown': 2}
    opt['val']['metrics']['fd'] = {'type': 'frechet_alexnet', 'weights_path': str(tmp_path / 'alex.safetensors'),
                                   'better': 'lower'}
    opt['val']['metrics']['niqe'] = {'type': 'calculate_niqe', 'crop_border': 0}  # the photographs are too small
    names = ['astronaut', 'chelsea', 'coffee']
    opts = []
    for index, count in enumerate((3, 1)):
        opts.append(deepcopy(opt))
        root = str(photos(count=count, folder=f'{count}'))
        opts[-1]['datasets']['val'] |= {'name': f'val{index}', 'dataroot_gt': root}
        opts[-1]['path']['visualization'] = str(tmp_path / f'results{count}' / 'visualization')
        validate(opts[-1], tmp_path / f'alone_{index}.pth')
    written = [read_and_remove(Path(opt['path']['visualization'])) for opt in opts]
    (tmp_path / 'opts.json').write_text(json.dumps(opts))
    processes = [start('-m', __name__, rank, tmp_path, path=(ROOT,)) for rank in (0, 1)]
    for done in [process.wait() for process in processes]:
        assert done.returncode == 0, done.stderr
    for index, count in enumerate((3, 1)):
        scores, best = torch.load(tmp_path / f'alone_{index}.pth')
        assert scores['psnr'] > 5 and math.isnan(scores['niqe']) and (scores['fd'] > 0) == (count > 1)
        for rank in (0, 1):  # on both, so that a model may decide by them
            other_scores, other_best = torch.load(tmp_path / f'rank{rank}_{index}.pth')
            assert other_scores == pytest.approx(scores, rel=1e-6, nan_ok=True)
            assert other_best[f'val{index}']['psnr'] == pytest.approx(best[f'val{index}']['psnr'])
        files = read_and_remove(Path(opts[index]['path']['visualization']))
        assert files == written[index]
        captions = files.pop(f'val{index}_captions.jsonl').decode().splitlines()
        assert [json.loads(line)['file_name'] for line in captions] == [f'{name}.png' for name in names[:count]]
        assert set(files) == {f'val{index}_5.png'} | {f'{name}/{name}_5.png' for name in names[:count]}


def read_and_remove(folder: Path) -> dict[str, bytes]:
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}
    shutil.rmtree(folder)
    return files


if __name__ == '__main__':
    process(int(sys.argv[1]), Path(sys.argv[2]))
