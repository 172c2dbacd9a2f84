"""Statistics of every layer's output in the forward pass, and of its gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.formats.mapped import release_arrays
from protogen.layers import kind_of
from protogen.layers.graph import Layer
from protogen.layers.recommending import is_weighted
from protogen.running.drawing import random_feeds
from protogen.running.runtime import every_value, run_program

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net.net import Net
    from protogen.onnx import Program

    Arrays = Mapping[str, NDArray[Any]]

Stage = tuple[Layer, "Signal", "Signal"]
MEMORY = 256 << 20  # bytes of all values of a net at once
_BINS = 61  # of a histogram


@dataclass(frozen=True, slots=True)
class Signal:
    """Statistics of one layer's output before training.

    Attributes:
        layer, type: name and type of the layer.
        value: the name of the output.
        depth: the number of layers with weights on the longest path to this layer.
        mean, std, low, high: of the finite values.
        finite: whether all values are finite.
        saturated: the share of values near the ends of a Sigmoid or TanH.
        dead: the share of a rectifier's units that are 0 for all data.
        positive: the share of positive inputs of a layer with weights.
        gradient: the deviation of the loss's gradient at this value.
        histogram: the counts of 61 equal bins from ``low`` to ``high``.
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
        """Return a dictionary for JSON, without the histogram and without attributes that are None."""
        fields = asdict(self)
        del fields["histogram"]
        return {key: value for key, value in fields.items() if value is not None}


def batch_of(net: Net, samples: int | None) -> Net:
    """Return the net with another number of samples.

    By default it is from 2 to 64, limited by memory. The net is unchanged if it has several numbers
    of samples, or if its layers do not support another number and ``samples`` is None.

    Raises:
        InputError: a layer does not support ``samples``.
    """
    lengths = [shape[0] for name in net.inputs if (shape := net.graph.shapes[name])]
    if not lengths or len(set(lengths)) != 1:
        return net
    bytes_per_sample = 4 * sum(math.prod(s) for s in net.graph.shapes.values() if s) / lengths[0]
    batch = samples or max(2, min(64, int(MEMORY / max(bytes_per_sample, 1))))
    shapes = {name: (batch, *(net.graph.shapes[name] or ())[1:]) for name in net.inputs}
    if batch == lengths[0]:
        return net
    try:
        return net.with_inputs(shapes)
    except InputError:
        if samples is not None:
            raise
        return net


def measure(net: Net, feeds: Arrays, with_gradients: bool = False, seed: int = 0) -> list[Signal]:
    """Return the statistics of every layer's output, in execution order.

    Raises:
        InputError: an input is missing, has a wrong shape, or contains NaN or infinity.
        UnsupportedError: a layer has no ONNX equivalent, or its gradient is unsupported.
    """
    from protogen.onnx import lower

    check_feeds(net, feeds)
    layers = [one for one in net.layers if one.reads and _computes(one) and one.writes]
    needed = dict.fromkeys(value for one in layers for value in (*one.reads[:1], *one.writes[:1]))
    ends = _ends(net, feeds, seed) if with_gradients else {}
    computed = [value for value in {**needed, **ends} if value not in net.inputs]
    program = lower(net, outputs=computed, fold=False, expected=True)
    inputs = {value.name: feeds[value.name] for value in program.inputs}
    run = every_value if with_gradients else run_program
    values: dict[str, Any] = {**feeds, **run(program, inputs)}
    release_arrays(blob for blobs in net.weights.values() for blob in blobs)
    gradients = _gradients(layers, program, values, ends) if with_gradients else {}
    depths = _depths(net)
    return [
        _signal(layer, values, depths[layer.name], gradients.get(layer.writes[0]))
        for layer in layers
        if layer.writes[0] in values
    ]


def check_feeds(net: Net, feeds: Arrays) -> None:
    """Raise InputError for an input that is missing, has a wrong shape, or is not finite."""
    import numpy as np

    for name in net.inputs:
        array = feeds.get(name)
        if array is None:
            raise InputError("data is missing", subject=f'input "{name}"')
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            raise InputError(
                f"the data contains {'NaN' if np.isnan(array).any() else 'infinite values'} "
                f"({bad.size} of {array.size} values, the first at {int(bad[0])})",
                subject=f'input "{name}"',
                advice="Check the program that wrote the data.",
            )
        shape = net.graph.shapes[name]
        if tuple(array.shape) != shape:
            raise InputError(
                f"expected data of shape {'x'.join(map(str, shape or ()))}, got "
                f"{'x'.join(map(str, array.shape))}",
                subject=f'input "{name}"',
                advice="The number of channels (second axis) differs: the data may be grey."
                if array.ndim == 4 and shape and array.shape[1] != shape[1]
                else "",
            )


def _signal(layer: Layer, values: Arrays, depth: int, gradient: float | None) -> Signal:
    """Compute the statistics of a layer's output."""
    import numpy as np

    y = values[layer.writes[0]].astype(np.float32, copy=False)
    all_finite = bool(np.isfinite(y).all())
    finite_values = y if all_finite else y[np.isfinite(y)]
    low, high = (
        (float(finite_values.min(initial=0)), float(finite_values.max(initial=0)))
        if finite_values.size
        else (0, 0)
    )
    bottom = values.get(layer.reads[0])
    positive = None
    if is_weighted(layer) and bottom is not None:
        positive = float((bottom > 0).mean())
    return Signal(
        layer.name,
        layer.type,
        layer.writes[0],
        depth,
        mean=float(finite_values.mean(dtype=np.float64)) if finite_values.size else math.nan,
        std=float(finite_values.std(dtype=np.float64)) if finite_values.size else math.nan,
        low=low,
        high=high,
        finite=all_finite,
        saturated=_saturated(layer, y),
        dead=_dead(layer, y),
        positive=positive,
        gradient=gradient,
        histogram=tuple(np.histogram(finite_values, _BINS, (low, high or low + 1))[0].tolist())
        if low < high
        else (),
    )


def _computes(layer: Layer) -> bool:
    """Return whether a layer computes new values; types that protogen does not know count."""
    kind = kind_of(layer)
    return kind is None or kind.computes


def _saturated(layer: Layer, y: NDArray[np.float32]) -> float | None:
    """Return the share of values at the ends of an activation's range."""
    kind = kind_of(layer)
    ends = kind.saturates_at(layer) if kind is not None else None
    return None if ends is None else float(((y <= ends[0]) | (y >= ends[1])).mean())


def _dead(layer: Layer, y: NDArray[np.float32]) -> float | None:
    """Return the share of channels that are 0 everywhere and for all data."""
    kind = kind_of(layer)
    if kind is None or not kind.dies(layer) or y.ndim < 2:
        return None
    axes = tuple(axis for axis in range(y.ndim) if axis != 1)
    return float((y.max(axis=axes) <= 0).mean())


def _depths(net: Net) -> dict[str, int]:
    """Count the layers with weights on the longest path to each layer, itself included."""
    of_value: dict[str, int] = {}
    of_layer = {}
    for layer in net.layers:
        depth = max((of_value.get(read, 0) for read in layer.reads), default=0)
        of_layer[layer.name] = depth + is_weighted(layer)
        of_value.update(dict.fromkeys(layer.writes, of_layer[layer.name]))
    return of_layer


def _gradients(
    layers: Sequence[Layer], program: Program, values: Arrays, ends: Arrays
) -> dict[str, float]:
    """Return the deviation of the gradient at the output of each layer that the loss depends on."""
    import numpy as np

    from protogen.training.signals import windows  # noqa: F401 (registers its operators)
    from protogen.training.signals.backward import gradients

    watch = [layer.writes[0] for layer in layers]
    return {
        name: float(gradient.std(dtype=np.float64))
        for name, gradient in gradients(program, values, ends, watch)
    }


def has_gradients(net: Net) -> bool:
    """Return whether JAX can differentiate every layer."""
    from protogen.onnx import lower
    from protogen.training.signals import windows  # noqa: F401 (registers its operators)
    from protogen.training.signals.gradients import unsupported

    ends = _ends(net, random_feeds(net, 0), 0)
    zero_net = net.with_message(net.message)
    zero_net.weights = {
        name: [_zeros(shape) for shape in shapes]
        for name, shapes in net.parameter_shapes.items()
        if shapes
    }
    return not unsupported(lower(zero_net, outputs=list(ends), fold=False, expected=True))


def _zeros(shape: Sequence[int]) -> NDArray[np.float32]:
    """Return zeros that all share one element of memory."""
    import numpy as np

    return np.broadcast_to(np.float32(0), tuple(shape))


def _ends(net: Net, feeds: Arrays, seed: int) -> dict[str, NDArray[Any]]:
    """Choose the terms of the loss (see ``gradients``).

    The terms are the scores of each SoftmaxWithLoss, with its labels. Without one they are the scores
    of each Softmax at the end, with random classes; without these every output, with random factors.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    ends: dict[str, NDArray[Any]] = {}
    for layer in net.layers:
        shape = net.graph.shapes.get(layer.reads[0]) if layer.reads else None
        has_labels = layer.type == "SoftmaxWithLoss" and layer.reads[1] in net.inputs
        if has_labels and shape and len(shape) > 1:
            labels = np.asarray(feeds[layer.reads[1]]).clip(0, shape[1] - 1).astype(np.int32)
            ends[layer.reads[0]] = labels.reshape((shape[0], *shape[2:]))
    for layer in net.layers if not ends else ():
        shape = net.graph.shapes.get(layer.reads[0]) if layer.reads else None
        if layer.type == "Softmax" and layer.writes[0] in net.outputs and shape:
            classes = generator.integers(0, shape[1], (shape[0], *shape[2:]))
            ends[layer.reads[0]] = classes.astype(np.int32)
    computed = {write for layer in net.layers if layer.reads for write in layer.writes}
    for name in net.outputs if not ends else ():
        shape = net.graph.shapes.get(name)
        if shape is not None and name in computed:
            factors = generator.standard_normal(shape, np.float32)
            ends[name] = factors / max(shape[0] if shape else 1, 1)
    if not ends:
        raise InputError("has no output for a loss", subject=f'net "{net.name}"')
    return ends


def hidden(stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages with an activation after them.

    If there are none, return all but the last, which computes scores.
    """
    return [one for one in stages if one[1] is not one[2]] or list(stages[:-1]) or list(stages)


def deepest(stages: Sequence[Stage]) -> tuple[int, float]:
    """Return (depth, deviation) of the deepest stage."""
    depth, std = max(((out.depth, out.std) for *_, out in stages), key=lambda one: one[0])
    return depth, std


def stages(net: Net, signals: Sequence[Signal]) -> list[Stage]:
    """Return for each layer with weights: the layer, its output, and that of the activation after it.

    Without an activation the last is the layer's own output.
    """
    from protogen.layers.recommending import activations_after

    after = activations_after(net.graph)
    by_name = {one.layer: one for one in signals}
    listed = []
    for layer in net.layers:
        own = by_name.get(layer.name)
        if not is_weighted(layer) or own is None:
            continue
        following = after[layer.name]
        activation = by_name.get(following.name) if isinstance(following, Layer) else None
        listed.append((layer, own, activation or own))
    return listed
