"""Option files: read, changed by --force_yml, and checked before BasicSR creates a folder or loads an image.

BasicSR finds most mistakes in an option file late, and shows them as a traceback. Each check here ends in an
`OptionError` of one line, which names the file and the key and says what to do.
"""

from __future__ import annotations

import codecs
import difflib
import inspect
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

from tgjar_arch.metrics.fid import SET_METRICS
from tgjar_arch.training.errors import OptionError
from tgjar_arch.training.section_checks import check_sections
from tgjar_arch.training.value_checks import check_arguments, check_values
from tgjar_arch.training.yaml_file import OptionLoader
from tgjar_arch.weights.folder import SUFFIX
from tgjar_arch.weights.shipped import shipped

REQUIRED = ('name', 'model_type', 'num_gpu', 'datasets', 'path')
REQUIRED_TRAIN = (
    'datasets:train:batch_size_per_gpu', 'datasets:train:num_worker_per_gpu', 'train:total_iter', 'logger:print_freq',
    'logger:save_checkpoint_freq',
)
REQUIRED_TEST = ('val:save_img',)
STAGE_1 = dict.fromkeys(('path:pretrain_network_t', 'path:pretrain_network_i'), (
    'They come from stage 1, options/train_damsm_*.yml. Without it: --force_yml train:train_network_t=true '
    'path:pretrain_network_t=~ train:damsm_opt=~'))
# What BasicSR and our models read. Others stay, for a model may read its own; but what is nearly one of these that is
# missing is it misspelt.
TOP = {*REQUIRED, 'network_g', 'network_d', 'network_t', 'network_i', 'manual_seed', 'train', 'val', 'logger',
       'dist_params', 'scale', 'find_unused_parameters', 'plugin'}
LOGGER = {'print_freq', 'save_checkpoint_freq', 'use_tb_logger', 'wandb'}
WITHOUT_CAPTIONS = ('--force_yml network_t=none path:pretrain_network_t=~ train:train_network_t=false '
                    'train:damsm_opt=~ datasets:train:tokenizer=~ datasets:val:tokenizer=~ datasets:train:recolour=0')
FILES = {  # keys of a dataset that name files, and what to do when they are missing
    'dataroot_gt': 'docs/data.md says how to get the data.',
    'dataroot_lq': 'docs/data.md says how to get the data.',
    'dataroot_text': 'docs/data.md says how to get the data.',
    'tokenizer': f'Build it with `tgjar vocab`, or train without captions: {WITHOUT_CAPTIONS}',
}

_INT = re.compile(r'[+-]?\d+')
_FLOAT = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?')


def parse_value(text: str) -> Any:
    """Value of one `--force_yml key=value`, as an option file would have it.

    BasicSR's own reading leaves `1e-4` and `-1` text. `~` and `none` give None; `!!float1e-4` still works.
    """
    if text == '~' or text.lower() in ('none', 'null'):
        return None
    if text.lower() in ('true', 'false'):
        return text.lower() == 'true'
    if text.startswith('!!float'):
        return float(text.removeprefix('!!float'))
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if text[:1] in ('[', '{'):
        return _parse_texts(yaml.safe_load(text))
    if len(text) > 1 and text[0] == text[-1] and text[0] in '\'"':
        return text[1:-1]
    return text


def _parse_texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_parse_texts(item) for item in value]
    if isinstance(value, dict):
        return {key: _parse_texts(item) for key, item in value.items()}
    return parse_value(value) if isinstance(value, str) else value


def find_options(path: str) -> str:
    """The option file that `-opt` means: a file, else one that comes with the package, whose name is enough.

    Args:
        path: `my.yml`, or `train_tgjar_cub.yml`, also as `options/train_tgjar_cub.yml`, `train_tgjar_cub` and, of a
            folder in it, `baselines/train_edsr_cub.yml` or `train_edsr_cub.yml`.

    Returns:
        The path of a file, or `path` where there is none.
    """
    if Path(path).exists():
        return path
    name = Path(path).as_posix().removeprefix('options/')
    return str(_shipped_options().get(name) or _shipped_options().get(f'{name}.yml') or path)


def _shipped_options() -> dict[str, Path]:
    """Option files of the package, by their names with and without the folder."""
    package = Path(__file__).parents[1]
    # In a checkout they lie beside the package.
    folder = package.parent / 'options' if (package.parent / 'setup.py').is_file() else package / 'options'
    files = sorted(folder.rglob('*.yml'))
    return {file.name: file for file in files} | {file.relative_to(folder).as_posix(): file for file in files}


def read_options(path: str) -> dict[str, Any]:
    """Read an option file with BasicSR's loader, which also executes its plugin line.

    Raises:
        OptionError: no such file, or no valid YAML (with the line).
    """
    try:
        text = Path(path).read_text(encoding='utf-8')
    except FileNotFoundError:
        folder = Path(path).parent
        beside = {file.name: file for file in sorted([*folder.glob('*/*.yml'), *folder.glob('*.yml')])}
        beside = {name: Path(name) for name in _shipped_options()} | beside
        near = difflib.get_close_matches(Path(path).name, beside, n=1)
        hint = f' Did you mean {beside[near[0]]}?' if near else ''
        raise OptionError(f'no option file {path}.{hint}') from None
    except UnicodeDecodeError as error:
        with_bom = Path(path).read_bytes()[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = 'it is UTF-16' if with_bom else 'it is no UTF-8'
        raise OptionError(f'cannot read the option file {path}: {encoding}; save it as UTF-8.') from error
    except OSError as error:
        raise OptionError(f'cannot read the option file {path}: {error}') from error
    if '\0' in text:  # UTF-16 without its mark is valid UTF-8
        raise OptionError(f'cannot read the option file {path}: it is no UTF-8; save it as UTF-8.')
    try:
        options = yaml.load(text, Loader=OptionLoader)
    except yaml.MarkedYAMLError as error:
        line = f', line {error.problem_mark.line + 1}' if error.problem_mark else ''
        raise OptionError(f'{path}{line}: {error.problem or error.context}; mend the YAML there.') from error
    except yaml.YAMLError as error:
        raise OptionError(f'{path}: {" ".join(str(error).split())}') from error
    if not isinstance(options, dict):
        raise OptionError(f'{path}: an option file holds `key: value` lines, but this is a {type(options).__name__}.')
    return options


def override(options: dict[str, Any], entries: Iterable[str], path: str) -> tuple[dict[str, Any], list[str]]:
    """Apply `--force_yml` entries to a copy, as BasicSR does.

    Args:
        options: content of the option file.
        entries: texts `section:key=value`.
        path: the option file, for messages.

    Returns:
        The changed copy, and a note for every key that the file does not have.

    Raises:
        OptionError: no `=`, or a section that the file does not have.
    """
    options, notes = deepcopy(options), []
    for entry in entries:
        if entry.count('=') != 1:
            raise OptionError(f'--force_yml {entry}: write section:key=value, without blanks, with one "=".')
        keys, value = entry.split('=')
        if value == os.path.expanduser('~') and ':' not in keys:  # bash does so to what looks like an assignment
            raise OptionError(f'--force_yml {entry}: the shell has put your home folder in the place of ~; write '
                              f'{keys}=none.')
        *sections, last = keys.strip().split(':')
        block = options
        walked: list[str] = []
        for section in sections:
            if not isinstance(block.get(section), dict):
                where = f'{path} has no section {":".join([*walked, section])}'
                raise OptionError(f'--force_yml {entry}: {where}.{_did_you_mean(section, block)}')
            block = block[section]
            walked.append(section)
        if last not in block:
            notes.append(f'--force_yml {entry}: {path} has no such key, so it is added.{_did_you_mean(last, block)}')
        try:
            block[last] = parse_value(value.strip())
        except (ValueError, yaml.YAMLError) as error:
            raise OptionError(f'--force_yml {entry}: cannot read the value: {" ".join(str(error).split())}') from error
    return options, notes


def check_options(options: dict[str, Any], path: str, is_train: bool) -> list[str]:
    """Check what BasicSR needs of an option file, every `type`, the keys of networks, losses and metrics, and values.

    Returns:
        Notes about what is no mistake, but may surprise.

    Raises:
        OptionError: the first mistake found.
    """
    check_sections(options, path, is_train)
    required = [*REQUIRED, *(REQUIRED_TRAIN if is_train else REQUIRED_TEST)]
    if is_train and options.get('val') is not None:
        required += ['val:val_freq', 'val:save_img']
    _check_spelling(options, TOP, '', path)
    _check_spelling(options.get('logger'), LOGGER, 'logger:', path)
    for key in required:
        if _look_up(options, key) is None:
            raise OptionError(f'{path}: the key {key} is missing or empty.')
    if not is_train and options['val']['save_img'] and 'suffix' not in options['val']:
        raise OptionError(f'{path}: the key val:suffix is missing; it ends the names of images, ~ is the name above.')
    if not isinstance(options['name'], str):
        raise OptionError(f'{path}: name: {options["name"]!r} must be text; put it in quotes.')
    num_gpu = options['num_gpu']
    if num_gpu != 'auto' and (type(num_gpu) is not int or num_gpu < 0):
        raise OptionError(f'{path}: num_gpu: {num_gpu!r} must be auto or a number.')
    if num_gpu != 'auto' and num_gpu > 0 and not torch.cuda.is_available():
        raise OptionError(f'{path}: num_gpu: {num_gpu}, but no CUDA device is found; set num_gpu: auto (0 is the CPU), '
                          'or add --force_yml num_gpu=auto.')
    model = _registered(options['model_type'], MODEL_REGISTRY, 'model_type', path)
    for key, block in options.items():
        if key.startswith('network_') and block is not None and not isinstance(block, dict):
            raise OptionError(f'{path}: {key}: {block!r} must be a section with type and arguments, or ~ for none.')
    for key, block, registry, is_constructor in _typed_blocks(options):
        if block.get('type') is None:
            raise OptionError(f'{path}: the key {key}:type is missing.')
        entry = _registered(block['type'], registry, f'{key}:type', path)
        if registry is METRIC_REGISTRY and block['type'] in SET_METRICS and options['model_type'] != 'TGJARModel':
            raise OptionError(f'{path}: {key}:type: {block["type"]!r} is a metric of a whole set, which '
                              f'{options["model_type"]} does not compute; TGJARModel does, with any network_g.')
        if registry is LOSS_REGISTRY and options['model_type'] != 'TGJARModel' and key == 'train:pixel_opt' and \
                'lq' in inspect.signature(entry.forward).parameters:
            raise OptionError(f'{path}: {key}:type: {block["type"]!r} compares with the compressed image too, which '
                              f'{options["model_type"]} does not give it; TGJARModel does, with any network_g.')
        if is_constructor:
            _check_keys(entry, block, key, path)
            check_arguments(entry, block, key, path)
        elif registry is METRIC_REGISTRY and entry.__module__.partition('.')[0] in ('basicsr', 'tgjar_arch'):
            _check_keys(entry, block, key, path, {'img', 'img2'}, {'better'})
            check_arguments(entry, block, key, path, ('img', 'img2'))
    return check_values(options, path, model, is_train)


def check_files(options: dict[str, Any], path: str, resumes: bool) -> None:
    """Check that the data and, unless training is resumed, the weights which an option file names are there.

    Raises:
        OptionError: the first that is missing.
    """
    files = {f'datasets:{key}:{name}': block.get(name) for key, block in options['datasets'].items() for name in FILES}
    if not resumes:
        files |= {f'path:{name}': value for name, value in options['path'].items() if name.startswith('pretrain_')}
        if options['model_type'] == 'TGJARModel' and not options.get('train', {}).get('damsm_opt'):
            files.pop('path:pretrain_network_i', None)  # only L_IT reads it
    reads_ours = options['model_type'] in ('TGJARModel', 'DAMSMModel')
    for key, value in _one_by_one(files, options['datasets']):
        if value is not None and not isinstance(value, str):
            raise OptionError(f'{path}: {key}: {value!r} must be one path, as text; put several folders into one, or '
                              'link them there.' if key.startswith('datasets') else
                              f'{path}: {key}: {value!r} must be one path, as text, or ~.')
        if key.startswith('path:') and value is not None:
            is_shipped = _is_shipped(value)
            if not reads_ours and (is_shipped or value.endswith(SUFFIX)):
                raise OptionError(f'{path}: {key}: {options["model_type"]} reads .pth files only; `tgjar unpack '
                                  f'{value} -o FOLDER` makes one of it.')
            if is_shipped:
                continue
            if key.startswith('path:pretrain_') and Path(value).expanduser().is_dir():
                raise OptionError(f'{path}: {key}: {value} is a folder; name a file in it.')
        if isinstance(value, str) and not Path(value).expanduser().exists():
            hint = FILES.get(key.rpartition(':')[2]) or STAGE_1.get(key, 'Name other weights, or ~ for none.')
            raise OptionError(f'{path}: {key}: there is no {value} (seen from {Path.cwd()}). {hint}')


def _one_by_one(files: Mapping[str, Any], datasets: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each file with its key; of our data set the data roots may be lists, whose form `check_options` has checked."""
    for key, value in files.items():
        section, name = key.split(':')[-2:]
        is_ours = (datasets.get(section) or {}).get('type') == 'PairedImageTextDataset'
        if isinstance(value, list) and is_ours and name.startswith('dataroot_'):
            yield from ((key, item) for item in value)
        else:
            yield key, value


def _is_shipped(weights: str) -> bool:
    """Whether it is the name of shipped weights, and no file."""
    return not Path(weights).expanduser().exists() and weights.removesuffix(SUFFIX) in shipped()


def _look_up(options: dict[str, Any], key: str) -> Any:
    value: Any = options
    for part in key.split(':'):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _typed_blocks(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Registry, bool]]:
    """Every block that names a registered class, with its registry, and whether its keys are the constructor's."""
    for key, block in options.items():
        if key.startswith('network_') and isinstance(block, dict):
            yield key, block, ARCH_REGISTRY, True
    for key, block in options['datasets'].items():
        yield f'datasets:{key}', block or {}, DATASET_REGISTRY, False
    for key, block in (options.get('train') or {}).items():
        if key.endswith('_opt') and isinstance(block, dict):
            yield f'train:{key}', block, LOSS_REGISTRY, True
    for key, block in ((options.get('val') or {}).get('metrics') or {}).items():
        if isinstance(block, dict):
            yield f'val:metrics:{key}', block, METRIC_REGISTRY, block.get('type') in SET_METRICS


def _registered(name: str, registry: Registry, key: str, path: str) -> Any:
    # Metrics of a whole set are no functions of one image, as those that BasicSR registers.
    of_sets = SET_METRICS if registry is METRIC_REGISTRY else {}
    if name in of_sets:
        return of_sets[name]
    for candidate in (name, f'{name}_basicsr'):
        if candidate in registry:
            return registry.get(candidate)
    known = [*registry.keys(), *of_sets]
    raise OptionError(f'{path}: {key}: there is no {name!r}.{_did_you_mean(str(name), known, show_all=True)} '
                      'A class of a plugin needs its plugin: line at the top of the file.')


def _check_keys(entry: Any, block: dict[str, Any], key: str, path: str, given: Collection[str] = (),
                others: Collection[str] = ()) -> None:
    """Compare keys with what a class or function takes, but for what it is `given`; `others` are read elsewhere.

    A class that takes any keyword may read any. BasicSR's metrics take any and read none but those they name.
    """
    parameters = inspect.signature(entry).parameters.values()
    if not given and any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    named = [parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    known = [*dict.fromkeys([name for name in named if name not in given] + [*others])]
    for name in block:
        if name != 'type' and name not in known:
            raise OptionError(f'{path}: {key}: {block["type"]} has no key {name!r}.'
                              f'{_did_you_mean(name, known, show_all=True)}')


def _check_spelling(block: Any, known: Collection[str], section: str, path: str) -> None:
    for name in map(str, block if isinstance(block, dict) else ()):
        if name not in known and not name.startswith('network_'):
            near = difflib.get_close_matches(name, known, n=1, cutoff=.8)
            if near and near[0] not in block:
                raise OptionError(f'{path}: nothing reads the key {section}{name}. Did you mean {section}{near[0]}?')


def _did_you_mean(name: str, known: Iterable[str], show_all: bool = False) -> str:
    known = [str(item) for item in known]
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f' Did you mean {near[0]}?'
    return f' There are: {", ".join(known)}.' if show_all else ''
