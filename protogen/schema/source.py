"""Reads .proto text (proto2, the part of it that Caffe's files use) into plain objects.

The result serves text files directly; ``pool.py`` turns it into protobuf descriptors where
bytes are read or written. A trailing comment behind a field or an enum's value names the forks
that define it (see the head of ``caffe.proto``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from protogen.errors import InputError, layout

SCALARS = {
    "double": float, "float": float, "int32": int, "int64": int, "uint32": int, "uint64": int,
    "sint32": int, "sint64": int, "fixed32": int, "fixed64": int, "sfixed32": int,
    "sfixed64": int, "bool": bool, "string": str, "bytes": bytes,
}  # fmt: skip


@dataclass(slots=True)
class EnumType:
    """An enum: its full name (``PoolingParameter.PoolMethod``) and its values by name."""

    name: str
    values: dict[str, int] = field(default_factory=dict)
    dialects: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class FieldType:
    """A field of a message. ``message`` or ``enum`` is set where the type is one of them."""

    name: str
    number: int
    label: str
    type_name: str
    default: Any = None
    packed: bool = False
    dialects: tuple[str, ...] = ()
    message: MessageType | None = None
    enum: EnumType | None = None

    @property
    def repeated(self) -> bool:
        return self.label == "repeated"


@dataclass(slots=True)
class MessageType:
    """A message: its full name and its fields by name."""

    name: str
    fields: dict[str, FieldType] = field(default_factory=dict)


@dataclass(slots=True)
class Schema:
    """All messages and enums of one or more .proto files, by full name."""

    package: str = ""
    messages: dict[str, MessageType] = field(default_factory=dict)
    enums: dict[str, EnumType] = field(default_factory=dict)


_STATEMENT = re.compile(
    r"""
    \s+ | //[^\n]* | /\*.*?\*/
  | (?P<label>optional|required|repeated)\s+(?P<type>[\w.]+)\s+(?P<field>\w+)\s*=\s*
      (?P<number>\d+)\s*(?:\[(?P<options>[^\]]*)\])?\s*;(?:[ \t]*//[ \t]*(?P<forks>[^\n]*))?
  | (?P<value>[A-Za-z_]\w*)\s*=\s*(?P<valuenumber>-?\d+)\s*(?:\[[^\]]*\])?\s*;
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
    schema = Schema()
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
            scope.fields[found["field"]] = _field(found)
        elif found["value"]:
            if not isinstance(scope, EnumType):
                raise _refuse(text, found.start(), filename, "a value stands outside an enum")
            scope.values[found["value"]] = int(found["valuenumber"])
            if forks := _dialects(found["valueforks"]):
                scope.dialects[found["value"]] = forks
        elif found["kind"]:
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


def link(schema: Schema) -> Schema:
    """Resolves every field's type name within ``schema`` (innermost scope first, as protoc does).

    Raises:
        InputError: a field's type is defined nowhere.
    """
    for message in schema.messages.values():
        for item in message.fields.values():
            if item.type_name in SCALARS:
                continue
            name = item.type_name.removeprefix(".").removeprefix(f"{schema.package}.")
            scope = message.name.split(".")
            candidates = [".".join([*scope[:i], name]) for i in range(len(scope), -1, -1)]
            for candidate in candidates:
                if candidate in schema.messages:
                    item.message = schema.messages[candidate]
                    break
                if candidate in schema.enums:
                    item.enum = schema.enums[candidate]
                    break
            else:
                raise InputError(
                    layout(
                        f"type {item.type_name} is defined nowhere",
                        subject=f"{message.name}.{item.name}",
                        advice="Give the .proto file that defines it as well.",
                    )
                )
    return schema


def _open(schema: Schema, kind: str, name: str) -> MessageType | EnumType:
    if kind == "message":
        return schema.messages.setdefault(name, MessageType(name))
    return schema.enums.setdefault(name, EnumType(name))


def _field(found: re.Match[str]) -> FieldType:
    options = dict(_OPTION.findall(found["options"] or ""))
    return FieldType(
        name=found["field"],
        number=int(found["number"]),
        label=found["label"],
        type_name=found["type"],
        default=_default(found["type"], options.get("default")),
        packed=options.get("packed") == "true",
        dialects=_dialects(found["forks"]),
    )


def _default(type_name: str, text: str | None) -> Any:
    scalar = SCALARS.get(type_name)
    if scalar is bool:
        return text == "true"
    if scalar in (str, bytes):
        value = text[1:-1] if text else ""
        return value if scalar is str else value.encode()
    if scalar is None:  # an enum's value, or nothing for a message
        return text
    return scalar(text) if text is not None else scalar()


def _dialects(comment: str | None) -> tuple[str, ...]:
    if comment and _FORKS.fullmatch(comment.strip()):
        return tuple(comment.strip().split(", "))
    return ()


def _refuse(text: str, at: int, filename: str, problem: str) -> InputError:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return InputError(
        layout(problem, where=f"{filename}:{line}:{column}", advice="It must be proto2 text.")
    )
