"""Does the restored picture obey the colour word? One JPEG, its caption, and the same caption with another colour.

    python -m benchmarks.colour_swap --weights tgjar_cub.safetensors --data data/cub/test -o results/colour_swap.png

Of every test caption that names exactly one colour, that word is swapped for another one. Measured is how the mean
chroma (CIELAB a*, b*) of the picture's central half moves from the one restoration to the other, along the direction
from the old colour to the new one:

    shift = <ab(swapped) - ab(right), u>,    u = (ab(new) - ab(old)) / ||ab(new) - ab(old)||

It is positive when the hue moves to the named colour. A model that ignores its text has shift 0 everywhere, which
counts as not moved. The distance of the two words' colours, to compare with, is about 60 to 150; photographs are less
saturated.
"""

import random
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from skimage.color import rgb2lab
from tqdm import tqdm

from benchmarks.restorer_parser import restorer_parser
from tgjar_arch.datasets.captions import read_captions
from tgjar_arch.datasets.image_source import ImageSource
from tgjar_arch.evaluation.measures import central_half
from tgjar_arch.jpeg.codec import decode, encode
from tgjar_arch.pictures.panel import draw_panel
from tgjar_arch.restoration.restorer import Restorer

# Colours that differ in hue; of black, white and grey the chroma says nothing.
COLOURS = {'red': (200, 40, 40), 'orange': (230, 130, 40), 'yellow': (230, 210, 50), 'green': (60, 140, 60),
           'blue': (50, 90, 200)}
NOTICEABLE = 1.0  # of a*b*: half of a difference that is just noticeable


def swap_colour(caption: str, rng: random.Random) -> tuple[str, str, str] | None:
    """The caption with its one colour word replaced, the old and the new word; None if it names none or several."""
    found = {word for word in re.findall(r'[a-z]+', caption.lower()) if word in COLOURS}
    if len(found) != 1:
        return None
    old = found.pop()
    new = rng.choice([word for word in COLOURS if word != old])
    return re.sub(rf'\b{old}\b', new, caption, flags=re.IGNORECASE), old, new


def chroma(image: np.ndarray) -> np.ndarray:
    """Mean a*, b* (2,) of the central half of an image (H, W, 3) uint8 RGB."""
    return rgb2lab(image[central_half(image)])[..., 1:].mean(axis=(0, 1))


def colour_shift(right: np.ndarray, swapped: np.ndarray, old: str, new: str) -> float:
    """How far the chroma moved from colour `old` towards `new`, in a*b*; both images (H, W, 3) uint8 RGB."""
    ends = [rgb2lab(np.array([[COLOURS[word]]], dtype=np.uint8))[0, 0, 1:] for word in (old, new)]
    direction = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    return float((chroma(swapped) - chroma(right)) @ direction)


def read_cases(root: Path, number: int, seed: int) -> list[tuple[np.ndarray, str, str, str, str]]:
    """Up to `number` images (uint8 BGR) whose captions name one colour: image, caption, swapped caption, old, new."""
    rng = random.Random(seed)
    source = ImageSource(root)
    images, _ = read_captions(source)
    rng.shuffle(images)
    cases = []
    for image in images:
        swaps = ((caption, swap_colour(caption, rng)) for caption in image.captions)
        caption, swap = next(((caption, swap) for caption, swap in swaps if swap), (None, None))
        if swap:
            cases.append((decode(source.read(image.name)), caption, *swap))
        if len(cases) == number:
            break
    if not cases:
        raise SystemExit(f'{root}: no caption names exactly one of the colours {", ".join(COLOURS)}.')
    return cases


def run(restorer: Callable[[np.ndarray, str], np.ndarray], cases: list, qf: int, num_shown: int = 6,
        quiet: bool = False) -> tuple[np.ndarray, list]:
    """Restore every case with both captions; returns the shifts and rows for the picture."""
    shifts, rows = [], []
    for image, caption, swapped, old, new in tqdm(cases, desc='colour swap', disable=quiet):
        jpeg = decode(encode(image, qf))[..., ::-1]
        results = [restorer(np.ascontiguousarray(jpeg), text) for text in (caption, swapped)]
        shifts.append(colour_shift(*results, old, new))
        if len(rows) < num_shown:
            rows.append((f'{caption} [{old} -> {new}: {shifts[-1]:+.1f}]', [jpeg, *results, image[..., ::-1]]))
    return np.array(shifts), rows


def main(argv: list[str] | None = None) -> int:
    parser = restorer_parser('colour_swap', __doc__, 50, 'captions that name one colour')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('-o', '--output', type=Path, default=Path('results/colour_swap.png'), help='picture to write')
    args = parser.parse_args(argv)
    restorer = partial(Restorer.from_pretrained(args.weights), colourise=True)  # also of what is grey at this quality
    shifts, rows = run(restorer, read_cases(args.data, args.number, args.seed), args.qf)
    print(f'| captions | hue moved to the named colour | by {NOTICEABLE:g} or more | mean shift in a*b* |')
    print('|---|---|---|---|')
    print(f'| {len(shifts)} | {100 * np.mean(shifts > 0):.0f} % | {100 * np.mean(shifts >= NOTICEABLE):.0f} % | '
          f'{shifts.mean():+.2f} |')
    args.output.parent.mkdir(parents=True, exist_ok=True)
    draw_panel(rows, ('JPEG', 'caption', 'colour swapped', 'original')).save(args.output)
    print(f'The picture: {args.output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
