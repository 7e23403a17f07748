"""COCO captions (Lin et al., 2014; Chen et al., 2015): https://cocodataset.org."""

import json
from collections import defaultdict
from pathlib import Path

from tgjar_arch.datasets.prepare.pipeline import Item, Plan
from tgjar_arch.pictures.files import image_name

CAPTIONS = 5  # some images have six or seven; AttnGAN keeps the first five
COUNTS = {'2017': {'train': 118287, 'val': 5000}, '2014': {'train': 82783, 'val': 40504}}
SPLITS = {'train': 'train', 'val': 'test'}  # the published test images have no captions


def plan(source: Path, test_images: int = 1000) -> Plan:
    """Find the images and captions.

    Args:
        source: folder with `annotations/captions_train2017.json`, `annotations/captions_val2017.json`, `train2017/` and
            `val2017/` (the folders of images also below `images/`); the same for 2014.
        test_images: the test images are the first so many of `val` by their number, 0 for all. The paper has 1,000
            and does not say which.

    Raises:
        FileNotFoundError: when there is no annotation file, or no folder for one.
        ValueError: when one is malformed.
    """
    files = {year: [split for split in SPLITS if _annotations(source, split, year).is_file()] for year in COUNTS}
    year = next((year for year, found in files.items() if found), None)
    if year is None:
        raise FileNotFoundError(f'{source} has no annotations/captions_train2017.json or captions_val2017.json; '
                                "expected COCO's archives, unpacked in one folder.")
    splits = {}
    for split in files[year]:
        items = _items(source, split, year)
        splits[SPLITS[split]] = items[:test_images or None] if split == 'val' else items
    expected = {SPLITS[split]: count for split, count in COUNTS[year].items()}
    expected['test'] = min(test_images or expected['test'], expected['test'])
    return Plan('coco', splits, expected, {'year': year, 'test_images': test_images})


def _annotations(source: Path, split: str, year: str) -> Path:
    return source / 'annotations' / f'captions_{split}{year}.json'


def _items(source: Path, split: str, year: str) -> list[Item]:
    path = _annotations(source, split, year)
    folder = next((root / f'{split}{year}' for root in (source, source / 'images')
                   if (root / f'{split}{year}').is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f'{source / f"{split}{year}"} is missing, the images of {path}.')
    try:
        content = json.loads(path.read_bytes())
        images = {image['id']: str(image['file_name']) for image in content['images']}
        found = defaultdict(list)
        for record in sorted(content['annotations'], key=lambda record: record['id']):
            found[record['image_id']].append(' '.join(record['caption'].split()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is no file of COCO captions ({type(error).__name__}: {error}); download it '
                         'again.') from error
    return [Item(folder / name, image_name(name), tuple(found[key][:CAPTIONS]),
                 problem='' if found[key] else f'it has no caption in {path}') for key, name in sorted(images.items())]
