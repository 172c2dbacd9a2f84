"""Resize conventions of other software: one Sampling for each of its modes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from protogen.errors import InputError, UnsupportedError, did_you_mean
from protogen.resampling.sampling import Sampling

_TF = partial(Sampling, software="tensorflow")
_PYTORCH = partial(Sampling, software="torch")
_CV = partial(Sampling, software="opencv")
_PIL = partial(Sampling, software="pillow", exclude_outside=True)

_TF2 = {
    "nearest": _TF("nearest", "tf_half_pixel_for_nn", "floor"),
    "bilinear": _TF("bilinear"),
    "cubic": _TF("cubic", cubic_a=-0.5, exclude_outside=True, steps=1024),
    "lanczos": _TF("lanczos", exclude_outside=True),
    "area": _TF("area"),
}

# Software -> mode -> Sampling. Each entry is tested against the numbers of that software.
LIKE: dict[str, dict[str, Sampling]] = {
    "keras": _TF2,
    "tf2": _TF2,
    "tf1": {
        "nearest": _TF("nearest", "asymmetric", "floor"),
        "bilinear": _TF("bilinear", "asymmetric"),
        "cubic": _TF("cubic", "asymmetric", steps=1024),
        "area": _TF("area"),
    },
    "torch": {
        "nearest": _PYTORCH("nearest", "asymmetric", "floor"),
        "nearest-exact": _PYTORCH("nearest", "tf_half_pixel_for_nn", "floor"),
        "bilinear": _PYTORCH("bilinear"),
        "cubic": _PYTORCH("cubic"),
        "area": _PYTORCH("adaptive"),
    },
    "torch-align": {
        "bilinear": _PYTORCH("bilinear", "align_corners"),
        "cubic": _PYTORCH("cubic", "align_corners"),
    },
    "opencv": {
        "nearest": _CV("nearest", "asymmetric", "floor"),
        "bilinear": _CV("bilinear"),
        "cubic": _CV("cubic"),
        "lanczos": _CV("lanczos", lobes=4),
        "area": _CV("area"),
    },
    "pillow": {
        "nearest": _PIL("nearest", "tf_half_pixel_for_nn", "floor", exclude_outside=False),
        "bilinear": _PIL("bilinear", antialias=True),
        "cubic": _PIL("cubic", cubic_a=-0.5, antialias=True),
        "lanczos": _PIL("lanczos", antialias=True),
        "area": _PIL("box", antialias=True),
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
        return _CV("bilinear", "opencv_area")
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
