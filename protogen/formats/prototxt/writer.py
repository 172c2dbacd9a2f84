"""Writer of prototxt: indents by two spaces, one field per line, with all comments."""

from __future__ import annotations

import math
from typing import Any

from protogen.formats.message import Field, Message, Name
from protogen.formats.prototxt.tokens import quote


def write(message: Message) -> str:
    """Return the text of a message. Parsing it gives an equal message."""
    lines: list[str] = []
    _body(message, "", lines)
    return "\n".join(lines) + "\n" if lines else ""


def scalar(value: Any) -> str:
    """Return one scalar value in prototxt syntax."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, (str, bytes)):
        return quote(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "nan"
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        return str(int(value)) if value.is_integer() and abs(value) < 1e7 else repr(value)
    return str(value)


def _body(message: Message, indent: str, lines: list[str]) -> None:
    for item in message.fields:
        _field(item, indent, lines)
    lines += (indent + comment for comment in message.tail)


def _field(item: Field, indent: str, lines: list[str]) -> None:
    if item.blank:
        lines.append("")
    lines += (indent + comment for comment in item.before)
    after = f"  {item.after}" if item.after else ""
    if not isinstance(item.value, Message):
        lines.append(f"{indent}{item.name}: {item.literal or scalar(item.value)}{after}")
        return
    inner = item.value
    opening = f"  {inner.opening}" if inner.opening else ""
    if not inner.fields and not inner.tail and not opening:
        lines.append(f"{indent}{item.name} {{}}{after}")
        return
    lines.append(f"{indent}{item.name} {{{opening}")
    _body(inner, indent + "  ", lines)
    lines.append(f"{indent}}}{after}")
