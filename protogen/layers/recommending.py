"""Which filler each layer should have, by the activation behind it."""

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
    """A filler for a layer's weights, and why."""

    filler: Filler
    reason: str


def role_of(layer: Layer) -> str:
    """``rectifier`` or ``saturating`` for an activation, empty for other layers."""
    kind = kind_of(layer)
    return kind.activation if kind is not None else ""


def is_weighted(layer: Layer) -> bool:
    """Whether it multiplies data with weights."""
    kind = kind_of(layer)
    return kind is not None and kind.weighted


def passes_signal(layer: Layer) -> bool:
    """Whether it hands on values, so that the activation may stand behind it."""
    kind = kind_of(layer)
    return kind is not None and kind.passes_signal


def recommendations(graph: Graph) -> dict[tuple[str, int], Recommendation]:
    """What the weights of each layer should be filled with, by (layer, blob).

    xavier before TanH and Sigmoid, whose slope is 1 at most (Glorot and Bengio 2010); He's deviation
    before the ReLU family, with the slope below 0 (He et al. 2015); a small Gaussian for the last
    layer, so that no class is preferred at the start. Layers that interpolate (bilinear) stay as
    they are, and so do recurrent ones and embeddings.
    """
    after = activations_after(graph)
    made = {}
    for layer in graph.layers:
        shapes = graph.parameter_shapes[layer.name]
        kind = kind_of(layer)
        if kind is None or not kind.weighted or not shapes or _interpolates(layer):
            continue
        bottoms = [graph.shapes[read] or () for read in layer.reads]
        filling = kind.fillings(layer, bottoms, shapes)[0]
        fan = Fan(filling.fan_in, filling.fan_out)
        made[layer.name, 0] = _for(after[layer.name], fan, caffes_fan(shapes[0]))
    return made


def _interpolates(layer: Layer) -> bool:
    param = layer.params.convolution_param
    return layer.type == "Deconvolution" and str(param.weight_filler.type) == "bilinear"


def _for(activation: Layer | str | None, fan: Fan, caffes: Fan) -> Recommendation:
    if activation is None:
        return Recommendation(LAST, "the last layer: scores that start alike")
    n = max(fan.into, 1.0)
    if isinstance(activation, str):  # another layer with weights follows at once
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
    if not math.isclose(fan.into, caffes.into):
        return Recommendation(
            Filler("gaussian", std=_short(deviation)),
            f"{why}, as a Gaussian, because Caffe counts {caffes.into:g} inputs where {n:g} meet",
        )
    return Recommendation(filler, why)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def slope_below_zero(activation: Layer) -> float:
    """The slope of a rectifier below 0, as it starts."""
    if activation.type == "ReLU":
        return float(activation.params.relu_param.negative_slope)
    if activation.type == "PReLU":
        filler = activation.params.prelu_param
        return float(filler.filler.value) if filler.has("filler") else 0.25
    return 0.0


def activations_after(graph: Graph) -> dict[str, Layer | str | None]:
    """What stands behind each layer with weights: the activation; the name of the next layer with
    weights where none stands between; None where neither follows."""
    readers: dict[str, list[Layer]] = {}
    for layer in graph.layers:
        for read in layer.reads:
            readers.setdefault(read, []).append(layer)
    return {layer.name: _behind(layer, readers) for layer in graph.layers if is_weighted(layer)}


def _behind(layer: Layer, readers: dict[str, list[Layer]]) -> Layer | str | None:
    seen: set[str] = set()
    following: str | None = None
    for one in _walk(layer, readers, seen):
        if role_of(one):
            return one
        if is_weighted(one):
            following = following or one.name
    return following


def _walk(layer: Layer, readers: dict[str, list[Layer]], seen: set[str]) -> Iterator[Layer]:
    """The layers behind, nearest first, as far as the signal is not bent."""
    front = [layer]
    while front:
        coming: list[Layer] = []
        for one in front:
            for write in one.writes:
                for reader in readers.get(write, ()):
                    if reader.name not in seen:
                        seen.add(reader.name)
                        yield reader
                        if passes_signal(reader):
                            coming.append(reader)
        front = coming
