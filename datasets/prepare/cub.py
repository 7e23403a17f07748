"""CUB-200-2011 (Wah et al., 2011) with the captions and the split of Reed et al. (2016), as AttnGAN uses them.

https://www.vision.caltech.edu/datasets/cub_200_2011/, https://github.com/taoxugit/AttnGAN
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from tgjar_arch.datasets.prepare.pipeline import Item, Plan
from tgjar_arch.datasets.prepare.split import Split, find_split, read_split
from tgjar_arch.pictures.files import image_name
from tgjar_arch.text.caption_files import read_caption_file

EXPECTED = {'train': 8855, 'test': 2933}
# The 50 classes of AttnGAN's test/filenames.pickle; training and test share no class.
TEST_CLASSES = (1, 4, 6, 8, 9, 14, 23, 29, 31, 33, 34, 35, 36, 37, 38, 43, 49, 51, 53, 66, 72, 79, 83, 84, 86,
                91, 95, 96, 98, 101, 102, 103, 112, 114, 119, 121, 130, 135, 138, 147, 156, 163, 165, 166, 180,
                183, 185, 186, 187, 197)
Number = TypeVar('Number', int, float)
INDEX_FILES = ('images.txt', 'image_class_labels.txt', 'bounding_boxes.txt')


def bird_crop(box: tuple[float, float, float, float], width: int, height: int) -> tuple[int, int, int, int]:
    """Return AttnGAN's crop around a bird: a square of 1.5 times the box's longer side, clipped to the image.

    Source: https://github.com/taoxugit/AttnGAN/blob/master/code/datasets.py, `get_imgs`.

    Args:
        box: the bird, (x, y, width, height) in pixels, as in bounding_boxes.txt.
        width: width of the image in pixels.
        height: height of the image in pixels.

    Returns:
        (left, upper, right, lower) in pixels.
    """
    x, y, box_width, box_height = box
    radius = int(max(box_width, box_height) * 0.75)
    centre_x, centre_y = int((2 * x + box_width) / 2), int((2 * y + box_height) / 2)
    return (max(0, centre_x - radius), max(0, centre_y - radius),
            min(width, centre_x + radius), min(height, centre_y + radius))


def plan(source: Path, captions: Path | None = None, split: Path | None = None) -> Plan:
    """Find the images, boxes, classes and captions.

    Args:
        source: folder with `CUB_200_2011/` in it, or that folder itself.
        captions: folder with `004.Groove_billed_Ani/x.txt`; by default `text` or `text_c10` in or beside CUB_200_2011.
        split: as of `read_split`; by default what lies in `source`, else AttnGAN's 50 test classes.

    Raises:
        FileNotFoundError: when a part of the layout is missing.
        ValueError: when an index file is malformed.
    """
    root = source / 'CUB_200_2011' if (source / 'CUB_200_2011').is_dir() else source
    for name in (*INDEX_FILES, 'images'):
        if not (root / name).exists():
            raise FileNotFoundError(f'{root / name} is missing; expected CUB_200_2011/ as its archive unpacks, with '
                                    f'images/, {", ".join(INDEX_FILES)}.')
    if captions is None:
        candidates = [folder / name for folder in (source, root) for name in ('text', 'text_c10')]
        captions = next((folder for folder in candidates if folder.is_dir()), None)
        if captions is None:
            raise FileNotFoundError(f'{source} has no folder text/ with the captions (birds.zip, text.zip of AttnGAN); '
                                    'unpack it there, or name it with --captions.')
    elif not captions.is_dir():
        raise FileNotFoundError(f'--captions: there is no folder {captions}.')
    split = split or find_split(source)
    parts = read_split(split) if split else Split.by_class(TEST_CLASSES)

    paths, classes, boxes = ({key: values for key, *values in _rows(root / name, count)}
                             for name, count in zip(INDEX_FILES, (2, 2, 5), strict=True))
    splits: dict[str, list[Item]] = {'train': [], 'test': []}
    left_out = 0
    for key, (path,) in paths.items():
        if key not in classes or key not in boxes:
            name = INDEX_FILES[1] if key not in classes else INDEX_FILES[2]
            raise ValueError(f'{root / name} has no line for image {key} ({path}); download the archive again.')
        name, class_id = image_name(path), _number(int, root / INDEX_FILES[1], classes[key][0])
        part = parts.part(name, class_id)
        if part is None:
            left_out += 1
            continue
        x, y, width, height = (_number(float, root / INDEX_FILES[2], value) for value in boxes[key])
        text = captions / f'{name}.txt'
        found = read_caption_file(text) if text.is_file() else []
        splits[part].append(Item(root / 'images' / path, name, tuple(found), class_id,
                                 partial(bird_crop, (x, y, width, height)),
                                 '' if found else f'it has no caption in {text}'))
    notes = [f'split: {split}' if split else "split: AttnGAN's 50 test classes",
             *([f'{left_out} images are in neither part of the split'] if left_out else [])]
    return Plan('cub', splits, EXPECTED, {'split': parts.digest}, tuple(notes))


def _rows(path: Path, count: int) -> Iterator[list[str]]:
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), start=1):
        if values := line.split():
            if len(values) != count:
                raise ValueError(f'{path}, line {number}: expected {count} values, but got {line.strip()!r}.')
            yield values


def _number(kind: Callable[[str], Number], path: Path, value: str) -> Number:
    try:
        return kind(value)
    except ValueError as error:
        raise ValueError(f'{path}: expected a number, but got {value!r}.') from error
