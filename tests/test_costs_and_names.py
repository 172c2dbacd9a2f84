"""Costs are bounded for a whole input, not for each of its parts; names are escaped wherever they leave."""

from __future__ import annotations

import numpy as np
import pytest

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
    from places import EXAMPLES

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
