"""What networks say that they want besides the image."""

import pytest
from torch import nn

from tgjar_arch.archs.extra_inputs import extra_inputs, thumbnail_size
from tgjar_arch.archs.qgcn_arch import QGCN


def test_qgcn_wants_tables_and_a_thumbnail() -> None:
    net = QGCN()
    assert extra_inputs(net) == ('qmaps', 'thumbnail') and thumbnail_size(net) == 112


def test_most_networks_want_nothing() -> None:
    net = nn.Conv2d(3, 3, 1)
    assert extra_inputs(net) == ()
    with pytest.raises(TypeError, match='Conv2d asks for a thumbnail and must say its side'):
        thumbnail_size(net)
