"""Quantised models without their quantisation, as models of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx import ModelProto, helper, numpy_helper

from protogen.onnx.files import load_model
from protogen.onnx.passes.constant_folding import Budget, attributes_of, fold
from protogen.onnx.passes.functions import inlined
from protogen.onnx.passes.quantization import drop_quantization
from protogen.onnx.passes.sorting import set_operators

if TYPE_CHECKING:
    from numpy.typing import NDArray


def without_quantization(path: str | Path) -> ModelProto:
    """Return the model of a file without the quantisation of computed values.

    Constants are dequantised: onnxruntime would compute with their integers, and round the other factor
    of a product to integers too.

    Raises:
        InputError: the file cannot be read, or is not a valid ONNX model.
        UnsupportedError: an operator computes with quantised values.
    """
    model = inlined(load_model(path), str(path))
    drop_quantization(model.graph, str(path))
    del model.graph.value_info[:]  # of values that no operator produces now
    _dequantize_constants(model)
    return model


def _dequantize_constants(model: ModelProto) -> None:
    graph = model.graph
    constants: dict[str, NDArray[Any]] = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
    }
    for node in graph.node:
        if node.op_type == "Constant" and "value" in attributes_of(node):
            constants[node.output[0]] = attributes_of(node)["value"]
    known = set(constants)
    opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    steps = [
        node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and known.issuperset(filter(None, node.input))
    ]
    shapes = {node.output[0]: constants[node.input[0]].shape for node in steps}
    fold(steps, constants, shapes, opset, Budget(constants))
    written = {node.output[0] for node in steps if node.output[0] in constants}
    set_operators(graph, [node for node in graph.node if node.output[0] not in written])
    graph.initializer.extend(
        helper.make_tensor(
            name, helper.np_dtype_to_tensor_dtype(constants[name].dtype), constants[name].shape,
            constants[name].tobytes(), raw=True,
        )
        for name in sorted(written)
    )  # fmt: skip
