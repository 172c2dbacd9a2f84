"""ONNX's own test cases as Caffe nets: each converts and gives the expected numbers, or is refused
for a reason that docs/onnx_cases.md names."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

import protogen as pg
from protogen.layers import kind_of
from protogen.onnx.importer import REGISTRY, import_model

TOLERANCE = 1e-4  # of the largest value, as for Caffe's goldens; most are below 1e-6
HALF = 2e-3  # float16 has steps of 1e-3, and the cases were computed in it
# Cases that give their numbers with four digits.
ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}
FLOATS = ("float32", "float16", "bfloat16")
KINDS_IN_WORDS = {
    "pytorch-converted": "pytorch-converted",
    "pytorch-operator": "pytorch-operator",
    "node": "node cases of operators that have a form",
}
BESIDE = {"Input", "Parameter", "Silence", "Split"}  # Split only names an output
KINDS = list(KINDS_IN_WORDS)
# Folded away before anything is lifted, where what they read is constant.
FOLDED = {"Constant", "ConstantOfShape", "Shape", "Size"}


class Case(NamedTuple):
    kind: str
    name: str
    model: ModelProto
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]


def _stored() -> Iterator[Case]:
    """PyTorch's cases, which lie in files of the onnx package."""
    for kind in ("pytorch-converted", "pytorch-operator"):
        for found in load_model_tests(kind=kind):
            folder = Path(found.model_dir)
            data = folder / "test_data_set_0"
            tensors = {
                what: [
                    numpy_helper.to_array(onnx.load_tensor(str(data / f"{what}_{i}.pb")))
                    for i in range(len(list(data.glob(f"{what}_*.pb"))))
                ]
                for what in ("input", "output")
            }
            model = onnx.load(str(folder / "model.onnx"))
            yield Case(kind, found.name, model, tensors["input"], tensors["output"])


def _generated() -> Iterator[Case]:
    """Node cases of operators that have a form in Caffe."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other operators' cases
        found = collect_testcases(None)
    for case in found:
        if case.model is None:
            continue
        types = {node.op_type for node in case.model.graph.node}
        domains = {node.domain for node in case.model.graph.node}
        if types <= {*REGISTRY, *FOLDED} and domains <= {"", "ai.onnx"} and types - FOLDED:
            inputs, outputs = case.data_sets[0]
            arrays = [*inputs, *outputs]
            if all(isinstance(one, np.ndarray) and one.dtype != object for one in arrays):
                yield Case("node", case.name, case.model, list(inputs), list(outputs))


def with_constants(model: ModelProto, values: dict[str, np.ndarray]) -> ModelProto:
    """The model with some of its inputs fixed."""
    made = ModelProto()
    made.CopyFrom(model)
    del made.graph.input[:]
    made.graph.input.extend(one for one in model.graph.input if one.name not in values)
    made.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in values.items())
    return made


def attempts(case: Case) -> Iterator[tuple[ModelProto, dict[str, np.ndarray]]]:
    """(model, feeds): with all inputs computed that are float, then with the first one only."""
    given = {tensor.name for tensor in case.model.graph.initializer}
    names = [value.name for value in case.model.graph.input if value.name not in given]
    fed = dict(zip(names, case.inputs, strict=True))
    floats = [name for name in names if fed[name].dtype.name in FLOATS] or names
    for computed in (floats, floats[:1]):
        fixed = {name: value for name, value in fed.items() if name not in computed}
        yield with_constants(case.model, fixed), {name: fed[name] for name in computed}


def converted(case: Case, forms: dict[str, set[str]]) -> tuple[str, str]:
    """(what became of it, reason), after its numbers were compared; the layers of cases of one
    operator go into ``forms``."""
    refusals = []
    for model, feeds in attempts(case):
        try:
            made = import_model(model)
        except pg.UnsupportedError as error:
            refusals.append(str(error))
            continue
        assert all(kind_of(layer).stock for layer in made.net.layers), case.name
        operators = [n.op_type for n in model.graph.node if n.op_type not in FOLDED]
        if len(operators) == 1:
            types = {layer.type for layer in made.net.layers}
            forms.setdefault(operators[0], set()).update(types - BESIDE)
        blobs = [made.blobs.get(value.name, value.name) for value in model.graph.output]
        found = pg.run(made.net, feeds, blobs=blobs)
        for blob, wanted in zip(blobs, case.outputs, strict=True):
            compare(case.name, found[blob], wanted)
        return "approximated" if made.approximated else "converts", "; ".join(made.approximated)
    return "refused", reason_of(refusals[-1])


def compare(name: str, found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape, name
    largest = np.abs(wanted[np.isfinite(wanted)].astype(np.float64)).max(initial=0)
    tolerance = ROUNDED.get(name, HALF if wanted.dtype != np.float32 else TOLERANCE)
    np.testing.assert_allclose(
        found.astype(np.float64), wanted.astype(np.float64), rtol=0, atol=tolerance * largest,
        err_msg=name,
    )  # fmt: skip


def reason_of(text: str) -> str:
    """The first reason of a refusal, without the operator that it is about."""
    lines = [line for line in text.splitlines() if "operators have no form" not in line]
    return re.sub(r'^\s*operator ".*?" \(\w+\): ', "", lines[0]).rstrip(".")


def test_cases(golden, onnxs_cases):
    """All of them; the page in docs names each that is refused."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    refused: list[str] = []
    approximated: list[str] = []
    forms: dict[str, set[str]] = {}
    for case in sorted([*_stored(), *_generated()], key=lambda c: (KINDS.index(c.kind), c.name)):
        what, reason = converted(case, forms)
        counts[case.kind][what] += 1
        name = case.name.removeprefix("test_")
        if what == "refused":
            types = dict.fromkeys(
                n.op_type for n in case.model.graph.node if n.op_type != "Constant"
            )
            refused.append(f"| `{name}` | {', '.join(types)} | {reason} |")
        elif what == "approximated":
            approximated.append(f"`{name}`")
    assert sum(counts["node"].values()) > 600
    assert sum(counts["pytorch-converted"].values()) > 80
    assert sum(counts["pytorch-operator"].values()) > 30
    golden("../../docs/onnx_cases.md", page(counts, refused, approximated, forms))


def page(
    counts: dict[str, Counter[str]], refused: Sequence[str], approximated: Sequence[str],
    forms: dict[str, set[str]],
) -> str:  # fmt: skip
    rows = [
        f"| {KINDS_IN_WORDS[kind]} | {sum(one.values())} | {one['converts'] + one['approximated']} "
        f"| {one['refused']} |"
        for kind, one in counts.items()
    ]
    return "\n".join(
        [
            "# ONNX's own test cases in stock Caffe",
            "",
            "Every case whose operators have a form in Caffe, lifted to layers of BVLC Caffe and "
            "run: each agrees",
            "with the case's own numbers to 1e-4 of the largest (float16 cases to 2e-3), or is "
            "refused for the reason below.",
            "Inputs of float are computed; where that is refused, all but the first are constants, "
            "as weights are.",
            "Cases of sequences and of text are left out.",
            "",
            "| cases | in all | convert | refused |",
            "|---|---|---|---|",
            *rows,
            "",
            f"By a form that is not exact, whose error is stated: {', '.join(approximated)}.",
            "",
            "## Operators",
            "",
            "The layers that the cases of one operator become; none where the operator does nothing "
            "at inference.",
            "",
            "| operator | layers |",
            "|---|---|",
            *(f"| {one} | {', '.join(sorted(types))} |" for one, types in sorted(forms.items())),
            "",
            "## Refused",
            "",
            "| case | operators | reason |",
            "|---|---|---|",
            *refused,
            "",
        ]
    )
