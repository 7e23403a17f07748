"""TGJARModel: stage 2 of the paper, the text-guided GAN, inside BasicSR's trainer."""

import inspect
from collections import OrderedDict
from copy import deepcopy
from typing import Any, cast

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from tgjar_arch import registration
from tgjar_arch.archs.padding import run_padded
from tgjar_arch.archs.text_guided_generator import TextGuidedGenerator
from tgjar_arch.models.checkpoints import warn_of_what_export_refuses
from tgjar_arch.models.encoders import build_image_encoder, build_text_encoder
from tgjar_arch.models.stage import Stage
from tgjar_arch.models.validation import prepare_metrics, validate
from tgjar_arch.option_checks import check_model_options
from tgjar_arch.restoration.tiling import can_tile, choose_tile, memory_for, restore_in_tiles
from tgjar_arch.text.features import TextFeatures

TRAIN_KEYS = {'optim_d', 'pixel_opt', 'contrastive_opt', 'gan_opt', 'damsm_opt', 'train_network_t', 'ema_decay', 'amp',
              'net_d_iters', 'net_d_init_iters', 'clip_grad', 'channels_last', 'qf_opt', 'chroma_opt', 'grid_opt',
              'reuse_fake', 'compile'}
VAL_KEYS = {'metrics', 'num_shown'}
_AMP_DTYPES = {'fp16': torch.float16, 'bf16': torch.bfloat16}


class TGJARModel(Stage, SRGANModel):
    """Trains, validates and tests a restorer with the paper's losses (eq. 6), each only if the option file has it:

        L = lambda_1 L_C + lambda_2 L_R + lambda_3 L_G + lambda_4 L_IT

    | loss | option (under `train`) | logged as |
    |---|---|---|
    | reconstruction L_R | `pixel_opt` | `l_g_pix` |
    | contrastive L_C | `contrastive_opt` | `l_g_contrastive` |
    | GAN L_G | `gan_opt` (needs `network_d` and `optim_d`) | `l_g_gan`, `l_d_real`, `l_d_fake` |
    | image-text L_IT | `damsm_opt` (needs `network_i`, frozen) | `l_g_damsm` |
    | mean colours of blocks, not of the paper | `chroma_opt` | `l_g_chroma` |
    | pattern of the JPEG grid, not of the paper | `grid_opt` | `l_g_grid` |
    | quality factor, of FBCNN | `qf_opt` (needs a `network_g` that estimates it) | `l_g_qf` |

    L_R is any loss of pixels; `RelativeMSELoss` divides it by the JPEG's own error, for trainings on many qualities.

    `network_g` may be any network of BasicSR's registry; captions go to those whose `forward` has an argument `text`. A
    network with an attribute `extra_inputs`, a tuple of batch keys, is given these as arguments of the same names.
    `network_t` is the text encoder: frozen and loaded from `path: pretrain_network_t`, as in the paper, or trained with
    the generator (`train: train_network_t: true`). Its checkpoint carries the tokenizer, so that weights and vocabulary
    cannot be mismatched. Other keys under `train`: `amp` (`fp16`, `bf16` or `~`), `channels_last` (memory layout of the
    convolutions: the same results, faster), `compile` (`torch.compile` of the generator, for one size of crops; the
    first iteration then takes minutes), `reuse_fake` (the discriminator judges a restored image once for both
    updates; true unless given), `clip_grad` (largest norm of the generator's gradient), and SRGANModel's `ema_decay`,
    `net_d_iters`, `net_d_init_iters`.
    """

    labels = 'gtd'

    def __init__(self, opt: dict) -> None:
        registration.register()  # for who builds the model without an option file
        self.net_t: nn.Module | None = None
        self.network_opts = {label: opt[f'network_{label}'] for label in ('g', 'd') if opt.get(f'network_{label}')}
        check_model_options(opt, TRAIN_KEYS, VAL_KEYS)
        prepare_metrics(opt.get('val'))
        super().__init__(opt)  # builds net_g and, when training, calls init_training_settings
        if not self.is_train:
            self.train_text_encoder = False
            self._build_text_encoder()

    # ---------------------------------------------------------------------------------------------------- set-up

    def init_training_settings(self) -> None:
        train_opt = self.opt['train']
        self.train_text_encoder = train_opt.get('train_network_t', False)
        self._build_text_encoder()

        self.ema_decay = train_opt.get('ema_decay') or 0
        if self.ema_decay > 0:
            get_root_logger().info(f'Use Exponential Moving Average with decay: {self.ema_decay}')
            self.net_g_ema = self._averaged_copy(self.net_g, 'g')
            if self.net_t is not None and self.train_text_encoder:
                self.net_t_ema = self._averaged_copy(self.net_t, 't')

        def loss(key: str) -> nn.Module | None:
            return self.arrange(build_loss(train_opt[key]).to(self.device)) if train_opt.get(key) else None

        self.cri_pix, self.cri_contrastive = loss('pixel_opt'), loss('contrastive_opt')
        self.cri_gan, self.cri_qf = loss('gan_opt'), loss('qf_opt')
        self.cri_chroma, self.cri_grid = loss('chroma_opt'), loss('grid_opt')
        if not (self.cri_pix or self.cri_contrastive):
            raise ValueError('train: has neither pixel_opt nor contrastive_opt; TGJARModel needs at least one of them.')

        if self.cri_qf and 'return_qf' not in inspect.signature(self.get_bare_model(self.net_g).forward).parameters:
            raise ValueError(f'train: qf_opt compares an estimated quality factor with the true one, but network_g '
                             f'{self.opt["network_g"]["type"]} estimates none, as FBCNN does; set qf_opt: ~ .')

        if self.cri_qf and self.opt['datasets'].get('train', {}).get('dataroot_lq'):
            raise ValueError('train: qf_opt needs the quality factor of every image, which files of datasets: train: '
                             'dataroot_lq do not say; let the dataset compress (qf), or set qf_opt: ~ .')

        self.net_d: nn.Module | None = None
        if self.cri_gan:
            for section, key in ((self.opt, 'network_d'), (train_opt, 'optim_d')):
                if not section.get(key):
                    raise ValueError(f'train: gan_opt is given, but {key} is not; add it, or set gan_opt: ~ .')
            self.net_d = self.model_to_device(build_network(self.opt['network_d']))
            self.print_network(self.net_d)
            self.load_pretrained(self.net_d, 'd')
            self.net_d.train()
        self.cri_damsm = loss('damsm_opt')
        if self.cri_damsm:
            self.network_opts['i'] = self.opt.get('network_i') or {}
            net_i = build_image_encoder(self.opt, self.load_pretrained)
            self.net_i = self.arrange(net_i.to(self.device))
        self.net_g.train()
        self.net_d_iters = train_opt.get('net_d_iters') or 1
        self.net_d_init_iters = train_opt.get('net_d_init_iters') or 0
        self.clip_grad = train_opt.get('clip_grad') or 0
        self.reuse_fake = train_opt.get('reuse_fake', True)

        amp = train_opt.get('amp')
        if amp is not None and amp not in _AMP_DTYPES:
            raise ValueError(f'train: amp is {amp!r}; it must be one of {list(_AMP_DTYPES)} or ~ (float32).')
        self.amp_dtype = _AMP_DTYPES.get(amp)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp == 'fp16')

        self.setup_optimizers()
        self.setup_schedulers()
        warn_of_what_export_refuses(self, 'gt')

    def _check_datasets(self) -> None:
        """Compare what the generator asks for with what each dataset makes, now and not at its first image.

        Raises:
            ValueError: when one of ours does not make it.
        """
        makes = {'qmaps': ('quantisation_maps', 'true'), 'thumbnail': ('thumbnail', '112')}
        for wanted in getattr(self.get_bare_model(self.net_g), 'extra_inputs', ()):
            for name, dataset in self.opt['datasets'].items():
                key, value = makes.get(wanted, ('', ''))
                if key and dataset.get('type') == 'PairedImageTextDataset' and not dataset.get(key):
                    raise ValueError(f'network_g {self.opt["network_g"]["type"]} needs {wanted} of every image; set '
                                     f'datasets:{name}:{key}={value}.')

    def _build_text_encoder(self) -> None:
        self._check_datasets()
        net_g = self.get_bare_model(self.net_g)
        self.takes_text = 'text' in inspect.signature(net_g.forward).parameters
        if self.opt.get('network_t') is None:
            if self.train_text_encoder:
                raise ValueError('train: train_network_t is true, but there is no network_t.')
            if self.takes_text and getattr(net_g, 'uses_text', True):
                get_root_logger().warning('There is no network_t: the generator runs without captions (null '
                                          'condition).')
            return
        self.network_opts['t'] = self.opt['network_t']
        net_t, self.tokenizer, self.network_opts['t'] = build_text_encoder(self.opt, self.load_pretrained,
                                                                           self.train_text_encoder)
        if self.train_text_encoder:
            self.net_t = self.model_to_device(net_t).train()
        else:
            self.net_t = net_t.to(self.device).requires_grad_(False).eval()
        self.print_network(self.net_t)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        net = self.arrange(net)
        if self.is_train and self.opt['train'].get('compile') and net is self.net_g:
            net.compile(dynamic=False)  # in place: checkpoints keep their keys, and copies are not compiled
        return super().model_to_device(net)

    def arrange(self, net: nn.Module) -> nn.Module:
        """`net` with its convolutions in the memory layout of the option file; what they return follows it."""
        channels_last = (self.opt.get('train') or {}).get('channels_last')
        return net.to(memory_format=torch.channels_last) if channels_last else net

    def _averaged_copy(self, net: nn.Module, label: str) -> nn.Module:
        """Network that follows `net` as a moving average; when resuming, the checkpoint's own average."""
        averaged = deepcopy(self.get_bare_model(net)).requires_grad_(False)
        self.load_pretrained(averaged, label, 'params_ema')
        return averaged.eval()

    def setup_optimizers(self) -> None:
        train_opt = self.opt['train']
        parameters = list(self.net_g.parameters())
        if self.net_t is not None and self.train_text_encoder:
            parameters += list(self.net_t.parameters())
        optim_type = train_opt['optim_g'].pop('type')
        self.optimizer_g = self.get_optimizer(optim_type, parameters, **train_opt['optim_g'])
        self.optimizers.append(self.optimizer_g)
        if self.net_d is not None:
            optim_type = train_opt['optim_d'].pop('type')
            self.optimizer_d = self.get_optimizer(optim_type, self.net_d.parameters(), **train_opt['optim_d'])
            self.optimizers.append(self.optimizer_d)

    def model_ema(self, decay: float = 0.999) -> None:
        """Let the averaged networks follow; unlike BasicSR's, buffers are copied too (any `network_g` may have BN)."""
        average = get_ema_multi_avg_fn(decay)
        for label in ('g', 't'):
            averaged = getattr(self, f'net_{label}_ema', None)
            if averaged is None:
                continue
            net = self.get_bare_model(getattr(self, f'net_{label}'))
            average(list(averaged.parameters()), list(net.parameters()), None)
            for target, source in zip(averaged.buffers(), net.buffers(), strict=True):
                target.copy_(source)

    # ---------------------------------------------------------------------------------------------------- training

    def feed_data(self, data: dict) -> None:
        self.lq = data['lq'].to(self.device, non_blocking=True)
        if 'gt' in data:
            self.gt = data['gt'].to(self.device, non_blocking=True)
        elif hasattr(self, 'gt'):  # a stale one from training must not be compared with
            del self.gt
        self.captions = list(data.get('caption', [''] * len(self.lq)))
        self.class_ids = data['class_id'].to(self.device, non_blocking=True) if 'class_id' in data else None
        self.extra_inputs = self._read_extra_inputs(data)
        self.qf = data.get('qf')
        self.ids: Tensor | None = None
        self.mask: Tensor | None = None
        if self.net_t is not None:
            if 'text' not in data:
                raise KeyError('network_t is given, but the batch has no text; name the tokenizer in every dataset.')
            self.ids = data['text'].to(self.device, non_blocking=True)
            self.mask = data['text_mask']  # the text encoder takes it to the GPU; an LSTM wants the lengths here

    def _read_extra_inputs(self, data: dict) -> dict[str, Tensor]:
        """What the generator asks for besides `lq` and text, by its attribute `extra_inputs`."""
        wanted = getattr(self.get_bare_model(self.net_g), 'extra_inputs', ())
        missing = [key for key in wanted if key not in data]
        if missing:
            raise KeyError(f'network_g {self.opt["network_g"]["type"]} needs {", ".join(missing)}, which the batch has '
                           'not; every dataset makes qmaps with quantisation_maps: true and thumbnail with '
                           'thumbnail: 112.')
        return {key: data[key].to(self.device, non_blocking=True) for key in wanted}

    def _encode_text(self, net_t: nn.Module | None) -> TextFeatures | None:
        return None if net_t is None else net_t(self.ids, self.mask)

    def _restore(self, net_g: nn.Module, lq: Tensor, text: TextFeatures | None, **options: bool) -> Tensor:
        text_input = {'text': text} if self.takes_text else {}
        return net_g(lq, **text_input, **self.extra_inputs, **options)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None)

    def optimize_parameters(self, current_iter: int) -> None:
        update_g = self.cri_gan is None or (current_iter % self.net_d_iters == 0
                                            and current_iter > self.net_d_init_iters)
        loss_dict: OrderedDict[str, Tensor] = OrderedDict()
        with torch.set_grad_enabled(update_g), self._autocast():
            with torch.set_grad_enabled(update_g and self.train_text_encoder):
                text = self._encode_text(self.net_t)
            if self.cri_qf is not None:
                output, self.estimated_qf = self._restore(self.net_g, self.lq, text, return_qf=True)
            else:
                output = self._restore(self.net_g, self.lq, text)
        self.output = output.float()  # the losses are computed in float32 also under AMP

        judged = self._update_generator(loss_dict, text) if update_g else None
        if self.cri_gan is not None:
            self._update_discriminator(loss_dict, judged)
        self.scaler.update()

        self.log_dict = loss_dict  # still on the device: reduced when asked for, so that no iteration waits for it
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def forward_once(self) -> Tensor:
        """The restored batch, (N, 3, H, W), after it went through every network and loss of an iteration."""
        with self._autocast():
            text = self._encode_text(self.get_bare_model(self.net_t))
            output = self._restore(self.get_bare_model(self.net_g), self.lq, text).float()
            if self.cri_damsm is not None:
                self.cri_damsm(*self.net_i(output), text, self.class_ids)
            if self.net_d is not None:
                self.get_bare_model(self.net_d)(output)
        if output.shape == self.gt.shape and self.cri_pix is not None:
            self._compare(self.cri_pix, output)
        if output.shape == self.gt.shape and self.cri_contrastive is not None:
            self.cri_contrastive(output, self.gt, self.lq)
        return output

    def _update_generator(self, loss_dict: OrderedDict, text: TextFeatures | None) -> Tensor | None:
        """Returns the discriminator's prediction for the output, with its graph, where its own update may use it.

        Every loss is led back to the output at once, where its graph ends, and the sum of these gradients through the
        generator at last: the same, but the graphs of the losses need not lie in memory side by side.
        """
        self.optimizer_g.zero_grad()
        image = self.output.detach().requires_grad_()

        def add(key: str, loss: Tensor, keep_graph: bool = False) -> None:
            loss_dict[key] = loss.detach()
            if loss.requires_grad:  # L_IT of a batch without any caption is a plain 0
                torch.autograd.backward(self.scaler.scale(loss), inputs=[image], retain_graph=keep_graph)

        for key, criterion in (('pix', self.cri_pix), ('chroma', self.cri_chroma), ('grid', self.cri_grid)):
            if criterion is not None:
                add(f'l_g_{key}', self._compare(criterion, image))
        if self.cri_contrastive is not None:
            add('l_g_contrastive', self.cri_contrastive(image, self.gt, self.lq))
        if self.cri_damsm is not None:
            with self._autocast():
                regions, global_features = self.net_i(image)
            add('l_g_damsm', self.cri_damsm(regions, global_features, text, self.class_ids))
        prediction = None
        if self.net_d is not None and self.cri_gan is not None:
            self.net_d.requires_grad_(self.reuse_fake)
            with self._autocast():
                prediction = self.net_d(image)
            add('l_g_gan', self.cri_gan(prediction.float(), True, is_disc=False), keep_graph=self.reuse_fake)
            self.net_d.requires_grad_(True)
        roots, gradients = [self.output], [image.grad]
        if self.cri_qf is not None:  # of the generator's other output
            loss_dict['l_g_qf'] = self.cri_qf(self.estimated_qf.float(), self._true_qf())
            roots, gradients = [*roots, self.scaler.scale(loss_dict['l_g_qf'])], [*gradients, None]
        torch.autograd.backward(roots, gradients)
        if self.clip_grad > 0:
            self.scaler.unscale_(self.optimizer_g)
            for group in self.optimizer_g.param_groups:
                clip_grad_norm_(group['params'], self.clip_grad)
        self.scaler.step(self.optimizer_g)
        return prediction if self.reuse_fake else None

    def _compare(self, criterion: nn.Module, output: Tensor) -> Tensor:
        """A loss on pixels; one whose `forward` has an argument `lq` is also given the compressed images."""
        takes_lq = 'lq' in inspect.signature(criterion.forward).parameters
        return criterion(output, self.gt, lq=self.lq) if takes_lq else criterion(output, self.gt)

    def _true_qf(self) -> Tensor:
        """(N, 1), 1 - QF / 100 as FBCNN estimates it."""
        if self.qf is None:
            raise KeyError('train: qf_opt needs the quality factor of every image, but the batch has no qf; the '
                           'dataset knows it where it compresses the images itself (qf), not of files in dataroot_lq.')
        return 1 - self.qf.to(self.device, torch.float32)[:, None] / 100

    def _update_discriminator(self, loss_dict: OrderedDict, judged: Tensor | None) -> None:
        assert self.net_d is not None and self.cri_gan is not None  # they come together
        self.optimizer_d.zero_grad()
        # Fake first: another pass before it would change the statistics that the graph of `judged` refers to.
        for name, images, is_real in (('fake', self.output.detach(), False), ('real', self.gt, True)):
            if is_real or judged is None:
                with self._autocast():
                    prediction = self.net_d(images)
            else:
                prediction = judged
            loss = self.cri_gan(prediction.float(), is_real, is_disc=True)
            self.scaler.scale(loss).backward()
            loss_dict[f'l_d_{name}'] = loss
            loss_dict[f'out_d_{name}'] = prediction.detach().float().mean()
        self.scaler.step(self.optimizer_d)

    def skips_steps(self) -> bool:
        # With fp16 the scaler skips single steps; when it has given up, its scale goes to 0.
        return self.scaler.is_enabled() and self.scaler.get_scale() >= 1

    # ---------------------------------------------------------------------------------------------------- validation

    def test(self) -> None:
        """Restore `self.lq` into `self.output` with the averaged networks if there are any."""
        # Bare networks: the processes validate unequal numbers of images, and a wrapped one would wait for the others.
        net_g = getattr(self, 'net_g_ema', self.get_bare_model(self.net_g))
        net_t = getattr(self, 'net_t_ema', self.get_bare_model(self.net_t))
        modes = [(net, net.training) for net in (net_g, net_t) if net is not None]
        for net, _ in modes:
            net.eval()
        try:
            with torch.no_grad():
                text = self._encode_text(net_t)
                if tile := self._tile(net_g):
                    self.output = self._restore_in_tiles(net_g, text, tile)
                else:
                    self.output = run_padded(net_g, self.lq, lambda lq: self._restore(net_g, lq, text)).float()
        finally:  # a picture that cannot be restored is left out, and training goes on
            for net, training in modes:
                net.train(training)

    def _tile(self, net_g: nn.Module) -> int:
        """Side of the tiles that one large picture is restored in, for want of memory; 0 for one piece."""
        if len(self.lq) != 1 or not can_tile(net_g):
            return 0
        height, width = self.lq.shape[2:]
        return choose_tile(cast(TextGuidedGenerator, net_g), height, width, memory_for(self.lq.device))

    def _restore_in_tiles(self, net_g: nn.Module, text: TextFeatures | None, tile: int) -> Tensor:
        """The same as in one piece, in bounded memory."""
        output = torch.empty_like(self.lq, dtype=torch.float32)

        def write(rows: slice, columns: slice, part: Tensor) -> None:
            output[..., rows, columns] = part

        height, width = self.lq.shape[2:]
        restore_in_tiles(cast(TextGuidedGenerator, net_g), lambda rows, columns: self.lq[..., rows, columns], write,
                         (height, width), self.lq.device, [(1.0, text)], tile)
        return output

    def nondist_validation(self, dataloader: DataLoader, current_iter: int | str, tb_logger: Any,
                           save_img: bool) -> None:
        validate(self, dataloader, current_iter, tb_logger, save_img)

    # ---------------------------------------------------------------------------------------------------- checkpoints

    def resume_training(self, resume_state: dict) -> None:
        super().resume_training(resume_state)
        if resume_state.get('scaler'):  # empty where the state was saved without fp16
            self.scaler.load_state_dict(resume_state['scaler'])
