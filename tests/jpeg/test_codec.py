"""Encoding and decoding in memory; `is_cut_short` is tested with the data sets that need it."""

import numpy as np
import pytest

from tgjar_arch.jpeg.codec import check_qf, compress, decode, encode


def test_what_was_encoded_is_decoded() -> None:
    image = np.full((16, 24, 3), 128, np.uint8)
    assert np.array_equal(decode(encode(image, 50)), image) and np.array_equal(compress(image, 50), image)


@pytest.mark.parametrize('content', [b'not a picture', encode(np.zeros((8, 8, 3), np.uint8), 50)[:20]])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=f'cannot read these {len(content)} bytes'):
        decode(content)


def test_a_quality_factor_is_a_whole_number() -> None:
    assert check_qf(np.int64(5)) == 5 and type(check_qf(np.int64(5))) is int
    for value in (0, 101, 5., True, '5', None):
        with pytest.raises(ValueError, match='whole number from 1 to 100'):
            check_qf(value)
