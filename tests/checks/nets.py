"""Checks of the net and of every layer: net.cpp, layer.hpp, blob.cpp, filler.hpp."""

from __future__ import annotations

from checks.rows import Row, layer, one, source

CONV = "convolution_param { num_output: 2 kernel_size: 3 %s }"
X = source("a", "1x4x9x9")


def shared(first: str, second: str, kernel: int = 3, outputs: int = 2, channels: int = 4) -> str:
    """Two convolutions whose weights share a name."""
    return (
        X
        + source("b", f"1x{channels}x9x9")
        + layer("Convolution", "a", "s", f'param {{ name: "w" {first} }} {CONV % ""}', "one")
        + layer(
            "Convolution",
            "b",
            "t",
            f'param {{ name: "w" {second} }} '
            f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} }}",
            "two",
        )
    )


def filled(
    filler: str, type_: str = "Convolution", params: str = CONV, shape: str = "1x4x9x9"
) -> str:
    return one(type_, params % f"weight_filler {{ {filler} }}", shape)


GIVEN = (
    "blobs { shape { dim: 2 dim: 4 } %s } inner_product_param { num_output: 2 bias_term: false }"
)
OLD = 'input: "a" input_dim: 1 input_dim: 4 input_dim: 9 input_dim: 9\n'


def v0(type_: str, bottoms: str, tops: str, params: str = "", name: str = "l") -> str:
    """A layer in the V0 format."""
    blobs = [f'bottom: "{one}"' for one in bottoms.split()] + [
        f'top: "{one}"' for one in tops.split()
    ]
    return f'layers {{ layer {{ name: "{name}" type: "{type_}" {params} }} {" ".join(blobs)} }}\n'


KERNEL = "num_output: 2 kernelsize: 3"
SHARED_SLOPE = "prelu_param { channel_shared: true filler { type: 'gaussian' sparse: 1 } }"

ROWS = (
    Row("net.unknown-bottom", "the net", "A bottom is the top of an earlier layer.",
        "insert_splits.cpp:29",
        (X + layer("ReLU", "b"), layer("ReLU", "a") + X),
        (X + layer("ReLU", "a"),)),
    Row("net.top-of-two-layers", "the net", "Only one layer produces a top, except for in-place layers.",
        "net.cpp:377",
        (X + layer("ReLU", "a", "t", "", "r") + layer("AbsVal", "a"),
         X + layer("Slice", "a", "t t", "slice_param { slice_point: 1 }")),
        (X + layer("ReLU", "a", "t", "", "r") + layer("TanH", "t", "t"),)),
    Row("net.read-before-in-place", "the net",
        "No earlier layer reads the bottom of an in-place layer.",
        "net.cpp:377",
        (X + layer("AbsVal", "a", "s", "", "r") + layer("ReLU", "a", "a"),)),
    Row("net.one-form", "the net", "A file does not contain both `layer` and `layers`.", "upgrade_proto.cpp:671",
        (X + 'layers { name: "l" type: RELU bottom: "a" top: "t" }',),
        (OLD + 'layers { name: "l" type: RELU bottom: "a" top: "t" }',)),
    Row("net.v0-type", "the net", "In the V0 format, a type is one of that format.", "upgrade_proto.cpp:603",
        (OLD + v0("mish", "a", "t"),), (OLD + v0("relu", "a", "t"),)),
    Row("net.v0-unknown-bottom", "the net", "In the V0 format too, a bottom is the top of an earlier layer.",
        "upgrade_proto.cpp:165", (OLD + v0("relu", "b", "t"),), (OLD + v0("relu", "a", "t"),)),
    Row("net.padding-reader", "the net", "Only conv and pool read a padding layer.", "upgrade_proto.cpp:177",
        (OLD + v0("padding", "a", "p", "pad: 1", "p") + v0("relu", "p", "t"),),
        (OLD + v0("padding", "a", "p", "pad: 1", "p") + v0("conv", "p", "t", KERNEL),)),
    Row("net.padding-reader-bottoms", "the net", "A layer that reads a padding layer has one bottom.",
        "upgrade_proto.cpp:181",
        (OLD + v0("padding", "a", "p", "pad: 1", "p") + v0("conv", "p a", "t u", KERNEL),),
        (OLD + v0("padding", "a", "p", "pad: 1", "p") + v0("conv", "p", "t", KERNEL),)),
    Row("net.padding-bottoms", "the net", "A padding layer has one bottom.", "upgrade_proto.cpp:183",
        (OLD + v0("padding", "a a", "p", "pad: 1", "p") + v0("conv", "p", "t", KERNEL),),
        (OLD + v0("padding", "a", "p", "pad: 1", "p") + v0("conv", "p", "t", KERNEL),)),
    Row("net.padding-tops", "the net", "A padding layer has one top.", "upgrade_proto.cpp:185",
        (OLD + v0("padding", "a", "p q", "pad: 1", "p") + v0("conv", "p", "t", KERNEL),),
        (OLD + v0("padding", "a", "p", "pad: 1", "p") + v0("conv", "p", "t", KERNEL),)),
    Row("net.include-and-exclude", "every layer", "A layer does not have both include and exclude rules.",
        "net.cpp:269",
        (X + layer("ReLU", "a", "t", "include { phase: TEST } exclude { phase: TRAIN }"),),
        (X + layer("ReLU", "a", "t", "include { phase: TEST }"),
         X + layer("ReLU", "a", "t", "exclude { phase: TRAIN }"))),
    Row("layer.propagate-down-each-bottom", "every layer",
        "propagate_down is set once per bottom, or not at all.",
        "net.cpp:79",
        (X + layer("ReLU", "a", "t", "propagate_down: true propagate_down: false"),
         X + layer("Eltwise", "a a", "t", "propagate_down: true")),
        (X + layer("ReLU", "a", "t", "propagate_down: true"),
         X + layer("Eltwise", "a a", "t", "propagate_down: true propagate_down: false"))),
    Row("layer.param-each-blob", "every layer", "There are not more param entries than parameter blobs.",
        "net.cpp:143",
        (X + layer("ReLU", "a", "t", "param { lr_mult: 1 }"),
         one("InnerProduct", "param { } param { } inner_product_param { num_output: 2 bias_term: false }",
             "1x4")),
        (one("InnerProduct", "param { } param { } inner_product_param { num_output: 2 }", "1x4"),
         one("InnerProduct", "param { } inner_product_param { num_output: 2 }", "1x4"))),
    Row("layer.loss-weight-each-top", "every layer",
        "loss_weight is set once per top, or not at all.",
        "layer.hpp:392",
        (X + layer("ReLU", "a", "t", "loss_weight: 1 loss_weight: 1"),
         X + layer("Slice", "a", "s t", "loss_weight: 1"),
         one("EuclideanLoss", "loss_weight: 1 loss_weight: 1", "2x3", "2x3")),
        (X + layer("Slice", "a", "s t", "loss_weight: 1 loss_weight: 0"),
         one("EuclideanLoss", "loss_weight: 2", "2x3", "2x3"))),
    Row("layer.known-type", "every layer", "Caffe has the layer type.",
        "layer_factory.hpp:81",
        (X + layer("Convolutoin", "a"),), (X + layer("ReLU", "a"),), when="lowered"),
    Row("param.shared-shape", "every layer",
        "Blobs that share a name have the same shape (share_mode STRICT).",
        "net.cpp:486",
        (shared("", "", kernel=1), shared("", "share_mode: STRICT", outputs=1, channels=8)),
        (shared("", ""),)),
    Row("param.shared-count", "every layer",
        "Blobs that share a name have the same number of values (share_mode PERMISSIVE).",
        "net.cpp:478",
        (shared("", "share_mode: PERMISSIVE", kernel=1),),
        (shared("", "share_mode: PERMISSIVE", outputs=1, channels=8),)),
    Row("param.shared-lr-mult", "every layer",
        "Blobs that share a name have the same lr_mult, or only one of them sets it.",
        "net.cpp:497",
        (shared("lr_mult: 1", "lr_mult: 2"),),
        (shared("lr_mult: 2", "lr_mult: 2"), shared("lr_mult: 2", ""), shared("", "lr_mult: 2"))),
    Row("param.shared-decay-mult", "every layer",
        "Blobs that share a name have the same decay_mult, or only one of them sets it.",
        "net.cpp:506",
        (shared("decay_mult: 1", "decay_mult: 0"),),
        (shared("decay_mult: 0", "decay_mult: 0"), shared("decay_mult: 0", ""))),
    Row("weights.count", "every layer", "A caffemodel has as many blobs as the layer.",
        "net.cpp:752",
        (one("InnerProduct", "inner_product_param { num_output: 2 }", "1x4"),),
        when="weights", weights={"l": ((2, 4),)}, fits={"l": ((2, 4), (2,))}),
    Row("weights.shape", "every layer", "The blobs of a caffemodel have the shapes of the layer's blobs.",
        "net.cpp:759",
        (one("InnerProduct", "inner_product_param { num_output: 2 }", "1x4"),),
        when="weights", weights={"l": ((2, 5), (2,))}, fits={"l": ((2, 4), (2,))}),
    Row("weights.hdf5-more", "every layer", "An HDF5 file does not have more blobs than the layer.", "net.cpp:814",
        (one("InnerProduct", "inner_product_param { num_output: 2 bias_term: false }", "1x4"),),
        when="weights", weights={"l": ((2, 4), (2,))}, fits={"l": ((2, 4),)}),
    Row("weights.hdf5-fewer", "every layer", "An HDF5 file has each blob of the layer that is not shared.",
        "net.cpp:827",
        (one("InnerProduct", "inner_product_param { num_output: 2 }", "1x4"),),
        when="weights", weights={"l": ((2, 4),)}, fits={"l": ((2, 4), (2,))}),
    Row("blob.axes", "every layer", "A blob has at most 32 axes.", "blob.cpp:24",
        (one("ReLU", "", "x".join(["1"] * 33)),), (one("ReLU", "", "x".join(["1"] * 32)),)),
    Row("blob.negative", "every layer", "No axis has a negative length.", "blob.cpp:32",
        (one("ReLU", "", "2x-1"),), (one("ReLU", "", "2x1"),)),
    Row("blob.empty", "every layer", "A blob that is computed has at least one value.", "blob.cpp:133",
        (one("ReLU", "", "2x0"), one("DummyData", "dummy_data_param { shape { dim: 0 } }")),
        (one("ReLU", "", "2x1"),)),
    Row("blob.values", "every layer", "A blob in the prototxt has as many values as its shape requires.",
        "blob.cpp:496",
        (one("InnerProduct", GIVEN % ("data: 0 " * 7), "1x4"),),
        (one("InnerProduct", GIVEN % ("data: 0 " * 8), "1x4"),)),
    Row("blob.count", "every layer", "A blob has at most 2147483647 values.", "blob.cpp:34",
        (one("ReLU", "", "65536x32768"), one("Tile", "tile_param { tiles: 65536 }", "1x32768")),
        (one("ReLU", "", "1x32768"),)),
    Row("filler.type", "every layer", "A filler's type is one of Caffe's seven.", "filler.hpp:294",
        (filled("type: 'normal'"), one("DummyData", "dummy_data_param { shape { dim: 2 } data_filler { type: 'x' } }")),
        (filled("type: 'msra'"),)),
    Row("filler.values", "every layer", "A blob with a filler has at least one value.", "filler.hpp:39",
        (one("InnerProduct", "inner_product_param { num_output: 2 }", "1x0"),
         one("InnerProduct", "inner_product_param { num_output: 0 }", "1x4")),
        (one("InnerProduct", "inner_product_param { num_output: 1 }", "1x1"),), said="blob.cpp"),
    *(
        Row(f"filler.{kind}-sparse", "every layer", f"A {kind} filler has no sparse.", f"filler.hpp:{line}",
            (filled(f"type: '{kind}' sparse: 1"),), (filled(f"type: '{kind}' sparse: -1"),))
        for kind, line in (("constant", 43), ("uniform", 58), ("positive_unitball", 122), ("xavier", 166),
                           ("msra", 211), ("bilinear", 265))
    ),
    Row("filler.gaussian-sparse", "every layer", "A gaussian filler's sparse is -1 or more.",
        "filler.hpp:75", (filled("type: 'gaussian' sparse: -2"),),
        (filled("type: 'gaussian' sparse: 1"),)),
    Row("filler.gaussian-sparse-axes", "every layer",
        "A gaussian filler with sparse fills a blob of 1 axis or more.", "filler.hpp:81",
        (one("PReLU", SHARED_SLOPE, "1x4x9x9"),),
        (one("PReLU", SHARED_SLOPE.replace("true", "false"), "1x4x9x9"),)),
    Row("filler.bilinear-axes", "every layer", "A bilinear filler fills a blob of 4 axes.",
        "filler.hpp:255",
        (filled("type: 'bilinear'", "InnerProduct", "inner_product_param { num_output: 2 %s }"),),
        (filled("type: 'bilinear'"),)),
    Row("filler.bilinear-square", "every layer", "A bilinear filler fills square kernels.",
        "filler.hpp:256",
        (filled("type: 'bilinear'", params="convolution_param { num_output: 2 kernel_h: 3 kernel_w: 2 %s }"),),
        (filled("type: 'bilinear'", params="convolution_param { num_output: 2 kernel_h: 3 kernel_w: 3 %s }"),)),
    Row("filler.uniform-range", "every layer", "A uniform filler's min is not above its max.",
        "math_functions.cpp:259", (filled("type: 'uniform' min: 1 max: 0"),),
        (filled("type: 'uniform' min: 1 max: 1"),)),
    Row("filler.gaussian-std", "every layer", "A gaussian filler's std is above 0.",
        "math_functions.cpp:281", (filled("type: 'gaussian' std: 0"), filled("type: 'gaussian' std: -1")),
        (filled("type: 'gaussian' std: 0.01"),)),
    Row("filler.sparse-chance", "every layer",
        "A gaussian filler's sparse is not above the length of the blob's first axis.",
        "math_functions.cpp:323", (filled("type: 'gaussian' sparse: 3"),),
        (filled("type: 'gaussian' sparse: 2"),)),
)  # fmt: skip
