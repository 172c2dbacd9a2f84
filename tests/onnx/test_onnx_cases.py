"""ONNX's own test cases as Caffe nets: each is imported and gives the expected values, in protogen and
in real Caffe, or is refused for a reason that docs/onnx_cases.md lists."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from comparing import caffemodel, types_of
from judge import NAMES, Caffe, caffe
from onnx_cases import KINDS, Result, Written, all_cases, differences, obstacle, results
from places import GOLDEN

import protogen as pg
from protogen.formats import prototxt
from protogen.onnx.importer import import_model

IN_CAFFE = "onnx_cases_in_caffe.md"  # written where real Caffe is installed, part of the page
IGNORED = {"Input", "Parameter", "Silence", "Split"}  # a Split only names an output
PER_BATCH = "use_global_stats: false"
TITLES = {"caffe": "BVLC's Caffe", "tpucaffe": "the Caffe of TPU-MLIR"}
# Why a net runs in the other Caffe, by what its prototxt contains.
ELSEWHERE = {
    PER_BATCH: f"BatchNorm with `{PER_BATCH}`, which this build of BVLC's Caffe ignores",
    '"Clip"': "Clip, a layer type that this build of BVLC's Caffe does not have",
}


def converted() -> list[Result]:
    return [one for one in results() if one.converts]


def caffe_of(written: Written, text: str) -> Caffe | None:
    """Return the first Caffe that has all layers of a net, and computes them as BVLC's source says."""
    names = NAMES[1:] if PER_BATCH in text else NAMES
    return next((one for one in map(caffe, names) if types_of(text) <= one.types), None)


def test_written_nets_agree_in_real_caffe(judges, golden, onnx_1_23_cases):
    """Run every written net in real Caffe."""
    ran: Counter[tuple[str, str]] = Counter()
    wrong = []
    for one in converted():
        written = one.written
        assert written is not None
        text = prototxt.write(written.net.message)
        judge = caffe_of(written, text)
        if judge is None:
            wrong.append(f"{one.case.name}: no Caffe has all of {types_of(text)}")
            continue
        answer = judge.run(text, written.feeds, caffemodel(written.net))
        said = answer.refused or "; ".join(differences(written, answer.blobs))
        if said:
            wrong.append(f"{one.case.name}, {judge.name}: {said}")
        why = next((why for part, why in ELSEWHERE.items() if part in text), "")
        ran[judge.name, why if judge.name != NAMES[0] else ""] += 1
    assert not wrong, "\n".join(wrong)
    golden(IN_CAFFE, "\n".join(in_caffe(ran)))


def test_onnx_cases_agree_or_are_refused(golden, onnx_1_23_cases):
    """Run all cases; the page in docs lists each that is refused."""
    faults = [f"{one.case.name}: {one.faults[0]}" for one in results() if one.faults]
    assert not faults, "\n".join(faults)
    counts = Counter(case.kind for case in all_cases())
    assert counts["node"] > 1800
    assert counts["pytorch-converted"] > 80
    assert counts["pytorch-operator"] > 30
    assert counts["simple"] > 20
    golden("../../docs/onnx_cases.md", "\n".join(page()))


def in_caffe(ran: Counter[tuple[str, str]]) -> Iterator[str]:
    yield (
        f"{ran.total()} written nets, every one at that time, were also run in real Caffe. Each gives the "
        "expected values, with the same tolerances."
    )
    yield ""
    yield "| Caffe | nets | why this one |"
    yield "|---|---|---|"
    for (name, why), count in sorted(ran.items()):
        yield f"| {TITLES[name]} | {count} | {why} |"
    yield ""


def page() -> Iterator[str]:
    yield "# ONNX's own test cases in stock Caffe"
    yield ""
    yield (
        "All test cases of the onnx package that need no download, imported as layers of BVLC Caffe and "
        "run. A blob of Caffe is float32, has at least one number, and other layers take up to 8 axes. A "
        "case whose outputs are such tensors (float16, float32, float64 or bfloat16) either agrees with "
        "its expected values to 1e-4 of the largest value (float16: 2e-3, bfloat16: 1e-2, because the "
        "expected values are rounded to these types), or is refused for a reason below. No case is "
        "imported with other numbers without a statement of the import."
    )
    yield ""
    yield (
        "Every case is tried with different inputs computed: first all inputs, integers and truth values "
        "too; then those that are float; then the first of these; then each alone. The other inputs are "
        "constants, like weights. Every attempt that is imported must give the expected values; a case "
        "converts if one is. (A case whose operator is expanded, that is, computed by other operators, is "
        "tried until one is.)"
    )
    yield ""
    yield from totals()
    yield from unheld()
    yield from ("## In real Caffe", "", (GOLDEN / IN_CAFFE).read_text(encoding="utf-8"))
    yield from by_operator()
    yield from refusals()


def totals() -> Iterator[str]:
    held = [one for one in results() if not obstacle(one.case)]
    yield "| cases | total | results that Caffe can hold | convert | refused |"
    yield "|---|---|---|---|---|"
    for kind in (*KINDS, "all"):
        total = sum(case.kind == kind or kind == "all" for case in all_cases())
        of_kind = [one for one in held if kind in (one.case.kind, "all")]
        counts = (
            len(of_kind),
            sum(x.converts for x in of_kind),
            sum(not x.written for x in of_kind),
        )
        yield f"| {kind} | {total} | {' | '.join(map(str, counts))} |"
    yield ""
    constant = sum(one.constant and one.converts for one in held)
    yield (
        f"Of these, {constant} have no input that a net can have: integers that are constants, as the shape "
        "of a result, or floats of 4 or 8 bits. Their net is the result as a constant."
    )
    yield ""
    yield (
        "A net may differ from its model in a way that the import states. Most of these differences are of "
        "rounding, and smaller than the tolerance:"
    )
    yield ""
    notes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in held:
        for text in dict.fromkeys(map(statement, one.approximated)):
            notes[masked(text)].append((text, one.case.short))
    yield "| statement | cases |"
    yield "|---|---|"
    for group in sorted(notes.values()):
        yield f"| {group[0][0]} | {named(group)} |"
    yield ""
    differ = [f"`{one.case.short}`" for one in held if one.stated]
    if differ:
        yield (
            f"{len(differ)} cases are imported with such a statement, but give NaN where their model hides "
            f"it: {', '.join(differ)}. They do not count as converted."
        )
        yield ""


def unheld() -> Iterator[str]:
    """Yield the cases whose results Caffe cannot hold, by the reason."""
    whys = Counter(why for case in all_cases() if (why := obstacle(case)))
    numbers = Counter(obstacle(one.case) for one in converted())
    yield "## Results that Caffe cannot hold"
    yield ""
    yield (
        "Integers and truth values become float32 numbers. Cases with such results are not counted above, "
        "but imported and compared too."
    )
    yield ""
    yield "| result | cases | convert as numbers |"
    yield "|---|---|---|"
    for why, count in sorted(whys.items()):
        yield f"| {why} | {count} | {numbers[why] or ''} |"
    yield ""


def by_operator() -> Iterator[str]:
    """Yield the table of operators. A case whose operator is expanded belongs to the same operator."""
    layers: dict[str, set[str]] = defaultdict(set)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in results():
        if one.case.types == [one.operator]:
            layers[one.operator] |= one.layers - IGNORED
        if one.case.kind == "node":
            held = "" if not obstacle(one.case) else "number "
            outcome = (
                "converts" if one.converts else "refused" if one.written is None else "differs"
            )
            counts[one.operator][held + outcome] += 1
    yield "## Operators"
    yield ""
    yield (
        "The node cases, and the layers that cases of one operator become; none if the operator has no "
        "effect at inference, or only constants are supported. The numbers include cases in which the "
        "operator is expanded. The fifth column has the cases whose "
        "results are integers or truth values, and how many of them convert."
    )
    yield ""
    yield "| operator | cases | convert | refused | integers | layers |"
    yield "|---|---|---|---|---|---|"
    for operator, count in sorted(counts.items()):
        total, numbers = (
            sum(n for key, n in count.items() if key.startswith("number ") == integer)
            for integer in (False, True)
        )
        integers = f"{count['number converts']} of {numbers}" if numbers else ""
        names = ", ".join(sorted(layers[operator]))
        yield (
            f"| {operator} | {total} | {count['converts']} | {count['refused']} | {integers} | {names} |"
        )
    yield ""


def statement(note: str) -> str:
    """Return a statement of the import without the name of the operator."""
    return re.sub(r'^operator ".*?" \((\w+)\): ', r"\1: ", note)


def general(reason: str) -> str:
    """Return a reason without the names of values to cut the net at, and fit for a table."""
    cut = r"(--(?:to|from)-blob) \S+?(?=[.]?(?: |$))(?: --to-blob \S+?(?=[.]?(?: |$)))*"
    return re.sub(cut, r"\1 VALUE", reason).replace("|", "\\|")


def masked(reason: str) -> str:
    """Return a reason without names and numbers."""
    return re.sub(r'"[^"]*"|\d+', "", general(reason))


def named(group: list[tuple[str, str]]) -> str:
    """Return the number and the names of the cases of a group of (reason, name)."""
    return f"{len(group)}: {', '.join(f'`{name}`' for _, name in group)}"


def refusals() -> Iterator[str]:
    """Yield the table of refusals. Reasons that differ only in names and numbers are one row."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for one in results():
        if one.written is None and not obstacle(one.case):
            operator, reason = one.refusals[-1]
            key = operator or one.operator or ", ".join(one.case.types)
            groups[key, masked(reason)].append((general(reason), one.case.short))
    yield "## Refused"
    yield ""
    yield (
        "Each row is a reason, with the message of its first case. In a case with several operators it is "
        "the first operator that is refused."
    )
    yield ""
    yield "| operator | reason | cases |"
    yield "|---|---|---|"
    for (operator, _), group in sorted(groups.items()):
        yield f"| {operator} | {group[0][0]} | {named(group)} |"
    yield ""


def test_reasons_are_grouped_without_names_and_numbers():
    assert masked('output "y": got 24 values') == masked('output "z": got 3 values')
    assert masked("one") != masked("two")
    assert general("End it: --to-blob a.b --to-blob c. Or so.") == "End it: --to-blob VALUE. Or so."
    assert general("Begin it: --from-blob a.b.") == "Begin it: --from-blob VALUE."


def test_differences_are_found():
    expected = {"y": np.float32([1, -4, np.inf, np.nan])}
    net = pg.Net(
        prototxt.parse(
            'layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 4 } } }'
        )
    )
    written = Written(net, {}, expected, 1e-3)
    near = np.float32([1.003, -4, np.inf, np.nan])
    assert not differences(written, {"y": near})
    assert "differs by 0.005" in differences(written, {"y": near + np.float32([0.002, 0, 0, 0])})[0]
    assert "NaN" in differences(written, {"y": np.float32([np.nan, -4, np.inf, np.nan])})[0]
    assert not differences(written, {"y": np.float32([np.nan, -4, np.inf, np.nan])}, hidden=True)
    assert differences(written, {"y": np.float32([1, -4, -np.inf, np.nan])})
    assert "shape" in differences(written, {"y": near.reshape(2, 2)})[0]


def test_results_that_caffe_cannot_hold_are_told():
    whys = {case.short: obstacle(case) for case in all_cases()}
    assert whys["relu"] == whys["max_float64"] == whys["einsum_sum_bfloat16"] == ""
    assert whys["argmax_default_axis_example"] == "integers"
    assert whys["equal"] == "truth values"
    assert (
        whys["cast_FLOAT_to_FLOAT8E5M2"]
        == whys["cast_FLOAT_to_FLOAT4E2M1"]
        == "floats of 4 or 8 bits"
    )
    assert whys["cast_FLOAT_to_INT4"] == "integers of 2 or 4 bits"
    assert whys["identity_sequence"] == "sequence"
    assert whys["identity_opt"] == "optional"
    assert whys["string_concat"] == "strings"
    assert whys["reduce_sum_empty_set_non_reduced_axis_zero"] == "an empty tensor"


@pytest.mark.parametrize("operator", ["Bernoulli", "RandomNormalLike", "RandomUniformLike"])
def test_random_operators_of_constants_are_refused(operator):
    shape = [1, 4]
    x, y = (onnx.helper.make_tensor_value_info(name, 1, shape) for name in "xy")
    nodes = [
        onnx.helper.make_node(operator, ["p"], ["b"]),
        onnx.helper.make_node("Mul", ["x", "b"], ["y"]),
    ]
    half = onnx.numpy_helper.from_array(np.full(shape, 0.5, np.float32), "p")
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], [half])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    with pytest.raises(pg.UnsupportedError, match="its values are random"):
        import_model(model)
