"""AttnGAN's schedule of stage 1."""

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class EpochDecayLR(LRScheduler):
    """The learning rate times `gamma` after every epoch, down to `min_lr` (AttnGAN, `pretrain_DAMSM.py`).

    Args:
        optimizer: whose rate it is.
        gamma: factor.
        min_lr: the lowest rate.
        iters_per_epoch: iterations of an epoch.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, min_lr: float, iters_per_epoch: int) -> None:
        self.gamma = gamma
        self.min_lr = min_lr
        self.iters_per_epoch = iters_per_epoch
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each group at the iteration `last_epoch`."""
        factor = self.gamma ** (self.last_epoch // self.iters_per_epoch)
        return [max(rate * factor, self.min_lr) for rate in self.base_lrs]
