"""``summary``, ``fmt``, ``upgrade``, ``diff``, ``weights`` and ``mean convert`` on the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from places import EXAMPLES

import protogen as pg
from protogen.formats import prototxt

HEAD = EXAMPLES / "segnet_head.prototxt"


@pytest.fixture
def pair(tmp_path):
    """Return a folder with a net and its weights."""
    up = pg.upsample(2, input_shape=(1, 3, 4, 4))
    up.net.save(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    return tmp_path


def test_summary_in_three_formats(protogen):
    done = protogen("summary", HEAD)
    assert done.returncode == 0, done.stderr
    assert "4 layers, 5,563 parameters" in done.stdout
    assert "refine" in done.stdout
    data = json.loads(protogen("summary", HEAD, "--json").stdout)
    assert data["layers"][1]["output"] == [1, 16, 16, 16]
    assert data["layers"][3]["receptive_field"] == [13, 13]
    assert data["totals"]["parameters"] == sum(row["parameters"] for row in data["layers"])
    rows = list(csv.DictReader(io.StringIO(protogen("summary", HEAD, "--csv").stdout)))
    assert rows[2]["output"] == "1x21x16x16"


def test_summary_of_an_invalid_net_shows_unknown_shapes(protogen, tmp_path):
    (tmp_path / "n.prototxt").write_text(
        HEAD.read_text().replace("kernel_size: 5", "kernel_size: 500")
    )
    done = protogen("summary", "n.prototxt")
    assert done.returncode == 0
    assert "output size must be at least 1, got -107" in done.stderr
    assert "unknown shape" in done.stdout


@pytest.mark.parametrize("shape", ["2,3,4,5", "2x3x4x5", "data=2x3x4x5"])
def test_input_shape_of_the_only_input_needs_no_name(shape, protogen, tmp_path):
    (tmp_path / "n.prototxt").write_text(
        'layer { name: "d" type: "Data" top: "data" }\n'
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n'
    )
    done = protogen("summary", "--shapes", "n.prototxt", "--input-shape", shape)
    assert done.stdout == "data\t2x3x4x5\nr\t2x3x4x5\n"


def test_input_shape_of_one_of_two_inputs_needs_a_name(protogen, tmp_path):
    (tmp_path / "n.prototxt").write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" }\n'
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n'
        'layer { name: "s" type: "ReLU" bottom: "label" top: "s" }\n'
    )
    done = protogen("summary", "n.prototxt", "--input-shape", "2,3,4,5")
    assert (done.returncode, done.stderr) == (
        2,
        "protogen: --input-shape: the net has 2 inputs (data, label). Name one: --input-shape "
        "BLOB=N,C,H,W.\n",
    )


def test_input_shapes_of_data_and_python_layers(protogen, tmp_path):
    (tmp_path / "n.prototxt").write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" }\n'
        'layer { name: "p" type: "Python" bottom: "data" top: "py" }\n'
        'layer { name: "r" type: "ReLU" bottom: "py" top: "r" }\n'
    )
    done = protogen(
        "summary",
        "--shapes",
        "n.prototxt",
        "--input-shape",
        "data=2,3,4,5",
        "--input-shape",
        "py=7,7",
        "--json",
    )
    assert json.loads(done.stdout)["blobs"] == {
        "data": [2, 3, 4, 5],
        "label": [2],
        "py": [7, 7],
        "r": [7, 7],
    }
    wrong = protogen("summary", "--shapes", "n.prototxt", "--input-shape", "data=2:3")
    assert (wrong.returncode, wrong.stderr) == (
        2, "protogen: --input-shape: '2:3' is not a shape. Write 1,3,224,224.\n",
    )  # fmt: skip


def test_fmt_check_diff_and_write(protogen, tmp_path):
    path = tmp_path / "n.prototxt"
    path.write_text(HEAD.read_text())
    check = protogen("fmt", "--check", path)
    assert check.returncode == 1
    assert "1 of 1 file would change" in check.stderr
    assert path.read_text() == HEAD.read_text()
    shown = protogen("fmt", "--diff", path).stdout
    assert '+  type: "Convolution"' in shown
    assert protogen("fmt", path).returncode == 0
    text = path.read_text()
    assert prototxt.parse(text) == prototxt.read(HEAD)
    assert "# changed by --rewire" in text
    assert protogen("fmt", "--check", path).returncode == 0


def test_fmt_formats_a_solver(protogen, tmp_path):
    (tmp_path / "s.prototxt").write_text(
        'net:"n" base_lr:0.01 # rate\nlr_policy:"step" solver_mode:GPU'
    )
    assert protogen("fmt", "s.prototxt", "--check").returncode == 1
    protogen("fmt", "s.prototxt")
    assert (
        tmp_path / "s.prototxt"
    ).read_text() == 'net: "n"\nbase_lr: 0.01  # rate\nlr_policy: "step"\nsolver_mode: GPU\n'


def test_fmt_goes_on_after_invalid_files(protogen, tmp_path):
    (tmp_path / "bad.prototxt").write_text("layer {")
    (tmp_path / "good.prototxt").write_text('name:"a"')
    done = protogen("fmt", "bad.prototxt", "good.prototxt", "gone.prototxt")
    assert done.returncode == 2
    assert (tmp_path / "bad.prototxt").read_text() == "layer {"
    assert (tmp_path / "good.prototxt").read_text() == 'name: "a"\n'
    assert "bad.prototxt:1:" in done.stderr
    assert "gone.prototxt: cannot be read" in done.stderr


def test_upgrade_and_conversion_to_v1(protogen, tmp_path):
    (tmp_path / "old.prototxt").write_text(
        'input: "x"\ninput_dim: 1\ninput_dim: 3\ninput_dim: 4\ninput_dim: 4\n# act\nlayers { name: "r" type: RELU bottom: "x" top: "y" }\n'
    )
    done = protogen("upgrade", "old.prototxt", "-o", "new.prototxt")
    assert done.returncode == 0
    assert "converted input x to an Input layer" in done.stderr
    assert "# act" in (tmp_path / "new.prototxt").read_text()
    back = protogen("upgrade", "--to", "v1", "new.prototxt").stdout
    assert prototxt.parse(back) == prototxt.read(tmp_path / "old.prototxt")
    again = protogen("upgrade", "new.prototxt")
    assert "nothing to change" in again.stderr


def test_upgrade_and_conversion_to_v1_of_a_caffemodel(protogen, pair):
    assert (
        protogen("upgrade", "--to", "v1", "net.caffemodel", "-o", "old.caffemodel").returncode == 0
    )
    listed = json.loads(protogen("weights", "old.caffemodel", "--json").stdout)["blobs"]
    assert listed[0]["shape"] == [3, 1, 4, 4]
    assert listed[0]["type"] == "DECONVOLUTION"
    assert protogen("upgrade", "old.caffemodel", "-o", "new.caffemodel").returncode == 0
    old, new = (pg.load(pair / "net.prototxt", pair / f"{n}.caffemodel") for n in ("net", "new"))
    assert old.weights.keys() == new.weights.keys()
    for name, blobs in old.weights.items():
        assert all(np.array_equal(a, b) for a, b in zip(blobs, new.weights[name], strict=True))
    assert protogen("upgrade", "old.caffemodel").returncode == 2


def test_diff_reports_changed_added_and_removed_layers(protogen, tmp_path):
    text = HEAD.read_text()
    (tmp_path / "b.prototxt").write_text(
        text.replace("pad: 2", "pad: 2 group: 1").replace(
            "num_output: 21 kernel_size: 1", "num_output: 20 kernel_size: 1"
        )
    )
    done = protogen("diff", HEAD, "b.prototxt")
    assert (done.returncode, done.stdout) == (
        1,
        "~ score (Convolution): convolution_param.num_output: 21 -> 20\n",
    )
    same = protogen("diff", HEAD, HEAD)
    assert (same.returncode, same.stdout) == (0, "")
    (tmp_path / "c.prototxt").write_text(text.replace('"refine"', '"other"'))
    data = json.loads(protogen("diff", HEAD, "c.prototxt", "--json").stdout)["differences"]
    assert [d["kind"] for d in data] == ["removed", "added"]


def test_diff_reports_a_moved_layer(protogen, tmp_path):
    layer = 'layer {{ name: "{0}" type: "ReLU" bottom: "x" top: "{0}" }}\n'
    (tmp_path / "a.prototxt").write_text("".join(layer.format(n) for n in "abcd"))
    (tmp_path / "b.prototxt").write_text("".join(layer.format(n) for n in "bcda"))
    assert (
        protogen("diff", "a.prototxt", "b.prototxt").stdout
        == "~ a (ReLU): moved to another position\n"
    )


def test_weights_statistics(protogen, pair):
    done = protogen("weights", "net.caffemodel")
    assert "2 layers (V2), 1 blob, 48 values" in done.stdout
    data = json.loads(protogen("weights", "net.caffemodel", "--json").stdout)["blobs"][0]
    assert data["norm"] == pytest.approx(np.linalg.norm(pg.upsample(2).weights["upsample"][0]))
    assert (data["nan"], data["inf"]) == (0, 0)
    quick = json.loads(protogen("weights", "net.caffemodel", "--quick", "--json").stdout)
    assert "norm" not in quick["blobs"][0]


def test_weights_to_and_from_other_formats(protogen, pair):
    assert (
        protogen(
            "weights",
            "net.caffemodel",
            "--to-npz",
            "w.npz",
            "--to-hdf5",
            "w.caffemodel.h5",
            "--to-safetensors",
            "w.safetensors",
        ).returncode
        == 0
    )
    with np.load(pair / "w.npz") as arrays:
        changed = {name: array * 2 for name, array in arrays.items()}
    changed["upsample/0"][0, 0, 0, :2] = np.nan, np.inf
    np.savez(pair / "c.npz", **changed)
    assert (
        protogen(
            "weights", "net.caffemodel", "--from-npz", "c.npz", "-o", "c.caffemodel"
        ).returncode
        == 0
    )
    data = json.loads(protogen("weights", "c.caffemodel", "--json").stdout)["blobs"][0]
    assert (data["nan"], data["inf"]) == (1, 1)
    net = pg.load(pair / "net.prototxt", pair / "w.caffemodel.h5")
    assert net.weights["upsample"][0].shape == (3, 1, 4, 4)
    np.savez(pair / "bad.npz", **{"gone/0": np.zeros(1)})
    wrong = protogen("weights", "net.caffemodel", "--from-npz", "bad.npz", "-o", "x.caffemodel")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "protogen: bad.npz: layer 'gone': unknown layer.\n",
    )
    assert not (pair / "x.caffemodel").exists()


def test_mean_convert_between_formats(protogen, tmp_path):
    np.save(tmp_path / "m.npy", np.full((3, 2, 2), 120, np.float32))
    for target in ("m.binaryproto", "m.png"):
        assert protogen("mean", "convert", "m.npy", "-o", target).returncode == 0
    assert protogen("mean", "convert", "m.binaryproto", "-o", "again.npy").returncode == 0
    assert np.load(tmp_path / "again.npy").tolist() == np.load(tmp_path / "m.npy").tolist()


def test_proto_option_reads_the_schema_of_a_fork(protogen, tmp_path):
    (tmp_path / "my.proto").write_text(
        'syntax = "proto2"; package caffe;\n'
        "message LayerParameter { optional MyParameter my_param = 143; }\n"
        "message MyParameter { enum Way { UP = 0; DOWN = 1; } optional Way way = 1; optional FillerParameter filler = 2; }\n"
    )
    text = 'layer { name: "m" type: "My" my_param { way: DOWN filler { type: "constant" } } }\n'
    (tmp_path / "n.prototxt").write_text(text)
    plain = protogen("fmt", "n.prototxt", "--check")
    assert "unknown field my_param in LayerParameter; it is kept" in plain.stderr
    known = protogen("fmt", "--proto", "my.proto", "n.prototxt", "--check")
    assert "my_param" not in known.stderr
    (tmp_path / "n.prototxt").write_text(text.replace("DOWN", "3"))
    wrong = protogen("fmt", "n.prototxt", "--proto", "my.proto")
    assert wrong.returncode == 2
    assert (
        "n.prototxt:1:46: unknown value 3 of MyParameter.Way. Known values: UP, DOWN."
        in wrong.stderr
    )


def test_proto_option_reads_a_descriptor_set(protogen, tmp_path):
    from google.protobuf import descriptor_pb2

    file = descriptor_pb2.FileDescriptorProto(name="my.proto", package="caffe")
    proto = file.message_type.add(name="MyParameter")
    proto.field.add(name="way", number=1, type=3, label=1)
    layer = file.message_type.add(name="LayerParameter")
    layer.field.add(name="my_param", number=9, type=11, type_name=".caffe.MyParameter", label=1)
    (tmp_path / "my.desc").write_bytes(
        descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()
    )
    (tmp_path / "n.prototxt").write_text("layer {\n  my_param {\n    way: 3\n  }\n}\n")
    done = protogen("fmt", "--strict", "--proto", "my.desc", "--check", "n.prototxt")
    assert done.returncode == 0, done.stderr
    assert protogen("fmt", "--strict", "n.prototxt").returncode == 2
    (tmp_path / "bad.desc").write_bytes(b"\xff\xff")
    wrong = protogen("fmt", "--proto", "bad.desc", "n.prototxt")
    assert wrong.stderr == (
        "protogen: bad.desc: is neither .proto text nor a descriptor set. The file extension of .proto text must be .proto.\n"
    )


def test_control_characters_in_names_are_escaped(protogen, tmp_path):
    (tmp_path / "n.prototxt").write_text(
        'layer { name: "\\033[31mred" type: "Input" top: "a\\nb" input_param { shape { dim: 1 } } }'
    )
    for options in ((), ("--shapes",)):
        done = protogen("summary", *options, "n.prototxt")
        assert done.returncode == 0, done.stderr
        assert "a\\x0ab" in done.stdout
        assert "\x1b" not in done.stdout
        assert "a\nb" not in done.stdout


def test_large_invalid_text_is_rejected_in_little_time_and_memory(tmp_path):
    """Deep nesting, an unclosed string of 100 MB, and a number of 100,000 digits."""
    deep = tmp_path / "deep.prototxt"
    deep.write_text("layer {" + "a {" * 10_000)
    long = tmp_path / "long.prototxt"
    long.write_text('name: "' + "x" * 100_000_000 + "\n")
    digits = tmp_path / "digits.prototxt"
    digits.write_text("layer { convolution_param { num_output: " + "9" * 100_000 + " } }")
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from protogen.formats import prototxt; from protogen import InputError\n"
        "try: prototxt.read(sys.argv[1])\n"
        "except InputError as error: print(len(str(error)) < 500)\n"
        "status = open('/proc/self/status').read()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) // 1024)"
    )
    for path in (deep, long, digits):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, encoding="utf-8"
        )
        assert done.stdout.splitlines()[0] == "True", done.stderr
        assert time.perf_counter() - start < 20
        assert int(done.stdout.splitlines()[1]) < 100 + 8 * path.stat().st_size / 2**20


def test_long_string_is_read(tmp_path):
    (tmp_path / "n.prototxt").write_text('name: "' + "x" * 1_000_000 + '"')
    assert len(prototxt.read(tmp_path / "n.prototxt").name) == 1_000_000


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("summary gone.prototxt", 2), ("summary --shapes gone.prototxt", 2), ("fmt gone.prototxt", 2),
        ("upgrade gone.prototxt", 2), ("upgrade gone.caffemodel -o x", 2), ("upgrade --to v1 gone.prototxt", 2),
        ("diff gone.prototxt gone.prototxt", 2), ("weights gone.caffemodel", 2),
        ("weights gone.caffemodel --to-npz x.npz", 2), ("weights gone.h5 --to-npz x.npz", 2),
        ("mean convert gone.npy -o x.png", 2), ("mean convert gone.txt -o x.png", 2),
        ("fmt a.prototxt b.prototxt -o c.prototxt", 2), ("summary --proto gone.proto a.prototxt", 2),
        ("nonsense", 2),
    ],
)  # fmt: skip
def test_missing_file_gives_one_sentence_and_exit_code_2(protogen, tmp_path, arguments, code):
    done = protogen(*arguments.split())
    assert done.returncode == code
    assert done.stderr.startswith("protogen: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_numbers_shapes_and_sizes_in_short_form():
    from protogen.cli import output, tables

    texts = [
        tables.count(n)
        for n in (None, 0, 999_999, 1_000_000, 12_345_678, 999_600_000, 10**9, 5 * 10**12, 10**16)
    ]
    assert texts == ["?", "0", "999,999", "1 M", "12.3 M", "1 G", "1 G", "5 T", "10000 T"]
    assert [tables.shape(s) for s in (None, (), (1, 3, 8))] == ["?", "scalar", "1x3x8"]
    assert [tables.size(n) for n in (100, 1 << 20, 5 << 20)] == ["0.1 KiB", "1.0 MiB", "5.0 MiB"]
    assert output.printable("a\x1b[31m\tä") == "a\\x1b[31m\\x09ä"


def test_tables_fit_the_terminal_and_bars_need_a_terminal(monkeypatch, capsys):
    """A progress bar of bytes is shown only for large files."""
    from protogen.cli import tables

    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")  # 80 columns, no colours
    tables.show(["name", "size"], [("a" * 160, "1"), ("b", "22")], right=(1,))
    out = capsys.readouterr().out
    assert out.count("a") == 160 + 1  # all of the wrapped cell, and the "a" of "name"
    assert max(map(len, out.splitlines())) <= 80
    with tables.bar() as update:
        update(1, 10)  # a small file has no bar
        update(tables._BAR_FROM // 2, tables._BAR_FROM)
        update(tables._BAR_FROM, tables._BAR_FROM)
    with tables.counting("files") as update:
        update(1, 3)
        update(3, 3)
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: False)
    with tables.bar() as bar, tables.counting("files") as counting:
        assert (bar, counting) == (None, None)
