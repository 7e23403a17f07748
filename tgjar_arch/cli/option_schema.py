"""A JSON schema of the option files, by which editors complete keys, explain them and underline misspelt ones.

What a class takes is read from its constructor and explained by its docstring. Which keys the sections have is what
`tgjar train` compares them with; a key without an entry in the tables below is a KeyError, so that none is forgotten.
Classes of other plugins are not in it.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

import tgjar_arch
from tgjar_arch.datasets import paired_image_text_dataset
from tgjar_arch.datasets.degradation import LAST
from tgjar_arch.jpeg.settings import CHROMA
from tgjar_arch.metrics.fid import SET_METRICS
from tgjar_arch.models import damsm_model, tgjar_model
from tgjar_arch.models.epoch_decay import EpochDecayLR
from tgjar_arch.option_checks import PATH, PATH_OF_NETWORK, TRAIN, VAL
from tgjar_arch.training.options import LOGGER, REQUIRED, TOP

Schema = dict[str, Any]

_FILLED_IN = ('vocab_size', 'special_ids')  # of text encoders, from the tokenizer of the datasets
_OURS = {'TGJARModel': tgjar_model, 'DAMSMModel': damsm_model}


def _ref(name: str) -> Schema:
    return {'$ref': f'#/definitions/{name}'}


def _or_none(schema: Schema) -> Schema:
    return {'anyOf': [schema, {'type': 'null'}]}


# A section that may be ~. (Not `anyOf`, for which editors and validators only say that nothing fits.)
_OR_NONE: Schema = {'type': ['object', 'null']}
_BOOL: Schema = {'type': 'boolean'}
_TEXT: Schema = {'type': 'string'}
_NUMBER: Schema = {'type': 'number'}
_COUNT: Schema = {'type': 'integer', 'minimum': 1}
_FROM_0: Schema = {'type': 'integer', 'minimum': 0}
_SHARE: Schema = {'type': 'number', 'minimum': 0, 'maximum': 1}
_QUALITY: Schema = {'type': 'integer', 'minimum': 1, 'maximum': 100}
_QUALITIES: Schema = {'anyOf': [
    _QUALITY, {'type': 'array', 'items': _QUALITY, 'minItems': 1},
    {'type': 'object', 'properties': {'min': _QUALITY, 'max': _QUALITY}, 'required': ['min', 'max'],
     'additionalProperties': False}]}

_FACTORS: Schema = {'type': 'array', 'items': _NUMBER, 'minItems': 2, 'maxItems': 2}
_PATHS: Schema = {'anyOf': [_TEXT, {'type': 'array', 'items': _TEXT, 'minItems': 1}]}

_DATASET_KEYS: dict[str, Schema] = {  # of PairedImageTextDataset; explained by its docstring where nothing is said
    'name': _TEXT | {'description': 'name of the data set in logs and folders'},
    'type': {'const': 'PairedImageTextDataset'},
    'scale': _NUMBER | {'description': 'set by BasicSR'},
    'dataroot_gt': _or_none(_PATHS), 'dataroot_lq': _or_none(_PATHS),
    'dataroot_text': _or_none({'anyOf': [_TEXT, {'type': 'array', 'items': {'type': ['string', 'null']},
                                                 'minItems': 1}]}),
    'weights': _or_none({'type': 'array', 'items': {'type': 'number', 'exclusiveMinimum': 0}, 'minItems': 1}),
    'io_backend': {'type': 'object', 'properties': {'type': {'enum': ['disk', 'lmdb']}},
                   'additionalProperties': False},
    'tokenizer': _or_none(_TEXT),
    'max_words': _or_none(_COUNT), 'max_images': _or_none(_COUNT), 'gt_size': _or_none(_COUNT),
    'scale_range': _or_none(_FACTORS),
    'use_hflip': _BOOL,
    'qf': _or_none(_QUALITIES),
    'chroma': {'enum': list(CHROMA)},
    'double_jpeg': _or_none({
        'type': 'object', 'additionalProperties': False, 'required': ['qf'],
        'properties': {
            'prob': _SHARE, 'qf': _QUALITIES, 'shift': {'type': 'integer', 'minimum': 0, 'maximum': 7},
            'resize': _or_none({'type': 'object', 'additionalProperties': False, 'required': ['scale'],
                                'properties': {'prob': _SHARE, 'scale': _FACTORS}}),
            'last': _or_none({'type': 'object', 'additionalProperties': False, 'minProperties': 1,
                              'properties': {name: {'type': 'number', 'minimum': 0} for name in LAST}}),
            'webp_qf': _or_none(_QUALITIES)}}),
    'caption_drop': _SHARE, 'recolour': _SHARE, 'chroma_drop': _SHARE,
    'quantisation_maps': _BOOL, 'thumbnail': _or_none(_COUNT),
    'num_worker_per_gpu': _FROM_0 | {'description': 'loader processes'},
    'batch_size_per_gpu': _COUNT,
    'dataset_enlarge_ratio': _NUMBER | {'description': 'repeats the data within an epoch'},
    'prefetch_mode': {'enum': ['cpu', 'cuda', None], 'description': 'cuda needs pin_memory'},
    'num_prefetch_queue': _COUNT | {'description': 'batches that prefetch_mode: cpu keeps'},
    'pin_memory': _BOOL,
    'persistent_workers': _BOOL | {'description': 'loader processes go on over the epochs'},
    'use_shuffle': _BOOL,
}
_LOSS = _ref('loss')
_TRAIN_KEYS: dict[str, Schema] = {
    'optim_g': _ref('optimizer') | {'description': 'optimiser of network_g, and of network_t if it is trained'},
    'optim_d': _ref('optimizer') | {'description': 'optimiser of network_d'},
    'scheduler': _ref('scheduler') | {'description': 'learning rate over the iterations'},
    'total_iter': _NUMBER | {'description': 'iterations'},
    'warmup_iter': _NUMBER | {'description': 'iterations in which the learning rate rises; -1 for none'},
    'pixel_opt': _LOSS | {'description': 'reconstruction loss L_R, eq. 7'},
    'contrastive_opt': _LOSS | {'description': 'contrastive loss L_C, eq. 5'},
    'gan_opt': _LOSS | {'description': 'GAN loss L_G; needs network_d and optim_d'},
    'damsm_opt': _LOSS | {'description': 'image-text loss L_IT, eq. 9; in stage 2 it needs network_i'},
    'chroma_opt': _LOSS | {'description': "loss on the mean colours of JPEG's blocks; not of the paper"},
    'grid_opt': _LOSS | {'description': "loss on the pattern of JPEG's grid; not of the paper"},
    'qf_opt': _LOSS | {'description': "loss on FBCNN's estimate of the quality factor"},
    'train_network_t': _BOOL | {'description': 'train the text encoder with the generator. Paper: false'},
    'ema_decay': {'type': ['number', 'null'], 'minimum': 0, 'maximum': 1,
                  'description': 'decay of the averaged weights; 0 for none'},
    'amp': {'enum': ['bf16', 'fp16', None], 'description': 'mixed precision; ~ is float32'},
    'channels_last': _BOOL | {'description': 'memory layout of the convolutions'},
    'compile': _BOOL | {'description': 'torch.compile of the generator'},
    'reuse_fake': _BOOL | {'description': 'the discriminator judges a restored image once for both updates'},
    'clip_grad': {'type': ['number', 'null'], 'minimum': 0,
                  'description': "largest norm of the generator's gradient; ~ = any"},
    'clip_text': {'type': 'number', 'minimum': 0,
                  'description': 'largest gradient norm of the text encoder; 0 for no limit'},
    'net_d_iters': {'type': ['integer', 'null'], 'description': 'one update of the generator in so many iterations'},
    'net_d_init_iters': {'type': ['integer', 'null'], 'description': 'iterations of the discriminator alone, at first'},
}
_VAL_KEYS: dict[str, Schema] = {
    'val_freq': _NUMBER | {'description': 'iterations between validations'},
    'save_img': _BOOL | {'description': 'write restored images'},
    'suffix': {'type': ['string', 'null'], 'description': "end of images' names; ~ is the name of the run"},
    'pbar': _BOOL | {'description': 'progress bar'},
    'metrics': {'type': ['object', 'null'], 'additionalProperties': _ref('metric')},
    'num_shown': _FROM_0 | {'description': 'images, with captions, in a picture and in TensorBoard'},
    'damsm_opt': _LOSS | {'description': 'the loss, in test mode'},
    'batch_size': _COUNT | {'description': 'images whose captions are told apart by the two losses'},
    'r_precision': {'type': 'object', 'additionalProperties': False, 'properties': {
        'num_negatives': _COUNT | {'description': 'captions of other images beside the true one'},
        'seed': {'type': 'integer'}}},
}
_PATH_KEYS: dict[str, Schema] = {
    'resume_state': {'type': ['string', 'null'], 'description': 'a .state file to go on from'},
    'ignore_resume_networks': {'type': ['array', 'string', 'null'], 'items': _TEXT,
                               'description': 'networks that checkpoints do not repeat, [network_i]'},
    **{key: _TEXT | {'description': 'a folder, set by BasicSR'} for key in PATH if key not in (
        'resume_state', 'ignore_resume_networks')},
}
_OF_NETWORK: dict[str, Schema] = {
    'pretrain_network_': {'type': ['string', 'null'], 'description': 'weights to start from'},
    'strict_load_': _BOOL | {'description': 'every weight must be there'},
    'param_key_': {'type': ['string', 'null'], 'description': 'params, or params_ema for averaged weights'},
}
_LOGGER_KEYS: dict[str, Schema] = {
    'print_freq': _NUMBER | {'description': 'iterations between lines of the log'},
    'save_checkpoint_freq': _NUMBER | {'description': 'iterations between checkpoints'},
    'use_tb_logger': _BOOL | {'description': 'TensorBoard, in tb_logger/NAME'},
    'wandb': _or_none({'type': 'object', 'additionalProperties': False, 'properties': {
        'project': {'type': ['string', 'null']}, 'resume_id': {'type': ['string', 'null']}}}),
}
_NETWORK = _ref('network')
_TOP_KEYS: dict[str, Schema] = {
    'plugin': {'description': "registers the plugin's classes in BasicSR: "
                              '!!python/name:tgjar_arch.__version__'},
    'name': _TEXT | {'description': 'of the run: its folder below experiments or results'},
    'model_type': _ref('model_type'),
    'num_gpu': {'anyOf': [_FROM_0, {'const': 'auto'}], 'description': 'auto: all visible GPUs; 0: the CPU'},
    'manual_seed': {'type': ['integer', 'null'], 'description': 'of weights, crops and captions'},
    'scale': _NUMBER | {'description': "of super-resolution, for BasicSR's models"},
    'find_unused_parameters': _BOOL | {'description': 'for distributed training'},
    'datasets': {'type': 'object', 'additionalProperties': False,
                 'patternProperties': {'^(train|val|test)(_.*)?$': _ref('dataset')}},
    'network_g': _NETWORK | {'description': 'the generator: any network that restores images'},
    'network_d': _NETWORK | {'description': 'the discriminator, for gan_opt'},
    'network_t': _NETWORK | {'description': 'the text encoder'},
    'network_i': _NETWORK | {'description': 'the image encoder of stage 1, for damsm_opt'},
    'path': {'type': 'object'},
    'train': {'type': 'object'},
    'val': {'type': ['object', 'null']},
    'logger': {'type': 'object', 'additionalProperties': False, 'properties': {
        key: _LOGGER_KEYS[key] for key in sorted(LOGGER)}},
    'dist_params': {'type': ['object', 'null'], 'additionalProperties': False, 'properties': {
        'backend': _TEXT | {'description': 'nccl, or gloo'}, 'port': {'type': 'integer'}}},
}


def build_schema() -> Schema:
    """The JSON schema (draft 7) of all option files, of classes of this package and BasicSR."""
    tgjar_arch.register()
    definitions: dict[str, Schema] = {
        'model_type': {'enum': sorted(_entries(MODEL_REGISTRY)),
                       'description': 'TGJARModel: stage 2, and any restorer; DAMSMModel: stage 1'},
        'optimizer': {'type': ['object', 'null'], 'required': ['type', 'lr'], 'properties': {
            'type': {'enum': ['Adam'], 'description': 'BasicSR 1.4.2 has no other'}, 'lr': _NUMBER,
            'weight_decay': _NUMBER, 'betas': {'type': 'array', 'items': _NUMBER}, 'eps': _NUMBER, 'amsgrad': _BOOL,
            'foreach': _BOOL, 'fused': _BOOL}, 'additionalProperties': False},
    }
    definitions |= _by_type('network', _entries(ARCH_REGISTRY), _of_constructor)
    definitions |= _by_type('loss', _entries(LOSS_REGISTRY), _of_constructor)
    definitions |= _by_type('dataset', _entries(DATASET_REGISTRY), _of_dataset)
    definitions |= _by_type('metric', _entries(METRIC_REGISTRY) | SET_METRICS, _of_metric)
    definitions |= _by_type('scheduler', {
        'MultiStepLR': MultiStepRestartLR, 'MultiStepRestartLR': MultiStepRestartLR,
        'CosineAnnealingRestartLR': CosineAnnealingRestartLR, 'EpochDecayLR': EpochDecayLR}, _of_scheduler)
    for name, module in _OURS.items():
        definitions[f'{name}.train'] = _section(TRAIN | module.TRAIN_KEYS, _TRAIN_KEYS)
        definitions[f'{name}.val'] = _section(VAL | module.VAL_KEYS, _VAL_KEYS) | _OR_NONE
    definitions['path'] = _section(PATH, _PATH_KEYS) | {'patternProperties': {
        f'^{prefix}[a-z]$': _OF_NETWORK[prefix] for prefix in PATH_OF_NETWORK}}
    # Other models read keys of their own; of those that ours read too, the values are the same.
    others = {'train': _section(TRAIN, _TRAIN_KEYS) | {'additionalProperties': True},
              'val': _section(VAL | {'metrics'}, _VAL_KEYS) | {'additionalProperties': True} | _OR_NONE}
    return {
        '$schema': 'http://json-schema.org/draft-07/schema#',
        'title': 'Option file of TGJAR and BasicSR',
        'description': 'Written by `tgjar schema`; change the constructors and docstrings, not this file.',
        'type': 'object',
        'required': sorted(REQUIRED),
        'properties': {key: _TOP_KEYS[key] for key in sorted(TOP)},
        'patternProperties': {'^network_': _NETWORK},
        'additionalProperties': False,
        'allOf': [_if('model_type', name, {'properties': {
            'train': _ref(f'{name}.train'), 'val': _ref(f'{name}.val'), 'path': _ref('path')}})
            for name in _OURS] + [{
                'if': {'properties': {'model_type': {'enum': list(_OURS)}}}, 'else': {'properties': others}}],
        'definitions': {name: definitions[name] for name in sorted(definitions)},
    }


def _entries(registry: Registry) -> dict[str, Any]:
    """What this package and BasicSR have registered: under the name that option files use."""
    return {name.removesuffix('_basicsr'): entry for name, entry in registry
            if entry.__module__.partition('.')[0] in ('basicsr', 'tgjar_arch')}


def _by_type(kind: str, entries: Mapping[str, Any], describe: Callable[[str, Any], Schema]) -> dict[str, Schema]:
    """A definition for each entry, and one of the block whose `type` selects among them, or ~ that leaves it out."""
    names = sorted(entries)
    selected: Schema = _OR_NONE | {'required': ['type'], 'properties': {'type': {'enum': names}}, 'allOf': [
        _if('type', name, _ref(f'{kind}.{name}')) for name in names]}
    return {kind: selected} | {f'{kind}.{name}': describe(name, entries[name]) for name in names}


def _if(key: str, value: str, then: Schema) -> Schema:
    return {'if': {'type': 'object', 'properties': {key: {'const': value}}, 'required': [key]}, 'then': then}


def _section(keys: Iterable[str], values: Mapping[str, Schema]) -> Schema:
    return {'type': 'object', 'properties': {key: values[key] for key in sorted(keys)}, 'additionalProperties': False}


def _of_constructor(name: str, entry: Any, given: Iterable[str] = ()) -> Schema:
    """What follows `type: name`: the arguments of `entry` but those that are `given` to it."""
    parameters = [parameter for parameter in inspect.signature(entry).parameters.values()
                  if parameter.name not in given]
    named = [parameter for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    hints = typing.get_type_hints(entry.__init__ if inspect.isclass(entry) else entry)
    texts = _arguments(entry.__doc__)
    properties = {'type': {'const': name}}
    for parameter in named:
        schema = _of_annotation(hints[parameter.name]) if parameter.name in hints else _of_default(parameter.default)
        if parameter.name in _FILLED_IN:
            schema = _or_none(schema)
        if (text := texts.get(parameter.name)) is not None:
            schema = {'description': text} | schema
        if _is_plain(parameter.default):
            schema = schema | {'default': parameter.default}
        properties[parameter.name] = schema
    return _described(entry) | {
        'type': 'object', 'properties': properties, 'additionalProperties': len(named) < len(parameters),
        'required': ['type', *(parameter.name for parameter in named
                               if parameter.default is parameter.empty and parameter.name not in _FILLED_IN)]}


def _of_metric(name: str, entry: Any) -> Schema:
    schema = _of_constructor(name, entry, ('img', 'img2'))
    better = {'enum': ['higher', 'lower'], 'description': 'which of two scores is the better; higher if not given'}
    schema['properties']['better'] = better
    return schema | {'additionalProperties': False}  # functions take any keyword, and read none but these


def _of_scheduler(name: str, entry: Any) -> Schema:
    schema = _of_constructor(name, entry, ('optimizer', 'last_epoch'))
    if 'restart_weights' in schema['properties']:
        schema['properties'] |= {key: {'type': 'array', 'items': _NUMBER} for key in (
            'milestones', 'periods', 'restarts', 'restart_weights') if key in schema['properties']}
    return schema


def _of_dataset(name: str, entry: Any) -> Schema:
    if name != 'PairedImageTextDataset':  # BasicSR's do not say what they read
        return _described(entry) | {'type': 'object'}
    keys = (paired_image_text_dataset.OWN_KEYS | paired_image_text_dataset.LOADER_KEYS) - {'phase'}
    texts = {key: _plain(text) for key, text in re.findall(
        r'^ +- (\w+): (.+?)(?=^ +- \w+:|^ *$|\Z)', inspect.cleandoc(entry.__doc__), re.MULTILINE | re.DOTALL)}
    schema = _section(keys, _DATASET_KEYS)
    schema['properties'] = {key: ({'description': texts[key]} if key in texts else {}) | value
                            for key, value in schema['properties'].items()}
    return _described(entry) | schema | {'required': ['type']}


def _described(entry: Any) -> Schema:
    first = inspect.cleandoc(entry.__doc__ or '').partition('\n\n')[0].removesuffix('::')
    return {'description': _plain(first)} if first else {}


def _arguments(doc: str | None) -> dict[str, str]:
    """The arguments that a docstring explains in a section `Args:`."""
    section = re.search(r'^Args:\n(.*?)(?=^\S|\Z)', inspect.cleandoc(doc or ''), re.MULTILINE | re.DOTALL)
    if not section:
        return {}
    found = re.findall(r'^ {4}(\w+)(?: \([^)]*\))?: (.*?)(?=^ {4}\S|\Z)', section[1], re.MULTILINE | re.DOTALL)
    return {name: _plain(text) for name, text in found}


def _plain(text: str) -> str:
    """One line without marks, as editors show it."""
    return ' '.join(text.replace('`', '').split())


def _is_plain(value: Any) -> bool:
    """Whether JSON has it as it is."""
    return isinstance(value, bool | int | float | str)


def _of_default(default: Any) -> Schema:
    """What BasicSR's constructors, which have no annotations, take in the place of a default."""
    if isinstance(default, bool):
        return _BOOL
    if isinstance(default, int | float):
        return _NUMBER
    if isinstance(default, str):
        return {'type': ['string', 'null']}
    return {'type': 'array'} if isinstance(default, tuple | list) else {}


def _of_annotation(annotation: Any) -> Schema:
    """The values that an annotation allows in YAML; `{}`, any, for what YAML has no name for."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        choices = [_of_annotation(argument) for argument in arguments]
        kinds = list(dict.fromkeys(choice.get('type') for choice in choices))
        if all(set(choice) == {'type'} and isinstance(choice['type'], str) for choice in choices):
            return {'type': kinds if len(kinds) > 1 else kinds[0]}
        return {'anyOf': choices}
    if origin is typing.Literal:
        return {'enum': list(arguments)}
    plain = {bool: 'boolean', int: 'integer', float: 'number', str: 'string', Path: 'string', type(None): 'null'}
    if annotation in plain:
        return {'type': plain[annotation]}
    container = origin or annotation
    if inspect.isclass(container) and issubclass(container, Mapping):
        return {'type': 'object'}
    if inspect.isclass(container) and issubclass(container, typing.Sequence):
        items = [argument for argument in arguments if argument is not Ellipsis]
        return {'type': 'array'} | ({'items': _of_annotation(items[0])} if len(set(items)) == 1 else {})
    return {}
