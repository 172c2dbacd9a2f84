"""Convolution, Deconvolution, and their depthwise kinds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from forms.building import Form, nets, singles

CONVOLUTION = """
k3               1x4x6x8    num_output: 3 kernel_size: 3
k3-pad1          1x4x6x8    num_output: 3 kernel_size: 3 pad: 1
k1               1x4x6x8    num_output: 3 kernel_size: 1
k5-pad2          1x4x7x9    num_output: 3 kernel_size: 5 pad: 2
k7-s2-pad3       1x3x13x16  num_output: 6 kernel_size: 7 stride: 2 pad: 3
k11-s4           1x3x23x27  num_output: 4 kernel_size: 11 stride: 4
k2-even          1x4x6x8    num_output: 3 kernel_size: 2
k2-s2            1x4x6x8    num_output: 3 kernel_size: 2 stride: 2
k3-s2-rest       1x4x6x9    num_output: 3 kernel_size: 3 stride: 2
k3-s2-pad1       1x4x6x8    num_output: 3 kernel_size: 3 stride: 2 pad: 1
k3-s3            1x4x9x12   num_output: 3 kernel_size: 3 stride: 3
k1-s2            1x4x7x9    num_output: 3 kernel_size: 1 stride: 2
k1-pad1          1x4x6x8    num_output: 3 kernel_size: 1 pad: 1
stride-above-kernel 1x4x7x10 num_output: 3 kernel_size: 2 stride: 3
pad-as-kernel    1x4x5x6    num_output: 3 kernel_size: 3 pad: 3
kernel-whole-map 1x4x6x8    num_output: 5 kernel_h: 6 kernel_w: 8
no-bias          1x4x6x8    num_output: 3 kernel_size: 3 bias_term: false
no-bias-k1       1x4x6x8    num_output: 3 kernel_size: 1 bias_term: false
kernel-twice-equal 1x4x6x8  num_output: 3 kernel_size: 3 kernel_size: 3
kernel-twice     1x4x9x11   num_output: 3 kernel_size: 3 kernel_size: 5
stride-twice     1x4x9x11   num_output: 3 kernel_size: 3 stride: 2 stride: 1
stride-twice-equal 1x4x9x11 num_output: 3 kernel_size: 3 stride: 2 stride: 2
pad-twice        1x4x6x8    num_output: 3 kernel_size: 3 pad: 1 pad: 2
pad-twice-equal  1x4x6x8    num_output: 3 kernel_size: 3 pad: 1 pad: 1
kernel-hw        1x4x9x11   num_output: 3 kernel_h: 3 kernel_w: 5
kernel-hw-pad-hw 1x4x9x11   num_output: 3 kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2
kernel-1x3       1x4x6x8    num_output: 3 kernel_h: 1 kernel_w: 3 pad_h: 0 pad_w: 1
kernel-3x1       1x4x6x8    num_output: 3 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0
stride-hw        1x4x9x11   num_output: 3 kernel_size: 3 stride_h: 2 stride_w: 1
stride-hw-equal  1x4x9x11   num_output: 3 kernel_size: 3 stride_h: 2 stride_w: 2
pad-hw           1x4x6x8    num_output: 3 kernel_size: 3 pad_h: 1 pad_w: 2
pad-h-only       1x4x6x8    num_output: 3 kernel_size: 3 pad_h: 1
pad-w-only       1x4x6x8    num_output: 3 kernel_size: 3 pad_w: 1
dilation-2       1x4x9x11   num_output: 3 kernel_size: 3 dilation: 2
dilation-2-pad2  1x4x9x11   num_output: 3 kernel_size: 3 dilation: 2 pad: 2
dilation-twice   1x4x9x11   num_output: 3 kernel_size: 3 dilation: 2 dilation: 1
dilation-2-s2    1x4x9x11   num_output: 3 kernel_size: 3 dilation: 2 stride: 2 pad: 1
group-2          1x4x6x8    num_output: 6 kernel_size: 3 group: 2
group-2-k1       1x4x6x8    num_output: 6 kernel_size: 1 group: 2
group-2-no-bias  1x4x6x8    num_output: 6 kernel_size: 3 group: 2 bias_term: false
group-3-of-6     1x6x5x7    num_output: 3 kernel_size: 3 pad: 1 group: 3
group-2-dilation-2 1x4x9x11 num_output: 6 kernel_size: 3 group: 2 dilation: 2
depthwise        1x4x6x8    num_output: 4 kernel_size: 3 pad: 1 group: 4
depthwise-s2     1x4x7x9    num_output: 4 kernel_size: 3 pad: 1 stride: 2 group: 4
depthwise-no-bias 1x4x6x8   num_output: 4 kernel_size: 3 pad: 1 group: 4 bias_term: false
depthwise-k1     1x4x6x8    num_output: 4 kernel_size: 1 group: 4
depthwise-k5     1x4x7x9    num_output: 4 kernel_size: 5 pad: 2 group: 4
depthwise-k2     1x4x6x8    num_output: 4 kernel_size: 2 group: 4
depthwise-hw     1x4x7x9    num_output: 4 kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2 group: 4
depthwise-multiplier-2 1x4x6x8 num_output: 8 kernel_size: 3 pad: 1 group: 4
depthwise-dilation-2 1x4x9x11 num_output: 4 kernel_size: 3 pad: 2 dilation: 2 group: 4
depthwise-k1-pad1 1x4x6x8   num_output: 4 kernel_size: 1 pad: 1 group: 4
depthwise-spread 1x4x1x1    num_output: 4 kernel_h: 5 kernel_w: 7 pad_h: 4 pad_w: 6 group: 4
batch-2          2x4x6x8    num_output: 3 kernel_size: 3
batch-3-group-2  3x4x5x7    num_output: 6 kernel_size: 3 group: 2
one-channel      1x1x6x8    num_output: 3 kernel_size: 3
one-output       1x4x6x8    num_output: 1 kernel_size: 3
one-to-one-channel 1x1x6x8  num_output: 1 kernel_size: 3
equal-sizes      1x5x5x5    num_output: 5 kernel_size: 3 pad: 1
many-channels    1x33x5x6   num_output: 17 kernel_size: 3 pad: 1
on-1x1           1x6x1x1    num_output: 5 kernel_size: 1
one-row          1x4x1x9    num_output: 3 kernel_h: 1 kernel_w: 3
axis-1           1x4x6x8    num_output: 3 kernel_size: 3 axis: 1
axis-negative-3  1x4x6x8    num_output: 3 kernel_size: 3 axis: -3
axis-2           1x4x6x8    num_output: 3 kernel_size: 3 axis: 2
rank-3           1x4x9      num_output: 3 kernel_size: 3
rank-5           1x3x5x6x7  num_output: 2 kernel_size: 3
rank-5-sizes     1x3x5x6x7  num_output: 2 kernel_size: 3 kernel_size: 2 kernel_size: 1
force-nd         1x4x6x8    num_output: 3 kernel_size: 3 force_nd_im2col: true
engine-caffe     1x4x6x8    num_output: 3 kernel_size: 3 engine: CAFFE
engine-cudnn     1x4x6x8    num_output: 3 kernel_size: 3 engine: CUDNN
with-fillers     1x4x6x8    num_output: 3 kernel_size: 3 weight_filler { type: "msra" } bias_filler { type: "constant" value: 0.1 }
"""

DECONVOLUTION = """
+k4-s2-pad1      1x4x5x6    num_output: 4 kernel_size: 4 stride: 2 pad: 1
k3-s1            1x4x5x6    num_output: 3 kernel_size: 3
k2-s2            1x4x5x6    num_output: 3 kernel_size: 2 stride: 2
k3-s2-pad1       1x4x5x6    num_output: 3 kernel_size: 3 stride: 2 pad: 1
k1-s2            1x4x5x6    num_output: 3 kernel_size: 1 stride: 2
k2-s3            1x4x5x6    num_output: 3 kernel_size: 2 stride: 3
k8-s4-pad2       1x3x4x5    num_output: 2 kernel_size: 8 stride: 4 pad: 2
no-bias          1x4x5x6    num_output: 3 kernel_size: 4 stride: 2 pad: 1 bias_term: false
group-2          1x4x5x6    num_output: 6 kernel_size: 4 stride: 2 pad: 1 group: 2
+depthwise       1x4x5x6    num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4
depthwise-no-bias 1x4x5x6   num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4 bias_term: false
depthwise-k2-s2  1x4x5x6    num_output: 4 kernel_size: 2 stride: 2 group: 4 bias_term: false
depthwise-multiplier-2 1x4x5x6 num_output: 8 kernel_size: 4 stride: 2 pad: 1 group: 4
depthwise-whole-map 1x4x1x1 num_output: 4 kernel_h: 5 kernel_w: 7 group: 4 bias_term: false
kernel-twice     1x3x5x6    num_output: 3 kernel_size: 4 kernel_size: 2
kernel-hw        1x3x5x6    num_output: 3 kernel_h: 4 kernel_w: 2
stride-twice     1x3x5x6    num_output: 3 kernel_size: 4 stride: 2 stride: 1
stride-hw        1x3x5x6    num_output: 3 kernel_size: 4 stride_h: 2 stride_w: 1
pad-hw           1x3x5x6    num_output: 3 kernel_size: 4 stride: 2 pad_h: 1 pad_w: 0
pad-h-only       1x3x5x6    num_output: 3 kernel_size: 4 stride: 2 pad_h: 1
all-hw           1x3x5x6    num_output: 3 kernel_h: 4 kernel_w: 3 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 1
dilation-2       1x4x5x6    num_output: 3 kernel_size: 3 dilation: 2
dilation-2-s2    1x4x5x6    num_output: 3 kernel_size: 3 dilation: 2 stride: 2 pad: 1
batch-2          2x4x5x6    num_output: 3 kernel_size: 4 stride: 2 pad: 1
one-channel      1x1x5x6    num_output: 1 kernel_size: 4 stride: 2 pad: 1 bias_term: false
equal-sizes      1x5x5x5    num_output: 5 kernel_size: 3 pad: 1
large-pad        1x4x5x6    num_output: 3 kernel_size: 3 stride: 2 pad: 2
rank-5           1x2x3x4x5  num_output: 2 kernel_size: 2 stride: 2
"""

DEPTHWISE = """
+k3-pad1         1x4x6x8    num_output: 4 kernel_size: 3 pad: 1
group-written    1x4x6x8    num_output: 4 kernel_size: 3 pad: 1 group: 4
s2               1x4x7x9    num_output: 4 kernel_size: 3 pad: 1 stride: 2
no-bias          1x4x6x8    num_output: 4 kernel_size: 3 pad: 1 bias_term: false
kernel-hw        1x4x7x9    num_output: 4 kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2
dilation-2       1x4x9x11   num_output: 4 kernel_size: 3 pad: 2 dilation: 2
batch-2          2x4x6x8    num_output: 4 kernel_size: 3
"""

FEW = """
k3-pad1          1x4x6x8    num_output: 4 kernel_size: 3 pad: 1
group-written    1x4x6x8    num_output: 4 kernel_size: 3 pad: 1 group: 4
no-bias          1x4x6x8    num_output: 4 kernel_size: 3 pad: 1 bias_term: false
"""

IM2COL = """
k3               1x3x5x6    kernel_size: 3
k3-s2-pad1       1x3x5x6    kernel_size: 3 stride: 2 pad: 1
k2-dilation-2    1x3x5x6    kernel_size: 2 dilation: 2
"""

SHARED = """
two-bottoms | Convolution | two bottoms and two tops with one weight | data 1x4x6x8; b 1x4x6x8
  y z = Convolution(data, b) num_output: 3 kernel_size: 3
two-layers-share | Convolution | two layers that share weights by param name | data 1x4x6x8; b 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3 ! param { name: "w" } param { name: "v" }
  z = Convolution(b) num_output: 3 kernel_size: 3 ! param { name: "w" } param { name: "v" }
with-lr | Convolution | with lr_mult and decay_mult | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3 ! param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
frozen | Convolution | with propagate_down and lr_mult 0 | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3 ! param { lr_mult: 0 } param { lr_mult: 0 } propagate_down: false
"""


def forms() -> Iterator[Form]:
    """Yield the forms of this module."""
    yield from singles("convolution", "Convolution", CONVOLUTION)
    yield from nets("convolution", SHARED)
    yield from singles("deconvolution", "Deconvolution", DECONVOLUTION)
    yield from singles("convolution-depthwise", "ConvolutionDepthwise", DEPTHWISE)
    yield from singles("depthwise-convolution", "DepthwiseConvolution", FEW)
    for form in singles("depthwise-conv", "DepthwiseConv", FEW):
        yield replace(form, meaning=form.net.replace('"DepthwiseConv"', '"ConvolutionDepthwise"'))
    yield from singles("im2col", "Im2col", IM2COL)
