"""The schema of Caffe's files: which messages and fields there are, of what types.

``caffe.proto`` is read at run time; there is no generated code. Text files need no more than
``message_type``; ``pool`` (imported where bytes are handled) makes protobuf classes of it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from protogen.schema.source import EnumType, FieldType, MessageType, Schema

__all__ = ["EnumType", "FieldType", "MessageType", "Schema", "caffe", "message_type"]


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
