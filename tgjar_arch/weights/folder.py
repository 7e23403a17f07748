"""A folder with everything a restoration needs, as repositories of the Hugging Face Hub have it.

| file | what it holds |
|---|---|
| `config.json` | the metadata of the one-file format (`tgjar_arch.weights.file`) but the tokenizer, as JSON |
| `model.safetensors` | the tensors `net_g.*` and `net_t.*` |
| `tokenizer.json` | the tokenizer, where there is a text encoder |
| `README.md` | the card (`tgjar_arch.weights.card`); not read |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG, MODEL, TOKENIZER, CARD = 'config.json', 'model.safetensors', 'tokenizer.json', 'README.md'
SUFFIX = '.safetensors'
_JSON_KEYS = ('network_g', 'network_t')
_NUMBERS = ('max_words', 'max_qf')
_MOST_BYTES = {CONFIG: 2**20, TOKENIZER: 2**27}


def is_weights_folder(path: str | Path) -> bool:
    """Whether a path is a folder that says it holds weights, by a config.json in it."""
    return (Path(path) / CONFIG).is_file()


def holds_weights(path: str | Path) -> bool:
    """Whether a path is that of a weights file, by its suffix, or a folder of weights."""
    return Path(path).suffix == SUFFIX or is_weights_folder(path)


def config_of(metadata: Mapping[str, str]) -> str:
    """The text of config.json for the metadata of the one-file format."""
    config: dict[str, Any] = {'library_name': 'tgjar'}
    for key, value in metadata.items():
        if key != 'tokenizer':
            config[key] = json.loads(value) if key in (*_JSON_KEYS, *_NUMBERS) else value
    return json.dumps(config, indent=2) + '\n'


def read_metadata(folder: Path) -> dict[str, str]:
    """The metadata of the one-file format, from config.json and tokenizer.json.

    Raises:
        FileNotFoundError: when a file is missing that must be there.
        ValueError: when one is too large, no text, or no JSON object.
    """
    for name in (CONFIG, MODEL):
        if not (folder / name).is_file():
            raise FileNotFoundError(f'the folder {folder} has no {name}; weights in a folder are {CONFIG}, {MODEL} '
                                    f'and, if they take captions, {TOKENIZER}.')
    try:
        config = json.loads(_read(folder / CONFIG))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{folder / CONFIG} is no JSON ({error}); write the folder again.') from error
    if not isinstance(config, dict) or 'network_g' not in config:
        raise ValueError(f'{folder / CONFIG} is not that of weights of TGJAR: it has no network_g; take a folder or a '
                         'repository that `Restorer.save_pretrained` or `push_to_hub` has written.')
    metadata = {}
    for key, value in config.items():
        if value is not None:
            metadata[str(key)] = value if isinstance(value, str) and key not in _JSON_KEYS else json.dumps(value)
    metadata.pop('tokenizer', None)
    if 'network_t' in metadata:
        if not (folder / TOKENIZER).is_file():
            raise FileNotFoundError(f'the folder {folder} has no {TOKENIZER}, which the text encoder that its {CONFIG} '
                                    'names needs.')
        metadata['tokenizer'] = _read(folder / TOKENIZER)
    return metadata


def _read(path: Path) -> str:
    size, most = path.stat().st_size, _MOST_BYTES[path.name]
    if size > most:
        raise ValueError(f'{path} has {size:,} bytes; such files have at most {most:,}.')
    try:
        return path.read_text('utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is no UTF-8 text ({error.reason} at byte {error.start}).') from error
