"""Validation of a restorer: any size, any depth, broken files, captions."""

import json
import math

import torch
from basicsr.data import build_dataset
from tiny_model import make
from torch.utils.data import DataLoader


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
