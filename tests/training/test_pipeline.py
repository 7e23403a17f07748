"""tgjar train and tgjar test around BasicSR's own model, dataset and network: what they mend, and what they say."""

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import basicsr.train
import cv2
import pytest
import torch
import yaml
from basicsr.models.sr_model import SRModel

from tests.helpers.checkout import ROOT
from tests.helpers.forked import python
from tgjar_arch.cli.main import main
from tgjar_arch.training import options as option_files
from tgjar_arch.training import pipeline as trainer

OPTIONS = yaml.safe_load("""
name: tiny
model_type: SRModel
num_gpu: auto
manual_seed: 0
scale: 1
datasets:
  train:
    name: photos
    type: PairedImageDataset
    dataroot_gt: gt
    dataroot_lq: lq
    io_backend: {type: disk}
    gt_size: 32
    use_hflip: true
    use_rot: false
    num_worker_per_gpu: 0
    batch_size_per_gpu: 1
  val: {name: photos, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq, io_backend: {type: disk}}
network_g: {type: EDSR, num_in_ch: 3, num_out_ch: 3, num_feat: 4, num_block: 1, upscale: 1}
path: {pretrain_network_g: ~, resume_state: ~}
train:
  optim_g: {type: Adam, lr: 0.001}
  scheduler: {type: MultiStepLR, milestones: [100], gamma: 0.5}
  total_iter: 4
  pixel_opt: {type: L1Loss, loss_weight: 1.0}
val:
  val_freq: 4
  save_img: true
  suffix: ~
  metrics: {psnr: {type: calculate_psnr, crop_border: 0}}
logger: {print_freq: 1, save_checkpoint_freq: 2, use_tb_logger: false}
""")


@pytest.fixture
def workspace(tmp_path: Path, photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with images and the option file tiny.yml."""
    monkeypatch.chdir(tmp_path)
    gt = photos(size=64, captions=False, folder='gt')
    (tmp_path / 'lq').mkdir()
    for file in gt.iterdir():
        cv2.imwrite(str(tmp_path / 'lq' / file.name), cv2.GaussianBlur(cv2.imread(str(file)), (5, 5), 0))
    write(OPTIONS)
    return tmp_path


def write(options: dict, name: str = 'tiny.yml') -> str:
    Path(name).write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')
    return name


def tgjar(*arguments: str) -> str:
    """Run `tgjar ARGUMENTS` in a process of its own; returns what it wrote."""
    done = python('-m', 'tgjar_arch', *arguments, path=(ROOT,))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def test_train_resume_and_test(workspace: Path) -> None:
    """Outputs lie in the working directory; a state or network that a kill cut short gives way to the one before it."""
    output = tgjar('train', '-opt', 'tiny.yml', '--force_yml', 'train:optim_g:lr=5e-4', 'logger:save_checkpoint_freq=1')
    assert 'lr:(5.000e-04,)' in output and 'Warning' not in output
    experiment = workspace / 'experiments' / 'tiny'
    assert '# tgjar train -opt tiny.yml --force_yml' in (experiment / 'tiny.yml').read_text()
    assert (experiment / 'visualization' / 'chelsea' / 'chelsea_4.png').is_file()

    cut_short(experiment / 'training_states' / '4.state')
    cut_short(experiment / 'models' / 'net_g_3.pth')
    output = tgjar('train', '-opt', 'tiny.yml', '--auto_resume')
    assert '4.state cannot be read (was it cut short?)' in output
    assert 'net_g_3.pth cannot be read (was it cut short?)' in output
    assert 'Resuming training from epoch: 0, iter: 2.' in output
    assert 'iter:       3' in output and 'iter:       2,' not in output

    weights = f'path:pretrain_network_g={experiment / "models" / "net_g_latest.pth"}'
    output = tgjar('test', '-opt', 'tiny.yml', '--force_yml', weights, 'name=tested')
    assert '# psnr: ' in output
    assert (workspace / 'results' / 'tested' / 'visualization' / 'photos' / 'chelsea_tested.png').is_file()


def test_every_iteration_runs_however_few_images(workspace: Path) -> None:
    """3 images in batches of 2 are one batch an epoch, where BasicSR counts two; also resumed."""
    few = ['datasets:train:batch_size_per_gpu=2', 'val:val_freq=100', 'logger:save_checkpoint_freq=1']
    output = tgjar('train', '-opt', 'tiny.yml', '--force_yml', 'train:total_iter=9', *few)
    assert re.findall(r'iter:\s+(\d+), lr', output) == [str(i) for i in range(1, 10)]
    output = tgjar('train', '-opt', 'tiny.yml', '--auto_resume', '--force_yml', 'train:total_iter=11', *few)
    assert re.findall(r'iter:\s+(\d+), lr', output) == ['10', '11']


@pytest.mark.parametrize('workers', [0, 1])
def test_a_resumed_epoch_goes_on_with_its_remaining_images(workspace: Path, monkeypatch: pytest.MonkeyPatch,
                                                           workers: int) -> None:
    """Every image once an epoch, whenever the training was stopped, and other crops than in the first iterations."""
    seen: list[tuple[str, torch.Tensor]] = []

    def feed(model: SRModel, data: dict) -> None:
        # No whole image, as validated, and not the batch that is tried before the training.
        if data['gt'].shape[-1] == 32 and torch.is_grad_enabled():
            seen.append((Path(data['gt_path'][0]).stem, data['gt']))
        original(model, data)

    original = SRModel.feed_data
    monkeypatch.setattr(SRModel, 'feed_data', feed)
    common = ['-opt', 'tiny.yml', '--force_yml', 'logger:save_checkpoint_freq=1', 'val:val_freq=1000',
              f'datasets:train:num_worker_per_gpu={workers}']
    for total in (1, 2, 6, 7):
        assert main(['train', *common, f'train:total_iter={total}', *['--auto_resume'] * (total > 1)]) == 0
    whole, seen[:] = seen[:], []
    assert [len({name for name, _ in whole[k:k + 3]}) for k in (0, 3)] == [3, 3] and len(whole) == 7
    assert main(['train', *common, 'train:total_iter=7', 'name=at_once']) == 0
    assert [name for name, _ in whole] == [name for name, _ in seen]
    assert not any(torch.equal(a[1], b[1]) for a, b in zip(whole[1:], seen[1:], strict=True))


@pytest.mark.parametrize(('changes', 'said'), [
    ({'dist': True, 'world_size': 4}, '1 images for each of 4 processes are fewer than a batch of 2;'),
    ({'num_gpu': 2}, '3 images are fewer than a batch of 4 for 2 GPUs;')])
def test_too_few_images_for_all_are_named(workspace: Path, capsys: pytest.CaptureFixture[str],
                                          monkeypatch: pytest.MonkeyPatch, changes: dict, said: str) -> None:
    create = basicsr.train.create_train_val_dataloader

    def create_for_many(opt: dict, logger: object) -> tuple:
        opt |= changes
        return create(opt, logger)

    monkeypatch.setattr(basicsr.train, 'create_train_val_dataloader', create_for_many)
    assert main(['train', '-opt', 'tiny.yml', '--force_yml', 'datasets:train:batch_size_per_gpu=2']) == 2
    assert said in capsys.readouterr().err


def test_torchrun_on_the_cpu(workspace: Path) -> None:
    torchrun = (sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--master_port=29517')
    done = subprocess.run([*torchrun, '-m', 'tgjar_arch', 'train', '-opt', 'tiny.yml', '--launcher', 'pytorch',
                           '--force_yml', 'train:total_iter=2'], capture_output=True, text=True,
                          env=os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'})
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    if torch.cuda.is_available():
        pytest.skip('a GPU is used here')
    assert 'World size (gpu number): 2' in output
    assert 'iter:       2' in output and 'Validation photos' in output


@pytest.mark.parametrize(('text', 'value'), [
    ('1e-4', 1e-4), ('-1', -1), ('+2', 2), ('-0.5', -0.5), ('2.', 2.0), ('.5', 0.5), ('3', 3), ('!!float1e-4', 1e-4),
    ('~', None), ('None', None), ('null', None), ('true', True), ('False', False), ('[1, 1e-4, a]', [1, 1e-4, 'a']),
    ('{min: 1, max: 40}', {'min': 1, 'max': 40}), ("'12'", '12'), ('bf16', 'bf16'), ('1.2.3', '1.2.3'),
    ('4:2:0', '4:2:0'),
])
def test_values_of_force_yml(text: str, value: object) -> None:
    parsed = option_files.parse_value(text)
    assert parsed == value and type(parsed) is type(value)


def test_override_works_on_a_copy_and_names_new_keys() -> None:
    entries = ['train:optim_g:lr=1e-4', 'train:pixel_opt=~', 'train:warmup_itr=-1', 'train:ema_decay=0.9']
    before = OPTIONS | {'train': {**OPTIONS['train'], 'warmup_iter': 5}}
    options, notes = option_files.override(before, entries, 'f.yml')
    assert options['train']['optim_g']['lr'] == 1e-4 and options['train']['pixel_opt'] is None
    assert OPTIONS['train']['optim_g']['lr'] == 1e-3
    assert notes == [
        '--force_yml train:warmup_itr=-1: f.yml has no such key, so it is added. Did you mean warmup_iter?',
        '--force_yml train:ema_decay=0.9: f.yml has no such key, so it is added.',
    ]


MISTAKES = {  # what is changed: (section, key, value), and what the line must say
    'model': (('model_type', 'SRModle'), "model_type: there is no 'SRModle'. Did you mean SRModel?"),
    'network': (('network_g', 'type', 'EDSRR'), "network_g:type: there is no 'EDSRR'. Did you mean EDSR?"),
    'network key': (('network_g', 'num_feet', 4), "network_g: EDSR has no key 'num_feet'. Did you mean num_feat?"),
    'our network key': (('network_g', {'type': 'TGJARGenerator', 'num_blocks': 4}), 'Did you mean num_block?'),
    'no section': (('network_t', '/root'), "network_t: '/root' must be a section with type and arguments, or ~"),
    'dataset': (('datasets', 'val', 'type', 'Paired'), "datasets:val:type: there is no 'Paired'."),
    'empty dataset': (('datasets', 'val', None), 'datasets:val:type is missing'),
    'loss': (('train', 'pixel_opt', 'type', 'L2Loss'), "train:pixel_opt:type: there is no 'L2Loss'. Did you mean"),
    'loss key': (('train', 'pixel_opt', 'weight', 1), "L1Loss has no key 'weight'."),
    'metric': (('val', 'metrics', 'psnr', 'type', 'psnr'), "val:metrics:psnr:type: there is no 'psnr'."),
    'metric key': (('val', 'metrics', 'psnr', 'test_y_chanel', True),
                   "val:metrics:psnr: calculate_psnr has no key 'test_y_chanel'. Did you mean test_y_channel?"),
    'no image': (('val', 'metrics', 'psnr', 'img2', 'x.png'), 'There are: crop_border, input_order, test_y_channel, '
                 'better.'),
    'top key': (('dist_parms', {}), 'nothing reads the key dist_parms. Did you mean dist_params?'),
    'top network': (('netwrok_d', {}), 'nothing reads the key netwrok_d. Did you mean network_d?'),
    'logger': (('logger', 'wandbb', None), 'nothing reads the key logger:wandbb. Did you mean logger:wandb?'),
    'required': (('train', 'total_iter', None), 'the key train:total_iter is missing or empty'),
    'name': (('name', 12), 'name: 12 must be text; put it in quotes'),
    'device': (('num_gpu', 'one'), "num_gpu: 'one' must be auto or a number"),
    'data': (('datasets', 'train', 'dataroot_lq', 'nowhere'), 'datasets:train:dataroot_lq: there is no nowhere'),
    'weights': (('path', 'pretrain_network_g', 'no.pth'), 'path:pretrain_network_g: there is no no.pth'),
}


@pytest.mark.parametrize(('change', 'said'), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_end_in_one_line(change: tuple, said: str, workspace: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    options = copy.deepcopy(OPTIONS)
    block = options
    for key in change[:-2]:
        block = block[key]
    block[change[-2]] = change[-1]
    assert main(['train', '-opt', write(options, 'bad.yml')]) == 2
    error = capsys.readouterr().err
    assert error.startswith('tgjar train: bad.yml: ') and said in error
    assert error.count('\n') == 1
    assert not Path('experiments').exists()


def test_keys_that_other_code_may_read_stay() -> None:
    options = copy.deepcopy(OPTIONS) | {'my_model_notes': {'a': 1}, 'network_mine': None, 'val2': {}, 'scales': [1]}
    options['logger']['wandb'] = options['logger']['my_board'] = None
    options['val']['metrics']['psnr']['better'] = 'higher'
    option_files.check_options(options, 'f.yml', is_train=True)


@pytest.mark.parametrize(('arguments', 'said'), [
    (['-opt', 'tinny.yml'], 'no option file tinny.yml. Did you mean tiny.yml?'),
    (['-opt', 'tiny.yml', '--force_yml', 'trian:total_iter=3'], 'has no section trian. Did you mean train?'),
    (['-opt', 'tiny.yml', '--force_yml', 'train:total_iter'], 'write section:key=value'),
    (['-opt', 'tiny.yml', '--force_yml', 'train:x=[1,'], 'cannot read the value'),
    (['-opt', 'tiny.yml', '--force_yml', f'network_t={Path.home()}'], 'in the place of ~; write network_t=none.'),
    (['-opt', 'tiny.yml', '--force_yml', 'path:resume_state=no.state'], 'no.state does not exist'),
    (['-opt', 'tiny.yml', '--launcher', 'pytorch'], 'torchrun --nproc_per_node=N -m tgjar_arch train -opt tiny.yml'),
])
def test_wrong_arguments_end_in_one_line(arguments: list[str], said: str, workspace: Path,
                                         monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv('RANK', raising=False)
    assert main(['train', *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith('tgjar train: ') and said in error and error.count('\n') == 1


@pytest.mark.parametrize(('text', 'said'), [
    ('name: [tiny\nmodel_type: SRModel\n', 'bad.yml, line 2: '),
    ('plugin: !!python/name:no_such_plugin.__version__\n', "bad.yml, line 1: cannot find module 'no_such_plugin'"),
    ('just words\n', 'bad.yml: an option file holds `key: value` lines, but this is a str'),
])
def test_yaml_mistakes_end_in_one_line(text: str, said: str, workspace: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    Path('bad.yml').write_text(text)
    assert main(['train', '-opt', 'bad.yml']) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1


def test_copy_in_the_experiment_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path('experiments/tiny').mkdir(parents=True)
    assert main(['train', '-opt', write(OPTIONS, 'experiments/tiny/tiny.yml')]) == 2
    assert 'where BasicSR writes its own copy' in capsys.readouterr().err


def test_traceback_on_request(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TGJAR_TRACEBACK', '1')
    with pytest.raises(option_files.OptionError, match='no option file nothing.yml'):
        main(['train', '-opt', 'nothing.yml'])


def test_constructors_are_explained_and_bugs_are_not() -> None:
    def fail(error: Exception, module: str) -> Callable[[dict], None]:
        scope = {'__name__': module, 'error': error}
        exec('def build(opt):\n    raise error', scope)
        return trainer._explained(scope['build'], 'f.yml')

    with pytest.raises(option_files.OptionError, match=r'f\.yml \(datasets:train\): qf is 0'):
        fail(ValueError('qf is 0'), 'tgjar_arch.datasets.degradation')({'phase': 'train'})
    with pytest.raises(option_files.OptionError, match=r'f\.yml \(SRModel\): the key scheduler is missing'):
        fail(KeyError('scheduler'), 'basicsr.models.base_model')({'model_type': 'SRModel'})
    with pytest.raises(option_files.OptionError, match=r'f\.yml \(SRModel\): no object of that name'):
        fail(KeyError('no object of that name'), 'basicsr.utils.registry')({'model_type': 'SRModel'})
    with pytest.raises(option_files.OptionError, match='no.pth'):
        fail(FileNotFoundError(2, 'No such file', 'no.pth'), 'torch.serialization')({'model_type': 'TGJARModel'})
    with pytest.raises(ValueError, match='deep inside'):
        fail(ValueError('deep inside'), 'torch.nn')({'model_type': 'TGJARModel'})


def test_basicsr_is_left_as_it_was(workspace: Path) -> None:
    """Also when the pipeline fails: here in the middle, at a training state that does not exist."""
    def state() -> list:
        return [basicsr.utils.options._postprocess_yml_value, basicsr.train.load_resume_state,
                basicsr.train.build_model, sys.argv]

    before = state()
    assert main(['train', '-opt', 'tiny.yml', '--force_yml', 'path:resume_state=no.state']) == 2
    assert all(one is other for one, other in zip(before, state(), strict=True))


def test_one_process_writes_the_copy_of_the_option_file(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for rank in (0, 1):
        monkeypatch.setattr('basicsr.utils.dist_util.get_dist_info', lambda rank=rank: (rank, 2))
        trainer._by_one_process(lambda *args: written.append(args))('tiny.yml', f'experiments/{rank}')
    assert written == [('tiny.yml', 'experiments/0')]
