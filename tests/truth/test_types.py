"""Every layer type in real Caffe: unusual parameters, valid and invalid, in both phases."""

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
# Every run has the same examples, so that CI does not fail by chance. measure.py can run more.
# hypothesis derives the examples from the source of each decorated function.
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


# Types of the Caffes that the tests above leave out, with the reason.
LEFT_OUT = {
    "Data": "reads a database", "HDF5Data": "reads files", "HDF5Output": "writes a file",
    "ImageData": "reads pictures", "WindowData": "reads pictures",
    "MemoryData": "gets its data from a program", "Python": "runs a user's class",
    "Input": "part of every net",
    "RegionLoss": "has no ONNX form", "EvalDetection": "has no ONNX form",
}  # fmt: skip


def test_all_types_are_drawn():
    """The tests cover every type that both a Caffe and protogen have."""
    from judge import NAMES, caffe

    judged = frozenset().union(*(caffe(name).types for name in NAMES))
    known = {name for name, kind in LayerType.registry.items() if not kind.user_defined}
    assert judged & known == set(SPECS) | set(LEFT_OUT)


# Types that protogen never computes in-place; the tests above compare the values of the others.
SPOILED = sorted(
    name for name in SPECS
    if type(LayerType.registry[name]).in_place is LayerType.in_place
    and name not in ("Silence", "Parameter", "DummyData")  # no bottoms or no tops
)  # fmt: skip


class Found(Exception):
    """Raised for an example with the expected property, so that hypothesis stops."""


def first(examples, look):
    """Return the exception of the first example for which ``look`` raises Found; None without one."""

    @settings(DRAWING, phases=[Phase.generate], max_examples=5 * EXAMPLES)
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
    """If protogen refuses an in-place layer, Caffe refuses it too, or its values differ from those of
    the layer with a separate top."""
    refused = []

    def look(drawn, judge):
        if compare(drawn, judge).verdict not in ("in place", "refused"):
            return
        *before, last = drawn.text.strip().split("\n")
        separate = "\n".join([*before, re.sub(r'top: "\w+"', 'top: "own"', last, count=1)])
        in_place_answer = judge.run(drawn.text, drawn.feeds, phase=drawn.phase)
        separate_answer = judge.run(separate, drawn.feeds, phase=drawn.phase)
        if separate_answer.refused:
            return
        refused.append(drawn)
        top = re.search(r'top: "(\w+)"', last)[1]
        if in_place_answer.refused or difference(
            in_place_answer.blobs[top], separate_answer.blobs["own"]
        ):
            raise Found

    assert first(one_layer(type_, in_place=True), look) or not refused


# Types whose ONNX operators the importer does not support.
NO_WAY_BACK = frozenset((
    "Threshold", "Embed", "BatchReindex", "Filter", "ArgMax", "SoftmaxWithLoss", "Accuracy",
    "InfogainLoss", "HingeLoss", "MultinomialLogisticLoss", "ContrastiveLoss", "CtcLoss",
    "LabelsequenceAccuracy", "YoloDetection", "FrcnDetection", "RetinaFaceDetection", "ROIPooling", "Proposal",
))  # fmt: skip


@pytest.mark.parametrize("type_", sorted(set(SPECS) - NO_WAY_BACK))
def test_back_to_caffe(type_):
    """Caffe to ONNX and back to Caffe: real Caffe computes the same values for both nets."""
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
    assert "ran" in verdicts or type_ == "Silence"  # Silence has no output


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
def test_wrong_values_are_found(type_, monkeypatch):
    """A layer whose values are too large by 0.1 % fails the comparison. mutants.py tests all small
    changes of the code."""
    kind = type(LayerType.registry[type_])
    original = kind.lower

    def scaled(self, layer, e):
        first = len(e.nodes)
        original(self, layer, e)
        for i, node in enumerate(e.nodes[first:], first):
            if layer.writes[0] in node.writes:
                inner = f"{layer.writes[0]}@original"
                writes = tuple(inner if w == layer.writes[0] else w for w in node.writes)
                e.nodes[i] = replace(node, writes=writes)
                e.op("Mul", [inner, e.array(1.001)], [layer.writes[0]])
                return

    monkeypatch.setattr(kind, "lower", scaled)

    def look(drawn, judge):
        if compare(drawn, judge).verdict == "differs":
            raise Found

    assert first(one_layer(type_), look)
