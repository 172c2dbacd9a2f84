"""Sequences whose order is known, and loops whose steps are known, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from operators import agrees, model, refusal, weights

from protogen import InputError, from_onnx
from protogen.onnx.passes.loops import MOST_STEPS

flags = st.integers(0, 1)
opsets = st.sampled_from([11, 12, 13, 17, 18, 22])
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


# Sequences


@settings(max_examples=150)
@given(st.data())
def test_sequences(data):
    """Insert, erase and read elements at any constant position; join them along an old or a new axis."""
    opset = data.draw(opsets)
    count = data.draw(st.integers(0, 2))
    nodes = [helper.make_node("SequenceConstruct", ["a", "b"][:count], ["s0"])]
    if not count:
        nodes = [helper.make_node("SequenceEmpty", [], ["s0"])]
    constants, last = {}, 0
    for i in range(data.draw(st.integers(1, 6))):
        erases = count > 1 and data.draw(st.booleans(), "erase")
        inputs = [f"s{last}"] if erases else [f"s{last}", data.draw(st.sampled_from("abc"))]
        if data.draw(st.booleans(), "at a position"):
            ends = (-count, count - 1) if erases else (-count, count)
            constants[f"p{i}"] = np.array(data.draw(st.integers(*ends)), np.int64)
            inputs.append(f"p{i}")
        type_ = "SequenceErase" if erases else "SequenceInsert"
        nodes.append(helper.make_node(type_, inputs, [f"s{last + 1}"]))
        last, count = last + 1, count + (-1 if erases else 1)
    axis = data.draw(st.integers(-3, 2), "axis")
    new_axis = data.draw(flags)
    constants["at"] = np.array(data.draw(st.integers(-count, count - 1)), np.int64)
    nodes += [
        helper.make_node("ConcatFromSequence", [f"s{last}"], ["y"], axis=axis, new_axis=new_axis),
        helper.make_node("SequenceAt", [f"s{last}", "at"], ["element"]),
        helper.make_node("Relu", ["element"], ["r"]),
        helper.make_node("SequenceLength", [f"s{last}"], ["length"]),
        helper.make_node("Cast", ["length"], ["number"], to=FLOAT),
        helper.make_node("Mul", ["r", "number"], ["z"]),
        helper.make_node("Sum", ["a", "b", "c"], ["w"]),
    ]
    shapes = dict.fromkeys("abc", (2, 3, 4))
    agrees(model(nodes, shapes, ("y", "z", "w"), constants=constants, opset=opset))


@settings(max_examples=100)
@given(st.data())
def test_split_to_sequence(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    length = shape[axis]
    kind = data.draw(st.sampled_from(["ones", "equal", "lengths"]))
    attributes, constants = {"axis": axis}, {}
    keep = True
    if kind == "ones":
        keep = data.draw(st.booleans(), "keepdims")
        attributes["keepdims"], count = int(keep), length
    elif kind == "equal":
        size = data.draw(st.integers(1, length))
        constants["split"], count = np.array(size, np.int64), -(-length // size)
    else:
        cuts = sorted(data.draw(st.sets(st.integers(1, length - 1)))) if length > 1 else []
        lengths = np.diff([0, *cuts, length])
        constants["split"], count = lengths.astype(np.int64), len(lengths)
    constants["at"] = np.array(data.draw(st.integers(-count, count - 1)), np.int64)
    nodes = [
        helper.make_node("SplitToSequence", ["x", *(["split"] if kind != "ones" else [])], ["s"],
                         **attributes),
        helper.make_node("SequenceAt", ["s", "at"], ["y"]),
    ]  # fmt: skip
    if not keep and len(shape) == 1:
        return  # the elements have no axis
    if keep:
        nodes.append(helper.make_node("ConcatFromSequence", ["s"], ["z"], axis=axis))
    outputs = ("y", "z") if keep else ("y",)
    agrees(model(nodes, {"x": shape}, outputs, constants=constants, opset=data.draw(opsets)))


def test_sequences_in_real_caffe():
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["s"], axis=1, keepdims=0),
        helper.make_node("SequenceInsert", ["s", "b"], ["t"]),
        helper.make_node("ConcatFromSequence", ["t"], ["y"], axis=1, new_axis=1),
    ]
    agrees(model(nodes, {"x": (2, 3, 4), "b": (2, 4)}), layers=7, live=True)


def test_computed_position_is_refused():
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "x"], ["s"]),
        helper.make_node("SequenceAt", ["s", "at"], ["y"]),
    ]
    one = model(nodes, {"x": (2, 3), "at": ()}, kinds={"at": INT64})
    assert 'operator "s" (SequenceConstruct)' in refusal(one)


# Loops


def body(nodes, inputs, outputs, constants=None) -> onnx.GraphProto:
    """Return an inner graph; inputs and outputs are (name, kind, shape)."""
    values = [[helper.make_tensor_value_info(*one) for one in some] for some in (inputs, outputs)]
    arrays = [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()]
    return helper.make_graph(nodes, "body", *values, arrays)


def counted(steps: int | None, condition: bool | None, limit: int, opset: int) -> onnx.ModelProto:
    """Return a model with a loop v = v * f + i, which ends after ``steps`` or when i reaches ``limit``; it
    also gives all v."""
    nodes = [
        helper.make_node("Cast", ["i"], ["number"], to=FLOAT),
        helper.make_node("Mul", ["v", "f"], ["product"]),
        helper.make_node("Add", ["product", "number"], ["next"]),
        helper.make_node("Add", ["i", "one"], ["following"]),
        helper.make_node("Less", ["following", "limit"], ["more"]),
        helper.make_node("Identity", ["next"], ["seen"]),
    ]
    inner = body(
        nodes, [("i", INT64, ()), ("go", BOOL, ()), ("v", FLOAT, (2, 3))],
        [("more", BOOL, ()), ("next", FLOAT, (2, 3)), ("seen", FLOAT, (2, 3))],
        {"one": np.array(1), "limit": np.array(limit)},
    )  # fmt: skip
    constants = {"f": np.float32([0.5, -1, 2])}
    if steps is not None:
        constants["steps"] = np.array(steps)
    if condition is not None:
        constants["first"] = np.array(condition)
    inputs = ["" if steps is None else "steps", "" if condition is None else "first", "x"]
    loop = helper.make_node("Loop", inputs, ["y", "all"], body=inner, name="loop")
    return model([loop], {"x": (2, 3)}, ("y", "all"), constants=constants, opset=opset)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_loops(data):
    """For loops, while loops, and both."""
    steps = data.draw(st.none() | st.integers(1, 6), "steps")
    condition = True if steps is None else data.draw(st.sampled_from([None, True]), "condition")
    limit = data.draw(st.integers(-1, 7), "limit")
    agrees(counted(steps, condition, limit, data.draw(opsets)))


def test_loop_in_real_caffe():
    agrees(counted(3, True, 9, 17), layers=9, live=True)


def test_loop_without_a_step():
    inner = body([helper.make_node("Relu", ["v"], ["next"])],
                 [("i", INT64, ()), ("go", BOOL, ()), ("v", FLOAT, (2, 3))],
                 [("go", BOOL, ()), ("next", FLOAT, (2, 3))])  # fmt: skip
    loop = helper.make_node("Loop", ["n", "", "x"], ["y"], body=inner)
    one = model([loop], {"x": (2, 3)}, constants={"n": np.array(0)})
    assert [layer.type for layer in agrees(one).layers] == ["Input", "Split"]


def test_loop_in_a_loop():
    """The inner loop reads a value of the outer one, under the name of one of its own copies."""
    inner = body(
        [
            helper.make_node("Add", ["w", "v"], ["v_0"]),
            helper.make_node("Tanh", ["v_0"], ["w_out"]),
        ],
        [("j", INT64, ()), ("inner_go", BOOL, ()), ("w", FLOAT, (2, 3))],
        [("inner_go", BOOL, ()), ("w_out", FLOAT, (2, 3))],
    )
    nodes = [
        helper.make_node("Loop", ["two", "", "v"], ["sum"], body=inner),
        helper.make_node("Sigmoid", ["sum"], ["next"]),
    ]
    outer = body(nodes, [("i", INT64, ()), ("go", BOOL, ()), ("v", FLOAT, (2, 3))],
                 [("go", BOOL, ()), ("next", FLOAT, (2, 3))])  # fmt: skip
    loop = helper.make_node("Loop", ["two", "", "x"], ["y"], body=outer)
    agrees(model([loop], {"x": (2, 3)}, constants={"two": np.array(2)}))


def test_a_sequence_grows_in_a_loop():
    """How scripts of PyTorch collect their results."""
    nodes = [
        helper.make_node("Gather", ["x", "i"], ["row"], axis=0),
        helper.make_node("Mul", ["row", "v"], ["next"]),
        helper.make_node("SequenceInsert", ["s", "next"], ["longer"]),
    ]
    sequence = helper.make_tensor_sequence_value_info
    inner = helper.make_graph(
        nodes, "body",
        [helper.make_tensor_value_info("i", INT64, ()), helper.make_tensor_value_info("go", BOOL, ()),
         helper.make_tensor_value_info("v", FLOAT, (3,)), sequence("s", FLOAT, (3,))],
        [helper.make_tensor_value_info("go", BOOL, ()), helper.make_tensor_value_info("next", FLOAT, (3,)),
         sequence("longer", FLOAT, (3,))],
    )  # fmt: skip
    whole = [
        helper.make_node("SequenceEmpty", [], ["none"]),
        helper.make_node("Loop", ["n", "", "b", "none"], ["last", "rows"], body=inner),
        helper.make_node("ConcatFromSequence", ["rows"], ["y"], axis=0, new_axis=1),
    ]
    agrees(model(whole, {"x": (4, 3), "b": (3,)}, ("y",), constants={"n": np.array(4)}))


REFUSED = {
    "a computed number of steps": ({}, {"n": INT64}),
    "too many steps": ({"n": np.array(MOST_STEPS + 1)}, {}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_loops(name):
    constants, kinds = REFUSED[name]
    inner = body([helper.make_node("Relu", ["v"], ["next"])],
                 [("i", INT64, ()), ("go", BOOL, ()), ("v", FLOAT, (2, 3))],
                 [("go", BOOL, ()), ("next", FLOAT, (2, 3))])  # fmt: skip
    loop = helper.make_node("Loop", ["n", "", "x"], ["y"], body=inner)
    shapes = {"x": (2, 3), **dict.fromkeys(kinds, ())}
    assert (
        "a net runs every layer once, so the number of steps must be known before, and be at most 256"
        in refusal(model([loop], shapes, constants=constants, kinds=kinds))
    )


def test_a_condition_on_data_is_refused():
    inner = body(
        [helper.make_node("ReduceSum", ["v"], ["sum"], keepdims=0),
         helper.make_node("Less", ["sum", "one"], ["more"]),
         helper.make_node("Relu", ["v"], ["next"])],
        [("i", INT64, ()), ("go", BOOL, ()), ("v", FLOAT, (2, 3))],
        [("more", BOOL, ()), ("next", FLOAT, (2, 3))], {"one": np.float32(1)},
    )  # fmt: skip
    loop = helper.make_node("Loop", ["n", "go", "x"], ["y"], body=inner)
    one = model([loop], {"x": (2, 3)}, constants={"n": np.array(3), "go": np.array(True)})
    assert "the number of steps must be known before" in refusal(one)


# Scans


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_scans(data):
    """s = s * a + b over the parts of x along any axis, in either direction."""
    axis, out_axis = data.draw(st.integers(-3, 2)), data.draw(st.integers(-3, 2))
    shape = tuple(data.draw(st.integers(1, 4)) for _ in range(3))
    part = tuple(np.delete(shape, axis).tolist())
    inner = body(
        [helper.make_node("Mul", ["s", "part"], ["product"]),
         helper.make_node("Add", ["product", "b"], ["next"]),
         helper.make_node("Neg", ["next"], ["seen"])],
        [("s", FLOAT, part), ("part", FLOAT, part)],
        [("next", FLOAT, part), ("seen", FLOAT, part)], {"b": np.float32(0.5)},
    )  # fmt: skip
    node = helper.make_node(
        "Scan", ["first", "x"], ["last", "all"], body=inner, num_scan_inputs=1,
        scan_input_axes=[axis], scan_output_axes=[out_axis],
        scan_input_directions=[data.draw(flags)], scan_output_directions=[data.draw(flags)],
    )  # fmt: skip
    agrees(model([node], {"first": part, "x": shape}, ("last", "all"), opset=data.draw(opsets)))


def test_scan_of_constants_and_values():
    """Two scanned inputs, one of them constant, and no state."""
    inner = body(
        [helper.make_node("Mul", ["p", "q"], ["product"])],
        [("p", FLOAT, (3,)), ("q", FLOAT, (3,))], [("product", FLOAT, (3,))],
    )  # fmt: skip
    node = helper.make_node("Scan", ["x", "c"], ["y"], body=inner, num_scan_inputs=2)
    agrees(model([node], {"x": (4, 3)}, constants={"c": weights(4, 3)}), live=True)


# Invalid bodies


def invalid(nodes) -> str:
    """Return the message of a model with a loop of these operators."""
    inner = body(nodes, [("i", INT64, ()), ("go", BOOL, ()), ("v", FLOAT, (2, 3))],
                 [("go", BOOL, ()), ("next", FLOAT, (2, 3))])  # fmt: skip
    loop = helper.make_node("Loop", ["n", "", "x"], ["y"], body=inner)
    with pytest.raises(InputError) as error:
        from_onnx(model([loop], {"x": (2, 3)}, constants={"n": np.array(1)}))
    return str(error.value)


def test_invalid_operators_of_a_body():
    text = invalid([helper.make_node("Mul", ["v"], ["next"])])
    assert text.startswith('operator "next" (Mul): does not match the ONNX schema: ')


def test_a_body_that_reads_its_own_result():
    nodes = [helper.make_node("Add", ["v", "b"], ["a"]), helper.make_node("Identity", ["b"], ["b"]),
             helper.make_node("Relu", ["a"], ["next"])]  # fmt: skip
    assert 'reads "b_0", which depends on the output of this operator' in invalid(nodes)


def test_a_body_that_reads_an_unknown_value():
    text = invalid([helper.make_node("Add", ["v", "w"], ["next"])])
    assert 'reads "w", which no input, constant or other operator defines' in text
