"""The messages that are known: Caffe's, and what ``extension`` adds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from protogen.formats.schema.source import MessageType, Schema


@cache
def _caffe() -> Schema:
    return bundled()


def bundled() -> Schema:
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
