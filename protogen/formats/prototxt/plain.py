"""State of the parser, and its fast part: fields in the form that almost all texts have.

One pattern matches such a field as a whole, from the whitespace before it to its value or its opening brace.
It matches nothing that could be an error or needs a decision: ``parse`` reads that, token by token.
"""

from __future__ import annotations

import re
from typing import Any

from protogen.formats.message import Field, Message, Name, Source
from protogen.formats.schema import FieldType

# Limits against malicious files. Caffe's own messages are 6 levels deep, published nets have at
# most 40,000 fields, and a string is a name or a path.
MAX_DEPTH = 100
MAX_FIELDS = 1_000_000
MAX_STRING = 1 << 20

_PLAIN = re.compile(
    r"""[ \t\r]*+(?:\n[ \t\r]*+)?(\n\s*+)?         # 1: more than one end of a line
    (?:([A-Za-z_][A-Za-z0-9_]*+)[ \t]*+(?:         # 2: the name
        :[ \t]*+(?:
            "([^"\\\n]*+)"(?!\s*+["'])             # 3: a string that no other string continues
          | (-?(?:0|[1-9][0-9]{0,8})(?![\w.]))     # 4: an integer that each type of integers holds
          | (-?(?:[0-9]{0,15}\.[0-9]{1,15}(?:[eE][+-]?[0-9]{1,3})?
               |[0-9]{1,15}[eE][+-]?[0-9]{1,3})(?![\w.]))  # 5: another number
          | ([A-Za-z_][A-Za-z0-9_]*+)              # 6: a word
        )
      | (?::[ \t]*+)?(\{)                          # 7: a message begins
      )
    | (\})                                         # 8: it ends
    | ()                                           # 9: something else
    )""",
    re.VERBOSE,
)
_STRING, _INTEGER, _DECIMAL, _OPEN, _CLOSE, _ELSE = 3, 4, 5, 7, 8, 9
_NUMBERS = (_INTEGER, _DECIMAL)
_BOOLS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}


class Reader:
    """The state of a parser. Open messages are on an explicit stack, so that deep nesting does not need
    recursion."""

    def __init__(self, source: Source, strict: bool) -> None:
        self.source = source
        self.strict = strict
        self.at = 0  # where the next token begins
        self.comments: list[str] = []
        self.blank = False
        self.count = 0  # fields so far
        self.new_line = False  # whether the last token is the first of its line
        self.reported: set[tuple[str, str]] = set()  # unknown names with a warning
        self.stack: list[tuple[Message, Field, str]] = []
        self.message: Message
        self.last: Field | None = None  # the field that a comment on this line belongs to
        self.opened: Message | None = None  # the message whose brace opened on this line

    def read_plain(self) -> None:
        """Read fields, and ends of messages, as long as they have the usual form and are valid."""
        message, comments, stack = self.message, self.comments, self.stack
        if message.kind is None:
            return
        kinds, fields, index = message.kind.fields, message.fields, message.by_name()
        at, blank, last, opened = self.at, self.blank, self.last, self.opened
        left = MAX_FIELDS - self.count
        for match in _PLAIN.finditer(self.source.text, at):
            group = match.lastindex
            if group == _CLOSE:
                if not stack or stack[-1][2] != "}":
                    break
                message.tail = tuple(comments)
                message, field, _ = stack.pop()
                kinds = message.kind.fields if message.kind is not None else {}
                fields, index = message.fields, message.by_name()
            else:
                name = match[2]
                known = kinds.get(name)
                if known is None or not left or (not known.repeated and name in index):
                    break
                assert group is not None
                value = _value(known, group, match[group])
                if value is None or (group == _OPEN and len(stack) >= MAX_DEPTH):
                    break
                left -= 1
                blank = (blank or match[1] is not None) and bool(fields)
                field = Field(name, value, known, match.start(2), tuple(comments), blank)
                if group in _NUMBERS:
                    field.literal = match[group]
            blank, at = False, match.end()
            if comments:
                comments = []
            if group == _OPEN:
                stack.append((message, field, "}"))
                message = opened = value
                kinds, fields, index = value.kind.fields, value.fields, value.by_name()
                last = None
                continue
            field.end = at
            fields.append(field)
            same = index.get(field.name)
            if same is None:
                index[field.name] = [field]
            else:
                same.append(field)
            last, opened = field, None
        self.message, self.comments, self.at, self.blank = message, comments, at, blank
        self.last, self.opened, self.count = last, opened, MAX_FIELDS - left


def _value(known: FieldType, group: int, token: str) -> Any:
    """Return the value of a field; None if the token is none for this type, or needs a decision."""
    category = known.category or known.resolve()
    if group == _STRING:
        if category != "string" or len(token) > MAX_STRING // 4:
            return None
        if token.isascii():
            return token
        return token.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    if group == _OPEN:
        return Message(known.message) if category == "message" else None
    if group == _INTEGER:
        if category == "integer":
            return None if token[0] == "-" and known.type_name[0] in "uf" else int(token)
        return float(int(token)) if category == "float" else None
    if group == _DECIMAL:
        return float(token) if category == "float" else None
    if category == "enum" and known.enum is not None and token in known.enum.values:
        return Name(token)
    return _BOOLS.get(token) if category == "bool" else None
