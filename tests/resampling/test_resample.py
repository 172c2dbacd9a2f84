"""Resizing matrices compared with onnxruntime, ONNX's reference, and other software."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference.ops.op_resize import Resize as ReferenceResize
from places import GOLDEN

from protogen.errors import InputError, UnsupportedError
from protogen.onnx.session import run_model
from protogen.resampling.conventions import LIKE, like
from protogen.resampling.kernels import _divided
from protogen.resampling.matrices import (
    Axis,
    convolution_matrix,
    deconvolution_matrix,
    keep_aspect,
    linear_matrix,
    make_axis,
    nearest_matrix,
    resampling_matrix,
)
from protogen.resampling.positions import snap_half, snap_integer
from protogen.resampling.request import ResizeRequest
from protogen.resampling.sampling import MODES, Sampling

NUMBERS = GOLDEN / "resize" / "numbers.npz"
ALIGNS = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
          "tf_crop_and_resize"]  # fmt: skip
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
ONNX_MODES = {"nearest": "nearest", "bilinear": "linear", "cubic": "cubic"}


@st.composite
def axes(draw) -> Axis:
    """Draw an axis with any attributes that ONNX defines."""
    mode = draw(st.sampled_from(["nearest", "bilinear", "cubic"]))
    sampling = Sampling(
        mode,
        draw(st.sampled_from(ALIGNS)),
        draw(st.sampled_from(ROUNDINGS)),
        draw(st.sampled_from([-0.75, -0.5, -0.3])),
        exclude_outside=mode == "cubic" and draw(st.booleans()),
        antialias=mode != "nearest" and draw(st.booleans()),
    )
    roi = (0.0, 1.0)
    if sampling.align == "tf_crop_and_resize":
        roi = (draw(st.sampled_from([-0.25, 0.0, 0.2])), draw(st.sampled_from([0.7, 1.0, 1.3])))
    size = draw(st.integers(1, 12))
    if draw(st.booleans()):
        return make_axis(size, draw(st.integers(1, 30)), sampling=sampling, roi=roi)
    scale = draw(st.sampled_from([0.34, 0.5, 0.6, 0.8, 1.0, 1.3, 1.5, 2.0, 2.3, 3.0]))
    assume(scale * size >= 1)
    return make_axis(size, None, float(np.float32(scale)), sampling, roi)


def tied(axis: Axis) -> bool:
    """Return whether a position of nearest is a tie, where float32 and float64 may differ."""
    x = 2 * axis.positions
    return axis.sampling.mode == "nearest" and bool((np.abs(x - np.round(x)) < 1e-4).any())


# The tests exclude many axes; each test states why.
PICKY = [HealthCheck.filter_too_much]


@settings(max_examples=2000, suppress_health_check=PICKY)
@given(axis=axes())
def test_matrix_equals_onnx_reference(axis):
    """The matrix equals ONNX's own reference in float64, for every combination of attributes.

    Excluded are positions that differ from an integer only by float64 rounding: there the reference
    may use the weights of one pixel and the values of its neighbour. It also divides by lengths that
    are not rounded, where the standard, onnxruntime and PyTorch use the whole length.
    """
    assume(not tied(axis))
    s = axis.sampling
    x = axis.positions
    assume(
        axis.out > 1 or s.align != "pytorch_half_pixel"
    )  # the reference differs from the specification
    assume(s.align == "asymmetric" or (np.abs(x - np.round(x)) > 1e-9).all())
    whole = axis.scale * axis.size == axis.out
    assume(whole or s.align not in ("align_corners", "tf_crop_and_resize"))
    operator = ReferenceResize.__new__(ReferenceResize)
    by_size = axis.scale == axis.out / axis.size
    roi = np.array([axis.roi[0], axis.roi[1]]) if s.align == "tf_crop_and_resize" else None
    columns = []
    for column in np.eye(axis.size):
        (resized_column,) = operator._run(
            column,
            roi,
            None if by_size else np.array([axis.scale]),
            np.array([axis.out]) if by_size else None,
            antialias=int(s.antialias),
            axes=None,
            coordinate_transformation_mode=s.align,
            cubic_coeff_a=s.cubic_a,
            exclude_outside=int(s.exclude_outside),
            extrapolation_value=0.0,
            keep_aspect_ratio_policy="stretch",
            mode=ONNX_MODES[s.mode],
            nearest_mode=s.rounding,
        )
        columns.append(resized_column)
    np.testing.assert_allclose(axis.matrix, np.array(columns).T, atol=1e-9)


def resized(axis: Axis, x: np.ndarray) -> np.ndarray:
    """Resize the columns of ``x`` (size, n) with onnxruntime."""
    s = axis.sampling
    attributes = {
        "mode": ONNX_MODES[s.mode],
        "coordinate_transformation_mode": s.align,
        "nearest_mode": s.rounding,
        "cubic_coeff_a": s.cubic_a,
        "exclude_outside": int(s.exclude_outside),
        "antialias": int(s.antialias),
    }
    by_size = axis.scale == axis.out / axis.size
    roi = [0.0, 0.0, *axis.roi[:1], 0.0, 1.0, 1.0, *axis.roi[1:], 1.0]
    constants = [helper.make_tensor("roi", TensorProto.FLOAT, [8], roi)]
    if by_size:
        sizes = [1, 1, axis.out, x.shape[1]]
        constants.append(helper.make_tensor("sizes", TensorProto.INT64, [4], sizes))
    else:
        scales = [1.0, 1.0, axis.scale, 1.0]
        constants.append(helper.make_tensor("scales", TensorProto.FLOAT, [4], scales))
    reads = ["x", "roi", "" if by_size else "scales", "sizes" if by_size else ""]
    node = helper.make_node("Resize", reads, ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, *x.shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return run_model(model.SerializeToString(), {"x": x[None, None]})["y"][0, 0]


@settings(max_examples=1000, suppress_health_check=PICKY)
@given(axis=axes())
def test_matrix_equals_onnxruntime(axis):
    """The exact matrix equals onnxruntime, where rounding errors do not decide between two pixels.

    tests/onnx/test_resizes.py compares the matrices that have onnxruntime's rounding errors.
    """
    s = axis.sampling
    assume(not tied(axis))
    assume(s.align != "half_pixel_symmetric")  # some releases do not support its opset
    # onnxruntime computes lengths in float32, and copies if the shape does not change, for every scale.
    assume(axis.out == int(np.float32(axis.scale) * np.float32(axis.size)))
    assume(axis.out != axis.size or (axis.scale == 1 and s.align != "tf_crop_and_resize"))
    edge = np.abs(np.stack([axis.positions, axis.positions - (axis.size - 1)])).min()
    assume(s.align != "tf_crop_and_resize" or (axis.out > 1 and edge > 1e-4))
    x = np.random.default_rng(0).standard_normal((axis.size, 3)).astype(np.float32)
    # positions in float32 have an error of about 1e-6 of a pixel
    np.testing.assert_allclose(axis.matrix @ x, resized(axis, x), atol=3e-5)


@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize("mode", ["bilinear", "cubic"])
def test_antialias_has_no_effect_on_enlarging(mode, factor):
    plain = resampling_matrix(7, scale=factor, mode=mode)
    np.testing.assert_allclose(resampling_matrix(7, scale=factor, mode=mode, antialias=True), plain,
                               atol=1e-12)  # fmt: skip


@given(axis=axes())
def test_rows_sum_to_one(axis):
    """A constant image stays constant. Extrapolated pixels do not depend on the image."""
    np.testing.assert_allclose(axis.matrix.sum(axis=1), (~axis.outside).astype(float), atol=1e-9)


def golden() -> dict[str, np.ndarray]:
    with np.load(NUMBERS) as stored:
        return dict(stored)


def cases() -> list[str]:
    with np.load(NUMBERS) as stored:
        return [key for key in stored.files if key != "x"]


@pytest.fixture(scope="module")
def numbers() -> dict[str, np.ndarray]:
    return golden()


@pytest.mark.parametrize("case", cases())
def test_like_matches_other_software(case, numbers):
    """The matrices reproduce PyTorch, TensorFlow, Keras, OpenCV and Pillow in float32."""
    software, mode, option, size = case.split(":")
    x = numbers["x"]
    h, w = (
        (int(n) * int(size[1:]) for n in x.shape) if size[0] == "x" else map(int, size.split("x"))
    )
    sampling = like(software, mode, antialias=option == "antialias",
                    enlarges=h > x.shape[0] or w > x.shape[1])  # fmt: skip
    request = ResizeRequest(sampling, channels=1, size=x.shape, out=(h, w))
    np.testing.assert_allclose(request.wanted(x[None, None])[0, 0], numbers[case], atol=1e-5)


def test_every_convention_has_stored_output():
    covered = {tuple(case.split(":")[:2]) for case in cases()}
    missing = {(s, m) for s, modes in LIKE.items() for m in modes} - covered
    same_as_tf2 = {("keras", "cubic"), ("keras", "lanczos"), ("keras", "area")}
    assert missing == same_as_tf2 | {("torch", "nearest-exact")}  # which is in axes.npz


def test_tensorflow_rounds_positions_of_cubic():
    """TensorFlow's table has 1024 steps. Without rounding the result differs by about 1e-3."""
    x = golden()["x"]
    expected = golden()["tf2:cubic::21x22"]
    unrounded = Sampling("cubic", cubic_a=-0.5, exclude_outside=True)
    actual = ResizeRequest(unrounded, channels=1, size=(7, 9), out=(21, 22)).wanted(x[None, None])[
        0, 0
    ]
    assert 1e-4 < np.abs(actual - expected).max() < 5e-3


@pytest.mark.parametrize(("sizes", "outs", "policy", "expected"), [
    ((2, 2), (7, 8), "not_larger", [7, 7]),
    ((2, 2), (7, 8), "not_smaller", [8, 8]),
    ((2, 4), (1, 3), "not_larger", [1, 2]),
    ((2, 4), (1, 3), "stretch", [1, 3]),
])  # fmt: skip
def test_keep_aspect_lengths(sizes, outs, policy, expected):
    assert keep_aspect(sizes, outs, policy)[0] == expected


@pytest.mark.parametrize(("arguments", "message"), [
    ({"mode": "quadratic"}, "mode: unknown value 'quadratic'"),
    ({"align": "half"}, "align: unknown value 'half'"),
    ({"rounding": "up"}, "rounding: unknown value 'up'"),
    ({"mode": "nearest", "antialias": True}, "antialias: not supported for mode nearest, which has no kernel"),
    ({"scale": 0.1}, "size: the output length for 3 pixels must be at least 1, got 0"),
    ({"scale": -1.0}, "scale: must be a finite number above 0, got -1"),
    ({"scale": None}, "size: neither an output size nor a scale is given"),
])  # fmt: skip
def test_invalid_values_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        resampling_matrix(3, **{"scale": 2.0} | arguments)


def test_unknown_conventions_are_refused():
    with pytest.raises(InputError, match="Did you mean torch"):
        like("torhc", "bilinear")
    with pytest.raises(UnsupportedError, match="torch has no mode lanczos"):
        like("torch", "lanczos")
    with pytest.raises(UnsupportedError, match="opencv has no antialias option for bilinear"):
        like("opencv", "bilinear", antialias=True)


KERNELS = [
    (Sampling("bilinear"), {-1.5: 0, -1: 0, -0.75: 0.25, 0: 1, 0.5: 0.5, 1: 0, 3: 0}),
    (Sampling("box"), {-0.6: 0, -0.5: 0, -0.4: 1, 0: 1, 0.5: 1, 0.6: 0}),
    (Sampling("cubic", cubic_a=-0.5), {0: 1, 0.5: 0.5625, -0.5: 0.5625, 1: 0, 1.5: -0.0625, -1.5: -0.0625, 2: 0, 2.5: 0}),
    (Sampling("cubic"), {0: 1, 0.5: 0.59375, 1: 0, 1.5: -0.09375, 2: 0, 2.5: 0}),
    (Sampling("lanczos"), {0: 1, 0.5: 6 / np.pi**2, -0.5: 6 / np.pi**2, 1: 0, 1.5: -4 / (3 * np.pi**2), 3: 0, 3.5: 0}),
    (Sampling("lanczos", lobes=4), {0: 1, 2: 0, 3.5: np.sinc(3.5) * np.sinc(0.875), 4: 0, 4.5: 0}),
]  # fmt: skip


@pytest.mark.parametrize(("sampling", "values"), KERNELS, ids=lambda one: getattr(one, "mode", ""))
def test_kernels_have_their_defined_values(sampling, values):
    """Keys 1981 for the cubics; sinc(x) sinc(x / lobes) for Lanczos. 0 outside of the support."""
    x = np.array(list(values), np.float64)
    np.testing.assert_allclose(sampling.kernel(x), list(values.values()), rtol=0, atol=1e-15)
    assert (
        sampling.support
        == {"bilinear": 1, "box": 0.5, "cubic": 2, "lanczos": sampling.lobes}[sampling.mode]
    )
    beyond = np.array([-1.01, 1.01, 7.3]) * sampling.support
    assert not sampling.kernel(beyond).any()
    assert sampling.kernel(x).dtype == np.float64


def test_resampling_matrix_equals_matrix_of_axis():
    """Each argument is passed to the axis, and the defaults are those of Sampling."""
    for mode in MODES:
        matrix = resampling_matrix(7, out=4, mode=mode)
        np.testing.assert_array_equal(matrix, Axis(7, 4, 4 / 7, Sampling(mode)).matrix)
    np.testing.assert_array_equal(resampling_matrix(7, out=4), Axis(7, 4, 4 / 7).matrix)
    roi = (0.25, 0.5)
    for options in (
        {"align": "align_corners"}, {"mode": "nearest", "rounding": "ceil"}, {"mode": "cubic", "cubic_a": -0.3},
        {"mode": "lanczos", "lobes": 4}, {"mode": "cubic", "exclude_outside": True}, {"antialias": True},
    ):  # fmt: skip
        matrix = resampling_matrix(7, out=4, scale=0.5, **options)
        np.testing.assert_array_equal(matrix, Axis(7, 4, 0.5, Sampling(**options)).matrix)
        assert not np.array_equal(
            matrix, resampling_matrix(7, out=4, scale=0.5, mode=options.get("mode", "bilinear"))
        )
    matrix = resampling_matrix(9, out=4, align="tf_crop_and_resize", roi=roi)
    np.testing.assert_allclose(matrix @ np.arange(9), 2 + np.arange(4) * 2 / 3)
    assert (resampling_matrix(5, scale=0.5).shape, resampling_matrix(5, scale=2.5).shape) == (
        (2, 5),
        (12, 5),
    )
    assert make_axis(10, scale=0.3).out == 3  # float64 rounding of 0.3 * 10 must not lead to 2
    assert make_axis(3, scale=1 / 3).out == 1
    assert make_axis(49, scale=1 / 49).out == 1


@pytest.mark.parametrize(("size", "arguments", "message"), [
    (0, {"out": 3}, "size: must be at least 1, got 0."),
    (3, {"out": 0}, "size: the output length for 3 pixels must be at least 1, got 0."),
    (3, {"scale": 0.3}, "size: the output length for 3 pixels must be at least 1, got 0."),
    (3, {}, "size: neither an output size nor a scale is given. Give one of them."),
    (3, {"scale": 0.0}, "scale: must be a finite number above 0, got 0."),
    (3, {"scale": float("inf")}, "scale: must be a finite number above 0, got inf."),
    (3, {"scale": float("nan"), "out": 3}, "scale: must be a finite number above 0, got nan."),
    (3, {"out": 3, "mode": "x"}, f"mode: unknown value 'x'. Known values: {', '.join(MODES)}."),
    (3, {"out": 3, "mode": "nearest", "antialias": True},
     "antialias: not supported for mode nearest, which has no kernel. Choose another mode."),
])  # fmt: skip
def test_error_messages_are_complete_sentences(size, arguments, message):
    with pytest.raises(InputError) as caught:
        resampling_matrix(size, **arguments)
    assert str(caught.value) == message


def test_keep_aspect_lengths_and_scales():
    assert keep_aspect([2, 4], [1, 3], "stretch") == ([1, 3], [0.5, 0.75])
    assert keep_aspect([2, 4], [1, 3], "not_larger") == ([1, 2], [0.5, 0.5])
    assert keep_aspect([2, 4], [1, 3], "not_smaller") == ([2, 3], [0.75, 0.75])
    assert keep_aspect([1000, 10], [10, 10], "not_larger") == ([10, 1], [0.01, 0.01])  # never 0
    with pytest.raises(InputError) as caught:
        keep_aspect([2], [3], "larger")
    message = (
        "keep_aspect_ratio_policy: unknown value 'larger'. "
        "Known values: stretch, not_larger, not_smaller."
    )
    assert str(caught.value) == message


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_matrices_of_convolution_and_deconvolution(kernel, size, stride, pad):
    """Every entry of the two matrices follows from the definition of the layer."""
    profile = np.arange(1, kernel + 1, dtype=np.float32) / 7
    assume(size + 2 * pad >= kernel)
    matrix = convolution_matrix(profile, size, stride, pad)
    assert matrix.dtype == np.float64
    assert matrix.shape == ((size + 2 * pad - kernel) // stride + 1, size)
    for o, i in np.ndindex(matrix.shape):
        k = i + pad - o * stride
        assert matrix[o, i] == (np.float64(profile[k]) if 0 <= k < kernel else 0)
    length = (size - 1) * stride + kernel - 2 * pad
    assume(length >= 1)
    matrix = deconvolution_matrix(profile, size, stride, pad)
    assert matrix.dtype == np.float64
    assert matrix.shape == (length, size)
    for o, i in np.ndindex(matrix.shape):
        k = o + pad - i * stride
        assert matrix[o, i] == (np.float64(profile[k]) if 0 <= k < kernel else 0)


def test_matrices_of_integer_factors():
    np.testing.assert_array_equal(nearest_matrix(2, 3), np.repeat(np.eye(2), 3, axis=0))
    np.testing.assert_allclose(linear_matrix(2, 2), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])


@given(axes())
@settings(max_examples=300, suppress_health_check=PICKY)
def test_extended_matrix_clamps_to_matrix(axis):
    """Adding the columns outside of the input to the end pixels gives the matrix.

    The outermost columns are not zero.
    """
    assume(not axis.sampling.exclude_outside)
    extended, before = axis.extended
    after = extended.shape[1] - before - axis.size
    assert min(before, after) >= 0
    clamped = extended[:, before : before + axis.size].copy()
    clamped[:, 0] += extended[:, :before].sum(axis=1)
    clamped[:, -1] += extended[:, before + axis.size :].sum(axis=1)
    np.testing.assert_allclose(clamped, axis.matrix, rtol=0, atol=1e-12)
    assert not before or extended[:, 0].any()
    assert not after or extended[:, -1].any()


def test_positions_are_snapped_to_integers_and_halves():
    """The rounding rule decides ties, and not the last bit of a quotient."""
    for size, out in ((3, 9), (7, 21), (10, 3), (49, 7), (1000, 3000)):
        for align in ALIGNS:
            twice = 2 * Axis(size, out, out / size, Sampling(align=align)).positions
            near = np.abs(twice - np.round(twice)) < 1e-7
            np.testing.assert_array_equal(twice[near], np.round(twice[near]))
    third = Axis(3, 9, 3.0).positions
    np.testing.assert_allclose(third[:4], [-1 / 3, 0, 1 / 3, 2 / 3], atol=1e-15)
    assert third[1] == 0


def test_snapping_tolerance():
    """Values within 1e-9 of an integer or half are snapped; above 1 the tolerance is relative."""
    positions = [
        0.5 + 1e-12,
        1 - 1e-12,
        1e-10,
        0.25,
        1 / 3,
        1000.5 + 4e-7,
        -2.5 - 1e-9,
        0.5 + 3e-9,
        1.5e-9,
        1000 + 2e-6,
    ]
    expected = [0.5, 1, 0, 0.25, 1 / 3, 1000.5, -2.5, 0.5 + 3e-9, 1.5e-9, 1000 + 2e-6]  # fmt: skip
    np.testing.assert_array_equal(snap_half(np.array(positions)), expected)
    wholes = [(3 - 1e-12, 3), (0.5, 0.5), (1000 + 5e-7, 1000), (1000 + 2e-6, 1000 + 2e-6), (1.5e-9, 1.5e-9), (1e-10, 0)]  # fmt: skip
    for value, near in wholes:
        assert snap_integer(value) == near


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1 / 3]), min_size=1, max_size=8),
    st.lists(st.sampled_from([0.0, 1e-10, 0.25, 0.5, 1.0, 1 / 3]), min_size=1, max_size=16),
)
def test_division_of_kernels_has_the_numbers_of_numpy(divisor, dividend):
    divisor = [1.0, *divisor]
    assume(len(dividend) >= len(divisor))
    quotient, remainder = _divided(np.array(dividend), np.array(divisor))
    expected, rest = np.polydiv(dividend, divisor)
    np.testing.assert_array_equal(quotient, expected)
    np.testing.assert_array_equal(remainder, rest)
