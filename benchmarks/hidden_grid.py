"""How often the grid of an earlier JPEG compression is found in pixels, and how often where there is none.

    python -m benchmarks.hidden_grid --data data/kodak data/photos/test --number 30 --half second

Every photograph is compressed (4:2:0), cropped so that the grid comes to lie at a random offset, and saved again; then
`tgjar_arch.jpeg.grid.find_grid` looks for that grid, told the quality of the last file where that is JPEG. Clean ones
are the photographs as they are, and saved once in fine quality. Photographs of `--data` are taken at even intervals,
and `--half` takes every second one of these, so that thresholds can be set on others than those that are reported.
"""

import argparse
import io
import itertools
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from tgjar_arch.evaluation.tables import Table
from tgjar_arch.jpeg.grid import HiddenGrid, find_grid
from tgjar_arch.jpeg.quality import standard_tables

HIDDEN = (5, 10, 20, 40, 60)
LATER = ('PNG', 'JPEG 95', 'JPEG 90', 'JPEG 85', 'JPEG 75', 'WEBP 80')
CLEAN = ('PNG', 'JPEG 95', 'JPEG 90', 'WEBP 80', 'JPEG 95, then PNG', 'JPEG 90, then PNG')
SUFFIXES = {'.png', '.webp', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff'}


def save(image: Image.Image, how: str) -> Image.Image:
    """Return an RGB image as it is after saving; `how` is PNG, or a format and its quality."""
    if how == 'PNG':
        return image
    name, quality = how.split()
    options = {'subsampling': '4:2:0'} if name == 'JPEG' else {}
    file = io.BytesIO()
    image.save(file, name, quality=int(quality), **options)
    return Image.open(file).convert('RGB')


def own_qf(how: str) -> int | None:
    """The quality that a file's own tables tell."""
    return int(how.split()[1]) if how.startswith('JPEG') and 'then' not in how else None


def hide(image: Image.Image, qf: int, offset: tuple[int, int], later: str) -> Image.Image:
    """Compress, crop so that the grid begins at `offset` (row, column), save again."""
    row, column = (-start % 8 for start in offset)
    return save(save(image, f'JPEG {qf}').crop((column, row, *image.size)), later)


def step_ratio(qf: int, other: int) -> float:
    """How far two qualities lie apart: the factor, 1 or more, between their luma steps in the geometric mean."""
    return float(np.exp(abs(np.log(standard_tables(qf)[0] / standard_tables(other)[0]).mean())))


def run(images: list[Image.Image], seed: int = 0, aligned: bool = False,
        quiet: bool = False) -> dict[tuple[int, str], list[tuple[tuple[int, int], HiddenGrid | None]]]:
    """(hidden quality, later format) -> for each image the true offset and what was found.

    Offsets are random; `aligned`: (0, 0), where the pictures are not cropped.
    """
    rng = np.random.default_rng(seed)
    results: dict = {pair: [] for pair in itertools.product(HIDDEN, LATER)}
    for image in tqdm(images, desc='hidden grids', disable=quiet):
        for (qf, later), entries in results.items():
            offset = (0, 0) if aligned else tuple(int(start) for start in rng.integers(0, 8, 2))
            entries.append((offset, find_grid(np.asarray(hide(image, qf, offset, later)), own_qf(later))))
    return results


def run_clean(images: list[Image.Image], quiet: bool = False) -> dict[str, list[HiddenGrid | None]]:
    """For each of `CLEAN` what was found in each image."""
    return {how: [find_grid(np.asarray(save(image, how.split(',')[0])), own_qf(how)) for image in images]
            for how in tqdm(CLEAN, desc='clean', disable=quiet)}


def tables(results: dict, title: str) -> list[Table]:
    """Share found at the true offset, share of wrong offsets, error of the quality."""
    recall, error = [], []
    for qf in HIDDEN:
        recall.append([str(qf)])
        error.append([str(qf)])
        for later in LATER:
            entries = results[qf, later]
            right = [found for offset, found in entries if found and (found.row, found.column) == offset]
            wrong = sum(found is not None for _, found in entries) - len(right)
            recall[-1].append(f'{100 * len(right) / len(entries):.0f} %' + (f' ({wrong} wrong)' if wrong else ''))
            ratios = [step_ratio(found.qf, qf) for found in right]
            error[-1].append(f'{np.median(ratios):.2f} / {max(ratios):.2f}' if ratios else '')
    header = ['hidden quality', *LATER]
    return [Table('recall', f'Found at the exact offset, {title}', header, recall),
            Table('quality', f'Error of its quality as a factor of the step, median / worst, {title}', header, error)]


def photographs(folders: list[Path], number: int, half: str) -> list[Image.Image]:
    """At most `number` of each folder, at even intervals, of every two the first or the second."""
    images = []
    for folder in folders:
        paths = sorted(path for path in folder.rglob('*') if path.suffix.lower() in SUFFIXES)
        paths = paths[::max(1, len(paths) // (2 * number))]
        images += [Image.open(path).convert('RGB') for path in paths[half == 'second'::2][:number]]
    return images


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, nargs='+', required=True, help='folders of photographs')
    parser.add_argument('--number', type=int, default=30, help='photographs of each folder')
    parser.add_argument('--half', choices=('first', 'second'), default='second')
    args = parser.parse_args(argv)
    images = photographs(args.data, args.number, args.half)
    if not images:
        parser.error(f'no photographs in {", ".join(map(str, args.data))}; expected files {" ".join(sorted(SUFFIXES))}')
    for aligned, title in ((False, 'random offsets'), (True, 'both compressions on one grid')):
        for table in tables(run(images, aligned=aligned), title):
            print(table.markdown())
    clean = run_clean(images)
    rows = [[how, str(len(found)), str(len(found) - found.count(None))] for how, found in clean.items()]
    arrays = [np.asarray(image) for image in images]
    start = time.process_time()
    for array in arrays:
        find_grid(array)
    seconds = (time.process_time() - start) / len(images)
    size = np.mean([array[..., 0].size for array in arrays]) / 1e6
    print(Table('clean', 'Photographs without a grid coarser than quality 85', ['saved as', 'number', 'grid found'],
                rows, notes=[f'{len(images)} photographs of {size:.2f} megapixels; {1000 * seconds:.0f} ms of CPU time '
                             'each.']).markdown())
    return 0


if __name__ == '__main__':
    sys.exit(main())
