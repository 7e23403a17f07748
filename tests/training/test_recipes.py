"""The recipes of the shipped weights and the one for photographs of one's own: each starts, saves and is exported."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
from basicsr.archs import build_network

from tests.helpers.force_yml_rows import option_file, rows
from tgjar_arch.cli.main import main
from tgjar_arch.text.tokenizer import load_tokenizer
from tgjar_arch.training.options import read_options
from tgjar_arch.weights.checkpoint import load_checkpoint, save_atomically
from tgjar_arch.weights.file import ExportedWeights, read_weights, write_weights

NETWORKS = {
    'network_g': {'type': 'TGJARGenerator', 'num_feat': 8, 'num_block': 1, 'text_dim': 16, 'text_norm': True},
    'network_t': {'type': 'LSTMTextEncoder', 'embed_dim': 8, 'text_dim': 16},
    'network_i': {'type': 'DAMSMImageEncoder', 'backbone': 'alexnet', 'text_dim': 16},
}
# What a test must make smaller, and the metrics that need large images (NIQE) or downloaded weights (LPIPS).
TINY = ['num_gpu=0', 'train:amp=none', 'train:total_iter=2', 'train:warmup_iter=1', 'train:scheduler:periods=[2]',
        'train:contrastive_opt:pretrained=false', 'val:val_freq=2', 'val:metrics:niqe=~', 'val:metrics:lpips=~',
        'datasets:train:gt_size=64', 'datasets:train:batch_size_per_gpu=2', 'datasets:train:num_worker_per_gpu=0',
        'datasets:val:max_images=1', 'logger:print_freq=1', 'logger:use_tb_logger=false']
RECIPES = ('train_tgjar_universal', 'train_tgjar_fidelity', 'train_tgjar_cub_cpu', 'train_tgjar_cub_qf5_10',
           'train_tgjar_finetune')


@pytest.fixture
def workspace(tmp_path: Path, photos, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with everything that the heads of the recipes ask for, tiny."""
    monkeypatch.chdir(tmp_path)
    for folder in ('cub/train', 'cub/test', 'oxford102/train', 'photos/train', 'photos/test', 'mine/train',
                   'mine/test'):
        photos(size=64, folder=f'data/{folder}')
    for vocabulary in ('data/cub/tokenizer.json', 'data/pieces.json'):
        assert main(['vocab', 'data/cub/train', '-o', vocabulary]) == 0
    tokenizer = load_tokenizer('data/cub/tokenizer.json')
    sized = deepcopy(NETWORKS)
    sized['network_t']['vocab_size'] = tokenizer.vocab_size
    states = {key: build_network(deepcopy(options)).state_dict() for key, options in sized.items()}
    for stage1 in ('train_damsm_cub_alexnet', 'train_damsm_universal'):
        models = tmp_path / 'experiments' / stage1 / 'models'
        models.mkdir(parents=True)
        for label, extras in (('t', {'tokenizer': tokenizer.to_json(), 'max_words': 18}), ('i', {})):
            key = f'network_{label}'
            save_atomically({'params': states[key], 'network': json.dumps(sized[key]), **extras},
                            models / f'net_{label}_latest.pth')
    write_weights('start.safetensors', ExportedWeights(sized['network_g'], states['network_g'], sized['network_t'],
                                                       states['network_t'], tokenizer.to_json(), 18))
    assert main(['unpack', 'start.safetensors', '-o', 'experiments/start']) == 0
    return tmp_path


def train(name: str, *more: str) -> Path:
    """Two iterations and a validation; the folder of the checkpoints."""
    options = read_options(str(option_file(name)))
    removed = {entry.partition('=')[0] for entry in more}
    smaller = [f'{network}:{key}={value}' for network, values in NETWORKS.items()
               if options.get(network) and network not in removed
               for key, value in values.items() if key not in ('type', 'text_norm')]
    tiny = [entry for entry in TINY if 'contrastive_opt' not in entry or 'contrastive_opt' in options['train']]
    assert main(['train', '-opt', str(option_file(name)), '--force_yml', *tiny, *smaller, *more]) == 0
    return Path('experiments', name, 'models')


@pytest.mark.slow
@pytest.mark.parametrize('name', RECIPES)
def test_a_recipe_starts_saves_and_is_exported(name: str, workspace: Path) -> None:
    models = train(name)
    assert load_checkpoint(models / 'net_g_latest.pth').keys() >= {'params', 'params_ema', 'network'}
    assert main(['export', f'experiments/{name}', '-o', 'out.safetensors', '--max-qf', '40']) == 0
    weights = read_weights('out.safetensors')
    assert weights.network_g['text_norm'] and weights.network_t is not None and weights.max_qf == 40


@pytest.mark.slow
def test_photographs_without_captions(workspace: Path) -> None:
    for folder in ('train', 'test'):
        for file in Path('data', 'mine', folder).iterdir():
            if file.suffix in ('.jsonl', '.txt'):
                file.unlink()
    (entries,) = [entries for label, entries in rows(option_file('train_tgjar_finetune')).items()
                  if label.startswith('No photograph has a caption')]
    models = train('train_tgjar_finetune', *entries)
    assert not [*models.glob('net_t_*')]
    assert main(['export', str(models / 'net_g_latest.pth'), '-o', 'out.safetensors', '--without-text']) == 0
    weights = read_weights('out.safetensors')
    assert weights.network_t is None
