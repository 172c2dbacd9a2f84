"""``check --target`` foretells what toolchains do: the data files against the measured table."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest
from forms import FORMS
from preparing import caffemodel_of, weights_of
from table import read, read_versions

import protogen as pg
from protogen.formats import prototxt
from protogen.formats.caffemodel import parse_weights
from protogen.formats.wire import Bytes
from protogen.net.net import Net
from protogen.net.targets import TargetReport, judge, tolerant_graph
from protogen.net.upgrade import upgrade
from protogen.toolchains.toolchain import load_toolchain

TOOLS = sorted(read_versions())
LEAST = 0.98  # of the cells
MEASURED = {"right": "usable", "wrong": "wrong", "refused": "refused", "crashed": "refused",
            "hung": "refused"}  # fmt: skip
FORETOLD = {"taken": "usable", "ignored": "usable", "wrong": "wrong", "refused": "refused",
            "unknown": "unknown"}  # fmt: skip


@cache
def nets():
    """The net of each form: its graph, its text, its weights, and the layers that Caffe refuses."""
    result = {}
    for form in FORMS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pg.ProtogenWarning)
            document = prototxt.parse(form.net, form.id)
            graph, invalid = tolerant_graph(upgrade(document), document.source, {})
            message = upgrade(document)
            blobs = weights_of(form, Net(message, phase="TEST", tolerant=True))
        data = Bytes(memoryview(caffemodel_of(form, message, blobs)), form.id)
        weights = parse_weights(data, allow_empty=True)
        result[form.id] = (graph, document, weights, invalid)
    return result


def reports(tool: str) -> Iterator[tuple[str, TargetReport]]:
    toolchain = load_toolchain(tool)
    for id_, net in nets().items():
        yield id_, judge(toolchain, *net)


@pytest.mark.parametrize("tool", TOOLS)
def test_data_file_foretells_the_measured_table(tool):
    measured = {row["id"]: MEASURED[row[tool].split()[0]] for row in read()}
    missed = []
    for id_, report in reports(tool):
        if FORETOLD[report.verdict] != measured[id_]:
            missed.append(f"{id_}: {measured[id_]}, foretold {report.verdict}")
    share = 1 - len(missed) / len(measured)
    assert share >= LEAST, f"{tool}: {share:.1%} foretold\n" + "\n".join(missed)


@pytest.mark.parametrize("tool", TOOLS)
def test_nothing_measured_is_unknown(tool):
    unknown = Counter(report.verdict for _, report in reports(tool))["unknown"]
    assert unknown <= len(FORMS) / 100
