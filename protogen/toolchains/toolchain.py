"""What a toolchain takes, limits, ignores and computes wrongly: data files and their reader.

docs/toolchain_files.md documents the format. Each statement names its source; what no source says is
unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from string import Template
from typing import Any

from protogen.errors import InputError, did_you_mean
from protogen.formats import tomlfiles
from protogen.formats.schema.dialect import BVLC, Dialect, dialects, facts
from protogen.toolchains.statements import Install as Install
from protogen.toolchains.statements import Schema as Schema
from protogen.toolchains.statements import Statement as Statement
from protogen.toolchains.words import NET_WORDS, examples

FOLDER = Path(__file__).parent / "targets"
VERDICTS = ("refused", "wrong", "ignored", "unknown", "taken")  # the worst first
# The words of ``next``: the written files, the name of the net, its inputs and outputs.
NEXT_WORDS = {
    "prototxt": "the written prototxt",
    "caffemodel": "the written caffemodel",
    "name": "the name of the prototxt without its suffix",
    "input": "the first input",
    "inputs": "the inputs, separated by commas",
    "shape": "the shape of the first input, as 1,3,224,224",
    "dims": "the same as 1x3x224x224",
    "channels": "its number of channels",
    "height": "its height",
    "width": "its width",
    "shapes": "the shapes of the inputs, as [[1,3,224,224]]",
    "inputs_with_shapes": "the inputs with their shapes, as data:1,3,224,224;rois:8,5",
    "zeros": "a 0 for each channel of the first input, as 0,0,0",
    "ones": "a 1 for each channel of the first input, as 1,1,1",
    "zero_lists": "a list of zeros for each input, as [[0,0,0]]",
    "one_lists": "a list of ones for each input, as [[1,1,1]]",
    "outputs": "the outputs, separated by commas",
}
TOLERANCE = 1e-3  # of the largest magnitude of a blob


@dataclass(frozen=True)
class Toolchain:
    """The data of one toolchain.

    Attributes:
        name: the name of its file, without the suffix.
        version: the release that the statements are about.
        path: its file.
        adapter: how ``protogen try`` runs it: the name of one of protogen's adapters, or the path of
            a user's; empty if there is none.
        tolerance: the error that counts as right, relative to the largest magnitude.
        float16: whether it computes in float16.
        next: what a user types next in the toolchain, with the words of ``NEXT_WORDS`` as $word.
        types: each accepted layer type, with the id of the source.
        types_complete: whether it refuses every other type.
        caffe_checks: whether it refuses the layers that Caffe refuses.
        net: statements about whole nets.
        rules: statements about layers.
        sources: documents, source files and measurements by id.
    """

    name: str = ""
    title: str = ""
    version: str = ""
    path: Path = Path()
    adapter: str = ""
    tolerance: float = TOLERANCE
    float16: bool = False
    notes: tuple[str, ...] = ()
    next: str = ""
    install: Install = field(default_factory=Install)
    sources: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    types_complete: bool = False
    caffe_checks: bool = False
    schema: Schema = field(default_factory=Schema)
    net: tuple[Statement, ...] = ()
    rules: tuple[Statement, ...] = ()

    def source(self, id_: str) -> str:
        """Return the text of a source."""
        return self.sources.get(id_, id_)

    @cached_property
    def _by_type(self) -> Mapping[str, tuple[Statement, ...]]:
        named = {type_ for rule in self.rules for type_ in rule.layers}
        return {
            type_: tuple(r for r in self.rules if not r.layers or type_ in r.layers)
            for type_ in named
        }

    @cached_property
    def _for_all(self) -> tuple[Statement, ...]:
        return tuple(rule for rule in self.rules if not rule.layers)

    def rules_for(self, type_: str) -> tuple[Statement, ...]:
        """Return the statements about layers of a type."""
        return self._by_type.get(type_, self._for_all)


def names() -> list[str]:
    """Return the names of protogen's own data files, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def toolchains() -> Iterator[Toolchain]:
    """Yield every toolchain with a data file of protogen, sorted by name."""
    for name in names():
        yield load_toolchain(name)


def load_toolchain(name: str | Path) -> Toolchain:
    """Return the data of a toolchain by its name, or from a user's .toml file. The name of a dialect
    stands for its Caffe; see ``of_dialect``.

    Raises:
        InputError: the name is unknown, or the file is invalid.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
        if not path.exists() and name in dialects():
            return of_dialect(str(name))
        if not path.exists():
            known = names()
            advice = did_you_mean(str(name), known) or f"Known targets: {', '.join(known)}."
            raise InputError(
                f"unknown name {str(name)!r}",
                subject="target",
                advice=f"{advice} The name of your own target file must end in .toml.",
            )
    data = tomlfiles.read(path)
    return parse_toolchain(data, path, path.read_text(encoding="utf-8"))


def of_dialect(name: str) -> Toolchain:
    """Return a dialect of Caffe as a toolchain: with the layer types, fields and values that it has, and
    the statements of its data file, or else those about BVLC Caffe.

    Raises:
        InputError: the dialect is unknown.
    """
    known: Dialect = dialects()[name]
    path = FOLDER / f"{name}.toml"
    if path.exists() and (own := load_toolchain(name)).schema.dialect == name:
        return own
    data = tomlfiles.read(FOLDER / f"{BVLC}.toml")
    revision = f", commit {known.revision}" if known.revision else ""
    sources = {"source": f"{known.repository}{revision}"}
    title = known.description.partition(":")[0]
    head = {"title": title, "dialect": name, "caffe_checks": True, "sources": sources}
    return parse_toolchain({**head, "rule": data.get("rule", [])}, path)


@dataclass(frozen=True)
class _File:
    """A data file, to find the line of a key for a message."""

    path: str
    text: str = ""

    @property
    def is_tried(self) -> bool:
        """Whether its conditions are tried when it is read; those of protogen's files are tested."""
        return Path(self.path).parent != FOLDER

    def at(self, key: str = "", header: str = "", number: int = 1) -> str:
        """Return the place of a key below the ``number``-th header, or of this header."""
        lines = self.text.splitlines()
        forms = (f"[{header}]", f"[[{header}]]")
        heads = [i for i, line in enumerate(lines) if line.partition("#")[0].strip() in forms]
        start = heads[number - 1] if len(heads) >= number else 0
        pattern = re.compile(rf"""\s*(\[+\s*)?["']?{re.escape(key)}["']?\s*[=.\]]""")
        for i in range(start, len(lines) if key else 0):
            if pattern.match(lines[i]):
                return f"{self.path}:{i + 1}"
        return f"{self.path}:{start + 1}" if header and heads else self.path


_HEAD: Mapping[str, type | tuple[type, ...]] = {
    "title": str, "version": str, "adapter": str, "tolerance": (int, float), "float16": bool,
    "types_complete": bool, "caffe_checks": bool, "notes": list, "next": str, "install": dict, "sources": dict, "types": dict,
    "schema": dict, "net": list, "rule": list, "dialect": str,
}  # fmt: skip
_INSTALL = {"python": str, "packages": list, "commands": list, "module": str}
_SCHEMA = {"unknown": str, "lacks": list, "fields": dict, "source": str}
_RULE = {"layers": list, "when": str, "must": str, "without": str, "is": str, "field": str,
         "text": str, "source": str, "only": bool}  # fmt: skip
_NET = {"when": str, "is": str, "field": str, "text": str, "source": str}
_KINDS = {str: "a string", list: "a list of strings", dict: "a table", bool: "true or false"}


def parse_toolchain(data: Mapping[str, Any], path: str | Path = "", text: str = "") -> Toolchain:
    """Return the data in the parsed TOML of a file. ``text`` is its text, for lines in messages.

    Raises:
        InputError: a key is unknown, a value has the wrong type, or a condition is invalid.
    """
    where = _File(str(path), text)
    _check(data, _HEAD, "", where)
    install, schema = data.get("install", {}), data.get("schema", {})
    _check(install, _INSTALL, "install", where)
    _check(schema, _SCHEMA, "schema", where)
    for name, kind in (("sources", str), ("types", list)):
        _check(data.get(name, {}), dict.fromkeys(data.get(name, {}), kind), name, where)
    if schema.get("unknown", "") not in ("", "refused", "kept"):
        place = where.at("unknown", "schema")
        raise _unknown_value(schema["unknown"], ("refused", "kept"), "schema.unknown", place)
    fields = schema.get("fields", {})
    _check(fields, dict.fromkeys(fields, int), "schema.fields", where)
    dialect = data.get("dialect", "")
    if dialect not in ("", *dialects()):
        raise _unknown_value(dialect, dialects(), "dialect", where.at("dialect"))
    types = {type_: id_ for id_, types in data.get("types", {}).items() for type_ in types}
    toolchain = Toolchain(
        name=Path(path).stem,
        title=data.get("title", ""),
        version=data.get("version", ""),
        path=Path(path),
        adapter=data.get("adapter", ""),
        tolerance=float(data.get("tolerance", TOLERANCE)),
        float16=data.get("float16", False),
        notes=tuple(data.get("notes", ())),
        next=_next(data.get("next", ""), where),
        install=Install(
            install.get("python", ""),
            tuple(install.get("packages", ())),
            tuple(install.get("commands", ())),
            install.get("module", ""),
        ),
        sources=data.get("sources", {}),
        types={**dict.fromkeys(_types_of(dialect), "source"), **types},
        types_complete=data.get("types_complete", bool(dialect)),
        caffe_checks=data.get("caffe_checks", False),
        schema=Schema(
            schema.get("unknown", "refused" if dialect else ""),
            frozenset(schema.get("lacks", ())),
            fields,
            schema.get("source", "source" if dialect else ""),
            dialect,
        ),
        net=tuple(_statements(data.get("net", ()), "net", where)),
        rules=tuple(_statements(data.get("rule", ()), "rule", where)),
    )
    _check_sources(toolchain, where)
    return toolchain


def _types_of(dialect: str) -> list[str]:
    """Return the layer types that a dialect registers; none for no dialect."""
    if not dialect:
        return []
    known = facts()
    types = [type_ for type_, has in known.types.items() if has & known.bits[dialect]]
    return [*types, "Input"]  # older Caffes have fields of the net instead


def _next(text: str, where: _File) -> str:
    """Return the text of ``next``, after a check of its words."""
    try:
        Template(text).substitute(dict.fromkeys(NEXT_WORDS, ""))
    except (KeyError, ValueError) as error:
        known = ", ".join(f"${word}" for word in NEXT_WORDS)
        raise InputError(
            f"key 'next' has an unknown word ({error})",
            where=where.at("next"),
            advice=f"Known words: {known}. Write $$ for a dollar sign.",
        ) from None
    return text.strip("\n")


def _check(
    table: Mapping[str, Any], kinds: Mapping[str, Any], name: str, where: _File, number: int = 1
) -> None:
    """Raise InputError if a key of a table is unknown, or its value has the wrong type."""
    label = f"{name} {number}." if name in ("net", "rule") else f"{name}." if name else ""
    for key, value in table.items():
        if key not in kinds:
            advice = did_you_mean(key, kinds) or f"Known keys: {', '.join(kinds)}."
            place = where.at(key, name, number)
            raise InputError(f"unknown key {label + key!r}", where=place, advice=advice)
        kind = kinds[key]
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if right and kind is list and not (key in ("net", "rule") and not name):
            right = all(isinstance(item, str) for item in value)
        if not right:
            expected = "a list of tables" if key in ("net", "rule") and not name else None
            expected = expected or _KINDS.get(kind, "a number")
            place = where.at(key, name, number)
            raise InputError(f"key {label + key!r} must be {expected}", where=place)


def _unknown_value(value: str, known: Iterable[str], name: str, where: str) -> InputError:
    expected = ", ".join(known)
    return InputError(f"unknown value {value!r} of {name}, expected {expected}", where=where)


def _statements(tables: Iterable[Any], name: str, where: _File) -> Iterator[Statement]:
    for number, table in enumerate(tables, 1):
        label = f"{name} {number}"
        if not isinstance(table, dict):
            raise InputError(f"{label} must be a table: write [[{name}]]", where=where.path)
        _check(table, _NET if name == "net" else _RULE, name, where, number)
        limits = [key for key in ("must", "without") if key in table]
        if len(limits) + ("is" in table) != 1:
            either = "either must, without, or is" if name == "rule" else "is"
            place = where.at("", name, number)
            raise InputError(f"{label} must set {either}", where=place)
        if limits and "when" in table:
            problem, place = f"{label} sets both {limits[0]} and when", where.at("", name, number)
            raise InputError(problem, where=place, advice="Write the condition with is and when.")
        verdict = table.get("is", "refused")
        if verdict not in VERDICTS:
            place = where.at("is", name, number)
            raise _unknown_value(verdict, VERDICTS, f"{label}.is", place)
        statement = Statement(
            verdict,
            tuple(table.get("layers", ())),
            table.get("when", ""),
            table.get("must", ""),
            table.get("without", ""),
            table.get("field", ""),
            table.get("text", ""),
            table.get("source", ""),
            table.get("only", False),
        )
        try:
            if where.is_tried:
                _try_conditions(statement, name)
        except InputError as error:
            place = where.at("", name, number)
            raise InputError(f"{label}: {error}", where=place) from None
        yield statement


def _try_conditions(statement: Statement, name: str) -> None:
    """Evaluate ``when`` once for each layer type, so that an unknown word is an error at once."""
    if not statement.when:
        return
    if name == "net":
        statement.holds(NET_WORDS)
        return
    for words in examples(statement.layers):
        statement.holds(words)


def _check_sources(toolchain: Toolchain, where: _File) -> None:
    """Raise InputError if [types] or [schema] names a source that [sources] does not have."""
    used = {*toolchain.types.values(), toolchain.schema.source} - {""}
    for id_ in sorted(used):
        if id_ not in toolchain.sources:
            advice = did_you_mean(id_, toolchain.sources) or "Add it to [sources]."
            place = where.at(id_, "types")
            raise InputError(f"unknown source {id_!r}", where=place, advice=advice)
