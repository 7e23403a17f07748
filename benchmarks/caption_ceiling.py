"""How much could captions gain at most by their colours? Restored pictures, given the true colours of the original.

    python -m benchmarks.caption_ceiling --weights tgjar_cub_qf1 --data data/cub/test --number 100

Every image is restored without a caption. Then an oracle moves its chroma (CIELAB a*, b*; lightness stays) so that the
means are those of the original: over the central half as a whole, as a caption that names one colour would, and over
blocks of 64, 32 and 16 pixels, which is far more than a caption can say. What the metrics gain by that is a ceiling of
what colour words can gain over no caption, given this restoration; what words may tell of shape and texture is not in
it.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from skimage.color import lab2rgb, rgb2lab
from tqdm import tqdm

from tgjar_arch.datasets.jpeg import decode
from tgjar_arch.evaluation.bootstrap import paired_interval
from tgjar_arch.evaluation.measures import Measure, build_measures
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.restorer import Restorer

METRICS = ('psnr', 'lpips', 'lpips_squeeze', 'ab_error')
BLOCKS = (64, 32, 16)  # pixels
CENTRE = 'central half'
ORACLES = (CENTRE, *(f'{block}x{block}' for block in BLOCKS))


def centre_offset(difference: np.ndarray) -> np.ndarray:
    """The mean of `difference` (H, W, 2) over the central half, there and nowhere else; borders softened."""
    height, width = difference.shape[:2]
    rows, columns = (slice(size // 4, size - size // 4) for size in (height, width))
    inside = np.zeros((height, width, 1))
    inside[rows, columns] = 1
    soft = cv2.GaussianBlur(inside, (0, 0), min(height, width) / 32)[..., None]
    return soft * difference[rows, columns].mean(axis=(0, 1))


def block_offset(difference: np.ndarray, block: int) -> np.ndarray:
    """Means of `difference` (H, W, 2) over blocks of `block` pixels, interpolated between their centres."""
    height, width = difference.shape[:2]
    means = cv2.resize(difference, (-(-width // block), -(-height // block)), interpolation=cv2.INTER_AREA)
    return cv2.resize(means, (width, height), interpolation=cv2.INTER_LINEAR)


def true_colours(restored: np.ndarray, original: np.ndarray) -> dict[str, np.ndarray]:
    """The restored image with what each oracle knows of the original's chroma.

    Args:
        restored, original: (H, W, 3) uint8, BGR.

    Returns:
        `ORACLES` -> (H, W, 3) uint8, BGR.
    """
    lab, truth = (rgb2lab(image[..., ::-1]) for image in (restored, original))
    difference = (truth - lab)[..., 1:]
    offsets = (centre_offset(difference), *(block_offset(difference, block) for block in BLOCKS))
    told = {}
    for name, offset in zip(ORACLES, offsets, strict=True):
        moved = np.concatenate([lab[..., :1], lab[..., 1:] + offset], axis=2)
        told[name] = np.round(lab2rgb(moved)[..., ::-1] * 255).astype(np.uint8)
    return told


def run(restorer: Restorer, images: EvaluationSet, measures: list[Measure], qf: int,
        quiet: bool = False) -> dict[str, dict[str, list[float]]]:
    """Scores of every image: metric -> 'restored' and each of `ORACLES` -> values in the order of `images.names`."""
    scores: dict = {measure.name: {name: [] for name in ('restored', *ORACLES)} for measure in measures}
    for name in tqdm(images.names, desc='true colours', disable=quiet):
        original = images.original(name)
        jpeg = decode(images.jpeg(name, qf))[..., ::-1]
        restored = restorer(np.ascontiguousarray(jpeg), '')[..., ::-1]
        for which, picture in ({'restored': restored} | true_colours(restored, original)).items():
            for measure in measures:
                scores[measure.name][which].append(measure.score(np.ascontiguousarray(picture), original))
    return scores


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.caption_ceiling', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', required=True, help='file of `tgjar export`, or the name of shipped weights')
    parser.add_argument('--data', type=Path, default=Path('data/cub/test'), help='test images')
    parser.add_argument('--qf', type=int, default=1, help='JPEG quality factor')
    parser.add_argument('--number', type=int, default=100, help='images, evenly spread')
    args = parser.parse_args(argv)
    measures, _ = build_measures(METRICS)
    images = EvaluationSet(args.data, max_images=args.number)
    scores = run(Restorer.from_pretrained(args.weights), images, measures, args.qf)
    print(f'| true mean colours of | {" | ".join(measure.heading for measure in measures)} |')
    print('|---' * (len(measures) + 1) + '|')
    means = (f'{np.mean(scores[measure.name]["restored"]):.{measure.digits}f}' for measure in measures)
    print(f'| nothing | {" | ".join(means)} |')
    for oracle in ORACLES:
        pairs = ((scores[measure.name]['restored'], scores[measure.name][oracle]) for measure in measures)
        gains = (paired_interval(*pair) for pair in pairs)
        cells = (f'{gain.mean:+.{measure.digits}f} ± {gain.half:.{measure.digits}f}'
                 for measure, gain in zip(measures, gains, strict=True))
        print(f'| {oracle} | {" | ".join(cells)} |')
    print(f'{len(images.names)} images, quality {args.qf}; differences with 95 % intervals.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
