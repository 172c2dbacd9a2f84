"""``pg.half_check``: ranges of blobs and weights, compared with numpy's float16 and a formula for int8."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from nets import net_with
from places import EXAMPLES

import protogen as pg
from protogen.onnx.passes.half import LARGEST
from protogen.running.ranges import worst_first
from protogen.running.rounding import EXACT, NORMAL, range_of

TINY_NET = (EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel")
VALUES = arrays.arrays(
    np.float32,
    arrays.array_shapes(max_dims=3, max_side=6),
    elements=st.one_of(
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.floats(-(2.0**-20), 2.0**-20, width=32),
        st.floats(-100, 100, width=32),
        st.integers(-300, 300).map(float),
    ),
)
CHAIN = """
layer { name: "big" type: "Power" bottom: "data" top: "big" power_param { scale: 1e6 } }
layer { name: "zero" type: "Power" bottom: "data" top: "zero" power_param { scale: 0 } }
layer { name: "small" type: "Power" bottom: "data" top: "small" power_param { scale: 1e-6 } }
layer { name: "relu" type: "ReLU" bottom: "small" top: "small" }
"""


def chain(shape=(2, 3)):
    return net_with({"data": shape}, CHAIN)


def by_layer(check):
    return {row.layer: row.range for row in check.blobs}


# formulas


@given(VALUES)
def test_float16_is_that_of_numpy(x):
    r = range_of(x)
    wide = x.astype(np.float64)
    fits = np.abs(wide) <= 65504
    half = wide[fits].astype(np.float16).astype(np.float64)
    nonzero = np.count_nonzero(wide)
    assert r.count == x.size
    assert (r.low, r.high) == (x.min(), x.max())
    assert r.overflow == x.size - fits.sum()
    assert r.half_zero == (np.count_nonzero(wide[fits]) - np.count_nonzero(half)) / max(nonzero, 1)
    below = np.count_nonzero((np.abs(wide) > 0) & (np.abs(wide) < 2.0**-14))
    assert r.half_subnormal == below / max(nonzero, 1)
    norm = np.linalg.norm(wide[fits])
    error = np.linalg.norm(wide[fits] - half) / norm if norm else 0.0
    assert r.half_error == pytest.approx(error, rel=1e-9, abs=0)
    assert r.integers == all(float(v).is_integer() for v in wide.flat)
    assert r.smallest == (np.abs(wide[wide != 0]).min() if nonzero else 0)


@given(VALUES)
def test_int8_is_the_nearest_of_the_255_levels(x):
    """Independent of rounding: the error is the distance to the nearest of all levels."""
    r = range_of(x)
    wide = x.astype(np.float64).ravel()
    largest = np.abs(wide).max()
    assert r.scale == largest / 127
    if not largest:
        assert r.int8_snr is None
        assert r.int8_zero == 0
        return
    levels = np.arange(-127, 128) * (largest / 127)
    error = np.abs(wide[:, None] - levels).min(axis=1)
    # Powers of float32's smallest numbers are still normal in float64, so that both sums are exact.
    power = (error**2).sum() / (wide**2).sum()
    expected = min(-10 * math.log10(power), EXACT) if power > 0 else EXACT
    assert r.int8_snr == pytest.approx(expected, abs=1e-3)
    zeros = np.count_nonzero((wide != 0) & (np.abs(wide) < 0.499999 * largest / 127))
    ties = np.count_nonzero(np.abs(np.abs(wide) - 0.5 * largest / 127) <= 1e-6 * largest / 127)
    assert zeros <= round(r.int8_zero * np.count_nonzero(wide)) <= zeros + ties


@given(VALUES)
def test_exponents_count_every_nonzero_value_once(x):
    r = range_of(x)
    counted = {}
    for value in map(float, x.flat):
        if value:
            power = math.frexp(value)[1] - 1
            assert 2.0**power <= abs(value) < 2.0 ** (power + 1)
            counted[power] = counted.get(power, 0) + 1
    assert dict(r.exponents) == counted


def test_signal_of_int8_is_that_of_the_textbook():
    """Uniform noise of one step has the power step^2 / 12: 10 log10(12 * 127^2 / 3) for uniform data."""
    x = np.random.default_rng(0).uniform(-1, 1, 1 << 20).astype(np.float32)
    expected = 10 * math.log10(12 * 127**2 / 3)
    assert range_of(x).int8_snr == pytest.approx(expected, abs=0.02)  # 48.1 dB


def test_limits_are_those_of_float16():
    exact = np.array([LARGEST, 2.0**-24, NORMAL, 2048], np.float32)
    assert range_of(exact).half_error == 0
    assert range_of(exact).overflow == 0
    beyond = np.array([65505, 2.0**-25, 2049, np.nextafter(np.float32(2.0**-25), 1)], np.float32)
    r = range_of(beyond)
    assert r.overflow == 1
    assert r.half_zero == 0.25  # 2^-25 is a tie, which rounds to the even neighbour: 0
    assert r.half_subnormal == 0.5
    assert r.half_error == pytest.approx(1 / 2049, rel=1e-3)


def test_nan_and_infinite_values_are_counted_and_left_out():
    r = range_of(np.array([np.nan, np.inf, -np.inf, 1, -2], np.float32))
    assert (r.nan, r.infinite, r.overflow, r.low, r.high) == (1, 2, 0, -2, 1)
    assert r.broken
    assert r.remarks[:2] == ["NaN", "infinite"]
    r = range_of(np.full(3, np.nan, np.float32))
    assert (r.low, r.high, r.scale, r.int8_snr, r.integers) == (0, 0, 0, None, False)


def test_empty_array_has_no_range():
    r = range_of(np.zeros((0, 3), np.float32))
    assert (r.count, r.low, r.high, r.int8_snr, r.remarks) == (0, 0, 0, None, [])


# nets


def test_overflow_is_reported_by_its_layer_only():
    check = pg.half_check(chain(), inputs={"data": np.ones((2, 3), np.float32)})
    assert not check.passed
    ranges = by_layer(check)
    assert [name for name, one in ranges.items() if one.broken] == ["big"]
    assert ranges["big"].high == 1e6
    assert ranges["big"].overflow == 6
    assert worst_first(check.blobs)[0].layer == "big"
    assert pg.half_check(chain(), inputs={"data": np.full((2, 3), 1e-3, np.float32)}).passed


def test_constant_zero_has_no_error_and_no_remark():
    zero = by_layer(pg.half_check(chain()))["zero"]
    assert (zero.low, zero.high, zero.smallest, zero.scale) == (0, 0, 0, 0)
    assert (zero.half_error, zero.int8_snr, zero.remarks) == (0, None, [])


def test_every_in_place_value_has_a_row():
    x = np.array([[-1, 2, 3], [4, 5, 6]], np.float32)
    check = pg.half_check(chain(), inputs={"data": x})
    rows = [(row.layer, row.blob) for row in check.blobs]
    assert rows == [("data", "data"), ("big", "big"), ("zero", "zero"), ("small", "small"), ("relu", "small")]  # fmt: skip
    ranges = by_layer(check)
    assert (ranges["data"].low, ranges["data"].high) == (-1, 6)
    assert ranges["small"].low == np.float32(-1e-6)
    assert ranges["relu"].low == 0
    assert ranges["small"].half_subnormal == 1


def test_small_values_that_become_0_are_reported():
    check = pg.half_check(chain(), inputs={"data": np.full((2, 3), 0.01, np.float32)})
    assert by_layer(check)["small"].remarks == ["100% become 0 in float16", "loses float16 digits"]


def test_nan_of_the_data_is_reported_in_each_blob():
    x = np.array([[np.nan, 2, 3], [4, 5, 6]], np.float32)
    check = pg.half_check(chain(), inputs={"data": x})
    assert not check.passed
    ranges = by_layer(check)
    assert ranges["data"].remarks == ["NaN"]
    assert ranges["big"].remarks == ["NaN", "overflows float16"]


def test_whole_numbers_are_not_too_wide_for_int8():
    x = np.zeros((1, 1000), np.float32)
    x[:] = 1
    x[0, 0] = 3000
    net = net_with(
        {"data": (1, 1000)}, 'layer { name: "a" type: "AbsVal" bottom: "data" top: "a" }'
    )
    whole = by_layer(pg.half_check(net, inputs={"data": x}))["a"]
    assert whole.integers
    assert whole.int8_zero == 0.999
    assert whole.remarks == []
    x = x + np.float32(0.25)
    wide = by_layer(pg.half_check(net, inputs={"data": x / 100}))["a"]
    assert not wide.integers
    assert pg.half_check(net, inputs={"data": x * 0.5}).passed


def test_worst_rows_are_first():
    """Broken rows, then those with remarks, then by the error of int8; whole numbers are last."""
    x = np.random.default_rng(4).normal(size=(2, 3)).astype(np.float32)
    rows = worst_first(pg.half_check(chain(), inputs={"data": x}).blobs)
    assert rows[0].layer == "big"
    assert {row.layer for row in rows[1:3]} == {"small", "relu"}
    assert [row.layer for row in rows[3:]] == ["data", "zero"]
    weights = worst_first(pg.half_check(*TINY_NET).weights)
    ratios = [row.range.int8_snr for row in weights if len(row.shape) > 1]
    assert ratios == sorted(ratios)
    assert [len(row.shape) > 1 for row in weights] == [True] * 3 + [False] * 8


def test_wide_values_are_reported():
    x = np.full((1, 100000), 0.1, np.float32)
    x[0, 0] = 100
    net = net_with({"data": x.shape}, 'layer { name: "a" type: "AbsVal" bottom: "data" top: "a" }')
    one = by_layer(pg.half_check(net, inputs={"data": x}))["a"]
    assert one.int8_snr == pytest.approx(10 * math.log10((1e4 + 99999e-2) / 99999e-2), abs=0.1)
    assert one.remarks == ["too wide for int8", "100% become 0 in int8"]


def test_several_inputs_are_accumulated():
    """The scale of int8 is that of all runs, so that the result is that of all values at once."""
    rng = np.random.default_rng(1)
    batches = [rng.normal(0, 10.0**i, (1, 3)).astype(np.float32) for i in (0, 2, -6, 1)]
    several = pg.half_check(chain((1, 3)), inputs=[{"data": x} for x in batches])
    once = pg.half_check(chain((4, 3)), inputs={"data": np.concatenate(batches)})
    assert several.runs == 4
    for one, two in zip(several.blobs, once.blobs, strict=True):
        assert one.shape == (1, 3)
        first, second = one.range.plain(), two.range.plain()
        assert first.keys() == second.keys()
        for key, value in first.items():
            same = value == second[key]
            assert same or value == pytest.approx(second[key], rel=1e-6), (one.layer, key)


def test_blobs_are_those_of_run():
    x = np.random.default_rng(2).normal(size=(1, 3, 32, 32)).astype(np.float32)
    net = pg.load(*TINY_NET)
    check = pg.half_check(net, inputs={"data": x})
    last = {row.blob: row for row in check.blobs}
    values = pg.run(net, {"data": x}, ["conv1", "pool1", "conv2", "fc", "prob"])
    for name, value in values.items():
        assert last[name].range.low == pytest.approx(float(value.min()), rel=1e-4)
        assert last[name].range.high == pytest.approx(float(value.max()), rel=1e-4)
        assert last[name].shape == value.shape
    assert pg.half_check(*TINY_NET, inputs={"data": x}) == check
    assert check.random == ()


def test_random_data_depends_on_the_seed_only():
    first = pg.half_check(*TINY_NET, seed=3)
    assert first == pg.half_check(*TINY_NET, seed=3)
    assert first != pg.half_check(*TINY_NET, seed=4)
    assert first.random == ("data",)


# weights


def channels_net(layer: str, weights, shape):
    net = net_with({"data": shape}, layer)
    net.take_weights({"w": [np.asarray(weights, np.float32)]})
    return net


LAYERS = {
    "Convolution": (
        "convolution_param { num_output: 4 kernel_size: 3 group: 2 bias_term: false }",
        lambda w: [w[i] for i in range(4)],
        (4, 3, 3, 3),
    ),
    "Deconvolution": (
        "convolution_param { num_output: 4 kernel_size: 3 group: 2 bias_term: false }",
        lambda w: [w[3 * g : 3 * g + 3, j] for g in range(2) for j in range(2)],
        (6, 2, 3, 3),
    ),
    "InnerProduct": (
        "inner_product_param { num_output: 4 bias_term: false transpose: true }",
        lambda w: [w[:, i] for i in range(4)],
        (6 * 8 * 8, 4),
    ),
    "Embed": (
        "embed_param { input_dim: 5 num_output: 4 bias_term: false }",
        lambda w: [w[:, i] for i in range(4)],
        (5, 4),
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_scale_per_channel_is_one_for_each_output(kind):
    """The outputs differ in size by factors of 1000: one scale for all is too coarse."""
    params, outputs, shape = LAYERS[kind]
    text = f'layer {{ name: "w" type: "{kind}" bottom: "data" top: "w" {params} }}'
    weights = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    for i, one in enumerate(outputs(weights)):
        one *= np.float32(10.0**-i)
    net = channels_net(text, weights, (1, 6, 8, 8))
    [row] = pg.half_check(net).weights
    signal = noise = 0.0
    for one in outputs(weights.astype(np.float64)):
        levels = np.arange(-127, 128) * (np.abs(one).max() / 127)
        noise += (np.abs(one[..., None] - levels).min(axis=-1) ** 2).sum()
        signal += (one**2).sum()
    assert row.channel_snr == pytest.approx(10 * math.log10(signal / noise), abs=1e-6)
    assert row.range == range_of(weights)
    # The output of each channel is computed from its row: the sums of the rows are the outputs for ones.
    if kind == "InnerProduct":
        top = pg.run(net, {"data": np.ones((1, 6, 8, 8), np.float32)})["w"]
        assert top[0] == pytest.approx([one.sum() for one in outputs(weights)], rel=1e-2, abs=1e-2)


def test_weights_that_need_a_scale_per_channel_are_named():
    text = (
        'layer { name: "w" type: "InnerProduct" bottom: "data" top: "w" '
        "inner_product_param { num_output: 2 bias_term: false } }"
    )
    weights = np.full((2, 100000), 0.1, np.float32)
    weights[0] = 0
    weights[0, 0] = 50
    [row] = pg.half_check(channels_net(text, weights, (1, 100000))).weights
    assert row.remarks == ["int8 needs a scale per channel", "100% become 0 in int8"]
    weights[1, 0] = 50
    [row] = pg.half_check(channels_net(text, weights, (1, 100000))).weights
    assert row.remarks == ["too wide for int8", "100% become 0 in int8"]
    weights[1, 0] = 1e5
    check = pg.half_check(channels_net(text, weights, (1, 100000)))
    assert check.weights[0].remarks[0] == "overflows float16"
    assert not check.passed


def test_bias_has_no_scale_per_channel():
    for row in pg.half_check(*TINY_NET).weights:
        assert (row.channel_snr is None) == (len(row.shape) == 1)


# errors


def test_wrong_arguments_are_refused():
    net = chain()
    with pytest.raises(pg.InputError, match="has no weights"):
        pg.half_check(TINY_NET[0])
    with pytest.raises(pg.InputError, match=r'"date": unknown input\. Did you mean data'):
        pg.half_check(net, inputs={"date": np.zeros((2, 3))})
    with pytest.raises(pg.InputError, match="expected an array of shape 2x3, got 1x3"):
        pg.half_check(net, inputs={"data": np.zeros((1, 3))})
    with pytest.raises(pg.InputError, match="at least one run, got none"):
        pg.half_check(net, inputs=[])
    with pytest.raises(pg.InputError, match="only to the path of a prototxt"):
        pg.half_check(net, TINY_NET[1])


# the command


@pytest.fixture
def overflow(tmp_path):
    """A net whose Power layer overflows float16 for values beyond 0.065."""
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "data" type: "Input" top: "data" '
        f"input_param {{ shape {{ dim: [2, 3] }} }} }}\n{CHAIN}"
    )
    return path


def test_exit_code_is_1_if_a_blob_overflows(protogen, overflow, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    done = protogen("run", overflow, "--input", "x.npy", "--half-check")
    assert done.returncode == 1
    first = next(line for line in done.stdout.splitlines()[3:] if line.strip())
    assert first.split()[0] == "big"
    assert first.rstrip().endswith("overflows float16")
    assert "the data: float16 does not hold big (Power)" in done.stdout.splitlines()[-1]
    np.save(tmp_path / "x.npy", np.full((2, 3), 1e-3, np.float32))
    done = protogen("run", overflow, "--input", "x.npy", "--half-check")
    assert done.returncode == 0
    assert "float16 holds all values" in done.stdout


def test_batch_of_the_file_and_every_row_with_verbose(protogen, overflow, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((7, 3), np.float32))
    done = protogen("run", overflow, "--input", "x.npy", "--half-check", "--json")
    assert done.returncode == 0
    rows = json.loads(done.stdout)["ranges"]
    assert [row["shape"] for row in rows] == [[7, 3]] * 5
    done = protogen("run", *TINY_NET, "--random", "--half-check", "-v")
    lines = [line.split()[0] for line in done.stdout.splitlines() if " dB" in line]
    layers = [layer.name for layer in pg.load(TINY_NET[0]).layers]
    assert lines[:10] == layers
    assert len(lines) == 21
    assert "not shown" not in done.stdout
    done = protogen("run", *TINY_NET, "--random", "--half-check")
    assert "not shown: 1 blob of weights (-v)" in done.stdout


def test_nan_of_the_data_is_null_in_json(protogen, overflow, tmp_path):
    np.save(tmp_path / "x.npy", np.full((2, 3), np.nan, np.float32))
    done = protogen("run", overflow, "--input", "x.npy", "--half-check", "--json")
    assert done.returncode == 1
    data = json.loads(done.stdout)
    assert not data["passed"]
    assert data["ranges"][0]["nan"] == 6
    assert data["ranges"][0]["int8_snr"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--half-check"], "missing data for data"),
        (["--random", "-v"], "--verbose: applies to --half-check only."),
        (["--random", "--half-check", "--blob", "big"], "--blob: has no effect with --half-check."),
        (["--random", "--half-check", "-o", "x.npz"], "--output: has no effect with --half-check."),
        (
            ["--random", "--half-check", "--plot", "x.png"],
            "--plot: has no effect with --half-check.",
        ),
    ],
)
def test_wrong_options_exit_2(protogen, overflow, words, message):
    done = protogen("run", overflow, *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_net_without_weights_is_refused_as_by_run(protogen):
    plain = protogen("run", TINY_NET[0], "--random")
    half = protogen("run", TINY_NET[0], "--random", "--half-check")
    assert (half.returncode, half.stderr) == (plain.returncode, plain.stderr)
    assert "has no weights" in half.stderr
