"""Parts of layers that propose regions: checks of their bottoms, and their ONNX operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import check_room
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection import anchors as boxes_of
from protogen.layers.forks.detection.suppression import cut_along, first_length
from protogen.layers.forks.regions import selecting
from protogen.layers.forks.regions.selecting import Choice
from protogen.layers.graph import Layer
from protogen.layers.values import positive
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng


@dataclass(frozen=True, slots=True)
class Network:
    """How a layer turns the two maps of a region proposal network into regions.

    Attributes:
        anchors: corners of the anchors of the first pixel, in pixels of the input.
        stride: pixels of the input between pixels of the map.
        choice: number of regions, and their greatest overlap.
        least: least width and height of a region, times the scale in im_info.
        by_anchor: whether boxes are in order of anchor, row, column instead of row, column, anchor.
        small_scores: whether a region that is too small gets score 0 instead of being left out.
        keeps_last: whether the last box is is_valid whatever its size (Synopsys' Caffe).
        by_axis: whether a fourth value of im_info is the scale of the width (PVANet's Caffe).
    """

    anchors: NDArray[np.floating]
    stride: float
    choice: Choice
    least: float = 16.0
    by_anchor: bool = False
    small_scores: bool = False
    keeps_last: bool = False
    by_axis: bool = False


def check_maps(layer: Layer, bottoms: Sequence[Shape], count: int, values: int = 4) -> None:
    """Check that the maps of scores and deltas have the channels of ``count`` anchors, and one image.

    Raises:
        InputError: they do not.
    """
    scores, deltas = bottoms[:2]
    for name, shape, channels in (
        (layer.bottoms[0], scores, 2 * count),
        (layer.bottoms[1], deltas, values * count),
    ):
        if len(shape) != 4 or shape[1] != channels:
            raise layer.error(
                f'"{name}" must have 4 axes and {channels} channels for {count} anchors, got shape '
                f"{shape_text(shape)}"
            )
    if scores[0] != deltas[0] or scores[2:] != deltas[2:]:
        raise layer.error(
            f"its maps must have equal sizes, got {shape_text(scores)} and {shape_text(deltas)}"
        )


def check_one_image(layer: Layer, bottoms: Sequence[Shape]) -> None:
    """Raises InputError if the maps hold several images."""
    if bottoms[0][0] != 1:
        raise layer.error(
            f"it takes one image, got a batch of {bottoms[0][0]}", "Use a batch of 1."
        )


def check_info(layer: Layer, bottoms: Sequence[Shape], least: int = 3) -> None:
    """Raises InputError if im_info has fewer than ``least`` values for an image."""
    shape = bottoms[2]
    if not shape or shape[0] < 1 or math.prod(shape) < least:
        raise layer.error(
            f'"{layer.bottoms[2]}" must have {least} values (height, width and scale of the image), '
            f"got shape {shape_text(shape)}"
        )


def image_info(e: Emitter, read: str, by_axis: bool) -> list[str]:
    """Emit height, width and scale in im_info, each of shape (1,), and the scale of the width: with
    ``by_axis`` the fourth value, if there is one."""
    flat = e.value("Reshape", read, e.array([-1]))
    values = [cut_along(e, flat, 0, i, i + 1) for i in range(3)]
    has_fourth = by_axis and math.prod(e.shape(read)) > 3
    return [*values, cut_along(e, flat, 0, 3, 4) if has_fourth else values[2]]


def proposed(layer: Layer, e: Emitter, network: Network) -> tuple[str, str]:
    """Emit the selected regions of the image (R, 4) and their scores (R,)."""
    import numpy as np

    shape = e.shape(layer.reads[0])
    count = len(network.anchors) * shape[2] * shape[3]
    check_room(layer, 4 * count)
    every = boxes_of.shifted(network.anchors, shape[2], shape[3], network.stride, network.by_anchor)
    boxes = selecting.decode(e, selecting.by_pixel(e, layer.reads[1], 4, network.by_anchor), every)
    height, width, scale_h, scale_w = image_info(e, layer.reads[2], network.by_axis)
    last = e.value("Sub", e.value("Concat", width, height, axis=0), e.array(1.0))
    boxes = selecting.clip(e, boxes, e.value("Concat", last, last, axis=0))
    scores = positive_scores(layer, e, network.by_anchor)
    scale = e.value("Concat", scale_w, scale_h, axis=0)
    least = e.value("Mul", scale, e.array(float(network.least)))
    is_valid = selecting.is_least(e, boxes, least)
    if network.keeps_last:
        mask = np.arange(count) == count - 1
        is_valid = e.value("Or", is_valid, selecting.as_bool(e, e.array(mask.astype(np.float32))))
    if network.small_scores:
        scores = e.value("Mul", scores, e.value("Cast", is_valid, to=FLOAT))
    else:
        scores = selecting.keep_scores(e, is_valid, scores)
    return selecting.select(e, boxes, scores, count, network.choice)


def positive_scores(layer: Layer, e: Emitter, by_anchor: bool) -> str:
    """Emit the scores of the second half of the channels, one for each anchor: (n,)."""
    _, channels, height, width = e.shape(layer.reads[0])
    half = channels // 2
    scores = cut_along(e, layer.reads[0], 1, half, channels)
    perm = [0, 1, 2, 3] if by_anchor else [0, 2, 3, 1]
    return e.value(
        "Reshape", e.value("Transpose", scores, perm=perm), e.array([half * height * width])
    )


def drawn(index: int, shapes: Sequence[Shape], rng: Rng, stride: float) -> Drawn | None:
    """Draw the bottoms of a region proposal layer: probabilities, small deltas, and im_info of an
    image whose pixels the map covers."""
    import numpy as np

    if index == 0:
        return positive(rng, shapes[0])
    if index == 1:
        return (rng.standard_normal(shapes[1]) / 4).astype("float32")
    info = np.ones(math.prod(shapes[2]), np.float32)
    info[:2] = np.multiply(shapes[0][2:4], stride)
    return info.reshape(shapes[2])


def finish(layer: Layer, e: Emitter, boxes: str, scores: str, column: bool = True) -> None:
    """Emit the tops: regions of image 0, and their scores as a column (R, 1) or as (R,)."""
    e.op("Identity", [selecting.regions(e, boxes, 0)], [layer.writes[0]])
    if len(layer.writes) > 1 and column:
        e.op("Unsqueeze", [scores, e.array([1])], [layer.writes[1]])
    elif len(layer.writes) > 1:
        e.op("Identity", [scores], [layer.writes[1]])


def filled(e: Emitter, rows: str, count: int) -> str:
    """Emit exactly ``count`` rows of 5: the first of these rows, then zeros."""
    missing = e.value("Sub", e.array([count]), first_length(e, rows))
    missing = e.value("Max", missing, e.array([0]))
    pads = e.value("Concat", e.array([0, 0]), missing, e.array([0]), axis=0)
    padded = e.value("Pad", cut_along(e, rows, 0, 0, count), pads)
    return e.value("Reshape", padded, e.array([count, 5]))
