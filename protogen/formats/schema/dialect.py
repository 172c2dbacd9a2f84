"""The dialects of Caffe: which layer types, fields and enum values each fork has, as data.

The data is in the folder ``dialects``; tests/toolchains/derive_dialects.py derives it from the public
sources of the forks. It is read when it is first needed. A set of dialects is an integer: bit i stands for
the dialect number i.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from protogen.errors import InputError, did_you_mean

FOLDER = Path(__file__).parent / "dialects"
BVLC = "bvlc"


@dataclass(frozen=True, slots=True)
class Dialect:
    """A published Caffe.

    Attributes:
        name: its name in protogen.
        repository: OWNER/NAME on GitHub.
        revision: the commit that the data is of; empty if it is not known.
        base: the dialect that it extends; empty for BVLC Caffe.
        description: one line.
        registers: whether its sources are public; otherwise its layer types are supposed: those of its
            base, and those for which its schema has a parameter block.
    """

    name: str
    repository: str
    revision: str
    base: str
    description: str
    registers: bool


class Definition(NamedTuple):
    """A field as some dialects define it: their set, its number, label, type, default and whether it is
    packed. ``type`` is a scalar or the full name of a message or an enum."""

    dialects: int
    number: int
    label: str
    type: str
    default: str
    packed: bool


class Facts:
    """What each dialect has. ``names`` are the dialects in the order of their bits."""

    def __init__(self, dialects: Mapping[str, Dialect]) -> None:
        self.names = tuple(dialects)
        self.bits = {name: 1 << i for i, name in enumerate(self.names)}
        self.all = (1 << len(self.names)) - 1
        self._sets: dict[str, int] = {}

    def names_of(self, dialects: int) -> list[str]:
        """Return the names of the dialects in a set."""
        return [name for name, bit in self.bits.items() if dialects & bit]

    def bit(self, dialect: str) -> int:
        """Return the set of one dialect.

        Raises:
            InputError: the name is unknown.
        """
        check_name(dialect, self.names)
        return self.bits[dialect]

    @cached_property
    def types(self) -> Mapping[str, int]:
        """The dialects that register each layer type."""
        return {row[0]: self._set(row[1]) for row in _rows("types.csv")}

    @cached_property
    def fields(self) -> Mapping[tuple[str, str], Sequence[Definition]]:
        """The definitions of each field, by message and name."""
        fields: dict[tuple[str, str], list[Definition]] = {}
        for message, name, number, label, type_, default, packed, has in _rows("fields.csv"):
            one = Definition(self._set(has), int(number), label, type_, default, bool(packed))
            fields.setdefault((message, name), []).append(one)
        return fields

    @cached_property
    def numbers(self) -> Mapping[tuple[str, int], Sequence[tuple[str, Definition]]]:
        """The names and definitions of fields, by message and number."""
        numbers: dict[tuple[str, int], list[tuple[str, Definition]]] = {}
        for (message, name), definitions in self.fields.items():
            for one in definitions:
                numbers.setdefault((message, one.number), []).append((name, one))
        return numbers

    @cached_property
    def messages(self) -> Mapping[str, Sequence[str]]:
        """The names of the fields of each message, of all dialects."""
        messages: dict[str, list[str]] = {}
        for message, name in self.fields:
            messages.setdefault(message, []).append(name)
        return messages

    @cached_property
    def values(self) -> Mapping[tuple[str, str], Sequence[tuple[int, int]]]:
        """The dialects that define each enum value with each number, by enum and value."""
        values: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for enum, value, number, has in _rows("values.csv"):
            values.setdefault((enum, value), []).append((self._set(has), int(number)))
        return values

    @cached_property
    def enums(self) -> Mapping[str, Sequence[str]]:
        """The names of the values of each enum, of all dialects."""
        enums: dict[str, list[str]] = {}
        for enum, value in self.values:
            enums.setdefault(enum, []).append(value)
        return enums

    def with_field(self, message: str, name: str) -> int:
        """Return the dialects with a field."""
        return _union(one.dialects for one in self.fields.get((message, name), ()))

    def with_value(self, enum: str, value: str) -> int:
        """Return the dialects with an enum value."""
        return _union(has for has, _ in self.values.get((enum, value), ()))

    def field(self, dialect: str, message: str, name: str) -> Definition | None:
        """Return a field as a dialect defines it; None if it has none."""
        bit = self.bits[dialect]
        return next(
            (one for one in self.fields.get((message, name), ()) if one.dialects & bit), None
        )

    def _set(self, text: str) -> int:
        """Return the set of dialects of a text; see ``marked``."""
        if text not in self._sets:
            words = text.split(" ")
            if words[0] == "*":
                lacking = _union(self.bits[word[1:]] for word in words[1:])
                self._sets[text] = self.all & ~lacking
            else:
                self._sets[text] = _union(self.bits[word] for word in words)
        return self._sets[text]


def _union(sets: Iterable[int]) -> int:
    union = 0
    for one in sets:
        union |= one
    return union


def _rows(name: str) -> Iterator[list[str]]:
    """Yield the rows of a data file after its head."""
    import csv

    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        yield from rows


def marked(has: Sequence[str], known: Sequence[str]) -> str:
    """Return a set of dialects as the data files write it: the names, or ``*`` for all of them and
    ``-NAME`` for each of the few that are not in the set."""
    if 2 * len(has) > len(known):
        return " ".join(["*", *(f"-{name}" for name in known if name not in has)])
    return " ".join(has)


@cache
def dialects() -> Mapping[str, Dialect]:
    """Return the public dialects by name, BVLC Caffe first."""
    return {
        name: Dialect(name, repository, revision, base, description, bool(sources))
        for name, repository, revision, _, sources, base, description in _rows("dialects.csv")
    }


@cache
def facts() -> Facts:
    """Return what each public dialect has."""
    return Facts(dialects())


MOST_NAMED = 6  # dialects in a message


def in_words(names: Sequence[str]) -> str:
    """Return the names of dialects for a message: the first ones, and how many more there are."""
    more = len(names) - MOST_NAMED
    text = ", ".join(names[:MOST_NAMED])
    return f"{text} and {more} more" if more > 0 else text


def published(type_: str) -> str:
    """Return which public forks register a layer type, for the end of a message; empty if none does."""
    known = facts()
    names = known.names_of(known.types.get(type_, 0))
    if not names:
        return ""
    forks = [f"{name} ({dialects()[name].repository})" for name in names]
    return f"; it is a type of {in_words(forks)}"


def check_name(dialect: str, known: Iterable[str] | None = None) -> None:
    """Raise InputError unless the name is that of a dialect."""
    names = list(dialects() if known is None else known)
    if dialect not in names:
        raise InputError(
            f"unknown name {dialect!r}",
            subject="dialect",
            advice=did_you_mean(dialect, names) or f"Known dialects: {', '.join(names)}.",
        )
