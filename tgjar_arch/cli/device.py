"""The argument `--device`, once torch may be imported."""

import torch


def find_device(name: str | None) -> torch.device:
    """The device of that name, or by default the GPU if there is one.

    Raises:
        ValueError: if it is none, or is not on this machine.
    """
    try:
        device = torch.device(name or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'--device {name} cannot be used here: {str(error).splitlines()[0]}') from error
    return device
