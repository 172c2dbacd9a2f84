"""Text of a prototxt with some of its fields: the fields that stay keep their text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from protogen.formats.message import Field, Message
from protogen.formats.prototxt.document import Document
from protogen.formats.prototxt.writer import write

# What may follow a field on its line: separators, and a comment, which belongs to the field.
_REST_OF_LINE = re.compile(r"[ \t]*[;,]?[ \t]*(?:#[^\n]*|\r)?(?:\n|\Z)")


def text_of(document: Document, fields: Iterable[Field]) -> str:
    """Return the text of a document with other fields at its top level.

    A field of the document keeps its text, with the comments before and after it. Other fields are
    written. The comments at the start and at the end of the text stay.

    Args:
        document: a parsed text. Its fields are those of its own text.
        fields: the fields of the new text, in order.
    """
    text = document.source.text
    own = _texts(document)
    if own is None:
        return write(Message(document.kind, fields))
    newline = "\r\n" if "\r\n" in text else "\n"
    follows = {id(b): a for a, b in pairwise(document.fields)}
    result, previous = "", None
    for field in fields:
        piece = own.get(id(field))
        if piece is None:
            piece = write(Message(document.kind, [field])).replace("\n", newline)
        if previous is None and document.fields[0] is not field:
            result = _header(text, document.fields[0].start)
            piece = piece.lstrip("\r\n") if not result else piece
        same_line = previous is not None and follows.get(id(field)) is previous
        result += newline if result and not result.endswith("\n") and not same_line else ""
        result += piece
        previous = field
    tail = text[_end(text, document.fields[-1].end) :] if document.fields else text
    result += newline if tail and result and not result.endswith("\n") else ""
    return result + tail


def _texts(document: Document) -> dict[int, str] | None:
    """Return the text of each field by its identity; None if the fields are items of a list."""
    text, at = document.source.text, 0
    texts: dict[int, str] = {}
    for field in document.fields:
        if not text.startswith(field.name, field.start):
            return None
        end = _end(text, field.end)
        texts[id(field)] = text[at:end]
        at = end
    return texts


def _end(text: str, end: int) -> int:
    """Return the end of the line of a field, or of the field itself if another one follows."""
    match = _REST_OF_LINE.match(text, end)
    if match is not None:
        return match.end()
    separator = re.compile(r"[ \t]*[;,]").match(text, end)
    return separator.end() if separator is not None else end


def _header(text: str, start: int) -> str:
    """Return the comments before the first field; empty if there are none."""
    before = text[:start]
    return before if "#" in before else ""
