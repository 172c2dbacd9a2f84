"""numpy's files, .npy and .npz, from strangers: what a header declares is held against the bytes
that are there before memory is taken, and nothing in it is evaluated."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from protogen.errors import InputError
from protogen.geometry import shape_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"\x93NUMPY"
UNPACKED = 1 << 26  # bytes of an archive's arrays, or
TIMES = 20  # times its own size, whichever is more
_HEADER = 1 << 16  # bytes of text in front of the values; numpy writes 118
_DESCR = re.compile(r"""['"]descr['"]\s*:\s*['"]([<>|=]?(?:\?|b1|[iu][1248]|f[248]))['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\d,\sL]{0,800})\)""")


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by name, or the one of an .npy under an empty name.

    Raises:
        InputError: it cannot be read, is damaged, holds anything but numbers, or would unpack to
            far more than it is.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(len(MAGIC))
            size = file.seek(0, 2)
            file.seek(0)
            if start == MAGIC:
                return {"": _array(file, size, str(path))}
            if start[:2] == b"PK":
                return _archive(file, size, str(path))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=str(path)) from None
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
        raise InputError(f"is a damaged array file ({error})", where=str(path)) from None
    raise InputError(
        "is no array file", where=str(path), advice="It must be an .npy or .npz of numpy's."
    )


def _archive(file: BinaryIO, size: int, where: str) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > max(UNPACKED, TIMES * size):
            raise InputError(
                f"{size} bytes would unpack to {total}",
                where=where,
                advice="Save it with numpy.savez, which does not pack.",
            )
        made = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as inner:
                if inner.read(len(MAGIC)) != MAGIC:
                    raise InputError(f"{name!r} is no array", where=where)
            with archive.open(member) as inner:
                made[name] = _array(inner, member.file_size, f"{where}: {name}")
        return made


def _array(file: Any, size: int, where: str) -> NDArray[Any]:
    """The array of a stream of so many bytes that begins with numpy's magic."""
    import numpy as np

    raw = file.read(12)
    wide = len(raw) == 12 and raw[6] > 1  # version 1 has a length of two bytes
    length = int.from_bytes(raw[8:12] if wide else raw[8:10], "little")
    begin = (12 if wide else 10) + length
    if len(raw) < 12 or length > _HEADER or begin > size:
        raise InputError("its header is cut off", where=where)
    text = (raw[10:] if not wide else b"") + file.read(begin - 12)
    header = text.decode("latin-1")
    descr, order, shape = _DESCR.search(header), _ORDER.search(header), _SHAPE.search(header)
    if not (descr and order and shape):
        raise InputError(
            "its header is not that of an array of numbers",
            where=where,
            advice="Save it with numpy.save, as float32.",
        )
    lengths = [n.strip().rstrip("L") for n in shape[1].split(",") if n.strip()]
    if not all(n.isdigit() and len(n) < 19 for n in lengths):
        raise InputError(f"its shape is ({shape[1]})", where=where)
    dims = tuple(map(int, lengths))
    kind = np.dtype(descr[1])
    need = prod(dims) * kind.itemsize
    if need > size - begin or len(dims) > 32:
        shown = shape_text(dims)
        raise InputError(
            f"{shown} values of {kind} take {need} bytes, but {size - begin} are there",
            where=where,
            advice="It is cut short or damaged.",
        )
    values = np.frombuffer(bytearray(file.read(need)), kind)
    backwards = order[1] == "True"  # Fortran's: the first axis moves fastest
    return values.reshape(dims[::-1]).transpose() if backwards else values.reshape(dims)
