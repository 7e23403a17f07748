"""`tgjar export`: turns a training checkpoint into one file with weights, tokenizer and configuration.

The file is a .safetensors, which `tgjar restore` reads, or with --onnx an ONNX graph for onnxruntime.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tgjar_arch.cli import arguments
from tgjar_arch.cli.screen import one_line
from tgjar_arch.weights.shipped import shipped


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tgjar export',
                                     description='Turn a training checkpoint into one file with weights, tokenizer and '
                                     'configuration: a .safetensors, which `tgjar restore` reads, or with --onnx an '
                                     'ONNX graph for onnxruntime.')
    parser.add_argument('checkpoint', type=Path,
                        help='experiments/NAME (its newest checkpoint) or .../models/net_g_ITER.pth; with --onnx also '
                             'a .safetensors file exported earlier, or the name of shipped weights')
    parser.add_argument('-o', '--output', type=Path, required=True, help='file to write, .safetensors or .onnx')
    parser.add_argument('--onnx', action='store_true',
                        help="write an ONNX graph of generator and text encoder (needs pip install 'tgjar[onnx]')")
    parser.add_argument('--raw', action='store_true', help='take the weights themselves, not their moving average')
    parser.add_argument('--without-text', action='store_true', help='leave the text encoder out: no captions later')
    parser.add_argument('--half', action='store_true', help='store as float16, which halves the size; not with --onnx')
    parser.add_argument('--max-qf', type=arguments.quality_factor, metavar='Q',
                        help='the best JPEG quality, 1 to 100, at which these weights still gain; `tgjar restore` '
                        'leaves better files as they are. Not with --onnx')
    parser.add_argument('--source', default='', metavar='TEXT',
                        help='how the weights were made, one line of at most 500 characters that the file keeps; not '
                        'with --onnx')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing file')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar export`.

    Returns:
        Exit code: 0, or 1 if nothing was written; argparse exits with 2 for wrong arguments.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    checkpoint = args.checkpoint
    if not checkpoint.exists():  # else a name
        checkpoint = shipped().get(str(checkpoint), checkpoint)
    suffix = '.onnx' if args.onnx else '.safetensors'
    if args.output.suffix != suffix:
        hint = ' with --onnx' if args.onnx else ''
        if args.output.suffix == '.onnx':
            hint = '; or give --onnx'
        parser.error(f'the output {args.output} must end in {suffix}{hint}')
    if args.onnx and args.half:
        parser.error('--half stores float16, which --onnx does not; leave it out')
    if args.onnx and (args.max_qf is not None or args.source):
        parser.error('--max-qf and --source are kept by a .safetensors file, not with --onnx; leave them out')
    if args.onnx and args.raw and checkpoint.suffix == '.safetensors':
        parser.error(f'{checkpoint} has one set of weights; --raw chooses among those of a checkpoint')
    if not args.onnx and checkpoint.suffix == '.safetensors':
        parser.error(f'{checkpoint} is already exported; name a checkpoint, or give --onnx')
    if args.output.exists() and not args.overwrite:
        parser.error(f'{args.output} already exists; give --overwrite to replace it')
    from tgjar_arch.weights.collect import gather
    from tgjar_arch.weights.file import write_weights

    equality = ''
    try:
        weights, source = gather(checkpoint, not args.raw, args.without_text)
        if args.onnx:
            from tgjar_arch.restoration.onnx_export import export_onnx

            difference = export_onnx(args.output, weights, source.name)
            equality = f'; onnxruntime gives the pixels of PyTorch to {difference:.0e}'
        else:
            write_weights(args.output, replace(weights, max_qf=args.max_qf, source=args.source), args.half)
    except (ImportError, OSError, ValueError) as error:
        print(one_line(f'tgjar export: {error}'), file=sys.stderr)
        return 1
    with_text = ''
    if weights.tokenizer:
        with_text = f', text encoder and {json.loads(weights.tokenizer)["model"]["type"]} tokenizer'
    print(f'{args.output}: {weights.network_g["type"]}{with_text} from {source} '
          f'({args.output.stat().st_size / 1e6:.1f} MB){equality}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
