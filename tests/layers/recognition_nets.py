"""Nets for the field walk: FlowNet2, Ristretto, Vitis, happynear and the toolbox of OpenVINO."""

_MAP, _VECTOR, _LABELS = (2, 8, 6, 6), (2, 8), (2,)
_FLOW = (2, 2, 6, 6)
_PICTURE = (2, 3, 6, 6)
_NUMBERS = (2, 42, 1, 1)
_CORRELATION = "correlation_param { kernel_size: 3 max_displacement: 2 pad: 3 %s}"
_CROP = "crop_width: 4 crop_height: 4"
_WINDOW = "convolution_param { num_output: 4 kernel_size: 3 }"
_POWERS = "quantization_param { precision: INTEGER_POWER_OF_2_WEIGHTS }"
_MINI = "quantization_param { precision: MINIFLOAT mant_bits: 4 exp_bits: 4 }"
_DENSE = "inner_product_param { num_output: 3 }"
_MARGIN = "num_output: 3 type: DOUBLE base: 2"

FLOW_BASES: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
    "Correlation": (_CORRELATION % "", (_MAP, _MAP)),
    "Correlation1D": (_CORRELATION % "", (_MAP, _MAP)),
    "FlowWarp": ("", (_MAP, _FLOW)),
    "Accum": ("", ((2, 3, 6, 6), (2, 2, 3, 3))),
    "Resample": ("resample_param { height: 4 width: 4 }", (_MAP,)),
    "Downsample": ("downsample_param { top_height: 4 top_width: 4 }", (_MAP,)),
    "DataAugmentation": (
        f"augmentation_param {{ augment_during_test: true {_CROP} mean_per_pixel: false }}",
        (_PICTURE,),
    ),
    "FlowAugmentation": (f"augmentation_param {{ {_CROP} }}", (_FLOW, _NUMBERS, _NUMBERS)),
    "GenerateAugmentationParameters": (f"augmentation_param {{ {_CROP} }}", (_MAP,)),
    "BlackAugmentation": ("", (_PICTURE,)),
    "Mean": ("mean_param { operation: ADD value: 2 }", (_MAP,)),
    "L1Loss": ("", (_MAP, _MAP)),
    "LpqLoss": ("lpq_loss_param { p: 2 q: 0.5 }", (_MAP, _MAP)),
    "CustomData": ("", ()),
    "ImgReader": ('reader_param { file: "x" }', ()),
    "FloatReader": ('reader_param { file: "x" }', ()),
    "DisparityData": ("", ()),
    "FLOWriter": ("", (_FLOW,)),
    "ImgWriter": ("", (_PICTURE,)),
    "ConvolutionRistretto": (_WINDOW, (_MAP,)),
    "DeconvolutionRistretto": (_WINDOW, (_MAP,)),
    "FcRistretto": (_DENSE, (_MAP,)),
    "LRNRistretto": ("quantization_param { precision: MINIFLOAT }", (_MAP,)),
    "Insanity": ("", (_VECTOR,)),
    "LabelSpecificAdd": ("", (_VECTOR, _LABELS)),
    "InnerDistance": ("inner_distance_param { num_output: 3 }", (_MAP,)),
    "MarginInnerProduct": (f"margin_inner_product_param {{ {_MARGIN} }}", (_VECTOR, _LABELS)),
    "LargeMarginInnerProduct": (
        f"largemargin_inner_product_param {{ {_MARGIN} }}",
        (_VECTOR, _LABELS),
    ),
    "Pairwise": ("", (_VECTOR, (3, 8))),
    "FocalLoss": ("loss_param { } focal_loss_param { alpha: 1 }", (_VECTOR, _LABELS)),
    "CenterLoss": ("center_loss_param { num_output: 5 }", (_VECTOR, _LABELS)),
    "TripletLoss": ("", (_VECTOR, _VECTOR, _VECTOR)),
    "GeneralTripletLoss": ("", (_VECTOR, _LABELS)),
    "ConfidencePenaltyLoss": ("", (_VECTOR, _LABELS)),
    "CorrelationLoss": ("", ((2, 1), (2, 1))),
    "SoftContrastiveLoss": ("", (_VECTOR, _LABELS)),
    "BatchContrastiveLoss": ("", ((3, 3), (3,))),
    "NCALoss": ("", (_VECTOR, _LABELS)),
    "AnchorEmbeddingExtractor": (
        "embedding_extractor_param { num_anchors: 4 label_src_pos: 1 }",
        ((1, 1, 3, 20), _MAP, _MAP, _MAP, _MAP),
    ),
    "Local": ("local_param { num_output: 2 kernel_size: 3 }", (_MAP,)),
    "Normalize": ("norm_param { across_spatial: true }", (_MAP,)),
    "HoleConvolution": ("convolution_param { num_output: 4 kernel_size: 3 hole: 2 }", (_MAP,)),
}
# Further parameters of the same net, for fields that have an effect only together with others.
FLOW_BESIDE: dict[str, tuple[str, ...]] = {
    "DataAugmentation": (
        f"augmentation_param {{ augment_during_test: true {_CROP} mirror {{ prob: 0.5 }} }}",
        f"augmentation_param {{ mean_per_pixel: false mean: 1 mean: 2 mean: 3 {_CROP} }}",
    ),
    "FocalLoss": (
        "loss_param { ignore_label: 1 } focal_loss_param { alpha: 1 }",
        "loss_param { } focal_loss_param { alpha: 1 type: ONEADDP }",
    ),
    "GeneralTripletLoss": ("general_triplet_loss_param { positive_first: true }",),
    "L1Loss": ("l1_loss_param { l2_per_location: true }",),
    "Accum": ("accum_param { top_height: 9 }", "accum_param { top_width: 9 }"),
    "Resample": ("resample_param { height: 9 width: 9 }",),
    "LpqLoss": ("lpq_loss_param { p: 2 q: 1 }",),
    "ConvolutionRistretto": (f"{_WINDOW} {_POWERS}", f"{_WINDOW} {_MINI}"),
    "DeconvolutionRistretto": (f"{_WINDOW} {_POWERS}", f"{_WINDOW} {_MINI}"),
    "FcRistretto": (f"{_DENSE} {_POWERS}", f"{_DENSE} {_MINI}"),
    "HoleConvolution": ("convolution_param { num_output: 4 kernel_size: 2 hole_h: 2 hole_w: 1 }",),
    "Normalize": ('normalize_param { normalize_type: "L1" }',),
}
