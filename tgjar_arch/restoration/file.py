"""One picture file: read, caption found, restored, written. Nothing is printed and no command line is needed."""

import ctypes
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from tgjar_arch.atomic_file import atomic
from tgjar_arch.jpeg.grid import find_grid
from tgjar_arch.jpeg.quality import standard_tables
from tgjar_arch.pictures.captions import FoundCaption, find_caption
from tgjar_arch.pictures.limits import MAX_PIXELS
from tgjar_arch.pictures.photo import Photo, describe, read_photo
from tgjar_arch.pictures.write import FORMATS, check_fits, write_picture
from tgjar_arch.restoration.grey import is_neutral
from tgjar_arch.restoration.grid import Grid
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.captioner import Captioner

Better = Literal['leave', 'copy', 'restore']


@dataclass(frozen=True)
class RestoreSettings:
    """How files are restored.

    Attributes:
        caption: of every file, '' for none; None: each file's own, see `tgjar_arch.pictures.captions.find_caption`.
        text_strength, strength: see `Restorer`.
        tile: see `Restorer`.
        max_qf: what is done with JPEG files of a better quality, which restoring may harm, `better` says; None: no
            limit.
        better: 'leave' writes nothing, 'copy' copies the file, 'restore' restores it all the same.
        untraced: the same for pictures that are no JPEG files and in which no grid of blocks is found: they may never
            have been compressed, or may have been scaled since.
        colourise: let the caption colour a grey picture, which without a caption, or by default, stays grey.
        max_pixels: refuse pictures with more.
        quality: 1 to 100, of JPEG results (None: 95) and of WebP (None: lossless).
        keep_metadata: keep EXIF data, XMP and comment. The colour profile is always kept.
    """

    caption: str | None = None
    text_strength: float = 1.
    tile: int | None = None
    max_qf: int | None = None
    better: Better = 'leave'
    untraced: Better = 'restore'
    colourise: bool = False
    max_pixels: int = MAX_PIXELS
    quality: int | None = None
    keep_metadata: bool = False
    strength: float = 1.

    def treatment(self, qf: int | None) -> Better:
        """What is done with a picture of quality factor `qf`; None: no compression was found in it."""
        if qf is None:
            return self.untraced
        return self.better if self.max_qf is not None and qf > self.max_qf else 'restore'


@dataclass(frozen=True)
class Compression:
    """The JPEG compression that a picture is restored from.

    Attributes:
        qf: its quality factor; None where it cannot be told.
        grid: (row, column) of its first whole block, 0 to 15, as of `Restorer`.
        words: about it, for the line of a file; '' where the description of the file says it.
        tables: (2, 8, 8), its quantisation tables, luma and chroma; None where they are not known.
    """

    qf: int | None
    grid: tuple[int, int] = (0, 0)
    words: str = ''
    tables: np.ndarray | None = field(default=None, compare=False)


def compression_of(photo: Photo) -> Compression:
    """Decide which compression counts: the coarsest one that the pixels went through, which may be an earlier one.

    A picture of quality 10 that was cropped and saved again at 90, or kept as PNG, still has the blocks of the first
    compression, on a grid that may begin anywhere (`tgjar_arch.jpeg.grid.find_grid`).
    """
    own = photo.jpeg.qf if photo.jpeg else None
    hidden = find_grid(photo.pixels, own_table=photo.jpeg.tables[0] if photo.jpeg else None)
    if hidden is None or own is not None and hidden.qf >= own:
        return Compression(own, tables=photo.jpeg.tables if photo.jpeg else None)
    words = f'compressed before at quality {hidden.qf} (blocks from row {hidden.row}, column {hidden.column})'
    grid = hidden.chroma or (hidden.row, hidden.column)
    return Compression(hidden.qf, grid, words, standard_tables(hidden.qf).astype(np.float32))


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes:
        description: what it is, such as `JPEG quality 7, 4:2:0, 51 x 37`.
        caption: the caption, and where it is from; None if the file was left as it is, or copied.
        is_jpeg: whether its JPEG quality is known, from its tables or from a grid of blocks in the pixels.
        is_deep: whether it has more than 8 bits a sample.
        target: the file that was written; None if none was.
        notes: what somebody should know about the file (`tgjar_arch.pictures.photo.Photo.notes`).
        is_grey: whether it is grey, and stayed so.
    """

    description: str
    caption: FoundCaption | None
    is_jpeg: bool
    is_deep: bool
    target: Path | None = None
    notes: tuple[str, ...] = ()
    is_grey: bool = False

    @property
    def skipped(self) -> bool:
        """Whether it was left as it is, or copied, because it is not badly compressed."""
        return self.caption is None


def caption_of(source: Path, photo: Photo, settings: RestoreSettings, root: Path | None = None,
               captioner: Captioner | None = None) -> FoundCaption:
    """The caption of a file, which `captioner` describes if it has none.

    Args:
        source: the file.
        photo: what was read from it.
        settings: may hold the caption.
        root: folder up to which `metadata.jsonl` is looked for; None: the file's own.
        captioner: describes files without a caption.
    """
    if captioner is None:
        return find_caption(source, settings.caption, root, None, settings.max_pixels)

    def auto(_: Path) -> str:
        return captioner([Image.fromarray(photo.upright(photo.pixels).copy())])[0]

    return find_caption(source, settings.caption, root, auto, settings.max_pixels)


def restore_file(restorer: Restorer, source: Path, target: Path, settings: RestoreSettings, root: Path | None = None,
                 captioner: Captioner | None = None, progress: Callable[[int, int], None] | None = None,
                 check: Callable[[Photo], None] | None = None,
                 on_restored: Callable[[Photo, np.ndarray, str, Grid], None] | None = None,
                 copy: Path | None = None) -> FileReport:
    """Restore one file, or leave it if it is not badly compressed; the result appears whole or not at all.

    Args:
        restorer: the networks.
        source: the file.
        target: file to write, .png, .webp, .jpg or .jpeg; replaced if it is there.
        settings: how.
        root: see `caption_of`.
        captioner: see `caption_of`.
        progress: called with (tiles done, all tiles).
        check: called with the file before it is restored; may raise ValueError.
        on_restored: called with the file, the restored pixels (H, W, 3) uint8 RGB as stored (not turned), the
            caption, and the grid of blocks, before the result is written.
        copy: file to write where the settings say that the file is copied; None: `target`. Of another format than the
            file it has the picture only, otherwise every byte, with all metadata.

    Raises:
        OSError: if the file cannot be read or the result cannot be written.
        UnsupportedPicture: if the file is of a format that is not read, or animated.
        ValueError: if the file is broken, or does not suit the network or the output format.
    """
    photo = read_photo(source, settings.max_pixels)
    found = compression_of(photo)
    is_jpeg, is_deep = found.qf is not None, photo.bit_depth > 8
    description = describe(photo) + (f', {found.words}' if found.words else '')
    treatment = settings.treatment(found.qf)
    if treatment != 'restore':
        copied, lost = _copy(photo, copy or target, settings) if treatment == 'copy' else (None, ())
        return FileReport(description, None, is_jpeg, is_deep, copied, (*photo.warnings, *lost))
    check_fits(target, photo, settings.quality, settings.keep_metadata)
    if check is not None:
        check(photo)
    caption = caption_of(source, photo, settings, root, captioner)
    colourise = settings.colourise and bool(caption.text)
    restored = restorer(photo.pixels, caption.text, text_strength=settings.text_strength, tile=settings.tile,
                        tables=found.tables, grid=found.grid, colourise=colourise, strength=settings.strength,
                        progress=progress)
    if trim := getattr(ctypes.CDLL(None), 'malloc_trim', None) if os.name == 'posix' else None:
        trim(0)  # glibc: gives back what the tiles took, before the writer takes a copy of the picture
    if on_restored is not None:
        on_restored(photo, restored, caption.text, found.grid)
    # The blocks lie on the grid of the pixels as stored, so a turned photo is turned after the restoration.
    lost = write_picture(target, photo.upright(restored), photo, settings.quality, settings.keep_metadata,
                         overwrite=True, keep_grey=not colourise)
    is_grey = not colourise and (photo.is_grey or is_neutral(photo.pixels))
    return FileReport(description, caption, is_jpeg, is_deep, target, (*photo.notes, *lost), is_grey)


def _copy(photo: Photo, target: Path, settings: RestoreSettings) -> tuple[Path, tuple[str, ...]]:
    """Write a file as it is, or its picture in the format of `target` if that is another; and what that cannot hold."""
    if target.exists() and target.samefile(photo.path):
        return target, ()
    same_suffix = target.suffix.lower() == photo.path.suffix.lower()  # a PNG file named x.jpg stays what it is
    if same_suffix or FORMATS.get(target.suffix.lower()) in (photo.format.upper(), None):
        with atomic(target) as temporary:
            shutil.copyfile(photo.path, temporary)
        return target, ()
    return target, write_picture(target, photo.upright(photo.pixels), photo, settings.quality, settings.keep_metadata,
                                 overwrite=True)
