"""Recommends a weight filler for each layer, from the activation that follows the layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from protogen.layers import kind_of
from protogen.layers.fillers import Fan, Filler, caffes_fan
from protogen.layers.graph import Graph, Layer

LAST = Filler("gaussian", std=0.01)
GLOROT = "Glorot and Bengio 2010"
HE = "He et al. 2015"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A filler for a layer's weights and the reason for it."""

    filler: Filler
    reason: str


def role_of(layer: Layer) -> str:
    """Return ``rectifier`` or ``saturating`` for an activation, an empty text for other layers."""
    kind = kind_of(layer)
    return kind.activation if kind is not None else ""


def is_weighted(layer: Layer) -> bool:
    """Return whether the layer multiplies data by weights."""
    kind = kind_of(layer)
    return kind is not None and kind.weighted


def passes_signal(layer: Layer) -> bool:
    """Return whether the layer passes values through, so that the activation may follow later."""
    kind = kind_of(layer)
    return kind is not None and kind.passes_signal


def recommendations(graph: Graph) -> dict[tuple[str, int], Recommendation]:
    """Return a recommended filler for the weights of each layer, by (layer, blob index).

    - xavier before TanH and Sigmoid, whose slope is at most 1 (Glorot and Bengio 2010);
    - He's deviation before the ReLU family, which depends on the slope below 0 (He et al. 2015);
    - a small Gaussian for the last layer, so that training starts without a preferred class.

    Layers that interpolate (bilinear), recurrent layers and embeddings get no recommendation.
    """
    after = activations_after(graph)
    fillers = {}
    for layer in graph.layers:
        shapes = graph.parameter_shapes[layer.name]
        kind = kind_of(layer)
        if kind is None or not kind.weighted or not shapes or _interpolates(layer):
            continue
        bottoms = [graph.shapes[read] or () for read in layer.reads]
        filling = kind.fillings(layer, bottoms, shapes)[0]
        fan = Fan(filling.fan_in, filling.fan_out)
        fillers[layer.name, 0] = _recommend(after[layer.name], fan, caffes_fan(shapes[0]))
    return fillers


def _interpolates(layer: Layer) -> bool:
    """Return whether the layer is a Deconvolution with bilinear weights."""
    param = layer.params.convolution_param
    return layer.type == "Deconvolution" and str(param.weight_filler.type) == "bilinear"


def _recommend(activation: Layer | str | None, fan: Fan, caffes: Fan) -> Recommendation:
    """Return the filler for one layer. ``activation`` is the next layer, as ``activations_after``
    returns it; ``fan`` is the real fan, ``caffes`` is the one that Caffe's fillers compute."""
    if activation is None:
        return Recommendation(LAST, "last layer: all scores start nearly equal")
    n = max(fan.fan_in, 1.0)
    if isinstance(activation, str):  # the next weighted layer follows without an activation
        why, filler = f"no activation follows: xavier ({GLOROT})", Filler("xavier")
        deviation = math.sqrt(1 / n)
    elif role_of(activation) == "saturating":
        why, filler = f"{activation.type} follows: xavier ({GLOROT})", Filler("xavier")
        deviation = math.sqrt(1 / n)
    else:
        slope = slope_below_zero(activation)
        deviation = math.sqrt(2 / ((1 + slope**2) * n))
        if slope:
            return Recommendation(
                Filler("gaussian", std=_short(deviation)),
                f"{activation.type} with slope {slope:g} below 0 follows: deviation "
                f"sqrt(2 / (1 + {slope:g}^2) / {n:g}) ({HE})",
            )
        why, filler = f"{activation.type} follows: msra ({HE})", Filler("msra")
    if not math.isclose(fan.fan_in, caffes.fan_in):
        return Recommendation(
            Filler("gaussian", std=_short(deviation)),
            f"{why}; as a Gaussian, because Caffe counts {caffes.fan_in:g} inputs per output value, "
            f"but there are {n:g}",
        )
    return Recommendation(filler, why)


def _short(value: float) -> float:
    """Round to 4 significant digits."""
    return float(f"{value:.4g}")


def slope_below_zero(activation: Layer) -> float:
    """Return the initial slope of a rectifier below 0."""
    if activation.type == "ReLU":
        return float(activation.params.relu_param.negative_slope)
    if activation.type == "PReLU":
        p = activation.params.prelu_param
        return float(p.filler.value) if p.has("filler") else 0.25
    return 0.0


def activations_after(graph: Graph) -> dict[str, Layer | str | None]:
    """Return what follows each weighted layer.

    The value is the activation; or the name of the next weighted layer, if no activation lies
    between; or None if neither follows.
    """
    readers: dict[str, list[Layer]] = {}
    for layer in graph.layers:
        for read in layer.reads:
            readers.setdefault(read, []).append(layer)
    return {layer.name: _follower(layer, readers) for layer in graph.layers if is_weighted(layer)}


def _follower(layer: Layer, readers: dict[str, list[Layer]]) -> Layer | str | None:
    next_weighted: str | None = None
    for later in _walk(layer, readers):
        if role_of(later):
            return later
        if is_weighted(later):
            next_weighted = next_weighted or later.name
    return next_weighted


def _walk(layer: Layer, readers: dict[str, list[Layer]]) -> Iterator[Layer]:
    """Yield the layers that follow, nearest first, and stop after layers that do not pass the
    signal through."""
    seen: set[str] = set()
    front = [layer]
    while front:
        next_front: list[Layer] = []
        for current in front:
            for write in current.writes:
                for reader in readers.get(write, ()):
                    if reader.name not in seen:
                        seen.add(reader.name)
                        yield reader
                        if passes_signal(reader):
                            next_front.append(reader)
        front = next_front
