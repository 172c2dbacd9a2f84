"""Net to ONNX model."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import onnx
from onnx import helper

import protogen
from protogen.errors import InputError, UnsupportedError, layout
from protogen.graph import Graph, Shape
from protogen.layers import layer_type
from protogen.onnx.emitter import OnnxEmitter

if TYPE_CHECKING:
    from protogen.net import Net

LEAST_OPSET = 13
_AXIS_NAMES = ("batch", "channels", "height", "width")


def to_onnx(
    net: Net,
    *,
    opset: int = 18,
    free_axes: Collection[int] = (),
    metadata: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """The net as an ONNX model. Tensors keep the names of Caffe's blobs.

    Args:
        opset: version of ONNX's operators, from 13 to the newest that the installed onnx knows.
        free_axes: axes of the inputs that stay free; axes of outputs that follow from them are
            free as well.
        metadata: kept in the model; what is no text is written as JSON.

    Raises:
        InputError: ``opset`` is out of range, or a layer has no weights.
        UnsupportedError: a layer has no form in ONNX; all such layers are named.
    """
    newest = onnx.defs.onnx_opset_version()
    if not LEAST_OPSET <= opset <= newest:
        raise InputError(
            layout(f"{opset} is outside of {LEAST_OPSET} to {newest}", subject="opset")
        )
    emitter = OnnxEmitter(net.graph, net.weights, opset)
    _lower(net.graph, emitter)
    free = _free_dims(net, free_axes)
    imports = [helper.make_opsetid("", opset)]
    graph = helper.make_graph(
        emitter.nodes,
        net.name or "net",
        [_info(net.graph, name, free) for name in net.inputs],
        [_info(net.graph, name, free) for name in net.outputs],
        emitter.initializers,
    )
    model: onnx.ModelProto = helper.make_model(
        graph,
        opset_imports=imports,
        ir_version=helper.find_min_ir_version_for(imports),
        producer_name="protogen",
        producer_version=protogen.__version__,
    )
    helper.set_model_props(
        model,
        {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in (metadata or {}).items()
        },
    )
    return model


def encode(model: onnx.ModelProto) -> bytes:
    """The bytes of a model after ONNX's full check and strict shape inference.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: protogen's own fault.
    """
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    raw: bytes = model.SerializeToString(deterministic=True)
    return raw


def _lower(graph: Graph, emitter: OnnxEmitter) -> None:
    refused: list[UnsupportedError] = []
    for layer in graph.layers:
        kind = layer_type(layer.type)
        try:
            if kind is None:
                raise layer.unsupported("protogen does not know this type")
            emitter.layer(layer)
            kind.lower(layer, emitter)
        except UnsupportedError as error:
            refused.append(error)
    if refused:
        raise UnsupportedError("\n".join(str(error) for error in refused))


def _free_dims(net: Net, axes: Collection[int]) -> dict[str, set[int]]:
    """Axes of every value that change when the free axes of the inputs do: the net's shapes are
    worked out a second time with other lengths, so no rule is written twice."""
    if not axes:
        return {}
    from protogen.net import Net as _Net

    other: dict[str, Shape] = {}
    for name in net.inputs:
        shape = net.graph.shapes[name] or ()
        other[name] = tuple(n + 1 if i in axes else n for i, n in enumerate(shape))
    moved = _Net(net.message, net.weights, input_shapes=other).graph.shapes
    return {
        name: {i for i, (a, b) in enumerate(zip(shape, moved[name] or (), strict=True)) if a != b}
        for name, shape in net.graph.shapes.items()
        if shape is not None
    }


def _info(graph: Graph, name: str, free: Mapping[str, set[int]]) -> onnx.ValueInfoProto:
    shape: list[int | str] = list(graph.shapes[name] or ())
    for axis in free.get(name, ()):
        label = _AXIS_NAMES[axis] if axis < len(_AXIS_NAMES) else f"axis{axis}"
        # The batch is one for all; other lengths are a blob's own.
        alone = axis == 0 or graph.inputs == (name,)
        shape[axis] = label if alone else f"{name}.{label}"
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
