"""Measured properties of activation functions: range, mean, slopes, saturation, run time.

No property is taken from a table. onnxruntime runs a net that contains only the activation. The
range, the slopes (differences of neighbouring values) and the saturation follow from its output.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, did_you_mean
from protogen.formats import prototxt
from protogen.layers.functions import ALSO, FORMS
from protogen.net.net import Net

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPAN = 8.0  # the curve is sampled over [-SPAN, SPAN]
POINTS = 1025  # samples of the curve
FLAT = 0.01  # a smaller slope passes almost no gradient
FAR = 1000.0  # input that shows the function's behaviour far from 0
TIMED = 1 << 20  # elements of a timed run
OPSET = 20  # the operator set of ONNX that defines Gelu
RUNS = 9  # timed runs, of which the median counts


@dataclass(frozen=True, slots=True)
class Activation:
    """Measured properties of one activation function.

    Attributes:
        low, high: the range; None where the function is not bounded.
        mean: the mean output for standard normal input.
        gain: 1 / sqrt(E[f(x)^2]) for standard normal x, by numerical integration. Weights with a
            standard deviation of gain / sqrt(inputs) keep the size of the signals.
        flat_below, flat_above: the inputs beyond which the slope is below 0.01; None where it is
            not.
        slopes_at_0: the slopes to the left and to the right of 0.
        nanoseconds: run time of one element; None where it was not measured.
        suits: the recommended weight filler.
    """

    name: str
    low: float | None
    high: float | None
    mean: float
    gain: float
    zero_centred: bool
    flat_below: float | None
    flat_above: float | None
    largest_slope: float
    slopes_at_0: tuple[float, float]
    nanoseconds: float | None
    suits: str

    def plain(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        return asdict(self)


def activations(names: Sequence[str] = (), *, timed: bool = True) -> list[Activation]:
    """Measure activation functions.

    Args:
        names: names of activation functions; all known ones by default.
        timed: measure nanoseconds per element on this machine, with one thread.

    Raises:
        InputError: a name is unknown.
    """
    known_names = [_known(name) for name in names] or list(FORMS)
    return [_facts(name, timed) for name in known_names]


def _known(name: str) -> str:
    """Return the key of ``FORMS`` for a name in any case or for a synonym."""
    by_lower_case = {known.lower(): known for known in FORMS}
    by_lower_case |= {synonym.lower(): known for synonym, known in ALSO.items()}
    if name.lower() not in by_lower_case:
        supported = f"Known functions: {', '.join(FORMS)}."
        raise InputError(
            "unknown activation function",
            subject=f'"{name}"',
            advice=did_you_mean(name, (*FORMS, *ALSO)) or supported,
        )
    return by_lower_case[name.lower()]


def net_of(name: str, count: int) -> Net:
    """Build a net that contains only the activation, for ``count`` numbers."""
    if FORMS[name].operator:
        return _imported(FORMS[name].operator, count)
    layers = [
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 1 '
        f"dim: {count} }} }} }}"
    ]
    for i, layer in enumerate(FORMS[name].layers):
        bottom = f"y{i}" if i else "x"
        layers.append(f'layer {{ name: "l{i}" bottom: "{bottom}" top: "y{i + 1}" {layer} }}')
    net = Net(prototxt.parse("\n".join(layers), name))
    from protogen.training.initialisation import initialise

    return initialise(net)


def _imported(operator: str, count: int) -> Net:
    """Return the layers that the importer writes for an operator of ONNX."""
    from protogen.onnx import to_model
    from protogen.onnx.importer.net import import_model
    from protogen.onnx.program import Node, Program, Value

    ends = [Value(end, (1, 1, 1, count)) for end in ("x", "y")]
    program = Program(operator, [Node(operator, ("x",), ("y",), {})], {}, ends[:1], ends[1:], OPSET)
    return import_model(to_model(program)).net


def curve(name: str, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the function's values at the inputs ``x``."""
    import numpy as np

    from protogen.running.runtime import run

    net = net_of(name, x.size)
    outputs = run(net, {"x": x.reshape(1, 1, 1, -1).astype(np.float32)})
    y: NDArray[np.float64] = outputs[net.outputs[0]].reshape(-1).astype(np.float64)
    return y


def sampled(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return (x, y, slopes between neighbouring x) over [-8, 8]."""
    import numpy as np

    x = np.linspace(-SPAN, SPAN, POINTS)  # the step 1/64 is exact in float32
    y = curve(name, x.astype(np.float32))
    return x, y, np.diff(y) / np.diff(x)


def _facts(name: str, timed: bool) -> Activation:
    import numpy as np

    x, y, slopes = sampled(name)
    far = curve(name, np.array([-FAR, FAR], np.float32))
    outputs = np.concatenate([y, far])
    bounded = [abs(end) < FAR / 10 for end in far]
    low = float(outputs.min()) if bounded[0] and (bounded[1] or far[1] > 0) else None
    high = float(outputs.max()) if bounded[1] and (bounded[0] or far[0] < 0) else None
    normal = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    mean = float(curve(name, normal).mean())
    middle = len(slopes) // 2
    return Activation(
        name,
        low,
        high,
        mean,
        _gain(x, y),
        zero_centred=abs(mean) < 0.02,
        flat_below=_flat(x[1:], slopes),
        flat_above=_flat(-x[::-1][1:], slopes[::-1], -1),
        largest_slope=float(slopes.max()),
        slopes_at_0=(float(slopes[middle - 1]), float(slopes[middle])),
        nanoseconds=_nanoseconds(name) if timed else None,
        suits=FORMS[name].suits,
    )


def _gain(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return 1 / sqrt(E[y^2]) for standard normal x, with the trapezoidal rule."""
    import numpy as np

    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    products = density * y * y
    squares = float(np.sum((products[1:] + products[:-1]) / 2 * np.diff(x)))
    return 1 / math.sqrt(squares)


def _flat(x: NDArray[np.float64], slopes: NDArray[np.float64], sign: int = 1) -> float | None:
    """Return the last x up to which all slopes from this end are flat; None where the first is steep."""
    import numpy as np

    steep = np.flatnonzero(np.abs(slopes) >= FLAT)
    first_steep = int(steep[0]) if steep.size else len(slopes)
    return sign * float(x[first_steep - 1]) if first_steep else None


def _nanoseconds(name: str) -> float:
    """Return the median run time per element, without the fixed cost of a run."""
    import numpy as np

    from protogen.onnx import encode, lower, to_model
    from protogen.onnx.session import library

    options = library().SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    medians = []
    for count in (1, TIMED):
        model = encode(to_model(lower(net_of(name, count))))
        session = library().InferenceSession(model, options, providers=["CPUExecutionProvider"])
        x = np.random.default_rng(0).standard_normal((1, 1, 1, count)).astype(np.float32)
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            session.run(None, {"x": x})
            seconds.append(time.perf_counter() - start)
        medians.append(sorted(seconds)[RUNS // 2])
    return max(medians[1] - medians[0], 0.0) / TIMED * 1e9


def written(value: float | None) -> str:
    """Return the text of a bound of the range."""
    if value is None:
        return "no bound"
    return f"{value:.3g}" if math.isfinite(value) else str(value)
