"""Reads .proto text (proto2, the part of it that Caffe's files use) into plain objects.

The result serves text files directly; ``pool.py`` turns it into protobuf descriptors where
bytes are read or written. A trailing comment behind a field or an enum's value names the forks
that define it (see the head of ``caffe.proto``).
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
    """An enum: its full name (``PoolingParameter.PoolMethod``), its values by name, and the forks
    of values that only forks have."""

    __slots__ = ("dialects", "name", "values")

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: dict[str, int] = {}
        self.dialects: dict[str, tuple[str, ...]] = {}


class FieldType:
    """A field of a message. ``message`` or ``enum`` is set where the type is one of them."""

    __slots__ = (
        "_enum",
        "_message",
        "_owner",
        "_resolved",
        "_schema",
        "default",
        "dialects",
        "label",
        "name",
        "number",
        "packed",
        "repeated",
        "type_name",
    )

    def __init__(self, found: re.Match[str], owner: MessageType, schema: Schema) -> None:
        self.name: str = found["field"]
        self.number = int(found["number"])
        self.label: str = found["label"]
        self.repeated = self.label == "repeated"
        self.type_name: str = found["type"]
        options = dict(_OPTION.findall(found["options"])) if found["options"] else {}
        self.default = _default(self.type_name, options.get("default"))
        self.packed = options.get("packed") == "true"
        self.dialects = _dialects(found["forks"])
        self._owner = owner.name
        self._schema = schema
        self._resolved = self.type_name in SCALARS
        self._message: MessageType | None = None
        self._enum: EnumType | None = None

    def adopt(self, schema: Schema, dialect: str, number: int) -> FieldType:
        """This field as a member of another schema."""
        self._schema, self.dialects, self.number = schema, (dialect,), number
        return self

    @property
    def message(self) -> MessageType | None:
        if not self._resolved:
            self._resolve()
        return self._message

    @property
    def enum(self) -> EnumType | None:
        if not self._resolved:
            self._resolve()
        return self._enum

    def _resolve(self) -> None:
        """Looks the type up by its name, innermost scope first, as protoc does."""
        schema = self._schema
        name = self.type_name.removeprefix(".").removeprefix(f"{schema.package}.")
        scope = self._owner.split(".")
        for depth in range(len(scope), -1, -1):
            candidate = ".".join([*scope[:depth], name])
            if schema.knows(candidate):
                self._message = schema.messages.get(candidate)
                self._enum = schema.enums.get(candidate)
                self._resolved = True
                return
        raise InputError(
            f"type {self.type_name} is defined nowhere",
            subject=f"{self._owner}.{self.name}",
            advice="Give the .proto file that defines it as well.",
        )


class MessageType:
    """A message: its full name and its fields by name."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields: dict[str, FieldType] = {}


class Schema:
    """All messages and enums of one or more .proto files, by full name.

    A file of ours is cut into its top-level blocks, and a block is read when it is first needed:
    one layer's text then costs five messages, not a hundred and sixty.
    """

    def __init__(self, package: str = "") -> None:
        self.package = package
        self.messages: dict[str, MessageType] = {}
        self.enums: dict[str, EnumType] = {}
        self._pending: dict[str, str] = {}

    @classmethod
    def lazy(cls, text: str, package: str) -> Schema:
        """The schema of a .proto text whose top-level blocks begin and end at a line's start."""
        made = cls(package)
        made._pending = {found[1]: found[0] for found in _BLOCK.finditer(text)}
        return made

    def knows(self, name: str) -> bool:
        """Whether there is a message or an enum of this full name; reads its block if need be."""
        block = self._pending.pop(name.partition(".")[0], None)
        if block is not None:
            _read(self, block, "caffe.proto")
        return name in self.messages or name in self.enums

    def complete(self) -> Schema:
        """Reads all blocks that were not needed so far."""
        for name in list(self._pending):
            self.knows(name)
        return self

    def merge(self, other: Schema, dialect: str) -> None:
        """Takes over what another schema has and this one lacks, by name."""
        for name, enum in other.enums.items():
            mine = self.enums.setdefault(name, EnumType(name))
            numbers = _Numbers(mine.values.values())
            for value, number in enum.values.items():
                if value not in mine.values:
                    mine.values[value] = numbers.take(number)
                    mine.dialects[value] = (dialect,)
        for name, message in other.messages.items():
            own = self.messages.setdefault(name, MessageType(name))
            numbers = _Numbers(known.number for known in own.fields.values())
            for field in message.fields.values():
                if field.name not in own.fields:
                    number = numbers.take(field.number)
                    own.fields[field.name] = field.adopt(self, dialect, number)


class _Numbers:
    """The numbers that a message's fields, or an enum's values, have."""

    def __init__(self, taken: Iterable[int]) -> None:
        self._taken = set(taken)
        self._next = max(20000, *self._taken, 0) + 1

    def take(self, number: int) -> int:
        """The number, or where it is taken one behind all, from 20001 on."""
        if number in self._taken:
            number = self._next
        self._taken.add(number)
        self._next = max(self._next, number + 1)
        return number


HIGHEST = (1 << 29) - 1  # number of a field, protobuf's limit
DEEPEST = 32  # levels of messages; protoc has 32 too
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
_FORKS = re.compile(r"[a-z0-9]+(?:, [a-z0-9]+)*")


def parse_proto(text: str, filename: str) -> Schema:
    """Messages and enums of one .proto file.

    Raises:
        InputError: at a statement outside of what proto2 nets use (file and line named).
    """
    return _read(Schema(), text, filename)


def _read(schema: Schema, text: str, filename: str) -> Schema:
    scopes: list[MessageType | EnumType] = []
    at = 0
    match = _STATEMENT.match
    while at < len(text):
        found = match(text, at)
        if found is None:
            raise _refuse(text, at, filename, "cannot read this statement")
        at = found.end()
        kind = found.lastgroup
        if kind is None:
            continue
        scope = scopes[-1] if scopes else None
        if found["field"]:
            if not isinstance(scope, MessageType):
                raise _refuse(text, found.start(), filename, "a field stands outside a message")
            if not 0 < int(found["number"]) <= HIGHEST:
                raise _refuse(
                    text, found.start(), filename, f"{found['number']} is no field's number"
                )
            scope.fields[found["field"]] = FieldType(found, scope, schema)
        elif found["value"]:
            if not isinstance(scope, EnumType):
                raise _refuse(text, found.start(), filename, "a value stands outside an enum")
            scope.values[found["value"]] = int(found["valuenumber"])
            if forks := _dialects(found["valueforks"]):
                scope.dialects[found["value"]] = forks
        elif found["kind"]:
            if len(scopes) == DEEPEST:
                raise _refuse(text, at, filename, f"messages are nested more than {DEEPEST} deep")
            name = f"{scope.name}.{found['name']}" if scope else found["name"]
            scopes.append(_open(schema, found["kind"], name))
        elif found["close"]:
            if not scopes:
                raise _refuse(text, found.start(), filename, "a brace closes nothing")
            scopes.pop()
        elif found["package"]:
            schema.package = found["package"]
    if scopes:
        raise _refuse(text, at, filename, f"{scopes[-1].name} is not closed")
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
    if scalar is None:  # an enum's value, or nothing for a message
        return text
    try:
        return scalar(text) if text is not None else scalar()
    except ValueError:
        raise InputError(
            f"the default {text} is no {type_name}", advice="It must be proto2 text."
        ) from None


def _dialects(comment: str | None) -> tuple[str, ...]:
    if comment and _FORKS.fullmatch(comment.strip()):
        return tuple(comment.strip().split(", "))
    return ()


def _refuse(text: str, at: int, filename: str, problem: str) -> InputError:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return InputError(
        problem, where=f"{filename}:{line}:{column}", advice="It must be proto2 text."
    )
