"""Completes protogen/formats/schema/caffe.proto from the data of the dialects.

    python tests/toolchains/union_schema.py [--marks]

It adds every message, field and enum value of a dialect that the file lacks, gives a free number to a
field whose number another field of the message has, and writes the names of the
forks into the comment after each field and value that BVLC Caffe does not have. ``--marks`` writes only
the comments. Definitions that no dialect has, such as those of protogen's own layer types, stay.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from protogen.formats.schema import registry
from protogen.formats.schema.dialect import BVLC, Definition, facts
from protogen.formats.schema.source import SCALARS, Schema, parse_proto

PATH = Path(registry.__file__).with_name("caffe.proto")
FIRST_OWN = 10_001  # numbers of protogen for fields of forks in messages of BVLC Caffe
_OPEN = re.compile(r"^\s*(message|enum) (\w+) \{")
_FIELD = re.compile(r"^(\s*(?:optional|required|repeated) \S+ (\w+) = \d+[^;]*;)(?:\s*//.*)?$")
_VALUE = re.compile(r"^(\s*(\w+) = -?\d+[^;]*;)(?:\s*//.*)?$")


def comment(has: int) -> str:
    """Return the comment with the forks of a set of dialects; empty if BVLC Caffe is one of them."""
    known = facts()
    return "" if has & known.bits[BVLC] else f"  // {', '.join(known.names_of(has))}"


def scopes(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    """Yield each line by its index with the full name of the block that it is in, and its kind."""
    stack: list[tuple[str, str]] = []
    for i, line in enumerate(lines):
        yield i, *(stack[-1] if stack else ("", ""))
        if match := _OPEN.match(line):
            outer = f"{stack[-1][0]}." if stack else ""
            stack.append((outer + match[2], match[1]))
            if line.rstrip().endswith("}"):
                stack.pop()
        elif line.strip() == "}":
            stack.pop()


def marked(text: str) -> str:
    """Return the text with the names of the forks after their fields and values."""
    known = facts()
    lines = text.split("\n")
    for i, scope, kind in scopes(lines):
        match = (_FIELD if kind == "message" else _VALUE).match(lines[i])
        if match is None or not kind or _OPEN.match(lines[i]):
            continue
        name = match[2]
        has = known.with_field(scope, name) if kind == "message" else known.with_value(scope, name)
        if has:
            lines[i] = match[1] + comment(has)
    return "\n".join(lines)


def renumbered(text: str) -> str:
    """Return the text in which no two fields of a message have the same number."""
    lines = text.split("\n")
    fields: dict[str, list[tuple[int, int]]] = {}
    for i, scope, kind in scopes(lines):
        if kind == "message" and (match := _FIELD.match(lines[i])):
            number = re.search(r"= (\d+)", match[1])
            assert number is not None
            fields.setdefault(scope, []).append((i, int(number[1])))
    for numbered in fields.values():
        taken: set[int] = set()
        most = max(FIRST_OWN, *(number for _, number in numbered))
        for i, number in numbered:
            if number in taken:
                most += 1
                lines[i] = re.sub(r"= \d+", f"= {most}", lines[i], count=1)
            taken.add(number)
    return "\n".join(lines)


def completed(text: str) -> str:
    """Return the text with the definitions that it lacks."""
    known = facts()
    schema = parse_proto(text, "caffe.proto")
    inside: dict[str, list[str]] = {}
    for enum, names in known.enums.items():
        lacking = [name for name in names if not _has_value(schema, enum, name)]
        taken = set(schema.enums[enum].values.values()) if enum in schema.enums else set()
        for name in lacking:
            has, number = known.values[(enum, name)][0]
            while number in taken:
                number = max(taken) + 1
            taken.add(number)
            inside.setdefault(f"enum {enum}", []).append(f"{name} = {number};{comment(has)}")
    for message, names in known.messages.items():
        own = schema.messages[message].fields if message in schema.messages else {}
        taken = {field.number for field in own.values()}
        of_bvlc = any(known.with_field(message, name) & known.bits[BVLC] for name in names)
        for name in names:
            if name in own:
                continue
            one = _common(known.fields[(message, name)])
            number = FIRST_OWN if of_bvlc else one.number
            while number in taken:
                number = max(FIRST_OWN, *taken) + 1
            taken.add(number)
            mark = comment(known.with_field(message, name))
            inside.setdefault(f"message {message}", []).append(
                _line(message, name, one, number) + mark
            )
    for message, _ in _missing_messages(schema):
        inside.setdefault(f"message {message}", [])
    return _inserted(text, inside)


def _has_value(schema: Schema, enum: str, name: str) -> bool:
    return enum in schema.enums and name in schema.enums[enum].values


def _missing_messages(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the messages without fields that are types of fields."""
    known = facts()
    for definitions in known.fields.values():
        for one in definitions:
            is_message = one.type not in SCALARS and one.type not in known.enums
            if is_message and one.type not in schema.messages and one.type not in known.messages:
                yield one.type, ""


def _common(definitions: list[Definition]) -> Definition:
    """Return the definition that most dialects have."""
    return max(definitions, key=lambda one: one.dialects.bit_count())


def _line(message: str, name: str, one: Definition, number: int) -> str:
    default = f'"{one.default}"' if one.type == "string" and one.default else one.default
    options = [f"default = {default}"] if default else []
    options += ["packed = true"] if one.packed else []
    shown = f" [{', '.join(options)}]" if options else ""
    type_ = one.type.removeprefix(f"{message}.")
    label = "optional" if one.label == "required" else one.label
    return f"{label} {type_} {name} = {number}{shown};"


def _inserted(text: str, inside: dict[str, list[str]]) -> str:
    """Return the text with lines at the ends of blocks, and with new blocks for the others."""
    lines = text.split("\n")
    ends: dict[str, int] = {}
    for i, scope, kind in scopes(lines):
        if scope and lines[i].strip() == "}":
            ends[f"{kind} {scope}"] = i
    added: dict[int, list[str]] = {}
    new: dict[str, list[str]] = {}
    for block, more in inside.items():
        kind, _, name = block.partition(" ")
        if block in ends:
            depth = name.count(".") + 1
            added.setdefault(ends[block], []).extend("  " * depth + line for line in more)
        else:
            new[block] = more
    for block in sorted(new, key=lambda one: -one.count(".")):
        kind, _, name = block.partition(" ")
        outer, _, short = name.rpartition(".")
        body = [f"{kind} {short} {{", *(f"  {line}" for line in new[block]), "}"]
        home = f"message {outer}"
        if not outer:
            continue
        if home in ends:
            depth = outer.count(".") + 1
            added.setdefault(ends[home], []).extend("  " * depth + line for line in body)
        else:
            new.setdefault(home, []).extend(body)
    for i in sorted(added, reverse=True):
        lines[i:i] = added[i]
    result = "\n".join(lines).rstrip("\n")
    for block, body in new.items():
        kind, _, name = block.partition(" ")
        if "." not in name:
            result += "\n\n" + "\n".join([f"{kind} {name} {{", *(f"  {one}" for one in body), "}"])
    return result + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--marks", action="store_true", help="write only the comments")
    arguments = parser.parse_args()
    text = PATH.read_text(encoding="utf-8")
    new = marked(text if arguments.marks else completed(renumbered(text)))
    parse_proto(new, "caffe.proto")
    PATH.write_text(new, encoding="utf-8")
    print(f"{PATH.name}: {new.count(chr(10)) - text.count(chr(10))} more lines")


if __name__ == "__main__":
    main()
