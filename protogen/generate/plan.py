"""A resize as stock layers: text, net, weights, cost and error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen import _late
from protogen._arguments import checked
from protogen._late import Shown
from protogen.errors import InputError
from protogen.formats import prototxt, render
from protogen.formats.picture import Picture
from protogen.geometry import Shape
from protogen.memory import check_memory
from protogen.resampling.emit import emit
from protogen.resampling.planning import Candidate, Decision, decide
from protogen.resampling.request import PROBES, ResizeRequest
from protogen.resampling.steps import Step
from protogen.toolchains.limits import UNLIMITED, Limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net.net import Net
    from protogen.onnx import Model

MEASURED_UP_TO = 2**24  # the most values of a blob in a run that measures the error
EXACT_TO = 1e-5  # relative to the largest value: float32 rounding over a few layers


@dataclass(frozen=True, slots=True)
class PlanError:
    """The largest absolute errors of a plan, measured on normally distributed random data.

    The reference is the requested resize in float64.

    Attributes:
        inside: over the pixels whose weights are exact.
        border: over the other pixels; 0 where there are none.
        largest: the largest magnitude in the reference.
        shape: the shape of the input.
    """

    inside: float
    border: float
    largest: float
    shape: Shape

    @property
    def exact(self) -> bool:
        """Whether the error is only float32 rounding."""
        return max(self.inside, self.border) <= EXACT_TO * max(1.0, self.largest)


@dataclass(frozen=True, slots=True)
class PlanCost:
    """Cost of a plan. Bytes assume float32.

    The counts are for the input size. For a plan for any size they are for a sample size.
    """

    layers: int
    parameters: int
    multiply_adds: int
    weight_bytes: int
    activation_bytes: int


class Plan(Shown):
    """A resize as stock layers.

    Attributes:
        request: the requested resize.
        decision: the chosen candidate, the other candidates, and the reasons against them.
        steps: the layers.
        prototxt: the text; it is parsed and checked.
    """

    def __init__(
        self,
        request: ResizeRequest,
        decision: Decision,
        *,
        name: str,
        bottom: str,
        top: str,
        whole: bool = True,
        templates: str | Path | None = None,
    ) -> None:
        for key, value in (("name", name), ("bottom", bottom), ("top", top)):
            if not value:
                raise InputError("must not be empty", subject=key, advice="Give a name.")
        if bottom == top:
            raise InputError(
                f"must differ from the bottom, but both are {top!r}",
                subject="top",
                advice="Choose another name.",
            )
        self.request = request
        self.decision = decision
        self.name, self.bottom, self.top = name, bottom, top
        self.whole = whole
        self._templates = templates
        self.steps = self._emit(decision.chosen)
        self._inputs = {bottom: (request.batch, request.channels, *self._size)}
        self.prototxt = self._render(self._inputs if whole else {})

    @property
    def strategy(self) -> str:
        """The name of the chosen strategy, such as ``deconvolution+scale``."""
        return self.decision.chosen.label

    @property
    def _size(self) -> tuple[int, int]:
        return self.request.size or (PROBES[0], PROBES[0])

    @cached_property
    def net(self) -> Net:
        """The net with its weights. Layers without an Input layer get one of a sample size."""
        return self._net(self.steps, self.prototxt if self.whole else self._render(self._inputs))

    @property
    def weights(self) -> dict[str, list[NDArray[np.float32]]]:
        """Weights by layer name. All channels share one kernel in memory where they are equal."""
        return self.net.weights

    @property
    def weights_needed(self) -> tuple[str, ...]:
        """Layers whose weights must come from a caffemodel: no filler of Caffe produces them."""
        return tuple(step.name for step in self.steps if not step.filled)

    @cached_property
    def error(self) -> PlanError:
        """The error of the chosen candidate, measured by running its layers in onnxruntime."""
        return self.measure(self.decision.chosen)

    @cached_property
    def cost(self) -> PlanCost:
        """Numbers of layers, parameters and multiply-adds, and memory, as ``protogen summary``
        counts them."""
        return self.cost_of(self.steps)

    def cost_of(self, steps: Sequence[Step]) -> PlanCost:
        """Return the cost of the layers of a candidate."""
        new_blobs = [step.values for step in steps if step.tops != step.bottoms[:1]]
        parameters = sum(step.parameters for step in steps)
        return PlanCost(
            len(steps),
            parameters,
            sum(s.multiply_adds for s in steps),
            4 * parameters,
            4 * sum(new_blobs),
        )

    def measure(self, candidate: Candidate, seed: int = 0) -> PlanError:
        """Measure the error of a candidate.

        A large candidate runs with one channel, because all channels have the same weights.

        Raises:
            UnsupportedError: even one channel needs more memory than the machine has.
        """
        import numpy as np

        most_values = max(step.values for step in candidate.steps)
        request = self.request
        if most_values > MEASURED_UP_TO and request.channels > 1:
            most_values //= request.channels * request.batch
            request = replace(request, channels=1, batch=1)
        # The values in float32, the expected ones and the difference in float64.
        check_memory(20 * most_values, "measuring the error needs")
        shape = (request.batch, request.channels, *self._size)
        x = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        actual = self.run(candidate, x)
        expected = request.wanted(x)
        error = np.abs(actual - expected)
        inside = self._exact_pixels(candidate)
        return PlanError(
            float(error[:, :, inside].max(initial=0)),
            float(error[:, :, ~inside].max(initial=0)),
            float(np.abs(expected).max(initial=0)),
            shape,
        )

    def run(self, candidate: Candidate, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the layers of a candidate in onnxruntime on ``x`` (N, C, H, W) and return the top."""
        from protogen.running.runtime import run

        request = replace(self.request, batch=x.shape[0], channels=x.shape[1])
        steps = emit(
            candidate.chains,
            request,
            candidate.form,
            name=self.name,
            bottom=self.bottom,
            top=self.top,
        )
        net = self._net(steps, self._render({self.bottom: x.shape}, steps))
        output: NDArray[np.float32] = run(net, {self.bottom: x})[self.top]
        return output

    def to_onnx(self, *, opset: int = 18) -> Model:
        """Return the layers as an ONNX model.

        A plan for any size has free axes for batch, height and width.

        Raises:
            InputError: ``opset`` is below 13, or the installed onnx does not support it.
        """
        from protogen.onnx import to_onnx

        free = (0, 2, 3) if self.request.size is None else ()
        return to_onnx(self.net, opset=opset, free_axes=free)

    @checked
    def plot(self, path: str | Path | None = None) -> Picture:
        """Return a picture of a test pattern after each possible plan, with kernel and error, for a
        notebook. With ``path`` it is also written, as SVG or PNG, depending on the extension.

        Raises:
            InputError: the path cannot be written, or its extension is neither .svg nor .png.
            UnsupportedError: the input or the output is larger than 512 pixels along an axis.
        """
        picture: Picture = _late.plot(self, path)
        return picture

    def describe(self) -> dict[str, Any]:
        """Return request, plan and cost as plain data."""
        return {
            "name": self.name,
            "bottom": self.bottom,
            "top": self.top,
            "strategy": self.strategy,
            "request": asdict(self.request),
            "output": list(self.request.output) if self.request.size else None,
            "cost": asdict(self.cost),
            "verdicts": [asdict(v) for v in self.decision.verdicts],
        }

    def _emit(self, candidate: Candidate) -> tuple[Step, ...]:
        return emit(
            candidate.chains,
            self.request,
            candidate.form,
            name=self.name,
            bottom=self.bottom,
            top=self.top,
        )

    def _net(self, steps: Sequence[Step], text: str) -> Net:
        from protogen.net.net import Net

        net = Net(self._parse(text), {step.name: list(step.weights) for step in steps if step.make})
        net.check_weights()
        return net

    def _render(self, inputs: Mapping[str, Shape], steps: Sequence[Step] | None = None) -> str:
        layers = [_Layer(step) for step in steps or self.steps]
        values = {
            "net": self.name if inputs else "",
            "comments": [self.headline()],
            "inputs": list(inputs.items()),
            "layers": layers,
        }
        text = render.render("resize", values, directory=self._templates)
        self._parse(text)
        return text

    def _parse(self, text: str) -> prototxt.Document:
        folder = self._templates or "built in"
        return prototxt.parse(text, f"text rendered by the template ({folder})", strict=True)

    def headline(self) -> str:
        """Return one line: the resize, the strategy and the error."""
        request, sampling = self.request, self.request.sampling
        if request.size is None:
            assert request.scale is not None
            times = " x ".join(f"{f:g}" for f in dict.fromkeys(request.scale))
            sizes = f"by {times}, any size"
        else:
            sizes = (
                f"{request.size[0]}x{request.size[1]} to {request.output[0]}x{request.output[1]}"
            )
        rule = f"{sampling.mode}, {sampling.align}" + (", antialias" if sampling.antialias else "")
        bound = self.decision.chosen.bound
        error = f"error up to {bound:.3g} for data in [-1, 1]" if bound else "exact"
        return f"resize {sizes} ({rule}): {self.strategy}, {error}"

    def _exact_pixels(self, candidate: Candidate) -> NDArray[np.bool_]:
        """Return a mask (height, width) of the output pixels that have the requested weights."""
        import numpy as np

        exact_rows = []
        for index, chain in enumerate(candidate.chains):
            axis = self.request.axes[index]
            actual = chain.matrix(axis.size)
            exact_rows.append(np.abs(actual - axis.matrix).max(axis=1) < 1e-9)
        exact: NDArray[np.bool_] = np.logical_and.outer(*exact_rows)
        return exact


@dataclass(frozen=True, slots=True)
class _Layer:
    """A step as a template reads it."""

    step: Step

    def __getattr__(self, name: str) -> Any:
        return getattr(self.step, name)

    @property
    def frozen(self) -> int:
        return int(self.step.make is not None)


def plan(
    request: ResizeRequest,
    *,
    name: str = "resize",
    bottom: str = "data",
    top: str | None = None,
    strategy: str = "",
    limits: Limits = UNLIMITED,
    approximate: bool = False,
    whole: bool = True,
    templates: str | Path | None = None,
) -> Plan:
    """Return the cheapest plan for a request; see ``decide``.

    Args:
        whole: whether the text has an Input layer.

    Raises:
        InputError: a name is empty, or the strategy is unknown.
        UnsupportedError: no exact plan exists; the message lists the reasons.
    """
    decision = decide(request, strategy, limits, approximate)
    return Plan(
        request,
        decision,
        name=name,
        bottom=bottom,
        top=name if top is None else top,
        whole=whole,
        templates=templates,
    )
