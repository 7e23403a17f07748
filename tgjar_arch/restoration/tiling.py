"""Restore a picture in tiles that nobody can see: the same result as in one piece, in bounded memory.

Tiles overlap by what a result can see beyond itself, so their borders are not in it. The generators allow this without
much double work, because most of what they see lies at 1/8 of the size, where a whole picture is small (C = 128 floats
for 64 pixels)::

    1. every tile:  pixels --> coarsest features, kept for the whole picture          overlap `margins.encode`
    2. whole:       GFM's pooled features, from the sum over the parts                (the paper's global average)
    3. every block of tiles: coarsest features --> GFM and body                       overlap `margins.fuse`
       every tile of it:     pixels --> skips, with both --> restored pixels          overlap `margins.decode`

So the first layers are computed twice, and only steps 1 and 3 overlap at full resolution, by 40 pixels. The picture
stays where it is; a tile of it is read, moved to the device and written at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from math import ceil, sqrt
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tgjar_arch.archs.fusion import GlobalFusion
from tgjar_arch.archs.padding import pad_to_multiple
from tgjar_arch.archs.text_guided_generator import TextGuidedGenerator
from tgjar_arch.restoration.limits import MIN_TILE
from tgjar_arch.text.features import TextFeatures

CELL = 8  # pixels of a coarsest feature, and of a JPEG block: tiles begin and end on both
_BLOCK = 4  # tiles a side of a block: the overlap of the body is wide, but its features are small
_BODY_MAPS = 4  # coarsest features alive at once in a residual block, measured
# What restoring may take by default. On a CPU, 48 megapixels then stay within 2 GB with the picture, the result and the
# libraries (0.9 GB). The limit on a GPU keeps every map below the 2**31 elements that cuDNN counts.
_CPU_BYTES, _GPU_BYTES = 512 * 2**20, 8 * 2**30

Read = Callable[[slice, slice], Tensor]  # rows, columns -> (1, 3, h, w) in [0, 1] on the device
Write = Callable[[slice, slice, Tensor], None]


class Region(NamedTuple):
    """A rectangle in coarsest features, the ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    def grown(self, margin: int, whole: Region) -> Region:
        """Return the region with a margin, as far as the whole goes."""
        return Region(max(self.top - margin, whole.top), min(self.bottom + margin, whole.bottom),
                      max(self.left - margin, whole.left), min(self.right + margin, whole.right))

    def split(self, size: int) -> list[Region]:
        """Return the parts of a grid, all of nearly one size, none longer than `size` on a side."""
        rows, columns = (ceil(length / size) for length in (self.bottom - self.top, self.right - self.left))
        ys = [self.top + (self.bottom - self.top) * k // rows for k in range(rows + 1)]
        xs = [self.left + (self.right - self.left) * k // columns for k in range(columns + 1)]
        return [Region(*y, *x) for y in zip(ys, ys[1:], strict=False) for x in zip(xs, xs[1:], strict=False)]

    def slices(self, scale: int = 1, origin: Region | None = None) -> tuple[slice, slice]:
        """Return rows and columns, in units of 1/`scale` features, counted from the corner of `origin`."""
        top, left = (origin.top, origin.left) if origin else (0, 0)
        return (slice((self.top - top) * scale, (self.bottom - top) * scale),
                slice((self.left - left) * scale, (self.right - left) * scale))


def can_tile(net: nn.Module) -> bool:
    """Whether a network can restore in exact tiles: the text-guided generators, which say their `margins`."""
    return isinstance(net, TextGuidedGenerator)


def restore_in_tiles(net: TextGuidedGenerator, read: Read, write: Write, size: tuple[int, int], device: torch.device,
                     conditions: Sequence[tuple[float, TextFeatures | None]], tile: int,
                     progress: Callable[[int, int], None] | None = None) -> None:
    """Restore one picture tile by tile; the caller turns gradients off.

    Args:
        net: the generator, on the device.
        read: gives a part of the picture.
        write: takes a part of the result, not clipped, for the same rows and columns of the picture.
        size: height and width of the picture in pixels.
        device: where the network is.
        conditions: the result is the weighted sum of those for these captions, (weight, features of one caption or
            None); the weights add up to 1.
        tile: side in pixels of a part that is written at once; rounded up to a multiple of 8.
        progress: called with the number of tiles done and of all, over both passes.

    Raises:
        ValueError: when the picture or the features do not fit the network, or the tile is below `MIN_TILE`.
    """
    if tile < MIN_TILE:
        raise ValueError(f'a tile has at least {MIN_TILE} pixels a side, but {tile} was asked for; 0 is the whole '
                         'picture.')
    height, width = size
    # A stand-in of the picture's size that takes no memory, for the check of shapes.
    stand_in = torch.empty(1, device=device).expand(1, net.num_in_ch, height, width)
    texts = [(weight, net.prepare_text(stand_in, text)) for weight, text in conditions]
    whole = Region(0, ceil(height / CELL), 0, ceil(width / CELL))
    side = ceil(tile / CELL)
    blocks = [(block, block.split(side)) for block in whole.split(_BLOCK * side)]
    encoded = whole.split(side)
    steps = _Steps(len(encoded) + sum(len(tiles) for _, tiles in blocks), progress)

    def padded(region: Region) -> Tensor:
        rows, columns = region.slices(CELL)
        x = read(slice(rows.start, min(rows.stop, height)), slice(columns.start, min(columns.stop, width)))
        # As the generator pads the picture; a part that ends inside of it has its true neighbours instead.
        return F.pad(x, (0, max(columns.stop - width, 0), 0, max(rows.stop - height, 0)), mode='reflect')

    coarse = _encode(net, padded, whole, encoded, steps)
    pooled = None if net.gfm is None else _pool(net.gfm, coarse, whole, [block for block, _ in blocks], device)
    for block, tiles in blocks:
        outer = block.grown(net.margins.decode, whole)
        deeps = _fuse(net, coarse, outer, whole, texts, pooled, device)
        for part in tiles:
            seen = part.grown(net.margins.decode, whole)
            x = padded(seen)
            own = coarse[(..., *seen.slices())].to(device)
            skips = net.encode_fine(x)
            result = _decode(net, x, skips, own, [deep[(..., *seen.slices(origin=outer))] for deep in deeps], texts)
            rows, columns = part.slices(CELL)
            rows, columns = slice(rows.start, min(rows.stop, height)), slice(columns.start, min(columns.stop, width))
            inner = result[(..., *part.slices(CELL, seen))]
            write(rows, columns, inner[..., :rows.stop - rows.start, :columns.stop - columns.start])
            del x, own, skips, result, inner  # before the next tile takes as much
            steps.done()


def restore_whole(net: TextGuidedGenerator, lq: Tensor,
                  conditions: Sequence[tuple[float, TextFeatures | None]]) -> Tensor:
    """Restore a batch in one piece; of several captions an image, what no caption changes is computed once.

    Args:
        net: the generator.
        lq: images (N, 3, H, W).
        conditions: as of `restore_in_tiles`, the features of N captions each.

    Returns:
        The weighted sum (N, 3, H, W), float32, not clipped.
    """
    height, width = lq.shape[2:]
    texts = [(weight, net.prepare_text(lq, text)) for weight, text in conditions]
    return _restore_encoded(net, encode_whole(net, lq), texts)[:, :, :height, :width]


class Encoded(NamedTuple):
    """What a generator makes of N images before it reads a caption.

    Attributes:
        x: the images (N, 3, H, W), H and W in multiples of 8.
        skips: of `encode_fine`.
        coarse: of `encode_coarse`, (N, 2C, H/8, W/8).
        pooled: GFM's (N, 2C) of the whole images; None without a GFM.
    """

    x: Tensor
    skips: list[Tensor]
    coarse: Tensor
    pooled: Tensor | None

    def repeated(self, count: int) -> Encoded:
        """That of one image, for `count` captions; the skips, which a decoder overwrites, are copies."""
        def expanded(part: Tensor) -> Tensor:
            return part.expand(count, *part.shape[1:])

        skips = [expanded(skip).clone(memory_format=torch.channels_last) for skip in self.skips]
        return Encoded(expanded(self.x), skips, expanded(self.coarse),
                       None if self.pooled is None else expanded(self.pooled))


def encode_whole(net: TextGuidedGenerator, lq: Tensor) -> Encoded:
    """The parts of `restore_whole` that no caption changes; images (N, 3, H, W)."""
    x = pad_to_multiple(lq)
    skips = net.encode_fine(x)
    coarse = net.encode_coarse(skips)
    return Encoded(x, skips, coarse, None if net.gfm is None else net.gfm.pool(coarse))


def restore_encoded(net: TextGuidedGenerator, encoded: Encoded,
                    conditions: Sequence[tuple[float, TextFeatures | None]]) -> Tensor:
    """The rest of `restore_whole`: (N, 3, H, W), float32, not clipped, of the padded size of `encoded`.

    Args:
        net: the generator.
        encoded: of `encode_whole`; its skips are overwritten.
        conditions: as of `restore_whole`.
    """
    return _restore_encoded(net, encoded, [(weight, net.prepare_text(encoded.x, text)) for weight, text in conditions])


def _restore_encoded(net: TextGuidedGenerator, encoded: Encoded,
                     texts: Sequence[tuple[float, TextFeatures | None]]) -> Tensor:
    x, skips, coarse, pooled = encoded
    deeps = [net.fuse(coarse, text, pooled) for _, text in texts]
    return _decode(net, x, skips, coarse, deeps, texts)


def _decode(net: TextGuidedGenerator, x: Tensor, skips: list[Tensor], coarse: Tensor, deeps: list[Tensor],
            texts: Sequence[tuple[float, TextFeatures | None]]) -> Tensor:
    """The weighted sum over the conditions (N, 3, H, W), float32."""
    result: Tensor | None = None
    for (weight, text), deep in zip(texts, deeps, strict=True):
        # `decode` overwrites the skips, so that only the last may have the originals.
        kept = skips if deep is deeps[-1] else [skip.clone() for skip in skips]
        out = net.decode(x, kept, coarse, deep, text).float()
        result = out.mul_(weight) if result is None else result.add_(out, alpha=weight)
    assert result is not None  # there is at least one condition
    return result


class _Steps:
    """Counts tiles for `progress`."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._count, self._total, self._progress = 0, total, progress

    def done(self) -> None:
        self._count += 1
        if self._progress is not None:
            self._progress(self._count, self._total)


def _encode(net: TextGuidedGenerator, padded: Callable[[Region], Tensor], whole: Region, tiles: list[Region],
            steps: _Steps) -> Tensor:
    """The coarsest features (1, C, h, w) of the whole picture, in the memory of the CPU."""
    coarse: Tensor | None = None
    for part in tiles:
        seen = part.grown(net.margins.encode, whole)
        features = net.encode_coarse(net.encode_fine(padded(seen)))
        if coarse is None:
            coarse = torch.empty(1, features.shape[1], whole.bottom, whole.right, dtype=features.dtype).to(
                memory_format=torch.channels_last)
        coarse[(..., *part.slices())] = features[(..., *part.slices(origin=seen))].cpu()
        del features
        steps.done()
    assert coarse is not None  # a picture has at least one tile
    return coarse


def _pool(gfm: GlobalFusion, coarse: Tensor, whole: Region, blocks: list[Region], device: torch.device) -> Tensor:
    """`GlobalFusion.pool` (1, C) of the whole picture: the mean is the sum over the parts, each without overlap."""
    parts = []
    for block in blocks:
        seen = block.grown(1, whole)  # for one 3x3 convolution
        features = gfm.conv_global(coarse[(..., *seen.slices())].to(device))
        parts.append(features[(..., *block.slices(origin=seen))].sum(dim=(2, 3), dtype=torch.float32).double().cpu())
    return (reduce(torch.add, parts) / (whole.bottom * whole.right)).to(device, torch.float32)


def _fuse(net: TextGuidedGenerator, coarse: Tensor, outer: Region, whole: Region,
          texts: Sequence[tuple[float, TextFeatures | None]], pooled: Tensor | None,
          device: torch.device) -> list[Tensor]:
    """GFM and body for a region (1, C, h, w), one for each condition."""
    seen = outer.grown(net.margins.fuse, whole)
    own = coarse[(..., *seen.slices())].to(device)
    return [net.fuse(own, text, pooled)[(..., *outer.slices(origin=seen))].clone() for _, text in texts]


def working_bytes(net: TextGuidedGenerator, height: int, width: int, tile: int = 0, conditions: int = 1) -> int:
    """Memory that restoring one picture takes beside itself, the result and the libraries, roughly.

    Args:
        net: the generator.
        height, width: size of the picture in pixels.
        tile: side of a tile; 0 for the picture in one piece.
        conditions: how many captions it is restored for.
    """
    floats = 4 * (net.footprint.pixel + (conditions > 1) * net.footprint.skips)
    if not tile:
        return floats * height * width
    margin = 2 * max(net.margins.encode, net.margins.decode) * CELL
    seen = min(tile + margin, height) * min(tile + margin, width)
    block = min(_BLOCK * tile, height) / CELL * (min(_BLOCK * tile, width) / CELL)
    wide = (sqrt(block) + 2 * (net.margins.fuse + net.margins.decode))**2
    features = 4 * net.footprint.coarse
    kept = features * (height * width / CELL**2 + conditions * block)
    return round(kept + max(floats * seen, _BODY_MAPS * features * wide))


def choose_tile(net: TextGuidedGenerator, height: int, width: int, memory: int, conditions: int = 1) -> int:
    """Return the side of the largest tiles with which a picture is restored in `memory` bytes; 0 for one piece.

    From 2048 down to `MIN_TILE`, which is also the answer when even that does not fit.
    """
    if working_bytes(net, height, width, conditions=conditions) <= memory:
        return 0
    sizes: Iterator[int] = iter(range(2048, MIN_TILE, -64))
    return next((tile for tile in sizes if working_bytes(net, height, width, tile, conditions) <= memory), MIN_TILE)


def memory_for(device: torch.device) -> int:
    """Return how many bytes restoring should take: half of what is free, at most 512 MiB, or 8 GiB on a GPU."""
    if device.type == 'cuda':
        free = torch.cuda.mem_get_info(device)[0]
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return min(free // 2, _GPU_BYTES)
    return min(_free_on_host() // 2, _CPU_BYTES)


def _free_on_host() -> int:
    """Bytes that this process may still take: what Linux says is available, and what its container has left."""
    found = []
    try:
        lines = Path('/proc/meminfo').read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith('MemAvailable:')]
        group = Path('/sys/fs/cgroup')
        found.append(int((group / 'memory.max').read_text()) - int((group / 'memory.current').read_text()))
    except (OSError, ValueError):  # another system, or no limit ('max')
        pass
    if not found and hasattr(os, 'sysconf') and 'SC_PHYS_PAGES' in os.sysconf_names:
        found.append(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2)
    return max(min(found, default=2 * _CPU_BYTES), 0)
