"""The options of ``protogen convert``: which apply in which direction, and the arguments that they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options
from protogen.converting.sources import Source
from protogen.errors import InputError

if TYPE_CHECKING:
    from protogen.onnx import Preprocessing


NO_TARGET = "--target does not apply from Caffe to ONNX: no toolchain for Caffe reads the model"


def pixel_options(function: Any) -> Any:
    """The options for arithmetic on pixels: mean, scale and the order of channels."""
    for option in (
        click.option("--swap-channels", is_flag=True, help="Reverse the channels: RGB to BGR."),
        click.option("--scale", type=float, help="Multiply after the mean is subtracted."),
        click.option("--mean", metavar="B,G,R|FILE", help="Subtract numbers, or a mean file."),
    ):
        function = option(function)
    return function


def layout_options(function: Any) -> Any:
    """The options for the layout and the dtype of the model's input."""
    for option in (
        click.option("--uint8-input", is_flag=True, help="To ONNX: the input is uint8."),
        click.option("--nhwc-input", is_flag=True, help="To ONNX: the input is N, H, W, C."),
    ):
        function = option(function)
    return function


def preprocessing(flags: dict[str, Any]) -> Preprocessing | None:
    """Remove the preprocessing options from ``flags``; None if none of them is set.

    Raises:
        InputError: the mean is neither numbers nor a mean file.
    """
    keys = ("mean", "scale", "swap_channels", "nhwc_input", "uint8_input")
    chosen = {key: flags.pop(key, None) for key in keys}
    if not any(value is not None and value is not False for value in chosen.values()):
        return None
    import numpy as np

    from protogen.onnx import Preprocessing

    mean = options.mean(chosen["mean"]).astype(np.float32) if chosen["mean"] else None
    return Preprocessing(
        mean=mean,
        scale=1.0 if chosen["scale"] is None else chosen["scale"],
        swap_channels=chosen["swap_channels"],
        nhwc=bool(chosen["nhwc_input"]),
        uint8=bool(chosen["uint8_input"]),
    )


# Options of one direction: their default, and why the other direction does not have them.
_ONLY_TO_ONNX: dict[str, tuple[Any, str]] = {
    "opset": (18, "a Caffe net has no operator set"),
    "dynamic_batch": (False, "a Caffe net has a fixed batch size"),
    "expand": (False, "Caffe has LRN and PReLU"),
    "half": (False, "Caffe's weights are float32"),
    "external_data": (None, "Caffe's weights are always in a caffemodel"),
    "identities": ((), "an ONNX model has no Caffe layers"),
    "ignored_fields": ((), "an ONNX model has no Caffe layers"),
    "phase": ("TEST", "an ONNX model has no phases"),
    "level": (0, "an ONNX model has no levels"),
    "stages": ((), "an ONNX model has no stages"),
    "mean": (None, "use protogen preprocess on the result"),
    "scale": (None, "use protogen preprocess on the result"),
    "swap_channels": (False, "use protogen preprocess on the result"),
    "nhwc_input": (False, "Caffe's layout is N, C, H, W"),
    "uint8_input": (False, "Caffe's blobs are float32"),
    "receipt": (None, "a Caffe net has no receipt"),
}
_ONLY_TO_CAFFE: dict[str, tuple[Any, str]] = {
    "half_check": (False, "use protogen run --half-check on the net"),
    "weights": (None, "the weights are in the ONNX model"),
    "names": (None, "the ONNX model has the names of the blobs"),
    "drop_quantisation": (False, "a Caffe net is not quantised"),
    "scales": (None, "a Caffe net is not quantised"),
}
_FLAGS = {
    "identities": "layer-as-identity",
    "ignored_fields": "ignore-field",
    "stages": "stage",
    "weights": "caffemodel",
}


def check_options(source: Source, flags: dict[str, Any]) -> None:
    """Refuse options that have no effect: each would be ignored in silence otherwise."""
    from_onnx = source.onnx
    check_together(flags, from_onnx)
    if flags["jobs"] > 1:
        raise InputError("--jobs applies to several nets", where=source.net)
    direction = "from ONNX to Caffe" if from_onnx else "from Caffe to ONNX"
    if flags["toolchain"] and not (flags["dry_run"] or from_onnx):
        weights = f" {source.weights}" if source.weights else ""
        raise InputError(
            NO_TARGET,
            advice=f"To write the net for a toolchain: protogen rewrite {source.net}{weights} --target "
            f"{flags['toolchain']}",
        )
    for key, (default, reason) in (_ONLY_TO_ONNX if from_onnx else _ONLY_TO_CAFFE).items():
        if flags[key] != default:
            raise InputError(
                f"{flag_of(key)} does not apply {direction}: {reason}",
                advice=f"Write protogen convert {source.net} {flags[key]}, without the option."
                if key == "weights" and source.weights is None
                else "",
            )
    if from_onnx and flags["target"] and Path(flags["target"]).suffix == ".onnx":
        raise InputError(
            f"{source.net} is already an ONNX model",
            where=flags["target"],
            advice="Write a prototxt: -o net.prototxt.",
        )


def check_together(flags: dict[str, Any], from_onnx: bool) -> None:
    """Refuse options that exclude or need each other.

    Raises:
        InputError: two of them do.
    """
    if flags["tolerance"] is not None and not (flags["verify"] or flags["receipt"]):
        raise InputError("--tolerance needs --verify")
    if flags["half_check"] and (flags["dry_run"] or flags["as_json"]):
        raise InputError("--half-check does not apply with --dry-run or --json")
    if flags["explain"] and (flags["dry_run"] or not from_onnx):
        raise InputError("--explain applies from ONNX to Caffe only, and without --dry-run")


def flag_of(key: str) -> str:
    """Return the option of a parameter, such as ``--ignore-field``."""
    return f"--{_FLAGS.get(key, key).replace('_', '-')}"


def differing(flags: dict[str, Any], from_onnx: bool) -> list[str]:
    """Return the options of the other direction that are set."""
    others = _ONLY_TO_ONNX if from_onnx else _ONLY_TO_CAFFE
    return [flag_of(key) for key, (default, _) in others.items() if flags[key] != default]


def to_onnx_options(net: str | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``pg.convert``; ``net`` is the prototxt, to find its only input."""
    how = preprocessing(flags)
    reading = options.reading_of(flags)
    texts = flags["input_shapes"]
    shapes = (
        options.shapes(texts, list) if net is None else options.shapes_for(net, texts, **reading)
    )
    return {
        "opset": flags["opset"],
        "inputs": flags["from_blobs"],
        "outputs": flags["to_blobs"],
        "input_shapes": shapes,
        "dynamic_batch": flags["dynamic_batch"],
        "fold": flags["fold"] is not False,
        "expand": flags["expand"],
        "half": flags["half"],
        "external_data": flags["external_data"],
        "preprocessing": how,
        "receipt": flags["receipt"],
        "verify": flags["verify"],
        "seed": flags["seed"],
        "tolerance": flags["tolerance"],
        "ignored_fields": flags["ignored_fields"],
        **reading,
    }


def to_caffe_options(model: str | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``pg.convert_onnx``; ``model`` is the ONNX file, to find its only input."""
    texts = flags["input_shapes"]
    return {
        "caffemodel": flags["weights"],
        "dialect": flags["dialect"] or "",
        "target": flags["toolchain"],
        "fold": bool(flags["fold"]),
        "inputs": flags["from_blobs"],
        "outputs": flags["to_blobs"],
        "input_shapes": options.shapes(texts, list)
        if model is None
        else options.onnx_shapes(model, texts),
        "names": flags["names"],
        "drop_quantisation": flags["drop_quantisation"],
        "scales": flags["scales"],
        "verify": flags["verify"],
        "seed": flags["seed"],
        "tolerance": flags["tolerance"],
    }
