"""`tgjar export`: a training checkpoint becomes one file with weights, tokenizer and configuration.

The file is a .safetensors, which `tgjar restore` reads, or with --onnx an ONNX graph for onnxruntime.
"""

import argparse
import inspect
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tgjar_arch.registration import network_class
from tgjar_arch.weights.checkpoint import load_checkpoint
from tgjar_arch.weights.file import ExportedWeights, read_weights, with_text_norm_said, write_weights
from tgjar_arch.weights.network_check import check_network
from tgjar_arch.weights.shipped import shipped


def collect(checkpoint: Path, averaged: bool = True, without_text: bool = False) -> ExportedWeights:
    """Gather what belongs to a generator's checkpoint.

    Args:
        checkpoint: `.../models/net_g_ITER.pth`, or an experiment's folder, whose newest checkpoint is taken. The text
            encoder's, `net_t_ITER.pth`, lies beside it.
        averaged: take the moving average of the weights (`params_ema`) where there is one.
        without_text: leave the text encoder out, for restoration without captions.

    Raises:
        FileNotFoundError: when there is no such checkpoint, or the text encoder's is not beside it.
        ValueError: when it was not written by TGJARModel, or names a network that a weights file may not.
    """
    net_g_file = find_checkpoint(checkpoint)
    network_g, state_g, _ = _read(net_g_file, averaged)
    net_t_file = net_g_file.with_name(net_g_file.name.replace('net_g_', 'net_t_', 1))
    if without_text or not _uses_text(network_g):
        return ExportedWeights(network_g, state_g)
    if not net_t_file.is_file():
        raise FileNotFoundError(f'{net_g_file} takes captions, but its text encoder {net_t_file.name} is not there; '
                                'copy it there, or give --without-text to restore without captions.')
    network_t, state_t, content = _read(net_t_file, averaged)
    return ExportedWeights(network_g, state_g, network_t, state_t, content['tokenizer'], content['max_words'])


def _uses_text(network_g: dict) -> bool:
    options = dict(network_g)
    network = network_class(options.pop('type'))
    if 'text' not in inspect.signature(network.forward).parameters:
        return False
    with torch.device('meta'):  # no weights are needed to ask
        return getattr(network(**options), 'uses_text', True)


def find_checkpoint(path: Path) -> Path:
    """The generator's checkpoint `path` stands for: itself, or the newest of an experiment's folder."""
    if not path.is_dir():
        if not path.name.startswith('net_g_'):
            names = f' (shipped weights are {", ".join(shipped())})' if shipped() else ''
            raise ValueError(f'{path} is no generator checkpoint; name experiments/NAME, or its models/net_g_ITER.pth'
                             f'{names}.')
        return path
    found = [*path.glob('net_g_*.pth'), *path.glob('models/net_g_*.pth')]
    if not found:
        raise FileNotFoundError(f'{path} has no checkpoint models/net_g_*.pth; has the training saved one yet?')
    # By number, since copying may change times; `latest` has none, and after a resumed run it may be older than them.
    numbered = [file for file in found if file.stem.rpartition('_')[2].isdecimal()]
    best = max(numbered, key=lambda file: int(file.stem.rpartition('_')[2]), default=None)
    others = [file for file in found if file not in numbered and (
        best is None or file.stat().st_mtime_ns >= best.stat().st_mtime_ns)]
    newest = max(others, key=lambda file: file.stat().st_mtime_ns, default=best)
    assert newest is not None  # something was found
    return newest


def _read(path: Path, averaged: bool) -> tuple[dict, dict, dict]:
    content = load_checkpoint(path)
    if 'network' not in content:
        raise ValueError(f'{path} does not say which network it is; only checkpoints that TGJARModel wrote can be '
                         'exported.')
    state = content['params_ema'] if averaged and 'params_ema' in content else content['params']
    try:
        network = with_text_norm_said(check_network(json.loads(content['network']), 'network'))
    except (ValueError, TypeError) as error:
        raise ValueError(f'{path} cannot be exported: {error}') from error
    return network, state, content


def _gather(path: Path, averaged: bool, without_text: bool) -> tuple[ExportedWeights, Path]:
    """What `path` holds, a checkpoint or a file exported earlier, and the file it is from."""
    if path.suffix == '.safetensors':
        weights = read_weights(path)
        return (ExportedWeights(weights.network_g, weights.state_g) if without_text else weights), path
    checkpoint = find_checkpoint(path)
    return collect(checkpoint, averaged, without_text), checkpoint


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='tgjar export', description=__doc__)
    parser.add_argument('checkpoint', type=Path,
                        help='experiments/NAME (its newest checkpoint) or .../models/net_g_ITER.pth; with --onnx also '
                             'a .safetensors file exported earlier, or the name of shipped weights')
    parser.add_argument('-o', '--output', type=Path, required=True, help='file to write, .safetensors or .onnx')
    parser.add_argument('--onnx', action='store_true',
                        help="write an ONNX graph of generator and text encoder (needs pip install 'tgjar[onnx]')")
    parser.add_argument('--raw', action='store_true', help='the weights themselves, not their moving average')
    parser.add_argument('--without-text', action='store_true', help='leave the text encoder out: no captions later')
    parser.add_argument('--half', action='store_true', help='store as float16: half the size; not with --onnx')
    parser.add_argument('--max-qf', type=int, metavar='N', help='the best JPEG quality, 1 to 100, that these weights '
                        'still gain on; `tgjar restore` leaves better files as they are. Not with --onnx')
    parser.add_argument('--source', default='', metavar='TEXT', help='how the weights were made, one line of at most '
                        '500 characters that the file keeps; not with --onnx')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing file')
    args = parser.parse_args(argv)
    if not args.checkpoint.exists():  # else a name
        args.checkpoint = shipped().get(str(args.checkpoint), args.checkpoint)
    suffix = '.onnx' if args.onnx else '.safetensors'
    if args.output.suffix != suffix:
        parser.error(f'the output {args.output} must end in {suffix}{" with --onnx" if args.onnx else ""}'
                     + ('; or give --onnx' if args.output.suffix == '.onnx' else ''))
    if args.onnx and args.half:
        parser.error('--half stores float16, which --onnx does not; leave it out')
    if args.onnx and (args.max_qf is not None or args.source):
        parser.error('--max-qf and --source are kept by a .safetensors file, not with --onnx; leave them out')
    if args.max_qf is not None and not 1 <= args.max_qf <= 100:
        parser.error(f'--max-qf must be a JPEG quality from 1 to 100, but is {args.max_qf}')
    if args.onnx and args.raw and args.checkpoint.suffix == '.safetensors':
        parser.error(f'{args.checkpoint} has one set of weights; --raw chooses among those of a checkpoint')
    if not args.onnx and args.checkpoint.suffix == '.safetensors':
        parser.error(f'{args.checkpoint} is exported already; name a checkpoint, or give --onnx')
    if args.output.exists() and not args.overwrite:
        parser.error(f'{args.output} exists; give --overwrite to replace it')
    equality = ''
    try:
        weights, source = _gather(args.checkpoint, not args.raw, args.without_text)
        if args.onnx:
            # Here: it takes seconds, and only few want it.
            from tgjar_arch.restoration.onnx_export import export_onnx

            difference = export_onnx(args.output, weights, source.name)
            equality = f'; onnxruntime gives the pixels of PyTorch to {difference:.0e}'
        else:
            write_weights(args.output, replace(weights, max_qf=args.max_qf, source=args.source), args.half)
    except (ImportError, OSError, ValueError) as error:
        print(f'tgjar export: {error}', file=sys.stderr)
        return 1
    with_text = ''
    if weights.tokenizer:
        with_text = f', text encoder and {json.loads(weights.tokenizer)["model"]["type"]} tokenizer'
    print(f'{args.output}: {weights.network_g["type"]}{with_text} from {source} '
          f'({args.output.stat().st_size / 1e6:.1f} MB){equality}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
