"""Activation functions: what each does to a signal, computed by running the layer.

Nothing here is looked up: a net of the layer alone is run by onnxruntime, and its values tell the
range, the slopes (differences of neighbouring values) and where it saturates.
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

SPAN = 8.0  # of the curve
POINTS = 1025
FLAT = 0.01  # a slope below this hands on next to nothing
FAR = 1000.0  # what a function does far from 0
TIMED = 1 << 20  # elements of a timed run
RUNS = 9


@dataclass(frozen=True, slots=True)
class Activation:
    """One function. ``low`` and ``high`` are None where it is not bounded; ``mean`` is what comes out
    of normal numbers; ``flat_below`` and ``flat_above`` are where its slope falls under 0.01;
    ``slopes_at_0`` are those on either side."""

    name: str
    low: float | None
    high: float | None
    mean: float
    zero_centred: bool
    flat_below: float | None
    flat_above: float | None
    largest_slope: float
    slopes_at_0: tuple[float, float]
    nanoseconds: float | None
    suits: str

    def plain(self) -> dict[str, Any]:
        """As data for JSON."""
        return asdict(self)


def activations(names: Sequence[str] = (), *, timed: bool = True) -> list[Activation]:
    """What these activation functions do; all of them where none is named.

    Args:
        timed: measure nanoseconds an element on this machine, one thread.

    Raises:
        InputError: a name is not known.
    """
    chosen = [_known(name) for name in names] or list(FORMS)
    return [_facts(name, timed) for name in chosen]


def _known(name: str) -> str:
    alike = {known.lower(): known for known in FORMS} | {k.lower(): v for k, v in ALSO.items()}
    if name.lower() not in alike:
        known = f"Known are {', '.join(FORMS)}."
        raise InputError(
            "there is no such activation here",
            subject=f'"{name}"',
            advice=did_you_mean(name, (*FORMS, *ALSO)) or known,
        )
    return alike[name.lower()]


def net_of(name: str, count: int) -> Net:
    """The activation alone, for ``count`` numbers."""
    text = [
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 1 '
        f"dim: {count} }} }} }}"
    ]
    for i, layer in enumerate(FORMS[name].layers):
        bottom = f"y{i}" if i else "x"
        text.append(f'layer {{ name: "l{i}" bottom: "{bottom}" top: "y{i + 1}" {layer} }}')
    net = Net(prototxt.parse("\n".join(text), name))
    from protogen.training.initialisation import initialise

    return initialise(net)


def curve(name: str, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """The function's values at these places."""
    import numpy as np

    from protogen.running.runtime import run

    net = net_of(name, x.size)
    found = run(net, {"x": x.reshape(1, 1, 1, -1).astype(np.float32)})
    made: NDArray[np.float64] = found[net.outputs[0]].reshape(-1).astype(np.float64)
    return made


def sampled(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(x, y, slopes between neighbouring x) over [-8, 8]."""
    import numpy as np

    x = np.linspace(-SPAN, SPAN, POINTS)  # a step of 1/64, which float32 holds
    y = curve(name, x.astype(np.float32))
    return x, y, np.diff(y) / np.diff(x)


def _facts(name: str, timed: bool) -> Activation:
    import numpy as np

    x, y, slopes = sampled(name)
    far = curve(name, np.array([-FAR, FAR], np.float32))
    everything = np.concatenate([y, far])
    bounded = [abs(end) < FAR / 10 for end in far]
    low = float(everything.min()) if bounded[0] and (bounded[1] or far[1] > 0) else None
    high = float(everything.max()) if bounded[1] and (bounded[0] or far[0] < 0) else None
    normal = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    mean = float(curve(name, normal).mean())
    middle = len(slopes) // 2
    return Activation(
        name,
        low,
        high,
        mean,
        zero_centred=abs(mean) < 0.02,
        flat_below=_flat(x[1:], slopes),
        flat_above=_flat(-x[::-1][1:], slopes[::-1], -1),
        largest_slope=float(slopes.max()),
        slopes_at_0=(float(slopes[middle - 1]), float(slopes[middle])),
        nanoseconds=_nanoseconds(name) if timed else None,
        suits=FORMS[name].suits,
    )


def _flat(x: NDArray[np.float64], slopes: NDArray[np.float64], sign: int = 1) -> float | None:
    """Up to where all slopes from this end on are flat; None where the end is not flat."""
    import numpy as np

    steep = np.flatnonzero(np.abs(slopes) >= FLAT)
    first = int(steep[0]) if steep.size else len(slopes)
    return sign * float(x[first - 1]) if first else None


def _nanoseconds(name: str) -> float:
    """The median of some runs, for one element; without what a run costs by itself."""
    import numpy as np
    import onnxruntime

    from protogen.onnx import encode, lower, to_model

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    times = []
    for count in (1, TIMED):
        model = encode(to_model(lower(net_of(name, count))))
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        x = np.random.default_rng(0).standard_normal((1, 1, 1, count)).astype(np.float32)
        found = []
        for _ in range(RUNS):
            start = time.perf_counter()
            session.run(None, {"x": x})
            found.append(time.perf_counter() - start)
        times.append(sorted(found)[RUNS // 2])
    return max(times[1] - times[0], 0.0) / TIMED * 1e9


def written(value: float | None) -> str:
    """A bound as people write it."""
    if value is None:
        return "no bound"
    return f"{value:.3g}" if math.isfinite(value) else str(value)
