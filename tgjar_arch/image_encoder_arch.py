"""DAMSM's image encoder: image regions and whole images in the text encoder's space (paper 3.4, AttnGAN 3.2)."""

import warnings

import torch
import torchvision
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.feature_extraction import create_feature_extractor

from tgjar_arch.trunk_weights import read_trunk

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_PLUS_MINUS_ONE = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# backbone -> (node of the regions, node of the whole image): the finest map of at least 17x17 at 299 pixels, and the last.
_NODES = {'inception_v3': ('Mixed_6e', 'Mixed_7c'), 'alexnet': ('features.11', 'features.11')}


@ARCH_REGISTRY.register()
class DAMSMImageEncoder(nn.Module):
    """Image encoder of AttnGAN's DAMSM (https://arxiv.org/abs/1711.10485, section 3.2) on any torchvision backbone::

        images -- resize 299 -- normalise -- backbone --+-- map -- Conv1 (no bias) -------- regions (N, D, 17, 17)
                                                        +-- last map -- GAP -- FC --------- global (N, D)

    Only the two projections are trained, 721,152 parameters with Inception-v3. A frozen backbone is frozen whole: its
    batch-normalisation statistics stay too, unless `bn_drift` asks for AttnGAN's behaviour.

    Args:
        backbone: name of a torchvision classification model; the paper's is `inception_v3`.
        text_dim: D, as the text encoder's.
        weights: the backbone's: None for random ones, `imagenet` for torchvision's (downloaded once by torchvision), or the
            path of a local `.pth`, `.safetensors` or `.npz` file with torchvision's names; classifier weights may be missing.
        region_node: layer whose output gives the regions (`torchvision.models.feature_extraction`); None for the usual one of
            `inception_v3` and `alexnet`.
        global_node: layer whose output is pooled for the whole image; None as above.
        train_backbone: also train the backbone.
        bn_drift: let batch normalisation of a frozen backbone follow the data while training, as AttnGAN's code does.

    Raises:
        ValueError: for an unknown backbone or node, or weights that do not fit.
    """

    input_size = 299  # pixels, Inception-v3's

    def __init__(self, backbone: str = 'inception_v3', text_dim: int = 256, weights: str | None = None,
                 region_node: str | None = None, global_node: str | None = None, train_backbone: bool = False,
                 bn_drift: bool = False) -> None:
        super().__init__()
        self.train_backbone, self.bn_drift = train_backbone, bn_drift
        usual = _NODES.get(backbone, (None, None))
        nodes = (region_node or usual[0], global_node or usual[1])
        if None in nodes:
            raise ValueError(f'DAMSMImageEncoder knows the nodes of {", ".join(_NODES)}; name region_node and global_node for '
                             f'backbone {backbone!r}.')
        self.nodes = nodes
        self.backbone = _extractor(_build_backbone(backbone, weights), nodes)
        if not train_backbone:
            self.backbone.requires_grad_(False)
        # Inception-v3's weights come from TensorFlow and want [-1, 1]; torchvision's other models ImageNet's statistics.
        mean, std = _PLUS_MINUS_ONE if backbone == 'inception_v3' else _IMAGENET
        self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1), persistent=False)

        self.eval()
        with torch.no_grad():
            regions, whole = self._features(torch.zeros(1, 3, self.input_size, self.input_size))
        # Named as in the public AttnGAN checkpoints.
        self.emb_features = nn.Conv2d(regions.shape[1], text_dim, 1, bias=False)
        self.emb_cnn_code = nn.Linear(whole.shape[1], text_dim)
        nn.init.uniform_(self.emb_features.weight, -0.1, 0.1)
        nn.init.uniform_(self.emb_cnn_code.weight, -0.1, 0.1)
        self.train()

    def train(self, mode: bool = True) -> 'DAMSMImageEncoder':
        super().train(mode)
        if not (self.train_backbone or self.bn_drift):
            self.backbone.eval()
        return self

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        size = (self.input_size, self.input_size)
        if images.shape[2:] != size:
            images = F.interpolate(images, size=size, mode='bilinear', align_corners=False)
        features = self.backbone((images - self.mean) / self.std)
        return features['regions'], features.get('whole', features['regions']).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (N, 3, H, W), RGB in [0, 1], resized to 299x299 inside; gradients reach the images.

        Returns:
            regions (N, D, h, w), 17x17 with the usual nodes, and global features (N, D).

        Raises:
            ValueError: when the images are not (N, 3, H, W).
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f'DAMSMImageEncoder expects images (N, 3, H, W), but got {tuple(images.shape)}.')
        # A frozen backbone needs no graph unless the image itself wants a gradient (stage 2).
        with torch.set_grad_enabled(torch.is_grad_enabled() and (self.train_backbone or images.requires_grad)):
            regions, whole = self._features(images)
        return self.emb_features(regions), self.emb_cnn_code(whole)


def _build_backbone(name: str, weights: str | None) -> nn.Module:
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(f'torchvision has no classification model {name!r}.')
    # Only Inception needs these: no second classifier, and the initialisation that takes half a minute only if it is kept.
    extra = {'aux_logits': weights == 'imagenet', 'transform_input': False} if name == 'inception_v3' else {}
    if name == 'inception_v3' and weights is not None:
        extra['init_weights'] = False
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # torchvision's notice about init_weights
        net = torchvision.models.get_model(name, weights='DEFAULT' if weights == 'imagenet' else None, **extra)
    if weights in (None, 'imagenet'):
        return net
    state = {key: value for key, value in read_trunk(weights).items() if key in net.state_dict()}
    try:
        missing = net.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise ValueError(f'weights {weights} do not fit {name}: {error}') from error
    # The classifier is not used; anything else missing would stay random unnoticed.
    missing = [key for key in missing if not key.startswith(('fc.', 'classifier.', 'AuxLogits.', 'head'))]
    if missing:
        raise ValueError(f'weights {weights} lack {len(missing)} tensors of {name}, e.g. {missing[:3]}.')
    return net


def _extractor(net: nn.Module, nodes: tuple[str, str]) -> nn.Module:
    outputs = {nodes[0]: 'regions'} | ({nodes[1]: 'whole'} if nodes[1] != nodes[0] else {})
    try:
        return create_feature_extractor(net, return_nodes=outputs)
    except ValueError as error:
        raise ValueError(f'{type(net).__name__} has no node {nodes[0]!r} or {nodes[1]!r}: {error}') from error
