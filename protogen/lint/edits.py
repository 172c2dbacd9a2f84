"""Edits of a text that preserve its comments, its order and its layout."""

from __future__ import annotations

from protogen.errors import Edit
from protogen.formats.message import Field, Message, Source


def replaced(item: Field, text: str) -> Edit:
    """Return the edit that gives a field another value."""
    return item.start, item.end, f"{item.name}: {text}"


def renamed_field(item: Field, name: str) -> Edit:
    """Return the edit that renames a field."""
    return item.start, item.start + len(item.name), name


def removed(source: Source, item: Field) -> Edit:
    """Return the edit that removes a field, and its whole line if nothing else is on the line."""
    text = source.text
    start, end = item.start, item.end
    left = text.rfind("\n", 0, start) + 1
    stop = text.find("\n", end)
    stop = len(text) if stop < 0 else stop
    rest = text[end:stop].strip(" \t,;")
    if not text[left:start].strip() and (not rest or rest.startswith("#")):
        return left, min(stop + 1, len(text)), ""
    while end < len(text) and text[end] in " \t,;":
        end += 1
    return start, end, ""


def added(source: Source, block: Field, line: str) -> Edit:
    """Return the edit that adds a field at the end of a block.

    The field gets its own line if the closing brace of the block has one.
    """
    text = source.text
    brace = block.end - 1
    left = text.rfind("\n", 0, brace) + 1
    if not text[left:brace].strip():  # The brace is alone on its line.
        indent = text[left:brace]
        return left, left, f"{indent}  {line}\n"
    gap = "" if text[brace - 1] in " \t" else " "
    return brace, brace, f"{gap}{line} "


def added_after(source: Source, item: Field, block: str) -> Edit:
    """Return the edit that adds a block after a field, on a new line if the field has its own line."""
    text = source.text
    left = text.rfind("\n", 0, item.start) + 1
    lead = text[left : item.start]
    if not lead.strip():
        return item.end, item.end, f"\n{lead}{block}"
    return item.end, item.end, f" {block}"


def set_field(source: Source, block: Field, name: str, text: str) -> Edit:
    """Return the edit that sets a field of a block, whether it exists or not."""
    message = block.value
    assert isinstance(message, Message)
    fields = message.all(name)
    return replaced(fields[-1], text) if fields else added(source, block, f"{name}: {text}")
