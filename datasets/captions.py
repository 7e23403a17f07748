"""Captions of a folder of images: from `metadata.jsonl` or from sidecar text files."""

import logging
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from basicsr.utils import get_root_logger

from tgjar_arch.datasets.image_source import ImageSource
from tgjar_arch.pictures.files import image_name, list_images, walk
from tgjar_arch.text.caption_files import METADATA, read_caption_file, read_metadata
from tgjar_arch.text.subword_tokenizer import HFTokenizer
from tgjar_arch.text.word_tokenizer import WordTokenizer


@dataclass(frozen=True)
class CaptionedImage:
    """One image: `name` as in `ImageSource`, its captions (maybe none) and its class, -1 where it is not known."""

    name: str
    captions: tuple[str, ...] = ()
    class_id: int = -1


@dataclass
class CaptionReport:
    """What did not fit when captions were read; each entry is the name of an image or the path of a text file."""

    missing_images: list[str] = field(default_factory=list)  # in metadata.jsonl, but there is no such image
    without_caption: list[str] = field(default_factory=list)
    unmatched_texts: list[str] = field(default_factory=list)  # a sidecar of no image
    no_known_word: list[str] = field(default_factory=list)  # the image of each such caption
    too_long: list[str] = field(default_factory=list)  # the image of each such caption

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
                different = list(dict.fromkeys(names))
                more = ', ...' if len(different) > 3 else ''
                logger.log(level, f'{root}: {len(names)} {text}: {", ".join(different[:3])}{more}')


@dataclass(frozen=True)
class _TextFiles:
    """The caption files under a root; names count from the root."""

    metadata: list[tuple[str, Path]]  # (folder its names start from, file)
    sidecars: dict[str, Path]  # path without `.txt` -> file

    @classmethod
    def find(cls, root: Path) -> '_TextFiles':
        if root.is_file():
            return cls([('', root)], {})
        metadata, sidecars = [], {}
        for folder, files in walk(root):
            prefix = folder.relative_to(root).as_posix()
            for name in files:
                if name == METADATA:
                    metadata.append((prefix, folder / name))
                elif name.endswith('.txt') and not name.startswith('.') and name != 'meta_info.txt':  # lmdb's own
                    sidecars[posixpath.normpath(f'{prefix}/{name[:-len(".txt")]}')] = folder / name
        return cls(metadata, sidecars)

    def entries(self) -> Iterator[tuple[str, list[str], int]]:
        """Yield (image name, captions, class_id) of all metadata lines."""
        for prefix, path in self.metadata:
            for file_name, captions, class_id in read_metadata(path):
                yield image_name(posixpath.normpath(posixpath.join(prefix, file_name))), captions, class_id

    def match(self, names: Iterable[str], by_stem: bool) -> dict[str, str]:
        """Return image name -> key of `sidecars`: the same path, or (`by_stem`) the same file name if unambiguous."""
        matched = {name: name for name in names if name in self.sidecars}
        if by_stem:
            texts, images = _unique_stems(self.sidecars), _unique_stems(names)
            matched = {images[stem]: texts[stem] for stem in images.keys() & texts.keys()} | matched
        return matched


def _unique_stems(names: Iterable[str]) -> dict[str, str]:
    counts = Counter(name.rsplit('/', 1)[-1] for name in names)
    return {stem: name for name in names if counts[stem := name.rsplit('/', 1)[-1]] == 1}


def read_captions(source: ImageSource | str | os.PathLike,
                  text_root: str | os.PathLike | None = None) -> tuple[list[CaptionedImage], CaptionReport]:
    """Find the captions of all images of `source`.

    Without `text_root` an image's captions are those of the `metadata.jsonl` files under the root (file names count
    from the folder that the file lies in), else those of the text file beside it (`x.jpg`, `x.txt`). With `text_root`
    they come from there only: from a `.jsonl` file, from `metadata.jsonl` in that folder, or from text files with the
    image's path (the public CUB captions, `text/004.Groove_billed_Ani/x.txt`) or, if no other has it, with its file
    name in any folder (the public Oxford-102 captions, `text_c10/class_00001/image_06734.txt`). Images are matched
    without their suffix.

    Args:
        source: the images, or their root.
        text_root: folder or `.jsonl` file with the captions, where they do not lie with the images.

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

    report = CaptionReport()
    captions: dict[str, list[str]] = {name: [] for name in source.files}
    classes: dict[str, int] = {}
    for name, found, class_id in texts.entries():
        if name in captions:
            captions[name] += found
            classes[name] = class_id
        else:
            report.missing_images.append(name)
    if texts is not own:  # text files know no class, but the images may have theirs beside them
        for name, _, class_id in own.entries():
            classes.setdefault(name, class_id)

    matched = texts.match(captions, by_stem=texts is not own)
    for name, key in matched.items():
        if not captions[name]:
            captions[name] = read_caption_file(texts.sidecars[key])
    used = set(matched.values())
    report.unmatched_texts = [str(path) for key, path in texts.sidecars.items() if key not in used]
    report.without_caption = [name for name, found in captions.items() if not found]
    images = [CaptionedImage(name, tuple(found), classes.get(name, -1)) for name, found in captions.items()]
    return images, report


def iter_captions(root: str | os.PathLike) -> Iterator[str]:
    """Yield all captions under `root`, whether their images are there or not: what a vocabulary is built from.

    Args:
        root: a `.jsonl` file, a `.txt` file, or a folder. There every `metadata.jsonl` in order, then the text files:
            those beside an image, or all of them where the folder has neither images nor metadata (captions only).

    Raises:
        FileNotFoundError: when `root` does not exist.
        ValueError: when a metadata file is malformed.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise FileNotFoundError(f'there is no file or folder {root}.')
    if root.is_file() and root.suffix == '.txt':
        yield from read_caption_file(root)
        return
    texts = _TextFiles.find(root)
    for _, captions, _ in texts.entries():
        yield from captions
    images = {image_name(path) for path in list_images(root)} if texts.sidecars else set()
    for key, path in texts.sidecars.items():
        if key in images or not images and not texts.metadata:
            yield from read_caption_file(path)


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

    def __init__(self, images: Sequence[CaptionedImage], tokenizer: WordTokenizer | HFTokenizer, max_words: int,
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
