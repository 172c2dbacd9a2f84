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
TRIES = 10  # maximum number of corrections of a layer
_SMALLEST = 1e-12  # a smaller variance counts as 0, which no factor can correct


def scale_to_unit_variance(
    net: Net, names: Collection[str], feeds: Mapping[str, NDArray[Any]] | None, seed: int
) -> None:
    """Divide the weights of each named layer by the deviation of its output, in order of execution,
    until its variance is 1 within 0.01.

    Each correction runs only the layer itself and the layers since the previous named one. The values
    of earlier layers are kept.
    """
    live: dict[str, NDArray[Any]] = dict(feeds or random_feeds(net, seed))
    last_read = {read: i for i, one in enumerate(net.layers) for read in one.reads}
    pending: list[Layer] = []
    for i, layer in enumerate(net.layers):
        pending.append(layer)
        if layer.name not in names:
            continue
        weight, *rest = net.weights[layer.name]
        for _ in range(TRIES):
            needed = [
                w
                for one in pending
                for w in one.writes
                if last_read.get(w, -1) > i or w in layer.writes
            ]
            outputs = _run(net, pending, live, needed)
            variance = float(outputs[layer.writes[0]].var())
            if abs(variance - 1) < TOLERANCE or variance < _SMALLEST:
                break
            weight = (weight / variance**0.5).astype("float32")
            net.weights[layer.name] = [weight, *rest]
        live |= outputs
        live = {name: array for name, array in live.items() if last_read.get(name, -1) > i}
        pending = []


def _run(
    net: Net, layers: list[Layer], live: Mapping[str, NDArray[Any]], needed: list[str]
) -> dict[str, NDArray[np.float32]]:
    """Run these layers on values that earlier layers computed, and return the needed values."""
    from protogen.onnx import lower

    graph: Graph = net.graph
    computed = {w for one in layers for w in one.writes if one.reads}
    inputs = tuple(dict.fromkeys(r for one in layers for r in one.reads if r not in computed))
    run_layers = tuple(one for one in layers if one.reads)
    shapes = {n: graph.shapes[n] for n in (*inputs, *(w for one in run_layers for w in one.writes))}
    subgraph = replace(
        graph, layers=run_layers, inputs=inputs, outputs=tuple(needed), shapes=shapes
    )
    program = lower(net, outputs=needed, part=subgraph, expected=True)
    return run_program(program, {value.name: live[value.name] for value in program.inputs})
