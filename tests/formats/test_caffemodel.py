"""Weights: mapped reading, streaming writing, damage, and other files."""

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
    """A caffemodel by protobuf's own writer, packed as Caffe does."""
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


def test_reads_what_protobuf_writes():
    found = parse(model(**ARRAYS))
    assert found.name == "n"
    assert [layer.name for layer in found.layers] == ["a", "b"]
    for name, arrays in found.weights().items():
        for array, wanted in zip(arrays, ARRAYS[name], strict=True):
            assert_array_equal(array, wanted)
            assert array.dtype == np.float32


def test_views_are_not_copies(tmp_path):
    path = tmp_path / "m.caffemodel"
    path.write_bytes(model(big=[np.zeros(1_000_000, np.float32)]))
    tracemalloc.start()
    found = read_weights(path)
    array = found.weights()["big"][0]
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
        # fork fields: unknown numbers of every kind, diff, and a long run that is none
        (blob_field(77, 0, b"\x05") + blob_field(78, 2, b"abc") + blob_field(6, 2, PACKED) + SHAPE
         + blob_field(79, 5, b"aaaa") + blob_field(80, 1, b"a" * 8) + blob_field(5, 2, PACKED), (2, 2), "float32"),
    ],
)  # fmt: skip
def test_every_form_of_a_blob(blob, shape, dtype):
    [array] = parse(in_net(blob)).weights()["x"]
    assert array.shape == shape
    assert array.dtype == dtype
    assert_array_equal(array.reshape(-1), FLOATS)


def test_v1_and_v0_files():
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


# Damage


@pytest.mark.parametrize("cut", range(1, len(model(**ARRAYS))))
def test_cut_at_every_byte(cut):
    """Either a clear refusal, or a file that happens to end between two layers."""
    raw = model(**ARRAYS)
    first = parse(raw).layers[0].span[1]
    if cut == first:
        assert list(parse(raw[:cut]).weights()) == ["a"]
        return
    with pytest.raises(pg.InputError, match=r"^m\.caffemodel"):
        parse(raw[:cut]).weights()


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw):
    with contextlib.suppress(pg.InputError):
        parse(raw).weights()


@given(st.integers(0, len(model(**ARRAYS)) - 1), st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(at, value):
    raw = bytearray(model(**ARRAYS))
    raw[at] = value
    with contextlib.suppress(pg.InputError):
        parse(bytes(raw)).weights()


def test_absurd_claims_take_no_memory():
    huge = blob_field(7, 2, blob_field(1, 2, wire.varint(10**12)))
    tracemalloc.start()
    found = parse(in_net(huge + blob_field(5, 2, PACKED)))
    assert found.layers[0].blobs[0].shape == (10**12,)
    with pytest.raises(pg.InputError, match="a blob of 1000000000000 has 4 values") as caught:
        found.weights()
    assert 'It is in layer "x".' in str(caught.value)
    with pytest.raises(pg.InputError, match="a value of 1000000000000 bytes is declared"):
        parse(wire.varint(100 << 3 | 2) + wire.varint(10**12))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_groups_and_zero_numbers_are_refused():
    with pytest.raises(pg.InputError, match="a group is not known"):
        parse(bytes([100 << 3 & 0x7F | 3]))
    with pytest.raises(pg.InputError, match="number 0"):
        parse(b"\x00\x00")
    with pytest.raises(pg.InputError, match="more than 64 bits"):
        parse(b"\xff" * 12)


@pytest.mark.parametrize("raw", [b"", b"\n\x01n", b"#!/bin/sh\n"])
def test_files_that_are_none(tmp_path, raw):
    path = tmp_path / "m.caffemodel"
    path.write_bytes(raw)
    with pytest.raises(pg.InputError, match=r"m\.caffemodel"):
        read_weights(path)


def test_file_above_2_gib(tmp_path):
    """A sparse file of 2.4 GB: opened and listed from its headers alone."""
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
    found = read_weights(path)
    [array] = found.weights()["big"]
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
def test_write_and_read(shapes):
    import io

    generator = np.random.default_rng(0)
    weights = {
        name: [generator.standard_normal(shape, np.float32) for shape in group]
        for name, group in shapes.items()
    }
    file = io.BytesIO()
    entries = [Entry(header(name, "T", ["b"], ["t"]), arrays) for name, arrays in weights.items()]
    write_weights(file, "net", entries)
    found = parse(file.getvalue())
    assert found.name == "net"
    for name, arrays in found.weights().items():
        for array, wanted in zip(arrays, weights[name], strict=True):
            assert_array_equal(array, wanted)
            assert array.shape == wanted.shape
    # Protobuf's own reader sees the same.
    theirs = message_class("NetParameter").FromString(file.getvalue())
    assert [layer.name for layer in theirs.layer] == list(weights)


def test_too_large_is_refused_before_writing():
    import io

    big = np.broadcast_to(np.float32(0), (2**29,))
    file = io.BytesIO()
    with pytest.raises(pg.InputError, match="2 GiB at most"):
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
    net.save(tmp_path / "again.prototxt", tmp_path / "again.caffemodel")
    again = pg.load(tmp_path / "again.prototxt", tmp_path / "again.caffemodel")
    assert_array_equal(again.weights["ip"][0], weight[0, 0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.zeros((3, 2), np.float32), np.zeros(2, np.float32)],
         "blob 0 of the weights is 3x2, but must be 2x3."),
        ([np.zeros((2, 3), np.float32)],
         "the weights have 1 blobs, but the layer has 2 (2x3, 2)."),
        ([np.zeros((2, 3, 1, 1), np.float32), np.zeros(2, np.float32)],
         "blob 0 of the weights is 2x3x1x1, but must be 2x3."),
    ],
)  # fmt: skip
def test_wrong_weights_name_layer_wanted_and_found(net_file, tmp_path, arrays, message):
    path = tmp_path / "m.caffemodel"
    path.write_bytes(model(ip=arrays))
    with pytest.raises(pg.InputError) as caught:
        pg.load(net_file, path)
    assert f'net.prototxt:3:1: layer "ip" (InnerProduct): {message}' in str(caught.value)


# Other files


def test_npz_safetensors_hdf5(tmp_path):
    weights = {"conv1/3x3": ARRAYS["a"], "b": ARRAYS["b"]}
    with (tmp_path / "w.npz").open("wb") as file:
        weightfiles.write_npz(file, weightfiles.flatten(weights))
    with (tmp_path / "w.h5").open("wb") as file:
        weightfiles.write_hdf5(file, weights)
    from safetensors.numpy import load

    tensors = load(weightfiles.safetensors_bytes(weights))
    for found in (
        weightfiles.read_npz(tmp_path / "w.npz"),
        weightfiles.read_any(tmp_path / "w.h5"),
    ):
        assert set(found) == set(weights)
        for name, arrays in weights.items():
            for i, array in enumerate(arrays):
                assert_array_equal(found[name][i], array)
                assert_array_equal(tensors[f"{name}/{i}"], array)


@pytest.mark.parametrize("raw", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_bad_npz(tmp_path, raw):
    (tmp_path / "w.npz").write_bytes(raw)
    with pytest.raises(pg.InputError, match=r"w\.npz"):
        weightfiles.read_npz(tmp_path / "w.npz")


def test_bad_hdf5(tmp_path):
    (tmp_path / "w.h5").write_bytes(b"no hdf5")
    with pytest.raises(pg.InputError, match=r"w\.h5"):
        weightfiles.read_any(tmp_path / "w.h5")


@pytest.mark.parametrize("suffix", [".binaryproto", ".npy", ".png"])
def test_mean_files(tmp_path, suffix):
    mean = np.random.default_rng(0).integers(0, 256, (3, 5, 4)).astype(np.float32)
    path = tmp_path / f"mean{suffix}"
    with path.open("wb") as file:
        meanfiles.write(file, mean, suffix)
    assert_array_equal(meanfiles.read(path), mean)
    if suffix == ".binaryproto":
        blob = message_class("BlobProto").FromString(path.read_bytes())
        assert list(blob.shape.dim) == [1, 3, 5, 4]


def test_png_is_in_the_order_of_people(tmp_path):
    """Caffe's channel 0 is blue."""
    from PIL import Image

    mean = np.zeros((3, 1, 1), np.float32)
    mean[0] = 200
    with (tmp_path / "m.png").open("wb") as file:
        meanfiles.write(file, mean, ".png")
    with Image.open(tmp_path / "m.png") as image:
        assert image.getpixel((0, 0)) == (0, 0, 200)


def test_mean_file_mistakes(tmp_path):
    with (
        (tmp_path / "m.png").open("wb") as file,
        pytest.raises(pg.InputError, match="do not fit an 8-bit PNG"),
    ):
        meanfiles.write(file, np.full((3, 2, 2), 300.0, np.float32), ".png")
    (tmp_path / "m.binaryproto").write_bytes(b"")
    with pytest.raises(pg.InputError, match="contains no values"):
        meanfiles.read(tmp_path / "m.binaryproto")
    with pytest.raises(pg.InputError, match="unsupported mean file extension"):
        meanfiles.read(tmp_path / "m.txt")
