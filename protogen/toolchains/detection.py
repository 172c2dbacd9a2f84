"""Finds which dialects of Caffe a net can be of: whose registry and parser have everything that it uses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from protogen._late import Shown
from protogen.errors import Place
from protogen.formats.message import Field, Message, Name
from protogen.formats.prototxt import Document
from protogen.formats.schema.dialect import BVLC, Facts, dialects, facts
from protogen.formats.schema.source import SCALARS
from protogen.layers import LayerType
from protogen.layers.names import V1_TYPES
from protogen.layers.reading import NET_FIELDS
from protogen.toolchains.dialects import check_dialect

_LIMITS = {
    "int32": (-(2**31), 2**31),
    "sint32": (-(2**31), 2**31),
    "uint32": (0, 2**32),
    "int64": (-(2**63), 2**63),
    "sint64": (-(2**63), 2**63),
    "uint64": (0, 2**64),
}
INPUT = "Input"  # the layer type; older Caffes have fields of the net instead
_WHOLE = re.compile(r"-?(0[xX][0-9a-fA-F]+|\d+)")
_Scope = tuple[
    tuple[str, int], ...
]  # the message that some dialects have at a place, with their set


class Use(NamedTuple):
    """A layer type, field or value that a net uses and that some dialects lack.

    Attributes:
        kind: ``type``, ``field`` or ``value``.
        text: what it is: ``type Permute``, ``pooling_param.round_mode``.
        lacking: the set of dialects without it, of those that have everything around it.
        item: the field in the net.
        layer: the field of its layer; None outside of layers.
        having: the set of all dialects with it, for a message.
    """

    kind: str
    text: str
    lacking: int
    item: Field
    layer: Field | None
    having: int = 0


@dataclass(frozen=True)
class Found:
    """A layer type, field or value in a net, and its first place."""

    text: str
    place: Place | str
    layer: str = ""

    def __str__(self) -> str:
        line = getattr(self.place, "line", 0)
        place = f"line {line}" if line else str(self.place)
        return f"{self.text} ({place})" if place else self.text


@dataclass(frozen=True)
class Evidence:
    """Something that a net uses and that not every dialect has.

    Attributes:
        use: what it is, and its first place.
        dialects: the dialects that have it.
    """

    use: Found
    dialects: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Detection(Shown):
    """The dialects that a net can be of.

    Attributes:
        possible: the dialects that have every type, field and value of the net, the best first: BVLC
            Caffe, then the smallest one.
        lacks: the first things that each other dialect lacks.
        why: what excludes the other dialects: as few types, fields and values as explain it.
    """

    possible: tuple[str, ...]
    lacks: dict[str, tuple[Found, ...]]
    why: tuple[Evidence, ...]

    @property
    def closest(self) -> str:
        """The dialect that lacks the least; a possible one, if there is any."""
        if self.possible:
            return self.possible[0]
        return min(self.lacks, key=lambda name: len(self.lacks[name]))


def detect(net: Message, among: int | None = None, skip_unknown: bool = False) -> Detection:
    """Return the dialects that a net can be of.

    Layer types and fields that the user defined exclude no dialect.

    Args:
        net: a NetParameter in any format of Caffe.
        among: the set of dialects to choose from; all by default.
        skip_unknown: whether types, fields and values that no dialect has exclude none, such as a
            misspelt name.
    """
    candidates = facts().all if among is None else among
    first: dict[str, Use] = {}
    lacking: dict[str, int] = {}
    for use in uses(net, candidates):
        if not use.having and (skip_unknown or _is_of_user(use)):
            continue
        first.setdefault(use.text, use)
        lacking[use.text] = lacking.get(use.text, 0) | use.lacking
    return concluded(
        {text: _first_use(use, net) for text, use in first.items()}, lacking, candidates
    )


def concluded(shown: dict[str, Found], lacking: dict[str, int], candidates: int) -> Detection:
    """Return the conclusion from what some of the candidates lack, by its text."""
    known = facts()
    excluded = 0
    for one in lacking.values():
        excluded |= one
    possible = known.names_of(candidates & ~excluded)
    possible.sort(key=lambda name: _distance(known, name))
    lacks = {
        name: tuple(shown[text] for text, has in lacking.items() if has & known.bits[name])
        for name in known.names_of(excluded)
    }
    return Detection(
        tuple(possible),
        lacks,
        tuple(
            Evidence(shown[text], tuple(known.names_of(candidates & ~lacking[text])))
            for text in _fewest(lacking)
        ),
    )


def _fewest(lacking: dict[str, int]) -> list[str]:
    """Return few of the texts that together exclude what all of them exclude, in their order."""
    left = 0
    for one in lacking.values():
        left |= one
    chosen = set()
    while left:
        text = max(lacking, key=lambda text: (lacking[text] & left).bit_count())
        chosen.add(text)
        left &= ~lacking[text]
    return [text for text in lacking if text in chosen]


def _distance(known: Facts, name: str) -> tuple[bool, bool, int]:
    """Order the possible dialects: BVLC Caffe and its release, then the fewest differences from it in
    layer types, those without public sources last."""
    bit, bvlc = known.bits[name], known.bits[BVLC]
    differences = sum(bool(has & bit) != bool(has & bvlc) for has in known.types.values())
    dialect = dialects()[name]
    return (dialect.repository != dialects()[BVLC].repository, not dialect.registers, differences)


def _first_use(use: Use, net: Message) -> Found:
    layer = ""
    if use.layer is not None and isinstance(use.layer.value, Message):
        layer = str(use.layer.value.name)
    place: Place | str = ""
    if isinstance(net, Document) and net.source is not None and use.item.start >= 0:
        place = net.source.place(use.item.start)
    return Found(use.text, place, layer)


def uses(net: Message, candidates: int) -> Iterator[Use]:
    """Yield what some of the candidates lack, in the order of the file. A field of a message that a
    dialect lacks is not reported for this dialect again."""
    yield from _Walk(facts(), candidates).run(net)


def lacked(net: Message, dialect: str) -> Iterator[Use]:
    """Yield what a net uses and a dialect lacks. A dialect of the user has what BVLC Caffe has, and the
    layer types and fields that the user defined for it.

    Raises:
        InputError: the dialect is unknown.
    """
    check_dialect(dialect)
    known = facts()
    for use in uses(net, known.bits.get(dialect, known.bits[BVLC])):
        if not _is_defined_for(use, dialect):
            yield use


def layer_lacks(layer: Message, dialect: str) -> Iterator[Use]:
    """Yield the fields and values of a layer's parameters that a dialect lacks. The fields that every
    layer has, such as its bottoms, are left out."""
    known = facts()
    bit = known.bits[dialect]
    if layer.type == INPUT and not known.types[INPUT] & bit:
        return  # its inputs are written as fields of the net
    modern = known.field(dialect, "NetParameter", "layer") is not None
    kind = "LayerParameter" if modern else "V1LayerParameter"
    walk = _Walk(known, bit)
    for item in layer.fields:
        if item.name not in NET_FIELDS:
            many = len(layer.all(item.name)) > 1
            uses = walk.field(item, ((kind, bit),), "", many)
            yield from (use for use in uses if not _is_defined_for(use, dialect))


def _is_of_user(use: Use) -> bool:
    """Return whether the user defined a layer type or a field that no public dialect has."""
    if use.kind == "type":
        kind = LayerType.registry.get(use.item.value)
        return kind is not None and (kind.user_defined or bool(kind.forks))
    from protogen.formats.schema.extension import is_added  # it loads protobuf

    definition = use.item.type
    return use.kind == "field" and definition is not None and is_added(definition.dialects)


def _is_defined_for(use: Use, dialect: str) -> bool:
    """Return whether the user defined a layer type or a field for a dialect."""
    if use.kind == "type":
        kind = LayerType.registry.get(use.item.value)
        return kind is not None and dialect in kind.forks
    definition = use.item.type
    if use.kind != "field" or definition is None or dialect not in definition.dialects:
        return False
    return not facts().with_field(definition.owner, definition.name)


class _Walk:
    """A walk over a net with the definitions of many dialects at once."""

    def __init__(self, known: Facts, candidates: int) -> None:
        self.known = known
        self.candidates = candidates
        self.layer: Field | None = None

    def run(self, net: Message) -> Iterator[Use]:
        yield from self._inside(net, (("NetParameter", self.candidates),), "")

    def _inside(self, message: Message, scope: _Scope, path: str) -> Iterator[Use]:
        fields = message.fields
        counts = Counter([item.name for item in fields])
        for item in fields:
            yield from self.field(item, scope, path, counts[item.name] > 1)

    def field(self, item: Field, scope: _Scope, path: str, many: bool) -> Iterator[Use]:
        """Yield what dialects lack of a field; ``many``: its message has it more than once."""
        around = have = fit = single = 0
        inner: dict[str, int] = {}
        for message, dialects_ in scope:
            around |= dialects_
            for one in self.known.fields.get((message, item.name), ()):
                has = one.dialects & dialects_
                if not has:
                    continue
                have |= has
                if many and one.label != "repeated":
                    single |= has
                    continue
                has = self._fitting(one.type, item, has)
                fit |= has
                if isinstance(item.value, Message):
                    inner[one.type] = inner.get(one.type, 0) | has
        text = path + item.name
        if lacking := around & ~have:
            yield Use("field", text, lacking, item, self.layer, self._having(item, scope, False))
        if single:
            having = self._having(item, scope, True)
            yield Use("field", f"more than one {text}", single, item, self.layer, having)
        if lacking := have & ~fit & ~single:
            value = "a message" if isinstance(item.value, Message) else _shown(item)
            having = self._having(item, scope, many, value=True)
            yield Use("value", f"{text}: {value}", lacking, item, self.layer, having)
        if isinstance(item.value, Message) and item.name != "blobs":
            states = tuple((name, has) for name, has in inner.items() if has)
            if self.layer is None and item.name in ("layer", "layers"):
                self.layer = item
                yield from self._type(item)
                yield from self._inside(item.value, states, "")
                self.layer = None
            else:
                yield from self._inside(item.value, states, f"{text}.")

    def _having(self, item: Field, scope: _Scope, many: bool, value: bool = False) -> int:
        """Return all dialects with a field in a message of the scope: also more than once, if ``many``,
        and with its value, if ``value``."""
        having = 0
        for message, _ in scope:
            for one in self.known.fields.get((message, item.name), ()):
                if not many or one.label == "repeated":
                    fits = self._fitting(one.type, item, one.dialects) if value else one.dialects
                    having |= fits
        return having

    def _type(self, item: Field) -> Iterator[Use]:
        """Yield the layer's type if some candidates do not register it."""
        layer: Message = item.value
        name = str(layer.type) if layer.has("type") else ""
        if not name and layer.kind is not None:
            return
        name = V1_TYPES.get(name, name) if item.name == "layers" else name
        kind = LayerType.registry.get(name)
        having = self.known.types.get(name, 0)
        if not name or (not having and kind is not None and kind.user_defined and kind.stock):
            return
        if lacking := self.candidates & ~having:
            yield Use("type", f"type {name}", lacking, layer.all("type")[0], item, having)

    def _fitting(self, type_: str, item: Field, has: int) -> int:
        """Return those dialects, of a set with this type of the field, that take the value."""
        value = item.value
        if type_ in SCALARS:
            return has if _takes(type_, item) else 0
        if type_ in self.known.enums:
            return self._with_value(type_, value, has)
        return has if isinstance(value, Message) else 0

    def _with_value(self, enum: str, value: object, has: int) -> int:
        if isinstance(value, str):
            return has & self.known.with_value(enum, value)
        if isinstance(value, bool) or not isinstance(value, int):
            return 0
        having = 0
        for name in self.known.enums[enum]:
            for dialects_, number in self.known.values[(enum, name)]:
                having |= dialects_ if number == value else 0
        return has & having


def _takes(type_: str, item: Field) -> bool:
    """Return whether a text parser takes the value for a scalar."""
    value = item.value
    if type_ in ("string", "bytes"):
        return isinstance(value, (str, bytes)) and not isinstance(value, Name)
    if type_ == "bool":
        return isinstance(value, bool) or value in (
            0,
            1,
            "true",
            "false",
            "True",
            "False",
            "t",
            "f",
        )
    if isinstance(value, (bool, str, Message, bytes)):
        return False
    if type_ in ("float", "double"):
        return True
    if item.literal is not None and not _WHOLE.fullmatch(item.literal):
        return False
    low, high = _LIMITS.get(type_, (-(2**63), 2**64))
    return bool(low <= value < high)


def _shown(item: Field) -> str:
    if isinstance(item.value, bool):
        return str(item.value).lower()
    return item.literal or str(item.value)
