"""Random nets: the same outputs with and without folding, at two opsets, and with half the batch."""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.onnx import encode, lower, to_model
from protogen.onnx.session import run_model

# Folding multiplies the weights before the sum, not the sum itself.
TOLERANCE = 1e-5

# A scale factor of 0 makes the variance 0. With the default eps each such layer multiplies by 316.
# onnxruntime's LRN adds to and subtracts from a running sum of squares, which then loses all digits.
EPS = "batch_norm_param { eps: 0.25 }"


class Builder:
    """Draws layers one after the other, and records the blobs of the net."""

    def __init__(self, draw, shape):
        self.draw = draw
        self.count = 0
        dims = " ".join(f"dim: {n}" for n in shape)
        self.text = [
            f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}'
        ]
        self.blobs = ["data"]
        self.read = set()  # blobs whose current value a layer has read
        self.views = set()

    def shapes(self):
        return Net(prototxt.parse("\n".join(self.text), "random")).shapes

    def add(self, kind, bottoms, param="", in_place=False):
        self.count += 1
        top = bottoms[0] if in_place else f"b{self.count}"
        reads = " ".join(f'bottom: "{b}"' for b in bottoms)
        self.read = self.read - {top} if in_place else self.read | set(bottoms)
        if kind == "Split" or (kind == "Concat" and len(bottoms) == 1):
            self.views |= {top, *bottoms}
        self.text.append(
            f'layer {{ name: "l{self.count}" type: "{kind}" {reads} top: "{top}" {param} }}'
        )
        if top not in self.blobs:
            self.blobs.append(top)

    def step(self):
        draw, shapes = self.draw, self.shapes()
        bottom = draw(st.sampled_from(self.blobs[-3:]))
        n, c, h, w = shapes[bottom]
        # A layer may work in place on data too, but not on a blob that a layer has read, which is an
        # error in Caffe, nor on a blob that shares its memory with another one, which would change.
        in_place = draw(st.booleans()) and bottom not in self.read | self.views
        kind = draw(
            st.sampled_from(
                ["Convolution", "Deconvolution", "Pooling", "BatchNorm", "Scale", "Bias", "ReLU",
                 "Dropout", "Eltwise", "Concat", "PReLU", "LRN", "Split", "Power", "Normalized"]
            )
        )  # fmt: skip
        if kind == "Convolution":
            k = draw(st.integers(1, min(3, h, w)))
            group = draw(st.sampled_from([g for g in (1, 2, c) if c % g == 0]))
            out = group * draw(st.integers(1, 2))
            bias = draw(st.sampled_from(["true", "false"]))
            self.add(kind, [bottom], (
                f"convolution_param {{ num_output: {out} kernel_size: {k} pad: {draw(st.integers(0, 2))} "
                f"stride: {draw(st.integers(1, 2))} group: {group} bias_term: {bias} }}"
            ))  # fmt: skip
        elif kind == "Deconvolution":
            group = draw(st.sampled_from([g for g in (1, 2, c) if c % g == 0]))
            self.add(kind, [bottom], (
                f"convolution_param {{ num_output: {group * 2} kernel_size: {draw(st.integers(2, 4))} "
                f"stride: 2 pad: {draw(st.integers(0, int(min(h, w) > 1)))} group: {group} }}"
            ))  # fmt: skip
        elif kind == "Pooling":
            k = draw(st.integers(1, min(3, h, w)))
            pad = draw(st.integers(0, k - 1))
            stride = draw(st.integers(1, k))
            pool = draw(st.sampled_from(["MAX", "AVE"]))
            self.add(kind, [bottom],
                     f"pooling_param {{ pool: {pool} kernel_size: {k} stride: {stride} pad: {pad} }}")  # fmt: skip
        elif kind in ("Eltwise", "Concat"):
            like = [
                b for b in self.blobs
                if (shapes[b] == shapes[bottom] if kind == "Eltwise"
                    else shapes[b][0::2] == (n, h) and shapes[b][3] == w)
            ]  # fmt: skip
            self.add(kind, [bottom, draw(st.sampled_from(like))])
        elif kind == "Scale":
            bias = draw(st.sampled_from(["true", "false"]))
            self.add(kind, [bottom], f"scale_param {{ bias_term: {bias} }}", in_place)
        elif kind == "Power":
            self.add(kind, [bottom], "power_param { scale: 0.5 shift: 0.25 }", in_place)
        elif kind == "Normalized":
            self.add("BatchNorm", [bottom], EPS, in_place)
            self.add("Scale", [self.blobs[-1] if not in_place else bottom],
                     "scale_param { bias_term: true }", True)  # fmt: skip
        elif kind == "LRN":
            self.add(kind, [bottom], "lrn_param { local_size: 3 }")
        else:
            param = EPS if kind == "BatchNorm" else ""
            self.add(kind, [bottom], param, in_place and kind != "Split")


@st.composite
def nets(draw):
    shape = (
        draw(st.integers(1, 2)),
        draw(st.integers(1, 4)),
        *draw(st.tuples(*[st.integers(4, 9)] * 2)),
    )
    builder = Builder(draw, shape)
    for _ in range(draw(st.integers(2, 12))):
        builder.step()
    net = Net(prototxt.parse("\n".join(builder.text), "random"))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for layer in net.layers:
        shapes = net.parameter_shapes[layer.name]
        if shapes:
            arrays = [generator.standard_normal(s).astype(np.float32) for s in shapes]
            if layer.type == "BatchNorm":
                arrays[1] = np.abs(arrays[1]) + np.float32(0.5)
                arrays[2] = np.float32([draw(st.sampled_from([0.0, 0.75, 1.0]))])
            net.weights[layer.name] = arrays
    return net


def run(net, **options):
    feeds = {"data": np.random.default_rng(7).standard_normal(net.shapes["data"], np.float32)}
    return run_model(encode(to_model(lower(net, **options))), feeds)


def assert_close(a, b):
    assert list(a) == list(b)
    for name in a:
        assert a[name].shape == b[name].shape
        limit = TOLERANCE * max(1.0, float(np.abs(a[name]).max(initial=0)))
        assert np.abs(a[name].astype(np.float64) - b[name]).max(initial=0) <= limit, name


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(nets())
def test_folding_opset_and_free_batch_keep_outputs(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        if all(name in net.inputs for name in net.outputs):
            return  # all layers work in place on the input, so the net has no output
        unfolded = run(net, fold=False)
        assert_close(unfolded, run(net))
        assert_close(unfolded, run(net, opset=13))
        if net.shapes["data"][0] == 2:
            free = encode(to_model(lower(net, free_axes=(0,))))
            x = np.random.default_rng(7).standard_normal(net.shapes["data"], np.float32)
            halves = [run_model(free, {"data": x[i : i + 1]}) for i in range(2)]
            joined = {name: np.concatenate([half[name] for half in halves]) for name in unfolded}
            assert_close(unfolded, joined)
