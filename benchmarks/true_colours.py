"""What would true mean colours gain? Restored pictures, given those of the original.

    python -m benchmarks.true_colours --weights tgjar_cub_qf1 --data data/cub/test --number 100

Every image is restored without a caption. Then an oracle moves its colours so that their means are those of the
original (but for what clips): over the central half, by one offset for all that is there, and over blocks of 64, 32 and
16 pixels; once chroma alone (CIELAB a*, b*), as hue words would tell it, and once lightness too, as of black and white.
So it can be seen how many colours have to be known for a metric to gain. This is an indication of what captions can do,
not a bound: a network that reads puts a colour on the object alone, and draws edges and texture to suit.
"""

import sys

import cv2
import numpy as np
from skimage.color import lab2rgb, rgb2lab
from tqdm import tqdm

from benchmarks.restorer_parser import restorer_parser
from tgjar_arch.evaluation.bootstrap import paired_interval
from tgjar_arch.evaluation.measures import Measure, build_measures, central_half
from tgjar_arch.evaluation.network_method import restore_jpeg
from tgjar_arch.evaluation.tables import Table
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.restoration.restorer import Restorer

METRICS = ('psnr', 'lpips', 'lpips_squeeze', 'ab_error')
BLOCKS = (64, 32, 16)  # pixels
CENTRE = 'central half'
REGIONS = (CENTRE, *(f'{block}x{block}' for block in BLOCKS))
CHANNELS = {'a*b*': slice(1, 3), 'L*a*b*': slice(0, 3)}  # of CIELAB
ORACLES = tuple(f'{region}, {channels}' for channels in CHANNELS for region in REGIONS)
_ROUNDS = 8  # a round leaves about half of the error in the means


def centre_offset(difference: np.ndarray) -> np.ndarray:
    """The mean of `difference` (H, W, C) over the central half, there and nowhere else; borders softened."""
    height, width = difference.shape[:2]
    middle = central_half(difference)
    inside = np.zeros((height, width))
    inside[middle] = 1
    soft = cv2.GaussianBlur(inside, (0, 0), min(height, width) / 32)[..., None]
    return soft / soft[middle].mean() * difference[middle].mean(axis=(0, 1))


def block_offset(difference: np.ndarray, block: int) -> np.ndarray:
    """A smooth (H, W, C) whose means over blocks of at most `block` pixels are those of `difference`."""
    height, width = difference.shape[:2]
    grid = -(-width // block), -(-height // block)
    offset = np.zeros_like(difference)
    for _ in range(_ROUNDS):  # interpolation between the blocks' centres alone does not keep their means
        means = cv2.resize(difference - offset, grid, interpolation=cv2.INTER_AREA)
        offset += cv2.resize(means, (width, height), interpolation=cv2.INTER_LINEAR).reshape(offset.shape)
    return offset


def true_colours(restored: np.ndarray, original: np.ndarray) -> dict[str, np.ndarray]:
    """The restored image with what each oracle knows of the original's colours.

    Args:
        restored, original: (H, W, 3) uint8, BGR.

    Returns:
        `ORACLES` -> (H, W, 3) uint8, BGR.
    """
    lab, truth = (rgb2lab(image[..., ::-1]) for image in (restored, original))
    offsets = (centre_offset(truth - lab), *(block_offset(truth - lab, block) for block in BLOCKS))
    told = {}
    for channels, which in CHANNELS.items():
        for region, offset in zip(REGIONS, offsets, strict=True):
            moved = lab.copy()
            moved[..., which] += offset[..., which]
            told[f'{region}, {channels}'] = np.round(lab2rgb(moved)[..., ::-1] * 255).astype(np.uint8)
    return told


def run(restorer: Restorer, images: EvaluationSet, measures: list[Measure], qf: int,
        quiet: bool = False) -> dict[str, dict[str, list[float]]]:
    """Scores of every image: metric -> 'restored' and each of `ORACLES` -> values in the order of `images.names`."""
    scores: dict = {measure.name: {name: [] for name in ('restored', *ORACLES)} for measure in measures}
    for name in tqdm(images.names, desc='true colours', disable=quiet):
        original = images.original(name)
        restored = restore_jpeg(restorer, images.jpeg(name, qf), '', name)
        for which, picture in ({'restored': restored} | true_colours(restored, original)).items():
            for measure in measures:
                scores[measure.name][which].append(measure.score(np.ascontiguousarray(picture), original))
    return scores


def main(argv: list[str] | None = None) -> int:
    args = restorer_parser('true_colours', __doc__).parse_args(argv)
    measures, _ = build_measures(METRICS)
    images = EvaluationSet(args.data, max_images=args.number)
    scores = run(Restorer.from_pretrained(args.weights), images, measures, args.qf)
    rows = [['nothing', *(f'{np.mean(scores[measure.name]["restored"]):.{measure.digits}f}' for measure in measures)]]
    for oracle in ORACLES:
        changes = [paired_interval(scores[measure.name]['restored'], scores[measure.name][oracle])
                   for measure in measures]
        rows.append([oracle, *(f'{change.mean:+.{measure.digits}f} ± {change.half:.{measure.digits}f}'
                               for measure, change in zip(measures, changes, strict=True))])
    print(Table('true_colours', f'{args.weights} at quality {args.qf}',
                ['true means of', *(measure.heading for measure in measures)], rows,
                notes=[f'{len(images.names)} images; differences with 95 % intervals.']).markdown())
    return 0


if __name__ == '__main__':
    sys.exit(main())
