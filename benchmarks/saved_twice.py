"""Restoration of files that were compressed before: cropped, enlarged, shrunk or kept as another format since.

    python -m benchmarks.saved_twice --weights tgjar_universal --data data/photos/test --qf 10 --number 50

Every test image is compressed at `--qf` (4:2:0) and then treated as each row says; the original is treated likewise,
but for the compressions, and what comes out is compared with that. The pictures go through the steps of `tgjar restore`
for files: the quality and the grid that it finds, restored without a limit of quality and without captions.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.restorer_parser import restorer_parser
from tgjar_arch.evaluation.measures import Measure, build_measures
from tgjar_arch.evaluation.tables import Table
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.jpeg.codec import decode, encode
from tgjar_arch.restoration.file import RestoreSettings, restore_file
from tgjar_arch.restoration.restorer import Restorer

METRICS = ('psnr', 'lpips')
CROP = 3  # pixels cut off above and on the left


class Kind(NamedTuple):
    """A way to treat a picture between two compressions.

    Attributes:
        before: what happens to the original before the first one.
        after: what happens to both, the compressed picture and what it is compared with.
        suffix, quality: the file that it becomes at last; quality None: without loss.
    """

    before: Callable[[np.ndarray], np.ndarray]
    after: Callable[[np.ndarray], np.ndarray]
    suffix: str
    quality: int | None


def _same(image: np.ndarray) -> np.ndarray:
    return image


def _crop(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[CROP:, CROP:])


def _scaled(factor: float, how: int) -> Callable[[np.ndarray], np.ndarray]:
    def scale(image: np.ndarray) -> np.ndarray:
        height, width = (max(round(side * factor), 1) for side in image.shape[:2])
        return cv2.resize(image, (width, height), interpolation=how)

    return scale


KINDS = {
    'once': Kind(_same, _same, '.png', None),
    f'cropped by {CROP}, JPEG 90': Kind(_same, _crop, '.jpg', 90),
    f'cropped by {CROP}, WebP 80': Kind(_same, _crop, '.webp', 80),
    'enlarged to twice its size, JPEG 90': Kind(_scaled(0.5, cv2.INTER_AREA), _scaled(2, cv2.INTER_CUBIC), '.jpg', 90),
    'shrunk to three quarters, JPEG 90': Kind(_same, _scaled(0.75, cv2.INTER_AREA), '.jpg', 90),
}


def make(image: np.ndarray, kind: Kind, qf: int) -> tuple[bytes, np.ndarray]:
    """The file that becomes of an original (H, W, 3) uint8, BGR, and what its restoration is compared with.

    An enlarged file is compared with the original itself, in as many pixels as the file has.
    """
    treated = kind.after(decode(encode(kind.before(image), qf, '4:2:0')))
    if kind.suffix == '.jpg':
        file = encode(treated, kind.quality, '4:2:0')
    else:
        quality = [] if kind.quality is None else [cv2.IMWRITE_WEBP_QUALITY, kind.quality]
        file = cv2.imencode(kind.suffix, treated, quality)[1].tobytes()
    height, width = treated.shape[:2]
    if kind.before is not _same:
        return file, cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) \
            if image.shape[:2] != (height, width) else image
    return file, kind.after(image)


def run(restorer: Restorer, images: EvaluationSet, measures: list[Measure], qf: int,
        quiet: bool = False) -> dict[str, np.ndarray]:
    """For each of `KINDS` the scores (images, 2, measures) of the file and of what is made of it."""
    scores: dict[str, list] = {name: [] for name in KINDS}
    settings = RestoreSettings(caption='', max_qf=None)
    with TemporaryDirectory() as folder, \
            tqdm(total=len(images.names) * len(KINDS), desc='saved twice', disable=quiet) as bar:
        for image in images.names:
            for name, kind in KINDS.items():
                file, original = make(images.original(image), kind, qf)
                source, target = Path(folder) / f'file{kind.suffix}', Path(folder) / 'restored.png'
                source.write_bytes(file)
                restore_file(restorer, source, target, settings)
                pair = decode(file), cv2.imread(str(target))
                scores[name].append([[measure.score(picture, original) for measure in measures] for picture in pair])
                bar.update()
    return {name: np.array(values) for name, values in scores.items()}


def main(argv: list[str] | None = None) -> int:
    parser = restorer_parser('saved_twice', __doc__)
    parser.set_defaults(qf=10, number=50)
    args = parser.parse_args(argv)
    measures, _ = build_measures(METRICS)
    images = EvaluationSet(args.data, max_images=args.number, crop=None)
    results = run(Restorer.from_pretrained(args.weights), images, measures, args.qf)
    rows = [[name, *(f'{psnr:.2f} / {lpips:.3f}' for psnr, lpips in scores.mean(axis=0))]
            for name, scores in results.items()]
    print(Table('saved_twice', f'{args.weights}, JPEG {args.qf}, then', ['then', 'the file', 'restored'], rows,
                notes=[f'{len(images.names)} images, without captions; PSNR / LPIPS.']).markdown())
    return 0


if __name__ == '__main__':
    sys.exit(main())
