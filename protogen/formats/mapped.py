"""Arrays that are views of mapped files: where they stand, and reading them a piece at a time.

A page of a mapped file counts as the process's memory from its first touch; whoever walks over
a large array gives the pages back behind itself.
"""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from protogen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[int], object]

PAGE = 4096
READS = hasattr(os, "preadv")  # whether a map's file can be read without touching the map
PIECE = 1 << 20  # bytes: small enough for a processor's cache, large enough to be few


class FileMap(mmap.mmap):
    """A read-only map of a whole file that knows its path and keeps it open as ``number``; ``state``
    is its size and its time of change when it was mapped."""

    path: str
    number: int
    state: tuple[int, int]

    def fill(self, buffer: memoryview, start: int) -> None:
        """Reads the bytes from ``start`` on into a buffer. Where the file has become shorter the map
        itself would end the process.

        Raises:
            InputError: it has, or it was written to.
        """
        done = 0
        while done < len(buffer):
            count = os.preadv(self.number, [buffer[done:]], start + done)
            if not count:
                break
            done += count
        if done < len(buffer) or _state(self.number) != self.state:
            raise InputError(
                "was changed while it was read",
                where=self.path,
                advice="Run again when nothing writes to it.",
            )


def _state(number: int) -> tuple[int, int]:
    told = os.fstat(number)
    return told.st_size, told.st_mtime_ns


@dataclass(frozen=True, slots=True)
class FilePosition:
    """Where an array stands: bytes from ``start`` on of the file at ``map.path``."""

    map: FileMap
    start: int


def map_file(path: str | Path) -> FileMap | bytes:
    """The file's bytes as a map; an empty file, which cannot be mapped, as empty bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            if not file.seek(0, 2):
                return b""
            made = FileMap(file.fileno(), 0, access=mmap.ACCESS_READ)
            made.number = os.dup(file.fileno())
            weakref.finalize(made, os.close, made.number)
            made.state = _state(made.number)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", where=str(path), advice="Check the path."
        ) from None
    except ValueError as error:  # a pipe, or a device without a length
        raise InputError(f"cannot be mapped ({error})", where=str(path)) from None
    made.path = str(path)
    return made


def locate(array: NDArray[Any]) -> FilePosition | None:
    """Where a view of a FileMap stands; None for arrays in memory and for views with gaps."""
    import numpy as np

    if not array.flags.c_contiguous:
        return None
    base: Any = array
    while base is not None and not isinstance(base, FileMap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    if base is None:
        return None
    origin = np.frombuffer(base, np.uint8, 1).ctypes.data
    return FilePosition(base, array.ctypes.data - origin)


def pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The values one after the other in aligned pieces of one axis; a piece is good until the
    next one is asked for."""
    import numpy as np

    place = locate(array)
    count = PIECE // array.itemsize
    if place is not None and READS:
        room = np.empty(min(count, array.size), array.dtype)
        for start in range(0, array.size, count):
            piece = room[: array.size - start]
            place.map.fill(piece.view(np.uint8).data, place.start + start * array.itemsize)
            yield piece
        return
    flat = np.ascontiguousarray(array).reshape(-1)
    buffer = np.empty(0 if flat.flags.aligned else count, flat.dtype)
    for start in range(0, flat.size, count):
        piece = flat[start : start + count]
        if not flat.flags.aligned:  # sums over unaligned values are slow: move the bytes first
            aligned = buffer[: piece.size]
            aligned.view(np.uint8)[:] = piece.view(np.uint8)
            piece = aligned
        yield piece
        if place is not None:
            release(place, start * flat.itemsize, piece.nbytes)


def release(place: FilePosition, offset: int, length: int) -> None:
    """Gives back the pages that stand wholly between two places."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    page = mmap.PAGESIZE
    start = -(-(place.start + offset) // page) * page
    end = (place.start + offset + length) // page * page
    if end > start:
        place.map.madvise(mmap.MADV_DONTNEED, start, end - start)


@dataclass(frozen=True, slots=True)
class Made:
    """A float32 array whose values are made, a chunk at a time, when they are written."""

    shape: tuple[int, ...]
    make: Callable[[], Iterator[NDArray[np.float32]]]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def array(self) -> NDArray[np.float32]:
        """All values, in memory."""
        import numpy as np

        flat = np.empty(self.size, np.float32)
        at = 0
        for chunk in self.make():
            flat[at : at + chunk.size] = chunk
            at += chunk.size
        return flat.reshape(self.shape)


def counted(progress: Callable[[int, int], object] | None, size: int) -> Progress:
    """A Progress that tells another one bytes written so far, and bytes in all."""
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, size)

    return tell


def write_array(
    array: NDArray[Any] | Made, file: BinaryIO, progress: Progress | None = None
) -> None:
    """Writes the values as they are in memory: from file to file where they stand in one, and one
    number that fills the array without making room for all of them.

    Args:
        progress: is told how many bytes were written each time.
    """
    import numpy as np

    if isinstance(array, Made):
        for chunk in array.make():
            file.write(np.ascontiguousarray(chunk, "<f4").data)
            if progress:
                progress(chunk.nbytes)
        return
    place = locate(array)
    if place is not None:
        _copy(place, array.nbytes, file, progress)
        return
    if array.size * array.itemsize > PIECE and not any(array.strides):
        block = np.full(PIECE // array.itemsize, array.flat[0])
        for start in range(0, array.size, block.size):
            piece = block[: array.size - start]
            file.write(piece.data)
            if progress:
                progress(piece.nbytes)
        return
    for piece in pieces(array):
        file.write(piece.data)
        if progress:
            progress(piece.nbytes)


def _copy(place: FilePosition, size: int, file: BinaryIO, progress: Progress | None) -> None:
    """Bytes of a mapped file to another file. Reading them again into one small buffer is faster
    than the map, whose pages must be faulted in, and than sendfile, which moves page by page."""
    view = memoryview(place.map)
    buffer = memoryview(bytearray(min(PIECE, size))) if READS else None
    done = 0
    while done < size:
        start, count = place.start + done, min(PIECE, size - done)
        if buffer is None:
            piece = view[start : start + count]
        else:
            piece = buffer[:count]
            place.map.fill(piece, start)
        file.write(piece)
        if buffer is None:
            release(place, done, count)
        done += len(piece)
        if progress:
            progress(len(piece))
