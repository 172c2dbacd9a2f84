"""Derives the data of each dialect of Caffe from the public source trees of the forks.

    python tests/toolchains/derive_dialects.py SOURCES [--check]

SOURCES has a folder OWNER+NAME@REVISION for each row of protogen/formats/schema/dialects/dialects.csv
(OWNER+NAME alone where the revision is not known). The script reads the .proto file of each and the layer types
that its sources register, and writes types.csv, fields.csv and values.csv beside dialects.csv. ``--check``
only compares.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from protogen.formats.schema.dialect import FOLDER, marked
from protogen.formats.schema.source import Schema, parse_proto
from protogen.layers.names import V1_TYPES
from protogen.toolchains.toolchain import load_toolchain

LISTED = "toolchain:"  # the layer types are those of a data file in protogen/toolchains/targets
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_REGISTERED = re.compile(r"\bREGISTER_LAYER_(?:CLASS|CREATOR)(?:_R)?\s*\(\s*(\w+)")
_CASE = re.compile(r"\bcase\s+(?:V1)?LayerParameter_LayerType_(\w+)\s*:")
_HEX = re.compile(r"=\s*(0x[0-9a-fA-F]+)")
_CODE = {".cpp", ".cu", ".hpp", ".h", ".cc"}


class Facts:
    """What a .proto file and the sources of a Caffe define, by full names."""

    def __init__(self) -> None:
        self.types: set[str] = set()
        self.fields: dict[tuple[str, str], tuple[str, ...]] = {}
        self.values: dict[tuple[str, str], int] = {}

    def take_proto(self, text: str, path: str) -> bool:
        """Add the fields and values of a file. Return whether its nets are in the V1 format."""
        text = _HEX.sub(lambda number: f"= {int(number[1], 16)}", text)
        schema = parse_proto(text, path).complete()
        is_v1 = "layer" not in schema.messages["NetParameter"].fields

        def named(name: str) -> str:
            head, dot, rest = name.partition(".")
            return f"V1{head}{dot}{rest}" if is_v1 and head == "LayerParameter" else name

        for name, message in schema.messages.items():
            for field in message.fields.values():
                kind = field.message or field.enum
                type_ = named(kind.name) if kind else field.type_name
                default = _default(schema, field.default, type_) if not field.message else ""
                packed = "packed" if field.packed else ""
                row = (str(field.number), field.label, type_, default, packed)
                self.fields.setdefault((named(name), field.name), row)
        for name, enum in schema.enums.items():
            for value, number in enum.values.items():
                self.values.setdefault((named(name), value), number)
        return is_v1

    def take_sources(self, folder: Path, is_v1: bool) -> None:
        """Add the layer types that the sources in a folder register."""
        for path in sorted(folder.rglob("*")):
            if path.suffix not in _CODE or "test" in path.relative_to(folder).parts:
                continue
            code = path.read_text(encoding="utf-8", errors="replace")
            code = _COMMENT.sub("", re.sub(r"^\s*#define.*?(?<!\\)$", "", code, flags=re.M | re.S))
            if is_v1 and path.name == "layer_factory.cpp":
                self.types.update(V1_TYPES.get(name, name) for name in _CASE.findall(code))
            names = _REGISTERED.findall(code)
            self.types.update(V1_TYPES.get(name, name) if is_v1 else name for name in names)
        self.types.discard("")


def _default(schema: Schema, value: object, type_: str) -> str:
    """Return an explicit default as text; empty for none."""
    if value in (None, "", b"", False, 0):
        return ""
    if isinstance(value, bool):
        return "true"
    return f"{value:g}" if isinstance(value, float) else str(value)


def facts_of(row: dict[str, str], sources: Path) -> Facts:
    """Return the facts of a dialect from its tree."""
    owner, name = row["repository"].split("/")
    exact = sources / f"{owner}+{name}@{row['revision']}"
    tree = exact if row["revision"] and exact.exists() else sources / f"{owner}+{name}"
    facts = Facts()
    text = (tree / row["proto"]).read_text(encoding="utf-8", errors="replace")
    is_v1 = facts.take_proto(text, row["proto"])
    if row["sources"].startswith(LISTED):
        facts.types |= set(load_toolchain(row["sources"].removeprefix(LISTED)).types)
    elif row["sources"]:
        facts.take_sources(tree / row["sources"], is_v1)
    return facts


def supposed(row: dict[str, str], facts: dict[str, Facts]) -> set[str]:
    """Return the layer types of a dialect of which only the schema is public: those of its base, and
    those for which it has a parameter block."""
    blocks = {
        field.removesuffix("_param").replace("_", "")
        for message, field in facts[row["name"]].fields
        if message == "LayerParameter" and field.endswith("_param")
    }
    known = {type_ for one in facts.values() for type_ in one.types}
    return facts[row["base"]].types | {type_ for type_ in known if type_.lower() in blocks}


def derived(sources: Path) -> dict[str, str]:
    """Return the text of each derived file by its name."""
    with (FOLDER / "dialects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["name"] for row in rows]
    facts = {row["name"]: facts_of(row, sources) for row in rows}
    for row in rows:
        if not row["sources"]:
            facts[row["name"]].types = supposed(row, facts)
    types = [
        (type_, [n for n in names if type_ in facts[n].types])
        for type_ in sorted({t for one in facts.values() for t in one.types})
    ]
    return {
        "types.csv": _csv(("type",), (((t,), has) for t, has in types), names),
        "fields.csv": _csv(
            ("message", "field", "number", "label", "type", "default", "packed"),
            _grouped({n: one.fields for n, one in facts.items()}),
            names,
        ),
        "values.csv": _csv(
            ("enum", "value", "number"),
            _grouped(
                {n: {k: (str(v),) for k, v in one.values.items()} for n, one in facts.items()}
            ),
            names,
        ),
    }


def _grouped(
    facts: dict[str, dict[tuple[str, str], tuple[str, ...]]],
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield each definition with the dialects that have it, by the names of their definitions."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, defined in facts.items():
        for key, row in defined.items():
            groups.setdefault((*key, *row), []).append(name)

    def order(row: tuple[str, ...]) -> tuple[object, ...]:
        return (row[0], int(row[2]), row)

    for row in sorted(groups, key=order):
        yield row, groups[row]


def _csv(
    head: tuple[str, ...], rows: Iterator[tuple[tuple[str, ...], list[str]]], known: list[str]
) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((*head, "dialects"))
    for row, has in rows:
        writer.writerow((*row, marked(has, known)))
    return stream.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path, help="folder of the source trees")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()
    differ = 0
    for name, text in derived(arguments.sources).items():
        path = FOLDER / name
        if arguments.check:
            same = path.exists() and path.read_text(encoding="utf-8") == text
            print(f"{name}: {'equal' if same else 'differs'}")
            differ += not same
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{name}: {text.count(chr(10)) - 1} rows, {len(text)} bytes")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
