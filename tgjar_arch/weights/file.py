"""One file with everything a restoration needs: weights, tokenizer and configuration, as safetensors.

The file holds the tensors `net_g.*` and `net_t.*`; its metadata holds `network_g` and `network_t` (type and arguments,
JSON), `tokenizer` (a tokenizer.json), `max_words` and the format's version, and where they are known `max_qf`, the best
JPEG quality that gains, and `source`, how the weights were made. Reading it executes nothing, and what it names can be
built without reading or fetching another file (`tgjar_arch.weights.network_check`) and costs no more than the file
(`tgjar_arch.weights.build`). The same in a folder of several files (`tgjar_arch.weights.folder`) is read here too.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tgjar_arch.atomic_file import atomic
from tgjar_arch.registration import network_class
from tgjar_arch.text.tokenizer_check import check_tokenizer
from tgjar_arch.weights.build import check_fit
from tgjar_arch.weights.folder import CARD, CONFIG, MODEL, TOKENIZER, config_of, read_metadata
from tgjar_arch.weights.network_check import check_network

_FORMAT = 'tgjar-2'
_OLDER = 'tgjar-1'  # before `text_norm`
_MOST_WORDS = 1000  # of a caption: more would only take memory, at every pixel
_LONGEST_SOURCE = 500  # characters


@dataclass
class ExportedWeights:
    """What an exported file holds.

    Attributes:
        network_g: type and arguments of the generator, as under `network_g` in an option file.
        state_g: its state dict.
        network_t: the same of the text encoder; None if the generator takes no captions.
        state_t: its state dict; empty without a text encoder.
        tokenizer: the tokenizer's JSON; None without a text encoder.
        max_words: words kept of a caption.
        max_qf: the best JPEG quality, 1 to 100, at which a restoration still gains; None if nobody has said.
        source: how the weights were made, in one line of at most 500 characters; empty if nobody has said.
    """

    network_g: dict[str, Any]
    state_g: dict[str, Tensor]
    network_t: dict[str, Any] | None = None
    state_t: dict[str, Tensor] = field(default_factory=dict)
    tokenizer: str | None = None
    max_words: int = 0
    max_qf: int | None = None
    source: str = ''


def with_text_norm_said(network_g: dict[str, Any], otherwise: bool = False) -> dict[str, Any]:
    """The options of a stored generator; where they do not say `text_norm`, it is `otherwise`.

    Checkpoints say it since there is a choice, so one that does not is from before: False.
    """
    has_choice = 'text_norm' in signature(network_class(network_g['type'])).parameters
    return {'text_norm': otherwise} | network_g if has_choice else network_g


def write_weights(path: str | Path, weights: ExportedWeights, half: bool = False) -> None:
    """Write one `.safetensors` file, whole or not at all.

    Args:
        path: the file; its folder is made.
        weights: what to write.
        half: store floating-point tensors as float16, half the size; they are read back as float32.

    Raises:
        OSError: when the file cannot be written; an older one of that name is untouched.
        ValueError: when `read_weights` would refuse it.
    """
    _save(Path(path), *_stored(weights, half))


def write_folder(folder: str | Path, weights: ExportedWeights, half: bool = False, card: str | None = None) -> None:
    """Write a folder of several files, each whole or not at all; see `tgjar_arch.weights.folder`.

    Args:
        folder: is made; files of these names in it are replaced.
        weights: what to write.
        half: see `write_weights`.
        card: text of its README.md; None writes none.

    Raises:
        OSError, ValueError: as `write_weights`.
    """
    folder = Path(folder)
    tensors, metadata = _stored(weights, half)
    texts = {TOKENIZER: metadata.get('tokenizer'), CARD: card, CONFIG: config_of(metadata)}
    _save(folder / MODEL, tensors, {'format': 'pt'})  # the mark that other libraries look for
    for name, text in texts.items():
        if text is not None:
            with atomic(folder / name, durable=True) as temporary:
                temporary.write_text(text, encoding='utf-8')


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    try:
        with atomic(path, durable=True) as temporary:
            save_file(tensors, temporary, metadata=metadata)
    except SafetensorError as error:  # what the library makes of a full disk or a folder that cannot be written
        raise OSError(f'could not write {path}: {error}') from error


def _stored(weights: ExportedWeights, half: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata to write.

    Raises:
        ValueError: when `read_weights` would refuse them.
    """
    if weights.max_qf is not None:
        check_max_qf(weights.max_qf)
    for label in ('network_g', 'network_t'):
        if (network := getattr(weights, label)) is not None:
            check_network(network, label)
    tensors = {f'net_g.{key}': value for key, value in weights.state_g.items()}
    metadata = {'format': _FORMAT, 'network_g': json.dumps(weights.network_g)}
    if weights.network_t is not None:
        if weights.tokenizer is None:
            raise ValueError('the weights have a text encoder, network_t, but no tokenizer.')
        _max_words(str(weights.max_words))
        tensors |= {f'net_t.{key}': value for key, value in weights.state_t.items()}
        metadata |= {'network_t': json.dumps(weights.network_t), 'tokenizer': weights.tokenizer,
                     'max_words': str(weights.max_words)}
    shapes_g, shapes_t = ({key: value.shape for key, value in state.items()}
                          for state in (weights.state_g, weights.state_t))
    _check_parts(weights.network_g, shapes_g, weights.network_t, shapes_t, weights.tokenizer)
    if weights.max_qf is not None:
        metadata['max_qf'] = str(weights.max_qf)
    if source := _one_line(weights.source):
        metadata['source'] = source
    # Copies, for the library refuses tensors that share their memory, as tied embeddings (T5) do.
    tensors = {key: value.to(torch.float16 if half and value.is_floating_point() else value.dtype, copy=True,
                             memory_format=torch.contiguous_format) for key, value in tensors.items()}
    check_finite(tensors, ' (--half ends at 65,504)' if half else '')
    return tensors, metadata


def read_weights(path: str | Path) -> ExportedWeights:
    """Read a file of `write_weights` or a folder of `write_folder`, floating-point tensors as float32.

    Raises:
        FileNotFoundError: when there is no such file, or the folder lacks one.
        ValueError: when it is no such file, its metadata are malformed or name what a file may not (`check_network`,
            `check_tokenizer`), tensors and networks do not fit (`check_fit`), or a tensor has values that are not
            finite.
    """
    path = Path(path)
    with _open(path) as (file, metadata):
        shapes = {label: {key.removeprefix(f'net_{label}.'): torch.Size(file.get_slice(key).get_shape())
                          for key in file.keys() if key.startswith(f'net_{label}.')} for label in 'gt'}
        try:
            network_g = check_network(_json(metadata, 'network_g'), 'network_g')
            network_g = with_text_norm_said(network_g, otherwise=metadata['format'] == _FORMAT)
            network_t, max_words, tokenizer = None, 0, metadata.get('tokenizer')
            if metadata.get('network_t'):
                network_t = check_network(_json(metadata, 'network_t'), 'network_t')
                max_words = _max_words(metadata.get('max_words'))
                if not tokenizer:
                    raise ValueError('it has a text encoder, network_t, but no tokenizer.')
            max_qf = _max_qf(metadata)
        except ValueError as error:
            raise ValueError(f'weights file {path} cannot be used: {error}') from error
        try:
            _check_parts(network_g, shapes['g'], network_t, shapes['t'], tokenizer)
        except ValueError as error:
            raise ValueError(f'weights file {path} does not fit the networks it names: {error}') from error
        states = {label: {name: _float32(file.get_tensor(f'net_{label}.{name}')) for name in names}
                  for label, names in shapes.items()}
    try:
        for label, state in states.items():
            check_finite({f'net_{label}.{name}': value for name, value in state.items()})
    except ValueError as error:
        raise ValueError(f'weights file {path} cannot be used: {error}') from error
    return ExportedWeights(network_g, states['g'], network_t, states['t'], tokenizer, max_words, max_qf,
                           _one_line(metadata.get('source', '')))


def _float32(value: Tensor) -> Tensor:
    return value.to(torch.float32) if value.is_floating_point() else value


def _check_parts(network_g: dict[str, Any], shapes_g: Mapping[str, torch.Size], network_t: dict[str, Any] | None,
                 shapes_t: Mapping[str, torch.Size], tokenizer: str | None) -> None:
    """Compare networks, tensors and tokenizer with one another.

    Raises:
        ValueError: they do not fit.
    """
    if hasattr(check_fit(network_g, shapes_g, 'network_g'), 'num_ids'):
        raise ValueError(f'network_g is a {network_g["type"]}, which reads captions and restores no picture.')
    if network_t is None:
        return
    rows = getattr(check_fit(network_t, shapes_t, 'network_t'), 'num_ids', None)
    if rows is None:
        raise ValueError(f'network_t is a {network_t["type"]}, which reads no captions.')
    check_tokenizer(tokenizer or '', rows)


def read_max_qf(path: str | Path) -> int | None:
    """The `max_qf` of a file of `write_weights`, without reading its tensors; None if it does not say one.

    Raises:
        FileNotFoundError, ValueError: as `read_weights`.
    """
    with _open(Path(path)) as (_, metadata):
        try:
            return _max_qf(metadata)
        except ValueError as error:
            raise ValueError(f'weights file {path} cannot be used: {error}') from error


def check_max_qf(max_qf: int) -> int:
    """Return `max_qf`, which must be a JPEG quality: a whole number from 1 to 100.

    Raises:
        ValueError: it is not.
    """
    if isinstance(max_qf, bool) or not isinstance(max_qf, int) or not 1 <= max_qf <= 100:
        raise ValueError(f'max_qf must be a whole number from 1 to 100, but is {max_qf!r}.')
    return max_qf


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """The opened file and its metadata, if `tgjar export` wrote it, or those of a folder."""
    described = read_metadata(path) if (path / CONFIG).is_file() or (path / MODEL).is_file() else None
    path = path if described is None else path / MODEL
    if not path.is_file():
        raise FileNotFoundError(f'weights file {path} does not exist; make one with `tgjar export`.')
    try:
        with safe_open(path, 'pt') as file:
            metadata = described if described is not None else file.metadata() or {}
            if metadata.get('format') not in (_FORMAT, _OLDER):
                if described is not None:
                    raise ValueError(f'{path.with_name(CONFIG)} has the format {str(metadata.get("format"))[:40]!r}, '
                                     f'but {_FORMAT!r} is expected.')
                if path.name == MODEL and (path.parent / CONFIG).is_file():
                    raise ValueError(f'{path} is one of the files of weights in a folder; name the folder, '
                                     f'{path.parent}.')
                raise ValueError(f'weights file {path} was not written by `tgjar export` (format '
                                 f'{metadata.get("format")!r}, expected {_FORMAT!r}).')
            yield file, metadata
    except SafetensorError as error:
        raise ValueError(f'weights file {path} is no safetensors file, or truncated ({error}); make one with '
                         '`tgjar export`.') from error


def _max_qf(metadata: dict[str, str]) -> int | None:
    text = metadata.get('max_qf')
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= 100:
        raise ValueError(f'its max_qf must be a whole number from 1 to 100, but is {text[:20]!r}.')
    return int(text)


def _one_line(text: str) -> str:
    """Without control characters, runs of blanks as one, and cut to the length that is kept.

    Whoever made the file wrote it, and it is shown in a terminal.
    """
    printable = ''.join(letter if letter.isprintable() else ' ' for letter in text[:10 * _LONGEST_SOURCE])
    return ' '.join(printable.split())[:_LONGEST_SOURCE].rstrip()


def _json(metadata: dict[str, str], key: str) -> Any:
    try:
        return json.loads(metadata.get(key, ''))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'its {key} is missing or no JSON ({error}).') from error


def _max_words(text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= _MOST_WORDS:
        raise ValueError(f'its max_words must be a whole number from 1 to {_MOST_WORDS:,}, but is '
                         f'{str(text)[:20]!r}.')
    return int(text)


def check_finite(tensors: dict[str, Tensor], hint: str = '') -> None:
    """Make sure that every value is a number.

    Raises:
        ValueError: it is not; `hint` follows what is said of it.
    """
    for key, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f'the tensor {key} has values that are NaN or infinite{hint}; a network with it restores '
                             'nothing: take weights of an earlier iteration.')
