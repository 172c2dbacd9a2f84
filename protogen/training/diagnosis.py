"""Diagnosis of a training log: known faults, with the layer and the line to change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen._late import Shown
from protogen.training.log import Log, read_log
from protogen.training.signals.findings import Finding

if TYPE_CHECKING:
    from protogen.layers.graph import Layer
    from protogen.net.net import Net

FLT_MIN = 1.17549435e-38
LARGEST_LOSS = -math.log(FLT_MIN)  # 87.3365: SoftmaxWithLoss for probability 0
STUCK = 0.02  # share of the loss; a smaller change counts as none
VANISHED = 1e-3  # ratio of first to last gradient below which the gradient has vanished
MOST_CLASSES = 100_000  # limit of the number of classes that is derived from the loss


@dataclass(frozen=True, repr=False)
class Diagnosis(Shown):
    """A training log and its findings."""

    log: Log
    findings: list[Finding]

    def plain(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        return {**self.log.plain(), "findings": [finding.plain() for finding in self.findings]}


def diagnose(log: str | Path | Log, net: Net | None = None) -> Diagnosis:
    """Find known faults in a Caffe training log, with or without ``debug_info``.

    Args:
        log: the file, or its parsed content.
        net: the training net; with it, findings name the line of each layer.

    Raises:
        InputError: the log cannot be read, or is not a Caffe training log.
    """
    parsed = log if isinstance(log, Log) else read_log(log)
    findings = [
        *_not_a_number(parsed),
        *_largest(parsed, net),
        *_rate(parsed),
        *_stuck(parsed, net),
        *_growing(parsed),
        *_silent(parsed, net),
        *_still(parsed, net),
        *_shrinking(parsed, net),
    ]
    return Diagnosis(parsed, findings)


def _layer(net: Net | None, name: str) -> Layer | None:
    return next((layer for layer in net.layers if layer.name == name), None) if net else None


def _place(net: Net | None, name: str) -> str:
    """Return the layer's name, with its line if the net is known."""
    layer = _layer(net, name)
    return f"{name} ({layer.place})" if layer is not None and layer.place else name


def _last_weights(net: Net | None) -> str:
    """Return " of LAYER" for the layer that computes the scores; empty if the net is unknown."""
    for layer in reversed(net.layers if net else ()):
        if layer.type in ("InnerProduct", "Convolution"):
            return f" of {_place(net, layer.name)}"
    return ""


def _losses(log: Log) -> list[tuple[int, float]]:
    """Return (iteration, value) of the loss and of all training outputs."""
    return [point for series in (log.loss, *log.train.values()) for point in series]


def _not_a_number(log: Log) -> Iterator[Finding]:
    """Find a loss that is NaN or infinite."""
    first = next((point for point in log.loss if not math.isfinite(point[1])), None)
    if first is None:
        return
    iteration, loss = first
    before = [value for at, value in log.loss if at < iteration]
    if not before:
        text = (
            f"the loss is {loss} from the first iteration on: the data or the initial weights "
            "contain NaN or are far too large."
        )
    else:
        text = (
            f"the loss is {loss} from iteration {iteration} on, after {before[-1]:.4g}: training "
            "diverged. Lower base_lr in the solver by a factor of 10, or set clip_gradients."
        )
    yield Finding("loss-nan", (), text)


def _largest(log: Log, net: Net | None) -> Iterator[Finding]:
    """Find a loss of -ln(FLT_MIN)."""
    for iteration, value in _losses(log):
        if abs(value - LARGEST_LOSS) < 0.01:
            yield Finding(
                "loss-87",
                (),
                f"the loss is {value:.6g} = -ln(FLT_MIN) at iteration {iteration}: the true "
                "class has probability 0 in float32, because the scores are too large. Lower base_lr "
                f"in the solver, make the weights{_last_weights(net)} smaller (protogen health shows "
                "where the signal grows), and check that no label exceeds the number of classes.",
            )
            return


def _rate(log: Log) -> Iterator[Finding]:
    """Find a learning rate that is NaN, infinite or always 0."""
    for iteration, value in log.rate:
        if not math.isfinite(value):
            yield Finding(
                "lr-nan",
                (),
                f"lr is {value} at iteration {iteration}: the learning rate policy computes this "
                "value. The policy poly needs a max_iter above every iteration; inv and step need "
                "gamma, power or stepsize in the solver.",
            )
            return
    if log.rate and all(value == 0 for _, value in log.rate):
        yield Finding(
            "lr-zero", (), "lr is 0: the weights do not change. Set base_lr in the solver."
        )


def _stuck(log: Log, net: Net | None) -> Iterator[Finding]:
    """Find a loss that stays at ln(classes)."""
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
        f"1/{classes}, as before training. The input has no effect on the scores"
        f"{_last_weights(net)}. Possible causes: weights without a filler, which are 0 (protogen init "
        "--recommend), a learning rate that is too small, or labels that do not match the data.",
    )


def _classes(net: Net | None) -> int:
    """Return the number of classes of the net's SoftmaxWithLoss; 0 if unknown."""
    for layer in net.layers if net else ():
        shape = net.graph.shapes.get(layer.reads[0]) if net and layer.reads else None
        if layer.type == "SoftmaxWithLoss" and shape and len(shape) > 1:
            return shape[1]
    return 0


def _growing(log: Log) -> Iterator[Finding]:
    """Find a loss that grows to more than twice its value."""
    values = [value for _, value in log.loss if math.isfinite(value)]
    if len(values) < 6:
        return
    third = len(values) // 3
    first, last = (sum(part) / third for part in (values[:third], values[-third:]))
    if last > 2 * first > 0 and abs(values[-1] - LARGEST_LOSS) > 0.01:
        yield Finding(
            "loss-grows",
            (),
            f"the loss grows from {first:.4g} to {last:.4g}: the steps are too large. Lower base_lr "
            "in the solver.",
        )


def _silent(log: Log, net: Net | None) -> Iterator[Finding]:
    """Find layers whose output is 0."""
    silent = [name for name, value in log.values.items() if value == 0 and name in log.weights]
    if silent:
        zero = [name for name in silent if log.weights.get(name) == 0]
        why = "the weights are 0: set a weight_filler" if zero else "all rectifiers are inactive"
        yield Finding(
            "dead-layer",
            tuple(silent),
            f"{_list(net, silent)}: the output is 0 everywhere; {why}.",
        )


def _still(log: Log, net: Net | None) -> Iterator[Finding]:
    """Find layers whose weights get no gradient, although they are not frozen."""
    unchanged = []
    for name, history in log.gradient_history.items():
        layer = _layer(net, name)
        frozen = layer is not None and any(spec.lr_mult == 0 for spec in layer.params.param[:1])
        if history and not any(history) and not frozen:
            unchanged.append(name)
    if unchanged:
        yield Finding(
            "no-gradient",
            tuple(unchanged),
            f"{_list(net, unchanged)}: the gradient of the weights is 0 in every iteration: the "
            "layers after them are inactive, or the loss does not depend on them.",
        )


def _shrinking(log: Log, net: Net | None) -> Iterator[Finding]:
    """Find gradients that shrink or grow by 1000 or more from the last layer to the first."""
    gradients = [(name, value) for name, value in _in_order(log, net) if value > 0]
    if len(gradients) < 4:
        return
    (first, first_value), (last, last_value) = gradients[0], gradients[-1]
    total, steps = first_value / last_value, len(gradients) - 1
    if total < VANISHED:
        yield Finding(
            "gradient-shrinks",
            (first,),
            f"the gradient of the weights shrinks from {last_value:.3g} at {_place(net, last)} to "
            f"{first_value:.3g} at {_place(net, first)}, by a factor of {total ** (1 / steps):.2g} "
            "per layer: the first layers hardly learn. Run protogen health, or protogen init "
            "--recommend.",
        )
    elif total > 1 / VANISHED:
        yield Finding(
            "gradient-grows",
            (first,),
            f"the gradient of the weights grows from {last_value:.3g} at {_place(net, last)} to "
            f"{first_value:.3g} at {_place(net, first)}: training will diverge. The weights are too "
            "large.",
        )


def _in_order(log: Log, net: Net | None) -> Sequence[tuple[str, float]]:
    """Return (layer, gradient of its weights) from the data to the loss.

    The order is that of the net, or of the log's Forward lines if the net is unknown.
    """
    order = [layer.name for layer in net.layers] if net else list(log.weights)
    gradients = log.weight_gradients
    return [(name, gradients[name]) for name in order if name in gradients]


def _list(net: Net | None, names: Sequence[str]) -> str:
    """Return up to three layers with their lines, and the number of the others."""
    shown = ", ".join(_place(net, name) for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
