"""How a resize reads its input: mode, coordinate rule, kernel, and the software that is matched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

MODES = ("nearest", "bilinear", "cubic", "lanczos", "area", "box", "adaptive")
ALIGNS = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
    "opencv_area",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
OPSET_10 = "floor_or_ceil"  # operator set 10: ceil where the scale is below 1, else floor
POLICIES = ("stretch", "not_larger", "not_smaller")
SOFTWARE = ("", "onnxruntime", "torch", "tensorflow", "opencv", "pillow")


@dataclass(frozen=True)
class Sampling:
    """How output pixels read input pixels. The terms are those of ONNX's Resize where it has them.

    Attributes:
        mode: ``nearest``, ``bilinear`` (ONNX: linear), ``cubic``, and not in ONNX: ``lanczos``,
            ``area`` (mean over the exact extent of the output pixel), ``box`` (mean over the
            pixels whose centre lies in this extent: Pillow) and ``adaptive`` (mean over every
            pixel that this extent touches: PyTorch's area).
        align: ONNX's coordinate_transformation_mode, or ``opencv_area``: the rule by which OpenCV
            enlarges with INTER_AREA.
        rounding: ONNX's nearest_mode, or the rule of Resize in operator set 10.
        cubic_a: the coefficient of the cubic, ONNX's cubic_coeff_a: -0.75 in PyTorch and OpenCV,
            -0.5 in TensorFlow, Keras and Pillow.
        lobes: number of lobes of the Lanczos window: 3, or 4 in OpenCV.
        exclude_outside: pixels outside of the input have the weight 0, and the other weights are
            scaled to the sum 1. Otherwise the edge pixel is repeated.
        antialias: where the output is smaller, the kernel is as wide as an output pixel.
        steps: positions are rounded to 1 / steps of a pixel; 0 for no rounding. TensorFlow's cubic
            reads its weights from a table of 1024 steps.
        software: the software that is matched (see ``positions``): which output length a factor
            gives, which input pixel is the nearest where float32 decides, and where the software
            copies an axis. Without one, the formulas hold without rounding errors.

    Raises:
        InputError: a value is unknown, or ``antialias`` is used with nearest.
    """

    mode: str = "bilinear"
    align: str = "half_pixel"
    rounding: str = "round_prefer_floor"
    cubic_a: float = -0.75
    lobes: int = 3
    exclude_outside: bool = False
    antialias: bool = False
    steps: int = 0
    software: str = ""

    def __post_init__(self) -> None:
        for key, value, known in (
            ("mode", self.mode, MODES),
            ("align", self.align, ALIGNS),
            ("rounding", self.rounding, (*ROUNDINGS, OPSET_10)),
            ("software", self.software, SOFTWARE),
        ):
            if value not in known:
                raise InputError(
                    f"unknown value {value!r}",
                    subject=key,
                    advice=f"Known values: {', '.join(filter(None, known))}.",
                )
        if self.antialias and self.mode == "nearest":
            raise InputError(
                "not supported for mode nearest, which has no kernel",
                subject="antialias",
                advice="Choose another mode.",
            )

    @property
    def support(self) -> float:
        """Half of the width of the kernel, in input pixels."""
        reach = {"bilinear": 1.0, "cubic": 2.0, "lanczos": float(self.lobes), "box": 0.5}
        return reach[self.mode]

    def kernel(self, x: Vector) -> Vector:
        """Return the values of the kernel at the distances ``x``; cubic: Keys 1981."""
        import numpy as np

        d = np.abs(x)
        if self.mode == "bilinear":
            triangle: Vector = np.maximum(1 - d, 0)
            return triangle
        if self.mode == "box":  # half-open: a pixel between two boxes belongs to one of them
            return ((x > -0.5) & (x <= 0.5)).astype(np.float64)
        if self.mode == "cubic":
            a = self.cubic_a
            near = ((a + 2) * d - (a + 3)) * d * d + 1
            far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
            return np.where(d <= 1, near, np.where(d < 2, far, 0))
        return np.where(d < self.lobes, np.sinc(x) * np.sinc(x / self.lobes), 0)


LINEAR = Sampling()
