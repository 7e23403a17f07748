"""`tgjar test -opt FILE`: BasicSR's tester, writing results/ into the working directory."""

from __future__ import annotations

from collections.abc import Sequence

from tgjar_arch.training.pipeline import run


def main(argv: Sequence[str] | None = None) -> int:
    """Test; the arguments are those of `basicsr/test.py`. Returns the exit code (2: a mistake in the options)."""
    return run(argv, is_train=False)
