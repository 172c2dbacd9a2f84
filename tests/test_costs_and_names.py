"""Costs are bounded for a whole input, not for each of its parts; names are escaped wherever they leave."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from places import EXAMPLES

import protogen as pg
from protogen.errors import printable


@pytest.mark.parametrize("count", [1, 3, 40])
def test_bytes_of_all_datasets_are_counted(tmp_path, count):
    """A dataset that was never written takes no space in the file, but reads as zeros."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "net.caffemodel.h5"
    with h5py.File(path, "w") as store:
        for layer in range(count):
            group = store.create_group(f"data/l{layer}")
            group.create_dataset("0", (128 << 20 if count == 1 else 6 << 20,), np.float32)
    if count == 3:  # 72 MiB in a file of less than 10 kB
        assert path.stat().st_size < 10_000
    net = tmp_path / "net.prototxt"
    net.write_text('layer { name: "l0" type: "Input" top: "x" input_param { shape { dim: 1 } } }')
    with pytest.raises(pg.InputError, match=r"take more than 67108864 bytes, the limit for a file"):
        pg.load(net, path)


def test_blob_without_a_name_is_refused_for_onnx(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 4] } } }\n'
        'layer { name: "" type: "ReLU" bottom: "data" top: "" }\n'
        'layer { name: "b" type: "ReLU" bottom: "" top: "b" }'
    )
    with pytest.raises(pg.InputError, match=r"net.prototxt:2:1: .*a blob without a name"):
        pg.to_onnx(pg.load(path))


def test_names_of_a_specification_are_escaped(tmp_path, protogen):
    spec = tmp_path / "spec.toml"
    spec.write_text(
        '[inputs]\n"a\\u001b[2J" = [1, 3, 4, 4]\n[[upsample]]\nname = "u\\u001b]0;P\\u0007"\n'
        'bottom = "a\\u001b[2J"\nfactor = "2x4"\nchannels = 3\n'
    )
    done = protogen("upsample", "--spec", spec, "--verify")
    assert done.returncode == 0
    for line in (done.stdout + done.stderr).split("\n"):
        assert printable(line) == line
    assert r"weights of u\x1b]0;P\x07" in done.stderr


def test_images_of_an_absurd_size_are_refused(tmp_path, protogen):
    pytest.importorskip("PIL")
    done = protogen(
        "mean", "compute", EXAMPLES / "pictures" / "0.png", "--size", "1e9", "-o", "m.npy"
    )
    assert done.returncode in (2, 3)
    assert done.stderr.startswith("protogen: ")
    assert "unforeseen" not in done.stderr


def test_target_with_a_path_does_not_name_the_output(tmp_path, protogen):
    net = tmp_path / "net.prototxt"
    net.write_text('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }')
    done = protogen("rescue", net, "--target", tmp_path / "other.png")
    assert done.returncode == 2
    assert done.stderr.startswith("protogen: ")


@pytest.mark.parametrize(
    "words",
    [
        ("health", "{net}", "--compare-init", ","),
        ("mean", "compute", "{net}", "--size", "nan"),
        ("mean", "compute", "{net}", "--size", "inf"),
        ("preprocess", "{net}", "--caffemodel", "{net}", "--std", "nan", "-o", "o.prototxt"),
    ],
)
def test_lists_without_usable_values(tmp_path, protogen, words):
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
        'layer { name: "f" type: "InnerProduct" bottom: "x" top: "f" inner_product_param { num_output: 2 } }'
    )
    done = protogen(*(word.format(net=net) for word in words))
    assert done.returncode == 2
    assert "unforeseen" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_files_with_names_that_are_not_utf8(tmp_path, protogen):
    """The name is in the metadata, in the receipt and in pages."""
    stem = tmp_path / "net\udcff"
    net, weights, model = (f"{stem}{ending}" for ending in (".prototxt", ".caffemodel", ".onnx"))
    shutil.copy(EXAMPLES / "tiny.prototxt", net)
    shutil.copy(EXAMPLES / "tiny.caffemodel", weights)
    commands = (
        ["convert", net, weights, "-o", model, "--receipt", f"{stem}.json", "--verify"],
        ["verify", net, weights, model],
        ["convert", model, "-o", f"{stem}.2.prototxt", "--verify"],
        ["cut", model, "--to-blob", "conv1", "-o", f"{stem}.cut.onnx"],
        ["rescue", net, weights, "-o", f"{stem}.new.prototxt"],
        ["report", net, weights, "-o", f"{stem}.html"],
        ["draw", net, "-o", f"{stem}.svg"],
        ["check", net, "--format", "sarif"],
        ["summary", net, "--json"],
        ["diff", net, f"{stem}.2.prototxt", "--json"],
        ["init", net, "-o", f"{stem}.start.caffemodel"],
        ["run", net, weights, "--random", "-o", f"{stem}.npz"],
    )
    for arguments in commands:
        done = protogen(*arguments)
        assert done.returncode in (0, 1), (arguments, done)
        for line in (done.stdout + done.stderr).split("\n"):
            assert printable(line) == line, arguments
    done = protogen("convert", net, weights, "-o", model, "--external-data")
    assert done.returncode == 2
    assert r'"net\xff.onnx.data" is not valid UTF-8, which ONNX requires of a file' in done.stderr
    receipt = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    assert receipt["inputs"][0]["file"] == "net\udcff.prototxt"


@pytest.mark.parametrize("ending", ["npz", "hdf5", "safetensors"])
def test_weights_of_a_layer_whose_name_is_not_utf8(tmp_path, protogen, ending):
    raw = (EXAMPLES / "tiny.caffemodel").read_bytes()
    assert raw.count(b"conv1") > 0
    weights = tmp_path / "net.caffemodel"
    weights.write_bytes(raw.replace(b"conv1", b"c\xff\xfe\xed1"))
    done = protogen("weights", weights, f"--to-{ending}", tmp_path / f"w.{ending}")
    assert done.returncode == 2, done
    assert r'"c\xff\xfe\xed1" is not valid UTF-8' in done.stderr
    assert not (tmp_path / f"w.{ending}").exists()
