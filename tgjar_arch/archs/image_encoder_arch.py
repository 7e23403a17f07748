"""DAMSM's image encoder: image regions and whole images in the text encoder's space (paper 3.4, AttnGAN 3.2)."""

import difflib
import warnings
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.feature_extraction import create_feature_extractor

from tgjar_arch.weights.trunk import read_trunk

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_PLUS_MINUS_ONE = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# backbone -> (node of the regions, node of the whole image): a map of 17x17 at 299 pixels, and the last one.
_NODES = {'inception_v3': ('Mixed_6e', 'Mixed_7c'), 'alexnet': ('features.11', 'features.11')}


class DAMSMImageEncoder(nn.Module):
    """Image encoder of AttnGAN's DAMSM (https://arxiv.org/abs/1711.10485, section 3.2) on any torchvision backbone::

        images -- resize 299 -- normalise -- backbone --+-- map -- Conv1 (no bias) -------- regions (N, D, 17, 17)
                                                        +-- last map -- GAP -- FC --------- global (N, D)

    Only the two projections are trained, 721,152 parameters with Inception-v3. A frozen backbone is frozen whole: its
    batch-normalisation statistics stay too, unless `bn_drift` asks for AttnGAN's behaviour.

    Args:
        backbone: name of a torchvision classification model; the paper's is `inception_v3`.
        text_dim: D, as the text encoder's.
        weights: the backbone's: None for random ones, `imagenet` for torchvision's (downloaded once by torchvision), or
            the path of a local `.pth`, `.safetensors` or `.npz` file with torchvision's names; layers behind the nodes,
            such as the classifier, may be missing there.
        region_node: layer whose output, a map, gives the regions (`torchvision.models.feature_extraction`); None for
            the usual one of `inception_v3` and `alexnet`.
        global_node: layer whose output, a map, is pooled for the whole image; None as above.
        train_backbone: also train the backbone.
        bn_drift: let batch normalisation of a frozen backbone follow the data while training, as AttnGAN's code does.
        input_size: height and width in pixels that images are resized to; Inception-v3's 299 as in the paper, less for
            a faster, coarser encoder.

    Raises:
        ValueError: for an unknown backbone or node, or weights that do not fit.
        OSError: when the weights cannot be downloaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str = 'inception_v3', text_dim: int = 256, weights: str | None = None,
                 region_node: str | None = None, global_node: str | None = None, train_backbone: bool = False,
                 bn_drift: bool = False, input_size: int = 299) -> None:
        super().__init__()
        self.train_backbone, self.bn_drift, self.input_size = train_backbone, bn_drift, input_size
        self._options = {'backbone': backbone, 'text_dim': text_dim, 'region_node': region_node,
                         'global_node': global_node, 'train_backbone': train_backbone, 'bn_drift': bn_drift,
                         'input_size': input_size}
        usual = _NODES.get(backbone, (None, None))
        region_node, global_node = region_node or usual[0], global_node or usual[1]
        if region_node is None or global_node is None:
            raise ValueError(f'DAMSMImageEncoder knows the nodes of {", ".join(_NODES)} only; name region_node and '
                             f'global_node for backbone {backbone!r}.')
        nodes = region_node, global_node
        self.backbone = _build_backbone(backbone, weights, nodes)
        if not train_backbone:
            self.backbone.requires_grad_(False)
        # Inception-v3's weights come from TensorFlow and want [-1, 1]; other models ImageNet's statistics.
        mean, std = _PLUS_MINUS_ONE if backbone == 'inception_v3' else _IMAGENET
        self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1), persistent=False)

        self.eval()
        with torch.no_grad():
            maps = self.backbone(torch.zeros(1, 3, self.input_size, self.input_size))
        regions, global_features = maps['regions'], maps.get('global', maps['regions'])
        for node, output in zip(nodes, (regions, global_features), strict=True):
            if output.ndim != 4:
                raise ValueError(f'node {node!r} of {backbone} gives {tuple(output.shape)}, no map (N, C, h, w); name '
                                 'an earlier one.')
        # Named as in the public AttnGAN checkpoints.
        self.emb_features = nn.Conv2d(regions.shape[1], text_dim, 1, bias=False)
        self.emb_cnn_code = nn.Linear(global_features.shape[1], text_dim)
        nn.init.uniform_(self.emb_features.weight, -0.1, 0.1)
        nn.init.uniform_(self.emb_cnn_code.weight, -0.1, 0.1)
        self.train()

    def portable_options(self) -> dict[str, Any]:
        """Options that build this network again, without the file its backbone's weights came from."""
        return {'type': type(self).__name__} | self._options

    def train(self, mode: bool = True) -> 'DAMSMImageEncoder':
        super().train(mode)
        if not (self.train_backbone or self.bn_drift):
            self.backbone.eval()
        return self

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        size = (self.input_size, self.input_size)
        images = images.to(self.mean.dtype)  # half precision from another network's autocast
        if images.shape[2:] != size:
            images = F.interpolate(images, size=size, mode='bilinear', align_corners=False)
        features = self.backbone((images - self.mean) / self.std)
        return features['regions'], features.get('global', features['regions']).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (N, 3, H, W), RGB in [0, 1], resized to `input_size` inside; gradients reach the images.

        Returns:
            regions (N, D, h, w), 17x17 with the usual nodes and size, and global features (N, D).

        Raises:
            ValueError: when the images are not (N, 3, H, W).
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f'DAMSMImageEncoder expects images (N, 3, H, W), but got {tuple(images.shape)}.')
        # A frozen backbone needs no graph unless the image itself wants a gradient (stage 2).
        with torch.set_grad_enabled(torch.is_grad_enabled() and (self.train_backbone or images.requires_grad)):
            regions, global_features = self._features(images)
        return self.emb_features(regions), self.emb_cnn_code(global_features)


def _build_backbone(name: str, weights: str | None, nodes: tuple[str, str]) -> nn.Module:
    """The backbone up to its two nodes: images to a dict of `regions` and, at another node, `global`."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise ValueError(f'torchvision has no classification model {name!r}'
                         + (f'; the nearest is {near[0]!r}.' if near else '.'))
    # Inception's own: no second classifier, and its random weights are drawn only where they are kept.
    extra = {'aux_logits': weights == 'imagenet', 'transform_input': False} if name == 'inception_v3' else {}
    if name == 'inception_v3':
        extra['init_weights'] = weights is None
    try:
        net = torchvision.models.get_model(name, weights='DEFAULT' if weights == 'imagenet' else None, **extra)
    except (OSError, RuntimeError) as error:  # no network, or a file that was cut short
        if weights != 'imagenet':
            raise
        raise OSError(f"network_i: weights: imagenet: torchvision's weights of {name} cannot be downloaded ({error}); "
                      'download the .pth file elsewhere and name it, network_i: weights: FILE, or take backbone: '
                      'alexnet, whose file is smaller.') from error

    outputs = {nodes[0]: 'regions'} | ({nodes[1]: 'global'} if nodes[1] != nodes[0] else {})
    try:
        with warnings.catch_warnings():
            # Some models skip layers while training (Inception's second classifier); the nodes are in both ways.
            warnings.filterwarnings('ignore', message='NOTE: The nodes obtained by tracing')
            extractor = create_feature_extractor(net, return_nodes=outputs)
    except ValueError as error:
        raise ValueError(f'{name} has no node {nodes[0]!r} or {nodes[1]!r}: {error}') from error
    if weights not in (None, 'imagenet'):
        _load_weights(extractor, weights, name)
    return extractor


def _load_weights(extractor: nn.Module, path: str, name: str) -> None:
    wanted = extractor.state_dict()
    state = {key: value for key, value in read_trunk(path).items() if key in wanted}
    wrong = [f'{key} {tuple(value.shape)} instead of {tuple(wanted[key].shape)}' for key, value in state.items()
             if value.shape != wanted[key].shape]
    if wrong:
        raise ValueError(f'weights {path} do not fit {name}: {len(wrong)} tensors have other shapes, e.g. {wrong[0]}.')
    # Files of old PyTorch versions have no num_batches_tracked, which is no weight.
    missing = [key for key in wanted if key not in state and not key.endswith('num_batches_tracked')]
    if missing:  # it would stay random unnoticed
        raise ValueError(f'weights {path} lack {len(missing)} tensors of {name}, e.g. {missing[:3]}.')
    extractor.load_state_dict(state, strict=False)
