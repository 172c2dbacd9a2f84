"""Parser for .proto text (the subset of proto2 that Caffe's files use).

The reader of text files uses the result directly. For binary files ``pool.py`` converts it to
protobuf descriptors. A trailing comment after a field or an enum value names the forks that define
it (see the head of ``caffe.proto``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from protogen.errors import InputError

SCALARS = {
    "double": float, "float": float, "int32": int, "int64": int, "uint32": int, "uint64": int,
    "sint32": int, "sint64": int, "fixed32": int, "fixed64": int, "sfixed32": int,
    "sfixed64": int, "bool": bool, "string": str, "bytes": bytes,
}  # fmt: skip


class EnumType:
    """An enum: its full name (``PoolingParameter.PoolMethod``), its numbers by name, and the forks
    of those values that only forks define."""

    __slots__ = ("dialects", "name", "values")

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: dict[str, int] = {}
        self.dialects: dict[str, tuple[str, ...]] = {}


# What a value of a scalar type is in a text.
_CATEGORIES = {
    **dict.fromkeys(SCALARS, "integer"),
    "double": "float",
    "float": "float",
    "bool": "bool",
    "string": "string",
    "bytes": "bytes",
}


class FieldType:
    """A field of a message. ``message`` or ``enum`` is set if the type of the field is one.
    ``dialects`` are the forks that define it: none for a field of BVLC Caffe. ``category`` is "message",
    "enum", "integer", "float", "bool", "string" or "bytes"; it is empty before ``resolve``."""

    __slots__ = (
        "_enum",
        "_message",
        "_owner",
        "_schema",
        "category",
        "default",
        "dialects",
        "label",
        "name",
        "number",
        "packed",
        "repeated",
        "type_name",
    )

    def __init__(self, match: re.Match[str], owner: MessageType, schema: Schema) -> None:
        self.name: str = match["field"]
        self.number = int(match["number"])
        self.label: str = match["label"]
        self.repeated = self.label == "repeated"
        self.type_name: str = match["type"]
        options = dict(_OPTION.findall(match["options"])) if match["options"] else {}
        self.default = _default(self.type_name, options.get("default"))
        self.packed = options.get("packed") == "true"
        self.dialects = _dialects(match["forks"])
        self._owner = owner.name
        self._schema = schema
        self.category = _CATEGORIES.get(self.type_name, "")
        self._message: MessageType | None = None
        self._enum: EnumType | None = None

    def move_to(self, schema: Schema, dialect: str, number: int) -> FieldType:
        """Make this field a member of another schema and return it."""
        self._schema, self.dialects, self.number = schema, (dialect,), number
        return self

    @property
    def owner(self) -> str:
        """The name of the message that has the field."""
        return self._owner

    @property
    def message(self) -> MessageType | None:
        if not self.category:
            self.resolve()
        return self._message

    @property
    def enum(self) -> EnumType | None:
        if not self.category:
            self.resolve()
        return self._enum

    def resolve(self) -> str:
        """Look up the type by its name, from the innermost scope outwards, as protoc does. Returns the
        category.

        Raises:
            InputError: there is no such type.
        """
        schema = self._schema
        name = self.type_name.removeprefix(".").removeprefix(f"{schema.package}.")
        scope = self._owner.split(".")
        for depth in range(len(scope), -1, -1):
            candidate = ".".join([*scope[:depth], name])
            if schema.knows(candidate):
                self._message = schema.messages.get(candidate)
                self._enum = schema.enums.get(candidate)
                self.category = "message" if self._message is not None else "enum"
                return self.category
        raise InputError(
            f"unknown type {self.type_name}",
            subject=f"{self._owner}.{self.name}",
            advice="Also add the .proto file that defines it.",
        )


class MessageType:
    """A message: its full name and its fields by name."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields: dict[str, FieldType] = {}


class Schema:
    """All messages and enums of one or more .proto files, by full name.

    protogen's own file is split into its top-level blocks, and a block is parsed when it is first
    needed. A text with one layer then needs five messages instead of a hundred and sixty.
    """

    def __init__(self, package: str = "") -> None:
        self.package = package
        self.messages: dict[str, MessageType] = {}
        self.enums: dict[str, EnumType] = {}
        self._pending: dict[str, str] = {}

    @classmethod
    def lazy(cls, text: str, package: str) -> Schema:
        """Return the schema of a .proto text whose top-level blocks begin and end at the start of
        a line."""
        schema = cls(package)
        schema._pending = {block[1]: block[0] for block in _BLOCK.finditer(text)}
        return schema

    def knows(self, name: str) -> bool:
        """Return whether there is a message or an enum of this full name. Parses its block if
        needed."""
        block = self._pending.pop(name.partition(".")[0], None)
        if block is not None:
            _read(self, block, "caffe.proto")
        return name in self.messages or name in self.enums

    def complete(self) -> Schema:
        """Parse all remaining blocks."""
        for name in list(self._pending):
            self.knows(name)
        return self

    def merge(self, other: Schema, dialect: str) -> None:
        """Add the definitions of another schema that this one lacks, by name."""
        for name, enum in other.enums.items():
            own_enum = self.enums.setdefault(name, EnumType(name))
            numbers = _Numbers(own_enum.values.values())
            for value, number in enum.values.items():
                if value not in own_enum.values:
                    own_enum.values[value] = numbers.reserve(number)
                    own_enum.dialects[value] = (dialect,)
        for name, message in other.messages.items():
            own = self.messages.setdefault(name, MessageType(name))
            numbers = _Numbers(known.number for known in own.fields.values())
            for field in message.fields.values():
                if field.name not in own.fields:
                    number = numbers.reserve(field.number)
                    own.fields[field.name] = field.move_to(self, dialect, number)


class _Numbers:
    """The numbers in use by the fields of a message or the values of an enum."""

    def __init__(self, used: Iterable[int]) -> None:
        self._used = set(used)
        self._next = max(20000, *self._used, 0) + 1

    def reserve(self, number: int) -> int:
        """Reserve and return the number; if it is in use, the next number after all, from 20001
        on."""
        if number in self._used:
            number = self._next
        self._used.add(number)
        self._next = max(self._next, number + 1)
        return number


HIGHEST = (1 << 29) - 1  # field number, protobuf's limit
DEEPEST = 32  # levels of messages; the limit of protoc, too
_BLOCK = re.compile(r"^(?:message|enum) (\w+) \{\n.*?^\}", re.MULTILINE | re.DOTALL)
_STATEMENT = re.compile(
    r"""
    \s+ | //[^\n]* | /\*.*?\*/
  | (?P<label>optional|required|repeated)\s+(?P<type>\.?[\w.]+)\s+(?P<field>\w+)\s*=\s*
      (?P<number>\d{1,10})\s*(?:\[(?P<options>[^\]]*)\])?\s*;(?:[ \t]*//[ \t]*(?P<forks>[^\n]*))?
  | (?P<value>[A-Za-z_]\w*)\s*=\s*(?P<valuenumber>-?\d{1,10})\s*(?:\[[^\]]*\])?\s*;
      (?:[ \t]*//[ \t]*(?P<valueforks>[^\n]*))?
  | (?P<kind>message|enum)\s+(?P<name>\w+)\s*\{
  | (?P<close>\})\s*;?
  | package\s+(?P<package>[\w.]+)\s*;
  | (?:syntax|import|option|reserved|extensions)\b[^;{}]*;
    """,
    re.VERBOSE | re.DOTALL,
)
_OPTION = re.compile(r'(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|[^,\s]+)')
_FORKS = re.compile(r"[a-z0-9][a-z0-9.-]*(?:, [a-z0-9][a-z0-9.-]*)*")


def parse_proto(text: str, filename: str) -> Schema:
    """Return messages and enums of one .proto file.

    Raises:
        InputError: a statement is invalid or outside of the supported subset of proto2 (with file
            and line).
    """
    return _read(Schema(), text, filename)


def _read(schema: Schema, text: str, filename: str) -> Schema:
    scopes: list[MessageType | EnumType] = []
    at = 0
    while at < len(text):
        match = _STATEMENT.match(text, at)
        if match is None:
            raise _error(text, at, filename, "invalid statement")
        at = match.end()
        kind = match.lastgroup
        if kind is None:
            continue
        scope = scopes[-1] if scopes else None
        if match["field"]:
            if not isinstance(scope, MessageType):
                raise _error(text, match.start(), filename, "field outside of a message")
            if not 0 < int(match["number"]) <= HIGHEST:
                raise _error(
                    text,
                    match.start(),
                    filename,
                    f"field number {match['number']} is out of range (1 to {HIGHEST})",
                )
            scope.fields[match["field"]] = FieldType(match, scope, schema)
        elif match["value"]:
            if not isinstance(scope, EnumType):
                raise _error(text, match.start(), filename, "enum value outside of an enum")
            scope.values[match["value"]] = int(match["valuenumber"])
            if forks := _dialects(match["valueforks"]):
                scope.dialects[match["value"]] = forks
        elif match["kind"]:
            if len(scopes) == DEEPEST:
                problem = f"messages are nested more than {DEEPEST} levels deep"
                raise _error(text, at, filename, problem)
            name = f"{scope.name}.{match['name']}" if scope else match["name"]
            scopes.append(_open(schema, match["kind"], name))
        elif match["close"]:
            if not scopes:
                raise _error(text, match.start(), filename, "unexpected closing brace")
            scopes.pop()
        elif match["package"]:
            schema.package = match["package"]
    if scopes:
        raise _error(text, at, filename, f"{scopes[-1].name} is not closed")
    return schema


def _open(schema: Schema, kind: str, name: str) -> MessageType | EnumType:
    if kind == "message":
        return schema.messages.setdefault(name, MessageType(name))
    return schema.enums.setdefault(name, EnumType(name))


def _default(type_name: str, text: str | None) -> Any:
    scalar = SCALARS.get(type_name)
    if scalar is bool:
        return text == "true"
    if scalar in (str, bytes):
        value = text[1:-1] if text else ""
        return value if scalar is str else value.encode()
    if scalar is None:  # the name of an enum value; None for a message
        return text
    try:
        return scalar(text) if text is not None else scalar()
    except ValueError:
        raise InputError(
            f"invalid default {text} for {type_name}", advice="The file must be proto2 text."
        ) from None


def _dialects(comment: str | None) -> tuple[str, ...]:
    if comment and _FORKS.fullmatch(comment.strip()):
        return tuple(comment.strip().split(", "))
    return ()


def _error(text: str, at: int, filename: str, problem: str) -> InputError:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return InputError(
        problem, where=f"{filename}:{line}:{column}", advice="The file must be proto2 text."
    )
