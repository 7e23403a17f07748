"""Proof that text matters: shapes whose colour JPEG at quality 1 loses, and captions that name it.

    python -m benchmarks.text_matters -o docs/text_matters.png

The shapes are muted: their chroma lies so near to grey that at quality 1 every chroma coefficient rounds to zero (step
255, and 8 * 15 < 255 / 2). So the compressed image is grey, and only the caption knows the colour. The same small model
is trained twice through TGJARModel, with the captions and without, for the same number of iterations; then the colour
word is swapped.
"""

import argparse
import json
import math
import random
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from torch.utils.data import DataLoader
from tqdm import tqdm

import tgjar_arch
from tgjar_arch.pictures.panel import draw_panel
from tgjar_arch.text.word_tokenizer import WordTokenizer, pad_ids

tgjar_arch.register()

SIZE = 32  # pixels
CHROMA = 15  # distance from grey in Cb, Cr
# of the shape and the ground: levels that JPEG's step of 255 / 8 keeps, so that colour is what is lost
LUMA = (160, 96)
# hue angles
COLOURS = {name: k * math.pi / 3 for k, name in enumerate(('blue', 'violet', 'red', 'yellow', 'green', 'cyan'))}
SHAPES = ('circle', 'square', 'triangle')
MAX_WORDS = 6


def draw(rng: random.Random, colour: str, shape: str) -> tuple[np.ndarray, np.ndarray]:
    """A muted shape on grey: image (32, 32, 3) uint8 BGR, and the mask (32, 32) bool of the shape."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    centre, radius = (rng.randint(13, 19), rng.randint(13, 19)), rng.randint(8, 11)
    if shape == 'circle':
        cv2.circle(mask, centre, radius, 1, -1)
    elif shape == 'square':
        cv2.rectangle(mask, (centre[0] - radius, centre[1] - radius), (centre[0] + radius, centre[1] + radius), 1, -1)
    else:
        angles = [math.pi * (2 * k / 3 - 0.5) for k in range(3)]
        points = [[round(centre[0] + 1.3 * radius * math.cos(a)), round(centre[1] + 1.3 * radius * math.sin(a))]
                  for a in angles]
        cv2.fillPoly(mask, [np.array(points)], 1)
    luma = np.where(mask, *LUMA)
    cb, cr = (128 + CHROMA * mask * value for value in (math.cos(COLOURS[colour]), math.sin(COLOURS[colour])))
    ycrcb = np.stack([luma, cr, cb], axis=2).clip(0, 255).round().astype(np.uint8)
    return cv2.cvtColor(ycrcb, cv2.COLOR_YCrCb2BGR), mask.astype(bool)


def write_shapes(folder: Path, count: int, seed: int) -> None:
    """Write `count` images, all colours and shapes in turn, with `metadata.jsonl`."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    with open(folder / 'metadata.jsonl', 'w', encoding='utf-8') as metadata:
        for k in range(count):
            colour, shape = list(COLOURS)[k % len(COLOURS)], SHAPES[k // len(COLOURS) % len(SHAPES)]
            name = f'{k:04d}_{colour}_{shape}.png'
            cv2.imwrite(str(folder / name), draw(rng, colour, shape)[0])
            metadata.write(json.dumps({'file_name': name, 'captions': [f'a {colour} {shape}']}) + '\n')


def options(root: Path, iterations: int, guided: bool, text_norm: bool = True) -> dict:
    """What an option file would hold, for the guided model or the same one without captions."""
    dataset = {'type': 'PairedImageTextDataset', 'io_backend': {'type': 'disk'}, 'qf': 1, 'max_words': MAX_WORDS,
               'tokenizer': str(root / 'tokenizer.json')}
    opt = {
        'name': 'shapes', 'model_type': 'TGJARModel', 'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1,
        'is_train': True, 'path': {},
        'datasets': {'train': dataset | {'name': 'train', 'phase': 'train', 'dataroot_gt': str(root / 'train'),
                                         'gt_size': SIZE},
                     'val': dataset | {'name': 'val', 'phase': 'val', 'dataroot_gt': str(root / 'val')}},
        'network_g': {'type': 'TGJARGenerator', 'num_feat': 16, 'num_block': 1, 'text_dim': 32,
                      'use_global_fusion': guided, 'use_local_fusion': guided, 'text_norm': text_norm},
        'network_t': {'type': 'LSTMTextEncoder', 'vocab_size': None, 'embed_dim': 32, 'text_dim': 32, 'drop_prob': 0.0},
        # MSE, not L1: as long as the caption is not understood, grey is the median of six colours, and L1 stays there
        # long.
        'train': {'train_network_t': guided, 'pixel_opt': {'type': 'MSELoss', 'loss_weight': 1.0, 'reduction': 'mean'},
                  'optim_g': {'type': 'Adam', 'lr': 2e-3},
                  'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [iterations], 'restart_weights': [1],
                                'eta_min': 1e-6}},
        'val': {},
    }
    if not guided:
        del opt['network_t']
    return opt


def train(root: Path, iterations: int, guided: bool, quiet: bool = False, text_norm: bool = True):
    """Train on `root/train` with TGJARModel; returns the model."""
    torch.manual_seed(0)
    random.seed(0)
    opt = options(root, iterations, guided, text_norm)
    loader = DataLoader(build_dataset(opt['datasets']['train']), batch_size=12, shuffle=True, drop_last=True)
    model = build_model(opt)
    iteration = 0
    with tqdm(total=iterations, desc='with captions' if guided else 'without', disable=quiet) as progress:
        while iteration < iterations:
            for batch in loader:
                iteration += 1
                if iteration > iterations:
                    break
                model.update_learning_rate(iteration)
                model.feed_data(batch)
                model.optimize_parameters(iteration)
                progress.update()
    return model


def restore(model, batch: dict, captions: list[str] | None = None) -> torch.Tensor:
    """Restored images (N, 3, 32, 32) of a validation batch, with other captions if given."""
    if captions is not None:
        padded = [pad_ids(model.tokenizer.encode(caption), MAX_WORDS) for caption in captions]
        batch = batch | dict(zip(('text', 'text_mask'), map(torch.stack, zip(*padded, strict=True)), strict=True))
    model.feed_data(batch)
    model.test()
    return model.output


def hues(images: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
    """Mean chroma (N, 2) (Cb, Cr, 0-255 with 0 at grey) of `images` within the shape, which `gt`'s colour marks."""
    def chroma(rgb: torch.Tensor) -> torch.Tensor:
        r, g, b = (rgb * 255).unbind(1)
        return torch.stack((-0.168736 * r - 0.331264 * g + 0.5 * b, 0.5 * r - 0.418688 * g - 0.081312 * b), dim=1)

    inside = (chroma(gt).norm(dim=1, keepdim=True) > CHROMA / 2).float()
    return (chroma(images) * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3))


def psnr(images: torch.Tensor, gt: torch.Tensor) -> float:
    """Mean PSNR in dB over RGB."""
    error = (images.clamp(0, 1) - gt).square().mean(dim=(1, 2, 3))
    return (-10 * error.log10()).mean().item()


def run(root: Path, iterations: int = 1200, quiet: bool = False,
        text_norm: bool = True) -> tuple[dict[str, float], list]:
    """Make the data, train both models, measure; returns the figures and rows for the picture."""
    write_shapes(root / 'train', 360, seed=1)
    write_shapes(root / 'val', 36, seed=2)
    WordTokenizer.build(f'a {colour} {shape}' for colour in COLOURS for shape in SHAPES).save(root / 'tokenizer.json')
    guided, unguided = (train(root, iterations, captions, quiet, text_norm) for captions in (True, False))
    batch = next(iter(DataLoader(build_dataset(guided.opt['datasets']['val']), batch_size=36)))
    gt, colours = batch['gt'], list(COLOURS)
    swapped = [caption.replace(colour, colours[(colours.index(colour) + 3) % 6])
               for caption in batch['caption'] for colour in colours if colour in caption.split()]
    results = {'with': restore(guided, batch), 'without': restore(unguided, batch),
               'swapped': restore(guided, batch, swapped)}
    true, found, opposite = hues(gt, gt), hues(results['with'], gt), hues(results['swapped'], gt)
    cosine = torch.nn.functional.cosine_similarity
    figures = {
        'PSNR of the JPEG': psnr(batch['lq'], gt),
        'PSNR without captions': psnr(results['without'], gt),
        'PSNR with captions': psnr(results['with'], gt),
        'PSNR with the colour word swapped': psnr(results['swapped'], gt),
        'chroma left in the JPEG (of 15)': hues(batch['lq'], gt).norm(dim=1).mean().item(),
        'right hue with captions': (cosine(true, found) > math.cos(math.pi / 6)).float().mean().item(),
        'right hue without captions': (
            (cosine(true, hues(results['without'], gt)) > math.cos(math.pi / 6))
            & (hues(results['without'], gt).norm(dim=1) > CHROMA / 3)).float().mean().item(),
        'hue turned to the swapped word': (cosine(-true, opposite) > math.cos(math.pi / 6)).float().mean().item(),
    }
    pictures = [batch['lq'], results['without'], results['with'], results['swapped'], gt]
    rows = []
    for k in (0, 7, 14, 21, 28, 35):
        images = [_enlarge(picture[k]) for picture in pictures]
        rows.append((f'{batch["caption"][k]}; swapped: {swapped[k]}', images))
    return figures, rows


def _enlarge(image: torch.Tensor) -> np.ndarray:
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return cv2.resize(pixels, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-o', '--output', type=Path, default=Path('results/text_matters.png'), help='picture to write')
    parser.add_argument('--iterations', type=int, default=1200)
    parser.add_argument('--no-text-norm', action='store_true', help='a generator without text_norm')
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures, rows = run(Path(folder), args.iterations, text_norm=not args.no_text_norm)
    print('| measure | value |\n|---|---|')
    for name, value in figures.items():
        print(f'| {name} | {value:.2f} |')
    args.output.parent.mkdir(parents=True, exist_ok=True)
    draw_panel(rows, ('JPEG', 'no captions', 'captions', 'swapped', 'original')).save(args.output)
    print(f'The picture: {args.output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
