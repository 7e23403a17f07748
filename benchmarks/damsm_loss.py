"""Time of the batched word loss against the loop over captions it replaces, forward and backward.

    python -m benchmarks.damsm_loss [--threads 2] [--repeats 9]

Both run in turn on the same input, so that whatever else the machine does slows both; the median of the repeats counts.
Prints a Markdown table.
"""
# ruff: noqa: T201

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tgjar_arch.losses.damsm_loss import word_loss


def looped_word_loss(regions: Tensor, words: Tensor, mask: Tensor, class_ids: Tensor | None = None, gamma1: float = 4.0,
                     gamma2: float = 5.0, gamma3: float = 10.0) -> tuple[Tensor, Tensor]:
    """Word loss, one caption after another against all images, in the steps AttnGAN takes.

    Arguments and returns as `tgjar_arch.losses.damsm_loss.word_loss`, for captions of a word at least, padded at the
    end; every class id is a class. The tests compare the batched loss with it.
    """
    n = len(regions)
    lengths = mask.sum(1).tolist()  # the one wait for a GPU; AttnGAN's loader gives a list
    flat = regions.flatten(2)  # (N, D, R)
    columns = []
    for j in range(n):
        word = words[j:j + 1, :, :lengths[j]].repeat(n, 1, 1)  # (N, D, L)
        attention = torch.bmm(flat.transpose(1, 2).contiguous(), word).softmax(2)  # (N, R, L)
        attention = (gamma1 * attention.transpose(1, 2).contiguous()).softmax(2)  # (N, L, R)
        context = torch.bmm(flat, attention.transpose(1, 2).contiguous())  # (N, D, L)
        word, context = word.transpose(1, 2).contiguous(), context.transpose(1, 2).contiguous()
        cosine = (word * context).sum(2) / (word.norm(dim=2) * context.norm(dim=2)).clamp(min=1e-8)  # (N, L)
        columns.append((gamma2 * cosine).exp().sum(1).log())
    scores = gamma3 * torch.stack(columns, dim=1)  # (images, captions)
    if class_ids is not None:
        same = (class_ids[:, None] == class_ids) & ~torch.eye(n, dtype=torch.bool, device=regions.device)
        scores = scores.masked_fill(same, -torch.inf)
    target = torch.arange(n, device=regions.device)
    return F.cross_entropy(scores, target), F.cross_entropy(scores.t(), target)


def seconds(loss: Callable[..., tuple[Tensor, Tensor]], regions: Tensor, words: Tensor,
            mask: Tensor) -> tuple[float, float]:
    """Time of one forward and one backward pass."""
    regions.grad = words.grad = None
    start = time.perf_counter()
    total = sum(loss(regions, words, mask))
    middle = time.perf_counter()
    total.backward()
    return middle - start, time.perf_counter() - middle


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Time the batched word loss against a loop over captions.')
    parser.add_argument('--batch', type=int, default=48)
    parser.add_argument('--words', type=int, default=18)
    parser.add_argument('--side', type=int, default=17, help='regions along one side of the feature map')
    parser.add_argument('--dim', type=int, default=256, help='channels of regions and words')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=9)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    regions = torch.randn(args.batch, args.dim, args.side, args.side, requires_grad=True)
    words = torch.randn(args.batch, args.dim, args.words, requires_grad=True)
    # CUB's captions, cut at 18 words, have 14 on average.
    shortest = max(1, args.words * 10 // 18)
    full = torch.full((args.batch,), args.words)
    ragged = torch.randint(shortest, args.words + 1, (args.batch,))
    print(f'Batch {args.batch}, {args.words} words, {args.side}x{args.side} regions, D = {args.dim}, float32, '
          f'{args.threads} CPU threads, PyTorch {torch.__version__}; median of {args.repeats} runs in milliseconds.\n')
    print('| words a caption | word loss | forward | backward | both | times faster |\n|---|---|---|---|---|---|')
    for name, lengths in ((f'{args.words}', full), (f'{shortest} to {args.words}', ragged)):
        mask = torch.arange(args.words) < lengths[:, None]
        versions = {'loop over captions': looped_word_loss, 'batched': word_loss}
        runs = {version: [] for version in versions}
        for repeat in range(args.repeats + 1):
            for version, loss in versions.items():
                forward, backward = seconds(loss, regions, words, mask)
                if repeat > 0:  # the first run fetches memory
                    runs[version].append((forward, backward, forward + backward))
        medians = {version: [statistics.median(column) for column in zip(*rows, strict=True)]
                   for version, rows in runs.items()}
        for version, values in medians.items():
            cells = ' | '.join(f'{1000 * value:.0f}' for value in values)
            print(f'| {name} | {version} | {cells} | {medians["loop over captions"][2] / values[2]:.1f} |')


if __name__ == '__main__':
    main()
