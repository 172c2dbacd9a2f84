"""Layer-sequential unit-variance initialisation (Mishkin and Matas 2016)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protogen.layers.graph import Graph, Layer
from protogen.running.drawing import random_feeds
from protogen.running.runtime import run_program

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net.net import Net

TOLERANCE = 0.01  # of the variance
TRIES = 10
_SMALLEST = 1e-12  # a variance that no factor mends


def scale_to_unit_variance(
    net: Net, names: Collection[str], feeds: Mapping[str, NDArray[Any]] | None, seed: int
) -> None:
    """Divides the weights of these layers by their outputs' deviation, one layer after the other,
    until the variance is 1 within 0.01.

    Each layer is run once for each of its own tries: what stands before it keeps its values.
    """
    live: dict[str, NDArray[Any]] = dict(feeds or random_feeds(net, seed))
    last_read = {read: i for i, one in enumerate(net.layers) for read in one.reads}
    waiting: list[Layer] = []
    for i, layer in enumerate(net.layers):
        waiting.append(layer)
        if layer.name not in names:
            continue
        weight, *rest = net.weights[layer.name]
        for _ in range(TRIES):
            wanted = [
                w
                for one in waiting
                for w in one.writes
                if last_read.get(w, -1) > i or w in layer.writes
            ]
            made = _run(net, waiting, live, wanted)
            variance = float(made[layer.writes[0]].var())
            if abs(variance - 1) < TOLERANCE or variance < _SMALLEST:
                break
            weight = (weight / variance**0.5).astype("float32")
            net.weights[layer.name] = [weight, *rest]
        live |= made
        live = {name: array for name, array in live.items() if last_read.get(name, -1) > i}
        waiting = []


def _run(
    net: Net, layers: list[Layer], live: Mapping[str, NDArray[Any]], wanted: list[str]
) -> dict[str, NDArray[np.float32]]:
    from protogen.onnx import lower

    whole: Graph = net.graph
    made = {w for one in layers for w in one.writes if one.reads}
    inputs = tuple(dict.fromkeys(r for one in layers for r in one.reads if r not in made))
    kept = tuple(one for one in layers if one.reads)
    shapes = {n: whole.shapes[n] for n in (*inputs, *(w for one in kept for w in one.writes))}
    part = replace(whole, layers=kept, inputs=inputs, outputs=tuple(wanted), shapes=shapes)
    program = lower(net, outputs=wanted, part=part, expected=True)
    return run_program(program, {value.name: live[value.name] for value in program.inputs})
