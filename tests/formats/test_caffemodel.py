"""Weights: memory-mapped reader, streaming writer, damaged files, and other file formats."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import protogen as pg
from protogen.formats import weightfiles, wire
from protogen.formats.caffemodel import Entry, header, parse_weights, read_weights, write_weights
from protogen.formats.schema.pool import message_class
from protogen.preprocessing import meanfiles


def parse(raw: bytes):
    return parse_weights(wire.Bytes(raw, "m.caffemodel"))


def model(**layers: list[np.ndarray]) -> bytes:
    """Return a caffemodel written by protobuf, with packed values as in Caffe."""
    net = message_class("NetParameter")(name="n")
    for name, arrays in layers.items():
        layer = net.layer.add(name=name, type="Convolution")
        for array in arrays:
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(array.reshape(-1).tolist())
    return net.SerializeToString()


ARRAYS = {
    "a": [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)],
    "b": [np.full((1, 1, 2, 2), -0.5, np.float32)],
}


def test_caffemodel_written_by_protobuf_is_read():
    parsed = parse(model(**ARRAYS))
    assert parsed.name == "n"
    assert [layer.name for layer in parsed.layers] == ["a", "b"]
    for name, arrays in parsed.weights().items():
        for array, expected in zip(arrays, ARRAYS[name], strict=True):
            assert_array_equal(array, expected)
            assert array.dtype == np.float32


def test_arrays_are_views_of_the_mapped_file(tmp_path):
    path = tmp_path / "m.caffemodel"
    path.write_bytes(model(big=[np.zeros(1_000_000, np.float32)]))
    tracemalloc.start()
    parsed = read_weights(path)
    array = parsed.weights()["big"][0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert array.shape == (1_000_000,)
    assert peak < 100_000
    assert not array.flags.owndata
    assert not array.flags.writeable


def blob_field(number: int, kind: int, payload: bytes) -> bytes:
    tag = wire.varint(number << 3 | kind)
    return tag + (wire.varint(len(payload)) if kind == 2 else b"") + payload


def in_net(
    blob: bytes, layers_number: int = 100, blobs_number: int = 7, name_number: int = 1
) -> bytes:
    layer = blob_field(name_number, 2, b"x") + blob_field(blobs_number, 2, blob)
    return blob_field(layers_number, 2, layer)


FLOATS = [1.5, -2.0, 3.25, 0.0]
PACKED = struct.pack("<4f", *FLOATS)
SHAPE = blob_field(7, 2, blob_field(1, 2, bytes([2, 2])))
LEGACY = b"".join(blob_field(n, 0, wire.varint(d)) for n, d in ((1, 1), (2, 1), (3, 2), (4, 2)))


@pytest.mark.parametrize(
    ("blob", "shape", "dtype"),
    [
        (SHAPE + blob_field(5, 2, PACKED), (2, 2), "float32"),
        (blob_field(7, 2, blob_field(1, 0, b"\x02") * 2) + blob_field(5, 2, PACKED), (2, 2), "float32"),
        (LEGACY + blob_field(5, 2, PACKED), (1, 1, 2, 2), "float32"),
        (SHAPE + b"".join(blob_field(5, 5, PACKED[i : i + 4]) for i in range(0, 16, 4)), (2, 2), "float32"),
        (SHAPE + blob_field(5, 2, PACKED[:4]) + blob_field(5, 2, PACKED[4:]), (2, 2), "float32"),
        (SHAPE + blob_field(5, 5, PACKED[:4]) + blob_field(5, 2, PACKED[4:12]) + blob_field(5, 5, PACKED[12:]), (2, 2), "float32"),
        (SHAPE + blob_field(8, 2, struct.pack("<4d", *FLOATS)), (2, 2), "float64"),
        (SHAPE + b"".join(blob_field(8, 1, struct.pack("<d", v)) for v in FLOATS), (2, 2), "float64"),
        # fields of forks: unknown numbers of every wire type, and diff, between the known fields
        (blob_field(77, 0, b"\x05") + blob_field(78, 2, b"abc") + blob_field(6, 2, PACKED) + SHAPE
         + blob_field(79, 5, b"aaaa") + blob_field(80, 1, b"a" * 8) + blob_field(5, 2, PACKED), (2, 2), "float32"),
    ],
)  # fmt: skip
def test_every_encoding_of_a_blob_is_read(blob, shape, dtype):
    [array] = parse(in_net(blob)).weights()["x"]
    assert array.shape == shape
    assert array.dtype == dtype
    assert_array_equal(array.reshape(-1), FLOATS)


HALVES = struct.pack("<4e", *FLOATS)


@pytest.mark.parametrize(
    ("blob", "dtype"),
    [
        (SHAPE + blob_field(10, 0, b"\x01") + blob_field(12, 2, PACKED), "float32"),
        (SHAPE + blob_field(10, 0, b"\x02") + blob_field(12, 2, HALVES), "float16"),
        (SHAPE + blob_field(12, 2, struct.pack("<4d", *FLOATS)) + blob_field(10, 0, b"\x00"), "float64"),
        (LEGACY + blob_field(10, 0, b"\x02") + blob_field(12, 2, HALVES), "float16"),
        # Cambricon's old fork: types of values on its processor, and their position
        (SHAPE + blob_field(10, 0, b"\x01") + blob_field(12, 0, b"\x03") + blob_field(5, 2, PACKED), "float32"),
        # Xilinx's fork: a format of 0 marks plain values
        (SHAPE + blob_field(12, 0, b"\x00") + blob_field(10, 2, PACKED) + blob_field(5, 2, PACKED), "float32"),
    ],
)  # fmt: skip
def test_values_of_forks_are_read(blob, dtype):
    [array] = parse(in_net(blob)).weights()["x"]
    assert array.dtype == dtype
    assert_array_equal(array.reshape(-1), FLOATS)


def test_blobs_of_c3d_are_read(tmp_path):
    """C3D 1.0 has a length before height and width, and its values have the number 6, gradients 7."""
    dims = b"".join(blob_field(n, 0, wire.varint(d)) for n, d in enumerate((1, 1, 1, 2, 2), 1))
    blob = dims + blob_field(6, 2, PACKED) + blob_field(7, 2, bytes(16))
    [array] = parse(in_net(blob, 2, 6, 4)).weights()["x"]
    assert array.shape == (1, 1, 1, 2, 2)
    assert_array_equal(array.reshape(-1), FLOATS)
    text = (
        'input: "data" input_shape { dim: 1 dim: 2 } layer { name: "x" type: "InnerProduct" bottom: "data" '
        'top: "x" inner_product_param { num_output: 2 bias_term: false } }'
    )
    (tmp_path / "n.prototxt").write_text(text)
    (tmp_path / "n.caffemodel").write_bytes(in_net(blob, 2, 6, 4))
    net = pg.load(tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    assert_array_equal(net.weights["x"][0], np.reshape(FLOATS, (2, 2)))


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (SHAPE + blob_field(12, 0, b"\x01") + blob_field(5, 2, PACKED), "which is encrypted"),
        (SHAPE + blob_field(101, 2, b"\x01\x02\x03\x04"), "holds integers of Cambricon's fork"),
        (SHAPE + blob_field(12, 2, PACKED), "raw_data has no type"),
        (SHAPE + blob_field(10, 0, b"\x03") + blob_field(12, 2, PACKED), "raw_data has type 3"),
        (SHAPE + blob_field(10, 0, b"\x02") + blob_field(12, 2, HALVES[:-1]), "multiple of 2"),
    ],
)  # fmt: skip
def test_values_in_unknown_formats_of_forks_are_rejected(blob, message):
    with pytest.raises(pg.InputError, match=message):
        parse(in_net(blob))


def test_v1_and_v0_files_are_read():
    v1 = parse(in_net(LEGACY + blob_field(5, 2, PACKED), 2, 6, 4))
    assert v1.layers[0].form == "V1"
    assert_array_equal(v1.weights()["x"][0].reshape(-1), FLOATS)
    inner = (
        blob_field(1, 2, b"old")
        + blob_field(2, 2, b"conv")
        + blob_field(50, 2, LEGACY + blob_field(5, 2, PACKED))
    )
    v0 = parse(blob_field(2, 2, blob_field(1, 2, inner)))
    assert (v0.layers[0].form, v0.layers[0].type) == ("V0", "conv")
    assert_array_equal(v0.weights()["old"][0].reshape(-1), FLOATS)


# Damaged files


@pytest.mark.parametrize("cut", range(1, len(model(**ARRAYS))))
def test_truncated_file_is_rejected_at_every_byte(cut):
    """The only exception is a file that ends between two layers."""
    raw = model(**ARRAYS)
    first = parse(raw).layers[0].span[1]
    if cut == first:
        assert list(parse(raw[:cut]).weights()) == ["a"]
        return
    with pytest.raises(pg.InputError, match=r"^m\.caffemodel"):
        parse(raw[:cut]).weights()


@given(st.binary(max_size=300))
def test_random_bytes_are_read_or_raise_input_error(raw):
    with contextlib.suppress(pg.InputError):
        parse(raw).weights()


@given(st.integers(0, len(model(**ARRAYS)) - 1), st.integers(0, 255))
def test_file_with_a_changed_byte_is_read_or_raises_input_error(at, value):
    raw = bytearray(model(**ARRAYS))
    raw[at] = value
    with contextlib.suppress(pg.InputError):
        parse(bytes(raw)).weights()


def test_huge_declared_sizes_allocate_no_memory():
    huge = blob_field(7, 2, blob_field(1, 2, wire.varint(10**12)))
    tracemalloc.start()
    parsed = parse(in_net(huge + blob_field(5, 2, PACKED)))
    assert parsed.layers[0].blobs[0].shape == (10**12,)
    with pytest.raises(pg.InputError, match="a blob of shape 1000000000000 has 4 values") as caught:
        parsed.weights()
    assert 'The blob is in layer "x".' in str(caught.value)
    with pytest.raises(pg.InputError, match="a value of 1000000000000 bytes is declared"):
        parse(wire.varint(100 << 3 | 2) + wire.varint(10**12))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_groups_and_field_number_zero_are_rejected():
    with pytest.raises(pg.InputError, match=r"unsupported wire type 3 \(start of a group\)"):
        parse(bytes([100 << 3 & 0x7F | 3]))
    with pytest.raises(pg.InputError, match="number 0"):
        parse(b"\x00\x00")
    with pytest.raises(pg.InputError, match="more than 64 bits"):
        parse(b"\xff" * 12)


@pytest.mark.parametrize("raw", [b"", b"\n\x01n", b"#!/bin/sh\n"])
def test_other_files_are_rejected(tmp_path, raw):
    path = tmp_path / "m.caffemodel"
    path.write_bytes(raw)
    with pytest.raises(pg.InputError, match=r"m\.caffemodel"):
        read_weights(path)


def test_file_above_2_gib_is_read(tmp_path):
    """A sparse file of 2.4 GB: the reader needs only its headers."""
    count = 600_000_000
    shape = blob_field(7, 2, blob_field(1, 2, wire.varint(count)))
    inner = shape + wire.varint(5 << 3 | 2) + wire.varint(count * 4)
    layer = (
        blob_field(1, 2, b"big")
        + wire.varint(7 << 3 | 2)
        + wire.varint(len(inner) + count * 4)
        + inner
    )
    raw = wire.varint(100 << 3 | 2) + wire.varint(len(layer) + count * 4) + layer
    path = tmp_path / "big.caffemodel"
    with path.open("wb") as file:
        file.write(raw)
        file.truncate(len(raw) + count * 4)
    parsed = read_weights(path)
    [array] = parsed.weights()["big"]
    assert array.shape == (count,)
    assert array[-1] == 0


# Writing


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
        st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=3),
        min_size=1,
        max_size=4,
    )
)
def test_written_weights_are_read_back(shapes):
    import io

    generator = np.random.default_rng(0)
    weights = {
        name: [generator.standard_normal(shape, np.float32) for shape in group]
        for name, group in shapes.items()
    }
    file = io.BytesIO()
    entries = [Entry(header(name, "T", ["b"], ["t"]), arrays) for name, arrays in weights.items()]
    write_weights(file, "net", entries)
    parsed = parse(file.getvalue())
    assert parsed.name == "net"
    for name, arrays in parsed.weights().items():
        for array, expected in zip(arrays, weights[name], strict=True):
            assert_array_equal(array, expected)
            assert array.shape == expected.shape
    # protobuf reads the same layers.
    by_protobuf = message_class("NetParameter").FromString(file.getvalue())
    assert [layer.name for layer in by_protobuf.layer] == list(weights)


def test_weights_above_2_gib_are_rejected_before_writing():
    import io

    big = np.broadcast_to(np.float32(0), (2**29,))
    file = io.BytesIO()
    with pytest.raises(pg.InputError, match="at most 2 GiB"):
        write_weights(file, "", [Entry(header("x", "T"), [big])])
    assert file.getvalue() == b""


# Loading into a net

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "r" type: "ReLU" bottom: "ip" top: "ip" }
"""


@pytest.fixture
def net_file(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


def test_weights_match_by_name(net_file, tmp_path):
    path = tmp_path / "m.caffemodel"
    weight, bias = (
        np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3),
        np.ones((1, 1, 1, 2), np.float32),
    )
    path.write_bytes(model(ip=[weight, bias], other=[bias]))
    net = pg.load(net_file, path)
    assert list(net.weights) == ["ip"]
    assert [array.shape for array in net.weights["ip"]] == [(2, 3), (2,)]
    net.save(tmp_path / "saved.prototxt", tmp_path / "saved.caffemodel")
    reloaded = pg.load(tmp_path / "saved.prototxt", tmp_path / "saved.caffemodel")
    assert_array_equal(reloaded.weights["ip"][0], weight[0, 0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.zeros((3, 2), np.float32), np.zeros(2, np.float32)],
         "blob 0 of the weights has shape 3x2, expected 2x3."),
        ([np.zeros((2, 3), np.float32)],
         "the weights have 1 blob, but the layer has 2 (2x3, 2)."),
        ([np.zeros((2, 3, 1, 1), np.float32), np.zeros(2, np.float32)],
         "blob 0 of the weights has shape 2x3x1x1, expected 2x3."),
    ],
)  # fmt: skip
def test_weights_of_wrong_shape_are_rejected(net_file, tmp_path, arrays, message):
    path = tmp_path / "m.caffemodel"
    path.write_bytes(model(ip=arrays))
    with pytest.raises(pg.InputError) as caught:
        pg.load(net_file, path)
    assert f'net.prototxt:3:1: layer "ip" (InnerProduct): {message}' in str(caught.value)


# Other file formats


def test_npz_safetensors_and_hdf5_round_trip(tmp_path):
    weights = {"conv1/3x3": ARRAYS["a"], "b": ARRAYS["b"]}
    with (tmp_path / "w.npz").open("wb") as file:
        weightfiles.write_npz(file, weightfiles.flatten(weights))
    with (tmp_path / "w.h5").open("wb") as file:
        weightfiles.write_hdf5(file, weights)
    from safetensors.numpy import load

    tensors = load(weightfiles.safetensors_bytes(weights))
    for loaded in (
        weightfiles.read_npz(tmp_path / "w.npz"),
        weightfiles.read_any(tmp_path / "w.h5"),
    ):
        assert set(loaded) == set(weights)
        for name, arrays in weights.items():
            for i, array in enumerate(arrays):
                assert_array_equal(loaded[name][i], array)
                assert_array_equal(tensors[f"{name}/{i}"], array)


@pytest.mark.parametrize("raw", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_invalid_npz_is_rejected(tmp_path, raw):
    (tmp_path / "w.npz").write_bytes(raw)
    with pytest.raises(pg.InputError, match=r"w\.npz"):
        weightfiles.read_npz(tmp_path / "w.npz")


def test_invalid_hdf5_is_rejected(tmp_path):
    (tmp_path / "w.h5").write_bytes(b"no hdf5")
    with pytest.raises(pg.InputError, match=r"w\.h5"):
        weightfiles.read_any(tmp_path / "w.h5")


@pytest.mark.parametrize("suffix", [".binaryproto", ".npy", ".png"])
def test_mean_file_round_trips(tmp_path, suffix):
    mean = np.random.default_rng(0).integers(0, 256, (3, 5, 4)).astype(np.float32)
    path = tmp_path / f"mean{suffix}"
    with path.open("wb") as file:
        meanfiles.write(file, mean, suffix)
    assert_array_equal(meanfiles.read(path), mean)
    if suffix == ".binaryproto":
        blob = message_class("BlobProto").FromString(path.read_bytes())
        assert list(blob.shape.dim) == [1, 3, 5, 4]


MEAN = np.random.default_rng(1).random((3, 6, 5)).astype(np.float32)


def _legacy(*dims):
    return b"".join(blob_field(n, 0, wire.varint(d)) for n, d in enumerate(dims, 1))


def _shaped(*dims):
    return blob_field(7, 2, blob_field(1, 2, b"".join(map(wire.varint, dims))))


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("legacy", _legacy(1, 3, 6, 5) + blob_field(5, 2, MEAN.tobytes()), MEAN),
        ("shape", _shaped(1, 3, 6, 5) + blob_field(5, 2, MEAN.tobytes()), MEAN),
        ("three axes", _shaped(3, 6, 5) + blob_field(5, 2, MEAN.tobytes()), MEAN),
        ("doubles", _shaped(1, 3, 6, 5) + blob_field(8, 2, MEAN.astype("f8").tobytes()), MEAN),
        ("raw", _shaped(1, 3, 6, 5) + blob_field(10, 0, b"\x01") + blob_field(12, 2, MEAN.tobytes()), MEAN),
        ("channels", _shaped(3) + blob_field(5, 2, MEAN[:, 0, 0].tobytes()), MEAN[:, 0, 0]),
        ("1 x 1", _legacy(1, 3, 1, 1) + blob_field(5, 2, MEAN[:, 0, 0].tobytes()), MEAN[:, :1, :1]),
        ("grey", _shaped(6, 5) + blob_field(5, 2, MEAN[0].tobytes()), MEAN[:1]),
        ("grey legacy", _legacy(1, 1, 6, 5) + blob_field(5, 2, MEAN[0].tobytes()), MEAN[:1]),
    ],
)  # fmt: skip
def test_mean_files_of_any_layout_are_read(tmp_path, name, raw, expected):
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(raw)
    assert_array_equal(meanfiles.read(path), expected)
    assert meanfiles.read(path).shape == expected.shape


@pytest.mark.parametrize(
    ("array", "expected"),
    [(MEAN, MEAN), (MEAN[None], MEAN), (MEAN[0], MEAN[:1]), (MEAN[:, 0, 0], MEAN[:, 0, 0]),
     (np.asfortranarray(MEAN), MEAN), (MEAN.astype("f8"), MEAN)],
)  # fmt: skip
def test_mean_arrays_of_any_layout_are_read(tmp_path, array, expected):
    np.save(tmp_path / "mean.npy", array)
    assert_array_equal(meanfiles.read(tmp_path / "mean.npy"), expected)


def test_mean_with_several_samples_is_rejected(tmp_path):
    (tmp_path / "m.binaryproto").write_bytes(
        _legacy(3, 1, 1, 1) + blob_field(5, 2, MEAN[:, 0, 0].tobytes())
    )
    with pytest.raises(
        pg.InputError, match=r"expected a mean of shape C, or C x H x W, got 3x1x1x1"
    ):
        meanfiles.read(tmp_path / "m.binaryproto")


def test_png_mean_is_written_as_rgb(tmp_path):
    """Caffe's channel 0 is blue."""
    from PIL import Image

    mean = np.zeros((3, 1, 1), np.float32)
    mean[0] = 200
    with (tmp_path / "m.png").open("wb") as file:
        meanfiles.write(file, mean, ".png")
    with Image.open(tmp_path / "m.png") as image:
        assert image.getpixel((0, 0)) == (0, 0, 200)


def test_invalid_mean_files_are_rejected(tmp_path):
    with (
        (tmp_path / "m.png").open("wb") as file,
        pytest.raises(pg.InputError, match="do not fit an 8-bit PNG"),
    ):
        meanfiles.write(file, np.full((3, 2, 2), 300.0, np.float32), ".png")
    (tmp_path / "m.binaryproto").write_bytes(b"")
    with pytest.raises(pg.InputError, match="the file is empty"):
        meanfiles.read(tmp_path / "m.binaryproto")
    (tmp_path / "m.txt").write_text("104, 117, 123")
    with pytest.raises(pg.InputError, match="the file is text, expected a mean file"):
        meanfiles.read(tmp_path / "m.txt")
    np.save(tmp_path / "m.npy", np.ones((3, 2, 2), np.float32))
    (tmp_path / "m.npy").rename(tmp_path / "m.binaryproto")
    assert meanfiles.read(tmp_path / "m.binaryproto").shape == (3, 2, 2)
