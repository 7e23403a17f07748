"""DAMSMModel: stage 1 of the paper, text and image encoder in one semantic space, inside BasicSR's trainer."""

import math
from typing import Any

import torch.distributed
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import get_dist_info
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader
from tqdm import tqdm

from tgjar_arch import registration
from tgjar_arch.metrics.r_precision import r_precision
from tgjar_arch.models.encoders import check_vocabulary, read_tokenizer, text_encoder_options
from tgjar_arch.models.epoch_decay import EpochDecayLR
from tgjar_arch.models.stage import Stage
from tgjar_arch.models.validation import readable, share
from tgjar_arch.option_checks import check_keys, check_model_options, positive_int
from tgjar_arch.text.features import TextFeatures
from tgjar_arch.text.tokenizer import Tokenizer

TRAIN_KEYS = {'damsm_opt', 'clip_text'}
VAL_KEYS = {'damsm_opt', 'batch_size', 'r_precision'}


class DAMSMModel(Stage):
    """Trains `network_t` and `network_i` together by the word and the sentence loss (AttnGAN 3.2; paper 3.5, stage 1).

    Under `train`: `damsm_opt` (the loss), `optim_g` (the optimiser of both encoders), `clip_text` (largest gradient
    norm of the text encoder; 0 for no limit), `scheduler`: BasicSR's own, or AttnGAN's `type: EpochDecayLR` with
    `gamma`, `min_lr` and `iters_per_epoch`. Logged: `l_word_i2t`, `l_word_t2i`, `l_sentence_i2t`, `l_sentence_t2i`.

    Validation reports `word_loss` and `sentence_loss`, both directions added, over shuffled batches of
    `val: batch_size` (48) images, and `r_precision` over all images that have a caption (`val: r_precision`:
    `num_negatives`, `seed`). In test mode the loss is `val: damsm_opt`.

    Checkpoints: `net_t_*.pth` with the tokenizer, and `net_i_*.pth`; each is read by `path: pretrain_network_X`, here
    and in TGJARModel.
    """

    labels = 'ti'
    tokenizer: Tokenizer

    def __init__(self, opt: dict) -> None:
        registration.register()  # for who builds the model without an option file
        super().__init__(opt)
        check_model_options(opt, TRAIN_KEYS, VAL_KEYS)
        self.tokenizer = read_tokenizer(opt)
        self.network_opts = {'t': text_encoder_options(opt, self.tokenizer), 'i': opt['network_i']}
        self._check_options()
        self.net_t, self.net_i = self._build('t'), self._build('i')
        section = 'train' if self.is_train else 'val'
        if not opt[section].get('damsm_opt'):
            raise ValueError(f'{section}: has no damsm_opt; give DAMSMModel its loss, {{type: DAMSMLoss}}.')
        self.cri_damsm = build_loss(opt[section]['damsm_opt']).to(self.device)
        if self.is_train:
            self._init_training()

    def _check_options(self) -> None:
        """Compare what belongs together now, not at the first iteration or validation.

        Raises:
            ValueError: when the encoders' spaces differ, `r_precision` is misspelt, or a test has no weights.
        """
        dims = {label: options.get('text_dim', 256) for label, options in self.network_opts.items()}
        if dims['t'] != dims['i']:
            raise ValueError(f'network_t has text_dim {dims["t"]}, network_i {dims["i"]}; they share one space.')
        r_precision_opt = (self.opt.get('val') or {}).get('r_precision') or {}
        check_keys(r_precision_opt, {'num_negatives', 'seed'}, 'val: r_precision')
        if r_precision_opt.get('num_negatives', 99) < 1:
            raise ValueError('val: r_precision: num_negatives must be at least 1.')
        for label in 'ti':
            if not self.is_train and self.opt['path'].get(f'pretrain_network_{label}') is None:
                raise ValueError(f'path: pretrain_network_{label} names no weights, so random ones would be tested.')

    def _build(self, label: str) -> nn.Module:
        net = build_network(self.network_opts[label])
        if label == 't' and (load_path := self.opt['path'].get('pretrain_network_t')) is not None:
            check_vocabulary(load_path, self.tokenizer)
        self.load_pretrained(net, label)
        net = self.model_to_device(net)
        self.print_network(net)
        return net

    def _init_training(self) -> None:
        train_opt = self.opt['train']
        self.clip_text = train_opt.get('clip_text', 0)
        self.net_t.train()
        self.net_i.train()
        # The text encoder and the two projections of the image encoder; a frozen backbone stays out.
        parameters = [p for net in (self.net_t, self.net_i) for p in net.parameters() if p.requires_grad]
        optim_type = train_opt['optim_g'].pop('type')
        self.optimizers.append(self.get_optimizer(optim_type, parameters, **train_opt['optim_g']))
        self.setup_schedulers()

    def setup_schedulers(self) -> None:
        options = dict(self.opt['train']['scheduler'])
        if options.pop('type') != 'EpochDecayLR':
            super().setup_schedulers()
            return
        check_keys(options, {'gamma', 'min_lr', 'iters_per_epoch'}, 'train: scheduler')
        positive_int(options, 'iters_per_epoch', None)
        self.schedulers += [EpochDecayLR(optimizer, **options) for optimizer in self.optimizers]

    def feed_data(self, data: dict) -> None:
        self.images = data['gt'].to(self.device, non_blocking=True)
        self.ids = data['text'].to(self.device, non_blocking=True)
        self.mask = data['text_mask']  # the text encoder takes it to the GPU; an LSTM wants the lengths here
        self.class_ids = data['class_id'].to(self.device, non_blocking=True)

    def _encode(self) -> tuple[Tensor, Tensor, TextFeatures]:
        regions, global_features = self.net_i(self.images)
        return regions, global_features, self.net_t(self.ids, self.mask)

    def forward_once(self) -> None:
        """Both encoders and their losses on the batch, as in an iteration."""
        nets = [self.get_bare_model(net) for net in (self.net_i, self.net_t)]
        self.cri_damsm.terms(*nets[0](self.images), nets[1](self.ids, self.mask), self.class_ids)

    def optimize_parameters(self, current_iter: int) -> None:
        (optimizer,) = self.optimizers
        optimizer.zero_grad()
        terms = self.cri_damsm.terms(*self._encode(), self.class_ids)
        (self.cri_damsm.loss_weight * sum(terms.values())).backward()
        self.log_dict = {f'l_{name}': value for name, value in terms.items()}
        if self.clip_text:
            clip_grad_norm_(self.net_t.parameters(), self.clip_text)
        optimizer.step()

    # ---------------------------------------------------------------------------------------------------- validation

    def nondist_validation(self, dataloader: DataLoader, current_iter: int | str, tb_logger: Any,
                           save_img: bool) -> None:
        """Report the losses and R-precision; see the class. Of several processes each encodes its share."""
        dataset: Any = dataloader.dataset  # with `opt`, as BasicSR's
        name, val_opt = dataset.opt['name'], self.opt['val']
        rank, world_size = get_dist_info()
        collected = self._collect(share(dataloader, rank, world_size), val_opt.get('pbar') and rank == 0)
        if world_size > 1:
            parts: list[dict[int, tuple[Tensor, ...]]] = [{} for _ in range(world_size)]
            torch.distributed.gather_object(collected, parts if rank == 0 else None)
            if rank > 0:
                return
            # Every process has had every `world_size`-th image.
            collected = {first + index * world_size: one for first, part in enumerate(parts)
                         for index, one in part.items()}
        if not collected:
            get_root_logger().error(f'Validation {name}: none of its images can be read.')
            return
        regions, global_features, words, sentence, mask, class_ids = (
            torch.cat(part) for part in zip(*(collected[index] for index in sorted(collected)), strict=True))

        # Shuffled, because neighbours in a test folder share their class and would be masked out; seeded, so that two
        # validations see the same batches. A smaller last batch, which has a smaller loss, is dropped as in training.
        order = torch.randperm(len(global_features), generator=torch.Generator().manual_seed(0))
        size = min(val_opt.get('batch_size') or 48, len(order))
        batches = order[:len(order) // size * size].split(size)
        totals: dict[str, float] = {}
        for batch in batches:
            part = [tensor[batch].to(self.device)
                    for tensor in (regions, global_features, words, sentence, mask, class_ids)]
            terms = self.cri_damsm.terms(part[0].float(), part[1], TextFeatures(*part[2:5]), part[5])
            for key, value in terms.items():
                totals[key] = totals.get(key, 0) + value.item() / len(batches)
        captioned = mask.any(dim=1)  # an image without a caption has nothing to be found
        results = {'word_loss': totals['word_i2t'] + totals['word_t2i'],
                   'sentence_loss': totals['sentence_i2t'] + totals['sentence_t2i'], 'r_precision': float('nan')}
        try:
            results['r_precision'] = r_precision(global_features[captioned], sentence[captioned], class_ids[captioned],
                                                 **(val_opt.get('r_precision') or {}))
        except ValueError as error:  # of a test set: none may end a training
            get_root_logger().warning(f'Validation {name}: {error}')

        lines = [f'Validation {name}, {len(global_features)} images']
        for key, value in results.items():
            line = f'\t # {key}: {value:.4f}'
            if self.is_train:
                self._initialize_best(name, results)
                if math.isfinite(value):
                    self._update_best_metric_result(name, key, value, current_iter)
                best = self.best_metric_results[name][key]
                line += f'\tBest: {best["val"]:.4f} @ {best["iter"]} iter'
            lines.append(line)
            if tb_logger is not None:
                tb_logger.add_scalar(f'metrics/{name}/{key}', value, current_iter)
        get_root_logger().info('\n'.join(lines))
        self.metric_results = results

    def _initialize_best(self, name: str, results: dict[str, float]) -> None:
        self.best_metric_results = getattr(self, 'best_metric_results', {})
        if name not in self.best_metric_results:
            self.best_metric_results[name] = {
                key: {'better': better, 'val': float('-inf' if better == 'higher' else 'inf'), 'iter': -1}
                for key, better in ((key, 'higher' if key == 'r_precision' else 'lower') for key in results)}

    @torch.no_grad()
    def _collect(self, dataloader: DataLoader, progress: bool) -> dict[int, tuple[Tensor, ...]]:
        """Features of each image that can be read, by its place."""
        nets = [self.get_bare_model(net) for net in (self.net_t, self.net_i)]
        modes = [net.training for net in nets]
        for net in nets:
            net.eval()
        collected: dict[int, tuple[Tensor, ...]] = {}
        for index, data in tqdm(readable(dataloader), desc='encode', unit='image', total=len(dataloader),
                                disable=not progress):
            self.feed_data(data)
            regions, global_features = nets[1](self.images)
            words, sentence, mask = nets[0](self.ids, self.mask)
            # Half precision for what is large: 17x17 regions of 2,933 images are 0.9 GB otherwise.
            collected[index] = (regions.half().cpu(), global_features.cpu(), words.cpu(), sentence.cpu(), mask.cpu(),
                                self.class_ids.cpu())
        for net, mode in zip(nets, modes, strict=True):
            net.train(mode)
        return collected
