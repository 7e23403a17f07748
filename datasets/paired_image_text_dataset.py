"""The dataset of text-guided JPEG artifact removal: compressed image, original and a caption of it."""

import random
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils import get_root_logger
from torch import Tensor
from torch.utils import data

from tgjar_arch.datasets.captions import EncodedCaptions
from tgjar_arch.datasets.data_roots import keep_evenly, read_roots, sample_shares
from tgjar_arch.datasets.degradation import Compressed, DoubleCompression, QualitySampler, compress_once
from tgjar_arch.datasets.image_source import ImageSource
from tgjar_arch.datasets.recolour import COLOURS, centre_weight, recolour
from tgjar_arch.jpeg.codec import is_cut_short
from tgjar_arch.jpeg.settings import CHROMA
from tgjar_arch.jpeg.tables import off_grid, quantisation_maps, quantisation_tables, thumbnail
from tgjar_arch.option_checks import check_keys, one_of, positive_int, probability, scale_range
from tgjar_arch.text.tokenizer import Tokenizer, load_tokenizer

MCU = 16  # pixels of a coding unit of 4:2:0 JPEG: cropping elsewhere moves the block grid of a compressed image

OWN_KEYS = frozenset({
    'name', 'type', 'phase', 'scale', 'dataroot_gt', 'dataroot_lq', 'dataroot_text', 'weights', 'io_backend',
    'tokenizer', 'max_words', 'max_images', 'gt_size', 'use_hflip', 'qf', 'chroma', 'double_jpeg', 'caption_drop',
    'recolour', 'chroma_drop', 'scale_range', 'quantisation_maps', 'thumbnail',
})
# What BasicSR's loaders and trainer read from the same options.
LOADER_KEYS = frozenset({
    'num_worker_per_gpu', 'batch_size_per_gpu', 'dataset_enlarge_ratio', 'prefetch_mode', 'num_prefetch_queue',
    'pin_memory', 'persistent_workers', 'use_shuffle',
})


class UnusableImageError(ValueError):
    """An image file that cannot be read, decoded or cropped, or lacks what was asked for; the others may still do."""


class PairedImageTextDataset(data.Dataset):
    """Images, their JPEG-compressed versions and captions (paper, section 4.1; crops and captions as AttnGAN has them).

    The compressed image is made on the fly, after the crop, so that its block grid begins at the crop's corner::

        gt file -- decode -- crop gt_size -- flip --+-- JPEG at qf -- lq
                                                    +---------------- gt

    or read from `dataroot_lq`; crops then keep to its block grid. Training crops, flips and draws the caption and the
    quality factor at random. Validation and test are the same every time: the whole image (or its centre `gt_size`),
    the first caption, a `qf` that depends on the index only.

    Captions are found as `tgjar_arch.datasets.captions.read_captions` says: in `metadata.jsonl`, or in text files
    beside the images or under `dataroot_text`. What does not fit is counted and named in the log. Files are decoded by
    OpenCV to 8-bit colour: grey becomes three equal channels, 16 bit is divided down, alpha is dropped, and EXIF's
    orientation applied; in `dataroot_lq` one that would move the block grid is an error.

    `dataroot_gt` may be a list; `dataroot_lq` and `dataroot_text`, where they are given, then are lists of the same
    length. With `weights` each root has its share of the samples of an epoch, whatever its size
    (`tgjar_arch.datasets.data_roots.SampleShares`); an epoch then has about as many samples as there are images.

    Args:
        opt: the options of one dataset, with these keys (others but BasicSR's loader keys are an error):

            - dataroot_gt: folder (or `*.lmdb`) with the originals, or a list of several; may be missing outside
              training.
            - dataroot_lq: folder (or `*.lmdb`) with files compressed beforehand, of the same names but any suffix. ~
            - dataroot_text: folder or `.jsonl` file with the captions, where they do not lie with the images. ~
            - weights: of a list `dataroot_gt` in training, relative shares of the samples: `[2, 1]` draws two of three
              from the first. ~ takes every image once an epoch.
            - io_backend: `{type: disk}` (default) or `{type: lmdb}`.
            - tokenizer: path of the `tokenizer.json`, from `tgjar vocab` or of a pretrained text model (then its folder
              will do); without it a batch has captions but no `text`. ~
            - max_words: T, words kept of a caption (18, AttnGAN's for birds); pieces of a subword vocabulary; a
              pretrained model's tokens, all counted.
            - max_images: use this many images, evenly spread over all. ~
            - gt_size: crop in pixels, 256 in training; ~ (the whole image) elsewhere.
            - scale_range: `[0.3, 1]`: training images are first resized by a factor from there, to `gt_size` or more. ~
            - use_hflip: flip half of the training images (true).
            - qf: JPEG quality factor: `1`, `[1, 5, 10]` or `{min: 1, max: 40}`; ~ for no compression and no `lq`.
            - chroma: subsampling, `4:2:0` (default), `4:2:2` or `4:4:4`.
            - double_jpeg: `{prob: 0.5, qf: {min: 10, max: 95}, shift: 7}`: with this probability (1) an earlier
              compression at this qf, its grid moved by 0 to `shift` (7) pixels down and right. Of these files
              `resize: {prob: 0.5, scale: [0.5, 2]}` resizes a share between the compressions, and
              `last: {jpeg: 2, webp: 1, png: 1}` saves shares as WebP (at `webp_qf`) or PNG at last; see
              `tgjar_arch.datasets.degradation.DoubleCompression`. ~
            - caption_drop: probability of a training image to go without its caption (0); 1 drops it in validation too.
            - recolour: probability to try and give a training image and its caption another colour (0); see
              `tgjar_arch.datasets.recolour`.
            - chroma_drop: probability of a training image to be compressed in grey, colours left to the caption (0).
            - quantisation_maps: true adds the `qmaps` of `lq`, from the tables of its JPEG file (false).
            - thumbnail: side in pixels of a `thumbnail` of `lq`, such as 112 for QGCN. ~

    Items:
        lq, gt: (3, H, W) float in [0, 1], RGB; either may be missing, see above.
        qmaps: (2, H, W) float, luma and chroma, see `quantisation_maps`; thumbnail: (3, S, S) as lq. Only if asked for.
        text, text_mask: (T,) int64 and (T,) bool; only with a tokenizer.
        caption: str, '' for none. class_id: int, -1 if not known; those of a second root are others than the first's.
        qf: int, of the last JPEG compression; only if made on the fly.
        lq_path, gt_path: str; `lq_path` is the original's if made on the fly.

    In training an image that cannot be decoded or is smaller than `gt_size` is named in the log once, and the next one
    of its root is taken; elsewhere it raises.

    Raises:
        ValueError: an option is not as said or unknown, a folder has no image, no caption is found though `tokenizer`
            is given; when an item is taken, sizes of `lq` and `gt` differ, or (not in training) a file is unusable.
        FileNotFoundError: a folder or the tokenizer is missing.
        RuntimeError: in training, when every image of a root is unusable.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self._read_options(opt)
        self._roots = read_roots(opt, self._backend)
        if self._max_images is not None:
            keep_evenly(self._roots, self._max_images)
        self._shares = sample_shares(opt, self._roots)
        self.tokenizer: Tokenizer | None = None
        self.tokenizer_json: str | None = None
        if opt.get('tokenizer') is not None:
            self.tokenizer = load_tokenizer(opt['tokenizer'])
            self.tokenizer_json = self.tokenizer.to_json()
            self._encode(self.tokenizer)
        for root in self._roots:
            root.report.without_caption = [image.name for image in root.images if not image.captions]
            root.report.log(root.main.root, self._max_words)
            captions = sum(len(image.captions) for image in root.images)
            get_root_logger().info(f'{root.main.root}: {len(root.images)} images, {captions} captions.')
        self.images = [image for root in self._roots for image in root.images]
        self._first_of_root = [0, *accumulate(len(root.images) for root in self._roots)]
        if self._shares is not None:
            total, counts = len(self._shares), self._shares.counts
            get_root_logger().info(f'{total} samples an epoch: ' + ', '.join(
                f'{count} of {root.main.root}' for count, root in zip(counts, self._roots, strict=True)))

        # Shared with the loader's workers, which start anew each epoch: a broken file is decoded and named once only.
        self._unusable = torch.zeros(len(self.images), dtype=torch.uint8)
        if self._training:
            self._unusable.share_memory_()
        self._worker_rng: tuple[int, random.Random] | None = None

    def _read_options(self, opt: Mapping[str, Any]) -> None:
        check_keys(opt, OWN_KEYS | LOADER_KEYS, 'dataset')
        self._training = one_of(opt, 'phase', ('train', 'val', 'test')) == 'train'
        backend = opt.get('io_backend') or {'type': 'disk'}
        check_keys(backend, {'type'}, 'io_backend')
        self._backend = one_of(backend, 'type', ('disk', 'lmdb'))
        self._max_words = positive_int(opt, 'max_words', 18)
        self._max_images = positive_int(opt, 'max_images', None)
        self._gt_size = positive_int(opt, 'gt_size', 256 if self._training else None)
        self._scale_range = scale_range(opt, 'scale_range') if self._training else None
        use_hflip = opt.get('use_hflip', True)
        if not isinstance(use_hflip, bool):
            raise ValueError(f'use_hflip must be true or false, but is {use_hflip!r}.')
        self._use_hflip = self._training and use_hflip
        self._caption_drop = probability(opt, 'caption_drop', 0.0)
        self._recolour = probability(opt, 'recolour', 0.0) if self._training else 0.0
        self._chroma_drop = probability(opt, 'chroma_drop', 0.0) if self._training else 0.0
        self._chroma = one_of(opt, 'chroma', CHROMA) if 'chroma' in opt else '4:2:0'
        self._qf = None if opt.get('qf') is None else QualitySampler(opt['qf'])
        self._quantisation_maps = opt.get('quantisation_maps', False)
        self._thumbnail = positive_int(opt, 'thumbnail', None)
        double = opt.get('double_jpeg')
        self._double = None if double is None else DoubleCompression(double, self._chroma)

        has_gt, has_lq = opt.get('dataroot_gt') is not None, opt.get('dataroot_lq') is not None
        if not has_gt and (self._training or not has_lq):
            raise ValueError('dataroot_gt is missing; only in validation and test dataroot_lq alone is enough.')
        made = [key for key in ('qf', 'double_jpeg', 'scale_range', 'recolour', 'chroma_drop') if opt.get(key)]
        if has_lq and made:
            raise ValueError(f'dataroot_lq has compressed files, so {" and ".join(made)} can have no effect; drop '
                             'either.')
        if not has_lq and 'qf' not in opt:
            raise ValueError('qf is missing: the JPEG quality factor(s) to compress at, or dataroot_lq with compressed '
                             'files, or `qf: ~` for originals only.')
        for key, needs in (('recolour', ('tokenizer', 'qf')), ('chroma_drop', ('qf',)), ('double_jpeg', ('qf',))):
            missing = [need for need in needs if opt.get(need) is None]
            if opt.get(key) and missing:
                raise ValueError(f'{key} needs {" and ".join(missing)}; give that or drop it.')
        if (self._quantisation_maps or self._thumbnail) and not has_lq and self._qf is None:
            raise ValueError('quantisation_maps and thumbnail are of the compressed image, but there is none; give qf '
                             'or dataroot_lq, or drop them.')
        if has_lq and self._use_hflip and self._gt_size is not None and self._gt_size % MCU:
            raise ValueError(f'gt_size {self._gt_size} must be a multiple of {MCU} to flip files of dataroot_lq, since '
                             'other widths move the JPEG block grid; change it or set use_hflip: false.')

    def _encode(self, tokenizer: Tokenizer) -> None:
        for root in self._roots:
            root.encoded = EncodedCaptions(root.images, tokenizer, self._max_words, root.report)
            root.images = root.encoded.images
        self._colours = {word for word in COLOURS if not tokenizer.unknown(word)}
        if not any(image.captions for root in self._roots for image in root.images):
            places = ', '.join(str(root.main.root) for root in self._roots)
            raise ValueError(f'{places}: a tokenizer is given, but no caption with a known word was found; put '
                             'metadata.jsonl or text files beside the images, or name their folder in dataroot_text. '
                             'To train without captions: --force_yml network_t=none path:pretrain_network_t=~ '
                             'train:train_network_t=false train:damsm_opt=~ datasets:train:tokenizer=~ '
                             'datasets:val:tokenizer=~ datasets:train:recolour=0')

    @property
    def source(self) -> ImageSource:
        """The files of the first root: its originals, or its compressed files where there are none."""
        return self._roots[0].main

    def __len__(self) -> int:
        return len(self.images) if self._shares is None else len(self._shares)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]  # raises IndexError at the end, which ends a for loop
        if not self._training:
            return self._item(index, random.Random(index))
        rng = self._rng()
        if self._shares is not None:
            index = self._shares.draw(index, rng)
        root, _ = self._place(index)
        first, end = self._first_of_root[root:root + 2]
        for candidate in (*range(index, end), *range(first, index)):
            if self._unusable[candidate]:
                continue
            try:
                return self._item(candidate, rng)
            except UnusableImageError as error:
                self._unusable[candidate] = 1
                # An error, since BasicSR mutes the warnings of all processes but the first.
                get_root_logger().error(f'{error} The next image is taken instead.')
        raise RuntimeError(f'none of the {end - first} images of {self._roots[root].main.root} can be used; the log '
                           'names each.')

    def _place(self, index: int) -> tuple[int, int]:
        """The root of an image, and the image's number in it."""
        root = bisect_right(self._first_of_root, index) - 1
        return root, index - self._first_of_root[root]

    def _rng(self) -> random.Random:
        worker = data.get_worker_info()
        if worker is None:
            return random  # type: ignore[return-value]  # the module has the methods, and BasicSR's seed
        # BasicSR gives the workers' `random` the same seed every epoch, so an epoch would repeat the draws of the one
        # before. The loader's own seed differs by epoch, worker and rank, and follows BasicSR's as well.
        if self._worker_rng is None or self._worker_rng[0] != worker.seed:
            self._worker_rng = worker.seed, random.Random(worker.seed)
            cv2.setNumThreads(0)  # one thread a worker: for small images OpenCV's threads cost more than they bring
        return self._worker_rng[1]

    def _item(self, index: int, rng: random.Random) -> dict[str, Any]:
        image, sources = self.images[index], self._roots[self._place(index)[0]].sources
        paths = {key: source.files[image.name] for key, source in sources.items()}
        contents = {key: _read(source, image.name) for key, source in sources.items()}
        pixels = {key: self._decode(content, paths[key]) for key, content in contents.items()}
        if 'lq' in contents and off_grid(contents['lq']):
            raise UnusableImageError(f'{paths["lq"]} is turned by its EXIF orientation, off its JPEG blocks; remove '
                                     'that from it, and turn its original alike.')
        if self._scale_range is not None:
            pixels['gt'] = self._resize(pixels['gt'], rng)
        if self._recolour > 0 and rng.random() < self._recolour:
            pixels['weight'] = centre_weight(*pixels['gt'].shape[:2])
        pixels = self._crop_and_flip(pixels, paths, rng)
        caption, ids = self._draw_caption(index, rng)
        weight = pixels.pop('weight', None)
        if weight is not None and caption and self.tokenizer is not None:
            pair = recolour(pixels['gt'], caption, weight, rng, self._colours)
            if pair is not None:
                pixels['gt'], caption = pair
                ids = self.tokenizer.encode(caption)
        item: dict[str, Any] = {'class_id': image.class_id}
        if self._qf is not None:
            qf = self._qf.sample(rng) if self._training else self._qf.at(index)
            pixels['lq'], contents['lq'], item['qf'] = self._degrade(pixels['gt'], qf, rng)
        item |= {key: _to_tensor(value) for key, value in pixels.items()}
        if self._quantisation_maps:
            try:
                tables = quantisation_tables(contents['lq'], paths.get('lq') or paths['gt'])
            except ValueError as error:
                raise UnusableImageError(str(error)) from error
            item['qmaps'] = quantisation_maps(tables, *pixels['lq'].shape[:2])
        if self._thumbnail is not None:
            item['thumbnail'] = thumbnail(pixels['lq'], self._thumbnail)
        item['caption'] = caption
        if self.tokenizer is not None:
            item['text'], item['text_mask'] = self.tokenizer.pad(ids, self._max_words, rng if self._training else None)
        return item | {f'{key}_path': path for key, path in ({'lq': paths.get('gt')} | paths).items()}

    def _decode(self, content: bytes, path: str) -> np.ndarray:
        image, fault = None, 'it is broken or of another format' if content else 'it is empty'
        if is_cut_short(content):
            fault = f'it was cut short ({len(content)} bytes)'
        elif content:
            try:
                image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            except cv2.error as error:  # of a huge image
                fault = str(error).strip()
        if image is None:
            raise UnusableImageError(f'{path} is no readable image: {fault}. Replace or remove it.')
        if self._training and self._gt_size is not None and min(image.shape[:2]) < self._gt_size:
            raise UnusableImageError(f'{path} is {image.shape[1]}x{image.shape[0]}, smaller than gt_size '
                                     f'{self._gt_size}.')
        return image  # (H, W, 3) uint8, BGR

    def _resize(self, gt: np.ndarray, rng: random.Random) -> np.ndarray:
        assert self._scale_range is not None and self._gt_size is not None  # in training
        scale = max(rng.uniform(*self._scale_range), self._gt_size / min(gt.shape[:2]))
        return cv2.resize(gt, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)

    def _crop_and_flip(self, pixels: dict[str, np.ndarray], paths: dict[str, str],
                       rng: random.Random) -> dict[str, np.ndarray]:
        shapes = {key: value.shape[:2] for key, value in pixels.items()}
        if len(set(shapes.values())) > 1:
            (h_gt, w_gt), (h_lq, w_lq) = shapes['gt'], shapes['lq']
            kind = ValueError if self._training else UnusableImageError  # an evaluation goes on without the pair
            raise kind(f'{paths["gt"]} is {w_gt}x{h_gt}, but its compressed version {paths["lq"]} is {w_lq}x{h_lq}; '
                       'both must have one size.')
        if self._gt_size is None:
            return pixels
        size, (height, width) = self._gt_size, next(iter(shapes.values()))
        step = MCU if 'lq' in pixels else 1
        # Rows and columns that are left over, in steps of the block grid; an image smaller than the crop stays whole.
        spare = [max(extent - size, 0) // step for extent in (height, width)]
        top, left = (step * (rng.randint(0, s) if self._training else s // 2) for s in spare)
        pixels = {key: value[top:top + size, left:left + size] for key, value in pixels.items()}
        if self._use_hflip and rng.random() < 0.5:
            pixels = {key: cv2.flip(value, 1) for key, value in pixels.items()}
        return pixels

    def _degrade(self, gt: np.ndarray, qf: int, rng: random.Random) -> Compressed:
        if self._chroma_drop > 0 and rng.random() < self._chroma_drop:
            gt = cv2.cvtColor(cv2.cvtColor(gt, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        if self._double is not None and self._double.prob > 0 and rng.random() < self._double.prob:
            return self._double(gt, qf, rng)
        return compress_once(gt, qf, self._chroma)

    def _draw_caption(self, index: int, rng: random.Random) -> tuple[str, list[int]]:
        """A caption of the image, '' where there is none or it is dropped, and its word ids, given a tokenizer."""
        captions = self.images[index].captions
        drop = rng.random() < self._caption_drop if self._training else self._caption_drop == 1
        if not captions or drop:
            return '', []
        choice = rng.randrange(len(captions)) if self._training else 0
        root, number = self._place(index)
        encoded = self._roots[root].encoded
        return captions[choice], [] if encoded is None else encoded.ids(number, choice)


def _read(source: ImageSource, name: str) -> bytes:
    try:
        return source.read(name)
    except OSError as error:
        raise UnusableImageError(f'{source.files[name]} cannot be read ({str(error).strip()}).') from error


def _to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 BGR to (3, H, W) float RGB in [0, 1]."""
    return torch.from_numpy(np.stack(cv2.split(image)[::-1])).float().div_(255)
