"""The schema of Caffe's files: which messages and fields there are, of what types.

``caffe.proto`` is read at run time; there is no generated code. Text files need no more than
``message_type``; ``pool`` (imported where bytes are handled) makes protobuf classes of it.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from protogen.errors import InputError, layout
from protogen.schema.source import EnumType, FieldType, MessageType, Schema, parse_proto

__all__ = ["EnumType", "FieldType", "MessageType", "Schema", "add_proto", "caffe", "message_type"]


@cache
def _caffe() -> Schema:
    return Schema.lazy(Path(__file__).with_name("caffe.proto").read_text(encoding="utf-8"), "caffe")


def caffe() -> Schema:
    """BVLC Caffe's messages with the fields of its forks, all of them."""
    return _caffe().complete()


@cache
def message_type(name: str) -> MessageType:
    """The message of this name, such as ``LayerParameter``."""
    schema = _caffe()
    schema.knows(name)
    return schema.messages[name]


def add_proto(path: str | Path) -> None:
    """Adds a vendor's own messages, fields and enum values, by name, from a .proto file (proto2)
    or from a descriptor set (what protoc --descriptor_set_out writes).

    What the schema has already stays as it is. New fields count in text; in binary files they
    keep their numbers where those are free.

    Raises:
        InputError: the file cannot be read or is no proto2 text.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            layout(f"cannot be read ({error.strerror})", where=str(path), advice="Check the path.")
        ) from None
    if Path(path).suffix == ".proto":
        text = raw.decode("utf-8", "replace")
    else:
        from protogen.schema.pool import proto_text

        text = proto_text(raw, str(path))
    caffe().merge(parse_proto(text, str(path)), Path(path).stem)
    message_type.cache_clear()
    if "protogen.schema.pool" in sys.modules:
        from protogen.schema import pool

        pool.reset()
