"""What a training log shows to be wrong, with the layer and the line to change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.training.log import Log, read_log
from protogen.training.signals.findings import Finding

if TYPE_CHECKING:
    from protogen.layers.graph import Layer
    from protogen.net.net import Net

FLT_MIN = 1.17549435e-38
LARGEST_LOSS = -math.log(FLT_MIN)  # 87.3365: what SoftmaxWithLoss says of probability 0
STUCK = 0.02  # of the loss: less change than this is none
LEFT = 1e-3
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Diagnosis:
    """A log, and what is wrong."""

    log: Log
    findings: list[Finding]

    def plain(self) -> dict[str, Any]:
        """As data for JSON."""
        return {**self.log.plain(), "findings": [one.plain() for one in self.findings]}


def diagnose(log: str | Path | Log, net: Net | None = None) -> Diagnosis:
    """Reads a Caffe training log, with or without ``debug_info``, and names what it recognises.

    Args:
        net: the training net, so that layers are told with their line.

    Raises:
        InputError: the log cannot be read, or is none.
    """
    read = log if isinstance(log, Log) else read_log(log)
    found = [
        *_not_a_number(read),
        *_largest(read, net),
        *_rate(read),
        *_stuck(read, net),
        *_growing(read),
        *_silent(read, net),
        *_still(read, net),
        *_shrinking(read, net),
    ]
    return Diagnosis(read, found)


def _layer(net: Net | None, name: str) -> Layer | None:
    return next((one for one in net.layers if one.name == name), None) if net else None


def _place(net: Net | None, name: str) -> str:
    """The layer, with its line where the net is known."""
    layer = _layer(net, name)
    return f"{name} ({layer.place})" if layer is not None and layer.place else name


def _last_weights(net: Net | None) -> str:
    """The layer that makes the scores, with its line."""
    for layer in reversed(net.layers if net else ()):
        if layer.type in ("InnerProduct", "Convolution"):
            return f" of {_place(net, layer.name)}"
    return ""


def _losses(log: Log) -> list[tuple[int, float]]:
    series = [("loss", log.loss)]
    series += [(name, values) for name, values in log.train.items()]
    return [one for _, values in series for one in values]


def _not_a_number(log: Log) -> Iterator[Finding]:
    bad = next((one for one in log.loss if not math.isfinite(one[1])), None)
    if bad is None:
        return
    before = [value for at, value in log.loss if at < bad[0]]
    if not before:
        text = (
            f"the loss is {bad[1]} from the first iteration on: the data or the weights that "
            "training starts from hold NaN or are far too large."
        )
    else:
        text = (
            f"the loss is {bad[1]} from iteration {bad[0]} on, after {before[-1]:.4g}: training "
            "diverged. Lower base_lr in the solver (by 10), or set clip_gradients."
        )
    yield Finding("loss-nan", (), text)


def _largest(log: Log, net: Net | None) -> Iterator[Finding]:
    for at, value in _losses(log):
        if abs(value - LARGEST_LOSS) < 0.01:
            yield Finding(
                "loss-87",
                (),
                f"the loss is {value:.6g} = -ln(FLT_MIN) at iteration {at}: the true class's "
                "probability is 0 in float32, because the scores exploded. Lower base_lr in the "
                f"solver, make the weights{_last_weights(net)} smaller (protogen health shows where "
                "they grow), and look for labels beyond the number of classes.",
            )
            return


def _rate(log: Log) -> Iterator[Finding]:
    for at, value in log.rate:
        if not math.isfinite(value):
            yield Finding(
                "lr-nan",
                (),
                f"lr is {value} at iteration {at}: the learning rate policy computes it so. A poly "
                "policy needs max_iter above every iteration, inv and step need gamma, power or "
                "stepsize in the solver.",
            )
            return
    if log.rate and all(value == 0 for _, value in log.rate):
        yield Finding("lr-zero", (), "lr is 0: nothing is learned. Give base_lr in the solver.")


def _stuck(log: Log, net: Net | None) -> Iterator[Finding]:
    values = [value for _, value in log.loss if math.isfinite(value)]
    if len(values) < 4:
        return
    late = values[len(values) // 2 :]
    mean = sum(late) / len(late)
    if mean <= 0 or (max(late) - min(late)) / mean > 4 * STUCK:
        return
    classes = _classes(net) or round(math.exp(min(mean, math.log(MOST_CLASSES))))
    if classes < 2 or abs(mean - math.log(classes)) > STUCK * math.log(classes):
        return
    half = " (0.693)" if classes == 2 else ""
    yield Finding(
        "loss-stuck",
        (),
        f"the loss stays at {mean:.4g} = ln({classes}){half}: every class gets probability "
        f"1/{classes}, as before training. Nothing reaches the scores{_last_weights(net)}: weights "
        "without a filler are 0 (protogen init --recommend), the learning rate is too small, or the "
        "labels do not belong to the data.",
    )


def _classes(net: Net | None) -> int:
    for layer in net.layers if net else ():
        shape = net.graph.shapes.get(layer.reads[0]) if net and layer.reads else None
        if layer.type == "SoftmaxWithLoss" and shape and len(shape) > 1:
            return shape[1]
    return 0


def _growing(log: Log) -> Iterator[Finding]:
    values = [value for _, value in log.loss if math.isfinite(value)]
    if len(values) < 6:
        return
    third = len(values) // 3
    first, last = (sum(part) / third for part in (values[:third], values[-third:]))
    if last > 2 * first > 0 and abs(values[-1] - LARGEST_LOSS) > 0.01:
        yield Finding(
            "loss-grows",
            (),
            f"the loss grows from {first:.4g} to {last:.4g}: steps are too long. Lower base_lr in "
            "the solver.",
        )


def _silent(log: Log, net: Net | None) -> Iterator[Finding]:
    """Layers whose output is 0."""
    quiet = [name for name, value in log.values.items() if value == 0 and name in log.weights]
    if quiet:
        zero = [name for name in quiet if log.weights.get(name) == 0]
        why = "their weights are 0: give a weight_filler" if zero else "the rectifiers are all off"
        yield Finding(
            "dead-layer",
            tuple(quiet),
            f"{_list(net, quiet)}: the output is 0 everywhere; {why}.",
        )


def _still(log: Log, net: Net | None) -> Iterator[Finding]:
    """Layers whose weights get no gradient, although they are trained."""
    still = []
    for name, history in log.gradient_history.items():
        layer = _layer(net, name)
        frozen = layer is not None and any(spec.lr_mult == 0 for spec in layer.params.param[:1])
        if history and not any(history) and not frozen:
            still.append(name)
    if still:
        yield Finding(
            "no-gradient",
            tuple(still),
            f"{_list(net, still)}: no gradient ever comes to the weights: what stands behind is dead "
            "or cut off.",
        )


def _shrinking(log: Log, net: Net | None) -> Iterator[Finding]:
    told = [(name, value) for name, value in _in_order(log, net) if value > 0]
    if len(told) < 4:
        return
    (first, a), (last, b) = told[0], told[-1]
    total, steps = a / b, len(told) - 1
    if total < LEFT:
        yield Finding(
            "gradient-shrinks",
            (first,),
            f"the weights' gradient shrinks from {b:.3g} at {_place(net, last)} to {a:.3g} at "
            f"{_place(net, first)}, {total ** (1 / steps):.2g} of itself in every layer: the first "
            "layers hardly learn. Look at protogen health, and at init --recommend.",
        )
    elif total > 1 / LEFT:
        yield Finding(
            "gradient-grows",
            (first,),
            f"the weights' gradient grows from {b:.3g} at {_place(net, last)} to {a:.3g} at "
            f"{_place(net, first)}: training will diverge. The weights are too large.",
        )


def _in_order(log: Log, net: Net | None) -> Sequence[tuple[str, float]]:
    """Gradients of weights from the data to the loss: by the net, or the order of Forward lines."""
    order = [one.name for one in net.layers] if net else list(log.weights)
    known = log.weight_gradients
    return [(name, known[name]) for name in order if name in known]


def _list(net: Net | None, names: Sequence[str]) -> str:
    shown = ", ".join(_place(net, name) for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
