"""``resize``: from a user's words to a plan."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from protogen.errors import InputError
from protogen.generate.plan import Plan, plan
from protogen.generate.specification import pair, parse_shape, whole
from protogen.geometry import Shape
from protogen.resampling import conventions
from protogen.resampling.matrices import Sampling, keep_aspect
from protogen.resampling.request import ResizeRequest
from protogen.toolchains.limits import Limits, load_target, parse_limits

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
    """A resize of (N, C, H, W), up or down, as stock Caffe layers that compute it exactly.

    The cheapest plan is chosen: one layer where that is exact, a Deconvolution or Convolution with
    a correction of the border, or two matrix products. Its error is measured by running it.

    Args:
        factor: output pixels an input pixel: 2, 1.5, "3/2", (height, width) or "1.5x2".
        size: output height and width, such as "64x48"; instead of a factor, or with it.
        input_shape: (N, C, H, W). Without it the plan must hold for any size, which fewer do.
        channels: C where there is no input shape; 3 unless given.
        mode: bilinear, nearest, cubic, lanczos or area.
        align: where pixels lie: half_pixel (the default), align_corners, asymmetric, or another
            of ONNX's coordinate_transformation_mode.
        like: as keras, tf1, tf2, torch, torch-align, opencv or pillow does; instead of ``align``,
            ``rounding``, ``cubic_a`` and ``exclude_outside``.
        rounding: ONNX's nearest_mode. cubic_a: of the cubic, -0.75 unless given.
        exclude_outside, antialias: as ONNX's Resize.
        policy: ONNX's keep_aspect_ratio_policy, for ``size``.
        roi, extrapolation: for tf_crop_and_resize: (top, left, bottom, right) in shares of the
            input, and the value outside.
        strategy: only this one, such as "deconvolution+scale" or "matrix".
        target: a target's name or TOML file, or several: the plan keeps within its limits.
        limits: further ones, such as "kernel<=7,stride<=4,no-group".
        approximate: where nothing is exact, the best there is, with its error.
        whole_net: with an Input layer; unless given, where the input's shape is.
        templates: a folder whose templates override ours by name.

    Raises:
        InputError: a value is wrong or out of range, or sizes do not fit.
        UnsupportedError: nothing exact is possible (within the limits); every reason is named.
    """
    shape = None if input_shape is None else parse_shape(input_shape)
    _check_given(shape, channels, factor, size)
    scale = None if factor is None else parse_scale(factor)
    out = None if size is None else parse_size(size)
    wanted = (shape[2], shape[3]) if shape else None
    if out and wanted and policy != "stretch":
        outs, scales = keep_aspect(wanted, out, policy)
        out, scale = (outs[0], outs[1]), (scales[0], scales[1])
    form = (mode, align, like, rounding, cubic_a, exclude_outside, antialias)
    sampling = _sampling(*form, _enlarges(wanted, scale, out))
    request = ResizeRequest(
        sampling,
        batch=shape[0] if shape else 1,
        channels=shape[1] if shape else whole("channels", 3 if channels is None else channels),
        size=wanted,
        scale=scale,
        out=out,
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


def _check_given(shape: Shape | None, channels: object, factor: object, size: object) -> None:
    if shape and channels is not None and channels != shape[1]:
        raise InputError(
            f"{channels} is not the input shape's {shape[1]}",
            subject="channels",
            advice="Drop one.",
        )
    if factor is None and size is None:
        raise InputError(
            "neither a factor nor a size is given",
            subject="factor",
            advice="Say --factor or --size.",
        )


def gather_limits(
    target: str | Path | Sequence[str | Path] | None = None, limits: str = ""
) -> Limits:
    """Limits of targets and of a text together.

    Raises:
        InputError: a target is not known, its file is wrong, or a part of the text is no limit.
    """
    names = [target] if isinstance(target, (str, Path)) else list(target or ())
    made = parse_limits(limits)
    for one in names:
        made = load_target(one) | made
    return made


def parse_scale(value: object) -> _PAIR:
    """(height, width) of a factor: a number above 0, two of them, or text such as 1.5, 3/2, 2x3.

    Raises:
        InputError: it is anything else.
    """
    first, second = pair("factor", value, "Give F or HxW, such as 1.5x2.")
    return _number(first, value), _number(second, value)


def _number(part: Any, value: object) -> float:
    try:
        exact = Fraction(part.strip() if isinstance(part, str) else part)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        problem = f"{str(value)[:40]!r} is no factor"
        raise InputError(
            problem, subject="factor", advice="Give one such as 2, 1.5, 3/2 or 2x4."
        ) from None
    if not 0 < exact <= 2**16 or exact < Fraction(1, 2**16):
        raise InputError(
            f"{str(part)[:40]} is out of range",
            subject="factor",
            advice="Give one such as 2, 1.5 or 3/2.",
        )
    return float(exact)


def parse_size(value: object, key: str = "size") -> tuple[int, int]:
    """(height, width): a whole number, two of them, or text such as 64 and 64x48.

    Raises:
        InputError: it is anything else, or below 1.
    """
    parts = pair(key, value, "Give two lengths, such as 64x48.")
    made = (whole(key, parts[0]), whole(key, parts[1]))
    if min(made) < 1 or max(made) > 2**20:
        raise InputError(
            f"{min(made)}x{max(made)} is out of range",
            subject=key,
            advice="Give lengths from 1 on.",
        )
    return made


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
        return Sampling(
            mode,
            align or "half_pixel",
            rounding or "round_prefer_floor",
            -0.75 if cubic_a is None else cubic_a,
            3,
            exclude_outside,
            antialias,
        )
    given = {
        "align": align,
        "rounding": rounding,
        "cubic-a": cubic_a,
        "exclude-outside": exclude_outside or None,
    }
    for key, value in given.items():
        if value is not None:
            raise InputError(
                f"--{key} and --like exclude each other", subject=key, advice=f"{like} has its own."
            )
    return conventions.like(like, mode, antialias=antialias, enlarges=enlarges)


def _enlarges(
    size: tuple[int, int] | None, scale: _PAIR | None, out: tuple[int, int] | None
) -> bool:
    if out and size:
        return out[0] > size[0] or out[1] > size[1]
    return scale is not None and max(scale) > 1


def _roi(roi: Sequence[float] | None) -> tuple[_PAIR, _PAIR]:
    if roi is None:
        return (0.0, 1.0), (0.0, 1.0)
    if len(roi) != 4:
        raise InputError(
            f"{list(roi)} is no top,left,bottom,right", subject="roi", advice="Give four shares."
        )
    top, left, bottom, right = map(float, roi)
    return (top, bottom), (left, right)
