"""Whole nets: forms of inputs and outputs, names, V1, phases, missing weights."""

from __future__ import annotations

from collections.abc import Iterator

from forms.building import Form, input_layer, nets

RELU = (
    'layer { name: "y" type: "ReLU" bottom: "data" top: "y" relu_param { negative_slope: 0.1 } }\n'
)
CONV = (
    'layer { name: "y" type: "Convolution" bottom: "data" top: "y"'
    " convolution_param { num_output: 3 kernel_size: 3 } }\n"
)
SUM = 'layer { name: "y" type: "Eltwise" bottom: "data" bottom: "b" top: "y" }\n'
DIMS = "input_dim: 1\ninput_dim: 4\ninput_dim: 6\ninput_dim: 8\n"
SHAPE = "input_shape { dim: 1 dim: 4 dim: 6 dim: 8 }\n"
MAP = (1, 4, 6, 8)
ONE = (("data", MAP, "normal"),)
TWO = (("data", MAP, "normal"), ("b", MAP, "normal"))
PARTS = (("data", MAP, "normal"), ("b", (1, 3, 6, 8), "normal"))
V1_INPUT = 'input: "data"\n' + DIMS
TWO_TOPS = (
    'layer { name: "in" type: "Input" top: "data" top: "b" input_param {'
    " shape { dim: 1 dim: 4 dim: 6 dim: 8 } shape { dim: 1 dim: 3 dim: 6 dim: 8 } } }\n"
)
CONCAT = 'layer { name: "y" type: "Concat" bottom: "data" bottom: "b" top: "y" }\n'
ONE_SHAPE = TWO_TOPS.replace(" shape { dim: 1 dim: 3 dim: 6 dim: 8 }", "")

# id, type, text, net, feeds
RAW = (
    ("input-dim", "Input", "input and input_dim, ReLU", 'input: "data"\n' + DIMS + RELU, ONE),
    ("input-dim-conv", "Input", "input and input_dim, Convolution", 'input: "data"\n' + DIMS + CONV, ONE),
    ("input-shape", "Input", "input and input_shape, ReLU", 'input: "data"\n' + SHAPE + RELU, ONE),
    ("input-shape-conv", "Input", "input and input_shape, Convolution", 'input: "data"\n' + SHAPE + CONV,
     ONE),
    ("input-shape-rank-2", "Input", "input and input_shape of 2 axes",
     'input: "data"\ninput_shape { dim: 2 dim: 7 }\n' + RELU, (("data", (2, 7), "normal"),)),
    ("input-layer-other-name", "Input", "Input layer with another name than its top",
     input_layer("data", MAP, "in") + CONV, ONE),
    ("two-input-dim", "Input", "two inputs with input_dim",
     'input: "data"\ninput: "b"\n' + DIMS + DIMS + SUM, TWO),
    ("two-input-dim-unequal", "Input", "two inputs of two shapes with input_dim",
     'input: "data"\ninput: "b"\n' + DIMS + DIMS.replace("4", "3") + CONCAT, PARTS),
    ("two-input-shape", "Input", "two inputs with input_shape",
     'input: "data"\ninput_shape { dim: 1 dim: 4 dim: 6 dim: 8 }\ninput: "b"\n' + SHAPE + SUM, TWO),
    ("two-input-shape-unequal", "Input", "two inputs of two shapes with input_shape",
     'input: "data"\ninput: "b"\n' + SHAPE + SHAPE.replace("4", "3") + CONCAT, PARTS),
    ("two-input-layers-other-names", "Input", "two Input layers with other names than their tops",
     input_layer("data", MAP, "in1") + input_layer("b", MAP, "in2") + SUM, TWO),
    ("two-inputs-reversed", "Input", "two Input layers, read in the other order",
     input_layer("data", MAP) + input_layer("b", (1, 3, 6, 8))
     + CONCAT.replace('bottom: "data" bottom: "b"', 'bottom: "b" bottom: "data"'), PARTS),
    ("input-two-tops", "Input", "one Input layer with two tops and two shapes", TWO_TOPS + CONCAT, PARTS),
    ("input-two-tops-one-shape", "Input", "one Input layer with two tops and one shape",
     ONE_SHAPE + SUM, TWO),
    ("input-after-layers", "Input", "second Input layer after the first computing layer",
     input_layer("data", MAP) + RELU.replace('"y"', '"r"') + input_layer("b", MAP)
     + SUM.replace('bottom: "data"', 'bottom: "r"'), TWO),
    ("input-is-output", "Input", "an input that nobody reads",
     input_layer("data", MAP) + input_layer("b", MAP) + RELU, TWO),
    ("v1-relu", "ReLU", "V1: layers, RELU",
     V1_INPUT + 'layers { name: "y" type: RELU bottom: "data" top: "y" }\n', ONE),
    ("v1-conv", "Convolution", "V1: layers, CONVOLUTION with blobs_lr",
     V1_INPUT + 'layers { name: "y" type: CONVOLUTION bottom: "data" top: "y" blobs_lr: 1 blobs_lr: 2'
     " convolution_param { num_output: 3 kernel_size: 3 } }\n", ONE),
    ("v1-pool", "Pooling", "V1: layers, POOLING, then INNER_PRODUCT",
     V1_INPUT + 'layers { name: "p" type: POOLING bottom: "data" top: "p"'
     " pooling_param { pool: MAX kernel_size: 2 stride: 2 } }\n"
     'layers { name: "y" type: INNER_PRODUCT bottom: "p" top: "y"'
     " inner_product_param { num_output: 5 } }\n", ONE),
    ("no-names", "ReLU", "layers without names",
     input_layer("data", MAP) + 'layer { type: "ReLU" bottom: "data" top: "r" }\n'
     'layer { type: "Sigmoid" bottom: "r" top: "y" }\n', ONE),
    ("net-name", "Convolution", "net with a name and force_backward",
     'name: "net"\nforce_backward: true\n' + input_layer("data", MAP) + CONV, ONE),
    ("memory-data", "MemoryData", "MemoryData as the input",
     'layer { name: "data" type: "MemoryData" top: "data" top: "label" memory_data_param'
     " { batch_size: 1 channels: 4 height: 6 width: 8 } }\n" + CONV, ONE),
    ("comments", "Convolution", "comments, commas and colons in the text",
     "# a comment\n" + input_layer("data", MAP) + CONV.replace(" { num", ": { num").replace(
         "3 kernel", "3, kernel"), ONE),
)  # fmt: skip

NETS = """
top-other-name | Convolution | top with another name than the layer | data 1x4x6x8
  conv1: y = Convolution(data) num_output: 3 kernel_size: 3
in-place-other-name | ReLU | Convolution and ReLU in place, tops with other names than layers | data 1x4x6x8
  conv1: y = Convolution(data) num_output: 3 kernel_size: 3
  relu1: y = ReLU(y)
slashes | Convolution | layer names and tops with slashes | data 1x4x6x8
  block/a: block/a = Convolution(data) num_output: 3 kernel_size: 3
  block/b: block/b = ReLU(block/a)
dots | Convolution | layer names and tops with dots and dashes | data 1x4x6x8
  a.1-x: a.1-x = Convolution(data) num_output: 3 kernel_size: 3
  b.1-x: b.1-x = ReLU(a.1-x)
digits | Convolution | layer names and tops of digits | data 1x4x6x8
  12: 12 = Convolution(data) num_output: 3 kernel_size: 3
  13: 13 = ReLU(12)
names-swapped | Convolution | layer names equal to other layers' tops | data 1x4x6x8
  b: a = Convolution(data) num_output: 3 kernel_size: 3
  a: b = ReLU(a)
read-twice | Convolution | a blob read by two convolutions | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  y = Convolution(a) num_output: 2 kernel_size: 1
  z = Convolution(a) num_output: 5 kernel_size: 1
input-read-twice | Convolution | the input read by two layers | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 3 pad: 1
  y = Eltwise(data, a)
two-outputs | Convolution | two outputs | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  z = Pooling(data) pool: MAX kernel_size: 2 stride: 2
outputs-late-first | Convolution | first output computed by an early layer, names in reverse order | data 1x4x6x8
  z = Convolution(data) num_output: 3 kernel_size: 3
  b = Pooling(data) pool: MAX kernel_size: 2 stride: 2
  a = ReLU(b)
three-outputs | Convolution | three outputs of one shape | data 1x4x6x8
  c = ReLU(data)
  a = Sigmoid(data)
  b = TanH(data)
output-also-read | Sigmoid | an output and a blob that is read | data 1x4x6x8
  a = ReLU(data)
  y = Sigmoid(a)
train-layer | Dropout | include TRAIN: a layer left out | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  p: y = Power(y) scale: 2 ! include { phase: TRAIN }
test-layer | Power | include TEST: a layer kept | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  p: y = Power(y) scale: 2 ! include { phase: TEST }
exclude-train | ReLU | exclude TRAIN: a layer kept | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  y = ReLU(a) ! exclude { phase: TRAIN }
exclude-test | ReLU | exclude TEST: a layer left out | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  r: y = ReLU(y) ! exclude { phase: TEST }
train-input | Input | include TRAIN: an Input layer with another batch left out | data 1x4x6x8
  in2: data = Input() shape { dim: 8 dim: 4 dim: 6 dim: 8 } ! include { phase: TRAIN }
  y = Convolution(data) num_output: 3 kernel_size: 3
softmax-loss-train | Softmax | a loss for TRAIN left out | data 1x4x6x8
  a = InnerProduct(data) num_output: 5
  l = SoftmaxWithLoss(a, a) ! include { phase: TRAIN }
  y = Softmax(a)
stripped-conv-relu | ReLU | the caffemodel lacks layers without weights: Convolution, ReLU, Pooling | data 1x4x6x8 | stripped
  a = Convolution(data) num_output: 3 kernel_size: 3
  a = ReLU(a)
  y = Pooling(a) pool: MAX kernel_size: 2 stride: 2
stripped-eltwise | Eltwise | the caffemodel lacks layers without weights: PROD | data 1x4x6x8 | stripped
  a = Convolution(data) num_output: 4 kernel_size: 1
  y = Eltwise(data, a) operation: PROD
stripped-concat | Concat | the caffemodel lacks layers without weights: Concat axis 2 | data 1x4x6x8 | stripped
  a = Convolution(data) num_output: 4 kernel_size: 1
  y = Concat(data, a) axis: 2
stripped-softmax | Softmax | the caffemodel lacks layers without weights: InnerProduct, Softmax | data 1x4x3x2 | stripped
  a = InnerProduct(data) num_output: 5
  y = Softmax(a)
stripped-reshape | Reshape | the caffemodel lacks layers without weights: Reshape | data 1x4x6x8 | stripped
  a = Convolution(data) num_output: 4 kernel_size: 1
  y = Reshape(a) shape { dim: 0 dim: 8 dim: 4 dim: 6 }
stripped-no-weights | ReLU | the caffemodel has no layers at all | data 1x4x6x8 | stripped
  y = ReLU(data)
stripped-scale-axis-2 | Scale | no parameters in the caffemodel: Scale axis 2 | data 1x4x6x8 | stripped
  a = Convolution(data) num_output: 4 kernel_size: 1
  s = Pooling(a) pool: AVE kernel_size: 1
  y = Scale(s) axis: 2
fillers-bilinear | Deconvolution | no weights in the caffemodel, filler bilinear | data 1x3x5x6 | fillers
  y = Deconvolution(data) num_output: 3 group: 3 kernel_size: 4 stride: 2 pad: 1 bias_term: false weight_filler { type: "bilinear" }
fillers-constant | Convolution | no weights in the caffemodel, filler constant 0.5 | data 1x4x6x8 | fillers
  y = Convolution(data) num_output: 3 kernel_size: 3 weight_filler { type: "constant" value: 0.5 } bias_filler { type: "constant" value: 0.1 }
fillers-scale | Scale | no weights in the caffemodel, fillers 1 and 0 | data 1x4x6x8 | fillers
  a = Sigmoid(data)
  y = Scale(a) bias_term: true
fillers-prelu | PReLU | no weights in the caffemodel, filler 0.25 | data 1x4x6x8 | fillers
  y = PReLU(data)
deep-in-place | ReLU | BatchNorm, Scale, ReLU and Dropout, all in place, twice | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 3 pad: 1 bias_term: false
  n1: a = BatchNorm(a)
  s1: a = Scale(a) bias_term: true
  r1: a = ReLU(a)
  d1: a = Dropout(a)
  y = Convolution(a) num_output: 4 kernel_size: 3 pad: 1 bias_term: false
  n2: y = BatchNorm(y)
  s2: y = Scale(y) bias_term: true
  r2: y = ReLU(y)
"""


def forms() -> Iterator[Form]:
    """Yield the forms of this module."""
    for slug, kind, text, net, feeds in RAW:
        yield Form(f"net/{slug}", kind, text, net, feeds)
    yield from nets("net", NETS)
