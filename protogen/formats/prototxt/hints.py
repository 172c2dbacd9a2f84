"""Words for what a field takes."""

from __future__ import annotations

from protogen.formats.schema import FieldType


def expected(known: FieldType) -> str:
    if known.message is not None:
        return "a message"
    if known.enum is not None:
        return f"one of {', '.join(known.enum.values)}"
    if known.type_name in ("string", "bytes"):
        return "a string in quotes"
    if known.type_name in ("float", "double"):
        return f"a number ({known.type_name})"
    return "true or false" if known.type_name == "bool" else f"a whole number ({known.type_name})"


def choices(known: FieldType) -> str:
    assert known.enum is not None
    return f"Known are {', '.join(known.enum.values)}."
