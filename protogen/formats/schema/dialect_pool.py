"""Protobuf classes of the messages of one dialect, with its own numbers and types.

The values of enums are integers in these classes: on the wire they are the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from protogen.formats.schema.dialect import Definition, check_name, facts
from protogen.formats.schema.source import SCALARS

_PROTO = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "dialect"


@cache
def dialect_class(dialect: str, message: str) -> type[Message]:
    """Return the protobuf class of a message, such as ``LayerParameter``, in a dialect.

    Raises:
        InputError: the dialect is unknown.
    """
    descriptor = _pool(dialect).FindMessageTypeByName(f"{_PACKAGE}.{_flat(message)}")
    class_: type[Message] = message_factory.GetMessageClass(descriptor)
    return class_


@cache
def _pool(dialect: str) -> descriptor_pool.DescriptorPool:
    check_name(dialect)
    known = facts()
    file = descriptor_pb2.FileDescriptorProto(
        name=f"protogen/{dialect}.proto", package=_PACKAGE, syntax="proto2"
    )
    messages: dict[str, Any] = {}

    def message(name: str) -> Any:
        if name not in messages:
            messages[name] = file.message_type.add(name=_flat(name))
        return messages[name]

    for name, fields in known.messages.items():
        for field in fields:
            one = known.field(dialect, name, field)
            if one is not None:
                _add(message(name), field, one)
                if one.type not in SCALARS and one.type not in known.enums:
                    message(one.type)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add(message: Any, name: str, one: Definition) -> None:
    repeated = one.label == "repeated"
    field = message.field.add(name=name, number=one.number)
    field.label = _PROTO.LABEL_REPEATED if repeated else _PROTO.LABEL_OPTIONAL
    if one.type in SCALARS:
        field.type = getattr(_PROTO, f"TYPE_{one.type.upper()}")
    elif one.type in facts().enums:
        field.type = _PROTO.TYPE_INT32
    else:
        field.type = _PROTO.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{_flat(one.type)}"
    if one.packed:
        field.options.packed = True


def _flat(name: str) -> str:
    """Return the name of a message without its scopes, which the wire format does not know."""
    return name.replace(".", "_")
