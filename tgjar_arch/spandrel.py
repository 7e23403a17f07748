"""The generators in spandrel: importing this lets its `ModelLoader`, and the programs that use it, read our files.

https://github.com/chaiNNer-org/spandrel, which image programs such as chaiNNer and ComfyUI load networks with::

    import tgjar_arch.spandrel  # adds TGJAR and TGJARLite to spandrel.MAIN_REGISTRY
    from spandrel import ModelLoader

    model = ModelLoader().load_from_file('tgjar_universal.safetensors')
    restored = model(jpeg)  # (1, 3, H, W), RGB in [0, 1]

It reads files of `tgjar export`, checkpoints of a training, and plain state dicts of a generator; the arguments of the
network are found in the shapes. spandrel has no captions, so that the results are those of `Restorer` without one: also
in tiles, which the network makes by itself where the picture is large, and grey where the picture is grey.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

try:
    from spandrel import (
        MAIN_REGISTRY,
        Architecture,
        ArchRegistry,
        ArchSupport,
        ImageModelDescriptor,
        ModelTiling,
        StateDict,
    )
    from spandrel.util import KeyCondition, get_seq_len
except ImportError as error:
    raise ImportError(f"tgjar_arch.spandrel needs spandrel ({error}): pip install 'tgjar[spandrel]'") from error

from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lite_generator_arch import TGJARLiteGenerator
from tgjar_arch.archs.padding import enlarged, enlarged_parts
from tgjar_arch.archs.text_guided_generator import TextGuidedGenerator
from tgjar_arch.restoration.grey import greyed_tensor, neutral_tensors
from tgjar_arch.restoration.tiling import choose_tile, memory_for, restore_in_tiles, restore_whole
from tgjar_arch.weights.build import build, check_fit
from tgjar_arch.weights.file import check_finite

_PREFIX = 'net_g.'  # of the generator's tensors in a file of `tgjar export`, beside the text encoder's, `net_t.`
_NO_CAPTION = ((1., None),)


def _detector(*keys: str) -> KeyCondition:
    return KeyCondition.has_any(KeyCondition.has_all(*keys), KeyCondition.has_all(*(_PREFIX + key for key in keys)))


def generator_state(state_dict: StateDict) -> dict[str, Tensor]:
    """The generator's part of a file of `tgjar export`; a plain state dict as it is."""
    if not any(key.startswith(_PREFIX) for key in state_dict):
        return dict(state_dict)
    return {key.removeprefix(_PREFIX): value for key, value in state_dict.items() if key.startswith(_PREFIX)}


def common_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments that both generators have, from the shapes of a state dict.

    `text_norm`, which no tensor shows, is left at its default: without a caption it changes nothing.
    """
    text_dim = next((len(state[key]) for key in ('null_sentence', 'null_word') if key in state), 256)
    return {'num_feat': len(state['head.weight']), 'num_block': get_seq_len(dict(state), 'body'), 'text_dim': text_dim,
            'num_in_ch': len(state['tail.weight']), 'use_global_fusion': 'null_sentence' in state,
            'use_local_fusion': 'null_word' in state}


def restore(net: TextGuidedGenerator, images: Tensor) -> Tensor:
    """Restore without captions, in one piece or in exact tiles as fits the free memory.

    Args:
        net: the generator, on the device of the images.
        images: (N, 3, H, W), RGB in [0, 1], of any size.

    Returns:
        (N, 3, H, W) in the type of the images, clipped to [0, 1]; those of neutral images in grey.

    Raises:
        ValueError: when the images have other channels than the network.
    """
    with torch.no_grad():
        restored = torch.cat([_restore_one(net, image) for image in images.split(1)]).clamp_(0, 1)
        return greyed_tensor(restored, neutral_tensors(images)) if net.num_in_ch == 3 else restored


def _restore_one(net: TextGuidedGenerator, image: Tensor) -> Tensor:
    height, width = image.shape[2:]
    tile = choose_tile(net, height, width, memory_for(image.device))
    if not tile:
        # The images stay in float32 beside weights in half precision, as in `Restorer`.
        lq = enlarged(image.float()).contiguous(memory_format=torch.channels_last)
        return restore_whole(net, lq, _NO_CAPTION)[..., :height, :width].to(image.dtype)
    restored = torch.empty_like(image)

    def read(rows: slice, columns: slice) -> Tensor:
        return image[..., rows, columns].float()

    def write(rows: slice, columns: slice, result: Tensor) -> None:
        restored[..., rows, columns] = result

    restore_in_tiles(net, *enlarged_parts(read, write, (height, width)), image.device, _NO_CAPTION, tile)
    return restored


def _descriptor(architecture: Architecture, network: dict[str, Any],
                state: dict[str, Tensor]) -> ImageModelDescriptor:
    try:
        check_fit(network, {key: value.shape for key, value in state.items()}, 'the network')
        check_finite(state)
    except ValueError as error:
        raise ValueError(f'this is no whole state dict of {architecture.id}: {error}') from error
    net = build(network, state).to(memory_format=torch.channels_last)
    tags = [f'{network["num_feat"]}nf', f'{network["num_block"]}nb']
    # INTERNAL: the GFM takes the mean of the whole picture, so tiles that a program cuts would differ from one another.
    return ImageModelDescriptor(net, state, architecture=architecture, purpose='Restoration', tags=tags,
                                supports_half=True, supports_bfloat16=True, scale=1,
                                input_channels=network['num_in_ch'], output_channels=network['num_in_ch'],
                                tiling=ModelTiling.INTERNAL, call_fn=restore)


class TGJARArch(Architecture[TGJARGenerator]):
    """`TGJARGenerator`, found by its names of layers."""

    def __init__(self) -> None:
        super().__init__(id='TGJAR', detect=_detector(
            'head.weight', 'down1.weight', 'block1.conv1.weight', 'block1.act.weight', 'down3.weight',
            'block3.conv2.weight', 'up1.weight', 'up3.weight', 'refine.bias', 'tail.weight'))

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[TGJARGenerator]:
        """Build the network and load its weights.

        Raises:
            ValueError: when tensors are missing, left over, of other shapes or not finite.
        """
        state = generator_state(state_dict)
        return _descriptor(self, {'type': 'TGJARGenerator', **common_options(state)}, state)


class TGJARLiteArch(Architecture[TGJARLiteGenerator]):
    """`TGJARLiteGenerator`, found by its names of layers."""

    def __init__(self) -> None:
        super().__init__(id='TGJARLite', name='TGJAR Lite', detect=_detector(
            'head.weight', 'down.weight', 'up.weight', 'mix.weight', 'expand.weight', 'fine.weight', 'refine.weight',
            'tail.weight'))

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[TGJARLiteGenerator]:
        """Build the network and load its weights.

        Raises:
            ValueError: as of `TGJARArch.load`.
        """
        state = generator_state(state_dict)
        network = {'type': 'TGJARLiteGenerator', **common_options(state), 'num_fine': len(state['fine.weight'])}
        return _descriptor(self, network, state)


EXTRA_REGISTRY = ArchRegistry()
"""Our architectures alone, for a `ModelLoader(registry=...)` of your own."""

EXTRA_REGISTRY.add(ArchSupport.from_architecture(TGJARArch()), ArchSupport.from_architecture(TGJARLiteArch()))


def install(*, ignore_duplicates: bool = True) -> list[ArchSupport]:
    """Add our architectures to spandrel's main registry, as importing this module does.

    Args:
        ignore_duplicates: False raises an error where they are there already.

    Returns:
        What was added.

    Raises:
        spandrel.DuplicateArchitectureError: see `ignore_duplicates`.
    """
    return MAIN_REGISTRY.add(*EXTRA_REGISTRY, ignore_duplicates=ignore_duplicates)


install()
