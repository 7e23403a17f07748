"""Trainings on several data roots: they run, go on, validate, and their mistakes are said before."""

import copy
from collections.abc import Callable
from pathlib import Path

import basicsr.utils.options
import cv2
import pytest
import torch
from basicsr.models.sr_model import SRModel

from tests.helpers.tiny_model import make
from tests.training.test_pipeline import OPTIONS, workspace, write  # noqa: F401
from tgjar_arch import registration
from tgjar_arch.cli.main import main


def options(**train: object) -> dict:
    """The tiny training on two roots with captions that no tokenizer reads."""
    changed = copy.deepcopy(OPTIONS)
    roots = {'type': 'PairedImageTextDataset', 'dataroot_gt': ['gt', 'more'], 'qf': 10}
    changed['datasets']['train'] = {'name': 'photos', 'gt_size': 32, 'num_worker_per_gpu': 0,
                                    'batch_size_per_gpu': 1} | roots | train
    changed['datasets']['val'] = {'name': 'photos'} | roots
    return changed


@pytest.fixture
def two_roots(workspace: Path) -> Path:  # noqa: F811
    (workspace / 'more').mkdir()
    for file in (workspace / 'gt').iterdir():
        cv2.imwrite(str(workspace / 'more' / f'more_{file.name}'), cv2.imread(str(file)))
    return workspace


def test_weights_count_in_every_epoch_also_resumed(two_roots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def feed(model: SRModel, data: dict) -> None:
        # No whole image, as validated, and not the batch that is tried before the training.
        if data['gt'].shape[-1] == 32 and torch.is_grad_enabled():
            seen.append(Path(data['gt_path'][0]).parent.name)
        original(model, data)

    original = SRModel.feed_data
    monkeypatch.setattr(SRModel, 'feed_data', feed)
    write(options(weights=[2, 1]))
    few = ['-opt', 'tiny.yml', '--force_yml', 'logger:save_checkpoint_freq=1', 'val:val_freq=12']
    assert main(['train', *few, 'train:total_iter=3']) == 0
    assert main(['train', *few, 'train:total_iter=12', '--auto_resume']) == 0
    assert len(seen) == 12
    for epoch in (seen[:6], seen[6:]):
        assert sorted(epoch) == ['gt'] * 4 + ['more'] * 2
    shown = list(Path('experiments', 'tiny', 'visualization').iterdir())
    assert len(shown) == 6  # the whole of both


@pytest.mark.parametrize(('changes', 'said'), [
    ({'weights': [1]}, 'datasets:train:weights: [1] must be a list of 2 numbers above 0'),
    ({'weights': [1, 0]}, 'datasets:train:weights: [1, 0] must be a list of 2 numbers above 0'),
    ({'dataroot_text': 'texts'}, "datasets:train:dataroot_text: 'texts' must be a list of 2 paths"),
    ({'dataroot_gt': ['gt', 'mor']}, 'datasets:train:dataroot_gt: there is no mor (seen from'),
    ({'dataroot_text': [None, 'texts']}, 'datasets:train:dataroot_text: there is no texts (seen from'),
    ({'dataroot_gt': ['gt', 3]}, "datasets:train:dataroot_gt: ['gt', 3] must be a path, or a list of paths"),
])
def test_mistakes_are_one_line(changes: dict, said: str, two_roots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['train', '-opt', write(options(**changes), 'bad.yml')]) == 2
    error = capsys.readouterr().err
    assert error.startswith('tgjar train: bad.yml') and said in error and error.count('\n') == 1
    assert not Path('experiments').exists()


def test_weights_of_a_validation(two_roots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = options()
    wrong['datasets']['val']['weights'] = [1, 1]
    assert main(['train', '-opt', write(wrong, 'bad.yml')]) == 2
    assert 'datasets:val:weights are of training' in capsys.readouterr().err


def test_basicsrs_own_parser_takes_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """It expands `~` in data roots, and raised at a list; its own scripts read our option files too."""
    monkeypatch.setenv('HOME', '/home/me')
    registration.register()
    expanduser = basicsr.utils.options.osp.expanduser
    assert expanduser(['~/a', 'b']) == ['/home/me/a', 'b'] and expanduser('~/c') == '/home/me/c'
    assert basicsr.utils.options.osp.join('a', 'b') == 'a/b'


def test_files_of_one_name_in_two_roots_are_kept_apart(opt: dict, tmp_path: Path, photos: Callable[..., Path]) -> None:
    from basicsr.data import build_dataset
    from torch.utils.data import DataLoader

    opt['datasets']['val']['dataroot_gt'] = [str(photos(size=64, folder=f'set/{name}')) for name in 'ab']
    make(opt).validation(DataLoader(build_dataset(opt['datasets']['val']), batch_size=1), 7, None, save_img=True)
    for name in 'ab':
        assert (tmp_path / 'visualization' / name / 'chelsea' / 'chelsea_7.png').is_file()
