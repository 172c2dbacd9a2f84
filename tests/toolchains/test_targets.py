"""Nets that are written for a toolchain, run in the toolchain itself."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from places import ROOT
from test_judges import HEAVY, python_of

from protogen.running.toolchain import Worker
from protogen.running.trying import find

NETS = sorted(path.stem for path in (ROOT / "benchmarks/nets").glob("*.onnx"))
TOOLS = ("caffe-1.0", "mnn", "mindspore-lite", "opencv4", "tpu-mlir", "rknn2")
LIGHT = [name for name in TOOLS if name not in HEAVY]
# Pairs that protogen refuses to write: no form of a layer is right there.
REFUSED = {
    ("segmentation", "rknn2"): "arithmetic on the indices of an ArgMax needs the digits of float32",
}


def nets_for(tool: str) -> list[str]:
    """Return the nets to run: in CI each net in one of the light toolchains, otherwise all."""
    return NETS[LIGHT.index(tool) :: len(LIGHT)] if os.environ.get("CI") else NETS


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark, whose functions write and run the nets."""
    spec = importlib.util.spec_from_file_location("toolchains", ROOT / "benchmarks/toolchains.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["toolchains"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("tool", TOOLS)
def test_nets_for_the_target_are_right(tool: str, bench: ModuleType, tmp_path: Path):
    python = python_of(tool)
    (place,) = find(tmp_path / "net.prototxt", [tool], {tool: python})
    nets = [next(bench.sources(name, 0)) for name in nets_for(tool)]
    with Worker(place.adapter, place.python, seconds=bench.SECONDS) as worker:
        worker.start()
        results = list(bench.run_tool(place, worker, nets, {}, ["target"], tmp_path))
    unexpected = {
        one.net: f"{one.word}: {one.detail[:300]}"
        for one in results
        if one.word != ("not written" if (one.net, tool) in REFUSED else "right")
    }
    assert not unexpected
