"""Validation of a restorer: any size, any depth, broken files, captions."""

import html
import json
import math
from pathlib import Path
from unittest.mock import Mock

import cv2
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.data.prefetch_dataloader import PrefetchDataLoader
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from tests.helpers.tiny_model import make
from tgjar_arch.metrics.fid import build_set_metric
from tgjar_arch.metrics.lpips import build_lpips


def test_window_networks_validate_images_of_any_size(opt):
    opt['network_g'] = {'type': 'SwinIR', 'upscale': 1, 'in_chans': 3, 'img_size': 32, 'window_size': 8,
                        'img_range': 1., 'depths': [1], 'embed_dim': 8, 'num_heads': [2], 'mlp_ratio': 1,
                        'upsampler': '', 'resi_connection': '1conv'}
    del opt['network_t']
    opt['train']['train_network_t'] = False
    model = make(opt)
    model.feed_data({'lq': torch.rand(1, 3, 35, 50)})
    model.test()
    assert model.output.shape == (1, 3, 35, 50)


def test_validation_draws_captions_and_reports(opt, tmp_path):
    model = make(opt)
    loader = DataLoader(build_dataset(opt['datasets']['val']), batch_size=1)
    model.validation(loader, 7, None, save_img=True)
    assert set(model.metric_results) == {'psnr'} and 5 < model.metric_results['psnr'] < 40
    folder = tmp_path / 'visualization'
    assert (folder / 'val_7.png').is_file() and (folder / 'chelsea' / 'chelsea_7.png').is_file()
    lines = [json.loads(line) for line in (folder / 'val_captions.jsonl').read_text().splitlines()]
    assert lines[1] == {'file_name': 'chelsea.png', 'caption': 'a brown cat with green eyes'}


def test_captions_are_text_in_tensorboard(opt):
    """It shows them as Markdown, in which a picture would be fetched."""
    metadata = Path(opt['datasets']['val']['dataroot_gt'], 'metadata.jsonl')
    caption = 'a brown cat ![](http://localhost:1/x) <b>'
    metadata.write_text(metadata.read_text().replace('a brown cat with green eyes', caption))
    logger = Mock()
    make(opt).validation(DataLoader(build_dataset(opt['datasets']['val']), batch_size=1), 7, logger, save_img=False)
    (tag, text, step), = (call.args for call in logger.add_text.call_args_list)
    assert tag == 'val/captions' and step == 7 and '![' not in text and '<b>' not in text
    assert caption in html.unescape(text).split('\n\n')


@pytest.mark.parametrize('shown', [0, None])
def test_without_a_picture_the_captions_are_written_all_the_same(opt, tmp_path, shown):
    opt['val']['num_shown'] = shown
    model = make(opt)
    model.validation(DataLoader(build_dataset(opt['datasets']['val']), batch_size=1), 7, None, save_img=True)
    folder = tmp_path / 'visualization'
    assert len((folder / 'val_captions.jsonl').read_text().splitlines()) == 3 and not (folder / 'val_7.png').exists()


def test_a_broken_file_does_not_stop_basicsr_prefetching(opt, photos):
    """Its thread ends at the first error, and the loop would wait for ever."""
    root = photos(size=64, folder='broken')
    (root / 'astronaut.png').write_bytes(b'broken')
    opt['datasets']['val']['dataroot_gt'] = str(root)
    loader = PrefetchDataLoader(num_prefetch_queue=1, dataset=build_dataset(opt['datasets']['val']), batch_size=1)
    model = make(opt)
    model.validation(loader, 7, None, save_img=False)
    assert 5 < model.metric_results['psnr'] < 40


def test_validation_goes_on_past_what_it_cannot_measure(opt, tmp_path, photos):
    root = photos(size=64, folder='nested/a')
    photos(size=40, folder='nested/b')
    (root.parent / 'b' / 'coffee.png').write_bytes(b'broken')
    opt['datasets']['val']['dataroot_gt'] = str(root.parent)
    opt['val']['metrics'] |= {'niqe': {'type': 'calculate_niqe', 'crop_border': 0, 'better': 'lower'}, 'lpips': None}
    model = make(opt)
    model.validation(DataLoader(build_dataset(opt['datasets']['val']), batch_size=1), 3, None, save_img=True)
    assert 5 < model.metric_results['psnr'] < 40 and math.isnan(model.metric_results['niqe'])
    written = {path.relative_to(tmp_path / 'visualization').as_posix()
               for path in (tmp_path / 'visualization').rglob('*.png')}
    names = {'a/astronaut', 'a/chelsea', 'a/coffee', 'b/astronaut', 'b/chelsea'}
    assert written == {'val_3.png'} | {f'{name}/{name[2:]}_3.png' for name in names}


def test_validation_without_ground_truth_restores(opt, tmp_path):
    opt['datasets']['val'] |= {'dataroot_lq': opt['datasets']['val'].pop('dataroot_gt')}
    del opt['datasets']['val']['qf']
    model = make(opt)
    model.validation(DataLoader(build_dataset(opt['datasets']['val']), batch_size=1), 3, None, save_img=True)
    assert math.isnan(model.metric_results['psnr'])
    assert (tmp_path / 'visualization' / 'coffee' / 'coffee_3.png').is_file()


@pytest.fixture
def alex_file(tmp_path):
    """AlexNet's trunk, random."""
    path = tmp_path / 'alex.safetensors'
    state = build_lpips('alex', pretrained=False).net.state_dict()
    save_file({'features.' + key.split('.', 1)[1]: value for key, value in state.items()}, path)
    return str(path)


class Board:
    """A TensorBoard writer that keeps the scalars."""

    def __init__(self):
        self.scalars = {}

    def add_scalar(self, name, value, iteration):
        self.scalars[name, iteration] = value

    def add_image(self, *args, **kwargs): ...

    def add_text(self, *args, **kwargs): ...


def test_metric_of_the_whole_set(opt, tmp_path, alex_file, log):
    """It is that of the pictures written, stands in the log and in TensorBoard, and its best score is recorded."""
    pytest.importorskip('torchmetrics')
    opt['val']['metrics']['fd'] = {'type': 'frechet_alexnet', 'weights_path': alex_file, 'better': 'lower'}
    model, board = make(opt), Board()
    loader = DataLoader(build_dataset(opt['datasets']['val']), batch_size=1)
    model.validation(loader, 7, board, save_img=True)
    metric = build_set_metric('frechet_alexnet', weights_path=alex_file)
    for name in ('astronaut', 'chelsea', 'coffee'):
        metric.update(cv2.imread(str(tmp_path / 'visualization' / name / f'{name}_7.png')),
                      cv2.imread(str(tmp_path / 'photos' / f'{name}.png')))
    score = metric.compute()
    assert score > 0 and model.metric_results['fd'] == pytest.approx(score, rel=1e-6)
    assert board.scalars['metrics/val/fd', 7] == model.metric_results['fd']
    assert f'# fd: {score:.4f}\tBest: {score:.4f} @ 7 iter' in log.text
    with torch.no_grad():
        for parameter in model.net_g_ema.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.validation(loader, 8, board, save_img=False)
    worse = model.metric_results['fd']  # from an empty set again, not on top of the last validation's
    assert worse > score
    assert model.best_metric_results['val']['fd'] == {'better': 'lower', 'val': pytest.approx(score, rel=1e-6),
                                                      'iter': 7}


def test_metric_of_a_set_that_is_too_small(opt, tmp_path, photos, alex_file, log):
    pytest.importorskip('torchmetrics')
    opt['datasets']['val']['dataroot_gt'] = str(photos(size=64, count=1, folder='one'))
    opt['val']['metrics']['fd'] = {'type': 'frechet_alexnet', 'weights_path': alex_file, 'better': 'lower'}
    model = make(opt)
    model.validation(DataLoader(build_dataset(opt['datasets']['val']), batch_size=1), 3, None, save_img=False)
    assert math.isnan(model.metric_results['fd']) and model.metric_results['psnr'] > 5
    assert 'val: fd could not be computed: More than one sample' in log.text


def test_metric_of_a_set_without_ground_truth(opt, alex_file, log):
    pytest.importorskip('torchmetrics')
    opt['datasets']['val'] |= {'dataroot_lq': opt['datasets']['val'].pop('dataroot_gt')}
    del opt['datasets']['val']['qf']
    opt['val']['metrics'] = {'fd': {'type': 'frechet_alexnet', 'weights_path': alex_file, 'better': 'lower'}}
    model = make(opt)
    model.validation(DataLoader(build_dataset(opt['datasets']['val']), batch_size=1), 3, None, save_img=False)
    assert math.isnan(model.metric_results['fd'])
    assert 'fd could not be computed for 3 images, the last coffee.png: there is no ground truth.' in log.text


@pytest.mark.parametrize(('metric', 'error', 'message'), [
    ({'type': 'calculate_fid'}, ValueError, "val:metrics:x: there is no metric 'calculate_fid'; there are .*calculate_"
                                            'psnr.*of whole sets fid, frechet_alexnet'),
    ({'better': 'lower'}, ValueError, 'val:metrics:x: there is no metric None'),
    ({'type': 'fid', 'weights': 'x.pth'}, ValueError, "fid has no option 'weights'; it has weights_path, better"),
    ({'type': 'fid', 'weights_path': 'none.pth'}, FileNotFoundError, 'none.pth'),
    ({'type': 'calculate_pi', 'weights_path': 'none.mat'}, (FileNotFoundError, ImportError), 'none.mat|pyiqa'),
])
def test_wrong_metrics_stop_at_the_start(opt, metric, error, message):
    pytest.importorskip('torch_fidelity')
    opt['val']['metrics']['x'] = metric
    with pytest.raises(error, match=message):
        make(opt)
