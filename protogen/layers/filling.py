"""What Caffe demands of how parameter blobs are made: fillers, and blobs that stand in a text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from protogen.errors import did_you_mean
from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType
from protogen.layers.fillers import CAFFES, EXTRAS
from protogen.layers.graph import Layer


def check_fillers(
    layer: Layer, kind: LayerType, bottoms: Sequence[Shape], blobs: Sequence[Shape]
) -> None:
    """Raises InputError for a filler that Caffe refuses to run."""
    for filling, shape in zip(kind.fillings(layer, bottoms, blobs), blobs, strict=False):
        if not filling.field:
            continue
        if not math.prod(shape):
            raise layer.error(f"its blob of shape {shape_text(shape)} holds no values")
        message: Any = layer.params
        *path, name = filling.field.split(".")
        for part in path:
            message = getattr(message, part)
        if message.has(name):
            check_filler(layer, getattr(message, name), name, shape)


def check_filler(layer: Layer, filler: Message, name: str, shape: Shape) -> None:
    """Raises InputError for a FillerParameter that Caffe refuses to run on a blob.

    Fillers that only protogen has are let pass, but for the dialect ``bvlc``.
    """
    kind = str(filler.type)
    what = f"its {name}, {kind},"
    if kind in EXTRAS and layer.dialect != "bvlc":
        return
    if kind not in CAFFES:
        advice = did_you_mean(kind, CAFFES) or f"Caffe has {', '.join(CAFFES)}."
        raise layer.error(f'its {name} is "{kind}", which Caffe does not have', advice)
    if kind != "gaussian" and filler.sparse != -1:
        raise layer.error(f"{what} has sparse", "Only gaussian takes it.")
    if kind == "gaussian":
        _check_gaussian(layer, filler, what, shape)
    elif kind == "uniform" and filler.min > filler.max:
        raise layer.error(f"{what} has min {filler.min:g} above max {filler.max:g}")
    elif kind == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
        raise layer.error(f"{what} takes square kernels of 4 axes, not {shape_text(shape)}")


def _check_gaussian(layer: Layer, filler: Message, what: str, shape: Shape) -> None:
    if not filler.std > 0:
        raise layer.error(f"{what} has std {filler.std:g}, but must be above 0", "Use constant.")
    if filler.sparse < -1:
        raise layer.error(f"{what} has sparse {filler.sparse}, but must be -1 or more")
    if filler.sparse >= 0 and (not shape or filler.sparse > shape[0]):
        raise layer.error(
            f"{what} has sparse {filler.sparse}, which a blob of shape {shape_text(shape)} cannot have",
            "Its first axis must be as long.",
        )


def check_inline_blobs(layer: Layer, kind: LayerType, blobs: Sequence[Shape]) -> None:
    """Raises InputError for ``blobs`` in a text that Caffe refuses to take over."""
    given = list(layer.params.blobs)
    if not given:
        return
    shapes = [_shape_of(blob) for blob in given]
    for index, (blob, shape) in enumerate(zip(given, shapes, strict=True)):
        count = len(blob.double_data) or len(blob.data)
        if count != math.prod(shape):
            raise layer.error(
                f"blob {index} of the text is {shape_text(shape)}, but has {count} values"
            )
    wanted = list(blobs)
    if kind.inline_blobs == "shapes":
        fits = shapes == wanted
    elif kind.inline_blobs == "counts":
        pairs = zip(shapes, wanted, strict=False)
        fits = all(math.prod(mine) == math.prod(other) for mine, other in pairs)
    else:
        return
    if not fits:
        raise layer.error(
            f"the text gives blobs {_list(shapes)}, but the layer has {_list(wanted)}",
            "Leave them out of the text: weights belong into a caffemodel.",
        )


def _shape_of(blob: Message) -> Shape:
    old = ("num", "channels", "height", "width")
    if any(blob.has(name) for name in old):
        return tuple(int(getattr(blob, name)) for name in old)
    return tuple(int(n) for n in blob.shape.dim)


def _list(shapes: Sequence[Shape]) -> str:
    return ", ".join(map(shape_text, shapes)) or "none"
