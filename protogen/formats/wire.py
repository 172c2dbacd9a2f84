"""Protobuf's wire format, as far as weights need it: walking over bytes without copying them.

A field is a tag (number and wire type as a varint) and a value: a varint (0), 8 bytes (1), a length
and as many bytes (2), or 4 bytes (5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogen.errors import InputError
from protogen.formats.schema import message_type

if TYPE_CHECKING:
    import mmap

MAX_PARTS = 200_000  # published files have 12,000 at most
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_NAMES = {3: "a group", 4: "a group's end"}


@dataclass(slots=True)
class Span:
    """One field: its number, its wire type, where its value begins and ends, and the value itself
    of a varint. ``tag`` is where the field begins."""

    number: int
    kind: int
    start: int
    end: int
    tag: int
    value: int = 0


class Bytes:
    """The bytes of a file (a memory map, or bytes), and errors that name the place in it."""

    def __init__(
        self, data: mmap.mmap | bytes, filename: str, expected: str = "caffemodel"
    ) -> None:
        self.data = data
        self.expected = expected
        self.filename = filename
        self.parts = 0

    def __len__(self) -> int:
        return len(self.data)

    def error(self, at: int, problem: str) -> InputError:
        """An InputError that names the file and the byte."""
        return InputError(
            problem,
            where=f"{self.filename}:byte {at}",
            advice=f"The file is cut short or damaged, or it is no {self.expected}.",
        )

    def part(self, at: int) -> None:
        """Counts a part that an object of Python's is made for: they take far more memory than the
        few bytes of a small part.

        Raises:
            InputError: there are too many.
        """
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise self.error(at, f"there are more than {MAX_PARTS} layers, names and blobs")

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """A varint that begins at ``at``, and where it ends."""
        data = self.data
        value = shift = 0
        start = at
        while True:
            if at >= end:
                raise self.error(start, "a number is cut off")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift > 63:
                raise self.error(start, "a number has more than 64 bits")

    def fields(self, at: int, end: int) -> Iterator[Span]:
        """The fields of the message that stands from ``at`` to ``end``.

        Raises:
            InputError: the bytes are no message, or a value reaches beyond it.
        """
        while at < end:
            span = self.field(at, end)
            yield span
            at = span.end

    def field(self, at: int, end: int) -> Span:
        """The field that begins at ``at``; see ``fields``."""
        tag_at = at
        tag, at = self.varint(at, end)
        number, kind = tag >> 3, tag & 7
        value = 0
        start = at
        if kind == VARINT:
            value, at = self.varint(at, end)
        elif kind == BYTES:
            length, start = self.varint(at, end)
            at = start + length
        elif kind in (FIXED32, FIXED64):
            at += 4 if kind == FIXED32 else 8
        else:
            raise self.error(tag_at, f"{_NAMES.get(kind, f'wire type {kind}')} is not known")
        if number == 0:
            raise self.error(tag_at, "a field has the number 0")
        if at > end:
            raise self.error(
                tag_at, f"a value of {at - start} bytes is declared, but {end - start} are left"
            )
        return Span(number, kind, start, at, tag_at, value)

    def text(self, span: Span) -> str:
        """A string's value; bytes that are no UTF-8 are kept."""
        return bytes(self.data[span.start : span.end]).decode("utf-8", "surrogateescape")


def varint(value: int) -> bytes:
    """A whole number of 0 or more in protobuf's base-128 form."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def head(message: str, field: str, length: int) -> bytes:
    """Tag and length that go before a length-delimited field's bytes."""
    return varint(number(message, field) << 3 | BYTES) + varint(length)


def text(message: str, field: str, value: str) -> bytes:
    """A whole string field."""
    raw = value.encode("utf-8", "surrogateescape")
    return head(message, field, len(raw)) + raw


def number(message: str, field: str) -> int:
    """A field's number by its name."""
    return message_type(message).fields[field].number
