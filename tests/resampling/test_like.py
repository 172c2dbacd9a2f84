"""``--like``: the matrices of an axis against the numbers of other software (golden/resize/axes.npz).

``tests/golden/resize/make_axes.py`` explains the file, and makes it where the software is installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from places import GOLDEN

import protogen as pg
from protogen.resampling.conventions import LIKE, like
from protogen.resampling.matrices import make_axis, resampling_matrix
from protogen.resampling.sampling import Sampling

_SPEC = importlib.util.spec_from_file_location("make_axes", GOLDEN / "resize" / "make_axes.py")
assert _SPEC
assert _SPEC.loader
make_axes = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(make_axes)

TOLERANCE = 1e-5  # of the largest value; most differences are below 5e-6


@cache
def numbers() -> dict[str, np.ndarray]:
    with np.load(make_axes.FILE) as stored:
        return dict(stored)


def keys(what: str) -> list[str]:
    return sorted(key.removesuffix(f":{what}") for key in numbers() if key.endswith(f":{what}"))


def sampling_of(key: str, enlarges: bool) -> Sampling:
    software, mode, option = key.split(":")
    return like(software, mode, antialias=option == "antialias", enlarges=enlarges)


def pieces(values: np.ndarray, lengths: Iterator[int]) -> Iterator[np.ndarray]:
    start = 0
    for length in lengths:
        yield values[start : start + length]
        start += length
    assert start == len(values)


def test_every_mode_has_numbers():
    stored = {tuple(key.split(":")[:2]) for key in numbers() if ":" in key}
    assert stored == {(s, m) for s, modes in LIKE.items() for m in modes if s != "keras"}
    assert LIKE["keras"] == LIKE["tf2"]


@pytest.mark.parametrize("key", keys("pixels"))
def test_nearest_pixels_are_those_of_the_software(key):
    """Every resize of 1 to 64 pixels to 1 to 64 pixels reads exactly the same pixels."""
    sampling = sampling_of(key, False)
    pairs = [(n, m) for n in range(1, 65) for m in range(1, 65)]
    differences = pieces(numbers()[f"{key}:pixels"], (m for _, m in pairs))
    for (n, m), difference in zip(pairs, differences, strict=True):
        expected = make_axes.exact_pixels(n, m, make_axes.is_centred(key)) + difference
        actual = make_axis(n, m, sampling=sampling).matrix @ np.arange(n)
        np.testing.assert_array_equal(actual, expected, err_msg=f"{n} to {m}")


@pytest.mark.parametrize(
    "key", ["torch:nearest:", "torch:nearest-exact:", "opencv:nearest:", "pillow:nearest:"]
)
def test_rounding_errors_decide_between_pixels(key):
    """Exact arithmetic is not enough: some pairs of lengths differ from it."""
    assert numbers()[f"{key}:pixels"].any()


def test_pillow_enlarges_8_pixels_to_20():
    """Pixel 7 lies between the pixels 2 and 3; the sum of Pillow's steps is below 3."""
    x = np.arange(8.0)
    actual = make_axis(8, 20, sampling=like("pillow", "nearest")).matrix @ x
    exact = make_axis(8, 20, sampling=Sampling("nearest", "tf_half_pixel_for_nn", "floor"))
    assert (actual[7], (exact.matrix @ x)[7]) == (2, 3)


@pytest.mark.parametrize("key", keys("scaled"))
def test_lengths_and_nearest_pixels_of_factors(key):
    """PyTorch rounds lengths down, OpenCV to the nearest; both compute positions with the factor."""
    values = iter(numbers()[f"{key}:scaled"].tolist())
    for n in make_axes.LENGTHS:
        for factor in make_axes.DECIMALS:
            if not int(n * factor):
                continue
            expected = [next(values) for _ in range(next(values))]
            axis = make_axis(n, scale=factor, sampling=sampling_of(key, factor > 1))
            assert axis.out == len(expected), (n, factor)
            assert (axis.matrix @ np.arange(n)).tolist() == expected, (n, factor)
    assert not list(values)


@pytest.mark.parametrize("key", keys("sizes"))
def test_outputs_of_sizes(key):
    x, values = numbers()["x"].astype(np.float64), numbers()[f"{key}:sizes"]
    outputs = pieces(values, (m for _, m in make_axes.PAIRS))
    for (n, m), expected in zip(make_axes.PAIRS, outputs, strict=True):
        axis = make_axis(n, m, sampling=sampling_of(key, m > n))
        bound = TOLERANCE * np.abs(values).max()
        np.testing.assert_allclose(axis.matrix @ x[:n], expected, rtol=0, atol=bound)


@pytest.mark.parametrize("key", keys("factors"))
def test_outputs_of_factors(key):
    """The factor is not out / size where the length is rounded. PyTorch's area ignores it, and its
    bilinear copies an axis that keeps its length."""
    x, values = numbers()["x"].astype(np.float64), numbers()[f"{key}:factors"]
    start = 0
    for n in make_axes.LENGTHS:
        for factor in make_axes.FACTORS:
            if not int(n * factor):
                continue
            axis = make_axis(n, scale=factor, sampling=sampling_of(key, factor > 1))
            expected = values[start : start + axis.out]
            start += axis.out
            bound = TOLERANCE * np.abs(values).max()
            np.testing.assert_allclose(axis.matrix @ x[:n], expected, rtol=0, atol=bound,
                                       err_msg=f"{n} by {factor}")  # fmt: skip
    assert start == len(values)


def test_lengths_of_factors():
    """29 % of 100 pixels: the product in float64 is below 29, and PyTorch rounds it down."""
    lengths = [
        make_axis(100, scale=0.29, sampling=like(s, "bilinear")).out for s in ("torch", "tf2")
    ]
    assert lengths == [28, 29]
    assert make_axis(5, scale=1.5, sampling=like("opencv", "bilinear")).out == 8  # 7.5, to the even
    assert make_axis(3, scale=1.5, sampling=like("opencv", "bilinear")).out == 4  # 4.5
    assert (
        make_axis(10, scale=float(np.float32(0.7)), sampling=Sampling(software="onnxruntime")).out
        == 7
    )
    assert make_axis(5, scale=2.5, sampling=like("pillow", "bilinear")).scale == 12 / 5


def test_align_corners_uses_the_whole_length():
    """7 pixels by 1.5 are 10: the last of them is the last pixel."""
    matrix = resampling_matrix(7, scale=1.5, align="align_corners")
    np.testing.assert_allclose(matrix @ np.arange(7), np.arange(10) * 6 / 9)


@pytest.mark.parametrize("mode", ["bilinear", "cubic", "area", "nearest", "nearest-exact"])
def test_plans_compute_what_pytorch_computes(mode):
    """The layers of a plan, with different factors for height and width."""
    height, width = (7, 1.3), (10, 0.6)
    resize_plan = pg.resize([1.3, 0.6], mode=mode, like="torch", input_shape=(2, 2, 7, 10))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 2, 7, 10)).astype(np.float32)
    rows, columns = (
        make_axis(n, scale=f, sampling=like("torch", mode)).matrix for n, f in (height, width)
    )
    expected = rows @ x.astype(np.float64) @ columns.T
    actual = resize_plan.run(resize_plan.decision.chosen, x)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def test_opencv_copies_a_picture_that_keeps_its_size():
    """5 pixels by 1.05 are 5. With one changed axis, OpenCV interpolates the other."""
    plan = pg.resize(1.05, like="opencv", input_shape=(1, 1, 5, 5))
    np.testing.assert_array_equal(plan.request.axes[0].matrix, np.eye(5))
    plan = pg.resize([2, 1.05], like="opencv", input_shape=(1, 1, 5, 5))
    assert not np.array_equal(plan.request.axes[1].matrix, np.eye(5))


def test_rounding_errors_prevent_plans_for_any_size():
    """With PyTorch's float32, pixel 41 of a factor of 41 reads pixel 0."""
    with pytest.raises(pg.UnsupportedError, match="the nearest pixels depend on the input size"):
        pg.resize(41, mode="nearest", like="torch")
    assert pg.resize(40, mode="nearest", like="torch").strategy == "deconvolution"
    plan = pg.resize(41, mode="nearest", like="torch", input_shape=(1, 1, 3, 3))
    pixels = plan.request.axes[0].matrix @ np.arange(3)
    assert (pixels[40], pixels[41], pixels[42]) == (0, 0, 1)


def test_nearest_exact_is_a_mode_of_pytorch(protogen):
    result = protogen("resize", "--factor", "2", "--mode", "nearest-exact")
    assert result.returncode == 2
    message = "mode: nearest-exact is a mode of PyTorch. Add --like torch, or use nearest."
    assert message in result.stderr
    arguments = ["--mode", "nearest-exact", "--like", "torch", "--input-shape", "1,1,4,4"]
    result = protogen("resize", "--factor", "2.5", *arguments, "--verify")
    assert result.returncode == 0
    assert "exact" in result.stderr
