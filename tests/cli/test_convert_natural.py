"""``convert`` with files in any order, without -o, with many nets, and with streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import EXAMPLES

NET, WEIGHTS, MODEL = "tiny.prototxt", "tiny.caffemodel", "squeeze_excite.onnx"


@pytest.fixture(autouse=True)
def examples(tmp_path: Path) -> None:
    for name in (NET, WEIGHTS, MODEL):
        (tmp_path / name).write_bytes((EXAMPLES / name).read_bytes())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {NET, WEIGHTS, MODEL}


@pytest.mark.parametrize("files", [[NET, WEIGHTS], [WEIGHTS, NET]])
def test_files_are_taken_in_any_order_and_the_result_has_the_name_of_the_net(
    protogen, tmp_path, files
):
    done = protogen("convert", *files, "--verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "wrote tiny.onnx"
    assert names(tmp_path) == {"tiny.onnx"}


def test_files_are_recognised_without_endings(protogen, tmp_path):
    (tmp_path / NET).rename(tmp_path / "a")
    (tmp_path / WEIGHTS).rename(tmp_path / "b")
    (tmp_path / MODEL).rename(tmp_path / "c")
    assert protogen("convert", "b", "a", "-o", "ab.onnx").returncode == 0
    assert protogen("convert", "c", "-o", "c.prototxt").returncode == 0
    assert (tmp_path / "c.caffemodel").exists()


def test_the_weights_are_written_beside_the_prototxt(protogen, tmp_path):
    done = protogen("convert", MODEL, "-o", "n.prototxt", "--verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["wrote n.prototxt", "wrote n.caffemodel"]
    again = protogen("convert", MODEL, "-o", "n.prototxt")
    assert again.returncode == 0, again.stderr  # a pair that -o names is replaced as a whole


def test_weights_of_another_net_are_not_replaced(protogen, tmp_path):
    done = protogen("convert", MODEL, "-o", "tiny.prototxt.new")
    assert done.returncode == 0, done.stderr
    (tmp_path / NET).unlink()
    before = (tmp_path / WEIGHTS).read_bytes()
    done = protogen("convert", MODEL, "-o", NET)
    assert done.returncode == 2
    assert done.stderr == (
        "protogen: tiny.caffemodel: the file exists, and does not belong to tiny.prototxt. Name the "
        "file for the weights: --caffemodel FILE.caffemodel.\n"
    )
    assert (tmp_path / WEIGHTS).read_bytes() == before
    assert not (tmp_path / NET).exists()


def test_a_file_that_was_not_named_is_not_replaced(protogen, tmp_path):
    assert protogen("convert", NET, WEIGHTS).returncode == 0
    net = (tmp_path / NET).read_bytes()
    done = protogen("convert", "tiny.onnx")  # would replace the original net
    assert done.returncode == 2
    assert done.stderr == (
        "protogen: tiny.prototxt: the file exists. Name the output with -o, or replace the file with "
        "--overwrite.\n"
    )
    assert (tmp_path / NET).read_bytes() == net
    assert protogen("convert", NET, WEIGHTS, "--overwrite").returncode == 0


def test_an_output_folder_gets_the_name_of_the_input(protogen, tmp_path):
    (tmp_path / "out").mkdir()
    assert protogen("convert", MODEL, "-o", "out").returncode == 0
    assert names(tmp_path / "out") == {"squeeze_excite.prototxt", "squeeze_excite.caffemodel"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([NET, WEIGHTS, "-o", "n.prototxt"],
         "n.prototxt: --output writes an ONNX model, but the ending .prototxt is for prototxt. Use the "
         "ending .onnx."),
        ([MODEL, "-o", "n.caffemodel"],
         "n.caffemodel: --output writes prototxt, but the ending .caffemodel is for a caffemodel. Use "
         "the ending .prototxt."),
        ([MODEL, "-o", "n.png"],
         "n.png: --output writes prototxt, but the ending .png is for PNG. Use the ending .prototxt."),
        ([NET, WEIGHTS, "n.onnx"],
         "n.onnx: cannot be read (No such file or directory). To write a file of this name: -o n.onnx."),
        ([MODEL, WEIGHTS, "-o", "n.prototxt"],
         "tiny.caffemodel: an ONNX model needs no second file. To write the weights there, use "
         "--caffemodel tiny.caffemodel."),
        ([WEIGHTS], "tiny.caffemodel: the net of these weights is not among the files. Name a net and "
         "its weights, or give both the same name."),
        (["w.txt", MODEL], "w.txt: the file is text, expected a net (prototxt), a caffemodel or an ONNX model."),
        (["empty"], "empty: the folder has no net. It must hold .onnx files, or .prototxt files with "
         "their .caffemodel."),
        ([MODEL, NET, WEIGHTS, "-o", "n.onnx"], "n.onnx: -o must name a folder for 2 nets."),
        ([MODEL, NET, WEIGHTS, "-o", "-"], "<stdout>: 2 nets cannot be written to one file. Name a "
         "folder with -o."),
        ([MODEL, NET, WEIGHTS, "--caffemodel", "w.caffemodel"], "--caffemodel applies to one net, but 2 "
         "nets would be converted. Convert that net by itself."),
        ([MODEL, "--jobs", "2"], "squeeze_excite.onnx: --jobs applies to several nets."),
        (["-", "-"], "FILE|DIR... and FILE|DIR... both read the standard input. Write one of them to a "
         "file first."),
        ([MODEL, "-o", "-", "--caffemodel", "-"], "--output and --caffemodel both write to the standard "
         "output. Write one of them to a file."),
        ([NET, WEIGHTS, "-o", "-", "--json"], "--output and --json both write to the standard output. "
         "Write one of them to a file."),
    ],
)  # fmt: skip
def test_mistakes_get_one_sentence_and_no_file(protogen, tmp_path, arguments, sentence):
    (tmp_path / "empty").mkdir()
    (tmp_path / "w.txt").write_text("hello\n")
    before = set(tmp_path.rglob("*"))
    done = protogen("convert", *arguments)
    assert (done.returncode, done.stderr) == (2, f"protogen: {sentence}\n")
    assert set(tmp_path.rglob("*")) == before


def zoo(folder: Path) -> Path:
    """Write a folder of nets as people keep them: one folder a net, with training files."""
    tiny, model = (EXAMPLES / NET).read_bytes(), (EXAMPLES / MODEL).read_bytes()
    weights = (EXAMPLES / WEIGHTS).read_bytes()
    files = {
        "a/deploy.prototxt": tiny, "a/train_val.prototxt": tiny, "a/solver.prototxt": b'net: "x"\nbase_lr: 1\n',
        "a/snapshot_iter_10.caffemodel": weights,
        "b/net.prototxt": tiny, "b/net.caffemodel": weights,
        "c/model.onnx": model,
        "c/broken.onnx": model[: len(model) // 2],
        "d/one.prototxt": tiny, "d/two.prototxt": tiny, "d/weights.caffemodel": weights,
        "e/readme.txt": b"no net\n",
    }  # fmt: skip
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_is_converted_and_failures_are_listed(protogen, tmp_path, jobs):
    zoo(tmp_path / "zoo")
    done = protogen("convert", "zoo", "-o", "out", "--jobs", jobs, "--verify")
    assert done.returncode == 1
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert written == {"a/deploy.onnx", "b/net.onnx", "c/model.prototxt", "c/model.caffemodel"}
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(" zoo")]
    assert [(row[0], row[1]) for row in rows] == [
        ("zoo/a/deploy.prototxt", "out/a/deploy.onnx"),
        ("zoo/b/net.prototxt", "out/b/net.onnx"),
        ("zoo/c/broken.onnx", "failed"),
        ("zoo/c/model.onnx", "out/c/model.prototxt"),
        ("zoo/d/weights.caffemodel", "failed"),
    ]
    assert "\nzoo/c/broken.onnx: out" not in done.stdout
    assert "\nzoo/c/broken.onnx:byte" in done.stdout
    assert (
        "zoo/d/weights.caffemodel: 2 nets could belong to it. Convert it by itself." in done.stdout
    )
    assert done.stdout.splitlines()[-1] == "5 nets: 3 converted, 2 failed"


def test_many_files_are_paired_by_name(protogen, tmp_path):
    (tmp_path / "b.prototxt").write_bytes((tmp_path / NET).read_bytes())
    (tmp_path / "b.caffemodel").write_bytes((tmp_path / WEIGHTS).read_bytes())
    done = protogen("convert", "b.caffemodel", NET, "b.prototxt", MODEL, WEIGHTS, "--json")
    assert done.returncode == 0, done.stderr
    nets = json.loads(done.stdout)["nets"]
    assert [one["written"] for one in nets] == [
        ["tiny.onnx"], ["b.onnx"], ["squeeze_excite.prototxt", "squeeze_excite.caffemodel"],
    ]  # fmt: skip
    done = protogen("convert", "b.caffemodel", NET, "b.prototxt", MODEL, WEIGHTS)
    assert done.returncode == 1
    assert done.stdout.count("the file exists. --overwrite replaces existing files.") == 3


def test_results_of_an_earlier_run_are_not_converted_again(protogen, tmp_path):
    assert protogen("convert", ".", "-o", "out").returncode == 0
    done = protogen("convert", ".", "-o", "out", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 nets: 2 converted, 0 failed"
    assert not (tmp_path / "out" / "out").exists()


def test_no_result_overwrites_a_source_or_another_result(protogen, tmp_path):
    (tmp_path / "squeeze_excite.prototxt").write_bytes((tmp_path / NET).read_bytes())
    (tmp_path / "squeeze_excite.caffemodel").write_bytes((tmp_path / WEIGHTS).read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = protogen("convert", ".", "--overwrite")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "3 nets: 1 converted, 2 failed"
    assert "its result squeeze_excite.onnx would overwrite a source" in done.stdout
    assert {path: path.read_bytes() for path in before} == before


def piped(
    tmp_path: Path, *arguments: str, data: bytes = b"", stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "protogen", *arguments],
        input=data,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        check=False,
    )


def test_a_model_goes_through_pipes(tmp_path):
    model = (tmp_path / MODEL).read_bytes()
    done = piped(tmp_path, "convert", "-", "-o", "-", "--caffemodel", "w.caffemodel", data=model)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"# From") or done.stdout.startswith(b"name:")
    back = piped(tmp_path, "convert", "-", "w.caffemodel", "-o", "-", data=done.stdout)
    assert back.returncode == 0, back.stderr
    (tmp_path / "back.onnx").write_bytes(back.stdout)
    same = piped(tmp_path, "verify", MODEL, "back.onnx")
    assert same.returncode == 0, same.stderr


def test_every_command_that_reads_one_file_reads_the_standard_input(tmp_path):
    net = (tmp_path / NET).read_bytes()
    for command in (
        ("summary", "-"), ("check", "-"), ("fmt", "--check", "-"), ("weights", "-"), ("dialects", "-"),
        ("run", "-", WEIGHTS, "--random"),
    ):  # fmt: skip
        data = (tmp_path / WEIGHTS).read_bytes() if command[0] == "weights" else net
        done = piped(tmp_path, *command, data=data)
        assert done.returncode == 0, (command, done.stderr)


def test_files_are_recognised_in_the_standard_input(protogen, tmp_path):
    assert protogen("convert", NET, WEIGHTS, "-o", "t.onnx").returncode == 0
    net, weights, model = ((tmp_path / name).read_bytes() for name in (NET, WEIGHTS, "t.onnx"))
    for command, data in (
        (("cut", "-", "--to-blob", "conv1", "-o", "c.onnx"), model),
        (("cut", "-", WEIGHTS, "--to-blob", "conv1", "-o", "c.prototxt"), net),
        (("verify", NET, WEIGHTS, "-"), model),
        (("upgrade", "-", "-o", "u.caffemodel"), weights),
        (("rescue", "-", WEIGHTS, "-o", "r.prototxt"), net),
        (("convert", NET, "-", "-o", "v.onnx", "--verify"), weights),
    ):  # fmt: skip
        done = piped(tmp_path, *command, data=data)
        assert done.returncode == 0, (command, done.stderr)


def test_findings_in_the_standard_input_have_its_name(tmp_path):
    done = piped(tmp_path, "check", "-", data=(EXAMPLES / "flawed.prototxt").read_bytes())
    assert done.returncode == 1
    assert b"<stdin>:" in done.stdout


def test_a_file_is_not_written_to_a_terminal(tmp_path):
    master, terminal = os.openpty()
    try:
        done = piped(tmp_path, "convert", NET, WEIGHTS, "-o", "-", stdout=terminal)
    finally:
        os.close(master)
        os.close(terminal)
    assert done.returncode == 2
    assert done.stderr == (
        b"protogen: --output would write a file to a terminal. Redirect it: > FILE.\n"
    )
