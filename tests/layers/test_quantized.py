"""Quantised layers against numbers computed value by value, as the public sources do.

Ristretto (pmgysel/caffe): src/caffe/ristretto/layers/base_ristretto_layer.cu, include/ristretto/
base_ristretto_layer.cuh (rint: halves to the even number). Vitis: src/caffe/layers/fixed_neuron_layer.cpp and
src/caffe/util/quantize.cpp of Xilinx' Caffe, which
Xilinx/Vitis-AI uses.
"""

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net_with

import protogen as pg
from protogen.formats import prototxt

F = np.float32
DRAWN = settings(max_examples=30, deadline=None)


def net(text: str, shape: tuple[int, ...], **options) -> pg.Net:
    built = net_with({"x": shape}, f'layer {{ name: "y" bottom: "x" top: "y" {text} }}')
    return pg.Net(built.message, **options)


def run(text: str, x: np.ndarray, *weights: np.ndarray, **options) -> np.ndarray:
    built = net(text, x.shape, **options)
    if weights:
        built.take_weights({"y": list(weights)})
    return pg.run(built, {"x": x})["y"]


def rint(x: float) -> float:
    """C's rint: halves to the even integer."""
    low = math.floor(x)
    if x - low != 0.5:
        return float(math.floor(x + 0.5)) if x - low > 0.5 else float(low)
    return float(low if low % 2 == 0 else low + 1)


def fixed(value: float, bits: int, fraction: int) -> float:
    """Trim2FixedPoint_kernel."""
    step = 2.0**-fraction
    high, low = (F(2.0 ** (bits - 1)) - F(1)) * F(step), -F(2.0 ** (bits - 1)) * F(step)
    return rint(float(max(min(F(value), high), low)) / step) * step


def mini(value: float, mantissa: int, exponent: int) -> float:
    """Trim2MiniFloat_device, by the bits of a float."""
    word = struct.unpack("<I", struct.pack("<f", value))[0]
    sign, power, digits = word >> 31, (word >> 23) & 255, word & 0x7FFFFF
    bias = 2 ** (exponent - 1) - 1
    new = power - 127 + bias
    if power == 0 or new < 0:
        return 0.0
    if new > 2**exponent - 1:
        new, digits = 2**exponent - 1, 2**mantissa - 1
    else:
        digits = rint(digits / 2.0 ** (23 - mantissa))
    return (-1) ** sign * (digits + 2**mantissa) / 2**mantissa * 2.0 ** (new - bias)


def power_of_2(value: float, least: int, most: int) -> float:
    """Trim2IntegerPowerOf2_kernel."""
    exponent = rint(math.log2(abs(value))) if value else -math.inf
    return (1 if value >= 0 else -1) * 2.0 ** max(min(exponent, most), least)


def each(function, values: np.ndarray, *format_: int) -> np.ndarray:
    flat = [function(float(v), *format_) for v in values.reshape(-1)]
    return np.array(flat, np.float32).reshape(values.shape)


def drawn(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape, np.float32) * F(scale)
    x = np.where(rng.random(shape) < 0.2, np.round(x * 8) / 16, x)  # halves of a step
    return np.where(rng.random(shape) < 0.05, F(0), x).astype(np.float32)


def product(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) @ weight.astype(np.float64).T + bias


@DRAWN
@given(
    bits=st.integers(2, 10),
    fractions=st.tuples(*[st.integers(-2, 9)] * 3),
    seed=st.integers(0, 99),
    scale=st.sampled_from([0.3, 2.0, 30.0]),
)
def test_dynamic_fixed_point(bits, fractions, seed, scale):
    x, weight, bias = drawn(seed, 3, 5, scale=scale), drawn(seed + 1, 4, 5), drawn(seed + 2, 4)
    first, inner, last = fractions
    text = (
        'type: "FcRistretto" inner_product_param { num_output: 4 } quantization_param { '
        f"bw_layer_in: {bits} bw_params: {bits} bw_layer_out: 30 fl_layer_in: {first} "
        f"fl_params: {inner} fl_layer_out: {last} }}"
    )
    trimmed = [each(fixed, v, bits, f) for v, f in ((x, first), (weight, inner), (bias, inner))]
    # The sums are exact: products of numbers with few bits.
    expected = each(fixed, product(*trimmed).astype(np.float32), 30, last)
    np.testing.assert_array_equal(run(text, x, weight, bias), expected)


@DRAWN
@given(
    mantissa=st.integers(0, 10),
    exponent=st.integers(2, 8),
    seed=st.integers(0, 99),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e4, 1e30]),
)
def test_minifloat_of_data(mantissa, exponent, seed, scale):
    """An identity of width 1, so that only the rounding of data has an effect."""
    x = drawn(seed, 3, 7, 1, scale=scale)
    x.flat[0], x.flat[1], x.flat[2] = 1e-40, 2.0**-20, -(2.0**10)
    text = (
        'type: "FcRistretto" inner_product_param { num_output: 1 axis: 2 bias_term: false } '
        f"quantization_param {{ precision: MINIFLOAT mant_bits: {mantissa} exp_bits: {exponent} }}"
    )
    once = each(mini, x, mantissa, exponent)
    result = run(text, x, np.ones((1, 1), np.float32))
    np.testing.assert_array_equal(result, each(mini, once, mantissa, exponent))


@DRAWN
@given(mantissa=st.integers(0, 12), exponent=st.integers(1, 8), seed=st.integers(0, 99))
def test_minifloat_of_weights(mantissa, exponent, seed):
    from protogen.layers.forks.rounding import MiniFloat

    values = drawn(seed, 200, scale=10.0 ** (seed % 9 - 4))
    rounded = MiniFloat(mantissa, exponent).of_array(values)
    np.testing.assert_array_equal(rounded, each(mini, values, mantissa, exponent))


@DRAWN
@given(least=st.integers(-9, -3), most=st.integers(-3, 2), seed=st.integers(0, 99))
def test_weights_that_are_powers_of_2(least, most, seed):
    x, weight, bias = drawn(seed, 2, 6), drawn(seed + 1, 3, 6), drawn(seed + 2, 3)
    text = (
        'type: "FcRistretto" inner_product_param { num_output: 3 } quantization_param { '
        f"precision: INTEGER_POWER_OF_2_WEIGHTS exp_min: {least} exp_max: {most} "
        "bw_layer_in: 8 fl_layer_in: 5 bw_layer_out: 16 fl_layer_out: 4 }"
    )
    total = product(each(fixed, x, 8, 5), each(power_of_2, weight, least, most), bias)
    expected = each(fixed, total.astype(np.float32), 16, 4)
    result = run(text, x, weight, bias)
    near_half = np.abs(total * 16 % 1 - 0.5) < 1e-4  # sums with the bias are not exact
    np.testing.assert_array_equal(np.where(near_half, 0, result), np.where(near_half, 0, expected))


@pytest.mark.parametrize(
    ("type_", "stock"),
    [("ConvolutionRistretto", "Convolution"), ("DeconvolutionRistretto", "Deconvolution")],
)
def test_convolutions(type_, stock):
    """The layer of float32 with rounded blobs, between rounded values."""
    x, bias = drawn(0, 2, 4, 6, 5, scale=3), drawn(2, 4)
    weight = drawn(1, 4, 2, 3, 3)
    block = "convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 group: 2 }"
    numbers = (
        "bw_layer_in: 6 fl_layer_in: 3 bw_params: 5 fl_params: 3 bw_layer_out: 9 fl_layer_out: 4"
    )
    result = run(f'type: "{type_}" {block} quantization_param {{ {numbers} }}', x, weight, bias)
    trimmed = [each(fixed, x, 6, 3), each(fixed, weight, 5, 3), each(fixed, bias, 5, 3)]
    exact = run(f'type: "{stock}" {block}', *trimmed)
    np.testing.assert_array_equal(result, each(fixed, exact, 9, 4))


SHARED = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "before" type: "AbsVal" bottom: "x" top: "before" }
layer { name: "fc" type: "FcRistretto" bottom: "x" top: "fc" inner_product_param { num_output: 2 }
        quantization_param { bw_layer_in: 4 fl_layer_in: 1 } }
layer { name: "after" type: "AbsVal" bottom: "x" top: "after" }
"""


def test_later_layers_read_the_rounded_bottom():
    """The fork rounds the bottom in its memory, which layers after it read."""
    built = pg.Net(prototxt.parse(SHARED, "net"))
    x = drawn(0, 2, 3)
    built.take_weights({"fc": [drawn(1, 2, 3), drawn(2, 2)]})
    result = pg.run(built, {"x": x})
    np.testing.assert_array_equal(result["before"], np.abs(x))
    np.testing.assert_array_equal(result["after"], np.abs(each(fixed, x, 4, 1)))


def test_what_is_refused():
    fc = 'type: "FcRistretto" inner_product_param { num_output: 2 bias_term: false } %s'
    x, weight = drawn(0, 2, 3), drawn(1, 2, 3)
    with pytest.raises(pg.UnsupportedError, match="values are random in phase TEST"):
        run(fc % "quantization_param { rounding_scheme: STOCHASTIC }", x, weight)
    with pytest.raises(pg.UnsupportedError, match="values are random in phase TRAIN"):
        run(fc % "", x, weight, phase="TRAIN")
    with pytest.raises(pg.InputError, match="a width of 0 bits is invalid"):
        run(fc % "quantization_param { bw_params: 0 }", x, weight)
    with pytest.raises(pg.UnsupportedError, match="beyond the range of float32"):
        run(fc % "quantization_param { fl_params: 200 }", x, weight)
    with pytest.raises(pg.InputError, match="mant_bits 24 and exp_bits 8 are invalid"):
        run(fc % "quantization_param { precision: MINIFLOAT mant_bits: 24 }", x, weight)
    lrn = 'type: "LRNRistretto" quantization_param { %s }'
    with pytest.raises(pg.UnsupportedError, match="rounds each sum over the channels"):
        run(lrn % "precision: MINIFLOAT", drawn(0, 1, 5, 2, 2))
    with pytest.raises(pg.InputError, match="precision must be MINIFLOAT"):
        net(lrn % "", (1, 5, 2, 2))


def test_rewrite_keeps_the_layers(tmp_path):
    path = tmp_path / "n.prototxt"
    net('type: "FcRistretto" inner_product_param { num_output: 2 }', (2, 3)).save(path)
    assert "no stock layers round" in pg.rewrite(path).retained[0].reason


def fix(value: float, bits: int, position: int) -> float:
    """fix_data1: halves up."""
    step = F(2.0**-position)
    scaled = F(value) / step
    if scaled < 0 and scaled - F(math.floor(scaled)) == 0.5:
        scaled = F(math.ceil(scaled))
    else:  # C's round: halves away from 0
        away = math.floor(abs(float(scaled)) + 0.5)
        scaled = F(away if scaled >= 0 else -away)
    low, high = -F(2.0 ** (bits - 1)) * step, F(2.0 ** (bits - 1)) * step - step
    return float(min(max(scaled * step, low), high))


@DRAWN
@given(
    bits=st.integers(1, 16),
    position=st.floats(-3, 9),
    seed=st.integers(0, 99),
    mode=st.sampled_from(["fix", "input", "off"]),
)
def test_fixed_neuron(bits, position, seed, mode):
    x = drawn(seed, 2, 3, 4, scale=3)
    flag = {"fix": "", "input": "follow_data_layer: true", "off": "enable: false"}[mode]
    text = f'type: "FixedNeuron" fixed_param {{ bit_width: {bits} {flag} }}'
    result = run(text, x, np.array([position], np.float32))
    if mode == "off":
        expected = x
    elif mode == "fix":
        expected = each(fix, x, bits, math.floor(F(position)))
    else:
        step = 2.0 ** -math.floor(F(position))
        expected = each(lambda v: math.trunc(v / step) * step, x)
    np.testing.assert_array_equal(result, expected)


def test_fixed_neuron_in_training_is_refused():
    with pytest.raises(pg.UnsupportedError, match="calibrates the position"):
        run('type: "FixedNeuron"', drawn(0, 2, 3), np.zeros(1, np.float32), phase="TRAIN")
