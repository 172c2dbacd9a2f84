"""Resize conventions of other software: one Sampling for each of its modes."""

from __future__ import annotations

from dataclasses import replace

from protogen.errors import InputError, UnsupportedError, did_you_mean
from protogen.resampling.matrices import Sampling

_TF2 = {
    "nearest": Sampling("nearest", "tf_half_pixel_for_nn", "floor"),
    "bilinear": Sampling("bilinear"),
    "cubic": Sampling("cubic", cubic_a=-0.5, exclude_outside=True, steps=1024),
    "lanczos": Sampling("lanczos", exclude_outside=True),
    "area": Sampling("area"),
}
_TORCH = {
    "nearest": Sampling("nearest", "asymmetric", "floor"),
    "bilinear": Sampling("bilinear"),
    "cubic": Sampling("cubic"),
    "area": Sampling("adaptive"),
}

# Software -> mode -> Sampling. Each entry is tested against the numbers of that software.
LIKE: dict[str, dict[str, Sampling]] = {
    "keras": _TF2,
    "tf2": _TF2,
    "tf1": {
        "nearest": Sampling("nearest", "asymmetric", "floor"),
        "bilinear": Sampling("bilinear", "asymmetric"),
        "cubic": Sampling("cubic", "asymmetric", steps=1024),
        "area": Sampling("area"),
    },
    "torch": _TORCH,
    "torch-align": {
        "bilinear": Sampling("bilinear", "align_corners"),
        "cubic": Sampling("cubic", "align_corners"),
    },
    "opencv": {
        "nearest": Sampling("nearest", "asymmetric", "floor"),
        "bilinear": Sampling("bilinear"),
        "cubic": Sampling("cubic"),
        "lanczos": Sampling("lanczos", lobes=4),
        "area": Sampling("area"),
    },
    "pillow": {
        "nearest": Sampling("nearest", "tf_half_pixel_for_nn", "floor"),
        "bilinear": Sampling("bilinear", exclude_outside=True, antialias=True),
        "cubic": Sampling("cubic", cubic_a=-0.5, exclude_outside=True, antialias=True),
        "lanczos": Sampling("lanczos", exclude_outside=True, antialias=True),
        "area": Sampling("box", exclude_outside=True, antialias=True),
    },
}


def like(name: str, mode: str, *, antialias: bool = False, enlarges: bool = False) -> Sampling:
    """Return the Sampling that the software ``name`` uses in a mode.

    Args:
        antialias: the option of this name in the software.
        enlarges: whether an axis grows. OpenCV's INTER_AREA then follows another rule.

    Raises:
        InputError: the name is unknown.
        UnsupportedError: the software does not have the mode or the option.
    """
    if name not in LIKE:
        advice = did_you_mean(name, LIKE) or f"Known values: {', '.join(LIKE)}."
        raise InputError(f"unknown value {name!r}", subject="like", advice=advice)
    modes = LIKE[name]
    if mode not in modes:
        raise UnsupportedError(
            f"{name} has no mode {mode}", subject="like", advice=f"Known modes: {', '.join(modes)}."
        )
    sampling = modes[mode]
    if name == "opencv" and mode == "area" and enlarges:
        return Sampling("bilinear", "opencv_area")
    if not antialias or sampling.antialias:
        return sampling
    if (
        name not in ("torch", "tf2", "keras")
        or mode not in ("bilinear", "cubic", "lanczos")
        or mode not in modes
    ):
        raise UnsupportedError(
            f"{name} has no antialias option for {mode}",
            subject="like",
            advice="Leave out --antialias or --like.",
        )
    return replace(sampling, antialias=True, exclude_outside=True, cubic_a=-0.5, steps=0)
