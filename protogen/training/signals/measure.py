"""What goes through a net: statistics of every value, forwards and backwards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.layers import kind_of
from protogen.layers.graph import Layer
from protogen.layers.recommending import is_weighted
from protogen.running.drawing import random_feeds
from protogen.running.runtime import run_program

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net.net import Net

    Arrays = Mapping[str, NDArray[Any]]

Stage = tuple[Layer, "Signal", "Signal"]
ROOM = 256 << 20  # bytes of values that are looked at together
_BINS = 61


@dataclass(frozen=True, slots=True)
class Signal:
    """One layer's output before training.

    ``depth`` counts layers with weights on the longest way here. ``saturated`` is the share of a
    Sigmoid's or TanH's values near its ends, ``dead`` the share of a rectifier's units that are 0
    for all data, ``positive`` the share of positive numbers among the inputs of a layer with
    weights. ``gradient`` is the deviation of the loss's gradient at this value, ``unit_difference``
    the largest difference between two units' outputs.
    """

    layer: str
    type: str
    value: str
    depth: int
    mean: float
    std: float
    low: float
    high: float
    finite: bool
    saturated: float | None = None
    dead: float | None = None
    positive: float | None = None
    gradient: float | None = None
    histogram: tuple[int, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As data for JSON, without the histogram."""
        made = asdict(self)
        del made["histogram"]
        return {key: value for key, value in made.items() if value is not None}


def batch_of(net: Net, wanted: int | None) -> Net:
    """The net with more samples, as many as make sense of a statistic and fit in memory; as it is
    where its layers do not take another number."""
    lengths = [shape[0] for name in net.inputs if (shape := net.graph.shapes[name])]
    if not lengths or len(set(lengths)) != 1:
        return net
    each = 4 * sum(math.prod(s) for s in net.graph.shapes.values() if s) / lengths[0]
    batch = wanted or max(2, min(64, int(ROOM / max(each, 1))))
    shapes = {name: (batch, *(net.graph.shapes[name] or ())[1:]) for name in net.inputs}
    if batch == lengths[0]:
        return net
    try:
        return net.with_inputs(shapes)
    except InputError:
        if wanted is not None:
            raise
        return net


def measure(net: Net, feeds: Arrays, with_gradients: bool = False, seed: int = 0) -> list[Signal]:
    """The statistics of every layer's output, in execution order.

    Raises:
        InputError: an input is missing, of another shape, or holds NaN.
        UnsupportedError: a layer has no form in ONNX, or its gradient is not known.
    """
    from protogen.onnx import lower

    check_feeds(net, feeds)
    shown = [one for one in net.layers if one.reads and _is_shown(one) and one.writes]
    wanted = dict.fromkeys(value for one in shown for value in (*one.reads[:1], *one.writes[:1]))
    computed = [value for value in wanted if value not in net.inputs]
    program = lower(net, outputs=computed, fold=False, expected=True)
    given = {value.name: feeds[value.name] for value in program.inputs}
    found: dict[str, Any] = {**feeds, **run_program(program, given)}
    backwards = _gradients(net, feeds, seed) if with_gradients else {}
    depths = _depths(net)
    return [
        _signal(one, found, depths[one.name], backwards.get(one.writes[0]))
        for one in shown
        if one.writes[0] in found
    ]


def check_feeds(net: Net, feeds: Arrays) -> None:
    """Raises InputError for an input that is missing, of another shape, or not finite."""
    import numpy as np

    for name in net.inputs:
        array = feeds.get(name)
        if array is None:
            raise InputError("no data is given for it", subject=f'input "{name}"')
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            raise InputError(
                f"the data holds {'NaN' if np.isnan(array).any() else 'infinities'} "
                f"({bad.size} of {array.size} values, the first at {int(bad[0])})",
                subject=f'input "{name}"',
                advice="Look at what made it.",
            )
        shape = net.graph.shapes[name]
        if tuple(array.shape) != shape:
            raise InputError(
                f"the data is {'x'.join(map(str, array.shape))}, but must be "
                f"{'x'.join(map(str, shape or ()))}",
                subject=f'input "{name}"',
                advice="Grey data fits no colour net: look at the second number."
                if array.ndim == 4 and shape and array.shape[1] != shape[1]
                else "",
            )


def _signal(layer: Layer, values: Arrays, depth: int, gradient: NDArray[Any] | None) -> Signal:
    import numpy as np

    y = values[layer.writes[0]].astype(np.float32, copy=False)
    finite = bool(np.isfinite(y).all())
    kept = y if finite else y[np.isfinite(y)]
    low, high = (float(kept.min(initial=0)), float(kept.max(initial=0))) if kept.size else (0, 0)
    reads = values.get(layer.reads[0])
    positive = None
    if is_weighted(layer) and reads is not None:
        positive = float((reads > 0).mean())
    return Signal(
        layer.name,
        layer.type,
        layer.writes[0],
        depth,
        mean=float(kept.mean(dtype=np.float64)) if kept.size else math.nan,
        std=float(kept.std(dtype=np.float64)) if kept.size else math.nan,
        low=low,
        high=high,
        finite=finite,
        saturated=_saturated(layer, y),
        dead=_dead(layer, y),
        positive=positive,
        gradient=None if gradient is None else float(gradient.std(dtype=np.float64)),
        histogram=tuple(np.histogram(kept, _BINS, (low, high or low + 1))[0].tolist())
        if low < high
        else (),
    )


def _is_shown(layer: Layer) -> bool:
    kind = kind_of(layer)
    return kind is None or kind.computes


def _saturated(layer: Layer, y: NDArray[np.float32]) -> float | None:
    kind = kind_of(layer)
    ends = kind.saturates_at(layer) if kind is not None else None
    return None if ends is None else float(((y <= ends[0]) | (y >= ends[1])).mean())


def _dead(layer: Layer, y: NDArray[np.float32]) -> float | None:
    """Units are channels: one that is 0 everywhere and for all data."""
    kind = kind_of(layer)
    if kind is None or not kind.dies(layer) or y.ndim < 2:
        return None
    axes = tuple(axis for axis in range(y.ndim) if axis != 1)
    return float((y.max(axis=axes) <= 0).mean())


def _depths(net: Net) -> dict[str, int]:
    """How many layers with weights stand on the longest way to each layer, it included."""
    at: dict[str, int] = {}
    made = {}
    for layer in net.layers:
        depth = max((at.get(read, 0) for read in layer.reads), default=0)
        made[layer.name] = depth + is_weighted(layer)
        at.update(dict.fromkeys(layer.writes, made[layer.name]))
    return made


def _gradients(net: Net, feeds: Arrays, seed: int) -> Arrays:
    """At each value that a layer with weights or an activation makes."""
    from protogen.onnx import lower
    from protogen.training.signals import windows  # noqa: F401 (registers its forms)
    from protogen.training.signals.gradients import gradients

    ends = _ends(net, feeds, seed)
    program = lower(net, outputs=list(ends), fold=False, expected=True)
    made = {write for node in program.nodes for write in node.writes}
    watch = [
        one.writes[0]
        for one in net.layers
        if one.reads and _is_shown(one) and one.writes and one.writes[0] in made
    ]
    given = {value.name: feeds[value.name] for value in program.inputs}
    return gradients(program, given, ends, watch)


def has_gradients(net: Net) -> bool:
    """Whether every layer's gradient is known."""
    from protogen.onnx import lower
    from protogen.training.signals import windows  # noqa: F401 (registers its forms)
    from protogen.training.signals.gradients import unsupported

    ends = _ends(net, random_feeds(net, 0), 0)
    empty = net.with_message(net.message)
    empty.weights = {
        name: [_zeros(shape) for shape in shapes]
        for name, shapes in net.parameter_shapes.items()
        if shapes
    }
    return not unsupported(lower(empty, outputs=list(ends), fold=False, expected=True))


def _zeros(shape: Sequence[int]) -> NDArray[np.float32]:
    """Zeros that take no room."""
    import numpy as np

    return np.broadcast_to(np.float32(0), tuple(shape))


def _ends(net: Net, feeds: Arrays, seed: int) -> dict[str, NDArray[Any]]:
    """Where gradients begin: scores that a loss reads, with the classes that it is given; else
    those of the last Softmax, with classes drawn; else every output, each value with a random
    factor."""
    import numpy as np

    generator = np.random.default_rng(seed)
    ends: dict[str, NDArray[Any]] = {}
    for layer in net.layers:
        shape = net.graph.shapes.get(layer.reads[0]) if layer.reads else None
        ends_here = layer.type == "SoftmaxWithLoss" and layer.reads[1] in net.inputs
        if ends_here and shape and len(shape) > 1:
            given = np.asarray(feeds[layer.reads[1]]).clip(0, shape[1] - 1).astype(np.int32)
            ends[layer.reads[0]] = given.reshape((shape[0], *shape[2:]))
    for layer in net.layers if not ends else ():
        shape = net.graph.shapes.get(layer.reads[0]) if layer.reads else None
        if layer.type == "Softmax" and layer.writes[0] in net.outputs and shape:
            classes = generator.integers(0, shape[1], (shape[0], *shape[2:]))
            ends[layer.reads[0]] = classes.astype(np.int32)
    made = {write for layer in net.layers if layer.reads for write in layer.writes}
    for name in net.outputs if not ends else ():
        shape = net.graph.shapes.get(name)
        if shape is not None and name in made:
            random = generator.standard_normal(shape, np.float32)
            ends[name] = random / max(shape[0] if shape else 1, 1)
    if not ends:
        raise InputError("makes no output that a loss could read", subject=f'net "{net.name}"')
    return ends


def hidden(stages: Sequence[Stage]) -> list[Stage]:
    """Those with an activation behind them; all but the last, which makes scores, where there are
    none."""
    return [one for one in stages if one[1] is not one[2]] or list(stages[:-1]) or list(stages)


def deepest(stages: Sequence[Stage]) -> tuple[int, float]:
    """(depth, deviation) of the deepest of these."""
    depth, std = max(((out.depth, out.std) for *_, out in stages), key=lambda one: one[0])
    return depth, std


def stages(net: Net, signals: Sequence[Signal]) -> list[Stage]:
    """(layer with weights, its output, the output of the activation behind it, or its own)."""
    from protogen.layers.recommending import activations_after

    after = activations_after(net.graph)
    by_name = {one.layer: one for one in signals}
    made = []
    for layer in net.layers:
        own = by_name.get(layer.name)
        if not is_weighted(layer) or own is None:
            continue
        behind = after[layer.name]
        activation = by_name.get(behind.name) if isinstance(behind, Layer) else None
        made.append((layer, own, activation or own))
    return made
