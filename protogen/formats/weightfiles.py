"""Weights in other files: npz, safetensors, HDF5."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from protogen.errors import InputError, UnsupportedError
from protogen.formats.arrayfiles import TIMES, UNPACKED, read_arrays
from protogen.formats.caffemodel import read_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = dict[str, list[NDArray[np.floating]]]


def read_any(path: str | Path) -> Weights:
    """Blobs by layer name from a .caffemodel, or from Caffe's HDF5 form (.h5).

    Raises:
        InputError: the file cannot be read or is damaged.
    """
    if str(path).endswith((".h5", ".hdf5")):
        return read_hdf5(path)
    return read_weights(path).weights()


# npz and safetensors: one array per blob, named LAYER/INDEX


def flatten(weights: Mapping[str, Sequence[NDArray[np.floating]]]) -> dict[str, Any]:
    """Arrays by ``layer/index``."""
    return {
        f"{layer}/{index}": array
        for layer, arrays in weights.items()
        for index, array in enumerate(arrays)
    }


def write_npz(file: BinaryIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """An npz archive of named arrays (weights: see ``flatten``); they are streamed."""
    import numpy as np

    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            # A fixed date: the same weights are the same file.
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(member, "w", force_zip64=True) as out:
                np.lib.format.write_array(out, np.asanyarray(array), allow_pickle=False)


def read_npz(path: str | Path) -> Weights:
    """Blobs by layer name of an npz with names LAYER/INDEX.

    Raises:
        InputError: it is no such file.
    """
    weights: dict[str, dict[int, Any]] = {}
    for name, array in read_arrays(path).items():
        layer, _, index = name.rpartition("/")
        if not layer or not (index.isascii() and index.isdigit() and len(index) < 10):
            raise InputError(f"holds {name!r}", where=str(path), advice="Name arrays LAYER/INDEX.")
        weights.setdefault(layer, {})[int(index)] = array
    for layer, blobs in weights.items():
        if sorted(blobs) != list(range(len(blobs))):
            raise InputError(
                f"layer {layer!r} has the blobs {sorted(blobs)}, not 0, 1, ...", where=str(path)
            )
    return {layer: [blobs[i] for i in sorted(blobs)] for layer, blobs in weights.items()}


def safetensors_bytes(weights: Mapping[str, Sequence[NDArray[np.floating]]]) -> bytes:
    """The weights as a safetensors file, arrays named LAYER/INDEX.

    Raises:
        UnsupportedError: the library safetensors is not installed.
    """
    import numpy as np

    try:
        from safetensors.numpy import save
    except ImportError:
        raise missing("safetensors", "safetensors") from None
    arrays = {name: np.ascontiguousarray(array) for name, array in flatten(weights).items()}
    made: bytes = save(arrays, {"format": "caffe"})
    return made


# HDF5, as Caffe writes it: /data/LAYER/INDEX


def write_hdf5(file: BinaryIO, weights: Mapping[str, Sequence[NDArray[np.floating]]]) -> None:
    """Caffe's .caffemodel.h5.

    Raises:
        UnsupportedError: the library h5py is not installed.
    """
    h5py = _h5py()
    import io

    made = io.BytesIO()
    with h5py.File(made, "w") as store:
        group = store.create_group("data")
        for layer, arrays in weights.items():
            inner = group.create_group(layer)
            for index, array in enumerate(arrays):
                inner.create_dataset(str(index), data=array)
    file.write(made.getbuffer())


def read_hdf5(path: str | Path) -> Weights:
    """Blobs by layer name of a .caffemodel.h5. A layer's name may hold slashes.

    Raises:
        InputError: it cannot be read, is no such file, or its values lie in another file.
        UnsupportedError: the library h5py is not installed.
    """
    h5py = _h5py()
    weights: dict[str, dict[int, Any]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            layer, _, index = name.rpartition("/")
            if not (index.isascii() and index.isdigit() and len(index) < 10):
                raise InputError(
                    f"holds /data/{name}, not a layer's blob",
                    where=str(path),
                    advice="Caffe names blobs 0, 1, ...",
                )
            weights.setdefault(layer, {})[int(index)] = _values(item, f"{path}: /data/{name}", size)

    try:
        size = Path(path).stat().st_size
        with h5py.File(path, "r") as store:
            # A link could lead to another file. What lies deeper, visititems finds by hard links.
            if not isinstance(store.get("data", getlink=True), h5py.HardLink):
                raise InputError(
                    "has no group /data", where=str(path), advice="It is no caffemodel."
                )
            if not isinstance(store["data"], h5py.Group):
                raise InputError("/data is no group", where=str(path))
            store["data"].visititems(visit)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, MemoryError) as error:
        # h5py has no error of its own: libhdf5's come as these.
        raise InputError(f"cannot be read ({error})", where=str(path)) from None
    return {layer: [blobs[i] for i in sorted(blobs)] for layer, blobs in weights.items()}


def _values(item: Any, where: str, size: int) -> NDArray[Any]:
    """A dataset's array, if its values are numbers and lie in the file of so many bytes."""
    if item.external or item.is_virtual:
        raise InputError(
            "its values lie in another file", where=where, advice="h5repack makes one file of them."
        )
    if item.dtype.kind != "f":
        raise InputError(f"it holds {item.dtype}, not float", where=where)
    if item.nbytes > (most := max(UNPACKED, TIMES * size)):
        raise InputError(f"it takes {item.nbytes} bytes, {most} are the most", where=where)
    values: NDArray[Any] = item[()]
    return values


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise missing("h5py", "hdf5") from None
    return h5py


def missing(library: str, extra: str) -> UnsupportedError:
    """What is said where an optional library is not there."""
    advice = f"pip install 'protogen[{extra}]' brings it."
    return UnsupportedError(f"{library} is not installed", advice=advice)
