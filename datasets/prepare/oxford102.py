"""Oxford-102 flowers (Nilsback and Zisserman, 2008) with the captions of Reed et al. (2016).

https://www.robots.ox.ac.uk/~vgg/data/flowers/102/, https://github.com/reedscot/icml2016
"""

import re
from pathlib import Path

from tgjar_arch.datasets.prepare.pipeline import Item, Plan
from tgjar_arch.datasets.prepare.split import Split, find_split, read_split
from tgjar_arch.text.caption_files import read_caption_file

EXPECTED = {'train': 7034, 'test': 1155}
CLASSES = 102
# Drawn once at random, to have a split without Reed's list, which is not published with the images. It is not his: the
# test images are others (and so is their number), and scores are not comparable to those of papers to the last digit.
TEST_CLASSES = (1, 5, 13, 14, 16, 20, 25, 30, 31, 34, 38, 39, 42, 45, 65, 67, 68, 79, 88, 100)


def plan(source: Path, captions: Path | None = None, split: Path | None = None) -> Plan:
    """Find the images, classes and captions.

    Args:
        source: folder with `jpg/image_00001.jpg`.
        captions: folder with `class_00077/image_00001.txt`, by default `text_c10` in `source`; the class is taken from
            it.
        split: as of `read_split`; by default what lies in `source`, else `TEST_CLASSES`.

    Raises:
        FileNotFoundError: when a part of the layout is missing.
        ValueError: when a folder or the split is not as said.
    """
    images = source / 'jpg'
    if not images.is_dir():
        raise FileNotFoundError(f'{images} is missing; expected the folder with jpg/ as 102flowers.tgz unpacks.')
    if captions is None:
        captions = source / 'text_c10'
        if not captions.is_dir():
            raise FileNotFoundError(f'{captions} is missing; unpack the captions (flowers text_c10 of cvpr2016) there, '
                                    'or name their folder with --captions.')
    texts: dict[str, tuple[int, Path]] = {}
    for text in sorted(captions.glob('class_*/image_*.txt')):
        number = re.fullmatch(r'class_(\d+)', text.parent.name)
        if number is None or not 1 <= int(number[1]) <= CLASSES:
            raise ValueError(f'{text.parent} is no class; expected class_00001 to class_00{CLASSES}.')
        if text.stem in texts:
            raise ValueError(f'{text} and {texts[text.stem][1]} are the captions of one image; remove one.')
        texts[text.stem] = int(number[1]), text
    if not texts:
        raise FileNotFoundError(f'{captions} has no captions class_00001/image_06734.txt; name their folder with '
                                '--captions.')
    split = split or find_split(source)
    parts = read_split(split) if split else Split.by_class(TEST_CLASSES)

    splits: dict[str, list[Item]] = {'train': [], 'test': []}
    left_out = 0
    for name, (class_id, text) in sorted(texts.items()):
        part = parts.part(name, class_id)
        if part is None:
            left_out += 1
            continue
        found = read_caption_file(text)
        splits[part].append(Item(images / f'{name}.jpg', name, tuple(found), class_id,
                                 problem='' if found else f'it has no caption in {text}'))
    problems = {path: f'it has no captions under {captions}' for path in sorted(images.glob('image_*.jpg'))
                if path.stem not in texts}
    notes = [f'split: {split}' if split else f'split: {len(TEST_CLASSES)} test classes drawn at random, not the '
             'published list; for that give --split',
             *([f'{left_out} images are in neither part of the split'] if left_out else [])]
    # How many images the default has in each part follows from its classes; all of them must be there.
    expected = EXPECTED if split else {'total': sum(EXPECTED.values())}
    return Plan('oxford102', splits, expected, {'split': parts.digest}, tuple(notes), problems)
