"""docs/layers.md agrees with the registry of layer types and the test cases."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache

import numpy as np
from places import ROOT, TESTS

from protogen.errors import quantity
from protogen.layers.base import LayerType
from protogen.layers.support import markdown, supported

HELPERS = {"Input"}
# Types whose tops are inputs of the net, or that write files or pass data on: they have no arithmetic.
WITHOUT_NUMBERS = {
    "DummyData", "ExactResize", "FloatWriter", "HDF5Output", "PFMWriter",
}  # fmt: skip
# Types that are computed by the class of another type.
SAME = {"DepthwiseConvolution": "ConvolutionDepthwise"}
# The judges of golden nets, by folder or file.
JUDGES = {
    "cases/layers": "real Caffe", "cases/fork_layers": "a Caffe of the fork",
    "golden/random/bvlc": "real Caffe", "golden/random/forks": "tpucaffe",
}  # fmt: skip


def golden_nets() -> Iterator[tuple[str, str]]:
    """Yield the judge and the text of each golden net."""
    for place, judge in JUDGES.items():
        if place.startswith("cases"):
            for path in sorted((TESTS / place).glob("*/net.prototxt")):
                yield judge, path.read_text()
            continue
        with np.load(TESTS / f"{place}.npz") as file:
            index = json.loads(file["index"].tobytes())
        yield from ((judge, entry["net"]) for entry in index if entry["caffe"] == "ran")


@cache
def golden_counts() -> dict[str, Counter[str]]:
    """The number of golden nets of each judge that have a layer of each type."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for judge, text in golden_nets():
        for type_ in set(re.findall(r'type: "(\w+)"', text)) - HELPERS:
            counts[type_][judge] += 1
    return counts


@cache
def readings() -> dict[str, list[str]]:
    """The test modules that name a fork's type and the repository of its source, whose loops they
    repeat in numpy."""
    modules: dict[str, list[str]] = defaultdict(list)
    for path in sorted((TESTS / "layers").glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        words = {
            word
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            for word in re.findall(r"\w+", node.value)
        }
        for name, kind in LayerType.registry.items():
            if kind.source and kind.source in text and name in words:
                modules[name].append(path.stem)
    return modules


def proofs() -> dict[str, str]:
    """For each type, with what its numbers are compared."""
    texts = {}
    for row in supported():
        if not row.onnx:
            continue
        kind = type(LayerType.registry[row.type])
        parts = (
            [f"{judge} ({quantity(n, 'net')})" for judge, n in golden_counts()[row.type].items()]
            if row.type in golden_counts()
            else []
        )
        if row.type in readings():
            parts.append(f"its source, repeated in numpy ({', '.join(readings()[row.type])})")
        other = SAME.get(row.type) or next(
            (b.__name__ for b in kind.__mro__[1:] if b.__name__ in LayerType.registry), ""
        )
        if not parts and other:
            parts.append(f"as `{other}`")
        texts[row.type] = "; ".join(parts)
    return texts


def test_table_in_docs_is_up_to_date(request):
    path = ROOT / "docs" / "layers.md"
    text = path.read_text(encoding="utf-8")
    head = text.partition("| type |")[0]
    table = markdown(proofs())
    if request.config.getoption("--update-golden"):
        path.write_text(head + table, encoding="utf-8")
        text = head + table
    assert text == head + table, "run pytest --update-golden and read docs/layers.md"


def test_every_exported_type_is_compared_with_something():
    kinds = LayerType.registry
    without = {type_ for type_, text in proofs().items() if not text}
    assert {one for one in without if not kinds[one].is_source} <= WITHOUT_NUMBERS
    assert not {type_ for type_ in WITHOUT_NUMBERS if proofs().get(type_)}


def test_every_fork_type_has_an_origin():
    own = {name for name, kind in LayerType.registry.items() if not kind.stock and not kind.source}
    assert own == {"ExactResize"}
    for kind in LayerType.registry.values():
        assert re.fullmatch(r"([\w.-]+/[\w.-]+)?", kind.source), kind


def test_every_type_has_a_summary_and_a_reason_if_it_is_not_exported():
    rows = supported()
    assert [row.type for row in rows if not row.summary.endswith(".")] == []
    assert [row.type for row in rows if not (row.onnx or row.limits)] == []
    assert [row.type for row in rows if not LayerType.registry[row.type].__doc__] == []


def test_layers_command(protogen):
    done = protogen("layers")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[-1].endswith("export to ONNX")
    assert len(lines) > 80
    done = protogen("layers", "Pooling", "PSROIAlign")
    assert done.returncode == 0
    assert "Pooling (pooling): MAX, AVE or STOCHASTIC" in done.stdout
    assert "    ONNX: yes (not STOCHASTIC)" in done.stdout
    assert "    ONNX: no" in done.stdout
    rows = json.loads(protogen("layers", "Pooling", "--json").stdout)["layers"]
    assert [row["type"] for row in rows] == ["Pooling"]
    done = protogen("layers", "Poling")
    assert done.returncode == 2
    assert "Poling: unknown layer type. Did you mean Pooling?" in done.stderr
