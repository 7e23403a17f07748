"""A network among the compared methods: restores the test set here, and keeps what it restored."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from tgjar_arch.atomic_file import atomic
from tgjar_arch.checkpoint import load_checkpoint, load_checkpoint_for
from tgjar_arch.cli.options import OptionError, read_options
from tgjar_arch.datasets.image_source import list_images
from tgjar_arch.datasets.jpeg import decode
from tgjar_arch.datasets.quantisation import quantisation_maps, quantisation_tables, thumbnail
from tgjar_arch.evaluation.test_set import EvaluationSet, decode_image
from tgjar_arch.restorer import Restorer
from tgjar_arch.text_setup import read_tokenizer, text_encoder_options
from tgjar_arch.tokenizer import DEFAULT_MAX_WORDS
from tgjar_arch.weights_file import ExportedWeights, read_weights

_CAPTION_LABELS = {'right': '', 'wrong': ', wrong captions', 'none': ', no captions'}
_ORIGINAL = 'original'  # in the text chunk `tgjar` of what `write_originals` wrote
Progress = Callable[[Sequence[str], str], Iterable[str]]  # images, description -> the images


def folder_name(label: str) -> str:
    """The label of a method as the name of a folder: letters, digits and `._+-` stay, others become one `_`."""
    return re.sub(r'[^\w.+-]+', '_', label).strip('_.') or 'method'


def restored_path(out: str | os.PathLike, label: str, qf: int, name: str) -> Path:
    """Where `tgjar evaluate -o out` keeps the picture a network restored: `OUT/restored/METHOD/qfN/STEM.png`.

    Args:
        out: the output folder.
        label: the row's label, such as `TGJAR` or `TGJAR, wrong captions` (METHOD is its `folder_name`).
        qf: quality factor N.
        name: the image's path from the root of the test set without suffix (STEM; with folders if it has any).
    """
    return Path(out, 'restored', folder_name(label), f'qf{qf}', f'{name}.png')


class NetworkMethod:
    """A network that restores the test set here; what it restored is kept and used again.

    A restored PNG file says in its text chunk `tgjar` what it was made from (weights, caption, JPEG file,
    self-ensemble); it is restored again when that has changed.

    Args:
        label: the row.
        files: quality factor -> weights file or test option file.
        images: the test set.
        out: folder of the results.
        captions: one of `CAPTION_KINDS`.
        device: where to compute; None takes the GPU if there is one.
        overwrite: restore again what is there.
        self_ensemble: restores a picture and its mirror image and takes the mean.

    Raises:
        FileNotFoundError, ValueError: when a file is missing, or is not what its suffix says.
    """

    def __init__(self, label: str, files: dict[int, str], images: EvaluationSet, out: str | os.PathLike,
                 captions: str = 'right', device: str | None = None, overwrite: bool = False,
                 self_ensemble: bool = False) -> None:
        self.name, self.self_ensemble = label, self_ensemble
        self.label = label + ', self-ensemble' * self_ensemble + _CAPTION_LABELS[captions]
        self.folder, self.qfs = folder_name(self.label), tuple(files)
        self._files, self._images, self._out = files, images, out
        self._device, self._overwrite = device, overwrite
        self.captions, self._captions = captions, images.captions(captions)
        self._names: dict[str, str] = {}
        for file in dict.fromkeys(files.values()):  # a mistake should show now, not hours later
            restorer, _ = self._load(file)
            self._names[file], self.takes_text = restorer.name, restorer.takes_text

    def _load(self, file: str) -> tuple[Restorer, str]:
        restorer, weights = _cached_restorer(file, self._device, os.stat(file).st_mtime_ns)
        restorer.self_ensemble = self.self_ensemble  # rows with it and without share the networks
        return restorer, weights

    def describe(self, qf: int) -> str:
        mirrored = ', the mean of picture and mirror image' if self.self_ensemble else ''
        return f'{self._names[self._files[qf]]}, weights of {self._files[qf]}{mirrored}'

    def prepare(self, qf: int, names: Sequence[str], progress: Progress) -> dict[str, str]:
        file = self._files[qf]
        restorer, weights = self._load(file)
        weights += ' self-ensemble' * self.self_ensemble
        failed = {}
        for name in progress(names, f'{self.label}, QF {qf}'):
            content = self._images.jpeg(name, qf)
            caption = self._captions[name] if restorer.takes_text else ''
            made_from = hashlib.sha256(b'\0'.join([weights.encode(), caption.encode(), content])).hexdigest()
            target = restored_path(self._out, self.label, qf, name)
            if not self._overwrite and _is_made_from(target, made_from):
                continue
            try:
                picture = restore_jpeg(restorer, content, caption, name)
            except (RuntimeError, MemoryError, ValueError) as error:  # out of memory, or too small for the network
                reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip('.')
                hint = '' if isinstance(error, ValueError) else '; try --crop 256 or --device cpu'
                failed[name] = f'{self.label} could not restore it ({reason}){hint}.'
                continue
            save_png(picture, target, {'tgjar': made_from, 'caption': caption})
        return failed

    def image(self, name: str, qf: int) -> np.ndarray:
        path = restored_path(self._out, self.label, qf, name)
        return decode_image(path.read_bytes(), str(path))

    def leftovers(self, qf: int) -> tuple[Path, int]:
        """The folder of its pictures, and how many of them earlier runs made of images that are not compared now."""
        folder = restored_path(self._out, self.label, qf, 'x').parent
        return folder, len(set(list_images(folder)) - {f'{name}.png' for name in self._images.names})

    def caption(self, name: str) -> str:
        """The caption that an image is restored by; '' for none."""
        return self._captions[name]

    def restore(self, name: str, qf: int, caption: str) -> np.ndarray:
        """Restore one picture by any caption ('' for none), without keeping it; (H, W, 3) uint8 BGR."""
        file = self._files[qf]
        restorer, _ = self._load(file)
        return restore_jpeg(restorer, self._images.jpeg(name, qf), caption, name)


@lru_cache(maxsize=1)  # rows with right, wrong and no captions share one; two networks may not fit the memory
def _cached_restorer(file: str, device: str | None, modified: int) -> tuple[Restorer, str]:
    return load_restorer(file, device)


def load_restorer(file: str | os.PathLike, device: str | None = None) -> tuple[Restorer, str]:
    """Load a `.safetensors` file of `tgjar export`, or the networks of a test option file.

    Returns:
        The restorer, and a fingerprint of its weights and options.

    Raises:
        FileNotFoundError, ValueError: when a file is missing or not as it must be; the message names it.
    """
    file = Path(file)
    weights = read_weights(file) if file.suffix == '.safetensors' else _read_option_file(file)
    digest = hashlib.sha256(repr((weights.network_g, weights.network_t, weights.tokenizer,
                                  weights.max_words)).encode())
    for state in (weights.state_g, weights.state_t or {}):
        for key in sorted(state):
            digest.update(key.encode() + state[key].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
                          .tobytes())
    try:
        return Restorer(weights, device), digest.hexdigest()
    except (RuntimeError, TypeError, KeyError) as error:
        lines = [line.strip() for line in str(error).splitlines()[:2]]  # torch's first is a heading
        raise ValueError(f'{file}: the weights do not fit the network: {" ".join(lines)}') from error


def _read_option_file(file: Path) -> ExportedWeights:
    try:
        opt = read_options(str(file))
    except OptionError as error:
        raise ValueError(str(error)) from error
    paths = opt.get('path') or {}
    if not isinstance(opt.get('network_g'), dict) or not paths.get('pretrain_network_g'):
        raise ValueError(f'{file} must be a test option file, with network_g and path: pretrain_network_g.')
    network_g = dict(opt['network_g'])
    state_g = _state(file, paths, 'g', network_g.get('text_norm', True))
    if not isinstance(opt.get('network_t'), dict):
        return ExportedWeights(network_g, state_g)
    if not paths.get('pretrain_network_t'):
        raise ValueError(f'{file}: network_t has no weights; name them at path: pretrain_network_t.')
    tokenizer = read_tokenizer(opt)
    words = max(dataset.get('max_words') or DEFAULT_MAX_WORDS for dataset in opt['datasets'].values())
    stored = load_checkpoint(paths['pretrain_network_t']).get('tokenizer')
    if stored is not None and stored != tokenizer.to_json():
        raise ValueError(f'{file}: the tokenizer of the datasets is not the one {paths["pretrain_network_t"]} was '
                         'trained with; name that one.')
    return ExportedWeights(network_g, state_g, text_encoder_options(deepcopy(opt), tokenizer), _state(file, paths, 't'),
                           tokenizer.to_json(), words)


def _state(file: Path, paths: dict[str, Any], label: str, text_norm: bool | None = None) -> dict[str, torch.Tensor]:
    path = paths[f'pretrain_network_{label}']
    if not Path(path).is_file():
        raise FileNotFoundError(f'{file}: path: pretrain_network_{label}: there is no {path} (seen from {Path.cwd()}).')
    content = load_checkpoint_for(text_norm, path)
    key = paths.get(f'param_key_{label}', 'params')
    if key and key not in content:  # as BasicSR: `params` stands in, and a bare state dict has neither
        key = 'params' if 'params' in content else None
    state = content[key] if key else content
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f'{file}: path: pretrain_network_{label}: {path} has no weights under '
                         f'param_key_{label}: {key or "~"}; it has {", ".join(map(str, content))}.')
    return {name.removeprefix('module.'): value for name, value in state.items()}


def restore_jpeg(restorer: Restorer, content: bytes, caption: str, path: str) -> np.ndarray:
    """Restore one JPEG file, with everything a network may ask for.

    Args:
        restorer: the network.
        content: the whole file.
        caption: '' for none.
        path: its name, for messages.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        ValueError: when the file has no quantisation tables where they are needed.
    """
    pixels = decode(content)
    extra = {}
    if 'qmaps' in restorer.extra_inputs:
        extra['qmaps'] = quantisation_maps(quantisation_tables(content, path), *pixels.shape[:2])[None]
    if 'thumbnail' in restorer.extra_inputs:
        extra['thumbnail'] = thumbnail(pixels, restorer.net_g.thumbnail_size)[None]
    lq = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)[None] / 255.
    out = restorer.restore(lq, [caption], extra)[0].permute(1, 2, 0)
    return (out * 255).round().to(torch.uint8).cpu().numpy()[..., ::-1]


def write_originals(images: EvaluationSet, out: str | os.PathLike, progress: Progress) -> list[Path]:
    """Write the originals as they are compared to `OUT/originals/STEM.png`, with the text chunk `tgjar`.

    What an earlier run wrote there and this one does not compare is removed, since BasicSR's scripts pair files by
    their order; files that do not bear our chunk are left.

    Returns:
        Image files there that are not of this run, to be moved away by hand.
    """
    folder = Path(out, 'originals')
    paths = {folder / f'{name}.png': name for name in images.names}
    others = []
    for path in ([folder / file for file in sorted(list_images(folder))] if folder.is_dir() else []):
        if path in paths:
            continue
        if not _is_made_from(path, _ORIGINAL):
            others.append(path)
            continue
        path.unlink()
        for parent in path.relative_to(folder).parents[:-1]:
            if not any((folder / parent).iterdir()):
                (folder / parent).rmdir()
    for path in progress(list(paths), 'write the originals'):
        save_png(images.original(paths[path]), path, {'tgjar': _ORIGINAL})
    return others


def _is_made_from(path: Path, made_from: str) -> bool:
    if not path.is_file():
        return False
    try:
        with Image.open(path) as image:
            image.load()  # a file cut short has its text all the same
            return image.info.get('tgjar') == made_from
    except (OSError, SyntaxError):
        return False


def save_png(image: np.ndarray, path: Path, text: Mapping[str, str] | None = None) -> None:
    """Write a picture (H, W, 3) uint8 BGR with text chunks, whole or not at all, and make its folder."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_itxt(key, value)
    with atomic(path) as temporary:
        Image.fromarray(image[..., ::-1]).save(temporary, format='PNG', pnginfo=chunks)
