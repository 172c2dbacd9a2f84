"""Finds under the schemas of which dialects the bytes of a binary net are valid.

The forks gave the same numbers to different fields, so the bytes of a layer's parameters have no meaning
without the dialect that wrote them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from protogen.errors import InputError
from protogen.formats import pairs, wire
from protogen.formats.schema.dialect import Definition, facts
from protogen.formats.schema.source import SCALARS
from protogen.toolchains.detection import Detection, Found, concluded

_FLOATS = {"float": (wire.FIXED32, 4), "double": (wire.FIXED64, 8)}
_FIXED = {
    "fixed32": (wire.FIXED32, 4),
    "sfixed32": (wire.FIXED32, 4),
    "fixed64": (wire.FIXED64, 8),
    "sfixed64": (wire.FIXED64, 8),
}
_SIZES = _FLOATS | _FIXED
_Scope = tuple[tuple[str, int], ...]


class _Use(NamedTuple):
    """A number or a value in a binary net that some dialects lack."""

    text: str
    lacking: int
    at: int
    layer: str


def detect_binary(data: wire.Bytes) -> Detection:
    """Return the dialects whose schema and layer types explain every byte of a binary NetParameter.
    The values of blobs are not looked at.

    Raises:
        InputError: the bytes are not a message of protobuf.
    """
    candidates = facts().all
    shown: dict[str, Found] = {}
    lacking: dict[str, int] = {}
    for use in _Walk(data).run(candidates):
        shown.setdefault(use.text, Found(use.text, f"byte {use.at}", use.layer))
        lacking[use.text] = lacking.get(use.text, 0) | use.lacking
    return concluded(shown, lacking, candidates)


class _Walk:
    """A walk over the bytes of a net with the numbers of many dialects at once."""

    def __init__(self, data: wire.Bytes) -> None:
        self.data = data
        self.known = facts()
        self.layer: str | None = None

    def run(self, candidates: int) -> Iterator[_Use]:
        scope = (("NetParameter", candidates),)
        for span in self.data.fields(0, len(self.data)):
            if span.number != pairs.FIELD:  # protogen adds it to the files of every dialect
                yield from self._field(span, scope, "NetParameter")

    def _inside(self, start: int, end: int, scope: _Scope, path: str) -> Iterator[_Use]:
        for span in self.data.fields(start, end):
            yield from self._field(span, scope, path)

    def _field(self, span: wire.Span, scope: _Scope, path: str) -> Iterator[_Use]:
        around = have = 0
        inner: dict[str, int] = {}
        names: dict[str, None] = {}
        for message, dialects in scope:
            around |= dialects
            for name, one in self.known.numbers.get((message, span.number), ()):
                has = self._fitting(one, span, one.dialects & dialects)
                if not has:
                    continue
                have |= has
                names[name] = None
                if span.kind == wire.BYTES and self._is_message(one.type) and name != "blobs":
                    inner[one.type] = inner.get(one.type, 0) | has
        text = f"number {span.number} in {path}"
        is_layer = self.layer is None and path == "NetParameter" and bool(inner)
        if is_layer and not names.keys().isdisjoint(("layer", "layers")):
            self.layer = self._name(span)
            yield from self._type(span, names)
        for type_, has in inner.items():
            try:
                uses = list(self._inside(span.start, span.end, ((type_, has),), type_))
            except InputError:  # the bytes are not a message
                have &= ~has
                continue
            yield from uses
        if lacking := around & ~have:
            yield _Use(text, lacking, span.tag, self.layer or "")
        if is_layer:
            self.layer = None

    def _name(self, span: wire.Span) -> str:
        inner = self.data.fields(span.start, span.end)
        return next((self.data.text(one) for one in inner if self._is_text(one, 1)), "")

    def _type(self, span: wire.Span, names: dict[str, None]) -> Iterator[_Use]:
        """Yield the type of a layer if some dialects do not register it."""
        if "layer" not in names:
            return
        for one in self.data.fields(span.start, span.end):
            if self._is_text(one, 2):
                type_ = self.data.text(one)
                lacking = self.known.all & ~self.known.types.get(type_, 0)
                if lacking:
                    yield _Use(f"type {type_}", lacking, one.tag, self.layer or "")

    @staticmethod
    def _is_text(span: wire.Span, number: int) -> bool:
        return span.number == number and span.kind == wire.BYTES

    def _is_message(self, type_: str) -> bool:
        return type_ not in SCALARS and type_ not in self.known.enums

    def _fitting(self, one: Definition, span: wire.Span, has: int) -> int:
        """Return those dialects, of a set with this definition, that can have written the value."""
        if not has:
            return 0
        length = span.end - span.start
        packed = span.kind == wire.BYTES and one.label == "repeated"
        if one.type in _SIZES:
            kind, width = _SIZES[one.type]
            return has if span.kind == kind or (packed and length % width == 0) else 0
        if one.type in ("string", "bytes") or self._is_message(one.type):
            fits = span.kind == wire.BYTES and (one.type != "string" or self._is_utf8(span))
            return has if fits else 0
        if span.kind != wire.VARINT:
            return has if packed else 0
        if one.type == "bool":
            return has if span.value in (0, 1) else 0
        if one.type in self.known.enums:
            return has & self._with_number(one.type, span.value)
        return has

    def _is_utf8(self, span: wire.Span) -> bool:
        try:
            bytes(self.data.data[span.start : span.end]).decode("utf-8")
        except UnicodeDecodeError:
            return False
        return True

    def _with_number(self, enum: str, value: int) -> int:
        signed = value - (1 << 64) if value >= 1 << 63 else value
        having = 0
        for name in self.known.enums[enum]:
            for dialects, number in self.known.values[(enum, name)]:
                having |= dialects if number == signed else 0
        return having
