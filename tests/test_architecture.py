"""Which part of the package may import which, sizes of modules and functions, and where data belongs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from places import ROOT

from protogen.layers import LayerType

PACKAGE = ROOT / "protogen"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A part may import from parts in the lines above, but not from parts in the same line.
PARTS = (
    ("_late", "_version"),
    ("errors", "geometry"),
    ("memory",),
    ("_arguments",),
    ("formats",),
    ("layers",),
    ("toolchains",),
    ("net",),
    ("resampling",),
    ("legalization",),
    ("onnx",),
    ("running",),
    ("preprocessing",),
    ("converting",),
    ("pytorch",),
    ("generate",),
    ("training",),
    ("lint",),
    ("report",),
    ("viewing",),
    ("notebook",),
    ("cli",),
)
RANKS = {part: rank for rank, parts in enumerate(PARTS) for part in parts}
# Each library, and the only modules that may import it.
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
    "torch": "pytorch",
    "onnx_ir": "pytorch",
}


def name_of(path: Path) -> str:
    """Return the name of a module: ``net.build``, ``net`` for ``net/__init__.py``, "" for the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in MODULES}


@cache
def imports(path: Path) -> list[tuple[str, int, bool]]:
    """Return (module, line, for type checkers only) for each import, also inside functions.

    ``from protogen.net import build`` imports the module ``protogen.net.build``.
    """
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


def own_imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield the imports of modules of protogen, with names as in NAMES."""
    for module, line, typing in imports(path):
        top, _, rest = module.partition(".")
        if top == "protogen":
            yield rest, line, typing


def test_every_part_is_listed():
    assert {name.partition(".")[0] for name in NAMES} - {"", "__main__"} == set(RANKS)


def test_parts_import_only_from_parts_above():
    """Imports inside functions and imports for type checkers count too."""
    violations = []
    for name, path in NAMES.items():
        here = name.partition(".")[0]
        if here not in RANKS:  # protogen/__init__.py imports the public names when they are used
            continue
        for module, line, _ in own_imports(path):
            there = module.partition(".")[0]
            if there != here and RANKS.get(there, len(PARTS)) >= RANKS[here]:
                violations.append(
                    f"{path.relative_to(ROOT)}:{line}: {here} imports {there or 'protogen'}"
                )
    assert not violations, "\n".join(violations)


def test_there_are_no_import_cycles():
    """No module imports itself through others. Imports inside functions count too."""
    left = {
        name: {module for module, _, typing in own_imports(path) if not typing and module != name}
        for name, path in NAMES.items()
    }
    # A module that imports none of those left, or that none of them imports, is not in a cycle.
    while True:
        imported = set().union(*left.values())
        ends = [n for n, modules in left.items() if n not in imported or not modules & left.keys()]
        if not ends:
            break
        for name in ends:
            del left[name]
    assert not left, f"in import cycles, or between two of them: {sorted(left)}"


def test_libraries_are_imported_only_where_they_belong():
    violations = []
    for name, path in NAMES.items():
        for module, line, _ in imports(path):
            homes = ONLY_IN.get(module.partition(".")[0], "")
            homes = (homes,) if isinstance(homes, str) else homes
            if not any(f"{name}.".startswith(f"{home}.") or not home for home in homes):
                violations.append(
                    f"{path.relative_to(ROOT)}:{line}: {module} belongs in {homes[0]}"
                )
    assert not violations, "\n".join(violations)


def test_table_in_contributing_lists_every_part():
    """The table in CONTRIBUTING.md lists the parts in the order of PARTS."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in row] for row in rows if len(row) == 3]
    listed = [word.strip("`/ ").removesuffix(".py") for row in rows for word in row[0].split(",")]
    assert listed == [part for parts in PARTS for part in parts]


def test_modules_have_at_most_400_lines():
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in NAMES.items()
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a function without its docstring."""
    first = node.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0
    return node.end_lineno - node.lineno + 1 - docstring


def test_functions_have_at_most_60_lines():
    long = {
        f"{name}.{node.name}": body_length(node)
        for name, path in NAMES.items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_length(node) > 60
    }
    assert long == {}


def test_fmt_skip_is_rare():
    """``# fmt: skip`` is for tables of data only."""
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
def test_imports_do_not_load_large_libraries(code, absent):
    check = f"import sys; {code}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "[]", done.stderr


def test_module_names_do_not_hide_functions():
    """Importing a module protogen.NAME would replace a public function with the same name."""
    import protogen as pg

    modules = {path.stem for path in PACKAGE.glob("*.py")}
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    # protogen.layers is intentionally both: the package, and through __getattr__ pycaffe's L.
    assert set(pg.__all__) & (modules | packages) == {"layers"}


def test_protogen_layers_is_a_package_and_pycaffes_l():
    """protogen.layers.support is a module, and protogen.layers.Input creates a layer."""
    code = (
        "from protogen.layers import support; from protogen import layers as L; "
        "print(support.__name__, L.Input().fn.type_name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout == "protogen.layers.support Input\n", done.stderr


def test_folders_of_tests_are_named_after_parts():
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - {"truth", "site"} <= set(RANKS)


def test_modules_of_tests_have_different_names():
    """pytest imports a module of a folder without __init__.py by its name alone."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []


def names_of_types(node: ast.AST) -> list[str]:
    """Return the layer types in a tuple, list, set or dict, as values or as keys."""
    known = set(LayerType.registry)
    items: list[ast.expr | None] = []
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        items = list(node.elts)
    elif isinstance(node, ast.Dict):
        items = [*node.keys, *node.values]
    return [i.value for i in items if isinstance(i, ast.Constant) and i.value in known]


def test_no_lists_of_layer_types_outside_of_layers():
    """A property of some layer types is an attribute of their classes, not a list elsewhere.

    toolchains/ may list types, because its data is about them. onnx/ lists ONNX operators, many of
    which have the same names.
    """
    lists = [
        f"{name}:{node.lineno}: {types}"
        for name, path in NAMES.items()
        if name.partition(".")[0] not in ("layers", "toolchains", "onnx")
        for node in ast.walk(tree(path))
        if len(types := names_of_types(node)) >= 3
    ]
    assert lists == []


# Each reader of bytes by its last two names, and the modules that may call it. The others call these
# modules, which check sizes, kinds of files and what the bytes may do.
READERS = {
    "np.load": (),
    "np.fromfile": (),
    "np.memmap": (),
    "np.loadtxt": (),
    "np.genfromtxt": (),
    "pickle.load": (),
    "pickle.loads": ("formats.confined",),  # what this process wrote itself
    "torch.load": (),
    "onnx.load": (),
    "onnx.load_model": (),
    "onnx.load_from_string": (),
    "marshal.loads": (),
    "yaml.load": (),
    ".ParseFromString": ("onnx.soundness",),
    ".MergeFromString": (),
    ".FromString": (
        "onnx.memory_mapped",
        "onnx.passes.sorting",  # a copy
        "net.binary",
        "net.binary_dialects",
        "formats.schema.pool",
    ),
    "zipfile.ZipFile": ("formats.arrayfiles", "formats.contents", "formats.weightfiles"),
    "h5py.File": ("formats.weightfiles",),
    "Image.open": ("running.pictures",),
    "tomllib.load": (),
    "tomllib.loads": (
        "formats.tomlfiles",
        "lint.rules.portability",
    ),  # the latter reads its own text,
    "runpy.run_path": ("layers.plugins",),
    "eval": (),
    "exec": (),
}
# Programs for the Pythons of toolchains, which have no protogen.
OUTSIDE = "running.adapters."


def test_bytes_are_read_in_one_place():
    used = set()
    for path in MODULES:
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if module.startswith(OUTSIDE):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            words = ast.unparse(node.func).split(".")
            for name in (".".join(words[-2:]), f".{words[-1]}" if len(words) > 1 else ""):
                if name in READERS:
                    assert module in READERS[name], f"{module}:{node.lineno} calls {name}"
                    used.add((name, module))
    assert used == {(name, module) for name, modules in READERS.items() for module in modules}
