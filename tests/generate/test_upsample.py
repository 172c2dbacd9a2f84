"""Upsampling layers compared with real Caffe, with onnxruntime, and with their matrices."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from places import ROOT, TESTS

import protogen as pg
from protogen import geometry
from protogen.formats import prototxt
from protogen.formats.schema.pool import message_class
from protogen.generate.specification import UpsampleSpec
from protogen.generate.upsampling import bound, error_map
from protogen.layers import fillers
from protogen.net.net import Net
from protogen.onnx import encode, to_onnx
from protogen.onnx.session import run_model
from protogen.resampling import matrices

CASES = TESTS / "cases" / "layers"
BILINEAR = sorted(CASES.glob("DeconvolutionBilinear_*"))
ALL = sorted(CASES.glob("Deconvolution*"))


def weights_of(raw: bytes) -> dict[str, list[np.ndarray]]:
    """Read the weights of a caffemodel with protobuf."""
    net = message_class("NetParameter").FromString(raw)
    return {
        layer.name: [
            np.array(blob.data, np.float32).reshape(list(blob.shape.dim)) for blob in layer.blobs
        ]
        for layer in net.layer
    }


def test_cases_with_values_of_caffe_are_found():
    """The tests below have no effect if the cases are missing."""
    assert BILINEAR
    assert ALL


@pytest.mark.parametrize("case", BILINEAR, ids=lambda p: p.name)
def test_emitted_layer_equals_caffe(case, tmp_path):
    """The weights equal Caffe's filler exactly, and the output equals Caffe's to 1e-6."""
    gold = np.load(case / "golden.npz")
    p = prototxt.read(case / "net.prototxt").layer[-1].convolution_param
    factor, channels = p.stride[0], p.num_output
    up = pg.upsample(
        factor, channels=channels, name="op", bottom="x", top="y", input_shape=gold["in:x"].shape
    )
    emitted = prototxt.parse(up.prototxt).layer[-1].convolution_param
    assert (emitted.kernel_size, emitted.stride, emitted.pad) == (p.kernel_size, p.stride, p.pad)
    assert emitted.group == channels
    up.net.save(tmp_path / "up.prototxt", tmp_path / "up.caffemodel")
    weight = weights_of((tmp_path / "up.caffemodel").read_bytes())["op"][0]
    assert_array_equal(weight, gold["param:op:0"])
    model = encode(up.to_onnx())
    assert_allclose(run_model(model, {"x": gold["in:x"]})["y"], gold["out:y"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", ALL, ids=lambda p: p.name)
def test_any_deconvolution_equals_caffe(case):
    """With groups, dilation and strides per axis: equal shapes, output to 1e-4 of the largest."""
    gold = np.load(case / "golden.npz")
    params = {k.split(":")[1:2][0]: [] for k in gold if k.startswith("param:")}
    for key in sorted(k for k in gold if k.startswith("param:")):
        params[key.split(":")[1]].append(gold[key])
    net = Net(prototxt.read(case / "net.prototxt"), params)
    net.check_weights()
    feeds = {k[3:]: gold[k] for k in gold if k.startswith("in:")}
    outputs = run_model(encode(to_onnx(net)), feeds)
    for name, actual in outputs.items():
        expected = gold[f"out:{name}"]
        assert net.shapes[name] == expected.shape
        assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


# Fillers


@given(st.integers(1, 200))
def test_bilinear_variants_differ_for_kernels_2_and_3_mod_4(kernel):
    one, other = (fillers.bilinear_profile(kernel, v) for v in ("bvlc", "classic"))
    assert_allclose(one, one[::-1], atol=2e-7)  # centred
    if kernel % 4 in (0, 1):
        assert_allclose(one, other, atol=2e-7)
    else:
        assert np.abs(one - other).max() > 0.1 / kernel


@given(st.integers(1, 64))
def test_upsampling_kernel_is_equal_in_both_variants(factor):
    kernel = geometry.upsample_kernel(factor)
    assert_allclose(
        fillers.bilinear(kernel), fillers.bilinear(kernel, variant="classic"), atol=5e-7
    )


def test_filler_is_float32_for_any_size():
    assert fillers.bilinear(3, 7).shape == (3, 7)
    assert fillers.bilinear(6).dtype == np.float32
    with pytest.raises(pg.InputError, match="kernel size must be at least 1, got 0"):
        fillers.bilinear(0)
    with pytest.raises(pg.InputError, match="variant"):
        fillers.bilinear_profile(3, "other")  # type: ignore[arg-type]


# Geometry and algebra


@given(st.integers(1, 10_000))
def test_kernel_and_pad_formulas(f):
    assert geometry.upsample_kernel(f) == 2 * f - f % 2
    assert geometry.upsample_pad(f) == math.ceil((f - 1) / 2)


@given(st.integers(1, 300), st.integers(1, 64))
def test_output_is_the_factor_times_the_input(size, f):
    k, s, p = geometry.upsample_kernel(f), geometry.upsample_stride(f), geometry.upsample_pad(f)
    assert geometry.deconv_out(size, k, s, p) == f * size


@given(
    st.integers(1, 60), st.integers(1, 9), st.integers(1, 5), st.integers(0, 4), st.integers(1, 3)
)
def test_convolution_inverts_deconvolution_sizes(size, kernel, stride, pad, dilation):
    out = geometry.deconv_out(size, kernel, stride, pad, dilation)
    if out >= 1:
        assert geometry.conv_out(out, kernel, stride, pad, dilation) == size


@given(st.integers(1, 12), st.integers(1, 20))
def test_matrix_of_the_layer_is_interpolation_inside(f, n):
    spec = UpsampleSpec((f, f))
    ring = spec.ring[0]
    (actual, expected), _ = spec.matrices((n, n))
    inside = slice(ring, actual.shape[0] - ring)
    assert_allclose(actual[inside], expected[inside], atol=5e-7)
    assert_allclose(
        expected.sum(axis=1), 1
    )  # interpolation preserves constants; the layer does not
    if f > 1:
        assert actual[0].sum() < 1


@settings(max_examples=25)
@given(
    st.integers(1, 6), st.integers(1, 6), st.integers(1, 7), st.integers(1, 7), st.integers(0, 99)
)
def test_matrices_equal_onnxruntime_output(fh, fw, h, w, seed):
    """Y = A_h X A_w^T equals the emitted ONNX and, with the expected matrices, onnxruntime's Resize."""
    up = pg.upsample((fh, fw), input_shape=(2, 2, h, w))
    x = np.random.default_rng(seed).standard_normal((2, 2, h, w), dtype=np.float32)
    (actual_h, expected_h), (actual_w, expected_w) = up.specs[0].matrices((h, w))
    output = run_model(encode(up.to_onnx()), {"data": x})["upsample"]
    assert_allclose(output, actual_h @ x @ actual_w.T, atol=1e-5)
    from protogen.onnx import resize_model

    resized = run_model(encode(resize_model("bilinear", (fh, fw))), {"x": x})["y"]
    assert_allclose(resized, expected_h @ x @ expected_w.T, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
def test_error_bound_holds(fh, fw, seed):
    up = pg.upsample((fh, fw), channels=1)
    x = np.random.default_rng(seed).uniform(-1, 1, (5, 6))
    (actual_h, expected_h), (actual_w, expected_w) = up.specs[0].matrices((5, 6))
    error = np.abs(actual_h @ x @ actual_w.T - expected_h @ x @ expected_w.T)
    assert (error <= error_map(up.specs[0], (5, 6)) + 1e-9).all()
    assert error.max() <= up.error.border + 1e-9
    assert up.error.inside < 1e-6


def test_known_error_values():
    """The gain at the corner is 0.5625 for f = 2 and 0.316 for f = 8; the error is 1 minus it."""
    assert pg.upsample(2).error.border == pytest.approx(1 - 0.5625)
    assert pg.upsample(8).error.border == pytest.approx(1 - 0.316, abs=5e-4)
    nearest = bound(UpsampleSpec((3, 3), mode="nearest"))
    assert (nearest.inside, nearest.border, nearest.ring) == (0, 0, (0, 0))


@given(st.integers(1, 8), st.integers(1, 8))
def test_nearest_deconvolution_has_nearest_matrix(f, n):
    assert_array_equal(
        matrices.deconvolution_matrix(np.ones(f), n, f, 0), matrices.nearest_matrix(n, f)
    )


# Verification by running


@pytest.mark.parametrize(
    "options",
    [
        {"factor": 1},
        {"factor": 2},
        {"factor": 3, "mode": "nearest"},
        {"factor": "2x5", "channels": 2},
        {"factor": 4, "weights": "full", "trainable": True},
        {"factor": 6, "input_shape": (2, 3, 5, 9)},
    ],
    ids=str,
)
def test_verify_upsampling_passes(options):
    checks = pg.verify_upsampling(pg.upsample(**options))
    assert [check.data for check in checks] == ["random", "ramp"]
    for check in checks:
        assert check.inside <= 1e-5 * max(1, check.largest)
        ring = max(check.ring)
        assert (check.border > 0.1) == (ring > 0)


def test_verify_upsampling_detects_wrong_template(tmp_path):
    template = tmp_path / "deconvolution.prototxt.j2"
    own = ROOT / "templates" / "deconvolution.prototxt.j2"
    # A larger pad crops the output.
    text = own.read_text().replace("pad: {{ layer.pad[0] }}", "pad: {{ layer.pad[0] + 1 }}")
    template.write_text(text)
    up = pg.upsample(4, templates=tmp_path)
    with pytest.raises(pg.MismatchError, match="expected an output of 32x32, got 30x30"):
        pg.verify_upsampling(up)


# ONNX


@pytest.mark.parametrize("opset", [13, 18, onnx.defs.onnx_opset_version()])
def test_onnx_is_valid_and_named_like_caffe(opset):
    model = pg.upsample(2, bottom="conv5", name="up5", channels=4).to_onnx(opset=opset)
    encode(model)
    assert [i.name for i in model.graph.input] == ["conv5"]
    assert [o.name for o in model.graph.output] == ["up5"]
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["batch", 4, "height", "width"]
    dims = model.graph.output[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"
    assert dims[1].dim_value == 4
    assert dims[2].dim_param not in ("", "height")
    assert "protogen.upsample" in {p.key for p in model.metadata_props}


def test_onnx_free_axes_run_at_any_size():
    model = encode(pg.upsample(3).to_onnx())
    for shape in [(1, 3, 4, 4), (2, 3, 7, 1)]:
        out = run_model(model, {"data": np.ones(shape, np.float32)})["upsample"]
        assert out.shape == (*shape[:2], shape[2] * 3, shape[3] * 3)


def test_onnx_fixed_axes():
    model = pg.upsample(2, input_shape="1,3,8,9").to_onnx()
    dims = model.graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims] == [1, 3, 16, 18]


def test_opset_below_13_is_refused():
    with pytest.raises(pg.InputError, match="opset"):
        pg.upsample(2).to_onnx(opset=12)


# Weights


def test_full_weights_are_diagonal():
    up = pg.upsample(2, channels=3, weights="full")
    weight = up.weights["upsample"][0]
    assert weight.shape == (3, 3, 4, 4)
    kernel = fillers.bilinear(4)
    for i in range(3):
        for j in range(3):
            assert_array_equal(weight[i, j], kernel if i == j else 0 * kernel)


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(["bilinear", "nearest"]),
    st.sampled_from(["channelwise", "full"]),
)
def test_filler_is_set_only_if_caffe_produces_the_weights(fh, fw, mode, kernels):
    spec = UpsampleSpec((fh, fw), mode=mode, weights=kernels)
    if spec.filler.type == "bilinear":
        assert fh == fw
        assert spec.group == spec.channels
    if spec.needs_weights:
        assert spec.filler.value == 0
    elif mode == "nearest":
        assert spec.filler.value == 1


def test_caffemodel_reads_back(tmp_path):
    up = pg.upsample("2x3", channels=5, name="up", input_shape=(1, 5, 4, 4))
    up.net.save(tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    weights = weights_of((tmp_path / "n.caffemodel").read_bytes())
    assert list(weights) == ["data", "up"]  # every layer, as Caffe writes it
    assert_array_equal(weights["up"][0], up.weights["up"][0])
