"""Multiply-adds and memory of an ONNX model and of the net that was imported from it.

``imported.py`` prints both; its docstring has the rules by which they are counted.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.net.cost import costs
from protogen.onnx.importer import ImportedNet
from protogen.onnx.importer.source import OnnxGraph, Operator

Parts = dict[str, Counter[str]]  # amounts by operator and, in a net, by layer type

VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}
_NAMES = """Abs BatchNormalization Celu Clip Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log Mish
Neg PRelu Reciprocal Relu Selu Sigmoid Softplus Softsign Sqrt Swish Tanh ThresholdedRelu"""
UNARY = set(_NAMES.split())
BINARY = {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"}  # activations if one side is constant
CONVOLUTIONS = {"Conv", "ConvTranspose"}


@dataclass
class Size:
    """Multiply-adds, and bytes of values, by operator; the numbers of operators or layers, and of
    their outputs; and the multiply-adds of convolutions."""

    nodes: int = 0
    values: int = 0
    products: Parts = field(default_factory=lambda: defaultdict(Counter))
    memory: Parts = field(default_factory=lambda: defaultdict(Counter))
    convolutions: int = 0


def total(parts: Parts) -> int:
    """Return the sum of all amounts."""
    return sum(sum(one.values()) for one in parts.values())


def products(operator: Operator, shapes: Mapping[str, Shape]) -> int:
    """Return the multiply-adds of an operator of ONNX; 0 for types that are not counted."""
    x, w, *more = [shapes.get(name, ()) for name in (*operator.inputs, "", "")]
    y = math.prod(shapes.get(operator.outputs[0], ()))
    match operator.type:
        case "Conv":
            return y * math.prod(w[1:])
        case "ConvTranspose":
            return math.prod(x) * math.prod(w[1:])
        case "Gemm":
            return y * x[0 if operator.attributes.get("transA") else 1]
        case "MatMul":
            return y * x[-1]
        case "LSTM" | "GRU" | "RNN":
            return math.prod(x[:2]) * (math.prod(w) + math.prod(more[0]))
        case "Einsum":
            return einsum_products(str(operator.attributes["equation"]), operator, shapes)
        case "BatchNormalization":
            return y
        case "Mul" if min(math.prod(x), math.prod(w)) > 1:
            return y
    return 0


def einsum_products(equation: str, operator: Operator, shapes: Mapping[str, Shape]) -> int:
    """Return the products of a sum over all indices of an equation."""
    lengths: dict[str, int] = {}
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    for term, name in zip(terms, operator.inputs, strict=True):
        shape = shapes[name]
        hidden = range(len(shape) - len(term.replace("...", "")), 0, -1)  # axes of the ellipsis
        indices = term.replace("...", "".join(str(one) for one in hidden))
        for index, length in zip(indices, shape, strict=True):
            lengths[index] = max(length, lengths.get(index, 1))
    return math.prod(lengths.values()) * (len(terms) - 1)


def groups(source: OnnxGraph, fused: Sequence[Operator]) -> dict[str, str]:
    """Return the type of the fused operator that computes each value of the source. A value inside of
    a fused operator belongs to the operator that reads it."""
    group = {name: one.onnx_type for one in fused for name in one.outputs if name}
    for operator in reversed(source.operators):
        known = next((group[name] for name in operator.outputs if name in group), operator.type)
        for name in (*operator.outputs, *operator.inputs):
            group.setdefault(name, known)
    return group


def source_size(source: OnnxGraph, group: Mapping[str, str]) -> Size:
    """Return the size of a model; ``group`` has the operator to which each value belongs."""
    size = Size(len(source.operators))
    readers = Counter(name for one in source.operators for name in one.inputs)
    fixed = {*source.inputs, *source.outputs}  # these and views are not written in place
    size.memory["Input"][""] = 4 * sum(map(math.prod, source.inputs.values()))
    for one in source.operators:
        outputs = [name for name in one.outputs if name]
        key = group[outputs[0]]
        size.values += len(outputs)
        if work := products(one, source.shapes):
            size.products[key][""] += work
            size.convolutions += work if one.type in CONVOLUTIONS else 0
        if one.type in VIEWS:
            fixed.update(outputs)
            continue
        computed = [name for name in one.inputs if name and name not in source.constants]
        in_place = (
            one.type in UNARY | BINARY
            and len(computed) == 1
            and readers[computed[0]] == 1
            and computed[0] not in fixed
            and source.shapes[computed[0]] == source.shapes[outputs[0]]
        )
        if not in_place:
            size.memory[key][""] += 4 * sum(math.prod(source.shapes[name]) for name in outputs)
    return size


def net_size(imported: ImportedNet) -> Size:
    """Return the size of an imported net, by the operators that became its layers."""
    types = {one.name or one.outputs[0]: one.onnx_type for one in imported.source.operators}
    owner = {
        layer: types.get(name, "") for name, layers in imported.layers.items() for layer in layers
    }
    size = Size()
    for cost in costs(imported.net.graph):
        layer, kind = cost.layer, kind_of(cost.layer)
        if layer.type == "Parameter":
            continue
        key = owner.get(layer.name) or types.get(layer.name) or layer.type
        size.nodes += bool(layer.bottoms)
        size.values += len(layer.tops) if layer.bottoms else 0
        work = cost.multiply_adds or 0
        if layer.type == "Eltwise" and layer.params.eltwise_param.operation == "PROD":
            work += (len(layer.bottoms) - 1) * math.prod(cost.output or (0,))
        if work:
            size.products[key][layer.type] += work
        if kind is None or not layer.bottoms or not kind.is_view(layer):
            size.memory[key][layer.type] += 4 * (cost.activations or 0)
    return size
