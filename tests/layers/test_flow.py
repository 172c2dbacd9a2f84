"""FlowNet2's layers against loops written from the public source, lmb-freiburg/flownet2.

The functions read ``src/caffe/layers``: correlation_layer.cu, correlation_layer1d.cu, flow_warp_layer.cpp,
channel_norm_layer.cpp, accum_layer.cpp, resample_layer.cu, downsample_layer.cu, mean_layer.cpp,
data_augmentation_layer.cu, l1loss_layer.cu and lpq_loss_layer.cu.
"""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net_with

import protogen as pg
from protogen.layers import fillers

F = np.float32
DRAWN = settings(max_examples=30, deadline=None)
STOCK = Path(tempfile.mkdtemp())


def net(text: str, *shapes: tuple[int, ...], tops: int = 1, **options) -> pg.Net:
    """Build a net with inputs a, b, c, ... and the layer ``y`` with this text."""
    names = "abcdef"[: len(shapes)]
    blobs = " ".join(
        [f'bottom: "{name}"' for name in names] + [f'top: "y{i}"' for i in range(tops)]
    )
    shaped = dict(zip(names, shapes, strict=True))
    built = net_with(shaped, f'layer {{ name: "y" {blobs} {text} }}')
    return pg.Net(built.message, **options)


def run(text: str, *arrays: np.ndarray, weights=None, tops: int = 1, **options) -> np.ndarray:
    built = net(text, *(a.shape for a in arrays), tops=tops, **options)
    if weights is not None:
        built.take_weights({"y": weights})
    outputs = pg.run(built, dict(zip("abcdef", arrays, strict=False)))
    return outputs["y0"] if tops == 1 else [outputs[f"y{i}"] for i in range(tops)]


def rewritten(path, built: pg.Net) -> pg.Net | None:
    """Return the net of stock layers that ``pg.rewrite`` writes; None if it keeps the layer."""
    path.mkdir(exist_ok=True)
    weights = path / "n.caffemodel" if built.weights else None
    built.save(path / "n.prototxt", weights)
    result = pg.rewrite(path / "n.prototxt", weights)
    return None if result.retained else result.net


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    largest = np.nanmax(np.abs(expected), initial=1e-6)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * largest)


def drawn(seed: int, *shape: int, nan: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape, np.float32)
    return np.where(rng.random(shape) < nan, F("nan"), x)


def c_round(x) -> int:
    return math.floor(x + 0.5) if x >= 0 else -math.floor(-x + 0.5)


# Correlation


def correlation(a, b, k, most, pad, s1, s2, subtract, direction=None):
    """The kernels CorrelateData and CorrelateDataSubtract; ``direction`` is that of Correlation1D."""
    n, c, h, w = a.shape
    one = direction is not None
    pad_h, most_h = (0, 0) if one else (pad, most)
    padded = [np.pad(x, ((0, 0), (0, 0), (pad_h, pad_h), (pad, pad))) for x in (a, b)]
    border_w, border_h = most + k // 2, most_h + k // 2
    top_w = math.ceil((w + 2 * pad - 2 * border_w) / s1)
    top_h = math.ceil((h + 2 * pad_h - 2 * border_h) / s1)
    radius = most // s2
    width = 2 * radius + 1 if not direction else radius + 1
    shift = {None: -radius, 0: -radius, 1: 0, -1: -width}[direction]
    channels = width if one else width * width
    top = np.zeros((n, channels, top_h, top_w), np.float64)
    for channel in range(channels):
        dx = (channel % width + shift) * s2
        dy = 0 if one else (channel // width - radius) * s2
        for y in range(top_h):
            for x in range(top_w):
                total = np.zeros(n)
                for j in range(k):
                    for i in range(k):
                        y1, x1 = y * s1 + most_h + j, x * s1 + most + i
                        u = padded[0][:, :, y1, x1].astype(np.float64)
                        # A column before the row is the padding at the end of the row above.
                        column = x1 + dx
                        v = padded[1][:, :, y1 + dy, column] if column >= 0 else np.zeros((n, c))
                        total += (np.abs(u - v) if subtract else u * v).sum(1)
                top[:, channel, y, x] = total / (k * k * c)
    return top.astype(np.float32)


@DRAWN
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (2, 3, 9, 9))),
    k=st.sampled_from([1, 1, 3, 5]),
    most=st.integers(0, 4),
    pad=st.integers(0, 5),
    s1=st.integers(1, 3),
    s2=st.integers(1, 3),
    subtract=st.booleans(),
    direction=st.sampled_from([None, None, 0, 1, -1]),
    seed=st.integers(0, 99),
)
def test_correlation(shape, k, most, pad, s1, s2, subtract, direction, seed):
    a, b = drawn(seed, *shape), drawn(seed + 1, *shape)
    kind = "SUBTRACT" if subtract else "MULTIPLY"
    fields = f"kernel_size: {k} max_displacement: {most} pad: {pad} stride_1: {s1} stride_2: {s2}"
    fields += f" correlation_type: {kind}"
    fields += f" single_direction: {direction}" if direction else ""
    name = "Correlation" if direction is None else "Correlation1D"
    text = f'type: "{name}" correlation_param {{ {fields} }}'
    heights = shape[2] - 2 * (k // 2) + (2 * (pad - most) if direction is None else 0)
    if min(heights, shape[3] + 2 * (pad - most - k // 2)) < 1:
        with pytest.raises(pg.InputError, match="do not fit"):
            net(text, shape, shape)
    elif direction == -1 and (most // s2 + 1) * s2 - most > pad:
        with pytest.raises(pg.UnsupportedError, match="before the start of a row"):
            run(text, a, b)
    else:
        close(run(text, a, b), correlation(a, b, k, most, pad, s1, s2, subtract, direction))


def test_correlation_refuses_what_the_fork_refuses():
    shape = (1, 2, 8, 8)
    text = 'type: "Correlation" correlation_param { %s }'
    with pytest.raises(pg.InputError, match="kernel_size must be odd, got 2"):
        net(text % "kernel_size: 2 max_displacement: 1", shape, shape)
    with pytest.raises(pg.InputError, match="max_displacement"):
        net(text % "kernel_size: 1", shape, shape)
    with pytest.raises(pg.InputError, match="must have the same shape"):
        net(text % "kernel_size: 1 max_displacement: 1", shape, (1, 3, 8, 8))
    with pytest.raises(pg.InputError, match="stride_1 and stride_2 must be at least 1"):
        net(text % "kernel_size: 1 max_displacement: 1 stride_2: 0", shape, shape)
    one = text.replace("Correlation", "Correlation1D", 1)
    with pytest.raises(pg.InputError, match="single_direction must be -1, 0 or 1, got 2"):
        net(one % "kernel_size: 1 max_displacement: 1 single_direction: 2", shape, shape)


def test_flownet_c_correlation_has_441_channels():
    """The parameters of FlowNetC: a neighbourhood of 21 x 21 positions, every second pixel."""
    text = (
        'type: "Correlation" correlation_param { pad: 20 kernel_size: 1 max_displacement: 20 '
        "stride_1: 1 stride_2: 2 }"
    )
    built = net(text, (1, 256, 12, 16), (1, 256, 12, 16))
    assert built.shapes["y0"] == (1, 441, 12, 16)


# FlowWarp, ChannelNorm


def warp(image, flow, fill):
    n, _, h, w = image.shape
    top = np.empty_like(image)
    for s in range(n):
        for y in range(h):
            for x in range(w):
                x2, y2 = F(x) + flow[s, 0, y, x], F(y) + flow[s, 1, y, x]
                if not (x2 >= 0 and y2 >= 0 and x2 < w and y2 < h):
                    top[s, :, y, x] = fill
                    continue
                left, up = int(x2), int(y2)
                right, down = min(left + 1, w - 1), min(up + 1, h - 1)
                a, b = x2 - F(left), y2 - F(up)
                top[s, :, y, x] = (
                    (1 - a) * (1 - b) * image[s, :, up, left]
                    + a * (1 - b) * image[s, :, up, right]
                    + (1 - a) * b * image[s, :, down, left]
                    + a * b * image[s, :, down, right]
                )
    return top


@DRAWN
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (3, 3, 8, 8))),
    seed=st.integers(0, 99),
    reach=st.sampled_from([0.0, 0.5, 3.0, 40.0]),
    whole=st.booleans(),
    nan=st.booleans(),
)
def test_flow_warp(shape, seed, reach, whole, nan):
    image = drawn(seed, *shape)
    flow = drawn(seed + 1, shape[0], 2, *shape[2:], nan=0.1) * F(reach)
    flow = np.round(flow) if whole else flow
    fill = "fill_value: NOT_A_NUMBER" if nan else ""
    text = f'type: "FlowWarp" flow_warp_param {{ {fill} }}'
    close(run(text, image, flow), warp(image, flow, F("nan") if nan else F(0)))


def test_flow_warp_refuses_other_flows():
    with pytest.raises(pg.InputError, match="must have the shape 1x2x4x5"):
        net('type: "FlowWarp"', (1, 3, 4, 5), (1, 3, 4, 5))


@DRAWN
@given(shape=st.tuples(*(st.integers(1, n) for n in (3, 5, 6, 6))), seed=st.integers(0, 99))
def test_channel_norm(shape, seed):
    x = drawn(seed, *shape)
    expected = np.sqrt((x.astype(np.float64) ** 2).sum(1, keepdims=True)).astype(np.float32)
    close(run('type: "ChannelNorm"', x), expected)


# Accum


def accum(bottoms, size):
    parts = []
    for x in bottoms:
        n, c, h, w = x.shape
        part = np.empty((n, c, *size), np.float32)
        for v in range(size[0]):
            for u in range(size[1]):
                px, py = F(u) / F(size[1] - 1) * F(w - 1), F(v) / F(size[0] - 1) * F(h - 1)
                left, up = int(px), int(py)
                right, down = min(left + 1, w - 1), min(up + 1, h - 1)
                a, b = px - F(left), py - F(up)
                part[:, :, v, u] = (
                    (1 - a) * (1 - b) * x[:, :, up, left]
                    + a * b * x[:, :, down, right]
                    + (1 - a) * b * x[:, :, down, left]
                    + a * (1 - b) * x[:, :, up, right]
                )
        parts.append(part)
    return np.concatenate(parts, 1)


SIZE = st.tuples(st.integers(1, 7), st.integers(1, 7))


@DRAWN
@given(
    sizes=st.lists(SIZE, min_size=1, max_size=3),
    n=st.integers(1, 2),
    seed=st.integers(0, 99),
    mode=st.sampled_from(["largest", "sized", "divisible", "reference"]),
    other=SIZE,
    divisor=st.integers(1, 4),
)
def test_accum(sizes, n, seed, mode, other, divisor):
    bottoms = [drawn(seed + i, n, i + 1, *size) for i, size in enumerate(sizes)]
    largest = (max(h for h, _ in sizes), max(w for _, w in sizes))
    size, fields, more = largest, "", []
    if mode == "sized":
        fields = f"top_height: {other[0]} top_width: {other[1]}"
        size = other if other[0] > largest[0] and other[1] > largest[1] else largest
    elif mode == "divisible":
        fields = f"size_divisible_by: {divisor}"
        rounded = tuple(int(math.ceil(m / divisor) * divisor) for m in largest)
        size = rounded if rounded[0] > largest[0] and rounded[1] > largest[1] else largest
    elif mode == "reference":
        fields, size, more = "have_reference: true", other, [drawn(9, n, 2, *other)]
    text = f'type: "Accum" accum_param {{ {fields} }}'
    if min(size) < 2:
        with pytest.raises(pg.UnsupportedError, match="divides by the length - 1"):
            run(text, *bottoms, *more)
    else:
        close(run(text, *bottoms, *more), accum(bottoms, size))


# Resample, Downsample


def triangle(x):
    if -1 <= x < 0:
        return x + 1
    return 1 - x if 0 <= x <= 1 else F(0)


def bicubic(x):
    x = abs(x)
    if x <= 1:
        return x * x * (F(1.5) * x - F(2.5)) + 1
    return x * (x * (F(-0.5) * x + F(2.5)) - 4) + 2 if x < 2 else F(0)


def resample(image, size, kind, antialias):
    """The kernels InterpolationKernel and NearestNeighborKernel; None for a read outside of the map."""
    n, c, h, w = image.shape
    fx, fy = F(w) / F(size[1]), F(h) / F(size[0])
    wide = antialias and (fx > 1 or fy > 1)
    top = np.zeros((n, c, *size), np.float32)
    support = 4 if kind == "CUBIC" else 2
    ax, ay = F(1) / (fx if wide else F(1)), F(1) / (fy if wide else F(1))
    rx = 2 if fx < 1 else math.ceil(F(support) / ax)
    ry = 2 if fy < 1 else math.ceil(F(support) / ay)
    shape = bicubic if kind == "CUBIC" else triangle
    for v in range(size[0]):
        for u in range(size[1]):
            x, y = F(u) * fx + fy / F(2) - F(0.5), F(v) * fy + fx / F(2) - F(0.5)
            near_x, near_y = c_round(x), c_round(y)
            if kind == "NEAREST":
                if not (0 <= near_x < w and 0 <= near_y < h):
                    return None
                top[:, :, v, u] = image[:, :, near_y, near_x]
                continue
            total, weights = np.zeros((n, c)), 0.0
            for j in range(max(near_y - ry, 0), min(near_y + ry, h - 1) + 1):
                for i in range(max(near_x - rx, 0), min(near_x + rx, w - 1) + 1):
                    weight = float(shape(ax * (x - F(i)))) * float(shape(ay * (y - F(j))))
                    total += weight * image[:, :, j, i]
                    weights += weight
            top[:, :, v, u] = total / weights if weights else 0
    return top


@DRAWN
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["NEAREST", "LINEAR", "CUBIC"]),
    antialias=st.booleans(),
    reference=st.booleans(),
    factor=st.sampled_from([0, 0, 2, 3]),
)
def test_resample(shape, size, seed, kind, antialias, reference, factor):
    if factor:  # equal ratios
        size = (shape[2] * factor, shape[3] * factor)
    image = drawn(seed, *shape)
    fields = f"type: {kind} antialias: {str(antialias).lower()}"
    bottoms = [image]
    if reference:
        bottoms.append(drawn(0, shape[0], 3, *size))
    else:
        fields += f" height: {size[0]} width: {size[1]}"
    text = f'type: "Resample" resample_param {{ {fields} }}'
    expected = resample(image, size, kind, antialias)
    if expected is None and shape[2:] != size:
        with pytest.raises(pg.UnsupportedError, match="outside of the map"):
            run(text, *bottoms)
    else:
        close(run(text, *bottoms), expected)


@pytest.mark.parametrize("kind", ["NEAREST", "LINEAR", "CUBIC"])
@pytest.mark.parametrize(
    ("before", "after"), [((6, 4), (12, 8)), ((6, 4), (9, 6)), ((9, 6), (6, 4)), ((8, 4), (4, 2))]
)
def test_resample_as_stock_layers(tmp_path, kind, before, after):
    """rewrite replaces a Resample with equal ratios; the numbers stay the same."""
    text = (
        f'type: "Resample" resample_param {{ type: {kind} height: {after[0]} width: {after[1]} }}'
    )
    built = net(text, (2, 3, *before))
    stock = rewritten(tmp_path, built)
    assert stock is not None
    x = drawn(5, 2, 3, *before)
    close(pg.run(stock, {"a": x})["y0"], resample(x, after, kind, True))


def downsample(image, size):
    """The kernel DownsampleFeatures; infinite where missing pixels are near the limit."""
    n, c, h, w = image.shape
    sx, sy = F(w - 1) / F(size[1] - 1), F(h - 1) / F(size[0] - 1)
    rx, ry = math.ceil(sx), math.ceil(sy)
    top = np.empty((n, c, *size), np.float32)
    for s in range(n):
        for channel in range(c):
            for v in range(size[0]):
                for u in range(size[1]):
                    x, y = F(u) / F(size[1] - 1) * F(w - 1), F(v) / F(size[0] - 1) * F(h - 1)
                    value = weights = missing = 0.0
                    for j in range(max(c_round(y) - ry, 0), min(c_round(y) + ry, h - 1) + 1):
                        for i in range(max(c_round(x) - rx, 0), min(c_round(x) + rx, w - 1) + 1):
                            weight = max(0.0, 1 - abs(i - float(x)) / float(sx))
                            weight *= max(0.0, 1 - abs(j - float(y)) / float(sy))
                            sample = float(image[s, channel, j, i])
                            if math.isnan(sample):
                                missing += weight
                            else:
                                value += sample * weight
                                weights += weight
                    share = missing / weights if weights else 1
                    top[s, channel, v, u] = F("nan") if share > 0.5 else value / weights
                    if abs(share - 0.5) < 1e-5:
                        top[s, channel, v, u] = F("inf")
    return top


@DRAWN
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(3, 9), st.integers(3, 9)),
    cut=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    seed=st.integers(0, 99),
    nan=st.booleans(),
    reference=st.booleans(),
)
def test_downsample(shape, cut, seed, nan, reference):
    size = tuple(max(2, m - less) for m, less in zip(shape[2:], cut, strict=True))
    image = drawn(seed, *shape, nan=0.2 * nan)
    fields = "" if reference else f"top_height: {size[0]} top_width: {size[1]}"
    bottoms = [image, drawn(0, 1, 1, *size)] if reference else [image]
    text = f'type: "Downsample" downsample_param {{ {fields} }}'
    expected = image if size == shape[2:] else downsample(image, size)
    result = run(text, *bottoms)
    near = np.isinf(expected)
    close(np.where(near, 0, result), np.where(near, 0, expected))


@pytest.mark.parametrize(
    ("before", "after"), [((5, 5), (1, 5)), ((1, 5), (1, 3)), ((3, 3), (5, 5))]
)
def test_downsample_refuses_divisions_by_0(before, after):
    text = f'type: "Downsample" downsample_param {{ top_height: {after[0]} top_width: {after[1]} }}'
    with pytest.raises(pg.UnsupportedError, match="divides 0 by 0"):
        run(text, drawn(0, 1, 1, *before))


# Mean, DataAugmentation


@DRAWN
@given(
    channels=st.integers(1, 2),
    values=st.lists(st.integers(-3, 3), min_size=1, max_size=3),
    subtract=st.booleans(),
    scales=st.tuples(*[st.sampled_from([1.0, 0.5, -2.0])] * 3),
    seed=st.integers(0, 99),
    tops=st.integers(1, 2),
)
def test_mean(channels, values, subtract, scales, seed, tops):
    shape = (2, channels * len(values), 3, 2)
    arrays = [drawn(seed + i, *shape) for i in range(tops)]
    mean, data, out = scales
    fields = (
        f"operation: {'SUBTRACT' if subtract else 'ADD'} mean_scale: {mean} input_scale: {data}"
    )
    fields += f" output_scale: {out} " + " ".join(f"value: {v}" for v in values)
    text = f'type: "Mean" mean_param {{ {fields} }}'
    results = run(text, *arrays, tops=tops)
    stock = rewritten(STOCK, net(text, *(a.shape for a in arrays), tops=tops))
    assert (stock is None) == (tops > 1)
    for i, x in enumerate(arrays):
        expected = np.empty_like(x)
        for c in range(shape[1]):
            value = values[c % len(values)]
            expected[:, c] = out * (data * x[:, c] + mean * (-value if subtract else value))
        close(results if tops == 1 else results[i], expected)
        if stock is not None:
            close(pg.run(stock, {"a": x})["y0"], expected)


def test_mean_refuses_a_file():
    text = 'type: "Mean" mean_param { operation: ADD file: "mean.binaryproto" }'
    with pytest.raises(pg.UnsupportedError, match="its mean is in a separate file"):
        run(text, drawn(0, 1, 3, 2, 2))


def cropped(image, size):
    """The kernel SpatialAugmentation with the coefficients of no augmentation."""
    n, c, h, w = image.shape
    top = np.empty((n, c, *size), np.float32)
    for v in range(size[0]):
        for u in range(size[1]):
            x = F(u) - F(0.5) * F(size[1]) + F(0.5) * F(w)
            y = F(v) - F(0.5) * F(size[0]) + F(0.5) * F(h)
            x, y = max(F(0), min(x, F(w) - F(1.05))), max(F(0), min(y, F(h) - F(1.05)))
            left, up = int(x), int(y)
            right, down = min(left + 1, w - 1), min(up + 1, h - 1)
            a, b = x - F(left), y - F(up)
            top[:, :, v, u] = (
                (1 - a) * (1 - b) * image[:, :, up, left]
                + a * b * image[:, :, down, right]
                + (1 - a) * b * image[:, :, down, left]
                + a * (1 - b) * image[:, :, up, right]
            )
    return top


@DRAWN
@given(
    size=SIZE,
    cut=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    crops=st.booleans(),
    mean=st.sampled_from(["none", "text", "pixels", "channels"]),
    seed=st.integers(0, 99),
    tops=st.integers(1, 2),
)
def test_data_augmentation(size, cut, crops, mean, seed, tops):
    image = drawn(seed, 2, 3, *size)
    crop = tuple(max(1, m - less) for m, less in zip(size, cut, strict=True)) if crops else size
    fields = (
        "max_multiplier: 1 augment_during_test: false mirror { rand_type: 'bernoulli' prob: 0.5 }"
    )
    fields += f" crop_height: {crop[0]} crop_width: {crop[1]}" if crops else ""
    expected = cropped(image, crop) if crops else image
    weights = [np.full((1, 1, 1, 1), 1000, np.float32)]
    if mean == "text":
        fields += " mean_per_pixel: false mean: 0.5 mean: 1 mean: -2"
        expected = expected - np.float32([0.5, 1, -2]).reshape(1, 3, 1, 1)
    elif mean != "none":
        fields += f" recompute_mean: 1000 mean_per_pixel: {str(mean == 'pixels').lower()}"
        weights += [drawn(3, 1, 3, *crop), drawn(4, 1, 3, 1, 1)]
        expected = expected - weights[1 if mean == "pixels" else 2]
    text = f'type: "DataAugmentation" augmentation_param {{ {fields} }}'
    result = run(text, image, weights=weights, tops=tops)
    close(result[0] if tops == 2 else result, expected)
    if tops == 2:
        np.testing.assert_array_equal(result[1], np.zeros((2, 42, 1, 1), np.float32))


def test_data_augmentation_takes_means_of_another_size():
    """adjust_blobs: a mean of each pixel of another size becomes the mean of its channel."""
    fields = "recompute_mean: 10 mean_per_pixel: %s"
    text = f'type: "DataAugmentation" augmentation_param {{ {fields} }}'
    image, mean = drawn(0, 1, 3, 5, 4), drawn(1, 1, 3, 7, 8)
    weights = [np.full((1, 1, 1, 1), 10, np.float32), mean, drawn(2, 1, 3, 1, 1)]
    close(run(text % "true", image, weights=weights), image - mean.mean((2, 3), keepdims=True))
    close(run(text % "false", image, weights=weights), image - weights[2])
    close(run('type: "DataAugmentation"', image, weights=weights), image)


def test_data_augmentation_refuses_changing_numbers():
    image = drawn(0, 1, 3, 5, 4)
    random = (
        'type: "DataAugmentation" augmentation_param { augment_during_test: true crop_width: 2 '
        "crop_height: 2 mirror { prob: 0.5 } }"
    )
    with pytest.raises(pg.UnsupportedError, match="its values are random"):
        run(random, image, weights=[np.zeros((1, 1, 1, 1), np.float32)])
    text = 'type: "DataAugmentation" augmentation_param { recompute_mean: 10 }'
    weights = [np.full((1, 1, 1, 1), 9, np.float32), drawn(1, 1, 3, 5, 4), drawn(2, 1, 3, 1, 1)]
    with pytest.raises(pg.UnsupportedError, match="9 of recompute_mean 10 iterations"):
        run(text, image, weights=weights)
    with pytest.raises(pg.InputError, match=r"crop 6x2 does not fit into pictures of 5x4"):
        net(random.replace("crop_height: 2", "crop_height: 6"), image.shape)


# Losses


@DRAWN
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (3, 3, 4, 4))),
    seed=st.integers(0, 99),
    l2=st.booleans(),
    prescale=st.booleans(),
    entries=st.booleans(),
    epsilon=st.sampled_from([0.01, 0.5]),
    plateau=st.sampled_from([0.0, 0.3, 1.0]),
    two=st.booleans(),
)
def test_l1_loss(shape, seed, l2, prescale, entries, epsilon, plateau, two):
    a, b = drawn(seed, *shape, nan=0.2), drawn(seed + 1, *shape)
    a.flat[0] = 0.7  # at least one value counts
    d = (a - b if two else a).astype(np.float64)
    missing = np.isnan(d)
    d = np.where(missing, 0, d)
    if l2:
        terms = (d * d).sum(1) * (1 / shape[1] if prescale else 1)
        terms = np.sqrt(np.where(terms < plateau * plateau, 0, terms) + epsilon)
    else:
        terms = np.where(np.abs(d) < plateau, 0, np.abs(d))
    expected = terms.sum() / ((~missing).sum() / shape[1] if entries else shape[0])
    flags = {"l2_per_location": l2, "l2_prescale_by_channels": prescale}
    flags["normalize_by_num_entries"] = entries
    fields = " ".join(f"{name}: {str(value).lower()}" for name, value in flags.items())
    text = f'type: "L1Loss" l1_loss_param {{ {fields} epsilon: {epsilon} plateau: {plateau} }}'
    close(run(text, *([a, b] if two else [a])), np.float32(expected))


@DRAWN
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (3, 3, 4, 4))),
    seed=st.integers(0, 99),
    prescale=st.booleans(),
    entries=st.booleans(),
    p=st.sampled_from([1.0, 2.0, 1.5]),
    q=st.sampled_from([1.0, 0.5, 0.2]),
    epsilons=st.tuples(*[st.sampled_from([0.0, 0.01, 0.4])] * 2),
    two=st.booleans(),
)
def test_lpq_loss(shape, seed, prescale, entries, p, q, epsilons, two):
    a, b = drawn(seed, *shape, nan=0.2), drawn(seed + 1, *shape)
    a.flat[0] = 0.7
    d = (a - b if two else a).astype(np.float64)
    missing = np.isnan(d)
    d = np.where(missing, 0, np.abs(d))
    terms = ((d + epsilons[0]) ** p).sum(1) * (1 / shape[1] if prescale else 1)
    terms = (terms + epsilons[1]) ** q
    expected = terms.sum() / ((~missing).sum() / shape[1] if entries else shape[0])
    fields = f"p: {p} q: {q} p_epsilon: {epsilons[0]} q_epsilon: {epsilons[1]}"
    fields += f" l2_prescale_by_channels: {str(prescale).lower()}"
    fields += f" normalize_by_num_entries: {str(entries).lower()}"
    text = f'type: "LpqLoss" lpq_loss_param {{ {fields} }}'
    close(run(text, *([a, b] if two else [a])), np.float32(expected))


def test_lpq_loss_with_a_schedule_is_refused():
    text = 'type: "LpqLoss" lpq_loss_param { p: 1 p: 2 q: 1 q: 1 %s }'
    with pytest.raises(pg.InputError, match="same number of values, got 2, 2 and 1"):
        net(text % "", (1, 2, 3, 3))
    with pytest.raises(pg.InputError, match="must begin with 0 and increase"):
        net(text % "pq_episode_starts_at_iter: 0 pq_episode_starts_at_iter: 0", (1, 2, 3, 3))
    starts = "pq_episode_starts_at_iter: 0 pq_episode_starts_at_iter: 9"
    with pytest.raises(pg.UnsupportedError, match="the iteration selects one"):
        run(text % starts, drawn(0, 1, 2, 3, 3))


# Layers of training, files, and whole nets


def test_layers_of_training_have_shapes_and_a_clear_refusal():
    flow, numbers = (2, 2, 9, 8), (2, 42, 1, 1)
    text = 'type: "FlowAugmentation" augmentation_param { crop_width: 4 crop_height: 5 }'
    built = net(text, flow, numbers, numbers)
    assert built.shapes["y0"] == (2, 2, 5, 4)
    with pytest.raises(pg.UnsupportedError, match="follows random augmentations"):
        pg.to_onnx(built)
    text = (
        'type: "GenerateAugmentationParameters" augmentation_param { crop_width: 4 crop_height: 5 }'
    )
    built = net(text, (2, 3, 9, 8))
    assert built.shapes["y0"] == numbers
    with pytest.raises(pg.UnsupportedError, match="its values are random"):
        pg.to_onnx(built)
    built = net('type: "BlackAugmentation"', (2, 3, 9, 8), flow, tops=2)
    assert built.shapes["y1"] == flow
    with pytest.raises(pg.UnsupportedError, match="its values are random"):
        pg.to_onnx(built)
    with pytest.raises(pg.InputError, match="must have 2 or 3 channels"):
        net('type: "BlackAugmentation"', (2, 4, 9, 8))


FILES = """
layer { name: "in" type: "CustomData" top: "img0" top: "img1" top: "gt"
        data_param { source: "x" backend: LMDB batch_size: 2 slice_point: 3 slice_point: 6
                     encoding: UINT8 encoding: UINT8 encoding: UINT16FLOW rand_permute: true } }
layer { name: "sum" type: "Eltwise" bottom: "img0" bottom: "img1" top: "sum" }
layer { name: "abs" type: "AbsVal" bottom: "sum" top: "abs" }
layer { name: "out" type: "FLOWriter" bottom: "gt" writer_param { folder: "." prefix: "x" } }
layer { name: "ppm" type: "ImgWriter" bottom: "sum" writer_param { normalize: true } }
"""


def test_readers_are_inputs_and_writers_are_nothing():
    from protogen.formats import prototxt

    message = prototxt.parse(FILES, "net")
    shapes = {"img0": (2, 3, 4, 5), "img1": (2, 3, 4, 5), "gt": (2, 2, 4, 5)}
    built = pg.Net(message, input_shapes=shapes)
    assert built.inputs == ("img0", "img1", "gt")
    a, b = drawn(0, 2, 3, 4, 5), drawn(1, 2, 3, 4, 5)
    result = pg.run(built, {"img0": a, "img1": b, "gt": drawn(2, 2, 2, 4, 5)})
    close(result["abs"], np.abs(a + b))
    with pytest.raises(pg.InputError, match="must have 2 channels, got 3"):
        pg.Net(message, input_shapes={**shapes, "gt": (2, 3, 4, 5)})
    with pytest.raises(pg.InputError, match="it must have 2 tops, got 3"):
        pg.Net(prototxt.parse(FILES.replace("slice_point: 6", ""), "net"))


def test_a_diagonal_filler_defines_weights_that_no_caffemodel_has(tmp_path):
    """FlowNet2's deploy nets scale the flow by a Convolution that was not trained."""
    text = """
    layer { name: "in" type: "Input" top: "flow"
            input_param { shape { dim: 2 dim: 2 dim: 3 dim: 4 } } }
    layer { name: "other" type: "Scale" bottom: "flow" top: "other" }
    layer { name: "scale" type: "Convolution" bottom: "other" top: "y"
            convolution_param { num_output: 2 kernel_size: 1 bias_term: false
              weight_filler { type: "diagonal" diag_val: 1.5 diag_val: 0.25 } } }
    """
    (tmp_path / "n.prototxt").write_text(text)
    from protogen.formats import prototxt

    part = text[: text.index('layer { name: "scale"')]
    trained = pg.Net(prototxt.parse(part, "net"))
    trained.take_weights({"other": [np.float32([2, 3])]})
    trained.save(tmp_path / "t.prototxt", tmp_path / "n.caffemodel")
    with pytest.warns(pg.ProtogenWarning, match="its diagonal filler defines them"):
        built = pg.load(tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    x = drawn(0, 2, 2, 3, 4)
    expected = x * np.float32([3, 0.75]).reshape(1, 2, 1, 1)
    close(pg.run(built, {"flow": x})["y"], expected)


@pytest.mark.parametrize("shape", [(2, 3), (3, 2, 2, 3), (4, 4, 1, 1)])
def test_diagonal_filler(shape):
    """DiagonalFiller: value n (or 1) by the area of the kernel, from input n to output n."""
    values = (0.5, -2.0)
    expected = np.zeros(shape, np.float32)
    area = math.prod(shape[2:])
    for n in range(min(shape[:2])):
        expected[n, n] = (values[n] if n < len(values) else 1) / area
    np.testing.assert_array_equal(fillers.diagonal(shape, values), expected)
    chunks = fillers.chunks(
        fillers.Filler("diagonal", diag_val=values), shape, fillers.caffes_fan(shape), [0]
    )
    np.testing.assert_array_equal(np.concatenate(list(chunks)), expected.reshape(-1))


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ('type: "ChannelNorm"', [(2, 3, 4, 5)]),
        ('type: "Accum"', [(2, 3, 4, 5), (2, 1, 4, 5)]),
    ],
)
def test_rewritten_to_stock_layers(tmp_path, text, shapes):
    built = net(text, *shapes)
    arrays = {
        name: drawn(i, *shape) for i, (name, shape) in enumerate(zip("ab", shapes, strict=False))
    }
    stock = rewritten(tmp_path, built)
    close(pg.run(stock, arrays)["y0"], pg.run(built, arrays)["y0"])


SMALL = """
layer { name: "img0" type: "Input" top: "img0" input_param { shape { dim: 1 dim: 3 dim: 10 dim: 14 } } }
layer { name: "img1" type: "Input" top: "img1" input_param { shape { dim: 1 dim: 3 dim: 10 dim: 14 } } }
layer { name: "s0" type: "Eltwise" bottom: "img0" top: "s0" eltwise_param { operation: SUM coeff: 0.5 } }
layer { name: "s1" type: "Eltwise" bottom: "img1" top: "s1" eltwise_param { operation: SUM coeff: 0.5 } }
layer { name: "aug0" type: "DataAugmentation" bottom: "s0" top: "a0" propagate_down: false
        augmentation_param { max_multiplier: 1 augment_during_test: false recompute_mean: 1000
                             mean_per_pixel: false } }
layer { name: "aug1" type: "DataAugmentation" bottom: "s1" top: "a1" propagate_down: false
        reshape_every_iter: false
        augmentation_param { max_multiplier: 1 augment_during_test: false recompute_mean: 1000
                             mean_per_pixel: false } }
layer { name: "r0" type: "Resample" bottom: "a0" top: "r0" resample_param { width: 16 height: 12 } }
layer { name: "r1" type: "Resample" bottom: "a1" top: "r1" resample_param { width: 16 height: 12 } }
layer { name: "conv" type: "Convolution" bottom: "r0" bottom: "r1" top: "c0" top: "c1"
        convolution_param { num_output: 4 pad: 1 kernel_size: 3 stride: 2 } }
layer { name: "relu" type: "ReLU" bottom: "c0" top: "c0" relu_param { negative_slope: 0.1 } }
layer { name: "corr" type: "Correlation" bottom: "c0" bottom: "c1" top: "corr"
        correlation_param { pad: 2 kernel_size: 1 max_displacement: 2 stride_1: 1 stride_2: 1 } }
layer { name: "flow" type: "Convolution" bottom: "corr" top: "flow"
        convolution_param { num_output: 2 kernel_size: 3 pad: 1 } }
layer { name: "up" type: "Resample" bottom: "flow" bottom: "img0" top: "up" resample_param { type: LINEAR } }
layer { name: "warp" type: "FlowWarp" bottom: "img1" bottom: "up" top: "warped" }
layer { name: "diff" type: "Eltwise" bottom: "img0" bottom: "warped" top: "diff"
        eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
layer { name: "error" type: "ChannelNorm" bottom: "diff" top: "error" }
"""


def test_a_small_flownet():
    """A net in the form of FlowNet2's deploy nets. Its blobs are those of the functions above."""
    from protogen.formats import prototxt

    built = pg.Net(prototxt.parse(SMALL, "net"))
    weights = {}
    for name, shapes in built.parameter_shapes.items():
        weights[name] = [drawn(i, *shape) for i, shape in enumerate(shapes or ())]
    for name in ("aug0", "aug1"):
        weights[name][0] = np.full((1, 1, 1, 1), 2000, np.float32)
    built.take_weights(weights)
    feeds = {"img0": drawn(1, 1, 3, 10, 14), "img1": drawn(2, 1, 3, 10, 14)}
    blobs = pg.run(
        built, feeds, blobs=["a0", "r0", "c0", "c1", "corr", "flow", "up", "warped", "error"]
    )
    close(blobs["a0"], feeds["img0"] * F(0.5) - weights["aug0"][2])
    close(blobs["r0"], resample(blobs["a0"], (12, 16), "LINEAR", True))
    close(blobs["corr"], correlation(blobs["c0"], blobs["c1"], 1, 2, 2, 1, 1, False))
    close(blobs["up"], resample(blobs["flow"], (10, 14), "LINEAR", True))
    close(blobs["warped"], warp(feeds["img1"], blobs["up"], F(0)))
    difference = feeds["img0"] - blobs["warped"]
    close(blobs["error"], np.sqrt((difference**2).sum(1, keepdims=True)))
