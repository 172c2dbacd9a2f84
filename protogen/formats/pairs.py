"""Pair ids: which of two files were written together.

The prototxt and the caffemodel of one result carry the same random id, and so do an ONNX model and its file of
external data. Between the renames of two files a killed process leaves one new file and one old file; their
ids differ then. A file without an id matches every file.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from protogen.formats import wire

if TYPE_CHECKING:
    from pathlib import Path

    from protogen.formats.message import Source

# The number of a caffemodel's field in NetParameter. No parser of Caffe or a fork knows it: all skip it.
FIELD = 500_000_001
TAIL = 23  # bytes that an id takes at the end of a file of external data
_MARK = "# pair: "  # in a prototxt: a comment, on a line of its own
_NOTE = " (the caffemodel of this file has the same id)"
_LINE = re.compile(r"^# pair: ([0-9a-f]{16})\b.*$\n?", re.MULTILINE)
_ID = re.compile(r"[0-9a-f]{16}")


def new_id(content: bytes) -> str:
    """Return a random id of 16 hexadecimal digits. If the environment sets SOURCE_DATE_EPOCH, which asks
    for reproducible files, the id is a digest of ``content``, the prototxt or the model without weights."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        import hashlib

        return hashlib.blake2b(content, digest_size=8).hexdigest()
    return os.urandom(8).hex()


def id_of_text(text: str) -> str:
    """Return the id in a prototxt: that of the last such line; empty without one."""
    if _MARK not in text:
        return ""
    return next(reversed(_LINE.findall(text)), "")


def with_id(text: bytes, pair: str) -> bytes:
    """Return a prototxt with this id, in its last line, and without the ids that it had."""
    whole = _LINE.sub("", text.decode("utf-8", "surrogateescape"))
    end = "\r\n" if "\r\n" in whole else "\n"
    if whole and not whole.endswith("\n"):
        whole += end
    return f"{whole}{_MARK}{pair}{_NOTE}{end}".encode("utf-8", "surrogateescape")


def as_field(pair: str) -> bytes:
    """Return the field of a caffemodel that holds an id."""
    raw = pair.encode()
    return wire.varint(FIELD << 3 | wire.BYTES) + wire.varint(len(raw)) + raw


def id_of_field(data: wire.Bytes, span: wire.Span) -> str:
    """Return the id in a field of a caffemodel; empty if the field is of another program."""
    raw = bytes(data.data[span.start : min(span.end, span.start + 17)]).decode("ascii", "replace")
    return raw if _ID.fullmatch(raw) else ""


def as_tail(pair: str) -> bytes:
    """Return the end of a file of external data: bytes that no constant contains."""
    return f"\npair: {pair}".encode()


def id_of_tail(data: bytes) -> str:
    """Return the id at the end of a file of external data, from its last TAIL bytes."""
    head, _, pair = data.decode("ascii", "replace").rpartition("\npair: ")
    return pair if not head and _ID.fullmatch(pair) else ""


def check_ids(net: Source, pair: str, weights: str | Path) -> None:
    """Check that a prototxt and a caffemodel with the id ``pair`` were written together.

    Raises:
        InputError: both have ids, and these differ.
    """
    own = id_of_text(net.text) if pair else ""
    if own and own != pair:
        line = [match.start() for match in _LINE.finditer(net.text)][-1]
        raise net.error(
            line,
            f"the net and {weights} were not written together: their pair ids differ, {own} and {pair}",
            "One of them may be older, or a command was killed between the two. Write both again. If they "
            "do belong together, remove this line.",
        )
