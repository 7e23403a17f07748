"""The images that methods are compared on: originals, their JPEG files, and right or wrong captions."""

import io
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import cv2
import numpy as np
from basicsr.utils import tensor2img
from PIL import Image

from tgjar_arch.datasets.paired_image_text_dataset import PairedImageTextDataset, UnusableImageError
from tgjar_arch.jpeg.codec import decode, encode

_CONVERT = 'convert it to 8-bit RGB, for example with `magick FILE -colorspace sRGB -depth 8 -type TrueColor PNG24:OUT`'


def decode_image(content: bytes, path: str) -> np.ndarray:
    """Decode an image that is to be measured; unlike in training, nothing is converted silently.

    Args:
        content: the whole file.
        path: its name, for the message.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        UnusableImageError: when it is no image, truncated, grey, CMYK, of 16 bits or has an alpha channel; the message
            names the file and says what to do.
    """
    if not content:
        raise UnusableImageError(f'{path} is empty; write it again.')
    file = io.BytesIO(content)
    try:
        with Image.open(file) as image:
            mode = image.mode
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises
        reason = str(error).replace(f' {file!r}', '')  # Pillow names what it read from: no file of the user's
        raise UnusableImageError(f'{path} is truncated or no image ({reason}); write it again.') from error
    kinds = {'1': 'a black and white', 'L': 'a grey', 'LA': 'a grey', 'CMYK': 'a CMYK', 'P': 'a palette',
             'RGBA': 'an RGBA', 'YCCK': 'a CMYK'}
    if mode != 'RGB':
        kind = 'a 16-bit' if mode.startswith(('I', 'F')) else kinds.get(mode, f'a {mode}')
        raise UnusableImageError(f'{path} is {kind} image, not RGB; {_CONVERT}.')
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise UnusableImageError(f'{path} cannot be read ({str(error).strip()}); write it again.') from error
    if pixels is None:
        raise UnusableImageError(f'{path} is truncated or of a kind that OpenCV does not read; write it again, as PNG.')
    if pixels.dtype != np.uint8:
        raise UnusableImageError(f'{path} is a 16-bit image, not 8-bit RGB; {_CONVERT}.')
    # Once more, since IMREAD_UNCHANGED leaves out an EXIF orientation, which the dataset applies.
    return decode(content)


class EvaluationSet:
    """Originals of a folder and what the comparison makes of them, always the same.

    The images are those of `PairedImageTextDataset` in a test: any depth, the centre `crop`, compressed after it.

    Args:
        root: folder (or `*.lmdb`) with the originals, and captions beside them as in training.
        crop: side of the centre that is taken; None takes images whole. Smaller images stay whole.
        max_images: this many, evenly spread over all; None for all.
        text_root: where the captions lie, if not with the images.
        seed: of the wrong captions.

    Attributes:
        names: the images, each its path from the root with '/' and without suffix.
        broken: path of a file -> why it cannot be used and what to do; filled by `check`.

    Raises:
        FileNotFoundError: when a folder does not exist.
        ValueError: when there is no image in it.
    """

    def __init__(self, root: str | os.PathLike, crop: int | None = 256, max_images: int | None = None,
                 text_root: str | os.PathLike | None = None, seed: int = 0) -> None:
        self.root = os.fspath(root)
        self.crop, self._seed = crop, seed
        backend = 'lmdb' if self.root.rstrip('/').endswith('.lmdb') else 'disk'
        options = {'name': 'evaluation', 'phase': 'test', 'dataroot_gt': self.root, 'qf': None, 'gt_size': crop,
                   'max_images': max_images, 'io_backend': {'type': backend}}
        self._dataset = PairedImageTextDataset(options | ({'dataroot_text': str(text_root)} if text_root else {}))
        self._source = self._dataset.source
        self._index = {image.name: k for k, image in enumerate(self._dataset.images)}
        self.names = list(self._index)
        self.broken: dict[str, str] = {}
        # The original is asked for by every method and metric in turn.
        self.original: Callable[[str], np.ndarray] = lru_cache(maxsize=4)(self._original)

    def check(self, progress: Callable[[Sequence[str], str], Iterable[str]] = lambda names, _: names) -> None:
        """Leave out every image whose file cannot be used, and say why in `broken`.

        Raises:
            ValueError: when none is left.
        """
        usable = []
        for name in progress(self.names, 'check the files'):
            path = self._source.files[name]
            try:
                decode_image(self._source.read(name), path)
            except (UnusableImageError, OSError) as error:
                self.broken[path] = str(error)
            else:
                usable.append(name)
        self.names = usable
        if not usable:
            raise ValueError(f'{self.root}: none of the {len(self.broken)} images can be used; the first: '
                             f'{next(iter(self.broken.values()))}')

    def _original(self, name: str) -> np.ndarray:
        return tensor2img(self._dataset[self._index[name]]['gt'])  # exact: the values are those of 8 bits

    def jpeg(self, name: str, qf: int) -> bytes:
        """The JPEG file of the original at a quality factor, 4:2:0."""
        return encode(self.original(name), qf)

    def every_caption(self, name: str) -> list[str]:
        """All captions of an image, the one of `captions` first."""
        return list(self._dataset.images[self._index[name]].captions)

    def captions(self, kind: str = 'right') -> dict[str, str]:
        """The caption of every image that a restorer is given; '' for none.

        Args:
            kind: `right` is the image's first caption, as in validation; `wrong` is the first caption of another image,
                of another class where classes are known, drawn once by the seed so that each is used at most once if
                that is possible; `none` is no caption.
        """
        if kind == 'none':
            return dict.fromkeys(self.names, '')
        images = {name: self._dataset.images[self._index[name]] for name in self.names}
        right = {name: image.captions[0] if image.captions else '' for name, image in images.items()}
        if kind == 'right':
            return right
        return wrong_captions(right, {name: image.class_id for name, image in images.items()}, self._seed)


def wrong_captions(captions: Mapping[str, str], classes: Mapping[str, int], seed: int = 0) -> dict[str, str]:
    """Exchange captions between images, so that none keeps its own: a derangement, fixed by `seed`.

    Images, in random order but grouped by class, take the caption of the image a shift further on; the shift is the
    size of the largest class, so that each gets one of another class unless one class has more than half of the images.

    Args:
        captions: image -> its own caption; images without one take no part and get ''.
        classes: image -> class, -1 where it is not known (then only the image itself is excluded).
        seed: of the order.

    Returns:
        Image -> caption of another image that differs from its own; '' where there is none.
    """
    names = sorted(name for name, caption in captions.items() if caption)
    random.Random(seed).shuffle(names)
    groups: dict[object, list[str]] = {}
    for name in names:
        groups.setdefault(classes[name] if classes[name] >= 0 else name, []).append(name)
    ordered = [name for group in groups.values() for name in group]
    shift = max(map(len, groups.values()), default=0)
    wrong = dict.fromkeys(captions, '')
    for k, name in enumerate(ordered):
        # One class has too many images, or two images the same words: look further on.
        for step in range(len(ordered)):
            other = ordered[(k + shift + step) % len(ordered)]
            if other != name and captions[other] != captions[name]:
                wrong[name] = captions[other]
                break
    return wrong


Progress = Callable[[Sequence[str], str], Iterable[str]]  # images, description -> the images
