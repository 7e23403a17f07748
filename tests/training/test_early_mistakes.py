"""What is wrong with an option file is said before the experiment of the same name is moved away."""

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.models.sr_model import SRModel

from tests.helpers.checkout import ROOT
from tests.helpers.forked import python
from tests.training.test_pipeline import OPTIONS, workspace, write  # noqa: F401
from tgjar_arch.cli.main import main
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.training.options import find_options, read_options

COSINE = {'type': 'CosineAnnealingRestartLR', 'periods': [2, 1], 'restart_weights': [1, 1], 'eta_min': 1e-7}
MISTAKES = {  # keys and values that are changed, and what the line must say
    'periods': ({'train:scheduler': COSINE}, 'train:scheduler:periods: [2, 1] must be above 0 and reach '
                'train:total_iter, 4, but end at 3; lengthen the last one'),
    'period of 0': ({'train:scheduler': COSINE | {'periods': [0, 4]}}, 'periods: [0, 4] must be above 0'),
    'restart weights': ({'train:scheduler': COSINE | {'periods': [4]}}, 'should have the same length'),
    'milestones': ({'train:scheduler:milestones': 100}, 'milestones: 100 must be a list of numbers, such as [4]'),
    'scheduler': ({'train:scheduler:type': 'StepLR'}, "scheduler:type: there is no 'StepLR'. BasicSR has: MultiStep"),
    'scheduler key': ({'train:scheduler:gama': .5}, "MultiStepLR has no key 'gama'. Did you mean gamma?"),
    'optimiser': ({'train:optim_g:type': 'Adamm'}, "train:optim_g:type: there is no 'Adamm'. BasicSR has: Adam"),
    'optimiser key': ({'train:optim_g:weight_decai': 0}, "Adam has no key 'weight_decai'. Did you mean weight_decay?"),
    'optimiser value': ({'train:optim_g:lr': '1e-4 '}, "train:optim_g:lr: '1e-4 ' is text, but must be a number"),
    'betas': ({'train:optim_g:betas': [2, 0]}, 'train:optim_g: Invalid beta parameter at index 0'),
    'gt_size': ({'datasets:train:gt_size': 96.0}, 'gt_size: 96.0 must be a whole number from 1 up; write 96'),
    'batch': ({'datasets:train:batch_size_per_gpu': 0}, 'batch_size_per_gpu: 0 must be a whole number from 1 up'),
    'print_freq': ({'logger:print_freq': 0}, 'logger:print_freq: 0 must be a whole number from 1 up'),
    'save freq': ({'logger:save_checkpoint_freq': 0}, 'logger:save_checkpoint_freq: 0 must be'),
    'val_freq': ({'val:val_freq': 0}, 'val:val_freq: 0 must be'),
    'total': ({'train:total_iter': 'many'}, "train:total_iter: 'many' must be"),
    'slash': ({'name': 'a/b'}, "name: 'a/b' becomes the folder experiments/NAME"),
    'dot': ({'name': '.'}, "name: '.' becomes the folder"),
    'long': ({'name': 'n' * 250}, 'name: it has 250 bytes'),
    'list': ({'datasets:train:dataroot_gt': ['gt', 'lq']}, "dataroot_gt: ['gt', 'lq'] must be one path"),
    'weights list': ({'path:pretrain_network_g': ['a.pth']}, "pretrain_network_g: ['a.pth'] must be one path"),
    'foreign weights': ({'path:pretrain_network_g': 'tgjar_universal'}, 'SRModel reads .pth files only; `tgjar unpack'),
    'weights folder': ({'path:pretrain_network_g': 'gt'}, 'path:pretrain_network_g: gt is a folder; name a file in it'),
    'wandb alone': ({'logger:wandb': {'project': 'p'}}, 'logger:wandb:project needs logger:use_tb_logger: true'),
    'phase': ({'datasets:test': {'type': 'PairedImageDataset', 'name': 't'}}, 'datasets:test: a data set of `tgjar'),
    'prefetch': ({'datasets:train:prefetch_mode': 'gpu'}, "prefetch_mode: 'gpu' must be ~, cpu or cuda"),
    'pinned': ({'datasets:train:prefetch_mode': 'cuda'}, 'prefetch_mode: cuda needs pin_memory: true'),
    'metric argument': ({'val:metrics:psnr': {'type': 'calculate_psnr'}}, 'val:metrics:psnr:crop_border is missing'),
    'loss weight': ({'train:pixel_opt:loss_weight': 'high'}, "loss_weight: 'high' is text, but must be a number"),
    'loss that needs lq': ({'train:pixel_opt': {'type': 'RelativeMSELoss'}}, "train:pixel_opt:type: 'RelativeMSELoss' "
                           'compares with the compressed image too, which SRModel does not give it; TGJARModel does'),
    'network value': ({'network_g:num_block': '1'}, "network_g:num_block: '1' is text, but must be a number"),
    'seed': ({'manual_seed': 'zero'}, "manual_seed: 'zero' must be a whole number"),
    'gpus': ({'num_gpu': -1}, 'num_gpu: -1 must be auto or a number'),
    'data set name': ({'datasets:val:name': None}, 'datasets:val:name is missing'),
    # sections
    'path text': ({'path': 'experiments'}, "path must be a section with keys, not 'experiments'"),
    'logger text': ({'logger': 'wandb'}, "logger must be a section with keys, not 'wandb'"),
    'data set list': ({'datasets:train': ['gt']}, "datasets:train must be a section with type: ..., not ['gt']"),
    'metrics list': ({'val:metrics': ['psnr', 'ssim']}, "val:metrics must be a section with a section for every metric,"
                     " not ['psnr', 'ssim']"),
    'metric text': ({'val:metrics:psnr': 'calculate_psnr'}, 'val:metrics:psnr must be a section with type: ..., not '
                    "'calculate_psnr'"),
    'optimiser text': ({'train:optim_g': 'Adam'}, "train:optim_g must be a section with type: ..., not 'Adam'"),
    'no optimiser': ({'train:optim_g': None}, 'train:optim_g must be a section with type: ..., not ~'),
    'scheduler text': ({'train:scheduler': 'MultiStepLR'}, 'train:scheduler must be a section with type: ..., not '
                       "'MultiStepLR'"),
    'loss text': ({'train:pixel_opt': 'L1Loss'}, "train:pixel_opt must be a section with type: ..., not 'L1Loss'"),
    'backend text': ({'datasets:train:io_backend': 'disk'}, 'datasets:train:io_backend must be a section with type: '
                     "disk, not 'disk'"),
    'backend type': ({'datasets:val:io_backend:type': ['disk']}, "datasets:val:io_backend:type: ['disk'] must be text"),
    'network type': ({'network_g:type': ['EDSR']}, "network_g:type: ['EDSR'] must be text"),
    'model type': ({'model_type': ['SRModel']}, "model_type: ['SRModel'] must be text"),
    'scheduler type': ({'train:scheduler:type': 1}, 'train:scheduler:type: 1 must be text'),
    'one beta': ({'train:optim_g:betas': [0.9]}, 'train:optim_g:betas: [0.9] must be two numbers, such as [0.9'),
    'beta': ({'train:optim_g:betas': 0.9}, 'train:optim_g:betas: 0.9 must be two numbers, such as [0.9'),
    'negative seed': ({'manual_seed': -5}, 'manual_seed: -5 must be a whole number from 0 up'),
    # ranges
    'decay': ({'train:ema_decay': 2}, 'train:ema_decay: 2 must be a number from 0 up and below 1, such as 0.999'),
    'decay of text': ({'train:ema_decay': '0.999'}, "train:ema_decay: '0.999' must be a number from 0 up and below 1, "
                      'such as 0.999, without quotes'),
    'clip': ({'train:clip_grad': -1}, 'train:clip_grad: -1 must be a number from 0 up'),
    'clip of text': ({'train:clip_text': '1'}, "train:clip_text: '1' must be a number from 0 up, without quotes"),
    'border': ({'val:metrics:psnr:crop_border': -3}, 'val:metrics:psnr:crop_border: -3 must be a whole number from 0'),
    'border of text': ({'val:metrics:psnr:crop_border': '4'}, "psnr:crop_border: '4' must be a whole number from 0"),
    'wide border': ({'val:metrics:psnr:crop_border': 16, 'datasets:val:gt_size': 32}, 'crop_border: 16 pixels at every '
                    'edge leave nothing of datasets:val:gt_size, 32; lower it'),
    'save_img': ({'val:save_img': 'no'}, "val:save_img: 'no' must be true or false, without quotes"),
    'pbar': ({'val:pbar': 3}, 'val:pbar: 3 must be true or false'),
    'flip': ({'datasets:train:use_hflip': 'yes'}, "datasets:train:use_hflip: 'yes' must be true or false"),
    'strict': ({'path:strict_load_g': 'false'}, "path:strict_load_g: 'false' must be true or false"),
    'TensorBoard': ({'logger:use_tb_logger': 'off'}, "logger:use_tb_logger: 'off' must be true or false"),
    'unused': ({'find_unused_parameters': 'no'}, "bad.yml: find_unused_parameters: 'no' must be true or false"),
    'text encoder': ({'train:train_network_t': 'no'}, "train:train_network_t: 'no' must be true or false"),
    'no loss weight': ({'train:pixel_opt:loss_weight': None}, 'train:pixel_opt:loss_weight: it is empty (~), but must '
                       'be a number, such as 1.0; or remove the key'),
    # found when they are built
    'no images': ({'datasets:train:dataroot_lq': 'experiments'}, 'datasets:train'),
    'small pictures': ({'datasets:train:gt_size': 200}, 'the first batch of datasets:train does not go through: LQ '
                       '(64, 64) is smaller than patch size'),
    'channels': ({'network_g:num_in_ch': 1}, 'does not go through: '),
    'upscale': ({'network_g:upscale': 2}, 'network_g makes images of 3x64x64 (channels x height x width), but the '
                'originals are 3x32x32'),
    'io_backend': ({'datasets:train:io_backend:type': 'dsk'}, 'Backend dsk is not supported'),
    'built': ({'network_g:num_block': 1.5}, 'bad.yml (SRModel): '),
}


def changed(changes: dict) -> dict:
    options = copy.deepcopy(OPTIONS)
    for key, value in changes.items():
        *sections, last = key.split(':')
        block = options
        for section in sections:
            block = block[section]
        block[last] = value
    return options


@pytest.mark.parametrize(('changes', 'said'), MISTAKES.values(), ids=MISTAKES)
def test_one_line_and_the_old_experiment_stays(changes: dict, said: str, workspace: Path,  # noqa: F811
                                               capsys: pytest.CaptureFixture[str]) -> None:
    old = Path('experiments', 'tiny', 'models')
    old.mkdir(parents=True)
    assert main(['train', '-opt', write(changed(changes), 'bad.yml')]) == 2
    error = capsys.readouterr().err
    assert error.startswith('tgjar train: bad.yml') and said in error and error.count('\n') == 1
    assert [path.name for path in Path('experiments').iterdir()] == ['tiny'] and list(old.iterdir()) == []


@pytest.mark.parametrize(('package', 'changes'), [
    ('tensorboard', {'logger:use_tb_logger': True}),
    ('wandb', {'logger:use_tb_logger': True, 'logger:wandb': {'project': 'p'}})])
def test_a_logger_that_is_not_installed(package: str, changes: dict, workspace: Path,  # noqa: F811
                                        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tgjar_arch.training import value_checks

    monkeypatch.setattr(value_checks, 'find_spec', lambda name: None if name == package else True)
    assert main(['train', '-opt', write(changed(changes), 'bad.yml')]) == 2
    assert f'{package} is not installed; pip install {package}, or set logger:' in capsys.readouterr().err
    assert not Path('experiments').exists()


@pytest.mark.parametrize(('encoding', 'said'), [
    ('utf-16', 'it is UTF-16; save it as UTF-8.'), ('utf-16-le', 'it is no UTF-8; save it as UTF-8.'),
    ('latin-1', 'it is no UTF-8; save it as UTF-8.')])
def test_another_encoding(encoding: str, said: str, workspace: Path,  # noqa: F811
                          capsys: pytest.CaptureFixture[str]) -> None:
    text = '# Größe\n' if encoding == 'latin-1' else ''
    Path('bad.yml').write_bytes((text + Path('tiny.yml').read_text()).encode(encoding))
    assert main(['train', '-opt', 'bad.yml']) == 2
    assert capsys.readouterr().err == f'tgjar train: cannot read the option file bad.yml: {said}\n'


def test_a_key_given_twice(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    text = Path('tiny.yml').read_text()
    Path('bad.yml').write_text(text + 'name: other\n')
    assert main(['train', '-opt', 'bad.yml']) == 2
    line = text.count('\n') + 1
    assert f'bad.yml, line {line}: the key name stands in line 1 already' in capsys.readouterr().err


def test_numbers_with_an_exponent(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    text = Path('tiny.yml').read_text().replace('lr: 0.001', 'lr: 2e-4').replace('val_freq: 4', 'val_freq: 1e3')
    Path('tiny.yml').write_text(text)
    assert read_options('tiny.yml')['train']['optim_g']['lr'] == 2e-4
    for number, value in (('1E5', 1e5), ('-1.5e-3', -1.5e-3), ('.5e1', 5.0), ("'1e-4'", '1e-4'), ('1e', '1e')):
        Path('value.yml').write_text(f'a: {number}\n')
        assert read_options('value.yml') == {'a': value}
    assert main(['train', '-opt', 'tiny.yml', '--force_yml', 'train:total_iter=1']) == 0  # BasicSR reads it once more
    assert torch.load('experiments/tiny/models/net_g_latest.pth', weights_only=True)


def test_a_test_keeps_its_old_results_too(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    Path('results/tiny').mkdir(parents=True)
    torch.save({'params': {'conv': torch.zeros(1)}}, 'other.pth')
    assert main(['test', '-opt', write(changed({'path:pretrain_network_g': 'other.pth'}), 'bad.yml')]) == 2
    error = capsys.readouterr().err
    assert 'bad.yml (SRModel): Error(s) in loading state_dict for EDSR' in error
    assert [path.name for path in Path('results').iterdir()] == ['tiny']


def test_the_log_file_has_what_was_built_before_it(workspace: Path) -> None:  # noqa: F811
    done = python('-m', 'tgjar_arch', 'train', '-opt', 'tiny.yml', '--force_yml', 'train:total_iter=1', path=(ROOT,))
    assert done.returncode == 0, done.stderr
    (log,) = Path('experiments/tiny').glob('train_*.log')
    text = log.read_text()
    for line in ('Number of train images: 3', 'Network: EDSR', 'Model [SRModel] is created', 'Start training'):
        assert text.count(line) == done.stderr.count(line) == 1
    assert text.index('Version Information') < text.index('Number of train images') < text.index('Network: EDSR')


@pytest.mark.parametrize('loss', ['contrastive_opt', 'damsm_opt', 'chroma_opt', 'grid_opt'])
def test_a_loss_that_the_model_does_not_read(loss: str, workspace: Path) -> None:  # noqa: F811
    from tgjar_arch.training.options import check_options

    types = {'contrastive_opt': 'PerceptualContrastiveLoss', 'damsm_opt': 'DAMSMLoss', 'chroma_opt': 'ChromaBlockLoss',
             'grid_opt': 'GridPatternLoss'}
    options = changed({f'train:{loss}': {'type': types[loss]}})
    (note,) = check_options(options, 'f.yml', is_train=True)
    assert f'f.yml: train:{loss}: SRModel does not read it' in note and 'model_type: TGJARModel' in note
    if loss != 'damsm_opt':
        assert check_options(options | {'model_type': 'TGJARModel'}, 'f.yml', is_train=True) == []


def test_a_name_with_debug_is_said(workspace: Path) -> None:  # noqa: F811
    from tgjar_arch.training.options import check_options

    (note,) = check_options(changed({'name': 'my_debug_run'}), 'f.yml', is_train=True)
    assert 'it holds "debug", so BasicSR logs every iteration' in note


@pytest.mark.parametrize('name', ['train_tgjar_cub.yml', 'options/train_tgjar_cub.yml', 'train_tgjar_cub',
                                  'train_edsr_cub.yml', 'baselines/train_edsr_cub.yml'])
def test_option_files_of_the_package_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    found = Path(find_options(name))
    assert found.parts[-1].startswith(Path(name).stem) and (ROOT / 'options') in found.parents
    assert main(['train', '-opt', name]) == 2
    error = capsys.readouterr().err
    assert f'there is no file {name} here, so the one of the package is taken: {found}' in error
    assert 'datasets:train:dataroot_gt: there is no data/cub/train' in error
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text('a: 1\n')
    assert find_options(name) == name  # a file here comes first
    assert find_options('no_such.yml') == 'no_such.yml'


def test_a_named_option_file_trains(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    from tgjar_arch.training import options as option_files

    Path('elsewhere').mkdir()
    Path('tiny.yml').rename('elsewhere/tiny.yml')
    monkeypatch.setattr(option_files, '_shipped_options', lambda: {'tiny.yml': Path('elsewhere/tiny.yml')})
    assert main(['train', '-opt', 'tiny.yml', '--force_yml', 'train:total_iter=1']) == 0
    assert Path('experiments/tiny/tiny.yml').is_file()


def test_data_without_captions_say_how_to_train(workspace: Path, photos: Callable[..., Path],  # noqa: F811
                                                capsys: pytest.CaptureFixture[str]) -> None:
    options = yaml.safe_load(re.sub('!!python/name:tgjar_arch.__version__', 'x',
                                    (ROOT / 'options/train_tgjar_finetune.yml').read_text()))
    for block in options['datasets'].values():
        block |= {'dataroot_gt': 'gt', 'tokenizer': 'tokenizer.json', 'num_worker_per_gpu': 0} | (
            {'batch_size_per_gpu': 1, 'gt_size': 32, 'scale_range': None} if 'batch_size_per_gpu' in block else {})
    options['path'] |= {'pretrain_network_g': None, 'pretrain_network_t': None, 'pretrain_network_d': None}
    how = '--force_yml network_t=none path:pretrain_network_t=~ train:train_network_t=false train:damsm_opt=~'
    assert main(['train', '-opt', write(options, 'mine.yml')]) == 2
    assert f'Build it with `tgjar vocab`, or train without captions: {how}' in capsys.readouterr().err
    WordTokenizer.from_words(['bird']).save('tokenizer.json')
    assert main(['train', '-opt', 'mine.yml']) == 2
    error = capsys.readouterr().err
    assert 'no caption with a known word was found' in error and f'To train without captions: {how}' in error
    assert not Path('experiments').exists()


@pytest.mark.parametrize(('entry', 'said'), [
    ('network_t:text_dim=32', ''), ('network_g:num_in_ch=1', ''), ('datasets:train:gt_size=200', 'The first: gt'),
    ('network_d:num_in_ch=1', '')])
def test_our_model_is_tried_on_a_batch(entry: str, said: str, workspace: Path,  # noqa: F811
                                       capsys: pytest.CaptureFixture[str]) -> None:
    options = changed({
        'model_type': 'TGJARModel',
        'network_t': {'type': 'LSTMTextEncoder', 'vocab_size': None, 'embed_dim': 4, 'text_dim': 16},
        'network_g': {'type': 'TGJARGenerator', 'num_in_ch': 3, 'num_feat': 4, 'num_block': 1, 'text_dim': 16},
        'network_d': {'type': 'TGJARDiscriminator', 'num_in_ch': 3, 'num_feat': 2},
        'train:train_network_t': True, 'train:optim_d': {'type': 'Adam', 'lr': 1e-4},
        'train:gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}})
    for file in Path('gt').iterdir():
        file.with_suffix('.txt').write_text('a red bird', encoding='utf-8')
    WordTokenizer.from_words(['a', 'red', 'bird']).save('tokenizer.json')
    ours = {'type': 'PairedImageTextDataset', 'tokenizer': 'tokenizer.json', 'qf': 10, 'dataroot_lq': None}
    options['datasets']['train'] |= ours
    del options['datasets']['train']['use_rot']
    options['datasets']['val'] |= ours
    write(options, 'ours.yml')
    Path('experiments/tiny/models').mkdir(parents=True)
    assert main(['train', '-opt', 'ours.yml', '--force_yml', entry]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('tgjar train: ours.yml: the first batch of datasets:train does not go through: ')
    assert said in error and [path.name for path in Path('experiments').iterdir()] == ['tiny']
    assert main(['train', '-opt', 'ours.yml', '--force_yml', 'train:total_iter=1', 'val=none']) == 0


def test_the_tried_batch_leaves_no_trace(workspace: Path) -> None:  # noqa: F811
    import random

    import numpy as np
    from basicsr.archs.edsr_arch import EDSR
    from basicsr.data import build_dataset
    from torch.utils.data import DataLoader

    from tgjar_arch.training.first_batch import try_first_batch

    class Model(SRModel):
        def __init__(self) -> None:
            self.net_g = torch.nn.Sequential(torch.nn.BatchNorm2d(3), EDSR(3, 3, 4, 1, 1))
            self.device = torch.device('cpu')

    dataset = build_dataset(OPTIONS['datasets']['train'] | {'scale': 1, 'phase': 'train'})
    model = Model()
    before = {name: value.clone() for name, value in model.net_g.state_dict().items()}
    attributes = dict(vars(model))
    draws = []
    for tries in (False, True):
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
        if tries:
            try_first_batch(DataLoader(dataset, batch_size=2, shuffle=True), model)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))  # noqa: NPY002
    assert draws[0] == draws[1]
    assert vars(model) == attributes and all(module.training for module in model.net_g.modules())
    assert all(torch.equal(before[name], value) for name, value in model.net_g.state_dict().items())
    assert dataset.file_client is None and dataset.io_backend_opt == {'type': 'disk'}


def resume(*entries: str) -> int:
    return main(['train', '-opt', 'tiny.yml', '--auto_resume', '--force_yml', 'train:total_iter=4', *entries])


def lr_of(iteration: int) -> float:
    state = torch.load(f'experiments/tiny/training_states/{iteration}.state', weights_only=True)
    return state['optimizers'][0]['param_groups'][0]['lr']


def test_a_resumed_training_follows_the_option_file(workspace: Path,  # noqa: F811
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    """A new learning rate and schedule hold as if from the first iteration on; without a change nothing is said."""
    start = ['train', '-opt', 'tiny.yml', '--force_yml', 'train:total_iter=2', 'val:val_freq=100']
    assert main(start) == 0
    capsys.readouterr()
    assert resume('val:val_freq=100') == 0
    assert 'changed since' not in capsys.readouterr().err and lr_of(4) == 1e-3

    assert main(start) == 0
    capsys.readouterr()
    assert resume('val:val_freq=100', 'train:optim_g:lr=2e-4', 'train:optim_g:weight_decay=0.1',
                  'train:scheduler:milestones=[1,3]') == 0
    error = capsys.readouterr().err
    for note in ('lr 0.001 -> 0.0002', 'weight_decay 0 -> 0.1', 'milestones [100] -> [1, 3]'):
        assert 'tiny.yml: changed since the saved state, and applied: ' in error and note in error
    assert lr_of(4) == pytest.approx(2e-4 * 0.25)
    state = torch.load('experiments/tiny/training_states/4.state', weights_only=True)
    assert state['optimizers'][0]['param_groups'][0]['weight_decay'] == 0.1
    assert state['optimizers'][0]['state'][0]['step'] == 4  # the moments went on


@pytest.mark.parametrize(('entry', 'said'), [
    ('network_g:num_feat=8', 'loading state_dict for EDSR'),
    ('train:scheduler={type: CosineAnnealingRestartLR, periods: [4], restart_weights: [1]}',
     'train:scheduler: the training was begun with another type'),
    ('model_type=SRGANModel', 'bad')])
def test_a_resumption_that_cannot_be(entry: str, said: str, workspace: Path,  # noqa: F811
                                     capsys: pytest.CaptureFixture[str]) -> None:
    start = ['train', '-opt', 'tiny.yml', '--force_yml', 'train:total_iter=2', 'val:val_freq=100']
    assert main(start) == 0
    capsys.readouterr()
    if said == 'bad':
        options = changed({
            'model_type': 'SRGANModel', 'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 2},
            'train:optim_d': {'type': 'Adam', 'lr': 1e-4},
            'train:gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
            'path:ignore_resume_networks': ['network_d']})
        write(options)
        assert resume() == 2
        said = 'tiny.yml: the state to resume has 1 optimisers, but the options make 2: gan_opt, network_d or optim_d'
    else:
        assert resume(entry) == 2
    assert said in capsys.readouterr().err
