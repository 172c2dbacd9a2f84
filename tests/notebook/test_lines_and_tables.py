"""Each result is one line in Python and a table in a notebook."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module

import numpy as np
import pytest
from places import EXAMPLES

import protogen as pg
from protogen import notebook
from protogen._late import Shown
from protogen.errors import Diagnostic
from protogen.notebook import page

TINY = EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel"
HOSTILE = """
name: "<script>alert(1)</script>"
layer { name: "<img src=x onerror=alert(1)>" type: "Input" top: "<b>x"
  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "</td>\\033[31m" type: "ReLU" bottom: "<b>x" top: "z" }
layer { name: "f" type: "InnerProduct" bottom: "z" top: "o\\n2"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""


class Tags(HTMLParser):
    """The tags of a text; every tag that has an end must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, object]:
    """A result of each class that a notebook shows, by the name of the class."""
    folder = tmp_path_factory.mktemp("results")
    net = pg.load(*TINY)
    model = folder / "tiny.onnx"
    imported = folder / "imported.prototxt", folder / "imported.caffemodel"
    parts = folder / "part.prototxt", folder / "part.caffemodel"
    all_of = [
        net,
        net.summary(),
        pg.upsample(4, channels=21),
        pg.upsample(4, exact=True, input_shape=(1, 1, 16, 16)),
        pg.convert(*TINY, model, verify=True),
        pg.convert_onnx(model, *imported, verify=True),
        pg.verify(net, str(model)),
        pg.cut_file(*TINY, *parts, outputs=["conv1"]),
        pg.check_file(EXAMPLES / "flawed.prototxt"),
        pg.health(net, gradients=False),
        pg.diagnose(EXAMPLES / "deep_sigmoid.log"),
        pg.half_check(net),
        pg.check_target(EXAMPLES / "tiny.prototxt", "rknn2"),
        pg.legalize(net, "mnn"),
        pg.rewrite_for("mnn", *TINY),
        pg.dialects_of(EXAMPLES / "fork_fields.prototxt"),
        pg.rewrite(EXAMPLES / "fork_head.prototxt"),
        pg.rescue(EXAMPLES / "lenet_2013.prototxt", None, folder / "rescued"),
        pg.picture_statistics([EXAMPLES / "pictures"]),
        pg.Transform(np.array([104.0, 117.0, 123.0]), swap=True),
        pg.preprocess(net, pg.Transform(np.array([104.0, 117.0, 123.0])), verify=True),
        pg.dense(np.eye(3, 4), "xw", name="fc"),
        pg.perceptron("784-300-10"),
        pg.Trial("mnn", "3.0", "python3", "wrong", 0.5, "prob", "differs", "conv1", "Convolution"),
    ]
    named = {type(one).__name__: one for one in all_of}
    named["Diagnostic"] = named["Checked"].diagnostics[0]
    named["Finding"] = named["Diagnosis"].findings[0]
    named["Log"] = named["Diagnosis"].log
    named["ImportedNet"] = named["Imported"].imported
    named["PartFile"] = named["Cut"].part
    named["TorchNet"] = pg.TorchNet(
        "Small", net, named["Comparison"], "torch.export", ("x",), ("y",), {}, named["ImportedNet"]
    )
    return named


def test_every_public_result_is_shown():
    """A class of the public API that holds results has a line and a table, or is listed here."""
    plain = {
        "Activation",  # one line of numbers
        "Outcome",  # one line
        "Source",  # one line
        "Picture",  # an SVG
        "NetSpec",  # a net that is being written
        "Preprocessing",  # options
        "Verdict",  # one line
    }
    classes = {name for name in pg.__all__ if isinstance(getattr(pg, name, None), type)}
    errors = {name for name in classes if issubclass(getattr(pg, name), Exception)}
    shown = {name for name in classes if issubclass(getattr(pg, name), Shown)}
    assert classes - errors - shown <= plain
    assert shown <= set(notebook.HOMES)


def test_every_class_has_a_function_for_its_line_and_table():
    for name, home in notebook.HOMES.items():
        module = import_module(f"protogen.notebook.{home}")
        assert name in module.TABLES
        assert name in module.LINES or name == "Summary"  # its text is the table


def test_results_cover_every_class(results):
    assert set(results) == set(notebook.HOMES)


@pytest.mark.parametrize("name", sorted(set(notebook.HOMES) - {"Summary"}))
def test_repr_is_one_line(results, name):
    text = repr(results[name])
    assert text.startswith(f"<{name} ")
    assert text.endswith(">")
    assert len(text.splitlines()) == 1
    assert len(text) < 400
    assert " at 0x" not in text


@pytest.mark.parametrize("name", sorted(notebook.HOMES))
def test_html_is_well_formed_without_scripts(results, name):
    text = results[name]._repr_html_()
    assert type(text) is str
    tags = Tags(text)
    assert tags.names[:2] == ["div", "style"]
    assert len(tags.names) > 2
    assert not set(tags.names) & {"script", "link", "iframe", "img"}
    assert tags.attributes <= {"class", "open"}
    assert "http" not in re.sub(r"https://github\.com/\S+", "", text) or name == "Perceptron"
    assert len(text) < 60_000


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Net", "<Net tiny: 10 layers, 3,989 parameters; data 1x3x32x32 -> prob 1x4>"),
        (
            "Upsampling",
            "<Upsampling upsample: bilinear, factor 4, 21 channels, kernel 8, stride 4, pad 2>",
        ),
        (
            "Plan",
            "<Plan resize 16x16 to 64x64 (bilinear, half_pixel): deconvolution+scale, exact; 2 layers, "
            "4,160 parameters>",
        ),
        ("TargetReport", "<TargetReport rknn2 2.5.0: wrong; 10 layers: 9 taken, 1 wrong>"),
        ("Dense", "<Dense fc: Y = XW, 3 inputs, 4 outputs>"),
        ("Transform", "<Transform swap channels, subtract [104.0, 117.0, 123.0]>"),
        ("Trial", '<Trial mnn: wrong at conv1, error 5.0e-01; "prob" differs>'),
    ],
)
def test_lines_state_the_content(results, name, line):
    assert repr(results[name]) == line


def test_line_of_a_comparison_states_the_result(results):
    assert re.fullmatch(
        r"<Comparison 7 of 7 blobs agree to 0.0001, largest relative error \d\.\de-\d\d>",
        repr(results["Comparison"]),
    )


def test_net_table_has_a_row_for_each_layer_and_the_totals(results):
    text = results["Net"]._repr_html_()
    assert text.count("<tr>") == 11
    assert "<details open><summary><strong>tiny</strong>: 10 layers, 3,989 parameters" in text
    assert (
        '<td>conv1</td><td>Convolution</td><td>1x8x16x16</td><td class="protogen-number">224'
        in text
    )
    assert "inputs: data; outputs: prob" in text
    assert "no weights" not in text
    assert "no weights" in pg.load(TINY[0])._repr_html_()


def test_long_net_is_folded_and_cut(tmp_path):
    layers = "".join(
        f'layer {{ name: "r{i}" type: "ReLU" bottom: "x" top: "x" }}\n' for i in range(600)
    )
    path = tmp_path / "long.prototxt"
    path.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
        + layers
    )
    text = pg.load(path)._repr_html_()
    assert "<details><summary>" in text
    assert text.count("<td>ReLU</td>") == page.MOST_ROWS - 1
    assert "and 101 more rows" in text


def test_empty_columns_are_left_out():
    text = page.table(("a", "b", "c"), [("1", "", "x"), ("2", "", "")], (0, 1))
    assert "<th>b</th>" not in text
    assert '<td class="protogen-number">2</td><td></td></tr>' in text


def test_names_of_untrusted_nets_are_escaped(tmp_path):
    path = tmp_path / "<u>hostile.prototxt"
    path.write_text(HOSTILE)
    net = pg.load(path)
    pg.initialise(net)
    results = [
        net,
        net.summary(),
        pg.check_file(path),
        *pg.check_file(path).diagnostics,
        pg.health(net, gradients=False),
        pg.half_check(net),
        pg.check_target(path, "rknn2"),
        pg.verify(net, net),
        pg.dialects_of(path),
    ]
    for one in results:
        assert not set(Tags(one._repr_html_()).names) & {"script", "img", "b", "u"}
        assert "\x1b" not in one._repr_html_() + repr(one)
        if type(one).__name__ != "Summary":
            assert "\n" not in repr(one)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in net._repr_html_()


def test_comparison_names_the_first_difference_and_its_cause():
    misread = pg.load(EXAMPLES / "tiny_misread.prototxt", TINY[1])
    comparison = pg.verify(pg.load(*TINY), misread, check=False)
    assert repr(comparison).endswith("; the first that does not is conv1>")
    text = comparison._repr_html_()
    assert '<span class="protogen-tag protogen-bad">differs</span> 3 of 9 blobs agree' in text
    assert "The first blob that does not agree is conv1." in text
    assert "Likely cause: negative_slope is left out" in text


def test_findings_are_listed_with_rule_and_place():
    checked = pg.check_file(EXAMPLES / "flawed.prototxt")
    assert repr(checked).endswith(
        "flawed.prototxt: 2 errors, 5 warnings: PG101, PG105, PG328, ...>"
    )
    text = checked._repr_html_()
    assert text.count('<span class="protogen-tag protogen-bad">') == 2
    assert text.count('<span class="protogen-tag protogen-doubt">') == 5
    assert "<td>17:5</td>" in text
    assert "unknown field strid in ConvolutionParameter. Did you mean stride?" in text
    clean = pg.check_file(EXAMPLES / "tiny.prototxt")
    assert repr(clean).endswith("tiny.prototxt: no findings>")
    assert '<span class="protogen-tag">no findings</span>' in clean._repr_html_()


def test_diagnostic_shows_its_further_lines():
    one = Diagnostic("is wrong", "a.prototxt", lines=("x < 3", "    ^"))
    assert repr(one) == "<Diagnostic error a.prototxt: is wrong.>"
    assert "<pre>x &lt; 3\n    ^</pre>" in one._repr_html_()


def test_net_that_is_not_built_has_a_line():
    assert repr(pg.Net.__new__(pg.Net)) == "<Net that is not built>"


def test_subclass_of_a_user_is_shown():
    class Mine(pg.Net):
        pass

    net = Mine(pg.load(TINY[0]).message)
    assert repr(net).startswith("<Mine tiny: 10 layers")
    assert "conv1" in net._repr_html_()


def test_import_loads_nothing_for_notebooks():
    code = (
        "import sys, protogen as pg; up = pg.upsample(2);"
        "assert not [m for m in sys.modules if m.startswith('protogen.notebook')];"
        "repr(up); assert 'protogen.notebook.upsampling' in sys.modules;"
        "assert not {'onnx', 'matplotlib', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
