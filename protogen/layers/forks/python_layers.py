"""Python layers with a public meaning: those of Faster R-CNN, CTPN, BVLC's examples and Synopsys'
models. A type is found by ``python_param`` module and layer."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_room, fields
from protogen.layers.checking import check_tops
from protogen.layers.forks.detection import anchors as boxes_of
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.forks.regions import proposing, selecting
from protogen.layers.forks.regions.proposing import Network
from protogen.layers.forks.regions.selecting import Choice
from protogen.layers.graph import Layer
from protogen.layers.labels import total
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng

    Settings = dict[str, Any]

READS = fields(python_param="module layer param_str")
_TAG = re.compile(r"!!python/\w+")
_BARE = re.compile(r"(^|[{,\n])\s*([A-Za-z_]\w*)\s*:")


def settings(layer: Layer) -> Settings:
    """Return the values in param_str: names and values as YAML or as a Python dictionary.

    Raises:
        InputError: it is neither.
    """
    text = _TAG.sub("", layer.params.python_param.param_str).strip()
    text = _BARE.sub(r"\1'\2':", text)
    if not text.startswith("{"):
        lines = (line.strip().rstrip(",") for line in text.splitlines())
        text = "{" + ", ".join(line for line in lines if line) + "}"
    try:
        values = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise layer.error(
            f"param_str {layer.params.python_param.param_str!r} holds no names and values",
            "Write it like \"{'feat_stride': 16}\".",
        )
    return {str(name): value for name, value in values.items()}


def number(layer: Layer, values: Settings, name: str) -> int:
    """Return a value of param_str that must be an integer above 0.

    Raises:
        InputError: it is missing or another value.
    """
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        actual = f"got {value!r}" if name in values else "which is missing"
        raise layer.error(f"param_str must have {name!r}, an integer above 0, {actual}")
    return value


def numbers(layer: Layer, values: Settings, name: str, default: Sequence[float]) -> list[float]:
    """Return a value of param_str that must be a list of numbers above 0.

    Raises:
        InputError: it is another value.
    """
    value = values.get(name, default)
    good = isinstance(value, list | tuple) and len(value) > 0
    if not good or not all(isinstance(x, int | float) and x > 0 for x in value):
        raise layer.error(f"{name!r} in param_str must be numbers above 0, got {value!r}")
    return [float(x) for x in value]


class KnownPython(LayerType, abstract=True):
    """Base class of Python layers whose class is public."""

    reads = READS
    top_may_be_unused = True

    def in_place(self, layer: Layer) -> bool:
        return False

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


def rpn_anchors(layer: Layer, values: Settings) -> NDArray[np.floating]:
    """Return the anchors of a param_str of py-faster-rcnn; ``ratios`` and ``base_size`` are PVANet's."""
    scales = numbers(layer, values, "scales", boxes_of.SCALES)
    ratios = numbers(layer, values, "ratios", boxes_of.RATIOS)
    base = number(layer, {"base_size": 16, **values}, "base_size")
    return boxes_of.anchors(base, ratios, scales, halves_to_even=True)


_TEST = Choice(6000, 300, 0.7)
_TRAIN = Choice(12000, 2000, 0.7)


class RPNProposalLayer(KnownPython):
    """Faster R-CNN in Python: at most 300 regions (2000 in phase TRAIN) from scores, deltas and
    im_info.

    Anchors move and grow by their deltas and are clipped to the image. Boxes smaller than 16 pixels
    of the original image are left out; of the best 6000 (TRAIN: 12000), those remain that overlap no
    better box by more than 0.7. These numbers are the defaults of its configuration, which is
    outside of the net.
    """

    python_class = ("rpn.proposal_layer", "ProposalLayer")
    source = "rbgirshick/py-faster-rcnn"
    data_axis = 0

    def _choice(self, layer: Layer) -> Choice:
        return _TRAIN if layer.phase == "TRAIN" else _TEST

    def decide(self, layer: Layer) -> None:
        known = {"feat_stride", "scales", "ratios", "base_size"}
        others = sorted(set(settings(layer)) - known)
        if others:
            raise layer.unsupported(
                f"{others[0]!r} in param_str has no known meaning",
                "Register the class with pg.layer.",
            )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        check_tops(layer, 1, 2)
        values = settings(layer)
        number(layer, values, "feat_stride")
        proposing.check_maps(layer, bottoms, len(rpn_anchors(layer, values)))
        count = self._choice(layer).after
        tops: list[Shape] = [(count, 5), (count, 1)]
        return tops[: len(layer.tops)]

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        proposing.check_one_image(layer, bottoms)
        proposing.check_info(layer, bottoms)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return proposing.drawn(index, shapes, rng, number(layer, settings(layer), "feat_stride"))

    def lower(self, layer: Layer, e: Emitter) -> None:
        values = settings(layer)
        stride = number(layer, values, "feat_stride")
        network = Network(rpn_anchors(layer, values), stride, self._choice(layer))
        boxes, scores = proposing.proposed(layer, e, network)
        proposing.finish(layer, e, boxes, scores)


class TextProposalLayer(KnownPython):
    """CTPN in Python: a box 16 pixels wide for each of the ten anchors of each pixel (n, 4), and its
    score (n, 1), from scores, deltas of height and im_info."""

    python_class = ("layers.text_proposal_layer", "ProposalLayer")
    source = "tianzhi0549/CTPN"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        check_tops(layer, 2, 2)
        number(layer, settings(layer), "feat_stride")
        count = len(boxes_of.text_anchors())
        proposing.check_maps(layer, bottoms, count, 2)
        count *= math.prod(bottoms[0][2:])
        return [(count, 4), (count, 1)]

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        proposing.check_one_image(layer, bottoms)
        proposing.check_info(layer, bottoms, 2)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return proposing.drawn(index, shapes, rng, number(layer, settings(layer), "feat_stride"))

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        height, width = e.shape(layer.reads[0])[2:]
        stride = number(layer, settings(layer), "feat_stride")
        anchors = boxes_of.shifted(boxes_of.text_anchors(), height, width, stride, False)
        check_room(layer, 2 * anchors.size)
        x0, y0, x1, y1 = (anchors[:, i : i + 1] for i in range(4))
        size = e.array(y1 - y0 + np.float32(1))
        deltas = selecting.by_pixel(e, layer.reads[1], 2)
        grown = e.value("Mul", e.value("Exp", cut_along(e, deltas, 1, 1, 2)), size)
        moved = e.value("Mul", cut_along(e, deltas, 1, 0, 1), size)
        centre = e.value("Add", moved, e.array((y0 + y1) / np.float32(2)))
        low = e.value("Sub", centre, e.value("Mul", grown, e.array(0.5)))
        high = e.value("Add", low, grown)
        boxes = e.value("Concat", e.array(x0), low, e.array(x1), high, axis=1)
        flat = e.value("Reshape", layer.reads[2], e.array([-1]))
        ends = [cut_along(e, flat, 0, i, i + 1) for i in (1, 0)]
        last = e.value("Sub", e.value("Concat", *ends, *ends, axis=0), e.array(1.0))
        e.op("Identity", [selecting.clip(e, boxes, last)], [layer.writes[0]])
        scores = proposing.positive_scores(layer, e, False)
        e.op("Unsqueeze", [scores, e.array([1])], [layer.writes[1]])


class RoIDataLayer(KnownPython):
    """Faster R-CNN in Python: images with their regions and labels; its tops are inputs of the net.
    With three tops they are data, im_info and gt_boxes; with six, the number of targets of a region
    depends on a configuration outside of the net."""

    python_class = ("roi_data_layer.layer", "RoIDataLayer")
    source = "rbgirshick/py-faster-rcnn"
    is_source = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape | None]:
        check_bottoms(layer, 0, 0)
        number(layer, settings(layer), "num_classes")
        if len(layer.tops) == 3:
            return [(1, 3, 600, 1000), (1, 3), (1, 5)]
        if len(layer.tops) not in (3, 6):
            raise layer.error(f"expected 3 or 6 tops, got {len(layer.tops)}")
        return [(2, 3, 600, 1000), (128, 5), (128,), None, None, None]

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Emit nothing: the tops are inputs of the model."""


class _Training(KnownPython, abstract=True):
    """Base class of Python layers for training whose values are random samples."""

    refusal = (
        "it draws random samples for training",
        "End the net at its bottoms with --to-blob, or use the net for inference.",
    )

    def random(self, layer: Layer) -> bool:
        return False


class AnchorTargetLayer(_Training):
    """Faster R-CNN in Python, for training: labels (1, 1, A * H, W) of anchors, and targets and two
    sets of weights (1, 4 * A, H, W) of their deltas, from scores, gt_boxes, im_info and data."""

    python_class = ("rpn.anchor_target_layer", "AnchorTargetLayer")
    source = "rbgirshick/py-faster-rcnn"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 4)
        check_tops(layer, 4, 4)
        if len(bottoms[0]) != 4:
            raise layer.error(
                f'"{layer.bottoms[0]}" must have 4 axes, got shape {shape_text(bottoms[0])}'
            )
        count = len(rpn_anchors(layer, settings(layer)))
        height, width = bottoms[0][2:]
        return [(1, 1, count * height, width), *[(1, 4 * count, height, width)] * 3]


class ProposalTargetLayer(_Training):
    """Faster R-CNN in Python, for training: 128 regions with their labels, and targets and two sets
    of weights of their deltas, from regions and gt_boxes. The tops have four axes, as in R-FCN;
    py-faster-rcnn's have two."""

    python_class = ("rpn.proposal_target_layer", "ProposalTargetLayer")
    source = "YuwenXiong/py-R-FCN"
    data_axis = 0

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 5, 5)
        values = 4 * number(layer, settings(layer), "num_classes")
        return [(128, length, 1, 1) for length in (5, 1, values, values, values)]


class PyEuclideanLoss(KnownPython):
    """BVLC's example of a Python layer: sum (x - t)^2 / (2N), as EuclideanLoss."""

    python_class = ("pyloss", "EuclideanLossLayer")
    source = "BVLC/caffe"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        if bottoms[0] != bottoms[1]:
            raise layer.error(
                "its bottoms must have equal shapes, got "
                f"{shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
            )
        return [(1,)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        difference = e.value("Sub", *layer.reads)
        samples = (*e.shape(layer.reads[0]), 1)[0]
        loss = total(e, e.value("Mul", difference, difference), 1 / (2 * samples))
        e.op("Reshape", [loss, e.array([1])], [layer.writes[0]])


class PadTensor(KnownPython):
    """Synopsys' models: numpy's pad of the last two of four axes, by ``pad_t``, ``pad_b``, ``pad_l``
    and ``pad_r``; ``pad_mode`` is constant (zeros), edge or reflect."""

    python_class = ("pad", "PadTensor")
    source = "foss-for-synopsys-dwc-arc-processors/synopsys-caffe-models"
    passes_signal = True

    def _pads(self, layer: Layer) -> list[int]:
        """Return the pads of top, bottom, left and right."""
        values = settings(layer)
        pads = [values.get(f"pad_{side}") for side in "tblr"]
        if not all(isinstance(pad, int) and pad >= 0 for pad in pads):
            raise layer.error("param_str must have pad_t, pad_b, pad_l and pad_r, integers from 0")
        return [int(pad or 0) for pad in pads]

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 1, 1)
        if len(bottoms[0]) != 4:
            raise layer.error(f"its bottom must have 4 axes, got shape {shape_text(bottoms[0])}")
        n, c, h, w = bottoms[0]
        t, b, left, right = self._pads(layer)
        mode = settings(layer).get("pad_mode")
        if mode not in ("constant", "edge", "reflect"):
            raise layer.unsupported(
                f"pad_mode {mode!r} is unsupported", "Use constant, edge or reflect."
            )
        if mode == "reflect" and (max(t, b) >= h or max(left, right) >= w):
            raise layer.unsupported(
                f"reflect pads {t}, {b}, {left}, {right} must be smaller than the size {h}x{w}",
                "Use smaller pads.",
            )
        return [(n, c, h + t + b, w + left + right)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        t, b, left, right = self._pads(layer)
        pads = e.array([0, 0, t, left, 0, 0, b, right])
        mode = settings(layer)["pad_mode"]
        e.op("Pad", [layer.reads[0], pads], [layer.writes[0]], mode=mode)
