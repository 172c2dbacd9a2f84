"""Files that replace others: all of one result or none, what killed processes leave, what a new file gets."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time

import pytest

import protogen as pg
from protogen.formats import files, replacement

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Each test is a process of its own: it looks for files of dead ones again."""
    monkeypatch.setattr(replacement, "_cleaned", set())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_pair(folder, text: bytes, fail: bool = False) -> None:
    with files.replacing(folder / "a") as one:
        one.write(text)
        with files.replacing(folder / "b") as other:
            other.write(text)
        if fail:
            raise pg.InputError("no")


def test_files_of_one_result_appear_together(tmp_path):
    write_pair(tmp_path, b"old")
    with files.replacing(tmp_path / "a") as one:
        one.write(b"new")
        with files.replacing(tmp_path / "b") as other:
            other.write(b"new")
        assert (tmp_path / "b").read_bytes() == b"old"
    assert contents(tmp_path) == {"a": b"new", "b": b"new"}


def test_an_error_after_the_inner_file_keeps_both(tmp_path):
    write_pair(tmp_path, b"old")
    with pytest.raises(pg.InputError):
        write_pair(tmp_path, b"new", fail=True)
    assert contents(tmp_path) == {"a": b"old", "b": b"old"}


def failing_part(folder) -> None:
    with files.replacing(folder / "b"):
        with files.replacing(folder / "c") as inner:
            inner.write(b"new")
        raise pg.InputError("no")


def test_a_failed_part_leaves_the_rest(tmp_path):
    """A result whose inner part failed, which the outer part handles, is only the outer part."""
    with files.replacing(tmp_path / "a") as one:
        one.write(b"new")
        with pytest.raises(pg.InputError):
            failing_part(tmp_path)
    assert contents(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("links", [True, False])
def test_failed_rename_puts_the_others_back(tmp_path, monkeypatch, old, links):
    if old:
        write_pair(tmp_path, b"old")
    replace, calls = os.replace, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source, None, target)
        replace(source, target)

    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "replace", failing)
    if not links:
        monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(pg.InputError, match=r"cannot be written \(No space left on device\)"):
        write_pair(tmp_path, b"new")
    if old and not links:  # nothing is left to put back
        assert contents(tmp_path) == {"a": b"old", "b": b"new"}
    else:
        assert contents(tmp_path) == ({"a": b"old", "b": b"old"} if old else {})


@posix
def test_files_of_dead_processes_are_removed(tmp_path):
    import fcntl

    dead = [tmp_path / f".net.caffemodel.12.0123abcd{ending}" for ending in (".part", ".old")]
    others = [
        tmp_path / name for name in (".net.part", ".net.12.0123abcX.part", "net.12.0123abcd.part")
    ]
    alive = tmp_path / ".other.1.89abcdef.part"
    for path in (*dead, *others, alive):
        path.write_bytes(b"x")
    with open(alive, "rb") as writer:
        fcntl.flock(writer.fileno(), fcntl.LOCK_EX)
        with files.replacing(tmp_path / "a") as file:
            file.write(b"new")
    assert set(contents(tmp_path)) == {"a", alive.name, *(path.name for path in others)}


@posix
def test_unfinished_files_of_living_processes_stay(tmp_path):
    """Also files that are complete and wait for the others of their result."""
    code = (
        "import sys, time\n"
        "from protogen.formats import files\n"
        "with files.replacing(sys.argv[1] + '/a') as one:\n"
        "    with files.replacing(sys.argv[1] + '/b') as other:\n"
        "        other.write(b'theirs')\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
        "    one.write(b'theirs')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        with files.replacing(tmp_path / "c") as file:
            file.write(b"ours")
        process.stdin.close()
        assert process.wait() == 0
    assert contents(tmp_path) == {"a": b"theirs", "b": b"theirs", "c": b"ours"}


@posix
def test_writers_do_not_remove_new_files_of_each_other(tmp_path):
    """Each looks for files of dead processes before each file; a file that is not yet locked looks so."""
    code = (
        "import sys\n"
        "from protogen.formats import files, replacement\n"
        "for number in range(1500):\n"
        "    replacement._cleaned.clear()\n"
        "    with files.replacing(sys.argv[1] + '/a') as file:\n"
        "        file.write(b'a' * 100)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(300) for process in running] == [0] * 4
    assert contents(tmp_path) == {"a": b"a" * 100}


@posix
def test_files_that_other_programs_have_locked_are_replaced(tmp_path):
    import fcntl

    write_pair(tmp_path, b"old")
    with open(tmp_path / "a", "rb") as a, open(tmp_path / "b", "rb") as b:
        fcntl.flock(a.fileno(), fcntl.LOCK_EX)
        fcntl.flock(b.fileno(), fcntl.LOCK_EX)
        write_pair(tmp_path, b"new")
    assert contents(tmp_path) == {"a": b"new", "b": b"new"}


@posix
def test_killed_writers_leave_whole_files_and_are_cleaned_up(tmp_path):
    code = (
        "import sys\n"
        "from protogen.formats import files\n"
        "for number in range(10**6):\n"
        "    text = b'%08d' % number * 5000\n"
        "    with files.replacing(sys.argv[1] + '/a') as one:\n"
        "        one.write(text)\n"
        "        with files.replacing(sys.argv[1] + '/b') as other:\n"
        "            other.write(text)\n"
    )
    for count in range(20):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
        time.sleep(0.15 + 0.003 * count)
        process.kill()
        process.wait()
        for path in (tmp_path / "a", tmp_path / "b"):
            if path.exists():
                text = path.read_bytes()
                assert text == text[:8] * 5000
    write_pair(tmp_path, b"new")
    assert contents(tmp_path) == {"a": b"new", "b": b"new"}


@posix
def test_mode_and_attributes_are_handed_on(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    os.utime(path, (1e9, 1e9))
    attributes = hasattr(os, "setxattr")
    if attributes:
        try:
            os.setxattr(path, "user.origin", b"a camera")
        except OSError:
            attributes = False
    before = os.stat(path)
    with files.replacing(path) as file:
        file.write(b"new")
    after = os.stat(path)
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert after.st_mtime > before.st_mtime + 1e6
    if attributes:
        assert os.getxattr(path, "user.origin") == b"a camera"


@posix
def test_external_data_is_beside_the_real_file(tmp_path):
    real, links = tmp_path / "real", tmp_path / "links"
    real.mkdir()
    links.mkdir()
    (links / "m.onnx").symlink_to(real / "model.onnx")
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }\n'
        'layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 64 '
        'kernel_size: 3 weight_filler { type: "xavier" } } }'
    )
    loaded = pg.load(prototxt)
    pg.initialise(loaded)
    loaded.save(prototxt, tmp_path / "net.caffemodel")
    pg.convert(prototxt, tmp_path / "net.caffemodel", links / "m.onnx", external_data=True)
    assert {path.name for path in real.iterdir()} == {"model.onnx", "model.onnx.data"}
    assert [path.name for path in links.iterdir()] == ["m.onnx"]
    assert (links / "m.onnx").is_symlink()
    assert pg.verify(loaded, real / "model.onnx").proved
