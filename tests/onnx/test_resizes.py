"""Resize and Upsample: every attribute, any axes and scales, against onnxruntime and real Caffe.

Where onnxruntime has no implementation, or a known fault, ONNX's reference has the expected numbers.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from onnx import helper
from onnx.reference import ReferenceEvaluator
from operators import TOLERANCE, agrees, close, model, refusal, weights

import protogen as pg
from protogen.layers import kind_of
from protogen.onnx.importer import import_model
from protogen.onnx.session import run_model
from protogen.resampling.forms import Resizing, resizing_of

onnxruntime.set_default_logger_severity(4)  # it warns of tf_half_pixel_for_nn in new operator sets

ALIGNS = (
    "half_pixel",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
    "half_pixel_symmetric",  # from operator set 19 on
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
CROP = "tf_crop_and_resize"


class Drawn(NamedTuple):
    """An operator with constant inputs, on an input of a shape."""

    operator: str
    opset: int
    shape: tuple[int, ...]
    attributes: dict
    scales: list[float] | None
    sizes: list[int] | None
    roi: list[float] | None

    @property
    def resizing(self) -> Resizing:
        roi = None if self.roi is None else np.float32(self.roi)
        return resizing_of(self.operator, self.shape, self.attributes, opset=self.opset,
                           scales=self.scales, sizes=self.sizes, roi=roi)  # fmt: skip

    @property
    def model(self) -> onnx.ModelProto:
        constants = {}
        attributes = dict(self.attributes)
        if self.operator == "Upsample" and self.opset < 9:
            reads, attributes["scales"] = ["x"], self.scales
        elif self.opset < 11:
            reads, constants["s"] = ["x", "s"], np.float32(self.scales)
        else:
            # Up to operator set 12 an input that is not used is an empty tensor.
            constants["r"] = np.float32(self.roi or [])
            constants["s"] = np.float32(self.scales or [])
            reads = ["x", "r", "s"]
            if self.sizes is not None:
                constants["z"] = np.int64(self.sizes)
                reads = ["x", "r", "s" if self.opset < 13 or self.scales else "", "z"]
        constants = {name: array for name, array in constants.items() if name in reads}
        node = helper.make_node(self.operator, reads, ["y"], name="resize", **attributes)
        return model([node], {"x": self.shape}, constants=constants, opset=self.opset)

    def expected(self, x: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return the output, and whether it is onnxruntime's."""
        one = self
        if "axes" in self.attributes:
            # onnxruntime mistakes negative axes together with keep_aspect_ratio_policy.
            axes = [axis % len(self.shape) for axis in self.attributes["axes"]]
            one = self._replace(attributes=self.attributes | {"axes": axes})
        # onnxruntime's cubic mixes up the pixels that it extrapolates if the channels are last.
        axes = self.resizing.axes
        channels_last = len(axes) == 4 and axes[1].scale != 1
        is_mixed_up = channels_last and self.roi and self.attributes["mode"] == "cubic"
        if not self.resizing.crops_without_resizing and not is_mixed_up:
            try:
                return run_model(one.model.SerializeToString(), {"x": x})["y"], True
            except pg.ProtogenError:
                assume(self.opset >= 11)  # the reference has no older Resize or Upsample
        # The reference does not copy a blob whose lengths do not change.
        assume(self.resizing.out != self.shape or all(a.scale == 1 for a in self.resizing.axes))
        for axis in self.resizing.axes:
            _assume_reference(axis)
        try:
            return ReferenceEvaluator(one.model).run(None, {"x": x})[0], False
        except ValueError as error:
            if "tf_half_pixel_for_nn" in str(error):  # is missing in the reference
                reject()
            raise


def _assume_reference(axis) -> None:
    """Assume that ONNX's reference has the numbers of onnxruntime for an axis.

    It divides by lengths that are not rounded, reads position -0.5 for pytorch_half_pixel with one
    output pixel, and does not copy an axis that keeps its length. At whole positions and at the ends
    of a crop its rounding errors decide between two results.
    """
    s, x = axis.sampling, axis.positions
    assume(axis.scale * axis.size == axis.out or s.align not in ("align_corners", CROP))
    assume(axis.out > 1 or s.align != "pytorch_half_pixel")
    assume(not (axis.copies and axis.scale != 1))
    assume(axis.copies or s.align == "asymmetric" or (np.abs(x - np.round(x)) > 1e-6).all())
    assume(s.mode != "nearest" or (np.abs(2 * x - np.round(2 * x)) > 1e-6).all())


@cache
def has_tolerance() -> bool:
    """Whether onnxruntime takes positions that are almost in the middle of two pixels as ties."""
    case = Drawn(
        "Resize", 13, (1, 1, 1, 20), {"nearest_mode": "round_prefer_ceil"}, None, [1, 1, 1, 6], None
    )
    x = np.arange(20, dtype=np.float32).reshape(1, 1, 1, 20)
    return bool(case.expected(x)[0][0, 0, 0, 4] == 15)


def assume_well_conditioned(resizing: Resizing) -> None:
    """Assume that rounding errors are not enlarged: no nearest pixel is decided by them, and weights
    inside of the input do not cancel each other before they are scaled to the sum 1."""
    for axis in resizing.axes:
        if axis.sampling.exclude_outside:
            index, values = axis.taps
            inside = np.where((index >= 0) & (index < axis.size), values, 0)
            assume((np.abs(inside.sum(axis=1)) > 0.25).all())
        if axis.sampling.mode == "nearest" and not has_tolerance():
            distance = np.abs(axis.rounded - np.floor(axis.rounded) - 0.5)
            assume(((distance == 0) | (distance > 2e-6)).all())


@st.composite
def attributes_of(draw, opset: int, mode: str) -> dict:
    attributes = {"mode": mode}
    if opset < 11:
        return attributes
    aligns = ALIGNS if opset >= 19 else ALIGNS[:-1]
    attributes["coordinate_transformation_mode"] = draw(st.sampled_from(aligns))
    if mode == "nearest":
        attributes["nearest_mode"] = draw(st.sampled_from(ROUNDINGS))
        return attributes | ({"extrapolation_value": 1.5} if draw(st.booleans()) else {})
    if opset >= 18:
        attributes["antialias"] = draw(st.integers(0, 1))
    if mode == "cubic":
        attributes["cubic_coeff_a"] = draw(st.sampled_from([-0.75, -0.5, -0.3]))
    if mode == "cubic" or attributes.get("antialias"):
        attributes["exclude_outside"] = draw(st.integers(0, 1))
    return attributes


FRACTIONS = [1.25, 1.5, 2.0, 2.5, 3.0, 4 / 3, *(k / 10 for k in range(11, 30))]
SMALL_FRACTIONS = [0.5, 1 / 3, 2 / 3, 0.75, *(k / 10 for k in range(2, 10))]


@st.composite
def resizes(draw) -> Drawn:
    opset = draw(st.sampled_from([7, 9, 10, 11, 13, 18, 19, 23]))
    operator = "Upsample" if opset < 10 else "Resize"
    modes = ["nearest", "linear", "cubic"][: 3 if opset >= 11 else 2]
    attributes = draw(attributes_of(opset, draw(st.sampled_from(modes))))
    rank = draw(st.sampled_from([1, 2, 3, 4, 4, 4, 5]))
    shape = tuple(draw(st.integers(1, 9 if rank < 4 or k >= rank - 2 else 3)) for k in range(rank))
    axes = list(range(rank))
    if opset >= 18 and draw(st.booleans()):
        axes = draw(st.permutations(axes))[: draw(st.integers(1, rank))]
        attributes["axes"] = [draw(st.sampled_from([k, k - rank])) for k in axes]
    images = {rank - 2, rank - 1}
    resized = {k for k in axes if k in images or draw(st.integers(0, 5)) == 0}
    scales, sizes = None, None
    if opset >= 11 and draw(st.booleans()):
        sizes = [draw(st.integers(1, 14)) if k in resized else shape[k] for k in axes]
        if opset >= 18:
            policies = st.sampled_from(["stretch", "not_larger", "not_smaller"])
            attributes["keep_aspect_ratio_policy"] = draw(policies)
    else:
        fractions = st.sampled_from(FRACTIONS + (SMALL_FRACTIONS if operator == "Resize" else []))
        lowest = 0.2 if operator == "Resize" else 1
        scale = st.one_of(fractions, st.floats(lowest, 3)).map(lambda one: float(np.float32(one)))
        scales = [draw(scale) if k in resized else 1.0 for k in axes]
        assume(all(scale * shape[k] >= 1 for scale, k in zip(scales, axes, strict=True)))
    roi = None
    if attributes.get("coordinate_transformation_mode") == CROP:
        low, high = st.sampled_from([0, 0.2, -0.25, 0.1]), st.sampled_from([1, 0.7, 1.3, 0.9])
        roi = [draw(low) for _ in axes] + [draw(high) for _ in axes]
    return Drawn(operator, opset, shape, attributes, scales, sizes, roi)


def compute(resizing: Resizing, x: np.ndarray) -> np.ndarray:
    """Return the result of the parts of a resize, in float64."""
    y = x.astype(np.float64)
    for request, shape in resizing.parts():
        assert request.size is not None
        view = y.reshape(request.batch, request.channels, *request.size)
        y = request.wanted(view).reshape(shape)
    return y.reshape(resizing.out)


def resizing_or_empty(drawn: Drawn) -> Resizing:
    try:
        return drawn.resizing
    except pg.InputError as error:
        if "must be at least 1, got 0" in str(error):  # keep_aspect_ratio_policy rounded to 0
            reject()
        raise


def compare(actual: np.ndarray, expected: np.ndarray, x: np.ndarray) -> None:
    assert actual.shape == expected.shape
    largest = max(np.abs(expected).max(), np.abs(x).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * largest)


def expected_length(drawn: Drawn, resizing: Resizing, x: np.ndarray) -> np.ndarray:
    """Return the expected values. ONNX's reference implementation, which computes what onnxruntime does not,
    rounds the product of a length and a scale down, where onnxruntime's float32 gives a whole number."""
    values, by_onnxruntime = drawn.expected(x)
    assume(by_onnxruntime or values.shape == tuple(resizing.out))
    return values


FILTERED = [HealthCheck.filter_too_much, HealthCheck.too_slow]


@settings(max_examples=800, suppress_health_check=FILTERED, deadline=None)
@given(drawn=resizes())
def test_resizes_equal_onnxruntime(drawn):
    """The parts of a resize, in float64: every attribute, one to five axes, scales that do not give
    whole lengths."""
    resizing = resizing_or_empty(drawn)
    assume_well_conditioned(resizing)
    x = weights(*drawn.shape)
    compare(compute(resizing, x), expected_length(drawn, resizing, x), x)


@settings(max_examples=120, suppress_health_check=FILTERED, deadline=None)
@given(drawn=resizes())
def test_imported_resizes_equal_onnxruntime(drawn):
    """The same with the imported layers."""
    resizing = resizing_or_empty(drawn)
    assume_well_conditioned(resizing)
    x = weights(*drawn.shape)
    imported = import_model(drawn.model)
    assert all(kind_of(layer).stock for layer in imported.net.layers)
    assert len(imported.net.layers) <= 3 + 4 * len(drawn.shape)
    blob = imported.blobs.get("y", "y")
    expected = expected_length(drawn, resizing, x)
    compare(pg.run(imported.net, {"x": x}, blobs=[blob])[blob], expected, x)


@pytest.mark.parametrize("align", ALIGNS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nearest_pixels_are_those_of_onnxruntime(align, rounding):
    """All scales k / 10 and k / 7, and all sizes to 20: float32 decides between two pixels."""
    attributes = {
        "mode": "nearest",
        "coordinate_transformation_mode": align,
        "nearest_mode": rounding,
    }
    roi = [0, 0, 0, 0.1, 1, 1, 1, 0.9] if align == CROP else None
    for n in (6, 20, 47):
        x = np.tile(np.arange(n, dtype=np.float32), (1, 1, 2, 1))
        scales = [k / 10 for k in range(2, 40, 3)] + [k / 7 for k in range(2, 20, 3)]
        lengths = [(s, None) for s in scales] + [(None, m) for m in range(1, 20, 2)]
        for scale, size in lengths:
            by_scale = None if scale is None else [1, 1, 1.5, float(np.float32(scale))]
            drawn = Drawn(
                "Resize", 19, x.shape, attributes, by_scale, size and [1, 1, 3, size], roi
            )
            axis = drawn.resizing.axes[3]
            distance = np.abs(axis.rounded - np.floor(axis.rounded) - 0.5)
            if axis.out == n or (
                not has_tolerance() and ((distance > 0) & (distance < 2e-6)).any()
            ):
                continue
            expected, _ = drawn.expected(x)
            np.testing.assert_array_equal(
                compute(drawn.resizing, x), expected, f"{n} {scale} {size}"
            )


# (shape, scales, attributes, most layers): the axes that are resized, and how many layers that takes
KINDS = {
    "trilinear": ((2, 3, 4, 5, 6), [1, 1, 1.5, 2, 2.3], {"mode": "linear"}, 6),
    "depth": ((2, 3, 4, 5, 6), [1, 1, 0.6, 1, 1], {"mode": "linear"}, 3),
    "nearest volume": ((1, 2, 4, 5, 6), [1, 1, 2, 2, 2], {"mode": "nearest"}, 6),
    "channels last": ((2, 4, 5, 3), [1, 2, 1.5, 1], {"mode": "linear"}, 4),
    "batch and channels": ((2, 4, 5, 3), [2, 1.5, 1, 1], {"mode": "nearest"}, 5),
    "matrix": ((5, 6), [2, 1.5], {"mode": "cubic"}, 4),
    "rank 3": ((2, 5, 6), [1, 0.7, 1.5], {"mode": "linear"}, 4),
    "all of rank 3": ((3, 5, 6), [2, 0.7, 1.5], {"mode": "linear"}, 6),
    "sequence": ((2, 3, 7), [1, 1, 1.7], {"mode": "linear"}, 3),
    "image": ((2, 3, 5, 7), [1, 1, 1.5, 1.5], {"mode": "linear"}, 2),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("align", ["half_pixel", "align_corners"])
def test_kinds_of_resizes_in_real_caffe(kind, align):
    shape, scales, attributes, layers = KINDS[kind]
    attributes = attributes | {"coordinate_transformation_mode": align}
    drawn = Drawn("Resize", 18, shape, attributes, scales, None, None)
    agrees(drawn.model, layers=layers, live=align == "align_corners")


def test_align_corners_uses_whole_lengths():
    """7 pixels by 1.5 are 10: positions are multiples of 6 / 9, as in onnxruntime and PyTorch."""
    attributes = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    drawn = Drawn("Resize", 17, (1, 1, 7, 1), attributes, [1, 1, 1.5, 1], None, None)
    x = np.arange(7, dtype=np.float32).reshape(1, 1, 7, 1)
    y = pg.run(import_model(drawn.model).net, {"x": x})["y"].ravel()
    np.testing.assert_allclose(y, np.arange(10) * 6 / 9, rtol=1e-6)
    agrees(drawn.model)


@pytest.mark.parametrize(("scale", "pixels"), [(0.6, [0, 2, 4]), (1.4, [0, 0, 1, 2, 2, 3, 4])])
def test_operator_set_10_rounds_up_where_it_shrinks(scale, pixels):
    drawn = Drawn("Resize", 10, (1, 1, 1, 5), {"mode": "nearest"}, [1, 1, 1, scale], None, None)
    x = np.arange(5, dtype=np.float32).reshape(1, 1, 1, 5)
    y = pg.run(agrees(drawn.model), {"x": x})["y"]
    assert y.ravel().tolist() == pixels


def test_a_blob_that_keeps_its_lengths_is_copied():
    """As in onnxruntime, for every scale; one changed length, and the others are interpolated."""
    copied = Drawn("Resize", 18, (1, 2, 3, 5), {"mode": "linear"}, [1, 1, 1.1, 1.1], None, None)
    x = weights(1, 2, 3, 5)
    imported = import_model(copied.model)
    blob = imported.blobs.get("y", "y")
    np.testing.assert_array_equal(pg.run(imported.net, {"x": x}, blobs=[blob])[blob], x)
    np.testing.assert_array_equal(copied.expected(x)[0], x)
    agrees(copied._replace(scales=[1, 1, 2, 1.1]).model)


def test_crop_of_an_axis_that_keeps_its_length():
    """onnxruntime copies the axis; ONNX crops it, and so does the net. The import reports it."""
    attributes = {"mode": "linear", "coordinate_transformation_mode": CROP}
    drawn = Drawn(
        "Resize",
        18,
        (1, 1, 5, 5),
        attributes,
        None,
        [1, 1, 4, 5],
        [0, 0, 0.2, 0.15, 1, 1, 0.75, 0.85],
    )
    x = weights(1, 1, 5, 5)
    imported = import_model(drawn.model)
    (note,) = imported.approximated
    assert note == (
        'operator "resize" (Resize): onnxruntime ignores roi for an axis that keeps its length; the net '
        "crops it, as ONNX defines."
    )
    (expected,) = ReferenceEvaluator(drawn.model).run(None, {"x": x})
    close(pg.run(imported.net, {"x": x})["y"], expected.astype(np.float32), TOLERANCE)
    assert np.abs(run_model(drawn.model.SerializeToString(), {"x": x})["y"] - expected).max() > 0.1


def test_roi_is_read_only_by_a_crop():
    """A computed roi does not matter for other modes."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Reshape", ["a", "n"], ["r"]),
        helper.make_node("Resize", ["x", "r", "s"], ["y"], mode="linear"),
    ]
    constants = {"s": np.float32([1, 1, 2, 2]), "n": np.int64([8])}
    agrees(model(nodes, {"x": (1, 1, 2, 4)}, constants=constants))


@pytest.mark.parametrize(("drawn", "message"), [
    (Drawn("Upsample", 9, (1, 1, 4, 4), {}, [1, 1, 0.5, 2], None, None), "scales must be at least 1"),
    (Drawn("Resize", 18, (1, 1, 4, 4), {}, [1, 1, 2, 2], [1, 1, 8, 8], None), "has both scales and sizes"),
    (Drawn("Resize", 18, (1, 1, 1, 4), {}, [1, 1, 1, 1e8], None, None),
     "the matrix of 4 to 400000000 pixels has more than 2^27 values"),
    (Drawn("Resize", 18, (1, 1, 4, 4), {"axes": [2, -2]}, [2, 2], None, None), "an axis occurs twice in axes"),
    (Drawn("Resize", 18, (4, 9), {"keep_aspect_ratio_policy": "not_larger"}, None, [1, 1], None),
     "the output length for 4 pixels must be at least 1, got 0"),
    (Drawn("Resize", 18, (4, 4), {"extrapolation_value": float("inf"), "coordinate_transformation_mode": CROP},
           [2, 2], None, [0, 0, 1, 2]), "extrapolation_value must be finite"),
])  # fmt: skip
def test_refused_resizes(drawn, message):
    assert message in refusal(drawn.model)


@settings(max_examples=60, suppress_health_check=FILTERED, deadline=None)
@given(drawn=resizes())
def test_exact_resize_layers_equal_onnxruntime(drawn):
    """For a toolchain the import writes ExactResize layers, which run as Resize operators."""
    resizing = resizing_or_empty(drawn)
    assume_well_conditioned(resizing)
    x = weights(*drawn.shape)
    net = import_model(drawn.model, richest=True).net
    expected, _ = drawn.expected(x)
    try:
        outputs = pg.run(net, {"x": x})
    except pg.UnsupportedError as error:
        if any(one in str(error) for one in ("copies a blob", "by one rule", "has no form")):
            reject()
        raise
    compare(next(iter(outputs.values())), expected, x)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 18])
def test_lengths_are_multiplied_in_float32(opset):
    """5 pixels by 1.4 are 7 in onnxruntime and PyTorch. ONNX's shape inference says 6, because the
    float32 number next to 1.4 is smaller. Operators behind the resize have the right shapes too."""
    scales = [1, 1, 1.4, 1.8]
    operator, attributes = "Upsample" if opset < 10 else "Resize", {"mode": "linear"}
    first = Drawn(operator, opset, (1, 2, 5, 5), attributes, scales, None, None).model
    graph = first.graph
    second = helper.make_node(
        operator, ["c", *graph.node[0].input[1:]], ["y"], name="second", **attributes
    )
    if opset < 9:
        second.attribute.append(helper.make_attribute("scales", [1.0, 1.0, 1.7, 1.3]))
    graph.node[0].output[0] = "b"
    graph.node.append(helper.make_node("Conv", ["b", "w"], ["c"], name="conv"))
    graph.node.append(second)
    graph.initializer.append(onnx.numpy_helper.from_array(weights(3, 2, 3, 3), "w"))
    net = agrees(first)
    assert net.shapes["b"] == (1, 2, 7, 9)


def test_lengths_of_a_policy_are_rounded_in_float32():
    """27 pixels by the float32 number next to 55 / 6 are 247.5, which is rounded to 248."""
    attributes = {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"}
    drawn = Drawn("Resize", 18, (1, 1, 6, 27), attributes, None, [55, 18], None)
    assert agrees(drawn.model).shapes["y"] == (1, 1, 55, 248)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize(("before", "after"), [(3000, 2999), (2048, 777), (700, 3000)])
def test_rounding_errors_of_long_axes(mode, before, after):
    """Positions in float32: the error of a weight is up to 2e-7 of the position."""
    attributes = {"mode": mode, "coordinate_transformation_mode": "half_pixel"}
    drawn = Drawn("Resize", 18, (1, 1, 1, before), attributes, None, [1, 1, 1, after], None)
    x = weights(*drawn.shape)
    error = np.abs(compute(drawn.resizing, x) - drawn.expected(x)[0]).ravel()
    largest = np.abs(np.diff(x.ravel())).max()
    assert (error <= 2e-7 * largest * np.maximum(drawn.resizing.axes[3].positions, 50)).all()
    assert error.max() > 1e-5 * largest
