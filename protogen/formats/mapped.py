"""Arrays that are views of memory-mapped files: their positions, and reading them in pieces.

A page of a mapped file counts as memory of the process from its first access. Code that reads a
large array therefore releases the pages that it has read.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from protogen.errors import InputError
from protogen.formats import files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[int], object]

PAGE = 4096
ALIGNMENT = 64  # bytes: what the fastest instructions of processors read at once
READS = hasattr(os, "preadv")  # whether the file of a map can be read without access to the map
PIECE = 1 << 20  # bytes: fits into the processor's cache, and large enough for few calls


class FileMap(mmap.mmap):
    """A read-only memory map of a whole file, with its path. ``number`` is the descriptor of the
    open file; ``state`` is its size and its modification time when it was mapped."""

    path: str
    number: int
    state: tuple[int, int]

    def fill(self, buffer: memoryview, start: int) -> None:
        """Read the bytes from ``start`` on into a buffer. Access to the map would kill the process
        if the file has become shorter.

        Raises:
            InputError: the file has become shorter or was written to.
        """
        done = 0
        while done < len(buffer):
            count = os.preadv(self.number, [buffer[done:]], start + done)
            if not count:
                break
            done += count
        self.check_unchanged(done == len(buffer))

    def check_unchanged(self, complete: bool = True) -> None:
        """Check that no program has written to the file since it was mapped.

        Args:
            complete: whether the bytes that were read last were there.

        Raises:
            InputError: the file has become shorter or was written to.
        """
        if not complete or _state(self.number) != self.state:
            raise InputError(
                "the file was changed while it was read",
                where=self.path,
                advice="Run again when no program writes to it.",
            )


def _state(number: int) -> tuple[int, int]:
    status = os.fstat(number)
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class FilePosition:
    """Position of an array: the bytes from ``start`` on of the file at ``map.path``."""

    map: FileMap
    start: int


def map_file(path: str | Path) -> FileMap | bytes:
    """Map the file. For an empty file, which cannot be mapped, return empty bytes.

    Raises:
        InputError: the file cannot be read or mapped.
    """
    try:
        with files.opened(path) as file:
            if not file.seek(0, 2):
                return b""
            mapped = FileMap(file.fileno(), 0, access=mmap.ACCESS_READ)
            mapped.number = os.dup(file.fileno())
            weakref.finalize(mapped, os.close, mapped.number)
            mapped.state = _state(mapped.number)
    except OSError as error:
        raise files.unreadable(path, error) from None
    except ValueError as error:  # a pipe, or a device without a length
        raise InputError(f"cannot be mapped ({error})", where=str(path)) from None
    mapped.path = str(path)
    return mapped


def locate(array: NDArray[Any]) -> FilePosition | None:
    """Return the position of a view in its FileMap; None for arrays in memory and for views that
    are not contiguous."""
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


def in_memory(array: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous array in memory: the array itself, or a copy of a view of a mapped file, which is
    read without access to the map. Its values begin at a multiple of 64 bytes.

    Raises:
        InputError: the file was changed since it was mapped.
    """
    import numpy as np

    place = locate(array)
    if place is None or not READS:
        return np.ascontiguousarray(array)
    memory = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    copy = memory[start : start + array.nbytes]
    place.map.fill(copy.data, place.start)
    return copy.view(array.dtype).reshape(array.shape)


def pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the values in order, in aligned one-dimensional pieces. A piece is valid until the
    next one is requested."""
    import numpy as np

    place = locate(array)
    count = PIECE // array.itemsize
    if place is not None and READS:
        buffer = np.empty(min(count, array.size), array.dtype)
        for start in range(0, array.size, count):
            piece = buffer[: array.size - start]
            place.map.fill(piece.view(np.uint8).data, place.start + start * array.itemsize)
            yield piece
        return
    flat = np.ascontiguousarray(array).reshape(-1)
    buffer = np.empty(0 if flat.flags.aligned else count, flat.dtype)
    for start in range(0, flat.size, count):
        piece = flat[start : start + count]
        if not flat.flags.aligned:  # sums over unaligned values are slow: copy the bytes first
            aligned = buffer[: piece.size]
            aligned.view(np.uint8)[:] = piece.view(np.uint8)
            piece = aligned
        yield piece
        if place is not None:
            release(place, start * flat.itemsize, piece.nbytes)


def release(place: FilePosition, offset: int, length: int) -> None:
    """Release the pages that lie completely between ``offset`` and ``offset + length``."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    page = mmap.PAGESIZE
    start = -(-(place.start + offset) // page) * page
    end = (place.start + offset + length) // page * page
    if end > start:
        place.map.madvise(mmap.MADV_DONTNEED, start, end - start)


def release_arrays(arrays: Iterable[NDArray[Any] | LazyArray]) -> None:
    """Release the pages of arrays that are views of a mapped file; the next access reads them again."""
    for array in arrays:
        if isinstance(array, LazyArray) or array.nbytes < PIECE:
            continue
        if (place := locate(array)) is not None:
            release(place, 0, array.nbytes)


def check_unchanged(arrays: Iterable[NDArray[Any]]) -> None:
    """Check that no program has written to the files of arrays that are views, see ``FileMap``.

    Raises:
        InputError: a file was changed since it was mapped.
    """
    places = (locate(array) for array in arrays)
    for mapped in {id(place.map): place.map for place in places if place is not None}.values():
        mapped.check_unchanged()


@dataclass(frozen=True, slots=True)
class LazyArray:
    """A float32 array whose values are generated in chunks when they are written."""

    shape: tuple[int, ...]
    make: Callable[[], Iterator[NDArray[np.float32]]]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def array(self) -> NDArray[np.float32]:
        """Return all values in memory."""
        import numpy as np

        flat = np.empty(self.size, np.float32)
        at = 0
        for chunk in self.make():
            flat[at : at + chunk.size] = chunk
            at += chunk.size
        return flat.reshape(self.shape)


def counted(progress: Callable[[int, int], object] | None, size: int) -> Progress:
    """Return a Progress that calls ``progress`` with the bytes written so far and ``size``."""
    done = 0

    def count_up(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, size)

    return count_up


def write_array(
    array: NDArray[Any] | LazyArray, file: BinaryIO, progress: Progress | None = None
) -> None:
    """Write the values of an array in their memory format. A view of a mapped file is copied from
    file to file. An array of one repeated number is written without allocation of the whole array.

    Args:
        progress: is called with the number of bytes after each write.
    """
    import numpy as np

    if isinstance(array, LazyArray):
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
    """Copy bytes of a mapped file to another file: within the system where it can do so, else through one
    small buffer, which is faster than the map, whose pages cause faults."""
    done = _copy_in_system(place, size, file, progress)
    view = memoryview(place.map)
    buffer = memoryview(bytearray(min(PIECE, size - done))) if READS else None
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


def _copy_in_system(
    place: FilePosition, size: int, file: BinaryIO, progress: Progress | None
) -> int:
    """Copy bytes with ``copy_file_range``, and return how many were copied: 0 where the system or the kinds
    of the two files do not allow it, and where the bytes are at other places in their pages, which takes
    longer than copying through a buffer."""
    if size < PIECE or not hasattr(os, "copy_file_range"):
        return 0
    try:
        target = file.fileno()
        if (file.tell() - place.start) % PAGE:
            return 0
    except OSError:  # a file in memory, or a pipe
        return 0
    file.flush()
    done = 0
    while done < size:
        start, count = place.start + done, min(_MOST, size - done)
        try:
            copied = os.copy_file_range(place.map.number, target, count, start)
        except OSError as error:
            if not done and error.errno in _NOT_COPIED:
                return 0
            raise
        place.map.check_unchanged(copied > 0)
        done += copied
        if progress:
            progress(copied)
    return done


_MOST = 16 * PIECE  # bytes of one call, between which the progress is reported
_NOT_COPIED = (
    errno.EBADF,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EXDEV,
    errno.ETXTBSY,
)
