"""Recolouring of a training image together with its caption, so that a restorer has to read the colour words.

A network that sees 9,000 birds learns which colours birds of a shape have, and hardly needs the caption: it says little
that shape and habit do not. Here "a bird with a yellow belly" becomes a picture of, and a caption that says, "a bird
with a blue belly". Lightness, and so nearly all that JPEG keeps, stays; only the caption tells the new colour. Training
on some such pairs is not in the paper.
"""

import math
import random
import re
from collections.abc import Collection
from typing import NamedTuple

import cv2
import numpy as np

MIN_SHARE = 0.02  # of the image's pixels, to be recoloured at all
RADII = 0.25, 0.45  # of the image's shorter side: recoloured up to the first, less and less up to the second
MIN_CHROMA, HUE_WIDTH = 6.0, 35.0  # below it nothing is coloured; degrees to either side of a hue
NEUTRAL = 0.15  # what is left of the chroma in a white, grey or black


class Colour(NamedTuple):
    """What a colour word says of CIELAB: lightness from 0 to 100, hue in degrees and chroma, both ~ if neutral."""

    lightest: float
    darkest: float
    hue: float | None = None
    chroma: float = 0.0


COLOURS = {
    'red': Colour(60, 15, 35, 40), 'orange': Colour(80, 40, 62, 45), 'yellow': Colour(100, 55, 95, 45),
    'green': Colour(80, 15, 135, 30), 'blue': Colour(85, 12, 270, 30), 'purple': Colour(60, 12, 315, 30),
    'pink': Colour(92, 55, 5, 25), 'brown': Colour(60, 8, 65, 20),
    'white': Colour(100, 70), 'grey': Colour(82, 22), 'gray': Colour(82, 22), 'black': Colour(35, 0),
}
_WORDS = '|'.join(COLOURS)
_WORD = re.compile(rf'\b({_WORDS})\b', re.IGNORECASE)
_ARTICLE = re.compile(r'\b(a)n?(?=\s+$)', re.IGNORECASE)
# Of parts so small that what is large and of their colour is another's: "black beak", "its feet are pink".
_SMALL = r'\b(?:beak|bill|eye|foot|feet|leg|tars|iris\b|irides\b|claw|talon)'
_BEFORE_SMALL = re.compile(rf'(?:\W+(?:and|or|{_WORDS})\b)*(?:\W+\w+)?\W+{_SMALL}', re.IGNORECASE)
_AFTER_SMALL = re.compile(rf'{_SMALL}\w*(?:\W+(?:that|which))?\W+(?:is|are)(?:\W+\w+){{0,2}}\W+$', re.IGNORECASE)


def colour_words(caption: str) -> list[re.Match]:
    """The words of `COLOURS` in a caption, but for those of small parts, which tell nothing of large ones."""
    return [word for word in _WORD.finditer(caption) if not _BEFORE_SMALL.match(caption, word.end())
            and not _AFTER_SMALL.search(caption[:word.start()])]


def centre_weight(height: int, width: int) -> np.ndarray:
    """How much of the recolouring a pixel of an image gets: (H, W) float32, 1 in its middle, 0 at its edges.

    Captions speak of what stands in the middle; a sky of the belly's colour keeps its own.
    """
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    inner, outer = RADII
    return np.clip((outer - np.hypot(y, x) / min(height, width)) / (outer - inner), 0, 1)


def membership(lab: np.ndarray, colour: Colour) -> np.ndarray:
    """How far pixels (H, W, 3), CIELAB, are of a colour: (H, W) from 0 to 1, with soft ends."""
    light, chroma = lab[..., 0], np.hypot(lab[..., 1], lab[..., 2])
    # Five steps of lightness beyond the range it has faded out.
    weight = np.clip(np.minimum(light - colour.darkest, colour.lightest - light) / 5 + 1, 0, 1)
    if colour.hue is None:
        return weight * np.clip(2 - chroma / MIN_CHROMA, 0, 1)
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1]))
    away = np.abs((hue - colour.hue + 180) % 360 - 180)
    return weight * np.clip(chroma / MIN_CHROMA - 1, 0, 1) * np.clip((HUE_WIDTH - away) / 10 + 1, 0, 1)


def recolour(image: np.ndarray, caption: str, weight: np.ndarray, rng: random.Random,
             known: Collection[str] = COLOURS.keys()) -> tuple[np.ndarray, str] | None:
    """Give one colour of the caption another hue, in the image and in the caption.

    Args:
        image: (H, W, 3) uint8, BGR.
        caption: what it shows.
        weight: (H, W) from 0 to 1, where it may change; see `centre_weight`.
        rng: draws the word, its successor and how saturated that is.
        known: words of `COLOURS` that may be the successor: those of the vocabulary.

    Returns:
        New image and caption; None where the caption names no colour of `COLOURS`, or the image has too little of it.
    """
    found = colour_words(caption)
    if not found:
        return None
    words = sorted({word[1].lower() for word in found})
    rng.shuffle(words)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
    for old in words:
        share = membership(lab, COLOURS[old]) * weight
        if share.mean() < MIN_SHARE:
            continue
        light = float((share * lab[..., 0]).sum() / share.sum())
        successors = [new for new in COLOURS if new in known and _differ(COLOURS[old], COLOURS[new])
                      and COLOURS[new].darkest <= light <= COLOURS[new].lightest]
        if not successors:
            continue
        new = rng.choice(successors)
        lab[..., 1:] += share[..., None] * (_turn(lab[..., 1:], COLOURS[old], COLOURS[new], rng) - lab[..., 1:])
        image = np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2BGR) * 255, 0, 255).round().astype(np.uint8)
        for word in reversed([word for word in found if word[1].lower() == old]):
            before = _ARTICLE.sub(r'\1n' if new[0] in 'aeiou' else r'\1', caption[:word.start()])
            caption = before + new + caption[word.end():]
        return image, caption
    return None


def _differ(old: Colour, new: Colour) -> bool:
    """Whether a picture in the one is no picture in the other: not white and grey, nor brown and orange."""
    if old.hue is None or new.hue is None:
        return old.hue != new.hue
    return abs((old.hue - new.hue + 180) % 360 - 180) > HUE_WIDTH + 10


def _turn(ab: np.ndarray, old: Colour, new: Colour, rng: random.Random) -> np.ndarray:
    """a*, b* (H, W, 2) of the old colour in the new one."""
    if new.hue is None:
        return ab * NEUTRAL
    strength = rng.uniform(0.6, 1.0)
    if old.hue is None:
        angle = math.radians(new.hue)
        return ab + strength * new.chroma * np.array([math.cos(angle), math.sin(angle)], dtype=np.float32)
    angle = math.radians(new.hue - old.hue)
    cos, sin = math.cos(angle), math.sin(angle)
    scale = 0.6 + 0.6 * strength
    return scale * ab @ np.array([[cos, sin], [-sin, cos]], dtype=np.float32)
