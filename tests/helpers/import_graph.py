"""Who imports whom in the source: rooms (folders) and files, imports into `datasets/` and `losses/` counted.

Imports inside functions count like those at the top; those under `if TYPE_CHECKING:` do not, for nothing runs them.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = 'tgjar_arch'
BESIDE = ('datasets', 'losses')  # at the top of the repository, imported as tgjar_arch.datasets and tgjar_arch.losses


def source_files(root: Path) -> dict[str, Path]:
    """Module name -> file, of the package, the folders beside it, and benchmarks."""
    files = {}
    for folder in (PACKAGE, *BESIDE, 'benchmarks'):
        for file in sorted((root / folder).rglob('*.py')):
            parts = file.relative_to(root).with_suffix('').parts
            parts = parts[:-1] if parts[-1] == '__init__' else parts
            files['.'.join((PACKAGE, *parts) if folder in BESIDE else parts)] = file
    return files


def imported_modules(tree: ast.AST, known: Mapping[str, Path]) -> Iterator[str]:
    """Names of our modules that a file imports; of `from package import name` the submodule, where there is one.

    Raises:
        ValueError: for a relative import, or one of `datasets` and `losses` as if they were packages of their own.
    """
    skipped = {id(child) for node in ast.walk(tree)
               if isinstance(node, ast.If) and ast.unparse(node.test).split('.')[-1] == 'TYPE_CHECKING'
               for statement in node.body for child in ast.walk(statement)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            if node.level or (node.module or '').partition('.')[0] in BESIDE:
                raise ValueError(f'import from {PACKAGE} by the full name, which is found in every installation: '
                                 f'{ast.unparse(node)}')
            for alias in node.names:
                name = f'{node.module}.{alias.name}'
                if name in known:
                    yield name
                elif node.module and node.module in known:
                    yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split('.')[-1] in ('import_module', '__import__'):
            yield from (str(argument.value) for argument in node.args[:1]
                        if isinstance(argument, ast.Constant) and argument.value in known)


def file_graph(root: Path) -> dict[str, set[str]]:
    """Module -> modules of ours that it imports."""
    known = source_files(root)
    return {name: set(imported_modules(ast.parse(file.read_text('utf-8')), known)) - {name}
            for name, file in known.items()}


def room_of(module: str) -> str:
    """`tgjar_arch.archs.fusion` -> `archs/`, `tgjar_arch.compat` -> `compat`, `tgjar_arch` -> `__init__`."""
    parts = module.split('.')
    if parts[0] != PACKAGE:
        return f'{parts[0]}/'
    if len(parts) == 1:
        return '__init__'
    return parts[1] if len(parts) == 2 and not _is_folder(module) else f'{parts[1]}/'


def _is_folder(module: str) -> bool:
    root = Path(__file__).resolve().parents[2]
    return (root / module.replace('.', '/')).is_dir()


def room_graph(files: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Room -> other rooms that its files import."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, imports in files.items():
        rooms[room_of(module)] |= {room_of(other) for other in imports}
    return {room: others - {room} for room, others in rooms.items()}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan's strongly connected components of more than one node)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node):]
            del stack[stack.index(node):]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found
