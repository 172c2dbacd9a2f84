"""Parts of ONNX models: a part and the rest compute what the whole does, and nothing that they need is lost."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_node, make_tensor_value_info

import protogen as pg
from protogen.onnx.parts import computed_twice, cut_model, rest_of_model
from protogen.onnx.session import run_model

F, I64 = TensorProto.FLOAT, TensorProto.INT64
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 4)).astype(np.float32)


def info(name, shape=(2, 4), kind=F):
    return make_tensor_value_info(name, kind, shape)


def model(nodes, inputs=("x",), outputs=("y",), constants=(), opset=18, **parts):
    """A model of these nodes. Inputs are 2 x 4, or ValueInfos."""
    graph = helper.make_graph(
        nodes,
        "g",
        [info(one) if isinstance(one, str) else one for one in inputs],
        [onnx.ValueInfoProto(name=one) if isinstance(one, str) else one for one in outputs],
        [
            numpy_helper.from_array(np.asarray(array), name)
            for name, array in dict(constants).items()
        ],
        value_info=parts.pop("value_info", ()),
    )
    imports = [helper.make_opsetid("", opset), *parts.pop("imports", ())]
    return helper.make_model(graph, opset_imports=imports, ir_version=9, **parts)


CHAIN = model(
    [
        make_node("Mul", ["x", "two"], ["a"]),
        make_node("Relu", ["a"], ["b"]),
        make_node("Add", ["b", "one"], ["c"]),
        make_node("Add", ["c", "z"], ["y"]),
        make_node("Tanh", ["b"], ["w"]),
    ],
    inputs=["x", "z"],
    outputs=["y", "w"],
    constants={"one": np.float32(1), "two": np.float32(2), "unused": np.float32(3)},
)


def names(values) -> list[str]:
    return [value.name for value in values]


def run(part, feeds, outputs=None):
    """Run a model on those of the arrays that it needs."""
    if all(one.type.tensor_type.HasField("shape") for one in part.graph.output):
        onnx.checker.check_model(
            part
        )  # it demands the shapes of outputs, which a Loop does not have
    constants = {tensor.name for tensor in part.graph.initializer}
    needed = [name for name in names(part.graph.input) if name not in constants]
    return run_model(part.SerializeToString(), {name: feeds[name] for name in needed}, outputs)


def check_parts(whole, feeds, outputs, inputs=()):
    """Run a part and the rest one after the other, and compare every output with the whole model."""
    extended = onnx.ModelProto()
    extended.CopyFrom(whole)
    listed = names(whole.graph.output)
    extended.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in (*outputs, *inputs) if name not in listed
    )
    expected = run_model(extended.SerializeToString(), feeds)
    part = pg.cut(whole, inputs=inputs, outputs=outputs)
    known = {**feeds, **{name: expected[name] for name in inputs}}
    results = run(part, known)
    assert list(results) == list(outputs)
    known |= results
    if set(listed) - set(outputs):
        rest = pg.rest_of(whole, inputs=inputs, outputs=outputs)
        assert names(rest.graph.output) == [name for name in listed if name not in outputs]
        results = {**results, **run(rest, known)}
    for name, array in results.items():
        np.testing.assert_allclose(array, expected[name], 1e-6, 1e-6)
        assert array.dtype == expected[name].dtype
    return part


def test_part_has_only_what_its_outputs_need():
    part = check_parts(CHAIN, {"x": X, "z": X}, ["b"])
    assert [node.op_type for node in part.graph.node] == ["Mul", "Relu"]
    assert names(part.graph.input) == ["x"]
    assert names(part.graph.initializer) == ["two"]
    rest = pg.rest_of(CHAIN, outputs=["b"])
    assert names(rest.graph.input) == ["z", "b"]
    assert names(rest.graph.initializer) == ["one"]
    assert rest.graph.input[1] == info("b")
    part = check_parts(CHAIN, {"x": X, "z": X}, ["c"], ["b"])
    assert names(part.graph.input) == ["b"]
    assert CHAIN.graph.node[0].op_type == "Mul"  # the model itself is not changed


def test_original_inputs_stay_where_they_are_needed():
    tail = pg.cut(CHAIN, inputs=["c"])
    assert names(tail.graph.input) == ["x", "z", "c"]  # w still depends on x
    part = cut_model(CHAIN, outputs=["a"])
    rest = rest_of_model(CHAIN, outputs=["c"])
    assert computed_twice(CHAIN, cut_model(CHAIN, outputs=["c"]), rest) == ("b",)
    assert computed_twice(CHAIN, part, rest_of_model(CHAIN, outputs=["a"])) == ()


def test_metadata_operator_sets_and_names_stay():
    whole = model(
        [make_node("Relu", ["x"], ["a"]), make_node("Tanh", ["a"], ["y"], doc_string="last")],
        imports=[helper.make_opsetid("com.example", 3)],
        producer_name="torch",
        producer_version="2.4",
        doc_string="a model",
        model_version=7,
    )
    helper.set_model_props(whole, {"stride": "32", "names": "{0: 'cat'}"})
    whole.graph.doc_string = "a graph"
    part = pg.cut(whole, inputs=["a"])
    for field in ("ir_version", "producer_name", "producer_version", "doc_string", "model_version",
                  "opset_import", "metadata_props"):  # fmt: skip
        assert getattr(part, field) == getattr(whole, field), field
    assert (part.graph.name, part.graph.doc_string) == ("g", "a graph")
    assert part.graph.node[0] == whole.graph.node[1]


def test_inner_graphs_read_values_and_constants_of_the_outer_graph():
    branches = [
        helper.make_graph(
            [make_node(op, ["a", constant], [f"{op}_out"])],
            op,
            [],
            [info(f"{op}_out")],
            [numpy_helper.from_array(np.float32(5), "local")],
        )
        for op, constant in (("Add", "outer"), ("Mul", "local"))
    ]
    whole = model(
        [
            make_node("Relu", ["x"], ["a"]),
            make_node("ReduceSum", ["x"], ["s"], keepdims=0),
            make_node("Greater", ["s", "zero"], ["positive"]),
            make_node("If", ["positive"], ["i"], then_branch=branches[0], else_branch=branches[1]),
            make_node("Tanh", ["i"], ["y"]),
        ],
        constants={"outer": np.float32(2), "zero": np.float32(0), "lost": np.float32(0)},
    )
    for x in (np.abs(X), -np.abs(X)):
        check_parts(whole, {"x": x}, ["i"])
        check_parts(whole, {"x": x}, ["a", "positive"])
        check_parts(whole, {"x": x}, ["y"], ["a", "positive"])
    tail = pg.cut(whole, inputs=["a", "positive"])
    assert names(tail.graph.input) == ["a", "positive"]
    assert names(tail.graph.initializer) == ["outer"]
    assert tail.graph.input[1].type.tensor_type.elem_type == TensorProto.BOOL


def test_loop_that_reads_the_value_becomes_a_part():
    body = helper.make_graph(
        [make_node("Identity", ["cond"], ["cond_out"]), make_node("Add", ["state", "a"], ["next"])],
        "body",
        [info("i", (), I64), info("cond", (), TensorProto.BOOL), info("state")],
        [info("cond_out", (), TensorProto.BOOL), info("next")],
    )
    whole = model(
        [
            make_node("Relu", ["x"], ["a"]),
            make_node("Loop", ["count", "", "x"], ["l"], body=body),
            make_node("Tanh", ["l"], ["y"]),
        ],
        constants={"count": np.int64(3)},
    )
    check_parts(whole, {"x": X}, ["a"])
    check_parts(whole, {"x": X}, ["y"], ["a"])
    with pytest.raises(pg.InputError, match='value "l": its shape is unknown'):  # it may grow
        pg.rest_of(whole, outputs=["l"])


def test_functions_of_the_model_stay():
    function = helper.make_function(
        "local",
        "Twice",
        ["v"],
        ["w"],
        [make_node("Add", ["v", "v"], ["w"])],
        [helper.make_opsetid("", 18)],
    )
    whole = model(
        [
            make_node("Twice", ["x"], ["a"], domain="local"),
            make_node("Relu", ["a"], ["b"]),
            make_node("Twice", ["b"], ["y"], domain="local"),
        ],
        imports=[helper.make_opsetid("local", 1)],
        functions=[function],
    )
    part = check_parts(whole, {"x": X}, ["b"])
    assert list(part.functions) == [function]
    check_parts(whole, {"x": X}, ["a"])  # the type of a follows from the function


def test_outputs_of_one_operator():
    whole = model(
        [
            make_node("Split", ["x"], ["a", "b", "c", "d"], axis=1, num_outputs=4),
            make_node("Concat", ["d", "c", "b", "a"], ["r"], axis=1),
            make_node("TopK", ["r", "k"], ["t", "indices"]),
            make_node("Cast", ["indices"], ["f"], to=F),
            make_node("Add", ["t", "f"], ["y"]),
        ],
        constants={"k": np.int64([2])},
    )
    check_parts(whole, {"x": X}, ["b"])
    part = check_parts(whole, {"x": X}, ["r"], ["b", "d"])
    assert part.graph.node[0].output[:] == ["a", "b_cut", "c", "d_cut"]
    rest = pg.rest_of(whole, outputs=["indices"])
    assert rest.graph.input[1] == info("indices", (2, 2), I64)
    check_parts(whole, {"x": X}, ["indices"])


def test_operators_that_are_not_in_order():
    whole = onnx.ModelProto()
    whole.CopyFrom(CHAIN)
    nodes = list(CHAIN.graph.node)
    del whole.graph.node[:]
    whole.graph.node.extend(reversed(nodes))
    check_parts(whole, {"x": X, "z": X}, ["b"])


def test_constants_that_are_inputs_too_and_sparse_ones():
    """In models of IR version 3, initializers are inputs."""
    whole = onnx.ModelProto()
    whole.CopyFrom(CHAIN)
    whole.graph.input.extend([info("one", ()), info("two", ())])
    dense = np.zeros((2, 4), np.float32)
    dense[1, 2] = 4
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("z2", F, [1], [4.0]), helper.make_tensor("i", I64, [1], [6]), [2, 4]
    )
    whole.graph.sparse_initializer.append(sparse)
    whole.graph.node.append(make_node("Add", ["w", "z2"], ["w2"]))
    whole.graph.output.append(onnx.ValueInfoProto(name="w2"))
    part = pg.cut(whole, outputs=["b"])
    assert names(part.graph.input) == ["x", "two"]
    assert not part.graph.sparse_initializer
    rest = pg.rest_of(whole, outputs=["b"])
    assert [one.values.name for one in rest.graph.sparse_initializer] == ["z2"]
    assert names(rest.graph.input) == ["z", "one", "b"]


def test_free_axes_stay_free():
    whole = model(
        [make_node("Relu", ["x"], ["a"]), make_node("Tanh", ["a"], ["y"])],
        inputs=[info("x", ("batch", 4, None))],
    )
    tail = pg.cut(whole, inputs=["a"])
    dims = tail.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"
    assert dims[1].dim_value == 4
    for shape in ((1, 4, 2), (3, 4, 5)):
        check_parts(whole, {"x": RNG.normal(size=shape).astype(np.float32)}, ["a"])


def test_shapes_that_depend_on_constants_are_found():
    """Shape inference alone does not know the rank after this Reshape."""
    whole = model(
        [
            make_node("Shape", ["x"], ["s"]),
            make_node("ReduceProd", ["s"], ["n"], keepdims=1),
            make_node("Concat", ["n", "one"], ["target"], axis=0),
            make_node("Reshape", ["x", "target"], ["a"]),
            make_node("Tanh", ["a"], ["y"]),
        ],
        constants={"one": np.int64([1])},
    )
    tail = pg.cut(whole, inputs=["a"])
    assert tail.graph.input[0] == info("a", (8, 1))
    check_parts(whole, {"x": X}, ["a"])


def test_declared_types_of_operators_of_other_domains():
    """Nothing infers the output of an operator that the onnx package does not know."""
    nodes = [
        make_node("Mystery", ["x"], ["a"], domain="com.example"),
        make_node("Tanh", ["a"], ["b"]),
        make_node("Relu", ["b"], ["y"]),
    ]
    imports = [helper.make_opsetid("com.example", 1)]
    with pytest.raises(pg.InputError) as error:
        pg.cut(model(nodes, imports=imports), inputs=["a"])
    assert str(error.value) == (
        'value "a": its element type is unknown, because it depends on an operator of another domain. '
        "Cut the model somewhere else."
    )
    declared = model(nodes, imports=imports, value_info=[info("a", (2, 9))])
    assert pg.cut(declared, inputs=["a"]).graph.input[0] == info("a", (2, 9))
    assert pg.cut(declared, inputs=["b"]).graph.input[0] == info("b", (2, 9))
    assert names(pg.cut(model(nodes, imports=imports), outputs=["a"]).graph.output) == ["a"]


def test_unknown_shapes_and_sequences():
    whole = model(
        [
            make_node("Reshape", ["x", "target"], ["a"]),
            make_node("Tanh", ["a"], ["y"]),
            make_node("SplitToSequence", ["a"], ["q"]),
            make_node("ConcatFromSequence", ["q"], ["y2"], axis=0),
        ],
        inputs=["x", info("target", ("n",), I64)],
        outputs=["y", "y2"],
    )
    with pytest.raises(pg.InputError) as error:
        pg.cut(whole, inputs=["a"])
    assert str(error.value) == (
        'value "a": its shape is unknown. Give it with --input-shape a=N,C,H,W.'
    )
    shaped = cut_model(whole, inputs=["a"], shapes={"a": (4, 2)}).model
    assert shaped.graph.input[0] == info("a", (4, 2))
    with pytest.raises(pg.UnsupportedError, match='value "q": it is not a tensor'):
        pg.cut(whole, inputs=["q"])


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["aa"], [], '"aa": unknown value.'),
        ([], ["relu"], '"relu": unknown value.'),
        (["two"], [], '"two": is a constant: it depends on no input, so it cannot become one.'),
        ([], ["two"], '"two": unknown value.'),
        (["c"], ["b"], '"c": no output depends on it (outputs: b). Leave it out, or name an output after it '
         "with --to-blob."),
        (["a", "b"], [], '"a": no output depends on it except through other new inputs (outputs: y, w). Leave '
         "it out, or name an output after it with --to-blob."),
        ([], ["x"], '"x": is an input of the part, so that no operator computes it. Name a value after it '
         "with --to-blob."),
        (["b"], ["b"], '"b": is an input of the part, so that no operator computes it. Name a value after it '
         "with --to-blob."),
    ],
)  # fmt: skip
def test_refused_values(inputs, outputs, message):
    with pytest.raises(pg.InputError) as error:
        pg.cut(CHAIN, inputs=inputs, outputs=outputs)
    assert str(error.value) == message


def test_computed_constants_and_empty_rests():
    whole = model(
        [
            make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.float32(2))),
            make_node("Exp", ["k"], ["e"]),
            make_node("Mul", ["x", "e"], ["y"]),
        ]
    )
    with pytest.raises(pg.InputError, match='"e": is a constant'):
        pg.cut(whole, inputs=["e"])
    with pytest.raises(pg.InputError, match='"e": depends on no input of the part'):
        pg.cut(whole, outputs=["e"])
    with pytest.raises(pg.InputError, match="y: no output of the model is left after these values"):
        pg.rest_of(whole, outputs=["y"])


def test_graphs_for_training_are_left_out():
    whole = onnx.ModelProto()
    whole.CopyFrom(CHAIN)
    whole.training_info.add().algorithm.name = "sgd"
    assert not pg.cut(whole, outputs=["b"]).training_info


# The import of a part


def importable(**parts):
    nodes = [
        make_node("Conv", ["x", "w"], ["c"]),
        make_node("Relu", ["c"], ["r"]),
        make_node("Shape", ["x"], ["shape"]),
        make_node("Gather", ["shape", "zero"], ["n"]),
        make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        make_node("Concat", ["n1", "minus"], ["target"], axis=0),
        make_node("Reshape", ["r", "target"], ["flat"]),
        make_node("Gemm", ["flat", "m"], ["y"]),
        make_node("Sigmoid", ["r"], ["s"]),
        make_node("Mul", ["r", "s"], ["y2"]),
    ]
    constants = {
        "w": RNG.normal(size=(3, 2, 3, 3)).astype(np.float32),
        "m": RNG.normal(size=(3 * 16, 5)).astype(np.float32),
        "zero": np.int64(0),
        "axis": np.int64([0]),
        "minus": np.int64([-1]),
    }
    inputs = [info("x", parts.pop("shape", (2, 2, 6, 6)))]
    return model(nodes, inputs, ["y", "y2"], constants, **parts)


def test_imported_part_and_its_inputs():
    """Only the shape of x is read after r, so that the part does not need it."""
    whole = importable()
    net = pg.from_onnx(whole, inputs=["r"])
    assert net.inputs == ("r",)
    assert net.graph.shapes["r"] == (2, 3, 4, 4)
    assert set(net.outputs) == {"y", "y2"}
    r = RNG.normal(size=(2, 3, 4, 4)).astype(np.float32)
    expected = run(pg.cut(whole, inputs=["r"]), {"r": r, "x": np.zeros((2, 2, 6, 6), np.float32)})
    for name, array in pg.run(net, {"r": r}).items():
        np.testing.assert_allclose(array, expected[name], 1e-5, 1e-5)


def test_part_may_begin_inside_of_a_group_of_operators():
    """Sigmoid and Mul are one Swish in the whole net."""
    net = pg.from_onnx(importable(), inputs=["s"], outputs=["y2"])
    assert net.inputs == ("x", "s")
    assert [layer.type for layer in net.layers][2:] == ["Convolution", "ReLU", "Eltwise"]
    assert "Swish" in [
        layer.type for layer in pg.from_onnx(importable(), outputs=["y2"], dialect="bvlc").layers
    ]


@pytest.mark.parametrize("shape", [("n", 2, None, None), (2, 2, 6, 6)])
def test_shape_of_a_new_input_can_be_given(shape):
    """Then the shapes of what comes before it do not matter."""
    net = pg.from_onnx(
        importable(shape=shape), inputs=["r"], outputs=["y2"], input_shapes={"r": (1, 3, 7, 8)}
    )
    assert net.inputs == ("r",)
    assert net.graph.shapes["y2"] == (1, 3, 7, 8)


def test_unknown_shape_needs_the_option():
    whole = importable(shape=("n", 2, None, None))
    with pytest.raises(pg.InputError, match='input "x": axis 2 of shape 1x2x'):
        pg.from_onnx(whole, inputs=["r"])
    dynamic = model(
        [
            make_node("NonZero", ["x"], ["a"]),
            make_node("Cast", ["a"], ["f"], to=F),
            make_node("Relu", ["f"], ["y"]),
        ]
    )
    with pytest.raises(pg.InputError) as error:
        pg.from_onnx(dynamic, inputs=["f"])
    assert str(error.value) == (
        'value "f": its shape is unknown. Give it with --input-shape f=N,C,H,W.'
    )
    net = pg.from_onnx(dynamic, inputs=["f"], input_shapes={"f": (2, 7)})
    assert net.graph.shapes["y"] == (2, 7)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["rr"], [], '"rr": unknown value.'),
        (["target"], [], '"target": is a constant: it depends on no input, so it cannot become one.'),
        (["m"], [], '"m": is a constant: it depends on no input, so it cannot become one.'),
        (["y"], ["y2"], '"y": no output depends on it (outputs: y2). Leave it out, or name an output after '
         "it with --to-blob."),
        (["c", "r"], [], '"c": no output depends on it except through other new inputs (outputs: y, y2). '
         "Leave it out, or name an output after it with --to-blob."),
    ],
)  # fmt: skip
def test_refused_values_of_an_import(inputs, outputs, message):
    for function in (pg.from_onnx, pg.check_onnx):
        with pytest.raises(pg.InputError) as error:
            function(importable(), inputs=inputs, outputs=outputs)
        assert str(error.value) == message


def test_inputs_of_the_model_stay_inputs():
    assert pg.from_onnx(importable(), inputs=["x"]).inputs == ("x",)
    assert pg.from_onnx(importable(), inputs=["x", "r"], outputs=["y2"]).inputs == ("r",)


def test_integer_values_that_are_only_moved_become_inputs():
    """Arithmetic on them is refused, with the type."""
    moved = model(
        [
            make_node("Cast", ["x"], ["i"], to=I64),
            make_node("Reshape", ["i", "target"], ["t"]),
            make_node("Add", ["t", "t"], ["u"]),
            make_node("Cast", ["u"], ["y"], to=F),
        ],
        outputs=["t", "y"],
        constants={"target": np.int64([4, 2])},
    )
    net = pg.from_onnx(moved, inputs=["i"], outputs=["t"])
    assert net.inputs == ("i",)
    i = RNG.integers(-9, 9, (2, 4))
    np.testing.assert_array_equal(pg.run(net, {"i": i})["t"], i.reshape(4, 2))
    part = pg.cut(moved, inputs=["i"], outputs=["t"])
    assert part.graph.input[0] == info("i", (2, 4), I64)


def test_cut_output_of_an_operator_that_stays():
    whole = model(
        [
            make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
            make_node("Relu", ["a"], ["c"]),
            make_node("Add", ["b", "c"], ["y"]),
        ]
    )
    net = pg.from_onnx(whole, inputs=["a"])
    assert net.inputs == ("x", "a")
    a = RNG.normal(size=(2, 2)).astype(np.float32)
    y = pg.run(net, {"x": X, "a": a})["y"]
    np.testing.assert_allclose(y, X[:, 2:] + np.maximum(a, 0), 1e-6)
    assert net.outputs == ("y",)


# Random models


@st.composite
def random_models(draw):
    """A model of operators that read any earlier values, some of them with two outputs."""
    values, nodes = ["x"], []
    for i in range(draw(st.integers(2, 8))):
        kind = draw(st.sampled_from(["Relu", "Tanh", "Add", "Concat", "Split", "Weight"]))
        a, b = (draw(st.sampled_from(values)) for _ in range(2))
        name = f"v{i}"
        if kind == "Split":
            nodes.append(make_node("Split", [a], [f"{name}a", f"{name}b"], axis=1, num_outputs=2))
            nodes.append(make_node("Concat", [f"{name}b", f"{name}a"], [name], axis=1))
            values += [f"{name}a2", name]
            nodes.append(make_node("Concat", [f"{name}a", f"{name}a"], [f"{name}a2"], axis=1))
            continue
        if kind == "Weight":
            nodes.append(make_node("Mul", [a, f"w{i % 2}"], [name]))
        elif kind == "Concat":
            nodes.append(make_node("Concat", [a, b], [f"{name}c"], axis=0))
            nodes.append(make_node("Slice", [f"{name}c", "starts", "ends"], [name]))
        else:
            nodes.append(make_node(kind, [a, b] if kind == "Add" else [a], [name]))
        values.append(name)
    read = {name for node in nodes for name in node.input}
    outputs = [name for node in nodes for name in node.output if name not in read]
    constants = {
        "w0": np.float32(0.5),
        "w1": np.linspace(-1, 1, 4, dtype=np.float32),
        "starts": np.int64([1]),
        "ends": np.int64([3]),
    }
    return model(nodes, outputs=outputs, constants=constants)


@given(random_models(), st.data())
@settings(max_examples=60)
def test_parts_of_random_models(whole, data):
    computed = [name for node in whole.graph.node for name in node.output]
    outputs = data.draw(st.lists(st.sampled_from(computed), min_size=1, max_size=3, unique=True))
    inputs = data.draw(st.lists(st.sampled_from(computed), max_size=2, unique=True))
    try:
        pg.cut(whole, inputs=inputs, outputs=outputs)
    except pg.InputError:
        reject()  # an output is an input, or no output depends on an input
    check_parts(whole, {"x": X}, outputs, inputs)
