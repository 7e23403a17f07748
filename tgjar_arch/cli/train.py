"""`tgjar train -opt FILE`: BasicSR's trainer, writing experiments/ and tb_logger/ into the working directory."""

from __future__ import annotations

from collections.abc import Sequence

from tgjar_arch.training.pipeline import run


def main(argv: Sequence[str] | None = None) -> int:
    """Train; the arguments are those of `basicsr/train.py`. Returns the exit code (2: a mistake in the options)."""
    return run(argv, is_train=True)
