"""Patterns that recognise groups of operators which exporters write for one operation.

These are activations, normalisations, and pairs of Transposes that cancel out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.matching import View, is_close, pattern, replacement

if TYPE_CHECKING:
    from protogen.onnx.importer.source import Operator

# Elementwise operators (and Softmax): a Transpose can move from before them to after them.
POINTWISE = frozenset(
    ("Abs", "Cast", "Celu", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
     "Identity", "LeakyRelu", "Log", "LogSoftmax", "Mish", "Neg", "Reciprocal", "Relu", "Selu",
     "Sigmoid", "Softmax", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh")
)  # fmt: skip


@pattern
def gated_activation(view: View, last: Operator) -> list[Operator] | None:
    """x Sigmoid(a x) is Swish, x HardSigmoid(x) is HardSwish, x Tanh(Softplus(x)) is Mish."""
    if last.type != "Mul" or len(last.inputs) != 2:
        return None
    for x, other in (last.inputs, last.inputs[::-1]):
        gate = view.producer(other, "Sigmoid", "HardSigmoid", "Tanh")
        if gate is None:
            continue
        (gate_input,) = gate.inputs
        if gate.type == "Sigmoid":
            scaled = view.with_number(view.producer(gate_input, "Mul"))
            if gate_input == x:
                return [replacement(last, "Swish", [x])]
            if scaled is not None and scaled[0] == x:
                return [replacement(last, "Swish", [x], {"alpha": scaled[1]})]
        elif gate.type == "HardSigmoid" and gate_input == x:
            if is_close(gate.attributes.get("alpha", 0.2), 1 / 6) and is_close(
                gate.attributes.get("beta", 0.5), 0.5
            ):
                return [replacement(last, "HardSwish", [x])]
        elif gate.type == "Tanh":
            softplus = view.producer(gate_input, "Softplus")
            if softplus is not None and softplus.inputs[0] == x:
                return [replacement(last, "Mish", [x])]
    return None


@pattern
def gelu(view: View, last: Operator) -> list[Operator] | None:
    """x (1 + erf(x / sqrt 2)) / 2, in any order of the factors, is Gelu."""
    number, values = _factors(view, last)
    if not is_close(number, 0.5) or len(values) != 2:
        return None
    shapes = view.source.shapes
    for x, gate in (values, values[::-1]):
        added = view.with_number(view.producer(gate, "Add"))
        erf = view.producer(added[0], "Erf") if added is not None and added[1] == 1 else None
        scaled = view.producer(erf.inputs[0], "Div", "Mul") if erf is not None else None
        scale = view.with_number(scaled)
        if scaled is None or scale is None or scale[0] != x:
            continue
        is_mul = scaled.type == "Mul"
        if not (is_mul or scaled.inputs[0] == x) or shapes.get(x) != shapes.get(last.outputs[0]):
            continue
        if is_close(scale[1], 0.5**0.5 if is_mul else 2**0.5):
            return [replacement(last, "Gelu", [x])]
    return None


def _factors(view: View, last: Operator) -> tuple[float, list[str]]:
    """Return the number and the values that up to three Muls multiply, of which the last is given."""
    number, values = 1.0, [last.outputs[0]] if last.type == "Mul" else []
    for _ in range(3):
        for i, name in enumerate(values):
            product = view.producer(name, "Mul")
            is_inner = name == last.outputs[0] or view.read_once(name)
            if product is not None and len(product.inputs) == 2 and is_inner:
                numbers = [view.number(one) for one in product.inputs]
                number *= prod(one for one in numbers if one is not None)
                values[i : i + 1] = [
                    one for one, n in zip(product.inputs, numbers, strict=True) if n is None
                ]
                break
    return number, values


@pattern
def log_sigmoid(view: View, last: Operator) -> list[Operator] | None:
    """Log(Sigmoid(x)): one operator, because the Sigmoid of a low x is 0 in Caffe."""
    gate = view.producer(last.inputs[0], "Sigmoid") if last.type == "Log" else None
    return None if gate is None else [replacement(last, "protogen:LogSigmoid", gate.inputs)]


@pattern
def local_response_norm(view: View, last: Operator) -> list[Operator] | None:
    """x / (k + alpha m)^beta, where m is the mean of x^2 over channels around each: LRN.

    PyTorch writes the mean as an AveragePool over (N, 1, C, H W) or (N, 1, C, H, W), padded.
    """
    if last.type != "Div" or len(last.inputs) != 2:
        return None
    x, divisor = last.inputs
    power = view.producer(divisor, "Pow")
    beta = view.number(power.inputs[1]) if power is not None else None
    added = view.with_number(view.producer(power.inputs[0], "Add")) if power is not None else None
    scaled = view.with_number(view.producer(added[0], "Mul")) if added is not None else None
    if beta is None or added is None or scaled is None or len(view.source.shapes.get(x, ())) != 4:
        return None
    mean = _through_views(view, scaled[0])
    pool = view.producer(mean, "AveragePool")
    size = _channel_window(view, pool) if pool is not None else None
    if pool is None or size is None:
        return None
    squares = _through_views(view, pool.inputs[0])
    pad = view.producer(squares, "Pad")
    source = _through_views(view, pad.inputs[0]) if pad is not None else squares
    square = view.producer(source, "Mul", "Pow")
    if square is None or square.inputs[0] != x or not _is_square(view, square):
        return None
    if not _pads_around(view, pool, pad, size):
        return None
    attributes = {"size": size, "alpha": scaled[1], "beta": beta, "bias": added[1]}
    return [replacement(last, "LRN", [x], attributes)]


def _through_views(view: View, name: str) -> str:
    """Return the value before Reshapes, Squeezes, Unsqueezes, and Pads that add nothing."""
    while (one := view.producer(name, "Reshape", "Squeeze", "Unsqueeze", "Pad")) is not None:
        if one.type == "Pad" and view.source.shapes.get(name) != view.source.shapes.get(
            one.inputs[0]
        ):
            break
        name = one.inputs[0]
    return name


def _channel_window(view: View, pool: Operator) -> int | None:
    """Return the size of windows along the channels only, where these are an axis of an image."""
    shape = view.source.shapes.get(pool.inputs[0], ())
    kernel = pool.attributes["kernel_shape"]
    strides = pool.attributes.get("strides") or [1]
    plain = set(strides) == {1} and not pool.attributes.get("ceil_mode", 0)
    if len(shape) < 4 or shape[1] != 1 or set(kernel[1:]) != {1} or not plain:
        return None
    return int(kernel[0]) if kernel[0] % 2 else None


def _is_square(view: View, operator: Operator) -> bool:
    if operator.type == "Mul":
        return operator.inputs[0] == operator.inputs[1]
    return view.number(operator.inputs[1]) == 2


def _pads_around(view: View, pool: Operator, pad: Operator | None, size: int) -> bool:
    """Whether zeros of half a window are added at both ends of the channels, and nowhere else."""
    half = size // 2
    own = list(pool.attributes.get("pads") or [0] * 2 * len(pool.attributes["kernel_shape"]))
    if pad is None:
        rank = len(own) // 2
        counted = bool(pool.attributes.get("count_include_pad", 0))
        return counted and own == [half, *[0] * (rank - 1)] * 2
    pads = pad.attributes.get("pads")
    if pads is None and len(pad.inputs) > 1:
        constant = view.source.constants.get(pad.inputs[1])
        pads = None if constant is None else constant.reshape(-1).tolist()
    fill = pad.attributes.get("value", 0.0)
    if len(pad.inputs) > 2 and pad.inputs[2]:
        fill = view.number(pad.inputs[2])
    shape = view.source.shapes.get(pad.inputs[0], ())
    if pads is None or fill != 0 or any(own) or len(pads) != 2 * len(shape) or len(shape) < 4:
        return False
    return shape[1] == 1 and list(pads) == [0, 0, half, *[0] * (len(shape) - 3)] * 2


@pattern
def hard_sigmoid(view: View, last: Operator) -> list[Operator] | None:
    """Clip(x + 3, 0, 6) / 6 is HardSigmoid; x Clip(x + 3, 0, 6) / 6 is HardSwish."""
    if last.type not in ("Div", "Mul"):
        return None
    scaled = view.with_number(last)
    if scaled is None or not is_close(scaled[1], 6 if last.type == "Div" else 1 / 6):
        return None
    if last.type == "Div" and view.number(last.inputs[1]) is None:  # 6 / x
        return None
    gate_input = _relu6_of(view, scaled[0])
    if gate_input is not None:
        return [replacement(last, "HardSigmoid", [gate_input], {"alpha": 1 / 6, "beta": 0.5})]
    product = view.producer(scaled[0], "Mul")
    if product is not None and len(product.inputs) == 2:
        for x, other in (product.inputs, product.inputs[::-1]):
            if _relu6_of(view, other) == x:
                return [replacement(last, "HardSwish", [x])]
    return None


def _relu6_of(view: View, name: str) -> str | None:
    """Return x if the value is Clip(x + 3, 0, 6), else None."""
    clip = view.producer(name, "Clip")
    if clip is None:
        return None
    limits = [clip.attributes.get(key) for key in ("min", "max")]
    for i, limit in enumerate(clip.inputs[1:]):
        limits[i] = view.number(limit)
    added = view.with_number(view.producer(clip.inputs[0], "Add"))
    if limits != [0, 6] or added is None or added[1] != 3:
        return None
    return added[0]


@pattern
def layer_normalization(view: View, last: Operator) -> list[Operator] | None:
    """(x - mean) / sqrt(mean((x - mean)^2) + epsilon) along the last axis is LayerNormalization."""
    if last.type != "Div" or len(last.inputs) != 2:
        return None
    centred, root = view.producer(last.inputs[0], "Sub"), view.producer(last.inputs[1], "Sqrt")
    if centred is None or root is None:
        return None
    x = centred.inputs[0]
    with_epsilon = view.with_number(view.producer(root.inputs[0], "Add"))
    shape = view.source.shapes.get(x)
    if (
        with_epsilon is None
        or shape is None
        or not _is_mean(view, centred.inputs[1], x, len(shape))
    ):
        return None
    variance = view.producer(with_epsilon[0], "ReduceMean")
    power = view.producer(variance.inputs[0], "Pow") if variance is not None else None
    if power is None or view.number(power.inputs[1]) != 2:
        return None
    squared = view.producer(power.inputs[0], "Sub", "Cast")
    if squared is None or squared.inputs[:2] != centred.inputs[:2]:
        return None
    if not _is_mean(view, with_epsilon[0], power.outputs[0], len(shape)):
        return None
    import numpy as np

    name = f"{last.outputs[0]}_ones"
    view.source.constants[name] = np.broadcast_to(np.float32(1), shape[-1:])
    return [
        replacement(last, "LayerNormalization", [x, name], {"axis": -1, "epsilon": with_epsilon[1]})
    ]


def _is_mean(view: View, name: str, x: str, rank: int) -> bool:
    """Return whether the value is the mean of ``x`` along its last axis, which keeps length 1."""
    mean = view.producer(name, "ReduceMean")
    if mean is None or mean.inputs[0] != x or not mean.attributes.get("keepdims", 1):
        return False
    axes = mean.attributes.get("axes")
    if axes is None and len(mean.inputs) > 1:
        constant = view.source.constants.get(mean.inputs[1])
        axes = None if constant is None else constant.reshape(-1).tolist()
    return axes is not None and [axis % rank for axis in axes] == [rank - 1]


@pattern
def cancel_transposes(view: View, last: Operator) -> list[Operator] | None:
    """A Transpose that undoes another one, with elementwise operators between: both are removed.

    Two consecutive Transposes are merged into one.
    """
    if last.type != "Transpose":
        return None
    chain, name = [], last.inputs[0]
    while (one := view.producer(name, *POINTWISE)) is not None and view.read_once(name):
        chain.append(one)
        name = one.inputs[0]
    first = view.producer(name, "Transpose")
    if first is None:
        return None
    rank = len(view.source.shapes.get(name, ()))
    before, after = _order(first, rank), _order(last, rank)
    combined = [before[axis] for axis in after]
    if not chain:
        if combined == list(range(rank)):
            return [replacement(last, "Identity", first.inputs)]
        return [replacement(last, "Transpose", first.inputs, {"perm": combined})]
    if combined != list(range(rank)):
        return None
    moved: list[Operator] = []
    read = first.inputs[0]
    for one in reversed(chain):
        attributes = _axis_before(view, one, before)
        if attributes is None:
            return None
        old_softmax = one.type == "Softmax" and view.source.opset < 13
        name = last.outputs[0] if one is chain[0] else f"{one.outputs[0]}_turned_back"
        view.source.shapes[name] = view.source.shapes[first.inputs[0]]
        moved.append(
            replace(
                one,
                type="protogen:Softmax" if old_softmax else one.type,
                attributes=attributes,
                inputs=(read, *one.inputs[1:]),
                outputs=(name,),
            )
        )
        read = name
    return moved


def _axis_before(view: View, one: Operator, before: Sequence[int]) -> Mapping[str, Any] | None:
    """Return the operator's attributes for the order of axes before the first Transpose."""
    if one.type not in ("Softmax", "LogSoftmax"):
        return one.attributes
    old = view.source.opset < 13  # before set 13: over all axes from ``axis`` on
    axis = one.attributes.get("axis", 1 if old else -1) % len(before)
    if old and (axis != len(before) - 1 or one.type == "LogSoftmax"):
        return None
    return {"axis": before[axis]}


def _order(transpose: Operator, rank: int) -> list[int]:
    return list(transpose.attributes.get("perm", range(rank - 1, -1, -1)))
