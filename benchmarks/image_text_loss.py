"""What L_IT costs a stage 2 iteration: CPU seconds of its forward and backward pass beside the generator's.

    python -m benchmarks.image_text_loss

Batch 4, 256x256, 18 words, random weights, one thread and CPU time, so that other work on the machine does not count.
"""

import argparse
import sys
import time

import torch

from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.image_encoder_arch import DAMSMImageEncoder
from tgjar_arch.losses.damsm_loss import DAMSMLoss
from tgjar_arch.text.features import TextFeatures


def cpu_seconds(function, repeats: int) -> float:
    """Least CPU time of `repeats` runs, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--batch', type=int, default=4)
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    n, words = args.batch, 18
    lq = torch.rand(n, 3, 256, 256)
    text = TextFeatures(torch.randn(n, 256, words), torch.randn(n, 256), torch.ones(n, words, dtype=torch.bool))
    generator, loss = TGJARGenerator(), DAMSMLoss(loss_weight=5e-4)

    def generate() -> None:
        generator.zero_grad()
        generator(lq, text).abs().mean().backward()

    base = cpu_seconds(generate, args.repeats)
    print('| part | CPU s an iteration | of the generator |\n|---|---|---|')
    print(f'| generator, forward and backward | {base:.2f} | 1.00 |')
    for backbone in ('inception_v3', 'alexnet'):
        encoder = DAMSMImageEncoder(backbone).requires_grad_(False).eval()
        image = torch.rand(n, 3, 256, 256, requires_grad=True)

        def compare(encoder=encoder, image=image) -> None:
            loss(*encoder(image), text).backward()

        seconds = cpu_seconds(compare, args.repeats)
        print(f'| L_IT, {backbone} | {seconds:.2f} | {seconds / base:.2f} |')
    return 0


if __name__ == '__main__':
    sys.exit(main())
