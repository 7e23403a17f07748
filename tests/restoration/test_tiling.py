"""Tiles: the margins are what the networks see, and the result is that of one piece, whatever the size."""

import pytest
import torch
from torch import nn

from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lite_generator_arch import TGJARLiteGenerator
from tgjar_arch.restoration.limits import MIN_TILE
from tgjar_arch.restoration.tiling import (
    CELL,
    Region,
    can_tile,
    choose_tile,
    memory_for,
    restore_in_tiles,
    working_bytes,
)
from tgjar_arch.text.features import TextFeatures

GENERATORS = [TGJARGenerator, TGJARLiteGenerator]
NO_FUSION = {'use_global_fusion': False, 'use_local_fusion': False}


def build(cls, num_block=3, **options):
    """A small network in which all layers count: at the start the residual paths and the tail are nearly nothing."""
    net = cls(num_feat=8, num_block=num_block, text_dim=4, **options).requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.2)
    with torch.no_grad():
        net.tail.weight.mul_(0.02)  # restored pixels of about the size of pixels
    return net


def features():
    return TextFeatures(torch.randn(1, 4, 5), torch.randn(1, 4), torch.tensor([[True, True, True, False, False]]))


def tiled(net, lq, tile, conditions, **more):
    """Restore in tiles; every pixel must be written once."""
    out, count = torch.zeros_like(lq), torch.zeros(lq.shape[2:])

    def write(rows, columns, part):
        out[:, :, rows, columns] = part
        count[rows, columns] += 1

    with torch.no_grad():
        restore_in_tiles(net, lambda rows, columns: lq[:, :, rows, columns], write, lq.shape[2:], lq.device, conditions,
                         tile, **more)
    assert (count == 1).all()
    return out


def columns_of(grad):
    """The first and the last column in which a gradient is not 0."""
    found = grad.abs().sum((0, 1, 2)).nonzero().flatten()
    return found[0].item(), found[-1].item()


@pytest.mark.parametrize('cls', GENERATORS)
@pytest.mark.parametrize('options', [{}, {'num_block': 1}, {'use_global_fusion': False}])
def test_margins_are_what_the_parts_see(cls, options):
    net = build(cls, **options).double()
    at = 20  # the cell that is looked at
    lq = torch.rand(1, 3, 3 * CELL, 2 * at * CELL, dtype=torch.float64, requires_grad=True)
    text = net.prepare_text(lq, None)

    def seen(result, *inputs):
        reach = 0
        for given, grad in zip(inputs, torch.autograd.grad(result.sum(), inputs), strict=True):
            size = CELL if given is lq else 1
            first, last = columns_of(grad)
            reach = max(reach, at - first // size, last // size - at)
        return reach

    coarse = net.encode_coarse(net.encode_fine(lq))
    assert seen(coarse[..., at], lq) == net.margins.encode
    coarse = coarse.detach().requires_grad_()
    pooled = torch.randn(1, coarse.shape[1], dtype=torch.float64)
    deep = net.fuse(coarse, text, pooled)
    assert seen(deep[..., at], coarse) == net.margins.fuse
    deep = deep.detach().requires_grad_()
    out = net.decode(lq, net.encode_fine(lq), coarse, deep, text)
    assert seen(out[..., at * CELL:(at + 1) * CELL], lq, coarse, deep) == net.margins.decode


@pytest.mark.parametrize('cls', GENERATORS)
@pytest.mark.parametrize('options, tile', [
    ({}, 64), ({}, 136), ({'use_global_fusion': False}, 64), ({'use_local_fusion': False}, 64), (NO_FUSION, 64)])
def test_tiled_equals_untiled_on_an_odd_sized_image(cls, options, tile):
    net = build(cls, **options)
    lq, text = torch.rand(1, 3, 131, 331), features()  # more than one block of 4 x 64
    with torch.no_grad():
        whole, unguided = net(lq, text), net(lq)
    out = tiled(net, lq, tile, [(1., text)])
    assert (out - whole).abs().max() < 1 / 2550  # float32's rounding is 1e-6
    if net.uses_text:
        assert (whole - unguided).abs().max() > 0.01
    # Both conditions from one encoding, of which `decode` overwrites a part.
    both = tiled(net, lq, tile, [(-0.5, None), (1.5, text)])
    assert (both - (1.5 * whole - 0.5 * unguided)).abs().max() < 1 / 2550


def test_a_narrower_overlap_would_show(monkeypatch):
    net = build(TGJARGenerator)
    lq, text = torch.rand(1, 3, 200, 264), features()
    with torch.no_grad():
        whole = net(lq, text)
    for part in ('encode', 'fuse', 'decode'):
        margins = net.margins._replace(**{part: 1})
        with monkeypatch.context() as patch:
            patch.setattr(TGJARGenerator, 'margins', margins)
            assert (tiled(net, lq, 64, [(1., text)]) - whole).abs().max() > 1e-3, part


def test_the_pooled_features_are_those_of_the_whole_picture():
    net = build(TGJARGenerator)
    lq, text = torch.rand(1, 3, 136, 264), features()
    seen = []
    hook = net.gfm.fc.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad():
        net(lq, text)
        tiled(net, lq, 64, [(1., text)])
    hook.remove()
    assert len(seen) > 1
    for pooled in seen[1:]:
        torch.testing.assert_close(pooled, seen[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('size', [(8, 8), (9, 100), (100, 15), (64, 65), (8, 700)])
def test_small_and_narrow_pictures(size):
    net = build(TGJARGenerator)
    lq, text = torch.rand(1, 3, *size), features()
    with torch.no_grad():
        whole = net(lq, text)
    assert (tiled(net, lq, 64, [(1., text)]) - whole).abs().max() < 1 / 2550


def test_progress_counts_all_tiles():
    seen = []
    tiled(build(TGJARLiteGenerator), torch.rand(1, 3, 100, 150), 64, [(1., None)],
          progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 12) for k in range(1, 13)]  # 2 x 3 tiles, read twice


@pytest.mark.parametrize('region, size', [
    (Region(0, 100, 0, 37), 8), (Region(5, 6, 7, 107), 30), (Region(0, 1, 0, 1), 9)])
def test_parts_of_a_grid_cover_a_region_once(region, size):
    count = torch.zeros(120, 120)
    parts = region.split(size)
    for part in parts:
        count[part.slices()] += 1
        assert part.bottom - part.top <= size and part.right - part.left <= size
    assert count[region.slices()].eq(1).all() and count.sum() == count[region.slices()].numel()
    heights = {part.bottom - part.top for part in parts}
    assert max(heights) - min(heights) <= 1


def test_regions_are_counted_from_a_corner():
    outer = Region(2, 9, 4, 20)
    assert Region(3, 5, 6, 8).slices(CELL, outer) == (slice(8, 24), slice(16, 32))
    assert Region(3, 5, 6, 8).grown(4, Region(0, 7, 3, 40)) == Region(0, 7, 3, 12)


def test_a_tile_too_small_is_refused():
    with pytest.raises(ValueError, match='at least 64 pixels a side, but 32'):
        tiled(build(TGJARGenerator), torch.rand(1, 3, 64, 64), 32, [(1., None)])
    with pytest.raises(ValueError, match='H and W at least 8'):
        tiled(build(TGJARGenerator), torch.rand(1, 3, 7, 64), 64, [(1., None)])


def test_only_our_generators_are_tiled():
    assert all(can_tile(build(cls)) for cls in GENERATORS)
    assert not can_tile(nn.Conv2d(3, 3, 3, 1, 1))


def test_tiles_are_as_large_as_the_memory_allows():
    net = TGJARGenerator()
    assert choose_tile(net, 256, 256, 500 * 2**20) == 0
    sizes = [choose_tile(net, 3000, 4000, memory * 2**20) for memory in (50, 200, 500, 1000, 20000)]
    assert sizes[0] == MIN_TILE and sizes[-1] == 0 and sizes[1:-1] == sorted(set(sizes[1:-1]))
    for memory, tile in zip((500, 1000), sizes[2:], strict=False):
        assert working_bytes(net, 3000, 4000, tile) <= memory * 2**20 < working_bytes(net, 3000, 4000, tile + 64)
    # 128 floats for each of 187,500 cells are kept for the whole picture.
    assert working_bytes(net, 3000, 4000, 64) > 187500 * 128 * 4
    assert choose_tile(net, 3000, 4000, 500 * 2**20, conditions=2) < sizes[2]
    assert 0 < memory_for(torch.device('cpu')) <= 2**30
