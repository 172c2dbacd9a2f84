"""InnerProduct, Embed, recurrent layers."""

from __future__ import annotations

from collections.abc import Iterator

from forms.building import Form, nets, singles

INNER_PRODUCT = """
rank-4           1x4x3x2    num_output: 5
rank-2           1x7        num_output: 5
rank-2-batch-3   3x7        num_output: 5
rank-3           1x4x6      num_output: 5
on-1x1           1x7x1x1    num_output: 5
no-bias          1x4x3x2    num_output: 5 bias_term: false
no-bias-rank-2   2x7        num_output: 5 bias_term: false
one-output       1x4x3x2    num_output: 1
batch-2          2x4x3x2    num_output: 5
transpose        1x6        num_output: 6 transpose: true
transpose-unequal 1x7       num_output: 5 transpose: true
transpose-rank-4 1x4x3x2    num_output: 5 transpose: true
transpose-false  1x7        num_output: 5 transpose: false
axis-1-written   1x4x3x2    num_output: 5 axis: 1
axis-2           1x4x3x2    num_output: 5 axis: 2
axis-3           1x4x3x6    num_output: 5 axis: 3
axis-negative-1  1x4x3x6    num_output: 5 axis: -1
axis-0           4x3        num_output: 5 axis: 0
axis-2-rank-3    1x4x6      num_output: 5 axis: 2
equal-sizes      5x5        num_output: 5
"""
NETS = """
after-flatten | InnerProduct | after Flatten | data 1x4x3x2
  f = Flatten(data)
  y = InnerProduct(f) num_output: 5
after-convolution | InnerProduct | after a convolution | data 1x4x5x6
  a = Convolution(data) num_output: 3 kernel_size: 3
  y = InnerProduct(a) num_output: 5
after-pooling | InnerProduct | after MAX Pooling | data 1x4x6x8
  p = Pooling(data) pool: MAX kernel_size: 2 stride: 2
  y = InnerProduct(p) num_output: 5
after-reshape | InnerProduct | after Reshape to 2 axes | data 1x4x3x2
  r = Reshape(data) shape { dim: 0 dim: -1 }
  y = InnerProduct(r) num_output: 5
after-reshape-rows | InnerProduct | after Reshape of rows to the batch (2 axes) | data 1x4x6x8
  r = Reshape(data) shape { dim: 24 dim: 8 }
  y = InnerProduct(r) num_output: 5
after-permute | InnerProduct | after Permute | data 1x4x3x2
  p = Permute(data) order: 0 order: 2 order: 3 order: 1
  y = InnerProduct(p) num_output: 5
then-reshape | InnerProduct | then Reshape to 4 axes | data 1x7
  a = InnerProduct(data) num_output: 24
  y = Reshape(a) shape { dim: 1 dim: 4 dim: 3 dim: 2 }
then-reshape-convolution | InnerProduct | then Reshape to 4 axes and a convolution | data 1x7
  a = InnerProduct(data) num_output: 24
  r = Reshape(a) shape { dim: 1 dim: 4 dim: 3 dim: 2 }
  y = Convolution(r) num_output: 5 kernel_size: 1
then-relu | InnerProduct | then ReLU in place | data 1x4x3x2
  y = InnerProduct(data) num_output: 5
  r: y = ReLU(y)
then-sigmoid | InnerProduct | then Sigmoid | data 1x4x3x2
  a = InnerProduct(data) num_output: 5
  y = Sigmoid(a)
then-softmax | InnerProduct | then Softmax | data 1x4x3x2
  a = InnerProduct(data) num_output: 5
  y = Softmax(a)
then-scale | InnerProduct | then Scale with bias | data 1x4x3x2
  a = InnerProduct(data) num_output: 5
  y = Scale(a) bias_term: true
then-batch-norm | InnerProduct | then BatchNorm and Scale in place | data 2x7
  a = InnerProduct(data) num_output: 5
  bn: a = BatchNorm(a)
  sc: a = Scale(a) bias_term: true
  y = ReLU(a)
two | InnerProduct | two, with ReLU between | data 1x4x3x2
  a = InnerProduct(data) num_output: 7
  a = ReLU(a)
  y = InnerProduct(a) num_output: 3
two-read-one | InnerProduct | two read one blob | data 1x7
  y = InnerProduct(data) num_output: 3
  z = InnerProduct(data) num_output: 5
then-prelu | InnerProduct | then PReLU in place | data 1x7
  y = InnerProduct(data) num_output: 5
  p: y = PReLU(y)
"""
EMBED = """
plain            5:index9   input_dim: 9 num_output: 4
no-bias          5:index9   input_dim: 9 num_output: 4 bias_term: false
rank-2           2x3:index9 input_dim: 9 num_output: 4
"""
RECURRENT = """
plain            5x2x3,5x2:starts num_output: 4
one-sequence     5x1x3,5x1:starts num_output: 4
begins-again     6x2x3,6x2:restarts num_output: 4
"""
RNN = """
plain            5x2x3,5x2:starts num_output: 4
"""
RECURRENT_NETS = """
static | LSTM | with a third, static bottom | data 5x2x3; cont 5x2:starts; s 2x6
  y = LSTM(data, cont, s) num_output: 4
then-inner-product | LSTM | then InnerProduct on the last axis | data 5x1x3; cont 5x1:starts
  a = LSTM(data, cont) num_output: 4
  y = InnerProduct(a) num_output: 3 axis: 2
exposed | LSTM | with its state as bottoms and tops | data 5x1x3; cont 5x1:starts; h0 1x1x4; c0 1x1x4
  y h1 c1 = LSTM(data, cont, h0, c0) num_output: 4 expose_hidden: true
unit | LSTMUnit | one step | c0 1x2x4; gates 1x2x16; cont 1x2:starts
  c1 h1 = LSTMUnit(c0, gates, cont)
own-lstm | Lstm | type Lstm, one sequence | data 5x1x3 | blobs y 16x3,16x4,16
  y = Lstm(data) num_output: 4
"""


def forms() -> Iterator[Form]:
    """Yield the forms of this module."""
    yield from singles("inner-product", "InnerProduct", INNER_PRODUCT)
    yield from nets("inner-product", NETS)
    yield from singles("embed", "Embed", EMBED)
    yield from singles("lstm", "LSTM", RECURRENT)
    yield from singles("rnn", "RNN", RNN)
    yield from nets("recurrent", RECURRENT_NETS)
