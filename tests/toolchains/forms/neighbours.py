"""Layers that toolchains fuse with their neighbours, and well-known blocks."""

from __future__ import annotations

from collections.abc import Iterator

from forms.building import Form, nets

NETS = """
conv-bn | BatchNorm | Convolution, BatchNorm | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  y = BatchNorm(a)
conv-bn-scale | BatchNorm | Convolution, BatchNorm, Scale | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  b = BatchNorm(a)
  y = Scale(b) bias_term: true
conv-bn-scale-in-place | BatchNorm | Convolution without bias, BatchNorm, Scale, ReLU in place | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3 bias_term: false
  bn: y = BatchNorm(y) use_global_stats: true
  sc: y = Scale(y) bias_term: true
  re: y = ReLU(y)
conv-bn-scale-no-bias | BatchNorm | Convolution, BatchNorm, Scale without bias | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  b = BatchNorm(a)
  y = Scale(b)
bn-scale-conv | BatchNorm | BatchNorm, Scale, ReLU, Convolution (pre-activation) | data 1x4x6x8
  b = BatchNorm(data)
  s = Scale(b) bias_term: true
  s = ReLU(s)
  y = Convolution(s) num_output: 3 kernel_size: 3 pad: 1
bn-read-twice | BatchNorm | Convolution read twice: by BatchNorm and by Sigmoid | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  b = BatchNorm(a)
  y = Scale(b) bias_term: true
  z = Sigmoid(a)
depthwise-bn-scale | BatchNorm | depthwise Convolution, BatchNorm, Scale | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 3 pad: 1 group: 4 bias_term: false
  b = BatchNorm(a)
  y = Scale(b) bias_term: true
deconv-bn-scale | BatchNorm | Deconvolution, BatchNorm, Scale | data 1x4x5x6
  a = Deconvolution(data) num_output: 3 kernel_size: 4 stride: 2 pad: 1
  b = BatchNorm(a)
  y = Scale(b) bias_term: true
conv-scale | Scale | Convolution, Scale with bias | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  y = Scale(a) bias_term: true
conv-scale-axis-2 | Scale | Convolution, Scale axis 2 | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  y = Scale(a) axis: 2
conv-twice-scale | Scale | Convolution read twice, by Scale and by Eltwise | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  b = Scale(a) bias_term: true
  y = Eltwise(a, b)
conv-twice-scale-equal | Scale | Convolution read twice, channels equal to the height | data 1x4x6x8
  a = Convolution(data) num_output: 6 kernel_size: 3 pad: 1
  b = Scale(a) bias_term: true
  y = Eltwise(a, b)
conv-twice-bias-eltwise | Scale | Convolution read twice, depthwise Convolution instead of Scale | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  b = Convolution(a) num_output: 3 kernel_size: 1 group: 3
  y = Eltwise(a, b)
scale-scale | Scale | Scale, Scale | data 1x4x6x8
  a = Scale(data) bias_term: true
  y = Scale(a) bias_term: true
scale-conv | Scale | Scale with bias, padded Convolution | data 1x4x6x8
  a = Scale(data) bias_term: true
  y = Convolution(a) num_output: 3 kernel_size: 3 pad: 1
scale-axis-2-between | Scale | axis 2 between convolutions | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 3 pad: 1
  b = Scale(a) axis: 2 bias_term: true
  y = Convolution(b) num_output: 5 kernel_size: 1
scale-relu-scale | Scale | ReLU, Scale, ReLU, Scale in place (a clip) | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  a: y = ReLU(y)
  b: y = Scale(y) bias_term: true
  c: y = ReLU(y)
  d: y = Scale(y) bias_term: true
sigmoid-scale | Scale | Sigmoid, Scale with bias | data 1x4x6x8
  a = Sigmoid(data)
  y = Scale(a) bias_term: true
eltwise-scale | Scale | Eltwise, Scale with bias | data 1x4x6x8; b 1x4x6x8
  a = Eltwise(data, b)
  y = Scale(a) bias_term: true
concat-scale | Scale | Concat, Scale with bias | data 1x4x6x8; b 1x3x6x8
  a = Concat(data, b)
  y = Scale(a) bias_term: true
concat-bn-scale | BatchNorm | Concat, BatchNorm, Scale, ReLU (DenseNet) | data 1x4x6x8; b 1x3x6x8
  a = Concat(data, b)
  n = BatchNorm(a)
  s = Scale(n) bias_term: true
  y = ReLU(s)
pooling-scale | Scale | AVE Pooling, Scale with bias | data 1x4x6x8
  a = Pooling(data) pool: AVE kernel_size: 2 stride: 2
  y = Scale(a) bias_term: true
conv-relu6 | ReLU6 | Convolution, ReLU6 in place | data 1x4x6x8:wide
  y = Convolution(data) num_output: 3 kernel_size: 3
  r: y = ReLU6(y)
conv-relu | ReLU | Convolution, ReLU | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  y = ReLU(a)
conv-relu-read-before | ReLU | Convolution read by ReLU and by Sigmoid | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  y = ReLU(a)
  z = Sigmoid(a)
conv-prelu | PReLU | Convolution, PReLU | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  y = PReLU(a)
conv-clip | Clip | Convolution, Clip | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  y = Clip(a) min: -0.5 max: 0.5
conv-power | Power | Convolution, Power scale 2, shift 1 | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  y = Power(a) scale: 2 shift: 1
conv-bias | Bias | Convolution without bias, Bias | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3 bias_term: false
  y = Bias(a)
conv-conv | Convolution | 3x3, 1x1 without activation | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3 pad: 1
  y = Convolution(a) num_output: 5 kernel_size: 1
conv-sigmoid-prod | Eltwise | Convolution, PROD with its Sigmoid (SiLU) | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  s = Sigmoid(a)
  y = Eltwise(a, s) operation: PROD
power-power | Power | Power 0.5, Power scale 3, shift 1 | data 1x4x6x8:positive
  a = Power(data) power: 0.5
  y = Power(a) scale: 3 shift: 1
power-power-linear | Power | Power scale 2, Power shift 1 | data 1x4x6x8
  a = Power(data) scale: 2
  y = Power(a) shift: 1
power-power-square | Power | Power scale 2, shift 1, Power 2 | data 1x4x6x8
  a = Power(data) scale: 2 shift: 1
  y = Power(a) power: 2
reciprocal-shift | Power | Sigmoid, Power -1, Power shift -1 | data 1x4x6x8
  s = Sigmoid(data)
  a = Power(s) power: -1
  y = Power(a) shift: -1
relu-power | Power | ReLU in place, Power 0.5, Power scale 3 | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 1
  a = ReLU(a)
  b = Power(a) power: 0.5
  y = Power(b) scale: 3
relu-power-linear | Power | ReLU, Power scale -1, shift 6 | data 1x4x6x8
  a = ReLU(data)
  y = Power(a) scale: -1 shift: 6
relu-scale | Scale | ReLU in place, Scale with bias | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 1
  a = ReLU(a)
  y = Scale(a) bias_term: true
se-block | Scale | SE block: AVE, Convolution, ReLU, Convolution, Sigmoid, Scale | data 1x4x6x8
  g = Pooling(data) pool: AVE global_pooling: true
  a = Convolution(g) num_output: 2 kernel_size: 1
  a = ReLU(a)
  b = Convolution(a) num_output: 4 kernel_size: 1
  s = Sigmoid(b)
  r = Reshape(s) shape { dim: 0 dim: 4 }
  y = Scale(data, r) axis: 0
se-spread | Eltwise | SE block: gate spread by a depthwise Convolution, PROD | data 1x4x6x8
  g = Pooling(data) pool: AVE global_pooling: true
  a = Convolution(g) num_output: 4 kernel_size: 1
  s = Sigmoid(a)
  w = Convolution(s) num_output: 4 kernel_h: 6 kernel_w: 8 pad_h: 5 pad_w: 7 group: 4 bias_term: false
  y = Eltwise(data, w) operation: PROD
se-spread-deconv | Eltwise | SE block: gate spread by a depthwise Deconvolution, PROD | data 1x4x6x8
  g = Pooling(data) pool: AVE global_pooling: true
  a = Convolution(g) num_output: 4 kernel_size: 1
  s = Sigmoid(a)
  w = Deconvolution(s) num_output: 4 kernel_h: 6 kernel_w: 8 group: 4 bias_term: false
  y = Eltwise(data, w) operation: PROD
mobilenet | Convolution | depthwise 3x3, ReLU, 1x1, ReLU | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 3 pad: 1 group: 4
  a = ReLU(a)
  y = Convolution(a) num_output: 6 kernel_size: 1
  y = ReLU(y)
inverted-residual | Convolution | 1x1, depthwise 3x3, 1x1, SUM (MobileNet 2) | data 1x4x6x8
  a = Convolution(data) num_output: 8 kernel_size: 1
  a = ReLU(a)
  b = Convolution(a) num_output: 8 kernel_size: 3 pad: 1 group: 8
  b = ReLU(b)
  c = Convolution(b) num_output: 4 kernel_size: 1
  y = Eltwise(data, c)
inception | Concat | three branches, Concat | data 1x4x6x8
  a = Convolution(data) num_output: 2 kernel_size: 1
  b = Convolution(data) num_output: 3 kernel_size: 3 pad: 1
  p = Pooling(data) pool: MAX kernel_size: 3 stride: 1 pad: 1
  c = Convolution(p) num_output: 2 kernel_size: 1
  y = Concat(a, b, c)
lenet | InnerProduct | Convolution, MAX, Convolution, MAX, InnerProduct, ReLU, InnerProduct, Softmax | data 1x1x14x14
  a = Convolution(data) num_output: 4 kernel_size: 3
  b = Pooling(a) pool: MAX kernel_size: 2 stride: 2
  c = Convolution(b) num_output: 6 kernel_size: 3
  d = Pooling(c) pool: MAX kernel_size: 2 stride: 2
  e = InnerProduct(d) num_output: 8
  e = ReLU(e)
  f = InnerProduct(e) num_output: 3
  y = Softmax(f)
unet | Concat | MAX, Convolution, Deconvolution, Concat, Convolution (U-Net) | data 1x4x6x8
  p = Pooling(data) pool: MAX kernel_size: 2 stride: 2
  a = Convolution(p) num_output: 5 kernel_size: 3 pad: 1
  a = ReLU(a)
  d = Deconvolution(a) num_output: 3 kernel_size: 2 stride: 2
  k = Concat(d, data)
  y = Convolution(k) num_output: 2 kernel_size: 1
bilinear-deconv | Deconvolution | depthwise, kernel 4, stride 2, pad 1, between convolutions | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 1
  d = Deconvolution(a) num_output: 3 kernel_size: 4 stride: 2 pad: 1 group: 3 bias_term: false
  y = Convolution(d) num_output: 2 kernel_size: 1
pixel-shuffle-deconv | Deconvolution | kernel 2, stride 2 of 8 channels, between convolutions | data 1x4x6x8
  a = Convolution(data) num_output: 8 kernel_size: 3 pad: 1
  d = Deconvolution(a) num_output: 2 kernel_size: 2 stride: 2 bias_term: false
  y = Convolution(d) num_output: 3 kernel_size: 1
mfm | Eltwise | InnerProduct, Slice, MAX (light CNN) | data 1x4x3x2
  a = InnerProduct(data) num_output: 6
  b c = Slice(a) axis: 1 slice_point: 3
  y = Eltwise(b, c) operation: MAX
crelu | Concat | x and Power -x, Concat, ReLU | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  n = Power(a) scale: -1
  k = Concat(a, n)
  y = ReLU(k)
"""


def forms() -> Iterator[Form]:
    """Yield the forms of this module."""
    yield from nets("neighbours", NETS)
