"""TGJAR for BasicSR: a text-guided JPEG artifact remover (IJCAI 2023) as a plugin of the BasicSR restoration toolbox.

Importing this package registers its networks, dataset, models, losses and metrics in BasicSR's registries, which is all
an option file needs (its first line, `plugin: !!python/name:tgjar_arch.__version__`, is such an import).
"""

from pathlib import Path

from tgjar_arch import compat

__version__ = '0.1.0'

compat.prepare()

# In a source checkout `datasets/` and `losses/` lie beside this folder; once installed, inside it. The condition keeps
# an installed copy from finding Hugging Face's `datasets` in site-packages.
_checkout = Path(__file__).resolve().parents[1]
if (_checkout / 'setup.py').is_file():
    __path__.append(str(_checkout))

# One line a registering file; tests/test_registration.py fails when one is forgotten.
from tgjar_arch.archs import discriminator_arch as _discriminator_arch  # noqa: E402, F401
from tgjar_arch.archs import fbcnn_arch as _fbcnn_arch  # noqa: E402, F401
from tgjar_arch.archs import generator_arch as _generator_arch  # noqa: E402, F401
from tgjar_arch.archs import hf_text_encoder_arch as _hf_text_encoder_arch  # noqa: E402, F401
from tgjar_arch.archs import image_encoder_arch as _image_encoder_arch  # noqa: E402, F401
from tgjar_arch.archs import lite_generator_arch as _lite_generator_arch  # noqa: E402, F401
from tgjar_arch.archs import lstm_text_encoder_arch as _text_encoder_arch  # noqa: E402, F401
from tgjar_arch.archs import qgcn_arch as _qgcn_arch  # noqa: E402, F401
from tgjar_arch.archs import rnan_arch as _rnan_arch  # noqa: E402, F401
from tgjar_arch.datasets import paired_image_text_dataset as _paired_image_text_dataset  # noqa: E402, F401
from tgjar_arch.losses import chroma_loss as _chroma_loss  # noqa: E402, F401
from tgjar_arch.losses import contrastive_loss as _contrastive_loss  # noqa: E402, F401
from tgjar_arch.losses import damsm_loss as _damsm_loss  # noqa: E402, F401
from tgjar_arch.losses import grid_loss as _grid_loss  # noqa: E402, F401
from tgjar_arch.metrics import lpips as _lpips  # noqa: E402, F401
from tgjar_arch.metrics import pi as _pi  # noqa: E402, F401
from tgjar_arch.models import damsm_model as _damsm_model  # noqa: E402, F401
from tgjar_arch.models import tgjar_model as _tgjar_model  # noqa: E402, F401
from tgjar_arch.text.features import TextFeatures  # noqa: E402

__all__ = ['Restorer', 'TextFeatures', '__version__']


def __getattr__(name: str) -> object:
    if name == 'Restorer':  # looked up when it is asked for: training needs nothing of it
        from tgjar_arch.restoration.restorer import Restorer

        return Restorer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
