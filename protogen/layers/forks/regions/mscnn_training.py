"""Layers of MS-CNN and Cascade R-CNN for training and testing: their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, fields
from protogen.layers.checking import check_tops
from protogen.layers.forks.regions.mscnn import BOX_REGRESSION, CASCADE, MSCNN
from protogen.layers.graph import Layer
from protogen.layers.pictures import Source


class _Training(LayerType, abstract=True):
    """Base class of layers for training and testing of which only the shapes are known here."""

    stock = False
    refusal = (
        "it compares boxes with labels, for training or testing",
        "End the net at its bottoms with --to-blob, or use the net for inference.",
    )

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def check_samples(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        """Raises InputError unless all bottoms have the same number of samples."""
        if len({shape[0] for shape in bottoms}) > 1:
            shapes = ", ".join(map(shape_text, bottoms))
            raise layer.error(f"its bottoms must have the same number of samples, got {shapes}")


class ProposalTarget(_Training):
    """MS-CNN, for training: a random sample of regions, with their labels, targets and weights of
    deltas, and matched boxes."""

    source = CASCADE
    data_axis = 0
    reads = fields(
        proposal_target_param=(
            "cls_num batch_size fg_fraction num_img_per_batch fg_thr bg_thr_hg bg_thr_lw img_width "
            "img_height iou_weighted bbox_thr_lw bbox_thr_hg pickup_discard append_gtbox"
        ),
        bbox_reg_param=f"{BOX_REGRESSION} cls_aware",
    )
    refusal = (
        "it draws random samples for training",
        "End the net at its bottoms with --to-blob, or use the net for inference.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 6, 7)
        p = layer.params.proposal_target_param
        if p.batch_size == 0 or p.batch_size < -1:
            raise layer.error(f"batch_size must be -1 or above 0, got {p.batch_size}")
        count = p.batch_size if p.batch_size > 0 else max(1, bottoms[0][0])
        values = 4 * p.cls_num if layer.params.bbox_reg_param.cls_aware else 8
        lengths = (5, 1, values, values, values, 6, 1)
        tops: list[Shape] = [(count, length, 1, 1) for length in lengths]
        return tops[: len(layer.tops)]


class BboxAccuracy(_Training):
    """MS-CNN, for testing: the mean overlap of boxes after and before regression."""

    source = MSCNN
    reads = fields(bbox_reg_param=f"{BOX_REGRESSION} cls_aware")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        check_tops(layer, 1, 2)
        self.check_samples(layer, bottoms)
        return [(1, 1, 1, 1)] * len(layer.tops)


class _MapLoss(_Training, abstract=True):
    """Base class of losses over maps: two values (1, 1, 1, 2), of classes and of boxes."""

    is_loss = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 3)
        self.check_samples(layer, bottoms)
        return [(1, 1, 1, 2)]


class DetectionLoss(_MapLoss):
    """MS-CNN, for training: loss of classes and boxes of a map. pytorch2caffe: that of YOLO."""

    source = MSCNN
    reads = fields(
        detection_loss_param=(
            "cls_num coord_num lambda field_h field_w downsample_rate bb_smooth field_whr field_xyr "
            "bg_threshold bg_multiple sample_mode objectness iou_weighted pos_neg_weighted"
        ),
        bbox_reg_param=BOX_REGRESSION,
        loss_param="ignore_label normalize normalization",
    )


class DetectionGroupLoss(_MapLoss):
    """Cascade R-CNN, for training: loss of probabilities and deltas of several fields."""

    source = CASCADE
    reads = fields(
        detection_group_loss_param=(
            "cls_num lambda field_h field_w stride field_whr field_xyr bg_threshold bg_multiple "
            "neg_mining_type neg_ranking_type min_num_neg objectness batch_size pos_neg_weighted "
            "bbox_loss_type"
        ),
        bbox_reg_param=BOX_REGRESSION,
        loss_param="ignore_label normalize normalization",
    )


class _MapAccuracy(_Training, abstract=True):
    """Base class of accuracies over maps: (1, 1, 1, 2), of all and of labelled positions, and the mean
    overlap of boxes (1, 1, 1, 1)."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 3)
        check_tops(layer, 1, 2)
        self.check_samples(layer, bottoms)
        tops: list[Shape] = [(1, 1, 1, 2), (1, 1, 1, 1)]
        return tops[: len(layer.tops)]


class DetectionAccuracy(_MapAccuracy):
    """MS-CNN, for testing: accuracy of classes and boxes of a map."""

    source = MSCNN
    reads = fields(
        detection_accuracy_param=(
            "cls_num coord_num field_h field_w downsample_rate top_k field_whr field_xyr bg_threshold "
            "objectness"
        ),
        bbox_reg_param=BOX_REGRESSION,
        loss_param="ignore_label",
    )


class DetectionGroupAccuracy(_MapAccuracy):
    """Cascade R-CNN, for testing: accuracy of probabilities and deltas of several fields."""

    source = CASCADE
    reads = fields(
        detection_group_accuracy_param=(
            "cls_num field_h field_w stride field_whr field_xyr bg_threshold objectness"
        ),
        bbox_reg_param=BOX_REGRESSION,
        loss_param="ignore_label",
    )


class _Labelled(Source, abstract=True):
    """Base class of data layers: images (N, 3, H, W), a map of labels for each stride, and boxes."""

    stock = False
    values = 7  # of a box

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape | None]:
        p, strides = self._options(layer)
        height, width = self._image(layer)
        known = bool(p.batch_size and width and height)
        tops: list[Shape | None] = [(p.batch_size, 3, height, width) if known else None]
        for stride in strides:
            size = self._sizes(height, stride), self._sizes(width, stride)
            tops.append((p.batch_size, 2 + p.coord_num, *size) if known else None)
        if p.output_gt_boxes:
            tops.append((1, self.values, 1, 1))
        if len(tops) != len(layer.tops):
            raise layer.error(f"expected {len(tops)} tops, got {len(layer.tops)}")
        return tops

    def _options(self, layer: Layer) -> tuple[Any, list[int]]:
        raise NotImplementedError

    def _image(self, layer: Layer) -> tuple[int, int]:
        """Return height and width of the images; 0 if the net does not set them."""
        p, _ = self._options(layer)
        return int(p.crop_height or p.resize_height), int(p.crop_width or p.resize_width)

    def _sizes(self, length: int, stride: int) -> int:
        raise NotImplementedError


class ImageGtData(_Labelled):
    """MS-CNN: images with maps of labels, from a list of files; its tops are inputs of the net."""

    source = MSCNN
    reads = fields(
        image_gt_data_param=(
            "batch_size resize_width resize_height crop_width crop_height downsample_rate coord_num "
            "output_gt_boxes"
        )
    )

    def _options(self, layer: Layer) -> tuple[Any, list[int]]:
        p = layer.params.image_gt_data_param
        return p, list(p.downsample_rate)

    def _sizes(self, length: int, stride: int) -> int:
        return length // max(1, stride)


class DetectionData(_Labelled):
    """Cascade R-CNN: images with maps of labels, from a list of files; its tops are inputs of the
    net."""

    source = CASCADE
    values = 8
    reads = fields(
        detection_data_param=(
            "batch_size resize_width resize_height crop_width crop_height stride coord_num "
            "output_gt_boxes short_size long_size crop_short_size crop_long_size"
        )
    )

    def _options(self, layer: Layer) -> tuple[Any, list[int]]:
        p = layer.params.detection_data_param
        return p, list(p.stride)

    def _image(self, layer: Layer) -> tuple[int, int]:
        p = layer.params.detection_data_param
        height = p.crop_height or p.crop_long_size or p.resize_height or p.long_size
        width = p.crop_width or p.crop_short_size or p.resize_width or p.short_size
        return int(height), int(width)

    def _sizes(self, length: int, stride: int) -> int:
        return int(length / max(1, stride) + 0.5)


class EvalData(Source):
    """Cascade R-CNN, for testing: images, their boxes (1, 8, 1, 1) and their sizes (N, 2, 1, 1); its
    tops are inputs of the net. With short_size and long_size, the size of the images depends on the
    data; before it runs, Caffe reports long_size x short_size."""

    source = CASCADE
    stock = False
    reads = fields(eval_data_param="batch_size resize_width resize_height short_size long_size")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape | None]:
        check_bottoms(layer, 0, 0)
        check_tops(layer, 2, 3)
        p = layer.params.eval_data_param
        width, height = p.resize_width or p.short_size, p.resize_height or p.long_size
        n = p.batch_size
        known = bool(n and width and height)
        images: Shape | None = (n, 3, height, width) if known else None
        tops: list[Shape | None] = [images, (1, 8, 1, 1), (n, 2, 1, 1)]
        return tops[: len(layer.tops)]


class FrcnnOutput(_Training):
    """Cascade R-CNN, for testing: boxes of all classes after suppression, as rows of 7: image,
    corners, label, score. Their number depends on the data; before it runs, Caffe reports 1."""

    source = CASCADE
    data_axis = 0
    reads = fields(
        frcnn_output_param="conf_thr iou_thr nms_type max_det_num",
        bbox_reg_param=f"{BOX_REGRESSION} cls_aware",
    )
    refusal = (
        "its rows are for the evaluation of a data set",
        "End the net at its bottoms with --to-blob, and select the boxes outside of the model.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 4, 4)
        check_tops(layer, 1, 1)
        self.check_samples(layer, bottoms[:3])
        return [(1, 7, 1, 1)]
