"""Small nets that an earlier version computed, accepted or rejected wrongly, with the correct result.

The correct result comes from real Caffe (BVLC), from the source code of the fork, or from onnxruntime.
"""

import math
import re
import warnings

import numpy as np
import pytest
from places import TESTS

import protogen as pg
from protogen.formats import prototxt

INPUTS = TESTS / "inputs"
pytestmark = pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")

# Exit code and a part of the error, by folder and name. Exit code 3: the meaning in the fork is unknown;
# 2: Caffe refuses the net.
REFUSED = {
    "caffe/bn_alphabeta": (2, "the weights have 3 blobs, but the layer has 5"),
    "caffe/det_mismatch": (2, '"loc" must have 16 channels for 4 priors and num_classes 2, got 1x32'),
    "caffe/hinge_enum": (3, "hinge_loss_param.norm has the unknown value L3"),
    "caffe/lrn_enum": (3, "lrn_param.norm_region has the unknown value WITHIN_CHANNELS"),
    "caffe/r21": (3, "scale is not set, and its default differs"),
    "caffe/round_enum": (3, "pooling_param.round_mode has the unknown value floor"),
    "caffe/shuffle_othername": (3, "shuffle_param is set"),
    "caffe/shuffle_str": (2, "group must be an integer"),
    "caffe/unk_param_on_known": (3, "pooling_param.dilation is set to 2"),
    "caffe/up_stride": (3, "upsample_param.stride is set to 2"),
    "caffe/up_stride2": (3, "upsample_param.stride is set to 2"),
    "check/absval_in_place": (2, "Caffe cannot compute this layer in place"),
    "check/axpy_wide": (2, "expected bottoms of shapes (N, C)"),
    "check/eltwise_coeff_prod": (2, "coeff is not allowed with operation PROD"),
    "check/eltwise_in_place": (2, "Caffe cannot compute this layer in place"),
    "check/flatten_in_place": (2, "Caffe cannot compute this layer in place"),
    "check/global_pool_pad": (2, "global_pooling requires pad 0 and stride 1"),
    "check/global_pool_stride": (2, "global_pooling requires pad 0 and stride 1"),
    "check/leaky_check": (2, "Caffe cannot compute this layer in place"),
    "check/pool_pad_h_only": (2, "pad_h and pad_w must both be set"),
    "check/selu_type": (3, "unknown layer type"),
    "check/stochastic_pad": (2, "STOCHASTIC"),
    "check/utf16": (2, "the file is UTF-16 text, expected the text of a net (prototxt). Save it as UTF-8."),
    "refuse/eltwise_prod_coeff": (2, "coeff is not allowed with operation PROD"),
    "refuse/filter_selector_2x2": (2, "must have one value per sample"),
    "refuse/flatten_inplace": (2, "Caffe cannot compute this layer in place"),
    "refuse/infogain_normalize": (2, "loss_param.normalize is not supported by this layer"),
    "refuse/pool_global_stride2": (2, "global_pooling requires pad 0 and stride 1"),
    "refuse/pool_pad_h_only": (2, "pad_h and pad_w must both be set"),
    "refuse/sigmoidce_two_tops": (2, "tops"),
    "refuse/softmaxloss_two_tops": (2, "second top"),
}  # fmt: skip
# Nets for which `check` reports no error, because the fault is not in the text alone.
QUIET = ("caffe/bn_alphabeta", "caffe/r21")


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_net_is_rejected(name, tmp_path):
    """convert fails with one sentence and writes no file; `check` reports an error."""
    code, words = REFUSED[name]
    path = INPUTS / f"{name}.prototxt"
    weights = path.with_suffix(".caffemodel")
    with pytest.raises(pg.ProtogenError, match=re.escape(words)) as caught:
        pg.convert(path, weights if weights.exists() else None, tmp_path / "x.onnx")
    assert caught.value.exit_code == code
    assert list(tmp_path.iterdir()) == []
    if name not in QUIET:
        if "utf16" in name:
            with pytest.raises(pg.InputError, match="UTF-16"):
                pg.check_file(path)
            return
        diagnostics = pg.check_file(path).diagnostics
        severities = {diagnostic.severity for diagnostic in diagnostics}
        assert "error" in severities, list(map(str, diagnostics))


def test_every_input_file_has_a_test():
    listed = {*REFUSED, *(f"caffe/{name}" for name in VALUES), *(f"caffe/{name}" for name in PROVED),
              *(f"check/{name}" for name in VALUES_CHECK)}  # fmt: skip
    nets = {f"{p.parent.name}/{p.stem}" for p in INPUTS.glob("*/*.prototxt")}
    assert nets == listed


def run_with_inputs(name: str, folder: str = "caffe", **options) -> np.ndarray:
    """Return the last blob of a net and its inputs, from the .npz of the net or random ones."""
    path = INPUTS / folder / f"{name}.prototxt"
    weights = path.with_suffix(".caffemodel")
    net = pg.load(path, weights if weights.exists() else None, **options)
    if any(net.parameter_shapes.values()) and not net.weights:
        pg.initialise(net, seed=0)
    feeds = {}
    if path.with_suffix(".npz").exists():
        with np.load(path.with_suffix(".npz")) as file:
            feeds = dict(file)
    generator = np.random.default_rng(0)
    for blob in net.inputs:
        feeds.setdefault(blob, generator.standard_normal(net.shapes[blob], np.float32))
    return list(pg.run(net, feeds).values())[-1], feeds


def mvn(x: np.ndarray) -> np.ndarray:
    """MVN of Caffe: on four axes, for each channel of each sample."""
    n, c, h, w = (*x.shape, 1, 1, 1, 1)[:4]
    x = x.reshape(n, c, h, w).astype(np.float64)
    centred = x - x.mean((2, 3), keepdims=True)
    return centred / (np.sqrt((centred**2).mean((2, 3), keepdims=True)) + 1e-9)


VALUES = {
    "softmaxloss_axis0": lambda y, _: np.testing.assert_allclose(y, 15 * math.log(3), rtol=1e-5),
    "accuracy_all_ignored": lambda y, _: np.testing.assert_array_equal(y, 0),
    "infogain_ignore255": lambda y, _: np.testing.assert_allclose(y, math.log(3), rtol=1e-5),
    "clip_min_above_max": lambda y, _: np.testing.assert_array_equal(y, np.float32([0.5, 0.5])),
    "power_0_to_minus1": lambda y, _: np.testing.assert_array_equal(y, [np.inf, np.inf]),
    "upsample_size": lambda y, _: np.testing.assert_equal(y.shape, (1, 2, 7, 7)),
    "interp_both": lambda y, _: np.testing.assert_equal(y.shape[2:], (5, 5)),
    "ip_axis_minus1": lambda y, f: np.testing.assert_allclose(
        y, np.repeat(f["x"].sum(1, keepdims=True), 2, 1), rtol=1e-5
    ),
    "mvn_rank2": lambda y, f: np.testing.assert_allclose(y, mvn(f["x"]), atol=1e-5),
    "mvn_rank3": lambda y, f: np.testing.assert_allclose(y, mvn(f["x"]), atol=1e-5),
    "mvn3d": lambda y, f: np.testing.assert_allclose(y, mvn(f["data"]), atol=1e-5),
    "mvn2d": lambda y, f: np.testing.assert_allclose(y, mvn(f["data"]), atol=1e-5),
    "inplace_on_input": lambda y, f: np.testing.assert_array_equal(y, f["a"].clip(0)),
    "drop_scale_test": lambda y, f: np.testing.assert_allclose(y, f["data"] * 0.5, rtol=1e-6),
    "elt_sub": lambda y, f: np.testing.assert_allclose(y, f["data"] - f["b"], rtol=1e-5),
    "vp_div": lambda y, f: np.testing.assert_allclose(y, f["data"] / f["b"], rtol=1e-5),
    "vp_interp": lambda y, _: np.testing.assert_equal(y.shape[2:], (12, 12)),
    "r7": lambda y, f: np.testing.assert_allclose(y, f["data"] / 255, rtol=1e-5),
}
# As in Caffe, the power of a negative number is NaN, and the power of 0 is infinite.
VALUES_CHECK = {
    "power_neg": lambda y, _: np.testing.assert_array_equal(np.isnan(y), True),
    "power_zero": lambda y, _: np.testing.assert_array_equal(y, np.inf),
    "shuffle_channel": lambda y, f: np.testing.assert_array_equal(y, f["data"][:, [0, 2, 1, 3]]),
    "selu_dropout": lambda y, f: np.testing.assert_array_equal(y, f["data"]),
    "leaky_negative": lambda y, _: np.testing.assert_equal(y.shape, (1, 5)),
    "hardsigmoid_saturated": lambda y, _: np.testing.assert_equal(y.shape, (4, 10)),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values_of_a_converted_net_are_correct(name):
    VALUES[name](*run_with_inputs(name))


@pytest.mark.parametrize("name", VALUES_CHECK)
def test_values_of_a_checked_net_are_correct(name):
    VALUES_CHECK[name](*run_with_inputs(name, "check"))


# Nets whose ONNX model is verified against the net. For nets of forks, the expected numbers are in
# tests/layers/test_fork_fields.py.
PROVED = [
    "avg_excl", "batchnorm_train", "conv_dil_hw", "conv_hole", "conv_kernel_past_end", "conv_relu",
    "conv_relu_slope", "ip_relu", "label_memory", "loss_topless", "mvn2d_ac", "mvn_rank3_then_ip", "norm_nw",
    "pool_exc", "pooling_gap", "r3_f16", "roi", "roi300", "segnet_unpool", "stage_deploy", "tiny", "v0_extra",
    "zf_tail",
]  # fmt: skip


@pytest.mark.parametrize("name", PROVED)
def test_converted_model_is_verified(name, tmp_path):
    path = INPUTS / "caffe" / f"{name}.prototxt"
    weights = path.with_suffix(".caffemodel")
    options = {"stages": ["deploy"]} if name == "stage_deploy" else {}
    if not weights.exists():
        net = pg.load(path, **options)
        weights = None
        if any(net.parameter_shapes.values()):
            pg.initialise(net, seed=0, fill=True)
            weights = tmp_path / "w.caffemodel"
            net.save(tmp_path / "w.prototxt", weights)
    converted = pg.convert(path, weights, tmp_path / "x.onnx", verify=True, **options)
    assert converted.receipt["checked"]["onnxruntime"]["passed"]


def test_dropout_without_scale_train_halves_the_output():
    """zf_tail is from TextBoxes."""
    path = INPUTS / "caffe" / "zf_tail.prototxt"
    x = {"data": np.random.default_rng(0).standard_normal((2, 3, 4, 4), np.float32)}
    net = pg.load(path, path.with_suffix(".caffemodel"))
    output = pg.run(net, x)["fc6"]
    text = path.read_text().replace("scale_train: false", "")
    other = pg.Net(prototxt.parse(text, "net"), dict(net.weights))
    np.testing.assert_allclose(output * 2, pg.run(other, x)["fc6"], rtol=1e-6)


def test_check_fix_does_not_change_these_nets(tmp_path):
    """The suggestion of a name is not a safe fix, so that the texts do not change."""
    for path in INPUTS.glob("*/*.prototxt"):
        if path.stem == "utf16":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pg.ProtogenWarning)
            assert pg.check_file(path, fix=True).fixed is None, path


def test_mean_file_of_four_axes_is_accepted(protogen, tmp_path):
    """The first axis has length 1, as in Caffe's mean files."""
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 10 dim: 10 } } }\n'
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    )
    mean = INPUTS / "caffe" / "mean_4d.npy"
    assert np.load(mean).shape == (1, 3, 10, 10)
    done = protogen("convert", "net.prototxt", "-o", "x.onnx", "--mean", mean, "--verify")
    assert done.returncode == 0, done.stderr
