"""``next`` of the data files: what a user types next in the toolchain."""

import ast
import re
from pathlib import Path
from string import Template

import pytest
from nets import net_with
from places import ROOT

from protogen.cli.for_target import next_steps
from protogen.toolchains.toolchain import NEXT_WORDS, load_toolchain, names

WITHOUT = {"ascend-deconvolution-v1": "rules of one operator: the steps are those of ascend"}
PYTHON = ("bvlc", "caffe-1.0", "nncase", "opencv4", "rknn1", "rknn2", "ssd", "tpu-caffe")
WIDTH = 110


def test_every_toolchain_has_next_steps():
    assert {name for name in names() if not load_toolchain(name).next} == set(WITHOUT)


@pytest.mark.parametrize("name", sorted(set(names()) - set(WITHOUT)))
def test_steps_name_both_files_in_short_lines(name):
    text = load_toolchain(name).next
    words = set(re.findall(r"\$\{?(\w+)", text))
    assert {"prototxt", "caffemodel"} <= words <= set(NEXT_WORDS)
    assert [line for line in text.splitlines() if len(line) > WIDTH or line != line.rstrip()] == []


@pytest.mark.parametrize("name", sorted(set(names()) - set(WITHOUT)))
def test_steps_have_no_open_words(name):
    net = net_with({"data": (1, 3, 32, 40), "info": (1, 2)}, "")
    text = next_steps(load_toolchain(name), net, "out.prototxt", "out.caffemodel")
    assert "$" not in text
    assert "out.caffemodel" in text


@pytest.mark.parametrize("name", PYTHON)
def test_steps_in_python_are_valid(name):
    ast.parse(Template(load_toolchain(name).next).substitute(dict.fromkeys(NEXT_WORDS, "1")))


def test_words_stand_for_the_inputs(tmp_path):
    net = net_with(
        {"data": (1, 3, 32, 40), "info": (1, 2)},
        'layer { name: "a" type: "ReLU" bottom: "data" top: "a" }\n'
        'layer { name: "b" type: "ReLU" bottom: "info" top: "b" }',
    )
    (tmp_path / "acme.toml").write_text(
        "next = '" + " ".join(f"${word}" for word in NEXT_WORDS) + " $$5'\n", encoding="utf-8"
    )
    values = next_steps(load_toolchain(tmp_path / "acme.toml"), net, "a/out.prototxt", None).split()
    assert dict(zip([*NEXT_WORDS, ""], values, strict=True)) == {
        "prototxt": "a/out.prototxt",
        "caffemodel": "out.caffemodel",
        "name": "out",
        "input": "data",
        "inputs": "data,info",
        "shape": "1,3,32,40",
        "dims": "1x3x32x40",
        "channels": "3",
        "height": "32",
        "width": "40",
        "shapes": "[[1,3,32,40],[1,2]]",
        "inputs_with_shapes": "data:1,3,32,40;info:1,2",
        "zeros": "0,0,0",
        "ones": "1,1,1",
        "zero_lists": "[[0,0,0],[0,0]]",
        "one_lists": "[[1,1,1],[1,1]]",
        "outputs": "a,b",
        "": "$5",
    }


def test_page_lists_every_word():
    page = Path(ROOT / "docs" / "toolchain_files.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `\$(\w+)` \| (.*) \|$", page, re.MULTILINE))
    assert rows == NEXT_WORDS
