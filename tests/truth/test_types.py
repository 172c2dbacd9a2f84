"""Every layer type in real Caffe: odd parameters, legal and illegal, in both phases."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from comparing import compare, compare_back, difference, judge_of
from drawing import SPECS, Drawn, one_layer, several_layers
from hypothesis import HealthCheck, Phase, given, settings

from protogen.layers import LayerType

pytestmark = pytest.mark.usefixtures("judges")
EXAMPLES = 40
# The same examples in every run: CI must not fail by chance. measure.py draws others.
DRAWING = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def agree(drawn: Drawn) -> None:
    judge = judge_of(drawn)
    assert judge is not None, "no Caffe has all these types"
    outcome = compare(drawn, judge)
    assert outcome.agrees, f"{outcome.verdict}: {outcome.said}"


@pytest.mark.parametrize("type_", SPECS)
def test_type(type_):
    @DRAWING
    @given(one_layer(type_))
    def run(drawn: Drawn) -> None:
        agree(drawn)

    run()


@DRAWING
@given(several_layers())
def test_nets(drawn):
    agree(drawn)


# Types of the judges that the tests above leave out, and why.
LEFT_OUT = {
    "Data": "reads a database", "HDF5Data": "reads files", "HDF5Output": "writes a file",
    "ImageData": "reads pictures", "WindowData": "reads pictures",
    "MemoryData": "takes its data from a program", "Python": "runs a user's class",
    "Input": "in every net",
    "BN": "tpucaffe's has four blobs, protogen's goldens are of forks with two",
    "DetectionOutput": "in golden/random", "Proposal": "has no ONNX form",
    "ROIPooling": "tpucaffe takes regions of four axes, protogen those of Fast R-CNN",
    "Reorg": "has no ONNX form: forks order its channels differently",
}  # fmt: skip


def test_all_types_are_drawn():
    """Every type that a judge and protogen both have."""
    from judge import NAMES, caffe

    judged = frozenset().union(*(caffe(name).types for name in NAMES))
    known = {name for name, kind in LayerType.registry.items() if not kind.user_defined}
    assert judged & known == set(SPECS) | set(LEFT_OUT)


# Those that protogen never computes in place; for the others the tests above compare the values.
SPOILED = sorted(
    name for name in SPECS
    if type(LayerType.registry[name]).in_place is LayerType.in_place
    and name not in ("Silence", "Parameter", "DummyData")  # without bottoms or tops
)  # fmt: skip


class Found(Exception):
    """An example shows what was looked for: hypothesis need draw no more."""


def first(examples, look):
    """The first example for which ``look`` raises Found; None where there is none."""

    @settings(DRAWING, phases=[Phase.generate])
    @given(examples)
    def run(drawn: Drawn) -> None:
        judge = judge_of(drawn)
        assert judge is not None
        look(drawn, judge)

    try:
        run()
    except Found as found:
        return found
    return None


@pytest.mark.parametrize("type_", SPOILED)
def test_in_place(type_):
    """What protogen refuses in place, Caffe refuses too or computes otherwise than with a top of its
    own."""
    refused = []

    def look(drawn, judge):
        if compare(drawn, judge).verdict not in ("in place", "refused"):
            return
        *before, last = drawn.text.strip().split("\n")
        apart = "\n".join([*before, re.sub(r'top: "\w+"', 'top: "own"', last, count=1)])
        there = judge.run(drawn.text, drawn.feeds, phase=drawn.phase)
        free = judge.run(apart, drawn.feeds, phase=drawn.phase)
        if free.refused:
            return
        refused.append(drawn)
        top = re.search(r'top: "(\w+)"', last)[1]
        if there.refused or difference(there.blobs[top], free.blobs["own"]):
            raise Found

    assert first(one_layer(type_, in_place=True), look) or not refused


# Types whose ONNX form cannot become stock layers again; the importer refuses each by its operator.
NO_WAY_BACK = frozenset((
    "Threshold", "Embed", "BatchReindex", "Filter", "ArgMax", "SoftmaxWithLoss", "Accuracy",
    "InfogainLoss", "HingeLoss", "MultinomialLogisticLoss", "ContrastiveLoss",
))  # fmt: skip


@pytest.mark.parametrize("type_", sorted(set(SPECS) - NO_WAY_BACK))
def test_back_to_caffe(type_):
    """Caffe to ONNX and back to Caffe: real Caffe computes the same for both nets."""
    verdicts = []

    @settings(DRAWING, max_examples=EXAMPLES // 3)
    @given(one_layer(type_))
    def run(drawn: Drawn) -> None:
        judge = judge_of(drawn)
        assert judge is not None
        outcome = compare_back(drawn, judge)
        verdicts.append(outcome.verdict)
        assert outcome.verdict in ("ran", "refused", "no way back"), outcome.said

    run()
    assert "ran" in verdicts or type_ == "Silence"  # which has no output


@settings(DRAWING, max_examples=EXAMPLES // 2)
@given(several_layers())
def test_nets_back_to_caffe(drawn):
    judge = judge_of(drawn)
    assert judge is not None
    outcome = compare_back(drawn, judge)
    assert outcome.verdict in ("ran", "refused", "no way back"), outcome.said


WITH_FORM = sorted(
    name for name in SPECS if LayerType.registry[name].has_form and name != "Silence"
)  # fmt: skip


@pytest.mark.parametrize("type_", WITH_FORM)
def test_a_mistake_is_found(type_, monkeypatch):
    """A layer whose values are a thousandth too large fails the tests above. (mutants.py tries all
    small changes of the code.)"""
    kind = type(LayerType.registry[type_])
    right = kind.lower

    def wrong(self, layer, e):
        first = len(e.nodes)
        right(self, layer, e)
        for i, node in enumerate(e.nodes[first:], first):
            if layer.writes[0] in node.writes:
                inner = f"{layer.writes[0]}@right"
                writes = tuple(inner if w == layer.writes[0] else w for w in node.writes)
                e.nodes[i] = replace(node, writes=writes)
                e.op("Mul", [inner, e.array(1.001)], [layer.writes[0]])
                return

    monkeypatch.setattr(kind, "lower", wrong)

    def look(drawn, judge):
        if compare(drawn, judge).verdict == "differs":
            raise Found

    assert first(one_layer(type_), look)
