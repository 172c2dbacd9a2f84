"""Plans of stock layers: each plan is emitted, saved, read back, run and compared."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import EXAMPLES, GOLDEN

import protogen as pg
from protogen.generate.plan import Plan, plan
from protogen.layers import kind_of
from protogen.net.cost import costs
from protogen.onnx.session import run_model
from protogen.resampling.forms import resizing_of
from protogen.resampling.planning import STRATEGIES, decide
from protogen.resampling.request import ResizeRequest
from protogen.resampling.sampling import Sampling
from protogen.toolchains.limits import load_target, parse_limits
from protogen.toolchains.toolchain import toolchains

TOLERANCE = 1e-5  # float32 rounding over a few layers, for values of the order of 1
ALIGNS = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
          "tf_half_pixel_for_nn", "tf_crop_and_resize"]  # fmt: skip


# The expected values divide by a length that is not rounded, against the text of the standard.
BY_ONNXRUNTIME = {
    "test_resize_downsample_scales_cubic_align_corners",
    "test_resize_downsample_scales_linear_align_corners",
}


def reread(written_plan: Plan, folder: Path) -> pg.Net:
    """Save the net of the plan and load it again."""
    written_plan.net.save(folder / "net.prototxt", folder / "net.caffemodel")
    (folder / "net.prototxt").write_text(written_plan.prototxt, encoding="utf-8")
    return pg.load(folder / "net.prototxt", folder / "net.caffemodel", strict=True)


def check_candidates(plan: Plan) -> None:
    """Check that every candidate is exact and that the plan has only stock layers."""
    for candidate in plan.decision.candidates:
        error = plan.measure(candidate)
        assert error.exact, (candidate.label, error)
        assert error.border == 0, candidate.label
    for step in plan.steps:
        kind = kind_of(next(layer for layer in plan.net.layers if layer.name == step.name))
        assert kind is not None
        assert kind.stock


# ONNX's own tests of Resize and Upsample


def node_cases() -> dict[str, onnx.backend.test.case.test_case.TestCase]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases of other operators warn
        all_cases = collect_testcases(None)
    return {
        case.name: case
        for case in all_cases
        if case.model is not None
        and [node.op_type for node in case.model.graph.node] in (["Resize"], ["Upsample"])
    }


@pytest.fixture(scope="module")
def cases(onnx_1_23_cases):
    return node_cases()


def case_request(case) -> tuple[ResizeRequest, np.ndarray, np.ndarray]:
    """Return request, input and expected output of a test case of ONNX.

    The other inputs of the node are constants.
    """
    node = case.model.graph.node[0]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
    inputs, (expected,) = case.data_sets[0]
    given_inputs = dict(zip([name for name in node.input if name], inputs, strict=True))
    resizing = resizing_of(
        node.op_type,
        inputs[0].shape,
        attributes,
        opset=case.model.opset_import[0].version,
        scales=given_inputs.get("scales"),
        sizes=given_inputs.get("sizes"),
        roi=given_inputs.get("roi"),
    )
    ((request, shape),) = resizing.parts()
    assert shape == expected.shape
    if case.name in BY_ONNXRUNTIME:
        feeds = {name: given_inputs[name] for name in node.input if name}
        expected = run_model(case.model.SerializeToString(), feeds)[node.output[0]]
    return request, inputs[0], expected


def test_onnx_node_cases_are_exact_or_documented(cases, tmp_path, golden):
    """Run every case from the written files; docs/resize_cases.md lists the results."""
    assert len(cases) >= 40
    rows = []
    for name in sorted(cases):
        request, x, expected = case_request(cases[name])
        resize_plan = plan(request)
        net = reread(resize_plan, tmp_path)
        assert all(kind_of(layer).stock for layer in net.layers)
        actual = pg.run(net, {"data": x})["resize"]
        assert actual.shape == expected.shape, name
        np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=TOLERANCE, err_msg=name)
        for other in resize_plan.decision.candidates:
            actual_of_other = resize_plan.run(other, x)
            np.testing.assert_allclose(
                actual_of_other, expected, atol=TOLERANCE, rtol=TOLERANCE, err_msg=name
            )
        mark = " (onnxruntime's numbers)" if name in BY_ONNXRUNTIME else ""
        others = ", ".join(one.label for one in resize_plan.decision.candidates[1:])
        size = "x".join(map(str, x.shape[2:])) + " to " + "x".join(map(str, expected.shape[2:]))
        layers = ", ".join(step.type for step in resize_plan.steps)
        rows.append(
            f"| `{name.removeprefix('test_')}`{mark} | {size} | {resize_plan.strategy} | {layers} | {others} |"
        )
    head = [
        "| case of ONNX's node tests | size | strategy | layers | other exact strategies |",
        "|---|---|---|---|---|",
    ]
    golden("../../docs/resize_cases.md", "# ONNX's Resize and Upsample in stock layers\n\nThis "
           "table lists every case of ONNX's own node tests. Each plan is emitted, saved, read back "
           "and\nrun, and agrees with the expected output to 1e-5. Other axes than height and width, "
           "and blobs\nwith another number of axes, are resized in parts: see "
           "[ONNX's Resize](resizing.md#onnxs-resize)."
           "\nThe expected output of two cases divides by a length that is not rounded; their plans "
           "agree with\nonnxruntime and PyTorch instead."
           "\n\n"
           + "\n".join(head + rows) + "\n")  # fmt: skip


# Exactness: every mode with every alignment, any factor and size


@st.composite
def requests(draw, mode: str, align: str) -> ResizeRequest:
    size = draw(st.tuples(st.integers(1, 33), st.integers(1, 33)))
    sampling = Sampling(
        mode,
        align,
        draw(st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])),
        exclude_outside=draw(st.booleans()),
        antialias=mode != "nearest" and draw(st.booleans()),
    )
    roi = ((0.0, 1.0), (0.0, 1.0))
    if align == "tf_crop_and_resize":
        roi = draw(st.sampled_from([roi, ((-0.3, 0.8), (0.1, 1.2)), ((0.2, 0.9), (0.0, 1.0))]))
    factors = st.one_of(
        st.integers(1, 16).map(float), st.sampled_from([0.5, 1.5, 1 / 3, 0.75, 2.5])
    )
    scale = draw(st.tuples(factors, factors))
    if draw(st.integers(0, 3)) == 0 or min(s * n for s, n in zip(scale, size, strict=True)) < 1:
        out = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
        return ResizeRequest(sampling, channels=2, size=size, out=out, roi=roi, extrapolation=0.5)
    return ResizeRequest(sampling, channels=2, size=size, scale=scale, roi=roi, extrapolation=0.5)


@pytest.mark.parametrize("align", ALIGNS)
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "cubic", "lanczos", "area"])
@settings(max_examples=8)
@given(data=st.data())
def test_every_mode_and_alignment_is_exact(mode, align, data):
    check_candidates(plan(data.draw(requests(mode, align))))


@pytest.mark.parametrize("factor", range(1, 17))
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "cubic"])
def test_integer_factors_are_exact(mode, factor):
    """Every integer factor, for odd and even sizes and for one pixel."""
    for size in ((1, 6), (5, 2)):
        check_candidates(
            plan(ResizeRequest(Sampling(mode), channels=1, size=size, scale=(factor, factor)))
        )


@pytest.mark.parametrize("size", range(1, 34))
def test_all_sizes_are_exact(size):
    check_candidates(plan(ResizeRequest(channels=1, size=(size, 34 - size), scale=(2, 3))))


@given(data=st.data())
@settings(max_examples=30)
def test_stated_error_equals_measured_error(data, tmp_path_factory):
    """The stated errors equal those of the saved files, for inexact plans too."""
    mode = data.draw(st.sampled_from(["bilinear", "cubic", "lanczos"]))
    size = data.draw(st.tuples(st.integers(2, 12), st.integers(2, 12)))
    factor = data.draw(st.integers(2, 6))
    request = ResizeRequest(Sampling(mode), channels=2, size=size, scale=(factor, factor))
    strategy = data.draw(st.sampled_from(["approximate", "", "matrix"]))
    resize_plan = plan(request, strategy=strategy)
    net = reread(resize_plan, tmp_path_factory.mktemp("net"))
    x = np.random.default_rng(0).standard_normal((1, 2, *size), dtype=np.float32)
    error = np.abs(pg.run(net, {"data": x})["resize"] - request.wanted(x))
    assert max(resize_plan.error.inside, resize_plan.error.border) == error.max()
    assert (resize_plan.decision.chosen.bound > 0) == (strategy == "approximate")
    assert resize_plan.error.exact == (strategy != "approximate")


def test_bound_is_reached():
    """The classic layer's error for data in [-1, 1] at f = 2: 1 - 0.75^2 at the corner."""
    resize_plan = plan(ResizeRequest(channels=1, size=(4, 4), scale=(2, 2)), strategy="approximate")
    assert resize_plan.decision.chosen.bound == pytest.approx(1 - 0.5625)
    ones = np.ones((1, 1, 4, 4), np.float32)
    output = resize_plan.run(resize_plan.decision.chosen, ones)
    assert np.abs(output - 1).max() == pytest.approx(1 - 0.5625)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("factor", [2, 3, 4, 1.5, 2.5, (2, 3), 0.5, (0.5, 2)])
def test_plan_without_input_shape_holds_for_any_size(factor, mode):
    """One plan is exact for every size of the input."""
    resize_plan = pg.resize(factor, mode=mode, channels=2)
    check_candidates(resize_plan)
    for size in ((1, 1), (2, 5), (7, 4), (12, 13)):
        if min(np.multiply(factor, size)) < 1:
            continue
        x = np.random.default_rng(1).standard_normal((1, 2, *size), dtype=np.float32)
        output = resize_plan.run(resize_plan.decision.chosen, x)
        assert np.abs(output - resize_plan.request.wanted(x)).max() < TOLERANCE


@pytest.mark.parametrize(("software", "mode", "option", "size"), [
    ("torch", "bilinear", "", "x2"), ("torch", "bilinear", "", "x3"),
    ("torch", "cubic", "", "14x18"), ("torch", "cubic", "antialias", "5x6"),
    ("torch", "area", "", "4x17"), ("torch-align", "bilinear", "", "21x22"),
    ("tf2", "cubic", "", "21x22"), ("tf1", "bilinear", "", "14x18"),
    ("keras", "bilinear", "", "x4"), ("opencv", "lanczos", "", "14x18"),
    ("opencv", "area", "", "5x6"), ("opencv", "area", "", "14x18"),
    ("pillow", "lanczos", "", "4x17"), ("pillow", "cubic", "", "20x3"),
])  # fmt: skip
def test_like_matches_other_software(software, mode, option, size, tmp_path):
    """The emitted layers reproduce the stored output of the other software."""
    with np.load(GOLDEN / "resize" / "numbers.npz") as stored:
        x, expected = stored["x"], stored[f"{software}:{mode}:{option}:{size}"]
    resize_plan = pg.resize(
        size[1:] if size[0] == "x" else None,
        size=None if size[0] == "x" else size,
        mode=mode, like=software, antialias=option == "antialias", input_shape=(1, 1, *x.shape),
    )  # fmt: skip
    actual = pg.run(reread(resize_plan, tmp_path), {"data": x[None, None]})["resize"]
    np.testing.assert_allclose(actual[0, 0], expected, atol=TOLERANCE)


def test_extrapolation_value_fills_outside(tmp_path):
    resize_plan = pg.resize(size="5x6", align="tf_crop_and_resize", roi=(-0.2, 0.1, 0.9, 1.4),
                     extrapolation=7.0, input_shape="2,3,4,5")  # fmt: skip
    assert [step.type for step in resize_plan.steps] == ["Convolution", "Convolution", "Bias"]
    assert resize_plan.error.exact
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5), dtype=np.float32)
    output = pg.run(reread(resize_plan, tmp_path), {"data": x})["resize"]
    assert (output[:, :, 0] == 7).all()


# Layers of single strategies


@pytest.mark.parametrize(("request_", "strategy", "expected"), [
    (ResizeRequest(Sampling("nearest"), size=(4, 4), scale=(3, 3)), "deconvolution", [(3, 3, 0)]),
    (ResizeRequest(Sampling(align="align_corners"), size=(5, 5), out=(9, 9)), "deconvolution", [(3, 2, 1)]),
    (ResizeRequest(size=(30, 30), scale=(2, 2)), "deconvolution+scale", [(4, 2, 1)]),
    (ResizeRequest(size=(30, 30), scale=(3, 3)), "deconvolution+scale", [(5, 3, 1)]),
    (ResizeRequest(size=(98, 98), scale=(1.5, 1.5)), "fraction+scale", [(5, 3, 1), (2, 2, 0)]),
    (ResizeRequest(size=(64, 64), scale=(0.5, 0.5)), "pooling", [(2, 2, 0)]),
    (ResizeRequest(size=(63, 63), scale=(1 / 3, 1 / 3)), "convolution", [(2, 3, 0)]),
])  # fmt: skip
def test_simple_resizes_use_the_expected_layers(request_, strategy, expected):
    resize_plan = plan(request_)
    assert resize_plan.strategy == strategy
    windows = []
    for step in resize_plan.steps:
        p = step.params.get("convolution_param") or step.params.get("pooling_param")
        if p:
            windows.append((p["kernel_size"], p["stride"], p.get("pad", 0)))
    assert windows == expected


def test_cascade_splits_factor_8():
    """Factor 8 is K3 s2, then K8 s4: the product of two triangles."""
    resize_plan = plan(ResizeRequest(size=(20, 20), scale=(8, 8)), strategy="cascade+border")
    kernels = [
        (p["kernel_size"], p["stride"])
        for step in resize_plan.steps
        if (p := step.params.get("convolution_param"))
    ]
    assert kernels == [(3, 2), (8, 4)]
    assert resize_plan.error.exact


@pytest.mark.parametrize(("factor", "whole"), [(2, 16), (4, 64), (8, 256)])
def test_kernels_of_powers_of_two_are_dyadic(factor, whole):
    weight = pg.upsample(factor, channels=1).weights["upsample"][0]
    assert (weight.astype(np.float16) == weight).all()
    assert (weight * whole == np.round(weight * whole)).all()


@pytest.mark.parametrize("factor", [3, 5, 7])
def test_odd_factors_are_inexact_in_float16(factor):
    weight = pg.upsample(factor, channels=1).weights["upsample"][0]
    error = np.abs(weight.astype(np.float16).astype(np.float64) - weight).max()
    assert 1e-5 < error < 2.5e-4


def test_channels_share_one_kernel_in_memory():
    resize_plan = pg.resize(4, input_shape=(1, 512, 8, 8), strategy="deconvolution+scale")
    weight = resize_plan.steps[0].weights[0]
    assert weight.shape == (512, 1, 8, 8)
    assert weight.strides[0] == 0


@pytest.mark.parametrize("factor", [2, 1.5, 0.5])
def test_cost_equals_summary(factor):
    """The cost of a plan equals the counts of ``protogen summary``."""
    resize_plan = pg.resize(factor, input_shape=(2, 3, 12, 14))
    for candidate in resize_plan.decision.candidates:
        candidate_plan = plan(resize_plan.request, strategy=candidate.label)
        rows = [row for row in costs(candidate_plan.net.graph) if row.layer.type != "Input"]
        assert candidate_plan.cost.parameters == sum(row.parameters or 0 for row in rows)
        assert candidate_plan.cost.activation_bytes == 4 * sum(row.activations or 0 for row in rows)
        assert candidate_plan.cost.multiply_adds == sum(row.multiply_adds or 0 for row in rows)


# Limits


@pytest.mark.parametrize(("limits", "forbidden"), [
    ("no-group", "group"), ("no-axis", "axis"), ("no-reshape", "reshape"), ("no-plane", "plane"),
    ("no-deconvolution", None), ("kernel<=7,stride<=4", None), ("kernel<=4,stride<=2,no-axis", None),
    ("no-group,no-axis,no-reshape,no-plane", "group"),
])  # fmt: skip
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_plans_meet_limits(limits, forbidden, factor):
    if "no-group,no-axis" in limits and factor == 8:
        factor = 3
    resize_plan = pg.resize(factor, limits=limits, input_shape=(1, 3, 6, 7))
    assert resize_plan.error.exact
    for candidate in resize_plan.decision.candidates:
        assert not parse_limits(limits).broken(candidate.steps)
        assert resize_plan.measure(candidate).exact
        assert forbidden is None or all(forbidden not in s.features for s in candidate.steps)


def test_groups_become_dense_or_split():
    resize_plan = pg.resize(
        2, limits="no-group", strategy="deconvolution+scale", input_shape=(1, 3, 8, 8)
    )
    assert resize_plan.steps[0].weights[0].shape == (3, 3, 4, 4)
    assert resize_plan.error.exact
    resize_plan = pg.resize(2, limits="no-group,channels<=1,no-plane,no-axis", channels=3)
    assert {"Slice", "Concat"} <= {step.type for step in resize_plan.steps}
    assert resize_plan.error.exact


@pytest.mark.parametrize("name", [one.name for one in toolchains()])
def test_plans_meet_limits_of_every_target(name):
    """Every target has rules or notes, and the plans for it meet its limits."""
    limits = load_target(name)
    assert limits.title
    assert limits.rules or limits.notes
    assert all(rule.source for rule in limits.rules)
    for factor in (2, 4):
        resize_plan = pg.resize(factor, target=name, input_shape=(1, 8, 14, 14))
        assert not limits.broken(resize_plan.steps)
        assert resize_plan.error.exact


def test_vitis_kernel_is_three_times_the_stride():
    """K4 s2 p1 is extended with zeros on both sides."""
    resize_plan = pg.resize(2, target="vitis-u50", input_shape=(1, 8, 14, 14))
    p = resize_plan.steps[0].params["convolution_param"]
    assert (p["kernel_size"], p["stride"], p["pad"]) == (6, 2, 2)


def test_odd_factor_is_refused_on_ascend():
    """K must be a multiple of 4, but K = 3 + 2 p is odd."""
    with pytest.raises(pg.UnsupportedError) as caught:
        pg.resize(3, target="ascend-deconvolution-v1", strategy="deconvolution",
                  input_shape=(1, 8, 14, 14))  # fmt: skip
    assert "requires kernel_h * kernel_w % 16 == 0, got kernel_h" in str(caught.value)
    assert "CANN 8.0" in str(caught.value)


def test_error_names_best_approximation():
    limits = "no-axis,no-reshape,no-plane,no-power,no-slice"
    with pytest.raises(pg.UnsupportedError, match=r"error up to 0\.438 for data"):
        pg.resize(2, limits=limits, input_shape=(1, 3, 8, 8))
    resize_plan = pg.resize(2, limits=limits, input_shape=(1, 3, 8, 8), approximate=True)
    assert [step.type for step in resize_plan.steps] == ["Deconvolution"]
    assert resize_plan.error.inside < TOLERANCE < resize_plan.error.border


def test_target_from_own_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('title = "Mine"\n[[rule]]\nlayers = ["Deconvolution"]\nmust = "stride < 3"\n'
                    '[[rule]]\nwithout = "plane"\n')  # fmt: skip
    resize_plan = pg.resize(4, target=file, input_shape=(1, 3, 24, 24))
    assert resize_plan.error.exact
    assert resize_plan.strategy == "cascade+border"


@pytest.mark.parametrize(("text", "message"), [
    ('must = "1"', "unknown key 'must'"),
    ('[[rule]]\nmust = "kernel <"', "rule 1: invalid condition 'kernel <': unexpected 'end of print statement'"),
    ('[[rule]]\nmust = "kernal < 3"', "'kernal' is undefined"),
    ('[[rule]]\nwithout = "grups"', "Did you mean group?"),
    ('[[rule]]\nlayers = ["Pooling"]', "rule 1 must set either must, without, or is"),
    ("title = 3", "key 'title' must be a string"),
    ("title = ", "not valid TOML: Invalid value"),
])  # fmt: skip
def test_invalid_targets_are_refused(tmp_path, text, message):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(pg.InputError) as caught:
        load_target(file)
    assert message in str(caught.value)


@pytest.mark.parametrize(("arguments", "message"), [
    ({}, "factor: neither a factor nor a size is given"),
    ({"factor": "two"}, "factor: expected a number above 0, got 'two'"),
    ({"factor": "2x2x2"}, "expected 1 or 2 values, got 3"),
    ({"factor": 0}, "factor: out of range: expected a number from 2^-16 to 2^16, got 0"),
    ({"factor": float("nan")}, "factor: expected a number above 0, got 'nan'"),
    ({"size": "8x8"}, "input-shape: required for a resize to a fixed output size"),
    ({"size": "0x8", "input_shape": "1,1,4,4"}, "size: out of range: expected lengths from 1 to 2^20, got 0x8"),
    ({"factor": 2, "channels": 0}, "channels: must be at least 1, got 0"),
    ({"factor": 2, "channels": 4, "input_shape": "1,3,4,4"}, "4 does not match the 3 channels of the input shape"),
    ({"factor": 2, "strategy": "magic"}, "strategy: unknown value 'magic'"),
    ({"factor": 2, "strategy": "matrx"}, "Did you mean matrix?"),
    ({"factor": 2, "limits": "kernel=<7"}, "limit: 'kernel=<7' is not a valid limit"),
    ({"factor": 2, "limits": "no-grups"}, "Did you mean group?"),
    ({"factor": 2, "target": "ascent"}, "Did you mean ascend?"),
    ({"factor": 2, "like": "torch", "align": "asymmetric"}, "--align and --like cannot be used together"),
    ({"factor": 2, "bottom": "up", "top": "up"}, "top: must differ from the bottom, but both are 'up'"),
    ({"factor": 2, "name": ""}, "name: must not be empty"),
])  # fmt: skip
def test_invalid_options_are_refused(arguments, message):
    with pytest.raises(pg.InputError) as caught:
        pg.resize(**arguments)
    assert message in str(caught.value)


def test_unknown_size_error_lists_all_strategies():
    with pytest.raises(pg.UnsupportedError) as caught:
        pg.resize(2, mode="cubic")
    text = str(caught.value)
    assert "Give --input-shape" in text
    assert all(f"\n  {strategy.name}" in text for strategy in STRATEGIES)


def test_upsample_exact_equals_resize():
    exact_plan = pg.upsample(2, exact=True, input_shape=(1, 3, 8, 8), name="up")
    assert isinstance(exact_plan, Plan)
    assert exact_plan.prototxt == pg.resize(2, input_shape=(1, 3, 8, 8), name="up").prototxt


def test_decisions_are_cached():
    request = ResizeRequest(size=(31, 29), scale=(2, 2))
    assert decide(request) is decide(ResizeRequest(size=(31, 29), scale=(2, 2)))


# The command line


def test_resize_command_writes_all_outputs(tmp_path, protogen):
    result = protogen("resize", "--factor", "1.5", "--input-shape", "1,3,8,8", "--explain", "-o", "r.prototxt",
                    "--caffemodel", "r.caffemodel", "--onnx", "r.onnx", "--plot", "r.png")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (
        "plan           resize 8x8 to 12x12 (bilinear, half_pixel): matrix, exact" in result.stdout
    )
    assert "measured by running the layers: exact" in result.stdout
    assert "deconvolution   " in result.stdout
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    net = pg.load(tmp_path / "r.prototxt", tmp_path / "r.caffemodel", strict=True)
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
    caffe_output = pg.run(net, {"data": x})["resize"]
    onnx_output = pg.run(tmp_path / "r.onnx", {"data": x})["resize"]
    np.testing.assert_allclose(caffe_output, onnx_output, atol=1e-6)


def test_resize_command_prints_json(protogen):
    import json

    result = protogen(
        "resize", "--size", "5x7", "--mode", "cubic", "--input-shape", "1,3,8,8", "--json"
    )
    printed = json.loads(result.stdout)
    assert printed["strategy"] == "matrix"
    assert printed["error"]["exact"]
    assert printed["output"] == [5, 7]
    assert printed["prototxt"].startswith('name: "resize"')


def test_onnx_model_of_a_factor_runs_at_any_size(tmp_path, protogen):
    result = protogen(
        "upsample", "--factor", "2", "--exact", "--onnx", "u.onnx", "-o", "u.prototxt"
    )
    assert result.returncode == 0, result.stderr
    assert "an infinite input value gives NaN" in result.stderr
    for size in ((1, 3), (9, 4)):
        x = np.random.default_rng(0).standard_normal((2, 3, *size), dtype=np.float32)
        actual = pg.run(tmp_path / "u.onnx", {"data": x})["upsample"]
        expected = ResizeRequest(size=size, scale=(2, 2)).wanted(x)
        np.testing.assert_allclose(actual, expected, atol=TOLERANCE)


def test_exact_upsampling_is_inserted_into_a_net(tmp_path, protogen):
    """The plan uses the size in the net. The rest of the text does not change."""
    source = EXAMPLES / "segnet_head.prototxt"
    result = protogen("upsample", "--exact", "--factor", "2", "--into", source, "--after", "score",
                    "--rewire", "--name", "up", "-o", "net.prototxt", "--caffemodel", "up.caffemodel")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "rewired: refine" in result.stderr
    net = pg.load(tmp_path / "net.prototxt", tmp_path / "up.caffemodel")
    assert net.shapes["up"] == (1, 21, 32, 32)
    assert [layer.type for layer in net.layers if layer.name.startswith("up")] == [
        "Deconvolution",
        "Scale",
    ]
    before = source.read_text().replace('bottom: "score"   # changed', 'bottom: "up"   # changed')
    text = (tmp_path / "net.prototxt").read_text()
    assert set(before.splitlines()) <= set(text.splitlines())
    repeated = protogen("upsample", "--exact", "--factor", "2", "--into", "net.prototxt", "--after", "score",
                     "--name", "up", "--top", "again")  # fmt: skip
    assert repeated.returncode == 2
    assert "'up_deconv' is already in use" in repeated.stderr


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["resize"], 2, "Give --factor or --size"),
    (["resize", "--factor", "2", "--into", "n.prototxt"], 2, "--into NET and --after BLOB must be given together"),
    (["resize", "--factor", "2", "--rewire"], 2, "--rewire needs --into NET and --after BLOB"),
    (["resize", "--factor", "2", "--mode", "cubic"], 3, "Give --input-shape"),
    (["resize", "--factor", "2", "--plot", "x.gif"], 2, "unsupported image extension '.gif': expected .png or .svg"),
    (["resize", "--factor", "2", "-o", "x", "--onnx", "x"], 2, "x"),
    (["resize", "--factor", "2", "--input-shape", "1,3,900,9", "--plot", "x.png"], 3, "cannot draw a resize of more than 512 pixels"),
    (["resize", "--size", "4", "--input-shape", "1,1,8,8", "--roi", "1,2"], 2, "expected top,left,bottom,right, got [1.0, 2.0]"),
    (["upsample", "--factor", "2", "--exact", "--trainable"], 2, "--trainable belongs to the classic layer"),
    (["upsample", "--factor", "2", "--exact", "--spec", "x.toml"], 2, "--spec belongs to the classic layer"),
    (["targets", "nowhere"], 2, "Known targets: ascend"),
])  # fmt: skip
def test_invalid_arguments_give_one_error_and_no_file(tmp_path, protogen, arguments, code, message):
    """A wrong command line prints one error, has its exit code, and writes no file."""
    result = protogen(*arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_classic_layer_comment_names_exact_option():
    assert "upsample --exact" in pg.upsample(2).prototxt
    for options in ({"mode": "nearest"}, {"trainable": True}):
        assert "--exact" not in pg.upsample(2, **options).prototxt
    assert "--exact" not in pg.upsample(1).prototxt


def test_pictures_are_reproducible(tmp_path, protogen):
    for name in ("a.svg", "b.svg"):
        result = protogen("upsample", "--factor", "2", "--exact", "--input-shape", "1,1,8,8",
                        "--plot", name, "-o", "u.prototxt")  # fmt: skip
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
