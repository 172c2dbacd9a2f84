"""Bottoms of Synopsys' DetectionOutput: those of each feature map instead of joined ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from protogen.geometry import Shape, shape_text
from protogen.layers.forks.detection.decoding import (
    Parts,
    decoded,
    filtered,
    number_of_priors,
    prior_boxes,
)
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng

_RATIOS = 6  # ratio0 to ratio5
_WAY_OUT = "Join the maps with Permute, Flatten and Concat, and give three bottoms."


@dataclass(frozen=True, slots=True)
class Maps:
    """The bottoms of a layer, by their indices.

    Attributes:
        count: number of feature maps: the first bottoms are their confidences, then their locations.
        order: order of the values of a map. "flat": those of a box are beside each other. "ratio": (C,
            boxes), and the boxes are in order of ratio (``ratio_permute``). "plane": (C, ratios, H W)
            and (ratios, 4, H, W) (``no_permute``).
        priors: bottoms of priors: one of all maps, or one of each.
        filters: whether there are confidences of RefineDet's anchors for each map.
        refines: whether there are locations of RefineDet's anchors for each map.
    """

    count: int
    order: Literal["flat", "ratio", "plane"]
    priors: range
    filters: bool
    refines: bool

    def pairs(self) -> list[tuple[int, int]]:
        """Return the confidence and the location of each map."""
        return [(i, i + self.count) for i in range(self.count)]


def maps_of(layer: Layer) -> Maps | None:
    """Return the bottoms of each feature map; None if the layer has joined bottoms.

    Raises:
        InputError: the number of bottoms fits neither.
    """
    p = layer.params.detection_output_param
    n, bottoms = int(p.nbottom), len(layer.bottoms)
    has_anchors = bool(p.arm_conf_no_concat or p.arm_loc_no_concat)
    if n < 1:
        raise layer.error(f"nbottom must be at least 1, got {n}")
    if bottoms < n and not has_anchors:
        return None
    if has_anchors and bottoms != 4 * n + 1:
        raise layer.error(
            f"with arm_conf_no_concat or arm_loc_no_concat, nbottom {n} requires {4 * n + 1} bottoms, "
            f"got {bottoms}"
        )
    if bottoms < 2 * n + 1:
        raise layer.error(
            f"{bottoms} bottoms do not fit nbottom {n}: expected 3 to 5 joined ones if they are fewer "
            f"than nbottom, or {2 * n + 1} or {3 * n} of separate maps"
        )
    has_own = n > 1 and bottoms >= 3 * n and not has_anchors
    order: Literal["flat", "ratio", "plane"] = "flat"
    if p.ratio_permute:
        order = "ratio"
    elif p.no_permute:
        order = "plane"
    priors = range(2 * n, 3 * n if has_own else 2 * n + 1)
    return Maps(n, order, priors, bool(p.arm_conf_no_concat), bool(p.arm_loc_no_concat))


def check_maps(layer: Layer, maps: Maps, bottoms: Sequence[Shape]) -> int:
    """Check the shapes of the bottoms, and return the number of priors.

    Raises:
        InputError: they do not match.
    """
    p = layer.params.detection_output_param
    if p.ratio_permute and p.no_permute:
        raise layer.error("ratio_permute and no_permute are both true", "Set one of them.")
    sets = 1 if p.share_location else p.num_classes
    priors = sum(number_of_priors(layer, bottoms, index) for index in maps.priors)
    check = _check_plane if maps.order == "plane" else _check_flat
    scores = boxes = 0
    for first, second in maps.pairs():
        if bottoms[first][0] != bottoms[second][0]:
            raise layer.error(
                f'bottoms "{layer.bottoms[first]}" and "{layer.bottoms[second]}" must have the same '
                f"number of images, got {bottoms[first][0]} and {bottoms[second][0]}"
            )
        check(layer, bottoms, first, second)
        scores += math.prod(bottoms[first][1:]) // p.num_classes
        boxes += math.prod(bottoms[second][1:]) // (4 * sets)
    if not priors == boxes == scores:
        raise layer.error(
            f"it has {priors} priors, but locations of {boxes} boxes and confidences of {scores}"
        )
    for i in range(maps.count if maps.filters else 0):
        _check_anchors(layer, bottoms, i, 2 * maps.count + 1 + i, p.num_classes % 2 + 1)
    for i in range(maps.count if maps.refines else 0):
        own, anchors = maps.count + i, 3 * maps.count + 1 + i
        if bottoms[anchors] != bottoms[own]:
            raise layer.error(
                f'bottom "{layer.bottoms[anchors]}" must have the shape of "{layer.bottoms[own]}", '
                f"{shape_text(bottoms[own])}, got {shape_text(bottoms[anchors])}"
            )
    return priors


def _check_flat(layer: Layer, bottoms: Sequence[Shape], first: int, second: int) -> None:
    """Check a map whose blobs are N x values."""
    p = layer.params.detection_output_param
    per_box = 4 if p.share_location else 4 * p.num_classes
    for index, size in ((first, p.num_classes), (second, per_box)):
        shape = bottoms[index]
        if len(shape) < 2 or math.prod(shape[1:]) != shape[1] or shape[1] % size:
            raise layer.error(
                f'bottom "{layer.bottoms[index]}" must have shape N x ({size} * boxes), got '
                f"{shape_text(shape)}"
            )


def _check_plane(layer: Layer, bottoms: Sequence[Shape], first: int, second: int) -> None:
    """Check a map whose blobs are (N, C, R, H W) and (N, 4 R, H, W)."""
    p = layer.params.detection_output_param
    scores, location = bottoms[first], bottoms[second]
    per_box = 4 if p.share_location else 4 * p.num_classes
    if len(location) != 4 or location[1] % per_box:
        raise layer.error(
            f'bottom "{layer.bottoms[second]}" must have shape N x ({per_box} * ratios) x H x W, got '
            f"{shape_text(location)}"
        )
    expected = (p.num_classes, location[1] // per_box, location[2] * location[3])
    if scores[1:] != expected:
        raise layer.error(
            f'bottom "{layer.bottoms[first]}" must have shape N x {shape_text(expected)} beside '
            f'"{layer.bottoms[second]}", got {shape_text(scores)}'
        )


def _check_anchors(
    layer: Layer, bottoms: Sequence[Shape], own: int, anchors: int, channel: int
) -> None:
    """Check the confidences of RefineDet's anchors, of which Caffe reads one channel."""
    shape = bottoms[anchors]
    if len(shape) != 4 or shape[2:] != bottoms[own][2:] or shape[1] <= channel:
        raise layer.error(
            f'bottom "{layer.bottoms[anchors]}" must have at least {channel + 1} channels and the '
            f'height and width of "{layer.bottoms[own]}", {shape_text(bottoms[own])}, got '
            f"{shape_text(shape)}",
            f"Caffe reads channel {channel} (num_classes modulo 2, plus 1).",
        )


def drawn(layer: Layer, maps: Maps, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
    """Draw a bottom: scores and priors are positive; None for the others."""
    from protogen.layers.values import boxes, positive

    if index in maps.priors:
        return boxes(rng, shapes[index])
    is_anchors = 2 * maps.count < index <= 3 * maps.count and maps.filters
    return positive(rng, shapes[index]) if index < maps.count or is_anchors else None


def joined(layer: Layer, e: Emitter, maps: Maps) -> Parts:
    """Emit what joined bottoms would hold.

    Raises:
        UnsupportedError: Caffe reads other values than those of the boxes.
    """
    p = layer.params.detection_output_param
    _check_defined(layer, maps, e.shape(layer.reads[0])[0])
    sets, classes = 1 if p.share_location else int(p.num_classes), int(p.num_classes)
    parts: tuple[list[str], list[str]] = ([], [])
    for first, second in maps.pairs():
        scores, location = layer.reads[first], layer.reads[second]
        boxes = math.prod(e.shape(scores)[1:]) // classes
        parts[1].append(_by_box(e, maps, scores, [1, classes, boxes], [1, boxes, classes]))
        parts[0].append(_located(e, maps, location, sets))
    location, scores = (_concatenated(e, part) for part in parts)
    prior, variance = _priors(layer, e, maps, sets)
    if maps.filters:
        scores = filtered(e, p, _objectness(layer, e, maps), scores)
    if maps.refines:
        reads = layer.reads[3 * maps.count + 1 :]
        shift = _concatenated(e, [_located(e, maps, read, 1) for read in reads])
        prior = decoded(e, p, shift, prior, variance)
    return Parts(location, scores, prior, variance)


def _check_defined(layer: Layer, maps: Maps, images: int) -> None:
    """Raises UnsupportedError if Caffe reads other values than those of the boxes."""
    p = layer.params.detection_output_param
    reason = ""
    if images > 1:
        reason = f"its {images} images all get the boxes of the first one in Synopsys' Caffe"
    elif maps.order != "flat" and not p.share_location:
        reason = "no_permute and ratio_permute with share_location: false are undefined"
    elif maps.order == "plane" and len(maps.priors) > 1:
        reason = "no_permute with priors of each map is undefined"
    elif maps.order != "plane" and (maps.filters or maps.refines):
        reason = "arm_conf_no_concat and arm_loc_no_concat are undefined without no_permute"
    elif maps.order == "ratio" and len(maps.priors) == 1 and maps.count > _RATIOS:
        reason = f"ratio_permute is undefined for more than {_RATIOS} maps"
    if reason:
        raise layer.unsupported(reason, "Set batch 1." if images > 1 else _WAY_OUT)


def _concatenated(e: Emitter, parts: Sequence[str]) -> str:
    return e.value("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def _by_box(e: Emitter, maps: Maps, read: str, turned: list[int], flat: list[int]) -> str:
    """Emit a blob with the values of a box on the last axis."""
    if maps.order == "flat":
        return e.value("Reshape", read, e.array(flat))
    return e.value("Transpose", e.value("Reshape", read, e.array(turned)), perm=[0, 2, 1])


def _located(e: Emitter, maps: Maps, read: str, sets: int) -> str:
    """Emit the locations of a map: (1, boxes, 4), or (1, boxes, sets, 4)."""
    shape = e.shape(read)
    boxes = math.prod(shape[1:]) // (4 * sets)
    if maps.order != "plane":
        flat = [1, boxes, 4] if sets == 1 else [1, boxes, sets, 4]
        return _by_box(e, maps, read, [1, 4, boxes], flat)
    planes = e.value("Reshape", read, e.array([shape[1] // 4, 4, shape[2] * shape[3]]))
    return e.value("Reshape", e.value("Transpose", planes, perm=[0, 2, 1]), e.array([1, boxes, 4]))


def _objectness(layer: Layer, e: Emitter, maps: Maps) -> str:
    """Emit the confidences of RefineDet's anchors: (1, P, 1). The channel depends on num_classes."""
    channel = int(layer.params.detection_output_param.num_classes) % 2 + 1
    parts = []
    for read in layer.reads[2 * maps.count + 1 : 3 * maps.count + 1]:
        plane = cut_along(e, read, 1, channel, channel + 1)
        parts.append(e.value("Reshape", plane, e.array([1, -1, 1])))
    return _concatenated(e, parts)


def _priors(layer: Layer, e: Emitter, maps: Maps, sets: int) -> tuple[str, str]:
    """Emit corners and variances of the priors: (1, P, 4), or (1, P, 1, 4) for several sets.

    Priors of all maps are in order of the pixel and then of the ratio. Caffe sorts the corners by
    ratio and then by pixel, but leaves the variances in their order.
    """
    reads = [layer.reads[index] for index in maps.priors]
    if maps.order == "ratio" and len(reads) > 1:
        halves = []
        for read in reads:
            count = e.shape(read)[2] // 4
            columns = e.value("Reshape", read, e.array([2, 4, count]))
            both = e.value("Transpose", columns, perm=[0, 2, 1])
            halves.append((cut_along(e, both, 0, 0, 1), cut_along(e, both, 0, 1, 2)))
    else:
        halves = [prior_boxes(e, read, e.shape(read)[2] // 4, sets) for read in reads]
    prior, variance = (_concatenated(e, part) for part in zip(*halves, strict=True))
    if maps.order != "flat" and len(reads) == 1:
        prior = e.value("Gather", prior, e.array(_order(layer, e, maps)), axis=1)
    return prior, variance


def _order(layer: Layer, e: Emitter, maps: Maps) -> NDArray[np.int64]:
    """Return the place of each sorted prior.

    Raises:
        UnsupportedError: a ratio does not divide the boxes of its map.
    """
    import numpy as np

    p = layer.params.detection_output_param
    places, start = [], 0
    for i in range(maps.count):
        shape = e.shape(layer.reads[maps.count + i])
        count = math.prod(shape[1:]) // 4
        ratios = shape[1] // 4 if maps.order == "plane" else int(getattr(p, f"ratio{i}"))
        if ratios < 1 or count % ratios:
            raise layer.unsupported(
                f"ratio{i} {ratios} does not divide the {count} boxes of its map", _WAY_OUT
            )
        places.append(np.arange(count).reshape(-1, ratios).T.ravel() + start)
        start += count
    return np.concatenate(places)
