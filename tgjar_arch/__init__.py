"""TGJAR for BasicSR: a text-guided JPEG artifact remover (IJCAI 2023) as a plugin of the BasicSR restoration toolbox.

Importing the package is light: it brings neither torch nor BasicSR. The line at the head of every option file,
`plugin: !!python/name:tgjar_arch.__version__`, reads the version, and with it `register()` puts networks, dataset,
models, losses and metrics into BasicSR's registries.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgjar_arch import compat
from tgjar_arch.version import VERSION

if TYPE_CHECKING:
    from tgjar_arch.restoration.restorer import Restorer
    from tgjar_arch.text.features import TextFeatures

    __version__: str

__all__ = ['Restorer', 'TextFeatures', 'register']

compat.prepare()

# In a source checkout `datasets/` and `losses/` lie beside this folder; once installed, inside it. The condition keeps
# an installed copy from finding Hugging Face's `datasets` in site-packages.
_checkout = Path(__file__).resolve().parents[1]
if (_checkout / 'setup.py').is_file():
    __path__.append(str(_checkout))


def register() -> None:
    """Put networks, dataset, models, losses and metrics into BasicSR's registries; again changes nothing.

    Raises:
        ImportError: when BasicSR is not installed, or is a fork without registries.
    """
    from tgjar_arch import registration

    registration.register()


def __getattr__(name: str) -> Any:
    if name == 'Restorer':
        from tgjar_arch.restoration.restorer import Restorer

        return Restorer
    if name == 'TextFeatures':
        from tgjar_arch.text.features import TextFeatures

        return TextFeatures
    if name == '__version__':
        if compat.basicsr_is_installed():
            from tgjar_arch.registration import NoRegistriesError

            try:
                register()  # this is what the line `plugin:` of an option file asks for
            except NoRegistriesError as error:  # an old fork: nobody can ask for more than the version
                logging.getLogger('basicsr').warning(str(error))
        return VERSION
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
