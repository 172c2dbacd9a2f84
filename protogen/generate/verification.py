"""Proof by running: what the emitted layers compute against what they should."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, MismatchError
from protogen.generate.specification import UpsampleSpec
from protogen.generate.upsampling import Upsampling
from protogen.geometry import shape_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Sums of four float32 products, and Resize's own rounding: a few units in the last place.
TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Check:
    """One layer on one input against onnxruntime's Resize.

    ``inside`` and ``border`` are the largest absolute errors, ``largest`` the largest magnitude of
    the true values; ``ring`` is the width (height, width) of the border in output pixels.
    """

    layer: str
    data: str
    inside: float
    border: float
    largest: float
    ring: tuple[int, int]

    @property
    def passed(self) -> bool:
        """Whether the inside is exact to rounding (and the border, where there is no ring)."""
        return self.inside <= TOLERANCE * max(1.0, self.largest)

    def plain(self) -> dict[str, Any]:
        """As data for JSON."""
        return asdict(self) | {"passed": self.passed, "tolerance": TOLERANCE}


def verify_upsampling(up: Upsampling, *, seed: int = 0) -> list[Check]:
    """Runs the emitted ONNX in onnxruntime on random data and on a ramp, and compares each layer
    with onnxruntime's own Resize (linear, half_pixel; or nearest) of the same input.

    Raises:
        MismatchError: an error inside the border is larger than rounding; ``table`` has the rows.
    """
    import numpy as np

    from protogen.onnx import encode, with_outputs
    from protogen.onnx.session import run_model

    _check_memory(up)
    model = encode(with_outputs(up.to_onnx(), [spec.top for spec in up.specs]))
    checks: list[Check] = []
    for data in ("random", "ramp"):
        generator = np.random.default_rng(seed)
        feeds: dict[str, NDArray[np.float32]] = {}
        for name in up.net.inputs:
            shape = up.net.shapes[name] or ()
            feeds[name] = (
                generator.standard_normal(shape, dtype=np.float32)
                if data == "random"
                else _ramp(shape)
            )
        values = feeds | run_model(model, feeds)
        checks += (_check(spec, data, values[spec.bottom], values[spec.top]) for spec in up.specs)
    failed = [check for check in checks if not check.passed]
    if failed:
        worst = max(failed, key=lambda check: check.inside)
        raise MismatchError(
            f"differs from Resize by {worst.inside:.3g} inside the border ({worst.data} data)",
            subject=f"layer {worst.layer!r}",
            advice="Its template or weights are not those of the specification.",
            table=checks,
        )
    return checks


def _check_memory(up: Upsampling) -> None:
    """Refuses a run whose largest blob passes 1 GiB, before anything is taken."""
    for spec in up.specs:
        shape = up.net.shapes[spec.top] or ()
        size = 4 * math.prod(shape)
        if size > 2**30:
            raise InputError(
                f"running it makes a blob of {'x'.join(map(str, shape))}, {size / 2**30:.1f} GiB",
                subject=f"layer {spec.name!r}",
                advice="Verify it with a smaller input shape, factor or channel count.",
            )


def _ramp(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Rises by 1 a pixel along width and by 2 along height."""
    import numpy as np

    rows = 2 * np.arange(shape[2], dtype=np.float32)[:, None]
    columns = np.arange(shape[3], dtype=np.float32)[None, :]
    return np.ascontiguousarray(np.broadcast_to(rows + columns, shape))


def _check(
    spec: UpsampleSpec, data: str, bottom: NDArray[np.float32], top: NDArray[np.float32]
) -> Check:
    import numpy as np

    from protogen.onnx import encode, resize_model
    from protogen.onnx.session import run_model

    true = run_model(encode(resize_model(spec.mode, spec.factor)), {"x": bottom})["y"]
    if top.shape != true.shape:
        found, wanted = (shape_text(array.shape[2:]) for array in (top, true))
        raise MismatchError(
            f"makes {found}, but must be {wanted}",
            subject=f"layer {spec.name!r}",
            advice="Its template is not that of the specification.",
        )
    error = np.abs(top - true)
    h, w = spec.ring
    inner = error[:, :, h : error.shape[2] - h, w : error.shape[3] - w]
    ring = np.ones(error.shape[2:], bool)
    ring[h : error.shape[2] - h, w : error.shape[3] - w] = False
    outer = error[:, :, ring]
    return Check(
        spec.name,
        data,
        float(inner.max(initial=0.0)),
        float(outer.max(initial=0.0)),
        float(np.abs(true).max(initial=0.0)),
        spec.ring,
    )
