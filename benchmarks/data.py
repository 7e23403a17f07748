"""Images a second that `PairedImageTextDataset` gives, by step, and through BasicSR's loader.

    python -m benchmarks.data [--seconds 5] [--workers 0 1 2]                # pictures made for the purpose
    python -m benchmarks.data --dataroot data/cub/train --tokenizer data/cub/tokenizer.json

Pictures are 304 pixels on the shorter side, as prepared data sets have them, in WebP, PNG and JPEG, from disk and from
an lmdb; crops of 256 pixels at quality 1 with a caption. The first table is one process on one core: CPU time an image
of every step. The second is the loader with batches of `--batch`, wall time, so that it depends on what else runs.
A training at 500 images a second on 16 cores needs 500 / 16 = 32 images a second and core.
"""
# ruff: noqa: T201

import argparse
import itertools
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from basicsr.data import build_dataloader
from PIL import Image

from benchmarks.machine import describe
from tgjar_arch.datasets import paired_image_text_dataset
from tgjar_arch.datasets.paired_image_text_dataset import PairedImageTextDataset
from tgjar_arch.datasets.prepare.lmdb_copy import write_lmdb
from tgjar_arch.text.word_tokenizer import WordTokenizer

NEEDED = 500 / 16
FORMATS = {'WebP': ('webp', {'quality': 95}), 'PNG': ('png', {}), 'JPEG': ('jpg', {'quality': 95})}
WORDS = 'a small bird with red blue yellow black white wings breast crown and bill'.split()
# Where the time goes: (owner, method) of every step.
STEPS = {
    'read': (PairedImageTextDataset, '_read'),
    'decode': (PairedImageTextDataset, '_decode'),
    'crop, flip': (PairedImageTextDataset, '_crop_and_flip'),
    'encode JPEG': (PairedImageTextDataset, '_degrade'),
    'decode JPEG': (paired_image_text_dataset, 'decode'),
    'tensors': (paired_image_text_dataset, '_to_tensor'),
    'caption': (PairedImageTextDataset, '_text'),
}


def make_pictures(root: Path, count: int, suffix: str, options: dict) -> None:
    """Write pictures of soft colours with some grain, about as large as photographs compress, and captions."""
    root.mkdir(parents=True)
    rng, lines = np.random.default_rng(0), []
    chosen = random.Random(0)
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((405, 304), Image.BICUBIC)
        noise = rng.normal(0, 6, (304, 405, 1))
        pixels = (np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f'{index:04}.{suffix}', **options)
        captions = [' '.join(chosen.sample(WORDS, 12)) for _ in range(10)]
        lines.append(json.dumps({'file_name': f'{index:04}.{suffix}', 'captions': captions, 'class_id': index}))
    (root / 'metadata.jsonl').write_text('\n'.join(lines) + '\n', encoding='utf-8')


def dataset_options(root: Path, tokenizer: Path | None) -> dict:
    """Options of the training set of options/train_tgjar_cub.yml, on `root`."""
    return {'name': 'benchmark', 'type': 'PairedImageTextDataset', 'phase': 'train', 'dataroot_gt': str(root),
            'io_backend': {'type': 'lmdb' if root.suffix == '.lmdb' else 'disk'}, 'qf': 1, 'gt_size': 256,
            'tokenizer': None if tokenizer is None else str(tokenizer), 'prefetch_mode': None}


@contextmanager
def timed_steps() -> Iterator[dict[str, float]]:
    """Add up the CPU time of every step while this holds."""
    totals = dict.fromkeys(STEPS, 0.0)

    def timed(name: str, function):
        def call(*args, **kwargs):
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                totals[name] += time.process_time() - start
        return call

    patches = [mock.patch.object(owner, name, timed(step, getattr(owner, name)))
               for step, (owner, name) in STEPS.items()]
    for patch in patches:
        patch.start()
    try:
        yield totals
    finally:
        for patch in patches:
            patch.stop()


def by_step(dataset: PairedImageTextDataset, seconds: float) -> dict[str, float]:
    """CPU seconds an image: of every step, of the rest, and in all (`all`), over `seconds` of CPU time."""
    indices = itertools.cycle(random.Random(0).sample(range(len(dataset)), len(dataset)))
    for index in itertools.islice(indices, 20):  # warm up
        dataset[index]
    count, start = 0, time.process_time()
    while time.process_time() - start < seconds or count < 20:
        dataset[next(indices)]
        count += 1
    total = (time.process_time() - start) / count
    with timed_steps() as totals:
        for index in itertools.islice(indices, count):
            dataset[index]
    steps = {step: value / count for step, value in totals.items()}
    return steps | {'rest': max(0.0, total - sum(steps.values())), 'all': total}


def through_loader(dataset: PairedImageTextDataset, batch: int, workers: int, seconds: float) -> float:
    """Images a second of BasicSR's loader, the first batches of every worker left out."""
    options = dataset.opt | {'batch_size_per_gpu': batch, 'num_worker_per_gpu': workers, 'dataset_enlarge_ratio': 1000}
    sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**7)
    iterator = iter(build_dataloader(dataset, options, num_gpu=1, dist=False, sampler=sampler, seed=0))
    for _ in range(3 * max(1, workers)):
        next(iterator)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds or count == 0:
        count += len(next(iterator)['gt'])
    return count / (time.perf_counter() - start)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dataroot', type=Path, help='prepared images or a folder *.lmdb; without it some are made')
    parser.add_argument('--tokenizer', type=Path, help='with --dataroot: the tokenizer of its captions')
    parser.add_argument('--count', type=int, default=64, help='pictures made')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--workers', type=int, nargs='*', default=[0, 1, 2], help='loader processes')
    parser.add_argument('--seconds', type=float, default=5, help='of each measurement')
    args = parser.parse_args(argv)
    logging.getLogger('basicsr').setLevel(logging.ERROR)
    torch.set_num_threads(1)
    paired_image_text_dataset.cv2.setNumThreads(0)  # as in the loader's workers
    with tempfile.TemporaryDirectory() as folder:
        roots = {}
        if args.dataroot is None:
            args.tokenizer = Path(folder, 'tokenizer.json')
            WordTokenizer.build(WORDS).save(args.tokenizer)
            for name, (suffix, options) in FORMATS.items():
                roots[f'{name}, disk'] = Path(folder, name)
                make_pictures(roots[f'{name}, disk'], args.count, suffix, options)
                roots[f'{name}, lmdb'] = write_lmdb(roots[f'{name}, disk'], quiet=True)
        else:
            roots[args.dataroot.name] = args.dataroot
        sets = {name: PairedImageTextDataset(dataset_options(root, args.tokenizer)) for name, root in roots.items()}
        steps = {name: by_step(dataset, args.seconds) for name, dataset in sets.items()}
        rates = {name: [through_loader(dataset, args.batch, workers, args.seconds) for workers in args.workers]
                 for name, dataset in sets.items()}
    opencv = paired_image_text_dataset.cv2.__version__
    print(f'{describe(torch.device("cpu"))}, OpenCV {opencv}; crops of 256 pixels.\n')
    print(f'| CPU ms an image | {" | ".join((*STEPS, "rest", "all"))} | images/s and core | needed |')
    print('|---' * (len(STEPS) + 5) + '|')
    for name, values in steps.items():
        cells = ' | '.join(f'{1000 * value:.2f}' for value in values.values())
        print(f'| {name} | {cells} | {1 / values["all"]:.0f} | {NEEDED:.0f} |')
    if args.workers:
        print(f'\n| images/s, batch {args.batch} | {" | ".join(f"{workers} workers" for workers in args.workers)} |')
        print('|---' * (len(args.workers) + 1) + '|')
        for name, row in rates.items():
            print(f'| {name} | {" | ".join(f"{rate:.0f}" for rate in row)} |')
    return 0


if __name__ == '__main__':
    sys.exit(main())
