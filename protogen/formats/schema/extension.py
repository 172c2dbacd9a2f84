"""Adds a vendor's own messages and fields to the schema."""

from __future__ import annotations

from pathlib import Path

from protogen.errors import InputError
from protogen.formats.schema import pool
from protogen.formats.schema.registry import bundled, caffe, message_type
from protogen.formats.schema.source import Schema, parse_proto

MOST_BYTES = 4 << 20  # of a vendor's .proto; Caffe's own has 0.1 MB
_added: list[tuple[str, str]] = []  # the text and the path of each that was taken


def add_proto(path: str | Path) -> None:
    """Adds a vendor's own messages, fields and enum values, by name, from a .proto file (proto2)
    or from a descriptor set (what protoc --descriptor_set_out writes).

    What the schema has already stays as it is. New fields count in text; in binary files they
    keep their numbers where those are free.

    Raises:
        InputError: the file cannot be read, is no proto2 text, or protobuf does not take what it
            defines. Nothing is added then.
    """
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", where=str(path), advice="Check the path."
        ) from None
    if len(raw) > MOST_BYTES:
        raise InputError(f"is larger than {MOST_BYTES >> 20} MB", where=str(path))
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
    trial = bundled().complete()
    for one, name in (*_added, (text, path)):
        _take(trial, one, name)
    pool.check(trial, path)


def _take(schema: Schema, text: str, path: str) -> None:
    schema.merge(parse_proto(text, path), Path(path).stem)
