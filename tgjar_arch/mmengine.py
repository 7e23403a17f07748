"""The plugin in MMEngine: importing this registers networks, losses, metric and dataset under the scope `tgjar`.

https://github.com/open-mmlab/mmengine. A config names the module in `custom_imports` and a class by its scope::

    custom_imports = {'imports': ['tgjar_arch.mmengine']}
    model = {'type': 'tgjar.TextGuidedRestorer', 'network_g': {'type': 'tgjar.TGJARGenerator'}, ...}

| registry of MMEngine | names under `tgjar.` |
|---|---|
| `MODELS` | every network and loss of ours, BasicSR's `L1Loss` and `CharbonnierLoss`, `TextGuidedRestorer` |
| `DATASETS` | `PairedImageTextDataset` (`opt`: the keys of an option file; with `collate_fn` `default_collate`) |
| `METRICS` | `RestorationMetric` |

`import tgjar_arch` imports neither this nor MMEngine. docs/mmengine_train_tgjar_cub.py is an example of a config.
"""

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from basicsr.losses.basic_loss import CharbonnierLoss, L1Loss
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from basicsr.utils.registry import ARCH_REGISTRY, METRIC_REGISTRY
from mmengine import registry as root
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import Tensor, nn

from tgjar_arch import registration
from tgjar_arch.archs.padding import run_padded
from tgjar_arch.datasets.paired_image_text_dataset import PairedImageTextDataset
from tgjar_arch.models.encoders import check_vocabulary, text_encoder_options
from tgjar_arch.models.validation import prepare_metrics
from tgjar_arch.text.defaults import DEFAULT_MAX_WORDS
from tgjar_arch.text.features import TextFeatures
from tgjar_arch.text.tokenizer import Tokenizer, load_tokenizer
from tgjar_arch.weights.checkpoint import load_checkpoint_for
from tgjar_arch.weights.file import ExportedWeights

SCOPE = 'tgjar'

MODELS = root.Registry('model', parent=root.MODELS, scope=SCOPE, locations=[__name__])
DATASETS = root.Registry('dataset', parent=root.DATASETS, scope=SCOPE, locations=[__name__])
METRICS = root.Registry('metric', parent=root.METRICS, scope=SCOPE, locations=[__name__])

# What is registered in BasicSR is registered here too, so that no list of names has to be kept twice.
registration.register()
for _kind in ('arch', 'loss'):
    for _name in registration.NAMES[_kind]:
        MODELS.register_module(_name, module=registration.load(_kind, _name))
for _module in (L1Loss, CharbonnierLoss):
    MODELS.register_module(module=_module)
DATASETS.register_module(module=PairedImageTextDataset)


@MODELS.register_module()
class TextGuidedRestorer(BaseModel):
    """Stage 2 as a model of MMEngine's `Runner`: L = L_R + L_C + L_IT, each only if it is given (paper, eq. 6).

    L_G, which has an optimiser of its own, is trained by BasicSR's trainer only. In every argument that is a network or
    a loss stands a config with its `type`, of any scope (`tgjar.TGJARGenerator`, `mmagic.EDSRNet`).

    Args:
        network_g: the restorer; captions go to one whose `forward` has an argument `text`.
        network_t: the text encoder; its `vocab_size` (and a pretrained model's `special_ids`) come from `tokenizer`.
        network_i: DAMSM's image encoder, frozen, for `damsm_loss`.
        pixel_loss: called with (restored, gt), and lq where its `forward` has it; logged as `loss_pix`.
        contrastive_loss: called with (restored, gt, lq); logged as `loss_contrastive`.
        damsm_loss: called with regions, globals, text and class ids; logged as `loss_damsm`.
        tokenizer: path of the datasets' `tokenizer.json`; needed with `network_t`.
        max_words: words kept of a caption, as in the datasets.
        train_network_t: train the text encoder with the generator; otherwise it is frozen, as in the paper.
        pretrain_network_g: checkpoint of the trainer of BasicSR to start from (`params`).
        pretrain_network_t: the same of the text encoder; must be of this `tokenizer`. Needed where it is frozen.
        pretrain_network_i: the same of the image encoder; needed with `network_i`.
        data_preprocessor: as in MMEngine; None only moves the batch to the device.
        init_cfg: as in MMEngine.

    Raises:
        ValueError: when arguments do not go together, or a checkpoint was trained with another vocabulary.
    """

    def __init__(self, network_g: dict, network_t: dict | None = None, network_i: dict | None = None,
                 pixel_loss: dict | None = None, contrastive_loss: dict | None = None, damsm_loss: dict | None = None,
                 tokenizer: str | None = None, max_words: int = DEFAULT_MAX_WORDS, train_network_t: bool = False,
                 pretrain_network_g: str | None = None, pretrain_network_t: str | None = None,
                 pretrain_network_i: str | None = None, data_preprocessor: dict | nn.Module | None = None,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if (network_t is None) != (tokenizer is None):
            raise ValueError('TextGuidedRestorer: network_t and tokenizer go together; give both, or none for '
                             'restoration without captions.')
        if network_t is not None and not train_network_t and pretrain_network_t is None:
            raise ValueError('TextGuidedRestorer: network_t is frozen, but pretrain_network_t names no weights for it; '
                             'give them (stage 1), or train_network_t=True.')
        if damsm_loss is not None and (train_network_t or None in (network_t, network_i, pretrain_network_i)):
            raise ValueError('TextGuidedRestorer: damsm_loss compares in the space of stage 1: it needs a frozen '
                             'network_t, network_i and pretrain_network_i; or leave it out.')
        self.train_network_t, self.max_words = train_network_t, max_words
        self._options = {'g': dict(network_g)}
        self.net_g = self._build(network_g, pretrain_network_g)
        self.takes_text = 'text' in inspect.signature(self.net_g.forward).parameters
        self.net_t: nn.Module | None = None
        self.tokenizer: Tokenizer | None = None
        if network_t is not None and tokenizer is not None:
            self.tokenizer = load_tokenizer(tokenizer)
            network_t = self._text_options(network_t, self.tokenizer)
            self._options['t'] = network_t
            if pretrain_network_t is not None:
                check_vocabulary(pretrain_network_t, self.tokenizer)
            self.net_t = self._build(network_t, pretrain_network_t).requires_grad_(train_network_t)
        self.net_i: nn.Module | None = None
        if damsm_loss is not None and network_i is not None:
            self.net_i = self._build(network_i, pretrain_network_i).requires_grad_(False)
        self.pixel_loss, self.contrastive_loss, self.damsm_loss = (
            None if config is None else MODELS.build(config) for config in (pixel_loss, contrastive_loss, damsm_loss))
        self.train()

    @staticmethod
    def _text_options(network_t: dict, tokenizer: Tokenizer) -> dict:
        scope, _, name = network_t['type'].rpartition('.')
        if scope not in ('', SCOPE) or name not in ARCH_REGISTRY:  # somebody else's: its options are complete
            return dict(network_t)
        options = text_encoder_options({'network_t': {**network_t, 'type': name}}, tokenizer)
        return options | {'type': network_t['type']}

    @staticmethod
    def _build(network: dict, load_path: str | None) -> nn.Module:
        net = MODELS.build(deepcopy(network))
        if load_path is not None:
            net.load_state_dict(load_checkpoint_for(getattr(net, 'text_norm', None), load_path)['params'])
        return net

    def train(self, mode: bool = True) -> 'TextGuidedRestorer':
        super().train(mode)
        if self.net_t is not None and not self.train_network_t:
            self.net_t.eval()
        if self.net_i is not None:
            self.net_i.eval()
        return self

    def _text(self, lq: Tensor, text: Tensor | None, text_mask: Tensor | None) -> TextFeatures | None:
        if self.net_t is None:
            return None
        if text is None:
            raise ValueError('TextGuidedRestorer has a network_t, but the batch has no text; name the tokenizer in '
                             'the opt of every dataset.')
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.train_network_t):
            return self.net_t(text, text_mask)

    def forward(self, lq: Tensor, gt: Tensor | None = None, text: Tensor | None = None, text_mask: Tensor | None = None,
                class_id: Tensor | None = None, caption: Sequence[str] | None = None, qf: Tensor | None = None,
                lq_path: Sequence[str] | None = None, gt_path: Sequence[str] | None = None,
                mode: str = 'tensor') -> Tensor | dict[str, Tensor] | list[dict[str, Any]]:
        """MMEngine's three modes for a batch of `PairedImageTextDataset`.

        Args:
            lq: compressed images (N, 3, H, W), RGB in [0, 1].
            gt: originals of the same shape; needed for `loss`.
            text: word ids (N, T) int64.
            text_mask: (N, T) bool, True at a real word.
            class_id: (N,) int, for `damsm_loss`.
            caption: the captions as text; only handed through, as `lq_path` and `gt_path` are.
            qf: quality factors; not used.
            lq_path: files of the images.
            gt_path: files of the originals.
            mode: `tensor`, `loss` or `predict`.

        Returns:
            `tensor`: restored images (N, 3, H, W), not clipped; `loss`: the weighted losses; `predict`: for each image
            a dict of `restored` (3, H, W), clipped to [0, 1], `lq`, and what there is of `gt`, `caption`, `lq_path`.

        Raises:
            ValueError: for another mode, without any loss, or when the batch lacks what is needed.
        """
        features = self._text(lq, text, text_mask)
        options = {'text': features} if self.takes_text else {}
        if mode == 'loss':
            return self._losses(self.net_g(lq, **options), gt, lq, features, class_id)
        restored = run_padded(self.net_g, lq, lambda images: self.net_g(images, **options))
        if mode == 'tensor':
            return restored
        if mode != 'predict':
            raise ValueError(f"TextGuidedRestorer has the modes 'tensor', 'loss' and 'predict', not {mode!r}.")
        columns = {'restored': restored.detach().clamp(0, 1), 'lq': lq, 'gt': gt, 'caption': caption,
                   'lq_path': lq_path}
        columns = {key: column for key, column in columns.items() if column is not None}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _losses(self, restored: Tensor, gt: Tensor | None, lq: Tensor, features: TextFeatures | None,
                class_id: Tensor | None) -> dict[str, Tensor]:
        if gt is None:
            raise ValueError('TextGuidedRestorer needs gt to train; give dataroot_gt in the opt of the dataset.')
        losses = {}
        if self.pixel_loss is not None:
            takes_lq = 'lq' in inspect.signature(self.pixel_loss.forward).parameters
            losses['loss_pix'] = self.pixel_loss(restored, gt, *[lq] * takes_lq)
        if self.contrastive_loss is not None:
            losses['loss_contrastive'] = self.contrastive_loss(restored, gt, lq)
        if self.net_i is not None and self.damsm_loss is not None:
            losses['loss_damsm'] = self.damsm_loss(*self.net_i(restored), features, class_id)
        if not losses:
            raise ValueError('TextGuidedRestorer has no loss to train with; give pixel_loss or contrastive_loss.')
        return losses

    def exported_weights(self) -> ExportedWeights:
        """What `tgjar_arch.weights.file.write_weights` writes, for `tgjar restore`.

        Raises:
            ValueError: when a network is not one of BasicSR's registry, by which the file's reader builds it.
        """
        def options(label: str, net: nn.Module) -> dict[str, Any]:
            kept = getattr(net, 'portable_options', lambda: self._options[label])()
            name = kept['type'].removeprefix(f'{SCOPE}.')
            if name not in ARCH_REGISTRY:
                raise ValueError(f'{kept["type"]} is not in the registry of BasicSR, and cannot be exported.')
            return {**kept, 'type': name}

        def state(net: nn.Module) -> dict[str, Tensor]:
            return {key: value.detach().cpu() for key, value in net.state_dict().items()}

        network_g = options('g', self.net_g)
        if self.net_t is None or self.tokenizer is None or not self.takes_text:
            return ExportedWeights(network_g, state(self.net_g))
        return ExportedWeights(network_g, state(self.net_g), options('t', self.net_t), state(self.net_t),
                               self.tokenizer.to_json(), self.max_words)


@METRICS.register_module()
class RestorationMetric(BaseMetric):
    """Mean over the images of BasicSR's metrics, ours among them, of what `TextGuidedRestorer` predicts.

    Args:
        scores: as `val: metrics` in an option file: name -> `{type: calculate_psnr, crop_border: 0}`; None takes PSNR
            and LPIPS. Images are compared as 8-bit pixels. (MMEngine's Runner takes a dict with `metrics` for another
            thing.)
        collect_device: as in MMEngine.
        prefix: as in MMEngine; results are logged as `prefix/name`.

    Raises:
        ValueError: for an unknown metric.
        RuntimeError, FileNotFoundError: when LPIPS' weights are not found, see `tgjar_arch.metrics.lpips.build_lpips`.
    """

    default_prefix = 'restoration'

    def __init__(self, scores: Mapping[str, dict] | None = None, collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)
        if scores is None:
            scores = {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}, 'lpips': {'type': 'calculate_lpips'}}
        self.scores = {name: dict(options) for name, options in scores.items()}
        for name, options in self.scores.items():
            if options.get('type') not in METRIC_REGISTRY:
                raise ValueError(f'{name}: there is no metric of single images {options.get("type")!r}; there are '
                                 f'{", ".join(sorted(METRIC_REGISTRY.keys()))}.')
        prepare_metrics({'metrics': dict(self.scores)})  # a missing weights file is found before the training

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Score a batch: dicts with `restored` and `gt`, (3, H, W), RGB in [0, 1]."""
        for sample in data_samples:
            if 'gt' not in sample:
                raise ValueError(f'RestorationMetric compares with gt, but {sample.get("lq_path", "an image")} has '
                                 'none; give dataroot_gt in the opt of the dataset.')
            images = {'img': tensor2img(sample['restored']), 'img2': tensor2img(sample['gt'])}  # BGR uint8
            self.results.append({name: float(calculate_metric(images, options))
                                 for name, options in self.scores.items()})

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """The means."""
        return {name: float(np.mean([result[name] for result in results])) for name in self.scores}
