"""The rooms of the source and their floors are those of docs/design.md."""

import re
import shutil
from pathlib import Path

from tests.helpers.checkout import ROOT
from tests.helpers.import_graph import circles, file_graph, room_graph, room_of, source_files

FLOOR = re.compile(r'^floor (\d+) +(.+)$', re.MULTILINE)


def floors() -> dict[str, int]:
    """Room -> floor, as docs/design.md has it."""
    text = (ROOT / 'docs' / 'design.md').read_text(encoding='utf-8')
    return {room: int(number) for number, rooms in FLOOR.findall(text) for room in rooms.split()}


def runs_up(root: Path) -> list[str]:
    """Imports of a room on the same floor or a higher one."""
    floor = floors()
    return [f'{module} -> {other}' for module, imports in sorted(file_graph(root).items()) for other in sorted(imports)
            if room_of(module) != room_of(other) and floor[room_of(module)] <= floor[room_of(other)]]


def test_every_room_has_a_floor() -> None:
    assert set(floors()) == set(room_graph(file_graph(ROOT)))


def test_no_import_runs_up() -> None:
    assert runs_up(ROOT) == []


def test_no_circles() -> None:
    files = file_graph(ROOT)
    assert circles(files) == []
    assert circles(room_graph(files)) == []


def test_imports_of_losses_and_functions_are_seen(tmp_path: Path) -> None:
    """The tests above would fail: an import upwards inside a function, and a circle of two files of one room."""
    for folder in ('tgjar_arch', 'losses', 'datasets', 'benchmarks'):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns('__pycache__', '*.safetensors'))
    (tmp_path / 'tgjar_arch' / 'jpeg' / 'codec.py').write_text(
        'def f():\n    from tgjar_arch.losses import contrastive_loss\n')
    (tmp_path / 'losses' / 'chroma_loss.py').write_text('from tgjar_arch.losses.grid_loss import GridPatternLoss\n')
    (tmp_path / 'losses' / 'grid_loss.py').write_text('import tgjar_arch.losses.chroma_loss\n')
    assert runs_up(tmp_path) == ['tgjar_arch.jpeg.codec -> tgjar_arch.losses.contrastive_loss']
    assert circles(file_graph(tmp_path)) == [['tgjar_arch.losses.chroma_loss', 'tgjar_arch.losses.grid_loss']]


def test_no_private_name_of_another_module_is_imported() -> None:
    private = re.compile(r'\s*from tgjar_arch[\w.]* import .*\b_(?!_)\w+')
    found = [f'{name}: {line.strip()}' for name, file in source_files(ROOT).items()
             for line in file.read_text('utf-8').splitlines() if private.match(line)]
    assert found == []
