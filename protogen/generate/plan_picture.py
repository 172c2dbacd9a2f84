"""Data for the picture of a plan: its candidates and the classic layer, applied to a zone plate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogen.errors import UnsupportedError
from protogen.generate.plan import Plan
from protogen.resampling.planning import APPROXIMATE, Candidate, decide
from protogen.resampling.stages import Conv, Deconv, Mix, Pool, Stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SAMPLE_SIZE = 32  # height and width of the zone plate of a plan for any size
_ROWS = 3  # candidates that are shown
_LARGEST_SIZE = 512


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate in the picture.

    Attributes:
        taps: the kernels or the matrices; NaN in the gaps between them.
        output: the zone plate after the candidate's layers.
        error: the absolute difference from the exact resize.
    """

    label: str
    layers: str
    taps_title: str
    taps: NDArray[np.float64]
    output: NDArray[np.float32]
    error: NDArray[np.float64]


def pictures(
    plan: Plan,
) -> tuple[str, NDArray[np.float32], NDArray[np.float64], list[Row]]:
    """Return the title, the zone plate, its exact resize, and one row for each candidate.

    The chosen candidate is first, the approximation is last.

    Raises:
        UnsupportedError: the input or the output is larger than 512 pixels along an axis.
    """
    import numpy as np

    height, width = plan.request.size or (_SAMPLE_SIZE, _SAMPLE_SIZE)
    if max(height, width, *(plan.request.output if plan.request.size else ())) > _LARGEST_SIZE:
        raise UnsupportedError(
            f"cannot draw a resize of more than {_LARGEST_SIZE} pixels along an axis",
            subject="--plot",
            advice="Plan a smaller resize with the same ratio.",
        )
    plate = zone_plate(height, width)
    x = plate[None, None]
    expected = plan.request.wanted(x)[0, 0]
    rows = []
    for candidate in (*plan.decision.candidates[:_ROWS], *_classic(plan)):
        output = plan.run(candidate, x)[0, 0]
        title, taps = _taps(candidate)
        layers = ", ".join(step.type for step in candidate.steps)
        error = np.abs(output - expected)
        rows.append(Row(candidate.label, layers, title, taps, output, error))
    return plan.headline(), plate, expected, rows


def zone_plate(height: int, width: int) -> NDArray[np.float32]:
    """Return a zone plate of shape (height, width), float32, in [-1, 1].

    Its rings are finer towards the border, up to a quarter of the sampling rate.
    """
    import numpy as np

    y = np.arange(height) - (height - 1) / 2
    x = np.arange(width) - (width - 1) / 2
    radius = y[:, None] ** 2 + x[None, :] ** 2
    plate: NDArray[np.float32] = np.cos(np.pi * radius / (2 * max(height, width))).astype(
        np.float32
    )
    return plate


def _classic(plan: Plan) -> list[Candidate]:
    """Return the best candidate without a border correction; empty where there is none."""
    try:
        return list(decide(plan.request, APPROXIMATE).candidates[:1])
    except UnsupportedError:
        return []


def _taps(candidate: Candidate) -> tuple[str, NDArray[np.float64]]:
    """Return a title, and the kernels or the two matrices side by side."""
    import numpy as np

    pairs = list(zip(candidate.chains[0].stages, candidate.chains[1].stages, strict=True))
    for h, w in pairs:
        if isinstance(h, Mix) and isinstance(w, Mix):
            rows = max(len(h.weights), len(w.weights))
            both = [_padded(m.weights, rows) for m in (h, w)]
            gap = np.full((rows, 2), np.nan)
            return "matrices of height and width", np.hstack([both[0], gap, both[1]])
    kernels = [np.outer(_kernel(h), _kernel(w)) for h, w in pairs if _kernel(h) and _kernel(w)]
    rows = max(len(k) for k in kernels)
    parts = []
    for kernel in kernels:
        parts += [_padded(kernel, rows), np.full((rows, 1), np.nan)]
    sizes = ", ".join(f"{k.shape[0]}x{k.shape[1]}" for k in kernels)
    return f"kernel {sizes}", np.hstack(parts[:-1])


def _kernel(stage: Stage) -> tuple[float, ...]:
    if isinstance(stage, (Deconv, Conv)):
        return stage.kernel
    if isinstance(stage, Pool):
        return (1 / stage.window,) * stage.window
    return ()


def _padded(array: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    import numpy as np

    return np.pad(array, ((0, rows - len(array)), (0, 0)), constant_values=np.nan)
