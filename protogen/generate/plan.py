"""A resize as stock layers: its text, net, weights, cost and error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.formats import prototxt, render
from protogen.geometry import Shape
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

MEASURED_UP_TO = 2**24  # values of the largest blob in a run that measures an error
EXACT_TO = 1e-5  # of the largest value: float32's rounding over a few layers


@dataclass(frozen=True, slots=True)
class PlanError:
    """The largest absolute errors against the wanted resize in float64, found by running the net
    on normal random data.

    ``inside`` is over the pixels whose weights are right, ``border`` over the others (0 where
    there are none); ``largest`` is the largest value of the true result, ``shape`` the input's.
    """

    inside: float
    border: float
    largest: float
    shape: Shape

    @property
    def exact(self) -> bool:
        """Whether nothing but float32's rounding is left."""
        return max(self.inside, self.border) <= EXACT_TO * max(1.0, self.largest)


@dataclass(frozen=True, slots=True)
class PlanCost:
    """What a plan costs. Bytes are of float32; counts are for the input's size (for a plan of any
    size, for a sample)."""

    layers: int
    parameters: int
    multiply_adds: int
    weight_bytes: int
    activation_bytes: int


class Plan:
    """A resize as stock layers.

    Attributes:
        request: what was asked for.
        decision: the plan that was chosen, the others, and why not those.
        steps: the layers.
        prototxt: the text, parsed and checked.
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
                raise InputError("is empty", subject=key, advice="Give a name.")
        if bottom == top:
            raise InputError(f"{top!r} is the bottom too", subject="top", advice="Choose another.")
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
        """The name of the way that was chosen, such as ``deconvolution+scale``."""
        return self.decision.chosen.label

    @property
    def _size(self) -> tuple[int, int]:
        return self.request.size or (PROBES[0], PROBES[0])

    @cached_property
    def net(self) -> Net:
        """The net with its weights; of bare layers, with an input of a size for probing."""
        return self._net(self.steps, self.prototxt if self.whole else self._render(self._inputs))

    @property
    def weights(self) -> dict[str, list[NDArray[np.float32]]]:
        """Weights by layer name; a kernel that all channels share is held once."""
        return self.net.weights

    @property
    def weights_needed(self) -> tuple[str, ...]:
        """Layers that no filler of Caffe can fill: their weights must come from a caffemodel."""
        return tuple(step.name for step in self.steps if not step.filled)

    @cached_property
    def error(self) -> PlanError:
        """The error, measured by running the emitted layers with onnxruntime."""
        return self.measure(self.decision.chosen)

    @cached_property
    def cost(self) -> PlanCost:
        """Layers, parameters, multiply-adds and memory, as ``protogen summary`` counts them."""
        return self.cost_of(self.steps)

    def cost_of(self, steps: Sequence[Step]) -> PlanCost:
        """The cost of a candidate's layers."""
        fresh = [step.values for step in steps if step.tops != step.bottoms[:1]]
        parameters = sum(step.parameters for step in steps)
        return PlanCost(
            len(steps),
            parameters,
            sum(s.multiply_adds for s in steps),
            4 * parameters,
            4 * sum(fresh),
        )

    def measure(self, candidate: Candidate, seed: int = 0) -> PlanError:
        """The error of a candidate. A large one is run with fewer channels: all are alike."""
        import numpy as np

        largest = max(step.values for step in candidate.steps)
        request = self.request
        if largest > MEASURED_UP_TO and request.channels > 1:
            request = replace(request, channels=1, batch=1)
        shape = (request.batch, request.channels, *self._size)
        x = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        found = self.run(candidate, x)
        wanted = request.wanted(x)
        wrong = np.abs(found - wanted)
        inside = self._right_pixels(candidate)
        return PlanError(
            float(wrong[:, :, inside].max(initial=0)),
            float(wrong[:, :, ~inside].max(initial=0)),
            float(np.abs(wanted).max(initial=0)),
            shape,
        )

    def run(self, candidate: Candidate, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """What a candidate's layers make of ``x`` (N, C, H, W), run by onnxruntime."""
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
        found: NDArray[np.float32] = run(net, {self.bottom: x})[self.top]
        return found

    def to_onnx(self, *, opset: int = 18) -> Model:
        """The layers as ONNX; of a plan for any size, batch, height and width are free.

        Raises:
            InputError: the installed onnx does not know ``opset``, or it is below 13.
        """
        from protogen.onnx import to_onnx

        free = (0, 2, 3) if self.request.size is None else ()
        return to_onnx(self.net, opset=opset, free_axes=free)

    def describe(self) -> dict[str, Any]:
        """Request, plan and cost as plain data."""
        asked = asdict(self.request)
        return {
            "name": self.name,
            "bottom": self.bottom,
            "top": self.top,
            "strategy": self.strategy,
            "request": asked,
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
        chosen = self._templates or "built in"
        return prototxt.parse(text, f"text rendered by the template ({chosen})", strict=True)

    def headline(self) -> str:
        """One line: what it computes and how."""
        r, s = self.request, self.request.sampling
        if r.size is None:
            assert r.scale is not None
            times = " x ".join(f"{f:g}" for f in dict.fromkeys(r.scale))
            what = f"by {times}, any size"
        else:
            what = f"{r.size[0]}x{r.size[1]} to {r.output[0]}x{r.output[1]}"
        how = f"{s.mode}, {s.align}" + (", antialias" if s.antialias else "")
        bound = self.decision.chosen.bound
        error = f"off by up to {bound:.3g} for data in [-1, 1]" if bound else "exact"
        return f"resize {what} ({how}): {self.strategy}, {error}"

    def _right_pixels(self, candidate: Candidate) -> NDArray[np.bool_]:
        """Output pixels whose weights are those of the wanted resize."""
        import numpy as np

        right = []
        for index, chain in enumerate(candidate.chains):
            axis = self.request.axes[index]
            own = chain.matrix(axis.size)
            right.append(np.abs(own - axis.matrix).max(axis=1) < 1e-9)
        inside: NDArray[np.bool_] = np.logical_and.outer(*right)
        return inside


@dataclass(frozen=True, slots=True)
class _Layer:
    """What a template sees of a step."""

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
    """The cheapest plan for a request; see ``decide``.

    Raises:
        InputError: a name is empty, or the strategy is not known.
        UnsupportedError: nothing exact is possible; the reasons are named.
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
