"""What exporters take apart is put together again: groups of operators that are one operator.

A pattern looks at the group's last operator and gives the one that stands for the group; what
nobody reads then goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protogen.onnx.source import Operator, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pattern = Callable[["View", Operator], list[Operator] | None]
PATTERNS: list[Pattern] = []
# Operators on each value alone: an order of axes passes through them.
POINTWISE = frozenset(
    ("Abs", "Cast", "Celu", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
     "Identity", "LeakyRelu", "Log", "LogSoftmax", "Mish", "Neg", "Reciprocal", "Relu", "Selu",
     "Sigmoid", "Softmax", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh")
)  # fmt: skip


class View:
    """Who makes and who reads each value of a model."""

    def __init__(self, source: Source, operators: Sequence[Operator]) -> None:
        self.source = source
        self.makers = {name: one for one in operators for name in one.outputs if name}
        self.readers: dict[str, list[Operator]] = {name: [] for name in source.outputs}
        for one in operators:
            for name in one.inputs:
                if name:
                    self.readers.setdefault(name, []).append(one)

    def maker(self, name: str, *types: str) -> Operator | None:
        """The operator that makes a value, if it is of one of these types."""
        found = self.makers.get(name)
        return found if found is not None and found.type in types and not found.domain else None

    def number(self, name: str) -> float | None:
        """A constant of one value."""
        array = self.source.constants.get(name)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    def with_number(self, operator: Operator | None) -> tuple[str, float] | None:
        """(value, number) of an operator of two inputs of which one is a constant number."""
        if operator is None or len(operator.inputs) != 2:
            return None
        for name, other in (operator.inputs, operator.inputs[::-1]):
            number = self.number(other)
            if number is not None:
                return name, number
        return None

    def alone(self, name: str) -> bool:
        """Whether one operator reads the value, and it is no output."""
        return len(self.readers.get(name, ())) == 1 and name not in self.source.outputs


def joined(source: Source, fold: bool = False) -> tuple[Operator, ...]:
    """The model's operators after all patterns; ``fold`` merges BatchNormalization into the
    convolution before it."""
    patterns = [*PATTERNS, *([_folded] if fold else [])]
    operators = list(source.operators)
    changed = True
    while changed:
        view = View(source, operators)
        changed = False
        after: list[Operator] = []
        for operator in operators:
            found = None
            for one in () if operator.domain else patterns:
                found = one(view, operator)
                if found is not None:
                    break
            made = [operator] if found is None else found
            changed |= found is not None
            for one_made in made if found is not None else ():
                view.makers.update(dict.fromkeys(filter(None, one_made.outputs), one_made))
            after += made
        operators = _read(after, source.outputs)
    return tuple(operators)


def _read(operators: Sequence[Operator], outputs: Sequence[str]) -> list[Operator]:
    """Those operators whose outputs lead to the model's."""
    needed, kept = set(outputs), []
    for operator in reversed(operators):
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)
            kept.append(operator)
    return kept[::-1]


def pattern(function: Pattern) -> Pattern:
    PATTERNS.append(function)
    return function


def _one(
    like: Operator, type_: str, inputs: Sequence[str], attributes: Mapping[str, Any] | None = None
) -> Operator:
    return replace(like, type=type_, inputs=tuple(inputs), attributes=dict(attributes or {}))


def _near(value: float | None, wanted: float) -> bool:
    return value is not None and math.isclose(value, wanted, rel_tol=1e-5)


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
                return [_one(last, "Swish", [x])]
            if scaled is not None and scaled[0] == x:
                return [_one(last, "Swish", [x], {"alpha": scaled[1]})]
        elif gate.type == "HardSigmoid" and read == x:
            if _near(gate.attributes.get("alpha", 0.2), 1 / 6) and _near(
                gate.attributes.get("beta", 0.5), 0.5
            ):
                return [_one(last, "HardSwish", [x])]
        elif gate.type == "Tanh":
            soft = view.maker(read, "Softplus")
            if soft is not None and soft.inputs[0] == x:
                return [_one(last, "Mish", [x])]
    return None


@pattern
def hard_sigmoid(view: View, last: Operator) -> list[Operator] | None:
    """Clip(x + 3, 0, 6) / 6 is HardSigmoid; x times it, divided last, HardSwish."""
    if last.type not in ("Div", "Mul"):
        return None
    inner = view.with_number(last)
    if inner is None or not _near(inner[1], 6 if last.type == "Div" else 1 / 6):
        return None
    if last.type == "Div" and view.number(last.inputs[1]) is None:  # 6 / x
        return None
    read = _relu6_of(view, inner[0])
    if read is not None:
        return [_one(last, "HardSigmoid", [read], {"alpha": 1 / 6, "beta": 0.5})]
    product = view.maker(inner[0], "Mul")
    if product is not None and len(product.inputs) == 2:
        for x, other in (product.inputs, product.inputs[::-1]):
            if _relu6_of(view, other) == x:
                return [_one(last, "HardSwish", [x])]
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
def average(view: View, last: Operator) -> list[Operator] | None:
    """An AveragePool times constants over height and width: another divisor for each window."""
    if last.type != "Mul" or len(last.inputs) != 2:
        return None
    for name, factor in (last.inputs, last.inputs[::-1]):
        pool = view.maker(name, "AveragePool")
        values = view.source.constants.get(factor)
        if pool is None or values is None or not view.alone(name) or values.ndim < 2:
            continue
        shape = view.source.shapes.get(name, ())
        if (
            len(shape) == 4
            and values.size == shape[2] * shape[3]
            and values.shape[-2:] == shape[2:]
        ):
            return [_one(last, "protogen:AveragePool", [pool.inputs[0], factor], pool.attributes)]
    return None


@pattern
def affine(view: View, last: Operator) -> list[Operator] | None:
    """x times a constant plus a constant, both along the same axes: one Scale."""
    if last.type != "Add" or len(last.inputs) != 2:
        return None
    constants, shapes = view.source.constants, view.source.shapes
    for name, term in (last.inputs, last.inputs[::-1]):
        product = view.maker(name, "Mul")
        if term not in constants or product is None or not view.alone(name):
            continue
        for x, factor in (product.inputs, product.inputs[::-1]):
            if factor not in constants or x in constants or shapes.get(x) != shapes.get(name):
                continue
            full = (1,) * (len(shapes.get(x, ())) - constants[term].ndim) + constants[term].shape
            other = (1,) * (len(full) - constants[factor].ndim) + constants[factor].shape
            if full == other and constants[term].size > 1:
                return [_one(last, "protogen:Scale", [x, factor, term])]
    return None


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
    return [_one(last, "LayerNormalization", [x, name], {"axis": -1, "epsilon": shifted[1]})]


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
            return [_one(last, "Identity", first.inputs)]
        return [_one(last, "Transpose", first.inputs, {"perm": both})]
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
            replace(one, type="protogen:Softmax" if old else one.type, attributes=attributes,
                    inputs=(read, *one.inputs[1:]), outputs=(name,))
        )  # fmt: skip
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


@pattern
def padded(view: View, last: Operator) -> list[Operator] | None:
    """Zeros around height and width before a Conv are its pads."""
    if last.type != "Conv" or last.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    before = view.maker(last.inputs[0], "Pad")
    if before is None or before.attributes.get("mode", "constant") != "constant":
        return None
    constants = view.source.constants
    pads = before.attributes.get("pads")
    filled: float | None = before.attributes.get("value", 0.0)
    if pads is None:
        if len(before.inputs) > 3 and before.inputs[3]:
            return None
        found = constants.get(before.inputs[1])
        pads = None if found is None else found.reshape(-1).tolist()
        if len(before.inputs) > 2 and before.inputs[2]:
            filled = view.number(before.inputs[2])
    if pads is None or filled != 0 or min(pads) < 0:
        return None
    rank = len(pads) // 2
    if any(pads[:2]) or any(pads[rank : rank + 2]):
        return None
    own = list(last.attributes.get("pads") or [0] * 2 * (rank - 2))
    more = [*pads[2:rank], *pads[rank + 2 :]]
    attributes = {key: value for key, value in last.attributes.items() if key != "auto_pad"}
    attributes["pads"] = [a + b for a, b in zip(own, more, strict=True)]
    return [_one(last, "Conv", [before.inputs[0], *last.inputs[1:]], attributes)]


def _folded(view: View, last: Operator) -> list[Operator] | None:
    """BatchNormalization after a Conv: gamma / sqrt(variance + epsilon) goes into its weights."""
    import numpy as np

    if last.type != "BatchNormalization" or last.attributes.get("training_mode"):
        return None
    before = view.maker(last.inputs[0], "Conv")
    constants = view.source.constants
    if before is None or not view.alone(last.inputs[0]) or last.outputs[1:]:
        return None
    if not all(name in constants for name in (*before.inputs[1:], *last.inputs[1:]) if name):
        return None
    gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in last.inputs[1:])
    factor = gamma / np.sqrt(variance + last.attributes.get("epsilon", 1e-5))
    weight = constants[before.inputs[1]]
    bias: NDArray[Any] | float = 0.0
    if len(before.inputs) > 2 and before.inputs[2]:
        bias = constants[before.inputs[2]]
    names = [f"{last.outputs[0]}_folded_{part}" for part in ("weight", "bias")]
    scaled = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
    constants[names[0]] = scaled.astype(np.float32)
    constants[names[1]] = (beta + (bias - mean) * factor).astype(np.float32)
    return [replace(before, outputs=last.outputs, inputs=(before.inputs[0], *names))]
