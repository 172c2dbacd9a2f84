"""Protobuf classes for the schema, in a private descriptor pool.

Because the pool is private, another ``caffe.proto`` in the same process causes no conflict. protoc
generates no code, so every protobuf release from 4 on works.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as DecodeError
from google.protobuf.message import Message

from protogen.errors import InputError
from protogen.formats.schema.registry import caffe
from protogen.formats.schema.source import FieldType, Schema

FILE = "protogen/caffe.proto"
_PROTO = descriptor_pb2.FieldDescriptorProto
_LABEL = {
    "optional": _PROTO.LABEL_OPTIONAL,
    "required": _PROTO.LABEL_REQUIRED,
    "repeated": _PROTO.LABEL_REPEATED,
}


@cache
def message_class(name: str) -> type[Message]:
    """Return the protobuf class of a message of ``caffe.proto``, such as ``NetParameter``."""
    schema = caffe()
    descriptor = _pool().FindMessageTypeByName(f"{schema.package}.{name}")
    class_: type[Message] = message_factory.GetMessageClass(descriptor)
    return class_


@cache
def renumbered_class(lacks: frozenset[str], numbers: tuple[tuple[str, int], ...]) -> type[Message]:
    """Return the protobuf class of a LayerParameter as another parser numbers its fields.

    Args:
        lacks: fields that it does not have: ``block`` or ``block.field``.
        numbers: fields of forks that it has, or that it numbers otherwise, with their numbers. A
            fork's field without a number is left out.
    """
    file = file_descriptor(caffe())
    messages = {message.name: message for message in file.message_type}
    layer = messages["LayerParameter"]
    of_block = {field.name: field.type_name.rpartition(".")[2] for field in layer.field}
    chosen = dict(numbers)
    _renumber(layer, {path: n for path, n in chosen.items() if "." not in path}, lacks)
    for block, name in of_block.items():
        inner = {
            path.partition(".")[2]: number
            for path, number in chosen.items()
            if path.startswith(f"{block}.")
        }
        lacking = {path.partition(".")[2] for path in lacks if path.startswith(f"{block}.")}
        if name in messages and (inner or lacking):
            _renumber(messages[name], inner, lacking)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"{caffe().package}.LayerParameter")
    class_: type[Message] = message_factory.GetMessageClass(descriptor)
    return class_


FIRST_OWN = 10_001  # the numbers from here on are protogen's own, of fields of forks


def _renumber(
    message: descriptor_pb2.DescriptorProto, numbers: Mapping[str, int], lacks: Collection[str]
) -> None:
    """Give fields their numbers; remove those that are lacking, have none, or whose number another
    field has."""
    taken = {number for number in numbers.values() if number}
    left = []
    for field in message.field:
        number = numbers.get(field.name, 0) or field.number
        owns = bool(numbers.get(field.name))
        if field.name in lacks or number >= FIRST_OWN or (number in taken and not owns):
            continue
        field.number = number
        left.append(field)
    del message.field[:]
    message.field.extend(left)


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file_descriptor(caffe()).SerializeToString())
    return pool


def check(schema: Schema, path: str) -> None:
    """Check that protobuf accepts the schema, including the definitions of the file at ``path``.

    Raises:
        InputError: protobuf refuses the schema.
    """
    try:
        raw = file_descriptor(schema).SerializeToString()
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(raw)
        pool.FindFileByName(FILE)
    except (TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"protobuf refuses the definitions ({reason})",
            where=path,
            advice="protoc must be able to compile them together with caffe.proto.",
        ) from None


def reset() -> None:
    """Clear the cached classes after an addition to the schema."""
    message_class.cache_clear()
    _pool.cache_clear()


def file_descriptor(schema: Schema) -> descriptor_pb2.FileDescriptorProto:
    """Return the schema as a protobuf file descriptor."""
    file = descriptor_pb2.FileDescriptorProto(name=FILE, package=schema.package, syntax="proto2")
    descriptors: dict[str, Any] = {"": file}
    for name, message in schema.messages.items():
        outer, _, short = name.rpartition(".")
        parent = descriptors[outer]
        proto = (parent.nested_type if outer else parent.message_type).add(name=short)
        descriptors[name] = proto
        for item in message.fields.values():
            _add_field(proto, item, schema.package)
    for name, enum in schema.enums.items():
        outer, _, short = name.rpartition(".")
        enum_proto = descriptors[outer].enum_type.add(name=short)
        for value, number in enum.values.items():
            enum_proto.value.add(name=value, number=number)
    return file


def proto_text(raw: bytes, filename: str) -> str:
    """Return a descriptor set as .proto text, the input of ``source.parse_proto``.

    Raises:
        InputError: the bytes are not a descriptor set.
    """
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(raw).file
    except DecodeError:
        raise InputError(
            "is neither .proto text nor a descriptor set",
            where=filename,
            advice="The file extension of .proto text must be .proto.",
        ) from None
    if not any(file.message_type or file.enum_type or file.extension for file in files):
        raise InputError("the descriptor set defines no message", where=filename)
    lines = []
    for file in files:
        lines.append(f"package {file.package};" if file.package else "")
        lines += (_enum_text(enum) for enum in file.enum_type)
        lines += (_message_text(message) for message in file.message_type)
    return "\n".join(lines)


def _message_text(message: descriptor_pb2.DescriptorProto) -> str:
    inner = [_enum_text(enum) for enum in message.enum_type]
    inner += [_message_text(nested) for nested in message.nested_type]
    labels = {number: name for name, number in _LABEL.items()}
    for field in message.field:
        kind = field.type_name or _PROTO.Type.Name(field.type).removeprefix("TYPE_").lower()
        default = field.default_value
        if default and field.type in (_PROTO.TYPE_STRING, _PROTO.TYPE_BYTES):
            default = f'"{default}"'
        options = f" [default = {default}]" if default else ""
        inner.append(f"{labels[field.label]} {kind} {field.name} = {field.number}{options};")
    return f"message {message.name} {{\n" + "\n".join(inner) + "\n}"


def _enum_text(enum: descriptor_pb2.EnumDescriptorProto) -> str:
    values = "\n".join(f"{value.name} = {value.number};" for value in enum.value)
    return f"enum {enum.name} {{\n{values}\n}}"


def _add_field(proto: Any, item: FieldType, package: str) -> None:
    field = proto.field.add(name=item.name, number=item.number, label=_LABEL[item.label])
    # Without a name for JSON, names that differ only in the case of a letter collide.
    field.json_name = item.name
    if item.message is not None:
        field.type = _PROTO.TYPE_MESSAGE
        field.type_name = f".{package}.{item.message.name}"
    elif item.enum is not None:
        field.type = _PROTO.TYPE_ENUM
        field.type_name = f".{package}.{item.enum.name}"
    else:
        field.type = getattr(_PROTO, f"TYPE_{item.type_name.upper()}")
    if item.packed:
        field.options.packed = True
    if item.default not in (None, "", b"") and not item.repeated and item.message is None:
        field.default_value = (
            str(item.default).lower() if item.type_name == "bool" else str(item.default)
        )
