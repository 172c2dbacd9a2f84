"""Small nets of the types of several forks, for test_field_walk.py: parameters and bottom shapes."""

MAP, VOLUME, PIXELS = (2, 8, 6, 6), (2, 8, 5, 6, 7), (2, 1, 6, 6)
IMAGE_LABELS = (2, 3, 1, 1)
_ND = "kernel_shape { dim: 3 dim: 2 }"
BASES: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
    "AdaptiveBiasChannel": ("", (MAP, IMAGE_LABELS)),
    "BiasChannel": ("", ((2, 8, 1, 1), (2, 1, 1, 1))),
    "CensorLabel": ("censor_label_param { ignore_label: 9 }", (PIXELS, IMAGE_LABELS)),
    "ChannelScale": ("", (MAP, PIXELS)),
    "Convolution3D": (
        "convolution3d_param { num_output: 4 kernel_size: 3 kernel_depth: 2 }",
        (VOLUME,),
    ),
    "CycleAdd": ("", (MAP, (1, 8, 1, 1))),
    "CycleMult": ("", (MAP, (1, 8, 1, 1))),
    "CycleSub": ("", (MAP, (1, 8, 1, 1))),
    "DenseCRF": ("", (MAP, (2, 1, 1, 2))),
    "DomainTransform": ("", (MAP, PIXELS, (2, 1, 1, 2))),
    "GainChannel": ("gain_channel_param { num_output_nz: 2 norm_mean: false }", (MAP,)),
    "Histogram": ("histogram_param { num_labels: 4 }", (PIXELS,)),
    "IgnoreOverlay": ("", (MAP, MAP)),
    "MatMul": ("matmul_param { blob_shape: 6 blob_shape: 6 }", (MAP,)),
    "MatRead": ("", ()),
    "MatWrite": ("", (MAP,)),
    "Mult": ("", (MAP, MAP)),
    "NdConvolution": (f"convolution_param {{ num_output: 4 {_ND} }}", (MAP,)),
    "NdPooling": (f"pooling_param {{ {_ND} }}", (MAP,)),
    "Pooling3D": ("pooling3d_param { kernel_size: 3 kernel_depth: 2 }", (VOLUME,)),
    "RelativeError": ("", (MAP, MAP)),
    "SegAccuracy": ("", (MAP, PIXELS)),
    "SpatialProduct": ("", (MAP, PIXELS)),
    "UniqueLabel": ("unique_label_param { max_labels: 4 }", (PIXELS,)),
    "UnPooling": ("unpooling_param { out_kernel_size: 3 }", (MAP,)),
}
BASES["Deconvolution3D"] = BASES["Convolution3D"]
BASES["DomainTransformForwardOnly"] = BASES["DomainTransform"]
# Further parameters of the same nets, for fields that have an effect only together with others.
BESIDE: dict[str, tuple[str, ...]] = {
    "BN": ("param { } param { } param { } param { }", "phase: TRAIN bn_param { eps: 0.1 }"),
    "BiasChannel": ("bias_channel_param { label_type: PIXEL }",),
    # Without a space before the outer brace, so that fields of the inner message are put into it.
    "BatchReduction": ("batch_reduction_param{ reduction_param { operation: TOPK axis: 1 } }",),
    "ChannelScale": ("channel_scale_param { global_scale: true }",),
    "Convolution3D": ("convolution_param { num_output: 4 kernel_size: 3 kernel_depth: 2 }",),
    "CuDNNBatchNorm": ("phase: TRAIN",),
    "CuDNNDropout": ("dropout_param { scale_train: false }",),
    "GainChannel": ("gain_channel_param { num_output_nz: 2 drift: 1 stdev: 1 }",),
    "MatMul": ("matmul_param { dim_1: 6 dim_2: 6 dim_3: 6 }",),
    "Pooling3D": (
        "pooling_param { kernel_size: 3 kernel_depth: 2 }",
        "pooling3d_param { kernel_size: 3 kernel_l: 2 }",
        "pooling3d_param { ceil_mode: true kernel_size: 3 }",
        "pooling3d_param { ceil_mode: true kernel_size: 3 stride: 2 }",
        "pooling3d_param { ceil_mode: true stride: 1 }",
    ),
    "SpatialDropout": ("phase: TRAIN",),
    "SyncBN": ("phase: TRAIN",),
    "UnPooling": (
        "unpooling_param { out_kernel_h: 3 out_kernel_w: 3 out_stride_h: 1 out_stride_w: 1 "
        "out_pad_h: 0 out_pad_w: 0 }",
    ),
}
BESIDE["Deconvolution3D"] = BESIDE["Convolution3D"]


def with_aliases(
    bases: dict[str, tuple[str, tuple[tuple[int, ...], ...]]], beside: dict[str, tuple[str, ...]]
) -> None:
    """Add the nets of other names of types: those of the type that they compute."""
    from protogen.layers.forks.aliases import ALIASES

    for alias in ALIASES:
        name = alias.kind.__name__
        if name in bases:
            bases.setdefault(alias.name, bases[name])
        if name in beside:
            beside.setdefault(alias.name, beside[name])
