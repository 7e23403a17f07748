"""For the API pages: `datasets/` and `losses/`, which lie beside `tgjar_arch/`, are read as the subpackages they are.

The package finds them by a line of its `__init__`, which Griffe does not run: it reads the source.
"""

from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parents[1]


class Rooms(griffe.Extension):
    """Adds `tgjar_arch.datasets` and `tgjar_arch.losses` to the package before names are resolved."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Read the files of both folders into the package, when that has just been read."""
        if pkg.name != 'tgjar_arch':
            return
        for name in ('datasets', 'losses'):
            room = griffe.Module(name, filepath=[ROOT / name], parent=pkg)
            pkg.set_member(name, room)
            for file in sorted((ROOT / name).glob('*.py')):
                room.set_member(file.stem, griffe.visit(
                    file.stem, file, file.read_text('utf-8'), parent=room, extensions=loader.extensions,
                    docstring_parser=loader.docstring_parser, docstring_options=loader.docstring_options,
                    lines_collection=loader.lines_collection, modules_collection=loader.modules_collection))
