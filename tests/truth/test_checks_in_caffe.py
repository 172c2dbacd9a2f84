"""Nets that violate one of Caffe's checks, in real Caffe.

Caffe refuses them in the source file that the table names, and runs similar nets that are valid.
"""

from __future__ import annotations

import re

import pytest
from checks import ROWS, Row
from comparing import types_of
from judge import NAMES, Caffe, caffe, missing

pytestmark = pytest.mark.usefixtures("judges")


def judge_of(row: Row) -> Caffe | None:
    """Return the first Caffe that has all types of the nets; any Caffe for the check of unknown types."""
    types = set() if row.id == "layer.known-type" else types_of("".join((*row.bad, *row.good)))
    installed = (caffe(name) for name in NAMES if not missing(name))
    return next((one for one in installed if types <= one.types), None)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.when != "weights"], ids=lambda row: row.id
)
def test_caffe_refuses_violations(row):
    judge = judge_of(row)
    assert judge is not None, "no Caffe has all these types"
    backward = row.when == "backward"
    for text in row.bad if not row.loose else ():
        refusal = judge.run(text, {}, phase=row.phase, backward=backward).refused
        assert re.match(rf"{re.escape(row.file)}: ", refusal), refusal or "it runs"
        if backward:
            assert not judge.run(text, {}, phase=row.phase).refused
    for text in row.good if not row.unasked else ():
        assert judge.run(text, {}, phase=row.phase, backward=backward).refused == ""
