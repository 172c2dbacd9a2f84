"""Eltwise, Concat, Slice, Split, Tile, Crop, Axpy, and layers that select rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from forms.building import Form, nets, singles

ELTWISE = """
+sum             1x4x6x8,1x4x6x8
sum-written      1x4x6x8,1x4x6x8 operation: SUM
+prod            1x4x6x8,1x4x6x8 operation: PROD
+max             1x4x6x8,1x4x6x8 operation: MAX
sum-three        1x4x6x8,1x4x6x8,1x4x6x8
prod-three       1x4x6x8,1x4x6x8,1x4x6x8 operation: PROD
max-three        1x4x6x8,1x4x6x8,1x4x6x8 operation: MAX
+coeff           1x4x6x8,1x4x6x8 operation: SUM coeff: 0.5 coeff: 2
coeff-ones       1x4x6x8,1x4x6x8 operation: SUM coeff: 1 coeff: 1
coeff-minus      1x4x6x8,1x4x6x8 operation: SUM coeff: 1 coeff: -1
coeff-minus-first 1x4x6x8,1x4x6x8 operation: SUM coeff: -1 coeff: 1
coeff-both-minus 1x4x6x8,1x4x6x8 operation: SUM coeff: -1 coeff: -1
coeff-one-2      1x4x6x8,1x4x6x8 operation: SUM coeff: 1 coeff: 2
coeff-three      1x4x6x8,1x4x6x8,1x4x6x8 coeff: 1 coeff: 1 coeff: -1
stable-prod      1x4x6x8,1x4x6x8 operation: PROD stable_prod_grad: false
rank-2           3x7,3x7
rank-2-prod      3x7,3x7    operation: PROD
rank-3           2x5x7,2x5x7 operation: MAX
batch-2          2x4x6x8,2x4x6x8
"""
CONCAT = """
+plain           1x4x6x8,1x3x6x8
axis-1           1x4x6x8,1x3x6x8 axis: 1
axis-2           1x4x6x8,1x4x5x8 axis: 2
axis-3           1x4x6x8,1x4x6x5 axis: 3
axis-negative-1  1x4x6x8,1x4x6x5 axis: -1
axis-negative-3  1x4x6x8,1x3x6x8 axis: -3
axis-0           2x4x3x5,1x4x3x5 axis: 0
concat-dim-1     1x4x6x8,1x3x6x8 concat_dim: 1
concat-dim-2     1x4x6x8,1x4x5x8 concat_dim: 2
three            1x4x6x8,1x3x6x8,1x1x6x8
one              1x4x6x8
rank-2           3x7,3x5
rank-2-axis-0    3x7,2x7    axis: 0
rank-3-axis-2    2x5x7,2x5x3 axis: 2
batch-2          2x4x6x8,2x3x6x8
equal            1x5x5x5,1x5x5x5 axis: 2
"""
CROP = """
no-parameter     1x4x7x9,1x4x5x6
axis-2-no-offset 1x4x7x9,1x4x5x6 axis: 2
one-offset       1x4x7x9,1x4x5x6 axis: 2 offset: 1
+two-offsets     1x4x7x9,1x4x5x6 axis: 2 offset: 2 offset: 1
axis-3           1x4x7x9,1x4x7x6 axis: 3 offset: 2
axis-1           1x4x7x9,1x3x5x6 axis: 1 offset: 1 offset: 2 offset: 3
axis-negative-2  1x4x7x9,1x4x5x6 axis: -2 offset: 1
channels-differ  1x4x7x9,1x2x5x6 axis: 2 offset: 1
batch-2          2x4x7x9,2x4x5x6 axis: 2 offset: 2 offset: 1
same-size        1x4x5x6,1x4x5x6 axis: 2 offset: 0
"""
TILE = """
+axis-1          1x4x3x5    axis: 1 tiles: 2
axis-2           1x4x3x5    axis: 2 tiles: 3
axis-3           1x4x3x5    axis: 3 tiles: 2
axis-0           1x4x3x5    axis: 0 tiles: 2
axis-negative-1  1x4x3x5    axis: -1 tiles: 2
default-axis     1x4x3x5    tiles: 2
once             1x4x3x5    axis: 1 tiles: 1
rank-2           3x7        axis: 1 tiles: 2
spread-1x1       1x4x1x1    axis: 2 tiles: 5
"""
AXPY = """
plain            1x4x1x1,1x4x6x8,1x4x6x8
rank-2           1x4,1x4x6x8,1x4x6x8
batch-2          2x4x1x1,2x4x6x8,2x4x6x8
"""
REINDEX = """
plain            3x4x2x2,5:index3
"""
NETS = """
eltwise-same-twice | Eltwise | SUM of a blob with itself | data 1x4x6x8
  y = Eltwise(data, data)
eltwise-prod-same | Eltwise | PROD of a blob with itself | data 1x4x6x8
  y = Eltwise(data, data) operation: PROD
eltwise-same-three | Eltwise | SUM of blobs x, x, y | data 1x4x6x8
  s = Sigmoid(data)
  y = Eltwise(data, data, s)
eltwise-residual | Eltwise | residual block: SUM, then ReLU in place | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 3 pad: 1
  a = ReLU(a)
  b = Convolution(a) num_output: 4 kernel_size: 3 pad: 1
  y = Eltwise(data, b)
  y = ReLU(y)
eltwise-coeff-between | Eltwise | coeff 2, 1 of two convolutions | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 1
  b = Convolution(data) num_output: 3 kernel_size: 1
  e = Eltwise(a, b) coeff: 2 coeff: 1
  y = Convolution(e) num_output: 5 kernel_size: 1
eltwise-broadcast-gate | Eltwise | PROD with a 1x1 gate, which Caffe refuses | data 1x4x6x8
  g = Pooling(data) pool: AVE global_pooling: true
  s = Sigmoid(g)
  y = Eltwise(data, s) operation: PROD
eltwise-prod-of-sigmoid | Eltwise | PROD of x and Sigmoid(x) | data 1x4x6x8
  s = Sigmoid(data)
  y = Eltwise(data, s) operation: PROD
concat-then-relu | Concat | then ReLU in place | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 1
  b = Convolution(data) num_output: 2 kernel_size: 1
  y = Concat(a, b)
  y = ReLU(y)
concat-same-twice | Concat | of a blob with itself | data 1x4x6x8
  y = Concat(data, data)
concat-of-twelve | Concat | of twelve blobs | data 1x2x3x5
  a = Sigmoid(data)
  y = Concat(data, a, data, a, data, a, data, a, data, a, data, a)
concat-after-pooling | Concat | of a pooled and a convolved blob | data 1x4x6x8
  a = Pooling(data) pool: MAX kernel_size: 3 stride: 1 pad: 1
  b = Convolution(data) num_output: 2 kernel_size: 1
  y = Concat(a, b)
concat-flattened | Concat | of flattened blobs, axis 1 | data 1x4x6x8; b 1x2x3x5
  f = Flatten(data)
  g = Flatten(b)
  y = Concat(f, g) axis: 1
slice-two-no-points | Slice | two tops, no parameter | data 1x4x6x8
  y z = Slice(data)
slice-two-axis | Slice | two tops, axis 1, no slice_point | data 1x4x6x8
  y z = Slice(data) axis: 1
slice-one-point | Slice | axis 1, slice_point 1 | data 1x4x6x8
  y z = Slice(data) axis: 1 slice_point: 1
slice-three | Slice | axis 1, slice_point 2 5 | data 1x9x4x5
  x y z = Slice(data) axis: 1 slice_point: 2 slice_point: 5
slice-three-no-points | Slice | three tops, no slice_point | data 1x9x4x5
  x y z = Slice(data) axis: 1
slice-dim | Slice | slice_dim 1, slice_point 3 | data 1x4x6x8
  y z = Slice(data) slice_dim: 1 slice_point: 3
slice-axis-2 | Slice | axis 2, slice_point 2 | data 1x4x6x8
  y z = Slice(data) axis: 2 slice_point: 2
slice-axis-3 | Slice | axis 3, slice_point 5 | data 1x4x6x8
  y z = Slice(data) axis: 3 slice_point: 5
slice-axis-negative-1 | Slice | axis -1, slice_point 5 | data 1x4x6x8
  y z = Slice(data) axis: -1 slice_point: 5
slice-axis-0 | Slice | axis 0, slice_point 1 | data 3x4x2x5
  y z = Slice(data) axis: 0 slice_point: 1
slice-rank-2 | Slice | 2 axes, slice_point 3 | data 2x7
  y z = Slice(data) axis: 1 slice_point: 3
slice-one-top | Slice | one top | data 1x4x6x8
  y = Slice(data)
slice-then-concat | Slice | three tops, Concat in another order | data 1x9x4x5
  a b c = Slice(data) axis: 1 slice_point: 2 slice_point: 5
  y = Concat(c, a, b)
slice-then-prod | Slice | halves, PROD | data 1x6x4x5
  a b = Slice(data) axis: 1 slice_point: 3
  y = Eltwise(a, b) operation: PROD
slice-then-max | Slice | two tops, Eltwise MAX, after a convolution | data 1x4x6x8
  a = Convolution(data) num_output: 6 kernel_size: 1
  b c = Slice(a) axis: 1 slice_point: 3
  y = Eltwise(b, c) operation: MAX
slice-first-unused | Slice | first top not read, second through ReLU | data 1x4x6x8
  a b = Slice(data) axis: 1 slice_point: 1
  y = ReLU(b)
slice-last-unused | Slice | last top into Silence | data 1x4x6x8
  a b = Slice(data) axis: 1 slice_point: 1
  s: = Silence(b)
  y = ReLU(a)
split-two | Split | ReLU and Sigmoid of its tops | data 1x4x6x8
  a b = Split(data)
  y = ReLU(a)
  z = Sigmoid(b)
split-prod | Split | PROD of ReLU and Sigmoid of its tops, between convolutions | data 1x4x6x8
  c = Convolution(data) num_output: 4 kernel_size: 1
  a b = Split(c)
  r = ReLU(a)
  s = Sigmoid(b)
  e = Eltwise(r, s) operation: PROD
  y = Convolution(e) num_output: 3 kernel_size: 1
split-outputs | Split | its tops are the outputs | data 1x4x6x8
  y z = Split(data)
silence-unused | Silence | of a blob nobody needs | data 1x4x6x8
  y = ReLU(data)
  z = Sigmoid(data)
  s: = Silence(z)
filter-rows | Filter | rows chosen by the second bottom | data 5x4x2x3; b 5x1x1x1:chosen
  y = Filter(data, b)
dummy-data | DummyData | constant 2, added | data 1x4x6x8
  k = DummyData() shape { dim: 1 dim: 4 dim: 6 dim: 8 } data_filler { type: "constant" value: 2 }
  y = Eltwise(data, k)
dummy-data-default | DummyData | without filler (0), added | data 1x4x6x8
  k = DummyData() shape { dim: 1 dim: 4 dim: 6 dim: 8 }
  y = Eltwise(data, k)
dummy-data-legacy | DummyData | num, channels, height, width, added | data 1x4x6x8
  k = DummyData() num: 1 channels: 4 height: 6 width: 8 data_filler { type: "constant" value: 2 }
  y = Eltwise(data, k)
parameter-sum | Parameter | a learned blob, added | data 1x4x6x8
  k = Parameter() shape { dim: 1 dim: 4 dim: 6 dim: 8 }
  y = Eltwise(data, k)
crop-by-pooled | Crop | as a pooled blob of the same input, offset 1 2 | data 1x4x7x9
  p = Pooling(data) pool: MAX kernel_size: 3
  y = Crop(data, p) axis: 2 offset: 1 offset: 2
crop-after-deconvolution | Crop | Deconvolution, then Crop as the input (FCN) | data 1x4x6x8
  a = Convolution(data) num_output: 3 kernel_size: 2 stride: 2
  d = Deconvolution(a) num_output: 3 kernel_size: 4 stride: 2 bias_term: false
  y = Crop(d, data) axis: 2 offset: 1
tile-gate | Tile | global AVE, Tile along H and W, PROD | data 1x4x6x8
  g = Pooling(data) pool: AVE global_pooling: true
  h = Tile(g) axis: 2 tiles: 6
  w = Tile(h) axis: 3 tiles: 8
  y = Eltwise(data, w) operation: PROD
axpy-se | Axpy | SE block with Axpy | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 3 pad: 1
  g = Pooling(a) pool: AVE global_pooling: true
  f = Convolution(g) num_output: 4 kernel_size: 1
  s = Sigmoid(f)
  y = Axpy(s, a, data)
"""

# What broadcasting of the 1x1 gate means.
SPREAD = (
    'layer { name: "y" type: "Eltwise" bottom: "data" bottom: "s" top: "y" eltwise_param'
    " { operation: PROD } }",
    'layer { name: "r" type: "Reshape" bottom: "s" top: "r" reshape_param { shape'
    ' { dim: 0 dim: 4 } } } layer { name: "y" type: "Scale" bottom: "data" bottom: "r" top: "y"'
    " scale_param { axis: 0 } }",
)


def forms() -> Iterator[Form]:
    """Yield the forms of this module."""
    for kind, table in (
        ("Eltwise", ELTWISE), ("Concat", CONCAT), ("Crop", CROP), ("Tile", TILE),
        ("Axpy", AXPY), ("BatchReindex", REINDEX),
    ):  # fmt: skip
        yield from singles(kind.lower(), kind, table)
    for form in nets("combining", NETS):
        gate = form.id.endswith("eltwise-broadcast-gate")
        yield replace(form, meaning=form.net.replace(*SPREAD) if gate else "")
