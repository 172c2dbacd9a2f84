"""Who may import whom, and other rules of the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from places import ROOT

from protogen.layers import LayerType

PACKAGE = ROOT / "protogen"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A room may import from those above it, but not from those in the same line.
ROOMS = (
    ("errors", "geometry", "_version", "_late"),
    ("formats",),
    ("layers",),
    ("toolchains",),
    ("net",),
    ("resampling",),
    ("onnx",),
    ("running",),
    ("preprocessing",),
    ("converting",),
    ("generate",),
    ("training",),
    ("lint",),
    ("report",),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}
ONLY_IN = {
    "onnx": "onnx",
    "jinja2": "formats.render",
    "matplotlib": "report",
    "google": ("formats.schema", "onnx"),
    "click": "cli",
    "jax": "training.signals",
    "PIL": ("running.pictures", "preprocessing.meanfiles"),
    "igraph": "report",
    "resvg_py": "report",
    "cv2": "running",
}


def name_of(path: Path) -> str:
    """``net.build``; the package itself is "", and ``net/__init__.py`` is ``net``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in MODULES}


@cache
def imports(path: Path) -> list[tuple[str, int, bool]]:
    """Imported modules with the line, lazy ones too, and whether they are for type checkers alone. Of
    ours without ``protogen.``: the module where a name of it is imported."""
    entries = []

    def visit(node: ast.AST, typing: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            typing = True
        if isinstance(node, ast.Import):
            entries.extend((alias.name, node.lineno, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                module = inner if inner.removeprefix("protogen.") in NAMES else node.module
                entries.append((module, node.lineno, typing))
        for child in ast.iter_child_nodes(node):
            visit(child, typing)

    visit(ast.parse(path.read_text(encoding="utf-8")), False)
    return entries


def ours(path: Path) -> Iterator[tuple[str, int, bool]]:
    for module, line, typing in imports(path):
        top, _, rest = module.partition(".")
        if top == "protogen":
            yield rest, line, typing


def test_every_room_has_its_floor():
    assert {name.partition(".")[0] for name in NAMES} - {"", "__main__"} == set(FLOOR)


def test_rooms_import_from_those_above():
    """The law, over every import: lazy ones count, and those for type checkers too."""
    broken = []
    for name, path in NAMES.items():
        here = name.partition(".")[0]
        if here not in FLOOR:  # the package itself: it offers what is public, lazily
            continue
        for module, line, _ in ours(path):
            there = module.partition(".")[0]
            if there != here and FLOOR.get(there, len(ROOMS)) >= FLOOR[here]:
                broken.append(
                    f"{path.relative_to(ROOT)}:{line}: {here} imports {there or 'protogen'}"
                )
    assert not broken, "\n".join(broken)


def test_no_module_is_in_a_circle():
    """No module imports itself through others; imports inside functions count too."""
    left = {
        name: {module for module, _, typing in ours(path) if not typing and module != name}
        for name, path in NAMES.items()
    }
    while True:  # who imports none that is left, or is imported by none, is in no circle
        imported = set().union(*left.values())
        ends = [n for n, modules in left.items() if n not in imported or not modules & left.keys()]
        if not ends:
            break
        for name in ends:
            del left[name]
    assert not left, f"in circles, or between two of them: {sorted(left)}"


def test_libraries_stay_in_their_rooms():
    broken = []
    for name, path in NAMES.items():
        for module, line, _ in imports(path):
            homes = ONLY_IN.get(module.partition(".")[0], "")
            homes = (homes,) if isinstance(homes, str) else homes
            if not any(f"{name}.".startswith(f"{home}.") or not home for home in homes):
                broken.append(f"{path.relative_to(ROOT)}:{line}: {module} belongs in {homes[0]}")
    assert not broken, "\n".join(broken)


def test_the_map_has_every_room():
    """CONTRIBUTING's table names the rooms in the order of the law."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in row] for row in rows if len(row) == 3]
    rooms = [word.strip("`/ ").removesuffix(".py") for row in rows for word in row[0].split(",")]
    assert rooms == [room for floor in ROOMS for room in floor if room != "cli"] + ["cli"]


def test_modules_are_short():
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in NAMES.items()
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0
    return node.end_lineno - node.lineno + 1 - docstring


def test_functions_are_short():
    long = {
        f"{name}.{node.name}": body_length(node)
        for name, path in NAMES.items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_length(node) > 60
    }
    assert long == {}


def test_the_formatter_wins():
    """``# fmt: skip`` is for tables."""
    skips = sum(path.read_text(encoding="utf-8").count("# fmt: skip") for path in MODULES)
    assert skips <= 40


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import protogen", ["numpy", "onnx", "jinja2", "click", "google.protobuf"]),
        ("import protogen as pg; pg.upsample(2).prototxt", ["numpy", "onnx", "google.protobuf"]),
        ("from protogen.cli import cli", ["numpy", "onnx", "jinja2", "matplotlib"]),
    ],
)
def test_light_imports(code, absent):
    check = f"import sys; {code}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "[]", done.stderr


def test_module_names_do_not_hide_functions():
    """protogen.NAME must stay the function, whatever module is imported."""
    import protogen as pg

    modules = {path.stem for path in PACKAGE.glob("*.py")}
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    # protogen.layers is both on purpose: the room, and through __getattr__ pycaffe's L.
    assert set(pg.__all__) & (modules | rooms) == {"layers"}


def test_layers_are_both_the_room_and_pycaffes():
    """A module of the room is imported as such, and any other name makes a layer."""
    code = (
        "from protogen.layers import support; from protogen import layers as L; "
        "print(support.__name__, L.Input().fn.type_name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout == "protogen.layers.support Input\n", done.stderr


def test_tests_stand_beside_their_rooms():
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - {"truth"} <= set(FLOOR)


def names_of_types(node: ast.AST) -> list[str]:
    """The layer types in a list, as values or as keys."""
    known = set(LayerType.registry)
    items: list[ast.expr | None] = []
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        items = list(node.elts)
    elif isinstance(node, ast.Dict):
        items = [*node.keys, *node.values]
    return [i.value for i in items if isinstance(i, ast.Constant) and i.value in known]


def test_facts_of_types_stand_in_their_class():
    """No list of layer types stands outside layers/ and toolchains/: what is true of some of them is a
    declaration of their classes. onnx/ names ONNX's operators, many of which have the same names."""
    lists = [
        f"{name}:{node.lineno}: {types}"
        for name, path in NAMES.items()
        if name.partition(".")[0] not in ("layers", "toolchains", "onnx")
        for node in ast.walk(tree(path))
        if len(types := names_of_types(node)) >= 3
    ]
    assert lists == []
