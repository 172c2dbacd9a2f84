"""Files are recognised by their content, and a file of another kind gets one sentence."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import CORPUS, EXAMPLES, ROOT

from protogen.errors import InputError
from protogen.formats import contents, files
from protogen.formats.arrayfiles import read_arrays
from protogen.formats.caffemodel import blob_bytes, read_weights
from protogen.formats.prototxt import read
from protogen.formats.weightfiles import read_any
from protogen.onnx import load_model


@pytest.fixture
def samples(tmp_path: Path) -> dict[str, Path]:
    """Write a file of each kind, all without an ending."""

    def put(kind: str, data: bytes) -> None:
        (tmp_path / kind).write_bytes(data)

    net = (EXAMPLES / "tiny.prototxt").read_bytes()
    put("net", net)
    put("solver", b'# a comment\nnet: "train_val.prototxt"\nbase_lr: 0.01\nlr_policy: "step"\n')
    put("caffemodel", (EXAMPLES / "tiny.caffemodel").read_bytes())
    put("onnx", (EXAMPLES / "squeeze_excite.onnx").read_bytes())
    mean = np.ones((3, 2, 2), np.float32)
    head, values = blob_bytes(mean)
    put("mean", head + bytes(values))
    np.save(tmp_path / "npy", mean)
    (tmp_path / "npy.npy").rename(tmp_path / "npy")
    np.savez(tmp_path / "npz", a=mean)
    (tmp_path / "npz.npz").rename(tmp_path / "npz")
    shutil.copy(ROOT / "docs/pictures/up4.png", tmp_path / "png")
    put("jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF\0")
    put("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(20))
    put("gzip", gzip.compress(net))
    put("torch", pickle.dumps({"weight": [1.0]}, protocol=2))
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("net.prototxt", net)
    put("tflite", b"\x1c\0\0\0TFL3\x14\0\x20\0")
    put("safetensors", (9).to_bytes(8, "little") + b'{"a":{}} ')
    put("utf-16", net.decode().encode("utf-16"))
    put("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    put("web page", b"\n<!DOCTYPE html>\n<html></html>\n")
    put("text", b"a\nb\n")
    put("json", b'{"layers": []}\n')
    put("empty", b"")
    # A solverstate: iter, learned_net, history. A TensorFlow graph: repeated nodes.
    put("solverstate", b"\x08\x90N\x12\x05a.net\x1a\x02\x08\x01")
    put("tensorflow", b"\n\x06\n\x01a\x12\x01A\n\x06\n\x01b\x12\x01B")
    return {path.name: path for path in tmp_path.iterdir()}


def test_each_kind_is_recognised_by_its_content(samples):
    assert {name: contents.kind_of(path) for name, path in samples.items()} == {
        name: name for name in samples
    }
    assert set(samples) == set(contents.KINDS)


READERS = {"net": read, "weights": read_any, "model": load_model, "arrays": read_arrays}


@pytest.mark.parametrize("wanted", READERS)
def test_every_reader_names_the_kind_of_a_wrong_file(samples, wanted):
    name, kinds = contents.WANTED[wanted]
    for kind, path in samples.items():
        if kind in kinds:
            continue
        with pytest.raises(InputError) as caught:
            READERS[wanted](path)
        diagnostic = caught.value.diagnostic
        assert str(diagnostic.where) == str(path)
        if kind in ("empty", "lfs"):
            assert diagnostic.problem == f"the file is {contents.KINDS[kind]}"
        else:
            assert diagnostic.problem == f"the file is {contents.KINDS[kind]}, expected {name}"
        assert "\n" not in str(caught.value)


def test_a_solver_where_a_net_is_wanted_names_its_net(samples):
    with pytest.raises(InputError, match=r"Its net is train_val\.prototxt: name that file\."):
        read(samples["solver"])


def test_a_renamed_caffemodel_is_read(samples):
    assert (
        read_weights(samples["caffemodel"]).weights().keys()
        == read_any(samples["caffemodel"]).keys()
    )


def test_published_files_are_recognised(shared):
    kinds = {path: contents.kind_of(path) for path in CORPUS.rglob("*.prototxt")}
    assert len(kinds) > 200
    wrong = {str(path): kind for path, kind in kinds.items() if kind not in ("net", "solver", "")}
    assert wrong == {}
    unknown = [path for path, kind in kinds.items() if not kind]
    assert len(unknown) <= len(kinds) // 50


def test_models_of_all_producers_are_recognised():
    models = [*(ROOT / "tests").rglob("*.onnx"), *EXAMPLES.glob("*.onnx")]
    assert len(models) > 3
    assert {contents.kind_of(path) for path in models} == {"onnx"}


@settings(max_examples=200)
@given(st.binary(max_size=80))
def test_any_bytes_get_a_kind_or_none(data):
    folder = Path(os.environ.get("PYTEST_DEBUG_TEMPROOT", "/tmp"))
    path = folder / f"protogen.contents.{os.getpid()}"
    path.write_bytes(data)
    try:
        assert contents.kind_of(path) in {"", *contents.KINDS}
    finally:
        path.unlink()


def test_a_pipe_can_be_read_several_times(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = (EXAMPLES / "tiny.prototxt").read_bytes()
    writer = threading.Thread(target=pipe.write_bytes, args=(text,))
    writer.start()
    assert contents.kind_of(pipe) == "net"
    assert len(read(pipe).layer) == len(read(EXAMPLES / "tiny.prototxt").layer)
    writer.join()


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/urandom"])
def test_a_device_is_refused(device):
    for reader in READERS.values():
        with pytest.raises(InputError, match="is a device, not a file"):
            reader(device)


def test_a_pipe_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_STREAMED", 1 << 20)
    pipe = tmp_path / "endless"
    os.mkfifo(pipe)
    code = f"with open({str(pipe)!r}, 'wb') as f:\n    while True: f.write(bytes(65536))"
    writer = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    with pytest.raises(InputError, match="has more than 1048576 bytes"):
        read(pipe)
    writer.wait(20)


def test_models_without_a_version_pass_to_their_reader(tmp_path):
    model = onnx.load(EXAMPLES / "squeeze_excite.onnx")
    model.ClearField("ir_version")
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert contents.kind_of(path) in ("", "onnx")
