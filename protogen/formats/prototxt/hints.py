"""Phrases for error messages: which values a field accepts."""

from __future__ import annotations

from protogen.formats.schema import FieldType


def expected(known: FieldType) -> str:
    """Return the type of value that a field accepts, such as ``a string in quotes``."""
    if known.message is not None:
        return "a message"
    if known.enum is not None:
        return f"one of {', '.join(known.enum.values)}"
    if known.type_name in ("string", "bytes"):
        return "a string in quotes"
    if known.type_name in ("float", "double"):
        return f"a number ({known.type_name})"
    return "true or false" if known.type_name == "bool" else f"an integer ({known.type_name})"


def choices(known: FieldType) -> str:
    """Return a sentence that lists the values of a field's enum."""
    assert known.enum is not None
    return f"Known values: {', '.join(known.enum.values)}."
