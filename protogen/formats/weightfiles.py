"""Readers and writers of weights in other file formats: npz, safetensors, HDF5."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from protogen.errors import InputError, UnsupportedError, check_utf8, printable
from protogen.formats import contents, files, pairs
from protogen.formats.arrayfiles import TIMES, UNPACKED, read_arrays
from protogen.formats.caffemodel import read_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.formats.message import Source

    Weights = dict[str, list[NDArray[np.floating]]]


def read_any(path: str | Path, net: Source | None = None) -> Weights:
    """Return blobs by layer name from a .caffemodel, or from Caffe's HDF5 format (.h5), recognised by
    its content. ``net`` is the prototxt that they are for.

    Raises:
        InputError: the file cannot be read, is damaged, is of another kind, or was not written together
            with the net.
    """
    weights, pair = read_with_id(path)
    if net is not None:
        pairs.check_ids(net, pair, path)
    return weights


def read_with_id(path: str | Path) -> tuple[Weights, str]:
    """Return what ``read_any`` returns, and the pair id (see ``pairs``); HDF5 has none."""
    kind = contents.checked_kind(path, "weights")
    if kind == "hdf5" or (not kind and str(path).endswith((".h5", ".hdf5"))):
        return read_hdf5(path), ""
    model = read_weights(path)
    return model.weights(), model.pair


# npz and safetensors: one array for each blob, with the name LAYER/INDEX


def flatten(weights: Mapping[str, Sequence[NDArray[np.floating]]]) -> dict[str, Any]:
    """Return the arrays by ``layer/index``.

    Raises:
        InputError: an archive cannot have the name of a layer.
    """
    for layer in weights:
        _check_name(layer, "an array of an archive", layer)
    return {
        f"{layer}/{index}": array
        for layer, arrays in weights.items()
        for index, array in enumerate(arrays)
    }


def write_npz(file: BinaryIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an npz archive of named arrays, in a stream (for weights see ``flatten``).

    Raises:
        InputError: an archive cannot have a name.
    """
    import numpy as np

    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            _check_name(name, "npz", "\0" not in name)
            # The date is fixed, so that equal weights give equal files.
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(member, "w", force_zip64=True) as out:
                np.lib.format.write_array(out, np.asanyarray(array), allow_pickle=False)


def read_npz(path: str | Path) -> Weights:
    """Return blobs by layer name from an npz with array names LAYER/INDEX.

    Raises:
        InputError: the file cannot be read, or its array names do not have this form.
    """
    weights: dict[str, dict[int, Any]] = {}
    for name, array in read_arrays(path).items():
        layer, _, index = name.rpartition("/")
        if not layer or not (index.isascii() and index.isdigit() and len(index) < 10):
            raise InputError(
                f"invalid array name {name!r}", where=str(path), advice="It must be LAYER/INDEX."
            )
        weights.setdefault(layer, {})[int(index)] = array
    return _in_order(weights, path)


def _in_order(weights: Mapping[str, Mapping[int, Any]], path: str | Path) -> Weights:
    """Return the blobs of each layer as a list.

    Raises:
        InputError: an index is missing.
    """
    for layer, blobs in weights.items():
        if sorted(blobs) != list(range(len(blobs))):
            raise InputError(
                f"layer {layer!r} has the blobs {sorted(blobs)}, expected 0, 1, ...",
                where=str(path),
            )
    return {layer: [blobs[i] for i in sorted(blobs)] for layer, blobs in weights.items()}


def _check_name(name: str, container: str, possible: Any) -> None:
    """Check a name that is written to a file.

    Raises:
        InputError: the name is not valid UTF-8, or not ``possible``.
    """
    check_utf8(name, f"{container} requires")
    if not possible:
        raise InputError(
            f'{container} cannot have the name "{printable(name)}"',
            advice="Rename it.",
        )


def safetensors_bytes(weights: Mapping[str, Sequence[NDArray[np.floating]]]) -> bytes:
    """Return the weights as a safetensors file, with array names LAYER/INDEX.

    Raises:
        UnsupportedError: the library safetensors is not installed.
    """
    import numpy as np

    try:
        from safetensors.numpy import save
    except ImportError:
        raise missing("safetensors", "safetensors") from None
    arrays = {name: np.ascontiguousarray(array) for name, array in flatten(weights).items()}
    raw: bytes = save(arrays, {"format": "caffe"})
    return raw


# HDF5 in Caffe's layout: /data/LAYER/INDEX


def write_hdf5(file: BinaryIO, weights: Mapping[str, Sequence[NDArray[np.floating]]]) -> None:
    """Write Caffe's .caffemodel.h5. A slash in the name of a layer makes a group, as in Caffe.

    Raises:
        InputError: HDF5 cannot have the name of a layer.
        UnsupportedError: the library h5py is not installed.
    """
    h5py = _h5py()
    import io

    blobs = {f"{layer}/{i}" for layer, arrays in weights.items() for i in range(len(arrays))}
    for layer in weights:
        parts = layer.split("/")
        groups = set(accumulate(parts, "{}/{}".format))
        possible = not groups & blobs and not {"", "."} & set(parts) and "\0" not in layer
        _check_name(layer, "a group of HDF5", possible)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as store:
        group = store.create_group("data")
        for layer, arrays in weights.items():
            inner = group.require_group(layer)
            for index, array in enumerate(arrays):
                inner.create_dataset(str(index), data=array)
    file.write(buffer.getbuffer())


def read_hdf5(path: str | Path) -> Weights:
    """Return blobs by layer name from a .caffemodel.h5. A layer's name may contain slashes.

    Raises:
        InputError: the file cannot be read, does not have Caffe's layout, or its values are
            stored in another file.
        UnsupportedError: the library h5py is not installed.
    """
    h5py = _h5py()
    weights: dict[str, dict[int, Any]] = {}
    total = 0

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            layer, _, index = name.rpartition("/")
            if not (index.isascii() and index.isdigit() and len(index) < 10):
                raise InputError(
                    f"/data/{name} is not the blob of a layer",
                    where=str(path),
                    advice="Blobs must have the names 0, 1, ...",
                )
            nonlocal total
            total += item.nbytes
            if total > (most := max(UNPACKED, TIMES * size)):
                raise InputError(
                    f"the values take more than {most} bytes, the limit for a file of {size} bytes",
                    where=f"{path}: /data/{name}",
                )
            weights.setdefault(layer, {})[int(index)] = _values(item, f"{path}: /data/{name}")

    try:
        size = os.stat(files.regular(path)).st_size
        with h5py.File(files.regular(path), "r") as store:
            # A link could lead to another file. Below /data, visititems follows only hard links.
            if not isinstance(store.get("data", getlink=True), h5py.HardLink):
                raise InputError(
                    "missing group /data", where=str(path), advice="The file is not a caffemodel."
                )
            if not isinstance(store["data"], h5py.Group):
                raise InputError("/data is not a group", where=str(path))
            store["data"].visititems(visit)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, MemoryError) as error:
        # h5py has no exception class of its own; it raises these for errors of libhdf5.
        raise InputError(f"cannot be read ({error})", where=str(path)) from None
    return _in_order(weights, path)


def _values(item: Any, where: str) -> NDArray[Any]:
    """Return the array of a dataset.

    Raises:
        InputError: the values are not floats, or are stored in another file.
    """
    if item.external or item.is_virtual:
        raise InputError(
            "the values are stored in another file",
            where=where,
            advice="Copy them into one file with h5repack.",
        )
    if item.dtype.kind != "f":
        raise InputError(f"expected values of type float, got {item.dtype}", where=where)
    values: NDArray[Any] = item[()]
    return values


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise missing("h5py", "hdf5") from None
    return h5py


def missing(library: str, extra: str) -> UnsupportedError:
    """Return the error for an optional library that is not installed."""
    advice = f"Install it with pip install 'protogen[{extra}]'."
    return UnsupportedError(f"{library} is not installed", advice=advice)
