"""Drawings and report pages of nets: layout, content, and the page in a browser."""

from __future__ import annotations

import json
import math
import re
import shutil
import struct
import warnings
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import CORPUS, EXAMPLES

import protogen as pg
from protogen.layers import LayerType
from protogen.net.build import build
from protogen.net.coordinates import Map, crop_checks, places
from protogen.report.colours import BY_FAMILY, stylesheet
from protogen.report.diagram import diagram
from protogen.report.drawing import svg
from protogen.report.looks import look_of
from protogen.report.page import html_safe_json
from protogen.report.weights import histogram


def net(text: str):
    from protogen.formats import prototxt

    return build(prototxt.parse(text, "net.prototxt"))


def page_data(path: Path) -> dict:
    text = path.read_text(encoding="utf-8")
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert match
    return json.loads(match[1])


WITHOUT_PAGE = [
    "examples__mnist__lenet_consolidated_solver.prototxt",
    *(f"template__MobileNetSSD_{kind}_template.prototxt" for kind in ("deploy", "test", "train")),
]


# the layout


def check_layout(graph) -> None:
    layout = diagram(graph)
    members = [m for box in layout.boxes for m in box.members]
    assert sorted(members) == list(range(len(graph.layers)))
    for part in layout.parts:
        boxes = part.boxes
        for i, a in enumerate(boxes):
            assert abs(a.x) + a.width / 2 <= part.width / 2 + 0.01
            assert a.y >= 0
            assert a.y + a.height <= part.height + 0.01
            for b in boxes[:i]:
                apart = abs(a.x - b.x) >= (a.width + b.width) / 2
                assert apart or a.y + a.height <= b.y or b.y + b.height <= a.y
        for edge in part.edges:
            ys = [y for _, y in edge]
            assert ys == sorted(ys)
    ElementTree.fromstring(svg(layout))


@st.composite
def wirings(draw) -> str:
    """Nets whose layers read one, two or three arbitrary earlier blobs."""
    count = draw(st.integers(1, 14))
    lines = [
        'layer { name: "b0" type: "Input" top: "b0" input_param { shape { dim: [1, 2, 4, 4] } } }'
    ]
    for i in range(1, count):
        reads = draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=3, unique=True))
        bottoms = " ".join(f'bottom: "b{one}"' for one in reads)
        kind = "Eltwise" if len(reads) > 1 else "AbsVal"
        lines.append(
            f'layer {{ name: "{"n" * draw(st.integers(1, 60))}{i}" type: "{kind}" {bottoms} top: "b{i}" }}'
        )
    return "\n".join(lines)


@settings(max_examples=60, deadline=None)
@given(wirings())
def test_boxes_never_overlap_and_edges_lead_down(text):
    check_layout(net(text))


@pytest.mark.parametrize("name", ["tiny", "segnet_head", "deep_sigmoid"])
def test_boxes_of_examples_never_overlap(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_layout(pg.load(EXAMPLES / f"{name}.prototxt", tolerant=True).graph)


def test_in_place_layers_share_a_box_and_far_data_is_a_stub(fcn8s):
    layout = diagram(net(fcn8s))
    boxes = [box for part in layout.parts for box in part.boxes]
    assert any(box.lines[:1] == ("conv1_1",) and "+ ReLU" in box.lines for box in boxes)
    assert [box.lines for box in boxes if box.stub] == [("data",)]
    titles = [part.title for part in layout.parts if part.foldable()]
    assert len(titles) == 1  # edges of pool3 and pool4 reach to the layers that fuse them


# coordinates


def test_coordinates_of_fcn8s_are_those_of_the_paper(fcn8s):
    coordinates = places(net(fcn8s))
    assert coordinates["data"].height == Map()
    assert coordinates["pool1"].height.scale == Fraction(1, 2)
    assert coordinates["upscore8"].height == Map(Fraction(1), Fraction(31))
    assert coordinates["score"].height == Map()


@settings(max_examples=80, deadline=None)
@given(
    kernel=st.integers(1, 7), stride=st.integers(1, 4), pad=st.integers(0, 3),
    dilation=st.integers(1, 3), transposed=st.booleans(),
)  # fmt: skip
def test_coordinate_map_is_the_middle_of_the_window(kernel, stride, pad, dilation, transposed):
    """Tap k of output y reads input y s - p + d k; transposed, input x writes x s - p + d k."""
    kind = "Deconvolution" if transposed else "Convolution"
    graph = net(
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: [1, 1, 40, 40] } } }'
        f'layer {{ name: "c" type: "{kind}" bottom: "d" top: "c" convolution_param {{ num_output: 1 '
        f"kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation} }} }}"
    )
    mapping = places(graph)["c"].height
    middle = Fraction(sum(dilation * k for k in range(kernel)), kernel)
    for x in range(3):
        if transposed:
            assert mapping.scale * x + mapping.shift == x * stride - pad + middle
        else:
            assert mapping.scale * (x * stride - pad + middle) + mapping.shift == x


def test_crop_offset_of_fcn32s_is_19(fcn8s):
    """The first FCN nets have pad 100, a single factor of 32, and offset 19."""
    head = fcn8s[: fcn8s.index('name: "upscore2"')].rpartition("layer {")[0]
    up = (
        'layer { name: "up" type: "Deconvolution" bottom: "score_fr" top: "up" convolution_param { '
        "num_output: 21 bias_term: false kernel_size: 64 stride: 32 } }"
        'layer { name: "score" type: "Crop" bottom: "up" bottom: "data" top: "score" '
        "crop_param { axis: 2 offset: 19 } }"
    )
    [crop] = crop_checks(net(head + up))
    assert crop.offsets == crop.expected == (19, 19)


# content of a page


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200))
def test_histogram_matches_numpy(values):
    array = np.asarray(values, np.float32)
    bins = histogram(array)
    assert sum(bins["bars"]) == array.size
    assert bins["low"] <= array.min()
    assert bins["high"] >= array.max()
    assert math.isclose(bins["mean"], array.mean(dtype=np.float64), rel_tol=1e-9, abs_tol=1e-9)
    scale = float(np.abs(array).max()) or 1.0
    assert math.isclose(
        bins["std"], array.std(dtype=np.float64), rel_tol=1e-4, abs_tol=1e-4 * scale
    )


def test_histogram_counts_nan_and_inf():
    assert histogram(np.asarray([np.nan, np.inf], np.float32)) == {"bad": 2}
    assert histogram(np.asarray([np.nan, 1, 3], np.float32))["bad"] == 1


@given(st.text())
def test_json_contains_no_markup(text):
    encoded = html_safe_json({"name": text})
    assert not set("<>&\u2028\u2029") & set(encoded)
    assert json.loads(encoded)["name"] == text.encode("utf-8", "replace").decode()


HOSTILE = '<script>alert(1)</script>&"@svg@@data@\u2028'


def test_hostile_names_are_escaped(tmp_path):
    quoted = HOSTILE.replace('"', '\\"')
    path = tmp_path / "net.prototxt"
    path.write_text(
        f'name: "{quoted}"\nlayer {{ name: "{quoted}" type: "Input" top: "{quoted}" '
        "input_param { shape { dim: [1, 3, 8, 8] } } }\n",
        encoding="utf-8",
    )
    pg.write_report(path, tmp_path / "net.html")
    text = (tmp_path / "net.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert page_data(tmp_path / "net.html")["layers"][0]["name"] == HOSTILE
    pg.draw(path, tmp_path / "net.svg")
    assert "script" not in {
        node.tag.rpartition("}")[2] for node in ElementTree.parse(tmp_path / "net.svg").iter()
    }


def test_page_has_layers_and_weight_histograms(protogen, tmp_path):
    process = protogen("report", EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel", "-o",
                    tmp_path / "tiny.html")  # fmt: skip
    assert process.returncode == 0
    assert "wrote" in process.stdout
    data = page_data(tmp_path / "tiny.html")
    loaded = pg.load(EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel")
    assert [layer["name"] for layer in data["layers"]] == [one.name for one in loaded.layers]
    for layer in data["layers"]:
        arrays = loaded.weights.get(layer["name"], [])
        assert [tuple(blob["shape"]) for blob in layer["blobs"]] == [a.shape for a in arrays]
        for blob, array in zip(layer["blobs"], arrays, strict=True):
            assert sum(blob["bars"]) == array.size
    assert "http" not in re.sub(r"http://www.w3.org/\S+", "", (tmp_path / "tiny.html").read_text())


def test_page_has_findings_differences_and_crop_offsets(fcn8s, tmp_path):
    (tmp_path / "a.prototxt").write_text(fcn8s)
    (tmp_path / "b.prototxt").write_text(fcn8s.replace("offset: 31", "offset: 19"))
    pg.write_report(tmp_path / "b.prototxt", tmp_path / "b.html", against=tmp_path / "a.prototxt")
    data = page_data(tmp_path / "b.html")
    score = next(layer for layer in data["layers"] if layer["name"] == "score")
    assert [one["code"] for one in score["findings"]] == ["PG310"]
    assert len(data["changes"]) == len(score["changes"]) == 1
    crops = {row["layer"]: (row["given"], row["right"], row["fits"]) for row in data["crops"]}
    assert crops["score"] == ("19", "31", False)
    assert crops["score_pool4c"] == ("5", "5", True)


def test_page_has_kernels_of_upsampling_layers(tmp_path):
    pg.write_report(EXAMPLES / "segnet_head.prototxt", tmp_path / "net.html")
    before = len(page_data(tmp_path / "net.html")["pictures"])
    (tmp_path / "up.prototxt").write_text(
        pg.upsample(factor=2, channels=8, input_shape=(1, 8, 8, 8)).prototxt
    )
    pg.write_report(tmp_path / "up.prototxt", tmp_path / "up.html")
    [picture] = page_data(tmp_path / "up.html")["pictures"]
    assert picture["text"] == "Factor 2: upsample"
    assert picture["picture"].startswith("data:image/png;base64,")
    assert before == 0


def test_page_has_signals_with_health_option(protogen, tmp_path):
    process = protogen("report", EXAMPLES / "deep_sigmoid.prototxt", "--health", "-o", "a.html",
                    "--input-shape", "data=8,1,16,16", "--input-shape", "label=8", "--phase", "TRAIN")  # fmt: skip
    assert process.returncode == 0, process.stderr
    data = page_data(tmp_path / "a.html")
    assert data["signals"]["picture"].startswith("data:image/png;base64,")
    health = pg.health(
        pg.load(EXAMPLES / "deep_sigmoid.prototxt", phase="TRAIN",
                input_shapes={"data": (8, 1, 16, 16), "label": (8,)})
    )  # fmt: skip
    assert {one.text for one in health.findings} <= set(data["signals"]["findings"])
    assert health.findings


def test_page_has_ranges_with_half_check_option(protogen, tmp_path):
    net = (EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel")
    process = protogen("report", *net, "--half-check", "-o", "a.html")
    assert process.returncode == 0, process.stderr
    ranges = page_data(tmp_path / "a.html")["ranges"]
    check = pg.half_check(*net)
    assert [(row["layer"], row["low"], row["high"]) for row in ranges["rows"]] == [
        (row.layer, row.range.low, row.range.high) for row in check.rows
    ]
    low, high = ranges["axis"]
    assert [10**power for power in ranges["limits"]] == pytest.approx([2**-24, 2**-14, 65504])
    for row in ranges["rows"]:
        assert sum(share for *_, share in row["bars"]) == pytest.approx(1, abs=0.05)
        for a, b, _ in row["bars"]:
            assert low <= a < b <= high
        largest = max(abs(row["low"]), abs(row["high"]))
        assert row["bars"][-1][0] - 0.01 <= math.log10(largest) <= row["bars"][-1][1] + 0.01
    assert "All 21 blobs fit into float16" in ranges["text"]
    assert page_data_without_options(tmp_path)["ranges"] is None


def page_data_without_options(folder: Path) -> dict:
    pg.write_report(EXAMPLES / "tiny.prototxt", folder / "plain.html")
    return page_data(folder / "plain.html")


OVERFLOW = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, 3] } } }
layer { name: "big" type: "Power" bottom: "data" top: "big" power_param { scale: 1e30 } }
layer { name: "small" type: "Power" bottom: "data" top: "small" power_param { scale: 1e-30 } }
layer { name: "zero" type: "Power" bottom: "data" top: "zero" power_param { scale: 0 } }
"""


def test_values_beyond_the_axis_of_the_ranges_are_at_its_ends(tmp_path):
    (tmp_path / "net.prototxt").write_text(OVERFLOW)
    pg.write_report(tmp_path / "net.prototxt", tmp_path / "net.html", ranges=True)
    ranges = page_data(tmp_path / "net.html")["ranges"]
    assert ranges["axis"] == [-14, 12]
    rows = {row["layer"]: row for row in ranges["rows"]}
    assert [bar[:2] for bar in rows["big"]["bars"]] == [[12, 12]] * len(rows["big"]["bars"])
    assert [bar[:2] for bar in rows["small"]["bars"]] == [[-14, -14]] * len(rows["small"]["bars"])
    assert rows["zero"]["bars"] == []
    assert "1 of 4 blobs do not fit into float16" in ranges["text"]


def test_ranges_of_a_net_without_weights_are_refused(protogen, tmp_path):
    done = protogen("report", EXAMPLES / "tiny.prototxt", "--half-check", "-o", "a.html")
    assert done.returncode == 2
    assert "has no weights" in done.stderr
    assert not (tmp_path / "a.html").exists()


# drawings


def test_draw_writes_svg_and_reproducible_png(protogen, tmp_path):
    for ending in ("svg", "png"):
        path = tmp_path / f"net.{ending}"
        process = protogen("draw", EXAMPLES / "tiny.prototxt", "-o", path)
        assert process.returncode == 0
    assert ElementTree.parse(tmp_path / "net.svg").getroot().tag.endswith("svg")
    raw = (tmp_path / "net.png").read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", raw[16:24])
    assert width > 100
    assert height > 300
    again = tmp_path / "again.png"
    pg.draw(EXAMPLES / "tiny.prototxt", again)
    assert again.read_bytes() == raw


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["draw", "tiny.prototxt", "-o", "net.pdf"],
            "unsupported image extension: expected .svg or .png",
        ),
        (["draw", "missing.prototxt", "-o", "net.svg"], "missing.prototxt"),
        (["report", "tiny.prototxt", "--against", "nothing.prototxt"], "nothing.prototxt"),
        (["report", "tiny.prototxt", "typo.prototxt"], "typo.prototxt"),
        (["report", "tiny.html", "-o", "tiny.html"], "would overwrite it"),
        (["report", "tiny.prototxt", "-o", "tiny.svg"], "--output writes HTML"),
        (["draw", "tiny.prototxt", "-o", "tiny.html"], "--output writes SVG or PNG"),
    ],
)
def test_user_errors_exit_2_and_write_nothing(protogen, tmp_path, arguments, message):
    for name in ("tiny.prototxt", "typo.prototxt"):
        shutil.copy(EXAMPLES / name, tmp_path)
    shutil.copy(EXAMPLES / "tiny.prototxt", tmp_path / "tiny.html")
    before = sorted(path.name for path in tmp_path.iterdir())
    process = protogen(*arguments, cwd=tmp_path)
    assert process.returncode == 2
    assert message in process.stderr
    assert "Traceback" not in process.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


# published nets


@pytest.mark.skipif(not CORPUS.is_dir(), reason="missing ../shared/corpus")
def test_published_nets_have_small_pages(tmp_path):
    """Every third net gets a page; with up to 1,000 layers it is smaller than 1 MB.

    The files without a page, a solver and templates with placeholders, are all tested.
    """
    without = []
    paths = sorted([*CORPUS.rglob("*.prototxt"), *CORPUS.rglob("*.pt")])
    for i, path in enumerate(paths):
        if i % 3 and path.name not in WITHOUT_PAGE:
            continue
        (tmp_path / "net.html").unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pg.write_report(path, tmp_path / "net.html")
            except pg.InputError:
                without.append(path.name)
                continue
        layers = page_data(tmp_path / "net.html")["layers"]
        if not layers:
            without.append(path.name)
        elif len(layers) <= 1000:
            assert (tmp_path / "net.html").stat().st_size < 1_000_000, path
    assert sorted(without) == WITHOUT_PAGE


# in a browser


def test_page_works_in_chromium(browser, fcn8s, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    (tmp_path / "fcn.prototxt").write_text(fcn8s.replace("offset: 31", "offset: 19"))
    pg.write_report(tmp_path / "fcn.prototxt", tmp_path / "fcn.html")
    browser.get((tmp_path / "fcn.html").as_uri())

    def element(selector: str):
        return browser.find_element(By.CSS_SELECTOR, selector)

    search = element("#search")
    search.send_keys("upscore8")
    assert element("#hits").text == "1 of 1"
    assert element("#panel h2").text == "upscore8"
    assert "kernel_size: 16" in element("#panel pre").text
    search.send_keys(Keys.ESCAPE)
    element("#whole").click()
    browser.execute_script(
        "document.querySelector('[data-layer=\"1\"]')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    assert element("#panel h2").text == "conv1_1"
    element("#unfold").click()
    height = browser.execute_script("return document.querySelector('#scene').getBBox().height")
    element("#fold").click()
    folded = browser.execute_script("return document.querySelector('#scene').getBBox().height")
    assert folded < height / 1.2
    heads = browser.find_elements(By.CSS_SELECTOR, "section[aria-label=Layers] th button")
    browser.execute_script("arguments[0].click()", heads[4])
    cell = element("section[aria-label=Layers] tbody tr td:nth-child(2)")
    assert cell.text == "fc6"  # most parameters first
    assert element("section[aria-label='Crop offsets'] .wrong").text == "19"
    assert browser.get_log("browser") == []


def test_ranges_are_drawn_in_chromium(browser, tmp_path):
    from selenium.webdriver.common.by import By

    (tmp_path / "net.prototxt").write_text(OVERFLOW)
    pg.write_report(tmp_path / "net.prototxt", tmp_path / "net.html", ranges=True)
    browser.get((tmp_path / "net.html").as_uri())
    section = "section[aria-label='Ranges for float16 and int8']"
    rows = browser.find_elements(By.CSS_SELECTOR, f"{section} tbody tr")
    assert [row.find_element(By.TAG_NAME, "a").text for row in rows] == [
        "data",
        "big",
        "small",
        "zero",
    ]
    bars = [len(row.find_elements(By.CSS_SELECTOR, ".strip .inside")) for row in rows]
    beyond = [len(row.find_elements(By.CSS_SELECTOR, ".strip .outside")) for row in rows]
    assert [bool(n) for n in bars] == [True, False, False, False]
    assert [bool(n) for n in beyond] == [False, True, True, False]
    assert rows[1].find_element(By.CLASS_NAME, "wrong").text == "overflows float16"
    heads = browser.find_elements(By.CSS_SELECTOR, f"{section} th button")
    browser.execute_script("arguments[0].click()", heads[3])  # largest value first
    assert browser.find_element(By.CSS_SELECTOR, f"{section} tbody a").text == "big"
    assert browser.get_log("browser") == []


def test_hostile_names_are_inert_in_chromium(browser, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "<img src=x onerror=document.title=1>" type: "Input" top: "d" '
        "input_param { shape { dim: [1, 3, 8, 8] } } }\n"
    )
    pg.write_report(path, tmp_path / "net.html")
    browser.get((tmp_path / "net.html").as_uri())
    assert browser.title == "net.prototxt"
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert browser.get_log("browser") == []


def test_every_family_has_a_colour():
    for name, kind in LayerType.registry.items():
        if not kind.user_defined:
            assert look_of(kind) in BY_FAMILY, name


@pytest.mark.parametrize("dark", [False, True])
def test_family_without_a_colour_has_that_of_unknown_types(dark):
    kinds = {name: kind.dark if dark else kind.light for name, kind in BY_FAMILY.items()}
    fill, edge = kinds["unknown"]
    rules = re.findall(r"^(\.\w+) rect\{fill:(#\w+);stroke:(#\w+)", stylesheet(dark), re.M)
    assert rules[0] == (".box", fill, edge)  # the rule of a family follows and overrides it
    assert {name: look for name, *look in rules}[".dense"] == list(kinds["dense"])
