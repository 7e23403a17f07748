"""The methods that are compared: plain JPEG, restored images, weights, test option files, or programs of others.

Each has these members:

| member | what |
|---|---|
| `label`, `folder` | its row in the tables, and its name in paths |
| `qfs` | the quality factors it has pictures for |
| `describe(qf)` | where the pictures come from, in one line |
| `prepare(qf, names, progress)` | makes the pictures; returns what failed: image -> reason |
| `image(name, qf)` | one picture, (H, W, 3) uint8 BGR |

What `tgjar evaluate -o OUT` restores lies in `OUT/restored/METHOD/qfN/STEM.png`, see `restored_path`.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tgjar_arch.datasets.image_source import ImageSource
from tgjar_arch.evaluation.kept_pictures import folder_name
from tgjar_arch.evaluation.network_method import Dials, NetworkMethod
from tgjar_arch.evaluation.paper import ROWS
from tgjar_arch.evaluation.peer_method import PeerMethod, is_named_peer, named_peer
from tgjar_arch.evaluation.peers import SPANDREL_SUFFIX, spandrel_model
from tgjar_arch.evaluation.test_set import EvaluationSet, Progress, decode_image
from tgjar_arch.jpeg.codec import decode
from tgjar_arch.weights.folder import SUFFIX, holds_weights, is_weights_folder
from tgjar_arch.weights.shipped import find_weights, quality_limit, shipped

PAPER_LABELS = tuple(dict.fromkeys(row.method for row in ROWS if '=' in row.method))  # of Table 6


@dataclass(frozen=True)
class Spec:
    """A `--method` as it was written: its name and, for each quality factor (None: all), its path.

    JPEG and the programs that go by their names have no path.
    """

    name: str
    paths: dict[int | None, str] = field(default_factory=dict)


def parse_methods(texts: Sequence[str], qfs: Sequence[int]) -> list[Spec]:
    """Read `--method` arguments: `JPEG`, `NLM`, `waifu2x`, `NAME=PATH`, or `NAME@QF=PATH` once for each quality factor.

    `{qf}` in a path stands for the quality factor. NAME ends at the first `=`, but for the paper's rows that have one
    in their names, such as `lambda_1=0.1`.

    Raises:
        ValueError: when one is not like this, is given twice, or has a quality factor that is not evaluated.
    """
    found: dict[str, dict[int | None, str]] = {}
    paths: dict[int | None, str]
    for text in texts:
        left, equals, path = _split(text)
        name, at, qf_text = left.strip().rpartition('@') if equals else (text.strip(), '', '')
        if not at:
            name, qf_text = left.strip(), ''
        if name.upper() == 'JPEG' and not equals:
            name, paths = 'JPEG', {}
        elif not equals and is_named_peer(name):
            paths = {}
        elif not equals or not name or not path.strip():
            raise ValueError(f'--method {text}: write JPEG, NLM, waifu2x, NAME=FOLDER, NAME=WEIGHTS.safetensors, '
                             'NAME=OPTIONS.yml or NAME=WEIGHTS.pth; NAME@QF=... for one quality factor.')
        elif at and (not qf_text.isdecimal() or int(qf_text) not in qfs):
            raise ValueError(f'--method {text}: {qf_text!r} is none of the quality factors {list(qfs)} of --qf.')
        else:
            paths = {int(qf_text): path} if at else {qf: path.replace('{qf}', str(qf)) for qf in qfs} \
                if '{qf}' in path else {None: path}
        if name in found and (not found[name] or not paths or found[name].keys() & paths.keys()):
            raise ValueError(f'--method {text}: {name} is given twice; give the two different names.')
        found.setdefault(name, {}).update(paths)
    folders = sorted(map(folder_name, found))
    if len(set(folders)) < len(folders):
        raise ValueError(f'--method: two of {", ".join(found)} would have one folder of {", ".join(folders)}; give '
                         'more different names.')
    return [Spec(name, paths) for name, paths in found.items()]


def _split(text: str) -> tuple[str, str, str]:
    for label in PAPER_LABELS:
        if match := re.fullmatch(rf'(\s*{re.escape(label)}(?:@[^=]*|\s*))(=)(.*)', text, re.DOTALL):
            return match[1], match[2], match[3]
    return text.partition('=')


class JPEGMethod:
    """The compressed image itself."""

    label, folder = 'JPEG', 'JPEG'

    def __init__(self, images: EvaluationSet, qfs: Sequence[int]) -> None:
        self._images, self.qfs = images, tuple(qfs)

    def describe(self, qf: int) -> str:
        return 'the JPEG files themselves (4:2:0)'

    def prepare(self, qf: int, names: Sequence[str], progress: Progress) -> dict[str, str]:
        return {}

    def image(self, name: str, qf: int) -> np.ndarray:
        return decode(self._images.jpeg(name, qf))


class FolderMethod:
    """Pictures that were restored before, matched by name with the originals.

    A picture of `004.Ani/x` is `004.Ani/x.png` or `x.png`, with any image suffix, and with the same ending behind all
    names if there is one: BasicSR's tester writes `x_NAME.png`.

    Args:
        label: the row.
        folders: quality factor -> folder.
        images: the test set.

    Raises:
        FileNotFoundError: when a folder does not exist.
        ValueError: when it has no image, or none that fits the name of an original.
    """

    def __init__(self, label: str, folders: dict[int, str], images: EvaluationSet) -> None:
        self.label, self.folder, self.qfs = label, folder_name(label), tuple(folders)
        self._images, self._folders = images, folders
        self._sources = {qf: ImageSource(folder, f'--method {label}') for qf, folder in folders.items()}
        self._files = {qf: match_names(images.names, source.files) for qf, source in self._sources.items()}
        for qf, files in self._files.items():
            if not files:
                raise ValueError(f'--method {label}: no image in {folders[qf]} has the name of one of {images.root}, '
                                 f'such as {images.names[0]}.png or {images.names[0]}_ENDING.png; the first there is '
                                 f'{next(iter(self._sources[qf].files))}.')

    def describe(self, qf: int) -> str:
        return f'pictures of {self._folders[qf]}'

    def prepare(self, qf: int, names: Sequence[str], progress: Progress) -> dict[str, str]:
        return {name: f'{self._folders[qf]} has no picture of {name}; restore it and run again.'
                for name in names if name not in self._files[qf]}

    def image(self, name: str, qf: int) -> np.ndarray:
        source, found = self._sources[qf], self._files[qf][name]
        return decode_image(source.read(found), source.files[found])


Method = JPEGMethod | FolderMethod | NetworkMethod | PeerMethod


def find_paths(specs: Sequence[Spec]) -> list[Spec]:
    """Make sure that all paths of `parse_methods` are there; names of shipped weights become their files.

    A file or folder comes before shipped weights of its name. `~` is the home folder.

    Raises:
        FileNotFoundError: when a path is none of these.
        ValueError: when the paths of one method are neither folders nor files of a known suffix.
    """
    found = []
    for spec in specs:
        paths = {qf: _found(spec.name, os.path.expanduser(path)) for qf, path in spec.paths.items()}
        kinds = {SUFFIX if holds_weights(path) else 'folder' if os.path.isdir(path) else Path(path).suffix
                 for path in paths.values()}
        if not (kinds <= {'folder'} or kinds <= {SUFFIX, '.yml', '.yaml'} or kinds <= {SPANDREL_SUFFIX}):
            raise ValueError(f'--method {spec.name}: {", ".join(dict.fromkeys(paths.values()))} must be folders of '
                             'pictures, or .safetensors files of `tgjar export`, or .yml test option files, or '
                             f'{SPANDREL_SUFFIX} files that spandrel loads.')
        found.append(Spec(spec.name, paths))
    return found


def _found(name: str, path: str) -> str:
    if os.path.exists(path):
        return path
    try:
        return str(find_weights(path))
    except FileNotFoundError as error:
        known = f', and shipped weights are {", ".join(shipped())}' if shipped() else ''
        why = f'; {error.__cause__}' if error.__cause__ else '.'
        raise FileNotFoundError(f'--method {name}: there is no folder or file {path}{known}{why}') from error


def quality_warnings(specs: Sequence[Spec], qfs: Sequence[int]) -> list[str]:
    """A line for each of `find_paths`' weights files that is to restore what it does harm to."""
    lines = []
    for spec in specs:
        files = {qf: path for qf in qfs if (path := spec.paths.get(qf, spec.paths.get(None)))}
        for path in dict.fromkeys(path for path in files.values() if holds_weights(path)):
            limit = quality_limit(Path(path))
            if high := [qf for qf, file in files.items() if file == path and qf > limit]:
                lines.append(f'{spec.name}: {Path(path).name} is for JPEG quality up to {limit}, and is measured at '
                             f'{", ".join(map(str, high))} too, where restoring may do harm.')
    return lines


def build_methods(specs: Sequence[Spec], images: EvaluationSet, qfs: Sequence[int], out: str | os.PathLike,
                  captions: Sequence[str] = ('right',), device: str | None = None, overwrite: bool = False,
                  self_ensemble: bool = False, dials: Sequence[Dials] = (Dials(),)) -> list[Method]:
    """Make the methods of `parse_methods`; a network that takes captions has a row for each kind of `captions`.

    With `self_ensemble` networks have their rows twice, without it and with it; and they have them for each of `dials`.

    Raises:
        ImportError: when a package that a method needs is missing.
        FileNotFoundError, ValueError: as `find_paths` and the methods' classes; or when one folder is named for several
            quality factors, or a method as a row of another is.
    """
    methods: list[Method] = []
    for spec in find_paths(specs):
        if not spec.paths:
            methods.append(JPEGMethod(images, qfs) if spec.name == 'JPEG' else
                           PeerMethod(spec.name, dict.fromkeys(qfs, named_peer(spec.name)), images, out, overwrite))
            continue
        paths = {qf: path for qf in qfs if (path := spec.paths.get(qf, spec.paths.get(None)))}
        path = next(iter(paths.values()))
        if os.path.isdir(path) and not is_weights_folder(path):
            methods.append(FolderMethod(spec.name, _folders(spec, paths, qfs), images))
            continue
        if Path(path).suffix == SPANDREL_SUFFIX:
            models = {path: spandrel_model(path, device) for path in dict.fromkeys(paths.values())}
            methods.append(PeerMethod(spec.name, {qf: models[path] for qf, path in paths.items()}, images, out,
                                      overwrite))
            continue
        first = NetworkMethod(spec.name, paths, images, out, captions[0], device, overwrite, dials=dials[0])
        kinds = captions if first.takes_text else ['right']
        methods += [first if (turned, kind, mirrored) == (dials[0], captions[0], False) else
                    NetworkMethod(spec.name, paths, images, out, kind, device, overwrite, mirrored, turned)
                    for turned in dials for mirrored in (False, True)[:1 + self_ensemble] for kind in kinds]
    labels = Counter(method.label for method in methods)
    if double := next((label for label, count in labels.items() if count > 1), None):
        raise ValueError(f'two rows would be called {double}; give that --method another name.')
    return methods


def _folders(spec: Spec, paths: dict[int, str], qfs: Sequence[int]) -> dict[int, str]:
    """One folder a quality factor; `FOLDER/qfN` where there is such a one, as this command itself writes."""
    for qf, path in paths.items():
        there = sorted(folder.name for folder in Path(path).glob('qf*') if folder.name[2:].isdecimal())
        if there and f'qf{qf}' not in there:
            raise ValueError(f'--method {spec.name}: {path} has {", ".join(there)}, but no qf{qf}; restore it at '
                             f'quality {qf}, or leave that out of --qf.')
    folders = {qf: os.path.join(path, f'qf{qf}') if os.path.isdir(os.path.join(path, f'qf{qf}')) else path
               for qf, path in paths.items()}
    if len(set(folders.values())) < len(folders):
        raise ValueError(f'--method {spec.name}: {spec.paths[None]} cannot hold the pictures of all quality factors '
                         f'{list(qfs)}; write {{qf}} in the path, or {spec.name}@{qfs[0]}=FOLDER for each, or give one '
                         '--qf.')
    return folders


def match_names(wanted: Sequence[str], there: Iterable[str]) -> dict[str, str]:
    """Find the pictures of images: with the same path or the same file name, and one ending behind all of them.

    Args:
        wanted: names of the originals.
        there: names of the pictures.

    Returns:
        Original -> picture, for those that were found.
    """
    there = set(there)
    flat_counts = Counter(name.rpartition('/')[2] for name in wanted)
    keys = {name: name for name in wanted}  # what a picture may be called -> its original
    keys |= {flat: name for name in wanted if flat_counts[flat := name.rpartition('/')[2]] == 1}
    endings: Counter[str] = Counter()
    for name in there:
        for cut in [len(name), *(match.start() for match in re.finditer('_', name))]:
            if name[:cut] in keys:
                endings[name[cut:]] += 1
    if not endings:
        return {}
    # The most frequent ending; of equal ones the shortest, which is none at all.
    ending = min(endings, key=lambda text: (-endings[text], len(text)))
    return {original: key + ending for key, original in reversed(keys.items()) if key + ending in there}
