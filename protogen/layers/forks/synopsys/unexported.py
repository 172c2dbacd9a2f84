"""Layers of Synopsys' fork that protogen reads but does not export: losses, attention and detection."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from protogen.geometry import Shape
from protogen.layers.base import LayerType, Window, axis_of, check_bottoms, check_rank, fields
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.loss import _Loss

_TRAINING = (
    "it is a loss for training, which protogen does not export",
    "End the net at its bottoms with --to-blob.",
)


class _TrainingLoss(_Loss, abstract=True):
    """Base class of the losses."""

    stock = False
    source = SYNOPSYS
    refusal = _TRAINING

    def check_form(self, layer: Layer) -> None:
        raise layer.unsupported(*self.refusal)


class GANLoss(_TrainingLoss):
    """The loss of a discriminator or generator; bottoms: its scores of real and of generated samples.
    Which of the two it is changes from iteration to iteration."""

    reads = fields(
        gan_loss_param="dis_iter gen_iter dis_lossweight gen_lossweight simple_genloss k_lr equilibrium"
    )


class _Refused(LayerType, abstract=True):
    """Base class of layers without an export."""

    stock = False
    source = SYNOPSYS
    refusal = (
        "protogen does not export this layer type of Synopsys' fork",
        "End the net at its bottoms with --to-blob, and compute it outside of the model.",
    )

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class _Attention(_Refused, abstract=True):
    """Base class of the layers that give the weights of a memory."""

    count = 4

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, self.count, self.count)
        p = layer.params.attention_param
        return [(p.batch_size, p.alignments_size)]


class Attention(_Attention):
    """Bahdanau's attention; bottoms: query, state, memory and the vector v."""

    reads = fields(attention_param="batch_size query_depth alignments_size")
    harmless = MappingProxyType(
        dict.fromkeys(
            (f"attention_param.{name}" for name in ("scale", "normalize", "attention_option")),
            "the fork does not read it",
        )
    )


class LuongAttention(_Refused):
    """Luong's attention; bottoms: query, state and memory. The fork has fixed sizes: a batch of 2, and
    500 positions."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        return [(2, 500)]


class MaskRCNNProposal(_Refused):
    """Mask R-CNN: regions from scores, deltas and anchors."""

    reads = fields(
        maskrcnn_proposal_param=(
            "rpn_bbox_std_dev batch_size images_per_gpu pre_nms_limit rpn_nms_threshold "
            "post_nms_rois_inference"
        )
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        p = layer.params.maskrcnn_proposal_param
        return [(p.batch_size, p.post_nms_rois_inference, 4)]


class MaskRCNNDetection(_Refused):
    """Mask R-CNN: detections from regions, probabilities, deltas and the size of the picture."""

    reads = fields(
        maskrcnn_detection_param=(
            "bbox_std_dev batch_size detection_max_instances detection_min_confidence "
            "detection_nms_threshold"
        )
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 4, 4)
        p = layer.params.maskrcnn_detection_param
        return [(p.batch_size, p.detection_max_instances, 6)]


class SSDDecoder(_Refused):
    """SSD: the decoded boxes of locations and priors."""

    reads = fields(
        detection_output_param=(
            "num_classes share_location background_label_id code_type variance_encoded_in_target"
        )
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_rank(layer, bottoms[1:], 3, 4)
        return [(1, 1, bottoms[1][2] // 4, 4)]


class SSDSort(_Refused):
    """SSD: rows of 7 for the decoded boxes and confidences that non-maximum suppression keeps."""

    reads = fields(
        detection_output_param=(
            "num_classes share_location background_label_id keep_top_k confidence_threshold "
            "nms_param.nms_threshold nms_param.top_k nms_param.eta"
        )
    )
    data_axis = 2

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        return [(1, 1, 1, 7)]


class Where4(_Refused):
    """Mask R-CNN: the indices of the values 2, 3, 4 and 5, in this order, ``num_output`` of them."""

    reads = fields(where4_param="num_output axis")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p, shape = layer.params.where4_param, bottoms[0]
        axis = axis_of(layer, p.axis, len(shape))
        if not 1 <= p.num_output <= shape[axis]:
            raise layer.error(f"num_output must be from 1 to {shape[axis]}, got {p.num_output}")
        return [(p.num_output, len(shape))]


class Where4Gathernd(_Refused):
    """Mask R-CNN: Where4 of the second bottom, and the values of the first at these indices."""

    reads = fields(where4_gathernd_param="num_output axis")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        count, depth = layer.params.where4_gathernd_param.num_output, len(bottoms[1])
        check_rank(layer, bottoms[:1], depth, 32)
        return [(count, *bottoms[0][depth:])]


class Where4GatherndCrop(_Refused):
    """Mask R-CNN: Where4Gathernd, then CropAndResize of four maps (N, H, W, C)."""

    reads = fields(where4_gathernd_crop_param="num_output axis crop_h crop_w extrapolation_value")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 6, 6)
        check_rank(layer, bottoms[2:3], 4, 4)
        p = layer.params.where4_gathernd_crop_param
        return [(p.num_output, p.crop_h, p.crop_w, bottoms[2][3])]
