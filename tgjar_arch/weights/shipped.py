"""Weights that come with the package, by name: `tgjar_arch/weights/NAME.safetensors`, see docs/model_card.md."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
SUFFIX = '.safetensors'
DEFAULTS = ('tgjar_universal', 'tgjar_cub_qf1')  # the first that is there
# The best JPEG quality at which each still gains. tgjar_cub_qf1 on 20 of CUB's test images, without captions (PSNR /
# LPIPS of the JPEG file -> restored): quality 5 24.1 / .329 -> 25.5 / .168, 8 26.2 / .239 -> 26.4 / .156,
# 10 27.2 / .201 -> 26.7 / .154. tgjar_universal on the same, with captions: 40 32.35 / .047 -> 33.15 / .031,
# 60 34.00 / .028 -> 34.48 / .022, 75 35.79 / .0156 -> 35.74 / .0166; on 8 of Kodak's images 30 30.37 / .150 ->
# 30.83 / .093, 50 32.05 / .096 -> 32.33 / .066. tgjar_cub_qf5_10 on the 20 of CUB, without captions: 20 29.82 / .100 ->
# 31.10 / .050, 30 31.33 / .062 -> 32.35 / .038, 40 32.35 / .047 -> 33.16 / .032.
MAX_QF = {'tgjar_universal': 40, 'tgjar_cub_qf1': 8, 'tgjar_cub_qf5_10': 40}
DEFAULT_MAX_QF = 40  # of other weights


def quality_limit(weights: Path) -> int:
    """JPEG quality above which files are better left as they are: measured of shipped weights, else DEFAULT_MAX_QF."""
    return MAX_QF.get(weights.stem, DEFAULT_MAX_QF) if weights in shipped().values() else DEFAULT_MAX_QF


def shipped() -> dict[str, Path]:
    """Name and file of all shipped weights; the default comes first, the others by name."""
    found = {file.stem: file for file in sorted(FOLDER.glob(f'*{SUFFIX}'))}
    return {name: found[name] for name in sorted(found, key=_rank)}


def find_weights(weights: str | Path | None = None) -> Path:
    """The file that `weights` means.

    Args:
        weights: a file; the name of shipped weights, with or without `.safetensors`; None for the default. A file of
            that name comes before shipped weights.

    Raises:
        FileNotFoundError: when there is neither such a file nor such a name, or no default.
    """
    names = shipped()
    if weights is None:
        for name in DEFAULTS:
            if name in names:
                return names[name]
        raise FileNotFoundError(f'no weights are shipped with this installation ({FOLDER}); name a file of `tgjar '
                                'export`.')
    path = Path(weights)
    if path.is_file():
        return path
    name = path.name.removesuffix(SUFFIX)
    if path.parent == Path() and name in names:
        return names[name]
    known = f'shipped weights are {", ".join(names)}' if names else 'no weights are shipped'
    raise FileNotFoundError(f'weights file {weights} does not exist, and {known}; make a file with `tgjar export`.')


def _rank(name: str) -> tuple[int, str]:
    return (DEFAULTS.index(name) if name in DEFAULTS else len(DEFAULTS)), name
