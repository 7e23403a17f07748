"""What `tgjar train` and `tgjar test` share: BasicSR's own pipelines, with what stops BasicSR 1.4.2 mended around them.

| BasicSR 1.4.2 | here |
|---|---|
| a pip-installed one writes into site-packages | the working directory |
| resuming needs a GPU, and fails on a state that a kill cut short | resume.py |
| torchrun needs a GPU | gloo on the CPU |
| `--force_yml train:optim_g:lr=1e-4` sets a text | a number |
| a mistake in the option file is a traceback, after the old experiment was moved away | one line, before |
| few images: training ends early, for epochs are counted with a last batch that is dropped | all iterations |
| resumed in the middle of an epoch: its first images once more, with the same crops and captions | its remaining ones |
| resumed with another learning rate or schedule: the old one, silently | the new one, and it is said |
| `lr: 1e-4` is a text, and of a key given twice the last counts | a number; an error |

The changes hold while the pipeline runs; no file and no other code is touched.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import basicsr.utils.options
import torch.distributed
import torch.multiprocessing
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.models.base_model import BaseModel
from basicsr.utils import set_random_seed
from basicsr.utils.dist_util import master_only
from torch.nn.parallel import DistributedDataParallel

from tgjar_arch import registration
from tgjar_arch.disk import disk_fault
from tgjar_arch.training.built_first import TestBuilt, TrainingBuilt
from tgjar_arch.training.changed_options import apply_changes
from tgjar_arch.training.errors import OptionError
from tgjar_arch.training.options import check_files, check_options, override, parse_value, read_options
from tgjar_arch.training.resume import load_resume_state
from tgjar_arch.training.yaml_file import option_yaml
from tgjar_arch.weights.checkpoint import last_good

_OUTPUTS = ('experiments', 'tb_logger', 'results')  # where BasicSR writes, in the working directory
_LONGEST = 600  # characters of what is said of a constructor's error: PyTorch names every tensor that does not fit


@dataclass(frozen=True)
class PipelineSettings:
    """What BasicSR's pipeline is started with.

    Attributes:
        option_file: path.
        is_train: train, or test.
        argv: BasicSR's arguments, which it parses again.
        launcher: none, pytorch or slurm.
        auto_resume: go on from the newest state, if there is one.
        force_yml: options to change, `SECTION:KEY=VALUE` each.
        show_traceback: let mistakes in the options raise, instead of saying them in one line.
    """

    option_file: str
    is_train: bool
    argv: Sequence[str]
    launcher: str = 'none'
    auto_resume: bool = False
    force_yml: Sequence[str] = ()
    show_traceback: bool = False

    @property
    def command(self) -> str:
        return 'train' if self.is_train else 'test'


def run(settings: PipelineSettings) -> int:
    """Run BasicSR's training or test pipeline in the working directory.

    Returns:
        The exit code: 0; 1 if training came to an end by itself (a loss became NaN, the disk is full); 2 for a mistake
        in the options. Both are said in one line.
    """
    registration.register()  # an option file may lack the line `plugin:`
    name = ''
    try:
        name = _check(settings)
        _pipeline(settings)
    except (OptionError, FloatingPointError) as error:
        if settings.show_traceback:
            raise
        print(f'tgjar {settings.command}: {error}', file=sys.stderr)
        return 2 if isinstance(error, OptionError) else 1
    except OSError as error:
        fault = disk_fault(error, is_writing=_is_output(error))
        if fault is None or settings.show_traceback:
            raise
        text = ' '.join(str(error).split())
        if fault not in text:  # not from a checkpoint
            text = f'{fault}: {error.filename}' if error.filename else fault
        if settings.is_train:
            text += f'; {last_good(Path("experiments", name, "training_states"))}'
            text += '; see to the disk, then go on with --auto_resume'
        print(f'tgjar {settings.command}: {text}.', file=sys.stderr)
        return 1
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def _is_output(error: BaseException | None) -> bool:
    """Whether an error, or one that it arose from, names a file that the pipeline writes."""
    while error is not None:
        file = getattr(error, 'filename', None)
        if isinstance(file, str) and any(Path(file).absolute().is_relative_to(Path.cwd() / name) for name in _OUTPUTS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check(settings: PipelineSettings) -> str:
    """Check the option file; returns the name of the experiment."""
    file = settings.option_file
    options, notes = override(read_options(file), list(settings.force_yml), file)
    for note in notes:
        print(note, file=sys.stderr)
    for note in check_options(options, file, settings.is_train):
        print(f'tgjar {settings.command}: {note}', file=sys.stderr)
    check_files(options, file, resumes=settings.auto_resume or bool(options['path'].get('resume_state')))
    experiment = Path('experiments', options['name']).resolve()
    if settings.is_train and experiment in Path(file).resolve().parents:
        raise OptionError(f'{file} lies in {experiment}, where BasicSR writes its own copy; move it away.')
    if settings.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise OptionError('--launcher pytorch works under torchrun only: torchrun --nproc_per_node=N -m tgjar_arch '
                          f'{settings.command} -opt {file} --launcher pytorch')
    return options['name']


def _pipeline(settings: PipelineSettings) -> None:
    module = importlib.import_module(f'basicsr.{settings.command}')
    build_dataset = _explained(module.build_dataset, settings.option_file)
    build_model = _explained(module.build_model, settings.option_file)
    changes = [
        # BasicSR parses it again, and writes it into the experiment's copy of the option file.
        (sys, 'argv', [f'tgjar {settings.command}', *settings.argv]),
        (basicsr.utils.options, '_postprocess_yml_value', parse_value),
        (basicsr.utils.options, 'ordered_yaml', option_yaml),
        # A full disk is said once, by whom it stops, and not by every line of the log and by TensorBoard's thread too.
        (logging.FileHandler, 'handleError', _quiet_on_disk_faults(logging.FileHandler.handleError)),
        (threading, 'excepthook', _quiet_in_threads(threading.excepthook)),
    ]
    if settings.launcher != 'none' and not torch.cuda.is_available():
        changes.append((basicsr.utils.options, 'init_dist', _init_dist_cpu))
        changes.append((BaseModel, 'model_to_device', _model_to_device_cpu))
    if settings.is_train:
        resumed: dict[str, Any] = {}
        create = _with_enough_epochs(module.create_train_val_dataloader, resumed, settings.option_file)
        built = TrainingBuilt(create, build_model, settings.option_file)
        changes += [
            (module, 'copy_opt_file', _by_one_process(module.copy_opt_file)),
            (module, 'load_resume_state', _resumed_and_built(built, resumed, settings.option_file)),
            (module, 'EnlargedSampler', ContinuedSampler),
            (module, 'build_dataset', build_dataset),
            (module, 'create_train_val_dataloader', built.loaders),
            (module, 'build_model', built.built_model),
        ]
    else:
        tested = TestBuilt(build_dataset, build_model, module.make_exp_dirs)
        changes += [(module, 'make_exp_dirs', tested.make_folders), (module, 'build_dataset', tested.dataset),
                    (module, 'build_model', tested.model)]
    with _replaced(changes):
        (module.train_pipeline if settings.is_train else module.test_pipeline)(os.getcwd())


def _quiet_on_disk_faults(handle: Callable[..., None]) -> Callable[..., None]:
    """`logging.Handler.handleError`, which prints a traceback, but for what the disk is to blame for."""

    def handle_error(handler: logging.Handler, record: logging.LogRecord) -> None:
        if disk_fault(sys.exc_info()[1]) is None:
            handle(handler, record)

    return handle_error


def _quiet_in_threads(hook: Callable[..., Any]) -> Callable[..., None]:
    """`threading.excepthook`, but for what the disk is to blame for."""

    def excepthook(args: threading.ExceptHookArgs) -> None:
        if disk_fault(args.exc_value) is None:
            hook(args)

    return excepthook


def _by_one_process(copy_opt_file: Callable[..., None]) -> Callable[..., None]:
    """Let the first process alone write the experiment's copy of the option file, where it has made the folder."""

    copy_by_first = master_only(copy_opt_file)

    def copy(*args: Any) -> None:
        copy_by_first(*args)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()

    return copy


def _resumed_and_built(built: TrainingBuilt, resumed: dict[str, Any], path: str) -> Callable[[dict], dict | None]:
    """`load_resume_state`, which BasicSR calls before it makes a folder, and everything built after it.

    `resumed` keeps where the training goes on, and the state follows what the option file says now.
    """

    def load(options: dict) -> dict | None:
        state = load_resume_state(options)
        if state is not None:
            resumed.update(epoch=state['epoch'], iter=state['iter'])
        built.build(options)
        if state is not None:
            for note in apply_changes(state, built.model, path):
                if options['rank'] == 0:
                    print(f'tgjar train: {note}', file=sys.stderr)
        return state

    return load


class ContinuedSampler(EnlargedSampler):
    """BasicSR's sampler, which leaves out what an epoch had already before the training was resumed.

    Attributes:
        begun: that epoch.
        seen: how many images of it this process has had, given that batches were as large as they are now.
    """

    begun, seen = 0, 0

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(super().__iter__(), self.seen if self.epoch == self.begun else 0, None)


def _with_enough_epochs(create: Callable[..., tuple], resumed: dict[str, Any], path: str) -> Callable[..., tuple]:
    """Let BasicSR's loop over the epochs 0 to `total_epochs` reach `total_iter`, and resumed go on in its epoch.

    BasicSR counts the last, smaller batch of an epoch, which its loader drops: with 3 images in batches of 2 it runs
    half the iterations, and resumed it may run none. It also seeds as at the first start, so that a resumed training
    would draw the same crops and captions again.
    """

    def with_enough_epochs(opt: dict, logger: Any) -> tuple:
        train_loader, train_sampler, val_loaders, total_epochs, total_iters = create(opt, logger)
        if not len(train_loader):
            # BasicSR's loader drops the last, smaller batch, and would train on nothing.
            share = f' for each of {opt["world_size"]} processes' if opt['dist'] else ''
            devices = f' for {opt["num_gpu"]} GPUs' if not opt['dist'] and opt['num_gpu'] > 1 else ''
            raise OptionError(f'{path}: datasets:train: {len(train_sampler)} images{share} are fewer than a batch of '
                              f'{train_loader.batch_size}{devices}; lower batch_size_per_gpu, raise '
                              'dataset_enlarge_ratio, or use fewer processes or GPUs.')
        seen, missing = 0, total_iters
        if resumed:
            if resumed['epoch'] == (resumed['iter'] - 1) // len(train_loader):  # else epochs had another length
                seen = resumed['iter'] - resumed['epoch'] * len(train_loader)
            train_sampler.begun, train_sampler.seen = resumed['epoch'], seen * train_loader.batch_size
            missing -= resumed['iter']
            seed = (opt['manual_seed'] or 0) + resumed['iter']
            set_random_seed(seed + opt['rank'])
            if train_loader.worker_init_fn is not None:
                train_loader.worker_init_fn = functools.partial(train_loader.worker_init_fn, seed=seed)
        # The loop's end is included.
        needed = resumed.get('epoch', 0) + math.ceil((missing + seen) / len(train_loader)) - 1
        return train_loader, train_sampler, val_loaders, max(total_epochs, needed), total_iters

    return with_enough_epochs


@contextmanager
def _replaced(changes: list[tuple[Any, str, Any]]) -> Iterator[None]:
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in originals:
            setattr(owner, name, value)


def _explained(build: Callable[[dict], Any], path: str) -> Callable[[dict], Any]:
    """Turn what a constructor has to say about its options, or a missing file, into one line."""

    def explained(opt: dict) -> Any:
        try:
            return build(opt)
        except (AssertionError, ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            if not isinstance(error, OSError) and not _is_about_options(error):
                raise
            section = f'datasets:{opt["phase"]}' if 'phase' in opt else opt.get('model_type', '')
            text = ' '.join(str(error).split())
            if isinstance(error, KeyError):  # of a dictionary it holds the key alone, of ours a sentence
                text = str(error.args[0])
                text = text if ' ' in text else f'the key {text} is missing'
                if error.args[0] == 'params':  # of a checkpoint, which BasicSR's models read
                    text = "the weights have no 'params'; name what they have, path: param_key_g: params_ema"
            if len(text) > _LONGEST:
                text = f'{text[:_LONGEST]} ...'
            raise OptionError(f'{path} ({section}): {text}') from error

    return explained


def _is_about_options(error: BaseException) -> bool:
    """Raised in this package or in BasicSR, as by a call of a registered constructor; or PyTorch's word that weights do
    not fit."""
    frame = error.__traceback__
    assert frame is not None  # it has been raised
    while frame.tb_next is not None:
        frame = frame.tb_next
    module = frame.tb_frame.f_globals.get('__name__', '')
    if isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError):
        return module.startswith('tgjar_arch.') or 'loading state_dict' in str(error)
    return module.startswith(('tgjar_arch.', 'basicsr.'))


def _init_dist_cpu(launcher: str, **_: Any) -> None:
    """BasicSR's `init_dist` where there is no GPU: gloo in place of nccl, and no device to choose."""
    if launcher != 'pytorch':
        raise OptionError(f'--launcher {launcher} needs GPUs; on the CPU use torchrun and --launcher pytorch.')
    if torch.multiprocessing.get_start_method(allow_none=True) is None:
        torch.multiprocessing.set_start_method('spawn')
    torch.distributed.init_process_group('gloo')


def _model_to_device_cpu(model: BaseModel, net: torch.nn.Module) -> torch.nn.Module:
    """BasicSR's `BaseModel.model_to_device` for distributed training without a GPU."""
    return DistributedDataParallel(net, find_unused_parameters=model.opt.get('find_unused_parameters', False))
