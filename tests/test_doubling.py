"""A file of twice the size needs twice the work, in every reader.

The lines of Python that are run are counted, which does not depend on the speed of the machine. The files repeat
one element; benchmarks/hostile.py measures the time for larger ones, also that of libraries in C++.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from places import ROOT

import protogen as pg
from protogen.geometry import shape_text

SIZE = 4000  # bytes of the smallest file
GROWTH = 1.3  # lines for the second doubling against twice those for the first


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hostile = _module("hostile")
# Each test is one kind of file for one reader. The page draws the same nets as the linter and is slow.
FILES = [entry for entry in hostile.FILES if entry[0] not in ("page", "template")]
PACKAGE = str(ROOT / "protogen")


def lines(target: str, raw: bytes, folder: Path) -> int:
    """Return how many lines of protogen's code run when a target reads a file."""
    reader = hostile.TARGETS[target]
    path = folder / f"input{reader.suffix}"
    path.write_bytes(raw)
    count = 0

    def step(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if event == "line":
            count += 1
        return step

    def call(frame: FrameType, event: str, argument: object) -> Any:
        return step if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        with contextlib.suppress(pg.ProtogenError, RecursionError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.run(path)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(("target", "kind", "make"), FILES, ids=[f"{a}-{b}" for a, b, _ in FILES])
def test_twice_the_file_is_twice_the_work(tmp_path, target, kind, make):
    if target == "hdf5":
        pytest.importorskip("h5py")
    lines(target, make(200), tmp_path)  # loads modules
    first, second, third = (lines(target, make(SIZE << i), tmp_path) for i in range(3))
    assert third - second <= 2 * GROWTH * (second - first) + 3000, (first, second, third)


def test_quadratic_work_is_noticed(tmp_path, monkeypatch):
    """The test above has no effect if it does not count."""

    def quadratic(_: object, path: Path) -> None:
        size = path.stat().st_size
        for _ in range(size * size // 1000):
            shape_text((1, 2))

    monkeypatch.setattr(type(hostile.TARGETS["net"]), "run", quadratic)
    with pytest.raises(AssertionError):
        test_twice_the_file_is_twice_the_work(tmp_path, "net", "", lambda size: b" " * (size // 4))
