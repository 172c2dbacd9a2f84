"""Checks of BVLC Caffe for initial values of parameter blobs: fillers, and blobs in a prototxt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from protogen.errors import did_you_mean, quantity
from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType
from protogen.layers.fillers import CAFFES, EXTRAS, KNOWN, NAMED, OF_FORKS, diagonal
from protogen.layers.graph import Layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_fillers(
    layer: Layer, kind: LayerType, bottoms: Sequence[Shape], blobs: Sequence[Shape]
) -> None:
    """Raises InputError for a filler that Caffe refuses."""
    if all(map(math.prod, blobs)) and not _sets_filler(layer.params):
        return
    for filling, shape in zip(kind.fillings(layer, bottoms, blobs), blobs, strict=False):
        if not filling.field:
            continue
        if not math.prod(shape):
            raise layer.error(f"its parameter blob of shape {shape_text(shape)} contains no values")
        message: Any = layer.params
        *path, name = filling.field.split(".")
        for part in path:
            message = getattr(message, part)
        if message.has(name):
            check_filler(layer, getattr(message, name), name, shape)


def _sets_filler(message: Message) -> bool:
    """Return whether the message sets a filler, or an unknown field, at any depth."""
    for item in message.fields:
        known = item.type
        if known is None or known.type_name.endswith("FillerParameter"):
            return True
        if isinstance(item.value, Message) and item.name != "blobs" and _sets_filler(item.value):
            return True
    return False


def check_filler(layer: Layer, filler: Message, name: str, shape: Shape) -> None:
    """Raises InputError for a FillerParameter that Caffe refuses for a blob of this shape.

    Fillers that only protogen or a fork has are allowed, except in the dialect ``bvlc``.
    """
    kind = str(filler.type)
    what = f"its {name} ({kind})"
    if kind in (*EXTRAS, *OF_FORKS) and layer.dialect != "bvlc":
        return
    if kind in NAMED and layer.dialect != "bvlc":
        _check_gabor(layer, what, shape)
        return
    if kind not in CAFFES:
        advice = did_you_mean(kind, CAFFES) or KNOWN
        raise layer.error(f'its {name} has type "{kind}", which Caffe does not have', advice)
    if kind != "gaussian" and filler.sparse != -1:
        raise layer.error(f"{what} sets sparse", "Only gaussian supports sparse.")
    if kind == "gaussian":
        _check_gaussian(layer, filler, what, shape)
    elif kind == "uniform" and filler.min > filler.max:
        raise layer.error(f"{what} has min {filler.min:g} above max {filler.max:g}")
    elif kind == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
        raise layer.error(f"{what} needs square kernels (4 axes), got {shape_text(shape)}")


def _check_gaussian(layer: Layer, filler: Message, what: str, shape: Shape) -> None:
    if not filler.std > 0:
        raise layer.error(
            f"{what} has std {filler.std:g}, but std must be above 0", "Use a constant filler."
        )
    if filler.sparse < -1:
        raise layer.error(f"{what} has sparse {filler.sparse}, but sparse must be -1 or more")
    if filler.sparse >= 0 and (not shape or filler.sparse > shape[0]):
        raise layer.error(
            f"{what} has sparse {filler.sparse}, but the blob has shape {shape_text(shape)}",
            "Set sparse to at most the length of the first axis.",
        )


# Intel's gabor filler: numbers of kernels and their sizes.
_GABOR = ((32, 5), (64, 7), (64, 3), (96, 11))


def _check_gabor(layer: Layer, what: str, shape: Shape) -> None:
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or shape[::3] not in _GABOR:
        known = ", ".join(shape_text((count, 3, size, size)) for count, size in _GABOR)
        raise layer.error(f"{what} needs a blob of shape {known}, got {shape_text(shape)}")


def check_generated(layer: Layer, where: str, type_: str) -> None:
    """Raises UnsupportedError for a fork's filler whose values protogen does not generate. ``where`` is
    its field."""
    if type_ in NAMED:
        raise layer.unsupported(
            f"{where}: the values of Intel's {type_} filler are unsupported",
            "Give trained weights, or set another filler.",
        )


def fixed_blobs(
    layer: Layer, kind: LayerType, bottoms: Sequence[Shape], blobs: Sequence[Shape]
) -> list[NDArray[np.float32]] | None:
    """Return the blobs of a layer that its text defines as a diagonal (FlowNet2): a scale that
    is added to a trained net, so no caffemodel has it. None for any other layer."""
    if len(blobs) != 1 or len(blobs[0]) < 2:
        return None
    block, _, name = kind.fillings(layer, bottoms, blobs)[0].field.partition(".")
    if not block:
        return None
    filler = getattr(getattr(layer.params, block), name)
    return [diagonal(blobs[0], list(filler.diag_val))] if filler.type == "diagonal" else None


def check_inline_blobs(layer: Layer, kind: LayerType, blobs: Sequence[Shape]) -> None:
    """Raises InputError for ``blobs`` in a prototxt that Caffe refuses."""
    if not layer.params.has("blobs"):
        return
    inline = list(layer.params.blobs)
    shapes = [_shape_of(blob) for blob in inline]
    for index, (blob, shape) in enumerate(zip(inline, shapes, strict=True)):
        count = len(blob.double_data) or len(blob.data)
        if count != math.prod(shape):
            raise layer.error(
                f"blob {index} in the prototxt must have {quantity(math.prod(shape), 'value')} for shape "
                f"{shape_text(shape)}, got {count}"
            )
    expected = list(blobs)
    if kind.inline_blobs == "shapes":
        matches = shapes == expected
    elif kind.inline_blobs == "counts":
        pairs = zip(shapes, expected, strict=False)
        matches = all(math.prod(shape) == math.prod(own) for shape, own in pairs)
    else:
        return
    if not matches:
        raise layer.error(
            f"the blobs in the prototxt have shapes {_list(shapes)}, expected {_list(expected)}",
            "Remove them from the prototxt: weights belong in a caffemodel.",
        )


def _shape_of(blob: Message) -> Shape:
    old = ("num", "channels", "height", "width")
    if any(blob.has(name) for name in old):
        return tuple(int(getattr(blob, name)) for name in old)
    return tuple(int(n) for n in blob.shape.dim)


def _list(shapes: Sequence[Shape]) -> str:
    return ", ".join(map(shape_text, shapes)) or "none"
