"""BatchNorm, Scale, Bias, BN, LRN, MVN, Normalize, Softmax, ArgMax, Reduction."""

from __future__ import annotations

from collections.abc import Iterator

from forms.building import Form, nets, singles

BATCH_NORM = """
+plain           1x4x6x8
global-written   1x4x6x8    use_global_stats: true
global-false     1x4x6x8    use_global_stats: false
eps              1x4x6x8    eps: 0.1
moving-average   1x4x6x8    moving_average_fraction: 0.9
rank-2           3x7
batch-2          2x4x6x8
one-channel      1x1x6x8
rank-3           2x5x7
equal-sizes      1x5x5x5
"""
SCALE = """
+plain           1x4x6x8
+bias            1x4x6x8    bias_term: true
bias-false       1x4x6x8    bias_term: false
axis-1           1x4x6x8    axis: 1
axis-0           1x4x6x8    axis: 0
axis-2           1x4x6x8    axis: 2 bias_term: true
axis-3           1x4x6x8    axis: 3
axis-negative-1  1x4x6x8    axis: -1
axis-negative-3  1x4x6x8    axis: -3
axes-2           1x4x6x8    axis: 1 num_axes: 2
axes-2-at-2      1x4x6x8    axis: 2 num_axes: 2 bias_term: true
axes-all         1x4x6x8    axis: 1 num_axes: -1
axes-0           1x4x6x8    num_axes: 0
rank-2           3x7        bias_term: true
rank-3           2x5x7      bias_term: true
rank-3-axis-2    2x5x7      axis: 2
batch-2          2x4x6x8    bias_term: true
equal-sizes      1x5x5x5    bias_term: true
two-same-shape   1x4x6x8,1x4x6x8 axis: 0
two-rank-2       1x4x6x8,1x4 axis: 0
two-rank-1       1x4x6x8,4  axis: 1
two-rank-2-bias  1x4x6x8,1x4 axis: 0 bias_term: true
two-map          1x4x6x8,6x8 axis: 2
two-batch-2      2x4x6x8,2x4 axis: 0
"""
BIAS = """
+plain           1x4x6x8
axis-2           1x4x6x8    axis: 2
axis-0           1x4x6x8    axis: 0
axes-2           1x4x6x8    axis: 1 num_axes: 2
axes-all         1x4x6x8    axis: 1 num_axes: -1
rank-2           3x7
two-same-shape   1x4x6x8,1x4x6x8 axis: 0
two-rank-2       1x4x6x8,1x4 axis: 0
two-rank-1       1x4x6x8,4  axis: 1
"""
BN = """
+frozen          1x4x6x8    frozen: true
eps              1x4x6x8    eps: 0.1
"""
LRN = """
+across          1x6x5x7    local_size: 3 alpha: 2 beta: 0.75
defaults         1x6x5x7:large
size-5           1x6x5x7    local_size: 5 alpha: 2 beta: 0.75
size-1           1x6x5x7    local_size: 1 alpha: 2 beta: 0.75
beta             1x6x5x7    local_size: 3 alpha: 2 beta: 0.3
beta-1           1x6x5x7    local_size: 3 alpha: 2 beta: 1
beta-half        1x6x5x7    local_size: 3 alpha: 2 beta: 0.5
k-2              1x6x5x7    local_size: 3 alpha: 2 k: 2
across-written   1x6x5x7    local_size: 3 alpha: 2 norm_region: ACROSS_CHANNELS
+within          1x4x6x8    local_size: 3 alpha: 2 norm_region: WITHIN_CHANNEL
within-5         1x4x6x8    local_size: 5 alpha: 2 norm_region: WITHIN_CHANNEL
batch-2          2x6x5x7    local_size: 3 alpha: 2
size-above-channels 1x3x5x7 local_size: 7 alpha: 2
one-channel      1x1x5x7    local_size: 3 alpha: 2
reciprocal       1x4x5x7:positive local_size: 1 alpha: 1 beta: 1 k: 0
"""
MVN = """
+plain           1x4x6x8
mean-only        1x4x6x8    normalize_variance: false
across           1x4x6x8    across_channels: true
across-mean-only 1x4x6x8    across_channels: true normalize_variance: false
eps              1x4x6x8    eps: 0.1
batch-2          2x4x6x8
"""
NORMALIZE = """
spatial          1x4x5x6
+channels        1x4x5x6    across_spatial: false channel_shared: false
channels-shared  1x4x5x6    across_spatial: false channel_shared: true
spatial-per-channel 1x4x5x6 across_spatial: true channel_shared: false
eps              1x4x5x6    across_spatial: false channel_shared: false eps: 0.1
batch-2          2x4x5x6    across_spatial: false channel_shared: false
on-1x1           1x7x1x1    across_spatial: false channel_shared: true
"""
SOFTMAX = """
+plain           1x4x6x8
axis-1           1x4x6x8    axis: 1
axis-2           1x4x6x8    axis: 2
axis-3           1x4x6x8    axis: 3
axis-negative-1  1x4x6x8    axis: -1
axis-negative-3  1x4x6x8    axis: -3
axis-0           3x4x2x2    axis: 0
rank-2           3x7
rank-2-axis-0    3x7        axis: 0
rank-3           2x5x7
rank-3-axis-2    2x5x7      axis: 2
on-1x1           1x7x1x1
batch-2          2x4x6x8
one-channel      1x1x6x8
large-values     1x4x6x8:huge
equal-sizes      1x5x5x5    axis: 2
"""
ARG_MAX = """
plain            1x4x3x5
axis-1           1x4x6x8    axis: 1
axis-2           1x4x6x8    axis: 2
axis-3           1x4x6x8    axis: 3
axis-negative-1  1x4x6x8    axis: -1
top-2            1x4x3x5    top_k: 2
axis-1-top-2     1x4x6x8    axis: 1 top_k: 2
max-val          1x4x3x5    out_max_val: true
axis-1-max-val   1x4x6x8    axis: 1 out_max_val: true
rank-2           3x7
rank-2-axis-1    3x7        axis: 1
batch-2          2x4x6x8    axis: 1
"""
REDUCTION = """
sum              1x4x3x2
sum-axis-1       1x4x3x5    operation: SUM axis: 1
sum-axis-2       1x4x3x5    operation: SUM axis: 2
sum-axis-3       1x4x3x5    operation: SUM axis: 3
sum-axis-negative-1 1x4x3x5 operation: SUM axis: -1
mean-axis-1      1x4x3x5    operation: MEAN axis: 1
mean-axis-2      1x4x3x5    operation: MEAN axis: 2
mean-axis-3      1x4x3x5    operation: MEAN axis: 3
asum-axis-1      1x4x3x5    operation: ASUM axis: 1
sumsq-axis-1     1x4x3x5    operation: SUMSQ axis: 1
coeff            1x4x3x5    operation: SUM axis: 1 coeff: 0.5
mean-coeff       1x4x3x5    operation: MEAN axis: 2 coeff: 0.5
rank-2           3x7        operation: SUM axis: 1
batch-2          2x4x3x5    operation: MEAN axis: 2
"""
NETS = """
batch-norm-in-place | BatchNorm | in place after a convolution | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  bn: y = BatchNorm(y)
batch-norm-zero-factor | BatchNorm | third blob 0 | data 1x4x6x8 | zero factor
  y = BatchNorm(data) use_global_stats: true
batch-norm-large-factor | BatchNorm | third blob 999.98 | data 1x4x6x8 | large factor
  y = BatchNorm(data)
batch-norm-large-factor-folded | BatchNorm | third blob 999.98, after a convolution, Scale after it | data 1x4x6x8 | large factor
  a = Convolution(data) num_output: 3 kernel_size: 3
  b = BatchNorm(a)
  y = Scale(b) bias_term: true
batch-norm-scale | BatchNorm | with Scale after it, on the input | data 1x4x6x8
  b = BatchNorm(data)
  y = Scale(b) bias_term: true
batch-norm-on-input-in-place | BatchNorm | in place on the input, then a convolution | data 1x4x6x8
  bn: data = BatchNorm(data)
  y = Convolution(data) num_output: 3 kernel_size: 3
scale-in-place | Scale | in place after a convolution | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  s: y = Scale(y) bias_term: true
scale-gate | Scale | two bottoms: gate by global AVE, InnerProduct, Sigmoid | data 1x4x6x8
  g = Pooling(data) pool: AVE global_pooling: true
  f = InnerProduct(g) num_output: 4
  s = Sigmoid(f)
  y = Scale(data, s) axis: 0
scale-gate-stripped | Scale | two bottoms; the caffemodel lacks layers without weights | data 1x4x6x8 | stripped
  g = Pooling(data) pool: AVE global_pooling: true
  f = InnerProduct(g) num_output: 4
  s = Sigmoid(f)
  y = Scale(data, s) axis: 0
scale-two-after-flatten | Scale | two bottoms: global AVE, Flatten, axis 0 | data 1x4x6x8
  g = Pooling(data) pool: AVE global_pooling: true
  f = Flatten(g)
  y = Scale(data, f) axis: 0
softmax-in-place | Softmax | in place after a convolution | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  s: y = Softmax(y)
softmax-after-reshape | Softmax | after Reshape to N, classes, rest; axis 1 | data 1x6x4x5
  r = Reshape(data) shape { dim: 0 dim: 2 dim: 3 dim: -1 }
  y = Softmax(r) axis: 1
softmax-then-reshape | Softmax | Reshape, Softmax, Reshape back, between convolutions | data 1x6x4x5
  a = Convolution(data) num_output: 6 kernel_size: 1
  r = Reshape(a) shape { dim: 0 dim: 2 dim: -1 dim: 5 }
  s = Softmax(r)
  t = Reshape(s) shape { dim: 0 dim: 6 dim: -1 dim: 5 }
  y = Convolution(t) num_output: 3 kernel_size: 1
arg-max-then-convolution | ArgMax | axis 1, then a convolution | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 3 pad: 1
  m = ArgMax(a) axis: 1
  y = Convolution(m) num_output: 5 kernel_size: 1
arg-max-after-softmax | ArgMax | after Softmax, axis 1 | data 1x4x6x8
  s = Softmax(data)
  y = ArgMax(s) axis: 1
lrn-after-convolution | LRN | ReLU in place before it | data 1x4x6x8
  a = Convolution(data) num_output: 6 kernel_size: 3
  a = ReLU(a)
  y = LRN(a) local_size: 5 alpha: 2 beta: 0.75
mvn-scale | MVN | Scale after it, between convolutions | data 1x4x6x8
  a = Convolution(data) num_output: 4 kernel_size: 3 pad: 1
  m = MVN(a) eps: 1e-5
  s = Scale(m) bias_term: true
  y = Convolution(s) num_output: 5 kernel_size: 1
reduction-then-inner-product | Reduction | MEAN axis 2, then InnerProduct | data 1x4x6x8
  m = Reduction(data) operation: MEAN axis: 2
  y = InnerProduct(m) num_output: 5
"""


def forms() -> Iterator[Form]:
    """Yield the forms of this module."""
    for family, kind, table in (
        ("batch-norm", "BatchNorm", BATCH_NORM), ("scale", "Scale", SCALE), ("bias", "Bias", BIAS),
        ("bn", "BN", BN), ("lrn", "LRN", LRN), ("mvn", "MVN", MVN), ("softmax", "Softmax", SOFTMAX),
        ("normalize", "Normalize", NORMALIZE), ("arg-max", "ArgMax", ARG_MAX),
        ("reduction", "Reduction", REDUCTION),
    ):  # fmt: skip
        yield from singles(family, kind, table)
    yield from nets("normalization", NETS)
