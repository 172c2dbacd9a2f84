"""Parser for prototxt: fields with their places. It keeps comments and unknown fields."""

from __future__ import annotations

from typing import Any

from protogen.errors import InputError, ProtogenWarning, did_you_mean, warn
from protogen.formats.message import Field, Message, Name, integer_problem
from protogen.formats.prototxt.hints import choices, expected
from protogen.formats.prototxt.plain import MAX_DEPTH, MAX_FIELDS, MAX_STRING, Reader
from protogen.formats.prototxt.tokens import TOKEN, number, unquote
from protogen.formats.schema import FieldType, caffe
from protogen.formats.schema.dialect import in_words

_TRUE = {"true", "True", "t", "1"}
_FALSE = {"false", "False", "f", "0"}
_CLOSES = {"{": "}", "<": ">"}


class Parser(Reader):
    """Parser in one pass."""

    def run(self, document: Message) -> None:
        """Reads the whole text into ``document``."""
        self.message = document
        text = self.source.text
        while True:
            self.read_plain()
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
                continue  # a separator after a field
            elif token == "[":
                raise self.source.error(
                    start, "unexpected '[': Caffe's messages have no extension fields"
                )
            else:
                raise self._unexpected(kind, token, start, "a field name" + self._or_close())
        if self.stack:
            _, field, close = self.stack[-1]
            raise self.source.error(
                len(text.rstrip()) - 1 if text.strip() else 0,
                f"unexpected end of file: {field.name} at {self.source.place(field.start)} is not "
                f"closed",
                f"Add {close!r}.",
            )
        document.tail = tuple(self.comments)

    # Tokens

    def _next(self) -> tuple[str, str, int]:
        match = TOKEN.match(self.source.text, self.at)
        if match is None:
            raise self._bad_token()
        kind = match.lastgroup
        assert kind is not None
        start = match.start(kind)
        newlines = self.source.text.count("\n", self.at, start) if start > self.at else 0
        self.new_line = newlines > 0
        if newlines > 1:
            self.blank = True
        self.at = match.end()
        return kind, match[kind], start

    def _significant(self) -> tuple[str, str, int]:
        """Return the next token except comments. Comments inside a field move before it."""
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
            return self.source.error(start, "invalid number")
        return self.source.error(start, f"unexpected character {text[start]!r}")

    def _or_close(self) -> str:
        return f" or {self.stack[-1][2]!r}" if self.stack else ""

    def _unexpected(self, kind: str, token: str, start: int, wanted: str) -> InputError:
        shown = "the end of the file" if kind == "end" else token[:40]
        return self.source.error(start, f"expected {wanted}, got {shown}")

    # Fields

    def _field(self, name: str, start: int) -> None:
        known = self.message.kind.fields.get(name) if self.message.kind else None
        if known is None and self.message.kind is not None:
            self._unknown_field(name, start)
        if known is not None and not known.repeated and self.message.has(name):
            first = self.message.all(name)[0]
            raise self.source.error(
                start,
                f"{name} is set twice (first at {self.source.place(first.start)})",
                "Remove one: Caffe refuses the file.",
            )
        self.count += 1
        if self.count > MAX_FIELDS:
            raise self.source.error(
                start, f"the file has more than {MAX_FIELDS} fields, the limit of protogen"
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
                raise self._unexpected(kind, token, at, f"':' after {name}")
            self._list(name, known, start, before, blank)
            return
        field = Field(name, None, known, start, before=before, blank=blank)
        self._value(field, kind, token, at, colon)

    def _value(self, field: Field, kind: str, token: str, at: int, colon: bool) -> None:
        """Parse the value after a field name: open a message or read a scalar."""
        known = field.type
        if kind == "mark" and token in _CLOSES:
            if known is not None and known.message is None:
                raise self.source.error(
                    at, f"{field.name} must be {expected(known)}, got a message"
                )
            self._open(field, token)
            return
        if known is not None and known.message is not None:
            raise self._unexpected(kind, token, at, f"'{{' after {field.name}")
        if not colon:
            raise self._unexpected(kind, token, at, f"':' after {field.name}")
        self._scalar(field, kind, token, at)
        self._append(field)

    def _append(self, field: Field) -> None:
        field.end = self.at
        self.message.by_name().setdefault(field.name, []).append(field)
        self.message.fields.append(field)
        self.last, self.opened = field, None

    def _open(self, field: Field, token: str) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise self.source.error(
                self.at - 1,
                f"messages are nested more than {MAX_DEPTH} levels deep, the limit of protogen",
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
        """Parse ``name: [a, b]``: one field for each item."""
        if known is not None and not known.repeated:
            raise self.source.error(self.at - 1, f"{name} must be a single value, got a list")
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
                    raise self._unexpected(kind, token, at, "a field name" + self._or_close())
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
                    f"{field.name} must be {expected(known)}, got the string {token[:40]}",
                )
            return
        sign = ""
        if kind == "mark" and token == "-":
            sign = "-"
            kind, token, at = self._significant()
        if kind == "number":
            if len(token) > 400:  # no field holds it, and Python limits the length of integers
                raise self.source.error(at, f"the number is too long: {len(token)} digits")
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
        """Parse a string. Adjacent strings are concatenated."""
        pieces = [unquote(token, self.source, at)]
        while True:
            match = TOKEN.match(self.source.text, self.at)
            if match is None or match.lastgroup != "string":
                break
            pieces.append(unquote(match["string"], self.source, match.start("string")))
            self.at = match.end()
        raw = b"".join(pieces)
        if len(raw) > MAX_STRING:
            raise self.source.error(
                at, f"the string is too long: {len(raw)} bytes, the limit is {MAX_STRING}"
            )
        if known is not None and known.type_name == "bytes":
            return raw
        return raw.decode("utf-8", "surrogateescape")

    def _typed(self, field: Field, known: FieldType, at: int) -> None:
        """Convert the value to the field's type; raise InputError if it does not match."""
        value = field.value
        wrong = False
        if known.enum is not None:
            self._enum(field, known, at)
        elif known.type_name in ("string", "bytes"):
            raise self.source.error(
                at,
                f"{field.name} must be a string, got {field.literal or value}",
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
            raise self.source.error(at, f"{field.name} must be {expected(known)}, got {value}")

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
                at, f"unknown value {value} of {known.enum.name}", choices(known)
            )
        field.value = Name(names[0])
        field.literal = None

    # Fields and enum values that no dialect defines

    def _unknown_field(self, name: str, start: int) -> None:
        assert self.message.kind is not None
        of = self.message.kind.name
        advice = did_you_mean(name, self.message.kind.fields)
        if not advice:
            advice = _belongs_in(name)
        self._unknown(start, (of, name), f"unknown field {name} in {of}", advice)

    def _unknown_value(self, field: Field, known: FieldType, at: int) -> None:
        assert known.enum is not None
        advice = did_you_mean(field.value, known.enum.values) or choices(known)
        problem = f"unknown value {field.value} of {known.enum.name}"
        self._unknown(at, (known.enum.name, field.value), problem, advice)

    def _unknown(self, at: int, key: tuple[str, str], problem: str, advice: str) -> None:
        if self.strict:
            raise self.source.error(at, problem, advice)
        if key not in self.reported:
            self.reported.add(key)
            where = self.source.place(at)
            warning = ProtogenWarning(f"{problem}; it is kept", where=where, advice=advice)
            warn(warning)


def _is_float_word(known: FieldType | None, token: str) -> bool:
    floating = known is not None and known.type_name in ("float", "double")
    return floating and token.lower() in ("inf", "infinity", "nan")


def _belongs_in(name: str) -> str:
    """Return a sentence that names the messages with a field of this name, and their forks."""
    holders = [m for m in caffe().messages.values() if name in m.fields]
    if not 0 < len(holders) <= 3:
        return ""
    places = []
    for holder in holders:
        forks = in_words(holder.fields[name].dialects)
        places.append(f"{holder.name} ({forks})" if forks else holder.name)
    return f"It belongs in {' or '.join(places)}."
