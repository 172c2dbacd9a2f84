"""Patterns of the operators that the export writes for LRN and PRelu (``protogen.onnx.passes.faster``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.matching import View, pattern, replacement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.onnx.importer.source import Operator


@pattern
def larger_of_scaled(view: View, last: Operator) -> list[Operator] | None:
    """The larger of x and slope x, with slopes from 0 to 1: PRelu."""
    if last.type != "Max" or len(last.inputs) != 2:
        return None
    for x, other in (last.inputs, last.inputs[::-1]):
        slope = _factor(view, other, x)
        values = view.source.constants.get(slope)
        if values is not None and ((values > 0) & (values <= 1)).all():
            return [replacement(last, "PRelu", [x, slope])]
    return None


@pattern
def sum_of_halves(view: View, last: Operator) -> list[Operator] | None:
    """max(x, 0) + slope min(x, 0): PRelu."""
    if last.type != "Add" or len(last.inputs) != 2:
        return None
    for above, below in (last.inputs, last.inputs[::-1]):
        product = view.producer(below, "Mul")
        upper = view.with_number(view.producer(above, "Max"))
        for name in product.inputs if product is not None and upper is not None else ():
            lower = view.with_number(view.producer(name, "Min"))
            slope = _factor(view, below, name)
            if lower is not None and lower == upper and lower[1] == 0 and slope:
                return [replacement(last, "PRelu", [lower[0], slope])]
    return None


def _factor(view: View, product: str, name: str) -> str:
    """Return the constant by which a Mul multiplies a value to this product; empty if there is none."""
    mul = view.producer(product, "Mul")
    if mul is None or len(mul.inputs) != 2 or name not in mul.inputs:
        return ""
    factor = mul.inputs[1 - mul.inputs.index(name)]
    return factor if factor in view.source.constants else ""


@pattern
def banded_response_norm(view: View, last: Operator) -> list[Operator] | None:
    """x / (a Conv of x^2 with a band matrix)^beta: LRN, as ``protogen.onnx.passes.faster`` writes it."""
    for x, other in (last.inputs, last.inputs[::-1]) if len(last.inputs) == 2 else ():
        power = _power(view, last.type, other)
        conv = view.producer(power[0], "Conv") if power is not None else None
        square = view.producer(conv.inputs[0], "Mul") if conv is not None else None
        if power is None or conv is None or square is None or square.inputs != (x, x):
            continue
        constants = [view.source.constants.get(name) for name in conv.inputs[1:]]
        band = (
            _band(*(one for one in constants if one is not None)) if len(constants) == 2 else None
        )
        if band is not None and conv.attributes.get("group", 1) == 1:
            return [replacement(last, "LRN", [x], {**band, "beta": power[1]})]
    return None


def _power(view: View, type_: str, name: str) -> tuple[str, float] | None:
    """Return (value, beta) if a product or quotient with this value is one with a power of -beta."""
    if type_ == "Mul":
        power = view.producer(name, "Pow")
        exponent = view.number(power.inputs[1]) if power is not None else None
        return None if power is None or exponent is None else (power.inputs[0], -exponent)
    product = view.producer(name, "Mul") if type_ == "Div" else None
    if product is None:
        return None
    roots = [view.producer(one, "Sqrt") for one in product.inputs]
    inner, outer = (one.inputs[0] if one is not None else "" for one in roots)
    return (inner, 0.75) if inner and outer == product.inputs[0] else None


def _band(weight: NDArray[Any], *biases: NDArray[Any]) -> dict[str, float] | None:
    """Return size, alpha and bias of an LRN whose sum over channels is a Conv with these constants."""
    import numpy as np

    channels = weight.shape[0]
    bias = biases[0].reshape(-1) if biases else np.zeros(0)
    if weight.shape != (channels, channels, *[1] * (weight.ndim - 2)) or not bias.size:
        return None
    rows, factor = weight.reshape(channels, channels), weight.flat[0]
    size = 2 * int(np.count_nonzero(rows[0])) - 1
    place = np.arange(channels)
    expected = (np.abs(place[:, None] - place) <= size // 2) * factor
    if not factor or (bias != bias[0]).any() or not np.array_equal(rows, expected):
        return None
    # The alpha of which the factor is a rounded part.
    near = np.float32(factor * np.float32(size))
    candidates = (near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf)))
    alpha = next((a for a in candidates if np.float32(float(a) / size) == factor), near)
    return {"size": size, "alpha": float(alpha), "bias": float(bias[0])}
