"""Restore images in Python: an exported weights file in, a restored image out."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tgjar_arch.archs.extra_inputs import extra_inputs, thumbnail_size
from tgjar_arch.archs.padding import MIN_SIDE, enlarged, enlarged_parts, run_padded
from tgjar_arch.archs.text_guided_generator import TextGuidedGenerator
from tgjar_arch.jpeg.tables import quantisation_maps, tables_as_stored, thumbnail
from tgjar_arch.pictures.arrays import open_picture
from tgjar_arch.restoration.grey import greyed, greyed_tensor, is_neutral, neutral_tensors
from tgjar_arch.restoration.grid import aligned, aligned_tensor, check_grid, unaligned, unaligned_tensor
from tgjar_arch.restoration.limits import MAX_STRENGTH
from tgjar_arch.restoration.self_ensemble import both_parts, restore_both
from tgjar_arch.restoration.tiling import (
    can_tile,
    choose_tile,
    memory_for,
    restore_in_tiles,
    restore_whole,
    working_bytes,
)
from tgjar_arch.text.cleaning import clean
from tgjar_arch.text.features import TextFeatures
from tgjar_arch.text.limits import MAX_CAPTION
from tgjar_arch.text.tokenizer import Tokenizer, tokenizer_from_json
from tgjar_arch.text.tokenizer_check import native_errors
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.build import build
from tgjar_arch.weights.card import model_card
from tgjar_arch.weights.file import ExportedWeights, read_weights, write_folder
from tgjar_arch.weights.folder import CARD
from tgjar_arch.weights.hub import push
from tgjar_arch.weights.interpolation import check_fidelity, interpolate
from tgjar_arch.weights.shipped import find_fidelity_weights, find_weights

Picture = TypeVar('Picture', Image.Image, np.ndarray, Tensor)
# What networks raise whose arguments or state dict do not fit.
_MISFITS = RuntimeError, TypeError, KeyError, AttributeError, IndexError, AssertionError, ArithmeticError, ValueError


class Restorer:
    """A generator with its text encoder and tokenizer, ready for use.

        restorer = Restorer.from_pretrained('tgjar.safetensors')
        restored = restorer(Image.open('bird.jpg'), 'a small yellow bird')

    Args:
        weights: content of an exported file.
        device: where to compute; None takes the GPU if there is one.
        dtype: precision of the generator: None or torch.float32, else torch.bfloat16 or torch.float16. TGJAR's own
            then have their weights in it; of other networks convolutions and matrix products are computed in it
            (autocast). Images, text encoder and the sum with the JPEG image stay in float32.
        self_ensemble: True restores a picture and its mirror image and takes the mean
            (`tgjar_arch.restoration.self_ensemble`): twice the time, 6 bytes a pixel more memory in tiles, a higher
            PSNR, softer texture.

    Attributes:
        name: of the generator's class, 'TGJARGenerator'.
        takes_text: whether captions have an effect.
        self_ensemble: as given; may be set.
        can_tile: whether pictures of any size are restored in bounded memory; others are restored in one piece.

    Raises:
        ValueError: when a network is unknown, weights do not fit it, or device or dtype cannot be used.
    """

    def __init__(self, weights: ExportedWeights, device: str | torch.device | None = None,
                 dtype: torch.dtype | None = None, self_ensemble: bool = False) -> None:
        self.device = _usable_device(device)
        self.dtype = _usable_dtype(dtype)
        self.net_g = self._placed(build(weights.network_g, weights.state_g))
        self.name = weights.network_g['type']
        self._about = replace(weights, state_g={}, state_t={})
        self.can_tile = can_tile(self.net_g)
        if self.can_tile:
            self.net_g.to(self.dtype)
        self.extra_inputs = extra_inputs(self.net_g)
        if unknown := set(self.extra_inputs) - {'qmaps', 'thumbnail'}:
            raise ValueError(f'{self.name} needs {", ".join(sorted(unknown))} besides the image, which only a data set '
                             'gives it; restore with `tgjar test` and an option file.')
        self.self_ensemble = self_ensemble
        self.net_t: torch.nn.Module | None = None
        self._tokenizer: Tokenizer | None = None
        takes_text = 'text' in inspect.signature(self.net_g.forward).parameters
        self.takes_text = takes_text and getattr(self.net_g, 'uses_text', True) and weights.network_t is not None
        if weights.network_t is not None:
            if weights.tokenizer is None:
                raise ValueError('the weights have a text encoder, network_t, but no tokenizer.')
            net_t = build(weights.network_t, weights.state_t)
            self._tokenizer = tokenizer_from_json(weights.tokenizer)
            self.max_words = weights.max_words
            self._try_text(net_t)
            self.net_t = self._placed(net_t)

    @classmethod
    def from_pretrained(cls, path: str | Path | None = None, device: str | torch.device | None = None,
                        dtype: torch.dtype | None = None, self_ensemble: bool = False, fidelity: float = 0.,
                        fidelity_weights: str | Path | None = None, revision: str | None = None,
                        token: str | bool | None = None) -> 'Restorer':
        """Load weights; nothing in the file is executed.

        Args:
            path: a `.safetensors` file of `tgjar export`; a folder of `save_pretrained`; the name of shipped weights
                (`tgjar_arch.weights.shipped`); a repository of the Hugging Face Hub, 'org/name', where nothing of that
                path is here; None for the shipped default. The variable TGJAR_WEIGHTS is for the command line and is
                not read here.
            device, dtype, self_ensemble: as of the class.
            fidelity: 0 takes the weights as they are, 1 those of `fidelity_weights`, and what is between lies between
                them (`tgjar_arch.weights.interpolation`): from the more beautiful picture, with drawn texture, to the
                truer one, with a higher PSNR.
            fidelity_weights: weights of the same network, as `path`; None for the shipped ones that belong to `path`.
            revision: branch, tag or commit of the repository; None for its main branch.
            token: for a private repository; None takes what huggingface_hub knows (HF_TOKEN, `hf auth login`).

        Raises:
            FileNotFoundError: when there is no such file, no shipped weights of that name, and no such repository, or
                the Hub cannot be reached and the cache does not have it; the message says which.
            ValueError: when the file is no weights file, does not fit the networks it names, cannot be interpolated
                with `fidelity_weights`, or as of the class.
        """
        device, dtype = _usable_device(device), _usable_dtype(dtype)  # before the weights, which would be blamed
        path = find_weights(path, revision, token)
        weights = read_weights(path)
        if check_fidelity(fidelity):
            partner = find_fidelity_weights(path, fidelity_weights)
            try:
                weights = interpolate(weights, read_weights(partner), fidelity)
            except ValueError as error:
                raise ValueError(f'{path} and {partner}: {error}') from error
        try:
            return cls(weights, device, dtype, self_ensemble)
        except _MISFITS as error:
            reason = ' '.join(str(error).split())[:500]
            raise ValueError(f'weights file {path} does not fit the networks it names: {reason}') from error

    def save_pretrained(self, folder: str | Path, half: bool = False, license: str | None = None) -> None:
        """Write the weights to a folder, as `push_to_hub` does to a repository; `from_pretrained` reads it.

        Args:
            folder: is made; of files that are there, config.json, model.safetensors and tokenizer.json are replaced,
                and README.md is left as it is.
            half: store as float16, half the size.
            license: for README.md, 'apache-2.0'.

        Raises:
            ValueError: when the networks are in half precision, so that their weights are rounded.
            OSError: when a file cannot be written.
        """
        weights, folder = self._exported(), Path(folder)
        card = None if (folder / CARD).exists() else model_card(weights, folder.resolve().name, license)
        write_folder(folder, weights, half, card)

    def push_to_hub(self, repo_id: str, *, revision: str | None = None, token: str | bool | None = None,
                    private: bool | None = None, commit_message: str | None = None, half: bool = False,
                    license: str | None = None) -> str:
        """Push the weights to a repository of the Hugging Face Hub, which is made where it is not there.

        Args:
            repo_id: 'org/name'.
            revision: branch, which is made where it is not there; None for the main branch.
            token: may write; None takes what huggingface_hub knows (HF_TOKEN, `hf auth login`).
            private: of a repository that is made.
            commit_message: of the commit.
            half: store as float16, half the size.
            license: for the card, 'apache-2.0'. A card that is there already is left as it is.

        Returns:
            The address of the commit.

        Raises:
            ValueError: when `repo_id` is no such name, or the networks are in half precision.
            OSError: when the Hub cannot be reached or refuses; the message says which (`HubError`).
        """
        return push(self._exported(), repo_id, revision, token, private, commit_message, half, license)

    def _exported(self) -> ExportedWeights:
        if self.dtype != torch.float32 and self.can_tile:
            raise ValueError(f'the weights of this restorer are rounded to {self.dtype}; load it without dtype to '
                             'write them.')
        state_g, state_t = ({key: value.cpu() for key, value in net.state_dict().items()} if net is not None else {}
                            for net in (self.net_g, self.net_t))
        return replace(self._about, state_g=state_g, state_t=state_t)

    def _placed(self, net: torch.nn.Module) -> torch.nn.Module:
        return net.to(self.device).to(memory_format=torch.channels_last)

    def _try_text(self, net_t: torch.nn.Module) -> None:
        """Encode a caption that fills `max_words`, so that what does not fit is found before the first picture.

        Raises:
            ValueError: when tokenizer, text encoder and generator do not fit each other.
            Exception: what the text encoder raises.
        """
        rows = getattr(net_t, 'num_ids', self.tokenizer.vocab_size)  # networks of others need not say it
        if self.tokenizer.vocab_size > rows:
            raise ValueError(f'the tokenizer has {self.tokenizer.vocab_size} ids, but the text encoder reads {rows}.')
        if isinstance(self.tokenizer, WordTokenizer):  # whose unknown words would be named in the log
            self.tokenizer.words('a word')
            ids = [self.tokenizer.vocab_size - 1] * self.max_words
        else:
            ids = self._ids_of('a ' * self.max_words)
        padded, mask = self.tokenizer.pad(ids, self.max_words)
        with torch.no_grad():
            found = net_t(padded[None], mask[None]).words.shape[1]
        wanted = getattr(self.net_g, 'text_dim', found)
        if self.takes_text and found != wanted:
            raise ValueError(f'the text encoder has text_dim {found}, but the generator {wanted}.')

    def _ids_of(self, caption: str) -> list[int]:
        with native_errors(f'the tokenizer of the weights cannot read the caption {caption[:60]!r}'):
            return self.tokenizer.encode(caption)

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the text encoder.

        Raises:
            ValueError: when there is no text encoder.
        """
        if self._tokenizer is None:
            raise ValueError(f'these weights of {self.name} have no text encoder, and so no tokenizer.')
        return self._tokenizer

    def encode(self, captions: list[str]) -> TextFeatures | None:
        """Text features of captions; '' is no caption. None if the networks take no text."""
        if self.net_t is None or not self.takes_text:
            return None
        # Cleaned: bytes that are no UTF-8 reach Python as lone surrogates, which no tokenizer takes.
        padded = [self.tokenizer.pad(self._ids_of(clean(caption[:MAX_CAPTION])), self.max_words)
                  for caption in captions]
        ids, mask = (torch.stack(part) for part in zip(*padded, strict=True))
        with torch.no_grad():  # the mask stays: an LSTM wants the lengths on the CPU
            return self.net_t(ids.to(self.device), mask)

    def restore(self, lq: Tensor, captions: Sequence[str | None], extra_inputs: Mapping[str, Tensor] | None = None,
                text_strength: float = 1., strength: float = 1.) -> Tensor:
        """Restore a batch in one piece.

        Args:
            lq: images (N, 3, H, W), RGB in [0, 1].
            captions: N texts; '' or None is no caption.
            extra_inputs: what else the network asks for: of QGCN qmaps (N, 2, H, W) and thumbnail (N, 3, 112, 112), see
                `tgjar_arch.jpeg.tables`.
            text_strength, strength: as of `__call__`.

        Returns:
            (N, 3, H, W) float32 on the device of the networks, clipped to [0, 1].

        Raises:
            ValueError: when the number of captions or the extra inputs are not as said.
        """
        captions = _captions_of(captions, len(lq))
        extra = {key: value.to(self.device) for key, value in (extra_inputs or {}).items()}
        if set(extra) != set(self.extra_inputs):
            raise ValueError(f'{self.name} expects the extra inputs {list(self.extra_inputs)}, but got {list(extra)}.')
        _check_strength(strength)
        restored = self._restore_whole(lq, self.conditions(captions, text_strength), extra)
        return _applied(lq, restored, strength)

    def __call__(self, image: Picture, caption: str | Sequence[str | None] | None = None, *,
                 text_strength: float = 1., tile: int | None = None, tables: np.ndarray | None = None,
                 grid: tuple[int, int] = (0, 0), colourise: bool = False, strength: float = 1.,
                 progress: Callable[[int, int], None] | None = None) -> Picture:
        """Restore one image, or a batch; grey stays grey.

        Args:
            image: a PIL image; an array (H, W, 3), RGB uint8; or a tensor (3, H, W) or (N, 3, H, W), RGB float in
                [0, 1], on any device. For a network that is told the quantisation tables (QGCN) a PIL image as
                `Image.open` returns it of a JPEG file, or `tables`.
            caption: what the picture shows; None or '' for none. For a batch one text for all, or a list of N.
            text_strength: how much the caption counts: 0 restores without it, 1 as trained, and above 1 goes on in the
                same direction, restored without + strength * (restored with - restored without).
            tile: side in pixels of the tiles, which bound the memory and cannot be seen in the result; 0 restores in
                one piece, None as fits a part of the free memory (`tgjar_arch.restoration.tiling.memory_for`). Of
                TGJAR's own generators; other networks see the picture in one piece.
            tables: quantisation tables (2, 8, 8) of the image's file, for networks that are told them.
            grid: (row, column), 0 to 15, at which the first whole JPEG block of 16 x 16 pixels begins (8 x 8 of luma,
                16 x 16 of chroma at 4:2:0): for a picture that was cropped after it was compressed.
            colourise: False gives a grey image back grey (`tgjar_arch.restoration.grey`); True gives what the network
                says, which may draw colours that the caption or nothing names.
            strength: how much of the change is applied, image + strength * (restored - image), clipped: 0 gives the
                image back, 1 the restored one, and up to 2 goes on in the same direction.
            progress: called with the number of tiles done and of all, where there are tiles.

        Returns:
            The restored image, of the kind and size given; of a tensor also on its device and in its dtype. A PIL image
            is RGB with the colour profile of the one given (CMYK becomes sRGB), RGBA where that is transparent, and
            turned upright as its EXIF data say, without them.

        Raises:
            ValueError: when an argument is not as said, or the image has no pixels, or no quantisation tables where
                they are needed.
        """
        if tile is not None and (isinstance(tile, bool) or not isinstance(tile, int | np.integer)):
            raise ValueError(f'tile must be a whole number of pixels, 0 or None, but is {tile!r}.')
        if tile and not self.can_tile:
            raise ValueError(f'{self.name} cannot be restored with in tiles without seams: what it does with a pixel '
                             'may depend on the whole picture; leave the tile size out, or take a smaller picture.')
        check_grid(grid)
        _check_strength(strength)
        if isinstance(image, Tensor):
            restored = self._restore_tensor(image, caption, text_strength, tile, tables, grid, colourise, progress)
            return _applied(image, restored, strength)
        opened = open_picture(image, 'Restorer')
        pixels = aligned(opened.pixels, grid)
        restored = np.empty(pixels.shape, np.uint8)

        def read(rows: slice, columns: slice) -> Tensor:
            part = np.ascontiguousarray(pixels[rows, columns])  # torch takes no negative strides, as of a mirror image
            return torch.tensor(part, device=self.device).permute(2, 0, 1)[None] / 255.

        def write(rows: slice, columns: slice, result: Tensor) -> None:
            if strength != 1:
                result = _applied(read(rows, columns), result.clamp(0, 1), strength)
            steps = (result[0].clamp(0, 1) * 255).round().to(torch.uint8)
            restored[rows, columns] = steps.permute(1, 2, 0).cpu().numpy()

        extra = self._read_extra_inputs(image, pixels, tables)
        self._restore_parts(read, write, pixels.shape[:2], _captions_of(caption, 1), text_strength, tile, extra,
                            progress)
        restored = unaligned(restored, grid)
        if not colourise and is_neutral(opened.pixels):
            restored = greyed(restored)
        return opened.to_pil(restored) if isinstance(image, Image.Image) else restored

    def _restore_tensor(self, images: Tensor, caption: str | Sequence[str | None] | None, text_strength: float,
                        tile: int | None, tables: np.ndarray | None, grid: tuple[int, int], colourise: bool,
                        progress: Callable[[int, int], None] | None) -> Tensor:
        if images.ndim not in (3, 4) or images.shape[-3] != 3 or not images.is_floating_point():
            raise ValueError('Restorer expects a tensor (3, H, W) or (N, 3, H, W), RGB float in [0, 1], but got '
                             f'{tuple(images.shape)} {images.dtype}.')
        if not all(images.shape[-2:]):
            raise ValueError(f'Restorer got images {tuple(images.shape)}, which have no pixels.')
        if any(grid):
            filled = aligned_tensor(images, grid)
            inner = self._restore_tensor(filled, caption, text_strength, tile, tables, (0, 0), True, progress)
            return _grey_again(images, unaligned_tensor(inner, grid), colourise)
        batch = images if images.ndim == 4 else images[None]
        captions = _captions_of(caption, len(batch))
        extra: dict[str, Tensor] = {}
        if self.extra_inputs:
            pixels = (batch.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            found = [self._read_extra_inputs(None, one, tables) for one in pixels]
            extra = {key: torch.cat([one[key] for one in found]) for key in found[0]}
        height, width = batch.shape[2:]
        restored = torch.empty_like(batch)
        at_once = len(batch)
        if tile is None:
            tile = self._choose_tile(height, width, text_strength)
            if isinstance(self.net_g, TextGuidedGenerator) and not tile:
                one = working_bytes(self.net_g, height, width, conditions=_passes(text_strength))
                at_once = max(1, memory_for(self.device) // one)
        if not tile:
            for k in range(0, len(batch), at_once):
                part = slice(k, k + at_once)
                restored[part] = self._restore_whole(batch[part], self.conditions(captions[part], text_strength),
                                                     {key: value[part] for key, value in extra.items()})
            return _grey_again(images, restored if images.ndim == 4 else restored[0], colourise)
        for k, (lq, out) in enumerate(zip(batch, restored, strict=True)):
            def read(rows: slice, columns: slice, lq: Tensor = lq) -> Tensor:
                return lq[None, :, rows, columns].to(self.device, torch.float32)

            def write(rows: slice, columns: slice, result: Tensor, out: Tensor = out) -> None:
                out[:, rows, columns] = result[0].clamp(0, 1)

            self._restore_parts(read, write, (height, width), captions[k:k + 1], text_strength, tile, extra, progress)
        return _grey_again(images, restored if images.ndim == 4 else restored[0], colourise)

    def ids(self, caption: str) -> tuple[int, ...]:
        """What the text encoder reads of a caption, cut to `max_words`; captions of equal ids restore alike.

        () for one without a known word, and where the networks take no text.
        """
        if not self.takes_text:
            return ()
        padded, mask = self.tokenizer.pad(self._ids_of(clean(caption[:MAX_CAPTION])), self.max_words)
        return tuple(padded[mask].tolist())

    def conditions(self, captions: Sequence[str | None],
                   text_strength: float = 1.) -> list[tuple[float, TextFeatures | None]]:
        """What a batch is restored for: the result is the sum of those for (weight, text features of N captions).

        Args:
            captions: N texts; '' or None is no caption.
            text_strength: as of `__call__`.

        Raises:
            ValueError: when the strength is not as said.
        """
        if not (isfinite(text_strength) and text_strength >= 0):
            raise ValueError(f'text_strength must be 0 (no text) or more, but is {text_strength}.')
        if not self.takes_text or text_strength == 0 or not any(captions):
            return [(1., None)]
        guided = self.encode([caption or '' for caption in captions])
        return [(1., guided)] if text_strength == 1 else [(1. - text_strength, None), (text_strength, guided)]

    def _choose_tile(self, height: int, width: int, text_strength: float) -> int:
        if not isinstance(self.net_g, TextGuidedGenerator):
            return 0
        return choose_tile(self.net_g, height, width, memory_for(self.device), _passes(text_strength))

    def _autocast(self) -> torch.autocast:
        enabled = self.dtype != torch.float32 and not self.can_tile
        return torch.autocast(self.device.type, self.dtype, enabled=enabled)

    def _restore_whole(self, lq: Tensor, conditions: Sequence[tuple[float, TextFeatures | None]],
                       extra: Mapping[str, Tensor]) -> Tensor:
        lq = lq.to(self.device, torch.float32)
        if self.self_ensemble:
            return restore_both(lq, extra, lambda x, its: self._restore_once(x, conditions, its))
        return self._restore_once(lq, conditions, extra)

    def _restore_once(self, lq: Tensor, conditions: Sequence[tuple[float, TextFeatures | None]],
                      extra: Mapping[str, Tensor]) -> Tensor:
        height, width = lq.shape[2:]
        lq = enlarged(lq).contiguous(memory_format=torch.channels_last)
        extra = {key: enlarged(value) for key, value in extra.items()}
        with torch.no_grad(), self._autocast():
            if isinstance(self.net_g, TextGuidedGenerator):
                result = restore_whole(self.net_g, lq, conditions)
            else:
                result = reduce(torch.add, (weight * self._run(lq, text, extra) for weight, text in conditions))
        return result[:, :, :height, :width].clamp_(0, 1)

    def _run(self, lq: Tensor, text: TextFeatures | None, extra: Mapping[str, Tensor]) -> Tensor:
        """What a network of others makes of images for one caption each, float32."""
        given = {**extra, 'text': text} if self.takes_text else extra
        return run_padded(self.net_g, lq, lambda x: self.net_g(x, **given)).float()

    def _restore_parts(self, read: Callable, write: Callable, size: tuple[int, int], captions: list[str | None],
                       text_strength: float, tile: int | None, extra: Mapping[str, Tensor],
                       progress: Callable[[int, int], None] | None) -> None:
        """One image, read and written as `restore_in_tiles` does it."""
        conditions = self.conditions(captions, text_strength)
        if tile is None:
            tile = self._choose_tile(*size, text_strength)
        if not tile:
            rows, columns = (slice(0, length) for length in size)
            write(rows, columns, self._restore_whole(read(rows, columns), conditions, extra))
            return
        assert isinstance(self.net_g, TextGuidedGenerator)  # of others no tiles are made
        parts = enlarged_parts(read, write, size)
        passes = both_parts(*parts) if self.self_ensemble else (parts,)
        with torch.no_grad(), self._autocast():
            for k, (read, write, size) in enumerate(passes):
                report = None if progress is None else partial(_report, progress, k, len(passes))
                restore_in_tiles(self.net_g, read, write, size, self.device, conditions, tile, report)

    def _read_extra_inputs(self, image: Image.Image | np.ndarray | None, pixels: np.ndarray,
                           tables: np.ndarray | None) -> dict[str, Tensor]:
        extra = {}
        if 'qmaps' in self.extra_inputs:
            if tables is None and isinstance(image, Image.Image):
                tables = tables_as_stored(image)
            if tables is None:
                kind = getattr(image, 'format', None)
                what = f'a {kind} file' if kind else 'this image, not as opened from a JPEG file,'
                raise ValueError(f'{self.name} is told the quantisation tables of a JPEG file, and {what} has none; '
                                 'give the JPEG file itself, or take weights of another network.')
            size = (max(side, MIN_SIDE) for side in pixels.shape[:2])  # as `enlarged` fills the picture
            extra['qmaps'] = quantisation_maps(tables, *size)[None].to(self.device)
        if 'thumbnail' in self.extra_inputs:
            bgr = np.ascontiguousarray(pixels[..., ::-1])
            extra['thumbnail'] = thumbnail(bgr, thumbnail_size(self.net_g))[None].to(self.device)
        return extra


def _check_strength(strength: Any) -> None:
    is_number = isinstance(strength, int | float | np.floating | np.integer) and not isinstance(strength, bool)
    if not is_number or not 0 <= strength <= MAX_STRENGTH:
        raise ValueError('strength must be a number from 0 (the image as it is) over 1 (as restored) to '
                         f'{MAX_STRENGTH}, but is {strength!r}.')


def _applied(image: Tensor, restored: Tensor, strength: float) -> Tensor:
    """The share of a restoration that is wanted; 1 is the restored image to the bit."""
    if strength == 1:
        return restored
    return torch.lerp(image.to(restored), restored, strength).clamp_(0, 1)


def _grey_again(images: Tensor, restored: Tensor, colourise: bool) -> Tensor:
    """What was made of images (..., 3, H, W), those that are neutral in grey."""
    return restored if colourise else greyed_tensor(restored, neutral_tensors(images))


def _report(progress: Callable[[int, int], None], index: int, count: int, done: int, total: int) -> None:
    """Hand on the progress of pass `index` of `count` with as many tiles each as that of all."""
    progress(index * total + done, count * total)


def _passes(text_strength: float) -> int:
    """How many conditions a picture is restored for."""
    return 1 if text_strength in (0, 1) else 2


def _captions_of(caption: str | Sequence[str | None] | None, count: int) -> list[str | None]:
    """One caption for each of `count` images.

    Raises:
        ValueError: when there are more or fewer, or one is no text.
    """
    captions = [caption] * count if caption is None or isinstance(caption, str) else caption
    if not isinstance(captions, Sequence) or not all(isinstance(one, str | None) for one in captions):
        raise ValueError(f'a caption is a text or None, and of a batch a list of them, but is {str(caption)[:60]!r}.')
    if len(captions) != count:
        images = '1 image was' if count == 1 else f'{count} images were'
        raise ValueError(f'{images} given with {len(captions)} captions.')
    return list(captions)


def _usable_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The precision asked for, or float32.

    Raises:
        ValueError: when it is another one than those three.
    """
    if dtype not in (None, torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f'dtype must be torch.float32, torch.bfloat16 or torch.float16, but is {dtype!r}.')
    return dtype or torch.float32


def _usable_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or the best there is.

    Raises:
        ValueError: when there is no such device.
    """
    try:
        found = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:  # torch's, for an unknown name and for a missing driver
        raise ValueError(f'device {device!r} cannot be used here: {str(error).splitlines()[0]}') from error
    return found
