"""Protobuf's wire format, as far as weight files need it. It reads fields without copying bytes.

A field is a tag (number and wire type as a varint) and a value. The value is a varint (wire
type 0), 8 bytes (1), a length and that number of bytes (2), or 4 bytes (5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogen.errors import InputError
from protogen.formats.schema import message_type

if TYPE_CHECKING:
    import mmap

MAX_PARTS = 900_000  # 9 for each of 100,000 layers; published files have at most 12,000
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_NAMES = {3: " (start of a group)", 4: " (end of a group)"}


@dataclass(slots=True)
class Span:
    """One field: its number, its wire type, start and end of its value, and the value if it is a
    varint. ``tag`` is the offset of the field itself."""

    number: int
    kind: int
    start: int
    end: int
    tag: int
    value: int = 0


class Bytes:
    """The bytes of a file (a memory map, or bytes). Its errors name the offset in the file."""

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
        """Return an InputError that names the file and the offset."""
        return InputError(
            problem,
            where=f"{self.filename}:byte {at}",
            advice=f"The file is truncated or damaged, or it is not a valid {self.expected}.",
        )

    def part(self, at: int) -> None:
        """Count a part that is stored as a Python object. Such an object takes far more memory
        than the few bytes of a small part in the file.

        Raises:
            InputError: the file has too many parts.
        """
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise self.error(at, f"the file has more than {MAX_PARTS} layers, names and blobs")

    def has_room(self, parts: int) -> bool:
        """Return whether ``part`` can count so many further parts."""
        return self.parts + parts <= MAX_PARTS

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Return the varint that begins at ``at``, and the offset of its end."""
        data = self.data
        value = shift = 0
        start = at
        while True:
            if at >= end:
                raise self.error(start, "a number is incomplete")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift > 63:
                raise self.error(start, "a number has more than 64 bits")

    def fields(self, at: int, end: int) -> Iterator[Span]:
        """Yield the fields of the message from ``at`` to ``end``.

        Raises:
            InputError: the bytes are not a valid message, or a value extends beyond its end.
        """
        while at < end:
            span = self.field(at, end)
            yield span
            at = span.end

    def field(self, at: int, end: int) -> Span:
        """Return the field that begins at ``at``; see ``fields``."""
        data, tag_at = self.data, at
        # Most numbers have one byte.
        tag, at = (data[at], at + 1) if at < end and data[at] < 0x80 else self.varint(at, end)
        number, kind = tag >> 3, tag & 7
        value = 0
        start = at
        if kind == VARINT:
            value, at = self.varint(at, end)
        elif kind == BYTES:
            short = at < end and data[at] < 0x80
            length, start = (data[at], at + 1) if short else self.varint(at, end)
            at = start + length
        elif kind in (FIXED32, FIXED64):
            at += 4 if kind == FIXED32 else 8
        else:
            raise self.error(tag_at, f"unsupported wire type {kind}{_NAMES.get(kind, '')}")
        if number == 0:
            raise self.error(tag_at, "invalid field number 0")
        if at > end:
            raise self.error(
                tag_at, f"a value of {at - start} bytes is declared, but only {end - start} remain"
            )
        return Span(number, kind, start, at, tag_at, value)

    def text(self, span: Span) -> str:
        """Return the value of a string; surrogateescape preserves bytes outside of UTF-8."""
        return bytes(self.data[span.start : span.end]).decode("utf-8", "surrogateescape")


def varint(value: int) -> bytes:
    """Return an integer of 0 or more in protobuf's base-128 encoding."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def head(message: str, field: str, length: int) -> bytes:
    """Return tag and length, which precede the bytes of a length-delimited field."""
    return varint(number(message, field) << 3 | BYTES) + varint(length)


def text(message: str, field: str, value: str) -> bytes:
    """Return a complete string field: tag, length and bytes."""
    raw = value.encode("utf-8", "surrogateescape")
    return head(message, field, len(raw)) + raw


def number(message: str, field: str) -> int:
    """Return the number of a field by its name."""
    return message_type(message).fields[field].number
