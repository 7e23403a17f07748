"""The 24 Kodak images (https://r0k.us/graphics/kodak/), whole, with the captions of the paper's appendix (OFA's)."""

import json
from pathlib import Path

from tgjar_arch.datasets.prepare.pipeline import Item, Plan

EXPECTED = {'test': 24}


def paper_captions() -> dict[str, str]:
    """Return the caption that the paper gives to each image, `kodim01` to `kodim24`."""
    return json.loads(Path(__file__).with_name('kodak_captions.json').read_text(encoding='utf-8'))


def plan(source: Path, subset: bool = False) -> Plan:
    """Find the images.

    Args:
        source: folder with `kodim01.png` to `kodim24.png`.
        subset: plan only those that are there.

    Raises:
        FileNotFoundError: when there is none.
    """
    items = [Item(source / f'{name}.png', name, (caption,)) for name, caption in paper_captions().items()]
    there = [item for item in items if item.source.is_file()]
    if not there:
        raise FileNotFoundError(f'{source} has none of kodim01.png to kodim24.png.')
    return Plan('kodak', {'test': there if subset else items}, EXPECTED)
