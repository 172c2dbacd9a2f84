"""Flatten, Reshape, Permute, and resizing layers."""

from __future__ import annotations

from collections.abc import Iterator

from forms.building import Form, nets, singles

FLATTEN = """
plain            1x4x3x2
axis-2           1x4x3x2    axis: 2
axis-3           1x4x3x2    axis: 3
axis-0           2x4x3x2    axis: 0
end-axis-2       1x4x3x2    end_axis: 2
axis-2-end-3     1x4x3x2    axis: 2 end_axis: 3
axis-negative-2  1x4x3x2    axis: -2
batch-2          2x4x3x2
rank-2           3x7
rank-3           2x5x7
on-1x1           1x7x1x1
"""
RESHAPE = """
rank-2           1x4x3x2    shape { dim: 1 dim: 24 }
copy-and-rest    1x4x3x2    shape { dim: 0 dim: -1 }
copy-two         1x4x3x2    shape { dim: 0 dim: 0 dim: -1 }
rank-3           1x4x3x2    shape { dim: 1 dim: 4 dim: 6 }
rank-4           1x4x6x8    shape { dim: 1 dim: 8 dim: 4 dim: 6 }
rank-4-rest      1x4x6x8    shape { dim: 0 dim: 2 dim: -1 dim: 8 }
rank-4-rest-last 1x4x6x8    shape { dim: 0 dim: -1 dim: 1 dim: 1 }
rank-5           1x4x6x8    shape { dim: 1 dim: 2 dim: 2 dim: 6 dim: 8 }
rank-6           1x4x6x8    shape { dim: 1 dim: 2 dim: 2 dim: 1 dim: 6 dim: 8 }
batch-changed    1x4x6x8    shape { dim: 4 dim: 6 dim: 8 dim: 1 }
batch-2          2x4x3x2    shape { dim: 2 dim: 24 }
batch-to-1       2x4x3x2    shape { dim: 1 dim: 8 dim: 3 dim: 2 }
from-rank-2      1x24       shape { dim: 1 dim: 4 dim: 3 dim: 2 }
from-rank-2-copy 2x24       shape { dim: 0 dim: 4 dim: 3 dim: 2 }
axis-1-axes-1    1x4x3x2    shape { dim: 2 dim: 2 } axis: 1 num_axes: 1
axis-1           1x4x3x2    shape { dim: 6 dim: 4 } axis: 1
axis-2           1x4x3x2    shape { dim: -1 } axis: 2
axis-negative-2  1x4x3x6    shape { dim: 2 dim: 3 } axis: -2
axes-0           1x4x3x2    shape { dim: 1 } axis: 1 num_axes: 0
same             1x4x6x8    shape { dim: 0 dim: 0 dim: 0 dim: 0 }
squeeze          1x7x1x1    shape { dim: 1 dim: 7 }
"""
PERMUTE = """
+channels-last   1x4x6x8    order: 0 order: 2 order: 3 order: 1
channels-first   1x4x6x8    order: 0 order: 3 order: 1 order: 2
swap-hw          1x4x6x8    order: 0 order: 1 order: 3 order: 2
swap-ch          1x4x6x8    order: 0 order: 2 order: 1 order: 3
reversed-chw     1x4x6x8    order: 0 order: 3 order: 2 order: 1
batch-moved      2x4x6x8    order: 1 order: 0 order: 2 order: 3
identity         1x4x6x8    order: 0 order: 1 order: 2 order: 3
part             1x4x6x8    order: 0 order: 2
rank-3           2x5x7      order: 0 order: 2 order: 1
rank-2           3x7        order: 1 order: 0
batch-2          2x4x6x8    order: 0 order: 2 order: 3 order: 1
rank-5           1x2x3x4x5  order: 0 order: 2 order: 1 order: 3 order: 4
"""
INTERP = """
+height-width    1x3x5x6    height: 9 width: 11
height-width-down 1x3x9x11  height: 5 width: 6
one-pixel        1x3x5x6    height: 1 width: 1
zoom-2           1x3x5x6    zoom_factor: 2
zoom-3           1x3x5x6    zoom_factor: 3
shrink-2         1x3x5x7    shrink_factor: 2
zoom-and-shrink  1x3x5x7    zoom_factor: 3 shrink_factor: 2
same             1x3x5x6    height: 5 width: 6
pad-end          1x3x7x9    height: 5 width: 6 pad_beg: 0 pad_end: -1
pad-beg          1x3x7x9    height: 5 width: 6 pad_beg: -1 pad_end: 0
batch-2          2x3x5x6    height: 9 width: 11
from-1x1         1x3x1x1    height: 5 width: 6
"""
UPSAMPLE = """
+scale-2         1x3x4x5    scale: 2
scale-3          1x3x4x5    scale: 3
scale-h-w        1x3x4x5    scale_h: 2 scale_w: 4
size             1x3x4x5    upsample_h: 8 upsample_w: 10
batch-2          2x3x4x5    scale: 2
one-channel      1x1x4x5    scale: 2
"""
BILINEAR = """
scale            1x3x4x5    scale_factor: 2
aligned          1x3x4x5    scale_factor: 2 align_corners: true
"""
SHUFFLE = """
+six-by-3        1x6x3x4    group: 3
six-by-2         1x6x3x4    group: 2
+eight-by-2      1x8x3x4    group: 2
eight-by-4       1x8x3x4    group: 4
by-1             1x6x3x4    group: 1
batch-2          2x6x3x4    group: 3
"""
PIXEL_SHUFFLE = """
+factor-2        1x8x3x4    upscale_factor: 2
factor-3         1x9x3x4    upscale_factor: 3
"""
REORG = """
+stride-2        1x4x4x6    stride: 2
"""
PADDING = """
all              1x3x4x5    pad_l: 1 pad_r: 2 pad_t: 3 pad_b: 0
left-only        1x3x4x5    pad_l: 1
"""
REVERSE = """
axis-0           3x4x2x5    axis: 0
axis-1           1x4x3x5    axis: 1
axis-2           1x4x3x5    axis: 2
"""
MATMUL = """
plain            1x1x2x3,1x1x3x4 dim_1: 2 dim_2: 3 dim_3: 4
"""
NETS = """
flatten-then-inner-product-relu | Flatten | convolution, Flatten, InnerProduct, ReLU | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 3
  f = Flatten(a)
  y = InnerProduct(f) num_output: 5
  y = ReLU(y)
reshape-between-convolutions | Reshape | between convolutions | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 1
  r = Reshape(a) shape { dim: 1 dim: 8 dim: 4 dim: 6 }
  y = Convolution(r) num_output: 5 kernel_size: 1
reshape-batch-between | Reshape | channels to the batch, between convolutions | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 1
  r = Reshape(a) shape { dim: 4 dim: 6 dim: 8 dim: 1 }
  c = Convolution(r) num_output: 6 kernel_size: 1
  y = Reshape(c) shape { dim: 1 dim: 24 dim: 8 dim: 1 }
reshape-twice | Reshape | two in a row | data 1x4x6x8
  a = Reshape(data) shape { dim: 1 dim: 24 dim: 8 }
  y = Reshape(a) shape { dim: 0 dim: 3 dim: 8 dim: 8 }
shuffle-four-axes | Permute | channel shuffle by Reshape, Permute, Reshape in 4 axes | data 1x8x3x4
  r = Reshape(data) shape { dim: 0 dim: 2 dim: 4 dim: -1 }
  p = Permute(r) order: 0 order: 2 order: 1 order: 3
  y = Reshape(p) shape { dim: 0 dim: 8 dim: 3 dim: 4 }
shuffle-five-axes | Permute | channel shuffle by Reshape, Permute, Reshape in 5 axes | data 1x8x3x4
  r = Reshape(data) shape { dim: 0 dim: 2 dim: 4 dim: 3 dim: 4 }
  p = Permute(r) order: 0 order: 2 order: 1 order: 3 order: 4
  y = Reshape(p) shape { dim: 0 dim: 8 dim: 3 dim: 4 }
pixel-shuffle-six-axes | Permute | pixel shuffle by Reshape, Permute, Reshape in 6 axes | data 1x8x3x4
  r = Reshape(data) shape { dim: 0 dim: 2 dim: 2 dim: 2 dim: 3 dim: 4 }
  p = Permute(r) order: 0 order: 1 order: 4 order: 2 order: 5 order: 3
  y = Reshape(p) shape { dim: 0 dim: 2 dim: 6 dim: 8 }
shuffle-by-concat | Concat | channel shuffle by Slice, Reshape, Concat, Reshape | data 1x8x3x4
  a b = Slice(data) axis: 1 slice_point: 4
  c = Reshape(a) shape { dim: 0 dim: 4 dim: 1 dim: 12 }
  d = Reshape(b) shape { dim: 0 dim: 4 dim: 1 dim: 12 }
  e = Concat(c, d) axis: 2
  y = Reshape(e) shape { dim: 0 dim: 8 dim: 3 dim: 4 }
mean-permute | Permute | global AVE, Reshape, Permute | data 1x24x6x5
  m = Pooling(data) pool: AVE global_pooling: true
  r = Reshape(m) shape { dim: 0 dim: 2 dim: 3 dim: 4 }
  y = Permute(r) order: 0 order: 2 order: 1 order: 3
mean-scale-permute | Permute | global AVE, Scale with bias, Reshape, Permute, Reshape | data 1x24x6x5
  m = Pooling(data) pool: AVE global_pooling: true
  s = Scale(m) bias_term: true
  r = Reshape(s) shape { dim: 0 dim: 2 dim: 3 dim: 4 }
  p = Permute(r) order: 0 order: 2 order: 1 order: 3
  y = Reshape(p) shape { dim: 0 dim: 6 dim: 4 }
mean-relu-permute | Permute | global AVE, ReLU, Reshape, Permute | data 1x24x6x5
  p = Pooling(data) pool: AVE global_pooling: true
  m = ReLU(p)
  r = Reshape(m) shape { dim: 0 dim: 2 dim: 3 dim: 4 }
  y = Permute(r) order: 0 order: 2 order: 1 order: 3
mean-conv-permute | Permute | global AVE, 1x1 convolution, Reshape, Permute | data 1x24x6x5
  p = Pooling(data) pool: AVE global_pooling: true
  m = Convolution(p) num_output: 24 kernel_size: 1
  r = Reshape(m) shape { dim: 0 dim: 2 dim: 3 dim: 4 }
  y = Permute(r) order: 0 order: 2 order: 1 order: 3
mean-groups-permute | Permute | global AVE, depthwise convolution, Reshape, Permute | data 1x24x6x5
  p = Pooling(data) pool: AVE global_pooling: true
  m = Convolution(p) num_output: 24 kernel_size: 1 group: 24
  r = Reshape(m) shape { dim: 0 dim: 2 dim: 3 dim: 4 }
  y = Permute(r) order: 0 order: 2 order: 1 order: 3
mean-permute-relu | Permute | global AVE, Reshape, Permute, ReLU | data 1x24x6x5
  m = Pooling(data) pool: AVE global_pooling: true
  r = Reshape(m) shape { dim: 0 dim: 2 dim: 3 dim: 4 }
  p = Permute(r) order: 0 order: 2 order: 1 order: 3
  y = ReLU(p)
mean-permute-conv | Permute | global AVE, Reshape, Permute, convolution | data 1x24x6x5
  m = Pooling(data) pool: AVE global_pooling: true
  r = Reshape(m) shape { dim: 0 dim: 2 dim: 3 dim: 4 }
  p = Permute(r) order: 0 order: 2 order: 1 order: 3
  y = Convolution(p) num_output: 5 kernel_size: 1
mean-permute-twice-read | Permute | global AVE read twice, by Reshape and Sigmoid, Permute | data 1x24x6x5
  m = Pooling(data) pool: AVE global_pooling: true
  r = Reshape(m) shape { dim: 0 dim: 2 dim: 3 dim: 4 }
  y = Permute(r) order: 0 order: 2 order: 1 order: 3
  z = Sigmoid(m)
mean-permute-ones | Permute | global AVE, Reshape, Permute of axes of length 1 | data 1x24x6x5
  m = Pooling(data) pool: AVE global_pooling: true
  r = Reshape(m) shape { dim: 0 dim: 6 dim: 1 dim: 4 }
  y = Permute(r) order: 0 order: 2 order: 1 order: 3
mean-permute-reduction | Permute | Reduction MEAN of axis 2, Reshape, Permute | data 1x24x6x5
  m = Reduction(data) operation: MEAN axis: 2
  r = Reshape(m) shape { dim: 0 dim: 2 dim: 3 dim: 4 }
  y = Permute(r) order: 0 order: 2 order: 1 order: 3
mean-permute-batch-2 | Permute | global AVE, Reshape, Permute on a batch of 2 | data 2x24x6x5
  m = Pooling(data) pool: AVE global_pooling: true
  r = Reshape(m) shape { dim: 0 dim: 2 dim: 3 dim: 4 }
  y = Permute(r) order: 0 order: 2 order: 1 order: 3
mean-permute-batch-2-split | Permute | global AVE, Reshape of the batch, Permute on a batch of 2 | data 2x24x6x5
  m = Pooling(data) pool: AVE global_pooling: true
  r = Reshape(m) shape { dim: 1 dim: 2 dim: 6 dim: 4 }
  y = Permute(r) order: 0 order: 2 order: 1 order: 3
max-permute | Permute | global MAX, Reshape, Permute | data 1x24x6x5
  m = Pooling(data) pool: MAX global_pooling: true
  r = Reshape(m) shape { dim: 0 dim: 2 dim: 3 dim: 4 }
  y = Permute(r) order: 0 order: 2 order: 1 order: 3
permute-twice | Permute | to channels last, ReLU, back | data 1x4x6x8
  a = Permute(data) order: 0 order: 2 order: 3 order: 1
  b = ReLU(a)
  y = Permute(b) order: 0 order: 3 order: 1 order: 2
permute-flatten | Permute | convolution, Permute, Flatten (an SSD head) | data 1x4x6x8
  a = Convolution(data) num_output: 6 kernel_size: 3 pad: 1
  p = Permute(a) order: 0 order: 2 order: 3 order: 1
  y = Flatten(p) axis: 1
ssd-confidence | Permute | convolution, Permute, Flatten, Reshape, Softmax, Flatten (SSD) | data 1x4x3x5
  a = Convolution(data) num_output: 6 kernel_size: 3 pad: 1
  p = Permute(a) order: 0 order: 2 order: 3 order: 1
  f = Flatten(p) axis: 1
  r = Reshape(f) shape { dim: 0 dim: -1 dim: 3 }
  s = Softmax(r) axis: 2
  y = Flatten(s) axis: 1
ssd-two-heads | Concat | two heads, permuted and flattened, Concat axis 1 | data 1x4x6x8
  a = Convolution(data) num_output: 6 kernel_size: 3 pad: 1
  p = Permute(a) order: 0 order: 2 order: 3 order: 1
  f = Flatten(p) axis: 1
  b = Convolution(data) num_output: 6 kernel_size: 3 pad: 1 stride: 2
  q = Permute(b) order: 0 order: 2 order: 3 order: 1
  g = Flatten(q) axis: 1
  y = Concat(f, g) axis: 1
crnn-rows | Permute | convolution, Permute to W, N, C, InnerProduct axis 2 (CRNN) | data 1x4x1x8
  a = Convolution(data) num_output: 6 kernel_size: 1
  p = Permute(a) order: 3 order: 0 order: 1 order: 2
  y = InnerProduct(p) num_output: 5 axis: 2
upsample-two-bottoms | Upsample | max-unpooling with the mask of a Pooling | data 1x3x4x6
  p mask = Pooling(data) pool: MAX kernel_size: 2 stride: 2
  y = Upsample(p, mask) scale: 2
upsample-concat | Upsample | then Concat with a larger blob | data 1x3x4x6
  p = Pooling(data) pool: MAX kernel_size: 2 stride: 2
  u = Upsample(p) scale: 2
  y = Concat(u, data)
interp-after-pooling | Interp | after global AVE, between convolutions (PSPNet) | data 1x4x6x8
  g = Pooling(data) pool: AVE kernel_size: 3 stride: 3
  c = Convolution(g) num_output: 3 kernel_size: 1
  i = Interp(c) height: 6 width: 8
  y = Concat(data, i)
"""


def forms() -> Iterator[Form]:
    """Yield the forms of this module."""
    for family, kind, table in (
        ("flatten", "Flatten", FLATTEN), ("reshape", "Reshape", RESHAPE),
        ("permute", "Permute", PERMUTE), ("interp", "Interp", INTERP),
        ("upsample", "Upsample", UPSAMPLE), ("bilinear-interpolate", "BilinearInterpolate", BILINEAR),
        ("shuffle-channel", "ShuffleChannel", SHUFFLE),
        ("pixel-shuffle", "PixelShuffle", PIXEL_SHUFFLE), ("reorg", "Reorg", REORG),
        ("padding", "Padding", PADDING), ("reverse", "Reverse", REVERSE),
        ("mat-mul", "MatMul", MATMUL),
    ):  # fmt: skip
        yield from singles(family, kind, table)
    yield from nets("shaping", NETS)
