"""Weights that come with the package, by name: `tgjar_arch/weights/NAME.safetensors`, see docs/model_card.md."""

from __future__ import annotations

from pathlib import Path

from tgjar_arch.weights.folder import CONFIG, MODEL, SUFFIX, is_weights_folder

FOLDER = Path(__file__).parent
DEFAULTS = ('tgjar_universal', 'tgjar_cub_qf1')  # the first that is there
FIDELITY = {'tgjar_universal': 'tgjar_fidelity'}  # weights -> those of the same network that are true, not beautiful
DEFAULT_MAX_QF = 40  # of weights that do not say theirs


def quality_limit(weights: Path) -> int:
    """JPEG quality above which files are better left as they are: what the weights file says, else DEFAULT_MAX_QF.

    Raises:
        FileNotFoundError, ValueError: as `tgjar_arch.weights.file.read_weights`.
    """
    from tgjar_arch.weights.file import read_max_qf  # here: it imports torch, and names alone do not need that

    limit = read_max_qf(weights)
    return DEFAULT_MAX_QF if limit is None else limit


def shipped() -> dict[str, Path]:
    """Name and file of all shipped weights; the default comes first, the others by name."""
    found = {file.stem: file for file in sorted(FOLDER.glob(f'*{SUFFIX}'))}
    return {name: found[name] for name in sorted(found, key=_rank)}


def find_weights(weights: str | Path | None = None, revision: str | None = None,
                 token: str | bool | None = None) -> Path:
    """The file or folder that `weights` means.

    Args:
        weights: a file; a folder of weights (`tgjar_arch.weights.folder`); the name of shipped weights, with or without
            `.safetensors`; a repository of the Hugging Face Hub, 'org/name' or 'org/name@revision'
            (`tgjar_arch.weights.hub`); None for the default. What is there under that name comes first.
        revision, token: of a repository.

    Raises:
        FileNotFoundError: when there is none of these, or no default.
        ValueError: when a revision is given for what is no repository, or a second one.
    """
    names = shipped()
    if revision is not None and (weights is None or Path(weights).exists() or Path(weights).name == str(weights)):
        raise ValueError(f'revision {revision!r} is of a repository of the Hugging Face Hub, but the weights are '
                         f'{"the default" if weights is None else weights}; leave it out, or name org/name.')
    if weights is None:
        for name in DEFAULTS:
            if name in names:
                return names[name]
        raise FileNotFoundError(f'no weights are shipped with this installation ({FOLDER}); name a file of `tgjar '
                                'export`.')
    path = Path(weights)
    if path.is_file() or is_weights_folder(path):
        return path
    name = path.name.removesuffix(SUFFIX)
    if path.parent == Path() and name in names:
        return names[name]
    if path.is_dir():
        raise FileNotFoundError(f'the folder {weights} has no {CONFIG}; weights in a folder have it beside {MODEL}.')
    known = f'shipped weights are {", ".join(names)}' if names else 'no weights are shipped'
    missing = f'weights file {weights} does not exist, and {known}'
    if not ('/' in path.as_posix() and path.parent.parent == Path()):
        raise FileNotFoundError(f'{missing}; make a file with `tgjar export`.')
    from tgjar_arch.weights import hub  # here: it imports torch

    if (found := hub.repository(path.as_posix())) is None:
        raise FileNotFoundError(f'{missing}; make a file with `tgjar export`.')
    if revision is not None and found[1] is not None:
        raise ValueError(f'{weights} names a revision, and so does revision={revision!r}; leave one out.')
    try:
        return hub.download(found[0], revision or found[1], token)
    except hub.HubError as error:
        raise FileNotFoundError(f'{missing}; {error}') from error


def find_fidelity_weights(weights: Path, partner: str | Path | None = None) -> Path:
    """The weights that fidelity 1 gives, of the same network as `weights`.

    Args:
        weights: file, as of `find_weights`.
        partner: a file or the name of shipped weights; None for the shipped ones that belong to shipped `weights`.

    Raises:
        FileNotFoundError: when there are none.
    """
    if partner is not None:
        return find_weights(partner)
    name = FIDELITY.get(weights.stem) if weights.parent == FOLDER else None
    if name is None or name not in shipped():
        raise FileNotFoundError(f'no fidelity weights of {weights.stem} are shipped with this installation; name a '
                                'file of the same network that was trained for fidelity (--fidelity-weights, '
                                'fidelity_weights).')
    return shipped()[name]


def _rank(name: str) -> tuple[int, str]:
    return (DEFAULTS.index(name) if name in DEFAULTS else len(DEFAULTS)), name
