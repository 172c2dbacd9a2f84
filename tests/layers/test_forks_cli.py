"""Unusual nets of layers of forks: one sentence and the right exit code, or the right numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nets import input_layer, net_with

import protogen as pg
from protogen.onnx import lower
from protogen.running.drawing import random_feeds
from protogen.training.signals import gradients, windows  # noqa: F401 (windows registers its operators)

DETECTIONS = """
layer { name: "y" type: "DetectionOutput" bottom: "a" bottom: "b" bottom: "c" top: "y"
  detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.4 } } }
"""
BOTTOMS = {"a": (1, 40), "b": (1, 20), "c": (1, 2, 40)}
REGIONS = """
layer { name: "y" type: "Proposal" bottom: "a" bottom: "b" bottom: "c" top: "y"
  proposal_param { ratio: 0.5 ratio: 1 ratio: 2 scale: 8 scale: 16 scale: 32 %s } }
"""
MAPS = {"a": (1, 18, 4, 4), "b": (1, 36, 4, 4), "c": (1, 3)}


def filled(shapes: dict[str, tuple[int, ...]], text: str) -> pg.Net:
    """Build a net whose parameter blobs hold random numbers."""
    net = net_with(shapes, text)
    random = np.random.default_rng(0)
    for layer, blobs in net.parameter_shapes.items():
        if blobs:
            net.weights[layer] = [np.float32(random.uniform(0.5, 1.5, s)) for s in blobs]
    return net


def one(type_: str, params: str = "", bottoms: str = "x", tops: str = "y") -> str:
    """The text of a layer."""
    reads = " ".join(f'bottom: "{name}"' for name in bottoms)
    writes = " ".join(f'top: "{name}"' for name in tops)
    return f'layer {{ name: "y" type: "{type_}" {reads} {writes} {params} }}'


# Layers after an axis whose length depends on data

AFTER = {
    "Flatten": "",
    "InnerProduct": "inner_product_param { num_output: 3 axis: -1 }",
    "Squeeze": "",
    "Shape": "",
    "ExpandDimsND": "expand_dims_nd_param { axis: 0 }",
}


@pytest.mark.parametrize("type_", AFTER)
def test_a_layer_that_needs_the_length_of_detections_is_refused(type_, tmp_path, commands):
    """The advice of the message works."""
    after = f'layer {{ name: "t" type: "{type_}" bottom: "y" top: "t" {AFTER[type_]} }}'
    inputs = "\n".join(input_layer(name, shape) for name, shape in BOTTOMS.items())
    (tmp_path / "net.prototxt").write_text(f"{inputs}\n{DETECTIONS}\n{after}\n")
    net = pg.load(tmp_path / "net.prototxt")
    message = (
        f'net.prototxt:8:1: layer "t" ({type_}): the length of "y" depends on data, but the export of '
        "this layer holds for one length. End the net before it with --to-blob y."
    )
    for name, blobs in net.parameter_shapes.items():
        net.weights[name] = [np.ones(shape, np.float32) for shape in blobs or ()]
    with pytest.raises(pg.UnsupportedError) as error:
        pg.to_onnx(net)
    assert str(error.value).endswith(message)
    if type_ != "Flatten":
        return
    dry = commands.run("convert", "net.prototxt", "--dry-run", cwd=tmp_path)
    assert dry.returncode == 1
    assert '"y" depends on data' in dry.stdout.replace("\n", " ")
    cut = commands.run(
        "convert", "net.prototxt", "--to-blob", "y", "-o", "n.onnx", "--verify", cwd=tmp_path
    )
    assert cut.returncode == 0, cut.stderr


@pytest.mark.parametrize(
    "after",
    [
        'type: "ReLU"',
        'type: "Softmax" softmax_param { axis: -1 }',
        'type: "Reshape" reshape_param { shape { dim: -1 dim: 7 } }',
        'type: "Reshape" reshape_param { shape { dim: -1 dim: 1 } }',
        'type: "Reduction" reduction_param { operation: MEAN }',
        'type: "Slice" top: "u" slice_param { axis: 3 slice_point: 3 }',
        'type: "Concat" bottom: "y" concat_param { axis: 2 }',
    ],
)
def test_layers_after_detections_hold_at_any_length(after):
    """The same layer alone, on the detections, gives the same numbers."""
    layer = f'layer {{ name: "t" bottom: "y" top: "t" {after} }}'
    net = net_with(BOTTOMS, f"{DETECTIONS} {layer}")
    feeds = random_feeds(net, 0)
    blobs = pg.run(net, feeds, ["y", "t"])
    assert blobs["y"].shape[2] > 1
    alone = pg.run(net_with({"y": blobs["y"].shape}, layer), {"y": blobs["y"]}, ["t"])
    np.testing.assert_allclose(blobs["t"], alone["t"], rtol=1e-6)


def test_a_loss_that_divides_by_the_number_of_regions_is_refused():
    loss = 'layer { name: "t" type: "EuclideanLoss" bottom: "y" bottom: "y" top: "t" }'
    with pytest.raises(pg.UnsupportedError, match='the length of "y" depends on data'):
        pg.to_onnx(net_with(MAPS, REGIONS % "" + loss))


# Thresholds that ONNX's operator does not take


def test_overlap_thresholds_of_any_value():
    """No overlap is above 1, and each is above a negative number."""
    nets = {n: net_with(MAPS, REGIONS % f"nms_thresh: {n}") for n in (-1, 0.5, 1, 3)}
    feeds = random_feeds(nets[1], 0)
    regions = {n: pg.run(net, feeds)["y"] for n, net in nets.items()}
    np.testing.assert_array_equal(regions[-1], regions[0.5][:1])
    np.testing.assert_array_equal(regions[3], regions[1])
    assert 1 < len(regions[0.5]) < len(regions[1])


def test_a_negative_threshold_of_nms_is_refused():
    text = one("NMS", "nms_param { top_k: 2 iou_threshold: -1 }")
    with pytest.raises(pg.InputError, match="iou_threshold must be at least 0, got -1"):
        net_with({"x": (4, 4)}, text)
    boxes = np.float32([[0, 0, 2, 2], [0, 0, 2, 2], [5, 5, 6, 6], [0, 0, 1, 1]])
    net = net_with({"x": (4, 4)}, text.replace("-1", "7"))
    np.testing.assert_array_equal(pg.run(net, {"x": boxes})["y"], [0, 1])


# Bottoms, tops and parameters that do not fit


@pytest.mark.parametrize(
    ("shapes", "text", "message"),
    [
        (
            {"x": ()},
            one("BN", "bn_param { bn_mode: INFERENCE }"),
            'bottom "x" must have 1 to 32 axes',
        ),
        ({"x": ()}, one("Normalize", "norm_param { eps: 1 }"), 'bottom "x" must have 1 to 32 axes'),
        ({"x": ()}, one("Piece"), 'bottom "x" must have 1 to 32 axes'),
        ({"x": ()}, one("Pad"), 'bottom "x" must have 1 to 32 axes'),
        (
            {"x": (2, 8, 6, 6), "r": (3, 5)},
            one("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 2 }", "xr", "yz"),
            "expected 1 top, got 2",
        ),
        (
            {"x": (2, 8, 6, 6), "r": (3, 5)},
            one(
                "ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0 }", "xr"
            ),
            "spatial_scale must be above 0 and finite, got 0",
        ),
        (
            {"x": (2, 8, 6, 6), "r": (3, 5)},
            one(
                "ROIAlign",
                "roi_align_param { pooled_h: 2 pooled_w: 3 sampling_ratio: 1 spatial_scale: inf }",
                "xr",
            ),
            "spatial_scale must be above 0 and finite, got inf",
        ),
        (
            {},
            one("Range", "range_param { start: 100000000 limit: 100000100 delta: 1 }", ""),
            r"delta 1 is too small: 1e\+08 \+ delta is 1e\+08",
        ),
        (
            {},
            one(
                "SparseToDense",
                "sparse_to_dense_param { sparse_indices: 0 sparse_indices_shape: 4294967295 "
                "output_shape: 4 sparse_values: 1 }",
                "",
            ),
            "sparse_indices_shape 4294967295 does not fit 1 indices",
        ),
        (
            {**BOTTOMS, "d": (3, 20)},
            DETECTIONS.replace('top: "y"', 'bottom: "d" top: "y"'),
            "its bottoms 3 and 4 must have 1 image, as the first",
        ),
    ],
)
def test_input_errors(shapes, text, message):
    with pytest.raises(pg.InputError, match=message):
        pg.to_onnx(net_with(shapes, text))


@pytest.mark.parametrize(
    ("shapes", "text", "message"),
    [
        (
            {},
            one(
                "SparseToDense",
                "sparse_to_dense_param { sparse_indices: 0 sparse_indices_shape: 1 "
                "output_shape: 4294967295 sparse_values: 1 }",
                "",
            ),
            "a constant of 4294967295 values",
        ),
        (
            {"x": (1, 2, 6, 6)},
            one("Pooling", "pooling_param { kernel_size: 3 stride: 100000 }"),
            "a padded map of 10000600009 values",
        ),
        (
            {"x": (1, 2, 6, 6)},
            one("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 100000 }"),
            "a padded map of 10000600009 values",
        ),
    ],
)
def test_exports_that_would_be_too_large_are_refused(shapes, text, message):
    with pytest.raises(pg.UnsupportedError, match=message):
        pg.to_onnx(net_with(shapes, text))


def test_a_layer_without_channels():
    text = one(
        "DeformableConvolution",
        "deformable_convolution_param { num_output: 4 kernel_size: 3 pad: 1 group: 1 "
        "deformable_group: 1 }",
        "xr",
    )
    with pytest.raises(pg.InputError, match="which contains no values"):
        net_with({"x": (1, 0, 6, 6), "r": (1, 18, 6, 6)}, text)


# Numbers


def test_the_norm_over_no_axes_is_that_of_each_value():
    """SSD's Normalize of a blob of one axis: each sample has one value."""
    text = one("Normalize", "norm_param { across_spatial: true channel_shared: true }")
    net = net_with({"x": (6,)}, text)
    net.weights["y"] = [np.float32(2)]
    x = np.float32([3, -4, 5, 0.5, -0.25, 8])
    np.testing.assert_allclose(pg.run(net, {"x": x})["y"], 2 * np.sign(x), rtol=1e-5)


def test_an_evaluation_without_classes():
    """With the background as the only class, there are only rows of detections."""
    text = one("DetectionEvaluate", "detection_evaluate_param { num_classes: 1 }", "ab")
    net = net_with({"a": (1, 1, 5, 7), "b": (1, 1, 4, 8)}, text)
    rows = pg.run(net, random_feeds(net, 0))["y"]
    assert net.shapes["y"] == (1, 1, 5, 5)
    assert rows.shape in [(1, 1, count, 5) for count in range(6)]


def test_rewrite_reports_a_layer_that_is_wrong(tmp_path: Path, commands):
    (tmp_path / "net.prototxt").write_text(f"{input_layer('x', (2, 3))}\n{one('Transpose')}\n")
    done = commands.run("rewrite", "net.prototxt", "-o", "stock.prototxt", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert "not replaced: Transpose (y): dim must name each axis" in done.stdout + done.stderr


# Gradients


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        (
            {"x": (2, 3, 4, 6, 6)},
            one(
                "Convolution3D",
                "convolution3d_param { num_output: 4 kernel_size: 3 kernel_depth: 2 }",
            ),
        ),
        (
            {"x": (2, 3, 6, 6), "r": (2, 3, 6, 6)},
            one(
                "Correlation",
                "correlation_param { kernel_size: 3 max_displacement: 2 pad: 3 }",
                "xr",
            ),
        ),
    ],
)
def test_jax_takes_the_defaults_of_operators(shapes, text):
    pytest.importorskip("jax")
    net = filled(shapes, text)
    program = lower(net)
    assert not gradients.unsupported(program)
    feeds = random_feeds(net, 0)
    wanted = pg.run(net, feeds)["y"]
    error = np.abs(gradients.forward(program, feeds)["y"] - wanted).max()
    assert error <= 2e-5 * np.abs(wanted).max()
