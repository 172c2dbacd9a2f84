"""Every field of every layer type is read, harmless or refused. No field is silently ignored."""

import re
import warnings
from functools import cache

import numpy as np
import pytest
from detection_bases import BASES as DETECTION_BASES
from detection_bases import BOTTOMS as DETECTION_BOTTOMS
from fork_bases import BASES as FORK_BASES
from fork_bases import BESIDE as FORK_BESIDE
from fork_bases import with_aliases
from nets import net_with
from recognition_nets import FLOW_BASES, FLOW_BESIDE
from synopsys import BASES as SYNOPSYS_BASES
from synopsys import BESIDE as SYNOPSYS_BESIDE

import protogen as pg
from protogen.formats import schema
from protogen.layers import LayerType
from protogen.layers.reading import HARMLESS, check_read

MAP, VECTOR, LABELS = (2, 8, 6, 6), (2, 8), (2,)
# Parameters and bottom shapes of a small net of each type. A type that is not listed has one map as
# its bottom. Types of one family share an entry.
WINDOW = "num_output: 4 kernel_size: 3 "
BASES: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
    "Accuracy": ("", (VECTOR, LABELS)),
    "Axpy": ("", (VECTOR, MAP, MAP)),
    "BatchNorm": ("", (MAP,)),
    "BN": ("bn_param { bn_mode: INFERENCE }", (MAP,)),
    "BatchReindex": ("", (MAP, (3,))),
    "Clip": ("clip_param { min: -1 max: 1 }", (MAP,)),
    "Concat": ("", (MAP, MAP)),
    "ContrastiveLoss": ("", (VECTOR, VECTOR, LABELS)),
    "Convolution": (f"convolution_param {{ {WINDOW} }}", (MAP,)),
    "Crop": ("", ((2, 8, 9, 9), MAP)),
    "DetectionOutput": (
        "detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.4 } "
        "confidence_threshold: 0.01 }",
        ((1, 40), (1, 20), (1, 2, 40), (1, 20)),
    ),
    "DetectionOutputExtended": (
        "detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.4 } }",
        ((1, 2, 5, 4), (1, 20), (1, 2, 40)),
    ),
    "DummyData": ("dummy_data_param { shape { dim: 2 dim: 3 } }", ()),
    "Eltwise": ("", (MAP, MAP)),
    "Embed": ("embed_param { num_output: 3 input_dim: 5 }", ((2, 3),)),
    "EuclideanLoss": ("", (VECTOR, VECTOR)),
    "ExactResize": ("exact_resize_param { height: 9 width: 9 }", (MAP,)),
    "Filter": ("", (MAP, LABELS)),
    "HingeLoss": ("", (VECTOR, LABELS)),
    "InfogainLoss": ("", (VECTOR, LABELS, (1, 1, 8, 8))),
    "InnerProduct": ("inner_product_param { num_output: 3 }", (MAP,)),
    "Input": ("input_param { shape { dim: 2 dim: 3 } }", ()),
    "LSTM": ("recurrent_param { num_output: 3 }", ((4, 2, 3), (4, 2))),
    "LSTMUnit": ("", ((1, 2, 4), (1, 2, 16), (1, 2))),
    "MemoryData": ("memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }", ()),
    "MultinomialLogisticLoss": ("", (VECTOR, LABELS)),
    "Parameter": ("parameter_param { shape { dim: 2 dim: 3 } }", ()),
    "PixelShuffle": ("pixelshuffle_param { upscale_factor: 2 }", (MAP,)),
    "Pooling": ("pooling_param { kernel_size: 3 }", (MAP,)),
    "PriorBox": ("prior_box_param { min_size: 4 aspect_ratio: 2 }", (MAP, (2, 3, 40, 40))),
    "PredictBox": ("", ((2, 2, 4, 4), (2, 4, 4, 4))),
    "PriorBoxClustered": ("prior_box_param { width: 30 height: 20 }", (MAP, (2, 3, 40, 40))),
    "Proposal": (
        "proposal_param { ratio: 0.5 ratio: 1 ratio: 2 scale: 8 scale: 16 scale: 32 }",
        ((1, 18, 4, 4), (1, 36, 4, 4), (1, 3)),
    ),
    "BboxAccuracy": ("", ((3, 8), (3, 5), (3, 6))),
    "BoxAnnotatorOHEM": (
        "box_annotator_ohem_param { roi_per_img: 4 }",
        ((6, 5), (6, 1), (6, 1), (6, 8)),
    ),
    "BoxGroupOutput": (
        "box_group_output_param { box_group_param { field_w: 9 field_h: 8 stride: 4 } } bbox_reg_param { "
        "bbox_mean: 0 bbox_mean: 0 bbox_mean: 0 bbox_mean: 0 bbox_std: 1 bbox_std: 1 bbox_std: 1 bbox_std: 1 }",
        ((1, 2, 4, 4), (1, 4, 4, 4)),
    ),
    "BoxOutput": (
        "box_output_param { field_w: 9 field_h: 8 downsample_rate: 4 } bbox_reg_param { "
        "bbox_mean: 0 bbox_mean: 0 bbox_mean: 0 bbox_mean: 0 bbox_std: 1 bbox_std: 1 bbox_std: 1 bbox_std: 1 }",
        ((1, 6, 4, 4),),
    ),
    "DecodeBBox": (
        "phase: TRAIN bbox_reg_param { bbox_mean: 0 bbox_mean: 0 bbox_mean: 0 bbox_mean: 0 bbox_std: 1 "
        "bbox_std: 1 bbox_std: 1 bbox_std: 1 }",
        ((3, 8), (3, 5), (3, 6)),
    ),
    "DeformablePSROIPooling": (
        "deformable_psroi_pooling_param { output_dim: 2 group_size: 2 }",
        (MAP, (3, 5)),
    ),
    "DetectionAccuracy": ("", (MAP, MAP)),
    "DetectionData": (
        "detection_data_param { batch_size: 2 resize_width: 32 resize_height: 32 stride: 4 }",
        (),
    ),
    "DetectionGroupAccuracy": ("", (MAP, MAP, MAP)),
    "DetectionGroupLoss": ("", (MAP, MAP, MAP)),
    "DetectionLoss": ("", (MAP, MAP)),
    "EvalData": ("eval_data_param { batch_size: 2 resize_width: 32 resize_height: 32 }", ()),
    "FrcnnOutput": ("", ((3, 2), (3, 8), (3, 5), (1, 2))),
    "ImageGtData": (
        "image_gt_data_param { batch_size: 2 resize_width: 32 resize_height: 32 downsample_rate: 4 }",
        (),
    ),
    "ProposalTarget": ("", ((3, 5), (2, 7))),
    "PSROIAlign": ("psroi_align_param { output_dim: 2 group_size: 2 }", (MAP, (3, 5))),
    "ROIAlign": (
        "roi_align_param { pooled_h: 2 pooled_w: 3 sampling_ratio: 1 }",
        (MAP, (3, 5)),
    ),
    "ScaleRoute": ("", ((3, 5),)),
    "SmoothL1LossOHEM": ("", (MAP, MAP)),
    "SoftmaxWithLossOHEM": ("", (MAP, (2, 6, 6))),
    "PSROIPooling": ("psroi_pooling_param { output_dim: 2 group_size: 2 }", (MAP, (3, 5))),
    "RNN": ("recurrent_param { num_output: 3 }", ((4, 2, 3), (4, 2))),
    "ROIPooling": ("roi_pooling_param { pooled_h: 2 pooled_w: 2 }", (MAP, (3, 5))),
    "Reorg": ("reorg_param { stride: 1 }", (MAP,)),
    "SpaceToDepth": ('space_to_depth_param { block_size: 2 data_format: "NCHW" }', (MAP,)),
    "DepthToSpace": ('depth_to_space_param { block_size: 2 data_format: "NCHW" }', (MAP,)),
    "PeriodicShuffle": ("periodic_shuffle_param { num_output: 2 }", (MAP,)),
    "FrcnDetection": (
        "frcn_detection_param { nms_threshold: 0.3 keep_topk: 3 class_num: 2 }",
        ((3, 8), (3, 2), (1, 1, 3, 5)),
    ),
    "RetinaFaceDetection": (
        "retinaface_detection_param { nms_threshold: 0.3 keep_topk: 3 }",
        ((1, 4, 2, 2), (1, 8, 2, 2), (1, 20, 2, 2)) * 3,
    ),
    "SegmentationEvaluate": ("segmentation_evaluate_param { num_classes: 8 }", (MAP, MAP)),
    "YoloDetection": (
        "yolo_detection_param { keep_topk: 3 class_num: 2 net_input_h: 8 net_input_w: 8 }",
        ((1, 21, 2, 2), (1, 21, 2, 2)),
    ),
    "YoloDetectionOutput": (
        "yolo_detection_output_param { num_classes: 2 num_box: 1 biases: 2 biases: 3 }",
        ((1, 7, 2, 2),),
    ),
    "Yolov3DetectionOutput": (
        "yolov3_detection_output_param { num_classes: 2 num_box: 1 biases: 2 biases: 3 "
        "anchors_scale: 8 mask_group_num: 1 mask: 0 }",
        ((1, 7, 2, 2),),
    ),
    "Reshape": ("reshape_param { shape { dim: 2 dim: -1 } }", (MAP,)),
    "Resize": ("resize_param { height: 4 width: 4 }", (MAP,)),
    "SigmoidCrossEntropyLoss": ("", (VECTOR, VECTOR)),
    "SmoothL1Loss": ("", (VECTOR, VECTOR)),
    "SigmoidCrossEntropyBalanceLoss": ("", (VECTOR, VECTOR)),
    "HardMining": ("", ((9, 1), (9, 5))),
    "TRT": ("", (MAP, LABELS)),
    "SoftmaxWithLoss": ("", (VECTOR, LABELS)),
    "SPP": ("spp_param { pyramid_height: 2 }", (MAP,)),
    "Threshold": ("", (MAP,)),
    "Tile": ("tile_param { tiles: 2 }", (MAP,)),
    "Upsample": ("upsample_param { scale: 2 }", (MAP,)),
    "Lstm": ("lstm_param { num_output: 3 }", ((4, 1, 3), (4,))),
    "LstmJun": ("lstm_param { num_output: 3 }", ((4, 1, 3), (4,))),
    "ContinuationIndicator": ("continuation_indicator_param { time_step: 3 batch_size: 2 }", ()),
    "CTCGreedyDecoder": ("", ((4, 2, 3),)),
    "CtcLoss": ("ctc_loss_param { alphabet_size: 3 time_step: 4 }", ((4, 2, 3), (2, 2))),
    "WarpCTCLoss": ("", ((4, 2, 3), (2, 2))),
    "CTCLoss": ("", ((4, 2, 3), (4, 2), (4, 2))),
    "LabelsequenceAccuracy": ("", ((2, 4, 3), (2, 2))),
    "SpatialTransformer": ("", (MAP, (2, 6))),
    "Transformer": ("", (MAP, (2, 6))),
    "LocLoss": ("loc_loss_param { threshold: 1 }", (VECTOR,)),
    "STLoss": ("st_loss_param { output_H: 2 output_W: 3 }", ((2, 6),)),
    "DeformableConvolution": (
        f"deformable_convolution_param {{ {WINDOW} pad: 1 group: 1 deformable_group: 1 }}",
        (MAP, (2, 18, 6, 6)),
    ),
    "ModulatedDeformableConvolution": (
        f"modulated_deformable_convolution_param {{ {WINDOW} pad: 1 }}",
        (MAP, (2, 18, 6, 6), (2, 9, 6, 6)),
    ),
}
# Further parameters of the same net, for fields that have an effect only together with others.
_SIZED = (
    "transform_param { crop_size: 5 }",
    "transform_param { crop_h: 4 }",
    "transform_param { crop_w: 4 }",
    "transform_param { crop_height: 4 }",
    "transform_param { crop_width: 4 }",
    "transform_param { resize_param { resize_mode: WARP height: 4 width: 6 } }",
    "transform_param { old_resize_param { resize_mode: WARP height: 4 width: 6 } }",
)


def feeding(block: str, inside: str, *more: str) -> tuple[str, ...]:
    """The parameters of a data layer: with each form of a size, and further ones."""
    head = f"{block} {{ {inside} }}"
    return (head, *(f"{head} {way}" for way in _SIZED), *more)


_PICTURES = feeding(
    "image_data_param",
    "batch_size: 2",
    "image_data_param { batch_size: 2 new_height: 4 }",
    "image_data_param { batch_size: 2 new_width: 4 }",
)
_DATA = feeding("data_param", "batch_size: 2")
_MARKED = tuple(
    f"{_DATA[1]} annotated_data_param {{ {words} }}"
    for words in (
        "yolo_data_type: 1",
        "yolo_data_type: 1 seg_scales: 2 seg_resize_width: 8",
        "yolo_data_type: 1 seg_scales: 2 seg_resize_height: 8",
    )
)
BESIDE: dict[str, tuple[str, ...]] = {
    "Data": _DATA,
    "AnnotatedData": (
        *_DATA,
        *_MARKED,
        "data_param { batch_size: 2 side: 7 side: 9 } transform_param { crop_size: 5 caffe_yolo: true }",
    ),
    "LaneData": (*_DATA, *_MARKED),
    "VideoData": (
        *_DATA,
        "video_data_param { batch_size: 2 new_height: 8 new_width: 9 modality: RGB }",
        "video_data_param { batch_size: 2 new_height: 8 }",
        "video_data_param { batch_size: 2 new_width: 8 }",
    ),
    "ImageData": _PICTURES,
    "ImageLabelmapData": _PICTURES,
    "ImageSegData": _PICTURES,
    "DenseImageData": feeding(
        "dense_image_data_param",
        "batch_size: 2",
        "dense_image_data_param { batch_size: 2 new_height: 4 }",
        "dense_image_data_param { batch_size: 2 new_width: 4 }",
    ),
    "WindowData": (
        "window_data_param { batch_size: 2 crop_size: 4 }",
        "window_data_param { batch_size: 2 } transform_param { crop_size: 5 }",
    ),
    "BatchNorm": (
        "batch_norm_param { use_weight_bias: true }",
        "batch_norm_param { use_weight_bias: true bias_term: false }",
    ),
    "Convolution": (f"convolution_param {{ {WINDOW} relu: true }}",),
    "DetectionOutput": (
        BASES["DetectionOutput"][0].replace("nms_param", "keep_top_k: 5 nms_param"),
    ),
    "Dropout": ("dropout_param { scale_train: false }",),
    "BilinearInterpolate": ("bilinear_interpolate_param { dst_h: 9 dst_w: 9 }",),
    "DummyData": ("dummy_data_param { num: 2 channels: 3 height: 4 width: 5 }",),
    "ExactResize": ("exact_resize_param { height: 9 width: 9 scale_h: 1.6 scale_w: 1.6 }",),
    "InnerProduct": ("inner_product_param { num_output: 3 relu: true }",),
    "Interp": (
        "interp_param { height: 4 }",
        "interp_param { width: 4 }",
        "interp_param { height: 4 width: 4 zoom_factor: 2 shrink_factor: 2 }",
    ),
    "Pooling": (
        "pooling_param { kernel_size: 3 pool: AVE pad: 1 stride: 2 }",
        "pooling_param { kernel_h: 3 }",
        "pooling_param { kernel_w: 3 }",
    ),
    "PriorBox": (
        "prior_box_param { min_size: 60 max_size: 80 aspect_ratio: 3 }",
        "prior_box_param { min_size: 4 max_size: 8 p_type: DENSE }",
    ),
    "Proposal": (
        "proposal_param { net_input_h: 64 net_input_w: 64 }",
        "proposal_param { feat_stride: 16 }",
        "proposal_param { stride: 16 }",
        "proposal_param { stride: 16 anchor_ratio: 0.5 anchor_ratio: 1 anchor_ratio: 2 "
        "anchor_scale: 1 anchor_scale: 2 anchor_scale: 4 }",
    ),
    "EvalData": (
        "eval_data_param { batch_size: 2 short_size: 32 long_size: 36 }",
        "eval_data_param { batch_size: 2 short_size: 32 resize_height: 36 }",
        "eval_data_param { batch_size: 2 resize_width: 32 long_size: 36 }",
    ),
    "DetectionData": (
        "detection_data_param { batch_size: 2 crop_width: 32 crop_height: 32 stride: 4 }",
        "detection_data_param { batch_size: 2 stride: 4 short_size: 32 long_size: 36 }",
        "detection_data_param { batch_size: 2 stride: 4 crop_short_size: 32 crop_long_size: 36 }",
        "detection_data_param { batch_size: 2 stride: 4 crop_width: 32 crop_long_size: 36 }",
        "detection_data_param { batch_size: 2 stride: 4 crop_short_size: 32 crop_height: 36 }",
    ),
    "ImageGtData": (
        "image_gt_data_param { batch_size: 2 crop_width: 32 crop_height: 32 downsample_rate: 4 }",
    ),
    "ROIAlign": ("roi_pooling_param { pooled_h: 2 pooled_w: 3 }",),
    "SmoothL1LossOHEM": (
        "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 3 }",
        "loss_param { normalize: true }",
    ),
    "SoftmaxWithLossOHEM": (
        "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 3 }",
        "loss_param { normalize: true }",
    ),
    "SmoothL1Loss": (
        "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 3 }",
        "loss_param { normalize: true }",
    ),
    "SoftmaxWithLoss": (
        "loss_param { adaptive_weighting: true min_weight: 2 max_weight: 2.5 }",
        "loss_param { normalization: PRE_FIXED }",
        "loss_param { weight_by_label_freqs: true }",
        "loss_param { ignore_label: 1 }",
    ),
    "SigmoidCrossEntropyLoss": ("loss_param { normalization: PRE_FIXED }",),
    "InfogainLoss": ("loss_param { normalization: PRE_FIXED }",),
    "Upsample": (
        "upsample_param { scale_h: 2 }",
        "upsample_param { upsample_h: 9 }",
        "upsample_param { upsample_w: 9 }",
    ),
}
BASES |= SYNOPSYS_BASES | FORK_BASES | FLOW_BASES | DETECTION_BASES
BESIDE |= SYNOPSYS_BESIDE | FORK_BESIDE | FLOW_BESIDE
BESIDE["DetectionOutput"] += tuple(DETECTION_BOTTOMS)
for type_ in ("Deconvolution", "Im2col", "DepthwiseConvolution", "ConvolutionDepthwise"):
    BASES[type_] = (BASES["Convolution"][0].replace("4", "8"), BASES["Convolution"][1])
with_aliases(BASES, BESIDE)
BOTTOMS = DETECTION_BOTTOMS  # bottom shapes of parameters with others than those of the base
NO_BOTTOMS = ("Data", "HDF5Data")  # endings of the names of data layers


def types() -> dict[str, LayerType]:
    return {
        name: kind for name, kind in sorted(LayerType.registry.items()) if not kind.user_defined
    }


def blocks(kind: LayerType) -> list[str]:
    """The parameter blocks that the type reads, in the schema."""
    return [block for block in sorted(kind.reads) if block in fields_of("LayerParameter")]


@cache
def fields_of(message: str):
    return schema.caffe().messages[message].fields


def walk(kind: LayerType):
    """Yield (block, path within the block, field) for every field of the type's blocks, including
    the fields of an inner message if they are read one by one."""
    for block in blocks(kind):
        for name, field in fields_of(fields_of("LayerParameter")[block].type_name).items():
            inner = [n.partition(".")[2] for n in kind.reads[block] if n.startswith(f"{name}.")]
            if inner and field.message is not None:
                for inner_name, inner_field in field.message.fields.items():
                    yield block, f"{name}.{inner_name}", inner_field
            else:
                yield block, name, field


def verdict(kind: LayerType, block: str, path: str, field) -> str:
    """What the layer type declares about a field: read, harmless or refused."""
    name = path.rpartition(".")[2]
    if f"{block}.{path}" in kind.harmless:
        return "harmless"
    if path in kind.reads[block] or path.partition(".")[0] in kind.reads[block]:
        return "read"
    if name in HARMLESS or field.type_name == "FillerParameter" or kind.is_source:
        return "harmless"
    return "refused"


def values(field) -> list[str]:
    """Texts of values of the field, except its default."""
    if field.enum is not None:
        return list(field.enum.values)
    if field.message is not None:
        name = field.type_name.rpartition(".")[2]
        return {
            "BlobShape": ["{ dim: 2 dim: 3 }", "{ dim: 16 dim: -1 dim: 1 }"],
            "FillerParameter": ['{ type: "constant" value: 2 }'],
            "GeneralNmsParameter": ["{ post_top_k: 3 }"],
        }.get(name, ["{ }"])
    if field.type_name == "bool":
        return ["true", "false"]
    if field.type_name == "string":
        return ['"other"']
    numbers = ["2", "3", "1", "0", "-1", "5", "0.5", "0.25", "12", "-3"]
    if field.type_name not in ("float", "double"):
        numbers = [n for n in numbers if "." not in n]
        if field.type_name.startswith("u"):
            numbers = [n for n in numbers if not n.startswith("-")]
    others = [n for n in numbers if field.repeated or float(n) != float(field.default or 0)]
    return [*others, "2 %s: 3"] if field.repeated else others


def default_text(field) -> str:
    """The field's default as text."""
    if field.enum is not None:
        return str(field.default or next(iter(field.enum.values)))
    return str(field.default or False).lower() if field.type_name == "bool" else str(field.default)


def bases(name: str) -> list[str]:
    """The parameters of the nets in which a field of the type is set."""
    return [BASES[name][0] if name in BASES else "", *BESIDE.get(name, ())]


def outcome(name: str, params: str, text: str) -> object:
    """The result for a net: its shapes and the ONNX model, or the error message."""
    _, shapes = BASES.get(name, ("", () if name.endswith(NO_BOTTOMS) else (MAP,)))
    shapes = BOTTOMS.get(params, shapes)
    # If the message is present already, insert the field into it.
    *outer, field = text.split("|") if text else ("",)
    if outer and ":" in field:
        message = re.search(rf"(?<!\w){outer[-1]} {{", params)
        start = message.end() if message else len(params)
        rest = re.sub(rf"\b{field.partition(':')[0]}: \S+ ?", "", params[start:])
        params = params[:start] + rest
    for i in range(len(outer), 0, -1):
        # Of inner messages, old_resize_param stands for resize_param too.
        start = r"(?<!\w)" if i == 1 else ""
        if message := re.search(rf"{start}{outer[i - 1]} {{", params):
            inner = " ".join(f"{name} {{" for name in outer[i:]) + field + " }" * len(outer[i:])
            params = f"{params[: message.end()]} {inner} {params[message.end() :]}"
            text = ""
            break
    else:
        text = " ".join(f"{name} {{" for name in outer) + f" {field} " + "}" * len(outer)
    inputs = dict(zip("abcdefghijklmnop", shapes, strict=False))
    bottoms = " ".join(f'bottom: "{b}"' for b in inputs)
    count = {"Silence": 0, "HDF5Output": 0, "MatWrite": 0, "AnnotatedData": 3, "LaneData": 3}.get(
        name, 1
    )
    if name in (
        "ImageData",
        "MemoryData",
        "WindowData",
        "ImageGtData",
        "DetectionData",
        "EvalData",
    ):
        count = 2
    if name == "BoxAnnotatorOHEM":
        count = 2
    tops = " ".join(f'top: "{top}"' for top in ("y", "v", "w")[:count])
    layer = f'layer {{ name: "y" type: "{name}" {bottoms} {tops} {params} {text} }}'
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pg.ProtogenWarning)
            net = net_with(inputs, layer)
            net_shapes = {blob: net.shapes[blob] for blob in sorted(net.shapes)}
            random = np.random.default_rng(0)
            for key, blobs in net.parameter_shapes.items():
                if blobs:
                    net.weights[key] = [np.float32(random.uniform(0.5, 1.5, s)) for s in blobs]
            layer, kind = net.layers[-1], LayerType.registry[name]
            if kind.is_source or not layer.tops or not kind.has_form:
                check_read(layer, kind)
                return str(net_shapes), str(net.graph.assumed), str(net.parameter_shapes)
            model = pg.to_onnx(net, fold=False)
            return str(net_shapes), model.graph.SerializeToString(deterministic=True)
    except pg.ProtogenError as error:
        return str(error)


@pytest.mark.parametrize("name", types())
def test_each_field_has_the_declared_effect(name):
    kind = types()[name]
    expected = {params: outcome(name, params, "") for params in bases(name)}
    wrong = []
    for block, path, field in walk(kind):
        declared = verdict(kind, block, path, field)
        same, refused = [], []
        for value in values(field):
            *outer, inner = path.split(".")
            colon = "" if value.startswith("{") else ":"
            body = f"{inner}{colon} {value.replace('%s', inner)}"
            if declared == "refused" and value == default_text(field):
                continue
            for params, without in expected.items():
                result = outcome(name, params, "|".join((block, *outer, body)))
                same.append(result == without)
                if isinstance(without, tuple):
                    refused.append(f"{block}.{path} is set" in str(result))
        if declared == "read" and all(same) and (kind.has_form or kind.is_source):
            wrong.append(f"{path} is declared as read, but has no effect")
        if declared == "read" and any(refused):
            wrong.append(f"{path} is declared as read, but is refused as not read")
        if declared == "harmless" and not all(same):
            wrong.append(f"{path} is declared as harmless, but has an effect")
        if declared == "refused" and not all(refused):
            wrong.append(f"{path} is neither read nor harmless, but is not refused")
    assert not wrong, "\n".join(wrong)


def rows() -> list[tuple[str, str, str, str]]:
    """(type, read fields, harmless fields, refused fields), each with its forks."""
    table = []
    for name, kind in types().items():
        cells: dict[str, list[str]] = {"read": [], "harmless": [], "refused": []}
        for block, path, field in walk(kind):
            forks = f" ({', '.join(field.dialects)})" if field.dialects else ""
            cells[verdict(kind, block, path, field)].append(f"`{path}`{forks}")
        table.append((name, *(", ".join(cells[key]) for key in ("read", "harmless", "refused"))))
    return table


def test_page_of_fields_is_up_to_date(golden):
    counts = {"read": 0, "harmless": 0, "refused": 0}
    for kind in types().values():
        for block, path, field in walk(kind):
            counts[verdict(kind, block, path, field)] += 1
    head = [
        "# Fields of layers",
        "",
        "This page is generated by `tests/layers/test_field_walk.py`.",
        "",
        "A field that a net sets is read by its layer, or it is harmless, or the net is refused. No field is",
        f"silently ignored. The test sets each of the {sum(counts.values())} fields of the {len(types())} layer",
        f"types' parameter blocks to several values: {counts['read']} are read (shapes or numbers change, or the",
        f"value is refused), {counts['harmless']} are harmless (nothing changes), and {counts['refused']} are refused",
        "by name with exit code 3, unless `--ignore-field BLOCK.FIELD` is passed. Fields that no published",
        "caffe.proto defines and unknown enum values are refused in the same way. The forks that define a field",
        "are listed after it in parentheses. Data layers read only the fields that determine their shapes,",
        "because their tops are inputs.",
        "",
        "| type | read | harmless | refused |",
        "|---|---|---|---|",
    ]
    table = [f"| `{row[0]}` | {row[1]} | {row[2]} | {row[3]} |" for row in rows() if any(row[1:])]
    why = ["", "Reasons why fields are harmless:", ""]
    reasons: dict[str, list[str]] = {}
    for name, reason in HARMLESS.items():
        reasons.setdefault(reason, []).append(f"`{name}`")
    why += [f"- {', '.join(names)}: {reason}." for reason, names in reasons.items()]
    why += ["- fillers (`weight_filler` and others): initial weights, used only before training."]
    golden("../../docs/fields.md", "\n".join([*head, *table, *why, ""]))
