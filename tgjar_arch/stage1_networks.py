"""The networks of stage 1 as stage 2 builds them: the text encoder that conditions it, the image encoder of L_IT."""

import inspect
from typing import TYPE_CHECKING

from basicsr.archs import build_network
from basicsr.utils import get_root_logger

from tgjar_arch.text_setup import check_vocabulary, read_tokenizer, text_encoder_options

if TYPE_CHECKING:
    from tgjar_arch.tgjar_model import TGJARModel


def build_text_encoder(model: 'TGJARModel') -> None:
    """Give the model `takes_text` and, if the option file has network_t, `net_t`, `tokenizer` and `network_opts['t']`.

    Raises:
        ValueError: when weights or vocabulary are missing or do not fit.
    """
    opt = model.opt
    net_g = model.get_bare_model(model.net_g)
    model.takes_text = 'text' in inspect.signature(net_g.forward).parameters
    if opt.get('network_t') is None:
        if model.train_text_encoder:
            raise ValueError('train: train_network_t is true, but there is no network_t.')
        if model.takes_text and getattr(net_g, 'uses_text', True):
            get_root_logger().warning('There is no network_t: the generator runs without captions (null condition).')
        return
    model.tokenizer = read_tokenizer(opt)
    model.network_opts['t'] = network_t = text_encoder_options(opt, model.tokenizer)
    net_t = build_network(network_t)

    load_path = opt['path'].get('pretrain_network_t')
    if load_path is not None:
        check_vocabulary(load_path, model.tokenizer)
        model.load_pretrained(net_t, 't')
    elif model.is_train and not model.train_text_encoder:
        raise ValueError('network_t is frozen, but path: pretrain_network_t names no weights for it; give them '
                         '(stage 1), or train it with the generator by train: train_network_t: true.')
    if model.train_text_encoder:
        model.net_t = model.model_to_device(net_t).train()
    else:
        model.net_t = net_t.to(model.device).requires_grad_(False).eval()
    model.print_network(model.net_t)


def build_image_encoder(model: 'TGJARModel') -> None:
    """Give the model the frozen `net_i`.

    Raises:
        ValueError: when it, its weights or the frozen text encoder are missing.
    """
    opt = model.opt
    if not opt.get('network_i') or model.net_t is None or model.train_text_encoder:
        raise ValueError('train: damsm_opt (L_IT) compares images with captions in the space of stage 1: it needs '
                         'network_i, and network_t with train_network_t: false. Or set damsm_opt: ~ .')
    if opt['path'].get('pretrain_network_i') is None:
        raise ValueError('train: damsm_opt (L_IT) is given, but path: pretrain_network_i names no weights for '
                         'network_i; train stage 1 first, or set damsm_opt: ~ .')
    net_i = build_network(opt['network_i'])
    model.load_pretrained(net_i, 'i')
    model.net_i = model.arrange(net_i.to(model.device)).requires_grad_(False).eval()
