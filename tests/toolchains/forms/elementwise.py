"""Activations and other functions of one value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from forms.building import Form, nets, singles

# Each type without parameters runs on these, also in place between convolutions.
RANKS = """
+plain           1x4x6x8{kind}
rank-2           2x7{kind}
"""
PLAIN = ("AbsVal", "BNLL", "ReLU", "Sigmoid", "TanH", "ELU", "Mish", "HardSwish", "ReLU6", "Swish")
INPLACE = """
in-place | {type} | in place after a convolution | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  {slug}: y = {type}(y)
"""

RELU = """
+slope           1x4x6x8    negative_slope: 0.1
slope-negative   1x4x6x8    negative_slope: -0.5
slope-zero       1x4x6x8    negative_slope: 0
slope-above-1    1x4x6x8    negative_slope: 1.5
rank-3           2x5x7
rank-5           1x2x3x4x5
rank-1           7
"""
ELU = """
alpha            1x4x6x8    alpha: 0.3
alpha-1          1x4x6x8    alpha: 1
"""
POWER = """
no-parameter     1x4x6x8
+scale-shift     1x4x6x8    scale: 2 shift: 1
scale            1x4x6x8    scale: -0.5
shift            1x4x6x8    shift: 0.7
scale-zero       1x4x6x8    scale: 0 shift: 1
square           1x4x6x8    power: 2
cube             1x4x6x8    power: 3
root             1x4x6x8:positive power: 0.5
reciprocal       1x4x6x8:positive power: -1
reciprocal-root  1x4x6x8:positive power: -0.5 shift: 0.001
power-zero       1x4x6x8:positive power: 0
power-1.5        1x4x6x8:positive power: 1.5
all              1x4x6x8:positive power: 1.5 scale: 0.5 shift: 1
rank-2           3x7        scale: 2 shift: 1
batch-2          2x4x6x8    power: 2 scale: 0.5 shift: 1
"""
EXP = """
+plain           1x4x6x8
base-2           1x4x6x8    base: 2
base-10          1x4x6x8    base: 10
scale            1x4x6x8    scale: 0.5
shift            1x4x6x8    shift: 0.5
all              1x4x6x8    base: 2 scale: 0.5 shift: 1
rank-2           3x7
"""
LOG = """
plain            1x4x6x8:positive
base-2           1x4x6x8:positive base: 2
base-e-written   1x4x6x8:positive base: 2.718281828
scale            1x4x6x8:positive scale: 2
shift            1x4x6x8:positive shift: 1
all              1x4x6x8:positive base: 10 scale: 2 shift: 1
rank-2           3x7:positive
"""
THRESHOLD = """
plain            1x4x6x8
+half            1x4x6x8    threshold: 0.5
negative         1x4x6x8    threshold: -0.5
rank-2           3x7        threshold: 0.2
"""
PRELU = """
+per-channel     1x4x6x8
channel-shared   1x4x6x8    channel_shared: true
shared-false     1x4x6x8    channel_shared: false
rank-2           3x7
rank-3           2x5x7
batch-2          2x4x6x8
equal-sizes      1x5x5x5
"""
CLIP = """
+half            1x4x6x8    min: -0.5 max: 0.5
zero-to-one      1x4x6x8    min: 0 max: 1
zero-to-six      1x4x6x8:wide min: 0 max: 6
rank-2           3x7        min: -0.5 max: 0.5
"""
SWISH = """
beta-1           1x4x6x8    beta: 1
beta-2           1x4x6x8    beta: 2
"""
HARD_SIGMOID = """
no-parameter     1x4x6x8:wide
+alpha-beta      1x4x6x8:wide alpha: 0.16666667 beta: 0.5
alpha            1x4x6x8:wide alpha: 0.3
"""
RELU6 = """
threshold        1x4x6x8    threshold: 1
slope            1x4x6x8:wide negative_slope: 0.1
"""
DROPOUT = """
+plain           1x4x6x8
ratio            1x4x6x8    dropout_ratio: 0.3
rank-2           3x7
"""
NETS = """
dropout-in-place | Dropout | in place after a convolution | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  drop: y = Dropout(y) dropout_ratio: 0.3
dropout-in-place-on-input | Dropout | in place on the input, then Sigmoid | data 1x4x6x8
  drop: data = Dropout(data)
  y = Sigmoid(data)
dropout-not-in-place | Dropout | into another blob, then Sigmoid | data 1x4x6x8
  d = Dropout(data)
  y = Sigmoid(d)
dropout-two | Dropout | InnerProduct, ReLU, Dropout in place, InnerProduct | data 1x4x6x8
  a = InnerProduct(data) num_output: 7
  a = ReLU(a)
  drop: a = Dropout(a)
  y = InnerProduct(a) num_output: 3
prelu-in-place | PReLU | in place after a convolution | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  p: y = PReLU(y)
power-in-place | Power | in place after a convolution | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  p: y = Power(y) scale: 2 shift: 1
exp-in-place | Exp | in place after a convolution | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  e: y = Exp(y)
relu-slope-in-place | ReLU | slope 0.1, in place after a convolution | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  r: y = ReLU(y) negative_slope: 0.1
relu-in-place-on-input | ReLU | in place on the input, then Sigmoid | data 1x4x6x8
  r: data = ReLU(data)
  y = Sigmoid(data)
power-in-place-on-input | Power | in place on the input, then ReLU | data 1x4x6x8
  p: data = Power(data) scale: 2 shift: 1
  y = ReLU(data)
relu-only-in-place | ReLU | in place on the input, nothing else | data 1x4x6x8
  r: data = ReLU(data)
relu-twice-in-place | ReLU | ReLU, then Power and ReLU, all in place | data 1x4x6x8
  y = Convolution(data) num_output: 3 kernel_size: 3
  r: y = ReLU(y)
  p: y = Power(y) scale: -1 shift: 0.5
  q: y = ReLU(y)
"""


def forms() -> Iterator[Form]:
    """Yield the forms of this module."""
    for kind in PLAIN:
        values = ":wide" if kind in ("ReLU6", "HardSwish") else ""
        family = kind.lower()
        yield from singles(family, kind, RANKS.format(kind=values))
        if kind != "AbsVal":  # Caffe refuses it in place
            yield from nets(family, INPLACE.format(type=kind, slug=family))
    for kind, table in (
        ("ReLU", RELU), ("ELU", ELU), ("Power", POWER), ("Exp", EXP), ("Log", LOG),
        ("Threshold", THRESHOLD), ("PReLU", PRELU), ("Clip", CLIP), ("Swish", SWISH),
        ("HardSigmoid", HARD_SIGMOID), ("ReLU6", RELU6), ("Dropout", DROPOUT),
    ):  # fmt: skip
        yield from singles(kind.lower(), kind, table)
    for form in singles("elu", "Elu", "type-elu 1x4x6x8"):
        yield replace(form, meaning=form.net.replace('"Elu"', '"ELU"'))
    yield from nets("activation", NETS)
