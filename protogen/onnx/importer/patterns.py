"""What exporters take apart is put together again: activations, normalisations, axes that are
turned and turned back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.matching import View, near, one_of, pattern

if TYPE_CHECKING:
    from protogen.onnx.importer.source import Operator

# Operators on each value alone: an order of axes passes through them.
POINTWISE = frozenset(
    ("Abs", "Cast", "Celu", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
     "Identity", "LeakyRelu", "Log", "LogSoftmax", "Mish", "Neg", "Reciprocal", "Relu", "Selu",
     "Sigmoid", "Softmax", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh")
)  # fmt: skip


@pattern
def gated(view: View, last: Operator) -> list[Operator] | None:
    """x Sigmoid(a x) is Swish, x HardSigmoid(x) HardSwish, x Tanh(Softplus(x)) Mish."""
    if last.type != "Mul" or len(last.inputs) != 2:
        return None
    for x, other in (last.inputs, last.inputs[::-1]):
        gate = view.maker(other, "Sigmoid", "HardSigmoid", "Tanh")
        if gate is None:
            continue
        (read,) = gate.inputs
        if gate.type == "Sigmoid":
            scaled = view.with_number(view.maker(read, "Mul"))
            if read == x:
                return [one_of(last, "Swish", [x])]
            if scaled is not None and scaled[0] == x:
                return [one_of(last, "Swish", [x], {"alpha": scaled[1]})]
        elif gate.type == "HardSigmoid" and read == x:
            if near(gate.attributes.get("alpha", 0.2), 1 / 6) and near(
                gate.attributes.get("beta", 0.5), 0.5
            ):
                return [one_of(last, "HardSwish", [x])]
        elif gate.type == "Tanh":
            soft = view.maker(read, "Softplus")
            if soft is not None and soft.inputs[0] == x:
                return [one_of(last, "Mish", [x])]
    return None


@pattern
def hard_sigmoid(view: View, last: Operator) -> list[Operator] | None:
    """Clip(x + 3, 0, 6) / 6 is HardSigmoid; x times it, divided last, HardSwish."""
    if last.type not in ("Div", "Mul"):
        return None
    inner = view.with_number(last)
    if inner is None or not near(inner[1], 6 if last.type == "Div" else 1 / 6):
        return None
    if last.type == "Div" and view.number(last.inputs[1]) is None:  # 6 / x
        return None
    read = _relu6_of(view, inner[0])
    if read is not None:
        return [one_of(last, "HardSigmoid", [read], {"alpha": 1 / 6, "beta": 0.5})]
    product = view.maker(inner[0], "Mul")
    if product is not None and len(product.inputs) == 2:
        for x, other in (product.inputs, product.inputs[::-1]):
            if _relu6_of(view, other) == x:
                return [one_of(last, "HardSwish", [x])]
    return None


def _relu6_of(view: View, name: str) -> str | None:
    """x of Clip(x + 3, 0, 6)."""
    clip = view.maker(name, "Clip")
    if clip is None:
        return None
    limits = [clip.attributes.get(key) for key in ("min", "max")]
    for i, given in enumerate(clip.inputs[1:]):
        limits[i] = view.number(given)
    added = view.with_number(view.maker(clip.inputs[0], "Add"))
    if limits != [0, 6] or added is None or added[1] != 3:
        return None
    return added[0]


@pattern
def layer_normalization(view: View, last: Operator) -> list[Operator] | None:
    """(x - mean) / sqrt(mean((x - mean)^2) + epsilon) along the last axis."""
    if last.type != "Div" or len(last.inputs) != 2:
        return None
    below, root = view.maker(last.inputs[0], "Sub"), view.maker(last.inputs[1], "Sqrt")
    if below is None or root is None:
        return None
    x = below.inputs[0]
    shifted = view.with_number(view.maker(root.inputs[0], "Add"))
    shape = view.source.shapes.get(x)
    if shifted is None or shape is None or not _is_mean(view, below.inputs[1], x, len(shape)):
        return None
    variance = view.maker(shifted[0], "ReduceMean")
    power = view.maker(variance.inputs[0], "Pow") if variance is not None else None
    if power is None or view.number(power.inputs[1]) != 2:
        return None
    centred = view.maker(power.inputs[0], "Sub", "Cast")
    if centred is None or centred.inputs[:2] != below.inputs[:2]:
        return None
    if not _is_mean(view, shifted[0], power.outputs[0], len(shape)):
        return None
    import numpy as np

    name = f"{last.outputs[0]}_ones"
    view.source.constants[name] = np.broadcast_to(np.float32(1), shape[-1:])
    return [one_of(last, "LayerNormalization", [x, name], {"axis": -1, "epsilon": shifted[1]})]


def _is_mean(view: View, name: str, x: str, rank: int) -> bool:
    """Whether the value is the mean of ``x`` along its last axis, kept as an axis of length 1."""
    mean = view.maker(name, "ReduceMean")
    if mean is None or mean.inputs[0] != x or not mean.attributes.get("keepdims", 1):
        return False
    axes = mean.attributes.get("axes")
    if axes is None and len(mean.inputs) > 1:
        found = view.source.constants.get(mean.inputs[1])
        axes = None if found is None else found.reshape(-1).tolist()
    return axes is not None and [axis % rank for axis in axes] == [rank - 1]


@pattern
def turned_back(view: View, last: Operator) -> list[Operator] | None:
    """A Transpose that undoes another one, with operators on each value alone between them: those
    work on the values as they were. Two Transposes without anything between are one."""
    if last.type != "Transpose":
        return None
    chain, name = [], last.inputs[0]
    while (one := view.maker(name, *POINTWISE)) is not None and view.alone(name):
        chain.append(one)
        name = one.inputs[0]
    first = view.maker(name, "Transpose")
    if first is None:
        return None
    rank = len(view.source.shapes.get(name, ()))
    before, behind = _order(first, rank), _order(last, rank)
    both = [before[axis] for axis in behind]
    if not chain:
        if both == list(range(rank)):
            return [one_of(last, "Identity", first.inputs)]
        return [one_of(last, "Transpose", first.inputs, {"perm": both})]
    if both != list(range(rank)):
        return None
    made: list[Operator] = []
    read = first.inputs[0]
    for one in reversed(chain):
        attributes = _axis_before(view, one, before)
        if attributes is None:
            return None
        old = one.type == "Softmax" and view.source.opset < 13
        name = last.outputs[0] if one is chain[0] else f"{one.outputs[0]}_turned_back"
        view.source.shapes[name] = view.source.shapes[first.inputs[0]]
        made.append(
            replace(
                one,
                type="protogen:Softmax" if old else one.type,
                attributes=attributes,
                inputs=(read, *one.inputs[1:]),
                outputs=(name,),
            )
        )
        read = name
    return made


def _axis_before(view: View, one: Operator, before: Sequence[int]) -> Mapping[str, Any] | None:
    """The operator's attributes where the axes are as they were before the Transpose."""
    if one.type not in ("Softmax", "LogSoftmax"):
        return one.attributes
    old = view.source.opset < 13  # then over all axes from one on
    axis = one.attributes.get("axis", 1 if old else -1) % len(before)
    if old and (axis != len(before) - 1 or one.type == "LogSoftmax"):
        return None
    return {"axis": before[axis]}


def _order(transpose: Operator, rank: int) -> list[int]:
    return list(transpose.attributes.get("perm", range(rank - 1, -1, -1)))
