"""``--quiet`` and ``--verbose``: results are always printed, notes and rows without a problem on demand."""

from __future__ import annotations

import pytest
from places import EXAMPLES

NET = (EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel")
MODEL = EXAMPLES / "squeeze_excite.onnx"


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", *NET, "-o", "a.onnx"),
        ("convert", MODEL, "-o", "a.prototxt", "--caffemodel", "a.caffemodel"),
        ("cut", *NET, "--to-blob", "fc", "-o", "a.prototxt", "--caffemodel", "a.caffemodel"),
        ("mlp", "4-3-2", "-o", "a.prototxt", "--solver", "s.prototxt"),
        ("draw", NET[0], "-o", "a.svg"),
        ("report", NET[0], "-o", "a.html"),
        ("weights", NET[1], "--to-npz", "a.npz"),
        ("upgrade", EXAMPLES / "lenet_2013.prototxt", "-o", "a.prototxt"),
        ("resize", "--factor", "2", "--input-shape", "1,1,4,4", "-o", "a.prototxt"),
        ("upsample", "--factor", "2x3", "-o", "a.prototxt"),
        ("rewrite", EXAMPLES / "tiny.prototxt", "-o", "a.prototxt"),
        ("preprocess", *NET, "--mean", "1,2,3", "-o", "a.prototxt", "--caffemodel", "a.caffemodel"),
        ("fmt", EXAMPLES / "tiny.prototxt", "-o", "a.prototxt"),
        ("check", NET[0]),
    ],
    ids=lambda arguments: arguments[0],
)
def test_quiet_command_prints_nothing_but_results(arguments, protogen):
    loud = protogen(*arguments)
    assert loud.returncode == 0, loud.stderr
    assert loud.stdout + loud.stderr
    quiet = protogen(*arguments, "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_quiet_keeps_results_warnings_and_errors(protogen, tmp_path):
    table = protogen("summary", NET[0], "--quiet").stdout
    assert "conv1" in table
    assert "layers," not in table
    assert protogen("upsample", "--factor", "2", "-q").stdout.startswith("# Exact")
    assert "PG101" in protogen("check", EXAMPLES / "flawed.prototxt", "-q").stdout
    warned = protogen("init", NET[0], "-o", "zero.caffemodel", "-q").stderr
    assert warned.startswith("protogen: warning: weights without a filler")
    wrong = protogen("summary", "missing.prototxt", "-q")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "protogen: missing.prototxt: cannot be read (No such file or directory). Check the path.\n",
    )


def test_verbose_prints_rows_without_a_problem(protogen):
    pair = ("verify", *NET, *NET)
    assert protogen(*pair).stdout.count("\n") == 1
    assert "conv1" in protogen(*pair, "-v").stdout
    dry = ("convert", MODEL, "--dry-run")
    assert protogen(*dry).stdout == "14 operators: 14 convert\n"
    assert "GlobalAveragePool" in protogen(*dry, "--verbose").stdout
    convert = ("convert", MODEL, "-o", "a.prototxt", "--caffemodel", "a.caffemodel", "--verify")
    assert "/stem/stem.2/Mul_output_0" not in protogen(*convert).stdout
    assert "/stem/stem.2/Mul_output_0" in protogen(*convert, "-v").stdout
