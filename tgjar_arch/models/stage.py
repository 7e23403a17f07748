"""What the models of both training stages share."""

import math
from collections import OrderedDict
from typing import Any

from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from torch import nn
from torch.utils.data import DataLoader

from tgjar_arch.models.checkpoints import save_model
from tgjar_arch.models.encoders import text_extras
from tgjar_arch.models.pretrained import check_fit, read_pretrained, state_of
from tgjar_arch.text.tokenizer import Tokenizer
from tgjar_arch.weights.checkpoint import check_text_norm


class Stage(BaseModel):
    """A training stage: starts from checkpoints, ends at a loss that is no number, and writes checkpoints.

    Attributes:
        labels: letters X of the networks `net_X` that its checkpoints hold, in the order of writing.
        network_opts: letter -> type and arguments of that network.
        tokenizer: of the text encoder; None without one.
    """

    labels: str
    network_opts: dict[str, dict[str, Any]]
    tokenizer: Tokenizer | None = None

    def load_pretrained(self, net: nn.Module, label: str, param_key: str | None = None) -> None:
        """Load what `path: pretrain_network_{label}` names, if anything; by default its `path: param_key_{label}`."""
        path_opt = self.opt['path']
        if (load_path := path_opt.get(f'pretrain_network_{label}')) is not None:
            self.load_network(net, load_path, path_opt.get(f'strict_load_{label}', True),
                              param_key or path_opt.get(f'param_key_{label}', 'params'), label)

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params',
                     label: str = 'g') -> None:
        """As BasicSR's, and for what else `read_pretrained` reads, for a file with `params_ema` only, and for one that
        is a state dict itself, as authors publish them (`fbcnn_color.pth`).

        Raises:
            FileNotFoundError, ValueError: when the weights cannot be read or do not fit; the message says why.
        """
        net = self.get_bare_model(net)
        content = read_pretrained(load_path, label)
        check_text_norm(getattr(net, 'text_norm', None), content, load_path)
        state = state_of(content, param_key, load_path)
        get_root_logger().info(f'Loading {net.__class__.__name__} model from {load_path}, with param key: '
                               f'[{param_key}].')
        if strict:
            check_fit(net, state, content, self.network_opts.get(label) or {}, load_path, label)
        else:
            self._print_different_keys_loading(net, state, strict)
        net.load_state_dict(state, strict=strict)

    def skips_steps(self) -> bool:
        """Whether a step with losses that are no numbers is skipped, and the next one may be better."""
        return False

    def get_current_log(self) -> OrderedDict:
        """The losses of this iteration.

        Raises:
            FloatingPointError: when one is NaN or infinite, which no later iteration would mend.
        """
        log = self.reduce_loss_dict(OrderedDict((key, value.detach()) for key, value in self.log_dict.items()))
        broken = [key for key, value in log.items() if not math.isfinite(value)]
        if broken and not self.skips_steps():
            without_amp = ', or without amp' if self.opt['train'].get('amp') else ''
            raise FloatingPointError(f'{", ".join(broken)} became NaN or infinite; resume from the last checkpoint '
                                     f'with a lower learning rate{without_amp}.')
        return log

    def dist_validation(self, dataloader: DataLoader, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        self.nondist_validation(dataloader, current_iter, tb_logger, save_img)

    def save(self, epoch: int, current_iter: int) -> None:
        """Write the networks and the training state, as `save_model` says."""
        save_model(self, self.labels, epoch, current_iter)

    def checkpoint_extras(self, label: str) -> dict[str, Any]:
        """What else belongs into the checkpoint of `net_{label}`."""
        return text_extras(self.opt, self.tokenizer) if label == 't' and self.tokenizer is not None else {}
