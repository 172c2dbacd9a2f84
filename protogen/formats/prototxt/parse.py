"""The parser: tokens to fields with their places; comments and unknown fork fields are kept."""

from __future__ import annotations

import warnings
from typing import Any

from protogen.errors import InputError, ProtogenWarning, did_you_mean
from protogen.formats.message import Field, Message, Name, Source, integer_problem
from protogen.formats.prototxt.hints import choices, expected
from protogen.formats.prototxt.tokens import TOKEN, number, unquote
from protogen.formats.schema import FieldType, caffe

# Beyond these a file is hostile: Caffe's own messages are 6 deep, published nets have 40,000 fields,
# and a string is a name or a path.
MAX_DEPTH = 100
MAX_FIELDS = 1_000_000
MAX_STRING = 1 << 20
_TRUE = {"true", "True", "t", "1"}
_FALSE = {"false", "False", "f", "0"}
_CLOSES = {"{": "}", "<": ">"}


class Parser:
    """Walks the tokens once; open messages stand on a stack of our own, so depth costs nothing."""

    def __init__(self, source: Source, strict: bool) -> None:
        self.source = source
        self.strict = strict
        self.at = 0  # where the next token begins
        self.comments: list[str] = []
        self.blank = False
        self.count = 0  # fields so far
        self.new_line = False  # whether the last token began a line
        self.told: set[tuple[str, str]] = set()
        self.stack: list[tuple[Message, Field, str]] = []
        self.message: Message
        self.last: Field | None = None  # the field that a comment on this line belongs to
        self.opened: Message | None = None  # the message whose brace opened on this line

    def run(self, document: Message) -> None:
        """Reads the whole text into ``document``."""
        self.message = document
        text = self.source.text
        while True:
            kind, token, start = self._next()
            if kind == "comment":
                self._comment(token)
            elif kind == "word":
                self._field(token, start)
            elif kind == "end":
                break
            elif self.stack and token == self.stack[-1][2]:
                self._close()
            elif token in (";", ",") and self.last is not None:
                continue  # a separator behind a field
            elif token == "[":
                raise self.source.error(start, "Caffe's messages have no extensions")
            else:
                raise self._unexpected(kind, token, start, "a field's name" + self._or_close())
        if self.stack:
            _, field, close = self.stack[-1]
            raise self.source.error(
                len(text.rstrip()) - 1 if text.strip() else 0,
                f"the file ends, but {field.name} at {self.source.place(field.start)} is not "
                f"closed",
                f"Add {close!r}.",
            )
        document.tail = tuple(self.comments)

    # Tokens

    def _next(self) -> tuple[str, str, int]:
        found = TOKEN.match(self.source.text, self.at)
        if found is None:
            raise self._bad_token()
        kind = found.lastgroup
        assert kind is not None
        start = found.start(kind)
        newlines = self.source.text.count("\n", self.at, start) if start > self.at else 0
        self.new_line = newlines > 0
        if newlines > 1:
            self.blank = True
        self.at = found.end()
        return kind, found[kind], start

    def _significant(self) -> tuple[str, str, int]:
        """The next token that is no comment; comments inside a field go before it."""
        while True:
            kind, token, start = self._next()
            if kind != "comment":
                return kind, token, start
            self.comments.append(token.rstrip())

    def _comment(self, token: str) -> None:
        token = token.rstrip()
        if not self.new_line and self.last is not None and not self.last.after:
            self.last.after = token
        elif not self.new_line and self.opened is not None and not self.opened.opening:
            self.opened.opening = token
        else:
            self.comments.append(token)
        self.last = None
        self.opened = None

    def _bad_token(self) -> InputError:
        text = self.source.text
        start = self.at + len(text[self.at :]) - len(text[self.at :].lstrip())
        if text[start] in "\"'":
            return self.source.error(
                start, "the string is not closed on its line", f"Add {text[start]}."
            )
        if text[start].isdigit() or text[start] == ".":
            return self.source.error(start, "this is no number")
        return self.source.error(start, f"{text[start]!r} has no meaning here")

    def _or_close(self) -> str:
        return f" or {self.stack[-1][2]!r}" if self.stack else ""

    def _unexpected(self, kind: str, token: str, start: int, wanted: str) -> InputError:
        shown = "the end of the file" if kind == "end" else token[:40]
        return self.source.error(start, f"found {shown}, but expected {wanted}")

    # Fields

    def _field(self, name: str, start: int) -> None:
        known = self.message.kind.fields.get(name) if self.message.kind else None
        if known is None and self.message.kind is not None:
            self._unknown_field(name, start)
        if known is not None and not known.repeated and self.message.has(name):
            first = self.message.all(name)[0]
            raise self.source.error(
                start,
                f"{name} is given a second time (first at {self.source.place(first.start)})",
                "Keep one: Caffe refuses the file.",
            )
        self.count += 1
        if self.count > MAX_FIELDS:
            raise self.source.error(
                start, f"there are more than {MAX_FIELDS} fields", "No net needs that."
            )
        before = tuple(self.comments)
        self.comments = []
        blank, self.blank = self.blank and bool(self.message.fields), False
        kind, token, at = self._significant()
        colon = token == ":"
        if colon:
            kind, token, at = self._significant()
        if token == "[" and kind == "mark":
            if not colon:
                raise self._unexpected(kind, token, at, f"':' behind {name}")
            self._list(name, known, start, before, blank)
            return
        field = Field(name, None, known, start, before=before, blank=blank)
        self._value(field, kind, token, at, colon)

    def _value(self, field: Field, kind: str, token: str, at: int, colon: bool) -> None:
        """Reads what stands behind a field's name: opens a message or takes a scalar."""
        known = field.type
        if kind == "mark" and token in _CLOSES:
            if known is not None and known.message is None:
                raise self.source.error(
                    at, f"{field.name} takes {expected(known)}, but a message opens here"
                )
            self._open(field, token)
            return
        if known is not None and known.message is not None:
            raise self._unexpected(kind, token, at, f"'{{' behind {field.name}")
        if not colon:
            raise self._unexpected(kind, token, at, f"':' behind {field.name}")
        self._scalar(field, kind, token, at)
        self._append(field)

    def _append(self, field: Field) -> None:
        field.end = self.at
        self.message.fields.append(field)
        index = self.message._index
        if index is not None:
            index.setdefault(field.name, []).append(field)
        self.last, self.opened = field, None

    def _open(self, field: Field, token: str) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise self.source.error(
                self.at - 1, f"messages are nested more than {MAX_DEPTH} deep", "No net needs that."
            )
        inner = Message(field.type.message if field.type else None)
        field.value = inner
        self.stack.append((self.message, field, _CLOSES[token]))
        self.message = inner
        self.last, self.opened = None, inner

    def _close(self) -> None:
        self.message.tail = tuple(self.comments)
        self.comments = []
        self.blank = False
        outer, field, _ = self.stack.pop()
        self.message = outer
        self._append(field)

    def _list(
        self,
        name: str,
        known: FieldType | None,
        start: int,
        before: tuple[str, ...],
        blank: bool,
    ) -> None:
        """``name: [a, b]`` is one field per item. Inner messages are read by a parser's own loop."""
        if known is not None and not known.repeated:
            raise self.source.error(self.at - 1, f"{name} takes one value, but a list opens here")
        kind, token, at = self._significant()
        if token == "]" and kind == "mark":
            return
        while True:
            field = Field(name, None, known, at, before=before, blank=blank)
            before, blank = (), False
            depth = len(self.stack)
            self._value(field, kind, token, at, True)
            while len(self.stack) > depth:
                kind, token, at = self._significant()
                if kind == "word":
                    self._field(token, at)
                elif kind == "mark" and token == self.stack[-1][2]:
                    self._close()
                elif token not in (";", ","):
                    raise self._unexpected(kind, token, at, "a field's name" + self._or_close())
            kind, token, at = self._significant()
            if kind == "mark" and token == "]":
                return
            if token != ",":
                raise self._unexpected(kind, token, at, "',' or ']'")
            kind, token, at = self._significant()

    # Scalars

    def _scalar(self, field: Field, kind: str, token: str, at: int) -> None:
        known = field.type
        if kind == "string":
            field.value = self._string(known, token, at)
            if known is not None and known.type_name not in ("string", "bytes"):
                raise self.source.error(
                    at,
                    f"{field.name} takes {expected(known)}, but a string is given: {token[:40]}",
                )
            return
        sign = ""
        if kind == "mark" and token == "-":
            sign = "-"
            kind, token, at = self._significant()
        if kind == "number":
            if len(token) > 400:  # Python refuses to convert far longer ones, and no field fits
                raise self.source.error(at, f"a number of {len(token)} digits fits no field")
            value: Any = number(token)
            field.literal = sign + token
            field.value = -value if sign else value
        elif kind == "word" and (sign or _is_float_word(known, token)):
            if token.lower() not in ("inf", "infinity", "nan"):
                raise self._unexpected(kind, token, at, "a number")
            field.value = float(sign + token)
            field.literal = sign + token
        elif kind == "word":
            field.value = Name(token)
        else:
            raise self._unexpected(kind, token, at, f"a value for {field.name}")
        if known is not None:
            self._typed(field, known, at)
        elif field.value in ("true", "false"):
            field.value = field.value == "true"

    def _string(self, known: FieldType | None, token: str, at: int) -> str | bytes:
        """Adjacent strings are one."""
        pieces = [unquote(token, self.source, at)]
        while True:
            found = TOKEN.match(self.source.text, self.at)
            if found is None or found.lastgroup != "string":
                break
            pieces.append(unquote(found["string"], self.source, found.start("string")))
            self.at = found.end()
        raw = b"".join(pieces)
        if len(raw) > MAX_STRING:
            raise self.source.error(
                at, f"a string of {len(raw)} bytes", f"{MAX_STRING} are the most."
            )
        if known is not None and known.type_name == "bytes":
            return raw
        return raw.decode("utf-8", "surrogateescape")

    def _typed(self, field: Field, known: FieldType, at: int) -> None:
        """Makes the value one of the field's type, or refuses it."""
        value = field.value
        wrong = False
        if known.enum is not None:
            self._enum(field, known, at)
        elif known.type_name in ("string", "bytes"):
            raise self.source.error(
                at,
                f"{field.name} takes a string, but {field.literal or value} is given",
                "Put it in quotes.",
            )
        elif known.type_name == "bool":
            text = field.literal or str(value)
            wrong = text not in _TRUE and text not in _FALSE
            field.value = text in _TRUE
            field.literal = None
        elif known.type_name in ("float", "double"):
            wrong = isinstance(value, Name)
            field.value = value if wrong else float(value)
        else:
            wrong = isinstance(value, Name)
            problem = "" if wrong else integer_problem(known, value)
            if problem:
                raise self.source.error(at, problem, subject=field.name)
        if wrong:
            raise self.source.error(
                at, f"{field.name} takes {expected(known)}, but {value} is given"
            )

    def _enum(self, field: Field, known: FieldType, at: int) -> None:
        assert known.enum is not None
        value = field.value
        if isinstance(value, Name):
            if value not in known.enum.values:
                self._unknown_value(field, known, at)
            return
        names = [name for name, n in known.enum.values.items() if n == value]
        if not names:
            raise self.source.error(
                at, f"{known.enum.name} has no value numbered {value}", choices(known)
            )
        field.value = Name(names[0])
        field.literal = None

    # What no dialect knows

    def _unknown_field(self, name: str, start: int) -> None:
        assert self.message.kind is not None
        of = self.message.kind.name
        advice = did_you_mean(name, self.message.kind.fields)
        if not advice:
            advice = _belongs_in(name)
        self._unknown(start, (of, name), f"{of} has no field named {name}", advice)

    def _unknown_value(self, field: Field, known: FieldType, at: int) -> None:
        assert known.enum is not None
        advice = did_you_mean(field.value, known.enum.values) or choices(known)
        problem = f"{field.value} is not a value of {known.enum.name}"
        self._unknown(at, (known.enum.name, field.value), problem, advice)

    def _unknown(self, at: int, key: tuple[str, str], problem: str, advice: str) -> None:
        if self.strict:
            raise self.source.error(at, problem, advice)
        if key not in self.told:
            self.told.add(key)
            where = self.source.place(at)
            told = ProtogenWarning(f"{problem}; it is kept", where=where, advice=advice)
            warnings.warn(told, stacklevel=2)


def _is_float_word(known: FieldType | None, token: str) -> bool:
    floating = known is not None and known.type_name in ("float", "double")
    return floating and token.lower() in ("inf", "infinity", "nan")


def _belongs_in(name: str) -> str:
    """Where a field of this name stands, and in whose forks."""
    holders = [m for m in caffe().messages.values() if name in m.fields]
    if not 0 < len(holders) <= 3:
        return ""
    places = []
    for holder in holders:
        forks = ", ".join(holder.fields[name].dialects)
        places.append(f"{holder.name} ({forks})" if forks else holder.name)
    return f"It belongs in {' or '.join(places)}."
