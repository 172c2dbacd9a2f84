"""``pg.health``: a net's signals before training, and what is wrong with them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.formats import prototxt
from protogen.formats.message import Message
from protogen.running.drawing import random_feeds
from protogen.training.filling import StartsDead
from protogen.training.initialisation import FilledBlob, blobs_of, initialise, parse_rules
from protogen.training.signals.findings import Finding, findings
from protogen.training.signals.measure import (
    Signal,
    Stage,
    batch_of,
    deepest,
    has_gradients,
    hidden,
    measure,
    stages,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.net.net import Net


@dataclass(frozen=True, slots=True)
class Row:
    """One way to fill the weights: for each layer through depth its name, histogram with its ends,
    deviation, and the gradient's deviation where it was measured."""

    title: str
    names: Sequence[str]
    histograms: Sequence[Sequence[int]]
    ends: Sequence[tuple[float, float]]
    deviations: Sequence[float]
    gradients: Sequence[float | None]


@dataclass(frozen=True)
class Health:
    """What was measured, and what is wrong.

    ``weights`` says where they come from; ``start`` is the deviation of the data; ``stages`` are
    the layers with weights, each with its output and that of the activation behind it.
    """

    net: Net
    weights: str
    batch: int
    start: float
    signals: list[Signal]
    stages: list[Stage]
    findings: list[Finding]
    gradients: bool

    @property
    def kept(self) -> float:
        """The share of the data's deviation that is left behind the deepest activation."""
        return deepest(hidden(self.stages))[1] / self.start if self.start else float("nan")

    def plain(self) -> dict[str, Any]:
        """As data for JSON."""
        return {
            "weights": self.weights,
            "batch": self.batch,
            "data_std": self.start,
            "gradients": self.gradients,
            "layers": [one.plain() for one in self.signals],
            "findings": [one.plain() for one in self.findings],
        }

    def row(self, title: str) -> Row:
        """What a picture of it shows, under a title."""
        deep = hidden(self.stages)
        return Row(
            title=title,
            names=[layer.name for layer, *_ in deep],
            histograms=[out.histogram for *_, out in deep],
            ends=[(out.low, out.high) for *_, out in deep],
            deviations=[out.std for *_, out in deep],
            gradients=[own.gradient for _, own, _ in deep],
        )


def gradients_known(net: Net) -> bool:
    """Whether JAX is installed, and has a form of every layer of the net."""
    return find_spec("jax") is not None and has_gradients(net)


def health(
    net: Net,
    *,
    seed: int = 0,
    feeds: Mapping[str, NDArray[Any]] | None = None,
    batch: int | None = None,
    gradients: bool = False,
    fan: str = "caffe",
    rules: Mapping[str, str] | None = None,
    recommend: bool = False,
) -> Health:
    """Measures a net's signals: with its weights where it has any, else with those that its fillers
    make, as training would begin (BatchNorm then takes the batch's own statistics).

    Args:
        seed: of the weights, of random data, and of random factors.
        feeds: data by input; normal random numbers where it is left out.
        batch: samples of random data; up to 64, as many as fit.
        gradients: backwards as well, by JAX (the extra ``gradients``).
        fan, rules, recommend: see ``initialise``.

    Raises:
        InputError: no layer has weights; data is missing, of another shape, or holds NaN; a filler
            does not fit.
        UnsupportedError: a layer has no form in ONNX, or gradients were asked for and are not known.
    """
    from_file = bool(net.weights) and not rules and not recommend
    net = _fitted(net, feeds) if feeds else batch_of(net, batch)
    return _health(net, from_file, seed, feeds, gradients, fan, rules, recommend)


def _health(
    net: Net,
    from_file: bool,
    seed: int,
    feeds: Mapping[str, NDArray[Any]] | None,
    gradients: bool,
    fan: str,
    rules: Mapping[str, str] | None,
    recommend: bool,
) -> Health:
    blobs: list[FilledBlob] = []
    told = "the caffemodel"
    if not from_file:
        net = net.with_message(as_in_training(net))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StartsDead)  # the findings say it, and more
            initialise(net, seed, fan=fan, rules=rules, recommend=recommend)
        texts = [f"{pattern}={filler}" for pattern, filler in (rules or {}).items()]
        blobs = blobs_of(net, parse_rules(texts), recommend)
        told = ", ".join(texts) or ("recommended fillers" if recommend else "the net's fillers")
    given = random_feeds(net, seed)
    if feeds:
        given |= dict(feeds)
    signals = measure(net, given, gradients, seed)
    found = stages(net, signals)
    if not found:
        raise InputError("no layer has weights", subject=f'net "{net.name}"')
    data = found[0][0].reads[0]
    start = float(given[data].std()) if data in given else 1.0

    def better() -> float:
        other = _health(net, False, seed, feeds or given, False, fan, None, True)
        return other.kept * other.start

    suited = (
        {}
        if recommend or from_file
        else {blob.layer.name: blob for blob in blobs_of(net, recommend=True) if blob.reason}
    )
    problems = findings(net, signals, found, blobs, fan, start, suited, better)
    first = next(iter(given.values()), None)
    samples = int(first.shape[0]) if first is not None and first.ndim else 1
    return Health(net, told, samples, start, signals, found, problems, gradients)


def _fitted(net: Net, feeds: Mapping[str, NDArray[Any]]) -> Net:
    """The net for as many samples as the data has; what else differs is told when it is fed."""
    samples = next(iter(feeds.values())).shape[:1]
    shapes = {}
    for name in net.inputs:
        known = net.graph.shapes[name]
        if name in feeds and (known is None or feeds[name].shape[1:] == known[1:]):
            shapes[name] = feeds[name].shape
        elif known and name not in feeds:
            shapes[name] = (*samples, *known[1:])
    return net.with_inputs(shapes)


def as_in_training(net: Net) -> Message:
    """The net's message with BatchNorm by the batch: before training nothing else is known."""
    made = prototxt.parse(prototxt.write(net.message), net.name or "net")
    for item in made.all("layer"):
        if item.value.type == "BatchNorm":
            if not item.value.has("batch_norm_param"):
                item.value.add("batch_norm_param", {})
            param = item.value.batch_norm_param
            param.remove("use_global_stats")
            param.add("use_global_stats", False)
    return made


def compare(net: Net, fillers: Sequence[str], **options: Any) -> dict[str, Health]:
    """``health`` of the same net with each of these fillers for all its weights; "recommended" and
    "net" stand for what suits each layer, and for what the net says."""
    made = {}
    for one in fillers:
        if one == "recommended":
            made[one] = health(net, recommend=True, **options)
        elif one == "net":
            made[one] = health(net, **options)
        else:
            made[one] = health(net, rules={"*": one}, **options)
    return made
