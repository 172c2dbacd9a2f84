"""ONNX's own test cases as Caffe nets: each is imported and gives the expected values, or is
refused for a reason that docs/onnx_cases.md lists."""

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

TOLERANCE = 1e-4  # of the largest value, as for Caffe's golden values; most errors are below 1e-6
HALF_TOLERANCE = 2e-3  # float16 has steps of 1e-3, and the cases were computed in it
# Cases whose expected values have four digits only.
TOLERANCES = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}
FLOATS = ("float32", "float16", "bfloat16")
TITLES = {
    "pytorch-converted": "pytorch-converted",
    "pytorch-operator": "pytorch-operator",
    "node": "node cases of supported operators",
}
IGNORED = {"Input", "Parameter", "Silence", "Split"}  # a Split only names an output
KINDS = list(TITLES)
# Folded before the import if their inputs are constant.
FOLDED = {"Constant", "ConstantOfShape", "Shape", "Size"}


class Case(NamedTuple):
    kind: str
    name: str
    model: ModelProto
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]


def _stored() -> Iterator[Case]:
    """Yield PyTorch's cases, which are files of the onnx package."""
    for kind in ("pytorch-converted", "pytorch-operator"):
        for case in load_model_tests(kind=kind):
            folder = Path(case.model_dir)
            data = folder / "test_data_set_0"
            tensors = {
                kind_of_tensor: [
                    numpy_helper.to_array(onnx.load_tensor(str(data / f"{kind_of_tensor}_{i}.pb")))
                    for i in range(len(list(data.glob(f"{kind_of_tensor}_*.pb"))))
                ]
                for kind_of_tensor in ("input", "output")
            }
            model = onnx.load(str(folder / "model.onnx"))
            yield Case(kind, case.name, model, tensors["input"], tensors["output"])


def _generated() -> Iterator[Case]:
    """Yield the node cases of supported operators."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other operators' cases
        cases = collect_testcases(None)
    for case in cases:
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
    """Return the model with some of its inputs as constants."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.input[:]
    fixed.graph.input.extend(one for one in model.graph.input if one.name not in values)
    fixed.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in values.items())
    return fixed


def attempts(case: Case) -> Iterator[tuple[ModelProto, dict[str, np.ndarray]]]:
    """Yield (model, feeds): first with all float inputs computed, then with only the first one."""
    initializers = {tensor.name for tensor in case.model.graph.initializer}
    names = [value.name for value in case.model.graph.input if value.name not in initializers]
    fed = dict(zip(names, case.inputs, strict=True))
    floats = [name for name in names if fed[name].dtype.name in FLOATS] or names
    for computed in (floats, floats[:1]):
        fixed = {name: value for name, value in fed.items() if name not in computed}
        yield with_constants(case.model, fixed), {name: fed[name] for name in computed}


def outcome_of(case: Case, forms: dict[str, set[str]]) -> tuple[str, str]:
    """Return (outcome, reason) after comparing the values; add the layers of a case with one
    operator to ``forms``."""
    refusals = []
    for model, feeds in attempts(case):
        try:
            imported = import_model(model)
        except pg.UnsupportedError as error:
            refusals.append(str(error))
            continue
        assert all(kind_of(layer).stock for layer in imported.net.layers), case.name
        operators = [n.op_type for n in model.graph.node if n.op_type not in FOLDED]
        if len(operators) == 1:
            types = {layer.type for layer in imported.net.layers}
            forms.setdefault(operators[0], set()).update(types - IGNORED)
        blobs = [imported.blobs.get(value.name, value.name) for value in model.graph.output]
        actual = pg.run(imported.net, feeds, blobs=blobs)
        for blob, expected in zip(blobs, case.outputs, strict=True):
            compare(case.name, actual[blob], expected)
        return "approximated" if imported.approximated else "converts", "; ".join(
            imported.approximated
        )
    return "refused", reason_of(refusals[-1])


def compare(name: str, actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape, name
    largest = np.abs(expected[np.isfinite(expected)].astype(np.float64)).max(initial=0)
    tolerance = TOLERANCES.get(name, HALF_TOLERANCE if expected.dtype != np.float32 else TOLERANCE)
    np.testing.assert_allclose(
        actual.astype(np.float64), expected.astype(np.float64), rtol=0, atol=tolerance * largest,
        err_msg=name,
    )  # fmt: skip


def reason_of(text: str) -> str:
    """Return the first reason of an error, without the operator's name."""
    lines = [line for line in text.splitlines() if "operators have no equivalent" not in line]
    return re.sub(r'^\s*operator ".*?" \(\w+\): ', "", lines[0]).rstrip(".")


def test_onnx_cases_agree_or_are_refused(golden, onnx_1_23_cases):
    """Run all cases; the page in docs lists each that is refused."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    refused: list[str] = []
    approximated: list[str] = []
    forms: dict[str, set[str]] = {}
    for case in sorted([*_stored(), *_generated()], key=lambda c: (KINDS.index(c.kind), c.name)):
        outcome, reason = outcome_of(case, forms)
        counts[case.kind][outcome] += 1
        name = case.name.removeprefix("test_")
        if outcome == "refused":
            types = dict.fromkeys(
                n.op_type for n in case.model.graph.node if n.op_type != "Constant"
            )
            refused.append(f"| `{name}` | {', '.join(types)} | {reason} |")
        elif outcome == "approximated":
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
        f"| {TITLES[kind]} | {sum(one.values())} | {one['converts'] + one['approximated']} "
        f"| {one['refused']} |"
        for kind, one in counts.items()
    ]
    return "\n".join(
        [
            "# ONNX's own test cases in stock Caffe",
            "",
            "All cases of supported operators, imported as layers of BVLC Caffe and run. Each case "
            "either agrees",
            "with its expected values to 1e-4 of the largest value (float16 cases: 2e-3), or is "
            "refused for the reason below.",
            "Float inputs are computed. If that is refused, all but the first are constants, like "
            "weights.",
            "Cases with sequences and strings are left out.",
            "",
            "| cases | total | imported | refused |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Imported approximately, with a stated error: {', '.join(approximated)}.",
            "",
            "## Operators",
            "",
            "The layers that the cases of one operator become; none if the operator has no effect "
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
