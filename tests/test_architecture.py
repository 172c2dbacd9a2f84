"""Who may import whom, and other rules of the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

PACKAGE = ROOT / "protogen"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Room -> what of ours it may import. A room that is not named may import anything but cli.
MAY = {
    "errors": set(),
    "geometry": set(),
    "schema": {"errors", "schema"},
    "message": {"errors", "schema"},
    "prototxt": {"errors", "schema", "message", "prototxt"},
    "graph": {"errors", "message"},
    # netspec: only so that ``protogen.layers`` is also pycaffe's ``L``
    "mapped": {"errors"},
    "layers": {"errors", "geometry", "graph", "message", "layers", "netspec"},
    "files": {"errors"},
    "confined": {"errors"},
    "fillers": {"errors"},
    "resample": {"errors", "geometry"},
    "render": {"confined", "errors", "geometry", "message", "prototxt"},
    "report": {"report"},
}
ONLY_IN = {
    "onnx": ("onnx",),
    "jinja2": ("render",),
    "matplotlib": ("report",),
    "google": ("schema", "onnx"),
    "click": ("cli",),
    "jax": ("signals",),
    "PIL": ("pictures", "meanfiles"),
    "igraph": ("diagram",),
    "resvg_py": ("report",),
}


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> list[tuple[str, int]]:
    """Imported modules with the line, those for type checkers left out."""
    found = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "protogen":
                found.extend((f"protogen.{alias.name}", node.lineno) for alias in node.names)
            else:
                found.append((node.module, node.lineno))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports(path):
    here = room(path)
    for module, line in imports(path):
        top, _, rest = module.partition(".")
        if top == "protogen":
            there = rest.partition(".")[0]
            assert there != "cli" or here in ("cli", "__main__"), f"{path}:{line} imports cli"
            if here in MAY:
                assert there in MAY[here], f"{path}:{line}: {here} may not import {there}"
        elif top in ONLY_IN:
            assert here in ONLY_IN[top], f"{path}:{line}: {top} belongs in {ONLY_IN[top][0]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


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
