"""Fields of OpenVINO's DetectionOutput (its operation DetectionOutput-1), which no public Caffe has.

``normalized: false`` says that priors are regions in pixels of the image, as rows of 5 with the image
first; ``input_width`` and ``input_height`` are its size. The priors may be different for each image, and
they have no variances with ``variance_encoded_in_target``. eta has no effect, and confidence_threshold
is 0 by default. Sources: openvinotoolkit/openvino, docs/ops/detection/DetectionOutput_1.md,
src/core/reference/include/openvino/reference/detection_output.hpp and
model-optimizer/extensions/front/caffe/detection_output.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.forks.detection.decoding import Parts
from protogen.layers.forks.detection.suppression import Suppression, cut_along
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


def is_set(p: Message) -> bool:
    """Return whether a DetectionOutputParameter has fields of OpenVINO."""
    return any(p.has(name) for name in ("normalized", "input_width", "input_height"))


def check(layer: Layer, bottoms: Sequence[Shape]) -> int:
    """Check the bottoms and the fields, and return the number of priors.

    Raises:
        InputError: they do not match.
    """
    p = layer.params.detection_output_param
    if not p.normalized and min(p.input_width, p.input_height) < 1:
        raise layer.error(
            "normalized: false requires input_width and input_height, the size of the image in pixels"
        )
    if p.code_type == "CORNER_SIZE":
        raise layer.error(
            "OpenVINO has no code_type: CORNER_SIZE", "Set CORNER or CENTER_SIZE, as in training."
        )
    images, size, kinds = bottoms[0][0], _size(p), 1 if p.variance_encoded_in_target else 2
    priors = (*bottoms[2], 1, 1)
    count = priors[2] // size
    fits = priors[0] in (1, images) and priors[1] in (kinds, 2) and priors[2] % size == 0
    if not fits or math.prod(bottoms[2]) != math.prod(priors[:3]):
        raise layer.error(
            f'bottom "{layer.bottoms[2]}" must have shape {_text(images, kinds)}x({size} * priors), got '
            f"{shape_text(bottoms[2])}",
            "With normalized: false, a prior has 5 values: image, x0, y0, x1, y1.",
        )
    sets = 1 if p.share_location else p.num_classes
    for index, per_prior in ((0, 4 * sets), (1, p.num_classes)):
        if bottoms[index][0] != images or math.prod(bottoms[index][1:]) != count * per_prior:
            raise layer.error(
                f'bottom "{layer.bottoms[index]}" must have {count * per_prior} values per image for '
                f"{count} priors and {images} images, got {shape_text(bottoms[index])}"
            )
    return count


def _text(images: int, kinds: int) -> str:
    """Return the first two lengths of the priors, as text."""
    return ("1" if images == 1 else f"(1 or {images})") + ("x2" if kinds == 2 else "x(1 or 2)")


def _size(p: Message) -> int:
    """Return the number of values of a prior."""
    return 4 if p.normalized else 5


def rule(p: Message, rule: Suppression) -> Suppression:
    """Return how OpenVINO selects boxes; ``rule`` is that of SSD."""
    threshold = float(p.confidence_threshold) if p.has("confidence_threshold") else 0.0
    return replace(
        rule, eta=1.0, threshold=threshold, top_k=rule.top_k or None, fills=False, varies=True
    )


def parts(layer: Layer, e: Emitter) -> Parts:
    """Emit locations, scores and priors; their number may depend on data, as that of regions does.

    Raises:
        UnsupportedError: the layer has more than three bottoms.
    """
    p = layer.params.detection_output_param
    if len(layer.reads) > 3:
        raise layer.unsupported(
            "input_width, input_height and normalized are supported with three bottoms only",
            "Remove the fields, or the bottoms of the anchor refinement.",
        )
    sets = 1 if p.share_location else int(p.num_classes)
    images = e.shape(layer.reads[0])[0]
    per_set = [images, -1, 4] if sets == 1 else [images, -1, sets, 4]
    location = e.value("Reshape", layer.reads[0], e.array(per_set))
    scores = e.value("Reshape", layer.reads[1], e.array([images, -1, int(p.num_classes)]))
    shape = e.shape(layer.reads[2])
    both = e.value("Reshape", layer.reads[2], e.array([shape[0], shape[1], -1]))
    prior = _rows(e, cut_along(e, both, 1, 0, 1), shape[0], _size(p))
    variance = ""
    if not p.variance_encoded_in_target:
        variance = cut_along(e, both, 1, 1, 2)
        if not p.normalized:  # 4 values per prior, then numbers that are not read
            number = e.value("Slice", e.value("Shape", prior), e.array([1]), e.array([2]))
            end = e.value("Mul", number, e.array([4]))
            variance = e.value("Slice", variance, e.array([0]), end, e.array([2]))
        variance = _rows(e, variance, shape[0], 4)
    if not p.normalized:
        image = [float(p.input_width), float(p.input_height)] * 2
        prior = e.value("Div", cut_along(e, prior, -1, 1, 5), e.array(image))
    if sets > 1:
        prior = e.value("Unsqueeze", prior, e.array([2]))
        variance = e.value("Unsqueeze", variance, e.array([2])) if variance else ""
    return Parts(location, scores, prior, variance)


def _rows(e: Emitter, read: str, images: int, size: int) -> str:
    return e.value("Reshape", read, e.array([images, -1, size]))


def drawn(p: Message, shape: Shape, rng: Rng) -> Drawn:
    """Draw priors: boxes in the image, and variances if there are any."""
    import numpy as np

    size, kinds = _size(p), shape[1]
    count = shape[2] // size
    corners = np.sort(rng.random((shape[0], count, 2, 2)), axis=2).reshape(shape[0], count, 4)
    if size == 5:
        corners *= [p.input_width, p.input_height] * 2
        corners = np.concatenate([np.zeros((shape[0], count, 1)), corners], axis=2)
    values = rng.uniform(0.1, 0.2, (shape[0], kinds, shape[2]))
    values[:, 0] = corners.reshape(shape[0], shape[2])
    return values.reshape(shape).astype("float32")
