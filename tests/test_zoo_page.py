"""The page of the zoo is written from its data, and what it says of protogen holds."""

from __future__ import annotations

import importlib.util
import json

import pytest
from places import EXAMPLES, ROOT

BENCHMARKS = ROOT / "benchmarks"
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def data():
    return json.loads((BENCHMARKS / "zoo.json").read_text(encoding="utf-8"))


def test_page_is_written_from_the_data(data):
    """``python benchmarks/zoo.py --only-page`` writes it again."""
    spec = importlib.util.spec_from_file_location("zoo_page", BENCHMARKS / "zoo_page.py")
    zoo_page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(zoo_page)
    page = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
    assert page == zoo_page.page(data)
    for name, net in data["nets"].items():
        if "refused" not in net:
            assert f"| {name} | {net['layers']} |" in page


def test_every_example_is_in_the_zoo_and_converted(data):
    names = {path.stem for path in (EXAMPLES / "zoo").glob("*.py")}
    assert len(names) >= 8
    for name in names:
        assert "refused" not in data["nets"][name]
        assert data["nets"][name]["tools"]


def test_no_net_of_the_zoo_differs_from_its_module(data):
    converted = [net for net in data["nets"].values() if "refused" not in net]
    assert len(converted) > 90
    assert all(net["error"] < TOLERANCE for net in converted)
    assert all(net["compared"] > net["unproved"] for net in converted)


def test_no_toolchain_computes_something_else(data):
    """A net that is written for a toolchain is right there, or the toolchain refuses it."""
    wrong = {
        (name, tool): answer["detail"]
        for name, net in data["nets"].items()
        for tool, answer in net.get("tools", {}).items()
        if answer["word"] == "wrong"
    }
    assert wrong == {}
