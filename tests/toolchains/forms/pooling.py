"""Pooling and SPP."""

from __future__ import annotations

from collections.abc import Iterator

from forms.building import Form, nets, singles

POOLING = """
+max-k2-s2       1x4x6x8    pool: MAX kernel_size: 2 stride: 2
max-default      1x4x6x8    kernel_size: 2
max-k3-s1        1x4x6x8    pool: MAX kernel_size: 3 stride: 1
max-k3-s1-pad1   1x4x6x8    pool: MAX kernel_size: 3 stride: 1 pad: 1
max-k5-s1-pad2   1x4x7x9    pool: MAX kernel_size: 5 stride: 1 pad: 2
+max-cut-window  1x4x6x8    pool: MAX kernel_size: 3 stride: 2
max-cut-k2       1x4x7x9    pool: MAX kernel_size: 2 stride: 2
max-cut-padded   1x4x6x8    pool: MAX kernel_size: 3 stride: 2 pad: 1
max-fits-padded  1x4x7x9    pool: MAX kernel_size: 3 stride: 2 pad: 1
max-last-window-in-pad 1x4x5x5 pool: MAX kernel_size: 2 stride: 2 pad: 1
max-floor        1x4x6x8    pool: MAX kernel_size: 3 stride: 2 round_mode: FLOOR
max-ceil-written 1x4x6x8    pool: MAX kernel_size: 3 stride: 2 round_mode: CEIL
max-floor-fits   1x4x7x9    pool: MAX kernel_size: 3 stride: 2 round_mode: FLOOR
max-s3           1x4x7x10   pool: MAX kernel_size: 2 stride: 3
max-k1-s2        1x4x7x9    pool: MAX kernel_size: 1 stride: 2
max-hw           1x4x7x9    pool: MAX kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1
max-kernel-hw    1x4x6x9    pool: MAX kernel_h: 2 kernel_w: 3
max-1xW          1x4x6x8    pool: MAX kernel_h: 1 kernel_w: 8
max-pad-hw       1x4x6x8    pool: MAX kernel_size: 3 pad_h: 1 pad_w: 0
max-global       1x4x6x8    pool: MAX global_pooling: true
max-batch-2      2x4x6x8    pool: MAX kernel_size: 2 stride: 2
max-one-channel  1x1x6x8    pool: MAX kernel_size: 2 stride: 2
max-equal-sizes  1x6x6x6    pool: MAX kernel_size: 2 stride: 2
max-positive     1x4x6x8:positive pool: MAX kernel_size: 2 stride: 2
max-positive-cut 1x4x6x8:positive pool: MAX kernel_size: 3 stride: 2
+ave-k2-s2       1x4x6x8    pool: AVE kernel_size: 2 stride: 2
ave-k3-s1        1x4x6x8    pool: AVE kernel_size: 3 stride: 1
+ave-k3-s1-pad1  1x4x6x8    pool: AVE kernel_size: 3 stride: 1 pad: 1
ave-k5-s1-pad2   1x4x7x9    pool: AVE kernel_size: 5 stride: 1 pad: 2
ave-k5-on-4      1x4x4x4    pool: AVE kernel_size: 5 stride: 1 pad: 2
+ave-cut-window  1x4x6x8    pool: AVE kernel_size: 3 stride: 2
ave-cut-k2       1x4x7x9    pool: AVE kernel_size: 2 stride: 2
ave-cut-padded   1x4x6x6    pool: AVE kernel_size: 3 stride: 2 pad: 1
ave-fits-padded  1x4x7x9    pool: AVE kernel_size: 3 stride: 2 pad: 1
ave-floor        1x4x6x8    pool: AVE kernel_size: 3 stride: 2 round_mode: FLOOR
ave-hw           1x4x7x9    pool: AVE kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1
ave-adaptive     1x4x6x9    pool: AVE kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 3
ave-pad-hw       1x4x6x8    pool: AVE kernel_size: 3 pad_h: 1 pad_w: 0
ave-s3           1x4x7x10   pool: AVE kernel_size: 2 stride: 3
+ave-global      1x4x6x8    pool: AVE global_pooling: true
ave-global-square 1x4x6x6   pool: AVE global_pooling: true
ave-global-stride-1 1x4x6x8 pool: AVE global_pooling: true stride: 1
ave-whole-map    1x4x6x8    pool: AVE kernel_h: 6 kernel_w: 8
ave-whole-square 1x4x6x6    pool: AVE kernel_size: 6
ave-whole-square-padded 1x4x6x6 pool: AVE kernel_size: 6 pad: 1
ave-batch-2      2x4x6x8    pool: AVE kernel_size: 2 stride: 2
ave-global-batch-2 2x4x6x8  pool: AVE global_pooling: true
ave-one-channel  1x1x6x8    pool: AVE kernel_size: 2 stride: 2
ave-on-1x1       1x4x1x1    pool: AVE global_pooling: true
engine-caffe     1x4x6x8    pool: MAX kernel_size: 2 stride: 2 engine: CAFFE
"""

NETS = """
max-mask | Pooling | MAX with the mask of positions as second top | data 1x4x6x8
  y mask = Pooling(data) pool: MAX kernel_size: 2 stride: 2
global-then-inner-product | Pooling | global AVE, then InnerProduct | data 1x4x6x8
  g = Pooling(data) pool: AVE global_pooling: true
  y = InnerProduct(g) num_output: 5
max-then-max | Pooling | MAX, then MAX with a cut window | data 1x4x13x17
  a = Pooling(data) pool: MAX kernel_size: 3 stride: 2
  y = Pooling(a) pool: MAX kernel_size: 3 stride: 2
relu-then-ave | Pooling | ReLU in place, then AVE of a cut window | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 1
  a = ReLU(a)
  y = Pooling(a) pool: AVE kernel_size: 3 stride: 2
sppf-4x4 | Pooling | convolution, ReLU, MAX 5 twice, Concat, convolution (SPPF) on 4x4 | data 1x4x4x4
  a = Convolution(data) num_output: 4 kernel_size: 1
  a = ReLU(a)
  p = Pooling(a) pool: MAX kernel_size: 5 stride: 1 pad: 2
  q = Pooling(p) pool: MAX kernel_size: 5 stride: 1 pad: 2
  k = Concat(a, p, q)
  y = Convolution(k) num_output: 4 kernel_size: 1
relu-max-k5-on-5 | Pooling | ReLU, MAX kernel 5, stride 1, pad 2 on 5x5 | data 1x4x5x5
  a = ReLU(data)
  y = Pooling(a) pool: MAX kernel_size: 5 stride: 1 pad: 2
relu-max-k5-on-4 | Pooling | ReLU, MAX kernel 5, stride 1, pad 2 on 4x4 | data 1x4x4x4
  a = ReLU(data)
  y = Pooling(a) pool: MAX kernel_size: 5 stride: 1 pad: 2
relu-max-k5-on-3 | Pooling | ReLU, MAX kernel 5, stride 1, pad 2 on 3x3 | data 1x4x3x3
  a = ReLU(data)
  y = Pooling(a) pool: MAX kernel_size: 5 stride: 1 pad: 2
relu-max-k5-width-4 | Pooling | ReLU, MAX kernel 5, stride 1, pad 2 on 7x4 | data 1x4x7x4
  a = ReLU(data)
  y = Pooling(a) pool: MAX kernel_size: 5 stride: 1 pad: 2
relu-max-k5-s2-on-4 | Pooling | ReLU, MAX kernel 5, stride 2, pad 2 on 4x4 | data 1x4x4x4
  a = ReLU(data)
  y = Pooling(a) pool: MAX kernel_size: 5 stride: 2 pad: 2
relu-max-k9-on-8 | Pooling | ReLU, MAX kernel 9, stride 1, pad 4 on 8x8 | data 1x4x8x8
  a = ReLU(data)
  y = Pooling(a) pool: MAX kernel_size: 9 stride: 1 pad: 4
relu-max-k4-s2-on-3 | Pooling | ReLU, MAX kernel 4, stride 2, pad 1 on 3x3 | data 1x4x3x3
  a = ReLU(data)
  y = Pooling(a) pool: MAX kernel_size: 4 stride: 2 pad: 1
relu-max-k6-s3-on-3 | Pooling | ReLU, MAX kernel 6, stride 3, pad 3 on 3x3 | data 1x4x3x3
  a = ReLU(data)
  y = Pooling(a) pool: MAX kernel_size: 6 stride: 3 pad: 3
max-k3-twice-on-4 | Pooling | ReLU, MAX kernel 3, stride 1, pad 1 twice on 4x4 | data 1x4x4x4
  a = ReLU(data)
  b = Pooling(a) pool: MAX kernel_size: 3 stride: 1 pad: 1
  y = Pooling(b) pool: MAX kernel_size: 3 stride: 1 pad: 1
max-k3-twice-on-6 | Pooling | ReLU, MAX kernel 3, stride 1, pad 1 twice on 6x6 | data 1x4x6x6
  a = ReLU(data)
  b = Pooling(a) pool: MAX kernel_size: 3 stride: 1 pad: 1
  y = Pooling(b) pool: MAX kernel_size: 3 stride: 1 pad: 1
max-k3-relu-k3-on-4 | Pooling | ReLU, MAX kernel 3, ReLU, MAX kernel 3, pad 1 on 4x4 | data 1x4x4x4
  a = ReLU(data)
  b = Pooling(a) pool: MAX kernel_size: 3 stride: 1 pad: 1
  c = ReLU(b)
  y = Pooling(c) pool: MAX kernel_size: 3 stride: 1 pad: 1
"""

SPP = """
max-height-2     1x3x6x8    pool: MAX pyramid_height: 2
ave-height-2     1x3x8x8    pool: AVE pyramid_height: 2
max-height-3     1x3x12x12  pool: MAX pyramid_height: 3
"""


def forms() -> Iterator[Form]:
    """Yield the forms of this module."""
    yield from singles("pooling", "Pooling", POOLING)
    yield from nets("pooling", NETS)
    yield from singles("spp", "SPP", SPP)
