"""What the plugin adds to BasicSR: one line a class or metric, by the name that an option file gives.

The files themselves know nothing of BasicSR's registries, so that networks, losses and metrics also work where
BasicSR is not installed, or where a fork of it has none. `tests/test_registration.py` fails when a line is forgotten.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tgjar_arch import compat

if TYPE_CHECKING:
    from torch import nn

NAMES: dict[str, dict[str, str]] = {  # registry -> name -> module
    'arch': {
        'TGJARGenerator': 'tgjar_arch.archs.generator_arch',
        'TGJARLiteGenerator': 'tgjar_arch.archs.lite_generator_arch',
        'TGJARDiscriminator': 'tgjar_arch.archs.discriminator_arch',
        'LSTMTextEncoder': 'tgjar_arch.archs.lstm_text_encoder_arch',
        'HFTextEncoder': 'tgjar_arch.archs.hf_text_encoder_arch',
        'DAMSMImageEncoder': 'tgjar_arch.archs.image_encoder_arch',
        'RNAN': 'tgjar_arch.archs.rnan_arch',
        'QGCN': 'tgjar_arch.archs.qgcn_arch',
        'FBCNN': 'tgjar_arch.archs.fbcnn_arch',
    },
    'dataset': {
        'PairedImageTextDataset': 'tgjar_arch.datasets.paired_image_text_dataset',
    },
    'model': {
        'TGJARModel': 'tgjar_arch.models.tgjar_model',
        'DAMSMModel': 'tgjar_arch.models.damsm_model',
    },
    'loss': {
        'PerceptualContrastiveLoss': 'tgjar_arch.losses.contrastive_loss',
        'DAMSMLoss': 'tgjar_arch.losses.damsm_loss',
        'ChromaBlockLoss': 'tgjar_arch.losses.chroma_loss',
        'GridPatternLoss': 'tgjar_arch.losses.grid_loss',
        'RelativeMSELoss': 'tgjar_arch.losses.relative_loss',
    },
    'metric': {
        'calculate_lpips': 'tgjar_arch.metrics.lpips',
        'calculate_pi': 'tgjar_arch.metrics.pi',
        'calculate_ma': 'tgjar_arch.metrics.pi',
    },
}


class NoRegistriesError(ImportError):
    """The installed BasicSR is a fork without `basicsr.utils.registry`."""


def load(kind: str, name: str) -> Any:
    """The class or function of ours with this name; nothing else is imported.

    Raises:
        KeyError: when there is none.
    """
    return getattr(import_module(NAMES[kind][name]), name)


def register() -> None:
    """Put everything into BasicSR's registries; calling it again changes nothing.

    The line `plugin:` of every option file does this, by reading `tgjar_arch.__version__`.

    Raises:
        ImportError: when BasicSR is not installed.
        NoRegistriesError: when it is a fork without registries.
        AssertionError: BasicSR's own, when it or another plugin has taken one of the names.
    """
    compat.require_basicsr()
    try:
        registries = import_module('basicsr.utils.registry')
    except ModuleNotFoundError as error:
        if error.name != 'basicsr.utils.registry':
            raise
        raise NoRegistriesError('the installed BasicSR has no registries (basicsr.utils.registry); option files of '
                                'this plugin need BasicSR 1.4.2. Losses and networks can be imported one by one.'
                                ) from error
    try:
        compat.take_lists_of_folders(import_module('basicsr.utils.options'))
    except ModuleNotFoundError:  # a fork that reads its option files elsewhere
        pass
    for kind, modules in NAMES.items():
        registry = getattr(registries, f'{kind.upper()}_REGISTRY')
        for name in modules:
            entry = load(kind, name)
            # Of a module that was loaded again (notebooks) the first class stays.
            if not (name in registry and registry.get(name).__module__ == entry.__module__):
                registry.register(entry)


def network_class(name: str) -> type[nn.Module]:
    """A network by its name: ours, else one of BasicSR's registry.

    Raises:
        KeyError: when there is none, or when it can only be BasicSR's, which is not installed.
    """
    if name in NAMES['arch']:
        return load('arch', name)
    if not compat.basicsr_is_installed():
        raise KeyError(f'there is no network {name!r} in this package; BasicSR, which may have it, is not installed.')
    import_module('basicsr.archs')  # which registers its networks
    registry = import_module('basicsr.utils.registry').ARCH_REGISTRY
    if name not in registry:
        raise KeyError(f'there is no network {name!r}, neither in this package nor in BasicSR.')
    return registry.get(name)
