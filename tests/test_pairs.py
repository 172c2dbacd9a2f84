"""Two files that belong together: pair ids, and what a killed process or a full disk leaves of a pair."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from places import EXAMPLES

import protogen as pg
from protogen.formats import pairs
from protogen.formats.caffemodel import read_weights
from protogen.onnx.files import load_model

KILLS = 250  # of each command, at random moments
LIMITS = 60  # sizes at which the disk is full, for each command
ID = re.compile(rb"\b[0-9a-f]{16}\b")

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module", autouse=True)
def random_ids():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SOURCE_DATE_EPOCH", raising=False)
        yield


def net_of(seed: int) -> pg.Net:
    """A net with weights of this seed; both seeds have the same text."""
    net = pg.load(EXAMPLES / "small_fcn.prototxt")
    pg.initialise(net, seed)
    return net


@pytest.fixture(scope="module")
def sources(random_ids, tmp_path_factory) -> Path:
    """A folder with the files of two nets, which differ in their weights only: old and new."""
    folder = tmp_path_factory.mktemp("sources")
    for seed, name in enumerate(("old", "new")):
        net = net_of(seed)
        net.save(folder / f"{name}.prototxt", folder / f"{name}.caffemodel")
        pg.convert(
            folder / f"{name}.prototxt", folder / f"{name}.caffemodel", folder / f"{name}.onnx"
        )
    return folder


def to_caffe(source: Path, name: str, folder: Path) -> list[str]:
    return ["convert", str(source / f"{name}.onnx"), "-o", str(folder / "net.prototxt")]


def to_onnx(source: Path, name: str, folder: Path) -> list[str]:
    net = [str(source / f"{name}.{ending}") for ending in ("prototxt", "caffemodel")]
    return ["convert", *net, "-o", str(folder / "net.onnx"), "--external-data"]


def load_caffe(folder: Path) -> object:
    return pg.load(folder / "net.prototxt", folder / "net.caffemodel")


def load_onnx(folder: Path) -> object:
    return load_model(folder / "net.onnx")


BOTH = pytest.mark.parametrize(
    ("command", "load"), [(to_caffe, load_caffe), (to_onnx, load_onnx)], ids=["caffe", "onnx"]
)

# Runs a command in forks of a process with all modules loaded, so that most kills hit its work. A line
# says how to end it: {"after": seconds}, {"rename": number} or {"limit": bytes in a file}.
SERVER = """
import json, os, resource, signal, sys, time
import protogen.cli as command
import protogen.net.net, protogen.converting.caffe_to_onnx, protogen.converting.onnx_to_caffe
import protogen.onnx, numpy

def child(arguments, how, stderr):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(stderr, 2)
    if "limit" in how:
        resource.setrlimit(resource.RLIMIT_FSIZE, (how["limit"],) * 2)
    if "rename" in how:
        replace, calls = os.replace, []
        def counted(source, target):
            replace(source, target)
            calls.append(target)
            if len(calls) == how["rename"]:
                os.kill(os.getpid(), signal.SIGKILL)
        os.replace = counted
    sys.argv[1:] = arguments
    try:
        command.main()
    except SystemExit as end:
        os._exit(end.code or 0)
    os._exit(0)

for line in sys.stdin:
    arguments, how = json.loads(line)
    read, write = os.pipe()
    begin = time.perf_counter()
    process = os.fork()
    if not process:
        child(arguments, how, write)
    os.close(write)
    if "after" in how:
        time.sleep(how["after"])
        os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    seconds = time.perf_counter() - begin
    with open(read) as pipe:
        stderr = pipe.read()
    print(json.dumps([os.waitstatus_to_exitcode(status), seconds, stderr]), flush=True)
"""


class Server:
    """Runs commands in forks."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, arguments: list[str], **how: float) -> tuple[int, float, str]:
        """Return the exit code, negative for a signal, the seconds and what stderr got."""
        self.process.stdin.write(json.dumps([arguments, how]) + "\n")
        self.process.stdin.flush()
        code, seconds, stderr = json.loads(self.process.stdout.readline())
        return code, seconds, stderr


@pytest.fixture
def server():
    one = Server()
    yield one
    one.process.stdin.close()
    one.process.wait(60)
    one.process.stdout.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


def without_ids(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: ID.sub(b"-" * 16, raw) for name, raw in files.items()}


def restore(folder: Path, files: dict[str, bytes]) -> None:
    for path in folder.iterdir():
        path.unlink()
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


def state(folder: Path, old: dict[str, bytes], new: dict[str, bytes], load) -> str:
    """Return whether a pair is old or new, or refused because its files are of two pairs."""
    files = contents(folder)
    if files == old:
        return "old"
    if without_ids(files) == new:
        load(folder)
        return "new"
    assert set(files) == set(old)
    for name, raw in files.items():
        assert raw == old[name] or ID.sub(b"-" * 16, raw) == new[name], f"{name} is neither"
    with pytest.raises(pg.InputError, match="were not written together: their pair ids differ"):
        load(folder)
    return "refused"


@pytest.fixture
def prepared(sources, tmp_path, server):
    """A function that returns a folder with an old pair, the old and the new files (the new without their
    ids), and the command that writes the new pair."""

    def prepare(command) -> tuple[Path, dict[str, bytes], dict[str, bytes], list[str]]:
        folder = tmp_path / "pair"
        folder.mkdir()
        assert server.run(command(sources, "new", folder))[0] == 0
        new = without_ids(contents(folder))
        assert server.run(command(sources, "old", folder))[0] == 0
        old = contents(folder)
        assert len(old) == 2
        assert all(
            without_ids(old)[name] != new[name]
            for name in ("net.caffemodel", "net.onnx.data")
            if name in old
        )
        return folder, old, new, command(sources, "new", folder)

    return prepare


@posix
@BOTH
def test_killed_command_leaves_a_pair_or_says_that_it_is_none(prepared, server, command, load):
    folder, old, new, arguments = prepared(command)
    _, whole, _ = server.run(arguments)
    chance = random.Random(11)
    states, killed = [], 0
    for _ in range(KILLS):
        restore(folder, old)
        code, _, _ = server.run(arguments, after=chance.uniform(0, whole))
        killed += code == -signal.SIGKILL
        states.append(state(folder, old, new, load))
    assert killed > KILLS // 4
    assert states.count("old") > KILLS // 10, "most kills came after the end of the command"
    # The next command removes what is left.
    assert server.run(arguments)[0] == 0
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert state(folder, old, new, load) == "new"


@posix
@BOTH
@pytest.mark.parametrize("number", [1, 2])
def test_kill_between_two_renames_is_noticed(prepared, server, command, load, number):
    folder, old, new, arguments = prepared(command)
    assert server.run(arguments, rename=number)[0] == -signal.SIGKILL
    assert state(folder, old, new, load) == ("refused", "new")[number - 1]


@posix
@BOTH
def test_disk_that_is_full_at_any_byte_keeps_the_old_pair(prepared, server, command, load):
    """A limit of a file's size acts as a full disk, at a byte of our choice."""
    folder, old, new, arguments = prepared(command)
    chance = random.Random(12)
    largest = max(map(len, old.values()))
    sizes = sorted({*range(0, 64, 3), *(chance.randrange(largest + 2000) for _ in range(LIMITS))})
    seen = set()
    for size in sizes:
        code, _, stderr = server.run(arguments, limit=size)
        left = state(folder, old, new, load)
        assert (code, left) == ((2, "old") if size < largest else (0, "new")), size
        seen.add(left)
        assert left == "new" or re.fullmatch(
            f"protogen: {folder}/net.*: cannot be written \\(File too large\\). Choose another path.\n",
            stderr,
        )
        assert not [path for path in folder.iterdir() if path.name.startswith(".")], size
        restore(folder, old)
    assert seen == {"old", "new"}


@pytest.fixture
def mixed(sources, tmp_path) -> Path:
    """A prototxt and a caffemodel of two pairs, and a caffemodel without an id."""
    for path in sources.iterdir():
        shutil.copy(path, tmp_path)
    raw = (tmp_path / "old.caffemodel").read_bytes()
    (tmp_path / "plain.caffemodel").write_bytes(raw[: -len(pairs.as_field("0" * 16))])
    return tmp_path


def test_every_command_refuses_files_of_two_pairs(mixed, protogen):
    net, weights = mixed / "new.prototxt", mixed / "old.caffemodel"
    for arguments in (
        ["check", net, weights],
        ["check", "--target", "opencv4", net, weights],
        ["run", net, weights, "--random"],
        ["convert", net, weights, "-o", mixed / "x.onnx"],
        ["verify", net, weights, mixed / "new.onnx"],
        ["health", net, weights],
        ["rewrite", net, weights, "-o", mixed / "x.prototxt"],
        ["cut", net, weights, "--to-blob", "pool1", "-o", mixed / "x.prototxt"],
        ["report", net, weights, "-o", mixed / "x.html"],
        ["rescue", net, weights],
    ):  # fmt: skip
        done = protogen(*arguments)
        assert done.returncode == 2, (arguments, done)
        ids = re.findall(r"\b[0-9a-f]{16}\b", done.stderr)
        own, other = pairs.id_of_text(net.read_text()), read_weights(weights).pair
        assert ids[:2] == [own, other], arguments
        assert f"new.prototxt:{len(net.read_text().splitlines())}:1: " in done.stderr, arguments
        assert "remove this line" in done.stderr
        assert not list(mixed.glob("x.*")), arguments
    # What the message advises, and files without an id.
    text = net.read_text().splitlines(keepends=True)
    assert pairs.id_of_text(text[-1])
    net.write_text("".join(text[:-1]))
    assert protogen("check", net, weights).returncode == 0
    for text_file, binary in (
        ("old.prototxt", "plain.caffemodel"),
        ("new.prototxt", "plain.caffemodel"),
    ):
        assert protogen("check", mixed / text_file, mixed / binary).returncode == 0


def test_external_data_of_another_model_is_refused(sources, tmp_path, protogen):
    for name in ("old", "new"):
        arguments = to_onnx(sources, name, tmp_path)
        assert protogen(*arguments).returncode == 0
        (tmp_path / "net.onnx").rename(tmp_path / f"{name}.onnx")
        (tmp_path / "net.onnx.data").rename(tmp_path / f"{name}.data")
    (tmp_path / "old.data").rename(tmp_path / "net.onnx.data")
    for arguments in (
        ["verify", sources / "new.prototxt", sources / "new.caffemodel", tmp_path / "new.onnx"],
        ["convert", tmp_path / "new.onnx", "-o", tmp_path / "x.prototxt"],
    ):
        done = protogen(*arguments)
        assert done.returncode == 2
        assert "net.onnx.data were not written together" in done.stderr
        assert not (tmp_path / "x.prototxt").exists()
    number = int(re.search(r"--size=-(\d+)", done.stderr)[1])
    data = tmp_path / "net.onnx.data"
    os.truncate(data, data.stat().st_size - number)
    assert protogen(*arguments).returncode == 0
    # Other programs read the model as before.
    onnx.checker.check_model(str(tmp_path / "new.onnx"))
    (tmp_path / "new.data").rename(data)
    values = [
        numpy_helper.to_array(one) for one in onnx.load(tmp_path / "new.onnx").graph.initializer
    ]
    weights = pg.load(sources / "new.prototxt", sources / "new.caffemodel").weights["conv2"][0]
    assert any(value.shape == weights.shape and (value == weights).all() for value in values)


def test_ids_of_commands_that_write_one_file(sources, tmp_path, protogen):
    """The weights of one net: ``init`` and ``weights`` write other values for the same text, ``upgrade``
    another form."""
    net, weights = sources / "new.prototxt", sources / "new.caffemodel"
    own = read_weights(weights).pair
    assert own == pairs.id_of_text(net.read_text())
    out = tmp_path / "out.caffemodel"
    protogen("init", net, "-o", out)
    assert read_weights(out).pair == own
    protogen("upgrade", weights, "-o", out, "--to", "v1")
    assert read_weights(out).pair == own
    protogen("weights", weights, "--to-npz", tmp_path / "w.npz")
    protogen("weights", weights, "--from-npz", tmp_path / "w.npz", "-o", out)
    assert read_weights(out).pair == own
    shutil.copy(net, tmp_path / "n.prototxt")
    protogen("fmt", tmp_path / "n.prototxt")
    assert pairs.id_of_text((tmp_path / "n.prototxt").read_text()) == own
    # Two files of one command are a new pair.
    protogen("init", net, "-o", out, "--write-net", tmp_path / "w.prototxt")
    pair = read_weights(out).pair
    assert pair == pairs.id_of_text((tmp_path / "w.prototxt").read_text())
    assert pair not in ("", own)


def test_inserted_layers_leave_the_id_of_the_net(sources, tmp_path, protogen):
    """The caffemodel of ``--into`` has only the new layers."""
    net = tmp_path / "net.prototxt"
    shutil.copy(sources / "new.prototxt", net)
    own = pairs.id_of_text(net.read_text())
    up = tmp_path / "up.caffemodel"
    done = protogen(
        "upsample",
        "--factor",
        "2",
        "--into",
        net,
        "--after",
        "score",
        "-o",
        net,
        "--caffemodel",
        up,
    )
    assert done.returncode == 0, done.stderr
    assert pairs.id_of_text(net.read_text()) == own
    assert read_weights(up).pair == ""


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("complete", [True, False])
def test_text_has_one_id_in_its_last_line(end, complete):
    text = end.join(
        [b"name: 'a'", b"# pair: 0123456789abcdef (x)", b"# \xff", b"force_backward: true"]
    )
    if complete:
        text += end
    marked = pairs.with_id(text, "f" * 16)
    lines = marked.split(end)
    assert lines[:3] == [b"name: 'a'", b"# \xff", b"force_backward: true"]
    assert lines[3].startswith(b"# pair: ffffffffffffffff (")
    assert lines[4:] == [b""]
    assert pairs.id_of_text(marked.decode("utf-8", "replace")) == "f" * 16
    assert pairs.with_id(marked, "e" * 16) == marked.replace(b"f" * 16, b"e" * 16)


@pytest.mark.parametrize(
    "text", ["", "# pair: 0123", "x # pair: 0123456789abcdef", "# pair: 0123456789abcdef0"]
)
def test_other_lines_are_no_ids(text):
    assert pairs.id_of_text(text) == ""


def test_field_of_another_program_is_no_id(sources, tmp_path):
    raw = (sources / "new.caffemodel").read_bytes()
    path = tmp_path / "a.caffemodel"
    for value in ("", "0123", "g" * 16, "0" * 17, "0" * 4000):
        path.write_bytes(raw[: -len(pairs.as_field("0" * 16))] + pairs.as_field(value))
        assert read_weights(path).pair == ""


def test_ids_are_random_or_of_the_text(monkeypatch):
    assert len({pairs.new_id(b"a") for _ in range(100)}) == 100
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert pairs.new_id(b"a") == pairs.new_id(b"a") != pairs.new_id(b"b")


def test_id_does_not_change_the_net(sources, tmp_path):
    """The shapes and the values are those of the same files without ids."""
    net = pg.load(sources / "new.prototxt", sources / "new.caffemodel")
    expected = net_of(1).weights
    assert net.weights.keys() == expected.keys()
    for name, blobs in net.weights.items():
        assert all(np.array_equal(a, b) for a, b in zip(blobs, expected[name], strict=True))
