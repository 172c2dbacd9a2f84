"""protogen has every check of BVLC Caffe on a net: tests/checks has a row for each of them."""

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
    checked = pg.check_text(text, "net.prototxt", settings=Settings(dialect=row.dialect))
    return [diagnostic for diagnostic in checked.diagnostics if diagnostic.severity == "error"]


@pytest.mark.parametrize(("row", "text"), BAD)
def test_net_that_violates_a_check_is_rejected(row, text):
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
    diagnostic = caught.value.diagnostic
    assert diagnostic.layer or diagnostic.subject.startswith("layer") or row.type == "the net"
    assert "\n" not in diagnostic.problem


@pytest.mark.parametrize(("row", "text"), GOOD)
def test_net_at_the_limit_of_a_check_is_accepted(row, text):
    assert errors(row, text) == []
    build(row, text)


def test_weights_of_correct_shape_are_accepted():
    for row in ROWS:
        if row.when == "weights":
            build(row, row.bad[0]).take_weights(blobs(row.fits))


def blobs(shapes):
    return {
        name: [np.zeros(shape, np.float32) for shape in of_layer]
        for name, of_layer in shapes.items()
    }


def test_rows_are_unique_and_complete():
    assert max(Counter(row.id for row in ROWS).values()) == 1
    for row in ROWS:
        assert row.bad
        assert row.demands.endswith(".")
        file, _, line = row.at.partition(":")
        assert file.endswith((".cpp", ".hpp"))
        assert line.isdigit()
    for checks, reason in UNREACHABLE:
        assert checks
        assert reason.endswith(".")


def test_docs_table_is_current(request):
    path = ROOT / "docs" / "checks.md"
    text = markdown()
    if request.config.getoption("--update-golden"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, (
        "run pytest --update-golden and read docs/checks.md"
    )


HEAD = """\
# What Caffe checks

`tests/net/test_checks.py` generates this page; the nets are in `tests/checks`.

BVLC Caffe ends its process if a net violates one of its checks. This page lists {count} of them: all that the text
of a net, or its weights, can violate. protogen has the same checks: `protogen check` reports an error, and
`protogen convert` rejects the net in one sentence that names the layer (a layer of unknown type is rejected when
it is converted). {backward} of the checks concern the computation of a gradient, only in training: `check` reports
them, but `convert` accepts the net, because it works for inference.

For each check there is a minimal net that violates it. For subtle checks there is also a net that just satisfies
it. `tests/truth` compares {compared} of the {count} with real Caffe: Caffe rejects the first net and runs the
second, except for layers that read files, whose valid nets cannot run here. The other {files} need files or weights
and are not compared.

Forks allow more: {dialect} checks are only in BVLC Caffe. They apply with `--dialect bvlc`.

"""


def markdown() -> str:
    """Return the text of docs/checks.md."""
    count = len(ROWS)
    not_compared = sum(bool(row.loose) or row.when == "weights" for row in ROWS)
    text = HEAD.format(
        count=count,
        backward=sum(row.when == "backward" for row in ROWS),
        compared=count - not_compared,
        files=not_compared,
        dialect=sum(bool(row.dialect) for row in ROWS),
    )
    types = list(dict.fromkeys(row.type for row in ROWS))
    first = [name for name in ("the net", "every layer") if name in types]
    text += "| layer | check | place in Caffe |\n|---|---|---|\n"
    for name in [*first, *sorted(set(types) - set(first), key=str.lower)]:
        for row in ROWS:
            if row.type == name:
                note = " (`--dialect bvlc`)" if row.dialect else ""
                note += " (gradient)" if row.when == "backward" else ""
                text += f"| {name} | {row.demands}{note} | {row.at} |\n"
    text += (
        "\n## Checks that no net can violate\n\nThe text of a net cannot violate these checks, or "
        "only together with files, or they repeat a check of the table:\n\n"
    )
    text += "| checks | reason |\n|---|---|\n"
    return text + "".join(f"| {checks} | {reason} |\n" for checks, reason in UNREACHABLE)
