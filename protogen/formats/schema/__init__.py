"""The schema of Caffe's files: which messages and fields there are, of what types.

``caffe.proto`` is read at run time; there is no generated code. Text files need no more than
``message_type``; ``pool`` (imported where bytes are handled) makes protobuf classes of it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from protogen.errors import InputError, layout
from protogen.formats.schema.source import EnumType, FieldType, MessageType, Schema, parse_proto

__all__ = ["EnumType", "FieldType", "MessageType", "Schema", "add_proto", "caffe", "message_type"]


MOST_BYTES = 4 << 20  # of a vendor's .proto; Caffe's own has 0.1 MB
_added: list[tuple[str, str]] = []  # the text and the path of each that was taken


@cache
def _caffe() -> Schema:
    return _own()


def _own() -> Schema:
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
        InputError: the file cannot be read, is no proto2 text, or protobuf does not take what it
            defines. Nothing is added then.
    """
    from protogen.formats.schema import pool

    try:
        with Path(path).open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(
            layout(f"cannot be read ({error.strerror})", where=str(path), advice="Check the path.")
        ) from None
    if len(raw) > MOST_BYTES:
        raise InputError(layout(f"is larger than {MOST_BYTES >> 20} MB", where=str(path)))
    proto = Path(path).suffix == ".proto"
    text = raw.decode("utf-8", "replace") if proto else pool.proto_text(raw, str(path))
    check_proto(text, str(path))
    _take(caffe(), text, str(path))
    _added.append((text, str(path)))
    message_type.cache_clear()
    pool.reset()


def check_proto(text: str, path: str) -> None:
    """Whether .proto text can be added to what there is; nothing is.

    Raises:
        InputError: as ``add_proto``.
    """
    from protogen.formats.schema import pool

    trial = _own().complete()
    for one, name in (*_added, (text, path)):
        _take(trial, one, name)
    pool.check(trial, path)


def _take(schema: Schema, text: str, path: str) -> None:
    schema.merge(parse_proto(text, path), Path(path).stem)
