"""Changes of layout: layers of images beside Reshape and Permute, and what reads an ArgMax."""

from __future__ import annotations

from collections.abc import Iterator

from forms.building import Form, nets

NETS = """
cube-reshape | Reshape | behind a Convolution with channels, height and width of 6 | data 1x5x6x6
  a = Convolution(data) num_output: 6 kernel_size: 1
  y = Reshape(a) shape { dim: 1 dim: 3 dim: 72 dim: 1 }
cube-reshape-relu | Reshape | behind Convolution and ReLU with channels, height and width of 6 | data 1x5x6x6
  a = Convolution(data) num_output: 6 kernel_size: 1
  b = ReLU(a)
  y = Reshape(b) shape { dim: 0 dim: 36 dim: 6 }
cube-reshape-power | Reshape | behind Convolution and Power with channels, height and width of 6 | data 1x5x6x6
  a = Convolution(data) num_output: 6 kernel_size: 1
  p = Power(a)
  y = Reshape(p) shape { dim: 1 dim: 3 dim: 72 dim: 1 }
cube-reshape-input | Reshape | behind a ReLU of the input, channels, height and width of 6 | data 1x6x6x6
  a = ReLU(data)
  y = Reshape(a) shape { dim: 1 dim: 3 dim: 72 dim: 1 }
cube-reshape-scale | Reshape | behind a Scale of the input, channels, height and width of 6 | data 1x6x6x6
  a = Scale(data)
  y = Reshape(a) shape { dim: 1 dim: 3 dim: 72 dim: 1 }
cube-reshape-interp | Reshape | behind an Interp to channels, height and width of 6 | data 1x6x3x3
  a = Interp(data) height: 6 width: 6
  y = Reshape(a) shape { dim: 1 dim: 3 dim: 72 dim: 1 }
cube-flatten | Flatten | behind a Convolution with channels, height and width of 6 | data 1x5x6x6
  a = Convolution(data) num_output: 6 kernel_size: 1
  y = Flatten(a)
cube-reshape-pooling | Reshape | channels, height and width of 6, the channels stay, before Pooling | data 1x5x6x6
  a = Convolution(data) num_output: 6 kernel_size: 1
  r = Reshape(a) shape { dim: 1 dim: 6 dim: 9 dim: 4 }
  y = Pooling(r) pool: MAX kernel_size: 2
near-cube-reshape | Reshape | behind a Convolution with 5 channels, height and width of 6 | data 1x5x6x6
  a = Convolution(data) num_output: 5 kernel_size: 1
  y = Reshape(a) shape { dim: 1 dim: 10 dim: 18 dim: 1 }
permute-softmax-conv | Softmax | Permute, Softmax, 1x1 Convolution (expectation of a distribution) | data 1x4x8x6
  t = Permute(data) order: 0 order: 2 order: 1 order: 3
  s = Softmax(t)
  y = Convolution(s) num_output: 1 kernel_size: 1
permute-reshape-softmax-conv | Softmax | Permute, Reshape to the same shape, Softmax, Convolution | data 1x4x8x6
  t = Permute(data) order: 0 order: 2 order: 1 order: 3
  r = Reshape(t) shape { dim: 1 dim: 8 dim: 4 dim: 6 }
  s = Softmax(r)
  y = Convolution(s) num_output: 1 kernel_size: 1
permute-relu-conv | ReLU | Permute 0 2 1 3, ReLU, Convolution | data 1x4x8x6
  t = Permute(data) order: 0 order: 2 order: 1 order: 3
  s = ReLU(t)
  y = Convolution(s) num_output: 1 kernel_size: 1
permute-last-relu-conv | ReLU | Permute 0 3 1 2, ReLU, Convolution | data 1x4x8x6
  t = Permute(data) order: 0 order: 3 order: 1 order: 2
  s = ReLU(t)
  y = Convolution(s) num_output: 1 kernel_size: 1
permute-softmax-power-conv | Softmax | Permute, Softmax, Power, Convolution | data 1x4x8x6
  t = Permute(data) order: 0 order: 2 order: 1 order: 3
  s = Softmax(t)
  p = Power(s) scale: 2
  y = Convolution(p) num_output: 1 kernel_size: 1
permute-prelu | PReLU | Permute 0 2 1 3, PReLU | data 1x4x8x6
  t = Permute(data) order: 0 order: 2 order: 1 order: 3
  y = PReLU(t)
argmax-power | ArgMax | axis 1, then Power | data 1x4x3x2
  m = ArgMax(data) axis: 1
  y = Power(m) scale: 2
argmax-reshape-power | ArgMax | axis 1, then Reshape, Power | data 1x4x3x2
  m = ArgMax(data) axis: 1
  r = Reshape(m) shape { dim: 0 dim: -1 }
  y = Power(r) scale: 2
argmax-value-power | ArgMax | axis 1, out_max_val, then Power | data 1x4x3x2
  m = ArgMax(data) axis: 1 out_max_val: true
  y = Power(m) scale: 2
argmax-reshape | ArgMax | axis 1, then Reshape | data 1x4x3x2
  m = ArgMax(data) axis: 1
  y = Reshape(m) shape { dim: 0 dim: -1 }
argmax-eltwise | ArgMax | axis 1, then Eltwise with an input | data 1x4x3x2; b 1x1x3x2
  m = ArgMax(data) axis: 1
  y = Eltwise(b, m)
reshape-inner-product-3 | InnerProduct | axis 3, 64x12x1x1 by Reshape to 1x8x8x12 | data 64x12x1x1
  a = ReLU(data)
  r = Reshape(a) shape { dim: 1 dim: 8 dim: 8 dim: 12 }
  y = InnerProduct(r) num_output: 5 axis: 3
reshape-power-inner-product-3 | InnerProduct | axis 3, 64x12x1x1 by Reshape and Power to 1x8x8x12 | data 64x12x1x1
  a = ReLU(data)
  r = Reshape(a) shape { dim: 1 dim: 8 dim: 8 dim: 12 }
  p = Power(r) scale: 2
  y = InnerProduct(p) num_output: 5 axis: 3
reshape-inner-product-3-eltwise | InnerProduct | axis 3, 12x15x1x7 by Reshape to 1x12x15x7, then Eltwise | data 12x15x1x7; b 1x12x15x13
  a = ReLU(data)
  r = Reshape(a) shape { dim: 1 dim: 12 dim: 15 dim: 7 }
  p = InnerProduct(r) num_output: 13 axis: 3
  y = Eltwise(b, p)
reshape-inner-product-3-last | InnerProduct | axis 3, 12x15x1x7 by Reshape to 1x12x15x7, last layer | data 12x15x1x7
  a = ReLU(data)
  r = Reshape(a) shape { dim: 1 dim: 12 dim: 15 dim: 7 }
  y = InnerProduct(r) num_output: 13 axis: 3
reshape-inner-product-3-reshape | InnerProduct | axis 3, 1x64x1x12 by Reshape to 1x8x8x12, then Reshape | data 1x64x1x12
  a = ReLU(data)
  r = Reshape(a) shape { dim: 1 dim: 8 dim: 8 dim: 12 }
  p = InnerProduct(r) num_output: 5 axis: 3
  y = Reshape(p) shape { dim: 1 dim: 8 dim: 40 }
output-copied | Reshape | to the same shape as the output, bottom read on by a Convolution | data 1x3x6x6
  v = Convolution(data) num_output: 4 kernel_size: 3 pad: 1
  w = Convolution(v) num_output: 4 kernel_size: 3
  o = Reshape(v) shape { dim: 1 dim: 4 dim: 6 dim: 6 }
"""
NORM = """
  m = Pooling(i) pool: AVE global_pooling: true
  f = Deconvolution(m) num_output: 16 kernel_h: 24 kernel_w: 1 stride_h: 24 stride_w: 1 group: 16
  c = Eltwise(i, f)
  s = Eltwise(c, c) operation: PROD
  v = Pooling(s) pool: AVE global_pooling: true
  p = Power(v) power: -0.5 shift: 1
  g = Deconvolution(p) num_output: 16 kernel_h: 24 kernel_w: 1 stride_h: 24 stride_w: 1 group: 16
  u = Eltwise(c, g) operation: PROD"""
TOKENS = f"""
tokens-norm-conv | Reshape | of 16 tokens, normalised, to 16x24x1x1, then Convolution | data 1x16x24
  i = Reshape(data) shape {{ dim: 1 dim: 16 dim: 24 dim: 1 }}{NORM}
  r = Reshape(u) shape {{ dim: 16 dim: 24 dim: 1 dim: 1 }}
  y = Convolution(r) num_output: 7 kernel_size: 1
tokens-norm-back-conv | Reshape | of 16 tokens, normalised and scaled, to 16x24x1x1, then Convolution | data 1x16x24
  i = Reshape(data) shape {{ dim: 1 dim: 16 dim: 24 dim: 1 }}{NORM}
  b = Reshape(u) shape {{ dim: 1 dim: 16 dim: 24 }}
  q = Scale(b) axis: 2
  r = Reshape(q) shape {{ dim: 16 dim: 24 dim: 1 dim: 1 }}
  y = Convolution(r) num_output: 7 kernel_size: 1
tokens-norm-power-conv | Reshape | of 16 tokens, normalised, to 16x24x1x1, then Power, Convolution | data 1x16x24
  i = Reshape(data) shape {{ dim: 1 dim: 16 dim: 24 dim: 1 }}{NORM}
  r = Reshape(u) shape {{ dim: 16 dim: 24 dim: 1 dim: 1 }}
  q = Power(r)
  y = Convolution(q) num_output: 7 kernel_size: 1
tokens-norm-inner-product | InnerProduct | of 16 tokens, normalised | data 1x16x24
  i = Reshape(data) shape {{ dim: 1 dim: 16 dim: 24 dim: 1 }}{NORM}
  r = Reshape(u) shape {{ dim: 16 dim: 24 }}
  y = InnerProduct(r) num_output: 7
"""


def forms() -> Iterator[Form]:
    """Yield the forms of this module."""
    yield from nets("layout", NETS)
    yield from nets("layout", TOKENS)
