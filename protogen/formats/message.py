"""Messages of Caffe files as Python objects: fields in file order, with places and comments.

Unlike protobuf's classes they keep unknown fields, unknown enum values, the order of the fields,
comments, and the place of each field in the file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from protogen.errors import InputError, Place, quantity
from protogen.formats.schema import FieldType, MessageType, message_type

_INTEGERS = {
    **dict.fromkeys(("int32", "sint32", "sfixed32"), (-(2**31), 2**31 - 1)),
    **dict.fromkeys(("uint32", "fixed32"), (0, 2**32 - 1)),
    **dict.fromkeys(("int64", "sint64", "sfixed64"), (-(2**63), 2**63 - 1)),
    **dict.fromkeys(("uint64", "fixed64"), (0, 2**64 - 1)),
}


class Name(str):
    """An unquoted word in a text file: the value of an enum."""

    __slots__ = ()


class Source:
    """A text and the name of its file. Converts offsets to places for error messages."""

    def __init__(self, text: str, filename: str, bom: bool = False) -> None:
        self.text = text
        self.bom = bom  # whether the file began with a byte-order mark
        self.filename = filename
        self._starts: list[int] | None = None

    def position(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, both counted from 1."""
        if self._starts is None:
            lengths = map((1).__add__, map(len, self.text.split("\n")))
            self._starts = [0, *accumulate(lengths)]  # the last start is beyond the text
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def place(self, offset: int, end: int = -1) -> Place:
        """Return the place of an offset; the whole file for a negative offset (no source text)."""
        if offset < 0:
            return Place(self.filename)
        return Place(self.filename, *self.position(offset), offset, end)

    def error(self, offset: int, problem: str, advice: str = "", subject: str = "") -> InputError:
        """Return an InputError with the place, and the line with a caret below it."""
        _, column = self.position(offset)
        start = offset - column + 1
        stop = self.text.find("\n", start)
        shown = self.text[start : stop if stop >= 0 else len(self.text)].rstrip("\r")
        first = max(0, column - 61)
        shown = shown[first : first + 100].replace("\t", " ")
        lines = (f"    {shown}", f"    {' ' * (column - 1 - first)}^")
        where = self.place(offset)
        return InputError(problem, where=where, subject=subject, advice=advice, lines=lines)


class Field:
    """One field of a message.

    ``type`` is None if the schema does not define the field. ``start`` and ``end`` are offsets in
    the source (-1: the field is not from a file). ``literal`` is the original spelling of a number.
    ``before`` and ``after`` are comments. ``blank``: an empty line precedes the field.
    """

    __slots__ = ("after", "before", "blank", "end", "literal", "name", "start", "type", "value")

    def __init__(
        self,
        name: str,
        value: Any,
        type: FieldType | None = None,
        start: int = -1,
        before: tuple[str, ...] = (),
        blank: bool = False,
    ) -> None:
        self.name = name
        self.value = value
        self.type = type
        self.start = start
        self.end = -1
        self.literal: str | None = None
        self.before = before
        self.after = ""
        self.blank = blank


class Message:
    """Fields of one message in file order.

    Fields can be read as attributes: ``message.stride`` is a list if the field is repeated,
    otherwise its value. If the field is not set, it is the default of the schema, or an empty
    message.
    """

    __slots__ = ("_index", "fields", "kind", "opening", "tail")

    def __init__(self, type_: MessageType | None, fields: Iterable[Field] = ()) -> None:
        self.kind = type_
        self.fields = list(fields)
        self.opening = ""  # a comment after the opening brace
        self.tail: tuple[str, ...] = ()  # comments before the closing brace
        self._index: dict[str, list[Field]] | None = None

    @classmethod
    def make(cls, type_: str | MessageType, /, **values: Any) -> Message:
        """Return a message with these values: lists for repeated fields, dicts for inner messages.

        Raises:
            InputError: a name or a value does not match the schema.
        """
        message = cls(message_type(type_) if isinstance(type_, str) else type_)
        for name, value in values.items():
            for item in value if isinstance(value, (list, tuple)) else [value]:
                message.add(name, item)
        return message

    def all(self, name: str) -> list[Field]:
        """Return every field of this name, in order."""
        index = self._index
        return (self.by_name() if index is None else index).get(name, [])

    def by_name(self) -> dict[str, list[Field]]:
        """Return every field by its name. Code that adds to ``fields`` must add to this, too."""
        index = self._index
        if index is None:
            index = self._index = {}
            for item in self.fields:
                index.setdefault(item.name, []).append(item)
        return index

    def has(self, name: str) -> bool:
        """Return whether the field is set."""
        index = self._index
        return name in (self.by_name() if index is None else index)

    def __getattr__(self, name: str) -> Any:
        if name[0] == "_":
            raise AttributeError(name)
        known = None if self.kind is None else self.kind.fields.get(name)
        fields = self.all(name)
        if known is None and not fields:
            of = self.kind.name if self.kind else "an unknown message"
            raise AttributeError(f"{of} has no field {name!r}")
        if known is None:
            return fields[-1].value
        # Python finds a property several times faster than it finds out that it must call this method,
        # and most code that walks over a net reads fields.
        setattr(Message, name, _property(name))
        return getattr(self, name)

    def add(self, name: str, value: Any) -> Field:
        """Append a field; check its value against the schema.

        Raises:
            InputError: the schema has no such field, or the value does not match its type.
        """
        known = self.kind.fields.get(name) if self.kind else None
        if known is None and self.kind is not None:
            raise InputError(f"unknown field {name} in {self.kind.name}")
        item = Field(name, _value(known, value) if known else value, known)
        self.append(item)
        return item

    def append(self, item: Field) -> None:
        """Append a field without a check."""
        self.fields.append(item)
        self._index = None

    def remove(self, name: str) -> None:
        """Remove every field of this name."""
        self.fields = [item for item in self.fields if item.name != name]
        self._index = None

    def walk(self) -> Iterator[tuple[Message, Field]]:
        """Yield every field at every depth, with the message that holds it."""
        stack = [(self, item) for item in reversed(self.fields)]
        while stack:
            holder, item = stack.pop()
            yield holder, item
            if isinstance(item.value, Message):
                inner = item.value
                stack += [(inner, below) for below in reversed(inner.fields)]

    def plain(self) -> dict[str, Any]:
        """Return the fields that are set as nested dicts and lists; unknown fields are lists."""
        values: dict[str, Any] = {}
        for item in self.fields:
            value = item.value.plain() if isinstance(item.value, Message) else item.value
            if item.type is not None and not item.type.repeated:
                values[item.name] = value
            else:
                values.setdefault(item.name, []).append(value)
        return values

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return self.plain() == other.plain()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"<{self.kind.name if self.kind else 'message'}: {quantity(len(self.fields), 'field')}>"
        )


def _property(name: str) -> property:
    """Return a property of Message for a field; see its docstring for the values."""

    def read(message: Message) -> Any:
        index, kind = message._index, message.kind
        fields = (message.by_name() if index is None else index).get(name)
        known = None if kind is None else kind.fields.get(name)
        if known is None:
            if not fields:
                raise AttributeError(name)  # __getattr__ then says more
            return fields[-1].value
        if known.repeated:
            return [item.value for item in fields] if fields else []
        if fields:
            return fields[-1].value
        category = known.category or known.resolve()
        if category == "message":
            return Message(known.message)
        if category == "enum" and known.enum is not None:
            return Name(known.default or next(iter(known.enum.values)))
        return known.default

    return property(read)


def _value(known: FieldType, value: Any) -> Any:
    """Return ``value`` converted to the field's type."""
    if known.message is not None:
        if isinstance(value, Mapping):
            return Message.make(known.message, **value)
        if isinstance(value, Message):
            return value
    elif known.enum is not None:
        return enum_value(known, value)
    elif known.type_name in _INTEGERS:
        if problem := integer_problem(known, value):
            raise InputError(problem, subject=known.name)
        return int(value)
    elif known.type_name in ("float", "double") and isinstance(value, (int, float)):
        return float(value)
    elif known.type_name == "bool" and isinstance(value, (bool, int)):
        return bool(value)
    elif known.type_name == "string" and isinstance(value, str):
        return str(value)
    elif known.type_name == "bytes" and isinstance(value, bytes):
        return value
    raise InputError(f"expected {known.type_name}, got {value!r}", subject=known.name)


def enum_value(known: FieldType, value: Any) -> Name:
    """Return the value of an enum, by its name or number."""
    assert known.enum is not None
    for name, number in known.enum.values.items():
        if value == name or (value == number and not isinstance(value, (bool, str))):
            return Name(name)
    expected = ", ".join(known.enum.values)
    raise InputError(
        f"unknown value {value!r} of {known.enum.name}, expected one of {expected}",
        subject=known.name,
    )


def integer_problem(known: FieldType, value: Any) -> str:
    """Return why a value is invalid for an integer field; empty if it is valid."""
    low, high = _INTEGERS[known.type_name]
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return f"expected an integer ({known.type_name}), got {value!r}"
    if not low <= value <= high:
        return f"{value} is out of range for {known.type_name} ({low} to {high})"
    return ""
