"""Layers with windows: Convolution, Deconvolution, Im2col, Pooling, SPP, LRN."""

from __future__ import annotations

from checks.rows import Row, one

IMAGE = "2x4x9x9"
VOLUME = "2x4x9x9x9"
K = "kernel_size: 3"


def windowed() -> list[Row]:
    """Checks that Convolution, Deconvolution and Im2col share."""
    rows = []
    for type_, file, lines in (
        ("Convolution", "base_conv_layer.cpp", (27, 29, 35, 45, 51, 53, 59, 68, 75, 77, 83, 98)),
        ("Deconvolution", "base_conv_layer.cpp", (27, 29, 35, 45, 51, 53, 59, 68, 75, 77, 83, 98)),
        ("Im2col", "im2col_layer.cpp", (23, 25, 31, 41, 47, 49, 55, 64, 71, 73, 79, 94)),
    ):
        output = "" if type_ == "Im2col" else "num_output: 2"

        def net(text: str, shape: str = IMAGE, type_: str = type_, output: str = output) -> str:
            return one(type_, f"convolution_param {{ {output} {text} }}", shape)

        checks = (
            ("kernel-h-axes", "kernel_h and kernel_w are for 2 spatial axes.",
             (net("kernel_h: 3 kernel_w: 3", VOLUME), net("kernel_h: 3 kernel_w: 3", "2x4x9")),
             (net("kernel_h: 3 kernel_w: 3"),)),
            ("kernel-forms", "kernel_size is not set together with kernel_h and kernel_w.",
             (net(f"{K} kernel_h: 3 kernel_w: 3"), net(f"{K} kernel_h: 3")), ()),
            ("kernel-number", "kernel_size has one value, or one per spatial axis.",
             (net(f"{K} {K} {K}"), net(""), net(f"{K} {K}", VOLUME)), (net(f"{K} {K}"), net(K, VOLUME))),
            ("kernel-positive", "No kernel is 0.",
             (net("kernel_size: 0"), net("kernel_h: 3"), net("kernel_size: 3 kernel_size: 0")),
             (net("kernel_size: 1"),)),
            ("stride-h-axes", "stride_h and stride_w are for 2 spatial axes.",
             (net(f"{K} stride_h: 2 stride_w: 2", VOLUME),), (net(f"{K} stride_h: 2 stride_w: 2"),)),
            ("stride-forms", "stride is not set together with stride_h and stride_w.",
             (net(f"{K} stride: 2 stride_h: 2 stride_w: 2"),), ()),
            ("stride-number", "stride has at most one value, or one per spatial axis.",
             (net(f"{K} stride: 1 stride: 1 stride: 1"),), (net(f"{K} stride: 1 stride: 2"),)),
            ("stride-positive", "No stride is 0.",
             (net(f"{K} stride: 0"),), (net(f"{K} stride: 1"),)),
            ("pad-h-axes", "pad_h and pad_w are for 2 spatial axes.",
             (net(f"{K} pad_h: 1 pad_w: 1", VOLUME),), (net(f"{K} pad_h: 1"),)),
            ("pad-forms", "pad is not set together with pad_h and pad_w.",
             (net(f"{K} pad: 1 pad_h: 1 pad_w: 1"),), ()),
            ("pad-number", "pad has at most one value, or one per spatial axis.",
             (net(f"{K} pad: 1 pad: 1 pad: 1"),), (net(f"{K} pad: 1 pad: 0"),)),
            ("dilation-number", "dilation has at most one value, or one per spatial axis.",
             (net(f"{K} dilation: 1 dilation: 1 dilation: 1"),), (net(f"{K} dilation: 2 dilation: 1"),)),
        )  # fmt: skip
        rows += [
            Row(f"{type_.lower()}.{name}", type_, demands, f"{file}:{line}", bad, good)
            for (name, demands, bad, good), line in zip(checks, lines, strict=True)
        ]
        rows.append(
            Row(f"{type_.lower()}.axis", type_, "axis is an axis of the bottom.", "blob.hpp:122",
                (net(f"{K} axis: 4"), net(f"{K} axis: -5")), (net(f"{K} axis: 3" if output else f"{K} axis: 2"),
                                                              net(f"{K} axis: -3")))
        )  # fmt: skip
        rows.append(
            Row(f"{type_.lower()}.top-not-empty", type_, "A window fits in the bottom with its pad.", "blob.cpp:32",
                (net("kernel_size: 12"),) if output != "" and type_ != "Deconvolution" else
                (net(f"{K} pad: 10"),) if output else (net("kernel_size: 12"),),
                (net("kernel_size: 9"),))
        )  # fmt: skip
    return rows


def of_both() -> list[Row]:
    """Further checks of Convolution and Deconvolution."""
    rows = []
    for type_ in ("Convolution", "Deconvolution"):

        def net(text: str, *shapes: str, more: str = "", type_: str = type_) -> str:
            tops = "t u v"[: 2 * len(shapes or (1,))]
            return one(
                type_,
                f"{more} convolution_param {{ {K} {text} }}",
                *(shapes or (IMAGE,)),
                tops=tops,
            )

        name = type_.lower()
        weight = "2 dim: 4" if type_ == "Convolution" else "4 dim: 2"
        blobs = "blobs {{ shape {{ dim: {} dim: 3 dim: 3 }} {} }}"
        right = blobs.format(weight, "data: 0 " * 72)
        wrong = blobs.format("2 dim: 2", "data: 0 " * 36)
        rows += [
            Row(f"{name}.num-output", type_, "num_output is above 0.", "base_conv_layer.cpp:119",
                (net("num_output: 0"), net("")), (net("num_output: 1"),)),
            Row(f"{name}.group-divides-channels", type_, "group divides the bottom's channels.",
                "base_conv_layer.cpp:121", (net("num_output: 6 group: 3"),), (net("num_output: 6 group: 2"),)),
            Row(f"{name}.group-divides-outputs", type_, "group divides num_output.",
                "base_conv_layer.cpp:122", (net("num_output: 6 group: 4"),), (net("num_output: 4 group: 4"),)),
            Row(f"{name}.bottoms-alike", type_, "All bottoms have one shape.", "base_conv_layer.cpp:195",
                (net("num_output: 2", IMAGE, "2x4x9x8"), net("num_output: 2", IMAGE, "1x4x9x9")),
                (net("num_output: 2", IMAGE, IMAGE),)),
            Row(f"{name}.blobs-number", type_,
                "The prototxt has as many blobs as the layer, or none.", "base_conv_layer.cpp:143",
                (net("num_output: 2", more=right),), (net("num_output: 2 bias_term: false", more=right),)),
            Row(f"{name}.weight-shape", type_, "Weights in the prototxt have the layer's shape.",
                "base_conv_layer.cpp:147",
                (net("num_output: 2 bias_term: false", more=wrong),),
                (net("num_output: 2 bias_term: false", more=right),)),
            Row(f"{name}.bias-shape", type_, "A bias in the prototxt has the layer's shape.",
                "base_conv_layer.cpp:153",
                (net("num_output: 2", more=f"{right} blobs {{ shape {{ dim: 3 }} data: 0 data: 0 data: 0 }}"),),
                (net("num_output: 2", more=f"{right} blobs {{ shape {{ dim: 2 }} data: 0 data: 0 }}"),)),
        ]  # fmt: skip
    return rows


def pool(text: str, shape: str = IMAGE, tops: str = "t") -> str:
    return one("Pooling", f"pooling_param {{ {text} }}", shape, tops=tops)


def spp(text: str, shape: str = IMAGE) -> str:
    return one("SPP", f"spp_param {{ {text} }}", shape)


def lrn(text: str, shape: str = IMAGE) -> str:
    return one("LRN", f"lrn_param {{ {text} }}", shape)


def p(name: str, demands: str, line: int, bad: tuple[str, ...], good: tuple[str, ...] = ()) -> Row:
    return Row(f"pooling.{name}", "Pooling", demands, f"pooling_layer.cpp:{line}", bad, good)


ROWS = (
    *windowed(),
    *of_both(),
    Row("im2col.spatial-axes", "Im2col", "The bottom has an axis after the channels.",
        "im2col_layer.cpp:17",
        (one("Im2col", f"convolution_param {{ {K} }}", "2x4"),
         one("Im2col", f"convolution_param {{ {K} axis: 3 }}", IMAGE)),
        (one("Im2col", f"convolution_param {{ {K} }}", "2x4x9"),)),
    p("global-or-kernel", "global_pooling is not set together with a kernel.", 18,
      (pool(f"global_pooling: true {K}"), pool("global_pooling: true kernel_h: 3")),
      (pool("global_pooling: true"),)),
    p("kernel-forms", "The kernel is kernel_size, or kernel_h and kernel_w.", 22,
      (pool(f"{K} kernel_h: 3 kernel_w: 3"), pool("")), (pool("kernel_h: 3 kernel_w: 3"), pool(K))),
    p("kernel-both", "kernel_h and kernel_w are both set, or neither.", 25,
      (pool("kernel_h: 3"), pool("kernel_w: 3")), (pool("kernel_h: 3 kernel_w: 2"), pool(f"{K} kernel_h: 2"))),
    p("pad-forms", "The pad is pad, or pad_h and pad_w.", 29,
      (pool(f"{K} pad: 1 pad_h: 1 pad_w: 1"), pool(f"{K} pad_h: 1"), pool(f"{K} pad_w: 1")),
      (pool(f"{K} pad_h: 1 pad_w: 0"), pool(f"{K} pad: 1"))),
    p("stride-forms", "The stride is stride, or stride_h and stride_w.", 33,
      (pool(f"{K} stride: 2 stride_h: 2 stride_w: 2"), pool(f"{K} stride_h: 2")),
      (pool(f"{K} stride_h: 2 stride_w: 1"), pool(f"{K} stride: 2"))),
    p("kernel-positive", "No kernel is 0.", 50,
      (pool("kernel_size: 0"), pool("kernel_h: 0 kernel_w: 3"), pool("kernel_h: 3 kernel_w: 0")),
      (pool("kernel_size: 1"),)),
    p("global-bare", "With global_pooling the pad is 0 and the stride 1.", 65,
      (pool("global_pooling: true pad: 1"), pool("global_pooling: true stride: 2"),
       pool("global_pooling: true stride_h: 1 stride_w: 2")),
      (pool("global_pooling: true pad: 0 stride: 1"),)),
    p("pad-of-max-and-ave", "Only MAX and AVE support a pad.", 69,
      (pool(f"pool: STOCHASTIC {K} pad: 1"),), (pool(f"pool: AVE {K} pad: 1"),)),
    p("pad-below-kernel-height", "pad_h is below kernel_h.", 74,
      (pool("kernel_size: 2 pad: 2"), pool("kernel_h: 2 kernel_w: 3 pad_h: 2 pad_w: 1")),
      (pool("kernel_size: 2 pad: 1"),)),
    p("pad-below-kernel-width", "pad_w is below kernel_w.", 75,
      (pool("kernel_h: 3 kernel_w: 2 pad_h: 1 pad_w: 2"),), (pool("kernel_h: 3 kernel_w: 2 pad_h: 2 pad_w: 1"),)),
    p("axes", "The bottom has 4 axes.", 82, (pool(K, "2x4x9"), pool(K, VOLUME)), (pool(K),)),
    Row("pooling.top-not-empty", "Pooling", "A window fits in the bottom with its pad.", "blob.cpp:32",
        (pool("kernel_size: 30"),), (pool("kernel_size: 9"), pool("kernel_size: 11 pad: 1"))),
    Row("spp.axes", "SPP", "The bottom has 4 axes.", "spp_layer.cpp:148",
        (spp("pyramid_height: 2", "2x4x9"), spp("pyramid_height: 2", VOLUME)), (spp("pyramid_height: 2"),),
        loose="it looks at the bottom's size first, in words of another file"),
    Row("spp.height-not-empty", "SPP", "The bottom's height is not 0.", "spp_layer.cpp:74",
        (spp("pyramid_height: 2", "2x4x0x9"),), (spp("pyramid_height: 2", "2x4x3x9"),)),
    Row("spp.width-not-empty", "SPP", "The bottom's width is not 0.", "spp_layer.cpp:75",
        (spp("pyramid_height: 2", "2x4x9x0"),), (spp("pyramid_height: 2", "2x4x9x3"),)),
    Row("spp.pad-below-kernel", "SPP", "At each level the pad is below the kernel.", "pooling_layer.cpp:74",
        (spp("pyramid_height: 3", "2x4x5x5"), spp("pyramid_height: 4")), (spp("pyramid_height: 3"),)),
    Row("lrn.odd-size", "LRN", "local_size is odd.", "lrn_layer.cpp:12",
        (lrn("local_size: 4"), lrn("local_size: 4 norm_region: WITHIN_CHANNEL")), (lrn("local_size: 3"),)),
    Row("lrn.axes", "LRN", "The bottom has 4 axes.", "lrn_layer.cpp:71",
        (lrn("", "2x4x9"), lrn("", VOLUME)), (lrn(""),)),
    Row("lrn.within-axes", "LRN", "With WITHIN_CHANNEL too, the bottom has 4 axes.", "pooling_layer.cpp:82",
        (lrn("norm_region: WITHIN_CHANNEL", "2x4x9"),), (lrn("norm_region: WITHIN_CHANNEL"),)),
)  # fmt: skip
