"""A file of the wrong kind gets one sentence in every command, which names the kind and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import EXAMPLES, ROOT

from protogen.formats import contents

NET, WEIGHTS = "tiny.prototxt", "tiny.caffemodel"
KINDS = ("onnx", "png", "utf-16", "solver", "empty")
# Each command with the place of the wrong file, and the kinds that it takes there.
COMMANDS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "summary": (["summary", "X"], ()),
    "check": (["check", "X"], ("solver",)),
    "fmt": (["fmt", "--check", "X"], ("solver",)),
    "diff": (["diff", NET, "X"], ()),
    "upgrade": (["upgrade", "X"], ()),
    "draw": (["draw", "X", "-o", "d.svg"], ()),
    "report": (["report", "X", "-o", "r.html"], ()),
    "report weights": (["report", NET, "X", "-o", "r.html"], ()),
    "report --against": (["report", NET, "--against", "X", "-o", "r.html"], ()),
    "init": (["init", "X", "-o", "i.caffemodel"], ()),
    "rewrite": (["rewrite", "X", "-o", "w.prototxt"], ()),
    "rewrite weights": (["rewrite", NET, "X", "-o", "w.prototxt"], ()),
    "rescue": (["rescue", "X", "-o", "w.prototxt"], ()),
    "preprocess": (["preprocess", "X", "--mean", "1,2,3"], ()),
    "preprocess --from": (["preprocess", NET, "--from", "X"], ()),
    "cut": (["cut", "X", "--to-blob", "fc", "-o", "c.prototxt"], ("onnx",)),
    "run": (["run", "X", WEIGHTS, "--random"], ()),
    "run weights": (["run", NET, "X", "--random"], ()),
    "run --input": (["run", NET, WEIGHTS, "--input", "X"], ("png",)),
    "run --labels": (["run", NET, WEIGHTS, "--random", "--labels", "X"], ("solver", "empty")),
    "health": (["health", "X"], ()),
    "verify": (["verify", NET, WEIGHTS, "X"], ("onnx",)),
    "weights": (["weights", "X"], ()),
    "weights --from-npz": (["weights", WEIGHTS, "--from-npz", "X", "-o", "w.caffemodel"], ()),
    "dialects": (["dialects", "X"], ()),
    "dense": (["dense", "--weights", "X", "--orientation", "xw"], ()),
    "mean convert": (["mean", "convert", "X", "-o", "m.npy"], ("png",)),
    "mean compute": (["mean", "compute", "X", "-o", "m.npy"], ("png",)),
    "upsample --into": (["upsample", "--factor", "2", "--into", "X", "--after", "fc"], ()),
    "summary --proto": (["summary", NET, "--proto", "X"], ("solver", "empty")),
    "convert": (["convert", "X", "-o", "out"], ("onnx",)),
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in (NET, WEIGHTS):
        (tmp_path / name).write_bytes((EXAMPLES / name).read_bytes())
    (tmp_path / "onnx").write_bytes((EXAMPLES / "squeeze_excite.onnx").read_bytes())
    (tmp_path / "png").write_bytes((ROOT / "docs/pictures/up4.png").read_bytes())
    (tmp_path / "utf-16").write_bytes((tmp_path / NET).read_text().encode("utf-16"))
    (tmp_path / "solver").write_text('net: "tiny.prototxt"\nbase_lr: 0.1\n')
    (tmp_path / "empty").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_file_is_named_and_nothing_is_written(protogen, files, name):
    words, taken = COMMANDS[name]
    before = set(files.iterdir())
    for kind in KINDS:
        if kind in taken:
            continue
        done = protogen(*(kind if word == "X" else word for word in words))
        assert done.returncode == 2, kind
        assert done.stderr.startswith(f"protogen: {kind}: the file is {contents.KINDS[kind]}"), kind
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
    assert set(files.iterdir()) == before


def test_a_net_without_layers_is_named(protogen, files):
    (files / "no.prototxt").write_text('name: "x"\n')
    for words in (
        ["summary", "no.prototxt"], ["check", "no.prototxt"], ["draw", "no.prototxt", "-o", "d.svg"],
        ["run", "no.prototxt", "--random"], ["convert", "no.prototxt", "-o", "n.onnx"],
    ):  # fmt: skip
        done = protogen(*words)
        assert done.returncode == 2
        assert done.stderr == "protogen: no.prototxt: the net has no layers.\n"


def test_a_caffemodel_without_inputs_names_its_place(protogen, files):
    done = protogen("summary", WEIGHTS)
    assert done.stderr == (
        "protogen: tiny.caffemodel: the caffemodel does not declare the inputs of its net. Name the "
        "prototxt before it: NET.prototxt tiny.caffemodel.\n"
    )


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (["sumary"], "Did you mean summary? Try 'protogen --help'."),
        (["check", NET, "--target", "rkn2"], "Did you mean rknn2? The name of your own target file must end in .toml."),
        (["summary", NET, "--dialect", "sssd"], "Did you mean ssd?"),
        (["resize", "--factor", "2", "--like", "torc"], "Did you mean torch? Try 'protogen resize --help'."),
        (["resize", "--factor", "2", "--mode", "linaer"], "Did you mean bilinear? Try 'protogen resize --help'."),
        (["layers", "Convolutoin"], "Did you mean Convolution?"),
        (["rule", "crop-ofset"], "Did you mean crop-offset?"),
        (["check", NET, "--select", "PG3010"], "Did you mean PG310?"),
        (["run", NET, WEIGHTS, "--random", "--blob", "conv"], "Did you mean conv2?"),
        (["cut", NET, WEIGHTS, "--to-blob", "fcc", "-o", "c.prototxt"], "Did you mean fc?"),
        (["activations", "rleu"], "Did you mean ReLU?"),
        (["mlp", "10-20", "--activation", "rleu"], "Did you mean relu?"),
        (["rewrite", NET, "--type", "InnerProdct"], "Did you mean InnerProduct?"),
        (["templates", "show", "upsampel"], "Did you mean upsample?"),
        (["init", NET, "--set", "conv*=msrra", "-o", "i.caffemodel"], "Did you mean msra?"),
        (["dialects", "sdd"], "Did you mean ssd?"),
        (["try", NET, WEIGHTS, "--with", "mmn"], "Did you mean mnn? Your own adapter must end in .py, and its data in .toml."),
    ],
)  # fmt: skip
def test_a_name_with_a_mistake_gets_a_suggestion(protogen, files, words, end):
    done = protogen(*words)
    assert done.returncode == 2
    assert done.stderr.rstrip("\n").endswith(end), done.stderr


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["upsample", "--factor", "x"], "--factor"),
        (["resize", "--factor", "-1"], "--factor"),
        (["upsample", "--factor", "2", "--input-shape", "1x3x32"], "--input-shape"),
        (["summary", NET, "--input-shape", "1:3:32:32"], "--input-shape"),
        (["check", NET, "--target", "rknn"], "--target"),
        (["mlp", "10-20", "--activation", "no"], "--activation"),
        (["run", NET, WEIGHTS, "--input", "W.npy"], "--input"),
    ],
)
def test_errors_name_the_option_that_was_typed(protogen, files, words, option):
    (files / "W.npy").write_bytes((EXAMPLES / "W.npy").read_bytes())
    done = protogen(*words)
    assert done.returncode == 2
    assert f"{option}: " in done.stderr


@pytest.mark.parametrize("shape", ["1,3,32,32", "1x3x32x32", "data=1x3x32x32"])
def test_shapes_are_written_with_commas_or_x(protogen, files, shape):
    assert protogen("summary", NET, "--input-shape", shape).returncode == 0
