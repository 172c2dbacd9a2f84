"""Names of untrusted files in what commands print: no control codes, no formulas, no lost bytes."""

from __future__ import annotations

import csv
import io
import json

import pytest
from places import ROOT

import protogen as pg
from protogen.errors import printable

HOSTILE = {
    "control": r"x\033]0;PWN\007\033[2J",
    "line": r"a\nlayer { name: \"b\" }\r",
    "right to left": r"\342\200\256gnp",
    "formula": "=cmd|'/c calc'!A0",
    "plus": "+1+1",
    "minus": "-1+1",
    "at": "@SUM(1)",
    "tab": r"\t=1+1",
}
COMMANDS = {
    "summary": ["{net}", "{weights}"],
    "check": ["{net}"],
    "weights": ["{weights}"],
    "run": ["{net}", "{weights}", "--random"],
    "verify": ["{net}", "{weights}", "{model}", "-v"],
    "health": ["{net}", "{weights}", "--no-gradients"],
    "diff": ["{net}", "{other}"],
    "convert": ["{net}", "{weights}", "-o", "{out}", "--verify", "--overwrite"],
    "dialects": ["{net}"],
    "targets": ["mnn"],
}


def text_of(name: str) -> str:
    return f"""layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: [1, 4, 8, 8] }} }} }}
layer {{ name: "{name}" type: "Convolution" bottom: "data" top: "{name}"
  convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "last" type: "TanH" bottom: "{name}" top: "last" }}
"""


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE)
def paths(request, tmp_path):
    net, weights, model = (tmp_path / n for n in ("net.prototxt", "net.caffemodel", "net.onnx"))
    net.write_text(text_of(request.param))
    other = tmp_path / "other.prototxt"
    other.write_text(text_of("plain"))
    loaded = pg.load(net)
    pg.initialise(loaded)
    loaded.save(net, weights)
    pg.convert(net, weights, model)
    return {
        "net": net,
        "weights": weights,
        "model": model,
        "other": other,
        "out": tmp_path / "o.onnx",
    }


def test_no_command_prints_control_codes(paths, protogen):
    for command, words in COMMANDS.items():
        done = protogen(command, *(word.format(**paths) for word in words))
        text = done.stdout + done.stderr
        assert "Traceback" not in text
        for line in text.split("\n"):
            assert printable(line) == line, (command, line)


def test_cells_of_csv_are_not_formulas(paths, protogen):
    done = protogen("summary", paths["net"], "--csv")
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert [len(row) for row in rows] == [8] * 4  # a name cannot add a line
    assert all(cell[:1] not in ("=", "+", "-", "@", "\t", "\r") for row in rows for cell in row)


def test_json_has_the_name_itself(paths, protogen):
    net = pg.load(paths["net"])
    names = [
        one["name"]
        for one in json.loads(protogen("summary", paths["net"], "--json").stdout)["layers"]
    ]
    assert names == [layer.name for layer in net.layers]


def test_names_that_are_not_utf8_are_refused_before_anything_is_written(tmp_path, protogen):
    path, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    path.write_text(text_of(r"\355\240\200\377"))
    net = pg.load(path)
    pg.initialise(net)
    for refused in (lambda: net.save(path, weights), lambda: pg.to_onnx(net)):
        with pytest.raises(pg.InputError, match=r"not valid UTF-8.* Rename it"):
            refused()
    assert not weights.exists()
    assert r"\xed\xa0\x80\xff" in protogen("summary", path).stdout
    assert protogen("fmt", path).returncode == 0
    assert path.read_text().count(r"\355\240\200\377") == 3


def test_bytes_are_escaped_as_bytes():
    assert printable("\udced\udcff\x1b\u202e") == r"\xed\xff\x1b\u202e"


@pytest.mark.parametrize("form", ["text", "github"])
def test_names_in_findings_are_escaped(tmp_path, protogen, form):
    """A name cannot add a finding, an annotation, or codes of a terminal."""
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "r\\033[2J" type: "ReLU" bottom: "x\\n::error file=a::b" top: "y\\033]0;t\\007" }\n'
    )
    done = protogen("check", "net.prototxt", "--format", form)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any("x" in line and "::error file=a::b" in line for line in lines)
    assert not any(line.startswith("::error file=a") for line in lines)
    assert all(printable(line) == line for line in lines)


# Modules of commands that print with click.echo: data that a program reads, such as a prototxt, text of
# protogen's own, or text that they have escaped.
OWN_PRINTS = {
    "__init__", "check", "completion", "dense", "dialects", "diff", "fmt", "layers", "mlp", "opencv5", "output",
    "preprocess", "resize", "rewrite", "rule", "run", "summary", "targets", "templates", "upgrade", "upsample",
    "view",
}  # fmt: skip


def test_text_leaves_through_one_function():
    folder = ROOT / "protogen" / "cli"
    printing = {path.stem for path in folder.glob("*.py") if "click.echo(" in path.read_text()}
    assert printing == OWN_PRINTS, "print with output.say or output.note, which escape names"
