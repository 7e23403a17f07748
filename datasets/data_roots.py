"""Where the images of a data set lie: under one root, or under several that have shares of the training's samples."""

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from basicsr.utils import get_root_logger

from tgjar_arch.datasets.captions import CaptionedImage, CaptionReport, EncodedCaptions, read_captions
from tgjar_arch.datasets.image_source import ImageSource
from tgjar_arch.option_checks import root_paths, shares


@dataclass
class DataRoot:
    """Images with captions under one root.

    Attributes:
        sources: `gt`, `lq` or both.
        images: what is used of it.
        report: what of the captions did not fit.
        encoded: the word ids of the captions; None without a tokenizer.
    """

    sources: dict[str, ImageSource]
    images: list[CaptionedImage]
    report: CaptionReport
    encoded: EncodedCaptions | None = None

    @property
    def main(self) -> ImageSource:
        """The originals, or the compressed files where there are no originals."""
        return next(iter(self.sources.values()))


def read_roots(opt: Mapping[str, Any], backend: str) -> list[DataRoot]:
    """Find the images and captions of a data set.

    Each data set numbers its classes in its own way: those of a root count from behind those of the roots before it.

    Args:
        opt: its options, with `dataroot_gt`, `dataroot_lq` and `dataroot_text`: each one path, or all lists of the same
            length.
        backend: `disk` or `lmdb`.

    Raises:
        FileNotFoundError: when a folder is missing.
        ValueError: when the lists are not of one length, or a root has no image or is of the other backend.
    """
    places = {key: paths for key in ('gt', 'lq') if (paths := root_paths(opt, f'dataroot_{key}')) is not None}
    count = len(next(iter(places.values())))
    texts = root_paths(opt, 'dataroot_text') or [None] * count
    roots: list[DataRoot] = []
    classes = 0
    for k in range(count):
        sources = {}
        for key, paths in places.items():
            source = sources[key] = ImageSource(str(paths[k]), f'dataroot_{key}')
            if source.is_lmdb != (backend == 'lmdb'):
                raise ValueError(f'io_backend is {backend}, but dataroot_{key} is {source.root}; an lmdb is a folder '
                                 '*.lmdb and needs io_backend {type: lmdb}, a folder of images {type: disk}.')
        images, report = read_captions(next(iter(sources.values())), texts[k])
        images = [image if image.class_id == -1 else replace(image, class_id=image.class_id + classes)
                  for image in _with_both_files(images, sources)]
        classes = max([classes, *(image.class_id + 1 for image in images)])
        roots.append(DataRoot(sources, images, report))
    return roots


def keep_evenly(roots: Sequence[DataRoot], most: int) -> None:
    """Keep this many images, evenly spread over all; all where there are fewer."""
    places = [(root, image) for root in roots for image in root.images]
    if most >= len(places):
        return
    kept = [places[i * len(places) // most] for i in range(most)]
    for root in roots:
        root.images = [image for place, image in kept if place is root]


def _with_both_files(images: list[CaptionedImage], sources: Mapping[str, ImageSource]) -> list[CaptionedImage]:
    if len(sources) < 2:
        return images
    gt, lq = sources['gt'], sources['lq']
    for have, lack in ((gt, lq), (lq, gt)):
        names = [name for name in have.files if name not in lack.files]
        if names:
            more = ', ...' if len(names) > 3 else ''
            get_root_logger().warning(f'{have.root}: {len(names)} images are not in {lack.root} and left out: '
                                      f'{", ".join(names[:3])}{more}')
    images = [image for image in images if image.name in lq.files]
    if not images:
        raise ValueError(f'no file of dataroot_lq ({lq.root}) has the name of one of dataroot_gt ({gt.root}); names '
                         'are paths from the root without suffix.')
    return images


class SampleShares:
    """Which image a sample of an epoch shows, where data roots have weights.

    An epoch has about as many samples as all roots have images. A root of weight w has w / sum(weights) of them, to the
    nearest whole number, and at least one. Its n images are spread over its m samples: sample k of the root shows image
    floor((k + u) n / m), u uniform in [0, 1). So every image of a root is shown equally often on average, m / n times
    an epoch; and in one epoch no image is shown more than ceil(m / n) + 1 times.

    A sample's place in the epoch tells its root. A sampler that goes through all places in a random order, as BasicSR's
    EnlargedSampler does, thus keeps to the shares in every epoch.

    Args:
        sizes: images of each root.
        weights: relative shares of the samples, above 0; only their ratios count.

    Raises:
        ValueError: when a root has no image.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float]) -> None:
        if 0 in sizes:
            raise ValueError(f'max_images leaves no image of data root {sizes.index(0) + 1} of {len(sizes)}, which has '
                             'a share of the samples; raise it.')
        total, of_all = sum(sizes), sum(weights)
        self.counts = [max(1, round(total * weight / of_all)) for weight in weights]
        self._ends = list(accumulate(self.counts))
        self._firsts = [0, *accumulate(sizes)]
        self._sizes = list(sizes)

    def __len__(self) -> int:
        return self._ends[-1]

    def draw(self, sample: int, rng: random.Random) -> int:
        """Return the image, counted over all roots, of a sample of the epoch."""
        root = bisect_right(self._ends, sample)
        count, size = self.counts[root], self._sizes[root]
        k = sample - self._ends[root] + count
        # The product may be rounded up to the end.
        return self._firsts[root] + min(int((k + rng.random()) * size / count), size - 1)


def sample_shares(opt: Mapping[str, Any], roots: Sequence[DataRoot]) -> SampleShares | None:
    """The shares of `weights`; None where there are none.

    Raises:
        ValueError: as `tgjar_arch.option_checks.shares` and `SampleShares`.
    """
    weights = shares(opt, len(roots))
    return None if weights is None else SampleShares([len(root.images) for root in roots], weights)
