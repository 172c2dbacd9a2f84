"""``upsample`` and ``templates`` on the command line: output, files, errors and exit codes."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from places import EXAMPLES

import protogen as pg
from protogen.cli import COMMANDS, cli


def test_upsample_writes_all_outputs(protogen, tmp_path):
    done = protogen(
        "upsample", "--factor", 4, "--channels", 21, "--input-shape", "1,21,16,16",
        "-o", "up.prototxt", "--caffemodel", "up.caffemodel", "--onnx", "up.onnx",
        "--verify", "--plot", "up.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 px" in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["up.caffemodel", "up.onnx", "up.png", "up.prototxt"]
    onnx.checker.check_model(str(tmp_path / "up.onnx"), full_check=True)
    assert (tmp_path / "up.png").read_bytes()[:4] == b"\x89PNG"


def test_stdout_contains_the_layer_only(protogen):
    done = protogen("upsample", "--factor", 2, "--verify")
    assert done.stdout == pg.upsample(2).prototxt
    assert "inside" in done.stderr


def test_json_describes_layer_and_verification(protogen):
    done = protogen("upsample", "--factor", "2x3", "--verify", "--json")
    data = json.loads(done.stdout)
    assert data["layers"][0]["kernel"] == [4, 5]
    assert data["weights_needed"] == ["upsample"]
    assert {check["data"] for check in data["verify"]} == {"random", "ramp"}
    assert all(check["passed"] for check in data["verify"])
    assert data["prototxt"] == pg.upsample("2x3").prototxt


def test_note_if_caffe_has_no_filler_for_the_weights(protogen):
    done = protogen("upsample", "--factor", "2x3")
    assert "constant 0; write them with --caffemodel FILE" in done.stderr
    assert "note" not in protogen("upsample", "--factor", "2x3", "--mode", "nearest").stderr


def test_upsample_into_a_net_in_place(protogen, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text((EXAMPLES / "segnet_head.prototxt").read_text())
    done = protogen(
        "upsample", "--factor", 2, "--into", net, "--after", "score", "--rewire", "-o", net
    )
    assert done.returncode == 0, done.stderr
    assert "rewired: refine" in done.stderr
    again = protogen("upsample", "--factor", 2, "--into", net, "--after", "score")
    assert again.returncode == 2
    assert "the layer name 'upsample' is already in use" in again.stderr


def test_svg_plot_is_reproducible(protogen, tmp_path):
    for name in ("a.svg", "b.svg"):
        assert (
            protogen("upsample", "--factor", "2x3", "--plot", name, "-o", os.devnull).returncode
            == 0
        )
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_templates_in_a_folder_replace_built_in_ones(protogen, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    shown = protogen("templates", "show", "deconvolution").stdout
    (own / "deconvolution.prototxt.j2").write_text(
        shown.replace("bias_term: false", 'bias_term: false\n    engine: {{ "CAFFE" | enum }}')
    )
    done = protogen("upsample", "--factor", 2, "--templates", "own")
    assert "engine: CAFFE" in done.stdout
    listed = protogen("templates", "list", "--templates", "own").stdout
    assert re.search(r"deconvolution +own", listed)
    assert re.search(r"input +built in", listed)


def test_template_file_replaces_the_output(protogen, tmp_path):
    (tmp_path / "t.j2").write_text(
        '# head\n{% for layer in layers %}{% include "deconvolution.prototxt.j2" %}{% endfor %}'
    )
    done = protogen("upsample", "--factor", 2, "--template", "t.j2")
    assert done.stdout.startswith("# head\nlayer {")


ERRORS = [
    ("--factor 0", "--factor: must be at least 1, got 0."),
    ("--factor -3", "--factor: must be at least 1, got -3."),
    ("--factor 2.x", "--factor: expected a number, got '2.x'. Give F or HxW, such as 1.5x2."),
    ("--factor two", "--factor: expected an integer, got 'two'. Give a number such as 2."),
    ("--factor 2x3x4", "--factor: expected 1 or 2 values, got 3: '2x3x4'. Give N or HxW, such as 2x4."),
    ("--factor 99999999999999999999999", "--factor: number too large: 99999999999999999999999. Give a number such as 2."),
    ("--factor 1000000", "--factor: 1000000x1000000 with 3 channels needs 43.7 TiB of weights, but Caffe reads at most 2 GiB. Use several layers with smaller factors."),
    ("--factor 64 --channels 1000 --kernels full", "--factor: 64x64 with 1000 channels needs 61 GiB of weights, but Caffe reads at most 2 GiB. Use several layers with smaller factors."),
    ("--factor 2 --channels 0", "--channels: must be at least 1, got 0."),
    ("--factor 2 --channels few", "Invalid value for '--channels': 'few' is not a valid integer. Try 'protogen upsample --help'."),
    ("", "missing factor. Give --factor 2, or --spec FILE.toml."),
    ("--factor 2 --bottom x --top x", "--top: must differ from the bottom, but both are 'x'. A Deconvolution cannot run in place."),
    ("--factor 2 --input-shape 1,3", "--input-shape: expected N,C,H,W, got '1,3'. Give four lengths, such as 1,3,8,8."),
    ("--factor 2 --input-shape 1,3,0,8", "--input-shape: every length must be at least 1, got 0."),
    ("--factor 2 --channels 4 --input-shape 1,3,8,8", "--channels: layer 'upsample' expects 4 channels, but its bottom 'data' has 3. Use 3 channels."),
    ("--factor 9 --input-shape 1,3,9999,9999", "--input-shape: the top 'upsample' would have the shape 1x3x89991x89991 and need 90.5 GiB, but at most 2 GiB is supported. Use a smaller input shape or factor."),
    ("--factor 2 --name '' ", "--name: expected a non-empty string, got ''. Give a name."),
    ("--factor 2 --into gone.prototxt --after x", "gone.prototxt: cannot be read (No such file or directory). Check the path."),
    ("--factor 2 --into broken.prototxt --after x", "broken.prototxt:2:8: name must be a string in quotes, got a message."),
    ("--factor 2 --into old.prototxt --after x", "old.prototxt:1:1: the net has an old format (`layers`). Run protogen upgrade on it first."),
    ("--factor 2 --into net.prototxt --after scor", "net.prototxt: no layer produces a blob named 'scor'. Did you mean score?"),
    ("--factor 2 --into net.prototxt --after score --name refine", "net.prototxt: the layer name 'refine' is already in use. Choose another name with --name."),
    ("--factor 2 --into net.prototxt --after score --top conv1", "net.prototxt: the blob name 'conv1' is already in use. Choose another name with --top."),
    ("--factor 2 --into net.prototxt --after score --channels 20", "net.prototxt: blob 'score' has 21 channels, but --channels is 20. Leave out --channels: the net determines it."),
    ("--factor 2 --into net.prototxt", "--into NET and --after BLOB must be given together."),
    ("--factor 2 --rewire", "--rewire needs --into NET and --after BLOB."),
    ("--factor 2 --spec spec.toml", "--factor and --spec exclude each other. Write it in the file."),
    ("--spec gone.toml", "gone.toml: cannot be read (No such file or directory). Check the path."),
    ("--spec notoml.toml", "notoml.toml:1:6: not valid TOML: Expected '=' after a key in a key/value pair."),
    ("--spec badkey.toml", "badkey.toml: upsample[0].factr: unknown key. Did you mean factor?"),
    ("--spec badvalue.toml", "badvalue.toml: upsample[0].channels: expected an integer, got '3'."),
    ("--spec zero.toml", "zero.toml: upsample[1].factor: must be at least 1, got 0."),
    ("--spec twice.toml", "twice.toml: name: 'a' is already used by another layer. Choose another name."),
    ("--spec empty.toml", "empty.toml: upsample: the file specifies no layer. Add a [[upsample]] table."),
    ("--factor 2 -o gone/up.prototxt", "gone/up.prototxt: cannot be written (No such file or directory). Choose another path."),
    ("--factor 2 -o .", ".: is a folder, not a file. Give a file name."),
    ("--factor 2 -o a --onnx a", "a: --output and --onnx write the same file. Choose a different file for each output."),
    ("--factor 2 --plot a.pdf", "a.pdf: --plot: unsupported image extension '.pdf': expected .png or .svg."),
    ("--factor 2 --onnx a --opset 3", f"--opset: must be 13 to {onnx.defs.onnx_opset_version()}, got 3."),
    ("--factor 2 --template gone.j2", "gone.j2: cannot be read (No such file or directory). Give a template file."),
    ("--factor 2 --template syntax.j2", "syntax.j2:2: invalid template: Expected an expression, got 'end of statement block'."),
    ("--factor 2 --template undefined.j2", "undefined.j2:3: invalid template: 'nonsense' is undefined."),
    ("--factor 2 --template division.j2", "division.j2:1: invalid template: division by zero."),
    ("--factor 2 --template unsafe.j2", "unsafe.j2:1: invalid template: access to attribute '__class__' of 'int' object is unsafe."),
    ("--factor 2 --template none.j2", "none.j2:1: invalid template: None cannot be written as a prototxt value."),
    ("--factor 2 --template nolayer.j2", "nolayer.j2: the template emits no Deconvolution named 'upsample'. Write the name of the layer as: name: {{ layer.name }}."),
    ("--factor 2 --templates gone", "gone: is not a folder. Give a folder with templates."),
    ("--factor 5000 --channels 1 --verify", "layer 'upsample': its top of 1x1x40000x40000 needs 6.0 GiB, but at most 1 GiB can be verified. Verify with a smaller input shape, factor or number of channels."),
]  # fmt: skip

FILES = {
    "broken.prototxt": "layer {\n  name <\n}\n",
    "old.prototxt": 'layers { name: "a" type: RELU }\n',
    "notoml.toml": "this is not toml\n",
    "badkey.toml": "[[upsample]]\nfactr = 2\n",
    "badvalue.toml": '[[upsample]]\nfactor = 2\nchannels = "3"\n',
    "zero.toml": "[[upsample]]\nfactor = 2\n[[upsample]]\nfactor = 0\n",
    "twice.toml": '[[upsample]]\nfactor = 2\nname = "a"\n[[upsample]]\nfactor = 2\nname = "a"\n',
    "empty.toml": "name = 'x'\n",
    "syntax.j2": "x\n{% for %}\n",
    "undefined.j2": "x\n\n{{ nonsense }}\n",
    "division.j2": "{{ 1 / 0 }}\n",
    "unsafe.j2": "{{ (1).__class__ }}\n",
    "none.j2": "{{ none }}\n",
    "nolayer.j2": "name: {{ layers[0].name }}\n",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "net.prototxt").write_text((EXAMPLES / "segnet_head.prototxt").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("arguments", "message"), ERRORS, ids=[a or "none" for a, _ in ERRORS])
def test_invalid_arguments_give_one_sentence_and_exit_code_2(
    folder, capsys, arguments, message, monkeypatch
):
    """No file is written or removed."""
    import shlex

    from protogen.cli import main

    before = sorted(os.listdir(folder))
    monkeypatch.setattr("sys.argv", ["protogen", "upsample", *shlex.split(arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert out == ""
    assert err.splitlines()[0] == f"protogen: {message}"
    assert "Traceback" not in err
    assert sorted(os.listdir(folder)) == before


def test_other_outputs_are_unchanged_if_one_cannot_be_written(folder, protogen):
    (folder / "a.prototxt").write_text("old")
    done = protogen("upsample", "--factor", 2, "-o", "a.prototxt", "--onnx", "gone/a.onnx")
    assert done.returncode == 2
    assert (folder / "a.prototxt").read_text() == "old"
    assert not [name for name in os.listdir(folder) if name.endswith(".part")]


def test_output_to_a_device(protogen):
    assert protogen("upsample", "--factor", 2, "-o", "/dev/null").returncode == 0


def test_symbolic_link_and_file_mode_of_the_output_are_kept(protogen, tmp_path):
    real = tmp_path / "real.prototxt"
    real.write_text("old")
    real.chmod(0o640)
    (tmp_path / "link.prototxt").symlink_to(real)
    assert protogen("upsample", "--factor", 2, "-o", "link.prototxt").returncode == 0
    assert (tmp_path / "link.prototxt").is_symlink()
    assert real.read_text() == pg.upsample(2).prototxt
    assert real.stat().st_mode & 0o777 == 0o640


def test_version_option(protogen):
    assert protogen("--version").stdout == f"protogen {pg.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_of_each_shell(protogen, shell):
    assert "_PROTOGEN_COMPLETE" in protogen("completion", shell).stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_examples(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output


def test_public_names_exist_and_unknown_ones_do_not():
    for name in pg.__all__:
        assert getattr(pg, name) is not None
    with pytest.raises(AttributeError):
        _ = pg.nonsense


def test_onnx_of_a_spec_runs_in_onnxruntime(protogen, tmp_path):
    done = protogen(
        "upsample", "--spec", EXAMPLES / "head.toml", "--onnx", "h.onnx", "--caffemodel", "h.caffemodel",
        "--plot", "h.png", "--verify", "-o", "h.prototxt",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "h.onnx"))
    feeds = {i.name: np.ones(i.shape, np.float32) for i in session.get_inputs()}
    shapes = [out.shape for out in session.run(None, feeds)]
    assert shapes == [(1, 21, 80, 80)] * 3
