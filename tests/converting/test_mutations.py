"""Single mistakes in a converted model: ``verify`` must find each."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from converting.mutants import KINDS, mutants_of
from nets import net_with

import protogen as pg
from protogen.onnx import lower, to_model

IMAGE = {"data": (2, 3, 13, 12)}
PLAIN = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 2 } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "lrn1" type: "LRN" bottom: "conv1" top: "lrn1"
  lrn_param { local_size: 3 alpha: 0.7 beta: 0.75 } }
layer { name: "pool1" type: "Pooling" bottom: "lrn1" top: "pool1"
  pooling_param { kernel_size: 3 stride: 1 pad: 1 pool: AVE } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 6 kernel_size: 3 pad: 2 dilation: 2 group: 2 } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" relu_param { negative_slope: 0.1 } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
  pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool2" top: "fc" inner_product_param { num_output: 9 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
BRANCHES = """
layer { name: "cut" type: "Slice" bottom: "data" top: "a" top: "b" top: "c" slice_param { axis: 1 } }
layer { name: "up" type: "Convolution" bottom: "a" top: "up"
  convolution_param { num_output: 4 kernel_h: 1 kernel_w: 3 pad_w: 1 pad_h: 0 } }
layer { name: "prelu" type: "PReLU" bottom: "up" top: "up" }
layer { name: "down" type: "Convolution" bottom: "b" top: "down"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "elu" type: "ELU" bottom: "down" top: "down" elu_param { alpha: 0.7 } }
layer { name: "side" type: "Convolution" bottom: "c" top: "side"
  convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "up" bottom: "down" top: "sum"
  eltwise_param { coeff: 1 coeff: -0.5 } }
layer { name: "product" type: "Eltwise" bottom: "sum" bottom: "side" top: "product"
  eltwise_param { operation: PROD } }
layer { name: "most" type: "Eltwise" bottom: "sum" bottom: "down" top: "most"
  eltwise_param { operation: MAX } }
layer { name: "all" type: "Concat" bottom: "product" bottom: "most" bottom: "up" top: "all" }
layer { name: "mean" type: "Pooling" bottom: "all" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "first" type: "InnerProduct" bottom: "mean" top: "first" inner_product_param { num_output: 5 } }
layer { name: "second" type: "InnerProduct" bottom: "mean" top: "second" inner_product_param { num_output: 5 } }
"""
UPWARDS = """
layer { name: "small" type: "Pooling" bottom: "data" top: "small" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "deconv" type: "Deconvolution" bottom: "small" top: "deconv"
  convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 } }
layer { name: "sigmoid" type: "Sigmoid" bottom: "deconv" top: "sigmoid" }
layer { name: "near" type: "Upsample" bottom: "small" top: "near" upsample_param { scale: 2 } }
layer { name: "smooth" type: "Interp" bottom: "small" top: "smooth" interp_param { height: 17 width: 15 } }
layer { name: "tanh" type: "TanH" bottom: "smooth" top: "tanh" }
layer { name: "part" type: "Crop" bottom: "tanh" bottom: "data" top: "part" crop_param { axis: 2 offset: 2 } }
layer { name: "clip" type: "Clip" bottom: "part" top: "clip" clip_param { min: -0.4 max: 0.3 } }
"""
BOXES = """
layer { name: "loc" type: "Convolution" bottom: "data" top: "loc"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "norm" type: "Normalize" bottom: "loc" top: "norm"
  norm_param { across_spatial: false channel_shared: false } }
layer { name: "perm" type: "Permute" bottom: "norm" top: "perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "flat" type: "Flatten" bottom: "perm" top: "flat" }
layer { name: "rows" type: "Reshape" bottom: "flat" top: "rows"
  reshape_param { shape { dim: 0 dim: -1 dim: 4 } } }
layer { name: "prob" type: "Softmax" bottom: "rows" top: "prob" softmax_param { axis: 2 } }
layer { name: "square" type: "Power" bottom: "rows" top: "square"
  power_param { power: 3 scale: 0.5 shift: 0.7 } }
layer { name: "more" type: "Concat" bottom: "square" bottom: "prob" top: "more" concat_param { axis: 1 } }
layer { name: "total" type: "Reduction" bottom: "more" top: "total"
  reduction_param { operation: ASUM axis: 1 coeff: 0.1 } }
layer { name: "best" type: "ArgMax" bottom: "flat" top: "best" argmax_param { top_k: 2 out_max_val: true } }
"""
WORDS = """
layer { name: "table" type: "Embed" bottom: "words" top: "table"
  embed_param { input_dim: 11 num_output: 6 } }
layer { name: "lstm" type: "LSTM" bottom: "table" bottom: "cont" top: "lstm"
  recurrent_param { num_output: 5 } }
layer { name: "fc" type: "InnerProduct" bottom: "lstm" top: "fc"
  inner_product_param { num_output: 7 axis: 2 } }
layer { name: "mvn" type: "MVN" bottom: "fc" top: "mvn" mvn_param { eps: 0.01 across_channels: true } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss"
  softmax_param { axis: 2 } }
"""
NETS = {
    "plain": (IMAGE, PLAIN),
    "branches": (IMAGE, BRANCHES),
    "upwards": (IMAGE, UPWARDS),
    "boxes": (IMAGE, BOXES),
    "words": ({"words": (4, 2), "cont": (4, 2), "label": (4, 2)}, WORDS),
}
# Mistakes without effect, by net and operator: their kinds, and the reason.
_FIRST_STEP = "the state is 0 at the first step"
EQUIVALENT = {
    ("branches", "Flatten first/Flatten"): (
        ("order of what is reshaped",), "maps of 1x1 have one order",
    ),
    ("branches", "Flatten second/Flatten"): (
        ("order of what is reshaped",), "maps of 1x1 have one order",
    ),
    ("boxes", "Add norm/Add"): (("Sub for Add",), "1e-10 is lost in the sum that it is added to"),
    ("words", "Max loss/Max"): (("Add for Max",), "adding 1e-38 also has no effect"),
    ("words", "Gemm lstm/Gemm.2"): (
        ("weights transposed", "weights scaled", "two channels swapped", "one weight changed",
         "inputs in the other order", "product's factor"), _FIRST_STEP,
    ),
    ("words", "Sigmoid lstm/Sigmoid.2"): (("activation lost", "another sigmoid"), _FIRST_STEP),
    ("words", "Mul lstm/Mul.2"): (("Add for Mul",), _FIRST_STEP),
    ("words", "Slice lstm/Slice.2"): (("bounds of Slice",), _FIRST_STEP),
}  # fmt: skip


def net_with_weights(name):
    net = net_with(*NETS[name])
    generator = np.random.default_rng(4)
    for layer in net.layers:
        blobs = [
            generator.standard_normal(shape, np.float32) / max(1, np.prod(shape[1:])) ** 0.5
            for shape in net.parameter_shapes[layer.name]
        ]
        if layer.type == "BatchNorm":
            blobs = [blobs[0], np.abs(blobs[1]) + np.float32(0.3), np.float32([0.8])]
        if blobs:
            net.weights[layer.name] = [blob.astype(np.float32) for blob in blobs]
    return net


@pytest.fixture(scope="module", params=[(n, f) for n in NETS for f in (False, True)], ids=str)
def converted(request):
    name, fold = request.param
    net = net_with_weights(name)
    return name, net, to_model(lower(net, fold=fold))


def caught(net, model):
    try:
        return not pg.verify(net, model, check=False).proved
    except pg.ProtogenError:  # onnxruntime cannot run the mutant
        return True


def test_correct_model_passes(converted):
    _, net, model = converted
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # every blob proves something
        comparison = pg.verify(net, model)
    assert comparison.proved
    assert not comparison.unproved


def test_every_mistake_is_found(converted):
    """Every mistake is found except those listed in EQUIVALENT, which are never found."""
    name, net, model = converted
    listed = {
        (kind, key[1]) for key, (kinds, _) in EQUIVALENT.items() if key[0] == name for kind in kinds
    }
    caught_by_mistake = {
        (kind, where): caught(net, other)
        for kind in KINDS
        for where, other in mutants_of(model, kind)
    }
    missed = {key for key, is_caught in caught_by_mistake.items() if not is_caught}
    assert missed == listed & caught_by_mistake.keys()


def test_every_kind_of_mistake_applies_to_a_net():
    models = [to_model(lower(net_with_weights(name), fold=False)) for name in NETS]
    unused = [kind for kind in KINDS if not any(True for m in models for _ in mutants_of(m, kind))]
    assert not unused
