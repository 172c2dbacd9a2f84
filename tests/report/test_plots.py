"""Plots: axis titles, legends that match the lines, scales, and dark colours."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from protogen.generate.plan_picture import Row as Candidate
from protogen.generate.upsampling import KernelPicture
from protogen.report import activations, kernel, maps, resizing, scatter, signals, training
from protogen.report.style import COLOURS
from protogen.training.activations import FORMS, sampled
from protogen.training.signals.health import Row

SPACE = "{http://www.w3.org/2000/svg}"
GENERATOR = np.random.default_rng(0)


def plot(draw: Callable, *data: object, form: str = "svg") -> bytes:
    buffer = io.BytesIO()
    draw(*data, buffer, form)
    return buffer.getvalue()


def svg(draw: Callable, *data: object) -> ElementTree.Element:
    return ElementTree.fromstring(plot(draw, *data))


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(node.itertext()).strip() for node in root.iter(f"{SPACE}text")]


def strokes(root: ElementTree.Element) -> set[tuple[str, ...]]:
    """Colour and dashes of all lines below an element."""
    result = set()
    for node in root.iter(f"{SPACE}path"):
        style = node.get("style", "")
        colour = re.search(r"stroke: (#\w+)", style)
        if colour and "fill: none" in style:
            dashes = re.search(r"stroke-dasharray: ([\d. ,]+)", style)
            shape = tuple(part.strip() for part in dashes[1].split(",")) if dashes else ()
            result.add((colour[1], *shape))
    return result


def group(root: ElementTree.Element, prefix: str) -> list[ElementTree.Element]:
    return [g for g in root.iter(f"{SPACE}g") if g.get("id", "").startswith(prefix)]


def curves(*names: str) -> list[activations.Curve]:
    return [activations.Curve(name, "a note", *sampled(name)) for name in names]


ROWS = [
    Row(title, [f"a_layer_with_a_long_name_{i}_relu" for i in range(4)], [[1, 5, 2]] * 4, [(-1.0, 1.0)] * 4,
        [1.0, 0.5, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4])
    for title in ("xavier", "msra")
]  # fmt: skip
COURSE = training.Course(
    {"training": [(0, 2.3), (10, 2.2), (20, 2.1)], "test loss": [(0, 2.3), (20, 2.2)]},
    {"test accuracy": [(0, 0.1), (20, 0.2)]},
    [(0, 0.1), (10, 0.1), (20, 0.01)],
    {"ip1": 0.1, "ip2": 0.2},
    {"ip1": 0.01, "ip2": 0.02},
    {"ln(10)": 2.302585},
)
PROFILE = np.float32([0.25, 0.75, 0.75, 0.25])
KERNEL = KernelPicture("bilinear ×2", PROFILE, PROFILE / 2, (2, 2), np.eye(8), (1, 1))
CANDIDATE = Candidate("name", "Deconvolution", "kernel 4x4", np.eye(4), np.eye(8, dtype=np.float32), np.eye(8))  # fmt: skip
PANELS = [scatter.Panel("raw", GENERATOR.normal(size=(50, 3)), ("blue", "red"))]
BLOBS = {"conv1": GENERATOR.normal(size=(1, 3, 4, 4)).astype(np.float32)}
PLOTS = {
    "activations": (activations.draw, (curves("TanH", "GELU"),), {"input x", "output and slope"}),
    "kernel": (
        kernel.draw,
        ([KERNEL],),
        {"kernel column", "kernel row", "weight", "output pixels from the centre", "output row",
         "output column", "largest error for data in [-1, 1]"},
    ),
    "maps": (maps.draw, (BLOBS,), {"value"}),
    "resizing": (
        resizing.draw,
        ("a title", np.eye(4, dtype=np.float32), np.eye(8), [CANDIDATE]),
        {"value", "weight", "absolute error", "input: zone plate, 4x4 pixels", "exact resize, 8x8 pixels"},
    ),
    "scatter": (scatter.draw, (PANELS,), {"blue, value of the pixel", "red, value of the pixel"}),
    "signals": (
        signals.draw,
        (ROWS,),
        {"layer with weights, counted from the input", "standard deviation of the signal",
         "standard deviation of the gradient"},
    ),
    "training": (
        training.draw,
        (COURSE,),
        {"iteration", "loss", "learning rate", "value of the output",
         "layer with weights, in the order of the net", "mean absolute value, last iteration"},
    ),
}  # fmt: skip
OF_VALUES = {"kernel", "maps", "resizing"}  # plots whose colours are values


@cache
def drawn(name: str) -> bytes:
    draw, data, _ = PLOTS[name]
    return plot(draw, *data)


@pytest.mark.parametrize("name", PLOTS)
def test_axes_have_titles(name):
    assert PLOTS[name][2] <= set(texts(ElementTree.fromstring(drawn(name))))


@pytest.mark.parametrize("name", PLOTS)
def test_svg_of_lines_has_dark_colours_and_images_keep_theirs(name):
    draw, data, _ = PLOTS[name]
    raw = drawn(name)
    assert (b"prefers-color-scheme:dark" in raw) == (name not in OF_VALUES)
    png = plot(draw, *data, form="png")
    from matplotlib import image

    corner = image.imread(io.BytesIO(png))[1, 1]
    assert corner.tolist() == [1.0] * 4  # readable on any page: the background is not transparent


def test_legend_of_activations_has_the_lines_that_are_drawn():
    root = svg(activations.draw, curves("TanH", "ReLU6", "Mish"))
    [legend] = group(root, "legend_")
    assert texts(legend) == ["function f(x)", "derivative f '(x)"]
    drawn = strokes(legend)
    assert {colour for colour, *_ in drawn} == {COLOURS[0], COLOURS[1]}
    # The dashes are multiples of the width of the line, which is the same in panel and legend.
    for panel in group(root, "axes_"):
        assert drawn <= strokes(panel)


@pytest.mark.parametrize(
    ("name", "y", "x"),
    [("Sigmoid", (0, 1), 4), ("TanH", (-1, 1), 4), ("ReLU", (0, 4), 4), ("ReLU6", (0, 6), 8), ("SELU", (-1.73, 4.2), 4)],
)  # fmt: skip
def test_panels_of_activations_have_their_own_scale(name, y, x):
    from matplotlib.figure import Figure

    panel = Figure().subplots()
    activations._panel(panel, curves(name)[0])
    margin = 0.08 * (y[1] - y[0])
    assert panel.get_ylim() == pytest.approx((y[0] - margin, y[1] + margin), abs=0.05)
    assert panel.get_xlim() == (-x, x)


def test_all_activations_are_drawn():
    root = svg(activations.draw, curves(*FORMS))
    assert {"GELU", "Swish", "Mish", "HardSwish"} <= set(FORMS)
    assert set(FORMS) <= set(texts(root))


def test_legends_of_training_have_every_line_of_their_panel():
    root = ElementTree.fromstring(drawn("training"))
    legends = [texts(one) for one in group(root, "legend_")]
    assert legends == [
        ["training", "test loss", "ln(10)", "learning rate (right)"],
        ["test accuracy"],
        ["gradient of the weights", "weights"],
    ]


def test_legends_of_signals_are_in_both_plots_and_names_differ():
    root = ElementTree.fromstring(drawn("signals"))
    assert [texts(one) for one in group(root, "legend_")] == [["xavier", "msra"]] * 2
    titles = [text for text in texts(root) if text.startswith("a_la")]
    assert len(titles) == 8
    assert len(set(titles)) == 4
    assert not group(svg(signals.draw, ROWS[:1]), "legend_")  # its title names the only row


def test_legend_of_a_kernel_names_both_profiles_where_they_differ():
    root = ElementTree.fromstring(drawn("kernel"))
    [legend] = group(root, "legend_")
    assert texts(legend) == ["along width", "along height"]
    square = KernelPicture("bilinear ×2", PROFILE, PROFILE, (2, 2), np.eye(8), (1, 1))
    assert not group(svg(kernel.draw, [square]), "legend_")


def test_gaps_between_channels_differ_from_white_values():
    from matplotlib import image

    pixels = image.imread(io.BytesIO(plot(maps.draw, BLOBS, form="png")))
    colours = {tuple(round(float(c) * 255) for c in pixel[:3]) for pixel in pixels.reshape(-1, 4)}
    assert (0xDF, 0xE8, 0xF0) in colours
    assert (255, 255, 255) in colours
