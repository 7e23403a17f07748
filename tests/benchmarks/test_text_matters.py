"""The text-guided model sees what the caption says and JPEG lost; see benchmarks/text_matters.py."""

import numpy as np
import pytest

from benchmarks import text_matters
from tgjar_arch.jpeg.codec import compress


@pytest.mark.parametrize('colour', text_matters.COLOURS)
def test_the_colour_is_gone_from_the_jpeg(colour):
    import random
    image, mask = text_matters.draw(random.Random(3), colour, 'square')
    original, compressed = (picture[mask].astype(float).mean(0) for picture in (image, compress(image, 1)))
    assert np.ptp(original) > 15 and np.ptp(compressed) < 1  # the spread of B, G and R


@pytest.mark.slow
def test_captions_bring_the_colour_back_and_a_swapped_word_swaps_it(tmp_path):
    figures, _ = text_matters.run(tmp_path, iterations=200, quiet=True)
    # After 200 of the benchmark's 1200 iterations 0.31 dB and 1.95 dB; every hue is right by then.
    assert figures['PSNR with captions'] > figures['PSNR without captions'] + 0.2
    assert figures['PSNR with captions'] > figures['PSNR with the colour word swapped'] + 1.5
    assert figures['right hue with captions'] > 0.9
    assert figures['right hue without captions'] < 0.2
    assert figures['hue turned to the swapped word'] > 0.9
