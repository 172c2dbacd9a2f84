"""Types of forks that ``protogen rewrite`` replaces, with nets for tests/layers/test_rewritten_forks.py."""

_MAP = (2, 8, 6, 6)
_PAIR = (_MAP, _MAP)
# Types that are replaced with the parameters and bottoms of test_field_walk.py.
BY_BASE = (
    "BroadcastTo", "CReLU", "ChannelNorm", "ChannelScale", "Convolution3D", "CuDNNBatchNorm",
    "CuDNNConvolution", "CuDNNDeConvolution", "CuDNNDeconvolution", "CuDNNDropout", "CuDNNLRN",
    "CuDNNNdConvolution", "CuDNNNdPooling", "CuDNNPooling", "CuDNNReLU", "CuDNNSigmoid",
    "CuDNNSoftmax", "CuDNNTanH", "CycleAdd", "CycleMult", "CycleSub", "Deconvolution3D",
    "ExpandDimsND", "Flip", "HardTanH", "HoleConvolution", "Insanity", "LstmJun", "MatMul", "Mean",
    "Mult", "NdConvolution", "NdPooling", "NegReLU", "Noise", "Padding", "Pooling3D", "ReduceL1",
    "ReduceL2", "ReduceMean", "ReduceSum", "Resample", "ResizeNearestNeighbor", "ScaleFilter",
    "ScaledTanH", "Scatter", "SeLU", "SeLUDropout", "SeLu", "SeLuDropout", "SoftTruncation",
    "Softplus", "Softsign", "SpatialDropout", "SpatialProduct", "Sqrt", "Squeeze",
    "SqueezeConvolution", "SqueezeDeconvolution", "SqueezeInnerProduct", "Stack", "SyncBN",
    "ThresholdedReLU", "TileND", "Truncation", "UpsampleDarknet", "XLU",
)  # fmt: skip
# Types that are replaced with other parameters and bottoms.
OWN: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
    "Accum": ("", _PAIR),
    "Add": ("", _PAIR),
    "AddPad": ("addpad_param { pad_w: 3 }", (_MAP,)),
    "Div": ("", _PAIR),
    "Maximum": ("", _PAIR),
    "Mul": ("", _PAIR),
    "Pad": (
        "pad_param { paddings: [0, 0, 0, 0, 1, 2, 0, 3] constant_values: 1.5 }",
        (_MAP,),
    ),
    "ResizeBilinear": (
        'resize_bilinear_param { data_format: "NCHW" output_height: 9 output_width: 12 }',
        (_MAP,),
    ),
    "Reverse": ("reverse_param { axis: 1 }", (_MAP,)),
    "Sub": ("", _PAIR),
    "Transpose": ("transpose_param { dim: [0, 3, 1, 2] }", (_MAP,)),
}
_ROUNDED = "no stock layers round"
_REDUCED = "no stock layer reduces these axes so"
# Types that share the code of types above, but are never replaced: the reason.
KEPT = {
    "ConvolutionRistretto": ((_MAP,), _ROUNDED),
    "DeconvolutionRistretto": ((_MAP,), _ROUNDED),
    "FcRistretto": ((_MAP,), _ROUNDED),
    "LRNRistretto": ((_MAP,), "it rounds each sum over the channels"),
    "FloorDiv": (_PAIR, "no stock layer rounds down"),
    "FloorMod": (_PAIR, "no stock layer rounds down"),
    "Pow": (_PAIR, "no stock layers compute it"),
    "Minimum": (_PAIR, "no stock layers compute it"),
    "CountNonzero": ((_MAP,), _REDUCED),
    "ReduceAll": ((_MAP,), _REDUCED),
    "ReduceAny": ((_MAP,), _REDUCED),
    "ReduceLogSumExp": ((_MAP,), _REDUCED),
    "ReduceMax": ((_MAP,), _REDUCED),
    "ReduceMin": ((_MAP,), _REDUCED),
    "ReduceProd": ((_MAP,), _REDUCED),
}
TYPES = {*BY_BASE, *OWN, *KEPT}
