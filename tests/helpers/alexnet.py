"""Random weights of torchvision's AlexNet, drawn once for each state of the random numbers.

An AlexNet takes half a second, nearly all of it for 58 million numbers of a classifier that nothing here reads, and
most tests of a training build one from the same seed. The weights, and what is drawn after them, are those without
this.
"""

from collections import OrderedDict
from collections.abc import Iterator

import pytest
import torch
from torchvision.models import AlexNet

TRUNK = 'features.'  # beginning of the names of what is read
STATES = 16  # that are remembered, 10 MB each


@pytest.fixture(scope='session', autouse=True)
def alexnet_drawn_once() -> Iterator[None]:
    """Let AlexNet remember its newest initialisations; the classifier of a remembered one is arbitrary."""
    original = AlexNet.__init__
    drawn: OrderedDict[tuple, tuple[dict[str, torch.Tensor], torch.Tensor]] = OrderedDict()

    def initialise(self: AlexNet, *args: object, **options: object) -> None:
        if torch.get_default_device().type != 'cpu' or torch.get_default_dtype() != torch.float32:
            original(self, *args, **options)
            return
        key = (torch.get_rng_state().numpy().tobytes(), repr(args), repr(options))
        if key not in drawn:
            original(self, *args, **options)
            weights = {name: value.clone() for name, value in self.state_dict().items() if name.startswith(TRUNK)}
            drawn[key] = weights, torch.get_rng_state()
            if len(drawn) > STATES:
                drawn.popitem(last=False)
            return
        weights, after = drawn[key]
        with torch.device('meta'):
            original(self, *args, **options)
        self.classifier.to_empty(device='cpu')
        missing, unexpected = self.load_state_dict({name: value.clone() for name, value in weights.items()},
                                                   strict=False, assign=True)
        assert not unexpected and not any(name.startswith(TRUNK) for name in missing)
        torch.set_rng_state(after)

    AlexNet.__init__ = initialise
    yield
    AlexNet.__init__ = original
