"""Weights of a torchvision backbone from a local file, for machines that cannot download them."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tgjar_arch.weights.checkpoint import load_checkpoint


def read_trunk(path: str | Path) -> dict[str, Tensor]:
    """Read tensors by name from a `.npz` (no pickle), `.safetensors` or `.pth` file; keys as torchvision names them.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is of another kind or cannot be read.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'trunk weights {path} do not exist.')
    if path.suffix == '.npz':
        try:
            with np.load(path, allow_pickle=False) as file:
                return {key: torch.from_numpy(file[key]) for key in file.files}
        except Exception as error:  # numpy raises zip, value, key and EOF errors here
            raise ValueError(f'trunk weights {path} cannot be read: {error}') from error
    if path.suffix == '.safetensors':
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f'trunk weights {path} cannot be read: {error}') from error
    if path.suffix in ('.pth', '.pt'):
        return load_checkpoint(path)
    raise ValueError(f'trunk weights {path} must be a .npz, .safetensors or .pth file.')
