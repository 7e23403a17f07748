"""Generator and text encoder as one ONNX file, which onnxruntime runs without PyTorch.

    lq (N, 3, H, W) -- reflect padding to multiples of 8 --+
    text, text_mask (N, T) -- text encoder -- features -- generator -- crop -- clip -- restored (N, 3, H, W)

N, T, H and W are free: H and W from 8 up, T from 1 up. The file's metadata holds what else is needed: `format`,
`network_g`, `network_t` (JSON), `tokenizer` (a tokenizer.json), `max_words` and `source`.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tgjar_arch.archs.fusion import GlobalFusion
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.archs.text_guided_generator import TextGuidedGenerator
from tgjar_arch.atomic_file import atomic
from tgjar_arch.registration import NAMES, network_class
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.features import TextFeatures
from tgjar_arch.version import VERSION
from tgjar_arch.weights.file import ExportedWeights

if TYPE_CHECKING:
    from onnx import ModelProto

FORMAT = 'tgjar-onnx-1'
OPSET = 18
TOLERANCE = 1e-4  # of a pixel in [0, 1]; a step of an 8-bit image is 40 times as much
_GRID = 8  # both pad to multiples of it, by reflection


def export_onnx(path: str | Path, weights: ExportedWeights, source: str = '') -> float:
    """Write a `.onnx` file, whole or not at all, after onnxruntime has given the same pixels as PyTorch.

    Inputs are `lq` (N, 3, H, W) float32, RGB in [0, 1]; with a text encoder also `text` (N, T) int64, ids of the
    tokenizer in the metadata, and `text_mask` (N, T) bool, True at a real word; real words stand first, and a row
    without any is no caption. The output `restored` is clipped to [0, 1]. Without a text encoder the generator has its
    null condition inside.

    Args:
        path: the file; its folder is made.
        weights: what to write, with a `TGJARGenerator` or `TGJARLiteGenerator`.
        source: where the weights come from, for the metadata.

    Returns:
        The greatest difference between onnxruntime's and PyTorch's pixels in the comparison, at most `TOLERANCE`.

    Raises:
        ImportError: when the extra `onnx` is not installed.
        ValueError: when the networks cannot be written as ONNX, or the file would restore otherwise than PyTorch.
        OSError: when the file cannot be written; an older one of that name is untouched.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401  for the comparison
        import onnxscript  # noqa: F401  PyTorch's exporter needs it
    except ImportError as error:
        raise ImportError(f"ONNX files need the packages of the extra onnx ({error}): pip install 'tgjar[onnx]'."
                          ) from error
    kind = weights.network_g['type']
    if kind not in NAMES['arch'] or not issubclass(network_class(kind), TextGuidedGenerator):
        raise ValueError(f'only TGJARGenerator and TGJARLiteGenerator are written as ONNX, not {kind}.')
    restorer = Restorer(weights, 'cpu')
    model = _pad_inside(_trace(restorer))
    metadata = {'format': FORMAT, 'source': f'tgjar {VERSION}' + (f', {source}' if source else ''),
                'network_g': json.dumps(weights.network_g)}
    if restorer.takes_text:
        assert weights.tokenizer is not None  # the restorer has read it
        metadata |= {'network_t': json.dumps(weights.network_t), 'tokenizer': weights.tokenizer,
                     'max_words': str(weights.max_words)}
    onnx.helper.set_model_props(model, metadata)
    content = model.SerializeToString()
    difference = _compare(content, restorer)

    with atomic(path, durable=True) as temporary:
        temporary.write_bytes(content)
    return difference


class _PlainGlobalFusion(GlobalFusion):
    """GFM as the paper draws it: the module's own shortcut branches on the size, which a graph for any size cannot."""

    def __init__(self, gfm: GlobalFusion) -> None:
        nn.Module.__init__(self)  # the layers are those of `gfm`
        self.conv_global, self.fc, self.conv_fuse = gfm.conv_global, gfm.fc, gfm.conv_fuse

    def fuse(self, x: Tensor, pooled: Tensor, sentence: Tensor) -> Tensor:
        fused = self.fc(torch.cat((pooled, sentence), dim=1))  # (N, C)
        repeated = fused[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.conv_fuse(torch.cat((x, repeated), dim=1))


class _PaddedLSTM(nn.Module):
    """`LSTMTextEncoder` without packed sequences, which ONNX has not: the same features from two one-way LSTMs.

    Forward, a padded word comes after all real ones and reaches none of them. Backward, the real words of each row are
    put in reverse order first, so that the padding comes last there too.
    """

    def __init__(self, net: LSTMTextEncoder) -> None:
        super().__init__()
        self.encoder = net.encoder
        self.ahead, self.back = (nn.LSTM(net.rnn.input_size, net.rnn.hidden_size, batch_first=True) for _ in range(2))
        state = net.rnn.state_dict()
        self.ahead.load_state_dict({key: value for key, value in state.items() if not key.endswith('_reverse')})
        self.back.load_state_dict({key.removesuffix('_reverse'): value for key, value in state.items()
                                   if key.endswith('_reverse')})

    def forward(self, ids: Tensor, mask: Tensor) -> TextFeatures:
        """Features of ids (N, T) and mask (N, T), as `LSTMTextEncoder.forward`."""
        lengths = mask.sum(dim=1, keepdim=True)  # (N, 1)
        steps = torch.arange(ids.shape[1], device=ids.device)  # (T,)
        order = torch.where(mask, lengths - 1 - steps, steps)  # (N, T), its own inverse
        ahead, _ = self.ahead(self.encoder(ids))  # (N, T, D/2)
        back, _ = self.back(self.encoder(ids.gather(1, order)))  # (N, T, D/2), the last word first
        half = back.shape[2]
        back = back.gather(1, order[:, :, None].expand(-1, -1, half))
        words = torch.cat((ahead, back), dim=2).transpose(1, 2).masked_fill(~mask[:, None], 0)  # (N, D, T)
        last = (lengths - 1).clamp(min=0)[:, :, None].expand(-1, -1, half)  # (N, 1, D/2)
        sentence = torch.cat((ahead.gather(1, last)[:, 0], back[:, 0]), dim=1)  # (N, D)
        return TextFeatures(words, sentence.masked_fill(lengths == 0, 0), mask)


class _Graph(nn.Module):
    """What the file computes, for H and W in multiples of 8."""

    def __init__(self, net_g: TextGuidedGenerator, net_t: nn.Module | None) -> None:
        super().__init__()
        self.net_g = deepcopy(net_g)
        if self.net_g.gfm is not None:
            self.net_g.gfm = _PlainGlobalFusion(self.net_g.gfm)
        self.net_t = _PaddedLSTM(net_t) if isinstance(net_t, LSTMTextEncoder) else net_t

    def forward(self, lq: Tensor, text: Tensor | None = None, text_mask: Tensor | None = None) -> Tensor:
        features = None if self.net_t is None else self.net_t(text, text_mask)
        return self.net_g(lq, features).clamp(0, 1)


def _generator(restorer: Restorer) -> TextGuidedGenerator:
    assert isinstance(restorer.net_g, TextGuidedGenerator)  # `export_onnx` has refused others
    return restorer.net_g


def _trace(restorer: Restorer) -> 'ModelProto':
    """The graph for H and W in multiples of 8; its image input and output are named `padded` and `whole`."""
    net_g = _generator(restorer)
    graph = _Graph(net_g, restorer.net_t if restorer.takes_text else None).requires_grad_(False).eval()
    dim = torch.export.Dim
    images = dim('N', min=1)
    names, inputs = ['padded'], [torch.rand(2, net_g.num_in_ch, 4 * _GRID, 5 * _GRID)]
    shapes = [{0: images, 2: _GRID * dim('h', min=1), 3: _GRID * dim('w', min=1)}]
    if restorer.takes_text:
        words = dim('T', min=1, max=getattr(restorer.net_t, 'max_tokens', None))
        names += ['text', 'text_mask']
        inputs += _captions(restorer, lengths=(5, 3))
        shapes += [{0: images, 1: words}] * 2
    try:
        with torch.no_grad(), _quiet_exporter():
            program = torch.onnx.export(graph, tuple(inputs), dynamo=True, verbose=False, input_names=names,
                                        output_names=['whole'], dynamic_shapes=tuple(shapes), opset_version=OPSET,
                                        external_data=False)
    except torch.onnx.OnnxExporterError as error:
        text = f' with {type(restorer.net_t).__name__}' if restorer.takes_text else ''
        lines = [line for line in str(error).splitlines() if line.startswith('<class')] or [str(error)]
        raise ValueError(f'{restorer.name}{text} cannot be written as ONNX by PyTorch {torch.__version__}: {lines[-1]}'
                         ) from error
    assert program is not None  # with dynamo
    model = program.model_proto
    fixed = [value.name for value in model.graph.input
             if sum(not axis.dim_param for axis in value.type.tensor_type.shape.dim) > (value.name == 'padded')]
    if fixed:
        raise ValueError(f'{restorer.name} cannot be written as ONNX: its code fixes a size of {", ".join(fixed)}, '
                         'which must be free.')
    return model


def _pad_inside(model: 'ModelProto') -> 'ModelProto':
    """Put the generator's padding and cropping, whose amounts depend on H and W, around a graph of `_trace`."""
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = model.graph
    (padded,) = (value for value in graph.input if value.name == 'padded')
    (whole,) = graph.output
    channels = padded.type.tensor_type.shape.dim[1].dim_value

    def constant(name: str, *values: int) -> TensorProto:
        return numpy_helper.from_array(torch.tensor(values).numpy(), f'pad_{name}')

    graph.initializer.extend([constant('grid', _GRID), constant('none', *[0] * 6), constant('start', 0, 0),
                              constant('axes', 2, 3)])
    before = [
        helper.make_node('Shape', ['lq'], ['pad_size'], start=2, end=4),
        helper.make_node('Neg', ['pad_size'], ['pad_minus']),
        helper.make_node('Mod', ['pad_minus', 'pad_grid'], ['pad_missing']),  # as Python's: never negative
        helper.make_node('Concat', ['pad_none', 'pad_missing'], ['pad_amounts'], axis=0),
        helper.make_node('Pad', ['lq', 'pad_amounts'], ['padded'], mode='reflect'),
    ]
    nodes = [*before, *graph.node,
             helper.make_node('Slice', ['whole', 'pad_start', 'pad_size', 'pad_axes'], ['restored'])]
    inputs = [helper.make_tensor_value_info('lq', TensorProto.FLOAT, ['N', channels, 'H', 'W']),
              *(value for value in graph.input if value.name != 'padded')]
    output = helper.make_tensor_value_info('restored', TensorProto.FLOAT, ['N', channels, 'H', 'W'])
    whole = helper.make_graph(nodes, 'tgjar', inputs, [output], graph.initializer)
    result = helper.make_model(whole, opset_imports=model.opset_import, ir_version=model.ir_version,
                               producer_name='tgjar', producer_version=VERSION)
    checker.check_model(result, full_check=True)
    return result


def _compare(content: bytes, restorer: Restorer) -> float:
    """The greatest difference of onnxruntime's pixels from PyTorch's, at sizes and captions that were not traced.

    Raises:
        ValueError: when it is above `TOLERANCE`.
    """
    import onnxruntime

    net_g = _generator(restorer)
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    differences = []
    for size, lengths in (((8, 9), (0,)), ((33, 50), (7, 0, 2))):
        lq = torch.rand(len(lengths), net_g.num_in_ch, *size)
        inputs = {'lq': lq.numpy()}
        features = None
        if restorer.takes_text:
            ids, mask = _captions(restorer, lengths)
            inputs |= {'text': ids.numpy(), 'text_mask': mask.numpy()}
        with torch.inference_mode():
            if restorer.net_t is not None and restorer.takes_text:
                features = restorer.net_t(ids, mask)
            expected = net_g(lq, features).clamp(0, 1)
        (got,) = session.run(None, inputs)
        differences.append((torch.from_numpy(got) - expected).abs().max().item())
    if not max(differences) <= TOLERANCE:  # NaN too
        raise ValueError(f'the ONNX file would restore otherwise than PyTorch {torch.__version__}: pixels differ by up '
                         f'to {max(differences):.1e}, more than {TOLERANCE}; nothing was written.')
    return max(differences)


def _captions(restorer: Restorer, lengths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Random ids (N, T) and mask (N, T) of captions with so many words."""
    mask = torch.arange(max(*lengths, 1)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, restorer.tokenizer.vocab_size, mask.shape)
    return ids * mask, mask


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide what PyTorch's exporter says about its own insides and about axes that share a name, as ours do."""
    logger = logging.getLogger('onnxscript')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)
            warnings.filterwarnings('ignore', message='(?s).*(axis name|_flat_weights)')
            yield
    finally:
        logger.setLevel(level)
