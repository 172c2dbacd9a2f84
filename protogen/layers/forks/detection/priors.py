"""Default boxes ("priors") of SSD and its forks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.errors import quantity
from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers.base import (
    LayerType,
    check_bottoms,
    check_room,
    fields,
    four_axes,
)
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Box:
    """One box of a pixel. Sizes are in pixels of the image.

    Attributes:
        width, height: its size.
        x, y: distance of its centre from the pixel's centre.
        below: whether its centre is at the lower edge of the pixel (TextBoxes++).
        inset: what each corner moves inward, as a part of the image (Synopsys).
        inside: whether low corners are at least 0 and high corners at most 1 (FaceBoxes).
        keeps_order: whether x stays before y with ``yx_order`` (Synopsys).
    """

    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    below: bool = False
    inset: float = 0.0
    inside: bool = False
    keeps_order: bool = False


def aspect_ratios(p: Message) -> list[float]:
    """Return 1, each aspect ratio and, with ``flip``, its inverse; repeated ratios count once.
    Synopsys' ``keras`` has all inverses at the end; TPU-MLIR can leave out the 1."""
    ratios = [1.0] if p.use_default_aspect_ratio else []

    def is_new(ratio: float) -> bool:
        return all(abs(ratio - other) >= 1e-6 for other in ratios)

    for ratio in p.aspect_ratio:
        if is_new(ratio):
            ratios.append(ratio)
            if p.flip and not p.keras:
                ratios.append(1.0 / ratio)
    for ratio in p.aspect_ratio if p.keras and p.flip else ():
        if is_new(1.0 / ratio):
            ratios.append(1.0 / ratio)
    return ratios


def prior_count(p: Message) -> int:
    """Return the boxes per pixel for which PriorBox has room: one per ratio and min_size, one per
    max_size; in forks other numbers."""
    ratios = len(aspect_ratios(p))
    count = ratios * len(p.min_size)
    if p.box_width:
        return len(p.box_width)
    if p.faceboxes and len(p.min_size) == 3:
        count = 21
    if p.fixed_size:
        count = ratios * len(p.fixed_size)
    for density in p.density:
        count += (len(p.fixed_ratio) or ratios) * (int(density) ** 2 - 1)
    if p.p_type == "DENSE":
        return int(count * int(p.inner_scale) ** len(p.max_size))
    count += len(p.max_size)
    return 2 * count if p.denser_prior_boxes else count


def boxes_of(p: Message) -> Iterator[Box]:
    """Yield the boxes of a pixel, in the order of the fork that has these fields. Caffe stores sizes
    as int, so it truncates fractions."""
    if p.box_width:
        yield from map(Box, p.box_width, p.box_height)
        return
    for i, size in enumerate(p.fixed_size):
        yield from _dense(p, float(size), int(p.density[i]) if i < len(p.density) else 0)
    for i in range(len(p.min_size)):
        for box in _of_size(p, i):
            yield box
            if p.denser_prior_boxes:
                yield Box(box.width, box.height, below=True)


def _of_size(p: Message, i: int) -> Iterator[Box]:
    """Yield the boxes of one min_size."""
    size = int(p.min_size[i])
    ratios = [ratio for ratio in aspect_ratios(p) if abs(ratio - 1) >= 1e-6]
    rest = [Box(size * math.sqrt(ratio), size / math.sqrt(ratio)) for ratio in ratios]
    first = [Box(size, size, inset=0.05 if p.tf and size == 60 and not p.keras else 0.0)]
    if not p.use_default_aspect_ratio:
        first = []
    elif p.faceboxes and not p.keras:
        first = _face(size)
    second: list[Box] = []
    if p.max_size:
        most = int(p.max_size[i])
        mean = math.sqrt(size * most)  # geometric mean
        second = [Box(mean, mean)]
        if p.p_type == "DENSE":
            second = list(_scaled(size, most, int(p.inner_scale), [1.0, *ratios]))
    if p.keras:
        yield from (*second, *first, *rest)
    elif p.tf:
        yield from (*first, *rest, *second)
    else:
        yield from (*first, *second, *rest)


def _scaled(size: int, most: int, scales: int, ratios: Sequence[float]) -> Iterator[Box]:
    """Yield Cambricon's boxes of sizes between min_size and max_size. It divides their squares as
    integers."""
    for scale in range(1, scales):
        between = size * float((most * most) // (size * size)) ** (scale / (scales * 2))
        for ratio in ratios:
            yield Box(between * math.sqrt(ratio), between / math.sqrt(ratio))


def _face(size: int) -> list[Box]:
    """Return Synopsys' boxes of FaceBoxes: a pixel smaller, a grid of 4 x 4 for 32 and 2 x 2 for 64."""
    count, step = {32: (4, 8), 64: (2, 16)}.get(size, (1, 0))
    places = [step * (k - count // 2) for k in range(count)]
    return [Box(size - 1, size - 1, x, y, keeps_order=True) for y in places for x in places]


def _dense(p: Message, size: float, density: int) -> Iterator[Box]:
    """Yield FaceBoxes' boxes: for each ratio, ``density`` x ``density`` boxes in a square of ``size``."""
    whole = int(size)
    step = int(size / density) if density else 0
    places = [step / 2 + k * step - whole // 2 for k in range(density)]
    for ratio in p.fixed_ratio or aspect_ratios(p):
        is_square = not p.fixed_ratio and abs(ratio - 1) < 1e-6
        width = whole if is_square else size * math.sqrt(ratio)
        height = whole if is_square else size / math.sqrt(ratio)
        for y in places:
            for x in places:
                yield Box(width, height, x, y, inside=True)


class _Priors(LayerType, abstract=True):
    """Base class of layers that compute boxes and variances (1, 2, 4 P) from the sizes of a map and
    of the image."""

    reads_values = False
    stock = False

    def boxes(self, p: Message) -> list[Box]:
        """Return the boxes of a pixel."""
        raise NotImplementedError

    def clips(self, layer: Layer) -> bool:
        """Return whether all corners are 0 to 1."""
        return bool(layer.params.prior_box_param.clip)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        self.check_sizes(layer, layer.params.prior_box_param)
        four_axes(layer, bottoms[1])
        h, w = four_axes(layer, bottoms[0])[2:]
        return [(1, 2, h * w * self.count(layer.params.prior_box_param) * 4)]

    def count(self, p: Message) -> int:
        """Return the number of boxes of a pixel."""
        return len(self.boxes(p))

    def check_sizes(self, layer: Layer, p: Message) -> None:
        """Raises InputError unless the sizes of the boxes match."""
        raise NotImplementedError

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        p = layer.params.prior_box_param
        if len(p.variance) not in (0, 1, 4):
            raise layer.error(f"has {len(p.variance)} variance", "Set one, four, or none.")
        if any(not variance > 0 for variance in p.variance):
            raise layer.error("each variance must be above 0")
        for both, parts in (("img_size", ("img_h", "img_w")), ("step", ("step_h", "step_w"))):
            if not any(p.has(part) for part in parts):
                if p.has(both) and not getattr(p, both) > 0:
                    raise layer.error(f"{both} must be above 0")
                continue
            if p.has(both):
                raise layer.error(f"sets {both} and {' or '.join(parts)}", "Set only one of them.")
            if any(not getattr(p, part) > 0 for part in parts):
                raise layer.error(f"{' and '.join(parts)} must be above 0", "Set both, or none.")

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Identity", [e.array(self.values(layer, e))], [layer.writes[0]])

    def values(self, layer: Layer, e: Emitter) -> NDArray[np.float32]:
        """Return the top, which depends only on sizes: float32 (1, 2, H * W * boxes * 4), with corners
        and variances."""
        import numpy as np

        p = layer.params.prior_box_param
        h, w = four_axes(layer, e.shape(layer.reads[0]))[2:]
        image_h, image_w = four_axes(layer, e.shape(layer.reads[1]))[2:]
        if p.img_size:
            image_h = image_w = p.img_size
        elif p.img_h and p.img_w:
            image_h, image_w = p.img_h, p.img_w
        step_h = p.step_h or p.step or image_h / h
        step_w = p.step_w or p.step or image_w / w
        of_pixel = self.boxes(p)
        check_room(layer, h * w * len(of_pixel) * 32)  # the code below copies the boxes four times
        offset_y = np.array([1.0 if box.below else p.offset for box in of_pixel])
        y = (np.arange(h)[:, None] + offset_y) * step_h + [box.y for box in of_pixel]
        x = ((np.arange(w) + p.offset) * step_w)[:, None] + [box.x for box in of_pixel]
        half_w, half_h = (
            np.array([getattr(b, n) / 2 for b in of_pixel]) for n in ("width", "height")
        )
        corners = np.empty((h, w, len(of_pixel), 4))
        corners[..., 0], corners[..., 2] = x - half_w, x + half_w
        corners[..., 1], corners[..., 3] = (y - half_h)[:, None], (y + half_h)[:, None]
        corners /= np.array([image_w, image_h, image_w, image_h])
        self._moved(corners, of_pixel)
        if self.clips(layer):
            corners = corners.clip(0, 1)
        turned = [i for i, box in enumerate(of_pixel) if p.yx_order and not box.keeps_order]
        corners[:, :, turned] = corners[:, :, turned][..., [1, 0, 3, 2]]
        variance = list(p.variance) or [0.1]
        variances = np.broadcast_to(variance * (4 // len(variance)), corners.shape)
        priors = np.stack([corners.reshape(-1), variances.reshape(-1)])[None]
        return priors.astype(np.float32)

    def _moved(self, corners: NDArray[np.float64], of_pixel: Sequence[Box]) -> None:
        """Apply the insets and bounds of boxes to their corners."""
        for i, box in enumerate(of_pixel):
            if box.inset:
                corners[:, :, i] += [box.inset, box.inset, -box.inset, -box.inset]
            if box.inside:
                corners[:, :, i, :2] = corners[:, :, i, :2].clip(min=0)
                corners[:, :, i, 2:] = corners[:, :, i, 2:].clip(max=1)


class PriorBox(_Priors):
    """SSD: default boxes of a feature map (corners, then variances); bottoms map and image.

    Each pixel has a box of each min_size, of the geometric mean of min_size and max_size, and of
    min_size with each aspect ratio. Forks: FaceBoxes has ``density`` x ``density`` boxes of each
    fixed_size. TextBoxes++ repeats each box half a pixel lower (``denser_prior_boxes``). Cambricon has
    more sizes between min_size and max_size (``p_type: DENSE``), and clips by default. Synopsys has
    boxes of given sizes (``box_width``, ``box_height``), the order and sizes of TensorFlow's, Keras'
    and FaceBoxes' nets (``tf``, ``keras``, ``faceboxes``), and corners as y, x (``yx_order``).
    TPU-MLIR leaves out the boxes of ratio 1 (``use_default_aspect_ratio: false``).
    """

    source = "weiliu89/caffe"
    reads = fields(
        prior_box_param=(
            "min_size max_size aspect_ratio flip clip variance img_size img_h img_w step "
            "step_h step_w offset fixed_size fixed_ratio density denser_prior_boxes p_type "
            "inner_scale faceboxes box_width box_height tf yx_order keras use_default_aspect_ratio"
        ),
    )
    limits = "not fields of forks with which Caffe writes more or fewer boxes than it counts"

    def boxes(self, p: Message) -> list[Box]:
        return list(boxes_of(p))

    def count(self, p: Message) -> int:
        return prior_count(p)

    def clips(self, layer: Layer) -> bool:
        p = layer.params.prior_box_param
        return bool(p.clip) or (layer.dialect == "cambricon" and not p.has("clip"))

    def check_sizes(self, layer: Layer, p: Message) -> None:
        if not (p.min_size or p.fixed_size or p.box_width):
            raise layer.error("missing min_size", "Set one or more.")
        if p.max_size and len(p.max_size) != len(p.min_size):
            raise layer.error(
                f"has {len(p.min_size)} min_size, but {len(p.max_size)} max_size",
                "Set one max_size per min_size, or none.",
            )
        for name, other in (("box_width", "box_height"), ("fixed_size", "density")):
            counts = [len(getattr(p, field)) for field in (name, other)]
            if counts[0] != counts[1]:
                raise layer.error(
                    f"has {counts[0]} {name}, but {counts[1]} {other}",
                    f"Set one {other} per {name}.",
                )
        for name in ("min_size", "fixed_size", "density"):
            if any(not value > 0 for value in getattr(p, name)):
                raise layer.error(f"each {name} must be above 0")
        if any(density != int(density) for density in p.density):
            raise layer.error("each density must be a whole number")
        if p.fixed_ratio and p.aspect_ratio:
            raise layer.error("sets fixed_ratio and aspect_ratio", "Set only one of them.")

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        super().demands(layer, bottoms, tops)
        p = layer.params.prior_box_param
        for least, most in zip(p.min_size, p.max_size, strict=False):
            if not most > least:
                raise layer.error(f"max_size must be above min_size {least:g}, got {most:g}")

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.prior_box_param
        count, written = self.count(p), len(self.boxes(p))
        if count != written:
            raise layer.unsupported(
                f"its fields are undefined together: Caffe counts {quantity(count, 'box', 'boxes')} of a "
                f"pixel, but writes {written}",
                "Set only fields of one fork.",
            )
        super().lower(layer, e)


class PriorBoxClustered(_Priors):
    """OpenVINO's training toolbox: default boxes of given sizes (``width`` and ``height``); bottoms map
    and image."""

    source = "openvinotoolkit/training_toolbox_caffe"
    reads = fields(
        prior_box_param=(
            "width height clip variance img_size img_h img_w step step_h step_w offset"
        ),
    )
    harmless = MappingProxyType({"prior_box_param.flip": "it has no aspect ratios"})

    def boxes(self, p: Message) -> list[Box]:
        return [*map(Box, p.width, p.height)]

    def check_sizes(self, layer: Layer, p: Message) -> None:
        if not p.width:
            raise layer.error("missing width", "Set one or more.")
        if len(p.width) != len(p.height):
            raise layer.error(
                f"has {len(p.width)} width, but {len(p.height)} height", "Set one height per width."
            )
        if any(not value > 0 for value in (*p.width, *p.height)):
            raise layer.error("each width and height must be above 0")
