"""docs/layers.md agrees with the registry of layer types and the test cases."""

from __future__ import annotations

import json
from collections import Counter

from places import ROOT, TESTS

import protogen as pg
from protogen.layers.base import LayerType
from protogen.layers.support import markdown, supported

CASES = sorted((TESTS / "cases").glob("*/*"))
HELPERS = {"Input"}
# Layers without arithmetic, or of forks for which there are no published numbers to check against.
WITHOUT_NUMBERS = {
    "Data", "HDF5Data", "HDF5Output", "ImageData", "MemoryData", "WindowData", "DummyData", "Silence",
    "Python", "Filter", "InfogainLoss", "LSTMUnit", "Axpy", "BN", "BilinearInterpolate", "ConvolutionDepthwise",
    "AnnotatedData", "DenseImageData", "ImageLabelmapData", "ImageSegData", "LaneData",
    "DepthwiseConvolution", "DetectionOutput", "ExactResize", "Interp", "Mish", "ROIPooling", "ShuffleChannel",
}  # fmt: skip


def counted() -> Counter[str]:
    """The number of cases that have a layer of each type."""
    counts: Counter[str] = Counter()
    for case in CASES:
        net = pg.load(case / "net.prototxt")
        counts.update({layer.type for layer in net.layers} - HELPERS)
    return counts


def test_table_in_docs_is_up_to_date(request):
    path = ROOT / "docs" / "layers.md"
    text = path.read_text(encoding="utf-8")
    head = text.partition("| type |")[0]
    table = markdown(counted())
    if request.config.getoption("--update-golden"):
        path.write_text(head + table, encoding="utf-8")
        text = head + table
    assert text == head + table, "run pytest --update-golden and read docs/layers.md"


def test_every_type_has_cases_or_is_listed_as_without_numbers():
    counts = counted()
    without_cases = {row.type for row in supported() if row.onnx and not counts[row.type]}
    assert without_cases - HELPERS <= WITHOUT_NUMBERS
    assert not {row.type for row in supported() if counts[row.type]} & WITHOUT_NUMBERS


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
    done = protogen("layers", "Pooling", "Proposal")
    assert done.returncode == 0
    assert "Pooling (pooling): MAX, AVE or STOCHASTIC" in done.stdout
    assert "    ONNX: yes (not STOCHASTIC)" in done.stdout
    assert "    ONNX: no" in done.stdout
    rows = json.loads(protogen("layers", "Pooling", "--json").stdout)["layers"]
    assert [row["type"] for row in rows] == ["Pooling"]
    done = protogen("layers", "Poling")
    assert done.returncode == 2
    assert "Poling: unknown layer type. Did you mean Pooling?" in done.stderr
