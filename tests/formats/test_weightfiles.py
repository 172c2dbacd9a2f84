"""Weights in npz, safetensors and HDF5: names survive, or are refused with one sentence."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import protogen as pg
from protogen.formats import weightfiles

NAMES = (
    st.text(st.sampled_from("ab01/.\\ \0\n\udcff\udc80é漢:*\x7f\u2028²"), max_size=6)
    | st.text(max_size=5)
    | st.sampled_from(["a", "a/0", "a/1", "a/0/0", "a/0/b", "__metadata__"])
)
NETS = st.dictionaries(NAMES, st.integers(1, 2), min_size=1, max_size=4)


def blobs(net: dict[str, int]) -> dict[str, list[np.ndarray]]:
    return {
        name: [np.float32([i, k]) for k in range(count)]
        for i, (name, count) in enumerate(net.items())
    }


def through_npz(weights, path):
    with open(path, "wb") as file:
        weightfiles.write_npz(file, weightfiles.flatten(weights))
    return weightfiles.read_npz(path)


def through_hdf5(weights, path):
    with open(path, "wb") as file:
        weightfiles.write_hdf5(file, weights)
    return weightfiles.read_hdf5(path)


def through_safetensors(weights, path):
    from safetensors.numpy import load

    arrays = load(weightfiles.safetensors_bytes(weights))
    result: dict[str, list] = {}
    for name in sorted(arrays, key=lambda name: (len(name), name)):
        result.setdefault(name.rpartition("/")[0], []).append(arrays[name])
    return result


@pytest.mark.parametrize("through", [through_npz, through_hdf5, through_safetensors])
@settings(max_examples=300)
@given(net=NETS)
def test_names_survive_or_are_refused(tmp_path_factory, through, net):
    pytest.importorskip(
        {"through_hdf5": "h5py", "through_safetensors": "safetensors"}.get(
            through.__name__, "numpy"
        )
    )
    weights = blobs(net)
    path = tmp_path_factory.getbasetemp() / "names"
    message = ""
    try:
        result = through(weights, path)
    except pg.InputError as error:
        message = str(error)
    if message:
        assert "cannot have the name" in message or "is not valid UTF-8, which" in message
        assert not all(name.isalnum() and name.isascii() for name in net), "a usual name is refused"
        return
    assert result.keys() == weights.keys()
    for name, arrays in weights.items():
        for array, other in zip(arrays, result[name], strict=True):
            np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["conv1", "inception/1x1", "inception/3x3"], ""),
        (["a", "a/b"], ""),
        (["a", "a/0"], "a/0"),
        (["a", "a/0/b"], "a/0/b"),
        ([""], ""),
        (["a//b"], "a//b"),
        (["./a"], "./a"),
        (["a\0"], r"a\x00"),
        (["a\udcff"], r"a\xff"),
    ],
)
def test_names_of_hdf5(tmp_path, names, refused):
    """A slash makes a group, in which a blob of another layer can have the same name."""
    pytest.importorskip("h5py")
    weights = blobs(dict.fromkeys(names, 1))
    if refused or "" in names:
        with pytest.raises(pg.InputError) as caught:
            through_hdf5(weights, tmp_path / "a.h5")
        assert f'the name "{refused}"' in str(caught.value)
    else:
        assert list(through_hdf5(weights, tmp_path / "a.h5")) == names


def test_missing_blob_of_hdf5_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as store:
        for index in (0, 2):
            store.create_dataset(f"data/conv/{index}", data=np.zeros(3, np.float32))
    with pytest.raises(pg.InputError, match=r"has the blobs \[0, 2\], expected 0, 1, ..."):
        weightfiles.read_hdf5(path)


def test_values_of_names_with_zero_bytes_are_not_written():
    """zipfile cuts a name there."""
    with pytest.raises(pg.InputError, match=r'npz cannot have the name "a\\x00b"'):
        weightfiles.write_npz(io.BytesIO(), {"a\0b": np.zeros(1)})
