"""Products, masks, points, regions and boxes of Synopsys' fork, against loops as in its source
(foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers)."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synopsys import close, net_of, rewritten, run

import protogen as pg

SETTINGS = settings(max_examples=30, deadline=None, derandomize=True)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@SETTINGS
@given(*[st.integers(1, 4)] * 3, st.integers(0, 1), st.integers(0, 1), st.integers(0, 3))
def test_gemm(m, k, n, first, second, form):
    a, b = normal(1, m, k), normal(2, k, n)
    c = normal(3, *[(m, n), (m, 1), (1, n), (1,)][form])
    expected = 1.5 * (a.astype(np.float64) @ b) - 0.5 * c
    text = f'type: "Gemm" gemm_param {{ alpha: 1.5 beta: -0.5 transA: {first} transB: {second} }}'
    close(run(text, a.T if first else a, b.T if second else b, c), expected)


def test_gemm_refuses_other_shapes():
    with pytest.raises(pg.InputError, match="3 is not 2"):
        net_of('type: "Gemm"', [normal(0, 2, 3), normal(0, 2, 3), normal(0, 1)])
    with pytest.raises(pg.InputError, match="its third bottom must have the shape"):
        net_of('type: "Gemm"', [normal(0, 2, 3), normal(0, 3, 4), normal(0, 4)])


@pytest.mark.parametrize("shape", [(2, 3), (3, 4, 5), (2, 3, 4, 2)])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(shape, affine):
    x, blobs = normal(4, *shape), [normal(5, *shape[1:]), normal(6, *shape[1:])]
    expected = np.zeros(shape)
    for sample, top in zip(x.astype(np.float64), expected, strict=True):
        centred = sample - sample.sum() / sample.size
        top[...] = centred / math.sqrt((centred**2).sum() / sample.size + 0.25)
    if affine:
        expected = expected * blobs[0] + blobs[1]
    flag = str(affine).lower()
    text = f'type: "LayerNorm" layer_norm_param {{ eps: 0.25 elementwise_affine: {flag} }}'
    close(run(text, x, weights=blobs if affine else None), expected)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("axes", [(), (1,), (-1, 0), (0, 1, 2)])
def test_lp_normalization(p, axes):
    x = normal(7, 3, 4, 2)
    listed = " ".join(f"axis: {axis}" for axis in axes)
    size = (np.abs(x.astype(np.float64)) ** p).sum(axes, keepdims=True) if axes else np.abs(x) ** p
    text = f'type: "LpNormalization" lp_normalization_param {{ p: {p} {listed} }}'
    close(run(text, x), x / size ** (1 / p))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("type_", ["SqueezeConvolution", "SqueezeDeconvolution"])
def test_masked_convolutions(tmp_path, type_, bias):
    """squeeze_conv_layer.cpp: weight times mask, bias times mask."""
    x, weight, mask = normal(8, 2, 3, 5, 4), normal(9, 3, 3, 3, 2), normal(10, 3, 3, 3, 2) > 0
    shift, shift_mask = normal(11, 3), np.array([1, 0, 1])
    words = "num_output: 3 kernel_h: 3 kernel_w: 2 stride: 2"
    flag = "" if bias else "bias_term: false"
    text = f'type: "{type_}" squeeze_convolution_param {{ {words} {flag} }}'
    spare = np.zeros((1, 1, 1, 2))
    weights = [weight, shift, mask, shift_mask, spare] if bias else [weight, mask, spare]
    y = run(text, x, weights=weights)
    plain = [weight * mask, shift * shift_mask] if bias else [weight * mask]
    plain_text = f'type: "{type_[7:]}" convolution_param {{ {words} {flag} }}'
    close(y, run(plain_text, x, weights=plain))
    assert rewritten(tmp_path, text, x.shape, weights=weights) == [type_[7:]]


@pytest.mark.parametrize("bias", [True, False])
def test_masked_inner_product(tmp_path, bias):
    x, weight, mask = normal(12, 2, 3, 4), normal(13, 5, 12), normal(14, 5, 12) > 0
    shift, shift_mask = normal(15, 5), np.array([1, 0, 1, 1, 0])
    spare = np.zeros((1, 1, 1, 2))
    weights = [weight, shift, mask, shift_mask, spare] if bias else [weight, mask, spare]
    flag = "" if bias else "bias_term: false"
    text = f'type: "SqueezeInnerProduct" squeeze_inner_product_param {{ num_output: 5 {flag} }}'
    expected = x.reshape(2, 12) @ (weight * mask).T + (shift * shift_mask if bias else 0)
    close(run(text, x, weights=weights), expected)
    assert rewritten(tmp_path, text, x.shape, weights=weights) == ["InnerProduct"]


def test_masks_of_training_are_refused():
    text = 'type: "SqueezeInnerProduct" squeeze_inner_product_param { num_output: 5 }'
    net, _ = net_of(text, [normal(0, 2, 3)], phase="TRAIN")
    net.weights["y"] = [np.ones(shape, np.float32) for shape in net.parameter_shapes["y"]]
    with pytest.raises(pg.UnsupportedError, match="changes its masks at random"):
        pg.to_onnx(net)


@pytest.mark.parametrize("classes", [1, 3])
def test_tensor2box(classes):
    """tensor2box_layer.cpp."""
    h, w, anchors = 3, 2, [(10, 13), (33, 23)]
    x = normal(16, 2, 2 * (5 + classes), h, w)
    stride_w, stride_h = 65 // w, 98 // h
    top = []
    for s, a, i, j in itertools.product(range(2), range(2), range(h), range(w)):
        t = x[s, a * (5 + classes) : (a + 1) * (5 + classes), i, j].astype(np.float64)
        sigmoid = 0.5 * np.tanh(0.5 * t) + 0.5
        box = [(sigmoid[0] + j) * stride_w, (sigmoid[1] + i) * stride_h]
        box.append(math.exp(t[2]) * (anchors[a][0] / stride_w) * stride_w)
        box.append(math.exp(t[3]) * (anchors[a][1] / stride_h) * stride_h)
        top.append([*box, *sigmoid[4:]])
    text = (
        f'type: "Tensor2Box" tensor2box_param {{ num_classes: {classes} img_dim_h: 98 img_dim_w: 65 '
        "anchors_x: 10 anchors_x: 33 anchors_y: 13 anchors_y: 23 }"
    )
    close(run(text, x), np.array(top).reshape(2, 2 * h * w, 5 + classes))


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 5)])
def test_group_point(shape):
    x = normal(17, 2, 6, 4)
    places = np.random.default_rng(18).integers(0, 6, shape)
    expected = np.stack([x[b][places[b]] for b in range(2)])
    close(run('type: "GroupPoint"', x, places.astype(np.float32)), expected)


def test_three_interpolate():
    x, weights = normal(19, 2, 6, 4), normal(20, 2, 5, 3)
    places = np.random.default_rng(21).integers(0, 6, (2, 5, 3))
    expected = np.zeros((2, 5, 4))
    for b, n, k in np.ndindex(2, 5, 3):
        expected[b, n] += x[b, places[b, n, k]] * weights[b, n, k]
    close(run('type: "ThreeInterpolate"', x, places.astype(np.float32), weights), expected)


@pytest.mark.parametrize(("radius", "samples"), [(0.1, 2), (1.0, 3), (1.5, 9), (5.0, 4), (5.0, 12)])
@pytest.mark.parametrize("coordinates", [3, 5])
def test_query_ball_point(radius, samples, coordinates):
    """query_ball_point_layer.cpp."""
    x, centres = normal(22, 2, 8, coordinates), normal(23, 2, 4, coordinates)
    expected = np.zeros((2, 4, samples))
    for b, n in np.ndindex(2, 4):
        inside = [
            i
            for i in range(8)
            if ((centres[b, n, :3] - x[b, i, :3]) ** 2).sum() <= np.float32(radius) ** 2
        ][:samples]
        first = inside[0] if inside else 0
        expected[b, n] = inside + [first] * (samples - len(inside))
    text = (
        f'type: "QueryBallPoint" point_net_param {{ n_sample_point: {samples} radius: {radius} }}'
    )
    np.testing.assert_array_equal(run(text, x, centres), expected)


def test_three_nearest_neighbours():
    """three_NN_layer.cpp: of equal distances, the first point."""
    x = np.random.default_rng(24).integers(0, 3, (2, 6, 3)).astype(np.float32)
    y = np.random.default_rng(25).integers(0, 3, (2, 7, 3)).astype(np.float32)
    far, places = run('type: "ThreeNN"', x, y, tops=2)
    for b, n in np.ndindex(2, 6):
        best = sorted((((x[b, n] - y[b, m]) ** 2).sum(), m) for m in range(7))[:3]
        np.testing.assert_array_equal(far[b, n], [value for value, _ in best])
        np.testing.assert_array_equal(places[b, n], [m for _, m in best])


def test_farthest_points_are_refused():
    text = 'type: "FarthestPointSample" point_net_param { n_sample_point: 3 }'
    net, _ = net_of(text, [normal(0, 2, 6, 3)])
    assert net.shapes["y"] == (2, 3)
    with pytest.raises(pg.UnsupportedError, match="only in a loop"):
        pg.to_onnx(net)


def crop(image, box, height, width, other):
    """crop_and_resize_layer.cpp for one region of an image of the shape (C, H, W)."""
    y1, x1, y2, x2 = map(np.float32, box)
    h, w = image.shape[1:]
    top = np.full((image.shape[0], height, width), other, np.float64)
    step_y = (y2 - y1) * np.float32(h - 1) / np.float32(height - 1) if height > 1 else 0
    step_x = (x2 - x1) * np.float32(w - 1) / np.float32(width - 1) if width > 1 else 0
    for i, j in np.ndindex(height, width):
        y = y1 * np.float32(h - 1) + np.float32(i) * step_y
        x = x1 * np.float32(w - 1) + np.float32(j) * step_x
        y = y if height > 1 else np.float32(0.5) * (y1 + y2) * np.float32(h - 1)
        x = x if width > 1 else np.float32(0.5) * (x1 + x2) * np.float32(w - 1)
        if 0 <= y <= h - 1 and 0 <= x <= w - 1:
            up, left = math.floor(y), math.floor(x)
            down, right = math.ceil(y), math.ceil(x)
            above = image[:, up, left] + (image[:, up, right] - image[:, up, left]) * (x - left)
            below = image[:, down, left] + (image[:, down, right] - image[:, down, left]) * (
                x - left
            )
            top[:, i, j] = above + (below - above) * (y - up)
    return top


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (5, 4), (1, 6)])
def test_crop_and_resize(layout, height, width):
    images = normal(26, 2, 3, 6, 5)
    rng = np.random.default_rng(27)
    boxes = rng.uniform(-0.2, 1.2, (7, 4)).astype(np.float32)
    boxes[0] = [0, 0, 1, 1]
    which = rng.integers(0, 2, 7).astype(np.float32)
    parts = [
        crop(images[int(n)], box, height, width, 0.5) for n, box in zip(which, boxes, strict=True)
    ]
    expected, x = np.stack(parts), images
    if layout == "NHWC":
        expected, x = expected.transpose(0, 2, 3, 1), x.transpose(0, 2, 3, 1)
    text = (
        f'type: "CropAndResize" crop_and_resize_param {{ crop_h: {height} crop_w: {width} '
        f'extrapolation_value: 0.5 data_format: "{layout}" }}'
    )
    close(run(text, x, which, boxes), expected)
