"""Exported weights as training checkpoints, so that training can go on from them."""

import json
from pathlib import Path

from tgjar_arch.atomic_file import atomic
from tgjar_arch.weights.checkpoint import save_atomically
from tgjar_arch.weights.file import ExportedWeights


def unpack(content: ExportedWeights, output: Path) -> list[Path]:
    """Write the networks of exported weights as training checkpoints.

    Args:
        content: what `read_weights` returns.
        output: folder to write to; existing files of these names are replaced.

    Returns:
        The files written. A generator's checkpoint holds the same weights as `params` and as their average.

    Raises:
        OSError: if a file cannot be written.
    """
    files = [output / 'net_g_latest.pth']
    if content.network_t is not None and content.tokenizer is not None:
        with atomic(output / 'tokenizer.json', durable=True) as temporary:
            temporary.write_text(content.tokenizer, encoding='utf-8')
        save_atomically({'params': content.state_t, 'network': json.dumps(content.network_t),
                         'tokenizer': content.tokenizer, 'max_words': content.max_words}, output / 'net_t_latest.pth')
        files += [output / 'net_t_latest.pth', output / 'tokenizer.json']
    save_atomically({'params': content.state_g, 'params_ema': content.state_g,
                     'network': json.dumps(content.network_g)}, files[0])
    return files
