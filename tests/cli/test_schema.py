"""`tgjar schema`: the JSON schema of the option files is up to date, takes all of them, and finds mistakes."""

import json
from copy import deepcopy

import jsonschema
import pytest
from basicsr.utils.registry import ARCH_REGISTRY

from tests.helpers.force_yml_rows import FILES, OPTIONS, option_file
from tgjar_arch.cli.main import main
from tgjar_arch.cli.option_schema import build_schema
from tgjar_arch.training.options import read_options

SCHEMA = json.loads((OPTIONS / 'schema.json').read_text(encoding='utf-8'))
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def mistakes(options: dict) -> list[str]:
    """Where the schema finds something, and what."""
    return [f'{":".join(map(str, error.absolute_path))}: {error.message}' for error in VALIDATOR.iter_errors(options)]


def changed(name: str, key: str, value: object) -> dict:
    options = deepcopy(read_options(str(option_file(name))))
    *sections, last = key.split(':')
    block = options
    for section in sections:
        block = block[section]
    block[last] = value
    return options


def test_the_file_is_up_to_date_and_the_command_writes_it(tmp_path, capsys, monkeypatch):
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    out = tmp_path / 'schema.json'
    assert main(['schema', '-o', str(OPTIONS / 'schema.json'), '--check']) == 0, 'run `tgjar schema`'
    assert main(['schema', '-o', str(out)]) == 0
    assert out.read_bytes() == (OPTIONS / 'schema.json').read_bytes()
    out.write_text('{}')
    assert main(['schema', '-o', str(out), '--check']) == 1
    assert 'schema.json is not up to date; write it anew by `tgjar schema' in capsys.readouterr().err
    assert main(['schema', '-o', str(tmp_path / 'no.json'), '--check']) == 1 and out.read_text() == '{}'


@pytest.mark.parametrize('file', FILES, ids=lambda path: path.stem)
def test_every_option_file_is_valid(file):
    assert mistakes(read_options(str(file))) == []


@pytest.mark.parametrize('name, key, value', [
    ('train_tgjar_cub', 'network_g:num_feats', 64),
    ('train_tgjar_cub', 'network_g:num_feat', 'many'),
    ('train_tgjar_cub', 'network_g:type', 'TGJARGenerater'),
    ('train_tgjar_cub', 'network_t:embed', 300),
    ('train_edsr_cub', 'network_g:num_feats', 64),
    ('train_tgjar_cub', 'train:contrastive_opt:cc', 0.1),
    ('train_tgjar_cub', 'train:pixel_optt', None),
    ('train_tgjar_cub', 'train:amp', 'bfloat16'),
    ('train_tgjar_cub', 'train:scheduler:period', [1]),
    ('train_tgjar_cub', 'train:optim_g:type', 'Adm'),
    ('train_tgjar_cub', 'datasets:train:caption_drops', 0.1),
    ('train_tgjar_cub', 'datasets:train:caption_drop', 1.5),
    ('train_tgjar_cub', 'datasets:train:qf', 0),
    ('train_tgjar_cub', 'datasets:train:qf', {'min': 1, 'maximum': 40}),
    ('train_tgjar_cub', 'datasets:train:double_jpeg', {'qf': 5, 'last': {'gif': 1}}),
    ('train_tgjar_cub', 'datasets:train:weights', [1, 0]),
    ('train_tgjar_cub', 'datasets:training', {}),
    ('train_tgjar_cub', 'val:metrics:psnr:crop_borders', 0),
    ('train_tgjar_cub', 'val:num_show', 4),
    ('train_tgjar_cub', 'path:strict_loads_g', True),
    ('train_tgjar_cub', 'logger:print_frequency', 4),
    ('train_tgjar_cub', 'model_type', 'TGJARmodel'),
    ('train_tgjar_cub', 'manual_seeds', 1),
    ('train_damsm_cub', 'train:clip_grad', 1),
    ('train_damsm_cub', 'val:r_precision:negatives', 99),
])
def test_a_mistake_is_found_where_it_is(name, key, value):
    section, _, last = key.rpartition(':')
    for line in (found := mistakes(changed(name, key, value))):
        place = line.partition(': ')[0]
        assert place == key or place == section and last in line
    assert found


@pytest.mark.parametrize('name, key, value', [
    ('train_tgjar_cub', 'datasets:train:qf', {'min': 1, 'max': 40}),
    ('train_tgjar_cub', 'datasets:train:qf', [1, 5]),
    ('train_tgjar_cub', 'datasets:val_2', {'name': 'kodak', 'type': 'PairedImageTextDataset', 'qf': None}),
    ('train_tgjar_cub', 'train:gan_opt', None),
    ('train_tgjar_cub', 'val:metrics', {'fid': {'type': 'fid', 'better': 'lower'}}),
    ('train_tgjar_cub', 'datasets:train:double_jpeg', {'qf': {'min': 20, 'max': 90}}),
    ('train_tgjar_cub', 'datasets:train:double_jpeg', {
        'qf': 5, 'resize': {'prob': .5, 'scale': [.5, 2]}, 'last': {'jpeg': 1, 'webp': 2}, 'webp_qf': [70, 90]}),
    ('train_tgjar_cub', 'datasets:train:dataroot_gt', ['a', 'b']),
    ('train_tgjar_cub', 'datasets:train:weights', [1, .5]),
    ('train_tgjar_cub', 'datasets:train:dataroot_text', [None, 'b']),
    ('train_tgjar_cub', 'train:pixel_opt', {'type': 'RelativeMSELoss', 'loss_weight': .05, 'floor': .001}),
    ('train_tgjar_cub', 'train:optim_d', None),
    ('train_tgjar_cub', 'network_i', None),
    ('train_tgjar_cub', 'val', None),
])
def test_what_is_right_is_taken(name, key, value):
    assert mistakes(changed(name, key, value)) == []


def test_other_models_may_read_keys_of_their_own():
    options = changed('train_tgjar_cub', 'train:perceptual_opt', {'type': 'PerceptualLoss', 'layer_weights': {}})
    assert mistakes(options)
    assert mistakes(options | {'model_type': 'SRGANModel'}) == []


def test_descriptions_and_defaults_are_the_classes():
    generator = SCHEMA['definitions']['network.TGJARGenerator']
    assert generator['properties']['num_block'] == {
        'description': 'residual blocks at H/8 after the GFM.', 'type': 'integer', 'default': 9}
    assert generator['description'].startswith('Text-guided generator: restores')
    dataset = SCHEMA['definitions']['dataset.PairedImageTextDataset']['properties']
    assert dataset['caption_drop']['description'].startswith('probability of a training image to go without')
    explained = [key for key, value in dataset.items() if 'description' in value]
    assert set(dataset) - set(explained) == {'type', 'batch_size_per_gpu', 'pin_memory', 'use_shuffle'}


def test_classes_of_other_plugins_are_left_out(monkeypatch):
    class Other:
        pass

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Other', Other)
    assert 'network.Other' not in build_schema()['definitions']
