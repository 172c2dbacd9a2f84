"""Region proposals of two-stage detectors: Faster R-CNN and its descendants."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers.base import (
    LayerType,
    Window,
    check_bottoms,
    check_room,
    fields,
)
from protogen.layers.checking import check_tops
from protogen.layers.forks.detection import anchors as boxes_of
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.forks.regions import proposing, selecting
from protogen.layers.forks.regions.proposing import Network, check_maps
from protogen.layers.forks.regions.selecting import Choice
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng


# The fields that only one fork has tell its meaning.
_OWN = {
    "tpumlir": "rpn_obj_threshold rpn_nms_threshold rpn_nms_post_top_n net_input_h net_input_w",
    "synopsys": "max_rois rpn_min_size rpn_nms_thresh",
    "cambricon": "stride im_min_w im_min_h top_num nms_num anchor_num im_h im_w pvanet_mode "
    "nproposal_mode",
    "vitis": "nms_input_num nms_output_num stride_h stride_w nms_iou_th min_width min_height anchor",
}
_DIALECTS = ("minicaffe", "happynear", *_OWN)
_PIXELS = 64  # a scale from which it is unclear whether it is a factor or a size in pixels


def _fork(layer: Layer) -> str:
    """Return the fork whose Proposal a layer is, by the user's dialect or its fields; empty if
    nothing tells."""
    if layer.dialect in _DIALECTS:
        return layer.dialect
    p = layer.params.proposal_param
    forks = [fork for fork, names in _OWN.items() if any(map(p.has, names.split()))]
    if len(forks) == 1:
        return forks[0]
    if forks:
        return ""
    if len(p.ratio) or len(p.scale):
        return "" if max(p.scale, default=0) >= _PIXELS else "minicaffe"
    single = len(p.anchor_scale) <= 1 and len(p.anchor_ratio) <= 1
    return "synopsys" if single and (p.has("feat_stride") or p.has("anchor_base_size")) else ""


class Proposal(LayerType):
    """Faster R-CNN: regions (image, corners) from maps of scores and deltas, and im_info; a second top
    holds their scores.

    Each anchor box moves and grows by its deltas and is clipped to the image. The boxes with the best
    scores remain, without those that overlap a better one. mini-caffe, PVANet and OpenVINO: the number
    of regions depends on the data; a box that is too small gets score 0. happynear: the same, but
    ``scale`` is a size in pixels (only with its dialect). Synopsys: a box that is too small is left
    out. Cambricon: a fixed number of regions, filled with zeros. TPU-MLIR: a fixed number of regions
    in order of anchors, without im_info, and suppression in this order.
    """

    source = "luoyetx/mini-caffe"
    data_axis = 0
    reads = fields(
        proposal_param=(
            "feat_stride base_size min_size ratio scale pre_nms_topn post_nms_topn nms_thresh "
            "anchor_base_size anchor_scale anchor_ratio " + " ".join(_OWN.values())
        ),
    )
    harmless = MappingProxyType(
        {
            f"proposal_param.{name}": "the code does not use it"
            for name in ("nms_scale", "enable_softmax", "shuffle_channel")
        }
    )
    stock = False
    limits = "not nproposal_mode (Cambricon), nor vitis' own fields"

    def decide(self, layer: Layer) -> None:
        p = layer.params.proposal_param
        if _fork(layer):
            return
        if max(p.scale, default=0) >= _PIXELS:
            raise layer.unsupported(
                f"scale {max(p.scale):g} can be a factor of base_size (mini-caffe, PVANet) or a size "
                "in pixels (happynear), which give other anchors",
                "Set --dialect minicaffe or --dialect happynear.",
            )
        raise layer.unsupported(
            "its fields do not tell which fork's Proposal it is, and forks select regions by "
            "different rules",
            f"Set --dialect to one of {', '.join(_DIALECTS)}.",
        )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        def rows(count: int) -> list[Shape]:
            tops: list[Shape] = [(count, 5), (count, 1)]
            return tops[: len(layer.tops)]

        fork = _fork(layer)
        p = layer.params.proposal_param
        check_bottoms(layer, 2 if fork in ("tpumlir", "cambricon") else 3, 3)
        check_tops(layer, 1, 1 if fork in ("tpumlir", "cambricon") else 2)
        if fork == "tpumlir":
            check_maps(layer, bottoms, len(_anchors(p, fork)))
            for name in ("net_input_h", "net_input_w"):
                if not p.has(name):
                    raise layer.error(f"missing {name}", "Set it to the size of the net's input.")
            return [(bottoms[0][0], 1, p.rpn_nms_post_top_n, 5)]
        if fork == "cambricon":
            return [(p.nms_num, 5)]
        if fork == "vitis":
            return rows(p.nms_output_num)
        if fork == "synopsys":
            check_maps(layer, bottoms, len(_anchors(p, fork)))
            return rows(p.max_rois)
        count = bottoms[0][0] * p.post_nms_topn
        if fork:
            if not (len(p.ratio) and len(p.scale)):
                missing = "scale" if len(p.ratio) else "ratio"
                raise layer.error(f"missing {missing}", "Set one or more.")
            check_maps(layer, bottoms, len(p.ratio) * len(p.scale))
        tops: list[Shape] = [(count, 5), (count,)]
        return tops[: len(layer.tops)]

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        fork = _fork(layer)
        if fork in ("minicaffe", "synopsys", "cambricon"):
            proposing.check_one_image(layer, bottoms)
        if fork and len(bottoms) == 3:
            proposing.check_info(layer, bottoms, 4 if fork == "happynear" else 3)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        p = layer.params.proposal_param
        return proposing.drawn(
            index, shapes, rng, p.stride if _fork(layer) == "cambricon" else p.feat_stride
        )

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        fork = _fork(layer)
        p = layer.params.proposal_param
        if fork == "vitis":
            raise layer.unsupported(
                "the code of Vitis AI's Proposal is not public",
                "End the net at its bottoms with --to-blob, and select the regions outside of the "
                "model.",
            )
        if fork == "happynear" and e.shape(layer.reads[0])[0] != 1:
            raise layer.unsupported(
                "several images are unsupported: im_info has the size of the first one only",
                "Use a batch of 1.",
            )
        if fork == "tpumlir":
            from protogen.layers.forks.regions.sequential import suppressed_in_order

            suppressed_in_order(layer, e, _anchors(p, fork))
        elif fork == "cambricon":
            _cambricon(layer, e)
        else:
            network = _synopsys(p) if fork == "synopsys" else _plain(p, fork, layer.dialect)
            boxes, scores = proposing.proposed(layer, e, network)
            proposing.finish(layer, e, boxes, scores, column=fork == "synopsys")


def _anchors(p: Message, fork: str) -> NDArray[np.floating]:
    """Return the anchors of TPU-MLIR's or of Synopsys' Caffe, whose sets are fixed."""
    scales, ratios = list(boxes_of.SCALES), list(boxes_of.RATIOS)
    if fork == "synopsys" and len(p.anchor_scale) and p.anchor_scale[0] != 3:
        scales = [32.0]
    if fork == "synopsys" and len(p.anchor_ratio) and p.anchor_ratio[0] != 3:
        ratios = [1.0]
    return boxes_of.anchors(p.anchor_base_size, ratios, scales)


def _plain(p: Message, fork: str, dialect: str) -> Network:
    of = boxes_of.pixel_anchors if fork == "happynear" else boxes_of.anchors
    choice = Choice(p.pre_nms_topn, p.post_nms_topn, p.nms_thresh)
    anchors = of(p.base_size, list(p.ratio), list(p.scale))
    by_axis = dialect != "minicaffe"
    return Network(anchors, p.feat_stride, choice, p.min_size, small_scores=True, by_axis=by_axis)


def _synopsys(p: Message) -> Network:
    # Its code sorts the best pre_nms_topn boxes only, but its suppression reads all boxes.
    return Network(
        _anchors(p, "synopsys"),
        p.feat_stride,
        Choice(0, p.max_rois, p.rpn_nms_thresh),
        p.rpn_min_size,
        by_anchor=True,
        keeps_last=True,
    )


def _cambricon(layer: Layer, e: Emitter) -> None:
    """Emit Cambricon's regions: (nms_num, 5), with zeros after the last region."""
    import numpy as np

    p = layer.params.proposal_param
    if p.nproposal_mode:
        raise layer.unsupported(
            "nproposal_mode is unsupported: its code suppresses boxes that it did not sort",
            "End the net at its bottoms with --to-blob, and select the regions outside of the model.",
        )
    if len(layer.reads) < 3:
        raise layer.unsupported(
            "without im_info as a third bottom, its code reads beyond its bottoms",
            "Add im_info as a bottom.",
        )
    anchors = boxes_of.cambricon_defaults()
    if len(p.anchor_ratio):
        ratios, scales = list(p.anchor_ratio), list(p.anchor_scale)
        anchors = boxes_of.cambricon_anchors(p.base_size, ratios, scales, p.pvanet_mode)
    shape = e.shape(layer.reads[0])
    bottoms = [e.shape(read) for read in layer.reads]
    if len(anchors) != p.anchor_num:
        raise layer.error(f"anchor_num is {p.anchor_num}, but it has {len(anchors)} anchors")
    check_maps(layer, bottoms, len(anchors))
    count = len(anchors) * shape[2] * shape[3]
    check_room(layer, 4 * count)
    every = boxes_of.shifted(anchors, shape[2], shape[3], p.stride, True)
    low, high = every[:, :2], every[:, 2:]
    one = np.float32(1)
    centre, size = (low + high + one) / np.float32(2), high - low + one
    deltas = selecting.by_pixel(e, layer.reads[1], 4, True)
    boxes = selecting.decode_around(e, deltas, e.array(size), e.array(centre))
    info = _cambricon_info(layer, e)
    last = e.value("Sub", e.value("Concat", info[1], info[0], axis=0), e.array(1.0))
    starts = e.value("Max", cut_along(e, boxes, 1, 0, 2), e.array(0.0))
    ends = e.value("Min", cut_along(e, boxes, 1, 2, 4), last)
    boxes = e.value("Concat", starts, ends, axis=1)
    least = e.value("Mul", info[2], e.array([float(p.im_min_w), float(p.im_min_h)]))
    is_valid = selecting.is_least(e, boxes, least)
    scores = selecting.keep_scores(e, is_valid, proposing.positive_scores(layer, e, True))
    choice = Choice(int(p.top_num), p.nms_num, p.nms_thresh)
    boxes, _ = selecting.select(e, boxes, scores, count, choice)
    rows = proposing.filled(e, selecting.regions(e, boxes, 0), p.nms_num)
    e.op("Identity", [rows], [layer.writes[0]])


def _cambricon_info(layer: Layer, e: Emitter) -> list[str]:
    """Emit height, width and scale of the image: im_info, or the layer's fields if its height is 0."""
    p = layer.params.proposal_param
    flat = e.value("Reshape", layer.reads[2], e.array([-1]))
    info = cut_along(e, flat, 0, 0, 3)
    is_zero = e.value("Equal", cut_along(e, flat, 0, 0, 1), e.array([0.0]))
    own = e.array([float(p.im_h), float(p.im_w), float(p.scale[0] if len(p.scale) else 1.0)])
    info = e.value("Where", is_zero, own, info)
    return [cut_along(e, info, 0, i, i + 1) for i in range(3)]
