"""Values of an option file that BasicSR would stumble over in the middle of a training, or take for something else."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR

from tgjar_arch.option_checks import root_paths, shares
from tgjar_arch.training.errors import OptionError

_LOWEST = {  # whole numbers of a training; 5e3 is one too
    'logger:print_freq': 1, 'logger:save_checkpoint_freq': 1, 'val:val_freq': 1, 'train:total_iter': 1,
    'train:warmup_iter': -1, 'train:net_d_iters': 1, 'train:net_d_init_iters': 0,
}
_LOWEST_OF_DATASETS = {'gt_size': 1, 'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0, 'num_prefetch_queue': 1}
_NOT_NEGATIVE = ('clip_grad', 'clip_text')  # under train
_TRUE_OR_FALSE = {
    '': ('find_unused_parameters',), 'logger': ('use_tb_logger',), 'val': ('save_img', 'pbar'),
    'train': ('train_network_t', 'channels_last', 'reuse_fake', 'compile'),
}
_TRUE_OR_FALSE_OF_DATASETS = ('use_hflip', 'use_rot', 'pin_memory', 'persistent_workers', 'quantisation_maps')
_PREFETCH = (None, 'cpu', 'cuda')
_OPTIMIZERS = ('Adam', 'AdamW', 'Adamax', 'SGD', 'ASGD', 'RMSprop', 'Rprop')  # which of them depends on BasicSR
_SCHEDULERS = {'MultiStepLR': MultiStepRestartLR, 'MultiStepRestartLR': MultiStepRestartLR,
               'CosineAnnealingRestartLR': CosineAnnealingRestartLR}
_LISTS = ('milestones', 'restarts', 'restart_weights', 'periods')
_SEEDS = 2 ** 31  # NumPy takes twice as many, and BasicSR adds the process and the worker
_LONGEST_NAME = 200  # bytes: BasicSR adds `_archived_DATE` to a folder of 255 at most, and `train_` and more to a file


def check_values(options: Mapping[str, Any], path: str, model: type[BaseModel], is_train: bool) -> list[str]:
    """Check names, numbers, loggers, optimisers and schedule, once the keys that BasicSR needs are there.

    Args:
        options: content of the option file.
        path: the file, for messages.
        model: the class of its `model_type`.
        is_train: train, or test.

    Returns:
        Notes about what is no mistake, but may surprise.

    Raises:
        OptionError: the first mistake found.
    """
    _check_name(options['name'], path)
    seed = options.get('manual_seed')
    if seed is not None and (type(seed) is not int or not 0 <= seed < _SEEDS):
        raise OptionError(f'{path}: manual_seed: {seed!r} must be a whole number from 0 up, or ~ for a random one.')
    for key, block in options['datasets'].items():
        _check_dataset(key, block or {}, path, is_train)
    for section, names in _TRUE_OR_FALSE.items():
        if section != 'train' or is_train:
            _true_or_false((options.get(section) or {}) if section else options, names, section, path)
    _true_or_false(options['path'], [name for name in options['path'] if str(name).startswith('strict_load_')], 'path',
                   path)
    _check_borders(options, path)
    if not is_train:
        return []
    for key, lowest in _LOWEST.items():
        section, name = key.split(':')
        if (options.get(section) or {}).get(name) is not None:
            _whole(options[section][name], lowest, key, path, accept_float=True)
    _check_loggers(options, path)
    train = options['train']
    _check_decay(train.get('ema_decay'), path)
    for name in _NOT_NEGATIVE:
        value = train.get(name)
        if value is not None and (not _is_number(value) or not value >= 0):
            raise OptionError(f'{path}: train:{name}: {value!r} must be a number from 0 up, without quotes; 0 is no '
                              'limit.')
    for key, block in train.items():
        if key.startswith('optim_') and isinstance(block, Mapping):
            _check_optimizer(key, block, path, model)
    if isinstance(train.get('scheduler'), Mapping):
        _check_scheduler(train['scheduler'], path, model, int(train['total_iter']))
    return [*_notes(options, path), *_unread_losses(train, path, model)]


def check_arguments(entry: Any, block: Mapping[str, Any], key: str, path: str, given: tuple[str, ...] = ()) -> None:
    """Compare the values of a section with what a class or function takes; keys are checked elsewhere.

    Args:
        entry: the class or function.
        block: its section, with `type`.
        key: the section's name, for messages.
        path: the option file, for messages.
        given: arguments that do not come from the section.

    Raises:
        OptionError: an argument without a default is missing, or text or ~ stands for a number.
    """
    for parameter in inspect.signature(entry).parameters.values():
        name, default = parameter.name, parameter.default
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or name in given:
            continue
        if name not in block:
            if default is parameter.empty:
                raise OptionError(f'{path}: {key}:{name} is missing; {block["type"]} needs it.')
        elif type(default) in (int, float) and isinstance(block[name], str):
            raise OptionError(f'{path}: {key}:{name}: {block[name]!r} is text, but must be a number, such as '
                              f'{default}, without quotes.')
        elif type(default) in (int, float) and block[name] is None:
            raise OptionError(f'{path}: {key}:{name}: it is empty (~), but must be a number, such as {default}; or '
                              'remove the key.')
        elif type(default) is bool and isinstance(block[name], str):
            raise OptionError(f'{path}: {key}:{name}: {block[name]!r} is text, but must be true or false.')


def _check_name(name: str, path: str) -> None:
    if not name.strip() or name != name.strip() or name in ('.', '..') or any(c in name for c in '/\\\0\n'):
        raise OptionError(f'{path}: name: {name!r} becomes the folder experiments/NAME; take letters, digits, "_", "-" '
                          'and ".", without "/".')
    if len(name.encode()) > _LONGEST_NAME:
        raise OptionError(f'{path}: name: it has {len(name.encode())} bytes, and a folder of that name may not be '
                          f'possible; take at most {_LONGEST_NAME}.')


def _check_dataset(key: str, block: Mapping[str, Any], path: str, is_train: bool) -> None:
    phase = key.partition('_')[0]
    if is_train and phase not in ('train', 'val') or key.startswith('train_'):
        raise OptionError(f'{path}: datasets:{key}: a data set of `tgjar train` is called train, val, or val_ and '
                          'more.')
    if phase != 'train' and not isinstance(block.get('name'), str):
        raise OptionError(f'{path}: datasets:{key}:name is missing, or no text; results are shown under it.')
    for name, lowest in _LOWEST_OF_DATASETS.items():
        if block.get(name) is not None:
            _whole(block[name], lowest, f'datasets:{key}:{name}', path)
    _true_or_false(block, _TRUE_OR_FALSE_OF_DATASETS, f'datasets:{key}', path)
    if block.get('type') == 'PairedImageTextDataset':
        _check_roots(key, block, phase, path)
    ratio = block.get('dataset_enlarge_ratio', 1)
    if not _is_number(ratio) or ratio <= 0:
        raise OptionError(f'{path}: datasets:{key}:dataset_enlarge_ratio: {ratio!r} must be a number above 0.')
    prefetch = block.get('prefetch_mode')
    if prefetch not in _PREFETCH:
        raise OptionError(f'{path}: datasets:{key}:prefetch_mode: {prefetch!r} must be ~, cpu or cuda.')
    if phase == 'train' and prefetch == 'cuda':
        if block.get('pin_memory') is not True:
            raise OptionError(f'{path}: datasets:{key}:prefetch_mode: cuda needs pin_memory: true beside it.')
        if not torch.cuda.is_available():
            raise OptionError(f'{path}: datasets:{key}:prefetch_mode: cuda, but no CUDA device is found; set it to ~.')


def _check_roots(key: str, block: Mapping[str, Any], phase: str, path: str) -> None:
    try:
        counts = [len(paths) for name in ('dataroot_gt', 'dataroot_lq', 'dataroot_text')
                  if (paths := root_paths(block, name)) is not None]
        shares({'phase': phase, 'weights': block.get('weights')}, counts[0] if counts else 1)
    except ValueError as error:
        raise OptionError(f'{path}: datasets:{key}:{error}') from error


def _check_decay(value: Any, path: str) -> None:
    if value is not None and (not _is_number(value) or not 0 <= value < 1):
        raise OptionError(f'{path}: train:ema_decay: {value!r} must be a number from 0 up and below 1, such as 0.999, '
                          'without quotes; 0 is none.')


def _check_borders(options: Mapping[str, Any], path: str) -> None:
    """Metrics leave out `crop_border` pixels at every edge, and something must remain."""
    sizes = {key: block['gt_size'] for key, block in options['datasets'].items()
             if not key.startswith('train') and (block or {}).get('gt_size') is not None}
    for key, block in ((options.get('val') or {}).get('metrics') or {}).items():
        border = (block or {}).get('crop_border')
        if border is None:
            continue
        where = f'val:metrics:{key}:crop_border'
        _whole(border, 0, where, path)
        for name, size in sizes.items():
            if 2 * border >= size:
                raise OptionError(f'{path}: {where}: {border} pixels at every edge leave nothing of '
                                  f'datasets:{name}:gt_size, {size}; lower it.')


def _true_or_false(block: Mapping[str, Any], names: Iterable[str], section: str, path: str) -> None:
    for name in names:
        value = block.get(name)
        if value is not None and not (isinstance(value, bool | int) and value in (0, 1)):
            key = f'{section}:{name}' if section else name
            raise OptionError(f'{path}: {key}: {value!r} must be true or false, without quotes.')


def _check_loggers(options: Mapping[str, Any], path: str) -> None:
    if 'debug' in options['name']:  # BasicSR starts none then
        return
    logger = options['logger']
    wandb = logger.get('wandb')
    if wandb is not None and not isinstance(wandb, Mapping):
        raise OptionError(f'{path}: logger:wandb: {wandb!r} must be a section with project and resume_id, or ~.')
    uses_wandb = wandb is not None and wandb.get('project') is not None
    if uses_wandb and logger.get('use_tb_logger') is not True:
        raise OptionError(f'{path}: logger:wandb:project needs logger:use_tb_logger: true, for wandb shows what '
                          'TensorBoard is given; or set project: ~ .')
    for used, package, remedy in ((logger.get('use_tb_logger'), 'tensorboard', 'set logger:use_tb_logger: false'),
                                  (uses_wandb, 'wandb', 'set logger:wandb:project: ~')):
        if used and find_spec(package) is None:
            key = 'use_tb_logger' if package == 'tensorboard' else 'wandb:project'
            raise OptionError(f'{path}: logger:{key}: {package} is not installed; pip install {package}, or {remedy}.')


def _check_optimizer(key: str, block: Mapping[str, Any], path: str, model: type[BaseModel]) -> None:
    options = dict(block)
    where, kind = f'train:{key}', options.pop('type', None)
    if kind is None:
        raise OptionError(f'{path}: the key {where}:type is missing.')
    for name, value in options.items():
        if isinstance(value, str):
            raise OptionError(f'{path}: {where}:{name}: {value!r} is text, but must be a number, without quotes.')
    betas = options.get('betas', (0.9, 0.999))
    if not isinstance(betas, list | tuple) or len(betas) != 2 or not all(map(_is_number, betas)):
        raise OptionError(f'{path}: {where}:betas: {betas!r} must be two numbers, such as [0.9, 0.999].')
    try:
        _optimizer(model, kind, options)
    except NotImplementedError:
        known = [name for name in _OPTIMIZERS if _is_known(model, name)]
        raise OptionError(f'{path}: {where}:type: there is no {kind!r}. BasicSR has: {", ".join(known)}.') from None
    except (TypeError, ValueError) as error:
        known = list(inspect.signature(getattr(torch.optim, kind)).parameters) if hasattr(torch.optim, kind) else []
        for name in options:
            if known and name not in known:
                raise _no_key(path, where, kind, name, [name for name in known if name != 'params']) from error
        raise OptionError(f'{path}: {where}: {_first_line(error)}') from error
    except AttributeError:  # the model's own, which reads more of it than there is here
        pass


def _optimizer(model: type[BaseModel], kind: str, options: dict[str, Any]) -> torch.optim.Optimizer:
    """The optimiser of one parameter, as the model would build it."""
    bare: Any = object.__new__(model)
    return bare.get_optimizer(kind, [torch.nn.Parameter(torch.zeros(1))], **options)


def _is_known(model: type[BaseModel], kind: str) -> bool:
    try:
        _optimizer(model, kind, {'lr': 1e-3})
    except NotImplementedError:
        return False
    return True


def _check_scheduler(block: Mapping[str, Any], path: str, model: type[BaseModel], total_iter: int) -> None:
    options = dict(block)
    where, kind = 'train:scheduler', options.pop('type', None)
    if kind is None:
        raise OptionError(f'{path}: the key {where}:type is missing.')
    if kind not in _SCHEDULERS:
        if model.setup_schedulers is not BaseModel.setup_schedulers:
            return  # it may have its own, and says so when it is built
        raise OptionError(f'{path}: {where}:type: there is no {kind!r}. BasicSR has: {", ".join(_SCHEDULERS)}.')
    build = _SCHEDULERS[kind]
    known = [name for name in inspect.signature(build).parameters if name not in ('optimizer', 'last_epoch')]
    for name, value in options.items():
        if name not in known:
            raise _no_key(path, where, kind, name, known)
        if name in _LISTS and not (isinstance(value, list | tuple) and all(map(_is_number, value))):
            raise OptionError(f'{path}: {where}:{name}: {value!r} must be a list of numbers, such as [{total_iter}].')
        if name not in _LISTS and not _is_number(value):
            raise OptionError(f'{path}: {where}:{name}: {value!r} must be a number.')
    periods = options.get('periods')
    if periods is not None and (min(periods, default=0) <= 0 or sum(periods) < total_iter):
        raise OptionError(f'{path}: {where}:periods: {list(periods)} must be above 0 and reach train:total_iter, '
                          f'{total_iter}, but end at {sum(periods)}; lengthen the last one or lower total_iter.')
    try:
        build(torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))]), **options)
    except (AssertionError, TypeError, ValueError) as error:
        raise OptionError(f'{path}: {where}: {_first_line(error)}') from error


def _notes(options: Mapping[str, Any], path: str) -> Iterator[str]:
    if 'debug' in options['name']:
        yield (f'{path}: name: it holds "debug", so BasicSR logs every iteration, saves and validates every 8, and '
               'writes no TensorBoard; take another name for a real training.')


def _unread_losses(train: Mapping[str, Any], path: str, model: type[BaseModel]) -> Iterator[str]:
    """A note for every loss that no class of the model mentions: BasicSR's models ignore what they do not know."""
    try:
        sources = [inspect.getsource(cls) for cls in model.__mro__ if cls is not object]
        sources += [inspect.getsource(module) for module in map(inspect.getmodule, model.__mro__[:1]) if module]
    except (OSError, TypeError):  # no source to read
        return
    for key, block in train.items():
        if key.endswith('_opt') and isinstance(block, Mapping) and not any(key in source for source in sources):
            yield (f'{path}: train:{key}: {model.__name__} does not read it, so this loss is not computed; '
                   f'model_type: TGJARModel reads ours with any network_g, or remove the key.')


def _whole(value: Any, lowest: int, key: str, path: str, accept_float: bool = False) -> None:
    is_whole = type(value) is int or accept_float and type(value) is float and value.is_integer()
    if not is_whole or value < lowest:
        nearest = f'; write {int(value)}' if type(value) is float and value.is_integer() and value >= lowest else ''
        raise OptionError(f'{path}: {key}: {value!r} must be a whole number from {lowest} up{nearest}.')


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _no_key(path: str, where: str, kind: str, name: str, known: list[str]) -> OptionError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'Did you mean {near[0]}?' if near else f'There are: {", ".join(known)}.'
    return OptionError(f'{path}: {where}: {kind} has no key {name!r}. {hint}')


def _first_line(error: BaseException) -> str:
    return str(error).partition('\n')[0]
