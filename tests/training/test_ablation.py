"""Tables 3 and 6 of the paper: every row of the option file has exactly the losses and modules that it says."""

import json
import random
from copy import deepcopy

import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model
from torch.utils.data import DataLoader

from tests.helpers.force_yml_rows import option_file, rows
from tgjar_arch.cli import vocab
from tgjar_arch.text.tokenizer import load_tokenizer
from tgjar_arch.training.options import check_files, check_options, override, read_options
from tgjar_arch.weights.checkpoint import save_atomically

FILE = option_file('train_tgjar_cub')
BOTH = ('gfm', 'lfm')
R, G, C, IT = 1.0, 0.001, 0.01, 0.0005
EXPECTED = {  # row: modules of the generator, weights of L_R, L_G, L_C and L_IT
    'this file as it is': (BOTH, R, G, C, IT),
    'Table 3, L_R + L_G': ((), R, G, None, None),
    'Table 3, L_R + L_G + GFM + L_IT': (('gfm',), R, G, None, IT),
    'Table 3, L_R + L_G + LFM + L_IT': (('lfm',), R, G, None, IT),
    'Table 3, L_R + L_G + GFM + LFM + L_IT': (BOTH, R, G, None, IT),
    'Table 3, L_R + L_G + L_C (appendix)': ((), R, G, C, None),
    'Table 6, lambda_1 = 0.1': (BOTH, R, G, 0.1, IT),
    'Table 6, lambda_1 = 0.001': (BOTH, R, G, 0.001, IT),
    'Table 6, lambda_4 = 0.001': (BOTH, R, G, C, 0.001),
    'Table 6, lambda_4 = 0.0001': (BOTH, R, G, C, 0.0001),
}
TINY_NETWORKS = ['network_g:num_feat=8', 'network_g:num_block=1', 'network_g:text_dim=16', 'network_t:embed_dim=8',
                 'network_t:text_dim=16', 'num_gpu=0', 'val:metrics=~']
TINY = [*TINY_NETWORKS, 'network_d:num_feat=4', 'network_i:backbone=alexnet', 'network_i:text_dim=16',
        'datasets:train:gt_size=32', 'train:contrastive_opt:pretrained=false']


def ablations():
    return {'this file as it is': []} | {label: row for label, row in rows(FILE).items() if label.startswith('Table')}


@pytest.fixture
def workspace(tmp_path, photos, monkeypatch):
    """A working directory with the data and the stage 1 checkpoints that the option file names, tiny ones."""
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'test'):
        photos(size=48, folder=f'data/cub/{split}')
    assert vocab.main(['data/cub/train', '-o', 'data/cub/tokenizer.json']) == 0
    tokenizer = load_tokenizer('data/cub/tokenizer.json')
    models = tmp_path / 'experiments' / 'train_damsm_cub' / 'models'
    models.mkdir(parents=True)
    for label, network, extras in (
        ('t', {'type': 'LSTMTextEncoder', 'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': 16},
         {'tokenizer': tokenizer.to_json(), 'max_words': 18}),
        ('i', {'type': 'DAMSMImageEncoder', 'backbone': 'alexnet', 'text_dim': 16}, {}),
    ):
        state = build_network(deepcopy(network)).state_dict()
        save_atomically({'params': state, 'network': json.dumps(network), **extras}, models / f'net_{label}_latest.pth')


def build(path, entries, is_train):
    """What `tgjar train` or `tgjar test` would build, after the same checks; models go to experiments/NAME."""
    opt, notes = override(read_options(path), entries, str(path))
    assert [note for note in notes if 'pretrained' not in note] == []
    check_options(opt, str(path), is_train)
    check_files(opt, str(path), resumes=False)
    opt |= {'dist': False, 'rank': 0, 'world_size': 1, 'is_train': is_train}
    opt['path'] |= {key: f'experiments/{opt["name"]}/{key}' for key in ('models', 'training_states', 'visualization')}
    return build_model(opt), opt


def test_every_row_of_the_tables_is_there():
    assert set(ablations()) == set(EXPECTED)
    names = [row[0] for row in ablations().values() if row]
    assert all(name.startswith('name=ablation_cub_') for name in names) and len(set(names)) == len(names)


@pytest.mark.parametrize('label', EXPECTED)
def test_a_row_has_what_it_says_and_nothing_else(label, workspace, tmp_path):
    modules, *weights = EXPECTED[label]
    row = ablations()[label]
    model, opt = build(FILE, [*TINY, *row], is_train=True)

    losses = {'l_g_pix': model.cri_pix, 'l_g_gan': model.cri_gan, 'l_g_contrastive': model.cri_contrastive,
              'l_g_damsm': model.cri_damsm}
    assert model.cri_chroma is None and model.cri_grid is None and model.cri_qf is None
    assert [loss and loss.loss_weight for loss in losses.values()] == weights
    wanted = {'gfm': {'gfm', 'null_sentence'}, 'lfm': {'lfms', 'null_word'}}
    weights_of = {key.partition('.')[0] for key in model.net_g.state_dict()}
    assert weights_of & {name for names in wanted.values() for name in names} == {
        name for module in modules for name in wanted[module]}
    assert (model.net_t is not None) == bool(modules)
    assert (getattr(model, 'net_i', None) is not None) == (model.cri_damsm is not None)
    encoded = []
    if model.net_t is not None:
        model.net_t.register_forward_hook(lambda *_: encoded.append(1))

    random.seed(0)
    dataset = build_dataset(opt['datasets']['train'] | {'phase': 'train'})
    batch = next(iter(DataLoader(dataset, batch_size=2)))
    model.feed_data(batch)
    model.optimize_parameters(1)
    expected = {key for key, loss in losses.items() if loss} | {'l_d_real', 'l_d_fake', 'out_d_real', 'out_d_fake'}
    assert set(model.get_current_log()) == expected
    assert len(encoded) == bool(modules)

    # As the option file says how to test it.
    models = f'experiments/{opt["name"]}/models'
    (tmp_path / models).mkdir(parents=True)
    model.save(-1, -1)
    entries = [*TINY_NETWORKS, *(entry for entry in row if entry.startswith(('network_g', 'network_t', 'path'))),
               'name=again', f'path:pretrain_network_g={models}/net_g_latest.pth']
    assert (tmp_path / models / 'net_t_latest.pth').is_file() == bool(modules)
    if modules:
        entries += [f'path:pretrain_network_t={models}/net_t_latest.pth']
    again, _ = build(option_file('test_tgjar_cub'), entries, is_train=False)
    for one in (model, again):
        one.feed_data(batch)
        one.test()
    assert torch.equal(model.output, again.output)
    # Without words the restoration is another one, if there is text at all.
    batch['text_mask'][:] = False
    again.feed_data(batch)
    again.test()
    assert torch.equal(model.output, again.output) == (not modules)
