"""Captions of a folder of images: from `metadata.jsonl`, `metadata.csv` or sidecar text files."""

import logging
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from basicsr.utils import get_root_logger

from tgjar_arch.datasets.image_source import ImageSource
from tgjar_arch.pictures.caption_names import NameIndex, folded, match_sidecars, sidecar_stem
from tgjar_arch.pictures.files import image_name, list_images, walk
from tgjar_arch.text.caption_files import (
    Misfit,
    Tell,
    is_sidecar,
    metadata_rank,
    read_caption_file,
    read_metadata,
    unread,
)
from tgjar_arch.text.escaping import one_line
from tgjar_arch.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class CaptionedImage:
    """One image: `name` as in `ImageSource`, its captions (maybe none) and its class, -1 where it is not known."""

    name: str
    captions: tuple[str, ...] = ()
    class_id: int = -1


@dataclass
class CaptionReport:
    """What did not fit when captions were read; each entry is the name of an image or the path of a text file."""

    missing_images: list[str] = field(default_factory=list)  # in metadata, but there is no such image
    without_caption: list[str] = field(default_factory=list)
    unmatched_texts: list[str] = field(default_factory=list)  # a sidecar of no image
    no_known_word: list[str] = field(default_factory=list)  # the image of each such caption
    too_long: list[str] = field(default_factory=list)  # the image of each such caption
    misfits: list[Misfit] = field(default_factory=list)  # caption files that are not read, or not as a whole

    def log(self, root: str | os.PathLike, max_words: int | None = None) -> None:
        """Say in BasicSR's log what did not fit: one line for each kind, with the count and the first three names."""
        logger = get_root_logger()
        for names, level, text in (
            (self.missing_images, logging.WARNING, 'metadata entries have no image'),
            (self.without_caption, logging.WARNING, 'images have no caption and go without text'),
            (self.unmatched_texts, logging.WARNING, 'text files belong to no image'),
            (self.no_known_word, logging.WARNING, 'captions have no known word and are left out, of'),
            (self.too_long, logging.INFO, f'captions are longer than max_words = {max_words} and get cut, of'),
        ):
            if names:
                logger.log(level, f'{root}: {len(names)} {text}: {_some(names)}')
        for line in misfit_lines(self.misfits):
            logger.warning(one_line(f'{root}: {line}'))


def misfit_lines(misfits: Iterable[Misfit]) -> list[str]:
    """Return one line for each reason, with the count and the first three files."""
    files: dict[str, list[str]] = {}
    for path, why in misfits:
        files.setdefault(why, []).append(str(path))
    return [f'{len(set(paths))} caption file{"s" if len(set(paths)) > 1 else ""}: {why}: {_some(paths)}'
            for why, paths in files.items()]


def _some(names: Sequence[str]) -> str:
    different = list(dict.fromkeys(names))
    return ', '.join(map(one_line, different[:3])) + (', ...' if len(different) > 3 else '')


@dataclass(frozen=True)
class _TextFiles:
    """The caption files under a root; names count from the root."""

    metadata: list[tuple[str, Path]]  # (folder its names start from, file), in the order in which they count
    sidecars: dict[str, Path]  # path -> file
    unread: list[Misfit] = field(default_factory=list)

    @classmethod
    def find(cls, root: Path) -> '_TextFiles':
        if root.is_file():
            return cls([('', root)], {})
        ranked: list[tuple[int, str, Path]] = []
        sidecars: dict[str, Path] = {}
        misfits: list[Misfit] = []
        for folder, files in walk(root):
            prefix = folder.relative_to(root).as_posix()
            for name in files:
                if (rank := metadata_rank(name)) is not None:
                    ranked.append((rank, prefix, folder / name))
                elif is_sidecar(name):
                    sidecars[posixpath.normpath(f'{prefix}/{name}')] = folder / name
                elif misfit := unread(folder, name):
                    misfits.append(misfit)
        ranked.sort(key=lambda entry: entry[0])  # stable: all of one kind in the order of their folders
        return cls([(prefix, path) for _, prefix, path in ranked], sidecars, misfits)

    def entries(self, tell: Tell) -> Iterator[tuple[str, list[str], int]]:
        """Yield (image name, captions, class_id) of all metadata; of one image either those of JSON or of tables."""
        in_json: set[str] = set()
        for prefix, path in self.metadata:
            is_json = metadata_rank(path.name) in (None, 0)
            for file_name, captions, class_id in read_metadata(path, tell):
                name = image_name(posixpath.normpath(posixpath.join(prefix, file_name.replace('\\', '/'))))
                if is_json and captions:
                    in_json.add(folded(name))
                elif not is_json and folded(name) in in_json:
                    captions = []
                yield name, captions, class_id

    def match(self, names: Sequence[str], by_stem: bool) -> dict[str, list[str]]:
        """Return image name -> keys of `sidecars`: the same path, or (`by_stem`) the same file name if unambiguous."""
        matched = match_sidecars(names, self.sidecars)
        if by_stem:
            images = _unique({name: folded(name) for name in names})
            for stem_of in (sidecar_stem, lambda key: image_name(sidecar_stem(key))):
                texts = _unique({key: folded(stem_of(key)) for key in self.sidecars})
                for stem in images.keys() & texts.keys():
                    matched.setdefault(images[stem], [texts[stem]])
        return matched


def _unique(paths: Mapping[str, str]) -> dict[str, str]:
    """Return file name -> key of the path that alone has it."""
    counts = Counter(posixpath.basename(path) for path in paths.values())
    return {stem: key for key, path in paths.items() if counts[stem := posixpath.basename(path)] == 1}


def read_captions(source: ImageSource | str | os.PathLike,
                  text_root: str | os.PathLike | None = None) -> tuple[list[CaptionedImage], CaptionReport]:
    """Find the captions of all images of `source`.

    Without `text_root` an image's captions are those of the `metadata.jsonl` files under the root (file names count
    from the folder that the file lies in), else of the `metadata.csv` files, else those of the text file beside it
    (`x.jpg`: `x.txt`, else `x.jpg.txt`). With `text_root` they come from there only: from a `.jsonl` or `.csv` file,
    from such metadata in that folder, or from text files with the image's path (the public CUB captions,
    `text/004.Groove_billed_Ani/x.txt`) or, if no other has it, with its file name in any folder (the public Oxford-102
    captions, `text_c10/class_00001/image_06734.txt`). Images are matched without their suffix, in any Unicode normal
    form, and with backslashes for '/'.

    Args:
        source: the images, or their root.
        text_root: folder, `.jsonl` or `.csv` file with the captions, where they do not lie with the images.

    Returns:
        Every image, sorted by name, also those without a caption; and what did not fit.

    Raises:
        FileNotFoundError: when the root or `text_root` does not exist.
        ValueError: when a metadata file is malformed.
    """
    if not isinstance(source, ImageSource):
        source = ImageSource(source, 'images')
    own = texts = _TextFiles.find(source.root)
    if text_root is not None:
        text_path = Path(text_root).expanduser()
        if not text_path.exists():
            raise FileNotFoundError(f'dataroot_text: there is no file or folder {text_path}.')
        texts = _TextFiles.find(text_path)

    report = CaptionReport(misfits=list(texts.unread))
    captions: dict[str, list[str]] = {name: [] for name in source.files}
    classes: dict[str, int] = {}
    index = NameIndex(captions)
    for entry, found, class_id in texts.entries(report.misfits.append):
        if (name := index.find(entry)) is None:
            report.missing_images.append(entry)
        else:
            captions[name] += found
            if class_id != -1:
                classes[name] = class_id
    if texts is not own:  # text files know no class, but the images may have theirs beside them
        for entry, _, class_id in own.entries(lambda misfit: None):
            if (name := index.find(entry)) is not None:
                classes.setdefault(name, class_id)

    matched = texts.match(list(captions), by_stem=texts is not own)
    for name, keys in matched.items():
        for key in keys:
            if not captions[name]:
                captions[name] = read_caption_file(texts.sidecars[key], report.misfits.append)
    used = {key for keys in matched.values() for key in keys}
    report.unmatched_texts = [str(path) for key, path in texts.sidecars.items() if key not in used]
    report.without_caption = [name for name, found in captions.items() if not found]
    images = [CaptionedImage(name, tuple(found), classes.get(name, -1)) for name, found in captions.items()]
    return images, report


def iter_captions(root: str | os.PathLike, tell: Tell = lambda misfit: None) -> Iterator[str]:
    """Yield all captions under `root`, whether their images are there or not: what a vocabulary is built from.

    Args:
        root: a `.jsonl`, `.csv` or `.txt` file, or a folder. There every `metadata.jsonl` in order, then every
            `metadata.csv`, then the text files: those beside an image, or all of them where the folder has neither
            images nor metadata (captions only).
        tell: called with each caption file that is found and does not fit.

    Raises:
        FileNotFoundError: when `root` does not exist.
        ValueError: when a metadata file is malformed.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise FileNotFoundError(f'there is no file or folder {root}.')
    if root.is_file() and is_sidecar(root.name):
        yield from read_caption_file(root, tell)
        return
    texts = _TextFiles.find(root)
    for misfit in texts.unread:
        tell(misfit)
    for _, captions, _ in texts.entries(tell):
        yield from captions
    images = [image_name(path) for path in list_images(root)] if texts.sidecars else []
    if images or texts.metadata:
        beside = {keys[0] for keys in match_sidecars(images, texts.sidecars).values()}
        paths = [path for key, path in texts.sidecars.items() if key in beside]
    else:
        paths = list(texts.sidecars.values())
    for path in paths:
        yield from read_caption_file(path, tell)


class EncodedCaptions:
    """The word ids of all captions, encoded once.

    Kept in flat arrays rather than lists, so that a loader's workers share the memory instead of copying it.

    Args:
        images: as `read_captions` returns them.
        tokenizer: the vocabulary.
        max_words: T, only for the report.
        report: gets the captions without a known word, and those that are too long.

    Attributes:
        images: the images without the captions in which no word is known.
    """

    def __init__(self, images: Sequence[CaptionedImage], tokenizer: Tokenizer, max_words: int,
                 report: CaptionReport) -> None:
        self.images: list[CaptionedImage] = []
        ids: list[int] = []
        ends, firsts = [0], []
        for image in images:
            kept = []
            firsts.append(len(ends) - 1)
            for caption in image.captions:
                words = tokenizer.encode(caption)
                if not words:
                    report.no_known_word.append(image.name)
                    continue
                if len(words) > max_words:
                    report.too_long.append(image.name)
                kept.append(caption)
                ids += words
                ends.append(len(ids))
            self.images.append(replace(image, captions=tuple(kept)))
        self._ids = np.array(ids, dtype=np.int32)
        self._ends = np.array(ends, dtype=np.int64)
        self._firsts = np.array(firsts, dtype=np.int64)

    def ids(self, image: int, caption: int) -> list[int]:
        """Return the word ids of one caption of one image (both by index)."""
        k = self._firsts[image] + caption
        return self._ids[self._ends[k]:self._ends[k + 1]].tolist()
