"""``pg.health``: signals of a net before training, and their findings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from protogen._late import Shown
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
    """Plot data of one choice of fillers, by layer in order of depth.

    Attributes:
        title: the choice of fillers.
        names: names of the layers.
        histograms: histograms of the outputs.
        ends: the range (low, high) of each histogram.
        deviations: deviations of the outputs.
        gradients: deviations of the gradients; None where none was measured.
    """

    title: str
    names: Sequence[str]
    histograms: Sequence[Sequence[int]]
    ends: Sequence[tuple[float, float]]
    deviations: Sequence[float]
    gradients: Sequence[float | None]


@dataclass(frozen=True, repr=False)
class Health(Shown):
    """Measured signals of a net, and their findings.

    Attributes:
        weights: the source of the weights, as text.
        batch: the number of samples.
        start: the deviation of the data.
        signals: statistics of every layer's output.
        stages: the layers with weights, each with its output and that of the activation after it.
        gradients: whether gradients were measured.
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
    def signal_ratio(self) -> float:
        """The deviation after the deepest activation, divided by that of the data."""
        return deepest(hidden(self.stages))[1] / self.start if self.start else float("nan")

    def plain(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        return {
            "weights": self.weights,
            "batch": self.batch,
            "data_std": self.start,
            "gradients": self.gradients,
            "layers": [signal.plain() for signal in self.signals],
            "findings": [finding.plain() for finding in self.findings],
        }

    def row(self, title: str) -> Row:
        """Return the data of a plot."""
        inner = hidden(self.stages)
        return Row(
            title=title,
            names=[layer.name for layer, *_ in inner],
            histograms=[out.histogram for *_, out in inner],
            ends=[(out.low, out.high) for *_, out in inner],
            deviations=[out.std for *_, out in inner],
            gradients=[own.gradient for _, own, _ in inner],
        )


def gradients_known(net: Net) -> bool:
    """Return whether JAX is installed and can differentiate every layer of the net."""
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
    """Measure the signals of a net.

    A net with weights is measured with them. A net without weights gets those of its fillers, as at
    the start of training; BatchNorm then uses the statistics of the batch.

    Args:
        seed: seed of the weights, of random data, and of random factors.
        feeds: data by input; normal random numbers by default.
        batch: samples of random data; by default up to 64, limited by memory.
        gradients: measure gradients as well, with JAX (the extra ``gradients``).
        fan, rules, recommend: see ``initialise``.

    Raises:
        InputError: no layer has weights; data is missing, has a wrong shape or contains NaN; or a
            filler does not fit its blob.
        UnsupportedError: a layer has no ONNX equivalent, or ``gradients`` is set and JAX is not installed
            or cannot differentiate a layer.
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
    """Measure a net whose input shapes are final."""
    blobs: list[FilledBlob] = []
    source = "the caffemodel"
    if not from_file:
        net = net.with_message(as_in_training(net))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StartsDead)  # the findings report them
            initialise(net, seed, fan=fan, rules=rules, recommend=recommend)
        texts = [f"{pattern}={filler}" for pattern, filler in (rules or {}).items()]
        blobs = blobs_of(net, parse_rules(texts), recommend)
        source = ", ".join(texts) or ("recommended fillers" if recommend else "the net's fillers")
    data = random_feeds(net, seed)
    if feeds:
        data |= dict(feeds)
    signals = measure(net, data, gradients, seed)
    net_stages = stages(net, signals)
    if not net_stages:
        raise InputError("no layer has weights", subject=f'net "{net.name}"')
    first_bottom = net_stages[0][0].reads[0]
    start = float(data[first_bottom].std()) if first_bottom in data else 1.0

    def recommended_deviation() -> float:
        recommended = _health(net, False, seed, feeds or data, False, fan, None, True)
        return recommended.signal_ratio * recommended.start

    recommended_blobs = (
        {}
        if recommend or from_file
        else {blob.layer.name: blob for blob in blobs_of(net, recommend=True) if blob.reason}
    )
    problems = findings(
        net, signals, net_stages, blobs, fan, start, recommended_blobs, recommended_deviation
    )
    first_input = next(iter(data.values()), None)
    samples = int(first_input.shape[0]) if first_input is not None and first_input.ndim else 1
    return Health(net, source, samples, start, signals, net_stages, problems, gradients)


def _fitted(net: Net, feeds: Mapping[str, NDArray[Any]]) -> Net:
    """Return the net with as many samples as the data.

    Other differences in shape are reported when the data is checked.
    """
    samples = next(iter(feeds.values())).shape[:1]
    shapes = {}
    for name in net.inputs:
        shape = net.graph.shapes[name]
        if name in feeds and (shape is None or feeds[name].shape[1:] == shape[1:]):
            shapes[name] = feeds[name].shape
        elif shape and name not in feeds:
            shapes[name] = (*samples, *shape[1:])
    return net.with_inputs(shapes)


def as_in_training(net: Net) -> Message:
    """Return a copy of the net's message whose BatchNorm layers use the statistics of the batch.

    Before training there are no stored statistics.
    """
    copy = prototxt.parse(prototxt.write(net.message), net.name or "net")
    for entry in copy.all("layer"):
        if entry.value.type == "BatchNorm":
            if not entry.value.has("batch_norm_param"):
                entry.value.add("batch_norm_param", {})
            param = entry.value.batch_norm_param
            param.remove("use_global_stats")
            param.add("use_global_stats", False)
    return copy


def compare(net: Net, fillers: Sequence[str], **options: Any) -> dict[str, Health]:
    """Run ``health`` on a net once for each filler, used for all its weights.

    The filler "recommended" means the recommended filler of each layer, and "net" the net's own
    fillers.
    """
    by_filler = {}
    for filler in fillers:
        if filler == "recommended":
            by_filler[filler] = health(net, recommend=True, **options)
        elif filler == "net":
            by_filler[filler] = health(net, **options)
        else:
            by_filler[filler] = health(net, rules={"*": filler}, **options)
    return by_filler
