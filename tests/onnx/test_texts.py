"""Names of ONNX models that are not UTF-8, and impossible operator sets: one sentence wherever they are."""

import pytest
from onnx import ModelProto, TensorProto, helper

import protogen as pg


def model_with_names(opset=18):
    """Return a model whose every name is in its bytes once."""
    info = helper.make_tensor_value_info
    branch = helper.make_graph(
        [helper.make_node("Abs", ["x"], ["inner_y"], name="inner")], "inner_graph", [],
        [info("inner_y", TensorProto.FLOAT, [1, 2])],
    )  # fmt: skip
    function = helper.make_function(
        "domain_f", "Twice", ["function_x"], ["function_y"],
        [helper.make_node("Add", ["function_x", "function_x"], ["function_y"], name="function_add")],
        [helper.make_opsetid("", opset)],
    )  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("Softmax", ["x"], ["s"], name="soft", axis=1),
            helper.make_node("If", ["c"], ["i"], name="if", then_branch=branch, else_branch=branch),
            helper.make_node("Twice", ["s"], ["t"], name="call", domain="domain_f"),
            helper.make_node("Add", ["t", "i"], ["y"], name="add"),
        ],
        "graph_name",
        [info("x", TensorProto.FLOAT, ["batch", 2])],
        [info("y", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor("c", TensorProto.BOOL, [], [True])],
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("domain_f", 1)]
    return helper.make_model(
        graph, functions=[function], opset_imports=imports, producer_name="producer"
    )


def refusal(tmp_path, raw):
    path = tmp_path / "m.onnx"
    path.write_bytes(raw)
    with pytest.raises(pg.InputError) as caught:
        pg.from_onnx(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "Softmax", "soft", "axis", "If", "then_branch", "inner_y", "inner", "Abs", "inner_graph", "Twice",
        "domain_f", "function_x", "function_y", "function_add", "graph_name", "batch", "producer",
    ],
)  # fmt: skip
def test_a_name_that_is_not_utf8_is_refused(tmp_path, name):
    raw = model_with_names().SerializeToString()
    text = name.encode()
    assert text in raw
    broken = raw.replace(bytes([len(text)]) + text, bytes([len(text)]) + text[:-1] + b"\xff")
    assert broken != raw
    bad = text[:-1] + b"\xff"
    assert f"the name {bad!r} is not valid UTF-8" in refusal(tmp_path, broken)


@pytest.mark.parametrize("version", [0, -1, 2**31, 2**63 - 1])
def test_an_impossible_operator_set_is_refused(tmp_path, version):
    model = ModelProto()
    model.CopyFrom(model_with_names())
    model.opset_import[0].version = version
    assert f"invalid operator set version {version}" in refusal(tmp_path, model.SerializeToString())
