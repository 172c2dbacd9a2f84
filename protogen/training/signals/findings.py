"""Findings: faults of a net's signals, one sentence each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from protogen._late import Shown
from protogen.formats.mapped import PIECE, pieces
from protogen.layers import kind_of
from protogen.layers.graph import Layer
from protogen.layers.recommending import passes_signal
from protogen.training.initialisation import FilledBlob
from protogen.training.signals.measure import Signal, Stage, deepest, hidden

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.net.net import Net

SHRUNK = 0.05  # share of the signal after the last layer; less is a finding
GROWN = 100.0  # growth of the signal after the last layer; more is a finding
GRADIENT_SHRUNK = 1e-3  # smaller than SHRUNK: max pooling passes a gradient to one input of many
STEPS = 3  # minimum number of layers of a trend
SATURATED = 0.5  # share of values
DEAD = 0.4  # share of units; a fifth is usual in a deep net at the start
ONE_SIGN = 0.95  # share of positive inputs
FAN_OFF = 1.2  # ratio of deviations


@dataclass(frozen=True, slots=True, repr=False)
class Finding(Shown):
    """A fault that hinders training.

    Attributes:
        kind: the short name of the fault.
        layers: names of the layers that have it.
        text: the fault, its size, and what to do.
    """

    kind: str
    layers: tuple[str, ...]
    text: str

    def plain(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        return asdict(self)


def findings(
    net: Net,
    signals: Sequence[Signal],
    stages: Sequence[Stage],
    blobs: Sequence[FilledBlob],
    fan: str,
    start: float,
    recommended: dict[str, FilledBlob],
    recommended_deviation: Callable[[], float],
) -> list[Finding]:
    """Return all findings, the most serious first.

    Args:
        blobs: the parameter blobs with their fillers; empty if the weights come from a file.
        start: the deviation of the data.
        recommended: the recommended fillers by layer; empty if there is no recommendation.
        recommended_deviation: computes the deviation after the deepest layer with these fillers.
    """
    weights = {blob.layer.name: blob for blob in blobs if blob.is_weight and blob.index == 0}
    return [
        *_not_finite(signals),
        *_zero(net, stages, weights),
        *_symmetric(net, stages),
        *_trend(stages, weights, fan, start, recommended, recommended_deviation),
        *_saturated(net, signals),
        *([] if any(_all_zero(net, layer) for layer, *_ in stages) else _dead(signals)),
        *_backwards(stages),
        *_one_sign(net, signals),
        *_fans(weights),
        *_loss(net, signals),
    ]


def _names(layers: Sequence[str]) -> str:
    """Return up to three names, or the range of more: ip1..ip10."""
    if len(layers) > 3:
        return f"{layers[0]}..{layers[-1]}"
    return ", ".join(layers)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%" if share >= 0.00095 else f"{100 * share:.1g}%"


def _not_finite(signals: Sequence[Signal]) -> Iterator[Finding]:
    """Find outputs with NaN or infinity."""
    layers = [signal.layer for signal in signals if not signal.finite]
    if layers:
        yield Finding(
            "not-finite",
            tuple(layers),
            f"{_names(layers)}: the output contains NaN or infinite values: weights or data are too large.",
        )


def _zero(net: Net, stages: Sequence[Stage], weights: dict[str, FilledBlob]) -> Iterator[Finding]:
    """Find layers whose weights are all 0."""
    zero = [layer.name for layer, *_ in stages if _all_zero(net, layer)]
    without_filler = [name for name in zero if name in weights and not _has_filler(weights[name])]
    for names, cause in (
        (without_filler, "weight_filler is missing, and Caffe's default is constant 0"),
        ([name for name in zero if name not in without_filler], "the weights are constant 0"),
    ):
        if names:
            yield Finding(
                "zero-weights",
                tuple(names),
                f"{_names(names)}: {cause}: no signal and no gradient passes, and the layers before "
                "never learn. Set a weight_filler, or run protogen init --recommend.",
            )


def _has_filler(blob: FilledBlob) -> bool:
    """Return whether the layer's text has the blob's filler."""
    outer, _, name = blob.filling.field.partition(".")
    return bool(getattr(blob.layer.params, outer).has(name))


def _all_zero(net: Net, layer: Layer) -> bool:
    blobs = net.weights.get(layer.name)
    return blobs is not None and bool(blobs) and not any(one.any() for one in pieces(blobs[0]))


def _symmetric(net: Net, stages: Sequence[Stage]) -> Iterator[Finding]:
    """Find layers whose units have equal weights: they get equal gradients and stay equal."""
    for layer, *_ in stages:
        blobs = net.weights.get(layer.name)
        transposed = layer.type == "InnerProduct" and layer.params.inner_product_param.transpose
        if not blobs or _all_zero(net, layer) or layer.type == "Deconvolution":
            continue
        rows = blobs[0].T if transposed else blobs[0]
        rows = rows.reshape(rows.shape[0], -1)
        group = int(layer.params.convolution_param.group or 1)
        if len(rows) > 1 and group == 1 and _equal_rows(rows):
            yield Finding(
                "symmetric",
                (layer.name,),
                f"{layer.name}: all {len(rows)} units have the same weights. They compute the "
                "same output, get the same gradient and never differ. Use a random filler.",
            )


def _equal_rows(rows: NDArray[Any]) -> bool:
    """Return whether all rows are equal. Few rows are compared at once: most arrays differ in the first."""
    step = max(1, PIECE // max(1, rows[0].nbytes))
    return all((rows[at : at + step] == rows[:1]).all() for at in range(0, len(rows), step))


def _trend(
    stages: Sequence[Stage],
    weights: dict[str, FilledBlob],
    fan: str,
    start: float,
    recommended: dict[str, FilledBlob],
    recommended_deviation: Callable[[], float],
) -> Iterator[Finding]:
    """Find a signal that shrinks or grows with depth.

    It compares outputs of activations. The last layer is left out, because it only computes scores.
    """
    inner = hidden(stages)
    depth, end = deepest(inner)
    if depth < STEPS or not start or not math.isfinite(end):
        return
    total = end / start
    if SHRUNK <= total <= GROWN or total == 0:  # 0: reported by _zero
        return
    ratio = total ** (1 / depth)
    names = [layer.name for layer, *_ in inner]
    text = (
        f"the signal shrinks by a factor of {ratio:.2g} per layer: after {depth} layers "
        f"{_percent(total)} remains"
        if total < 1
        else f"the signal grows by a factor of {ratio:.3g} per layer: after {depth} layers it is "
        f"{total:.3g} times as large"
    )
    middle = min(inner, key=lambda one: abs(one[1].depth - depth / 2))
    cause = _cause(middle, weights, fan, "small" if total < 1 else "large")
    advice = ""
    blob = recommended.get(middle[0].name)
    if blob is not None:
        std = f" (std {blob.deviation(fan) or 0:.2g})"
        share = _percent(recommended_deviation() / start)
        advice = f". With {blob.filler.type}{std} {share} remains"
    yield Finding(
        "shrinking" if total < 1 else "growing",
        tuple(names),
        f"{text}; {_names(names)}: {cause}{advice}.",
    )


def _cause(stage: Stage, weights: dict[str, FilledBlob], fan: str, size: str) -> str:
    """Return the cause of a trend: "gaussian std 0.01 is too small for TanH with 500 inputs"."""
    layer, own, out = stage
    blob = weights.get(layer.name)
    if blob is None:
        return f"the weights are too {size}"
    deviation = blob.deviation(fan)
    std = f" std {deviation:.3g}" if deviation is not None else ""
    activation = f" for {out.type}" if out is not own else ""
    return f"{blob.filler.type}{std} is too {size}{activation} with {blob.true.fan_in:g} inputs"


def _saturated(net: Net, signals: Sequence[Signal]) -> Iterator[Finding]:
    """Find activations with most values near the ends of their range."""
    layers = {layer.name: layer for layer in net.layers}
    groups: dict[tuple[str, tuple[float, float]], list[Signal]] = {}
    for signal in signals:
        layer = layers[signal.layer]
        kind = kind_of(layer)
        ends = kind.saturates_at(layer) if kind is not None else None
        if ends is not None and (signal.saturated or 0) > SATURATED:
            groups.setdefault((signal.type, ends), []).append(signal)
    for (type_, (low, high)), saturated in groups.items():
        most = max(signal.saturated or 0 for signal in saturated)
        names = [signal.layer for signal in saturated]
        yield Finding(
            "saturated",
            tuple(names),
            f"{_names(names)}: up to {_percent(most)} of the values are at the ends of {type_} "
            f"(y <= {low:g} or y >= {high:g}), where its slope is nearly 0: hardly any gradient "
            "passes. The weights before are too large.",
        )


def _dead(signals: Sequence[Signal]) -> Iterator[Finding]:
    """Find rectifiers with many units that are always 0."""
    dead = [signal for signal in signals if (signal.dead or 0) > DEAD]
    if dead:
        most = max(signal.dead or 0 for signal in dead)
        names = [signal.layer for signal in dead]
        yield Finding(
            "dead",
            tuple(names),
            f"{_names(names)}: up to {_percent(most)} of the units are 0 for all data: they get no "
            "gradient. Their weights or biases make their inputs negative.",
        )


def _backwards(stages: Sequence[Stage]) -> Iterator[Finding]:
    """Find a gradient that shrinks or grows from the last layer to the first."""
    gradients = [(own.depth, layer.name, own.gradient) for layer, own, _ in stages if own.gradient]
    if not gradients:
        return
    first, last = min(gradients), max(gradients)
    steps = last[0] - first[0]
    if steps < STEPS or not last[2] or not first[2]:
        return
    total = first[2] / last[2]
    ratio = total ** (1 / steps)
    if total < GRADIENT_SHRUNK:
        yield Finding(
            "gradient-shrinks",
            (first[1],),
            f"the gradient shrinks by a factor of {ratio:.2g} per layer in the backward pass: "
            f"{_percent(total)} of the gradient of {last[1]} reaches {first[1]}, {steps} layers "
            "before. The first layers hardly learn.",
        )
    elif total > 1 / GRADIENT_SHRUNK:
        yield Finding(
            "gradient-grows",
            (first[1],),
            f"the gradient grows by a factor of {ratio:.3g} per layer in the backward pass: it is "
            f"{total:.3g} times as large at {first[1]} as at {last[1]}. Training will diverge.",
        )


def _one_sign(net: Net, signals: Sequence[Signal]) -> Iterator[Finding]:
    """Find layers whose inputs are nearly all positive."""
    producers = {write: layer for layer in net.layers for write in layer.writes}
    reads = {layer.name: layer.reads for layer in net.layers}
    groups: dict[str, list[str]] = {}
    for signal in signals:
        if (signal.positive or 0) > ONE_SIGN:
            source = producers[reads[signal.layer][0]]
            while passes_signal(source) and source.reads:
                source = producers[source.reads[0]]
            kind = "data" if not source.reads else source.type
            groups.setdefault(kind if kind in _CENTRING else "", []).append(signal.layer)
    for kind, names in groups.items():
        yield Finding(
            "one-sign",
            tuple(names),
            f"{_names(names)}: nearly all inputs are positive, so that the gradients of each unit's "
            f"weights share a sign, and learning zigzags. {_CENTRING[kind]}",
        )


_CENTRING = {
    "data": "Centre the data: subtract its mean (protogen mean compute).",
    "Sigmoid": "Use TanH instead of Sigmoid: it is centred on 0.",
    "": "The rectifiers before are always active: their bias is too large for their weights.",
}


def _fans(weights: dict[str, FilledBlob]) -> Iterator[Finding]:
    """Find fillers that count the inputs of a layer wrongly."""
    for blob in weights.values():
        if blob.filler.type not in ("xavier", "msra"):
            continue
        caffes = blob.caffes.n(blob.filler.variance_norm)
        true = blob.true.n(blob.filler.variance_norm)
        ratio = math.sqrt(true / caffes)
        if not 1 / FAN_OFF < ratio < FAN_OFF:
            yield Finding(
                "fan",
                (blob.layer.name,),
                f"{blob.layer.name}: Caffe's {blob.filler.type} counts {caffes:g} inputs per "
                f"output instead of {true:g}, so that its weights are {ratio:.2g} times the correct "
                f"size. Use gaussian with std {(blob.deviation('true') or 0):.3g}.",
            )


def _loss(net: Net, signals: Sequence[Signal]) -> Iterator[Finding]:
    """Find a loss that starts above the loss of equal scores."""
    by_name = {signal.layer: signal for signal in signals}
    for layer in net.layers:
        if layer.type != "SoftmaxWithLoss" or layer.name not in by_name:
            continue
        shape = net.graph.shapes.get(layer.reads[0])
        if not shape or len(shape) < 2:
            continue
        value, expected = by_name[layer.name].mean, math.log(shape[1])
        if value > 1.5 * expected + 0.5:
            yield Finding(
                "loss",
                (layer.name,),
                f"{layer.name}: the loss starts at {value:.4g}, above ln({shape[1]}) = {expected:.4g}, "
                "the loss of equal scores: the weights of the last layer are too large.",
            )
