"""Drops the quantisation of a model: pairs of QuantizeLinear and DequantizeLinear, and QLinear operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from protogen.errors import InputError, UnsupportedError
from protogen.onnx.passes.sorting import set_operators

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OWN = ("", "ai.onnx")
DROPPED = "the quantisation of {} is dropped: the net computes in float32, without its roundings"
# Operators that move values, take maxima or interpolate: the same on quantised and on real values, but
# for rounding.
_MOVERS = (
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Resize",
    "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Upsample",
)  # fmt: skip
_FORMS = {  # (domain, type): how its inputs are arranged
    ("", "QLinearConv"): "convolution",
    ("", "QLinearMatMul"): "two",
    ("com.microsoft", "QGemm"): "gemm",
    ("com.microsoft", "QLinearAdd"): "two",
    ("com.microsoft", "QLinearAveragePool"): "one",
    ("com.microsoft", "QLinearConcat"): "concat",
    ("com.microsoft", "QLinearGlobalAveragePool"): "one",
    ("com.microsoft", "QLinearLeakyRelu"): "one",
    ("com.microsoft", "QLinearMul"): "two",
    ("com.microsoft", "QLinearSigmoid"): "one",
    ("com.microsoft", "QLinearSoftmax"): "one",
}
_OWN_ATTRIBUTES = ("channels_last", "opset")  # that the operator on real values does not have
Constants = Mapping[str, "NDArray[Any]"]


@dataclass(frozen=True)
class Scale:
    """How values were quantised: real = scale (integer - zero_point).

    Attributes:
        scale, zero_point: one number each, or one per index of ``axis``.
        type: ONNX's name of the integer type.
        axis: the axis with a number per index; None for one number.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    type: str
    axis: int | None

    def plain(self) -> dict[str, Any]:
        """Return the scale as data for JSON."""
        one = self.axis is None
        return {
            "scale": self.scale[0] if one else list(self.scale),
            "zero_point": self.zero_point[0] if one else list(self.zero_point),
            "type": self.type,
            "axis": self.axis,
        }


@dataclass
class Scales:
    """The quantisation of a model that was dropped: by computed value, and by constant."""

    activations: dict[str, Scale] = field(default_factory=dict)
    weights: dict[str, Scale] = field(default_factory=dict)


def drop_quantization(graph: GraphProto, where: str) -> Scales:
    """Remove the quantisation of computed values, in place, and return the scales.

    A quantised value becomes the real value that was quantised, also where operators move it before it is
    dequantised. Constants keep their rounded values: their DequantizeLinear is computed when constants
    are folded. QLinear operators become the operators on real values. An input of integers stays one.

    Raises:
        InputError: the model quantises no computed value.
        UnsupportedError: an operator computes with quantised values.
    """
    constants = _constants(graph)
    if not is_quantized(graph):
        raise InputError(
            "the model quantises no computed value",
            where=where,
            advice="Leave out --drop-quantisation.",
        )
    nodes = [new for node in graph.node for new in _with_pairs(node, constants)]
    scales, result = Scales(), []
    quantized: dict[str, str] = {}  # quantised values, and the real value that was quantised
    for node in nodes:
        real = next((quantized[name] for name in node.input if name in quantized), "")
        if _is(node, "QuantizeLinear") and node.input[0] not in constants:
            quantized[node.output[0]] = node.input[0]
            scales.activations[node.input[0]] = _scale(node, constants, where)
            result.append(helper.make_node("Identity", node.input[:1], node.output, node.name))
        elif _is(node, "DequantizeLinear") and real:
            result.append(helper.make_node("Identity", node.input[:1], node.output, node.name))
        elif _is(node, "DequantizeLinear") and node.input[0] not in constants:
            result += _dequantized(node, constants, where)
        elif real and not _is(node, *_MOVERS):
            raise UnsupportedError(
                "computes with quantised values",
                where=where,
                subject=f'operator "{node.name or node.output[0]}" ({node.op_type})',
                advice="Export the model in the QDQ form, or before its quantisation.",
            )
        else:
            if real:
                quantized.update(dict.fromkeys(node.output, real))
            if _is(node, "DequantizeLinear"):
                scales.weights[node.input[0]] = _scale(node, constants, where)
            result.append(node)
    for value in graph.output:
        if value.name in quantized:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    set_operators(graph, _without_identities(result, graph))
    return scales


def _dequantized(node: NodeProto, constants: Constants, where: str) -> list[NodeProto]:
    """Return scale (x - zero_point) of an input of integers."""
    scale, out = _scale(node, constants, where), node.output[0]
    if scale.axis is not None:
        raise UnsupportedError(
            "an input with a scale per channel is not supported",
            where=where,
            subject=f'operator "{node.name or out}" ({node.op_type})',
        )
    numbers = {"zero": float(scale.zero_point[0]), "scale": scale.scale[0]}
    names = {key: f"{out}_{key}" for key in numbers}
    return [
        *(
            helper.make_node("Constant", [], [names[key]], value_float=number)
            for key, number in numbers.items()
        ),
        helper.make_node("Cast", node.input[:1], [f"{out}_float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{out}_float", names["zero"]], [f"{out}_shifted"]),
        helper.make_node("Mul", [f"{out}_shifted", names["scale"]], [out], node.name),
    ]


def is_quantized(graph: GraphProto) -> bool:
    """Return whether a model quantises computed values."""
    constants = _constants(graph)
    return any(
        (node.domain.removeprefix("ai.onnx"), node.op_type) in _FORMS
        or (_is(node, "QuantizeLinear", "DequantizeLinear") and node.input[0] not in constants)
        for node in graph.node
    )


def _is(node: NodeProto, *types: str) -> bool:
    return node.op_type in types and node.domain in _OWN


def _constants(graph: GraphProto) -> dict[str, NDArray[Any]]:
    """Return the constants of a graph that are small enough to be scales or zero points, as arrays, and
    all others as empty arrays."""
    import numpy as np

    tensors = [(tensor.name, tensor) for tensor in graph.initializer]
    for node in graph.node:
        if _is(node, "Constant"):
            tensors += [(node.output[0], item.t) for item in node.attribute if item.name == "value"]
    empty = np.empty(0, np.float32)
    return {
        name: numpy_helper.to_array(tensor) if _has_values(tensor) else empty
        for name, tensor in tensors
    }


def _has_values(tensor: TensorProto) -> bool:
    return len(tensor.dims) <= 1 and bool(
        tensor.raw_data or tensor.float_data or tensor.int32_data or tensor.int64_data
    )


def _scale(node: NodeProto, constants: Constants, where: str) -> Scale:
    """Return the scale and the zero point of a QuantizeLinear or DequantizeLinear."""
    scale = constants.get(node.input[1])
    zero = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if scale is None or not scale.size or (len(node.input) > 2 and node.input[2] and zero is None):
        raise UnsupportedError(
            "its scale or zero point is computed, or has more than one axis",
            where=where,
            subject=f'operator "{node.name or node.output[0]}" ({node.op_type})',
        )
    axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
    numbers = tuple(float(one) for one in scale.reshape(-1))
    zeros = (0,) * len(numbers) if zero is None else tuple(int(one) for one in zero.reshape(-1))
    kind = "UINT8"
    if zero is not None:
        kind = TensorProto.DataType.Name(helper.np_dtype_to_tensor_dtype(zero.dtype))
    return Scale(numbers, zeros, kind, axis if scale.ndim == 1 and len(numbers) > 1 else None)


def _with_pairs(node: NodeProto, constants: Constants) -> list[NodeProto]:
    """Return a QLinear operator as DequantizeLinear, the operator on real values, and QuantizeLinear."""
    form = _FORMS.get((node.domain.removeprefix("ai.onnx"), node.op_type))
    if form is None:
        return [node]
    names, out = list(node.input), node.output[0]
    y_scale, y_zero = (names[:2] if form == "concat" else names[-2:])[:2]
    if (form == "convolution" and len(names) > 8) or form == "gemm":
        y_scale, y_zero = names[6:8] if form == "convolution" else names[7:9]
    triples = names[2:] if form == "concat" else names[: {"one": 3}.get(form, 6)]
    nodes, inputs = [], []
    for i in range(0, len(triples), 3):
        x, scale, zero = triples[i : i + 3]
        inputs.append(f"{out}_real{i // 3}")
        if _many(constants, scale):
            # The weights of a Conv have a scale per output channel, matrices one per output column.
            rows = any(one.name == "transB" and one.i for one in node.attribute)
            axes = [-1, 1, 1, 1] if form == "convolution" else [-1, 1] if rows else [1, -1]
            nodes += _dequantized_by_axis([x, scale, zero], inputs[-1], axes)
        else:
            nodes.append(_node("DequantizeLinear", [x, scale, zero], inputs[-1:]))
    bias = names[8:9] if form == "convolution" else names[6:7] if form == "gemm" else []
    if bias and bias[0]:  # int32, with the scale of the product
        nodes += [
            _node("Mul", [names[1], names[4]], [f"{out}_bias_scale"]),
            _node("Cast", bias, [f"{out}_bias_float"], to=TensorProto.FLOAT),
            _node("Mul", [f"{out}_bias_float", f"{out}_bias_scale"], [f"{out}_bias"]),
        ]
        inputs.append(f"{out}_bias")
    inner = NodeProto(op_type=node.op_type.removeprefix("QLinear").removeprefix("Q"))
    inner.name = node.name
    inner.input.extend(inputs)
    inner.output.append(f"{out}_real")
    inner.attribute.extend(one for one in node.attribute if one.name not in _OWN_ATTRIBUTES)
    return [*nodes, inner, _node("QuantizeLinear", [f"{out}_real", y_scale, y_zero], [out])]


def _dequantized_by_axis(names: list[str], real: str, axes: list[int]) -> list[NodeProto]:
    """Return scale (x - zero_point) with a scale per index of an axis, in any operator set: before 13
    DequantizeLinear has no axis."""
    parts = [f"{real}_{part}" for part in ("x", "scale", "zero")]
    nodes = [_node("Constant", [], [f"{real}_shape"], value=_int64(axes))]
    for name, part in zip(names, parts, strict=True):
        nodes.append(_node("Cast", [name], [f"{part}_float"], to=TensorProto.FLOAT))
        if part != parts[0]:
            nodes.append(_node("Reshape", [f"{part}_float", f"{real}_shape"], [part]))
    return [
        *nodes,
        _node("Sub", [f"{parts[0]}_float", parts[2]], [f"{real}_shifted"]),
        _node("Mul", [f"{real}_shifted", parts[1]], [real]),
    ]


def _int64(numbers: list[int]) -> TensorProto:
    return helper.make_tensor("", TensorProto.INT64, [len(numbers)], numbers)


def _without_identities(nodes: list[NodeProto], graph: GraphProto) -> list[NodeProto]:
    """Remove Identity operators by renaming what their readers read; those of outputs of the graph stay."""
    ends = {one.name for one in graph.output}
    names: dict[str, str] = {}
    result = []
    for node in nodes:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)
        if _is(node, "Identity") and node.output[0] not in ends:
            names[node.output[0]] = node.input[0]
        else:
            result.append(node)
    return result


def _node(type_: str, inputs: list[str], outputs: list[str], **attributes: Any) -> NodeProto:
    return helper.make_node(type_, inputs, outputs, **attributes)


def _many(constants: Constants, name: str) -> bool:
    array = constants.get(name)
    return array is not None and array.size > 1
