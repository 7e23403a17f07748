"""A misspelt key of an option file must raise; BasicSR itself never looks at keys that it does not know."""

import difflib
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, overload

TRAIN = frozenset({'optim_g', 'scheduler', 'total_iter', 'warmup_iter'})  # of every model
VAL = frozenset({'val_freq', 'save_img', 'suffix', 'pbar'})
# What an option file may have under `path`, and the folders that BasicSR adds.
PATH = ('resume_state', 'ignore_resume_networks', 'experiments_root', 'results_root', 'models', 'training_states',
        'log', 'visualization')
PATH_OF_NETWORK = ('pretrain_network_', 'strict_load_', 'param_key_')


def check_keys(section: Mapping[str, Any] | None, known: Iterable[str], where: str) -> None:
    """Compare the keys of one section of an option file with those that something reads.

    Raises:
        ValueError: for an unknown key; the message names it, the section and the nearest known one.
    """
    known = sorted(known)
    for key in section or {}:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0)[0]
            raise ValueError(f'{where}: nothing reads the key {key!r}; the nearest is {near!r}.')


def check_model_options(opt: Mapping[str, Any], train: Iterable[str], val: Iterable[str]) -> None:
    """Check the sections `train`, `val` and `path` for a model that reads `train` and `val` besides BasicSR's keys.

    Raises:
        ValueError: for an unknown key.
    """
    check_keys(opt.get('train'), TRAIN | set(train), 'train')
    check_keys(opt.get('val'), VAL | set(val), 'val')
    labels = [key.removeprefix('network_') for key in opt if key.startswith('network_')]
    path = [f'{prefix}{label}' for prefix in PATH_OF_NETWORK for label in labels]
    # A network that is left out for once, as network_i without L_IT, may keep its weights in the file.
    path += [key for key in opt['path'] if key.startswith(PATH_OF_NETWORK) and len(key.rpartition('_')[2]) == 1]
    check_keys(opt['path'], {*PATH, *path}, 'path')


def one_of(opt: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    """Return `opt[key]`, which must be one of `choices`."""
    if opt.get(key) not in choices:
        raise ValueError(f'{key} must be one of {", ".join(choices)}, but is {opt.get(key)!r}.')
    return opt[key]


@overload
def positive_int(opt: Mapping[str, Any], key: str, default: int) -> int: ...


@overload
def positive_int(opt: Mapping[str, Any], key: str, default: int | None) -> int | None: ...


def positive_int(opt: Mapping[str, Any], key: str, default: int | None) -> int | None:
    """Return `opt[key]`, a whole number from 1 up, or `default` where it is missing or ~."""
    value = opt.get(key, default)
    if key in opt and value is None:
        value = default
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f'{key} must be a whole number from 1 up, but is {value!r}.')
    return value


def probability(opt: Mapping[str, Any], key: str, default: float) -> float:
    """Return `opt[key]`, a number from 0 to 1, or `default` where it is missing."""
    value = opt.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f'{key} must be a probability from 0 to 1, but is {value!r}.')
    return float(value)


def scale_range(opt: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """Return `opt[key]`, two factors above 0 in their order, or None where it is missing or ~."""
    value = opt.get(key)
    if value is None:
        return None
    numbers = isinstance(value, list | tuple) and len(value) == 2 and all(type(x) in (int, float) for x in value)
    if not numbers or not 0 < value[0] <= value[1]:
        raise ValueError(f'{key} must be two factors above 0, the smaller first, such as [0.3, 1], but is {value!r}.')
    return float(value[0]), float(value[1])


def root_paths(opt: Mapping[str, Any], key: str) -> list[str | None] | None:
    """Return `opt[key]` as a list of paths, None where it is missing or ~.

    One path is a list of one. A list of several is as long as that of `dataroot_gt`; in `dataroot_text` an entry may be
    ~, where the captions lie with the images.
    """
    value = opt.get(key)
    if value is None:
        return None
    paths = list(value) if isinstance(value, list | tuple) else [value]
    may_be_none = isinstance(value, list | tuple) and key == 'dataroot_text'
    if not paths or not all(hasattr(path, '__fspath__') or isinstance(path, str) or path is None and may_be_none
                            for path in paths):
        raise ValueError(f'{key}: {value!r} must be a path, or a list of paths such as [data/a, data/b].')
    first = opt.get('dataroot_gt') if opt.get('dataroot_gt') is not None else opt.get('dataroot_lq')
    count = len(first) if isinstance(first, list | tuple) else 1
    if len(paths) != count or isinstance(value, list | tuple) != isinstance(first, list | tuple):
        wanted = f'a list of {count} paths' if isinstance(first, list | tuple) else 'one path'
        raise ValueError(f'{key}: {value!r} must be {wanted}, one for each of {first!r}.')
    return paths


def shares(opt: Mapping[str, Any], count: int) -> list[float] | None:
    """Return `opt['weights']`, a number above 0 for each of `count` data roots, or None where it is missing or ~."""
    value = opt.get('weights')
    if value is None:
        return None
    if opt.get('phase') not in (None, 'train'):
        raise ValueError('weights are of training; validation and test take every image of every data root. Remove '
                         'them here.')
    numbers = isinstance(value, list | tuple) and all(type(x) in (int, float) and isfinite(x) and x > 0 for x in value)
    if not numbers or len(value) != count:
        raise ValueError(f'weights: {value!r} must be a list of {count} numbers above 0, one for each of dataroot_gt, '
                         'such as [2, 1] for twice as many samples of the first.')
    return [float(x) for x in value]
