"""Verify upsampling layers: run the emitted ONNX and compare it with onnxruntime's Resize."""

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

# The rounding of sums of four float32 products, and of Resize: a few units in the last place.
TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Check:
    """Comparison of one layer with onnxruntime's Resize on one input.

    ``inside`` and ``border`` are the largest absolute errors. ``largest`` is the largest magnitude
    of the output of Resize. ``ring`` is the width (height, width) of the border in output pixels.
    """

    layer: str
    data: str
    inside: float
    border: float
    largest: float
    ring: tuple[int, int]

    @property
    def passed(self) -> bool:
        """Whether the error inside is only rounding. Without a ring, inside is the whole output."""
        return self.inside <= TOLERANCE * max(1.0, self.largest)

    def plain(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self) | {"passed": self.passed, "tolerance": TOLERANCE}


def verify_upsampling(up: Upsampling, *, seed: int = 0) -> list[Check]:
    """Compare each layer with onnxruntime's Resize (linear, half_pixel; or nearest).

    The emitted ONNX runs in onnxruntime on random data and on a ramp. Resize reads the same input.

    Raises:
        MismatchError: an error inside the border is larger than rounding; ``table`` has the checks.
        InputError: a blob would need more than 1 GiB.
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
            f"differs from Resize by {worst.inside:.3g} inside the border ({worst.data} data), "
            f"but at most {TOLERANCE * max(1.0, worst.largest):.3g} is allowed",
            subject=f"layer {worst.layer!r}",
            advice="Check that the template and the weights match the specification.",
            table=checks,
        )
    return checks


def _check_memory(up: Upsampling) -> None:
    """Raise InputError where a blob would need more than 1 GiB, before memory is allocated."""
    for spec in up.specs:
        shape = up.net.shapes[spec.top] or ()
        size = 4 * math.prod(shape)
        if size > 2**30:
            raise InputError(
                f"its top of {'x'.join(map(str, shape))} needs {size / 2**30:.1f} GiB, but at "
                "most 1 GiB can be verified",
                subject=f"layer {spec.name!r}",
                advice="Verify with a smaller input shape, factor or number of channels.",
            )


def _ramp(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return data that rises by 1 per pixel along the width and by 2 along the height."""
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

    expected = run_model(encode(resize_model(spec.mode, spec.factor)), {"x": bottom})["y"]
    if top.shape != expected.shape:
        actual_size, expected_size = (shape_text(array.shape[2:]) for array in (top, expected))
        raise MismatchError(
            f"expected an output of {expected_size}, got {actual_size}",
            subject=f"layer {spec.name!r}",
            advice="Check that the template matches the specification.",
        )
    error = np.abs(top - expected)
    h, w = spec.ring
    inside_error = error[:, :, h : error.shape[2] - h, w : error.shape[3] - w]
    ring = np.ones(error.shape[2:], bool)
    ring[h : error.shape[2] - h, w : error.shape[3] - w] = False
    border_error = error[:, :, ring]
    return Check(
        spec.name,
        data,
        float(inside_error.max(initial=0.0)),
        float(border_error.max(initial=0.0)),
        float(np.abs(expected).max(initial=0.0)),
        spec.ring,
    )
