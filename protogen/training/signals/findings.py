"""What is wrong with a net's signals, in a sentence each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from protogen.layers import kind_of
from protogen.layers.graph import Layer
from protogen.layers.recommending import passes_signal
from protogen.training.initialisation import FilledBlob
from protogen.training.signals.measure import Signal, Stage, deepest, hidden

if TYPE_CHECKING:
    from protogen.net.net import Net

LEFT = 0.05  # of a signal: less is a finding
GROWN = 100.0
LEFT_BACKWARDS = 1e-3  # each pooling hands a gradient to one place of many
STEPS = 3  # layers that a trend needs
SATURATED = 0.5  # share of values
DEAD = 0.4  # share of units; of a deep net at the start a fifth is usual
ONE_SIGN = 0.95  # share of positive inputs
FAN_OFF = 1.2  # ratio of deviations


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that will keep the net from learning well: ``kind`` names it, ``layers`` are where,
    ``text`` says what, by how much, and what to do."""

    kind: str
    layers: tuple[str, ...]
    text: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def findings(
    net: Net,
    signals: Sequence[Signal],
    stages: Sequence[Stage],
    blobs: Sequence[FilledBlob],
    fan: str,
    start: float,
    suited: dict[str, FilledBlob],
    better: Callable[[], float],
) -> list[Finding]:
    """All findings, the gravest first.

    Args:
        blobs: what filled the weights; empty where they come from a file.
        start: the deviation of the data.
        suited: the recommended fillers by layer; empty where nothing is to be recommended.
        better: the deviation that is left at the end with them, measured when it is asked for.
    """
    weights = {blob.layer.name: blob for blob in blobs if blob.is_weight and blob.index == 0}
    made = [
        *_not_finite(signals),
        *_zero(net, stages, weights),
        *_symmetric(net, stages),
        *_trend(stages, weights, fan, start, suited, better),
        *_saturated(net, signals),
        *([] if any(_all_zero(net, layer) for layer, *_ in stages) else _dead(signals)),
        *_backwards(stages),
        *_one_sign(net, signals),
        *_fans(weights),
        *_loss(net, signals),
    ]
    return list(made)


def _names(layers: Sequence[str]) -> str:
    """ip1..ip10, or a list of a few."""
    if len(layers) > 3:
        return f"{layers[0]}..{layers[-1]}"
    return ", ".join(layers)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%" if share >= 0.00095 else f"{100 * share:.1g}%"


def _not_finite(signals: Sequence[Signal]) -> Iterator[Finding]:
    bad = [one.layer for one in signals if not one.finite]
    if bad:
        yield Finding(
            "not-finite",
            tuple(bad),
            f"{_names(bad)}: NaN or infinity comes out: weights or data are too large.",
        )


def _zero(net: Net, stages: Sequence[Stage], weights: dict[str, FilledBlob]) -> Iterator[Finding]:
    zero = [layer for layer, *_ in stages if _all_zero(net, layer)]
    silent = [
        one.name for one in zero if one.name in weights and not _has_filler(weights[one.name])
    ]
    for names, why in (
        (silent, "no weight_filler is given, and Caffe's own is constant 0"),
        ([one.name for one in zero if one.name not in silent], "the weights are constant 0"),
    ):
        if names:
            yield Finding(
                "zero-weights",
                tuple(names),
                f"{_names(names)}: {why}: nothing gets through, forwards or backwards, and what is "
                "in front never learns. Give a weight_filler, or run protogen init --recommend.",
            )


def _has_filler(blob: FilledBlob) -> bool:
    outer, _, name = blob.filling.field.partition(".")
    return bool(getattr(blob.layer.params, outer).has(name))


def _all_zero(net: Net, layer: Layer) -> bool:
    found = net.weights.get(layer.name)
    return found is not None and bool(found) and not found[0].any()


def _symmetric(net: Net, stages: Sequence[Stage]) -> Iterator[Finding]:
    """Units with the same weights get the same gradient, and stay the same for ever."""
    for layer, *_ in stages:
        found = net.weights.get(layer.name)
        turned = layer.type == "InnerProduct" and layer.params.inner_product_param.transpose
        if not found or _all_zero(net, layer) or layer.type == "Deconvolution":
            continue
        rows = found[0].T if turned else found[0]
        rows = rows.reshape(rows.shape[0], -1)
        group = int(layer.params.convolution_param.group or 1)
        if len(rows) > 1 and group == 1 and (rows == rows[:1]).all():
            yield Finding(
                "symmetric",
                (layer.name,),
                f"{layer.name}: all {len(rows)} units have the same weights, compute the same and "
                "get the same gradient, so they stay one unit for ever. Fill them at random.",
            )


def _trend(
    stages: Sequence[Stage],
    weights: dict[str, FilledBlob],
    fan: str,
    start: float,
    suited: dict[str, FilledBlob],
    better: Callable[[], float],
) -> Iterator[Finding]:
    """Shrinking or growing through depth, of what the activations give out; the last layer, which
    only makes scores, is left out."""
    inner = hidden(stages)
    depth, end = deepest(inner)
    if depth < STEPS or not start or not math.isfinite(end):
        return
    total = end / start
    if LEFT <= total <= GROWN or total == 0:  # where weights are 0, that is told already
        return
    ratio = total ** (1 / depth)
    verb = "shrinks to" if total < 1 else "grows to"
    left = f"{_percent(total)} is left" if total < 1 else f"it is {total:.3g} times as large"
    names = [layer.name for layer, *_ in inner]
    text = (
        f"signal {verb} {ratio:.2g} of itself in every layer: after {depth} layers {left}"
        if total < 1
        else f"signal {verb} {ratio:.3g} times itself in every layer: after {depth} layers {left}"
    )
    middle = min(inner, key=lambda one: abs(one[1].depth - depth / 2))
    how = _how(middle, weights, fan, "small" if total < 1 else "large")
    advice = ""
    blob = suited.get(middle[0].name)
    if blob is not None:
        std = f" (std {blob.deviation(fan) or 0:.2g})"
        advice = f", {blob.filler.type}{std} keeps {_percent(better() / start)} after {depth}"
    yield Finding(
        "shrinking" if total < 1 else "growing",
        tuple(names),
        f"{text}; {_names(names)} {how}{advice}.",
    )


def _how(stage: Stage, weights: dict[str, FilledBlob], fan: str, size: str) -> str:
    """gaussian std 0.01 is too small for TanH with 500 inputs."""
    layer, own, out = stage
    blob = weights.get(layer.name)
    if blob is None:
        return f"have weights that are too {size}"
    deviation = blob.deviation(fan)
    std = f" std {deviation:.3g}" if deviation is not None else ""
    activation = f" for {out.type}" if out is not own else ""
    return f"{blob.filler.type}{std} is too {size}{activation} with {blob.true.into:g} inputs"


def _saturated(net: Net, signals: Sequence[Signal]) -> Iterator[Finding]:
    layers = {layer.name: layer for layer in net.layers}
    found: dict[tuple[str, tuple[float, float]], list[Signal]] = {}
    for one in signals:
        layer = layers[one.layer]
        kind = kind_of(layer)
        ends = kind.saturates_at(layer) if kind is not None else None
        if ends is not None and (one.saturated or 0) > SATURATED:
            found.setdefault((one.type, ends), []).append(one)
    for (type_, (low, high)), bad in found.items():
        most = max(one.saturated or 0 for one in bad)
        names = [one.layer for one in bad]
        yield Finding(
            "saturated",
            tuple(names),
            f"{_names(names)}: up to {_percent(most)} of the values are at the ends of {type_} "
            f"(y <= {low:g} or y >= {high:g}), where its slope is nearly 0: hardly any gradient "
            "passes. The weights in front are too large.",
        )


def _dead(signals: Sequence[Signal]) -> Iterator[Finding]:
    bad = [one for one in signals if (one.dead or 0) > DEAD]
    if bad:
        most = max(one.dead or 0 for one in bad)
        names = [one.layer for one in bad]
        yield Finding(
            "dead",
            tuple(names),
            f"{_names(names)}: up to {_percent(most)} of the units are 0 for all data: they get no "
            "gradient. Their weights or biases push them below 0.",
        )


def _backwards(stages: Sequence[Stage]) -> Iterator[Finding]:
    told = [(own.depth, layer.name, own.gradient) for layer, own, _ in stages if own.gradient]
    if not told:
        return
    first, last = min(told), max(told)
    steps = last[0] - first[0]
    if steps < STEPS or not last[2] or not first[2]:
        return
    total = first[2] / last[2]
    ratio = total ** (1 / steps)
    if total < LEFT_BACKWARDS:
        yield Finding(
            "gradient-shrinks",
            (first[1],),
            f"the gradient shrinks to {ratio:.2g} of itself in every layer on its way back: "
            f"{_percent(total)} of {last[1]}'s reaches {first[1]}, {steps} layers before. The first "
            "layers hardly learn.",
        )
    elif total > 1 / LEFT_BACKWARDS:
        yield Finding(
            "gradient-grows",
            (first[1],),
            f"the gradient grows to {ratio:.3g} times itself in every layer on its way back: it is "
            f"{total:.3g} times as large at {first[1]} as at {last[1]}. Training will diverge.",
        )


def _one_sign(net: Net, signals: Sequence[Signal]) -> Iterator[Finding]:
    makers = {write: layer for layer in net.layers for write in layer.writes}
    reads = {layer.name: layer.reads for layer in net.layers}
    groups: dict[str, list[str]] = {}
    for one in signals:
        if (one.positive or 0) > ONE_SIGN:
            source = makers[reads[one.layer][0]]
            while passes_signal(source) and source.reads:
                source = makers[source.reads[0]]
            kind = "data" if not source.reads else source.type
            groups.setdefault(kind if kind in _CENTRING else "", []).append(one.layer)
    for kind, found in groups.items():
        yield Finding(
            "one-sign",
            tuple(found),
            f"{_names(found)}: nearly all inputs are positive, so that the gradients of each unit's weights "
            f"share a sign, and learning zigzags. {_CENTRING[kind]}",
        )


_CENTRING = {
    "data": "Centre the data: subtract its mean (protogen mean).",
    "Sigmoid": "TanH for Sigmoid is centred on 0.",
    "": "The rectifiers in front are never off: their bias is too large for their weights.",
}


def _fans(weights: dict[str, FilledBlob]) -> Iterator[Finding]:
    for blob in weights.values():
        if blob.filler.type not in ("xavier", "msra"):
            continue
        caffes = blob.caffes.n(blob.filler.variance_norm)
        true = blob.true.n(blob.filler.variance_norm)
        off = math.sqrt(true / caffes)
        if not 1 / FAN_OFF < off < FAN_OFF:
            yield Finding(
                "fan",
                (blob.layer.name,),
                f"{blob.layer.name}: Caffe's {blob.filler.type} counts {caffes:g} inputs where "
                f"{true:g} meet, so its weights are {off:.2g} times what they should be. Use "
                f"gaussian with std {(blob.deviation('true') or 0):.3g}.",
            )


def _loss(net: Net, signals: Sequence[Signal]) -> Iterator[Finding]:
    by_name = {one.layer: one for one in signals}
    for layer in net.layers:
        if layer.type != "SoftmaxWithLoss" or layer.name not in by_name:
            continue
        shape = net.graph.shapes.get(layer.reads[0])
        if not shape or len(shape) < 2:
            continue
        value, wanted = by_name[layer.name].mean, math.log(shape[1])
        if value > 1.5 * wanted + 0.5:
            yield Finding(
                "loss",
                (layer.name,),
                f"{layer.name}: the loss starts at {value:.4g}, above ln({shape[1]}) = {wanted:.4g} of "
                "scores that are alike: the last layer's weights are too large.",
            )
