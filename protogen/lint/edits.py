"""Changes of a text that keep its comments, its order and its layout."""

from __future__ import annotations

from protogen.errors import Edit
from protogen.formats.message import Field, Message, Source


def replaced(item: Field, text: str) -> Edit:
    """A field with another value."""
    return item.start, item.end, f"{item.name}: {text}"


def renamed_field(item: Field, name: str) -> Edit:
    """A field under another name."""
    return item.start, item.start + len(item.name), name


def removed(source: Source, item: Field) -> Edit:
    """A field taken out, with its line where nothing else stands on it."""
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
    """A field at the end of a block, on a line of its own where the block has lines."""
    text = source.text
    brace = block.end - 1
    left = text.rfind("\n", 0, brace) + 1
    if not text[left:brace].strip():  # the brace stands alone on its line
        indent = text[left:brace]
        return left, left, f"{indent}  {line}\n"
    gap = "" if text[brace - 1] in " \t" else " "
    return brace, brace, f"{gap}{line} "


def added_behind(source: Source, item: Field, block: str) -> Edit:
    """A line behind a field's line, with its indentation."""
    text = source.text
    left = text.rfind("\n", 0, item.start) + 1
    lead = text[left : item.start]
    if not lead.strip():
        return item.end, item.end, f"\n{lead}{block}"
    return item.end, item.end, f" {block}"


def set_field(source: Source, block: Field, name: str, text: str) -> Edit:
    """The field of a block with this value, whether it was there or not."""
    message = block.value
    assert isinstance(message, Message)
    given = message.all(name)
    return replaced(given[-1], text) if given else added(source, block, f"{name}: {text}")
