"""The known messages: those of Caffe and its forks, and those that ``extension`` adds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from protogen.formats.schema.source import MessageType, Schema


@cache
def _caffe() -> Schema:
    return bundled()


def bundled() -> Schema:
    """Return a new schema of protogen's own ``caffe.proto``."""
    return Schema.lazy(Path(__file__).with_name("caffe.proto").read_text(encoding="utf-8"), "caffe")


def caffe() -> Schema:
    """Return all messages of BVLC Caffe, with the fields of its forks."""
    return _caffe().complete()


@cache
def message_type(name: str) -> MessageType:
    """Return the type of a message by its name, such as ``LayerParameter``."""
    schema = _caffe()
    schema.knows(name)
    return schema.messages[name]
