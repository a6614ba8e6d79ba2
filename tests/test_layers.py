"""A room imports only from rooms to its left, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmspell_jupyter

PACKAGE = Path(llmspell_jupyter.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# From left to right; rooms of one group never import each other.
GROUPS = [
    {"errors", "types"},
    {"config"},
    {"models"},
    {"engine"},
    {"providers"},
    {"tools", "state", "events"},
    {"rag", "agents", "workflows", "sessions"},
    {"runtime"},
    {"magics", "widgets", "lab", "hub", "cli"},
]
PLACE = {room: place for place, group in enumerate(GROUPS) for room in group}

# Who alone may import what.
HOMES = {
    "ctranslate2": "engine/backends",
    "llama_cpp": "engine/backends",
    "torch": "engine/backends",
    "transformers": "engine/backends",
    "lupa": "runtime",
}


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            module = node.module or ""
            yield module, node.lineno
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_has_a_place() -> None:
    rooms = {_room(path) for path in MODULES} - {"__init__"}
    assert rooms <= PLACE.keys()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_left(path: Path) -> None:
    room = _room(path)
    if room == "__init__":
        return
    for module, line in _imports(path):
        parts = module.split(".")
        if parts[0] != "llmspell_jupyter" or len(parts) < 2 or parts[1] not in PLACE:
            continue
        same = parts[1] == room or {parts[1], room} <= GROUPS[0]
        assert same or PLACE[parts[1]] < PLACE[room], f"{path}:{line}: {room} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_stay_home(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    for module, line in _imports(path):
        home = HOMES.get(module.split(".")[0])
        assert home is None or place.startswith(home), f"{path}:{line} imports {module}"


def test_only_config_reads_the_environment() -> None:
    for path in MODULES:
        if _room(path) == "config":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            reads = (
                isinstance(node, ast.Subscript)
                and isinstance(node.value, ast.Attribute)
                and node.value.attr == "environ"
                and isinstance(node.ctx, ast.Load)
            ) or (isinstance(node, ast.Attribute) and node.attr == "getenv")
            assert not reads, f"{path}:{node.lineno} reads an environment variable"
