"""Boxes decoded from locations and priors, as ONNX operators: SSD, RefineDet and TextBoxes++."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter


@dataclass(frozen=True, slots=True)
class Parts:
    """The values from which a layer selects boxes.

    Attributes:
        location: (N, P, D), or (N, P, C, D) for locations of each class.
        scores: (N, P, C).
        prior: corners of the priors: (1 or N, P, 4), or (1 or N, P, 1, 4) for several classes.
        variance: as ``prior``; empty if the locations hold it (``variance_encoded_in_target``).
    """

    location: str
    scores: str
    prior: str
    variance: str


def number_of_priors(layer: Layer, bottoms: Sequence[Shape], index: int) -> int:
    """Return the number of priors of a bottom, a blob 1x2x(4 P).

    Raises:
        InputError: it has another shape.
    """
    shape = bottoms[index]
    count: int = (*shape, 1, 1, 1)[2] // 4
    if math.prod(shape) != 8 * count:
        raise layer.error(
            f'bottom "{layer.bottoms[index]}" must have shape 1x2x(4 * priors), got '
            f"{shape_text(shape)}"
        )
    return count


def filtered(e: Emitter, p: Message, objectness: str, scores: str) -> str:
    """Emit scores (N, P, C) in which a box whose ``objectness`` (N, P, 1) is below objectness_score has
    score 1 for class 0, and 0 for all others (RefineDet)."""
    is_low = e.value("Less", objectness, e.array(float(p.objectness_score)))
    none = e.array([[[float(c == 0) for c in range(p.num_classes)]]])
    return e.value("Where", is_low, none, scores)


def prior_boxes(e: Emitter, priors: str, count: int, sets: int) -> tuple[str, str]:
    """Emit corners and variances of the priors: (1, P, 4), or (1, P, 1, 4) for several sets."""
    shape = [2, count, 4] if sets == 1 else [2, count, 1, 4]
    both = e.value("Reshape", priors, e.array(shape))
    return cut_along(e, both, 0, 0, 1), cut_along(e, both, 0, 1, 2)


def decoded(e: Emitter, p: Message, location: str, prior: str, variance: str) -> str:
    """Emit the corners x0 y0 x1 y1 decoded by ``code_type``; the last axis of all values is 4."""
    if not p.variance_encoded_in_target:
        location = e.value("Mul", location, variance)
    if p.code_type == "CORNER":
        return e.value("Add", prior, location)
    low, high = cut_along(e, prior, -1, 0, 2), cut_along(e, prior, -1, 2, 4)
    size = e.value("Sub", high, low)
    if p.code_type == "CORNER_SIZE":
        both = e.value("Concat", size, size, axis=-1)
        return e.value("Add", prior, e.value("Mul", location, both))
    centre = e.value("Mul", e.value("Add", low, high), e.array(0.5))
    shift = cut_along(e, location, -1, 0, 2)
    centre = e.value("Add", e.value("Mul", shift, size), centre)
    scale = e.value("Exp", cut_along(e, location, -1, 2, 4))
    half_size = e.value("Mul", scale, e.value("Mul", size, e.array(0.5)))
    corners = [e.value("Sub", centre, half_size), e.value("Add", centre, half_size)]
    return e.value("Concat", *corners, axis=-1)


def decoded_polygons(e: Emitter, points: str, prior: str, variance: str) -> str:
    """Emit the 4 corners of TextBoxes++'s polygons, x and y of each: the corners of the prior, shifted
    by ``points`` (8 on the last axis) times variance and size."""
    x0, y0, x1, y1 = (cut_along(e, prior, -1, i, i + 1) for i in range(4))
    corners = e.value("Concat", x0, y0, x1, y0, x1, y1, x0, y1, axis=-1)
    return e.value("Add", _scaled(e, points, prior, variance, 4), corners)


def decoded_rectangles(e: Emitter, points: str, prior: str, variance: str) -> str:
    """Emit TextBoxes++'s rotated rectangles: x and y of two corners, from the prior's centre, and the
    height; ``points`` has 5 on its last axis."""
    low, high = cut_along(e, prior, -1, 0, 2), cut_along(e, prior, -1, 2, 4)
    centre = e.value("Mul", e.value("Add", low, high), e.array(0.5))
    two = e.value("Concat", centre, centre, axis=-1)
    corners = e.value("Add", _scaled(e, cut_along(e, points, -1, 0, 4), prior, variance, 2), two)
    last = e.value("Mul", cut_along(e, points, -1, 4, 5), cut_along(e, variance, -1, 3, 4))
    size = e.value("Sub", cut_along(e, prior, -1, 3, 4), cut_along(e, prior, -1, 1, 2))
    height = e.value("Mul", e.value("Exp", last), size)
    return e.value("Concat", corners, height, axis=-1)


def _scaled(e: Emitter, points: str, prior: str, variance: str, count: int) -> str:
    """Emit ``count`` points times the first two variances and the size of the prior."""
    size = e.value("Sub", cut_along(e, prior, -1, 2, 4), cut_along(e, prior, -1, 0, 2))
    first = cut_along(e, variance, -1, 0, 2)
    of_all = e.value("Concat", *[first] * count, axis=-1)
    sizes = e.value("Concat", *[size] * count, axis=-1)
    return e.value("Mul", e.value("Mul", points, of_all), sizes)
