"""``resize``: parses the options and plans the resize."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from protogen.errors import InputError
from protogen.generate.plan import Plan, plan
from protogen.generate.specification import parse_integer, parse_pair, parse_shape
from protogen.geometry import Shape
from protogen.legalization.limits import gather_limits
from protogen.resampling import conventions
from protogen.resampling.matrices import keep_aspect
from protogen.resampling.request import ResizeRequest
from protogen.resampling.sampling import Sampling

_PAIR = tuple[float, float]


def resize(
    factor: float | str | Sequence[float] | None = None,
    *,
    size: str | int | Sequence[int] | None = None,
    input_shape: Sequence[int] | str | None = None,
    channels: int | None = None,
    mode: str = "bilinear",
    align: str | None = None,
    like: str | None = None,
    rounding: str | None = None,
    cubic_a: float | None = None,
    exclude_outside: bool = False,
    antialias: bool = False,
    policy: str = "stretch",
    roi: Sequence[float] | None = None,
    extrapolation: float = 0.0,
    strategy: str = "",
    target: str | Path | Sequence[str | Path] | None = None,
    limits: str = "",
    approximate: bool = False,
    name: str = "resize",
    bottom: str = "data",
    top: str | None = None,
    whole_net: bool | None = None,
    templates: str | Path | None = None,
) -> Plan:
    """Plan a resize of (N, C, H, W), up or down, as stock Caffe layers that compute it exactly.

    The cheapest plan is chosen: one layer where that is exact, a Deconvolution or Convolution with
    a border correction, or two matrix products. Its error is measured by running it.

    Args:
        factor: output size divided by input size: 2, 1.5, "3/2", (height, width) or "1.5x2".
        size: output height and width, such as "64x48"; instead of a factor, or with it.
        input_shape: (N, C, H, W). Without it the plan must hold for any size, and fewer
            strategies are possible.
        channels: C where there is no input shape; the default is 3.
        mode: bilinear, nearest, cubic, lanczos or area, or with ``like="torch"`` nearest-exact.
        align: the positions of the pixels: half_pixel (the default), align_corners, asymmetric,
            or another coordinate_transformation_mode of ONNX.
        like: the software to match: keras, tf1, tf2, torch, torch-align, opencv or pillow. It
            replaces ``align``, ``rounding``, ``cubic_a`` and ``exclude_outside``.
        rounding: ONNX's nearest_mode.
        cubic_a: coefficient of the cubic kernel; the default is -0.75.
        exclude_outside, antialias: as ONNX's Resize.
        policy: ONNX's keep_aspect_ratio_policy, for ``size``.
        roi, extrapolation: for tf_crop_and_resize: (top, left, bottom, right) as fractions of the
            input, and the value outside of the input.
        strategy: the only strategy to try, such as "deconvolution+scale" or "matrix".
        target: name or TOML file of a target, or several of them, whose limits the plan meets.
        limits: further limits, such as "kernel<=7,stride<=4,no-group".
        approximate: accept the plan with the smallest error where no exact plan exists.
        whole_net: whether the text has an Input layer; by default only with an input shape.
        templates: a folder whose templates override the built-in ones by name.

    Raises:
        InputError: a value is invalid or out of range, or sizes do not fit.
        UnsupportedError: no exact plan exists (within the limits); the message lists all reasons.
    """
    shape = None if input_shape is None else parse_shape(input_shape)
    _check_options(shape, channels, factor, size)
    scale = None if factor is None else parse_scale(factor)
    output = None if size is None else parse_size(size)
    input_size = (shape[2], shape[3]) if shape else None
    if output and input_size and policy != "stretch":
        outputs, scales = keep_aspect(input_size, output, policy)
        output, scale = (outputs[0], outputs[1]), (scales[0], scales[1])
    options = (mode, align, like, rounding, cubic_a, exclude_outside, antialias)
    sampling = _sampling(*options, _enlarges(input_size, scale, output))
    request = ResizeRequest(
        sampling,
        batch=shape[0] if shape else 1,
        channels=shape[1]
        if shape
        else parse_integer("channels", 3 if channels is None else channels),
        size=input_size,
        scale=scale,
        out=output,
        roi=_roi(roi),
        extrapolation=extrapolation,
    )
    return plan(
        request,
        name=name,
        bottom=bottom,
        top=top,
        strategy=strategy,
        limits=gather_limits(target, limits),
        approximate=approximate,
        whole=bool(shape) if whole_net is None else whole_net,
        templates=templates,
    )


def _check_options(shape: Shape | None, channels: object, factor: object, size: object) -> None:
    if shape and channels is not None and channels != shape[1]:
        raise InputError(
            f"{channels} does not match the {shape[1]} channels of the input shape",
            subject="channels",
            advice="Give only one of the two.",
        )
    if factor is None and size is None:
        raise InputError(
            "neither a factor nor a size is given",
            subject="factor",
            advice="Give --factor or --size.",
        )


def parse_scale(value: object) -> _PAIR:
    """Return the factor (height, width) of a number above 0, two numbers, or text.

    Examples of texts are 1.5, 3/2 and 2x3.

    Raises:
        InputError: the value has another form or is out of range.
    """
    first, second = parse_pair("factor", value, "Give F or HxW, such as 1.5x2.")
    return _number(first, value), _number(second, value)


def _number(part: Any, value: object) -> float:
    try:
        number = Fraction(part.strip() if isinstance(part, str) else part)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        problem = f"expected a number above 0, got {str(value)[:40]!r}"
        raise InputError(
            problem, subject="factor", advice="Give a factor such as 2, 1.5, 3/2 or 2x4."
        ) from None
    if not 0 < number <= 2**16 or number < Fraction(1, 2**16):
        raise InputError(
            f"out of range: expected a number from 2^-16 to 2^16, got {str(part)[:40]}",
            subject="factor",
            advice="Give a factor such as 2, 1.5 or 3/2.",
        )
    return float(number)


def parse_size(value: object, key: str = "size") -> tuple[int, int]:
    """Return the size (height, width) of an integer, two integers, or text such as 64x48.

    Raises:
        InputError: the value has another form, or a length is not from 1 to 2^20.
    """
    parts = parse_pair(key, value, "Give two lengths, such as 64x48.")
    lengths = (parse_integer(key, parts[0]), parse_integer(key, parts[1]))
    if min(lengths) < 1 or max(lengths) > 2**20:
        raise InputError(
            f"out of range: expected lengths from 1 to 2^20, got {lengths[0]}x{lengths[1]}",
            subject=key,
        )
    return lengths


def _sampling(
    mode: str,
    align: str | None,
    like: str | None,
    rounding: str | None,
    cubic_a: float | None,
    exclude_outside: bool,
    antialias: bool,
    enlarges: bool,
) -> Sampling:
    if like is None:
        if mode == "nearest-exact":
            raise InputError(
                "nearest-exact is a mode of PyTorch",
                subject="mode",
                advice="Add --like torch, or use nearest.",
            )
        return Sampling(
            mode,
            align or "half_pixel",
            rounding or "round_prefer_floor",
            -0.75 if cubic_a is None else cubic_a,
            3,
            exclude_outside,
            antialias,
        )
    excluded = {
        "align": align,
        "rounding": rounding,
        "cubic-a": cubic_a,
        "exclude-outside": exclude_outside or None,
    }
    for key, value in excluded.items():
        if value is not None:
            raise InputError(
                f"--{key} and --like cannot be used together",
                subject=key,
                advice=f"--like {like} already defines it.",
            )
    return conventions.like(like, mode, antialias=antialias, enlarges=enlarges)


def _enlarges(
    size: tuple[int, int] | None, scale: _PAIR | None, output: tuple[int, int] | None
) -> bool:
    if output and size:
        return output[0] > size[0] or output[1] > size[1]
    return scale is not None and max(scale) > 1


def _roi(roi: Sequence[float] | None) -> tuple[_PAIR, _PAIR]:
    if roi is None:
        return (0.0, 1.0), (0.0, 1.0)
    if len(roi) != 4:
        raise InputError(
            f"expected top,left,bottom,right, got {list(roi)}",
            subject="roi",
            advice="Give four fractions of the input size.",
        )
    top, left, bottom, right = map(float, roi)
    return (top, bottom), (left, right)
