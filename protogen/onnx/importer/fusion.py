"""Operators that a layer beside them does as well: a bias, pads, factors, the parts of one axis."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.matching import PATTERNS, View, matched, one_of, pattern

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.onnx.importer.source import OnnxGraph, Operator


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
            return [one_of(last, "protogen:AveragePool", [pool.inputs[0], factor], pool.attributes)]
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
                return [one_of(last, "protogen:Scale", [x, factor, term])]
    return None


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
    return [one_of(last, "Conv", [before.inputs[0], *last.inputs[1:]], attributes)]


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


@pattern
def biased(view: View, last: Operator) -> list[Operator] | None:
    """A product with a constant matrix, or a Conv, plus one number for each of its outputs."""
    if last.type != "Add" or len(last.inputs) != 2:
        return None
    constants, shapes = view.source.constants, view.source.shapes
    for name, term in (last.inputs, last.inputs[::-1]):
        before = view.maker(name, "MatMul", "Conv")
        if term not in constants or before is None or not view.alone(name):
            continue
        weight = constants.get(before.inputs[1])
        shape = shapes.get(name, ())
        if weight is None or len(before.inputs) > 2 or len(shape) < 2:
            continue
        product = before.type == "MatMul"
        if product and (weight.ndim != 2 or before.inputs[0] in constants):
            continue
        axis = len(shape) - 1 if product else 1
        wanted = (shape[axis], *(1,) * (len(shape) - 1 - axis))
        values = constants[term]
        if values.size != shape[axis] or values.shape[-len(wanted) :] != wanted:
            continue
        if product:
            return [one_of(last, "protogen:InnerProduct", [*before.inputs, term])]
        flat = f"{last.outputs[0]}_bias"
        constants[flat] = values.reshape(-1)
        return [replace(before, inputs=(*before.inputs, flat), outputs=last.outputs)]
    return None


@pattern
def parted(view: View, last: Operator) -> list[Operator] | None:
    """Slices that are parts of one axis of one value, without gaps or overlaps: a Split."""
    if last.type != "Slice":
        return None
    x = last.inputs[0]
    slices = [one for one in view.readers.get(x, ()) if one.type == "Slice" and one.inputs[0] == x]
    parts = sorted((part, one.outputs[0]) for one in slices if (part := _part(view, one)))
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
    split = one_of(last, "protogen:Split", [x], {"axis": axis, "lengths": lengths})
    return [replace(split, outputs=tuple(name for _, name in parts))]


def _part(view: View, one: Operator) -> tuple[int, int, int] | None:
    """(axis, begin, end) of a Slice along one axis with step 1."""
    names = ("starts", "ends", "axes", "steps")
    told: dict[str, Any] = {key: one.attributes.get(key) for key in names}
    for key, name in zip(names, one.inputs[1:], strict=False):
        if name:
            found = view.source.constants.get(name)
            told[key] = None if found is None else found.reshape(-1).tolist()
    starts, ends = told["starts"], told["ends"]
    shape = view.source.shapes.get(one.inputs[0])
    if shape is None or starts is None or ends is None or len(starts) != 1:
        return None
    axis = (told["axes"] or [0])[0] % len(shape)
    if (told["steps"] or [1]) != [1]:
        return None
    begin, end, _ = slice(starts[0], ends[0]).indices(shape[axis])
    return (axis, begin, end) if begin < end else None


def joined(source: OnnxGraph, fold: bool = False) -> tuple[Operator, ...]:
    """The model's operators after all patterns; ``fold`` merges BatchNormalization into the
    convolution before it."""
    return matched(source, [*PATTERNS, *([_folded] if fold else [])])
