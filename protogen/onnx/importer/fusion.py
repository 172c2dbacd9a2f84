"""Fusion patterns: fold Add, Pad, Mul and Slice into the adjacent operator."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.matching import PATTERNS, View, apply_patterns, pattern, replacement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.onnx.importer.source import OnnxGraph, Operator


@pattern
def scaled_average(view: View, last: Operator) -> list[Operator] | None:
    """AveragePool, then Mul with a constant over height and width: one divisor for each window."""
    if last.type != "Mul" or len(last.inputs) != 2:
        return None
    for name, factor in (last.inputs, last.inputs[::-1]):
        pool = view.producer(name, "AveragePool")
        values = view.source.constants.get(factor)
        if pool is None or values is None or not view.read_once(name) or values.ndim < 2:
            continue
        shape = view.source.shapes.get(name, ())
        if (
            len(shape) == 4
            and values.size == shape[2] * shape[3]
            and values.shape[-2:] == shape[2:]
        ):
            return [
                replacement(last, "protogen:AveragePool", [pool.inputs[0], factor], pool.attributes)
            ]
    return None


@pattern
def mul_add(view: View, last: Operator) -> list[Operator] | None:
    """Mul and Add with constants along the same axes: one Scale."""
    if last.type != "Add" or len(last.inputs) != 2:
        return None
    constants, shapes = view.source.constants, view.source.shapes
    for name, term in (last.inputs, last.inputs[::-1]):
        product = view.producer(name, "Mul")
        if term not in constants or product is None or not view.read_once(name):
            continue
        for x, factor in (product.inputs, product.inputs[::-1]):
            if factor not in constants or x in constants or shapes.get(x) != shapes.get(name):
                continue
            factors, terms = constants[factor], constants[term]
            term_shape = (1,) * (len(shapes.get(x, ())) - terms.ndim) + terms.shape
            factor_shape = (1,) * (len(term_shape) - factors.ndim) + factors.shape
            if term_shape == factor_shape and terms.size > 1:
                return [replacement(last, "protogen:Scale", [x, factor, term])]
    return None


@pattern
def pad_before_conv(view: View, last: Operator) -> list[Operator] | None:
    """Pad with zeros along height and width, then Conv: the pads of the Conv."""
    if last.type != "Conv" or last.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    pad = view.producer(last.inputs[0], "Pad")
    if pad is None or pad.attributes.get("mode", "constant") != "constant":
        return None
    constants = view.source.constants
    pads = pad.attributes.get("pads")
    fill: float | None = pad.attributes.get("value", 0.0)
    if pads is None:
        if len(pad.inputs) > 3 and pad.inputs[3]:
            return None
        constant = constants.get(pad.inputs[1])
        pads = None if constant is None else constant.reshape(-1).tolist()
        if len(pad.inputs) > 2 and pad.inputs[2]:
            fill = view.number(pad.inputs[2])
    if pads is None or fill != 0 or min(pads) < 0:
        return None
    rank = len(pads) // 2
    if any(pads[:2]) or any(pads[rank : rank + 2]):
        return None
    conv_pads = list(last.attributes.get("pads") or [0] * 2 * (rank - 2))
    added = [*pads[2:rank], *pads[rank + 2 :]]
    attributes = {key: value for key, value in last.attributes.items() if key != "auto_pad"}
    attributes["pads"] = [a + b for a, b in zip(conv_pads, added, strict=True)]
    return [replacement(last, "Conv", [pad.inputs[0], *last.inputs[1:]], attributes)]


def _batch_norm_after_conv(view: View, last: Operator) -> list[Operator] | None:
    """Conv, then BatchNormalization: fold gamma / sqrt(variance + epsilon) into the weights."""
    import numpy as np

    if last.type != "BatchNormalization" or last.attributes.get("training_mode"):
        return None
    conv = view.producer(last.inputs[0], "Conv")
    constants = view.source.constants
    if conv is None or not view.read_once(last.inputs[0]) or last.outputs[1:]:
        return None
    if not all(name in constants for name in (*conv.inputs[1:], *last.inputs[1:]) if name):
        return None
    gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in last.inputs[1:])
    factor = gamma / np.sqrt(variance + last.attributes.get("epsilon", 1e-5))
    weight = constants[conv.inputs[1]]
    bias: NDArray[Any] | float = 0.0
    if len(conv.inputs) > 2 and conv.inputs[2]:
        bias = constants[conv.inputs[2]]
    names = [f"{last.outputs[0]}_folded_{part}" for part in ("weight", "bias")]
    scaled = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
    constants[names[0]] = scaled.astype(np.float32)
    constants[names[1]] = (beta + (bias - mean) * factor).astype(np.float32)
    return [replace(conv, outputs=last.outputs, inputs=(conv.inputs[0], *names))]


@pattern
def add_bias(view: View, last: Operator) -> list[Operator] | None:
    """MatMul with a constant matrix, or Conv, then Add of one number per output: a bias."""
    if last.type != "Add" or len(last.inputs) != 2:
        return None
    constants, shapes = view.source.constants, view.source.shapes
    for name, term in (last.inputs, last.inputs[::-1]):
        operator = view.producer(name, "MatMul", "Conv")
        if term not in constants or operator is None or not view.read_once(name):
            continue
        weight = constants.get(operator.inputs[1])
        shape = shapes.get(name, ())
        if weight is None or len(operator.inputs) > 2 or len(shape) < 2:
            continue
        is_product = operator.type == "MatMul"
        if is_product and (weight.ndim != 2 or operator.inputs[0] in constants):
            continue
        axis = len(shape) - 1 if is_product else 1
        aligned = (shape[axis], *(1,) * (len(shape) - 1 - axis))
        values = constants[term]
        if values.size != shape[axis] or values.shape[-len(aligned) :] != aligned:
            continue
        if is_product:
            return [replacement(last, "protogen:InnerProduct", [*operator.inputs, term])]
        flat = f"{last.outputs[0]}_bias"
        constants[flat] = values.reshape(-1)
        return [replace(operator, inputs=(*operator.inputs, flat), outputs=last.outputs)]
    return None


@pattern
def slices_as_split(view: View, last: Operator) -> list[Operator] | None:
    """Slices that cover one axis of a value without gaps or overlaps: one Split."""
    if last.type != "Slice":
        return None
    x = last.inputs[0]
    slices = [one for one in view.readers.get(x, ()) if one.type == "Slice" and one.inputs[0] == x]
    parts = sorted((part, one.outputs[0]) for one in slices if (part := _slice_range(view, one)))
    shape = view.source.shapes.get(x)
    if len(parts) < 2 or len(parts) != len(slices) or shape is None:
        return None
    axis = parts[0][0][0]
    ends = [0, *(end for (_, _, end), _ in parts)]
    begins = [*(begin for (_, begin, _), _ in parts), shape[axis]]
    if ends != begins or any(one != axis for (one, _, _), _ in parts):
        return None
    if last.outputs != slices[0].outputs:
        return []
    lengths = [end - begin for (_, begin, end), _ in parts]
    split = replacement(last, "protogen:Split", [x], {"axis": axis, "lengths": lengths})
    return [replace(split, outputs=tuple(name for _, name in parts))]


def _slice_range(view: View, operator: Operator) -> tuple[int, int, int] | None:
    """Return (axis, begin, end) of a Slice along one axis with step 1, else None."""
    cuts = view.slice_of(operator)
    if cuts is None or len(cuts) != 1:
        return None
    ((axis, (begin, end, step)),) = cuts.items()
    return (axis, begin, end) if step == 1 and begin < end else None


def fuse_operators(source: OnnxGraph, fold: bool = False) -> tuple[Operator, ...]:
    """Return the model's operators after applying all patterns.

    With ``fold``, BatchNormalization is folded into the convolution before it.
    """
    return apply_patterns(source, [*PATTERNS, *([_batch_norm_after_conv] if fold else [])])
