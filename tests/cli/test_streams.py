"""Closed standard streams, streams that cannot be written, and unforeseen errors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
from places import EXAMPLES

NET = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }"""
COMMANDS = {
    "help": ["--help"],
    "text": ["upsample", "--factor", "2"],
    "table": ["summary", "{net}"],
    "json": ["summary", "{net}", "--json"],
    "csv": ["summary", "{net}", "--csv"],
    "file": ["convert", "{net}", "-o", "-"],
}
needs_shell = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


def shell(command, net, redirection: str, begin: str = "") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "protogen", *(word.format(net=net) for word in command)]
    text = begin + " ".join(f"'{word}'" for word in words) + " " + redirection
    return subprocess.run(
        ["sh", "-c", text], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


@needs_shell
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_closed_output_is_named(net, command):
    done = shell(command, net, ">&-")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("protogen: the standard output is closed.")


@needs_shell
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_output_that_cannot_be_written_is_named(net, command):
    done = shell(command, net, "> /dev/full")
    assert done.returncode == 2
    last = "protogen: a standard stream cannot be written (No space left on device)"
    assert done.stderr.splitlines()[-1] == last


@needs_shell
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_reader_that_stops_is_no_error(net, command):
    done = shell(command, net, "2>&1 | head -c 1")
    assert "Traceback" not in done.stdout + done.stderr
    assert "Broken" not in done.stdout + done.stderr


@needs_shell
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_reader_that_stops_at_once_leaves_exit_code_0(net, command):
    """Exit code 1 means a finding."""
    code = net.parent / "code"
    done = shell(command, net, f"; echo $? > '{code}'; }} | true", "{ ")
    assert (done.stdout, done.stderr) == ("", "")
    assert code.read_text() == "0\n"


@needs_shell
@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_external_data_needs_a_named_model(net, output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = shell(["convert", "{net}", "-o", output, "--external-data"], net, "")
    assert done.returncode == 2
    assert "is two files, and needs a name. Name it with -o." in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [net.name]


@needs_shell
@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&-"])
def test_result_without_other_streams(net, redirection):
    if "full" in redirection and not os.path.exists("/dev/full"):
        pytest.skip("the system has no /dev/full")
    done = shell(COMMANDS["table"], net, redirection)
    assert done.returncode == 0
    assert "relu" in done.stdout


@needs_shell
def test_files_are_written_without_any_stream(net, tmp_path):
    """A file does not get the number of a closed stream, into which a library may print."""
    target = tmp_path / "model.onnx"
    whole = tmp_path / "whole.onnx"
    for path, redirection in ((target, ">&- 2>&- <&-"), (whole, "")):
        assert shell(["convert", "{net}", "-o", str(path)], net, redirection).returncode == 0
    assert target.read_bytes() == whole.read_bytes()


def raising(statement: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in which a function of protogen executes a statement."""
    code = f"""
import sys
import protogen.net.net as module
def load(*_, **__):
    {statement}
module.load = load
sys.argv = ["protogen", "summary", *{list(words)!r}]
from protogen.cli import main
main()
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_unforeseen_error_is_one_sentence(net):
    done = raising("return {}['a\\x1b[31m name']", str(net))
    assert done.returncode == 70
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("protogen: unforeseen error: KeyError: ")
    assert "\x1b[" not in line
    assert "cli/summary.py:" in line
    assert "This is a fault of protogen. Please report it" in line


@pytest.mark.parametrize("place", [0, 1])
def test_traceback_only_on_request(net, place):
    words = [str(net)]
    words.insert(place, "--traceback")
    done = raising("raise ValueError('no')", *words)
    assert done.returncode == 70
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("protogen: unforeseen error: ValueError: no")


def test_memory_and_depth_have_numbers(net):
    done = raising("raise MemoryError", str(net))
    assert done.returncode == 3
    assert done.stderr.startswith("protogen: the memory is not enough")
    assert "GB" in done.stderr
    if sys.version_info[:3] == (3, 13, 0):  # loses the exception: SystemError
        return
    done = raising("load()", str(net))
    assert done.returncode == 3
    assert f"Python allows {sys.getrecursionlimit()} calls" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "x = 1\ny = 1 / 0\n",
            "plugin.py:2: the plugin raised ZeroDivisionError: division by zero.",
        ),
        (
            "import a_module_that_is_missing\n",
            "plugin.py:1: the plugin raised ModuleNotFoundError: ",
        ),
        (
            "import protogen as pg\n"
            "@pg.layer('Own', shapes=lambda layer, bottoms: list(bottoms))\n"
            "def own(layer, emit):\n"
            "    raise RuntimeError('no')\n",
            "plugin.py:4: the plugin raised RuntimeError: no.",
        ),
    ],
)
def test_exception_of_a_plugin_names_its_line(tmp_path, protogen, text, message):
    (tmp_path / "plugin.py").write_text(text)
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: [1, 3] } } }\n'
        'layer { name: "o" type: "Own" bottom: "d" top: "o" }\n'
    )
    done = protogen("convert", "net.prototxt", "-o", "net.onnx", "--plugin", "plugin.py")
    assert done.returncode == 2, done
    assert done.stderr.startswith(f"protogen: {message}")
    assert "--traceback" in done.stderr


@pytest.mark.parametrize("path", ["", "."])
def test_plugin_that_is_no_file(protogen, path):
    done = protogen("layers", "--plugin", path)
    assert done.returncode == 2
    assert "a plugin must be a Python file" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "net.prototxt", "-o", ""],
        ["upsample", "--factor", "2", "--caffemodel", ""],
        ["fmt", ""],
        ["rescue", "net.prototxt", "-o", "."],
        ["rescue", "", "-o", "a.prototxt"],
    ],
)
def test_empty_names_of_files_are_refused(tmp_path, protogen, words):
    """A variable of a shell that is not set; pathlib would read the present folder."""
    shutil.copy(EXAMPLES / "tiny.prototxt", tmp_path / "net.prototxt")
    done = protogen(*words)
    assert done.returncode == 2
    assert re.search("is empty. Give the name of a file|does not name a file", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["net.prototxt"]
