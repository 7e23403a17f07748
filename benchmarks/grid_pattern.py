"""Does a restorer draw the same faint pattern into every block of 8x8 pixels? What it is, and what LPIPS makes of it.

    python -m benchmarks.grid_pattern --weights tgjar_cub_qf1 --data data/cub/test --number 100

The mean error at each of the 64 places of the JPEG grid, over all blocks of an image and then over the images, is the
same everywhere where there is no such pattern, but for chance, which falls with more images: compare on the same ones.
Its standard deviation and its range are in grey levels of 255. Then LPIPS of windows that begin on the grid, as the
whole picture does, and of windows that begin 1 to 7 pixels down and right of it. The JPEG itself, whose blocks are
sharp, is the row to compare with: a restorer that has learned where LPIPS' trunk samples gains more on the grid.
"""

import sys

import numpy as np
from tqdm import tqdm

from benchmarks.restorer_parser import restorer_parser
from tgjar_arch.evaluation.measures import Measure, build_measures
from tgjar_arch.evaluation.network_method import restore_jpeg
from tgjar_arch.evaluation.tables import Table
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.jpeg.codec import decode
from tgjar_arch.jpeg.tables import BLOCK
from tgjar_arch.restoration.restorer import Restorer

METRICS = ('lpips', 'lpips_squeeze')
ROWS = ('JPEG', 'restored')


def place_means(error: np.ndarray) -> np.ndarray:
    """Mean of `error` (H, W) at each place of the grid that begins at its corner: (8, 8)."""
    return np.array([[error[y::BLOCK, x::BLOCK].mean() for x in range(BLOCK)] for y in range(BLOCK)])


def windows(image: np.ndarray) -> list[np.ndarray]:
    """Windows (H - 7, W - 7, C) that begin 0 to 7 pixels down and right; the first is on the grid."""
    height, width = (side - BLOCK + 1 for side in image.shape[:2])
    return [np.ascontiguousarray(image[k:k + height, k:k + width]) for k in range(BLOCK)]


def run(restorer: Restorer, images: EvaluationSet, measures: list[Measure], qf: int,
        quiet: bool = False) -> dict[str, dict]:
    """For each of `ROWS` 'pattern' (8, 8), mean error in grey levels, and by metric its mean on and beside the grid."""
    errors = {row: [] for row in ROWS}
    scores = {row: {measure.name: [] for measure in measures} for row in ROWS}
    for name in tqdm(images.names, desc='grid pattern', disable=quiet):
        original, jpeg = images.original(name), images.jpeg(name, qf)
        for row, picture in zip(ROWS, (decode(jpeg), restore_jpeg(restorer, jpeg, '', name)), strict=True):
            errors[row].append(place_means((picture.astype(np.float64) - original).mean(axis=2)))
            for measure in measures:
                scores[row][measure.name].append([measure.score(*pair) for pair in
                                                  zip(windows(picture), windows(original), strict=True)])
    results = {}
    for row in ROWS:
        means = {name: np.mean(values, axis=0) for name, values in scores[row].items()}
        results[row] = {'pattern': np.mean(errors[row], axis=0)} | {
            name: (mean[0], mean[1:].mean()) for name, mean in means.items()}
    return results


def main(argv: list[str] | None = None) -> int:
    args = restorer_parser('grid_pattern', __doc__).parse_args(argv)
    measures, _ = build_measures(METRICS)
    images = EvaluationSet(args.data, max_images=args.number)
    results = run(Restorer.from_pretrained(args.weights), images, measures, args.qf)
    rows = [[row, f'{result["pattern"].std():.2f}', f'{np.ptp(result["pattern"]):.2f}',
             *(f'{value:.4f}' for measure in measures for value in result[measure.name])]
            for row, result in results.items()]
    headings = ['', 'pattern, std', 'range', *(f'{measure.heading} {where}' for measure in measures
                                               for where in ('on the grid', 'beside it'))]
    print(Table('grid_pattern', f'{args.weights} at quality {args.qf}', headings, rows,
                notes=[f'{len(images.names)} images, without captions; pattern in grey levels of 255.']).markdown())
    return 0


if __name__ == '__main__':
    sys.exit(main())
