"""Adds the messages and fields of a vendor to the schema."""

from __future__ import annotations

from pathlib import Path

from protogen.errors import InputError
from protogen.formats import contents, files
from protogen.formats.schema import pool
from protogen.formats.schema.registry import bundled, caffe, message_type
from protogen.formats.schema.source import Schema, parse_proto

MOST_BYTES = 4 << 20  # of a vendor's .proto; Caffe's own has 0.1 MB
_added: list[tuple[str, str]] = []  # text and path of each .proto file added so far


def add_proto(path: str | Path) -> None:
    """Add messages, fields and enum values of a vendor, by name, from a .proto file (proto2) or a
    descriptor set (the output of protoc --descriptor_set_out).

    Existing definitions do not change. New fields are read and written in text files. In binary
    files they keep their numbers if these are free.

    Raises:
        InputError: the file cannot be read, is not proto2 text, or protobuf refuses its
            definitions. Then nothing is added.
    """
    try:
        with files.opened(path) as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise files.unreadable(path, error) from None
    contents.check(path, "proto", raw[: contents.START])
    if len(raw) > MOST_BYTES:
        raise InputError(f"the file is larger than {MOST_BYTES >> 20} MB", where=str(path))
    proto = Path(path).suffix == ".proto"
    text = raw.decode("utf-8", "replace") if proto else pool.proto_text(raw, str(path))
    check_proto(text, str(path))
    _merge(caffe(), text, str(path))
    _added.append((text, str(path)))
    message_type.cache_clear()
    pool.reset()


def is_added(dialects: tuple[str, ...]) -> bool:
    """Return whether a field with these dialects is of a vendor's file that was added."""
    return bool(dialects) and dialects[0] in {Path(path).stem for _, path in _added}


def check_proto(text: str, path: str) -> None:
    """Check that .proto text can be added to the schema, without adding it.

    Raises:
        InputError: as ``add_proto``.
    """
    trial = bundled().complete()
    for proto, name in (*_added, (text, path)):
        _merge(trial, proto, name)
    pool.check(trial, path)


def _merge(schema: Schema, text: str, path: str) -> None:
    schema.merge(parse_proto(text, path), Path(path).stem)
