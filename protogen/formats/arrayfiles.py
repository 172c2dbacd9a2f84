"""Reader for untrusted numpy files (.npy and .npz).

It compares the sizes that a header declares with the size of the file before it allocates memory.
It evaluates nothing in a header.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from protogen.errors import InputError
from protogen.formats import contents, files
from protogen.geometry import shape_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"\x93NUMPY"
# The arrays of an archive may take UNPACKED bytes, or TIMES its own size if that is more.
UNPACKED = 1 << 26
TIMES = 20
_HEADER = 1 << 16  # bytes of text before the values; numpy writes 118
_DESCR = re.compile(r"""['"]descr['"]\s*:\s*['"]([<>|=]?(?:\?|b1|[iu][1248]|f[248]))['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\d,\sL]{0,800})\)""")


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz by name, or the array of an .npy under an empty name.

    Raises:
        InputError: the file cannot be read, is damaged, holds anything but numbers, or would
            unpack to far more than its size.
    """
    try:
        with files.opened(path) as file:
            start = file.read(len(MAGIC))
            size = file.seek(0, 2)
            file.seek(0)
            if start == MAGIC:
                return {"": _array(file, size, str(path))}
            contents.check_file(path, "arrays")
            if start[:2] == b"PK":
                return _archive(file, size, str(path))
    except OSError as error:
        raise files.unreadable(path, error) from None
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        zlib.error,
        EOFError,
        struct.error,
        ValueError,
        OverflowError,
    ) as error:
        raise InputError(f"the array file is damaged ({error})", where=str(path)) from None
    raise InputError(
        "not a valid array file",
        where=str(path),
        advice="It must be an .npy or .npz file of numpy.",
    )


def _archive(file: BinaryIO, size: int, where: str) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > max(UNPACKED, TIMES * size):
            raise InputError(
                f"{size} bytes would unpack to {total} bytes",
                where=where,
                advice="Save it with numpy.savez, which does not compress.",
            )
        arrays = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as inner:
                if inner.read(len(MAGIC)) != MAGIC:
                    raise InputError(f"{name!r} is not a numpy array", where=where)
            with archive.open(member) as inner:
                arrays[name] = _array(inner, member.file_size, f"{where}: {name}")
        return arrays


def _array(file: Any, size: int, where: str) -> NDArray[Any]:
    """Return the array of a stream of ``size`` bytes that begins with numpy's magic bytes."""
    import numpy as np

    raw = file.read(12)
    wide = len(raw) == 12 and raw[6] > 1  # version 1 has a length of two bytes
    length = int.from_bytes(raw[8:12] if wide else raw[8:10], "little")
    begin = (12 if wide else 10) + length
    if len(raw) < 12 or length > _HEADER or begin > size:
        raise InputError("the header is incomplete", where=where)
    text = (raw[10:] if not wide else b"") + file.read(begin - 12)
    header = text.decode("latin-1")
    descr, order, shape = _DESCR.search(header), _ORDER.search(header), _SHAPE.search(header)
    if not (descr and order and shape):
        raise InputError(
            "the header does not describe an array of numbers",
            where=where,
            advice="Save it with numpy.save, as float32.",
        )
    lengths = [n.strip().rstrip("L") for n in shape[1].split(",") if n.strip()]
    if not all(n.isdigit() and len(n) < 19 for n in lengths):
        raise InputError(f"invalid shape ({shape[1]})", where=where)
    dims = tuple(map(int, lengths))
    kind = np.dtype(descr[1])
    need = prod(dims) * kind.itemsize
    if need > size - begin or len(dims) > 32:
        shown = shape_text(dims)
        raise InputError(
            f"{shown} values of {kind} need {need} bytes, but the file has {size - begin}",
            where=where,
            advice="The file is truncated or damaged.",
        )
    values = np.frombuffer(bytearray(file.read(need)), kind)
    fortran = order[1] == "True"  # Fortran order: the first axis varies fastest
    return values.reshape(dims[::-1]).transpose() if fortran else values.reshape(dims)
