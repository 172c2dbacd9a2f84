"""What the shells complete, and that bash, zsh and fish take the scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from places import EXAMPLES

from protogen.cli import cli

NET, MODEL = str(EXAMPLES / "tiny.prototxt"), str(EXAMPLES / "squeeze_excite.onnx")


def completed(*words: str) -> list[str]:
    """Return what is completed for the last word."""
    *before, incomplete = words
    items = ShellComplete(cli, {}, "protogen", "_X").get_completions(list(before), incomplete)
    return [item.value for item in items]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["check", NET, "--target", "rk"], ["rknn1", "rknn2"]),
        (["rewrite", NET, "--target", "rk"], ["rknn1", "rknn2"]),
        (["convert", MODEL, "--target", "openv"], ["openvino"]),
        (["targets", "mn"], ["mnn"]),
        (["try", NET, "--with", "mnn,open"], ["mnn,opencv4", "mnn,openvino"]),
        (["summary", NET, "--dialect", "ss"], ["ssd"]),
        (["rule", "PG31"], ["PG310"]),
        (["rule", "crop-of"], ["crop-offset"]),
        (["check", "--select", "PG101,crop-of"], ["PG101,crop-offset"]),
        (["layers", "Convol"], ["Convolution", "Convolution3D", "ConvolutionDepthwise"]),
        (["activations", "Lea"], ["LeakyReLU"]),
        (["templates", "show", "upsample"], ["upsample"]),
        (["run", NET, "--blob", "po"], ["pool1"]),
        (["cut", NET, "--to-blob", "f"], ["fc"]),
        (["convert", NET, "--to-blob", "conv"], ["conv1", "conv2"]),
        (["convert", MODEL, "--to-blob", "da"], ["data"]),
        (["verify", NET, NET, "--pair", "fc=pr"], ["fc=prob"]),
        (["summary", NET, "--input-shape", "d"], ["data="]),
        (["run", NET, "--input", "d"], ["data=", "d"]),
        (["resize", "--like", "torch"], ["torch", "torch-align"]),
        (["sum"], ["summary"]),
    ],
)  # fmt: skip
def test_names_are_completed(words, expected):
    result = completed(*words)
    assert result[: len(expected)] == expected or set(expected) <= set(result)


def test_files_are_completed_by_the_shell():
    items = ShellComplete(cli, {}, "protogen", "_X").get_completions(["summary"], "exam")
    assert [(item.type, item.value) for item in items] == [("file", "exam")]


def test_a_file_that_is_no_net_completes_nothing(tmp_path):
    broken = tmp_path / "broken.prototxt"
    broken.write_text('layer { name: "x')
    assert completed("run", str(broken), "--blob", "") == []
    assert completed("run", str(EXAMPLES / "W.npy"), "--blob", "") == []


def environment(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "protogen"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m protogen "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


def script(tmp_path: Path, shell: str, env: dict[str, str]) -> Path:
    path = tmp_path / f"completion.{shell}"
    done = subprocess.run(
        ["protogen", "completion", shell], env=env, capture_output=True, check=True
    )
    path.write_bytes(done.stdout)
    return path


def test_bash_completes_a_target(tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    env = environment(tmp_path)
    text = f"""
        . {script(tmp_path, "bash", env)}
        COMP_WORDS=(protogen check net.prototxt --target rk); COMP_CWORD=4
        _protogen_completion protogen; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", text], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["rknn1", "rknn2"], done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_take_the_script(tmp_path, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    env = environment(tmp_path)
    path = script(tmp_path, shell, env)
    if shell == "fish":
        text = f"source {path}; complete -C 'protogen check net.prototxt --target rk'"
        done = subprocess.run(
            ["fish", "-c", text], env=env, capture_output=True, text=True, check=False
        )
        assert done.stdout.split() == ["rknn1", "rknn2"], done.stderr
        return
    text = f"autoload -U compinit; compinit -u -D; . {path}; print ok $_comps[protogen]"
    done = subprocess.run(
        ["zsh", "-f", "-c", text], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["ok", "_protogen_completion"], done.stderr
