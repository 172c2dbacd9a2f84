"""What BVLC Caffe checks of a net, protogen checks too: tests/checks has a row for each."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
from checks import ROWS, UNREACHABLE, Row
from places import ROOT

import protogen as pg
from protogen.formats import prototxt
from protogen.lint.context import Settings
from protogen.net.net import Net
from protogen.net.upgrade import upgrade
from protogen.onnx import lower

BAD = [pytest.param(row, net, id=f"{row.id}-{n}") for row in ROWS for n, net in enumerate(row.bad)]
GOOD = [
    pytest.param(row, net, id=f"{row.id}-{n}") for row in ROWS for n, net in enumerate(row.good)
]


def build(row: Row, text: str) -> Net:
    document = upgrade(prototxt.parse(text, "net.prototxt"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        return Net(document, phase=row.phase, dialect=row.dialect)


def errors(row: Row, text: str) -> list[pg.Diagnostic]:
    found = pg.check_text(text, "net.prototxt", settings=Settings(dialect=row.dialect))
    return [one for one in found.diagnostics if one.severity == "error"]


@pytest.mark.parametrize(("row", "text"), BAD)
def test_violated(row, text):
    if row.when == "weights":
        net = build(row, text)
        with pytest.raises(pg.InputError) as caught:
            net.take_weights(blobs(row.weights))
        assert caught.value.diagnostic.layer == "l"
        return
    assert errors(row, text)
    if row.when == "backward":
        build(row, text)
        return
    if row.when == "lowered":
        with pytest.raises(pg.UnsupportedError) as caught:
            lower(build(row, text))
    else:
        with pytest.raises(pg.InputError) as caught:
            build(row, text)
    said = caught.value.diagnostic
    assert said.layer or said.subject.startswith("layer") or row.type == "the net"
    assert "\n" not in said.problem


@pytest.mark.parametrize(("row", "text"), GOOD)
def test_not_violated(row, text):
    assert errors(row, text) == []
    build(row, text)


def test_weights_that_fit():
    for row in ROWS:
        if row.when == "weights":
            build(row, row.bad[0]).take_weights(blobs(row.fits))


def blobs(shapes):
    return {name: [np.zeros(shape, np.float32) for shape in some] for name, some in shapes.items()}


def test_rows():
    assert max(Counter(row.id for row in ROWS).values()) == 1
    for row in ROWS:
        assert row.bad
        assert row.demands.endswith(".")
        file, _, line = row.at.partition(":")
        assert file.endswith((".cpp", ".hpp"))
        assert line.isdigit()
    for what, why in UNREACHABLE:
        assert what
        assert why.endswith(".")


def test_table(request):
    path = ROOT / "docs" / "checks.md"
    text = markdown()
    if request.config.getoption("--update-golden"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, (
        "run pytest --update-golden and read docs/checks.md"
    )


HEAD = """\
# What Caffe checks

This page is made by `tests/net/test_checks.py`; the nets are in `tests/checks`.

BVLC Caffe ends its process where a net violates one of its checks. Below are {count} of them: all that a net's
text, or its weights, can violate. protogen knows each: `protogen check` reports an error, and `protogen convert`
refuses the net in one sentence that names the layer (of a type that nobody knows when it comes to it). {backward} of them are violated when a gradient is computed,
in training alone: `check` tells of these, and `convert` does not refuse, because the net can be used.

A test violates each in the smallest net, and where it is subtle, has another that just does not. `tests/truth`
asks real Caffe about {asked} of the {count}: it refuses the one net, and runs the other, but for layers of files,
whose good nets it cannot run here. It is not asked about {files}, which need files or weights.

Forks allow more: {dialect} checks are BVLC's alone, and hold with `--dialect bvlc`.

"""


def markdown() -> str:
    """The page."""
    count = len(ROWS)
    unasked = sum(bool(row.loose) or row.when == "weights" for row in ROWS)
    made = HEAD.format(
        count=count,
        backward=sum(row.when == "backward" for row in ROWS),
        asked=count - unasked,
        files=unasked,
        dialect=sum(bool(row.dialect) for row in ROWS),
    )
    types = list(dict.fromkeys(row.type for row in ROWS))
    first = [name for name in ("the net", "every layer") if name in types]
    made += "| layer | what Caffe demands | where |\n|---|---|---|\n"
    for name in [*first, *sorted(set(types) - set(first), key=str.lower)]:
        for row in ROWS:
            if row.type == name:
                note = " (`--dialect bvlc`)" if row.dialect else ""
                note += " (a gradient)" if row.when == "backward" else ""
                made += f"| {name} | {row.demands}{note} | {row.at} |\n"
    made += "\n## What no net can violate\n\nThese checks no text can violate, or only together with files, or they repeat one of the table:\n\n"
    made += "| checks | why |\n|---|---|\n"
    return made + "".join(f"| {what} | {why} |\n" for what, why in UNREACHABLE)
